//! The bulk of a long packet's CRC32c, by a sparse multiple of the polynomial: no tables, only shifts and xors.
//!
//! # A message that is shorter and has the same CRC
//!
//! Let the bits of a message, in the order in which a reflected CRC takes them (byte by byte, least significant bit first),
//! be `b₀ b₁ … bₙ₋₁`, and read them as the polynomial `b₀xⁿ⁻¹ + b₁xⁿ⁻² + … + bₙ₋₁` over GF(2). Its CRC is the remainder of that
//! polynomial, times `x³²`, by the generator `P` of degree 32. (What a CRC starts from is added to the first 32 bits, so
//! there is nothing special about it.) Whatever multiple of `P` is added to the message, its remainder stays.
//!
//! So choose a multiple `Q` of `P`, and wherever the message has a one near its beginning, add `Q` shifted so that its leading
//! term falls on that one. The one disappears, and the other terms of `Q` toggle bits further back. Once that has been
//! done for all bits but the last few, the message is a run of zeros, which leaves a CRC that starts from zero as it
//! is, and a short rest, whose CRC is that of the whole. `P` itself would do, but its 18 terms lie within one word: each bit
//! would have to wait for the ones before it. A good `Q` has few terms, and none within 64 bits of the first, so that a
//! word can be cleared at once.
//!
//! # The multiple
//!
//! Of the multiples of CRC32c's polynomial whose terms lie within 11 words, and none within the first, this one costs
//! the fewest operations:
//!
//! ```text
//! Q = x⁶⁹⁰ + x⁵⁶² + x²³⁷ + x²⁰³ + x¹¹⁴ + 1
//! ```
//!
//! Counted from the leading term, that is: a one at bit `i` moves to the bits `i +` 128, 453, 487, 576 and 690. In words of 64
//! bits, least significant first, so that "further back" is "to the left" and out of one word into the next:
//!
//! | bits | words and bits | word `w` goes to |
//! |---|---|---|
//! | 128 | 2 · 64      | word 2, as it is |
//! | 453 | 7 · 64 + 5  | word 7, shifted left by 5; the 5 bits that fall out, `w >> 59`, to word 8 |
//! | 487 | 7 · 64 + 39 | word 7, shifted left by 39; `w >> 25` to word 8 |
//! | 576 | 9 · 64      | word 9, as it is |
//! | 690 | 10 · 64 + 50 | word 10, shifted left by 50; `w >> 14` to word 11 |
//!
//! Seen from where it arrives, with `m` the message's words and `w` the same at the moment of being cleared (a funnel shift
//! takes the upper 64 bits of two words that are shifted as one):
//!
//! ```text
//! w[j] = m[j] ^ w[j-2] ^ w[j-9] ^ funnel(w[j-7], w[j-8], 5) ^ funnel(w[j-7], w[j-8], 39) ^ funnel(w[j-10], w[j-11], 50)
//! ```
//!
//! That takes the last eleven `w`, which a ring of twelve holds: a block of twelve words later every word is at its place in
//! the ring again, so within a block all places are constants and the ring is twelve variables.
//!
//! # The last words
//!
//! When no more words shall be cleared, the eleven after the last one have something coming still: the same sum, with zero
//! for every `w[k]` of a word that is not cleared. They take it in ([`Ring::fold`]) and go through the tables, from a
//! state of zero.

use super::Tables;
use crate::frame::{Frame, MAX_SCTP_LENGTH, Words as _};

/// Bytes that are cleared at a time.
pub(super) const BLOCK: usize = WORDS * 8;

/// Bytes behind the last block in which the ones of its words arrive.
pub(super) const REACH: usize = (WORDS - 1) * 8;

/// The state after `state` and the first bytes of a message whose last byte is just before `end` and which has `left` bytes, at
/// least [`BLOCK`] + [`REACH`]; and how many bytes are left to be added to it, fewer than [`BLOCK`].
///
/// `None` if those bytes are not within the frame.
#[inline(always)]
pub(super) fn bulk<F: Frame + ?Sized>(
    frame: &F,
    tables: &Tables,
    end: usize,
    mut left: usize,
    state: u32,
) -> Option<(u32, usize)> {
    let mut ring = Ring { words: [0; WORDS] };
    let mut carry = u64::from(state);
    for _ in 0..MAX_SCTP_LENGTH / BLOCK {
        if left < BLOCK + REACH {
            break;
        }
        let block = frame.words::<BLOCK>(end - left)?;
        ring.clear::<F, 0>(block.word::<0>() ^ carry);
        ring.clear::<F, 1>(block.word::<8>());
        ring.clear::<F, 2>(block.word::<16>());
        ring.clear::<F, 3>(block.word::<24>());
        ring.clear::<F, 4>(block.word::<32>());
        ring.clear::<F, 5>(block.word::<40>());
        ring.clear::<F, 6>(block.word::<48>());
        ring.clear::<F, 7>(block.word::<56>());
        ring.clear::<F, 8>(block.word::<64>());
        ring.clear::<F, 9>(block.word::<72>());
        ring.clear::<F, 10>(block.word::<80>());
        ring.clear::<F, 11>(block.word::<88>());
        carry = 0;
        left -= BLOCK;
    }
    // The verifier would walk the rest once for each number of blocks, as long as it knows that number.
    left = F::forget(left as u16).into();
    let rest = frame.words::<REACH>(end - left)?;
    let mut state = 0;
    state = ring.fold_two::<F, 0, 1>(tables, state, [rest.word::<0>(), rest.word::<8>()]);
    state = ring.fold_two::<F, 2, 3>(tables, state, [rest.word::<16>(), rest.word::<24>()]);
    state = ring.fold_two::<F, 4, 5>(tables, state, [rest.word::<32>(), rest.word::<40>()]);
    state = ring.fold_two::<F, 6, 7>(tables, state, [rest.word::<48>(), rest.word::<56>()]);
    state = ring.fold_two::<F, 8, 9>(tables, state, [rest.word::<64>(), rest.word::<72>()]);
    state = F::add_word(tables, state, ring.fold::<10>(rest.word::<80>()));
    Some((state, left.saturating_sub(REACH)))
}

