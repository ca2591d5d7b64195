//! The struct that the XDP program leaves in front of each frame that it redirects.
//!
//! It spares userspace a second parse of the lower headers and a second look-up of the association: the program has
//! done both. It lies in the 16 bytes directly before the frame's first byte, in host byte order:
//!
//! ```text
//!  0         4          5       6             8      12           16
//!  +---------+----------+-------+-------------+------+------------+----------------
//!  |  magic  | checksum | flags | sctp_offset | slot | generation | Ethernet frame …
//!  +---------+----------+-------+-------------+------+------------+----------------
//! ```
//!
//! `flags`: bits 0–1 ECN codepoint, bits 2–3 number of VLAN tags, bit 4 IPv6, bit 5 ICMP error, bit 6 in UDP. For an ICMP error, `sctp_offset` is that
//! of the SCTP packet that it quotes.

use core::ops::Range;

use crate::frame::{ETHERNET_HEADER_LENGTH, VLAN_TAG_LENGTH, ipv4_mapped};
use crate::wire::{COMMON_HEADER_LENGTH, UDP_HEADER_LENGTH};

/// First word of every [`RxMetadata`].
///
/// It tells a frame with metadata from one without, and its last byte is the layout's version.
pub const MAGIC: u32 = 0x5c7b_9e01;

/// [`RxMetadata::slot`] of a packet that belongs to no association yet (INIT, first COOKIE ECHO).
pub const NO_SLOT: u32 = u32::MAX;

/// What is known of the packet's CRC32c.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing: whoever reads the packet must verify it first.
    NotChecked = 0,
    /// The program computed it and it is right.
    Verified = 1,
    /// The field is zero and the link is trusted ([`policy::TRUSTED_LINK`](crate::maps::policy::TRUSTED_LINK)): to be
    /// taken as verified, since the packet never left this machine.
    Trusted = 2,
}

/// What the program says about a frame. See the [module](self).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxMetadata {
    magic: u32,
    checksum: u8,
    flags: u8,
    sctp_offset: u16,
    /// The association's slot in its worker's endpoint, or [`NO_SLOT`].
    pub slot: u32,
    /// The slot's generation; 0 without a slot.
    pub generation: u32,
}

impl RxMetadata {
    /// Bytes of the struct.
    pub const SIZE: usize = 16;

    /// Describes a frame: what was decoded, what is known of its checksum, whose it is.
    #[inline(always)]
    #[must_use]
    pub const fn new(decoded: &crate::frame::Decoded, checksum: Checksum, slot: u32, generation: u32) -> Self {
        let tags = (decoded.l3_offset - ETHERNET_HEADER_LENGTH as u16) / VLAN_TAG_LENGTH as u16;
        let version = if decoded.is_ipv4 { 0 } else { FLAG_IPV6 };
        let udp = if decoded.in_udp { FLAG_UDP } else { 0 };
        Self {
            magic: MAGIC,
            checksum: checksum as u8,
            flags: (decoded.ecn & FLAG_ECN) | (((tags & 3) as u8) << FLAG_TAGS_SHIFT) | version | udp,
            sctp_offset: decoded.sctp_offset,
            slot,
            generation,
        }
    }

    /// The struct from the 16 bytes in front of a frame, or `None` if they are something else.
    #[must_use]
    pub const fn from_bytes(bytes: &[u8; Self::SIZE]) -> Option<Self> {
        let &[a, b, c, d, checksum, flags, e, f, g, h, i, j, k, l, m, n] = bytes;
        let magic = u32::from_ne_bytes([a, b, c, d]);
        if magic != MAGIC || checksum > Checksum::Trusted as u8 {
            return None;
        }
        Some(Self {
            magic,
            checksum,
            flags,
            sctp_offset: u16::from_ne_bytes([e, f]),
            slot: u32::from_ne_bytes([g, h, i, j]),
            generation: u32::from_ne_bytes([k, l, m, n]),
        })
    }

    /// The struct as it lies in front of a frame.
    #[must_use]
    pub const fn to_bytes(&self) -> [u8; Self::SIZE] {
        let [a, b, c, d] = self.magic.to_ne_bytes();
        let [e, f] = self.sctp_offset.to_ne_bytes();
        let [g, h, i, j] = self.slot.to_ne_bytes();
        let [k, l, m, n] = self.generation.to_ne_bytes();
        [a, b, c, d, self.checksum, self.flags, e, f, g, h, i, j, k, l, m, n]
    }

