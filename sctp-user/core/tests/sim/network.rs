//! Directed links with seeded faults.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use sctp_core::Ecn;
use sctp_core::time::Instant;

use super::random::Random;

/// How a link treats packets. The default is a perfect one with a millisecond of delay.
#[derive(Clone, Debug)]
pub(crate) struct LinkConfig {
    pub(crate) delay: Duration,
    /// Most additional delay; packets keep their order.
    pub(crate) jitter: Duration,
    /// Bits per second; `None` is infinitely fast.
    pub(crate) rate: Option<u64>,
    /// Bytes that may wait for a link with a rate; what comes on top is dropped.
    pub(crate) queue: usize,
    /// When more bytes than this wait, ECN-capable packets are marked "congestion experienced" (RFC 3168 §5).
    pub(crate) mark: Option<usize>,
    pub(crate) loss: Loss,
    pub(crate) duplicate: f64,
    /// Probability that a packet is overtaken by others …
    pub(crate) reorder: f64,
    /// … because it takes up to so much longer.
    pub(crate) reorder_by: Duration,
    /// Probability that some bits are flipped.
    pub(crate) corrupt: f64,
    /// Probability that an ECN-capable packet is marked though nothing waits.
    pub(crate) mark_anyway: f64,
    /// Largest IP packet that passes.
    pub(crate) mtu: usize,
    /// Probability that the sender of a larger one is told by ICMP.
    pub(crate) tells_mtu: f64,
    /// From when to when the link is cut: what is sent then is lost.
    pub(crate) cuts: Vec<(Instant, Instant)>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    None,
    Uniform(f64),
    /// Gilbert's model: a good state without loss and a bad one with.
    Burst {
        /// Probability, per packet, to go from good to bad.
        enter: f64,
        /// Probability, per packet, to go back.
        leave: f64,
        /// Probability of loss in the bad state.
        loss: f64,
    },
}

/// What a link did to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Passed,
    Lost,
    QueueFull,
    TooBig,
    Cut,
    NoRoute,
    Corrupted,
    Duplicated,
    /// A test took it out.
    Intercepted,
}

/// A packet on its way out of a link.
pub(crate) struct Arrival {
    pub(crate) at: Instant,
    pub(crate) bytes: Bytes,
    pub(crate) ecn: Ecn,
}

struct Link {
    config: LinkConfig,
    random: Random,
    /// Until when the sender's interface is busy with earlier packets.
    busy: Instant,
    /// When the last packet that keeps its order arrives.
    last: Instant,
    /// Whether Gilbert's model is in its bad state.
    bad: bool,
}

/// All links, by source and destination address.
pub(crate) struct Network {
    links: BTreeMap<(IpAddr, IpAddr), Link>,
    random: Random,
}

/// Bytes of the IP header in front of an SCTP packet to `destination`.
pub(crate) const fn ip_header(destination: IpAddr) -> usize {
    match destination {
        IpAddr::V4(_) => 20,
        IpAddr::V6(_) => 40,
    }
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(1),
            jitter: Duration::ZERO,
            rate: None,
            queue: 64 * 1500,
            mark: None,
            loss: Loss::None,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_by: Duration::ZERO,
            corrupt: 0.0,
            mark_anyway: 0.0,
            mtu: 1500,
            tells_mtu: 0.0,
            cuts: Vec::new(),
        }
    }
}

impl LinkConfig {
    pub(crate) fn with_delay(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }
}

impl Network {
    pub(crate) fn new(random: Random) -> Self {
        Self { links: BTreeMap::new(), random }
    }

    /// Lays a link in one direction, in place of the one that was there.
    pub(crate) fn lay(&mut self, source: IpAddr, destination: IpAddr, config: LinkConfig) {
        let random = self.random.fork(self.links.len() as u64);
        let start = Instant::ORIGIN;
        let link = Link { config, random, busy: start, last: start, bad: false };
        self.links.insert((source, destination), link);
    }

    /// The settings of a link, to change them in mid-flow.
    pub(crate) fn config(&mut self, source: IpAddr, destination: IpAddr) -> &mut LinkConfig {
        &mut self.links.get_mut(&(source, destination)).expect("the link has been laid").config
    }

