//! What test messages contain, and digests over them.
//!
//! The same content, sizes and digests as in `tests/peers/peer.c`: so a test can tell, from one number that a peer prints,
//! whether every octet of a hundred thousand messages arrived.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, ensure};

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
const SIZE_SALT: u64 = 0x5c7b_1e2d_3f4a_5968;

/// The largest message that the peers send or take, octets.
pub const LARGEST_MESSAGE: u32 = 1 << 20;

/// A range of message sizes. The size of a message depends on nothing but its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    low: u32,
    high: u32,
    mostly_small: bool,
}

impl Sizes {
    /// All messages of one size, in octets.
    ///
    /// # Panics
    /// If the size is 0 or above [`LARGEST_MESSAGE`].
    pub fn fixed(size: u32) -> Self {
        assert!((1..=LARGEST_MESSAGE).contains(&size), "{size} octets");
        Self { low: size, high: size, mostly_small: false }
    }

    /// The size of message `sequence`: of the first the lowest, of the second the highest, of the others by chance.
    pub fn of(&self, sequence: u64) -> u32 {
        let (low, high) = (u64::from(self.low), u64::from(self.high));
        let size = match sequence {
            0 => low,
            1 => high,
            _ => {
                let random = mix(sequence ^ SIZE_SALT);
                let (from, until) = if self.mostly_small { self.power_of_two(random >> 40) } else { (low, high + 1) };
                from + (random & 0xff_ffff_ffff) % (until - from)
            }
        };
        u32::try_from(size).expect("within the range")
    }

    /// The part of the range between two powers of two (times its low end) that `random` chooses.
    fn power_of_two(&self, random: u64) -> (u64, u64) {
        let (low, until) = (u64::from(self.low), u64::from(self.high) + 1);
        let powers = (0..).find(|powers| low << powers >= u64::from(self.high)).expect("low is not 0");
        if powers == 0 {
            return (low, until);
        }
        let from = low << (random % powers);
        (from, until.min(from * 2))
    }
}

impl FromStr for Sizes {
    type Err = anyhow::Error;

    /// Reads "N", "LOW-HIGH" (every size equally likely) or "LOW~HIGH" (every power of two equally likely: mostly small).
    fn from_str(text: &str) -> Result<Self> {
        let (low, high) = text.split_once(['-', '~']).unwrap_or((text, text));
        let sizes = Self {
            low: low.parse().with_context(|| format!("size {text}"))?,
            high: high.parse().with_context(|| format!("size {text}"))?,
            mostly_small: text.contains('~'),
        };
        ensure!(0 < sizes.low && sizes.low <= sizes.high && sizes.high <= LARGEST_MESSAGE, "size {text}");
        Ok(sizes)
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.low == self.high, self.mostly_small) {
            (true, _) => write!(formatter, "{}", self.low),
            (false, false) => write!(formatter, "{}-{}", self.low, self.high),
            (false, true) => write!(formatter, "{}~{}", self.low, self.high),
        }
    }
}

/// The content of message `sequence`: its number (little endian), then words drawn from it.
pub fn content(sequence: u64, length: usize) -> Vec<u8> {
    let words = (0..length.div_ceil(8) as u64).map(|index| match index {
        0 => sequence,
        _ => mix(sequence.wrapping_mul(FNV_PRIME).wrapping_add(index)),
    });
    let mut content: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    content.truncate(length);
    content
}

/// Digests over any number of messages on any number of streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// Messages so far.
    pub messages: u64,
    /// Octets so far.
    pub bytes: u64,
    any_order: u64,
    streams: BTreeMap<u16, u64>,
}

impl Digest {
    /// The digests of the messages 0 to `count`, sent over `streams` streams in turn.
    pub fn of_run(count: u64, sizes: Sizes, streams: u16) -> Self {
        let mut digest = Self::default();
        for sequence in 0..count {
            let stream = u16::try_from(sequence % u64::from(streams)).expect("below the number of streams");
            digest.add(stream, &content(sequence, sizes.of(sequence) as usize));
        }
        digest
    }

