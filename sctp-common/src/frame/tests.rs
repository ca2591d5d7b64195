use proptest::prelude::*;

use super::ip::MAX_EXTENSION_HEADERS;
use super::samples::{ethernet, ipv4_packet, ipv6_packet, packet, repair};
use super::*;
use crate::verdict::Verdict::{Drop, Pass};

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

fn verdict(frame: &[u8]) -> Verdict {
    decode(frame).unwrap_err()
}

fn over_ipv6(extensions: &[(u8, &[u8])]) -> Vec<u8> {
    ethernet(&[], 0x86dd, &ipv6_packet(extensions, 132, &packet()))
}

/// The IPv4 frame with `change` made to its IP packet, the header checksum right again.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut packet = ipv4_packet(&[], &packet());
    change(&mut packet);
    repair(&mut packet);
    ethernet(&[], 0x0800, &packet)
}

#[test]
fn all_fields_over_ipv4() {
    let decoded = decode(samples::ipv4().as_slice()).unwrap();
    assert_eq!((decoded.l3_offset, decoded.sctp_offset, decoded.sctp_len), (14, 34, 32));
    let addresses = decoded.addresses(samples::ipv4().as_slice()).unwrap();
    assert_eq!(addresses.source, ipv4_mapped([10, 0, 0, 1]));
    assert_eq!(addresses.destination, ipv4_mapped([10, 0, 0, 2]));
    assert!(decoded.is_ipv4 && !decoded.fragment);
    assert_eq!(decoded.ecn, 2);
    assert_eq!((decoded.source_port, decoded.destination_port), (5001, 38412));
    assert_eq!(decoded.verification_tag, 0x1234_5678);
    assert_eq!(decoded.first_chunk(), Some(ChunkHead { kind: 0, flags: 3, length: 20 }));
    assert_eq!(crc32c::packet_checksum(samples::ipv4().as_slice(), 34, 32), Some(decoded.checksum));
}

#[test]
fn all_fields_over_ipv6() {
    let decoded = decode(samples::ipv6().as_slice()).unwrap();
    assert_eq!((decoded.l3_offset, decoded.sctp_offset, decoded.sctp_len), (14, 54, 32));
    let Addresses { source, destination } = decoded.addresses(samples::ipv6().as_slice()).unwrap();
    assert_eq!((source[0], source[15], destination[0], destination[15]), (0xfd, 1, 0xfd, 2));
    assert!(!decoded.is_ipv4 && !decoded.fragment);
    assert_eq!(decoded.ecn, 3);
    assert_eq!(decoded.verification_tag, 0x1234_5678);
}

#[test]
fn a_packet_fits_three_numbers() {
    for frame in [samples::ipv4(), samples::ipv6(), samples::qinq()] {
        let decoded = decode(frame.as_slice()).unwrap();
        for packet in [decoded, Decoded { fragment: true, sctp_len: 0xfffe, checksum: 0xfedc_ba98, ..decoded }] {
            assert_eq!(Decoded::unpack(packet.pack()), packet);
        }
    }
}

#[test]
fn up_to_two_vlan_tags_are_followed() {
    let ip = ipv4_packet(&[], &packet());
    for (tags, offset) in [(&[0x8100][..], 18), (&[0x88a8], 18), (&[0x88a8, 0x8100], 22), (&[0x8100, 0x8100], 22)] {
        let decoded = decode(ethernet(tags, 0x0800, &ip).as_slice()).unwrap();
        assert_eq!((decoded.l3_offset, decoded.sctp_offset), (offset, offset + 20));
    }
    assert_eq!(verdict(&ethernet(&[0x8100; 3], 0x0800, &ip)), Pass(PassReason::NotSctp));
}

