//! State and counters of an association, as others see them.

use crate::PathInfo;

/// Public view of the association's state (RFC 9260 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AssociationState {
    /// No association, or one that has ended.
    Closed,
    /// INIT sent, INIT ACK awaited.
    CookieWait,
    /// COOKIE ECHO sent, COOKIE ACK awaited.
    CookieEchoed,
    /// Data flows.
    Established,
    /// Our user asked for an end; data is still outstanding.
    ShutdownPending,
    /// SHUTDOWN sent, SHUTDOWN ACK awaited.
    ShutdownSent,
    /// The peer sent SHUTDOWN; our data is still outstanding.
    ShutdownReceived,
    /// SHUTDOWN ACK sent, SHUTDOWN COMPLETE awaited.
    ShutdownAckSent,
}

impl AssociationState {
    /// The name that RFC 9260 §4 uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::CookieWait => "COOKIE-WAIT",
            Self::CookieEchoed => "COOKIE-ECHOED",
            Self::Established => "ESTABLISHED",
            Self::ShutdownPending => "SHUTDOWN-PENDING",
            Self::ShutdownSent => "SHUTDOWN-SENT",
            Self::ShutdownReceived => "SHUTDOWN-RECEIVED",
            Self::ShutdownAckSent => "SHUTDOWN-ACK-SENT",
        }
    }
}

/// A picture of an association (STATUS, RFC 9260 §11.1.8).
#[derive(Clone, Debug, PartialEq)]
pub struct AssociationStatus {
    /// Its state.
    pub state: AssociationState,
    /// Its paths, each with its state, round-trip time, timeout and congestion window. The primary one says so.
    pub paths: Vec<PathInfo>,
    /// What the peer's receive buffer has left as far as we know, in bytes (rwnd).
    pub peer_window: usize,
    /// DATA chunks that were sent and are not acknowledged for good.
    pub outstanding_chunks: usize,
    /// Messages that can be received.
    pub messages_ready: usize,
    /// Bytes of user data that were received and not taken.
    pub receive_buffer_used: usize,
    /// Bytes that wait or are outstanding, as the send buffer counts.
    pub send_buffer_used: usize,
    /// Streams that may be sent on.
    pub outbound_streams: u16,
    /// Streams that the peer may send on.
    pub inbound_streams: u16,
    /// What it has counted.
    pub stats: AssociationStats,
}

impl AssociationStatus {
    /// The primary path.
    pub fn primary(&self) -> Option<&PathInfo> {
        self.paths.iter().find(|path| path.primary)
    }
}

/// What an association has counted since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AssociationStats {
    /// Packets that were sent.
    pub packets_sent: u64,
    /// Packets that were received and belonged to the association.
    pub packets_received: u64,
    /// Bytes in the packets that were sent, from the common header on.
    pub bytes_sent: u64,
    /// Bytes in the packets that were received.
    pub bytes_received: u64,
    /// Messages that the application gave us.
    pub messages_sent: u64,
    /// Messages that arrived whole and were put in order.
    pub messages_received: u64,
    /// Bytes of user data in DATA chunks sent for the first time.
    pub data_bytes_sent: u64,
    /// Bytes of user data in DATA chunks accepted.
    pub data_bytes_received: u64,
    /// DATA chunks sent for the first time.
    pub data_chunks_sent: u64,
    /// DATA chunks accepted.
    pub data_chunks_received: u64,
    /// DATA chunks sent again, for whatever reason.
    pub data_chunks_retransmitted: u64,
    /// Of them, those that gap reports asked for (RFC 9260 §7.2.4).
    pub fast_retransmits: u64,
    /// Times that a T3-rtx timer expired (RFC 9260 §6.3.3).
    pub t3_timeouts: u64,
    /// DATA chunks received more than once.
    pub duplicate_chunks: u64,
    /// DATA chunks dropped for want of buffer space or because a limit was reached.
    pub data_chunks_dropped: u64,
    /// SACKs sent.
    pub sacks_sent: u64,
    /// SACKs received.
    pub sacks_received: u64,
    /// HEARTBEATs sent.
    pub heartbeats_sent: u64,
    /// HEARTBEAT ACKs received that matched.
    pub heartbeats_acknowledged: u64,
    /// Control chunks sent, SACK included.
    pub control_chunks_sent: u64,
    /// Control chunks received, SACK included.
    pub control_chunks_received: u64,
    /// Packets dropped because their chunks were cut or bundled wrongly.
    pub malformed_packets: u64,
}

/// What an association that uses ECN has counted (RFC 3168; RFC 4960 Appendix A).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EcnStats {
    /// Packets with new DATA that came marked "congestion experienced".
    pub marks: u64,
    /// Times that a congestion window was reduced because the peer echoed such a mark (ECNE).
    pub reductions: u64,
}
