//! Congestion control (RFC 9260 §7): how much may be in flight on a path.
//!
//! A [`Controller`] is told what happened to a path and says how large its window is. It knows neither chunks nor timers.

mod newreno;

pub(crate) use newreno::NewReno;

use crate::config::CongestionAlgorithm;

/// A congestion controller of one path. Sizes are in bytes, of DATA chunks with their headers and padding (§7.2).
pub(crate) trait Controller {
    /// The congestion window, cwnd.
    fn window(&self) -> u32;

    /// The slow-start threshold, ssthresh.
    fn threshold(&self) -> u32;

    /// A SACK newly acknowledged data that was sent on this path.
    fn on_acknowledged(&mut self, acknowledged: Acknowledged);

    /// Gap reports showed a loss, outside of fast recovery (§7.2.3).
    fn on_loss(&mut self);

    /// T3-rtx expired (§7.2.3).
    fn on_timeout(&mut self);

    /// Nothing was sent on the path for `periods` retransmission timeouts (§7.2.1).
    fn on_idle(&mut self, periods: u32);

    /// PMDCS, the path's maximum DATA chunk size, changed.
    fn set_max_chunk(&mut self, max_chunk: u32);
}

/// What a SACK newly acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledged {
    /// How many bytes.
    pub(crate) bytes: u32,
    /// Whether the window was fully used before.
    pub(crate) window_used: bool,
    /// Whether the sender is in fast recovery.
    pub(crate) in_fast_recovery: bool,
    /// Whether nothing is in flight on the path any more.
    pub(crate) all: bool,
}

/// The controllers there are. An enum rather than a box: no allocation for each path, and calls can be inlined.
#[derive(Debug)]
pub(crate) enum AnyController {
    NewReno(NewReno),
}

impl AnyController {
    /// A controller in its initial state; `max_chunk` is PMDCS.
    pub(crate) fn new(algorithm: CongestionAlgorithm, max_chunk: u32, is_ipv4: bool) -> Self {
        match algorithm {
            CongestionAlgorithm::NewReno => Self::NewReno(NewReno::new(max_chunk, is_ipv4)),
        }
    }
}

impl Controller for AnyController {
    fn window(&self) -> u32 {
        match self {
            Self::NewReno(controller) => controller.window(),
        }
    }

    fn threshold(&self) -> u32 {
        match self {
            Self::NewReno(controller) => controller.threshold(),
        }
    }

    fn on_acknowledged(&mut self, acknowledged: Acknowledged) {
        match self {
            Self::NewReno(controller) => controller.on_acknowledged(acknowledged),
        }
    }

    fn on_loss(&mut self) {
        match self {
            Self::NewReno(controller) => controller.on_loss(),
        }
    }

    fn on_timeout(&mut self) {
        match self {
            Self::NewReno(controller) => controller.on_timeout(),
        }
    }

    fn on_idle(&mut self, periods: u32) {
        match self {
            Self::NewReno(controller) => controller.on_idle(periods),
        }
    }

    fn set_max_chunk(&mut self, max_chunk: u32) {
        match self {
            Self::NewReno(controller) => controller.set_max_chunk(max_chunk),
        }
    }
}
