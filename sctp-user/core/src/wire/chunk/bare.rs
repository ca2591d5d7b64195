//! Chunks that are a header and nothing else: SHUTDOWN ACK, [RFC 9260 §3.3.9], and COOKIE ACK, [§3.3.12].
//!
//! [RFC 9260 §3.3.9]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.9
//! [§3.3.12]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.12
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |  Type = 8, 11 |  Chunk Flags  |          Length = 4           |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! "Chunk Flags … Set to 0 on transmit and ignored on receipt."

use sctp_common::wire::CHUNK_HEADER_LENGTH;

use super::{Chunk, ChunkError, ChunkType};
use crate::wire::{RawChunk, Sink};

pub(super) const LENGTH: usize = CHUNK_HEADER_LENGTH;

pub(super) fn parse<'a>(raw: RawChunk<'a>, chunk: Chunk<'a>) -> Result<Chunk<'a>, ChunkError> {
    raw.exactly::<LENGTH>().map(|_| chunk)
}

pub(super) fn emit(chunk_type: ChunkType, out: &mut Sink<'_>) {
    out.chunk_header(chunk_type, 0, LENGTH);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::{emitted, parsed};

    #[test]
    fn four_bytes_each() {
        for (chunk, bytes) in [(Chunk::ShutdownAck, [8, 0, 0, 4]), (Chunk::CookieAck, [11, 0, 0, 4])] {
            assert_eq!(emitted(&chunk), bytes);
            assert_eq!(parsed(&bytes), Ok(chunk.clone()));
            assert_eq!(parsed(&[bytes[0], 0xff, 0, 4]), Ok(chunk));
        }
    }

    #[test]
    fn longer_is_not_one() {
        let expected = ChunkError::BadLength { chunk_type: ChunkType::COOKIE_ACK, offset: 12, length: 8, expected: 4 };
        assert_eq!(parsed(&[11, 0, 0, 8, 0, 0, 0, 0]), Err(expected));
    }
}
