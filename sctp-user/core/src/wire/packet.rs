//! The packet: a common header and chunks, [RFC 9260 §3], [§3.1] and [§3.2].
//!
//! [RFC 9260 §3]: https://www.rfc-editor.org/rfc/rfc9260#section-3
//! [§3.1]: https://www.rfc-editor.org/rfc/rfc9260#section-3.1
//! [§3.2]: https://www.rfc-editor.org/rfc/rfc9260#section-3.2
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |       Source Port Number      |    Destination Port Number    |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                       Verification Tag                        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                           Checksum                            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |  Chunk Type   |  Chunk Flags  |         Chunk Length          |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! \                                                               \
//! /                          Chunk Value                          /
//! \                                                               \
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                              ...                              |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use core::fmt;

use sctp_common::wire::{CHUNK_HEADER_LENGTH, COMMON_HEADER_LENGTH, padded};

use super::checksum;
use super::{Chunk, ChunkError, ChunkType, UnknownAction};

/// The fields of the common header that a sender chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CommonHeader {
    /// "The Source Port Number 0 MUST NOT be used."
    pub source_port: u16,
    /// "The Destination Port Number 0 MUST NOT be used."
    pub destination_port: u16,
    /// The Initiate Tag that the peer sent, save for the exceptions of RFC 9260 §8.5.1.
    pub verification_tag: u32,
}

/// A received packet: its common header is sound, its chunks are yet to be walked.
#[derive(Clone, Copy)]
pub struct Packet<'a> {
    /// The sender's port, never 0.
    pub source_port: u16,
    /// Our port, never 0.
    pub destination_port: u16,
    /// What the sender takes for our tag.
    pub verification_tag: u32,
    /// The CRC32c that the packet claims; not verified here, see [`verify_checksum`](super::verify_checksum).
    pub checksum: u32,
    bytes: &'a [u8],
}

/// Why bytes are not an SCTP packet. Such packets are discarded without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Shorter than a common header and one chunk header.
    #[error("{length} bytes are too few for an SCTP packet; the common header and one chunk header take 16")]
    TooShort {
        /// Bytes there are.
        length: usize,
    },
    /// "The Source Port Number 0 MUST NOT be used" (RFC 9260 §3.1).
    #[error("the source port at byte 0 is 0, which no SCTP packet may use")]
    SourcePortZero,
    /// "The Destination Port Number 0 MUST NOT be used" (RFC 9260 §3.1).
    #[error("the destination port at byte 2 is 0, which no SCTP packet may use")]
    DestinationPortZero,
}

/// A chunk whose bytes are known to lie in the packet; what they mean is for [`Chunk::parse`].
#[derive(Clone, Copy)]
pub struct RawChunk<'a> {
    /// What kind of chunk.
    pub chunk_type: ChunkType,
    /// Chunk Flags; their meaning depends on the type.
    pub flags: u8,
    /// Where the chunk begins in the packet.
    pub offset: usize,
    /// The Chunk Value, without padding.
    pub value: &'a [u8],
    /// The whole chunk: type, flags, length and value, without padding. What "Unrecognized Chunk Type" sends back.
    pub bytes: &'a [u8],
}

/// Iterator over the chunks of a packet. Ends after the first error: there is no telling where a next chunk begins.
#[derive(Clone)]
pub struct Chunks<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl CommonHeader {
    /// The header of an answer to a packet with this one: ports swapped.
    #[inline]
    #[must_use]
    pub const fn reply(&self, verification_tag: u32) -> Self {
        Self { source_port: self.destination_port, destination_port: self.source_port, verification_tag }
    }

    /// The header's bytes, with a checksum of zero.
    #[inline]
    pub(crate) fn to_bytes(self) -> [u8; COMMON_HEADER_LENGTH] {
        let mut bytes = [0; COMMON_HEADER_LENGTH];
        bytes[..2].copy_from_slice(&self.source_port.to_be_bytes());
        bytes[2..4].copy_from_slice(&self.destination_port.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.verification_tag.to_be_bytes());
        bytes
    }
}

