//! What can go wrong with a packet, decided by a seed.

use std::time::Duration;

/// The faults of a network in memory. The default is a perfect one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Faults {
    /// Probability that a packet is lost, 0 to 1.
    pub loss: f64,
    /// Probability that a packet arrives twice.
    pub duplication: f64,
    /// Probability that a packet is held back for [`reordering_delay`](Self::reordering_delay), so that later
    /// ones overtake it.
    pub reordering: f64,
    /// How long such a packet is held back.
    pub reordering_delay: Duration,
    /// Probability that one bit of a packet is flipped.
    pub corruption: f64,
    /// Time that every packet takes.
    pub delay: Duration,
    /// Up to this much is added to the delay, differently for every packet; order is kept nevertheless.
    pub jitter: Duration,
    /// Bytes per second that each link can send. `None`: no limit.
    pub rate: Option<u64>,
    /// How many packets may wait to be sent at that rate; those beyond are lost.
    pub backlog: usize,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            loss: 0.0,
            duplication: 0.0,
            reordering: 0.0,
            reordering_delay: Duration::from_millis(1),
            corruption: 0.0,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            rate: None,
            backlog: 1000,
        }
    }
}

/// What happens to one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fate {
    /// How many copies arrive.
    pub(super) copies: u8,
    /// The bit that is flipped, counted from the first of the packet.
    pub(super) flipped: Option<usize>,
    /// What is added to the delay, in order.
    pub(super) jitter: Duration,
    /// What is added to the delay, out of order.
    pub(super) held_back: Duration,
}

impl Faults {
    /// Decides on a packet of `length` bytes. The same generator gives the same sequence of fates.
    pub(super) fn decide(&self, random: &mut Random, length: usize) -> Fate {
        // Every number is drawn whether it is needed or not, so that changing one fault does not change the
        // others' draws.
        let lost = random.chance(self.loss);
        let twice = random.chance(self.duplication);
        let held_back = random.chance(self.reordering);
        let corrupted = random.chance(self.corruption);
        let bit = random.below(length as u64 * 8) as usize;
        let jitter = self.jitter.mul_f64(random.fraction());
        Fate {
            copies: if lost { 0 } else { 1 + u8::from(twice) },
            flipped: corrupted.then_some(bit),
            jitter,
            held_back: if held_back { self.reordering_delay } else { Duration::ZERO },
        }
    }
}

/// A small generator of random numbers (SplitMix64): good enough for faults, and the same everywhere.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to below 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.fraction() < probability
    }

    /// From 0 to below `bound`, or 0.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKETS: usize = 20_000;

    fn fates(faults: &Faults, seed: u64) -> Vec<Fate> {
        let mut random = Random::new(seed);
        (0..PACKETS).map(|_| faults.decide(&mut random, 100)).collect()
    }

    fn share(fates: &[Fate], what: impl Fn(&Fate) -> bool) -> f64 {
        fates.iter().filter(|fate| what(fate)).count() as f64 / fates.len() as f64
    }

    #[test]
    fn no_faults_means_none() {
        let perfect = Fate { copies: 1, flipped: None, jitter: Duration::ZERO, held_back: Duration::ZERO };
        assert!(fates(&Faults::default(), 1).iter().all(|&fate| fate == perfect));
    }

    #[test]
    fn faults_come_as_often_as_asked_for() {
        let faults = Faults {
            loss: 0.1,
            duplication: 0.2,
            reordering: 0.3,
            corruption: 0.4,
            jitter: Duration::from_millis(10),
            ..Faults::default()
        };
        let fates = fates(&faults, 7);
        let near = |share: f64, wanted: f64| (share - wanted).abs() < 0.02;
        assert!(near(share(&fates, |fate| fate.copies == 0), 0.1));
        assert!(near(share(&fates, |fate| fate.copies == 2), 0.2 * 0.9));
        assert!(near(share(&fates, |fate| !fate.held_back.is_zero()), 0.3));
        assert!(near(share(&fates, |fate| fate.flipped.is_some()), 0.4));
        assert!(near(share(&fates, |fate| fate.jitter < Duration::from_millis(5)), 0.5));
        assert!(fates.iter().all(|fate| fate.flipped.is_none_or(|bit| bit < 800)));
    }

    #[test]
    fn the_seed_decides() {
        let faults = Faults { loss: 0.5, ..Faults::default() };
        assert_eq!(fates(&faults, 3), fates(&faults, 3));
        assert_ne!(fates(&faults, 3), fates(&faults, 4));
    }
}
