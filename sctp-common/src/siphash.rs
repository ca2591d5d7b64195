//! SipHash-2-4: a short-input keyed hash whose output cannot be predicted without its key.
//!
//! Steering uses it so that a peer who chooses addresses and ports freely still cannot aim all of its packets at one
//! worker. It needs only 64-bit additions, rotations and exclusive-ors, which the BPF machine has.
//!
//! Reference: Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012). Words are little-endian, so the result
//! equals that of any other implementation over the same bytes.

/// The 128-bit key: `k0` and `k1` of the reference, in this order.
pub type HashKey = [u64; 2];

/// A running SipHash-2-4.
///
/// Input goes in as whole 64-bit words and ends with a tail of fewer than eight bytes; this is what fixed-size inputs
/// need and it keeps byte buffering, which the BPF verifier dislikes, out of the way. [`hash`] takes any byte slice.
#[derive(Clone, Copy, Debug)]
pub struct SipHash24 {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
    length: u64,
}

impl SipHash24 {
    /// Starts a hash under `key`.
    #[inline(always)]
    #[must_use]
    pub const fn new(key: &HashKey) -> Self {
        Self {
            v0: key[0] ^ 0x736f_6d65_7073_6575,
            v1: key[1] ^ 0x646f_7261_6e64_6f6d,
            v2: key[0] ^ 0x6c79_6765_6e65_7261,
            v3: key[1] ^ 0x7465_6462_7974_6573,
            length: 0,
        }
    }

    /// Adds eight bytes, given as a little-endian word.
    #[inline(always)]
    #[must_use]
    pub const fn word(mut self, word: u64) -> Self {
        self.length = self.length.wrapping_add(8);
        self.compress(word)
    }

    /// Adds the last `count` bytes (0 to 7, the low bytes of the little-endian word `tail`) and gives the hash.
    #[inline(always)]
    #[must_use]
    pub const fn finish(self, tail: u64, count: u32) -> u64 {
        let count = (count & 7) as u64;
        let mask = (1 << (count * 8)) - 1;
        let length = self.length.wrapping_add(count);
        let mut state = self.compress((length << 56) | (tail & mask));
        state.v2 ^= 0xff;
        let state = state.round().round().round().round();
        state.v0 ^ state.v1 ^ state.v2 ^ state.v3
    }

    #[inline(always)]
    const fn compress(mut self, word: u64) -> Self {
        self.v3 ^= word;
        let mut state = self.round().round();
        state.v0 ^= word;
        state
    }

    #[inline(always)]
    const fn round(self) -> Self {
        let Self { mut v0, mut v1, mut v2, mut v3, length } = self;
        v0 = v0.wrapping_add(v1);
        v1 = v1.rotate_left(13) ^ v0;
        v0 = v0.rotate_left(32);
        v2 = v2.wrapping_add(v3);
        v3 = v3.rotate_left(16) ^ v2;
        v0 = v0.wrapping_add(v3);
        v3 = v3.rotate_left(21) ^ v0;
        v2 = v2.wrapping_add(v1);
        v1 = v1.rotate_left(17) ^ v2;
        v2 = v2.rotate_left(32);
        Self { v0, v1, v2, v3, length }
    }
}

/// SipHash-2-4 of `bytes` under `key`.
#[must_use]
pub fn hash(key: &HashKey, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let state = words.iter().fold(SipHash24::new(key), |state, word| state.word(u64::from_le_bytes(*word)));
    let mut tail = [0; 8];
    for (to, from) in tail.iter_mut().zip(rest) {
        *to = *from;
    }
    state.finish(u64::from_le_bytes(tail), rest.len() as u32)
}

#[cfg(test)]
mod tests {
    use core::hash::Hasher as _;

    use proptest::prelude::*;

    use super::*;

    /// The key of the reference's test vectors: bytes 00 to 0f.
    const REFERENCE_KEY: HashKey = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];

    #[test]
    fn the_reference_vector_of_fifteen_bytes() {
        let input: Vec<u8> = (0..15).collect();
        assert_eq!(hash(&REFERENCE_KEY, &input), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn a_tail_ignores_the_bytes_beyond_its_count() {
        let state = SipHash24::new(&REFERENCE_KEY).word(7);
        assert_eq!(state.finish(0x1122_3344, 2), state.finish(0x3344, 2));
        assert_ne!(state.finish(0x1122_3344, 2), state.finish(0x1122_3344, 3));
    }

    proptest! {
        #[test]
        fn equals_the_crate_siphasher(key: [u64; 2], input in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut theirs = siphasher::sip::SipHasher24::new_with_keys(key[0], key[1]);
            theirs.write(&input);
            prop_assert_eq!(hash(&key, &input), theirs.finish());
        }
    }
}
