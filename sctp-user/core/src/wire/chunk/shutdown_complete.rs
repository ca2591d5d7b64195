//! SHUTDOWN COMPLETE, [RFC 9260 §3.3.13].
//!
//! [RFC 9260 §3.3.13]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.13
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |   Type = 14   |  Reserved   |T|          Length = 4           |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use core::fmt;

use sctp_common::wire::{CHUNK_HEADER_LENGTH, flags};

use super::{ChunkError, ChunkType};
use crate::wire::{Emit, RawChunk, Sink};

/// Ends a graceful close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownComplete {
    /// The T bit: the packet's Verification Tag is the one that came with the SHUTDOWN ACK, because there is no
    /// association that would know the right one. "If the Verification Tag is reflected, the T bit MUST be set to 1."
    pub tag_reflected: bool,
}

impl ShutdownComplete {
    /// Reads a SHUTDOWN COMPLETE.
    ///
    /// # Errors
    ///
    /// [`ChunkError::BadLength`].
    pub fn parse(raw: RawChunk<'_>) -> Result<Self, ChunkError> {
        raw.exactly::<CHUNK_HEADER_LENGTH>()?;
        Ok(Self { tag_reflected: raw.flags & flags::T != 0 })
    }
}

impl Emit for ShutdownComplete {
    fn length(&self) -> usize {
        CHUNK_HEADER_LENGTH
    }

    fn emit(&self, out: &mut Sink<'_>) {
        //= RFC 9260 §3.3.13: "If the Verification Tag is reflected, the T bit MUST be set to 1."
        out.chunk_header(ChunkType::SHUTDOWN_COMPLETE, u8::from(self.tag_reflected) * flags::T, self.length());
    }
}

impl fmt::Display for ShutdownComplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tag_reflected { "SHUTDOWN COMPLETE T" } else { "SHUTDOWN COMPLETE" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Chunk;
    use crate::wire::tests::{emitted, parsed};

    //= test RFC 9260 §3.3.13: "If the Verification Tag is reflected, the T bit MUST be set to 1."
    #[test]
    fn bytes_and_back() {
        for tag_reflected in [false, true] {
            let chunk = ShutdownComplete { tag_reflected };
            assert_eq!(emitted(&chunk), [14, u8::from(tag_reflected), 0, 4]);
            assert_eq!(parsed(&[14, 0xfe | u8::from(tag_reflected), 0, 4]), Ok(Chunk::ShutdownComplete(chunk)));
        }
        assert!(parsed(&[14, 0, 0, 8, 0, 0, 0, 0]).is_err());
    }
}