    /// Describes a frame with an ICMP error, and whose packet it quotes.
    #[inline(always)]
    #[must_use]
    pub const fn of_icmp(quotation: &crate::icmp::Quotation, slot: u32, generation: u32) -> Self {
        let tags = (quotation.l3_offset - ETHERNET_HEADER_LENGTH as u16) / VLAN_TAG_LENGTH as u16;
        let version = if quotation.is_ipv4 { 0 } else { FLAG_IPV6 };
        Self {
            magic: MAGIC,
            checksum: Checksum::NotChecked as u8,
            flags: FLAG_ICMP | (((tags & 3) as u8) << FLAG_TAGS_SHIFT) | version,
            sctp_offset: quotation.sctp_offset,
            slot,
            generation,
        }
    }

    /// Whether the frame holds an ICMP error that quotes a packet of the association, and no packet for it.
    #[must_use]
    pub const fn is_icmp(&self) -> bool {
        self.flags & FLAG_ICMP != 0
    }

    /// What is known of the packet's checksum.
    #[must_use]
    pub const fn checksum(&self) -> Checksum {
        match self.checksum {
            1 => Checksum::Verified,
            2 => Checksum::Trusted,
            _ => Checksum::NotChecked,
        }
    }

    /// Slot and generation of the association that the verification tag belongs to, if there is one.
    #[must_use]
    pub const fn association(&self) -> Option<(u32, u32)> {
        if self.slot == NO_SLOT { None } else { Some((self.slot, self.generation)) }
    }

    /// The ECN codepoint of the IP header: 0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE (RFC 3168 §5).
    #[must_use]
    pub const fn ecn(&self) -> u8 {
        self.flags & FLAG_ECN
    }

    /// Offset of the IP header from the frame's start.
    #[must_use]
    pub const fn l3_offset(&self) -> usize {
        ETHERNET_HEADER_LENGTH + ((self.flags >> FLAG_TAGS_SHIFT) & 3) as usize * VLAN_TAG_LENGTH
    }

    /// Offset of the SCTP common header from the frame's start.
    #[must_use]
    pub const fn sctp_offset(&self) -> usize {
        self.sctp_offset as usize
    }

    /// Whether the packet came over IPv4.
    #[must_use]
    pub const fn is_ipv4(&self) -> bool {
        self.flags & FLAG_IPV6 == 0
    }

    /// Whether the packet came in UDP (RFC 6951), whose header is in front of it then.
    #[must_use]
    pub const fn is_in_udp(&self) -> bool {
        self.flags & FLAG_UDP != 0
    }

    /// Reads addresses and extent of the SCTP packet from `frame`, which this struct describes.
    ///
    /// `None` if it cannot describe this frame: the offsets point outside. No header is parsed again, four fixed fields
    /// are read. The extent follows from the IP length, not from the frame's, since Ethernet pads short frames.
    #[must_use]
    pub fn locate(&self, frame: &[u8]) -> Option<Located> {
        let l3 = self.l3_offset();
        let header = frame.get(l3..)?;
        let (source, destination, end) = if self.is_ipv4() {
            let header = header.first_chunk::<20>()?;
            let [.., s0, s1, s2, s3, d0, d1, d2, d3] = *header;
            let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
            (ipv4_mapped([s0, s1, s2, s3]), ipv4_mapped([d0, d1, d2, d3]), l3 + total)
        } else {
            let header = header.first_chunk::<40>()?;
            let payload = usize::from(u16::from_be_bytes([header[4], header[5]]));
            (*header[8..].first_chunk()?, *header[24..].first_chunk()?, l3 + 40 + payload)
        };
        let (udp_source_port, end) = match self.is_in_udp() {
            false => (0, end),
            true => {
                let at = self.sctp_offset().checked_sub(UDP_HEADER_LENGTH)?;
                let [s0, s1, _, _, l0, l1, _, _] = *frame.get(at..)?.first_chunk::<UDP_HEADER_LENGTH>()?;
                let udp_end = at + usize::from(u16::from_be_bytes([l0, l1]));
                (u16::from_be_bytes([s0, s1]), udp_end.min(end))
            }
        };
        let sctp = self.sctp_offset()..end;
        let fits = end <= frame.len() && sctp.len() >= COMMON_HEADER_LENGTH && sctp.start >= l3 + 20;
        fits.then_some(Located { source, destination, udp_source_port, sctp })
    }
}

/// Where an SCTP packet lies in its frame, and between whom it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Source address, IPv4 as IPv4-mapped IPv6.
    pub source: [u8; 16],
    /// Destination address, IPv4 as IPv4-mapped IPv6.
    pub destination: [u8; 16],
    /// Source port of the UDP header; 0 if the packet came directly over IP.
    pub udp_source_port: u16,
    /// The SCTP packet's bytes within the frame, common header included, Ethernet padding excluded.
    pub sctp: Range<usize>,
}

