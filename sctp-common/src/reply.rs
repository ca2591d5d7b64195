//! The packets that answer packets out of the blue (RFC 9260 §8.4, 5 and 8): one chunk without a value, to where the packet came
//! from, with its verification tag.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------------------------------+-------------------------------+
//! |  Source Port: its destination |  Destination Port: its source |
//! +-------------------------------+-------------------------------+
//! |              Verification Tag: the one it carried             |
//! +---------------------------------------------------------------+
//! |                            Checksum                           |
//! +---------------+-------------+-+-------------------------------+
//! | Type = 6 or 14|  Reserved   |T|          Length = 4           |
//! +---------------+-------------+-+-------------------------------+
//! ```
//!
//! An INIT to a port that nobody listens on is answered with an ABORT too (§8.4, 3), but with the tag that the INIT chunk names, and so
//! without the T bit.
//!
//! The T bit says that the tag is reflected, so that the peer compares it with its own idea of what it must send (§8.5.1 B, C).
//! IP options and extension headers are not repeated, so an answer is never longer than what it answers, and no
//! sender can have this host amplify anything. The ECN field is zero, as on all packets that no congestion control looks at.
//!
//! What came in UDP is answered in UDP, ports swapped, with a UDP checksum (RFC 6951 §5.3).
//!
//! Answers are given in words of 32 bits, most significant byte first on the wire, as the pictures in the RFCs have them.

use crate::crc32c::{Crc32c, difference};
use crate::frame::{Addresses, Decoded, UdpHeader};
use crate::udp;
use crate::verdict::AnswerReason;
use crate::wire::{
    CHUNK_HEADER_LENGTH, COMMON_HEADER_LENGTH, IPPROTO_SCTP, IPPROTO_UDP, UDP_HEADER_LENGTH, chunk, flags, padded,
};

/// Words of an answer over IPv4.
pub const IPV4_WORDS: usize = 5 + SCTP_WORDS;

/// Words of an answer over IPv6.
pub const IPV6_WORDS: usize = 10 + SCTP_WORDS;

/// Words of an answer in UDP over IPv4.
pub const UDP_IPV4_WORDS: usize = IPV4_WORDS + UDP_WORDS;

/// Words of an answer in UDP over IPv6.
pub const UDP_IPV6_WORDS: usize = IPV6_WORDS + UDP_WORDS;

/// Bytes of the shortest Ethernet frame, without its check sequence: what is shorter is padded with zeros. Not every device
/// does that for an XDP program.
pub const SHORTEST_FRAME: usize = 60;

/// What a packet that nobody claims is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Which chunk.
    pub reason: AnswerReason,
    /// The verification tag, host byte order.
    pub tag: u32,
}

impl Answer {
    /// All of it in one number below 2^40, for a function that is called with registers alone.
    #[inline(always)]
    #[must_use]
    pub const fn pack(self) -> u64 {
        (self.reason as u64) << 32 | self.tag as u64
    }

    /// What was [packed](Self::pack).
    #[inline(always)]
    #[must_use]
    pub const fn unpack(packed: u64) -> Self {
        Self { reason: AnswerReason::at((packed >> 32) as u32), tag: packed as u32 }
    }
}

/// The Ethernet addresses of an answer's frame, as bytes, from the first twelve bytes of the frame that is answered.
///
/// `None` if one of them is a group's: such a frame was meant for more hosts than this one, and is not answered.
#[inline(always)]
#[must_use]
pub const fn ethernet(addresses: [u8; 12]) -> Option<[u8; 12]> {
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5] = addresses;
    if (d0 | s0) & GROUP != 0 { None } else { Some([s0, s1, s2, s3, s4, s5, d0, d1, d2, d3, d4, d5]) }
}

/// The answer to `packet`, which came over IPv4, from the first byte of the IP header.
#[inline(always)]
#[must_use]
pub fn ipv4(packet: &Decoded, addresses: &Addresses, answer: Answer) -> [u32; IPV4_WORDS] {
    let [h0, h1, h2, h3, h4] = ipv4_header(addresses, SCTP_WORDS * 4);
    let [s0, s1, s2, s3] = sctp(packet, answer);
    [h0, h1, h2, h3, h4, s0, s1, s2, s3]
}

