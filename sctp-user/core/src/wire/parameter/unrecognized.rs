//! Unrecognized Parameter, [RFC 9260 §3.3.3.1.2], and the treatment of unknown types, [§3.2.1] and [§3.2.2].
//!
//! [RFC 9260 §3.3.3.1.2]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.3.1.2
//! [§3.2.1]: https://www.rfc-editor.org/rfc/rfc9260#section-3.2.1
//! [§3.2.2]: https://www.rfc-editor.org/rfc/rfc9260#section-3.2.2
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |           Type = 8            |            Length             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! /                    Unrecognized Parameter                     /
//! \                                                               \
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! The parameter inside stays opaque bytes: however deep a peer nests them, nothing recurses.

use super::{Parameter, RawParameter};

impl<'a> RawParameter<'a> {
    /// The parameter that reports this one to its sender in an INIT ACK: "The Parameter Value field will contain an
    /// unrecognized parameter copied from the INIT chunk complete with Parameter Type, Length, and Value fields."
    #[must_use]
    pub const fn unrecognized(&self) -> Parameter<'a> {
        Parameter::Unrecognized(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::{list_bytes, parameter_list, parameters};
    use crate::wire::{ParameterError, TlvError};

    /// Unknown types with all four values of the two highest bits, in an order that shows each.
    const SKIP: [u8; 8] = [0x9f, 0, 0, 5, 1, 0, 0, 0];
    const SKIP_AND_REPORT: [u8; 4] = [0xdf, 0, 0, 4];
    const STOP: [u8; 4] = [0x1f, 0, 0, 4];
    const STOP_AND_REPORT: [u8; 8] = [0x5f, 0, 0, 6, 1, 2, 0, 0];
    const KNOWN: [u8; 4] = [0xc0, 0, 0, 4];

    type Walked<'a> = (Vec<Result<Parameter<'a>, ParameterError>>, Vec<u16>);

    fn recognized(bytes: &[u8]) -> Walked<'_> {
        let mut reported = Vec::new();
        let known = parameter_list(bytes).recognized(|raw| reported.push(raw.parameter_type.0)).collect();
        (known, reported)
    }

    #[test]
    fn skipped_types_do_not_hide_what_follows() {
        let bytes = [&SKIP[..], &KNOWN, &SKIP_AND_REPORT, &KNOWN].concat();
        let known = Ok(Parameter::ForwardTsnSupported);
        assert_eq!(recognized(&bytes), (vec![known, known], vec![0xdf00]));
    }

    #[test]
    fn stopping_types_hide_what_follows_and_nothing_before() {
        let known = Ok(Parameter::ForwardTsnSupported);
        let bytes = [&KNOWN[..], &STOP, &SKIP_AND_REPORT, &KNOWN].concat();
        assert_eq!(recognized(&bytes), (vec![known], vec![]));
        let bytes = [&SKIP_AND_REPORT[..], &KNOWN, &STOP_AND_REPORT, &KNOWN].concat();
        assert_eq!(recognized(&bytes), (vec![known], vec![0xdf00, 0x5f00]));
    }

    #[test]
    fn errors_pass_through() {
        let bytes = [&KNOWN[..], &[0, 5, 0, 99]].concat();
        let error = TlvError::LengthBeyondEnd { offset: 36, length: 99, available: 4 };
        assert_eq!(recognized(&bytes).0, [Ok(Parameter::ForwardTsnSupported), Err(error.into())]);
    }

    #[test]
    fn a_report_holds_the_parameter_without_its_padding() {
        let Ok(Parameter::Unknown(raw)) = parameters(&SKIP)[0] else { panic!("known") };
        let bytes = [0, 8, 0, 9, 0x9f, 0, 0, 5, 1, 0, 0, 0];
        assert_eq!(list_bytes(&[raw.unrecognized()]), bytes);
        assert_eq!(parameters(&bytes), [Ok(raw.unrecognized())]);
        assert_eq!(Parameter::Unknown(raw).to_string(), "unknown parameter type 0x9f00 1 bytes");
    }

    #[test]
    fn nesting_is_not_followed() {
        let mut bytes = Vec::new();
        for depth in (0..16_000_u16).rev() {
            bytes.extend([0, 8]);
            bytes.extend((4 + depth * 4).to_be_bytes());
        }
        assert_eq!(parameters(&bytes), [Ok(Parameter::Unrecognized(&bytes[4..]))]);
    }
}
