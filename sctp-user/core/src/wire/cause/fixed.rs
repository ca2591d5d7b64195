//! The causes of fixed length: Invalid Stream Identifier, [RFC 9260 §3.3.10.1]; Stale Cookie, [§3.3.10.3]; Out of Resource,
//! [§3.3.10.4]; Invalid Mandatory Parameter, [§3.3.10.7]; No User Data, [§3.3.10.9]; Cookie Received While Shutting Down,
//! [§3.3.10.10]; and of draft-tuexen-tsvwg-rfc6951-bis Restart of an Association with New Encapsulation Port.
//!
//! [RFC 9260 §3.3.10.1]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.10.1
//! [§3.3.10.3]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.10.3
//! [§3.3.10.4]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.10.4
//! [§3.3.10.7]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.10.7
//! [§3.3.10.9]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.10.9
//! [§3.3.10.10]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.10.10
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |        Cause Code = 1         |       Cause Length = 8        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |       Stream Identifier       |          (Reserved)           |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//!
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |        Cause Code = 3         |       Cause Length = 8        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                 Measure of Staleness (usec.)                  |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//!
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |        Cause Code = 9         |       Cause Length = 8        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                              TSN                              |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//!
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |     Cause Code = 4, 7, 10     |       Cause Length = 4        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//!
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |        Cause Code = 14        |       Cause Length = 8        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |   Current Encapsulation Port  |     New Encapsulation Port    |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use super::{CauseCode, CauseError, RawCause};
use crate::wire::Sink;
use crate::wire::tlv::emit_header;

/// "This field is reserved. It is set to all 0's on transmit and ignored on receipt."
pub(super) fn parse_stream(raw: RawCause<'_>) -> Result<u16, CauseError> {
    raw.exactly::<4>().map(|&[high, low, ..]| u16::from_be_bytes([high, low]))
}

pub(super) fn parse_number(raw: RawCause<'_>) -> Result<u32, CauseError> {
    raw.exactly::<4>().map(|value| u32::from_be_bytes(*value))
}

/// The current and the new encapsulation port.
pub(super) fn parse_ports(raw: RawCause<'_>) -> Result<(u16, u16), CauseError> {
    raw.exactly::<4>().map(|&[c0, c1, n0, n1]| (u16::from_be_bytes([c0, c1]), u16::from_be_bytes([n0, n1])))
}

pub(super) fn emit_ports(current: u16, new: u16, out: &mut Sink<'_>) {
    emit_header(CauseCode::RESTART_WITH_NEW_ENCAPSULATION_PORT.0, 4, out);
    out.u16(current);
    out.u16(new);
}

pub(super) fn emit_stream(stream: u16, out: &mut Sink<'_>) {
    emit_header(CauseCode::INVALID_STREAM.0, 4, out);
    out.u16(stream);
    out.u16(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial::Tsn;
    use crate::wire::Cause;
    use crate::wire::tests::{causes, list_bytes};

    #[test]
    fn bytes_and_back() {
        let table: [(Cause<'_>, &[u8], &str); 7] = [
            (Cause::InvalidStreamIdentifier { stream: 9 }, &[0, 1, 0, 8, 0, 9, 0, 0], "Invalid Stream Identifier 9"),
            (Cause::StaleCookie { staleness: 258 }, &[0, 3, 0, 8, 0, 0, 1, 2], "Stale Cookie by 258 us"),
            (Cause::OutOfResource, &[0, 4, 0, 4], "Out of Resource"),
            (Cause::InvalidMandatoryParameter, &[0, 7, 0, 4], "Invalid Mandatory Parameter"),
            (Cause::NoUserData { tsn: Tsn(258) }, &[0, 9, 0, 8, 0, 0, 1, 2], "No User Data TSN=258"),
            (Cause::CookieReceivedWhileShuttingDown, &[0, 10, 0, 4], "Cookie Received While Shutting Down"),
            (
                Cause::RestartWithNewEncapsulationPort { current: 9899, new: 0 },
                &[0, 14, 0, 8, 0x26, 0xab, 0, 0],
                "Restart of an Association with New Encapsulation Port 0 instead of 9899",
            ),
        ];
        for (cause, bytes, text) in table {
            assert_eq!(list_bytes(&[cause]), bytes);
            assert_eq!(causes(bytes), [Ok(cause)]);
            assert_eq!(cause.to_string(), text);
        }
    }

    #[test]
    fn another_length_is_an_error_and_the_walk_goes_on() {
        for code in [1, 3, 4, 7, 9, 10, 14] {
            let expected = if [4, 7, 10].contains(&code) { 4 } else { 8 };
            let error = CauseError::BadLength { code: CauseCode(code.into()), offset: 16, length: 5, expected };
            assert_eq!(causes(&[0, code, 0, 5, 1, 0, 0, 0, 0, 4, 0, 4]), [Err(error), Ok(Cause::OutOfResource)]);
        }
    }

    #[test]
    fn an_unknown_code_is_kept() {
        let bytes = [0, 99, 0, 5, 1, 0, 0, 0];
        let Ok(Cause::Unknown(raw)) = causes(&bytes)[0] else { panic!("known") };
        assert_eq!((raw.code, raw.value, raw.offset), (CauseCode(99), &[1][..], 16));
        assert_eq!(list_bytes(&[Cause::Unknown(raw)]), bytes);
    }
}
