//! Ethernet, IP and UDP headers of outgoing packets.

use std::net::IpAddr;

use sctp_common::udp;
use sctp_common::wire::{IPPROTO_SCTP, IPPROTO_UDP, UDP_HEADER_LENGTH};
use sctp_core::Ecn;

use super::fragments::{FRAGMENT_HEADER, Fragment};
use super::netlink::Mac;

/// Everything in front of an SCTP packet that does not change from packet to packet on the same way.
#[derive(Clone, Debug)]
pub(crate) struct Headers {
    bytes: [u8; ETHERNET + IPV6],
    length: u8,
    /// IPv4: the ones' complement sum of the header, without type of service, length and protocol.
    sum: u32,
    /// The differentiated services codepoint, in its place in the type of service or traffic class.
    class: u8,
}

/// Room for the longest headers: Ethernet, IPv6, what a fragment has, and UDP.
pub(crate) const MAX_LENGTH: usize = ETHERNET + IPV6 + FRAGMENT_HEADER + UDP_HEADER_LENGTH;

impl Headers {
    /// Headers for packets from `source` to `destination`, in Ethernet frames between these two link-layer
    /// addresses, with the differentiated services codepoint `dscp` (0 to 63).
    ///
    /// `None` if the addresses are of different families.
    pub(crate) fn new(
        source_mac: Mac,
        destination_mac: Mac,
        source: IpAddr,
        destination: IpAddr,
        dscp: u8,
    ) -> Option<Self> {
        let mut bytes = [0; ETHERNET + IPV6];
        bytes[..6].copy_from_slice(&destination_mac);
        bytes[6..12].copy_from_slice(&source_mac);
        let class = dscp << 2;
        let (ether_type, length, sum) = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let ip = &mut bytes[ETHERNET..ETHERNET + IPV4];
                ip[0] = 0x45;
                // Don't Fragment: SCTP finds out the path MTU (RFC 9260 §7.3). Packets that are never
                // fragmented need no identification (RFC 6864 §4.1).
                ip[6] = 0x40;
                ip[8] = TTL;
                ip[12..16].copy_from_slice(&source.octets());
                ip[16..20].copy_from_slice(&destination.octets());
                let sum = ip.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
                let sum = sum.sum();
                (ETHER_TYPE_IPV4, ETHERNET + IPV4, sum)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let ip = &mut bytes[ETHERNET..];
                ip[0] = 0x60;
                ip[7] = TTL;
                ip[8..24].copy_from_slice(&source.octets());
                ip[24..40].copy_from_slice(&destination.octets());
                (ETHER_TYPE_IPV6, ETHERNET + IPV6, 0)
            }
            _ => return None,
        };
        bytes[12..14].copy_from_slice(&ether_type.to_be_bytes());
        Some(Self { bytes, length: length as u8, sum, class })
    }

    /// Length in bytes of the headers of a fragment.
    pub(crate) fn fragment_len(&self) -> usize {
        self.len() + if self.is_ipv4() { 0 } else { FRAGMENT_HEADER }
    }

    /// Writes the headers of an IP fragment of a packet that carries `upper` (SCTP, or UDP) into `place`. All fragments of a packet have the same `identification`, which no
    /// other packet between these addresses has for a while (RFC 6864 §4.2; of IPv4 the low 16 bits).
    ///
    /// # Panics
    ///
    /// If `place` is not [`fragment_len`](Self::fragment_len) bytes long.
    pub(crate) fn write_fragment(
        &self,
        place: &mut [u8],
        fragment: Fragment,
        upper: u8,
        identification: u32,
        ecn: Ecn,
    ) {
        let Fragment { offset, length, more } = fragment;
        let (front, extension) = place.split_at_mut(self.len());
        if self.is_ipv4() {
            self.write_for(upper, front, length, ecn);
            let ip = &mut front[ETHERNET..];
            let flags = if more { 0x2000 } else { 0 };
            ip[4..6].copy_from_slice(&(identification as u16).to_be_bytes());
            ip[6..8].copy_from_slice(&(flags | (offset / 8)).to_be_bytes());
            ip[10..12].fill(0);
            let sum = ip.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum::<u32>();
            let sum = (sum & 0xffff) + (sum >> 16);
            let sum = (sum & 0xffff) + (sum >> 16);
            ip[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
        } else {
            self.write_for(IPPROTO_FRAGMENT, front, length + FRAGMENT_HEADER as u16, ecn);
            extension[..2].copy_from_slice(&[upper, 0]);
            extension[2..4].copy_from_slice(&(offset | u16::from(more)).to_be_bytes());
            extension[4..].copy_from_slice(&identification.to_be_bytes());
        }
    }

    /// Length of the IP header in bytes.
    pub(crate) fn ip_len(&self) -> usize {
        self.len() - ETHERNET
    }

    fn is_ipv4(&self) -> bool {
        self.len() == ETHERNET + IPV4
    }

    /// Length of the headers in bytes.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.length)
    }

    /// Writes the headers of an SCTP packet of `payload` bytes into `place`.
    ///
    /// # Panics
    ///
    /// If `place` is not [`len`](Self::len) bytes long.
    pub(crate) fn write(&self, place: &mut [u8], payload: u16, ecn: Ecn) {
        self.write_for(IPPROTO_SCTP, place, payload, ecn);
    }

    /// Writes the headers of an SCTP packet that goes in UDP; `packet` is place for them, and the SCTP packet behind it (RFC 6951 §5.3).
    ///
    /// # Panics
    ///
    /// If `packet` is shorter than [`len`](Self::len) and a UDP header.
    pub(crate) fn write_in_udp(&self, packet: &mut [u8], ports: UdpPorts, ecn: Ecn) {
        let (front, udp) = packet.split_at_mut(self.len());
        self.write_for(IPPROTO_UDP, front, udp.len() as u16, ecn);
        self.write_udp(udp, ports);
    }

    /// Writes the UDP header of a packet between the addresses of these headers; `udp` is place for it, and the SCTP packet behind it.
    ///
    /// # Panics
    ///
    /// If `udp` is shorter than a UDP header.
    pub(crate) fn write_udp(&self, udp: &mut [u8], UdpPorts { source, destination }: UdpPorts) {
        let length = udp.len() as u16;
        udp[..2].copy_from_slice(&source.to_be_bytes());
        udp[2..4].copy_from_slice(&destination.to_be_bytes());
        udp[4..6].copy_from_slice(&length.to_be_bytes());
        udp[6..8].fill(0);
        let ip = &self.bytes[ETHERNET..self.len()];
        let addresses = if self.is_ipv4() { &ip[12..] } else { &ip[8..] };
        let sum = |bytes: &[u8]| u64::from(udp::sum(bytes, 0, bytes.len()).unwrap_or(0));
        // "the UDP checksum SHOULD be computed for IPv4 and IPv6" (RFC 6951 §5.3).
        let checksum = udp::checksum(sum(addresses) + u64::from(IPPROTO_UDP) + u64::from(length) + sum(udp));
        udp[6..8].copy_from_slice(&checksum.to_be_bytes());
    }

    fn write_for(&self, upper: u8, place: &mut [u8], payload: u16, ecn: Ecn) {
        place.copy_from_slice(&self.bytes[..self.len()]);
        let ip = &mut place[ETHERNET..];
        let class = self.class | ecn.bits();
        if ip.len() == IPV4 {
            let total = payload + IPV4 as u16;
            let mut sum = self.sum + u32::from(class) + u32::from(total) + u32::from(upper);
            sum = (sum & 0xffff) + (sum >> 16);
            sum = (sum & 0xffff) + (sum >> 16);
            ip[1] = class;
            ip[9] = upper;
            ip[2..4].copy_from_slice(&total.to_be_bytes());
            ip[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
        } else {
            ip[0] |= class >> 4;
            ip[1] |= class << 4;
            ip[4..6].copy_from_slice(&payload.to_be_bytes());
            ip[6] = upper;
        }
    }
}

