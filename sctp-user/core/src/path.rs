//! Paths: one for each address of the peer, each with its own round-trip time, congestion window, errors and heartbeat
//! (RFC 9260 §5.4, §6.3, §6.4, §8.2, §8.3).

use core::net::IpAddr;
use core::time::Duration;

use rand::{Rng, RngExt};
use smallvec::SmallVec;

use crate::config::AssociationConfig;
use crate::congestion::{AnyController, Controller};
use crate::event::PathState;
use crate::serial::Tsn;
use crate::time::Instant;

/// Bytes of the SCTP common header.
const COMMON_HEADER: usize = 12;

/// Granularity of the clock, G of RFC 9260 §6.3.1: the least variation that is assumed, in nanoseconds.
const GRANULARITY: u64 = 250_000;

/// A destination address of the peer.
#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) address: IpAddr,
    /// Our address to send from; `None` leaves it to routing.
    pub(crate) source: Option<IpAddr>,
    pub(crate) state: PathState,
    pub(crate) rtt: RttEstimator,
    //= RFC 9260 §7.2: "an SCTP sender MUST keep a set of the control variables cwnd, ssthresh, and partial_bytes_acked
    //= for EACH destination address"
    pub(crate) controller: AnyController,
    //= RFC 9260 §8.2: "an endpoint SHOULD keep an error counter for each of the destination transport addresses"
    /// Consecutive timeouts and unanswered heartbeats (§8.2).
    pub(crate) error_count: u32,
    /// When T3-rtx expires, if it runs (§6.3.2).
    pub(crate) t3: Option<Instant>,
    pub(crate) heartbeat: Heartbeat,
    /// PMTU in bytes, with the IP header.
    //= RFC 9260 §7.3: "An endpoint MUST maintain separate PMTU estimates for each destination address of its peer."
    pub(crate) mtu: u16,
    /// When something was last sent that measures the path: DATA for the first time, or a HEARTBEAT (§8.3).
    pub(crate) last_measured: Instant,
    /// When DATA was last sent, for the decay of an idle window (§7.2.1).
    pub(crate) last_data: Instant,
    /// The chunk that the running round-trip measurement waits for, and when it was sent (§6.3.1 C4).
    pub(crate) measuring: Option<(Tsn, Instant)>,
    /// The window was full when sending last stopped: it is being used (§7.2.1).
    pub(crate) window_full: bool,
    /// After a timeout only one packet may be in flight until something is acknowledged (§7.2.3).
    pub(crate) one_packet: bool,
    /// One packet of fast retransmissions may be sent whatever the window (§7.2.4 item 3).
    pub(crate) fast_retransmit: bool,
}

/// The state of a path's HEARTBEATs.
#[derive(Debug, Default)]
pub(crate) struct Heartbeat {
    /// When to send one, or, while one is unanswered and not overdue, when it becomes overdue.
    pub(crate) timer: Option<Instant>,
    pub(crate) unanswered: Option<Unanswered>,
}

/// A HEARTBEAT that has not been answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unanswered {
    /// Proves that the answer was made by whoever got the HEARTBEAT (§5.4).
    pub(crate) nonce: u64,
    pub(crate) sent: Instant,
    /// It has been counted as an error.
    pub(crate) overdue: bool,
}

impl Path {
    pub(crate) fn new(address: IpAddr, state: PathState, config: &AssociationConfig, now: Instant) -> Self {
        let mut path = Self {
            address,
            source: None,
            state,
            rtt: RttEstimator::new(config),
            controller: AnyController::new(config.congestion, 0, address.is_ipv4()),
            error_count: 0,
            t3: None,
            heartbeat: Heartbeat::default(),
            mtu: config.path_mtu,
            last_measured: now,
            last_data: now,
            measuring: None,
            window_full: false,
            one_packet: false,
            fast_retransmit: false,
        };
        path.reset_congestion(config);
        path
    }