#[test]
fn what_is_not_sctp_passes() {
    let udp = changed(|packet| packet[9] = 17);
    assert_eq!(verdict(&udp), Pass(PassReason::Udp));
    let tcp = changed(|packet| packet[9] = 6);
    assert_eq!(verdict(&tcp), Pass(PassReason::NotSctp));
    assert_eq!(verdict(&ethernet(&[], 0x0806, &[0; 46])), Pass(PassReason::NotSctp));
    assert_eq!(verdict(&ethernet(&[], 0x86dd, &ipv6_packet(&[], 58, &[0; 20]))), Pass(PassReason::Icmp));
    let authenticated = ipv6_packet(&[(AUTHENTICATION, &[0, 4, 0, 0])], 132, &packet());
    assert_eq!(verdict(&ethernet(&[], 0x86dd, &authenticated)), Pass(PassReason::NotSctp));
}

#[test]
fn every_prefix_of_a_frame_is_passed_or_dropped_by_name() {
    for frame in [samples::ipv4(), samples::ipv6(), samples::qinq(), over_ipv6(&[(DESTINATION, &[0; 8])])] {
        for length in 0..frame.len() {
            let verdict = verdict(&frame[..length]);
            assert!(
                matches!(verdict, Pass(PassReason::NotSctp) | Drop(DropReason::Truncated)),
                "{length} of {} bytes: {verdict:?}",
                frame.len()
            );
        }
    }
}

#[test]
fn ethernet_padding_is_not_part_of_the_packet() {
    let mut frame = samples::ipv4();
    frame.resize(frame.len() + 40, 0xee);
    assert_eq!(decode(frame.as_slice()).unwrap().sctp_len, 32);
}

#[test]
fn ipv4_options_are_skipped_and_summed() {
    for words in 0..=10 {
        let options: Vec<u8> = (0..words * 4).map(|i| i as u8 + 1).collect();
        let mut frame = ethernet(&[], 0x0800, &ipv4_packet(&options, &packet()));
        let decoded = decode(frame.as_slice()).unwrap();
        assert_eq!(usize::from(decoded.sctp_offset), 34 + options.len());
        let last_of_header = 33 + options.len();
        frame[last_of_header] ^= 1;
        assert_eq!(verdict(&frame), Drop(DropReason::IpChecksum), "{words} words of options");
    }
}

#[test]
fn damaged_ip_headers_have_their_names() {
    let mut wrong_sum = samples::ipv4();
    wrong_sum[24] ^= 1;
    assert_eq!(verdict(&wrong_sum), Drop(DropReason::IpChecksum));
    assert_eq!(verdict(&changed(|packet| packet[0] = 0x55)), Drop(DropReason::IpVersion));
    assert_eq!(verdict(&changed(|packet| packet[0] = 0x44)), Drop(DropReason::IpHeaderLength));
    assert_eq!(verdict(&changed(|packet| packet[3] = 19)), Drop(DropReason::IpLength));
    assert_eq!(verdict(&changed(|packet| packet[3] += 1)), Drop(DropReason::Truncated));
    let mut version = samples::ipv6();
    version[14] = 0x50;
    assert_eq!(verdict(&version), Drop(DropReason::IpVersion));
    let mut longer = samples::ipv6();
    longer[19] += 1;
    assert_eq!(verdict(&longer), Drop(DropReason::Truncated));
    let mut shorter = over_ipv6(&[(DESTINATION, &[0; 8])]);
    shorter[19] = 7;
    assert_eq!(verdict(&shorter), Drop(DropReason::IpLength));
}

#[test]
fn fewer_bytes_than_a_common_header() {
    for length in 0..12 {
        let short = &packet()[..length];
        assert_eq!(verdict(&ethernet(&[], 0x0800, &ipv4_packet(&[], short))), Drop(DropReason::ShortHeader));
        assert_eq!(verdict(&ethernet(&[], 0x86dd, &ipv6_packet(&[], 132, short))), Drop(DropReason::ShortHeader));
    }
}

#[test]
fn a_chunk_header_needs_four_bytes() {
    for length in 12..16 {
        let frame = ethernet(&[], 0x0800, &ipv4_packet(&[], &packet()[..length]));
        assert_eq!(decode(frame.as_slice()).unwrap().first_chunk(), None);
    }
}

