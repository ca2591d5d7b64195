//! State Cookie, [RFC 9260 §3.3.3.1.1], and Cookie Preservative, [§3.3.2.1.3].
//!
//! [RFC 9260 §3.3.3.1.1]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.3.1.1
//! [§3.3.2.1.3]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.2.1.3
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |           Type = 7            |            Length             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! /                            Cookie                             /
//! \                                                               \
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//!
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |           Type = 9            |          Length = 8           |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |         Suggested Cookie Life-Span Increment (msec.)          |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use super::{ParameterError, RawParameter};

pub(super) fn parse_preservative(raw: RawParameter<'_>) -> Result<u32, ParameterError> {
    raw.exactly::<4>().map(|value| u32::from_be_bytes(*value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::{list_bytes, parameters};
    use crate::wire::{Parameter, ParameterType};

    #[test]
    fn bytes_and_back() {
        let list = [Parameter::StateCookie(b"cooki"), Parameter::CookiePreservative { increment_ms: 258 }];
        let bytes = [0, 7, 0, 9, b'c', b'o', b'o', b'k', b'i', 0, 0, 0, 0, 9, 0, 8, 0, 0, 1, 2];
        assert_eq!(list_bytes(&list), bytes);
        assert_eq!(parameters(&bytes), list.map(Ok));
    }

    #[test]
    fn a_preservative_has_eight_bytes() {
        let expected = ParameterError::BadLength {
            parameter_type: ParameterType::COOKIE_PRESERVATIVE,
            offset: 32,
            length: 4,
            expected: 8,
        };
        assert_eq!(parameters(&[0, 9, 0, 4]), [Err(expected)]);
    }
}
