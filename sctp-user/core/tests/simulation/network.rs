//! Links between hosts, with seeded faults.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;
use sctp_core::time::Instant;

/// What a link does to packets. The same in both directions.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) delay: Duration,
    /// Up to so much more, at random for each packet: reorders.
    pub(crate) jitter: Duration,
    pub(crate) loss: f64,
    pub(crate) duplication: f64,
    pub(crate) corruption: f64,
    /// Bytes a second; `None` for no limit.
    pub(crate) rate: Option<u64>,
    /// Packets that wait longer than this for their turn are dropped.
    pub(crate) max_queueing: Duration,
    /// Times in which nothing passes.
    pub(crate) cuts: Vec<(Instant, Instant)>,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(5),
            jitter: Duration::ZERO,
            loss: 0.0,
            duplication: 0.0,
            corruption: 0.0,
            rate: None,
            max_queueing: Duration::from_millis(50),
            cuts: Vec::new(),
        }
    }
}

/// A packet on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) bytes: Bytes,
}

/// The links, and what is on them.
pub(crate) struct Network {
    links: Vec<Link>,
    /// When each direction of each link is free to send the next packet.
    busy_until: Vec<[Instant; 2]>,
    transit: BinaryHeap<Reverse<(Instant, u64, usize)>>,
    packets: Vec<Option<Packet>>,
    sequence: u64,
    rng: StdRng,
}

impl Network {
    pub(crate) fn new(links: Vec<Link>, rng: StdRng) -> Self {
        let busy_until = vec![[Instant::ORIGIN; 2]; links.len()];
        Self { links, busy_until, transit: BinaryHeap::new(), packets: Vec::new(), sequence: 0, rng }
    }

    pub(crate) fn link_mut(&mut self, link: usize) -> &mut Link {
        &mut self.links[link]
    }

    /// Puts a packet on a link; `direction` 0 or 1.
    pub(crate) fn send(&mut self, now: Instant, link: usize, direction: usize, packet: Packet) {
        let faults = self.links[link].clone();
        if faults.cuts.iter().any(|(from, to)| (*from..*to).contains(&now)) || self.rng.random_bool(faults.loss) {
            return;
        }
        let mut at = now;
        if let Some(rate) = faults.rate {
            let busy = &mut self.busy_until[link][direction];
            let start = now.max(*busy);
            if start - now > faults.max_queueing {
                return;
            }
            *busy = start + Duration::from_nanos(packet.bytes.len() as u64 * 1_000_000_000 / rate);
            at = *busy;
        }
        let copies = if self.rng.random_bool(faults.duplication) { 2 } else { 1 };
        for _ in 0..copies {
            let mut packet = packet.clone();
            if self.rng.random_bool(faults.corruption) {
                packet.bytes = self.corrupt(&packet.bytes);
            }
            let jitter = Duration::from_nanos(self.rng.random_range(0..=faults.jitter.as_nanos() as u64));
            self.insert(at + faults.delay + jitter, packet);
        }
    }

    /// When the next packet arrives.
    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.transit.peek().map(|Reverse((at, _, _))| *at)
    }

    /// A packet that has arrived by `now`.
    pub(crate) fn arrived(&mut self, now: Instant) -> Option<Packet> {
        self.next_arrival().filter(|at| *at <= now)?;
        let Reverse((_, _, key)) = self.transit.pop()?;
        let packet = self.packets[key].take();
        if self.transit.is_empty() {
            self.packets.clear();
        }
        packet
    }

    fn insert(&mut self, at: Instant, packet: Packet) {
        self.sequence += 1;
        self.packets.push(Some(packet));
        self.transit.push(Reverse((at, self.sequence, self.packets.len() - 1)));
    }

    /// Flips a bit or cuts the end off.
    fn corrupt(&mut self, bytes: &Bytes) -> Bytes {
        let mut bytes = bytes.to_vec();
        if self.rng.random_bool(0.2) {
            bytes.truncate(self.rng.random_range(0..bytes.len()));
        } else {
            let bit = self.rng.random_range(0..bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        bytes.into()
    }
}