    /// Takes in a message.
    pub fn add(&mut self, stream: u16, message: &[u8]) {
        let hash = message.iter().fold(FNV_OFFSET, |hash, octet| (hash ^ u64::from(*octet)).wrapping_mul(FNV_PRIME));
        self.messages += 1;
        self.bytes += message.len() as u64;
        self.any_order = self.any_order.wrapping_add(hash);
        let of_stream = self.streams.entry(stream).or_insert(FNV_OFFSET);
        *of_stream = (*of_stream ^ hash).wrapping_mul(FNV_PRIME);
    }

    /// Does not see order: the peers' `digest`.
    pub fn any_order(&self) -> String {
        format!("{:016x}", self.any_order)
    }

    /// Sees the order within each stream, and not between streams: the peers' `digest_by_stream`.
    pub fn by_stream(&self) -> String {
        let sum =
            self.streams.iter().fold(0_u64, |sum, (stream, hash)| sum.wrapping_add(mix(hash ^ u64::from(*stream))));
        format!("{sum:016x}")
    }
}

/// The finaliser of SplitMix64: every bit of the result depends on every bit of `x`.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_stay_in_their_range_and_meet_both_ends() {
        for text in ["1-65536", "1~65536", "64", "3~5", "7-8", "1000~1001"] {
            let sizes: Sizes = text.parse().unwrap();
            assert_eq!(sizes.to_string(), text);
            assert_eq!((sizes.of(0), sizes.of(1)), (sizes.low, sizes.high));
            for sequence in 0..10_000 {
                let size = sizes.of(sequence);
                assert!((sizes.low..=sizes.high).contains(&size), "{text}: message {sequence} has {size} octets");
            }
        }
    }

    #[test]
    fn mostly_small_means_small() {
        let sizes: Sizes = "1~65536".parse().unwrap();
        let small = (0..10_000).filter(|sequence| sizes.of(*sequence) < 1024).count();
        assert!((5_500..7_000).contains(&small), "{small} of 10000 below 1024 octets, ten of sixteen expected");
    }

    #[test]
    fn senseless_sizes_are_refused() {
        for text in ["", "0", "5-4", "-", "1-", "x", "1048577", "1-2-3"] {
            assert!(text.parse::<Sizes>().is_err(), "{text}");
        }
    }

    #[test]
    fn content_begins_with_its_number() {
        assert_eq!(content(0x0102, 3), [2, 1, 0]);
        assert_eq!(content(7, 8), 7_u64.to_le_bytes());
        assert_eq!(content(7, 21)[..16], content(7, 16));
        assert_ne!(content(7, 16)[8..], content(8, 16)[8..]);
        assert!(content(7, 0).is_empty());
    }

    #[test]
    fn digests_see_what_they_say() {
        let digest = |messages: &[(u16, &[u8])]| {
            let mut digest = Digest::default();
            messages.iter().for_each(|(stream, message)| digest.add(*stream, message));
            (digest.any_order(), digest.by_stream())
        };
        let in_order = digest(&[(0, b"a"), (0, b"b"), (1, b"c")]);
        let between_streams = digest(&[(1, b"c"), (0, b"a"), (0, b"b")]);
        let within_a_stream = digest(&[(0, b"b"), (0, b"a"), (1, b"c")]);
        let other_stream = digest(&[(0, b"a"), (0, b"b"), (2, b"c")]);
        let other_octet = digest(&[(0, b"a"), (0, b"b"), (1, b"d")]);
        assert_eq!(in_order, between_streams);
        assert_eq!(in_order.0, within_a_stream.0);
        assert_ne!(in_order.1, within_a_stream.1);
        assert_ne!(in_order.1, other_stream.1);
        assert_ne!(in_order.0, other_octet.0);
    }
}
