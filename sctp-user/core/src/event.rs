//! What an endpoint tells its user (RFC 9260 §11.2).

use core::net::IpAddr;
use core::num::NonZeroU16;
use core::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;
use thiserror::Error;

use crate::{AssociationId, RemoteError};

/// Something happened to an association.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An association that we asked for is established (COMMUNICATION UP, RFC 9260 §11.2.4).
    Connected {
        /// Streams that we may send on.
        outbound_streams: u16,
        /// Streams that the peer may send on.
        inbound_streams: u16,
    },
    /// A peer established an association with a port that we listen on.
    Accepted {
        /// That port.
        local_port: u16,
        /// Streams that we may send on.
        outbound_streams: u16,
        /// Streams that the peer may send on.
        inbound_streams: u16,
    },
    /// There is something to [`recv`](crate::Endpoint::recv), where before there was nothing.
    MessageReceived,
    /// There is room in the send buffer again after [`SendError::WouldBlock`](crate::SendError::WouldBlock).
    Writable,
    /// Everything that was sent has been acknowledged, and nothing waits.
    SenderDry,
    /// A path changed its state (NETWORK STATUS CHANGE, RFC 9260 §11.2.3).
    PathChanged {
        /// The peer's address that names the path.
        address: IpAddr,
        /// Its new state.
        state: PathState,
    },
    /// The primary path is another one now.
    PrimaryChanged {
        /// The peer's address that names it.
        address: IpAddr,
    },
    /// The peer asked for an orderly end: nothing more can be sent, unless
    /// [`queued_outside`](crate::AssociationConfig::queued_outside) is set. [`Event::Closed`] follows.
    PeerShutdown,
    /// The peer restarted (RESTART, RFC 9260 §11.2.7): a new association has taken the place of the old one under the same
    /// id; messages that were not acknowledged have been reported by [`Event::SendFailed`].
    Restarted {
        /// Streams that we may send on now.
        outbound_streams: u16,
        /// Streams that the peer may send on now.
        inbound_streams: u16,
    },
    /// A message was not, or not surely, delivered (SEND FAILURE, RFC 9260 §11.2.2).
    SendFailed {
        /// The number that came with the message.
        context: u64,
        /// The stream it was for.
        stream: u16,
        /// Whether part of it was sent, so that the peer may have got it after all.
        sent: bool,
        /// Why.
        reason: SendFailure,
        /// Its payload protocol identifier.
        ppid: u32,
        /// The message, if no part of it was sent (RECEIVE_UNSENT, RFC 9260 §11.1.14); else those parts at its end that are not
        /// acknowledged for good (RECEIVE_UNACKED, §11.1.15).
        payload: SmallVec<[Bytes; 1]>,
    },
    /// The rest of a message will never come of which [parts](crate::MessagePart) have been received: the association has ended, or the peer
    /// has restarted (SCTP_PARTIAL_DELIVERY_ABORTED, RFC 6458 §6.1.7).
    PartialDeliveryAborted {
        /// Stream that it came on.
        stream: u16,
        /// Stream sequence number; meaningless if it was unordered.
        ssn: u16,
        /// Its payload protocol identifier.
        ppid: u32,
    },
    /// The peer reports an error that is not fatal (COMMUNICATION ERROR, RFC 9260 §11.2.6).
    RemoteError {
        /// What it is.
        error: RemoteError,
    },
    /// The association has ended (COMMUNICATION LOST or SHUTDOWN COMPLETE); it is the last event of this id.
    ///
    /// Messages that had arrived whole can still be taken with [`recv`](crate::Endpoint::recv). Once they are, or after
    /// [`release`](crate::Endpoint::release), the id names nothing.
    Closed {
        /// How.
        reason: CloseReason,
        /// How far its DATA got. What messages that leaves undelivered has been told by [`Event::SendFailed`].
        last_tsns: LastTsns,
    },
}

/// Which of the DATA chunks that were sent were the last (COMMUNICATION LOST, RFC 9260 §11.2.5). Of an association that has sent none
/// both are the TSN before its Initial TSN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LastTsns {
    /// TSN of the last one that the peer has acknowledged, with all before it.
    pub acked: u32,
    /// TSN of the last one that was sent.
    pub sent: u32,
}

/// Why a message was not, or not surely, delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SendFailure {
    /// Its lifetime was over before it was its turn ([`Message::lifetime`](crate::Message::lifetime)).
    Expired,
    /// The peer does not grant the stream (RFC 9260 §5.1.1): it was given before that was known.
    NoSuchStream,
    /// The address that it was to be sent to is not one of the peer's: it was given before that was known.
    NoSuchPath,
    /// The peer restarted.
    Restarted,
    /// The association ended.
    Closed,
}