/// The answer to `packet`, which came in UDP over IPv4 behind `header`, from the first byte of the IP header.
#[inline(always)]
#[must_use]
pub fn udp_ipv4(packet: &Decoded, addresses: &Addresses, header: UdpHeader, answer: Answer) -> [u32; UDP_IPV4_WORDS] {
    let [h0, h1, h2, h3, h4] = ipv4_header_of(addresses, IPPROTO_UDP, UDP_HEADER_LENGTH + SCTP_WORDS * 4);
    let sctp = sctp(packet, answer);
    let [u0, u1] = udp_header(addresses, header, &sctp);
    let [s0, s1, s2, s3] = sctp;
    [h0, h1, h2, h3, h4, u0, u1, s0, s1, s2, s3]
}

/// The answer to `packet`, which came in UDP over IPv6 behind `header`, from the first byte of the IP header.
#[inline(always)]
#[must_use]
pub fn udp_ipv6(packet: &Decoded, addresses: &Addresses, header: UdpHeader, answer: Answer) -> [u32; UDP_IPV6_WORDS] {
    let ip = ipv6_header_of(addresses, IPPROTO_UDP, UDP_HEADER_LENGTH + SCTP_WORDS * 4);
    let [h0, h1, h2, h3, h4, h5, h6, h7, h8, h9] = ip;
    let sctp = sctp(packet, answer);
    let [u0, u1] = udp_header(addresses, header, &sctp);
    let [s0, s1, s2, s3] = sctp;
    [h0, h1, h2, h3, h4, h5, h6, h7, h8, h9, u0, u1, s0, s1, s2, s3]
}

/// The UDP header of an answer to what came behind `header` between `addresses`, with the checksum.
#[inline(always)]
fn udp_header(addresses: &Addresses, header: UdpHeader, sctp: &[u32; SCTP_WORDS]) -> [u32; UDP_WORDS] {
    let length = (UDP_HEADER_LENGTH + SCTP_WORDS * 4) as u32;
    let ports = u32::from(header.destination_port) << 16 | u32::from(header.source_port);
    let mut sum = udp::addresses(addresses) + u64::from(IPPROTO_UDP) + 2 * u64::from(length) + u64::from(ports);
    for word in sctp {
        sum += u64::from(*word);
    }
    [ports, length << 16 | u32::from(udp::checksum(sum))]
}

/// The IPv4 header of an answer to a packet between `addresses` that has `length` bytes of SCTP.
#[inline(always)]
#[must_use]
pub fn ipv4_header(addresses: &Addresses, length: usize) -> [u32; 5] {
    ipv4_header_of(addresses, IPPROTO_SCTP, length)
}

#[inline(always)]
fn ipv4_header_of(addresses: &Addresses, upper: u8, length: usize) -> [u32; 5] {
    let [_, _, _, destination] = address(&addresses.source);
    let [_, _, _, source] = address(&addresses.destination);
    // Version 4, five words of header; never to be fragmented; 64 hops.
    let length = 0x4500_0000 | (IPV4_HEADER_LENGTH + length) as u32;
    let fragment = 0x4000;
    let protocol = HOPS << 24 | u32::from(upper) << 16;
    let sum = !ones_complement_sum([length, fragment, protocol, source, destination]);
    [length, fragment, protocol | u32::from(sum), source, destination]
}

/// The answer to `packet`, which came over IPv6, from the first byte of the IP header.
#[inline(always)]
#[must_use]
pub fn ipv6(packet: &Decoded, addresses: &Addresses, answer: Answer) -> [u32; IPV6_WORDS] {
    let [h0, h1, h2, h3, h4, h5, h6, h7, h8, h9] = ipv6_header(addresses, SCTP_WORDS * 4);
    let [s0, s1, s2, s3] = sctp(packet, answer);
    [h0, h1, h2, h3, h4, h5, h6, h7, h8, h9, s0, s1, s2, s3]
}

/// The IPv6 header of an answer to a packet between `addresses` that has `length` bytes of SCTP.
#[inline(always)]
#[must_use]
pub fn ipv6_header(addresses: &Addresses, length: usize) -> [u32; 10] {
    ipv6_header_of(addresses, IPPROTO_SCTP, length)
}

#[inline(always)]
fn ipv6_header_of(addresses: &Addresses, upper: u8, length: usize) -> [u32; 10] {
    let [d0, d1, d2, d3] = address(&addresses.source);
    let [a0, a1, a2, a3] = address(&addresses.destination);
    let length = (length as u32) << 16 | u32::from(upper) << 8 | HOPS;
    [0x6000_0000, length, a0, a1, a2, a3, d0, d1, d2, d3]
}

