//! Where the SCTP packet is in a received frame, and what is known of it.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU16;
use std::ops::Range;

use sctp_common::frame::{self, Decoded};
use sctp_common::judge::ChecksumPolicy;
use sctp_common::metadata::{Checksum, RxMetadata};
use sctp_common::udp;
use sctp_common::wire::UDP_HEADER_LENGTH;
use sctp_core::{AssociationId, ChecksumState, Ecn};

use super::super::icmp::IcmpError;

/// What is in a received frame.
pub(super) enum Found {
    /// An SCTP packet.
    Packet(Packet),
    /// An ICMP error about one of ours.
    Icmp(IcmpError),
    /// An SCTP packet in UDP, with a UDP checksum that is wrong or must not be missing.
    BadUdp,
}

/// What must be known to look into frames that carry SCTP in UDP (RFC 6951).
#[derive(Clone, Copy, Debug)]
pub(super) struct UdpReceive {
    /// Our encapsulation port.
    pub(super) port: NonZeroU16,
    /// UDP checksums are not looked at: senders on this machine leave them to "offload".
    pub(super) trusted_link: bool,
}

impl UdpReceive {
    /// Whether the UDP header in front of `packet` is sound.
    fn accepts(self, frame: &[u8], packet: &Decoded) -> bool {
        let at = usize::from(packet.sctp_offset) - UDP_HEADER_LENGTH;
        let length = usize::from(packet.sctp_len) + UDP_HEADER_LENGTH;
        let policy = ChecksumPolicy { trusted_link: self.trusted_link, verify_up_to: u32::MAX };
        policy.verify_udp(frame, packet, || udp::sum(frame, at, length)).is_ok()
    }
}

impl Found {
    /// Looks into a frame's memory, in which the Ethernet header is at `start`.
    pub(super) fn in_frame(memory: &[u8], start: usize, udp: Option<UdpReceive>) -> Option<Self> {
        let metadata = metadata(memory, start);
        let udp_port = udp.map(|udp| udp.port);
        if let Some(metadata) = metadata
            && metadata.is_icmp()
        {
            return IcmpError::read(&memory[start..], udp_port).map(Self::Icmp);
        }
        if let Some(packet) = Packet::find(memory, start) {
            // What the program has not verified, it has left to us altogether.
            let unverified = packet.encapsulation.is_some() && packet.checksum == ChecksumState::NotChecked;
            return match udp.filter(|_| unverified) {
                Some(udp) => Self::in_udp(&memory[start..], udp, packet),
                None => Some(Self::Packet(packet)),
            };
        }
        if metadata.is_some() {
            return None;
        }
        let frame = &memory[start..];
        let Some(udp) = udp else { return IcmpError::read(frame, None).map(Self::Icmp) };
        match frame::decode_udp(frame, udp.port.get()) {
            Ok(decoded) if decoded.fragment => None,
            Ok(decoded) => Self::in_udp(frame, udp, Packet::without_metadata(frame, &decoded, start)?),
            Err(_) => IcmpError::read(frame, udp_port).map(Self::Icmp),
        }
    }

    /// A packet that came in UDP, if its UDP header is sound.
    fn in_udp(frame: &[u8], udp: UdpReceive, packet: Packet) -> Option<Self> {
        let decoded = frame::decode_udp(frame, udp.port.get()).ok()?;
        Some(if udp.accepts(frame, &decoded) { Self::Packet(packet) } else { Self::BadUdp })
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
    /// The UDP port that it came from, if it came in UDP.
    pub(super) encapsulation: Option<NonZeroU16>,
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
                encapsulation: NonZeroU16::new(located.udp_source_port),
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
        Self::without_metadata(frame, &decoded, start)
    }

    fn without_metadata(frame: &[u8], decoded: &Decoded, start: usize) -> Option<Self> {
        let addresses = decoded.addresses(frame)?;
        let udp = decoded.udp(frame)?;
        let at = start + usize::from(decoded.sctp_offset);
        Some(Self {
            source: address(addresses.source),
            destination: address(addresses.destination),
            encapsulation: NonZeroU16::new(udp.source_port),
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
    use super::super::super::headers::{Headers, UdpPorts};
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
        let quotation = sctp_common::icmp::quotation(&plain[256..], 0).expect("a quotation");
        let mut marked = plain.clone();
        let metadata = RxMetadata::of_icmp(&quotation, 7, 5);
        marked[256 - RxMetadata::SIZE..256].copy_from_slice(&metadata.to_bytes());
        for memory in [plain, marked] {
            let Some(Found::Icmp(error)) = Found::in_frame(&memory, 256, None) else { panic!("no ICMP error") };
            let message = error.message();
            assert_eq!((message.icmp_type, message.code, message.mtu), (3, 4, 1280));
            assert_eq!(
                (message.source.to_string(), message.destination.to_string()),
                ("10.0.0.2".into(), "10.0.0.1".into())
            );
            assert_eq!(message.quoted, [0xee; 8], "as much as there is of the packet");
            let mut damaged = memory;
            *damaged.last_mut().expect("not empty") ^= 1;
            assert!(Found::in_frame(&damaged, 256, None).is_none());
        }
    }

    /// SCTP in UDP from port 61000, in a frame's memory.
    fn in_udp(source: &str, destination: &str) -> Vec<u8> {
        let parse = |text: &str| text.parse().expect("an address");
        let headers = Headers::new([1; 6], [2; 6], parse(source), parse(destination), 0).expect("one family");
        let mut memory = vec![0xee; 256 + headers.len() + 8 + 40];
        let ports = UdpPorts { source: 61_000, destination: 9899 };
        headers.write_in_udp(&mut memory[256..], ports, Ecn::Ect1);
        memory
    }

    #[test]
    fn what_came_in_udp_says_from_where_and_is_verified_unless_it_has_been() {
        let strict = UdpReceive { port: NonZeroU16::new(9899).expect("not 0"), trusted_link: false };
        for (source, destination) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let plain = in_udp(source, destination);
            assert!(Found::in_frame(&plain, 256, None).is_none());
            let decoded = frame::decode_udp(&plain[256..], 9899).expect("a sound frame");
            let marked = |memory: &[u8], checksum| {
                let mut memory = memory.to_vec();
                memory[240..256].copy_from_slice(&RxMetadata::new(&decoded, checksum, 1, 5).to_bytes());
                memory
            };
            let mut damaged = plain.clone();
            *damaged.last_mut().expect("not empty") ^= 1;
            let found = |memory: &[u8], udp| match Found::in_frame(memory, 256, Some(udp)) {
                Some(Found::Packet(packet)) => {
                    assert_eq!(packet.encapsulation.map(NonZeroU16::get), Some(61_000));
                    assert_eq!(packet.range, memory.len() - 40..memory.len());
                    true
                }
                Some(Found::BadUdp) => false,
                _ => panic!("another thing was found"),
            };
            let trusting = UdpReceive { trusted_link: true, ..strict };
            for (checksum, strictly) in [(Checksum::NotChecked, false), (Checksum::Verified, true)] {
                assert!(found(&marked(&plain, checksum), strict));
                assert_eq!(found(&marked(&damaged, checksum), strict), strictly);
                assert!(found(&marked(&damaged, checksum), trusting));
            }
            assert!(found(&plain, strict) && !found(&damaged, strict) && found(&damaged, trusting));
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
