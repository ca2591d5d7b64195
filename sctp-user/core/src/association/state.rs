//! The state of an association (RFC 9260 §4), with what only that state has.

use bytes::Bytes;

use crate::AssociationState;
use crate::time::Instant;

/// A state and its data. A timer that belongs to a state lives in it, so it cannot run in another.
#[derive(Debug)]
pub(crate) enum State {
    /// INIT sent.
    CookieWait(CookieWait),
    /// COOKIE ECHO sent.
    CookieEchoed(Box<CookieEchoed>),
    Established,
    /// Our user wants to end; DATA is still outstanding.
    ShutdownPending,
    /// SHUTDOWN sent.
    ShutdownSent(Closing),
    /// SHUTDOWN received; DATA is still outstanding.
    ShutdownReceived,
    /// SHUTDOWN ACK sent.
    ShutdownAckSent(Closing),
    /// Ended: the endpoint is about to forget the association.
    Closed,
}

/// Waiting for INIT ACK.
#[derive(Debug)]
pub(crate) struct CookieWait {
    /// T1-init; `None` until the INIT has been sent.
    pub(crate) t1: Option<Instant>,
    /// When the INIT was last sent, to measure the round trip.
    pub(crate) sent: Instant,
    /// How often the INIT has been sent again.
    pub(crate) retransmissions: u32,
    /// How often the peer found our cookie stale (§5.2.6).
    pub(crate) stale_cookies: u32,
    /// How much longer we ask the next cookie to live, in milliseconds; 0 asks for nothing.
    pub(crate) cookie_extension_ms: u32,
}

/// Waiting for COOKIE ACK.
#[derive(Debug)]
pub(crate) struct CookieEchoed {
    /// T1-cookie; `None` until the COOKIE ECHO has been sent.
    pub(crate) t1: Option<Instant>,
    /// How often the COOKIE ECHO has been sent again.
    pub(crate) retransmissions: u32,
    pub(crate) stale_cookies: u32,
    pub(crate) cookie: Bytes,
    /// An ERROR chunk that goes with the COOKIE ECHO: parameters of the INIT ACK that were not recognized (§3.2.2).
    pub(crate) error: Option<Bytes>,
    /// When the COOKIE ECHO was last sent, to measure the round trip.
    pub(crate) sent: Instant,
}

/// Shutting down: SHUTDOWN or SHUTDOWN ACK has been sent and may have to be sent again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closing {
    /// T2-shutdown.
    pub(crate) t2: Instant,
    /// T5-shutdown-guard: the end of patience.
    pub(crate) t5: Instant,
    /// How often it has been sent again.
    pub(crate) retransmissions: u32,
}

impl State {
    /// The state as others see it.
    pub(crate) fn public(&self) -> AssociationState {
        match self {
            Self::CookieWait(_) => AssociationState::CookieWait,
            Self::CookieEchoed(_) => AssociationState::CookieEchoed,
            Self::Established => AssociationState::Established,
            Self::ShutdownPending => AssociationState::ShutdownPending,
            Self::ShutdownSent(_) => AssociationState::ShutdownSent,
            Self::ShutdownReceived => AssociationState::ShutdownReceived,
            Self::ShutdownAckSent(_) => AssociationState::ShutdownAckSent,
            Self::Closed => AssociationState::Closed,
        }
    }

    /// Whether DATA may be sent (§6).
    pub(crate) fn may_send_data(&self) -> bool {
        //= RFC 9260 §6: "Data transmission MUST only happen in the ESTABLISHED, SHUTDOWN-PENDING, and SHUTDOWN-RECEIVED
        //= states."
        matches!(self, Self::Established | Self::ShutdownPending | Self::ShutdownReceived)
    }

    /// Whether DATA is taken (§6).
    pub(crate) fn may_receive_data(&self) -> bool {
        //= RFC 9260 §6: "DATA chunks MUST only be received according to the rules below in ESTABLISHED,
        //= SHUTDOWN-PENDING, and SHUTDOWN-SENT states."
        //= RFC 9260 §6: "A DATA chunk received in any other state SHOULD be discarded."
        matches!(self, Self::Established | Self::ShutdownPending | Self::ShutdownSent(_))
    }

    /// SACKs are processed where DATA is sent, and in COOKIE-ECHOED because DATA goes with the COOKIE ECHO (§6).
    pub(crate) fn may_receive_sack(&self) -> bool {
        //= RFC 9260 §6: "A SACK chunk MUST be processed in ESTABLISHED, SHUTDOWN-PENDING, and SHUTDOWN-RECEIVED
        //= states."
        //= RFC 9260 §6: "A SACK chunk received in any other state SHOULD be discarded."
        self.may_send_data() || matches!(self, Self::CookieEchoed(_))
    }

    /// HEARTBEATs are sent from ESTABLISHED on until SHUTDOWN or SHUTDOWN ACK is (§8.3).
    pub(crate) fn may_heartbeat(&self) -> bool {
        self.may_send_data()
    }

    pub(crate) fn is_connecting(&self) -> bool {
        matches!(self, Self::CookieWait(_) | Self::CookieEchoed(_))
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }
}
