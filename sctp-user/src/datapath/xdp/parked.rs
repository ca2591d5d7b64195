//! Packets that wait until their next hop's link-layer address is known.

use std::collections::HashMap;
use std::collections::hash_map;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use sctp_core::Transmit;

use super::super::umem::Frame;

/// The packets of one worker that wait, in the frames they were written into.
#[derive(Debug, Default)]
pub(super) struct Parked {
    neighbours: HashMap<(u32, IpAddr), Waiting>,
    packets: usize,
}

/// What waits for one neighbour.
#[derive(Debug)]
pub(super) struct Waiting {
    /// How often asking for this neighbour had failed when the packets began to wait.
    failures: u32,
    since: Instant,
    packets: Vec<ParkedPacket>,
}

#[derive(Debug)]
pub(super) struct ParkedPacket {
    pub(super) frame: Frame,
    pub(super) transmit: Transmit,
}

/// What came of parking a packet.
#[derive(Debug)]
pub(super) enum Parking {
    /// It waits. `first`: nobody else waits for that neighbour, so the kernel has to be asked.
    Parked { first: bool },
    /// Too many wait already.
    Full(Frame),
}

impl Parked {
    /// Packets that may wait for one neighbour.
    pub(super) const MAX_PER_NEIGHBOUR: usize = 64;
    /// Packets that may wait altogether.
    pub(super) const MAX: usize = 1024;
    /// How long they wait. The kernel asks three times, one second apart, before it gives up.
    pub(super) const PATIENCE: Duration = Duration::from_secs(4);

    pub(super) fn park(
        &mut self,
        (ifindex, next_hop, failures): (u32, IpAddr, u32),
        now: Instant,
        packet: ParkedPacket,
    ) -> Parking {
        if self.packets == Self::MAX {
            return Parking::Full(packet.frame);
        }
        let entry = self.neighbours.entry((ifindex, next_hop));
        let first = matches!(entry, hash_map::Entry::Vacant(_));
        let waiting = entry.or_insert_with(|| Waiting { failures, since: now, packets: Vec::new() });
        if waiting.packets.len() == Self::MAX_PER_NEIGHBOUR {
            return Parking::Full(packet.frame);
        }
        waiting.packets.push(packet);
        self.packets += 1;
        Parking::Parked { first }
    }

    /// Takes everything out, to try it again. What still has to wait comes back by
    /// [`put_back`](Self::put_back).
    pub(super) fn take(&mut self) -> Vec<((u32, IpAddr), Waiting)> {
        self.packets = 0;
        self.neighbours.drain().collect()
    }

    /// Lets packets wait on, as if they had never been taken.
    pub(super) fn put_back(&mut self, key: (u32, IpAddr), waiting: Waiting) {
        self.packets += waiting.packets.len();
        self.neighbours.insert(key, waiting);
    }

    /// How many packets wait.
    pub(super) fn len(&self) -> usize {
        self.packets
    }

    /// When the first of them has waited long enough.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.neighbours.values().map(|waiting| waiting.since + Self::PATIENCE).min()
    }
}

impl Waiting {
    /// Whether waiting on makes no sense: the neighbour has been found unreachable since, or it takes too
    /// long.
    pub(super) fn is_hopeless(&self, failures: u32, now: Instant) -> bool {
        failures != self.failures || now >= self.since + Parked::PATIENCE
    }

    /// The packets, to be sent or dropped.
    pub(super) fn into_packets(self) -> Vec<ParkedPacket> {
        self.packets
    }

    /// The packet that has waited longest; there is always one.
    pub(super) fn first(&self) -> Option<&Transmit> {
        self.packets.first().map(|packet| &packet.transmit)
    }
}

#[cfg(test)]
mod tests {
    use sctp_core::Ecn;

    use super::super::super::frames::{FrameCache, FramePool};
    use super::super::super::umem::FrameSize;
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn packet(cache: &mut FrameCache, last: u8) -> ParkedPacket {
        ParkedPacket {
            frame: cache.take().expect("a frame is free"),
            transmit: Transmit {
                source: None,
                destination: address(last),
                encapsulation: None,
                len: 100,
                ecn: Ecn::NotEct,
                fragment_to: None,
                association: None,
            },
        }
    }

    fn empty(parked: &mut Parked, cache: &mut FrameCache) {
        for (_, waiting) in parked.take() {
            for packet in waiting.into_packets() {
                cache.give(packet.frame);
            }
        }
    }

    #[test]
    fn only_the_first_packet_asks() {
        let pool = FramePool::new(64, FrameSize::TwoKiB, false).expect("a few pages");
        let mut cache = FrameCache::new(pool.clone());
        let mut parked = Parked::default();
        let now = Instant::now();
        for (last, expected) in [(2, true), (2, false), (3, true), (2, false)] {
            let packet = packet(&mut cache, last);
            match parked.park((1, address(last), 0), now, packet) {
                Parking::Parked { first } => assert_eq!(first, expected),
                Parking::Full(frame) => panic!("{frame:?} does not fit"),
            }
        }
        assert_eq!(parked.len(), 4);
        assert_eq!(parked.deadline(), Some(now + Parked::PATIENCE));
        empty(&mut parked, &mut cache);
        assert_eq!((parked.len(), parked.deadline()), (0, None));
        drop(cache);
        assert_eq!(pool.free(), 64);
    }

    #[test]
    fn neither_one_neighbour_nor_all_together_keep_too_many() {
        let pool = FramePool::new(2048, FrameSize::TwoKiB, false).expect("a few pages");
        let mut cache = FrameCache::new(pool);
        let mut parked = Parked::default();
        let now = Instant::now();
        let mut refused = Vec::new();
        for last in 0..20 {
            for _ in 0..Parked::MAX_PER_NEIGHBOUR + 1 {
                let packet = packet(&mut cache, last);
                if let Parking::Full(frame) = parked.park((1, address(last), 0), now, packet) {
                    refused.push(frame);
                }
            }
        }
        assert_eq!(parked.len(), Parked::MAX);
        assert_eq!(refused.len(), 20 * (Parked::MAX_PER_NEIGHBOUR + 1) - Parked::MAX);
        for frame in refused {
            cache.give(frame);
        }
        empty(&mut parked, &mut cache);
    }

    #[test]
    fn waiting_ends_by_failure_or_by_time() {
        let now = Instant::now();
        let waiting = Waiting { failures: 3, since: now, packets: Vec::new() };
        assert!(!waiting.is_hopeless(3, now));
        assert!(waiting.is_hopeless(4, now));
        assert!(waiting.is_hopeless(3, now + Parked::PATIENCE));
    }
}
