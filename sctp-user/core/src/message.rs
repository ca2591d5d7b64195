//! User messages, as the application gives and gets them.

use core::net::IpAddr;
use core::time::Duration;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

/// A message to send (RFC 9260 §11.1.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Stream to send it on; below the number of outbound streams that were negotiated.
    pub stream: u16,
    /// Payload protocol identifier: goes to the peer as it is, in network byte order (RFC 9260 §3.3.1).
    pub ppid: u32,
    /// Deliver without regard to the other messages of the stream (U bit).
    pub unordered: bool,
    /// Ask the peer to acknowledge it at once (I bit, RFC 7053).
    pub immediate: bool,
    /// Do not wait for more messages to share the packet with, though [`nagle`](crate::AssociationConfig::nagle) is set.
    pub no_bundle: bool,
    /// How long it is worth sending: if nothing of it has been sent by then, it is not sent at all, and [`Event::SendFailed`] says
    /// so when its turn comes. What has been begun is finished.
    ///
    /// [`Event::SendFailed`]: crate::Event::SendFailed
    pub lifetime: Option<Duration>,
    /// Which of the peer's addresses to send it to, instead of where messages go now (RFC 9260 §11.1.5). As long as that path is not
    /// active it goes where the others go, and what is lost is sent again by whichever path RFC 9260 §6.4 says. Messages keep
    /// their order: one for a path whose congestion window is full has those behind it wait.
    pub destination: Option<IpAddr>,
    /// The bytes; at least one, at most [`max_message_size`](crate::AssociationConfig::max_message_size).
    pub payload: Bytes,
    /// A number of the application's own, given back in events about this message.
    pub context: u64,
}

impl Message {
    /// An ordered message with payload protocol identifier 0 (unspecified).
    pub const fn new(stream: u16, payload: Bytes) -> Self {
        Self {
            stream,
            ppid: 0,
            unordered: false,
            immediate: false,
            no_bundle: false,
            lifetime: None,
            destination: None,
            payload,
            context: 0,
        }
    }

    /// Sets the payload protocol identifier.
    #[must_use]
    pub const fn with_ppid(mut self, ppid: u32) -> Self {
        self.ppid = ppid;
        self
    }

    /// Sets unordered delivery.
    #[must_use]
    pub const fn with_unordered(mut self, unordered: bool) -> Self {
        self.unordered = unordered;
        self
    }

    /// Asks for an acknowledgement at once.
    #[must_use]
    pub const fn with_immediate(mut self, immediate: bool) -> Self {
        self.immediate = immediate;
        self
    }

    /// Sets that it does not wait for others.
    #[must_use]
    pub const fn with_no_bundle(mut self, no_bundle: bool) -> Self {
        self.no_bundle = no_bundle;
        self
    }

    /// Sets how long it is worth sending.
    #[must_use]
    pub const fn with_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// Sets which of the peer's addresses it is sent to.
    #[must_use]
    pub const fn with_destination(mut self, destination: IpAddr) -> Self {
        self.destination = Some(destination);
        self
    }

    /// Sets the application's own number.
    #[must_use]
    pub const fn with_context(mut self, context: u64) -> Self {
        self.context = context;
        self
    }
}

/// How much of a message this is ("partial flag", RFC 9260 §11.1.7). Parts come one after another, with nothing else in between; what comes
/// after a first or middle part and is neither a middle nor a last one says that the rest of that message is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MessagePart {
    /// All of it, as ever without [`partial_delivery_point`](crate::AssociationConfig::partial_delivery_point).
    #[default]
    Whole,
    /// Its beginning.
    First,
    /// Neither its beginning nor its end.
    Middle,
    /// Its end.
    Last,
}

impl MessagePart {
    /// Whether more of the message follows.
    pub const fn is_followed(self) -> bool {
        matches!(self, Self::First | Self::Middle)
    }
}

/// A message that has arrived whole, or [part](Self::part) of one (RFC 9260 §11.1.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedMessage {
    /// Stream it came on.
    pub stream: u16,
    /// Stream sequence number; meaningless for unordered messages.
    pub ssn: u16,
    /// Payload protocol identifier, as the peer gave it.
    pub ppid: u32,
    /// Whether it was sent for unordered delivery.
    pub unordered: bool,
    /// How much of the message it is.
    pub part: MessagePart,
    /// The message: the fragments that it came in, in order. One when it was not fragmented.
    pub payload: SmallVec<[Bytes; 1]>,
}

impl ReceivedMessage {
    /// Length of the message in bytes.
    pub fn len(&self) -> usize {
        self.payload.iter().map(Bytes::len).sum()
    }

    /// Whether the message has no bytes. (A received one always has.)
    pub fn is_empty(&self) -> bool {
        self.payload.iter().all(Bytes::is_empty)
    }

    /// The message in one piece; copies only if it came in fragments.
    pub fn into_bytes(mut self) -> Bytes {
        match self.payload.len() {
            1 => self.payload.remove(0),
            _ => {
                let mut whole = BytesMut::with_capacity(self.len());
                for fragment in &self.payload {
                    whole.extend_from_slice(fragment);
                }
                whole.freeze()
            }
        }
    }
}
