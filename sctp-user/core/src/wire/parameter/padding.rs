//! Padding, [RFC 4820 §4].
//!
//! [RFC 4820 §4]: https://www.rfc-editor.org/rfc/rfc4820#section-4
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |   Parameter Type = 0x8005     |       Parameter Length        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! /                                                               /
//! \                          Padding Data                         \
//! /                                                               /
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! "The receiver of the PAD parameter MUST silently discard this parameter and continue processing the rest of the INIT
//! chunk. This means that the size of the generated COOKIE parameter in the INIT-ACK MUST NOT depend on the existence of the
//! PAD parameter in the INIT chunk."

use super::ParameterType;
use crate::wire::Sink;
use crate::wire::tlv::emit_header;

pub(super) fn emit(data_length: u16, out: &mut Sink<'_>) {
    emit_header(ParameterType::PADDING.0, data_length.into(), out);
    out.zeroes(data_length.into());
}

#[cfg(test)]
mod tests {
    use crate::wire::Parameter;
    use crate::wire::tests::{list_bytes, parameters};

    #[test]
    fn bytes_and_back() {
        let padding = Parameter::Padding { data_length: 5 };
        assert_eq!(list_bytes(&[padding]), [0x80, 5, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(parameters(&[0x80, 5, 0, 9, 1, 2, 3, 4, 5]), [Ok(padding)]);
    }
}
