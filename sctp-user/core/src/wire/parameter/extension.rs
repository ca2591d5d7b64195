//! What a peer can do beyond RFC 9260: ECN Capable, [RFC 4960 appendix A]; Forward-TSN-Supported, [RFC 3758 §3.1]; Supported
//! Extensions, [RFC 5061 §4.2.7].
//!
//! [RFC 4960 appendix A]: https://www.rfc-editor.org/rfc/rfc4960#appendix-A
//! [RFC 3758 §3.1]: https://www.rfc-editor.org/rfc/rfc3758#section-3.1
//! [RFC 5061 §4.2.7]: https://www.rfc-editor.org/rfc/rfc5061#section-4.2.7
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |    Parameter Type = 32768     |     Parameter Length = 4      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//!
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |    Parameter Type = 49152     |  Parameter Length = 4         |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//!
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |     Parameter Type = 0x8008   |      Parameter Length         |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | CHUNK TYPE 1  |  CHUNK TYPE 2 |  CHUNK TYPE 3 |  CHUNK TYPE 4 |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                             ....                              |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | CHUNK TYPE N  |      PAD      |      PAD      |      PAD      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use core::fmt;

use super::{ChunkType, Parameter, ParameterType};

impl Parameter<'_> {
    /// Whether this is a Supported Extensions parameter that lists `chunk_type`.
    #[must_use]
    pub fn supports(&self, chunk_type: ChunkType) -> bool {
        matches!(self, Self::SupportedExtensions(types) if types.contains(&chunk_type.0))
    }
}

pub(super) fn fmt(types: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{}", ParameterType::SUPPORTED_EXTENSIONS)?;
    types.iter().try_for_each(|&chunk_type| write!(f, " {}", ChunkType(chunk_type)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::{list_bytes, parameters};

    #[test]
    fn bytes_and_back() {
        let list = [
            Parameter::SupportedExtensions(&[0xc1, 0x80, 0x0f, 0xc0, 0x82]),
            Parameter::ForwardTsnSupported,
            Parameter::EcnCapable,
        ];
        let bytes = [0x80, 8, 0, 9, 0xc1, 0x80, 0x0f, 0xc0, 0x82, 0, 0, 0, 0xc0, 0, 0, 4, 0x80, 0, 0, 4];
        assert_eq!(list_bytes(&list), bytes);
        assert_eq!(parameters(&bytes), list.map(Ok));
        assert!(list[0].supports(ChunkType::RE_CONFIG));
        assert!(!list[0].supports(ChunkType::I_DATA));
        assert!(!list[1].supports(ChunkType::FORWARD_TSN));
        assert_eq!(list[0].to_string(), "Supported Extensions ASCONF ASCONF-ACK AUTH FORWARD-TSN RE-CONFIG");
    }

    #[test]
    fn flags_have_no_value() {
        for parameter_type in [ParameterType::ECN_CAPABLE, ParameterType::FORWARD_TSN_SUPPORTED] {
            let [high, low] = parameter_type.0.to_be_bytes();
            assert!(parameters(&[high, low, 0, 8, 0, 0, 0, 0])[0].is_err());
        }
    }
}
