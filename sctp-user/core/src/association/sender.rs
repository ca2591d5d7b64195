//! The sending half of an association: what waits, what is outstanding, and the peer's window (RFC 9260 §6.1, §6.2.1).

use crate::Message;
use crate::config::AssociationConfig;
use crate::data::outstanding::{MESSAGE_OVERHEAD, Outstanding};
use crate::data::send_queue::SendQueue;
use crate::serial::Tsn;
use crate::time::Instant;

/// The sending half.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) queue: SendQueue,
    pub(crate) outstanding: Outstanding,
    /// The a_rwnd of the peer's last SACK, INIT or INIT ACK.
    pub(crate) a_rwnd: u32,
    /// In fast recovery until this TSN, the exit point, is acknowledged (§7.2.4 item 6).
    pub(crate) fast_recovery: Option<Tsn>,
    /// How many packets with new DATA may be sent before something else happens (Max.Burst, §6.1 D).
    pub(crate) burst: u32,
    pub(crate) probe: WindowProbe,
    /// Size of the send buffer, in bytes.
    buffer: u32,
    /// What waits or is outstanding, as the send buffer counts.
    buffered: u32,
    /// The application was refused and wants to know when there is room again.
    pub(crate) refused: bool,
    /// Something was sent since the application was last told that everything is acknowledged.
    pub(crate) busy: bool,
}

/// Where a zero window probe stands (§6.1 A).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WindowProbe {
    /// The peer's window is open, or there is nothing to send, or data is in flight anyway.
    None,
    /// The timer of the path runs; when it expires, a probe goes out.
    Waiting,
    /// A probe may be sent now.
    Due,
    /// A probe has been sent.
    Sent {
        /// A SACK has come since.
        answered: bool,
        /// How many probes have been answered, but not taken: the interval doubles with each.
        count: u32,
    },
    /// The window has closed over what is outstanding, which the peer may drop (§6.2): what is sent again is the probe.
    Closed {
        /// A SACK has come since T3-rtx expired last.
        answered: bool,
        /// How many times that was sent again without more of it being taken: the interval doubles with each.
        count: u32,
    },
}

impl Sender {
    /// `initial` is our Initial TSN.
    pub(crate) fn new(initial: Tsn, config: &AssociationConfig) -> Self {
        Self {
            queue: SendQueue::new(config.scheduler),
            outstanding: Outstanding::new(initial, 1),
            a_rwnd: 0,
            fast_recovery: None,
            burst: config.max_burst,
            probe: WindowProbe::None,
            buffer: size(config.send_buffer),
            buffered: 0,
            refused: false,
            busy: false,
        }
    }

    /// Whether the buffer has room for a message of `len` bytes. When it is empty it has for any.
    #[inline]
    pub(crate) fn has_room(&self, len: usize) -> bool {
        self.buffered == 0 || self.buffered() + len + MESSAGE_OVERHEAD <= self.buffer()
    }

    /// Queues a message, for `path` if it has a destination of its own.
    #[inline]
    pub(crate) fn push(&mut self, message: Message, path: Option<u8>, config: &AssociationConfig, now: Instant) {
        self.buffered += size(message.payload.len() + MESSAGE_OVERHEAD);
        self.busy = true;
        self.burst = self.burst.max(config.max_burst);
        self.queue.push(message, path, now);
    }

    /// Nothing waits and nothing is outstanding.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.outstanding.is_empty()
    }

    /// rwnd: what the peer's receive buffer has left. DATA counts against it while it is in flight, so sending and marking
    /// for retransmission change it by themselves (§6.2.1 B, C).
    //= RFC 9260 §6.2.1: "An endpoint SHOULD use the following rules to calculate the rwnd"
    pub(crate) fn peer_window(&self) -> usize {
        (self.a_rwnd as usize).saturating_sub(self.outstanding.data_in_flight())
    }

    /// Bytes that the send buffer has left.
    pub(crate) fn free(&self) -> usize {
        self.buffer().saturating_sub(self.buffered())
    }

    /// Size of the send buffer, in bytes.
    pub(crate) fn buffer(&self) -> usize {
        self.buffer as usize
    }

    /// The send buffer grows.
    pub(crate) fn enlarge(&mut self, by: usize) {
        self.buffer += size(by);
        self.refused = false;
    }

    /// The peer has restarted: everything begins anew, with a buffer as large as it was.
    pub(crate) fn restart(&mut self, initial: Tsn, config: &AssociationConfig) {
        let buffer = self.buffer;
        *self = Self::new(initial, config);
        self.buffer = buffer;
    }

    /// Bytes that wait or are outstanding, as the send buffer counts.
    pub(crate) fn buffered(&self) -> usize {
        self.buffered as usize
    }

    /// Something has been acknowledged or given up; true if the application is to be told that there is room again.
    pub(crate) fn release(&mut self, bytes: usize) -> bool {
        self.buffered = self.buffered.saturating_sub(size(bytes));
        // Not for every little bit: a quarter of the buffer, or all of it.
        let room = self.buffered == 0 || self.free() >= self.buffer() / 4;
        room && core::mem::take(&mut self.refused)
    }
}

/// Buffers have at most 1 GiB.
fn size(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
