//! ABORT, [RFC 9260 §3.3.7].
//!
//! [RFC 9260 §3.3.7]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.7
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |   Type = 6    |  Reserved   |T|            Length             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! \                                                               \
//! /                   zero or more Error Causes                   /
//! \                                                               \
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use core::fmt;

use sctp_common::wire::{CHUNK_HEADER_LENGTH, flags};

use super::{ChunkError, ChunkType};
use crate::wire::{CauseList, Emit, RawChunk, Sink};

/// Closes the association at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Abort<'a> {
    /// The T bit: the packet's Verification Tag is the one that came in the packet which this answers, not the one that
    /// its receiver expects. "If the Verification Tag is reflected, the T bit MUST be set to 1."
    pub tag_reflected: bool,
    /// Why.
    pub causes: CauseList<'a>,
}

impl<'a> Abort<'a> {
    /// Reads an ABORT.
    ///
    /// # Errors
    ///
    /// [`ChunkError::List`] when the causes cannot be walked: "If an endpoint receives an ABORT chunk with a format error
    /// or no TCB is found, it MUST silently discard it."
    pub fn parse(raw: RawChunk<'a>) -> Result<Self, ChunkError> {
        let causes = CauseList::from_wire(raw.value, raw.value_offset());
        //= RFC 9260 §3.3.7: "If an endpoint receives an ABORT chunk with a format error or no TCB is found, it MUST
        //= silently discard it."
        causes.check_structure().map_err(|error| ChunkError::List { chunk_type: raw.chunk_type, error })?;
        Ok(Self { tag_reflected: raw.flags & flags::T != 0, causes })
    }
}

impl Emit for Abort<'_> {
    fn length(&self) -> usize {
        CHUNK_HEADER_LENGTH + self.causes.length()
    }

    fn emit(&self, out: &mut Sink<'_>) {
        //= RFC 9260 §3.3.7: "If the Verification Tag is reflected, the T bit MUST be set to 1."
        out.chunk_header(ChunkType::ABORT, u8::from(self.tag_reflected) * flags::T, self.length());
        self.causes.emit(out);
    }
}

impl fmt::Display for Abort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ABORT{} {}", if self.tag_reflected { " T" } else { "" }, self.causes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::{emitted, parsed};
    use crate::wire::{Cause, Chunk, TlvError};

    //= test RFC 9260 §3.3.7: "If the Verification Tag is reflected, the T bit MUST be set to 1."
    #[test]
    fn without_a_cause() {
        let abort = Abort { tag_reflected: true, causes: CauseList::EMPTY };
        assert_eq!(emitted(&abort), [6, 1, 0, 4]);
        assert_eq!(parsed(&[6, 1, 0, 4]), Ok(Chunk::Abort(abort)));
        assert_eq!(parsed(&[6, 0xff, 0, 4]), Ok(Chunk::Abort(abort)));
    }

    #[test]
    fn with_causes() {
        let causes = [Cause::UserInitiatedAbort(b"x"), Cause::OutOfResource];
        let abort = Abort { tag_reflected: false, causes: CauseList::new(&causes) };
        let bytes = [6, 0, 0, 16, 0, 12, 0, 5, b'x', 0, 0, 0, 0, 4, 0, 4];
        assert_eq!(emitted(&abort), bytes);
        assert_eq!(parsed(&bytes), Ok(Chunk::Abort(abort)));
        assert_eq!(abort.to_string(), "ABORT [User-Initiated Abort \"x\", Out of Resource]");
    }

    //= test RFC 9260 §3.3.7: "If an endpoint receives an ABORT chunk with a format error … MUST silently discard it"
    #[test]
    fn a_format_error_is_an_error() {
        let error = TlvError::LengthBeyondEnd { offset: 16, length: 9, available: 4 };
        let expected = ChunkError::List { chunk_type: ChunkType::ABORT, error };
        assert_eq!(parsed(&[6, 0, 0, 8, 0, 12, 0, 9]), Err(expected));
    }
}