    /// The congestion controller begins anew (§7.2.5).
    pub(crate) fn reset_congestion(&mut self, config: &AssociationConfig) {
        let max_chunk = (self.max_packet() - COMMON_HEADER) as u32;
        self.controller = AnyController::new(config.congestion, max_chunk, self.address.is_ipv4());
        self.window_full = false;
        self.one_packet = false;
        self.fast_retransmit = false;
    }

    /// Bytes for an SCTP packet: the PMTU without the IP header.
    pub(crate) fn max_packet(&self) -> usize {
        usize::from(self.mtu) - if self.address.is_ipv4() { 20 } else { 40 }
    }

    /// Whether anything but HEARTBEATs may be sent to it (§5.4).
    pub(crate) fn is_confirmed(&self) -> bool {
        self.state != PathState::Unconfirmed
    }

    pub(crate) fn is_active(&self) -> bool {
        self.state == PathState::Active
    }

    /// Whether a packet with DATA may be sent now, with `flight` bytes in flight (§6.1 B, §7.2.3).
    pub(crate) fn has_window(&self, flight: u32) -> bool {
        //= RFC 9260 §6.1: "the sender MUST NOT transmit new data to a given transport address if it has cwnd + (PMDCS -
        //= 1) or more bytes of data outstanding"
        //= RFC 9260 §6.1: "the sender SHOULD exceed cwnd by up to (PMDCS - 1) bytes on a new data transmission if the
        //= flightsize does not currently reach cwnd"
        //= RFC 9260 §6.1: "The breach of cwnd MUST constitute one packet only."
        //= RFC 9260 §7.2.1: "A limited overbooking as described in rule B in Section 6.1 SHOULD be supported."
        if self.one_packet { flight == 0 } else { flight < self.controller.window() }
    }

    /// The congestion window, in bytes.
    pub(crate) fn controller_window(&self) -> u32 {
        self.controller.window()
    }

    /// The window shrinks while the path is idle (§7.2.1); to be called before sending when nothing is in flight.
    pub(crate) fn decay(&mut self, now: Instant) {
        let idle = now - self.last_data;
        let rto = self.rtt.rto();
        if idle > rto {
            let periods = idle.as_nanos() / rto.as_nanos().max(1);
            self.controller.on_idle(u32::try_from(periods).unwrap_or(u32::MAX));
        }
    }

    /// The time to the next HEARTBEAT of an idle path: RTO + HB.interval, with jitter of ±50 % of the RTO (§8.3).
    pub(crate) fn heartbeat_period(&self, interval: Duration, rng: &mut impl Rng) -> Duration {
        self.rtt.rto().mul_f64(rng.random_range(0.5..1.5)) + interval
    }
}

/// The paths of an association.
#[derive(Debug)]
pub(crate) struct Paths {
    list: SmallVec<[Path; 1]>,
    primary: usize,
    /// Most bytes of an SCTP packet on every path, without the common header: AMDCS (§7.3).
    max_chunk: usize,
    /// No packet is larger than this, whatever the path could take.
    max_packet: usize,
}

impl Paths {
    pub(crate) fn new(first: Path, max_packet: usize) -> Self {
        let mut paths = Self { list: SmallVec::new(), primary: 0, max_chunk: usize::MAX, max_packet };
        paths.push(first);
        paths
    }

    pub(crate) fn push(&mut self, path: Path) {
        self.list.push(path);
        self.update_max_chunk();
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn iter(&self) -> core::slice::Iter<'_, Path> {
        self.list.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> core::slice::IterMut<'_, Path> {
        self.list.iter_mut()
    }

    /// The path with this address of the peer.
    pub(crate) fn find(&self, address: IpAddr) -> Option<usize> {
        self.list.iter().position(|path| path.address == address)
    }

    pub(crate) fn primary(&self) -> usize {
        self.primary
    }

    pub(crate) fn set_primary(&mut self, path: usize) {
        self.primary = path;
    }

    /// AMDCS: the largest chunk that fits a packet on every path.
    pub(crate) fn max_chunk(&self) -> usize {
        self.max_chunk
    }

    /// The largest SCTP packet on this path.
    pub(crate) fn max_packet(&self, path: usize) -> usize {
        self.list[path].max_packet().min(self.max_packet)
    }

