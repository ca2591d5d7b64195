//! Congestion control (RFC 9260 §7): how much may be in flight on a path.
//!
//! A [`Controller`] is told what happened to a path and says how large its window is. It knows neither chunks nor timers.

mod cubic;
mod newreno;
mod pacer;

pub(crate) use cubic::Cubic;
pub(crate) use newreno::NewReno;
pub(crate) use pacer::Pacer;

use crate::config::CongestionAlgorithm;
use crate::time::Instant;

/// No window grows beyond this.
const MAX_WINDOW: u32 = 1 << 30;

/// L of RFC 9260 §7.2.1: in slow start a SACK for delayed acknowledgements of two packets may open the window by as much (RFC 3465).
const SLOW_START_PACKETS: u32 = 2;

/// A congestion controller of one path. Sizes are in bytes, of DATA chunks with their headers and padding (§7.2).
pub(crate) trait Controller {
    /// The congestion window, cwnd.
    fn window(&self) -> u32;

    /// The slow-start threshold, ssthresh.
    fn threshold(&self) -> u32;

    /// A SACK newly acknowledged data that was sent on this path.
    fn on_acknowledged(&mut self, acknowledged: Acknowledged);

    /// Congestion: gap reports showed a loss (§7.2.3), or a router marked a packet (RFC 3168 §5). At most once for a window of data.
    fn on_congestion(&mut self);

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
    /// When the SACK came.
    pub(crate) now: Instant,
    /// The path's smoothed round-trip time in nanoseconds; 0 if it has not been measured.
    pub(crate) srtt: u64,
}

/// The controllers there are. An enum rather than a box: no allocation for each path, and calls can be inlined.
#[derive(Debug)]
pub(crate) enum AnyController {
    NewReno(NewReno),
    /// It has more state, which those who do not use it should not pay for.
    Cubic(Box<Cubic>),
}

impl AnyController {
    /// A controller in its initial state; `max_chunk` is PMDCS.
    pub(crate) fn new(algorithm: CongestionAlgorithm, max_chunk: u32, is_ipv4: bool) -> Self {
        match algorithm {
            CongestionAlgorithm::NewReno => Self::NewReno(NewReno::new(max_chunk, is_ipv4)),
            CongestionAlgorithm::Cubic => Self::Cubic(Box::new(Cubic::new(max_chunk, is_ipv4))),
        }
    }
}

impl Controller for AnyController {
    fn window(&self) -> u32 {
        match self {
            Self::NewReno(controller) => controller.window(),
            Self::Cubic(controller) => controller.window(),
        }
    }

    fn threshold(&self) -> u32 {
        match self {
            Self::NewReno(controller) => controller.threshold(),
            Self::Cubic(controller) => controller.threshold(),
        }
    }

    fn on_acknowledged(&mut self, acknowledged: Acknowledged) {
        match self {
            Self::NewReno(controller) => controller.on_acknowledged(acknowledged),
            Self::Cubic(controller) => controller.on_acknowledged(acknowledged),
        }
    }

    fn on_congestion(&mut self) {
        match self {
            Self::NewReno(controller) => controller.on_congestion(),
            Self::Cubic(controller) => controller.on_congestion(),
        }
    }

    fn on_timeout(&mut self) {
        match self {
            Self::NewReno(controller) => controller.on_timeout(),
            Self::Cubic(controller) => controller.on_timeout(),
        }
    }

    fn on_idle(&mut self, periods: u32) {
        match self {
            Self::NewReno(controller) => controller.on_idle(periods),
            Self::Cubic(controller) => controller.on_idle(periods),
        }
    }

    fn set_max_chunk(&mut self, max_chunk: u32) {
        match self {
            Self::NewReno(controller) => controller.set_max_chunk(max_chunk),
            Self::Cubic(controller) => controller.set_max_chunk(max_chunk),
        }
    }
}

/// The window of a new path: min(4 × PMDCS, max(2 × PMDCS, 4404 or 4344)), RFC 9260 §7.2.1.
fn initial_window(max_chunk: u32, is_ipv4: bool) -> u32 {
    let floor = if is_ipv4 { 4404 } else { 4344 };
    //= RFC 9260 §7.2.1: "The initial cwnd before data transmission MUST be set to min(4 * PMDCS, max(2 * PMDCS,
    //= 4404)) bytes if the peer address is an IPv4 address"
    (4 * max_chunk).min((2 * max_chunk).max(floor))
}
