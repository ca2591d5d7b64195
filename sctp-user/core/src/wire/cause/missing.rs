//! Missing Mandatory Parameter, [RFC 9260 §3.3.10.2].
//!
//! [RFC 9260 §3.3.10.2]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.10.2
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |        Cause Code = 2         |   Cause Length = 8 + N * 2    |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                 Number of missing params = N                  |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |     Missing Param Type #1     |     Missing Param Type #2     |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |    Missing Param Type #N-1    |     Missing Param Type #N     |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use core::fmt;

use sctp_common::wire::PARAMETER_HEADER_LENGTH;

use super::{CauseCode, CauseError, RawCause};
use crate::wire::tlv::emit_header;
use crate::wire::{ParameterType, Sink};

/// Bytes of the count.
const COUNT_LENGTH: usize = 4;

/// The types of the parameters that are missing: received, or to be sent.
#[derive(Clone, Copy)]
pub struct MissingParameters<'a> {
    source: Source<'a>,
}

#[derive(Clone, Copy)]
enum Source<'a> {
    Wire(&'a [[u8; 2]]),
    Items(&'a [ParameterType]),
}

impl<'a> MissingParameters<'a> {
    /// A list to send.
    #[must_use]
    pub const fn new(types: &'a [ParameterType]) -> Self {
        Self { source: Source::Items(types) }
    }

    /// The types in order.
    pub fn iter(&self) -> impl Iterator<Item = ParameterType> + use<'a> {
        let (wire, items): (&[[u8; 2]], &[ParameterType]) = match self.source {
            Source::Wire(types) => (types, &[]),
            Source::Items(types) => (&[], types),
        };
        wire.iter().map(|bytes| ParameterType(u16::from_be_bytes(*bytes))).chain(items.iter().copied())
    }

    pub(super) fn parse(raw: RawCause<'a>) -> Result<Self, CauseError> {
        let Some((count, types)) = raw.value.split_first_chunk::<COUNT_LENGTH>() else {
            return Err(raw.bad_length(PARAMETER_HEADER_LENGTH + COUNT_LENGTH));
        };
        let count = u32::from_be_bytes(*count) as usize;
        let (types, rest) = types.as_chunks();
        if types.len() != count || !rest.is_empty() {
            let expected = (PARAMETER_HEADER_LENGTH + COUNT_LENGTH).saturating_add(count.saturating_mul(2));
            return Err(raw.bad_length(expected));
        }
        Ok(Self { source: Source::Wire(types) })
    }

    pub(super) fn value_length(&self) -> usize {
        COUNT_LENGTH + 2 * self.count()
    }

    pub(super) fn emit(&self, out: &mut Sink<'_>) {
        emit_header(CauseCode::MISSING_PARAMETER.0, self.value_length(), out);
        out.u32(self.count() as u32);
        for parameter_type in self.iter() {
            out.u16(parameter_type.0);
        }
    }

    fn count(&self) -> usize {
        match self.source {
            Source::Wire(types) => types.len(),
            Source::Items(types) => types.len(),
        }
    }
}

impl PartialEq for MissingParameters<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl fmt::Display for MissingParameters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Debug for MissingParameters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Cause;
    use crate::wire::tests::{causes, list_bytes};

    #[test]
    fn bytes_and_back() {
        let types = [ParameterType::STATE_COOKIE, ParameterType(99)];
        let cause = Cause::MissingMandatoryParameter(MissingParameters::new(&types));
        let bytes = [0, 2, 0, 12, 0, 0, 0, 2, 0, 7, 0, 99];
        assert_eq!(list_bytes(&[cause]), bytes);
        assert_eq!(causes(&bytes), [Ok(cause)]);
        assert_eq!(cause.to_string(), "Missing Mandatory Parameter [State Cookie, parameter type 0x0063]");
    }

    #[test]
    fn the_count_must_account_for_the_cause() {
        let table: [(&[u8], usize); 4] = [
            (&[0, 2, 0, 4], 8),
            (&[0, 2, 0, 10, 0, 0, 0, 0, 0, 7, 0, 0], 8),
            (&[0, 2, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0], 10),
            (&[0, 2, 0, 10, 0xff, 0xff, 0xff, 0xff, 0, 7, 0, 0], 8 + 2 * 0xffff_ffff),
        ];
        for (bytes, expected) in table {
            let error = CauseError::BadLength {
                code: CauseCode::MISSING_PARAMETER,
                offset: 16,
                length: bytes[3].into(),
                expected,
            };
            assert_eq!(causes(bytes), [Err(error)]);
        }
    }
}
