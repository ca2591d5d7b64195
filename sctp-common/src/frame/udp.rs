//! SCTP in UDP (RFC 6951).

use super::{Decoded, ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, Frame, Words as _, ethernet, ip, sctp};
use crate::verdict::{DropReason, PassReason, Verdict};
use crate::wire::{IPPROTO_UDP, UDP_HEADER_LENGTH};

/// Finds the SCTP packet in a frame that carries UDP to `port`, this host's encapsulation port (not 0).
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-------------------------------+-------------------------------+
/// |          Source Port          |       Destination Port        |
/// +-------------------------------+-------------------------------+
/// |            Length             |           Checksum            |
/// +-------------------------------+-------------------------------+
/// |                      SCTP Common Header …                     |
/// ```
///
/// "Because the SCTP packet is the UDP payload, the length of the UDP packet MUST be the length of the SCTP packet plus the size of the UDP
/// header" (§5.3). What the IP packet has behind that is ignored, as everybody does. Port and checksum are looked at when it is known that
/// the packet is for this host: see [`verify_udp`](crate::judge::ChecksumPolicy::verify_udp).
///
/// # Errors
///
/// [`Verdict::Pass`] if the frame is not UDP to that port, [`Verdict::Drop`] if a header is damaged.
#[inline(always)]
pub fn decode_udp<F: Frame + ?Sized>(frame: &F, port: u16) -> Result<Decoded, Verdict> {
    let (ether_type, l3_offset) = ethernet(frame).ok_or(PassReason::NotSctp)?;
    let mut packet = match ether_type {
        ETHER_TYPE_IPV4 => ip::ipv4(frame, l3_offset, IPPROTO_UDP)?,
        ETHER_TYPE_IPV6 => ip::ipv6(frame, l3_offset, IPPROTO_UDP)?,
        _ => return Err(PassReason::NotSctp.into()),
    };
    if packet.payload_len < UDP_HEADER_LENGTH {
        return Err(PassReason::Udp.into());
    }
    let header = frame.words::<UDP_HEADER_LENGTH>(packet.payload_offset).ok_or(DropReason::Truncated)?.word::<0>();
    if ((header >> 16) as u16).swap_bytes() != port || port == 0 {
        return Err(PassReason::Udp.into());
    }
    if !packet.fragment {
        let length = usize::from(((header >> 32) as u16).swap_bytes());
        if length < UDP_HEADER_LENGTH || length > packet.payload_len {
            return Err(DropReason::UdpLength.into());
        }
        packet.payload_len = length;
    }
    packet.payload_offset += UDP_HEADER_LENGTH;
    packet.payload_len -= UDP_HEADER_LENGTH;
    sctp(frame, l3_offset, &packet, true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::{self, UDP_PORT, ethernet, ipv4_packet, ipv6_packet, packet, repair, udp};
    use super::super::{ChunkHead, UdpHeader, decode};
    use super::*;
    use crate::verdict::Verdict::{Drop, Pass};

    fn verdict(frame: &[u8]) -> Verdict {
        decode_udp(frame, UDP_PORT).unwrap_err()
    }

    /// UDP over IPv4 and over IPv6, with `change` made to the UDP packet.
    fn changed(change: impl Fn(&mut Vec<u8>)) -> [Vec<u8>; 2] {
        let mut udp = udp(&packet());
        change(&mut udp);
        let mut v4 = ipv4_packet(&[], &udp);
        v4[9] = IPPROTO_UDP;
        repair(&mut v4);
        [ethernet(&[], 0x0800, &v4), ethernet(&[], 0x86dd, &ipv6_packet(&[], IPPROTO_UDP, &udp))]
    }

    #[test]
    fn all_fields() {
        for (frame, l3, ip) in [(samples::udp_ipv4(), 14, 20), (samples::udp_ipv6(), 14, 40)] {
            let decoded = decode_udp(frame.as_slice(), UDP_PORT).unwrap();
            assert_eq!((decoded.l3_offset, decoded.sctp_offset, decoded.sctp_len), (l3, l3 + ip + 8, 32));
            let udp = decoded.udp(frame.as_slice()).unwrap();
            assert_eq!((udp.source_port, udp.destination_port), (61_000, UDP_PORT));
            assert!(decoded.in_udp && !decoded.fragment);
            assert_eq!(Decoded::unpack(decoded.pack()), decoded);
            assert_eq!((decoded.source_port, decoded.destination_port), (5001, 38412));
            assert_eq!(decoded.first_chunk(), Some(ChunkHead { kind: 0, flags: 3, length: 20 }));
            assert_eq!(decode(frame.as_slice()), Err(Pass(PassReason::Udp)), "without a port of ours");
        }
        let plain = decode(samples::ipv4().as_slice()).unwrap();
        assert_eq!((plain.in_udp, plain.udp(samples::ipv4().as_slice())), (false, Some(UdpHeader::default())));
    }

    #[test]
    fn what_is_for_others_passes() {
        for frame in changed(|udp| udp[3] ^= 1) {
            assert_eq!(verdict(&frame), Pass(PassReason::Udp));
        }
        // Another port's length is another's business, and so is what has no port.
        for frame in changed(|udp| udp[3..5].fill(0)).into_iter().chain(changed(|udp| udp.truncate(7))) {
            assert_eq!(verdict(&frame), Pass(PassReason::Udp));
        }
        assert_eq!(verdict(&samples::ipv4()), Pass(PassReason::NotSctp));
        assert_eq!(decode_udp(changed(|udp| udp[2..4].fill(0))[0].as_slice(), 0), Err(Pass(PassReason::Udp)));
    }

    #[test]
    fn the_length_is_checked() {
        let length = |length: u16| changed(move |udp| udp[4..6].copy_from_slice(&length.to_be_bytes()));
        for (bytes, expected) in [
            (0, Err(Drop(DropReason::UdpLength))),
            (7, Err(Drop(DropReason::UdpLength))),
            (8, Err(Drop(DropReason::ShortHeader))),
            (19, Err(Drop(DropReason::ShortHeader))),
            (20, Ok(12)),
            (40, Ok(32)),
            (41, Err(Drop(DropReason::UdpLength))),
            (u16::MAX, Err(Drop(DropReason::UdpLength))),
        ] {
            for frame in length(bytes) {
                let found = decode_udp(frame.as_slice(), UDP_PORT).map(|decoded| decoded.sctp_len);
                assert_eq!(found, expected, "{bytes} bytes");
            }
        }
    }

    #[test]
    fn a_first_fragment_is_known_by_its_ports() {
        let mut v4 = ipv4_packet(&[], &udp(&packet())[..28]);
        v4[9] = IPPROTO_UDP;
        v4[6] = 0x20;
        repair(&mut v4);
        let decoded = decode_udp(ethernet(&[], 0x0800, &v4).as_slice(), UDP_PORT).unwrap();
        assert!(decoded.fragment && decoded.sctp_len == 20);
        v4[7] = 1;
        repair(&mut v4);
        assert_eq!(verdict(&ethernet(&[], 0x0800, &v4)), Pass(PassReason::LaterFragment));
    }

    #[test]
    fn every_prefix_is_passed_or_dropped_by_name() {
        for frame in [samples::udp_ipv4(), samples::udp_ipv6()] {
            for length in 0..frame.len() {
                let verdict = verdict(&frame[..length]);
                let known = matches!(verdict, Pass(PassReason::NotSctp) | Drop(DropReason::Truncated));
                assert!(known, "{length} of {} bytes: {verdict:?}", frame.len());
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_is_decoded_lies_within_the_frame(
            ipv4: bool,
            changes in proptest::collection::vec((0..120_usize, any::<u8>()), 0..6),
            cut in 0..200_usize,
        ) {
            let mut frame = if ipv4 { samples::udp_ipv4() } else { samples::udp_ipv6() };
            for (at, value) in changes {
                let length = frame.len();
                frame[at % length] = value;
            }
            frame.truncate(cut);
            if let Ok(decoded) = decode_udp(frame.as_slice(), UDP_PORT) {
                prop_assert!(usize::from(decoded.sctp_offset) + usize::from(decoded.sctp_len) <= frame.len());
                prop_assert!(decoded.sctp_len >= 12);
            }
        }
    }
}
