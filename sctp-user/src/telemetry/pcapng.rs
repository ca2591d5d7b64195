//! A small pcapng writer (draft-ietf-opsawg-pcapng): section header, interface descriptions and
//! enhanced packets, little-endian, with nanosecond timestamps and the direction of each frame.
//!
//! ```text
//!  +--------+ +--------+ +--------+ +--------+ +--------+
//!  |  SHB   | | IDB 0  | | EPB    | | IDB 1  | | EPB    | ...
//!  +--------+ +--------+ +--------+ +--------+ +--------+
//! ```
//!
//! Each block is `type, total length, body (padded to 4), total length`. An interface is described
//! when its first frame is written.

use std::collections::HashMap;
use std::io::{self, Write};
use std::time::Duration;

use crate::datapath::capture::Direction;

/// What the frames of an interface start with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkType {
    /// An Ethernet header (`LINKTYPE_ETHERNET`).
    Ethernet,
    /// An IPv4 or IPv6 header (`LINKTYPE_RAW`).
    Ip,
}

/// Writes a capture to `W`.
#[derive(Debug)]
pub struct PcapngWriter<W> {
    output: W,
    /// The pcapng number of each of the caller's interfaces.
    interfaces: HashMap<u32, u32>,
    block: Vec<u8>,
}

const SECTION_HEADER: u32 = 0x0A0D_0D0A;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER_MAGIC: u32 = 0x1A2B_3C4D;

const OPTION_END: u16 = 0;
const OPTION_COMMENT: u16 = 1;
const OPTION_IF_NAME: u16 = 2;
const OPTION_IF_TSRESOL: u16 = 9;
const OPTION_SHB_USERAPPL: u16 = 4;
const OPTION_EPB_FLAGS: u16 = 2;

impl<W: Write> PcapngWriter<W> {
    /// Starts a capture: writes the section header.
    ///
    /// # Errors
    /// What `output` returns.
    pub fn new(output: W) -> io::Result<PcapngWriter<W>> {
        let mut writer = PcapngWriter { output, interfaces: HashMap::new(), block: Vec::with_capacity(2048) };
        writer.begin(SECTION_HEADER);
        writer.put_u32(BYTE_ORDER_MAGIC);
        writer.put_u16(1);
        writer.put_u16(0);
        writer.put(&u64::MAX.to_le_bytes()); // section length: not known
        writer.option(OPTION_SHB_USERAPPL, b"sctp");
        writer.option(OPTION_END, &[]);
        writer.end()?;
        Ok(writer)
    }

    /// Whether `interface` has been described.
    pub fn knows(&self, interface: u32) -> bool {
        self.interfaces.contains_key(&interface)
    }

    /// Describes an interface, once, before its first frame. `interface` is any number of the
    /// caller's, such as the kernel's interface index.
    ///
    /// # Errors
    /// What the output returns.
    pub fn interface(&mut self, interface: u32, name: &str, link_type: LinkType) -> io::Result<()> {
        let number = self.interfaces.len() as u32;
        self.interfaces.insert(interface, number);
        self.begin(INTERFACE_DESCRIPTION);
        self.put_u16(match link_type {
            LinkType::Ethernet => 1,
            LinkType::Ip => 101,
        });
        self.put_u16(0);
        self.put_u32(0); // snap length: no limit
        self.option(OPTION_IF_NAME, name.as_bytes());
        self.option(OPTION_IF_TSRESOL, &[9]); // 10^-9 s
        self.option(OPTION_END, &[]);
        self.end()
    }

    /// Writes one frame. `time` is the time since the Unix epoch. `comment`, where not empty, is
    /// shown by Wireshark beside the packet.
    ///
    /// # Errors
    /// What the output returns; `InvalidInput` when `interface` has not been described.
    pub fn frame(
        &mut self,
        interface: u32,
        time: Duration,
        direction: Direction,
        frame: &[u8],
        comment: &str,
    ) -> io::Result<()> {
        self.part(interface, time, direction, frame, frame.len(), comment)
    }

