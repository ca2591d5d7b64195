//! ECNE and CWR.
//!
//! RFC 9260 reserves their types (table 1) and leaves their use to another document; their format is that of
//! [RFC 4960 appendix A].
//!
//! [RFC 4960 appendix A]: https://www.rfc-editor.org/rfc/rfc4960#appendix-A
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Chunk Type=12 | Flags=00000000|    Chunk Length = 8           |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                      Lowest TSN Number                        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//!
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Chunk Type=13 | Flags=00000000|    Chunk Length = 8           |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                      Lowest TSN Number                        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use core::fmt;

use super::{ChunkError, ChunkType, u32_at};
use crate::serial::Tsn;
use crate::wire::{Emit, RawChunk, Sink};

const LENGTH: usize = 8;

/// Tells the sender of data that a packet of its was marked "Congestion Experienced".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ecne {
    /// The lowest TSN in the packet that was marked.
    pub lowest_tsn: Tsn,
}

/// Tells the receiver of data that an ECNE was heeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cwr {
    /// The TSN of the ECNE which this answers.
    pub lowest_tsn: Tsn,
}

impl Ecne {
    /// Reads an ECNE. There are senders (FreeBSD, usrsctp) that append a count of marked packets; it is not read.
    ///
    /// # Errors
    ///
    /// [`ChunkError::BadLength`].
    pub fn parse(raw: RawChunk<'_>) -> Result<Self, ChunkError> {
        let (head, _) = raw.at_least::<LENGTH>()?;
        Ok(Self { lowest_tsn: Tsn(u32_at(head, 4)) })
    }
}

impl Cwr {
    /// Reads a CWR.
    ///
    /// # Errors
    ///
    /// [`ChunkError::BadLength`].
    pub fn parse(raw: RawChunk<'_>) -> Result<Self, ChunkError> {
        let head = raw.exactly::<LENGTH>()?;
        Ok(Self { lowest_tsn: Tsn(u32_at(head, 4)) })
    }
}

impl Emit for Ecne {
    fn length(&self) -> usize {
        LENGTH
    }

    fn emit(&self, out: &mut Sink<'_>) {
        out.chunk_header(ChunkType::ECNE, 0, LENGTH);
        out.u32(self.lowest_tsn.get());
    }
}

impl Emit for Cwr {
    fn length(&self) -> usize {
        LENGTH
    }

    fn emit(&self, out: &mut Sink<'_>) {
        out.chunk_header(ChunkType::CWR, 0, LENGTH);
        out.u32(self.lowest_tsn.get());
    }
}

impl fmt::Display for Ecne {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ECNE TSN={}", self.lowest_tsn)
    }
}

impl fmt::Display for Cwr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CWR TSN={}", self.lowest_tsn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Chunk;
    use crate::wire::tests::{emitted, parsed};

    #[test]
    fn bytes_and_back() {
        let lowest_tsn = Tsn(0x0102_0304);
        assert_eq!(emitted(&Ecne { lowest_tsn }), [12, 0, 0, 8, 1, 2, 3, 4]);
        assert_eq!(parsed(&[12, 0, 0, 8, 1, 2, 3, 4]), Ok(Chunk::Ecne(Ecne { lowest_tsn })));
        assert_eq!(emitted(&Cwr { lowest_tsn }), [13, 0, 0, 8, 1, 2, 3, 4]);
        assert_eq!(parsed(&[13, 0, 0, 8, 1, 2, 3, 4]), Ok(Chunk::Cwr(Cwr { lowest_tsn })));
    }

    #[test]
    fn an_ecne_may_carry_a_count() {
        let expected = Chunk::Ecne(Ecne { lowest_tsn: Tsn(1) });
        assert_eq!(parsed(&[12, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 5]), Ok(expected));
        assert!(parsed(&[13, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 5]).is_err());
        assert!(parsed(&[12, 0, 0, 7, 0, 0, 0]).is_err());
    }
}
