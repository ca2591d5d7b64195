//! COOKIE ECHO, [RFC 9260 §3.3.11].
//!
//! [RFC 9260 §3.3.11]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.11
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |   Type = 10   |  Chunk Flags  |            Length             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! /                            Cookie                             /
//! \                                                               \
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use core::fmt;

use sctp_common::wire::CHUNK_HEADER_LENGTH;

use super::ChunkType;
use crate::wire::{Emit, RawChunk, Sink};

/// Returns the State Cookie of an INIT ACK to its author.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CookieEcho<'a> {
    /// "This field MUST contain the exact cookie received in the State Cookie parameter from the previous INIT ACK chunk."
    /// A peer that counts padding in the Chunk Length appends up to three zeroes, unless the cookie's length is a multiple of 4.
    pub cookie: &'a [u8],
}

impl<'a> CookieEcho<'a> {
    /// Reads a COOKIE ECHO. Any bytes are a cookie; whether it is a good one is for its author.
    #[must_use]
    pub const fn parse(raw: RawChunk<'a>) -> Self {
        Self { cookie: raw.value }
    }
}

impl Emit for CookieEcho<'_> {
    fn length(&self) -> usize {
        CHUNK_HEADER_LENGTH + self.cookie.len()
    }

    fn emit(&self, out: &mut Sink<'_>) {
        out.chunk_header(ChunkType::COOKIE_ECHO, 0, self.length());
        out.bytes(self.cookie);
    }
}

impl fmt::Display for CookieEcho<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "COOKIE ECHO {} bytes", self.cookie.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Chunk;
    use crate::wire::tests::{emitted, parsed};

    #[test]
    fn bytes_and_back() {
        let echo = CookieEcho { cookie: b"12345" };
        let bytes = [10, 0, 0, 9, b'1', b'2', b'3', b'4', b'5'];
        assert_eq!(emitted(&echo), bytes);
        assert_eq!(parsed(&bytes), Ok(Chunk::CookieEcho(echo)));
        assert_eq!(parsed(&[10, 0, 0, 4]), Ok(Chunk::CookieEcho(CookieEcho { cookie: b"" })));
    }
}
