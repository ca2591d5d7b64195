//! How often something that anybody can provoke is done: a token bucket in one number.
//!
//! Instead of counting tokens, and when they were last topped up, a bucket remembers until when it is spent: the time at
//! which it will be full again. Taking a token moves that time on by one interval; a bucket that is spent further ahead
//! than its burst allows is empty. (Traffic shaping knows this as the generic cell rate algorithm, with the "theoretical
//! arrival time" as its state.) One number can be read and written at once, and zero is a full bucket.

/// How many tokens a bucket holds and how fast it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds in which one token comes.
    pub interval: u64,
    /// How far ahead of the time a bucket may be spent, in nanoseconds, and still have one more token: one interval for
    /// each token of the burst but the last.
    pub tolerance: u64,
}

impl Rate {
    /// Answers to packets out of the blue that each CPU gives.
    pub const ANSWERS_PER_CPU: Self = Self::new(10_000, 1_000);

    /// Answers to packets out of the blue that each CPU gives to one [`source_prefix`].
    pub const ANSWERS_PER_PREFIX: Self = Self::new(100, 20);

    /// [Samples](crate::sample) of dropped packets that each CPU gives while somebody looks.
    pub const SAMPLES_PER_CPU: Self = Self::new(1_000, 100);

    /// INITs on each CPU that go to workers before the program answers them: as many as cost a worker some percent of a core.
    pub const INITS_PER_CPU: Self = Self::per_second(10_000);

    /// INITs beyond those, on each CPU, that go to workers because the program cannot answer them; and besides, as many that concern
    /// associations which there are.
    pub const SPARE_INITS_PER_CPU: Self = Self::new(4_000, 400);

    /// The same for one [`source_prefix`]. It is asked before the CPU's rate, and is so low that a thousand networks do not use that up: then
    /// the few INITs of others get through.
    pub const SPARE_INITS_PER_PREFIX: Self = Self::new(4, 20);

    /// `per_second` tokens a second, of which those of a tenth of a second may be taken at once.
    #[must_use]
    pub const fn per_second(per_second: u32) -> Self {
        Self::new(per_second, per_second.div_ceil(10))
    }

    /// `per_second` tokens a second, of which up to `burst` may be taken at once. Both are at least 1.
    #[must_use]
    pub const fn new(per_second: u32, burst: u32) -> Self {
        let interval = 1_000_000_000 / if per_second == 0 { 1 } else { per_second as u64 };
        Self { interval, tolerance: interval * (burst.saturating_sub(1) as u64) }
    }

    /// The rate from a global of the program.
    #[inline(always)]
    #[must_use]
    pub const fn from_global([interval, tolerance]: [u64; 2]) -> Self {
        Self { interval, tolerance }
    }

    /// The rate as a global of the program.
    #[must_use]
    pub const fn to_global(self) -> [u64; 2] {
        [self.interval, self.tolerance]
    }

    /// Takes a token at the time `now` from the bucket that is spent until `spent`, both in nanoseconds of one clock.
    ///
    /// Gives until when it is spent now, or `None` if it is empty.
    #[inline(always)]
    #[must_use]
    pub const fn take(self, spent: u64, now: u64) -> Option<u64> {
        let from = if spent > now { spent } else { now };
        if from - now > self.tolerance { None } else { Some(from.saturating_add(self.interval)) }
    }
}

/// The network that `address` (IPv4 as IPv4-mapped IPv6) is from, as a key: the first 24 bits of an IPv4 address, the first
/// 56 of an IPv6 address. One user has about as many addresses, and can send from each.
#[inline(always)]
#[must_use]
pub const fn source_prefix(address: &[u8; 16], is_ipv4: bool) -> u64 {
    let value = u128::from_be_bytes(*address);
    // The last byte of either is free; in it they differ.
    let prefix = if is_ipv4 { value as u64 } else { (value >> 64) as u64 } & !0xff;
    prefix | is_ipv4 as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::ipv4_mapped;

    /// How many tokens can be taken at the time `now` before the bucket is empty.
    fn drain(rate: Rate, spent: &mut u64, now: u64) -> usize {
        let mut taken = 0;
        while let Some(next) = rate.take(*spent, now) {
            *spent = next;
            taken += 1;
        }
        taken
    }

    #[test]
    fn a_new_bucket_holds_its_burst() {
        for now in [0, 1, 1 << 40] {
            assert_eq!(drain(Rate::new(100, 20), &mut 0, now), 20);
            assert_eq!(drain(Rate::new(1, 1), &mut 0, now), 1);
        }
    }

    #[test]
    fn it_fills_at_its_rate_and_not_beyond_the_burst() {
        let rate = Rate::new(100, 20);
        let mut spent = 0;
        let start = 5_000_000_000;
        assert_eq!(drain(rate, &mut spent, start), 20);
        assert_eq!(drain(rate, &mut spent, start + 9_999_999), 0);
        assert_eq!(drain(rate, &mut spent, start + 10_000_000), 1);
        assert_eq!(drain(rate, &mut spent, start + 60_000_000), 5);
        assert_eq!(drain(rate, &mut spent, start + 10_000_000_000), 20);
    }

    #[test]
    fn zero_is_taken_for_one() {
        assert_eq!(Rate::new(0, 0), Rate::new(1, 1));
    }

    #[test]
    fn a_rate_survives_being_a_global() {
        assert_eq!(Rate::from_global(Rate::ANSWERS_PER_CPU.to_global()), Rate::ANSWERS_PER_CPU);
    }

    #[test]
    fn neighbours_share_a_prefix() {
        let v4 = |last: [u8; 4]| source_prefix(&ipv4_mapped(last), true);
        assert_eq!(v4([10, 1, 2, 3]), v4([10, 1, 2, 250]));
        assert_ne!(v4([10, 1, 2, 3]), v4([10, 1, 3, 3]));
        let v6 = |at: usize| {
            let mut address = [0xfd; 16];
            address[at] = 0;
            source_prefix(&address, false)
        };
        assert_eq!(v6(7), v6(15));
        assert_ne!(v6(6), v6(7));
        // The IPv6 address whose first bytes are the last ones of an IPv4-mapped one.
        let lookalike = [0, 0, 0xff, 0xff, 10, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_ne!(source_prefix(&lookalike, false), v4([10, 1, 2, 3]));
    }
}
