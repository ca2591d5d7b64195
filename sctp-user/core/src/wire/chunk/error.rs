//! ERROR, [RFC 9260 §3.3.10].
//!
//! [RFC 9260 §3.3.10]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.10
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |   Type = 9    |  Chunk Flags  |            Length             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! \                                                               \
//! /                   one or more Error Causes                    /
//! \                                                               \
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use core::fmt;

use sctp_common::wire::CHUNK_HEADER_LENGTH;

use super::{ChunkError, ChunkType};
use crate::wire::{CauseList, Emit, RawChunk, Sink};

/// Reports errors that need not end the association.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ErrorChunk<'a> {
    /// What is wrong: "one or more"; none is accepted on receipt, since it says nothing.
    pub causes: CauseList<'a>,
}

impl<'a> ErrorChunk<'a> {
    /// Reads an ERROR.
    ///
    /// # Errors
    ///
    /// [`ChunkError::List`] when the causes cannot be walked.
    pub fn parse(raw: RawChunk<'a>) -> Result<Self, ChunkError> {
        let causes = CauseList::from_wire(raw.value, raw.value_offset());
        causes.check_structure().map_err(|error| ChunkError::List { chunk_type: raw.chunk_type, error })?;
        Ok(Self { causes })
    }
}

impl Emit for ErrorChunk<'_> {
    fn length(&self) -> usize {
        CHUNK_HEADER_LENGTH + self.causes.length()
    }

    fn emit(&self, out: &mut Sink<'_>) {
        out.chunk_header(ChunkType::ERROR, 0, self.length());
        self.causes.emit(out);
    }
}

impl fmt::Display for ErrorChunk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ERROR {}", self.causes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::{emitted, parsed};
    use crate::wire::{Cause, Chunk};

    #[test]
    fn bytes_and_back() {
        let error = ErrorChunk { causes: CauseList::new(&[Cause::StaleCookie { staleness: 258 }]) };
        let bytes = [9, 0, 0, 12, 0, 3, 0, 8, 0, 0, 1, 2];
        assert_eq!(emitted(&error), bytes);
        assert_eq!(parsed(&bytes), Ok(Chunk::Error(error)));
        assert_eq!(error.to_string(), "ERROR [Stale Cookie by 258 us]");
    }

    #[test]
    fn stray_bytes_are_an_error() {
        assert!(matches!(parsed(&[9, 0, 0, 10, 0, 4, 0, 4, 0, 4]), Err(ChunkError::List { .. })));
    }
}
