//! A DATA chunk that has been sent: what it holds, and where it stands (RFC 9260 §3.3.1, §7.2.4).

use bytes::Bytes;

use crate::serial::Ssn;
use crate::wire::{DataFlags, padded};

/// Bytes of a DATA chunk in front of its user data (RFC 9260 §3.3.1).
pub(crate) const DATA_CHUNK_HEADER: usize = 16;

/// A DATA chunk on its way.
#[derive(Debug)]
pub(crate) struct OutboundChunk {
    pub(crate) payload: Bytes,
    /// The application's number of the message.
    pub(crate) context: u64,
    pub(crate) ppid: u32,
    pub(crate) stream: u16,
    pub(crate) ssn: Ssn,
    /// Its place in its message (B, E), whether that is unordered (U), and whether the application wants it acknowledged at once (I).
    pub(crate) flags: DataFlags,
    /// The path that it was last sent on.
    pub(crate) path: u8,
    pub(super) status: Status,
    /// Sent again because of gap reports: not eligible for another fast retransmit (RFC 9260 §7.2.4 item 5).
    pub(super) fast_retransmitted: bool,
    /// Marked for retransmission by T3-rtx rather than by gap reports, so another path is to be tried (RFC 9260 §6.4).
    pub(super) timed_out: bool,
    /// Sent on more than one path: its acknowledgement tells of none of them (RFC 7829 §3.2, rule 9).
    pub(super) moved: bool,
}

impl OutboundChunk {
    /// A chunk that is about to be sent for the first time.
    #[inline]
    pub(crate) fn new(payload: Bytes, context: u64, ppid: u32, stream: u16, ssn: Ssn, flags: DataFlags) -> Self {
        Self {
            payload,
            context,
            ppid,
            stream,
            ssn,
            flags,
            path: 0,
            status: Status::InFlight,
            fast_retransmitted: false,
            timed_out: false,
            moved: false,
        }
    }

    /// Its size as congestion control counts it: with header and padding (RFC 9260 §7.2).
    //= RFC 9260 §7.2: "the length of the DATA chunk, including the padding, SHOULD be used"
    #[inline]
    pub(crate) fn size(&self) -> u32 {
        (DATA_CHUNK_HEADER + padded(self.payload.len())) as u32
    }

    /// Whether T3-rtx, not a gap report, had it marked for retransmission.
    pub(crate) fn timed_out(&self) -> bool {
        self.timed_out
    }

    /// Whether it has been marked for retransmission because of gap reports.
    pub(crate) fn fast_retransmitted(&self) -> bool {
        self.fast_retransmitted
    }
}

/// Where a chunk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    InFlight,
    /// Acknowledged by a Gap Ack Block: kept, because the peer may renege (RFC 9260 §6.2.1).
    Acknowledged,
    /// Marked for retransmission: counts neither as in flight nor against the peer's window.
    Lost,
}