/// How an association ended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// In order, everything delivered (RFC 9260 §9.2).
    #[error("shut down in order")]
    Shutdown,
    /// We aborted it.
    #[error("aborted by this side")]
    LocalAbort,
    /// The peer aborted it.
    #[error("aborted by the peer{}", abort_reason(cause.as_ref()))]
    PeerAbort {
        /// Why, if it said so (RFC 9260 §3.3.10); of several causes the first, unless its user wanted the end: then
        /// [`RemoteError::UserInitiatedAbort`] with the reason that the user gave.
        cause: Option<RemoteError>,
    },
    /// No answer to INIT or COOKIE ECHO.
    #[error("the peer does not answer: check address, port, and that no firewall drops IP protocol 132")]
    ConnectTimeout,
    /// The peer answers no more (RFC 9260 §8.1).
    #[error("the peer has become unreachable")]
    Unreachable,
    /// The peer's host, or a router for it, says by ICMP that it does not know SCTP (RFC 9260 §10).
    #[error("the peer's host does not know SCTP: check its address, and that an SCTP stack runs there")]
    ProtocolUnreachable,
    /// Our COOKIE ECHO was too late, time and again.
    #[error("the peer found our cookie stale: the round trip takes longer than its cookies live")]
    StaleCookie,
    /// The shutdown took too long (T5-shutdown-guard).
    #[error("the shutdown took too long")]
    ShutdownTimeout,
    /// The peer broke the protocol.
    #[error("protocol violation by the peer: {what}")]
    ProtocolViolation {
        /// What it did.
        what: &'static str,
    },
}

/// What an ABORT gave as its reason, as the rest of a sentence: the text of the peer's user (RFC 9260 §3.3.10.12), else the number of
/// the cause.
fn abort_reason(cause: Option<&RemoteError>) -> String {
    let Some(cause) = cause else { return String::new() };
    if let RemoteError::UserInitiatedAbort { reason } = cause
        && let Ok(text) = core::str::from_utf8(reason)
    {
        return match text {
            "" => ": its user wanted it so".to_owned(),
            text => format!(": \u{201c}{}\u{201d}", text.escape_debug()),
        };
    }
    format!(" (cause {})", cause.code())
}

/// The state of a path (RFC 9260 §5.4, §8.2; RFC 7829 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PathState {
    /// The address has not been verified yet: only HEARTBEATs go there (RFC 9260 §5.4).
    Unconfirmed,
    /// In use.
    Active,
    /// Some errors, though not so many that it counts as inactive: avoided, and probed once per RTO (RFC 7829). Only with
    /// [`potentially_failed_max_retransmits`](crate::AssociationConfig::potentially_failed_max_retransmits).
    PotentiallyFailed,
    /// Too many errors: not used while another is active.
    Inactive,
}

/// A verification tag has come into use or gone out of it: what the XDP program must know to steer packets.
///
/// On one port no two associations have the same [local](TagKind::Local) tag at a time. The [peer's](TagKind::Peer) may be the same for
/// several, as each peer draws its own: it is told for each of them, and the id says for which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagChange {
    /// Packets to this port that carry this tag belong to an association.
    Added {
        /// Our port.
        local_port: u16,
        /// The tag.
        tag: u32,
        /// Whose tag it is.
        kind: TagKind,
        /// The association.
        id: AssociationId,
    },
    /// They do not any more.
    Removed {
        /// Our port.
        local_port: u16,
        /// The tag.
        tag: u32,
        /// Whose tag it was.
        kind: TagKind,
        /// The association that it named.
        id: AssociationId,
    },
}

/// Whose verification tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TagKind {
    /// Ours: carried by the packets of the association.
    Local,
    /// The peer's: carried, with the T bit, by an ABORT or SHUTDOWN COMPLETE of a peer that has forgotten the association
    /// (RFC 9260 §8.5.1).
    Peer,
}

/// An address of a peer has come into use or gone out of it: what workers share so that an INIT or COOKIE ECHO that concerns
/// an existing association finds its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerChange {
    /// An association with it exists.
    Added {
        /// The peer's address.
        peer: IpAddr,
        /// The peer's port.
        peer_port: u16,
        /// Our port.
        local_port: u16,
    },
    /// None exists any more.
    Removed {
        /// The peer's address.
        peer: IpAddr,
        /// The peer's port.
        peer_port: u16,
        /// Our port.
        local_port: u16,
    },
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// It belonged to this association and was acted upon.
    Processed(AssociationId),
    /// It belonged to none and was answered.
    Answered,
    /// It was dropped.
    Dropped(Discard),
}

