//! Writes packets: the common header of [RFC 9260 §3.1], chunks with their padding, the checksum.
//!
//! [RFC 9260 §3.1]: https://www.rfc-editor.org/rfc/rfc9260#section-3.1

use sctp_common::wire::{COMMON_HEADER_LENGTH, padded};

use super::checksum::{self, CHECKSUM_AT};
use super::{CommonHeader, DATA_CHUNK_HEADER_LENGTH, DataHeader};

/// Writes one packet into a buffer of the caller. The size of the buffer is the limit, so hand over `&mut buffer[..pmtu]`.
///
/// A chunk that does not fit is refused and leaves the packet as it was, so "does it fit" is answered by trying.
#[derive(Debug)]
pub struct Writer<'b> {
    buffer: &'b mut [u8],
    /// Bytes written; a multiple of 4.
    length: usize,
}

/// Something that can be written as a chunk.
pub trait Emit {
    /// The Chunk Length: header and value, without the final padding (RFC 9260 §3.2). At least 4.
    fn length(&self) -> usize;

    /// Writes the chunk, exactly [`length`](Emit::length) bytes of it, header included.
    fn emit(&self, out: &mut Sink<'_>);
}

/// What to do with the checksum field of a finished packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Fill it with the packet's CRC32c (RFC 9260 §6.8).
    Compute,
    /// Leave it zero: somebody below computes it, or both ends trust the link (RFC 9653).
    Zero,
}

/// A chunk or header that does not fit what is left of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{needed} bytes do not fit: {available} are left in the packet and a chunk has at most 65535; send the packet and begin another"
)]
pub struct NoSpace {
    /// Bytes that the chunk takes with its padding.
    pub needed: usize,
    /// Bytes that were left.
    pub available: usize,
}

/// Where an [`Emit`] writes: exactly the bytes of its chunk, front to back.
#[derive(Debug)]
pub struct Sink<'b> {
    rest: &'b mut [u8],
    written: usize,
}

impl<'b> Writer<'b> {
    /// Begins a packet with its common header.
    ///
    /// # Errors
    ///
    /// [`NoSpace`] when the buffer is shorter than a common header.
    #[inline]
    pub fn new(buffer: &'b mut [u8], header: CommonHeader) -> Result<Self, NoSpace> {
        let available = buffer.len();
        let Some(bytes) = buffer.first_chunk_mut() else {
            return Err(NoSpace { needed: COMMON_HEADER_LENGTH, available });
        };
        *bytes = header.to_bytes();
        Ok(Self { buffer, length: COMMON_HEADER_LENGTH })
    }