impl<'a> Packet<'a> {
    /// Reads the common header of the packet in `bytes`, which begin with it and end with the IP payload.
    ///
    /// # Errors
    ///
    /// [`PacketError`] when there is no room for a header and a chunk, or a port is 0.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let header = match bytes.first_chunk::<COMMON_HEADER_LENGTH>() {
            Some(header) if bytes.len() >= COMMON_HEADER_LENGTH + CHUNK_HEADER_LENGTH => header,
            _ => return Err(PacketError::TooShort { length: bytes.len() }),
        };
        let packet = Self {
            source_port: u16::from_be_bytes([header[0], header[1]]),
            destination_port: u16::from_be_bytes([header[2], header[3]]),
            verification_tag: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            checksum: checksum::read(header),
            bytes,
        };
        //= RFC 9260 §3.1: "The Source Port Number 0 MUST NOT be used."
        if packet.source_port == 0 {
            return Err(PacketError::SourcePortZero);
        }
        //= RFC 9260 §3.1: "The Destination Port Number 0 MUST NOT be used."
        if packet.destination_port == 0 {
            return Err(PacketError::DestinationPortZero);
        }
        Ok(packet)
    }

    /// Ports and tag together.
    #[inline]
    #[must_use]
    pub const fn header(&self) -> CommonHeader {
        CommonHeader {
            source_port: self.source_port,
            destination_port: self.destination_port,
            verification_tag: self.verification_tag,
        }
    }

    /// The whole packet, common header first.
    #[inline]
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The chunks in order.
    #[inline]
    #[must_use]
    //= RFC 9260 §6.10: "An endpoint MUST process received chunks in their order in the packet."
    pub fn chunks(&self) -> Chunks<'a> {
        Chunks { rest: &self.bytes[COMMON_HEADER_LENGTH..], offset: COMMON_HEADER_LENGTH }
    }
}

impl<'a> RawChunk<'a> {
    /// What its type asks of a receiver that does not know it.
    #[inline]
    #[must_use]
    pub const fn unknown_action(&self) -> UnknownAction {
        UnknownAction::of_chunk(self.chunk_type.0)
    }

    /// Where the value begins in the packet.
    #[inline]
    pub(crate) const fn value_offset(&self) -> usize {
        self.offset + CHUNK_HEADER_LENGTH
    }
}

impl<'a> Chunks<'a> {
    /// Ends the walk with this error.
    #[cold]
    fn fail(&mut self, error: ChunkError) -> Option<Result<RawChunk<'a>, ChunkError>> {
        self.rest = &[];
        Some(Err(error))
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Result<RawChunk<'a>, ChunkError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (rest, offset, available) = (self.rest, self.offset, self.rest.len());
        let Some(&[chunk_type, flags, length_high, length_low]) = rest.first_chunk() else {
            if rest.is_empty() {
                return None;
            }
            return self.fail(ChunkError::HeaderTruncated { offset, available });
        };
        let length = u16::from_be_bytes([length_high, length_low]);
        let Some(bytes) = rest.get(..usize::from(length)) else {
            //= RFC 9260 §6.10: "If the receiver detects a partial chunk, it MUST drop the chunk."
            return self.fail(ChunkError::LengthBeyondPacket { offset, length, available });
        };
        let Some((_, value)) = bytes.split_at_checked(CHUNK_HEADER_LENGTH) else {
            return self.fail(ChunkError::LengthBelowHeader { offset, length });
        };
        // The padding of the last chunk may be absent.
        //= RFC 9260 §3.2: "The receiver MUST ignore the padding bytes."
        let step = padded(bytes.len());
        self.rest = rest.get(step..).unwrap_or_default();
        self.offset += step;
        Some(Ok(RawChunk { chunk_type: ChunkType(chunk_type), flags, offset, value, bytes }))
    }
}

impl PartialEq for RawChunk<'_> {
    /// The same chunk, wherever it lies.
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl fmt::Display for RawChunk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} flags={:#04x} length={}", self.chunk_type, self.flags, self.bytes.len())
    }
}

impl fmt::Debug for RawChunk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} at byte {}", self.offset)
    }
}

