//! Path MTU discovery by probes: the state machine of RFC 8899 §5.2, for SCTP (§6.2 there).
//!
//! Sizes are those of IP packets. The PLPMTU itself, what packets with DATA keep to, is the path's; a method here that changes it
//! returns it. Nothing is probed while nothing is to be gained: a path that starts with the largest size it may have begins in
//! SEARCH_COMPLETE, and only when the first large packet goes there ("MAY inhibit sending probe packets when no application data has been
//! sent", §5.1.1). So an ordinary association sends no probe at all; what it has is the detection of black holes.

use core::time::Duration;

use crate::time::Instant;

/// "MAX_PROBES represents the limit for the number of consecutive probe attempts of any size." (RFC 8899 §5.1.2)
const MAX_PROBES: u8 = 3;

/// So many timeouts of large packets, with none acknowledged between them, are a black hole.
const BLACK_HOLE_TIMEOUTS: u8 = 3;

/// "This value MUST NOT be smaller than 1 second and SHOULD be larger than 15 seconds." (RFC 8899 §5.1.1)
const PROBE_TIMER: Duration = Duration::from_secs(16);

/// Sizes of links and tunnels that there are (RFC 1191 §7.1, and what has come since: Ethernet with PPPoE, GRE, IPsec, VXLAN; jumbo
/// frames). A search tries no others but the largest allowed.
const COMMON_SIZES: [u16; 25] = [
    1006, 1200, 1280, 1300, 1350, 1380, 1400, 1420, 1440, 1450, 1460, 1472, 1480, 1492, 1500, 2002, 3000, 4352, 6000,
    7500, 8166, 9000, 9180, 16_000, 32_000,
];

/// Between which sizes the PLPMTU is, and when a larger one is looked for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// MIN_PLPMTU.
    pub(crate) min: u16,
    /// BASE_PLPMTU: "a configured size expected to work for most paths".
    pub(crate) base: u16,
    /// MAX_PLPMTU: what the interface carries.
    pub(crate) max: u16,
    /// The period of PMTU_RAISE_TIMER.
    pub(crate) raise: Duration,
}

impl Bounds {
    pub(crate) fn new(is_ipv4: bool, max: u16, raise: Duration) -> Self {
        let min = if is_ipv4 { 576 } else { 1280 };
        let max = max.max(min);
        Self { min, base: base(is_ipv4).min(max), max, raise }
    }
}

/// BASE_PLPMTU: "When using IPv4, there is no currently equivalent size specified, and a default BASE_PLPMTU of 1200 bytes is RECOMMENDED."
/// (RFC 8899 §5.1.2). Every IPv6 link carries 1280.
pub(crate) fn base(is_ipv4: bool) -> u16 {
    if is_ipv4 { 1200 } else { 1280 }
}

/// The states of RFC 8899 §5.2, each with what only it has.
#[derive(Debug, Default)]
pub(crate) enum Discovery {
    /// Nothing large has been sent, or the path does not work.
    #[default]
    Disabled,
    /// Confirms that BASE_PLPMTU works.
    Base {
        probe: Box<Probe>,
        /// What the search that follows goes up to.
        ceiling: u16,
    },
    /// Looks for more.
    Searching {
        probe: Box<Probe>,
        /// The smallest size that is known, or suspected, to be too large.
        too_large: u32,
        ceiling: u16,
    },
    /// There is no more, or not for now.
    SearchComplete {
        /// PMTU_RAISE_TIMER; `None` at MAX_PLPMTU.
        raise: Option<Instant>,
    },
    /// Not even BASE_PLPMTU works.
    Error { probe: Box<Probe> },
}

/// A probe packet: HEARTBEAT and PAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    /// PROBED_SIZE.
    pub(crate) size: u16,
    /// Tells its HEARTBEAT ACK from all others; 0 before it is sent.
    nonce: u64,
    /// PROBE_COUNT: probes that were not answered, in a row.
    count: u8,
    /// When it is to be sent, or once it is, PROBE_TIMER.
    timer: Instant,
    sent: bool,
}

/// What a timer of the discovery asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// A probe of this size is to be sent.
    Probe(u16),
    /// The PLPMTU is to be lowered to this.
    Lower(u16),
    Nothing,
}

impl Discovery {
    /// Whether it has not begun.
    pub(crate) fn is_disabled(&self) -> bool {
        matches!(self, Self::Disabled)
    }

    /// When it must be looked at.
    pub(crate) fn timer(&self) -> Option<Instant> {
        match self {
            Self::Disabled => None,
            Self::SearchComplete { raise } => *raise,
            Self::Base { probe, .. } | Self::Searching { probe, .. } | Self::Error { probe } => Some(probe.timer),
        }
    }

