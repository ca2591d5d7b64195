//! What an association tells the application besides its messages (RFC 9260 §11.2).

use std::net::IpAddr;

use bytes::Bytes;
use sctp_core::{CloseReason, Event, LastTsns, PathState, RemoteError, SendFailure};
use smallvec::SmallVec;

/// Something that happened to an association.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notification {
    /// A path changed its state (NETWORK STATUS CHANGE, RFC 9260 §11.2.3).
    PathChanged {
        /// The peer's address that names the path.
        address: IpAddr,
        /// Its new state.
        state: PathState,
    },
    /// Another path is the primary one now.
    PrimaryChanged {
        /// The peer's address that names the path.
        address: IpAddr,
    },
    /// A message was not, or not surely, delivered (SEND FAILURE, RFC 9260 §11.2.2).
    SendFailed {
        /// The number that the application gave with the message.
        context: u64,
        /// The stream that it was for.
        stream: u16,
        /// Whether part of it was sent, so that the peer may have got it after all.
        sent: bool,
        /// Why.
        reason: SendFailure,
        /// Its payload protocol identifier.
        ppid: u32,
        /// The message, if no part of it was sent; else those parts at its end that the peer has not acknowledged for good (RFC 9260
        /// §11.1.14, §11.1.15).
        payload: SmallVec<[Bytes; 1]>,
    },
    /// Everything that was sent has been acknowledged, and nothing waits.
    SenderDry,
    /// The peer restarted: it has forgotten the association and set it up anew (RFC 9260 §11.2.7).
    Restarted {
        /// Streams that we may send on now.
        outbound_streams: u16,
        /// Streams that the peer may send on now.
        inbound_streams: u16,
    },
    /// The rest of a message will never come of which parts have been received (SCTP_PARTIAL_DELIVERY_ABORTED, RFC 6458 §6.1.7).
    PartialDeliveryAborted {
        /// The stream that it came on.
        stream: u16,
        /// Its stream sequence number; meaningless if it was unordered.
        ssn: u16,
        /// Its payload protocol identifier.
        ppid: u32,
    },
    /// The peer reports an error that is not fatal (COMMUNICATION ERROR, RFC 9260 §11.2.6).
    RemoteError {
        /// What it is.
        error: RemoteError,
    },
    /// The peer has asked for an orderly end: nothing can be sent any more (RFC 9260 §11.2.8).
    PeerShutdown,
    /// The association has ended (COMMUNICATION LOST, SHUTDOWN COMPLETE, RFC 9260 §11.2.5, §11.2.8). The last notification; what was
    /// not delivered has been named by [`SendFailed`](Notification::SendFailed) before.
    Closed {
        /// How; `None` when it ended because the stack stopped.
        reason: Option<CloseReason>,
        /// Which DATA chunk the peer has acknowledged last, and which was sent last; `None` as above.
        last_tsns: Option<LastTsns>,
    },
    /// The subscriber was too slow: this many notifications before the next one were thrown away.
    Missed {
        /// How many.
        count: usize,
    },
}

impl Notification {
    /// The notification for an event of the core; `None` for those that are not told to
    /// subscribers, because futures wait for them.
    pub(crate) fn from_event(event: &Event) -> Option<Notification> {
        Some(match event {
            Event::PathChanged { address, state } => Notification::PathChanged { address: *address, state: *state },
            Event::PrimaryChanged { address } => Notification::PrimaryChanged { address: *address },
            Event::SendFailed { context, stream, sent, reason, ppid, payload } => Notification::SendFailed {
                context: *context,
                stream: *stream,
                sent: *sent,
                reason: *reason,
                ppid: *ppid,
                payload: payload.clone(),
            },
            Event::SenderDry => Notification::SenderDry,
            Event::Restarted { outbound_streams, inbound_streams } => {
                Notification::Restarted { outbound_streams: *outbound_streams, inbound_streams: *inbound_streams }
            }
            Event::PartialDeliveryAborted { stream, ssn, ppid } => {
                Notification::PartialDeliveryAborted { stream: *stream, ssn: *ssn, ppid: *ppid }
            }
            Event::RemoteError { error } => Notification::RemoteError { error: error.clone() },
            Event::PeerShutdown => Notification::PeerShutdown,
            // The end is told by the channel, after what it still holds.
            _ => return None,
        })
    }
}

/// How an association ended, as its handles see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By the protocol.
    Closed(CloseReason),
    /// Its worker has ended; why.
    Stopped(String),
}