const FLAG_ECN: u8 = 0b11;
const FLAG_TAGS_SHIFT: u32 = 2;
const FLAG_IPV6: u8 = 1 << 4;
const FLAG_ICMP: u8 = 1 << 5;
const FLAG_UDP: u8 = 1 << 6;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{decode, decode_udp, samples};

    #[test]
    fn the_struct_has_its_size_and_no_padding() {
        assert_eq!(size_of::<RxMetadata>(), RxMetadata::SIZE);
    }

    #[test]
    fn it_says_what_was_decoded() {
        for (frame, ipv4, l3_offset) in
            [(samples::ipv4(), true, 14), (samples::ipv6(), false, 14), (samples::qinq(), true, 22)]
        {
            let decoded = decode(frame.as_slice()).unwrap();
            let metadata = RxMetadata::new(&decoded, Checksum::Verified, 7, 9);
            let read = RxMetadata::from_bytes(&metadata.to_bytes()).unwrap();
            assert_eq!(read, metadata);
            assert_eq!(read.association(), Some((7, 9)));
            assert_eq!(read.checksum(), Checksum::Verified);
            assert_eq!((read.is_ipv4(), read.l3_offset(), read.ecn()), (ipv4, l3_offset, decoded.ecn));
            let located = read.locate(&frame).unwrap();
            let addresses = decoded.addresses(frame.as_slice()).unwrap();
            assert_eq!((located.source, located.destination), (addresses.source, addresses.destination));
            assert_eq!(located.sctp.start, usize::from(decoded.sctp_offset));
            assert_eq!(located.sctp.len(), usize::from(decoded.sctp_len));
        }
    }

    #[test]
    fn a_packet_in_udp_is_told_by_its_port() {
        for (frame, at) in [(samples::udp_ipv4(), 42), (samples::udp_ipv6(), 62)] {
            let mut longer = frame.clone();
            longer.extend([0; 9]);
            let decoded = decode_udp(frame.as_slice(), samples::UDP_PORT).unwrap();
            let metadata = RxMetadata::new(&decoded, Checksum::Verified, 7, 9);
            for frame in [&frame, &longer] {
                let located = metadata.locate(frame).unwrap();
                assert_eq!((located.udp_source_port, located.sctp), (61_000, at..at + 32));
            }
            assert!(metadata.is_in_udp() && metadata.locate(&frame[..at + 31]).is_none());
        }
        let decoded = decode(samples::ipv4().as_slice()).unwrap();
        let metadata = RxMetadata::new(&decoded, Checksum::Verified, 7, 9);
        assert_eq!(metadata.locate(&samples::ipv4()).unwrap().udp_source_port, 0);
    }

    #[test]
    fn without_a_slot_there_is_no_association() {
        let decoded = decode(samples::ipv4().as_slice()).unwrap();
        let metadata = RxMetadata::new(&decoded, Checksum::Trusted, NO_SLOT, 0);
        assert_eq!(metadata.association(), None);
        assert_eq!(RxMetadata::from_bytes(&metadata.to_bytes()).unwrap().checksum(), Checksum::Trusted);
    }

    #[test]
    fn other_bytes_are_not_taken_for_it() {
        let decoded = decode(samples::ipv4().as_slice()).unwrap();
        let bytes = RxMetadata::new(&decoded, Checksum::Verified, 1, 1).to_bytes();
        assert_eq!(RxMetadata::from_bytes(&[0; RxMetadata::SIZE]), None);
        let mut other_version = bytes;
        other_version[..4].copy_from_slice(&(MAGIC + 1).to_ne_bytes());
        assert_eq!(RxMetadata::from_bytes(&other_version), None);
        let mut other_checksum = bytes;
        other_checksum[4] = 3;
        assert_eq!(RxMetadata::from_bytes(&other_checksum), None);
    }

    proptest! {
        #[test]
        fn locating_never_panics_and_stays_inside(
            mut bytes: [u8; RxMetadata::SIZE],
            frame in proptest::collection::vec(any::<u8>(), 0..128),
        ) {
            bytes[..4].copy_from_slice(&MAGIC.to_ne_bytes());
            bytes[4] %= 3;
            let located = RxMetadata::from_bytes(&bytes).unwrap().locate(&frame);
            prop_assert!(located.is_none_or(|located| frame.get(located.sctp).is_some()));
        }
    }
}
