use std::collections::HashMap;

use super::*;
use crate::frame::samples;
use crate::maps::{PeerEntry, PeerKey, PortEntry, TagEntry};

const PORT: u16 = 5001;
const PEER_TAG: u32 = 0x1234_5678;
const OUR_TAG: u32 = 0x0102_0304;
const ENTRY: TagEntry = TagEntry { slot: 3, generation: 4, worker: 1 };

/// An endpoint at 10.0.0.2 and fd00::2 with a port and an association on it.
struct Endpoint(HashMap<TagKey, TagEntry>);

impl Endpoint {
    fn new() -> Self {
        let keys = [TagKey::new(PORT, TagKind::Peer, PEER_TAG), TagKey::new(PORT, TagKind::Local, OUR_TAG)];
        Self(keys.map(|key| (key, ENTRY)).into())
    }
}

impl Tables for Endpoint {
    fn port(&self, port: u16) -> PortEntry {
        if port == PORT { PortEntry::owned(false) } else { PortEntry::default() }
    }

    fn tag(&self, key: &TagKey) -> Option<TagEntry> {
        self.0.get(key).copied()
    }

    fn peer(&self, _: &PeerKey) -> Option<PeerEntry> {
        None
    }

    fn is_ours(&self, address: &[u8; 16]) -> bool {
        *address == ipv4_mapped([10, 0, 0, 2]) || address[15] == 2 && address[0] == 0xfd
    }
}

/// An INIT from port 5001 that names our tag, as a packet.
fn init() -> Vec<u8> {
    let mut packet = vec![0x13, 0x89, 0x96, 0x0c, 0, 0, 0, 0, 9, 9, 9, 9, chunk::INIT, 0, 0, 20];
    packet.extend(OUR_TAG.to_be_bytes());
    packet.extend([0; 12]);
    packet
}

fn checksummed(mut message: Vec<u8>, pseudo_header: u64) -> Vec<u8> {
    let mut sum = sum_of(&message) + pseudo_header;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    message[2..4].copy_from_slice(&(!sum as u16).to_be_bytes());
    message
}

/// An ICMP error over IPv4, from 10.0.0.1 to 10.0.0.2, about `quoted` with its IP header.
fn icmp(kind: u8, code: u8, word: u32, quoted: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(word.to_be_bytes());
    message.extend(quoted);
    let mut packet = samples::ipv4_packet(&[], &checksummed(message, 0));
    packet[9] = ICMP;
    samples::repair(&mut packet);
    samples::ethernet(&[], 0x0800, &packet)
}

/// The same over IPv6, from fd00::1 to fd00::2.
fn icmpv6(kind: u8, code: u8, word: u32, quoted: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(word.to_be_bytes());
    message.extend(quoted);
    let addresses = samples::ipv6_packet(&[], ICMPV6, &[])[8..40].to_vec();
    let pseudo = sum_of(&addresses) + message.len() as u64 + u64::from(ICMPV6);
    let packet = samples::ipv6_packet(&[], ICMPV6, &checksummed(message, pseudo));
    samples::ethernet(&[0x8100], 0x86dd, &packet)
}

fn found(frame: &[u8]) -> Option<Quotation> {
    quotation(frame, 0)
}

#[test]
fn fragmentation_needed_over_ipv4() {
    // A router quotes the header, with options, and eight bytes.
    let quoted = samples::ipv4_packet(&[1; 8], &samples::packet());
    let frame = icmp(3, 4, 1400, &quoted[..28 + 8]);
    let quotation = found(&frame).unwrap();
    assert_eq!(
        (quotation.is_too_big(), quotation.mtu(), quotation.is_protocol_unreachable()),
        (true, Some(1400), false)
    );
    assert_eq!(
        (quotation.source_port, quotation.destination_port, quotation.verification_tag),
        (PORT, 38412, PEER_TAG)
    );
    let addresses = quotation.addresses(frame.as_slice());
    assert_eq!(addresses, Some((ipv4_mapped([10, 0, 0, 1]), ipv4_mapped([10, 0, 0, 2]))));
    assert_eq!(usize::from(quotation.sctp_offset), 14 + 20 + 8 + 28);
    assert!(quotation.has_right_checksums(&frame));
    let owner = quotation.find_owner(frame.as_slice(), &Endpoint::new()).unwrap();
    assert_eq!((owner.reason, owner.worker, owner.slot, owner.generation), (RedirectReason::Icmp, 1, 3, 4));
}