    /// Where new DATA goes: the primary path, or while it is not active one that is (§6.4.1), or what looks least broken.
    pub(crate) fn for_data(&self) -> usize {
        //= RFC 9260 §6.4: "By default, an endpoint SHOULD always transmit to the primary path"
        //= RFC 9260 §6.4.1: "the SCTP endpoint SHOULD try to send the data to an alternate active destination transport
        //= address if one exists"
        //= RFC 9260 §8.2: "only ONE transport address SHOULD be chosen and used as the new destination transport
        //= address"
        if self.list[self.primary].is_active() {
            return self.primary;
        }
        self.list
            .iter()
            .enumerate()
            .filter(|(_, path)| path.is_confirmed())
            .min_by_key(|(at, path)| (!path.is_active(), path.error_count, *at != self.primary))
            .map_or(self.primary, |(at, _)| at)
    }

    /// Where to send again what timed out on `last`: another active path if there is one (§6.4).
    pub(crate) fn alternate(&self, last: usize) -> usize {
        //= RFC 9260 §6.4: "an endpoint SHOULD try to retransmit a chunk that timed out to an active destination
        //= transport address that is different from the last destination address"
        let others = self.list.iter().enumerate().filter(|(at, path)| *at != last && path.is_active());
        match others.min_by_key(|(at, path)| (path.error_count, *at != self.primary)) {
            Some((at, _)) => at,
            None if self.list[last].is_active() => last,
            None => self.for_data(),
        }
    }

    /// The PMTU of a path has changed.
    pub(crate) fn set_mtu(&mut self, path: usize, mtu: u16) {
        let path = &mut self.list[path];
        path.mtu = mtu.max(if path.address.is_ipv4() { 576 } else { 1280 });
        let max_chunk = path.max_packet() - COMMON_HEADER;
        path.controller.set_max_chunk(max_chunk as u32);
        self.update_max_chunk();
    }

    //= RFC 9260 §7.3: "The sender SHOULD track an AMDCS that will be the smallest PMDCS discovered for all of the
    //= peer's destination addresses."
    fn update_max_chunk(&mut self) {
        let smallest = self.list.iter().map(Path::max_packet).min().unwrap_or(self.max_packet);
        self.max_chunk = (smallest.min(self.max_packet) - COMMON_HEADER) & !3;
    }
}

impl core::ops::Index<usize> for Paths {
    type Output = Path;

    fn index(&self, at: usize) -> &Path {
        &self.list[at]
    }
}

impl core::ops::IndexMut<usize> for Paths {
    fn index_mut(&mut self, at: usize) -> &mut Path {
        &mut self.list[at]
    }
}

/// Round-trip time and retransmission timeout (§6.3.1). In nanoseconds: a path should be small.
#[derive(Debug)]
pub(crate) struct RttEstimator {
    /// 0 before the first measurement.
    srtt: u64,
    rttvar: u64,
    rto: u64,
}

impl RttEstimator {
    fn new(config: &AssociationConfig) -> Self {
        Self { srtt: 0, rttvar: 0, rto: nanos(config.rto_initial) }
    }

    /// The retransmission timeout, after any doubling.
    pub(crate) fn rto(&self) -> Duration {
        Duration::from_nanos(self.rto)
    }

    pub(crate) fn srtt(&self) -> Option<Duration> {
        (self.srtt != 0).then(|| Duration::from_nanos(self.srtt))
    }

    pub(crate) fn rttvar(&self) -> Duration {
        Duration::from_nanos(self.rttvar)
    }

    /// Takes in a measurement. It undoes any doubling.
    pub(crate) fn measured(&mut self, rtt: Duration, config: &AssociationConfig) {
        let rtt = nanos(rtt).max(1);
        if self.srtt == 0 {
            self.rttvar = rtt / 2;
            self.srtt = rtt;
        } else {
            // RTO.Beta = 1/4, RTO.Alpha = 1/8.
            self.rttvar = self.rttvar - self.rttvar / 4 + self.srtt.abs_diff(rtt) / 4;
            self.srtt = self.srtt - self.srtt / 8 + rtt / 8;
        }
        self.rttvar = self.rttvar.max(GRANULARITY);
        self.forgive(config);
    }