    /// The size of the probe that is under way or about to be sent.
    pub(crate) fn probed_size(&self) -> Option<u16> {
        match self {
            Self::Base { probe, .. } | Self::Searching { probe, .. } | Self::Error { probe } => Some(probe.size),
            Self::Disabled | Self::SearchComplete { .. } => None,
        }
    }

    /// Whether a HEARTBEAT ACK with this nonce answers a probe.
    pub(crate) fn is_probe(&self, nonce: u64) -> bool {
        self.probe().is_some_and(|probe| probe.sent && probe.nonce == nonce)
    }

    /// Large packets are being sent: begins to look for more than `plpmtu`.
    pub(crate) fn start(&mut self, plpmtu: u16, bounds: Bounds, now: Instant) {
        *self = search(plpmtu, bounds.max, u32::from(bounds.max) + 1, 0, bounds, now);
    }

    /// "PL indicates loss of connectivity"
    pub(crate) fn stop(&mut self) {
        *self = Self::Disabled;
    }

    /// The size is known from elsewhere; whether there is more is asked later.
    pub(crate) fn settled(bounds: Bounds, now: Instant) -> Self {
        Self::SearchComplete { raise: Some(now + bounds.raise) }
    }

    /// A probe is about to be sent. Should it not go out, it is tried again later.
    pub(crate) fn prepare(&mut self, nonce: u64, now: Instant) {
        if let Some(probe) = self.probe_mut() {
            (probe.nonce, probe.timer) = (nonce, now + PROBE_TIMER);
        }
    }

    /// The probe is being sent; gives its nonce. "Each time a probe packet is sent, the PROBE_TIMER is started."
    pub(crate) fn probe_sent(&mut self, now: Instant, rto: Duration) -> Option<u64> {
        let probe = self.probe_mut()?;
        (probe.sent, probe.timer) = (true, now + PROBE_TIMER.max(rto));
        Some(probe.nonce)
    }

    /// The timer has expired.
    pub(crate) fn expired(&mut self, plpmtu: u16, bounds: Bounds, now: Instant) -> Due {
        match self {
            Self::Disabled => return Due::Nothing,
            Self::SearchComplete { .. } => {
                // Whatever was too large may not be any more.
                self.start(plpmtu, bounds, now);
                return self.due(now);
            }
            _ => {}
        }
        let Some(probe) = self.probe_mut().filter(|probe| probe.sent) else { return self.due(now) };
        probe.sent = false;
        probe.count += 1;
        let Probe { size, count, .. } = *probe;
        match self {
            Self::Base { .. } if count >= MAX_PROBES => {
                *self = Self::Error { probe: Probe::new(bounds.base, 0, now + PROBE_TIMER) };
                Due::Lower(bounds.min)
            }
            // "If the value of the PROBE_COUNT reaches MAX_PROBES, probing will stop" (RFC 8899 §5.3.1).
            Self::Searching { .. } if count >= MAX_PROBES => {
                *self = Self::settled(bounds, now);
                Due::Nothing
            }
            Self::Searching { ceiling, .. } => {
                *self = search(plpmtu, *ceiling, size.into(), count, bounds, now);
                self.due(now)
            }
            Self::Error { probe } => {
                **probe = Probe::new_inline(bounds.base, 0, now);
                self.due(now)
            }
            _ => self.due(now),
        }
    }

    /// A HEARTBEAT ACK has answered the probe; gives the new PLPMTU.
    pub(crate) fn acknowledged(&mut self, plpmtu: u16, bounds: Bounds, now: Instant) -> u16 {
        let Some(size) = self.probed_size() else { return plpmtu };
        let found = size.max(plpmtu);
        *self = match *self {
            Self::Base { ceiling, .. } => search(found, ceiling, u32::from(ceiling) + 1, 0, bounds, now),
            Self::Searching { too_large, ceiling, .. } => search(found, ceiling, too_large, 0, bounds, now),
            _ => search(found, bounds.max, u32::from(bounds.max) + 1, 0, bounds, now),
        };
        found
    }

    /// Large packets get lost, again and again; gives the new PLPMTU.
    pub(crate) fn black_hole(&mut self, plpmtu: u16, bounds: Bounds, now: Instant) -> u16 {
        if plpmtu <= bounds.base {
            *self = Self::Error { probe: Probe::new(bounds.base, 0, now + PROBE_TIMER) };
            return bounds.min;
        }
        *self = Self::Base { probe: Probe::new(bounds.base, 0, now), ceiling: plpmtu - 1 };
        bounds.base
    }