/// Why a packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Discard {
    /// Shorter than a common header, or a chunk is cut or has an impossible length.
    Malformed,
    /// The CRC32c is wrong (RFC 9260 §6.8).
    BadChecksum,
    /// A port is zero (RFC 9260 §3.1).
    PortZero,
    /// The addresses are not those of two hosts (RFC 9260 §8.4 rule 1).
    BadAddress,
    /// The destination is none of [our addresses](crate::EndpointConfig::addresses).
    NotOurAddress,
    /// The verification tag is not the association's (RFC 9260 §8.5).
    BadTag,
    /// The tag is an association's, but the source is not one of its peer's addresses and ports.
    UnknownSource,
    /// It belongs to no association and must not be answered (RFC 9260 §8.4).
    OutOfTheBlue,
    /// INIT to a port that is not listened on, with the policy to stay silent.
    NotListening,
    /// INIT, INIT ACK or SHUTDOWN COMPLETE together with other chunks (RFC 9260 §6.10).
    BadBundle,
    /// COOKIE ECHO with a cookie that we did not make (RFC 9260 §5.1.5).
    BadCookie,
    /// COOKIE ECHO whose association has come and gone, as both sides know: a copy that is late.
    SpentCookie,
    /// The association's state has no use for it.
    Unexpected,
    /// Too many answers are waiting to be sent.
    TooManyAnswers,
}

impl Discard {
    /// All of them, for counters.
    pub const ALL: [Self; 14] = [
        Self::Malformed,
        Self::BadChecksum,
        Self::PortZero,
        Self::BadAddress,
        Self::NotOurAddress,
        Self::BadTag,
        Self::UnknownSource,
        Self::OutOfTheBlue,
        Self::NotListening,
        Self::BadBundle,
        Self::BadCookie,
        Self::SpentCookie,
        Self::Unexpected,
        Self::TooManyAnswers,
    ];

    /// A stable name for counters and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::BadChecksum => "bad_checksum",
            Self::PortZero => "port_zero",
            Self::BadAddress => "bad_address",
            Self::NotOurAddress => "not_our_address",
            Self::BadTag => "bad_tag",
            Self::UnknownSource => "unknown_source",
            Self::OutOfTheBlue => "out_of_the_blue",
            Self::NotListening => "not_listening",
            Self::BadBundle => "bad_bundle",
            Self::BadCookie => "bad_cookie",
            Self::SpentCookie => "spent_cookie",
            Self::Unexpected => "unexpected",
            Self::TooManyAnswers => "too_many_answers",
        }
    }
}

/// A picture of a path, for statistics and for choosing a primary (RFC 9260 §11.1.8).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PathInfo {
    /// The peer's address that names the path.
    pub address: IpAddr,
    /// The UDP port that packets go to there in UDP (RFC 6951); `None` for directly over IP.
    pub encapsulation: Option<NonZeroU16>,
    /// Its state.
    pub state: PathState,
    /// Whether it is the primary path.
    pub primary: bool,
    /// Smoothed round-trip time; `None` before the first measurement.
    pub srtt: Option<Duration>,
    /// Its variation.
    pub rttvar: Duration,
    /// Retransmission timeout.
    pub rto: Duration,
    /// Congestion window in bytes.
    pub cwnd: u32,
    /// Slow-start threshold in bytes.
    pub ssthresh: u32,
    /// Bytes in flight.
    pub flight: u32,
    /// Path MTU in bytes, IP header and UDP header included.
    pub mtu: u16,
    /// Consecutive errors.
    pub error_count: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abort_says_its_reason() {
        let said = |cause| CloseReason::PeerAbort { cause }.to_string();
        let by_user = |reason| said(Some(RemoteError::UserInitiatedAbort { reason: Bytes::from_static(reason) }));
        assert_eq!(said(None), "aborted by the peer");
        assert_eq!(by_user(b"maintenance\n"), "aborted by the peer: \u{201c}maintenance\\n\u{201d}");
        assert_eq!(by_user(b""), "aborted by the peer: its user wanted it so");
        assert_eq!(by_user(b"\xff"), "aborted by the peer (cause 12)");
        assert_eq!(said(Some(RemoteError::OutOfResource)), "aborted by the peer (cause 4)");
        assert_eq!(said(Some(RemoteError::StaleCookie { staleness_us: 1 })), "aborted by the peer (cause 3)");
    }
}