    /// As [`frame`](Self::frame), for the beginning of a frame that had `length` bytes.
    ///
    /// # Errors
    /// As [`frame`](Self::frame).
    pub fn part(
        &mut self,
        interface: u32,
        time: Duration,
        direction: Direction,
        frame: &[u8],
        length: usize,
        comment: &str,
    ) -> io::Result<()> {
        let number = *self.interfaces.get(&interface).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "a frame of an interface that was not described")
        })?;
        let nanoseconds = time.as_nanos() as u64;
        self.begin(ENHANCED_PACKET);
        self.put_u32(number);
        self.put_u32((nanoseconds >> 32) as u32);
        self.put_u32(nanoseconds as u32);
        self.put_u32(frame.len() as u32);
        self.put_u32(length.max(frame.len()) as u32);
        self.put(frame);
        self.pad();
        let flags: u32 = match direction {
            Direction::Inbound => 1,
            Direction::Outbound => 2,
        };
        self.option(OPTION_EPB_FLAGS, &flags.to_le_bytes());
        if !comment.is_empty() {
            self.option(OPTION_COMMENT, comment.as_bytes());
        }
        self.option(OPTION_END, &[]);
        self.end()
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// What the output returns.
    pub fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }

    /// Ends the capture and gives the output back.
    ///
    /// # Errors
    /// What the output returns.
    pub fn finish(mut self) -> io::Result<W> {
        self.output.flush()?;
        Ok(self.output)
    }

    fn begin(&mut self, block_type: u32) {
        self.block.clear();
        self.put_u32(block_type);
        self.put_u32(0); // the total length, set by `end`
    }

    fn end(&mut self) -> io::Result<()> {
        let length = (self.block.len() + 4) as u32;
        self.block[4..8].copy_from_slice(&length.to_le_bytes());
        self.put_u32(length);
        self.output.write_all(&self.block)
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        let length = value.len().min(usize::from(u16::MAX));
        self.put_u16(code);
        self.put_u16(length as u16);
        self.put(&value[..length]);
        self.pad();
    }

    fn pad(&mut self) {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.block.extend_from_slice(bytes);
    }

    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Splits a capture into (type, body) and checks both lengths of every block.
    fn blocks(mut capture: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let mut blocks = Vec::new();
        while !capture.is_empty() {
            let kind = u32::from_le_bytes(capture[..4].try_into().unwrap());
            let length = u32::from_le_bytes(capture[4..8].try_into().unwrap()) as usize;
            assert_eq!(length % 4, 0);
            let trailer = u32::from_le_bytes(capture[length - 4..length].try_into().unwrap());
            assert_eq!(trailer as usize, length);
            blocks.push((kind, capture[8..length - 4].to_vec()));
            capture = &capture[length..];
        }
        blocks
    }

    #[test]
    fn blocks_are_whole_and_in_order() {
        let mut writer = PcapngWriter::new(Vec::new()).unwrap();
        assert!(!writer.knows(7));
        writer.interface(7, "eth0", LinkType::Ethernet).unwrap();
        assert!(writer.knows(7));
        let time = Duration::new(1_700_000_000, 123_456_789);
        for length in 0..9 {
            let frame = vec![0xAB; length];
            writer.frame(7, time, Direction::Outbound, &frame, "why").unwrap();
        }
        let blocks = blocks(&writer.finish().unwrap());
        assert_eq!(blocks.len(), 11);
        assert_eq!(blocks[0].0, SECTION_HEADER);
        assert_eq!(blocks[0].1[..4], BYTE_ORDER_MAGIC.to_le_bytes());
        assert_eq!(blocks[1].0, INTERFACE_DESCRIPTION);
        assert_eq!(blocks[1].1[..2], [1, 0]);
        for (length, (kind, body)) in blocks[2..].iter().enumerate() {
            assert_eq!(*kind, ENHANCED_PACKET);
            let word = |at: usize| u32::from_le_bytes(body[at..at + 4].try_into().unwrap());
            assert_eq!(word(0), 0);
            let nanoseconds = u64::from(word(4)) << 32 | u64::from(word(8));
            assert_eq!(nanoseconds, 1_700_000_000_123_456_789);
            assert_eq!(word(12) as usize, length);
            assert_eq!(body[20..20 + length], vec![0xAB; length]);
            let options = &body[20 + length.next_multiple_of(4)..];
            assert_eq!(options[..8], [2, 0, 4, 0, 2, 0, 0, 0]);
            assert_eq!(options[8..], *b"\x01\x00\x03\x00why\x00\x00\x00\x00\x00");
        }
    }

    #[test]
    fn an_unknown_interface_is_an_error() {
        let mut writer = PcapngWriter::new(Vec::new()).unwrap();
        let error = writer.frame(1, Duration::ZERO, Direction::Inbound, &[], "").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