/// Whether `packet` is a HEARTBEAT that can be answered in place: alone in its packet, over IP without options or extension headers.
#[inline(always)]
#[must_use]
pub fn is_plain_heartbeat(packet: &Decoded) -> bool {
    let Some(first) = packet.first_chunk() else { return false };
    let header = if packet.is_ipv4 { IPV4_HEADER_LENGTH } else { IPV6_HEADER_LENGTH };
    first.kind == chunk::HEARTBEAT
        && COMMON_HEADER_LENGTH + padded(usize::from(first.length)) == usize::from(packet.sctp_len)
        && usize::from(packet.l3_offset) + header == usize::from(packet.sctp_offset)
}

/// The first four words of the HEARTBEAT ACK that answers `packet`, a [plain](is_plain_heartbeat) HEARTBEAT with this `checksum` of the peer
/// that has drawn `peer_tag`: common header and chunk header. What follows is to stay as it is (RFC 9260 §8.3), and so the
/// answer's checksum [follows from the HEARTBEAT's](difference).
///
/// `None` for a packet without a chunk.
#[inline(always)]
#[must_use]
pub fn heartbeat_ack(packet: &Decoded, checksum: u32, peer_tag: u32) -> Option<[u32; 4]> {
    let ports = u32::from(packet.destination_port) << 16 | u32::from(packet.source_port);
    let first = packet.first_chunk()?;
    let chunk = u32::from(chunk::HEARTBEAT_ACK) << 24 | u32::from(first.length);
    // From most significant byte first, as words are here, to least.
    let ports_differ = (ports ^ ports.rotate_left(16)).swap_bytes();
    let tags_differ = (packet.verification_tag ^ peer_tag).swap_bytes();
    let chunks_differ = u32::from(first.kind ^ chunk::HEARTBEAT_ACK) | u32::from(first.flags) << 8;
    let words = [u64::from(ports_differ) | u64::from(tags_differ) << 32, u64::from(chunks_differ) << 32];
    let checksum = checksum ^ difference::of_head(words, packet.sctp_len.into());
    Some([ports, peer_tag, checksum.swap_bytes(), chunk])
}

const SCTP_WORDS: usize = (COMMON_HEADER_LENGTH + CHUNK_HEADER_LENGTH) / 4;

const UDP_WORDS: usize = UDP_HEADER_LENGTH / 4;

const IPV4_HEADER_LENGTH: usize = 20;
const IPV6_HEADER_LENGTH: usize = 40;

/// The bit of an Ethernet address's first byte that makes it a group's.
const GROUP: u8 = 1;

/// Hop limit, or time to live.
const HOPS: u32 = 64;

#[inline(always)]
fn sctp(packet: &Decoded, answer: Answer) -> [u32; SCTP_WORDS] {
    let (kind, flags) = match answer.reason {
        AnswerReason::Abort => (chunk::ABORT, flags::T),
        AnswerReason::ShutdownComplete => (chunk::SHUTDOWN_COMPLETE, flags::T),
        AnswerReason::Refused => (chunk::ABORT, 0),
        // These have more than a header: see `heartbeat_ack` and the module `init`.
        AnswerReason::HeartbeatAck => (chunk::HEARTBEAT_ACK, 0),
        AnswerReason::InitAck => (chunk::INIT_ACK, 0),
    };
    let ports = u32::from(packet.destination_port) << 16 | u32::from(packet.source_port);
    let tag = answer.tag;
    let chunk = u32::from(kind) << 24 | u32::from(flags) << 16 | CHUNK_HEADER_LENGTH as u32;
    let first = u64::from(ports.swap_bytes()) | u64::from(tag.swap_bytes()) << 32;
    let crc = Crc32c::new().sixteen([first, u64::from(chunk.swap_bytes()) << 32]);
    // The checksum is the one field that goes least significant byte first (Appendix A).
    [ports, tag, crc.finish().swap_bytes(), chunk]
}

#[inline(always)]
const fn address(bytes: &[u8; 16]) -> [u32; 4] {
    let value = u128::from_be_bytes(*bytes);
    [(value >> 96) as u32, (value >> 64) as u32, (value >> 32) as u32, value as u32]
}