    /// Doubles the timeout (§6.3.3 E2).
    pub(crate) fn back_off(&mut self, config: &AssociationConfig) {
        self.rto = self.rto.saturating_mul(2).min(nanos(config.rto_max));
    }

    /// Takes the doubling back.
    pub(crate) fn forgive(&mut self, config: &AssociationConfig) {
        if self.srtt != 0 {
            let rto = self.srtt.saturating_add(self.rttvar.saturating_mul(4));
            self.rto = rto.clamp(nanos(config.rto_min), nanos(config.rto_max));
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(address: [u8; 4], state: PathState) -> Path {
        Path::new(IpAddr::from(address), state, &AssociationConfig::rfc(), Instant::ORIGIN)
    }

    #[test]
    fn rto_follows_the_rules() {
        let config = AssociationConfig { rto_min: Duration::from_millis(10), ..AssociationConfig::rfc() };
        let mut rtt = RttEstimator::new(&config);
        assert_eq!(rtt.rto(), Duration::from_secs(1));
        rtt.measured(Duration::from_millis(100), &config);
        assert_eq!((rtt.srtt(), rtt.rttvar()), (Some(Duration::from_millis(100)), Duration::from_millis(50)));
        assert_eq!(rtt.rto(), Duration::from_millis(300));
        rtt.measured(Duration::from_millis(180), &config);
        assert_eq!(rtt.srtt(), Some(Duration::from_millis(110)));
        assert_eq!(rtt.rttvar(), Duration::from_micros(57_500));
        rtt.back_off(&config);
        rtt.back_off(&config);
        assert_eq!(rtt.rto(), Duration::from_millis(4 * 340));
        for _ in 0..10 {
            rtt.back_off(&config);
        }
        assert_eq!(rtt.rto(), Duration::from_secs(60));
        // A measurement collapses it, but not below the minimum.
        for _ in 0..100 {
            rtt.measured(Duration::from_micros(20), &config);
        }
        assert_eq!(rtt.rto(), Duration::from_millis(10));
    }

    //= test RFC 9260 §6.4: "By default, an endpoint SHOULD always transmit to the primary path"
    //= test RFC 9260 §6.4.1: "the SCTP endpoint SHOULD try to send the data to an alternate active destination
    //= transport address if one exists"
    //= test RFC 9260 §6.4: "an endpoint SHOULD try to retransmit a chunk that timed out to an active destination
    //= transport address that is different"
    //= test RFC 9260 §8.2: "only ONE transport address SHOULD be chosen"
    #[test]
    fn data_leaves_an_inactive_primary() {
        let mut paths = Paths::new(path([10, 0, 0, 1], PathState::Active), 1480);
        paths.push(path([10, 0, 0, 2], PathState::Unconfirmed));
        paths.push(path([10, 0, 0, 3], PathState::Active));
        assert_eq!((paths.for_data(), paths.alternate(0), paths.alternate(2)), (0, 2, 0));
        paths[0].state = PathState::Inactive;
        assert_eq!((paths.for_data(), paths.alternate(0), paths.alternate(2)), (2, 2, 2));
        paths[2].state = PathState::Inactive;
        paths[2].error_count = 9;
        assert_eq!(paths.for_data(), 0);
        assert_eq!(paths.find(IpAddr::from([10, 0, 0, 3])), Some(2));
    }

    //= test RFC 9260 §6.1: "the sender MUST NOT transmit new data to a given transport address if it has cwnd + (PMDCS
    //= - 1) or more bytes of data outstanding"
    //= test RFC 9260 §6.1: "the sender SHOULD exceed cwnd by up to (PMDCS - 1) bytes"
    #[test]
    fn one_packet_after_a_timeout() {
        let mut path = path([10, 0, 0, 1], PathState::Active);
        assert!(path.has_window(4403) && !path.has_window(4404));
        path.one_packet = true;
        assert!(path.has_window(0) && !path.has_window(1));
    }
}