#[test]
fn packet_too_big_over_ipv6() {
    let frame = icmpv6(2, 0, 1300, &samples::ipv6_packet(&[], 132, &samples::packet()));
    let quotation = found(&frame).unwrap();
    assert_eq!((quotation.is_too_big(), quotation.mtu(), quotation.is_ipv4), (true, Some(1300), false));
    assert_eq!((quotation.verification_tag, quotation.l3_offset), (PEER_TAG, 18));
    let (source, destination) = quotation.addresses(frame.as_slice()).unwrap();
    assert_eq!((source[15], destination[15]), (1, 2));
    assert!(quotation.has_right_checksums(&frame));
    assert_eq!(quotation.find_owner(frame.as_slice(), &Endpoint::new()).unwrap().reason, RedirectReason::Icmp);
}

/// RFC 8200 §4: extension headers may stand in front of ICMPv6 as of anything else. The checksum does not cover them.
#[test]
fn extension_headers_are_followed() {
    let plain = icmpv6(2, 0, 1300, &samples::ipv6_packet(&[], 132, &samples::packet()));
    let (headers, message) = plain.split_at(18 + 40);
    let behind = |first: u8, extensions: &[u8]| {
        let mut frame = [headers, extensions, message].concat();
        let length = (extensions.len() + message.len()) as u16;
        frame[18 + 4..18 + 6].copy_from_slice(&length.to_be_bytes());
        frame[18 + 6] = first;
        frame
    };
    // A hop-by-hop header of 8 bytes, destination options of 16, both with padding alone.
    let chain = [&[60, 0, 1, 4, 0, 0, 0, 0][..], &[ICMPV6, 1, 1, 12], &[0; 12]].concat();
    let frame = behind(0, &chain);
    let quotation = found(&frame).unwrap();
    assert_eq!((quotation.icmp_offset, quotation.verification_tag), (18 + 40 + 24, PEER_TAG));
    assert!(quotation.has_right_checksums(&frame));
    assert_eq!(quotation.find_owner(frame.as_slice(), &Endpoint::new()).unwrap().reason, RedirectReason::Icmp);
    // An atomic fragment is whole, a first fragment is not.
    for (more, whole) in [(0, true), (1, false)] {
        let frame = behind(44, &[ICMPV6, 0, 0, more, 0, 0, 0, 7]);
        assert_eq!(found(&frame).is_some(), whole);
    }
    assert_eq!(found(&behind(0, &[17, 0, 1, 4, 0, 0, 0, 0])), None, "UDP");
}

/// ICMP1 to ICMP4.
#[test]
fn what_may_be_ignored_is_ignored() {
    let v4 = samples::ipv4_packet(&[], &samples::packet());
    let v6 = samples::ipv6_packet(&[], 132, &samples::packet());
    for (kind, code, heeded) in
        [(3, 0, true), (3, 2, true), (3, 3, false), (0, 0, false), (5, 1, false), (11, 0, false)]
    {
        assert_eq!(found(&icmp(kind, code, 0, &v4)).is_some(), heeded, "ICMP type {kind} code {code}");
    }
    let cases =
        [(1, 0, true), (1, 4, false), (2, 0, true), (3, 0, false), (4, 0, false), (4, 1, true), (128, 0, false)];
    for (kind, code, heeded) in cases {
        assert_eq!(found(&icmpv6(kind, code, 0, &v6)).is_some(), heeded, "ICMPv6 type {kind} code {code}");
    }
    assert!(found(&icmp(3, 2, 0, &v4)).unwrap().is_protocol_unreachable());
    assert!(found(&icmpv6(4, 1, 40, &v6)).unwrap().is_protocol_unreachable());
    assert_eq!(found(&icmp(3, 4, 0, &v4)).unwrap().mtu(), None, "an old router");
}

/// RFC 6951 §5.5.
#[test]
fn what_went_in_udp_is_known_by_our_port() {
    let in_udp = |from: u16, to: u16| {
        let ports = [from.to_be_bytes(), to.to_be_bytes()].concat();
        [ports, vec![0, 40, 0, 0], samples::packet()].concat()
    };
    let v4 = |udp: &[u8]| {
        let mut quoted = samples::ipv4_packet(&[], udp);
        quoted[9] = 17;
        quoted
    };
    let v6 = |udp: &[u8]| samples::ipv6_packet(&[], 17, udp);
    let sent = in_udp(samples::UDP_PORT, 61_000);
    for (frame, port_unreachable) in [
        (icmp(3, 4, 1400, &v4(&sent)), false),
        (icmp(3, 3, 0, &v4(&sent)), true),
        (icmpv6(2, 0, 1300, &v6(&sent)), false),
        (icmpv6(1, 4, 0, &v6(&sent)), true),
    ] {
        let found = quotation(frame.as_slice(), samples::UDP_PORT).unwrap();
        assert_eq!((found.udp_port, found.verification_tag, found.source_port), (61_000, PEER_TAG, PORT));
        assert_eq!(found.is_protocol_unreachable(), port_unreachable);
        assert!(found.has_right_checksums(&frame));
        assert_eq!(found.find_owner(frame.as_slice(), &Endpoint::new()).unwrap().reason, RedirectReason::Icmp);
        assert_eq!(quotation(frame.as_slice(), 0), None, "without a port of ours");
    }
    // Not ours, no port to answer to, or too short to tell.
    for other in [in_udp(samples::UDP_PORT + 1, 61_000), in_udp(samples::UDP_PORT, 0), sent[..15].to_vec()] {
        assert_eq!(quotation(icmp(3, 3, 0, &v4(&other)).as_slice(), samples::UDP_PORT), None);
        assert_eq!(quotation(icmpv6(1, 4, 0, &v6(&other)).as_slice(), samples::UDP_PORT), None);
    }
}

