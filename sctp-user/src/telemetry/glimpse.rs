//! What can be read of a frame of which only the beginning is there, or that is not sound.
//!
//! Dropped packets are often dropped because the decoder refuses them. This one refuses nothing: it reads field after field as long as there are
//! bytes and they make sense, checks nothing, and leaves out what it cannot find.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sctp_core::wire::ChunkType;

/// What a frame seems to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Glimpse {
    /// Addresses of the IP header: source and destination.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// Ports of the SCTP common header: source and destination.
    pub ports: Option<(u16, u16)>,
    /// The verification tag.
    pub tag: Option<u32>,
    /// Types of the chunks.
    pub chunks: Vec<u8>,
    /// Whether there may be more chunks than can be seen.
    pub more: bool,
}

impl Glimpse {
    /// Looks at the beginning of an Ethernet frame of `length` bytes.
    pub fn of(frame: &[u8], length: usize) -> Glimpse {
        let mut glimpse = Glimpse { more: frame.len() < length, ..Glimpse::default() };
        // What cannot be found is left out.
        let _ = glimpse.look(frame);
        glimpse
    }

    /// The names of the chunks.
    pub fn chunk_names(&self) -> Vec<String> {
        let name = |number: &u8| match ChunkType(*number).name() {
            Some(name) => name.to_owned(),
            None => format!("type {number}"),
        };
        self.chunks.iter().map(name).collect()
    }

    fn look(&mut self, frame: &[u8]) -> Option<()> {
        let mut at = 12;
        let mut kind = word(frame, at)?;
        // VLAN tags: 802.1Q, 802.1ad.
        while matches!(kind, 0x8100 | 0x88a8) {
            at += 4;
            kind = word(frame, at)?;
        }
        at += 2;
        let (mut protocol, mut at) = match kind {
            0x0800 => self.look_at_ipv4(frame, at)?,
            0x86dd => self.look_at_ipv6(frame, at)?,
            _ => return None,
        };
        // UDP encapsulation (RFC 6951): whatever it is, if it is not SCTP it was not dropped by us.
        if protocol == 17 {
            (protocol, at) = (SCTP, at + 8);
        }
        if protocol != SCTP {
            return None;
        }
        self.ports = Some((word(frame, at)?, word(frame, at + 2)?));
        self.tag = Some(u32::from_be_bytes(*frame.get(at + 4..)?.first_chunk()?));
        at += 12;
        while self.chunks.len() < MAX_CHUNKS {
            let (&number, length) = (frame.get(at)?, word(frame, at + 2)?);
            self.chunks.push(number);
            if length < 4 {
                return None;
            }
            at += usize::from(length).next_multiple_of(4);
        }
        self.more = true;
        None
    }

    fn look_at_ipv4(&mut self, frame: &[u8], at: usize) -> Option<(u8, usize)> {
        let header = frame.get(at..at + 20)?;
        let address = |at: usize| Some(Ipv4Addr::from(*header[at..].first_chunk::<4>()?));
        self.addresses = Some((address(12)?.into(), address(16)?.into()));
        // A later fragment has no SCTP header.
        let later = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
        (!later).then_some((header[9], at + usize::from(header[0] & 15) * 4))
    }

    fn look_at_ipv6(&mut self, frame: &[u8], at: usize) -> Option<(u8, usize)> {
        let header = frame.get(at..at + 40)?;
        let address = |at: usize| Some(Ipv6Addr::from(*header[at..].first_chunk::<16>()?));
        self.addresses = Some((address(8)?.into(), address(24)?.into()));
        let (mut protocol, mut at) = (header[6], at + 40);
        // Hop-by-hop options, routing, destination options; the fragment header, which has a fixed length.
        while let 0 | 43 | 60 | 44 = protocol {
            let (next, length) = (*frame.get(at)?, usize::from(*frame.get(at + 1)?));
            if protocol == 44 && word(frame, at + 2)? & 0xfff8 != 0 {
                return None;
            }
            at += if protocol == 44 { 8 } else { (length + 1) * 8 };
            protocol = next;
        }
        Some((protocol, at))
    }
}

