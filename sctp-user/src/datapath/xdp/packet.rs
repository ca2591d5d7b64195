//! Where the SCTP packet is in a received frame, and what is known of it.

use std::net::{IpAddr, Ipv6Addr};
use std::ops::Range;

use sctp_common::frame;
use sctp_common::metadata::{Checksum, RxMetadata};
use sctp_core::{AssociationId, ChecksumState, Ecn};

use super::super::icmp::IcmpError;

/// What is in a received frame.
pub(super) enum Found {
    /// An SCTP packet.
    Packet(Packet),
    /// An ICMP error about one of ours.
    Icmp(IcmpError),
}

impl Found {
    /// Looks into a frame's memory, in which the Ethernet header is at `start`.
    pub(super) fn in_frame(memory: &[u8], start: usize) -> Option<Self> {
        let metadata = metadata(memory, start);
        if let Some(metadata) = metadata
            && metadata.is_icmp()
        {
            return IcmpError::read(&memory[start..]).map(Self::Icmp);
        }
        if let Some(packet) = Packet::find(memory, start) {
            return Some(Self::Packet(packet));
        }
        if metadata.is_some() {
            return None;
        }
        IcmpError::read(&memory[start..]).map(Self::Icmp)
    }
}

/// What the XDP program has left in front of the frame.
fn metadata(memory: &[u8], start: usize) -> Option<RxMetadata> {
    let at = start.checked_sub(RxMetadata::SIZE)?;
    memory[at..].first_chunk().and_then(RxMetadata::from_bytes)
}

fn association(metadata: &RxMetadata) -> Option<AssociationId> {
    metadata.association().map(|(slot, generation)| AssociationId::from_parts(slot, generation))
}

/// An SCTP packet in a received frame.
pub(super) struct Packet {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) ecn: Ecn,
    pub(super) checksum: ChecksumState,
    pub(super) association: Option<AssociationId>,
    /// Where in the frame's memory it lies.
    pub(super) range: Range<usize>,
    /// Whether the XDP program's metadata was there.
    pub(super) metadata: bool,
}

impl Packet {
    /// Finds the packet in a frame's memory, in which the Ethernet header is at `start`.
    fn find(memory: &[u8], start: usize) -> Option<Self> {
        let frame = &memory[start..];
        if let Some(metadata) = metadata(memory, start)
            && let Some(located) = metadata.locate(frame)
        {
            return Some(Self {
                source: address(located.source),
                destination: address(located.destination),
                ecn: Ecn::from_bits(metadata.ecn()),
                checksum: match metadata.checksum() {
                    Checksum::NotChecked => ChecksumState::NotChecked,
                    Checksum::Verified | Checksum::Trusted => ChecksumState::Verified,
                },
                association: association(&metadata),
                range: start + located.sctp.start..start + located.sctp.end,
                metadata: true,
            });
        }
        let decoded = frame::decode(frame).ok().filter(|decoded| !decoded.fragment)?;
        let addresses = decoded.addresses(frame)?;
        let at = start + usize::from(decoded.sctp_offset);
        Some(Self {
            source: address(addresses.source),
            destination: address(addresses.destination),
            ecn: Ecn::from_bits(decoded.ecn),
            checksum: ChecksumState::NotChecked,
            association: None,
            range: at..at + usize::from(decoded.sctp_len),
            metadata: false,
        })
    }
}

fn address(octets: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(octets).to_canonical()
}

#[cfg(test)]
mod tests {
    use super::super::super::headers::Headers;
    use super::*;

    /// A frame's memory: `start` bytes in front, Ethernet, IP, and an SCTP packet of `length` bytes.
    fn memory(start: usize, source: &str, destination: &str, length: usize, padding: usize) -> Vec<u8> {
        let parse = |text: &str| text.parse().expect("an address");
        let headers = Headers::new([1; 6], [2; 6], parse(source), parse(destination), 0).expect("one family");
        let mut memory = vec![0xee; start + headers.len() + length + padding];
        headers.write(&mut memory[start..start + headers.len()], length as u16, Ecn::Ect1);
        memory
    }

    fn with_metadata(mut memory: Vec<u8>, start: usize, checksum: Checksum, slot: u32) -> Vec<u8> {
        let decoded = frame::decode(&memory[start..]).expect("a sound frame");
        let metadata = RxMetadata::new(&decoded, checksum, slot, 5);
        memory[start - RxMetadata::SIZE..start].copy_from_slice(&metadata.to_bytes());
        memory
    }