/// Words in a block and in the ring: one more than the multiple reaches.
const WORDS: usize = 12;

/// The last words that were cleared, word `j` at place `j % 12`; zero for those that were not.
struct Ring {
    words: [u64; WORDS],
}

impl Ring {
    /// What arrives in the word at place `PLACE` from the eleven before it.
    #[inline(always)]
    const fn arriving<const PLACE: usize>(&self) -> u64 {
        self.before::<PLACE>(2)
            ^ self.before::<PLACE>(9)
            ^ funnel::<5>(self.before::<PLACE>(7), self.before::<PLACE>(8))
            ^ funnel::<39>(self.before::<PLACE>(7), self.before::<PLACE>(8))
            ^ funnel::<50>(self.before::<PLACE>(10), self.before::<PLACE>(11))
    }

    /// The word `distance` before the one at `PLACE`.
    #[inline(always)]
    const fn before<const PLACE: usize>(&self, distance: usize) -> u64 {
        self.words[(PLACE + WORDS - distance) % WORDS]
    }

    /// Clears the message's next word, `word`, which is at `PLACE`.
    #[inline(always)]
    fn clear<F: Frame + ?Sized, const PLACE: usize>(&mut self, word: u64) {
        self.words[PLACE] = F::sum(word, self.arriving::<PLACE>());
    }

    /// The message's next word, `word`, which is at `PLACE` and is not cleared, with what arrives in it.
    #[inline(always)]
    const fn fold<const PLACE: usize>(&mut self, word: u64) -> u64 {
        let word = word ^ self.arriving::<PLACE>();
        self.words[PLACE] = 0;
        word
    }

    /// Adds the message's next two words, which are at these places and are not cleared, to `state`.
    #[inline(always)]
    fn fold_two<F: Frame + ?Sized, const FIRST: usize, const SECOND: usize>(
        &mut self,
        tables: &Tables,
        state: u32,
        [first, second]: [u64; 2],
    ) -> u32 {
        let first = self.fold::<FIRST>(first);
        F::add_words(tables, state, [first, self.fold::<SECOND>(second)])
    }
}

/// `near` shifted left by `SHIFT` bits, which come from the upper end of `far`, the word before it.
#[inline(always)]
const fn funnel<const SHIFT: u32>(near: u64, far: u64) -> u64 {
    (near << SHIFT) | (far >> (64 - SHIFT))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The polynomial of CRC32c, most significant term first.
    const POLYNOMIAL: u64 = 0x1_1edc_6f41;

    /// How far each term of the multiple lies behind the leading one.
    const OFFSETS: [usize; 6] = [0, 128, 453, 487, 576, 690];

    /// Remainder of a polynomial, given by its coefficients, highest first, by [`POLYNOMIAL`]: division as on paper.
    fn remainder(coefficients: impl IntoIterator<Item = bool>) -> u64 {
        coefficients.into_iter().fold(0, |remainder, coefficient| {
            let remainder = remainder << 1 | u64::from(coefficient);
            if remainder >> 32 == 1 { remainder ^ POLYNOMIAL } else { remainder }
        })
    }

    #[test]
    fn it_is_a_multiple_of_the_polynomial() {
        assert_eq!(remainder((0..=690).map(|offset| OFFSETS.contains(&offset))), 0);
        // A test of the test: the polynomial divides itself, and nothing of a lower degree.
        assert_eq!(remainder((0..33).map(|bit| POLYNOMIAL >> (32 - bit) & 1 == 1)), 0);
        for missing in OFFSETS {
            let fewer = |offset: usize| offset != missing && OFFSETS.contains(&offset);
            assert_ne!(remainder((0..=690).map(fewer)), 0, "without {missing}");
        }
        assert_eq!(super::super::POLYNOMIAL, (POLYNOMIAL as u32).reverse_bits());
    }

    /// A word with one bit set is cleared and never again; its bit arrives where the multiple has terms, nowhere else.
    #[test]
    fn a_bit_arrives_at_the_offsets_of_the_multiple() {
        for bit in 0..64 {
            let mut ring = Ring { words: [0; WORDS] };
            ring.clear::<[u8], 0>(1 << bit);
            assert_eq!(ring.words[0], 1 << bit);
            let arriving = [
                ring.arriving::<1>(),
                ring.arriving::<2>(),
                ring.arriving::<3>(),
                ring.arriving::<4>(),
                ring.arriving::<5>(),
                ring.arriving::<6>(),
                ring.arriving::<7>(),
                ring.arriving::<8>(),
                ring.arriving::<9>(),
                ring.arriving::<10>(),
                ring.arriving::<11>(),
            ];
            let found: Vec<usize> = (64..WORDS * 64).filter(|at| arriving[at / 64 - 1] >> (at % 64) & 1 == 1).collect();
            let expected: Vec<usize> = OFFSETS[1..].iter().map(|offset| bit + offset).collect();
            assert_eq!(found, expected, "bit {bit}");
        }
    }

    #[test]
    fn a_word_that_is_not_cleared_passes_nothing_on() {
        let mut ring = Ring { words: [0; WORDS] };
        assert_eq!(ring.fold::<0>(u64::MAX), u64::MAX);
        assert_eq!(ring.words, [0; WORDS]);
    }
}
