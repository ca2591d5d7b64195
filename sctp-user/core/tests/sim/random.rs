//! Randomness of the simulation.
//!
//! SplitMix64: a seed in an issue must give the same run for as long as the simulation stays the same, so the generator must
//! not change with a dependency. Streams are forked by label: drawing more numbers in one place does not shift those of
//! another.

use std::ops::RangeInclusive;
use std::time::Duration;

/// A small seeded generator.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0x5c7b_0000_d1ce_0132))
    }

    /// A generator of its own for `label`; `self` is not advanced.
    pub(crate) const fn fork(&self, label: u64) -> Self {
        Self(mix(self.0 ^ mix(label.wrapping_add(0x9e37_79b9_7f4a_7c15))))
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Uniform in `0..bound`; zero when `bound` is.
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        ((self.next() as u128 * bound as u128) >> 64) as u64
    }

    pub(crate) fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        // 53 bits are what a double holds.
        probability > 0.0 && ((self.next() >> 11) as f64) < probability * (1_u64 << 53) as f64
    }

    pub(crate) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn duration(&mut self, range: RangeInclusive<Duration>) -> Duration {
        let nanos =
            |duration: &Duration| u64::try_from(duration.as_nanos()).expect("durations of a simulation are short");
        Duration::from_nanos(self.within(nanos(range.start())..=nanos(range.end())))
    }

    pub(crate) fn millis(&mut self, range: RangeInclusive<u64>) -> Duration {
        self.duration(Duration::from_millis(*range.start())..=Duration::from_millis(*range.end()))
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// The finalizer of SplitMix64: a bijection in which every input bit touches every output bit.
pub(crate) const fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
