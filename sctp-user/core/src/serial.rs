//! Serial numbers: TSN, Stream Sequence Number and Message Identifier.
//!
//! [RFC 9260 §1.6](https://www.rfc-editor.org/rfc/rfc9260#section-1.6): "Comparisons and arithmetic on TSNs in this document
//! SHOULD use Serial Number Arithmetic, as defined in \[RFC1982\], where SERIAL_BITS = 32", and "Any arithmetic done on Stream
//! Sequence Numbers SHOULD use Serial Number Arithmetic, as defined in \[RFC1982\], where SERIAL_BITS = 16".
//! Message Identifiers of RFC 8260 are 32 bits and wrap the same way.
//!
//! The types have no `Ord` on purpose: after a wrap `0 > 0xffff_ffff`, so `<` on the raw numbers is a bug that works for
//! the first four thousand million TSNs. With these types it does not compile; [`precedes`](Tsn::precedes),
//! [`follows`](Tsn::follows) and [`distance`](Tsn::distance) say what is meant.
//!
//! Two numbers exactly half the number space apart (2³¹ for a TSN) have no order (RFC 1982 §3.2): then neither precedes
//! the other. Windows are far smaller than that.

use core::fmt;
use core::ops::{Add, AddAssign, Sub, SubAssign};

//= RFC 9260 §1.6: "all arithmetic dealing with Transmission Sequence Numbers MUST be performed modulo 2^32"
//= RFC 9260 §1.6: "Comparisons and arithmetic on TSNs in this document SHOULD use Serial Number Arithmetic"
//= RFC 9260 §1.6: "Any arithmetic done on Stream Sequence Numbers SHOULD use Serial Number Arithmetic"
macro_rules! serial {
    ($(#[$doc:meta])* $name:ident, $unsigned:ty, $signed:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub struct $name(pub $unsigned);

        impl $name {
            /// The number as it is on the wire, in host byte order.
            #[inline]
            #[must_use]
            pub const fn get(self) -> $unsigned {
                self.0
            }

            /// The number that comes after this one; the largest is followed by zero.
            #[inline]
            #[must_use]
            //= RFC 9260 §1.6: "the next TSN a DATA chunk MUST use after transmitting TSN = 2^32 - 1 is TSN = 0"
            //= RFC 9260 §6.5: "when the Stream Sequence Number reaches the value 65535, the next Stream Sequence Number
            //= MUST be set to 0"
            pub const fn next(self) -> Self {
                Self(self.0.wrapping_add(1))
            }

            /// The number before this one; zero is preceded by the largest.
            #[inline]
            #[must_use]
            pub const fn previous(self) -> Self {
                Self(self.0.wrapping_sub(1))
            }

            /// Whether this number is strictly before `other`.
            #[inline]
            #[must_use]
            pub const fn precedes(self, other: Self) -> bool {
                self.distance(other) > 0
            }

            /// Whether this number is `other` or before it.
            #[inline]
            #[must_use]
            pub const fn precedes_or_is(self, other: Self) -> bool {
                self.distance(other) >= 0
            }

            /// Whether this number is strictly after `other`.
            #[inline]
            #[must_use]
            pub const fn follows(self, other: Self) -> bool {
                other.distance(self) > 0
            }

            /// Whether this number is `other` or after it.
            #[inline]
            #[must_use]
            pub const fn follows_or_is(self, other: Self) -> bool {
                other.distance(self) >= 0
            }

            /// How many steps lead from this number to `other`: positive when `other` follows, negative when it precedes.
            #[inline]
            #[must_use]
            pub const fn distance(self, other: Self) -> $signed {
                other.0.wrapping_sub(self.0).cast_signed()
            }

            /// How many steps *forward* lead from this number to `other`, all around the number space if need be.
            /// For offsets from a base which is known not to follow `other`.
            #[inline]
            #[must_use]
            pub const fn steps_to(self, other: Self) -> $unsigned {
                other.0.wrapping_sub(self.0)
            }
        }

        impl Add<$unsigned> for $name {
            type Output = Self;

            #[inline]
            fn add(self, steps: $unsigned) -> Self {
                Self(self.0.wrapping_add(steps))
            }
        }

        impl AddAssign<$unsigned> for $name {
            #[inline]
            fn add_assign(&mut self, steps: $unsigned) {
                *self = *self + steps;
            }
        }

        impl Sub<$unsigned> for $name {
            type Output = Self;

            #[inline]
            fn sub(self, steps: $unsigned) -> Self {
                Self(self.0.wrapping_sub(steps))
            }
        }

        impl SubAssign<$unsigned> for $name {
            #[inline]
            fn sub_assign(&mut self, steps: $unsigned) {
                *self = *self - steps;
            }
        }

        impl From<$unsigned> for $name {
            #[inline]
            fn from(number: $unsigned) -> Self {
                Self(number)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

serial! {
    /// Transmission Sequence Number of a DATA chunk (RFC 9260 §3.3.1), unique within an association.
    Tsn, u32, i32
}

serial! {
    /// Stream Sequence Number of an ordered message in its stream (RFC 9260 §3.3.1).
    Ssn, u16, i16
}

serial! {
    /// Message Identifier of a message in its stream when messages are interleaved (RFC 8260 §2.1).
    Mid, u32, i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    //= test RFC 9260 §1.6: "all arithmetic dealing with Transmission Sequence Numbers MUST be performed modulo 2^32"
    //= test RFC 9260 §1.6: "Comparisons and arithmetic on TSNs in this document SHOULD use Serial Number Arithmetic"
    #[test]
    fn order_across_the_wrap() {
        let last = Tsn(u32::MAX);
        assert_eq!(last.next(), Tsn(0));
        assert_eq!(Tsn(0).previous(), last);
        assert!(last.precedes(Tsn(0)));
        assert!(Tsn(5).follows(last));
        assert_eq!(last.distance(Tsn(4)), 5);
        assert_eq!(Tsn(4).distance(last), -5);
        assert_eq!(last.steps_to(Tsn(4)), 5);
        assert_eq!(last + 6, Tsn(5));
        assert_eq!(Tsn(5) - 6, last);

        assert!(Ssn(u16::MAX).precedes(Ssn(0)));
        assert_eq!(Ssn(u16::MAX).next(), Ssn(0));
        assert_eq!(Ssn(0xfff0).distance(Ssn(0x10)), 0x20);
        assert!(Mid(u32::MAX).precedes(Mid(7)));
    }

    #[test]
    fn equal_numbers_neither_precede_nor_follow() {
        assert!(!Tsn(9).precedes(Tsn(9)));
        assert!(!Tsn(9).follows(Tsn(9)));
        assert!(Tsn(9).precedes_or_is(Tsn(9)));
        assert!(Tsn(9).follows_or_is(Tsn(9)));
    }

    #[test]
    fn half_the_space_apart_has_no_order() {
        let (a, b) = (Tsn(0), Tsn(1 << 31));
        assert!(!a.precedes(b) && !b.precedes(a));
        assert!(!a.follows(b) && !b.follows(a));
        let (a, b) = (Ssn(3), Ssn(3 + (1 << 15)));
        assert!(!a.precedes(b) && !b.precedes(a));
    }

    proptest! {
        #[test]
        fn steps_in_reach_are_ordered(base: u32, steps in 1_u32..(1 << 31)) {
            let (a, b) = (Tsn(base), Tsn(base) + steps);
            prop_assert!(a.precedes(b) && b.follows(a));
            prop_assert!(!b.precedes(a) && !a.follows(b));
            prop_assert_eq!(a.steps_to(b), steps);
            prop_assert_eq!(i64::from(a.distance(b)), i64::from(steps));
            prop_assert_eq!(i64::from(b.distance(a)), -i64::from(steps));
        }

        //= test RFC 9260 §1.6: "Any arithmetic done on Stream Sequence Numbers SHOULD use Serial Number Arithmetic"
        #[test]
        fn ssn_steps_in_reach_are_ordered(base: u16, steps in 1_u16..(1 << 15)) {
            let (a, b) = (Ssn(base), Ssn(base) + steps);
            prop_assert!(a.precedes(b) && b.follows(a));
            prop_assert!(!b.precedes(a) && !a.follows(b));
            prop_assert_eq!(b - steps, a);
        }
    }
}