    /// Bytes written so far, always a multiple of 4.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether the packet has no chunk yet.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == COMMON_HEADER_LENGTH
    }

    /// Bytes left for chunks with their headers and padding, a multiple of 4.
    #[inline]
    #[must_use]
    pub fn remaining(&self) -> usize {
        (self.buffer.len() - self.length) & !3
    }

    /// The longest payload that a further DATA chunk can carry in this packet; zero when none can.
    #[inline]
    #[must_use]
    pub fn payload_room(&self) -> usize {
        let longest = usize::from(u16::MAX) - DATA_CHUNK_HEADER_LENGTH;
        self.remaining().saturating_sub(DATA_CHUNK_HEADER_LENGTH).min(longest)
    }

    /// Appends a chunk and its padding.
    ///
    /// # Errors
    ///
    /// [`NoSpace`] when the chunk does not fit; the packet is as before.
    #[inline]
    pub fn chunk<C: Emit + ?Sized>(&mut self, chunk: &C) -> Result<(), NoSpace> {
        let mut sink = Sink::new(self.reserve(chunk.length())?);
        chunk.emit(&mut sink);
        debug_assert!(sink.rest.is_empty(), "a chunk is shorter than it said");
        Ok(())
    }

    /// Appends the header and padding of a DATA chunk and returns where its `payload_length` bytes of user data go.
    /// The caller fills all of them.
    ///
    /// # Errors
    ///
    /// [`NoSpace`] when the chunk does not fit; the packet is as before. [`payload_room`](Writer::payload_room) tells beforehand.
    #[inline]
    pub fn data(&mut self, header: &DataHeader, payload_length: usize) -> Result<&mut [u8], NoSpace> {
        let length = payload_length.saturating_add(DATA_CHUNK_HEADER_LENGTH);
        let chunk = self.reserve(length)?;
        let (head, payload) = chunk.split_at_mut(DATA_CHUNK_HEADER_LENGTH);
        //= RFC 9260 §3.3.1: "Any padding MUST NOT be included in the Length field."
        head.copy_from_slice(&header.to_bytes(length as u16));
        Ok(payload)
    }

    /// Ends the packet; returns its length in bytes.
    #[inline]
    #[must_use]
    pub fn finish(self, checksum: Checksum) -> usize {
        //= RFC 9260 §6.8: "the endpoint MUST strengthen the data integrity of the transmission by including the CRC32c
        //= checksum value"
        //= RFC 9260 §6.8: "After the packet is constructed … the transmitter MUST:"
        if checksum == Checksum::Compute {
            let packet = &mut self.buffer[..self.length];
            // The field is zero so far, so the CRC can be taken in one piece.
            let crc = crc32c::crc32c(packet);
            packet[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&checksum::bytes(crc));
        }
        self.length
    }

    /// Takes `length` bytes and zeroes the padding after them.
    #[inline]
    //= RFC 9260 §3.2: "The total length of a chunk (including Type, Length, and Value fields) MUST be a multiple of 4
    //= bytes."
    //= RFC 9260 §3.2: "the sender MUST pad the chunk with all zero bytes"
    //= RFC 9260 §3.2: "The sender MUST NOT pad with more than 3 bytes."
    //= RFC 9260 §3.3.1: "The implementation MUST pad the end of the data to a 4-byte boundary with all zero bytes."
    //= RFC 9260 §3.3.1: "A sender MUST never add more than 3 bytes of padding."
    //= RFC 9260 §6.10: "Partial chunks MUST NOT be placed in an SCTP packet."
    fn reserve(&mut self, length: usize) -> Result<&mut [u8], NoSpace> {
        let needed = padded(length);
        let available = self.remaining();
        if needed > available || length > usize::from(u16::MAX) {
            return Err(NoSpace { needed, available });
        }
        let chunk = &mut self.buffer[self.length..self.length + needed];
        if let Some(last) = chunk.last_chunk_mut() {
            *last = [0; 4];
        }
        self.length += needed;
        Ok(&mut chunk[..length])
    }
}

impl<'b> Sink<'b> {
    #[inline]
    fn new(rest: &'b mut [u8]) -> Self {
        Self { rest, written: 0 }
    }

    /// Appends one byte.
    #[inline]
    pub fn u8(&mut self, value: u8) {
        self.array([value]);
    }

    //= RFC 9260 §3: "All integer fields in an SCTP packet MUST be transmitted in network byte order"
    /// Appends two bytes in network byte order.
    #[inline]
    pub fn u16(&mut self, value: u16) {
        self.array(value.to_be_bytes());
    }

    /// Appends four bytes in network byte order.
    #[inline]
    pub fn u32(&mut self, value: u32) {
        self.array(value.to_be_bytes());
    }

    /// Appends a header of known size in one store.
    #[inline]
    pub fn array<const N: usize>(&mut self, bytes: [u8; N]) {
        self.bytes(&bytes);
    }

