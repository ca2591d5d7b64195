//! CRC32c, the checksum of SCTP packets (RFC 9260 §6.8, Appendix A).
//!
//! The Castagnoli polynomial 0x1EDC6F41, least significant bit first, all ones before and inverted after. The BPF machine
//! has no instruction for it, so it is computed with tables, sixteen bytes a step ("slicing-by-16"): with state `c` and the
//! next sixteen bytes `m`, the new state is
//!
//! ```text
//! T15[x₀] ^ T14[x₁] ^ T13[x₂] ^ T12[x₃] ^ T11[m₄] ^ T10[m₅] ^ … ^ T1[m₁₄] ^ T0[m₁₅]     where x = m ^ c
//! ```
//!
//! `Tk[b]` being the state that byte `b` followed by `k` zero bytes leaves. Linearity of the CRC makes the sum right. Only four of the
//! look-ups depend on the state, and so on the step before; the CPU does the others ahead. A step of eight bytes, of which these four are
//! half, takes as long as one of sixteen: what counts is the way from state to state, not the number of instructions.
//!
//! The tables (16 KiB) are constants, in the program's read-only data.
//!
//! The bulk of a packet of 200 bytes or more goes without tables, at less than half the cost per byte: see the module
//! `sparse`, which leaves a rest of 88 to 183 bytes for the tables.
//!
//! Userspace has the CPU's instruction through the crate `crc32c` and should use that for packets of any size.

pub mod difference;
mod sparse;

use crate::frame::{Frame, MAX_SCTP_LENGTH, Words as _};
use crate::wire::COMMON_HEADER_LENGTH;

/// A running CRC32c.
#[derive(Clone, Copy, Debug)]
pub struct Crc32c(u32);

impl Crc32c {
    /// The state before any byte.
    #[inline(always)]
    #[must_use]
    pub const fn new() -> Self {
        Self(!0)
    }

    /// Adds eight bytes.
    #[inline(always)]
    #[must_use]
    pub const fn eight(self, bytes: [u8; 8]) -> Self {
        Self(step(&TABLES, self.0, u64::from_le_bytes(bytes)))
    }

    /// Adds one byte of which the compiler does not know that it has only eight bits ([`Frame::in_order`]). It would mask the state before
    /// it adds the byte, not after; and of a sum of two unknowns some verifiers know no bound (Linux 6.1), however small they are.
    #[inline(always)]
    fn byte<F: Frame + ?Sized>(self, byte: u8) -> Self {
        let (byte, state) = F::in_order(byte.into(), self.0.into());
        Self((self.0 >> 8) ^ look_up(0, state ^ byte))
    }

    /// Adds sixteen bytes, the first of them the least significant of the first word.
    #[inline(always)]
    #[must_use]
    pub const fn sixteen(self, words: [u64; 2]) -> Self {
        Self(double_step(&TABLES, self.0, words))
    }

    /// Adds four bytes.
    #[inline(always)]
    #[must_use]
    pub const fn four(self, bytes: [u8; 4]) -> Self {
        let x = (u32::from_le_bytes(bytes) ^ self.0) as u64;
        Self(look_up(3, x) ^ look_up(2, x >> 8) ^ look_up(1, x >> 16) ^ look_up(0, x >> 24))
    }

    /// Adds one byte.
    #[inline(always)]
    #[must_use]
    pub const fn one(self, byte: u8) -> Self {
        Self((self.0 >> 8) ^ look_up(0, self.0 as u64 ^ byte as u64))
    }

    /// The CRC of all bytes added. A packet carries it least significant byte first.
    #[inline(always)]
    #[must_use]
    pub const fn finish(self) -> u32 {
        !self.0
    }
}

impl Default for Crc32c {
    fn default() -> Self {
        Self::new()
    }
}

/// CRC32c of `bytes`.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<8>();
    let state = words.iter().fold(Crc32c::new(), |state, word| state.eight(*word));
    rest.iter().fold(state, |state, byte| state.one(*byte)).finish()
}