/// One line: `5000 -> 38412 tag=0x1d2c3b4a: SACK cum=7 a_rwnd=65536; DATA TSN=8 …`.
impl fmt::Display for Packet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} tag={:#010x}", self.source_port, self.destination_port, self.verification_tag)?;
        for (at, chunk) in self.chunks().enumerate() {
            f.write_str(if at == 0 { ": " } else { "; " })?;
            match chunk.and_then(Chunk::parse) {
                Ok(chunk) => chunk.fmt(f)?,
                Err(error) => write!(f, "malformed ({error})")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Packet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: [u8; 12] = [0x13, 0x88, 0x96, 0x0c, 0x1d, 0x2c, 0x3b, 0x4a, 0x78, 0x56, 0x34, 0x12];

    fn packet(chunks: &[u8]) -> Vec<u8> {
        [&HEADER, chunks].concat()
    }

    fn walk(bytes: &[u8]) -> Vec<Result<(u8, usize, usize), ChunkError>> {
        let packet = Packet::parse(bytes).expect("a packet");
        packet.chunks().map(|chunk| chunk.map(|raw| (raw.chunk_type.0, raw.offset, raw.value.len()))).collect()
    }

    //= test RFC 9260 §3: "All integer fields in an SCTP packet MUST be transmitted in network byte order"
    #[test]
    fn the_common_header() {
        let bytes = packet(&[11, 0, 0, 4]);
        let packet = Packet::parse(&bytes).expect("a packet");
        assert_eq!((packet.source_port, packet.destination_port), (5000, 38412));
        assert_eq!(packet.verification_tag, 0x1d2c_3b4a);
        assert_eq!(packet.checksum, 0x1234_5678, "the checksum is little-endian");
        let header = packet.header();
        assert_eq!(header.to_bytes()[..8], HEADER[..8]);
        let reply = CommonHeader { source_port: 38412, destination_port: 5000, verification_tag: 7 };
        assert_eq!(header.reply(7), reply);
    }

    #[test]
    fn too_short() {
        for length in 0..16 {
            let error = Packet::parse(&packet(&[11, 0, 0, 4])[..length]).expect_err("too short");
            assert_eq!(error, PacketError::TooShort { length });
        }
    }

    //= test RFC 9260 §3.1: "The Source Port Number 0 MUST NOT be used."
    //= test RFC 9260 §3.1: "The Destination Port Number 0 MUST NOT be used."
    #[test]
    fn port_zero() {
        let mut bytes = packet(&[11, 0, 0, 4]);
        bytes[..2].fill(0);
        assert_eq!(Packet::parse(&bytes).expect_err("port 0"), PacketError::SourcePortZero);
        let mut bytes = packet(&[11, 0, 0, 4]);
        bytes[2..4].fill(0);
        assert_eq!(Packet::parse(&bytes).expect_err("port 0"), PacketError::DestinationPortZero);
    }

    //= test RFC 9260 §6.10: "An endpoint MUST process received chunks in their order in the packet."
    //= test RFC 9260 §3.2: "The receiver MUST ignore the padding bytes."
    #[test]
    fn chunks_in_their_order_over_their_padding() {
        let bytes = packet(&[10, 0, 0, 5, 0xaa, 0xff, 0xff, 0xff, 11, 0, 0, 4, 0x84, 0, 0, 7, 1, 2, 3, 0]);
        assert_eq!(walk(&bytes), [Ok((10, 12, 1)), Ok((11, 20, 0)), Ok((0x84, 24, 3))]);
    }

    #[test]
    fn the_last_padding_may_be_absent_or_short() {
        for end in 5..=8 {
            assert_eq!(walk(&packet(&[10, 0, 0, 5, 0xaa, 0, 0, 0][..end])), [Ok((10, 12, 1))]);
        }
    }

    //= test RFC 9260 §6.10: "If the receiver detects a partial chunk, it MUST drop the chunk."
    #[test]
    fn lengths_that_lead_nowhere_end_the_walk_and_what_came_before_stands() {
        let before = [11, 0, 0, 4];
        for length in 0..4_u8 {
            let bytes = packet(&[&before[..], &[10, 0, 0, length], &before].concat());
            let error = ChunkError::LengthBelowHeader { offset: 16, length: length.into() };
            assert_eq!(walk(&bytes), [Ok((11, 12, 0)), Err(error)]);
        }
        let bytes = packet(&[&before[..], &[10, 0, 0, 9, 1, 2, 3, 4]].concat());
        let error = ChunkError::LengthBeyondPacket { offset: 16, length: 9, available: 8 };
        assert_eq!(walk(&bytes), [Ok((11, 12, 0)), Err(error)]);
        for stray in 1..4 {
            let bytes = packet(&[&before[..], &[10, 0, 0][..stray]].concat());
            let error = ChunkError::HeaderTruncated { offset: 16, available: stray };
            assert_eq!(walk(&bytes), [Ok((11, 12, 0)), Err(error)]);
        }
    }

    #[test]
    fn a_line_for_the_log() {
        let bytes = packet(&[11, 0, 0, 4, 0xfd, 0, 0, 4, 7, 0, 0, 4]);
        let packet = Packet::parse(&bytes).expect("a packet");
        assert_eq!(
            packet.to_string(),
            "5000 -> 38412 tag=0x1d2c3b4a: COOKIE ACK; unknown chunk type 0xfd flags=0x00 length=4; \
             malformed (SHUTDOWN at byte 20 of the packet is 4 bytes long; it takes 8)"
        );
    }

    #[test]
    fn an_unknown_chunk_says_what_to_do() {
        let bytes = packet(&[0xfd, 1, 0, 4]);
        let raw = Packet::parse(&bytes).expect("a packet").chunks().next().expect("one").expect("sound");
        assert_eq!(raw.unknown_action(), UnknownAction { stop: false, report: true });
        assert_eq!(Chunk::parse(raw), Ok(Chunk::Unknown(raw)));
        assert_eq!(raw.bytes, [0xfd, 1, 0, 4]);
    }
}
