//! Paths: one for each address of the peer, each with its own round-trip time, congestion window, errors and heartbeat
//! (RFC 9260 §5.4, §6.3, §6.4, §8.2, §8.3).

mod list;
pub(crate) mod pmtu;
mod rtt;

use core::net::IpAddr;
use core::num::{NonZeroU16, NonZeroU64};
use core::time::Duration;

use rand::{Rng, RngExt};

use crate::config::AssociationConfig;
use crate::congestion::{AnyController, Controller, Pacer};
use crate::event::PathState;
use crate::serial::Tsn;
use crate::time::Instant;
use sctp_common::wire::UDP_HEADER_LENGTH;

pub(crate) use self::list::Paths;
use self::pmtu::{Discovery, LargePackets};
pub(crate) use self::rtt::RttEstimator;

/// Bytes of the SCTP common header.
const COMMON_HEADER: usize = 12;

/// Bytes of our Heartbeat Info: nonce, time, path.
pub(crate) const HEARTBEAT_INFO: usize = 32;

/// A destination address of the peer.
#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) address: IpAddr,
    /// Our address to send from; `None` leaves it to routing.
    pub(crate) source: Option<IpAddr>,
    /// How often another one's turn has come, or the peer's to show one, since the path began to fail.
    pub(crate) source_turn: u8,
    /// The peer's UDP encapsulation port there (RFC 6951 §5.1); `None` while packets go directly over IP.
    pub(crate) encapsulation: Option<NonZeroU16>,
    pub(crate) state: PathState,
    pub(crate) rtt: RttEstimator,
    //= RFC 9260 §7.2: "an SCTP sender MUST keep a set of the control variables cwnd, ssthresh, and partial_bytes_acked
    //= for EACH destination address"
    pub(crate) controller: AnyController,
    /// Spreads packets over the round trip, if that is wanted.
    pub(crate) pacer: Option<Box<Pacer>>,
    //= RFC 9260 §8.2: "an endpoint SHOULD keep an error counter for each of the destination transport addresses"
    /// Consecutive timeouts and unanswered heartbeats (§8.2). Thresholds are at most 1000, and it is counted to ten times as many.
    pub(crate) error_count: u16,
    /// One more than Path.Max.Retrans of this path alone, if the application has set it (§11.1.12).
    max_errors: Option<NonZeroU16>,
    /// When T3-rtx expires, if it runs (§6.3.2).
    pub(crate) t3: Option<Instant>,
    pub(crate) heartbeat: Heartbeat,
    /// PMTU in bytes, with the lower headers.
    //= RFC 9260 §7.3: "An endpoint MUST maintain separate PMTU estimates for each destination address of its peer."
    pub(crate) mtu: u16,
    /// How the PMTU is found out.
    pub(crate) pmtu: Discovery,
    /// What becomes of large packets.
    pub(crate) large: LargePackets,
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
    /// The peer has sent DATA again that we had acknowledged here: our SACKs may get lost on the way (§6.4).
    pub(crate) suspect: bool,
    /// One packet of fast retransmissions may be sent whatever the window (§7.2.4 item 3).
    pub(crate) fast_retransmit: bool,
}

/// The state of a path's HEARTBEATs.
#[derive(Debug, Default)]
pub(crate) struct Heartbeat {
    /// When to send one, or, while one is unanswered and not overdue, when it becomes overdue.
    pub(crate) timer: Option<Instant>,
    /// HB.interval of this path in nanoseconds; `None` if it gets no HEARTBEATs but those that verify it (§8.3).
    interval: Option<NonZeroU64>,
    pub(crate) unanswered: Option<Unanswered>,
}

impl Heartbeat {
    fn new(interval: Option<Duration>) -> Self {
        let mut heartbeat = Self::default();
        heartbeat.set_interval(interval);
        heartbeat
    }

    /// HB.interval; `None` if it is turned off.
    pub(crate) fn interval(&self) -> Option<Duration> {
        self.interval.map(|nanos| Duration::from_nanos(nanos.get()))
    }