/// CRC32c of the SCTP packet of `length` bytes at offset `at` of `frame`, its checksum field taken as zero: what that field
/// must hold (§6.8).
///
/// `None` if the packet is not within the frame, is shorter than a common header or longer than [`MAX_SCTP_LENGTH`].
#[inline(always)]
pub fn packet_checksum<F: Frame + ?Sized>(frame: &F, at: usize, length: usize) -> Option<u32> {
    if length > MAX_SCTP_LENGTH {
        return None;
    }
    // In one register, the one whose bound is checked: see `frame::headers`.
    let at = F::in_order(at as u64, 0).0 as usize;
    let end = at + length;
    let tables = F::tables(&TABLES);
    let mut state;
    let mut left;
    if length >= HEAD {
        let head = frame.words::<HEAD>(at)?;
        // The checksum field is the lower half of the second word.
        state = F::add_words(tables, Crc32c::new().0, [head.word::<0>(), head.word::<8>() & !0xffff_ffff]);
        left = length - HEAD;
    } else {
        left = length.checked_sub(COMMON_HEADER_LENGTH)?;
        state = Crc32c::new().eight(frame.read(at)?).four([0; 4]).0;
    }
    if left >= sparse::BLOCK + sparse::REACH {
        (state, left) = sparse::bulk(frame, tables, end, left, state)?;
    }
    for _ in 0..(sparse::BLOCK + sparse::REACH) / BLOCK {
        if left < BLOCK {
            break;
        }
        let block = frame.words::<BLOCK>(end - left)?;
        state = block.add_two::<0>(tables, state);
        state = block.add_two::<16>(tables, state);
        left -= BLOCK;
    }
    if left >= BLOCK / 2 {
        state = frame.words::<{ BLOCK / 2 }>(end - left)?.add_two::<0>(tables, state);
        left -= BLOCK / 2;
    }
    if left >= 8 {
        state = frame.words::<8>(end - left)?.add::<0>(tables, state);
        left -= 8;
    }
    let mut state = Crc32c(state);
    if left >= 4 {
        state = state.four(frame.read(end - left)?);
        left -= 4;
    }
    // One to three bytes, if the packet has none of the padding that it should have (§3.2): the end of its last word.
    if left > 0 {
        let [_, a, b, c]: [u8; 4] = frame.read(end - 4)?;
        if left > 2 {
            state = state.byte::<F>(a);
        }
        if left > 1 {
            state = state.byte::<F>(b);
        }
        state = state.byte::<F>(c);
    }
    Some(state.finish())
}

/// The state after `state` and eight bytes, the first of them the least significant of `word`.
#[inline(always)]
#[must_use]
pub const fn step(tables: &Tables, state: u32, word: u64) -> u32 {
    eight::<0>(tables, word ^ state as u64)
}

/// The state after `state` and sixteen bytes, the first of them the least significant of the first word.
#[inline(always)]
#[must_use]
pub const fn double_step(tables: &Tables, state: u32, [first, second]: [u64; 2]) -> u32 {
    eight::<0>(tables, second) ^ eight::<8>(tables, first ^ state as u64)
}

/// What the eight bytes of `x` followed by `AFTER` zero bytes leave.
#[inline(always)]
const fn eight<const AFTER: usize>(tables: &Tables, x: u64) -> u32 {
    entry(tables, AFTER, x >> 56)
        ^ entry(tables, AFTER + 1, x >> 48)
        ^ entry(tables, AFTER + 2, x >> 40)
        ^ entry(tables, AFTER + 3, x >> 32)
        ^ entry(tables, AFTER + 4, x >> 24)
        ^ entry(tables, AFTER + 5, x >> 16)
        ^ entry(tables, AFTER + 6, x >> 8)
        ^ entry(tables, AFTER + 7, x)
}

/// Common header and first chunk header: one step.
const HEAD: usize = 16;

/// Bytes that the loop over tables takes at a time: one bounds check for two steps.
const BLOCK: usize = 32;