impl fmt::Display for Glimpse {
    /// `10.0.0.1:7000 > 10.0.0.2:5000 tag 0x12345678 DATA, SACK`, as far as it could be read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((source, destination)) = self.addresses else { return f.write_str("no IP") };
        let Some((from, to)) = self.ports else { return write!(f, "{source} > {destination}") };
        let end = |address: IpAddr, port| std::net::SocketAddr::new(address, port);
        write!(f, "{} > {}", end(source, from), end(destination, to))?;
        if let Some(tag) = self.tag {
            write!(f, " tag {tag:#010x}")?;
        }
        let names = self.chunk_names();
        if !names.is_empty() {
            write!(f, " {}{}", names.join(", "), if self.more { " …" } else { "" })?;
        }
        Ok(())
    }
}

fn word(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?))
}

const SCTP: u8 = sctp_common::wire::IPPROTO_SCTP;

/// More than fit what the XDP program shows of a frame.
const MAX_CHUNKS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    /// Ethernet, IPv4 and the common header of a packet with these chunks.
    fn ipv4(chunks: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 132, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0x1b, 0x58, 0x13, 0x88, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0]);
        frame.extend(chunks);
        frame
    }

    fn text(frame: &[u8]) -> String {
        Glimpse::of(frame, frame.len()).to_string()
    }

    #[test]
    fn all_that_is_there_is_read() {
        // A HEARTBEAT of five bytes, padded; a COOKIE ACK; one of a type that nobody knows.
        let frame = ipv4(&[4, 0, 0, 5, 1, 0, 0, 0, 11, 0, 0, 4, 63, 0, 0, 4]);
        let all = "10.0.0.1:7000 > 10.0.0.2:5000 tag 0x12345678 HEARTBEAT, COOKIE ACK, type 63";
        assert_eq!(text(&frame), all);
        let cut = Glimpse::of(&frame, frame.len() + 1);
        assert_eq!(cut.to_string(), format!("{all} …"));
        let mut tagged = frame.clone();
        tagged.splice(12..12, [0x88, 0xa8, 0, 7, 0x81, 0, 0, 8]);
        assert_eq!(text(&tagged), all);
        let mut encapsulated = frame.clone();
        encapsulated[23] = 17;
        encapsulated.splice(34..34, [0x26, 0xab, 0x26, 0xab, 0, 0, 0, 0]);
        assert_eq!(text(&encapsulated), all);
    }

    #[test]
    fn ipv6_extension_headers_are_skipped() {
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 60, 64]);
        frame.extend(Ipv6Addr::LOCALHOST.octets());
        frame.extend("fd00::2".parse::<Ipv6Addr>().unwrap().octets());
        frame.extend([132, 0, 0, 0, 0, 0, 0, 0]);
        frame.extend(&ipv4(&[14, 1, 0, 4])[34..]);
        assert_eq!(text(&frame), "[::1]:7000 > [fd00::2]:5000 tag 0x12345678 SHUTDOWN COMPLETE");
    }

    #[test]
    fn any_beginning_of_a_frame_will_do() {
        let frame = ipv4(&[0, 3, 0, 17, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0]);
        let read: Vec<String> = (0..=frame.len()).map(|end| text(&frame[..end])).collect();
        assert_eq!((read[33].as_str(), read[34].as_str()), ("no IP", "10.0.0.1 > 10.0.0.2"));
        assert_eq!((read[37].as_str(), read[38].as_str()), (read[34].as_str(), "10.0.0.1:7000 > 10.0.0.2:5000"));
        assert!(read[frame.len()].ends_with(" tag 0x12345678 DATA"), "{}", read[frame.len()]);
        // Nor does nonsense harm.
        for byte in 0..=255 {
            let _ = text(&[byte; 128]);
            let _ = text(&ipv4(&[byte; 64]));
        }
    }

    #[test]
    fn a_chunk_without_length_ends_the_walk() {
        assert!(text(&ipv4(&[6, 0, 0, 0, 6, 0, 0, 4])).ends_with(" ABORT"));
    }
}