    #[test]
    fn metadata_says_what_the_packet_is() {
        for (source, destination) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let memory = with_metadata(memory(256, source, destination, 40, 6), 256, Checksum::Verified, 9);
            let packet = Packet::find(&memory, 256).expect("a packet");
            assert!(packet.metadata);
            assert_eq!(
                (packet.source.to_string(), packet.destination.to_string()),
                (source.into(), destination.into())
            );
            assert_eq!((packet.ecn, packet.checksum), (Ecn::Ect1, ChecksumState::Verified));
            assert_eq!(packet.association, Some(AssociationId::from_parts(9, 5)));
            assert_eq!(packet.range, memory.len() - 46..memory.len() - 6, "without Ethernet's padding");
        }
    }

    #[test]
    fn metadata_says_what_is_known_of_the_checksum_and_of_the_association() {
        let find = |checksum, slot| {
            let memory = with_metadata(memory(256, "10.0.0.1", "10.0.0.2", 40, 0), 256, checksum, slot);
            Packet::find(&memory, 256).expect("a packet")
        };
        assert_eq!(find(Checksum::NotChecked, 1).checksum, ChecksumState::NotChecked);
        assert_eq!(find(Checksum::Trusted, 1).checksum, ChecksumState::Verified);
        assert_eq!(find(Checksum::Verified, sctp_common::metadata::NO_SLOT).association, None);
    }

    #[test]
    fn without_metadata_the_frame_is_decoded() {
        for start in [0, 8, 256] {
            let memory = memory(start, "10.0.0.1", "10.0.0.2", 40, 6);
            let packet = Packet::find(&memory, start).expect("a packet");
            assert!(!packet.metadata);
            assert_eq!((packet.checksum, packet.association), (ChecksumState::NotChecked, None));
            assert_eq!(packet.ecn, Ecn::Ect1);
            assert_eq!(packet.range, start + 34..start + 74);
        }
    }

    #[test]
    fn metadata_that_does_not_fit_the_frame_is_not_believed() {
        let mut memory = with_metadata(memory(256, "fd00::1", "fd00::2", 400, 0), 256, Checksum::Verified, 9);
        memory.truncate(300);
        assert!(Packet::find(&memory, 256).is_none());
    }

    /// An ICMP error, Fragmentation Needed, about a packet from 10.0.0.2 to 10.0.0.1, in a frame's memory.
    fn icmp(start: usize) -> Vec<u8> {
        let quoted = memory(0, "10.0.0.2", "10.0.0.1", 40, 0);
        let quoted = &quoted[14..14 + 28];
        let headers = Headers::new([1; 6], [2; 6], [10, 0, 0, 9].into(), [10, 0, 0, 2].into(), 0).expect("one family");
        let mut memory = vec![0; start + headers.len()];
        headers.write(&mut memory[start..], 8 + quoted.len() as u16, Ecn::NotEct);
        // Not SCTP but ICMP, and the header checksum that goes with it.
        let sum = u16::from_be_bytes([memory[start + 24], memory[start + 25]]);
        memory[start + 23] = 1;
        memory[start + 24..start + 26].copy_from_slice(&(sum + 131).to_be_bytes());
        memory.extend([3, 4, 0, 0, 0, 0, 5, 0]);
        memory.extend(quoted);
        let message = &memory[start + 34..];
        let mut sum: u32 = message.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        memory[start + 36..start + 38].copy_from_slice(&(!sum as u16).to_be_bytes());
        memory
    }

    #[test]
    fn an_icmp_error_is_read_with_metadata_or_without() {
        let plain = icmp(256);
        let quotation = sctp_common::icmp::quotation(&plain[256..]).expect("a quotation");
        let mut marked = plain.clone();
        let metadata = RxMetadata::of_icmp(&quotation, 7, 5);
        marked[256 - RxMetadata::SIZE..256].copy_from_slice(&metadata.to_bytes());
        for memory in [plain, marked] {
            let Some(Found::Icmp(error)) = Found::in_frame(&memory, 256) else { panic!("no ICMP error") };
            let message = error.message();
            assert_eq!((message.icmp_type, message.code, message.mtu), (3, 4, 1280));
            assert_eq!(
                (message.source.to_string(), message.destination.to_string()),
                ("10.0.0.2".into(), "10.0.0.1".into())
            );
            assert_eq!(message.quoted, [0xee; 8], "as much as there is of the packet");
            let mut damaged = memory;
            *damaged.last_mut().expect("not empty") ^= 1;
            assert!(Found::in_frame(&damaged, 256).is_none());
        }
    }

    #[test]
    fn nonsense_is_no_packet() {
        assert!(Packet::find(&[], 0).is_none());
        assert!(Packet::find(&[0; 300], 256).is_none());
        assert!(Packet::find(&[0xff; 300], 300).is_none());
        let mut fragment = memory(256, "10.0.0.1", "10.0.0.2", 40, 0);
        // More fragments; the header checksum must be right for the decoder to look further.
        fragment[256 + 14 + 6] = 0x20;
        let sum = u16::from_be_bytes([fragment[280], fragment[281]]);
        fragment[280..282].copy_from_slice(&(sum + 0x2000).to_be_bytes());
        assert!(frame::decode(&fragment[256..]).is_ok_and(|decoded| decoded.fragment));
        assert!(Packet::find(&fragment, 256).is_none());
    }
}