    /// The settings of every link.
    pub(crate) fn configs(&mut self) -> impl Iterator<Item = (IpAddr, IpAddr, &mut LinkConfig)> {
        self.links.iter_mut().map(|((source, destination), link)| (*source, *destination, &mut link.config))
    }

    pub(crate) fn has(&self, source: IpAddr, destination: IpAddr) -> bool {
        self.links.contains_key(&(source, destination))
    }

    /// Sends a packet, in IP fragments that fit the link if `in_fragments`; what arrives, and when, is appended to `arrivals`.
    pub(crate) fn carry(
        &mut self,
        now: Instant,
        source: IpAddr,
        destination: IpAddr,
        (bytes, ecn, in_fragments): (&Bytes, Ecn, bool),
        arrivals: &mut Vec<Arrival>,
    ) -> Fate {
        match self.links.get_mut(&(source, destination)) {
            Some(link) => link.carry(now, ip_header(destination), (bytes, ecn, in_fragments), arrivals),
            None => Fate::NoRoute,
        }
    }
}

impl Link {
    fn carry(
        &mut self,
        now: Instant,
        header: usize,
        (bytes, mut ecn, in_fragments): (&Bytes, Ecn, bool),
        arrivals: &mut Vec<Arrival>,
    ) -> Fate {
        let length = header + bytes.len();
        if length > self.config.mtu && !in_fragments {
            return Fate::TooBig;
        }
        if self.config.cuts.iter().any(|(from, to)| (*from..*to).contains(&now)) {
            return Fate::Cut;
        }
        let mut departure = now;
        if ecn != Ecn::NotEct && self.random.chance(self.config.mark_anyway) {
            ecn = Ecn::Ce;
        }
        if let Some(rate) = self.config.rate {
            let waiting = self.busy.saturating_duration_since(now).as_nanos() * u128::from(rate) / 8_000_000_000;
            if waiting as usize > self.config.queue {
                return Fate::QueueFull;
            }
            if ecn != Ecn::NotEct && self.config.mark.is_some_and(|mark| waiting as usize > mark) {
                ecn = Ecn::Ce;
            }
            let nanos = length as u64 * 8_000_000_000 / rate;
            departure = self.busy.max(now) + Duration::from_nanos(nanos);
            self.busy = departure;
        }
        if self.loses() {
            return Fate::Lost;
        }
        let random = &mut self.random;
        let config = &self.config;
        let (bytes, mut fate) = if random.chance(config.corrupt) {
            (corrupt(bytes, random), Fate::Corrupted)
        } else {
            (bytes.clone(), Fate::Passed)
        };
        let mut at = departure + config.delay + random.duration(Duration::ZERO..=config.jitter);
        if random.chance(config.reorder) {
            at += random.duration(Duration::ZERO..=config.reorder_by);
        } else {
            at = at.max(self.last);
            self.last = at;
        }
        if random.chance(config.duplicate) {
            let later = config.delay + config.reorder_by;
            arrivals.push(Arrival { at: at + random.duration(Duration::ZERO..=later), bytes: bytes.clone(), ecn });
            fate = if fate == Fate::Passed { Fate::Duplicated } else { fate };
        }
        arrivals.push(Arrival { at, bytes, ecn });
        fate
    }

    fn loses(&mut self) -> bool {
        match self.config.loss {
            Loss::None => false,
            Loss::Uniform(probability) => self.random.chance(probability),
            Loss::Burst { enter, leave, loss } => {
                self.bad = if self.bad { !self.random.chance(leave) } else { self.random.chance(enter) };
                self.bad && self.random.chance(loss)
            }
        }
    }
}

/// Cuts the end off, or flips one to three bits: so few, a CRC32c finds in packets of any length.
fn corrupt(bytes: &Bytes, random: &mut Random) -> Bytes {
    if random.chance(0.2) {
        return bytes.slice(..random.below(bytes.len() as u64) as usize);
    }
    let mut bytes = bytes.to_vec();
    for _ in 0..random.within(1..=3) {
        let bit = random.below(bytes.len() as u64 * 8) as usize;
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    bytes.into()
}