    /// A Packet Too Big message, which has been validated, reports `size` (RFC 8899 §4.6.2); gives the new PLPMTU.
    pub(crate) fn packet_too_big(&mut self, size: u16, plpmtu: u16, bounds: Bounds, now: Instant) -> u16 {
        let probed = self.probed_size().unwrap_or(plpmtu).max(plpmtu);
        match self {
            _ if size < bounds.min || size >= probed => plpmtu,
            _ if size < bounds.base => {
                *self = Self::Error { probe: Probe::new(bounds.base, 0, now + PROBE_TIMER) };
                bounds.min
            }
            // "The PLPMTU SHOULD be set to BASE_PLPMTU … The PL_PTB_SIZE reported in the PTB message can be used to initialize a search".
            // A message that repeats what is known does not start it anew.
            _ if size < plpmtu => {
                *self = Self::Base { probe: Probe::new(bounds.base, 0, now), ceiling: size };
                bounds.base
            }
            // "a validated PTB is received that corresponds to the last successfully probed size"
            Self::Searching { .. } if size == plpmtu => {
                *self = Self::settled(bounds, now);
                plpmtu
            }
            // "The PL can use the reported PL_PTB_SIZE from the PTB message as the next search point".
            Self::Searching { probe, too_large, ceiling } => {
                (*too_large, *ceiling) = (u32::from(size) + 1, size);
                **probe = Probe::new_inline(size, 0, now);
                plpmtu
            }
            _ => plpmtu,
        }
    }

    fn due(&mut self, now: Instant) -> Due {
        match self.probe() {
            Some(probe) if !probe.sent && probe.timer <= now => Due::Probe(probe.size),
            _ => Due::Nothing,
        }
    }

    fn probe(&self) -> Option<&Probe> {
        match self {
            Self::Base { probe, .. } | Self::Searching { probe, .. } | Self::Error { probe } => Some(probe),
            Self::Disabled | Self::SearchComplete { .. } => None,
        }
    }

    fn probe_mut(&mut self) -> Option<&mut Probe> {
        match self {
            Self::Base { probe, .. } | Self::Searching { probe, .. } | Self::Error { probe } => Some(probe),
            Self::Disabled | Self::SearchComplete { .. } => None,
        }
    }
}

impl Probe {
    fn new(size: u16, count: u8, timer: Instant) -> Box<Self> {
        Box::new(Self::new_inline(size, count, timer))
    }

    fn new_inline(size: u16, count: u8, timer: Instant) -> Self {
        Self { size, nonce: 0, count, timer, sent: false }
    }
}

/// The search goes on above `plpmtu`, or is complete.
///
/// It tries the largest size first, for most paths carry what the interface does; then halves the table of common sizes.
fn search(plpmtu: u16, ceiling: u16, too_large: u32, count: u8, bounds: Bounds, now: Instant) -> Discovery {
    match next_size(plpmtu, ceiling, too_large) {
        Some(size) => Discovery::Searching { probe: Probe::new(size, count, now), too_large, ceiling },
        // A ceiling below MAX_PLPMTU is what a router has told, or what got lost: it need not be so for ever.
        None if plpmtu >= bounds.max => Discovery::SearchComplete { raise: None },
        None => Discovery::settled(bounds, now),
    }
}

/// The size to probe next; `None` if none is worth it.
fn next_size(plpmtu: u16, ceiling: u16, too_large: u32) -> Option<u16> {
    if u32::from(ceiling) < too_large {
        return (ceiling > plpmtu).then_some(ceiling);
    }
    let candidates = || COMMON_SIZES.into_iter().filter(|size| *size > plpmtu && u32::from(*size) < too_large);
    candidates().nth(candidates().count() / 2)
}

/// Counts timeouts of large packets on a path.
#[derive(Debug, Default)]
pub(crate) struct LargePackets {
    /// The last packet with DATA was larger than BASE_PLPMTU.
    pub(crate) last: bool,
    /// Those that timed out held a large chunk, so that what is sent in smaller packets proves nothing.
    chunks: bool,
    timeouts: u8,
}

impl LargePackets {
    /// T3-rtx has expired; `chunk` if what timed out has a chunk that makes a large packet by itself. True if it is a black hole.
    pub(crate) fn timed_out(&mut self, chunk: bool) -> bool {
        if !chunk && !self.last {
            return false;
        }
        self.chunks |= chunk;
        self.timeouts += 1;
        let is_black_hole = self.timeouts >= BLACK_HOLE_TIMEOUTS;
        if is_black_hole {
            *self = Self::default();
        }
        is_black_hole
    }

    /// DATA has been acknowledged that was sent on this path only; `chunk` if some of it makes a large packet by itself.
    pub(crate) fn acknowledged(&mut self, chunk: bool) {
        if chunk || !self.chunks {
            (self.timeouts, self.chunks) = (0, false);
        }
    }
}

#[cfg(test)]
mod tests;
