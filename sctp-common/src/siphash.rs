//! SipHash-2-4: a short-input keyed hash whose output cannot be predicted without its key.
//!
//! Steering uses it so that a peer who chooses addresses and ports freely still cannot aim all of its packets at one
//! worker; [`cookie`](crate::cookie) uses its variant with 128 bits of output as a MAC. It needs only 64-bit additions,
//! rotations and exclusive-ors, which the BPF machine has.
//!
//! Reference: Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012), and for 128 bits the authors' reference
//! implementation. Words are little-endian, so the result equals that of any other implementation over the same bytes.

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

    /// Starts a hash of 128 bits under `key`, to be ended with [`finish_128`](Self::finish_128).
    #[inline(always)]
    #[must_use]
    pub const fn new_128(key: &HashKey) -> Self {
        let mut state = Self::new(key);
        state.v1 ^= 0xee;
        state
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

    /// Gives the 128 bits of a hash that was begun with [`new_128`](Self::new_128) over whole words: the first and the
    /// last eight bytes, as little-endian words.
    #[inline(always)]
    #[must_use]
    pub const fn finish_128(self) -> [u64; 2] {
        let length = self.length;
        let mut state = self.compress(length << 56);
        state.v2 ^= 0xee;
        let mut state = state.round().round().round().round();
        let first = state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
        state.v1 ^= 0xdd;
        let state = state.round().round().round().round();
        [first, state.v0 ^ state.v1 ^ state.v2 ^ state.v3]
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

    #[test]
    fn the_reference_vectors_of_128_bits() {
        // The reference's table of SipHash-2-4-128: no bytes, and the bytes 00 to 07.
        let bytes = |state: SipHash24| state.finish_128().map(u64::to_le_bytes).concat();
        let empty = SipHash24::new_128(&REFERENCE_KEY);
        let expected = [0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02, 0x93];
        assert_eq!(bytes(empty), expected);
        let expected = [0x3b, 0x62, 0xa9, 0xba, 0x62, 0x58, 0xf5, 0x61, 0x0f, 0x83, 0xe2, 0x64, 0xf3, 0x14, 0x97, 0xb4];
        assert_eq!(bytes(empty.word(0x0706_0504_0302_0100)), expected);
    }

    proptest! {
        #[test]
        fn equals_the_crate_siphasher_with_128_bits(key: [u64; 2], words in prop::collection::vec(any::<u64>(), 0..40)) {
            use siphasher::sip128::Hasher128 as _;
            let mut theirs = siphasher::sip128::SipHasher24::new_with_keys(key[0], key[1]);
            let mut ours = SipHash24::new_128(&key);
            for word in words {
                theirs.write(&word.to_le_bytes());
                ours = ours.word(word);
            }
            let theirs = theirs.finish128();
            prop_assert_eq!(ours.finish_128(), [theirs.h1, theirs.h2]);
        }

        #[test]
        fn equals_the_crate_siphasher(key: [u64; 2], input in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut theirs = siphasher::sip::SipHasher24::new_with_keys(key[0], key[1]);
            theirs.write(&input);
            prop_assert_eq!(hash(&key, &input), theirs.finish());
        }
    }
}