/// Tables for sixteen bytes at a time: table `k` has what byte `b` followed by `k` zero bytes leaves.
pub type Tables = [[u32; 256]; 16];

/// The reflected Castagnoli polynomial.
const POLYNOMIAL: u32 = 0x82f6_3b78;

static TABLES: Tables = tables();

#[inline(always)]
const fn look_up(table: usize, x: u64) -> u32 {
    entry(&TABLES, table, x)
}

#[inline(always)]
const fn entry(tables: &Tables, table: usize, x: u64) -> u32 {
    tables[table][(x & 0xff) as usize]
}

const fn tables() -> Tables {
    let mut tables = [[0; 256]; 16];
    let mut byte = 0;
    while byte < 256 {
        let mut state = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            state = if state & 1 == 1 { (state >> 1) ^ POLYNOMIAL } else { state >> 1 };
            bit += 1;
        }
        tables[0][byte] = state;
        byte += 1;
    }
    let mut table = 1;
    while table < 16 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes without a pattern that a table error could hide in.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    /// What the packet's checksum field must hold, by another implementation.
    fn expected(packet: &[u8]) -> u32 {
        let mut packet = packet.to_vec();
        packet[8..12].fill(0);
        ::crc32c::crc32c(&packet)
    }

    #[test]
    fn the_check_value_of_the_algorithm() {
        assert_eq!(checksum(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn every_length_equals_the_crate_crc32c() {
        let bytes = noise(MAX_SCTP_LENGTH);
        for length in 0..=MAX_SCTP_LENGTH {
            assert_eq!(checksum(&bytes[..length]), ::crc32c::crc32c(&bytes[..length]), "{length} bytes");
        }
    }

    #[test]
    fn packets_of_every_length_at_every_alignment() {
        let frame = noise(MAX_SCTP_LENGTH + 64);
        for length in COMMON_HEADER_LENGTH..=MAX_SCTP_LENGTH {
            let at = 14 + length % 47;
            let found = packet_checksum(frame.as_slice(), at, length);
            assert_eq!(found, Some(expected(&frame[at..at + length])), "{length} bytes at {at}");
        }
    }

    #[test]
    fn a_packet_that_is_not_all_there_has_no_checksum() {
        let frame = noise(100);
        assert_eq!(packet_checksum(frame.as_slice(), 34, 67), None);
        assert!(packet_checksum(frame.as_slice(), 34, 66).is_some());
        assert_eq!(packet_checksum(frame.as_slice(), 95, 12), None);
    }

    #[test]
    fn lengths_that_no_packet_has_are_refused() {
        let frame = noise(2 * MAX_SCTP_LENGTH);
        assert_eq!(packet_checksum(frame.as_slice(), 14, COMMON_HEADER_LENGTH - 1), None);
        assert_eq!(packet_checksum(frame.as_slice(), 14, MAX_SCTP_LENGTH + 1), None);
        assert!(packet_checksum(frame.as_slice(), 14, MAX_SCTP_LENGTH).is_some());
    }

    proptest! {
        #[test]
        fn packets_of_random_bytes(frame in proptest::collection::vec(any::<u8>(), 12..2500), at in 0_usize..64) {
            let at = at.min(frame.len() - COMMON_HEADER_LENGTH);
            let found = packet_checksum(frame.as_slice(), at, frame.len() - at);
            prop_assert_eq!(found, Some(expected(&frame[at..])));
        }

        #[test]
        fn steps_of_any_size_agree(words in proptest::collection::vec(any::<[u8; 8]>(), 0..50)) {
            let by_eight = words.iter().fold(Crc32c::new(), |state, word| state.eight(*word));
            let by_four = words.iter().fold(Crc32c::new(), |state, &[a, b, c, d, e, f, g, h]| {
                state.four([a, b, c, d]).four([e, f, g, h])
            });
            let by_one = words.as_flattened().iter().fold(Crc32c::new(), |state, byte| state.one(*byte));
            prop_assert_eq!(by_eight.finish(), by_one.finish());
            prop_assert_eq!(by_four.finish(), by_one.finish());
        }
    }
}
