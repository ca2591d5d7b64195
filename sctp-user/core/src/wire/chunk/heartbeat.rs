//! HEARTBEAT, [RFC 9260 §3.3.5], and HEARTBEAT ACK, [§3.3.6].
//!
//! [RFC 9260 §3.3.5]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.5
//! [§3.3.6]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.6
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |  Type = 4, 5  |  Chunk Flags  |       Heartbeat Length        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |    Heartbeat Info Type = 1    |        HB Info Length         |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! /                Sender-Specific Heartbeat Info                 /
//! \                                                               \
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use core::fmt;

use sctp_common::wire::{CHUNK_HEADER_LENGTH, PARAMETER_HEADER_LENGTH};

use super::{ChunkError, ChunkType};
use crate::wire::tlv::{Tlvs, emit_opaque};
use crate::wire::{Emit, ParameterType, RawChunk, Sink};

/// Probes a path: whether it is there, whether the address is the peer's, how long it takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heartbeat<'a> {
    /// The Sender-Specific Heartbeat Info, without type and length: opaque to everybody but its author.
    pub info: &'a [u8],
}

/// Answers a HEARTBEAT with the info that came in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeartbeatAck<'a> {
    /// The Sender-Specific Heartbeat Info of the HEARTBEAT that this answers.
    pub info: &'a [u8],
}

impl<'a> Heartbeat<'a> {
    /// Reads a HEARTBEAT. Parameters after the Heartbeat Info are ignored.
    ///
    /// # Errors
    ///
    /// [`ChunkError::NoHeartbeatInfo`] or [`ChunkError::List`] when the mandatory parameter is not there.
    pub fn parse(raw: RawChunk<'a>) -> Result<Self, ChunkError> {
        parse_info(raw).map(|info| Self { info })
    }

    /// The answer: "This field MUST contain the Heartbeat Info parameter … of the Heartbeat Request to which this Heartbeat
    /// Acknowledgement is responding."
    #[must_use]
    pub const fn acknowledge(&self) -> HeartbeatAck<'a> {
        HeartbeatAck { info: self.info }
    }
}

impl<'a> HeartbeatAck<'a> {
    /// Reads a HEARTBEAT ACK. Parameters after the Heartbeat Info are ignored.
    ///
    /// # Errors
    ///
    /// [`ChunkError::NoHeartbeatInfo`] or [`ChunkError::List`] when the mandatory parameter is not there.
    pub fn parse(raw: RawChunk<'a>) -> Result<Self, ChunkError> {
        parse_info(raw).map(|info| Self { info })
    }
}

impl Emit for Heartbeat<'_> {
    fn length(&self) -> usize {
        length(self.info)
    }

    fn emit(&self, out: &mut Sink<'_>) {
        emit(ChunkType::HEARTBEAT, self.info, out);
    }
}

impl Emit for HeartbeatAck<'_> {
    fn length(&self) -> usize {
        length(self.info)
    }

    fn emit(&self, out: &mut Sink<'_>) {
        emit(ChunkType::HEARTBEAT_ACK, self.info, out);
    }
}

fn parse_info(raw: RawChunk<'_>) -> Result<&[u8], ChunkError> {
    let (chunk_type, offset) = (raw.chunk_type, raw.offset);
    match Tlvs::new(raw.value, raw.value_offset()).next() {
        Some(Ok(first)) if first.kind == ParameterType::HEARTBEAT_INFO.0 => Ok(first.value),
        Some(Err(error)) => Err(ChunkError::List { chunk_type, error }),
        _ => Err(ChunkError::NoHeartbeatInfo { chunk_type, offset }),
    }
}

fn length(info: &[u8]) -> usize {
    CHUNK_HEADER_LENGTH + PARAMETER_HEADER_LENGTH + info.len()
}

fn emit(chunk_type: ChunkType, info: &[u8], out: &mut Sink<'_>) {
    out.chunk_header(chunk_type, 0, length(info));
    emit_opaque(ParameterType::HEARTBEAT_INFO.0, info, out);
}

impl fmt::Display for Heartbeat<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HEARTBEAT {} bytes", self.info.len())
    }
}

impl fmt::Display for HeartbeatAck<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HEARTBEAT ACK {} bytes", self.info.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Chunk;
    use crate::wire::tests::{emitted, parsed};

    #[test]
    fn bytes_and_back() {
        let heartbeat = Heartbeat { info: &[7, 8, 9] };
        let mut bytes = [4, 0, 0, 11, 0, 1, 0, 7, 7, 8, 9];
        assert_eq!(emitted(&heartbeat), bytes);
        assert_eq!(parsed(&bytes), Ok(Chunk::Heartbeat(heartbeat)));
        bytes[0] = 5;
        assert_eq!(emitted(&heartbeat.acknowledge()), bytes);
        assert_eq!(parsed(&bytes), Ok(Chunk::HeartbeatAck(heartbeat.acknowledge())));
    }

    #[test]
    fn the_chunk_length_may_count_the_padding() {
        let bytes = [4, 0, 0, 12, 0, 1, 0, 7, 7, 8, 9, 0];
        assert_eq!(parsed(&bytes), Ok(Chunk::Heartbeat(Heartbeat { info: &[7, 8, 9] })));
    }

    #[test]
    fn the_info_is_mandatory() {
        let missing = ChunkError::NoHeartbeatInfo { chunk_type: ChunkType::HEARTBEAT, offset: 12 };
        assert_eq!(parsed(&[4, 0, 0, 4]), Err(missing));
        assert_eq!(parsed(&[4, 0, 0, 8, 0, 2, 0, 4]), Err(missing));
        assert!(matches!(parsed(&[5, 0, 0, 8, 0, 1, 0, 5]), Err(ChunkError::List { .. })));
    }
}
