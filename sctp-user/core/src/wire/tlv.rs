//! Type, length, value: the format of parameters ([RFC 9260 §3.2.1]) and of error causes ([§3.3.10]).
//!
//! [RFC 9260 §3.2.1]: https://www.rfc-editor.org/rfc/rfc9260#section-3.2.1
//! [§3.3.10]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.10
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |        Parameter Type         |       Parameter Length        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! \                                                               \
//! /                        Parameter Value                        /
//! \                                                               \
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use sctp_common::wire::{PARAMETER_HEADER_LENGTH, padded};

use super::Sink;

/// One parameter or cause whose bytes are known to lie in its chunk.
#[derive(Clone, Copy)]
pub(crate) struct Tlv<'a> {
    pub(crate) kind: u16,
    /// Type, length and value; no padding.
    pub(crate) bytes: &'a [u8],
    pub(crate) value: &'a [u8],
    /// Where it begins in the packet.
    pub(crate) offset: usize,
}

/// Walks a list of parameters or causes. Ends after the first error: there is no telling where the next one begins.
#[derive(Clone, Copy)]
pub(crate) struct Tlvs<'a> {
    rest: &'a [u8],
    offset: usize,
}

/// A list of parameters or causes that cannot be walked further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlvError {
    /// Fewer bytes are left than the type and length fields take.
    #[error("{available} stray bytes at byte {offset} of the packet, too few for a type and a length")]
    HeaderTruncated {
        /// Where in the packet.
        offset: usize,
        /// How many bytes are left, 1 to 3.
        available: usize,
    },
    /// The length does not even count the type and length fields.
    #[error("length {length} at byte {offset} of the packet is less than the 4 bytes of type and length")]
    LengthBelowHeader {
        /// Where in the packet.
        offset: usize,
        /// The length field, 0 to 3.
        length: u16,
    },
    /// The value would end beyond what contains it.
    #[error(
        "length {length} at byte {offset} of the packet goes beyond its container, which has {available} bytes left"
    )]
    LengthBeyondEnd {
        /// Where in the packet.
        offset: usize,
        /// The length field.
        length: u16,
        /// How many bytes are left in the chunk or cause that contains it.
        available: usize,
    },
}

impl<'a> Tlvs<'a> {
    /// Walks `bytes`, the first of which is at `offset` in the packet.
    #[inline]
    pub(crate) fn new(bytes: &'a [u8], offset: usize) -> Self {
        Self { rest: bytes, offset }
    }

    fn fail(&mut self, error: TlvError) -> Option<Result<Tlv<'a>, TlvError>> {
        self.rest = &[];
        Some(Err(error))
    }
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = Result<Tlv<'a>, TlvError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (rest, offset, available) = (self.rest, self.offset, self.rest.len());
        let Some(&[type_high, type_low, length_high, length_low]) = rest.first_chunk() else {
            return self.fail(TlvError::HeaderTruncated { offset, available });
        };
        let length = u16::from_be_bytes([length_high, length_low]);
        if usize::from(length) < PARAMETER_HEADER_LENGTH {
            return self.fail(TlvError::LengthBelowHeader { offset, length });
        }
        let Some(bytes) = rest.get(..usize::from(length)) else {
            return self.fail(TlvError::LengthBeyondEnd { offset, length, available });
        };
        // The padding of the last one may be absent.
        //= RFC 9260 §3.2.1: "The receiver MUST ignore the padding bytes."
        let step = padded(bytes.len());
        self.rest = rest.get(step..).unwrap_or_default();
        self.offset += step;
        let kind = u16::from_be_bytes([type_high, type_low]);
        Some(Ok(Tlv { kind, bytes, value: &bytes[PARAMETER_HEADER_LENGTH..], offset }))
    }
}

/// Writes type and length in front of a value of `value_length` bytes.
///
/// The length fits: a [`Writer`](super::Writer) refuses chunks longer than 65535 bytes, and this lies in a chunk.
#[inline]
pub(crate) fn emit_header(kind: u16, value_length: usize, out: &mut Sink<'_>) {
    out.u16(kind);
    out.u16((PARAMETER_HEADER_LENGTH + value_length) as u16);
}

/// Writes type, length and an opaque value.
#[inline]
pub(crate) fn emit_opaque(kind: u16, value: &[u8], out: &mut Sink<'_>) {
    emit_header(kind, value.len(), out);
    out.bytes(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Type, value and place.
    type Walked<'a> = Result<(u16, &'a [u8], usize), TlvError>;

    fn walk(bytes: &[u8]) -> Vec<Walked<'_>> {
        Tlvs::new(bytes, 100).map(|item| item.map(|tlv| (tlv.kind, tlv.value, tlv.offset))).collect()
    }

    #[test]
    fn walks_over_padding_whatever_it_holds() {
        let bytes = [0, 1, 0, 5, 0xaa, 9, 9, 9, 0x80, 2, 0, 4];
        assert_eq!(walk(&bytes), [Ok((1, &[0xaa][..], 100)), Ok((0x8002, &[][..], 108))]);
    }

    #[test]
    fn padding_of_the_last_may_be_absent_or_short() {
        for length in 5..=8 {
            let bytes = &[0, 1, 0, 5, 0xaa, 0, 0, 0][..length];
            assert_eq!(walk(bytes), [Ok((1, &[0xaa][..], 100))]);
        }
    }

    #[test]
    fn ends_at_the_first_error() {
        assert_eq!(walk(&[0, 1, 0]), [Err(TlvError::HeaderTruncated { offset: 100, available: 3 })]);
        for length in 0..4_u8 {
            let expected = TlvError::LengthBelowHeader { offset: 104, length: length.into() };
            let bytes = [0, 1, 0, 4, 0, 2, 0, length, 0, 0, 0, 4];
            assert_eq!(walk(&bytes), [Ok((1, &[][..], 100)), Err(expected)]);
        }
        let expected = TlvError::LengthBeyondEnd { offset: 100, length: 9, available: 8 };
        assert_eq!(walk(&[0, 1, 0, 9, 1, 2, 3, 4]), [Err(expected)]);
    }
}