    pub(crate) fn set_interval(&mut self, interval: Option<Duration>) {
        self.interval = interval.and_then(|interval| NonZeroU64::new(rtt::nanos(interval)));
    }

    /// Whether one is under way that is not overdue.
    pub(crate) fn is_awaited(&self) -> bool {
        self.unanswered.is_some_and(|unanswered| !unanswered.overdue)
    }
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
            source_turn: 0,
            encapsulation: None,
            state,
            rtt: RttEstimator::new(config),
            controller: AnyController::new(config.congestion, 0, address.is_ipv4()),
            pacer: config.pacing.map(|percent| Box::new(Pacer::new(percent))),
            error_count: 0,
            max_errors: None,
            t3: None,
            heartbeat: Heartbeat::new(config.heartbeat_interval),
            mtu: config.path_mtu,
            pmtu: Discovery::default(),
            large: LargePackets::default(),
            last_measured: now,
            last_data: now,
            measuring: None,
            window_full: false,
            one_packet: false,
            suspect: false,
            fast_retransmit: false,
        };
        path.reset_congestion(config);
        path
    }

    /// The same path, with packets in UDP to this port if there is one (RFC 6951 §5.1).
    pub(crate) fn encapsulated(mut self, port: Option<NonZeroU16>, config: &AssociationConfig) -> Self {
        if port.is_some() {
            self.encapsulation = port;
            self.reset_congestion(config);
        }
        self
    }

    /// Whether the path, which fails, is sent on from where the peer's packets come to until the next error.
    pub(crate) fn follows_peer(&self) -> bool {
        self.source_turn.is_multiple_of(2)
    }

    /// The congestion controller begins anew (§7.2.5).
    pub(crate) fn reset_congestion(&mut self, config: &AssociationConfig) {
        let max_chunk = (self.max_packet() - COMMON_HEADER) as u32;
        self.controller = AnyController::new(config.congestion, max_chunk, self.address.is_ipv4());
        self.window_full = false;
        self.one_packet = false;
        self.fast_retransmit = false;
    }

    /// Bytes for an SCTP packet: the PMTU without the lower headers.
    // "If an SCTP endpoint starts to encapsulate the packets of a path, it MUST decrease the Path MTU of that path by the size of the UDP
    // header. If it stops encapsulating them, the Path MTU SHOULD be increased by the size of the UDP header." (RFC 6951 §5.6)
    pub(crate) fn max_packet(&self) -> usize {
        usize::from(self.mtu) - self.lower_headers()
    }

    /// Bytes of the IP header, and of the UDP header if packets go in UDP.
    pub(crate) fn lower_headers(&self) -> usize {
        let ip = if self.address.is_ipv4() { 20 } else { 40 };
        ip + if self.encapsulation.is_some() { UDP_HEADER_LENGTH } else { 0 }
    }

    /// Whether an SCTP packet of `len` bytes is larger than what every path should take.
    pub(crate) fn is_large(&self, len: usize) -> bool {
        len + self.lower_headers() > usize::from(pmtu::base(self.address.is_ipv4()))
    }

    /// Whether a DATA chunk of `size` bytes makes a large packet by itself.
    pub(crate) fn makes_large_packet(&self, size: u32) -> bool {
        self.is_large(COMMON_HEADER + size as usize)
    }

    /// What a HEARTBEAT that is sent on this path now holds: nonce, time, path (§5.4, §8.3).
    pub(crate) fn heartbeat_info(&self, nonce: u64, now: Instant) -> [u8; HEARTBEAT_INFO] {
        let mut info = [0; HEARTBEAT_INFO];
        //= RFC 9260 §3.3.5: "it MUST include a random nonce of length 64 bits or longer"
        //= RFC 9260 §3.3.5: "The Sender-Specific Heartbeat Info field SHOULD include information about the sender's
        //= current time when this HEARTBEAT chunk is sent and the destination transport address"
        //= RFC 9260 §8.3: "The sender of the HEARTBEAT chunk SHOULD include in the Heartbeat Information field of the
        //= chunk the current time when the packet is sent and the destination address"
        info[..8].copy_from_slice(&nonce.to_be_bytes());
        info[8..16].copy_from_slice(&now.as_nanos().to_be_bytes());
        info[16..].copy_from_slice(&octets(self.address));
        info
    }

    /// Whether this Heartbeat Info names this path.
    pub(crate) fn is_named_by(&self, info: &[u8; HEARTBEAT_INFO]) -> bool {
        info[16..] == octets(self.address)
    }

    /// Path.Max.Retrans: with more errors than these in a row the path is inactive (§8.2).
    pub(crate) fn threshold(&self, config: &AssociationConfig) -> u32 {
        self.max_errors.map_or(config.path_max_retransmits, |errors| u32::from(errors.get() - 1))
    }

    /// Sets Path.Max.Retrans of this path.
    pub(crate) fn set_threshold(&mut self, threshold: u16) {
        self.max_errors = NonZeroU16::new(threshold.saturating_add(1));
    }

    /// Whether anything but HEARTBEATs may be sent to it (§5.4).
    pub(crate) fn is_confirmed(&self) -> bool {
        self.state != PathState::Unconfirmed
    }

    pub(crate) fn is_active(&self) -> bool {
        self.state == PathState::Active
    }

    /// Whether it is somewhere between active and inactive (RFC 7829 §3.2).
    pub(crate) fn is_potentially_failed(&self) -> bool {
        self.state == PathState::PotentiallyFailed
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
            // This much idle time has been reckoned with, even if nothing is sent now.
            self.last_data = now;
        }
    }

    /// Whether pacing lets a packet with DATA go now.
    pub(crate) fn is_in_pace(&self, now: Instant) -> bool {
        self.pacer.as_ref().is_none_or(|pacer| pacer.earliest() <= now)
    }

    /// The time to the next HEARTBEAT of an idle path: RTO + HB.interval, with jitter of ±50 % of the RTO (§8.3).
    pub(crate) fn heartbeat_period(&self, interval: Duration, rng: &mut impl Rng) -> Duration {
        self.rtt.rto().mul_f64(rng.random_range(0.5..1.5)) + interval
    }
}

