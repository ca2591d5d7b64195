//! SHUTDOWN, [RFC 9260 §3.3.8].
//!
//! [RFC 9260 §3.3.8]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.8
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |   Type = 7    |  Chunk Flags  |          Length = 8           |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                      Cumulative TSN Ack                       |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use core::fmt;

use super::{ChunkError, ChunkType, u32_at};
use crate::serial::Tsn;
use crate::wire::{Emit, RawChunk, Sink};

const LENGTH: usize = 8;

/// Begins a graceful close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// "The largest TSN, such that all TSNs smaller than or equal to it have been received and the next one has not been
    /// received." The lack of Gap Ack Blocks is no sign of reneging.
    pub cumulative_tsn_ack: Tsn,
}

impl Shutdown {
    /// Reads a SHUTDOWN.
    ///
    /// # Errors
    ///
    /// [`ChunkError::BadLength`].
    pub fn parse(raw: RawChunk<'_>) -> Result<Self, ChunkError> {
        let head = raw.exactly::<LENGTH>()?;
        Ok(Self { cumulative_tsn_ack: Tsn(u32_at(head, 4)) })
    }
}

impl Emit for Shutdown {
    fn length(&self) -> usize {
        LENGTH
    }

    fn emit(&self, out: &mut Sink<'_>) {
        out.chunk_header(ChunkType::SHUTDOWN, 0, LENGTH);
        out.u32(self.cumulative_tsn_ack.get());
    }
}

impl fmt::Display for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SHUTDOWN cum={}", self.cumulative_tsn_ack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Chunk;
    use crate::wire::tests::{emitted, parsed};

    #[test]
    fn bytes_and_back() {
        let shutdown = Shutdown { cumulative_tsn_ack: Tsn(0x0102_0304) };
        let bytes = [7, 0, 0, 8, 1, 2, 3, 4];
        assert_eq!(emitted(&shutdown), bytes);
        assert_eq!(parsed(&bytes), Ok(Chunk::Shutdown(shutdown)));
    }

    #[test]
    fn eight_bytes_exactly() {
        for length in [4_u8, 7, 12] {
            let expected = ChunkError::BadLength {
                chunk_type: ChunkType::SHUTDOWN,
                offset: 12,
                length: length.into(),
                expected: 8,
            };
            assert_eq!(parsed(&[7, 0, 0, length, 0, 0, 0, 0, 0, 0, 0, 0]), Err(expected));
        }
    }
}
