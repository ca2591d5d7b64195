//! PAD, [RFC 4820 §3].
//!
//! [RFC 4820 §3]: https://www.rfc-editor.org/rfc/rfc4820#section-3
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Type = 0x84   |   Flags=0     |             Length            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                                                               |
//! \                         Padding Data                          /
//! /                                                               \
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use core::fmt;

use sctp_common::wire::CHUNK_HEADER_LENGTH;

use super::ChunkType;
use crate::wire::{Emit, RawChunk, Sink};

/// Enlarges a packet, to find out whether a path carries packets of that size. "The receiver of the PAD chunk MUST
/// discard this chunk and continue processing the rest of the chunks in the packet."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pad {
    /// Bytes of Padding Data, zero on transmit. The chunk is four bytes longer.
    pub data_length: u16,
}

impl Pad {
    /// Reads a PAD. "The Padding Data MUST be ignored by the receiver."
    #[must_use]
    pub const fn parse(raw: RawChunk<'_>) -> Self {
        Self { data_length: raw.value.len() as u16 }
    }

    /// The PAD that enlarges a packet by `bytes`, its own header included; `None` for less than 4 or more than one chunk can
    /// hold.
    #[must_use]
    pub fn of(bytes: usize) -> Option<Self> {
        let data_length = bytes.checked_sub(CHUNK_HEADER_LENGTH)?;
        let longest = usize::from(u16::MAX) - CHUNK_HEADER_LENGTH;
        (data_length <= longest).then_some(Self { data_length: data_length as u16 })
    }
}

impl Emit for Pad {
    fn length(&self) -> usize {
        CHUNK_HEADER_LENGTH + usize::from(self.data_length)
    }

    fn emit(&self, out: &mut Sink<'_>) {
        out.chunk_header(ChunkType::PAD, 0, self.length());
        out.zeroes(self.data_length.into());
    }
}

impl fmt::Display for Pad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PAD {} bytes", self.data_length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Chunk;
    use crate::wire::tests::{emitted, parsed};

    #[test]
    fn bytes_and_back() {
        assert_eq!(emitted(&Pad { data_length: 3 }), [0x84, 0, 0, 7, 0, 0, 0]);
        assert_eq!(parsed(&[0x84, 0, 0, 7, 1, 2, 3]), Ok(Chunk::Pad(Pad { data_length: 3 })));
    }

    #[test]
    fn of_a_size() {
        assert_eq!(Pad::of(3), None);
        assert_eq!(Pad::of(4), Some(Pad { data_length: 0 }));
        assert_eq!(Pad::of(65535).map(|pad| pad.length()), Some(65535));
        assert_eq!(Pad::of(65536), None);
    }
}
