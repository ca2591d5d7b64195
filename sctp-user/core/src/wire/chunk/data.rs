//! DATA, [RFC 9260 §3.3.1].
//!
//! [RFC 9260 §3.3.1]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.1
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |   Type = 0    |  Res  |I|U|B|E|            Length             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                              TSN                              |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |      Stream Identifier S      |   Stream Sequence Number n    |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                  Payload Protocol Identifier                  |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! \                                                               \
//! /                 User Data (seq n of Stream S)                 /
//! \                                                               \
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use core::fmt;
use core::ops::{BitOr, Range};

use sctp_common::wire::flags;

use super::{ChunkError, ChunkType, u16_at, u32_at};
use crate::serial::{Ssn, Tsn};
use crate::wire::{Emit, RawChunk, Sink};

/// Bytes before the user data: chunk header, TSN, stream identifier, SSN, PPID.
pub const DATA_CHUNK_HEADER_LENGTH: usize = 16;

/// A DATA chunk: one message, or one fragment of a message.
#[derive(Clone, Copy)]
pub struct Data<'a> {
    /// Everything but the user data.
    pub header: DataHeader,
    /// The user data; never empty in a chunk that was received.
    pub payload: &'a [u8],
    /// Where the user data begins in the packet; 0 and of no meaning in a chunk to send.
    pub payload_offset: usize,
}

/// What a DATA chunk says of its user data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataHeader {
    /// "The valid range of TSN is from 0 to 4294967295"; wraps.
    pub tsn: Tsn,
    /// The stream to which the user data belongs.
    pub stream: u16,
    /// The message's place in its stream, the same in all its fragments. "\[T\]he receiver MUST ignore the Stream Sequence
    /// Number field" when the message is unordered.
    pub ssn: Ssn,
    /// Payload Protocol Identifier: the application's, 0 for none. As a number in host order here; SCTP does not look at it.
    pub ppid: u32,
    /// The I, U, B and E bits.
    pub flags: DataFlags,
}

/// The I, U, B and E bits of a DATA chunk. Reserved bits are dropped on receipt.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct DataFlags(u8);

impl DataFlags {
    /// A middle fragment: no bit set.
    pub const MIDDLE: Self = Self(0);
    /// E: "the last fragment of a user message".
    pub const ENDING: Self = Self(flags::DATA_END);
    /// B: "the first fragment of a user message".
    pub const BEGINNING: Self = Self(flags::DATA_BEGIN);
    /// B and E: "An unfragmented user message MUST have both the B and E bits set to 1."
    //= RFC 9260 §3.3.1: "An unfragmented user message MUST have both the B and E bits set to 1."
    pub const UNFRAGMENTED: Self = Self(Self::BEGINNING.0 | Self::ENDING.0);
    /// U: "there is no Stream Sequence Number assigned to this DATA chunk"; delivered without waiting for others.
    pub const UNORDERED: Self = Self(flags::DATA_UNORDERED);
    /// I: the sender asks for a SACK without delay (RFC 7053).
    pub const IMMEDIATE: Self = Self(flags::DATA_IMMEDIATE);

    const ALL: u8 = Self::UNFRAGMENTED.0 | Self::UNORDERED.0 | Self::IMMEDIATE.0;

    /// The flags of a fragment which begins the message, ends it, both or neither.
    #[inline]
    #[must_use]
    //= RFC 9260 §6.9: "The transmitter MUST also set the B/E bits of the first DATA chunk in the series to 10, the B/E
    //= bits of the last DATA chunk in the series to 01"
    pub const fn of_fragment(beginning: bool, ending: bool) -> Self {
        Self(((beginning as u8) * Self::BEGINNING.0) | ((ending as u8) * Self::ENDING.0))
    }

    /// Whether every bit of `flags` is set.
    #[inline]
    #[must_use]
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Whether the chunk is, or begins, a message.
    #[inline]
    #[must_use]
    pub const fn is_beginning(self) -> bool {
        self.contains(Self::BEGINNING)
    }

    /// Whether the chunk is, or ends, a message.
    #[inline]
    #[must_use]
    pub const fn is_ending(self) -> bool {
        self.contains(Self::ENDING)
    }

    /// Whether the chunk is a whole message.
    #[inline]
    #[must_use]
    pub const fn is_unfragmented(self) -> bool {
        self.contains(Self::UNFRAGMENTED)
    }

    /// Whether the message is unordered.
    #[inline]
    #[must_use]
    pub const fn is_unordered(self) -> bool {
        self.contains(Self::UNORDERED)
    }

    /// Whether the sender asks for a SACK at once.
    #[inline]
    #[must_use]
    pub const fn is_immediate(self) -> bool {
        self.contains(Self::IMMEDIATE)
    }
}

impl DataHeader {
    /// The chunk's first 16 bytes for a Chunk Length of `length`.
    #[inline]
    //= RFC 9260 §3.3.1: "The following format MUST be used for the DATA chunk:"
    pub(crate) fn to_bytes(self, length: u16) -> [u8; DATA_CHUNK_HEADER_LENGTH] {
        let mut bytes = [0; DATA_CHUNK_HEADER_LENGTH];
        bytes[0] = ChunkType::DATA.0;
        bytes[1] = self.flags.0;
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.tsn.get().to_be_bytes());
        bytes[8..10].copy_from_slice(&self.stream.to_be_bytes());
        bytes[10..12].copy_from_slice(&self.ssn.get().to_be_bytes());
        bytes[12..16].copy_from_slice(&self.ppid.to_be_bytes());
        bytes
    }
}