/// The sum of an IPv4 header checksum (RFC 1071).
#[inline(always)]
fn ones_complement_sum(words: [u32; 5]) -> u16 {
    let mut sum = 0;
    for word in words {
        sum += (word >> 16) + (word & 0xffff);
    }
    // Ten numbers of 16 bits: at most 20 bits, then 17, then 16.
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{decode, decode_udp, samples};

    /// What answers `packet` by reflecting its tag.
    fn addresses(frame: &[u8]) -> Addresses {
        decode(frame).unwrap().addresses(frame).unwrap()
    }

    fn reflecting(packet: &Decoded, reason: AnswerReason) -> Answer {
        Answer { reason, tag: packet.verification_tag }
    }

    fn bytes(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    fn checked(packet: &[u8]) -> bool {
        let mut zeroed = packet.to_vec();
        zeroed[8..12].fill(0);
        ::crc32c::crc32c(&zeroed).to_le_bytes() == packet[8..12]
    }

    #[test]
    fn an_answer_fits_a_number() {
        for reason in AnswerReason::ALL.iter().filter(|reason| **reason != AnswerReason::InitAck) {
            for tag in [1, 0x1234_5678, u32::MAX] {
                let answer = Answer { reason: *reason, tag };
                assert_eq!(Answer::unpack(answer.pack()), answer);
            }
        }
    }

    /// What answers in UDP say, their UDP headers by a plain sum of RFC 1071, and that they are decoded.
    #[test]
    fn answers_in_udp() {
        for question in [samples::udp_ipv4(), samples::udp_ipv6()] {
            let packet = decode_udp(question.as_slice(), samples::UDP_PORT).unwrap();
            let between = packet.addresses(question.as_slice()).unwrap();
            let header = packet.udp(question.as_slice()).unwrap();
            let answer = reflecting(&packet, AnswerReason::Abort);
            let (words, ip) = match packet.is_ipv4 {
                true => (bytes(&udp_ipv4(&packet, &between, header, answer)), 20),
                false => (bytes(&udp_ipv6(&packet, &between, header, answer)), 40),
            };
            assert_eq!(words[ip..ip + 6], [0x26, 0xab, 0xee, 0x48, 0, 24]);
            assert!(checked(&words[ip + 8..]));
            assert_eq!(words[ip + 20..], [6, 1, 0, 4]);
            let addresses = if packet.is_ipv4 { 12..20 } else { 8..40 };
            let (source, destination) = words[addresses.clone()].split_at(addresses.len() / 2);
            let mut unsummed = words[ip..].to_vec();
            unsummed[6..8].fill(0);
            assert_eq!(samples::udp_summed(unsummed, source, destination), words[ip..]);
            let ether_type = if packet.is_ipv4 { 0x0800 } else { 0x86dd };
            let frame = samples::ethernet(&[], ether_type, &words);
            let decoded = decode_udp(frame.as_slice(), 61_000).unwrap();
            let back = decoded.addresses(frame.as_slice()).unwrap();
            assert_eq!((back.source, back.destination), (between.destination, between.source));
            assert_eq!(decoded.sctp_len, 16);
        }
    }

    #[test]
    fn an_abort_over_ipv4() {
        let packet = decode(samples::ipv4().as_slice()).unwrap();
        let answer = bytes(&ipv4(&packet, &addresses(&samples::ipv4()), reflecting(&packet, AnswerReason::Abort)));
        let mut header = vec![0x45, 0, 0, 36, 0, 0, 0x40, 0, 64, 132, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1];
        samples::repair(&mut header);
        assert_eq!(answer[..20], header);
        // Ports 38412 to 5001, the tag reflected, an ABORT of four bytes with the T bit.
        assert_eq!(answer[20..28], [0x96, 0x0c, 0x13, 0x89, 0x12, 0x34, 0x56, 0x78]);
        assert_eq!(answer[32..], [6, 1, 0, 4]);
        assert!(checked(&answer[20..]));
    }

    #[test]
    fn a_shutdown_complete_over_ipv6() {
        let packet = decode(samples::ipv6().as_slice()).unwrap();
        let answer =
            bytes(&ipv6(&packet, &addresses(&samples::ipv6()), reflecting(&packet, AnswerReason::ShutdownComplete)));
        assert_eq!(answer[..8], [0x60, 0, 0, 0, 0, 16, 132, 64]);
        let Addresses { source, destination } = addresses(&samples::ipv6());
        assert_eq!((&answer[8..24], &answer[24..40]), (&destination[..], &source[..]));
        assert_eq!(answer[40..48], [0x96, 0x0c, 0x13, 0x89, 0x12, 0x34, 0x56, 0x78]);
        assert_eq!(answer[52..], [14, 1, 0, 4]);
        assert!(checked(&answer[40..]));
    }

    #[test]
    fn a_refusal_carries_the_tag_that_it_is_given() {
        let packet = decode(samples::ipv4().as_slice()).unwrap();
        let answer = bytes(&ipv4(
            &packet,
            &addresses(&samples::ipv4()),
            Answer { reason: AnswerReason::Refused, tag: 0x0102_0304 },
        ));
        assert_eq!(answer[24..28], [1, 2, 3, 4]);
        assert_eq!(answer[32..], [6, 0, 0, 4]);
        assert!(checked(&answer[20..]));
    }

    /// HEARTBEATs of every length, and flags that nobody has defined.
    #[test]
    fn a_heartbeat_ack_has_the_right_checksum() {
        for (length, flags) in (20..2000).step_by(4).zip([0, 0xff, 1].into_iter().cycle()) {
            let mut packet = vec![7; length];
            packet[..8].copy_from_slice(&[0x13, 0x89, 0x96, 0x0c, 0x12, 0x34, 0x56, 0x78]);
            let [high, low] = (length as u16 - 12).to_be_bytes();
            packet[12..16].copy_from_slice(&[4, flags, high, low]);
            packet[8..12].fill(0);
            let checksum = ::crc32c::crc32c(&packet);
            packet[8..12].copy_from_slice(&checksum.to_le_bytes());
            let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 132, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
            ip[2..4].copy_from_slice(&(length as u16 + 20).to_be_bytes());
            samples::repair(&mut ip);
            let frame = samples::ethernet(&[], 0x0800, &[ip, packet.clone()].concat());
            let decoded = decode(frame.as_slice()).unwrap();
            assert!(is_plain_heartbeat(&decoded));
            let words = heartbeat_ack(&decoded, decoded.checksum, 0x0102_0304).unwrap();
            packet[..16].copy_from_slice(&bytes(&words));
            assert_eq!(packet[..8], [0x96, 0x0c, 0x13, 0x89, 1, 2, 3, 4]);
            assert_eq!(packet[12..16], [5, 0, high, low]);
            assert!(checked(&packet), "{length} bytes");
        }
    }

    #[test]
    fn an_answer_is_decoded_as_what_it_is() {
        for (question, l3) in [(samples::ipv4(), 14), (samples::ipv6(), 14), (samples::qinq(), 22)] {
            let packet = decode(question.as_slice()).unwrap();
            let ends = addresses(&question);
            let words = if packet.is_ipv4 {
                ipv4(&packet, &ends, reflecting(&packet, AnswerReason::Abort)).to_vec()
            } else {
                ipv6(&packet, &ends, reflecting(&packet, AnswerReason::Abort)).to_vec()
            };
            let answer = [question[..l3].to_vec(), bytes(&words)].concat();
            let decoded = decode(answer.as_slice()).unwrap();
            let back = addresses(&answer);
            assert_eq!((back.source, decoded.source_port), (ends.destination, packet.destination_port));
            assert_eq!((back.destination, decoded.destination_port), (ends.source, packet.source_port));
            assert_eq!((decoded.verification_tag, decoded.sctp_len), (packet.verification_tag, 16));
            assert!(answer.len() <= question.len());
        }
    }

    #[test]
    fn header_checksums_with_carries() {
        for (source, destination) in [([255; 4], [255; 4]), ([0xff, 0xfe, 0, 1], [0xba, 0xda, 0x3f, 0xff])] {
            let packet = decode(samples::ipv4().as_slice()).unwrap();
            let ends = Addresses {
                source: crate::frame::ipv4_mapped(source),
                destination: crate::frame::ipv4_mapped(destination),
            };
            let answer = bytes(&ipv4(&packet, &ends, reflecting(&packet, AnswerReason::Abort)));
            let mut repaired = answer.clone();
            samples::repair(&mut repaired);
            assert_eq!(answer, repaired);
        }
    }

    #[test]
    fn ethernet_addresses_change_places() {
        let addresses = [2, 0, 0, 0, 0, 2, 4, 0, 0, 0, 0, 1];
        assert_eq!(ethernet(addresses), Some([4, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]));
        for at in [0, 6] {
            let mut group = addresses;
            group[at] |= 1;
            assert_eq!(ethernet(group), None);
        }
    }
}