/// The ports of a UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UdpPorts {
    /// Our encapsulation port.
    pub(crate) source: u16,
    /// The peer's.
    pub(crate) destination: u16,
}

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;
const ETHER_TYPE_IPV4: u16 = 0x0800;
const ETHER_TYPE_IPV6: u16 = 0x86dd;
const IPPROTO_FRAGMENT: u8 = 44;
/// Time to live, hop limit: what hosts use (RFC 1700).
const TTL: u8 = 64;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;
    use sctp_common::frame::{decode, decode_udp};
    use sctp_common::judge::ChecksumPolicy;

    use super::*;

    const HERE: Mac = [2, 0, 0, 0, 0, 1];
    const THERE: Mac = [2, 0, 0, 0, 0, 2];

    fn frame(source: IpAddr, destination: IpAddr, dscp: u8, payload: usize, ecn: Ecn) -> Vec<u8> {
        let headers = Headers::new(HERE, THERE, source, destination, dscp).expect("one family");
        let mut frame = vec![0xaa; headers.len() + payload];
        headers.write(&mut frame[..headers.len()], payload as u16, ecn);
        frame
    }

    #[test]
    fn ipv4_byte_for_byte() {
        let source = Ipv4Addr::new(10, 1, 2, 3).into();
        let destination = Ipv4Addr::new(10, 9, 8, 7).into();
        let frame = frame(source, destination, 46, 100, Ecn::Ect0);
        assert_eq!(frame[..14], [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00]);
        assert_eq!(frame[14..26], [0x45, (46 << 2) | 0b10, 0, 120, 0, 0, 0x40, 0, 64, 132, 0x1b, 0x35]);
        assert_eq!(frame[26..34], [10, 1, 2, 3, 10, 9, 8, 7]);
    }

    #[test]
    fn ipv6_byte_for_byte() {
        let source: Ipv6Addr = "2001:db8::1".parse().expect("an address");
        let destination: Ipv6Addr = "fe80::2".parse().expect("an address");
        let frame = frame(source.into(), destination.into(), 0b101_101, 100, Ecn::Ce);
        assert_eq!(frame[12..14], [0x86, 0xdd]);
        assert_eq!(frame[14..22], [0x6b, 0x70, 0, 0, 0, 100, 132, 64]);
        assert_eq!(frame[22..38], source.octets());
        assert_eq!(frame[38..54], destination.octets());
    }

    //= test RFC 9260 §6.9: "Instead, if the PMTU has been reduced, then IP fragmentation MUST be used."
    #[test]
    fn fragments_byte_for_byte() {
        let headers =
            |source: IpAddr, destination| Headers::new(HERE, THERE, source, destination, 0).expect("one family");
        let v4 = headers(Ipv4Addr::new(10, 1, 2, 3).into(), Ipv4Addr::new(10, 9, 8, 7).into());
        let mut place = vec![0xaa; v4.fragment_len()];
        let fragment = Fragment { offset: 1176, length: 304, more: false };
        v4.write_fragment(&mut place, fragment, IPPROTO_SCTP, 0x0005_1234, Ecn::NotEct);
        assert_eq!(place[14..24], [0x45, 0, 1, 68, 0x12, 0x34, 0, 147, 64, 132], "DF is clear");
        let fragment = Fragment { offset: 0, length: 1176, more: true };
        v4.write_fragment(&mut place, fragment, IPPROTO_UDP, 0x0005_1234, Ecn::NotEct);
        assert_eq!(place[14..24], [0x45, 0, 4, 172, 0x12, 0x34, 0x20, 0, 64, 17]);
        let sum: u32 = place[14..].chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "the checksum of the header is right");

        let v6 = headers(Ipv6Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
        let mut place = vec![0xaa; v6.fragment_len()];
        let fragment = Fragment { offset: 1232, length: 228, more: true };
        v6.write_fragment(&mut place, fragment, IPPROTO_SCTP, 0x0005_1234, Ecn::NotEct);
        assert_eq!(place[14..22], [0x60, 0, 0, 0, 0, 236, 44, 64]);
        assert_eq!(place[54..], [132, 0, 0x04, 0xd1, 0, 5, 0x12, 0x34]);
    }

    #[test]
    fn families_do_not_mix() {
        let v4 = Ipv4Addr::LOCALHOST.into();
        let v6 = Ipv6Addr::LOCALHOST.into();
        assert!(Headers::new(HERE, THERE, v4, v6, 0).is_none());
        assert!(Headers::new(HERE, THERE, v6, v4, 0).is_none());
    }

    proptest! {
        /// The decoder that the XDP program uses, which checks the IPv4 checksum, finds what was written.
        #[test]
        fn what_is_written_is_what_is_decoded(
            pair in prop_oneof![
                any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
                any::<([u8; 16], [u8; 16])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
            ],
            dscp in 0u8..64,
            payload in 12usize..9000,
            ecn in 0u8..4,
        ) {
            let (source, destination) = pair;
            let frame = frame(source, destination, dscp, payload, Ecn::from_bits(ecn));
            let decoded = decode(&frame[..]).expect("a sound packet");
            prop_assert_eq!(usize::from(decoded.sctp_len), payload);
            let addresses = decoded.addresses(&frame[..]).expect("a whole frame");
            prop_assert_eq!(addresses.source, octets(source));
            prop_assert_eq!(addresses.destination, octets(destination));
            prop_assert_eq!(decoded.ecn, ecn);
            prop_assert_eq!(decoded.is_ipv4, source.is_ipv4());

            let headers = Headers::new(HERE, THERE, source, destination, dscp).expect("one family");
            let mut frame: Vec<u8> = (0..headers.len() + 8 + payload).map(|at| at as u8).collect();
            headers.write_in_udp(&mut frame, UdpPorts { source: 9899, destination: 61_000 }, Ecn::from_bits(ecn));
            let decoded = decode_udp(&frame[..], 61_000).expect("a sound packet");
            let header = decoded.udp(&frame[..]).expect("a UDP header");
            prop_assert_eq!((usize::from(decoded.sctp_len), header.source_port), (payload, 9899));
            let addresses = decoded.addresses(&frame[..]).expect("addresses");
            prop_assert_eq!((addresses.source, addresses.destination), (octets(source), octets(destination)));
            let udp = &frame[headers.len()..];
            let policy = ChecksumPolicy { trusted_link: false, verify_up_to: u32::MAX };
            prop_assert_eq!(policy.verify_udp(&frame[..], &decoded, || udp::sum(udp, 0, udp.len())), Ok(()));
            prop_assert!(header.checksum != 0);
        }
    }

    fn octets(address: IpAddr) -> [u8; 16] {
        match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        }
    }
}