#[test]
fn ipv4_fragments() {
    let first = changed(|packet| packet[6] = 0x20);
    assert!(decode(first.as_slice()).unwrap().fragment);
    for later in [[0x20, 0x01], [0x00, 0x01], [0x1f, 0xff]] {
        let frame = changed(|packet| packet[6..8].copy_from_slice(&later));
        assert_eq!(verdict(&frame), Pass(PassReason::LaterFragment));
    }
}

#[test]
fn ipv6_fragments() {
    let atomic = decode(over_ipv6(&[(FRAGMENT, &[0; 8])]).as_slice()).unwrap();
    assert!(!atomic.fragment);
    assert_eq!(atomic.sctp_offset, 62);
    let first = over_ipv6(&[(FRAGMENT, &[0, 0, 0, 1, 0, 0, 0, 9])]);
    assert!(decode(first.as_slice()).unwrap().fragment);
    let later = over_ipv6(&[(FRAGMENT, &[0, 0, 0, 8, 0, 0, 0, 9])]);
    assert_eq!(verdict(&later), Pass(PassReason::LaterFragment));
    let of_udp = ipv6_packet(&[(FRAGMENT, &[0, 0, 0, 8, 0, 0, 0, 9])], 17, &[0; 20]);
    assert_eq!(verdict(&ethernet(&[], 0x86dd, &of_udp)), Pass(PassReason::NotSctp));
}

#[test]
fn ipv6_extension_headers_are_followed_to_the_last() {
    let header: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0];
    let long: &[u8] = &[&[0, 3][..], &[0; 30]].concat();
    let chain =
        [(HOP_BY_HOP, header), (DESTINATION, long), (ROUTING, header), (FRAGMENT, header), (DESTINATION, header)];
    let decoded = decode(over_ipv6(&chain).as_slice()).unwrap();
    assert_eq!(decoded.sctp_offset, 54 + 8 + 32 + 8 + 8 + 8);

    let most = vec![(DESTINATION, header); MAX_EXTENSION_HEADERS];
    assert_eq!(decode(over_ipv6(&most).as_slice()).unwrap().sctp_offset, 54 + 48);
    let too_many = vec![(DESTINATION, header); MAX_EXTENSION_HEADERS + 1];
    assert_eq!(verdict(&over_ipv6(&too_many)), Pass(PassReason::ExtensionHeaders));
}

#[test]
fn a_way_point_of_a_source_route_is_not_the_destination() {
    let routing = |segments_left| over_ipv6(&[(ROUTING, &[0, 0, 4, segments_left, 0, 0, 0, 0])]);
    assert_eq!(verdict(&routing(1)), Pass(PassReason::SourceRouted));
    assert!(decode(routing(0).as_slice()).is_ok());
}

#[test]
fn slices_are_read_within_their_bounds() {
    let bytes: &[u8] = &[1, 2, 3];
    assert_eq!(bytes.read(1), Some([2, 3]));
    assert_eq!(bytes.read::<2>(2), None);
    assert_eq!(bytes.read::<2>(usize::MAX), None);
    assert!(!Frame::is_empty(bytes));
}

proptest! {
    #[test]
    fn noise_is_decoded_without_a_panic(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(frame.as_slice());
    }

    #[test]
    fn whatever_is_decoded_lies_within_the_frame(
        sample in 0..4_usize,
        changes in proptest::collection::vec((0..120_usize, any::<u8>()), 0..6),
        cut in 0..300_usize,
    ) {
        let header: &[u8] = &[0; 8];
        let chain = [(HOP_BY_HOP, header), (FRAGMENT, header)];
        let samples = [samples::ipv4(), samples::ipv6(), samples::qinq(), over_ipv6(&chain)];
        let mut frame = samples[sample].clone();
        for (at, value) in changes {
            let length = frame.len();
            frame[at % length] = value;
        }
        frame.truncate(cut);
        if let Ok(decoded) = decode(frame.as_slice()) {
            let end = usize::from(decoded.sctp_offset) + usize::from(decoded.sctp_len);
            prop_assert!(end <= frame.len());
            prop_assert!(usize::from(decoded.sctp_len) >= COMMON_HEADER_LENGTH);
        }
    }
}