/// An address as 16 bytes.
fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(address: [u8; 4], state: PathState) -> Path {
        Path::new(IpAddr::from(address), state, &AssociationConfig::rfc(), Instant::ORIGIN)
    }

    //= test RFC 9260 §6.1: "Also note that the cwnd SHOULD be adjusted according to Section 7.2.1."
    #[test]
    fn idle_time_counts_once() {
        use crate::congestion::Acknowledged;
        let mut path = path([10, 0, 0, 1], PathState::Active);
        for _ in 0..20 {
            path.controller.on_acknowledged(Acknowledged {
                bytes: 3000,
                window_used: true,
                in_fast_recovery: false,
                all: false,
                now: Instant::ORIGIN,
                srtt: 0,
            });
        }
        let before = path.controller_window();
        // RTO.Initial is a second; nothing is sent after the first look.
        for _ in 0..3 {
            path.decay(Instant::from_millis(1500));
            assert_eq!(path.controller_window(), before / 2);
        }
    }

    //= test RFC 9260 §6.1: "the sender MUST NOT transmit new data to a given transport address if it has cwnd + (PMDCS
    //= - 1) or more bytes of data outstanding"
    //= test RFC 9260 §6.1: "the sender SHOULD exceed cwnd by up to (PMDCS - 1) bytes"
    //= test RFC 9260 §7.2.1: "A limited overbooking as described in rule B in Section 6.1 SHOULD be supported."
    #[test]
    fn one_packet_after_a_timeout() {
        let mut path = path([10, 0, 0, 1], PathState::Active);
        assert!(path.has_window(4403) && !path.has_window(4404));
        path.one_packet = true;
        assert!(path.has_window(0) && !path.has_window(1));
    }
}