    /// Appends bytes as they are.
    ///
    /// # Panics
    ///
    /// When a chunk writes more than the length that it gave, which is a bug in its [`Emit`].
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.take(bytes.len()).copy_from_slice(bytes);
    }

    /// Appends zeroes.
    #[inline]
    pub fn zeroes(&mut self, count: usize) {
        self.take(count).fill(0);
    }

    /// Appends zeroes up to the next multiple of 4 bytes from the chunk's beginning.
    #[inline]
    pub fn align(&mut self) {
        self.zeroes(padded(self.written) - self.written);
    }

    /// Appends the four bytes that every chunk begins with.
    #[inline]
    pub(crate) fn chunk_header(&mut self, chunk_type: super::ChunkType, flags: u8, length: usize) {
        let [high, low] = (length as u16).to_be_bytes();
        self.array([chunk_type.0, flags, high, low]);
    }

    #[inline]
    fn take(&mut self, count: usize) -> &mut [u8] {
        let (taken, rest) = core::mem::take(&mut self.rest).split_at_mut(count);
        self.rest = rest;
        self.written += count;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial::{Ssn, Tsn};
    use crate::wire::{Chunk, CookieEcho, DataFlags, Packet, Pad, verify_checksum};

    const HEADER: CommonHeader = CommonHeader { source_port: 1, destination_port: 2, verification_tag: 3 };
    const DATA: DataHeader =
        DataHeader { tsn: Tsn(5), stream: 6, ssn: Ssn(7), ppid: 8, flags: DataFlags::UNFRAGMENTED };

    #[test]
    fn several_chunks_and_a_checksum() {
        let mut buffer = [0xee; 64];
        let mut writer = Writer::new(&mut buffer, HEADER).expect("room");
        assert!(writer.is_empty());
        writer.chunk(&CookieEcho { cookie: b"c" }).expect("room");
        writer.chunk(&Chunk::CookieAck).expect("room");
        assert!(!writer.is_empty());
        let payload = writer.data(&DATA, 5).expect("room");
        payload.copy_from_slice(b"hello");
        let length = writer.finish(Checksum::Compute);

        let packet = &buffer[..length];
        assert!(verify_checksum(packet));
        let packet = Packet::parse(packet).expect("a packet");
        assert_eq!(
            packet.to_string(),
            "1 -> 2 tag=0x00000003: COOKIE ECHO 1 bytes; COOKIE ACK; DATA --BE TSN=5 stream=6 SSN=7 PPID=8 5 bytes"
        );
        assert_eq!(length, 12 + 8 + 4 + 24);
        assert!(buffer[length - 3..length].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn the_checksum_can_be_left_zero() {
        let mut buffer = [0xee; 16];
        let mut writer = Writer::new(&mut buffer, HEADER).expect("room");
        writer.chunk(&Chunk::CookieAck).expect("room");
        assert_eq!(writer.finish(Checksum::Zero), 16);
        assert_eq!(buffer[8..12], [0; 4]);
    }

    #[test]
    fn what_does_not_fit_leaves_the_packet_as_it_was() {
        // 27 bytes hold the header, a chunk of 12, and 3 that nothing can use.
        let mut buffer = [0xee; 27];
        let mut writer = Writer::new(&mut buffer, HEADER).expect("room");
        assert_eq!((writer.remaining(), writer.payload_room()), (12, 0));
        let error = writer.chunk(&CookieEcho { cookie: b"123456789" }).expect_err("no room");
        assert_eq!(error, NoSpace { needed: 16, available: 12 });
        assert_eq!(writer.data(&DATA, 1).expect_err("no room"), NoSpace { needed: 20, available: 12 });
        writer.chunk(&CookieEcho { cookie: b"12345678" }).expect("room");
        assert_eq!(writer.remaining(), 0);
        assert!(writer.chunk(&Chunk::CookieAck).is_err());
        assert_eq!(writer.finish(Checksum::Compute), 24);
        assert!(verify_checksum(&buffer[..24]));
        assert_eq!(buffer[24..], [0xee; 3]);
    }

    #[test]
    fn the_payload_room_can_be_used_to_the_last_byte() {
        for length in 28..40 {
            let mut buffer = vec![0xee; length];
            let mut writer = Writer::new(&mut buffer, HEADER).expect("room");
            let room = writer.payload_room();
            assert_eq!(room, (length - 28) & !3);
            writer.data(&DATA, room + 1).expect_err("no room");
            assert_eq!(writer.data(&DATA, room).expect("room").len(), room);
        }
    }

    #[test]
    fn no_room_for_a_header() {
        let error = Writer::new(&mut [0; 11], HEADER).expect_err("no room");
        assert_eq!(error, NoSpace { needed: 12, available: 11 });
    }

    #[test]
    fn a_chunk_has_at_most_65535_bytes() {
        let mut buffer = vec![0; 80_000];
        let cookie = vec![0; 65_532];
        let mut writer = Writer::new(&mut buffer, HEADER).expect("room");
        assert_eq!(writer.payload_room(), 65_535 - 16);
        assert!(writer.chunk(&CookieEcho { cookie: &cookie }).is_err());
        writer.chunk(&CookieEcho { cookie: &cookie[1..] }).expect("room");
        assert!(writer.chunk(&Pad { data_length: u16::MAX }).is_err());
        assert!(Writer::new(&mut buffer, HEADER).expect("room").data(&DATA, usize::MAX - 20).is_err());
    }
}