impl<'a> Data<'a> {
    /// Reads a DATA chunk.
    ///
    /// # Errors
    ///
    /// [`ChunkError::NoUserData`] ("L MUST be greater than 0"), [`ChunkError::BadLength`].
    #[inline]
    pub fn parse(raw: RawChunk<'a>) -> Result<Self, ChunkError> {
        let (head, payload) = raw.at_least::<DATA_CHUNK_HEADER_LENGTH>()?;
        let header = DataHeader {
            tsn: Tsn(u32_at(head, 4)),
            stream: u16_at(head, 8),
            ssn: Ssn(u16_at(head, 10)),
            ppid: u32_at(head, 12),
            flags: DataFlags(raw.flags & DataFlags::ALL),
        };
        if payload.is_empty() {
            //= RFC 9260 §3.3.1: "where L MUST be greater than 0"
            return Err(ChunkError::NoUserData { offset: raw.offset, tsn: header.tsn });
        }
        Ok(Self { header, payload, payload_offset: raw.offset + DATA_CHUNK_HEADER_LENGTH })
    }

    /// A chunk to send.
    #[must_use]
    pub const fn new(header: DataHeader, payload: &'a [u8]) -> Self {
        Self { header, payload, payload_offset: 0 }
    }

    /// Where the user data of a received chunk lies in its packet: for taking it without copying it.
    #[inline]
    #[must_use]
    pub const fn payload_range(&self) -> Range<usize> {
        self.payload_offset..self.payload_offset + self.payload.len()
    }
}

impl Emit for Data<'_> {
    #[inline]
    fn length(&self) -> usize {
        DATA_CHUNK_HEADER_LENGTH + self.payload.len()
    }

    #[inline]
    fn emit(&self, out: &mut Sink<'_>) {
        out.array(self.header.to_bytes(self.length() as u16));
        out.bytes(self.payload);
    }
}

impl BitOr for DataFlags {
    type Output = Self;

    #[inline]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl PartialEq for Data<'_> {
    /// The same chunk, wherever it lies.
    fn eq(&self, other: &Self) -> bool {
        self.header == other.header && self.payload == other.payload
    }
}

impl fmt::Debug for DataFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = [(Self::IMMEDIATE, 'I'), (Self::UNORDERED, 'U'), (Self::BEGINNING, 'B'), (Self::ENDING, 'E')];
        bits.iter().try_for_each(|&(bit, name)| fmt::Write::write_char(f, if self.contains(bit) { name } else { '-' }))
    }
}

impl fmt::Display for Data<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DataHeader { tsn, stream, ssn, ppid, flags } = self.header;
        write!(f, "DATA {flags:?} TSN={tsn} stream={stream} SSN={ssn} PPID={ppid} {} bytes", self.payload.len())
    }
}

impl fmt::Debug for Data<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Chunk;
    use crate::wire::tests::{emitted, parsed};

    const BYTES: [u8; 19] = [0, 0x0b, 0, 19, 1, 2, 3, 4, 0, 7, 0, 9, 0, 0, 0, 60, b'a', b'b', b'c'];
    const CHUNK: Data<'_> = Data::new(
        DataHeader { tsn: Tsn(0x0102_0304), stream: 7, ssn: Ssn(9), ppid: 60, flags: DataFlags(0x0b) },
        b"abc",
    );

    //= test RFC 9260 §3.3.1: "The following format MUST be used for the DATA chunk:"
    #[test]
    fn bytes_and_back() {
        assert_eq!(emitted(&CHUNK), BYTES);
        assert_eq!(parsed(&BYTES), Ok(Chunk::Data(CHUNK)));
        assert_eq!(CHUNK.to_string(), "DATA I-BE TSN=16909060 stream=7 SSN=9 PPID=60 3 bytes");
        assert!(CHUNK.header.flags.is_unfragmented() && CHUNK.header.flags.is_immediate());
        assert_eq!(CHUNK.header.flags, DataFlags::IMMEDIATE | DataFlags::UNFRAGMENTED);
        assert!(!CHUNK.header.flags.is_unordered());
    }

    #[test]
    fn the_range_of_the_payload_is_in_the_packet() {
        let Ok(Chunk::Data(data)) = parsed(&BYTES) else { panic!("not DATA") };
        assert_eq!(data.payload_range(), 12 + 16..12 + 19);
    }

    #[test]
    fn reserved_flags_are_ignored() {
        let mut bytes = BYTES;
        bytes[1] |= 0xf0;
        assert_eq!(parsed(&bytes), Ok(Chunk::Data(CHUNK)));
    }

    //= test RFC 9260 §3.3.1: "where L MUST be greater than 0"
    #[test]
    fn without_user_data() {
        let mut bytes = BYTES;
        bytes[3] = 16;
        let expected = ChunkError::NoUserData { offset: 12, tsn: CHUNK.header.tsn };
        assert_eq!(parsed(&bytes[..16]), Err(expected));
    }

    #[test]
    fn shorter_than_its_header() {
        for length in 4..16_u8 {
            let mut bytes = BYTES;
            bytes[3] = length;
            let expected =
                ChunkError::BadLength { chunk_type: ChunkType::DATA, offset: 12, length: length.into(), expected: 16 };
            assert_eq!(parsed(&bytes), Err(expected));
        }
    }

    #[test]
    fn flags_of_fragments() {
        assert_eq!(DataFlags::of_fragment(true, true), DataFlags::UNFRAGMENTED);
        assert_eq!(DataFlags::of_fragment(true, false), DataFlags::BEGINNING);
        assert_eq!(DataFlags::of_fragment(false, false), DataFlags::MIDDLE);
        assert_eq!(DataFlags::of_fragment(false, true), DataFlags::ENDING);
    }
}