/// ICMP6.
#[test]
fn an_init_is_known_by_its_initiate_tag() {
    let quoted = samples::ipv4_packet(&[], &init());
    let frame = icmp(3, 2, 0, &quoted);
    let whole = found(&frame).unwrap();
    assert_eq!((whole.verification_tag, whole.initiate_tag), (0, OUR_TAG));
    assert_eq!(whole.find_owner(frame.as_slice(), &Endpoint::new()).unwrap().slot, 3);
    let frame = icmp(3, 2, 0, &quoted[..20 + 19]);
    let cut = found(&frame).unwrap();
    assert_eq!(cut.initiate_tag, 0);
    assert_eq!(cut.find_owner(frame.as_slice(), &Endpoint::new()), Err(DropReason::IcmpTag.into()));
}

#[test]
fn a_tag_that_nobody_has_is_not_believed() {
    let owner_of = |change: &dyn Fn(&mut Vec<u8>), receiver: [u8; 4]| {
        let mut packet = samples::packet();
        change(&mut packet);
        let mut frame = icmp(3, 4, 1400, &samples::ipv4_packet(&[], &packet));
        frame[14 + 16..14 + 20].copy_from_slice(&receiver);
        found(&frame).unwrap().find_owner(frame.as_slice(), &Endpoint::new())
    };
    const OURS: [u8; 4] = [10, 0, 0, 2];
    assert_eq!(owner_of(&|packet| packet[7] ^= 1, OURS), Err(DropReason::IcmpTag.into()));
    assert_eq!(owner_of(&|packet| packet[1] ^= 1, OURS), Err(PassReason::Icmp.into()), "another's port");
    assert_eq!(owner_of(&|packet| packet[7] ^= 1, [10, 9, 9, 9]), Err(PassReason::Icmp.into()), "in transit");
    assert!(owner_of(&|_| {}, [10, 9, 9, 9]).is_ok());
}

#[test]
fn damage_is_noticed() {
    let quoted = samples::ipv4_packet(&[], &samples::packet());
    let sound = icmp(3, 4, 1400, &quoted);
    for length in 0..14 + 20 + 8 + 28 {
        assert_eq!(found(&sound[..length]), None, "cut at {length}");
    }
    for at in [14 + 8, 14 + 20 + 6, sound.len() - 1] {
        let mut damaged = sound.clone();
        damaged[at] ^= 4;
        assert!(!found(&damaged).unwrap().has_right_checksums(&damaged), "changed at {at}");
    }
    let v6 = icmpv6(2, 0, 1300, &samples::ipv6_packet(&[], 132, &samples::packet()));
    for at in [18 + 8, 18 + 40 + 7, v6.len() - 1] {
        let mut damaged = v6.clone();
        damaged[at] ^= 4;
        assert!(!found(&damaged).unwrap().has_right_checksums(&damaged), "changed at {at}");
    }
    for other in [17, 6] {
        let mut quoted = quoted.clone();
        quoted[9] = other;
        assert_eq!(found(&icmp(3, 4, 1400, &quoted)), None, "protocol {other}");
    }
}

proptest::proptest! {
    #[test]
    fn nothing_makes_it_panic(at in 0_usize..120, value: u8, cut in 0_usize..120) {
        let mut frame = icmp(3, 4, 1400, &samples::ipv4_packet(&[], &samples::packet()));
        let at = at % frame.len();
        frame[at] = value;
        frame.truncate(frame.len() - cut % frame.len());
        if let Some(quotation) = quotation(frame.as_slice(), samples::UDP_PORT) {
            let _ = quotation.has_right_checksums(&frame);
        }
    }
}
