//! The CRC of a packet that differs in its first words from one whose CRC is known, without a look at the rest.
//!
//! # Why only the difference counts
//!
//! What a CRC starts from and what it is inverted with aside, it is linear: the CRC of the sum (xor) of two messages of the same length is
//! the sum of their CRCs. So the CRC of a message `n` is that of a message `m`, plus that of `m ^ n` from a state of zero; in that
//! sum the other two constants have met themselves and are gone. If the two differ only in their first sixteen bytes, the difference is a
//! [step](super::double_step) and then zeros, which make of a state `S` the state `S · x⁸ᵏ mod P`, where `k` is their number.
//!
//! # A multiplication
//!
//! `x⁸ᵏ mod P` is in a table (`POWERS`), one entry for each four bytes. The product of two polynomials of degree 31 would be one
//! instruction on a CPU; the BPF machine multiplies integers, whose carries are in the way. They are kept apart: of each factor one bit in
//! four is taken at a time, so that a bit of the product is the sum of eight at most, whose carries end in the three bits above it,
//! which are masked out (`product`). That is sixteen multiplications, for any length.
//!
//! The product, taken as eight bytes of a message, goes through the tables, which is how it is reduced. With reflected bits, bit `i` of a
//! state stands for `x³¹⁻ⁱ`, and so bit `i + j` of the product for `x⁶²⁻ⁱ⁻ʲ`; but bit `m` of eight bytes of a message stands for
//! `x⁶³⁻ᵐ`, and a step multiplies by `x³²`. Together that is a factor of `x³³` too much, which the table of powers takes back:
//!
//! ```text
//! S · x³²ⁿ = step(S × K[n])        where K[n] = x³²ⁿ⁻³³ mod P
//! ```

use super::{Crc32c, POLYNOMIAL, TABLES, Tables, step};
use crate::frame::MAX_SCTP_LENGTH;

/// Bytes in which the packets may differ: the common header and the first chunk's.
const HEAD: usize = 16;

/// What is to be added (xor) to the CRC of a packet of `length` bytes if the sum of its first sixteen bytes and those that are
/// to be in their place is `difference`, the first byte the least significant of the first word.
///
/// The length is a multiple of four, from sixteen to [`MAX_SCTP_LENGTH`]; that is for the caller to know. The
/// compiler is not told here: it would leave out the mask, and some verifiers (Linux 6.1) would then see no bound.
#[inline(always)]
#[must_use]
pub fn of_head(difference: [u64; 2], length: usize) -> u32 {
    let power = POWERS[(length / 4) & (COUNT - 1)];
    let state = Crc32c(0).sixteen(difference).0;
    step(&TABLES, 0, product(state, power))
}

/// The product of two polynomials over GF(2), each given by its coefficients.
#[inline(always)]
const fn product(left: u32, right: u32) -> u64 {
    const EVERY_FOURTH: u64 = 0x1111_1111_1111_1111;
    let (left, right) = (left as u64, right as u64);
    let (a, b, c, d) =
        (left & EVERY_FOURTH, left & EVERY_FOURTH << 1, left & EVERY_FOURTH << 2, left & EVERY_FOURTH << 3);
    let (e, f, g, h) =
        (right & EVERY_FOURTH, right & EVERY_FOURTH << 1, right & EVERY_FOURTH << 2, right & EVERY_FOURTH << 3);
    let first = (a.wrapping_mul(e) ^ b.wrapping_mul(h) ^ c.wrapping_mul(g) ^ d.wrapping_mul(f)) & EVERY_FOURTH;
    let second = (a.wrapping_mul(f) ^ b.wrapping_mul(e) ^ c.wrapping_mul(h) ^ d.wrapping_mul(g)) & EVERY_FOURTH << 1;
    let third = (a.wrapping_mul(g) ^ b.wrapping_mul(f) ^ c.wrapping_mul(e) ^ d.wrapping_mul(h)) & EVERY_FOURTH << 2;
    let fourth = (a.wrapping_mul(h) ^ b.wrapping_mul(g) ^ c.wrapping_mul(f) ^ d.wrapping_mul(e)) & EVERY_FOURTH << 3;
    first | second | third | fourth
}

/// `K[n]` for packets of every number of words, of which `n` is four less.
static POWERS: [u32; COUNT] = powers();

/// A power of two.
const COUNT: usize = 4096;

const _: () = assert!(COUNT.is_power_of_two() && MAX_SCTP_LENGTH / 4 < COUNT);

const fn powers() -> [u32; COUNT] {
    // 1, divided by x 33 times and for the first sixteen bytes: the last step of a CRC, undone.
    let mut power: u32 = 1 << 31;
    let mut divided = 0;
    while divided < 33 + 8 * HEAD {
        power = if power >> 31 == 1 { (power ^ POLYNOMIAL) << 1 | 1 } else { power << 1 };
        divided += 1;
    }
    let tables: &Tables = &super::tables();
    let mut powers = [0; COUNT];
    let mut index = 0;
    while index < COUNT {
        powers[index] = power;
        // Four zero bytes: the last four of eight, of which the state meets none but the last.
        power = step(tables, 0, (power as u64) << 32);
        index += 1;
    }
    powers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn products_of_polynomials() {
        // (x + 1)² = x² + 1; all ones, squared, are every other one.
        assert_eq!(product(0b11, 0b11), 0b101);
        assert_eq!(product(u32::MAX, u32::MAX), 0x5555_5555_5555_5555);
        assert_eq!(product(1 << 31, 1 << 31), 1 << 62);
    }

    proptest! {
        #[test]
        fn a_product_is_a_sum_of_shifts(left in any::<u32>(), right in any::<u32>()) {
            let shifts = (0..32).filter(|bit| left >> bit & 1 == 1).map(|bit| u64::from(right) << bit);
            prop_assert_eq!(product(left, right), shifts.fold(0, |sum, shifted| sum ^ shifted));
        }
    }

    /// Against the crate `crc32c`: two packets of every length, which differ in their first sixteen bytes.
    #[test]
    fn packets_of_every_length() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 32) as u32
        };
        let mut packet: Vec<u8> = (0..MAX_SCTP_LENGTH).map(|_| noise() as u8).collect();
        for length in (HEAD..=MAX_SCTP_LENGTH).step_by(4) {
            let before = ::crc32c::crc32c(&packet[..length]);
            let difference = [0; 2].map(|_: u64| u64::from(noise()) << 32 | u64::from(noise()));
            for (byte, change) in packet.iter_mut().zip(difference.map(u64::to_le_bytes).as_flattened()) {
                *byte ^= change;
            }
            let after = ::crc32c::crc32c(&packet[..length]);
            assert_eq!(of_head(difference, length), before ^ after, "{length} bytes");
        }
    }

    #[test]
    fn no_difference_makes_none() {
        assert_eq!(of_head([0, 0], 1400), 0);
    }
}
