//! SCTP in UDP (RFC 6951): the same verdicts, and what is wrong with the UDP header.

use anyhow::{Context as _, Result, ensure};
use sctp_common::maps::policy;
use sctp_common::metadata::Checksum;
use sctp_common::verdict::AnswerReason as Answer;
use sctp_common::verdict::DropReason as Drop;
use sctp_common::verdict::PassReason as Pass;
use sctp_common::verdict::RedirectReason as Redirect;
use sctp_common::verdict::Verdict;
use sctp_common::wire::{IPPROTO_UDP, chunk as kind, flags};

use super::frames::*;
use super::model::Model;
use super::program::Settings;

/// Our encapsulation port.
pub(crate) const UDP_PORT: u16 = 9899;
/// That of the peer.
pub(crate) const PEER_UDP_PORT: u16 = 61_000;

/// `payload` in UDP with the right checksum, between two addresses as bytes.
pub(crate) fn udp(ports: (u16, u16), source: &[u8], destination: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut packet = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    packet.extend((payload.len() as u16 + 8).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    let sum = udp_checksum(&packet, source, destination);
    packet[6..8].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// The checksum of a UDP packet whose checksum field is 0.
fn udp_checksum(packet: &[u8], source: &[u8], destination: &[u8]) -> u16 {
    let pseudo = [source, destination, &[0, IPPROTO_UDP], &(packet.len() as u16).to_be_bytes(), packet].concat();
    let mut sum: u32 =
        pseudo.chunks(2).map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    if sum == 0xffff { 0xffff } else { !sum as u16 }
}

const PORTS: (u16, u16) = (PEER_UDP_PORT, UDP_PORT);

/// The headers of the peer's UDP packets.
fn headers() -> (Ipv4, Ipv6) {
    (Ipv4 { protocol: IPPROTO_UDP, ..Ipv4::default() }, Ipv6 { upper: IPPROTO_UDP, ..Ipv6::default() })
}

/// An SCTP packet from the peer in UDP over IPv4 and IPv6, with `change` made to the UDP packet.
fn both(sctp: &[u8], change: impl Fn(&mut Vec<u8>)) -> [Vec<u8>; 2] {
    let (v4, v6) = headers();
    let mut over_v4 = udp(PORTS, &PEER_V4, &OURS_V4, sctp);
    let mut over_v6 = udp(PORTS, &PEER_V6, &OURS_V6, sctp);
    change(&mut over_v4);
    change(&mut over_v6);
    [v4.frame(&over_v4), v6.frame(&over_v6)]
}

/// Frames with UDP inside, each with its verdict.
pub(crate) fn udp_frames() -> Vec<(&'static str, Vec<u8>, Verdict)> {
    let sound = sctp(PORT, TAG, &data_chunk(41));
    let unknown = sctp(PORT, 77, &data_chunk(41));
    let mut frames: Vec<(&'static str, Vec<u8>, Verdict)> = Vec::new();
    let mut case = |name, found: [Vec<u8>; 2], verdict: Verdict| {
        frames.extend(found.map(|frame| (name, frame, verdict)));
    };
    let ours = Verdict::from(Redirect::Association);
    let plain = |sctp: &[u8]| both(sctp, |_| {});
    case("DATA in UDP", plain(&sound), ours);
    case("INIT in UDP", plain(&sctp(PORT, 0, &init_chunk())), Redirect::Init.into());
    case(
        "COOKIE ECHO in UDP",
        plain(&sctp(PORT, 77, &chunk(kind::COOKIE_ECHO, 0, &[7; 96]))),
        Redirect::CookieEcho.into(),
    );
    case("reflected ABORT in UDP", plain(&sctp(PORT, PEER_TAG, &chunk(kind::ABORT, flags::T, &[]))), ours);
    case("wrong tag in UDP", plain(&sctp_between(BOUND_PORT, PORT, 77, &data_chunk(4))), Drop::BadTag.into());
    case("out of the blue in UDP", plain(&unknown), Answer::Abort.into());
    case(
        "SHUTDOWN ACK in UDP",
        plain(&sctp(PORT, 77, &chunk(kind::SHUTDOWN_ACK, 0, &[]))),
        Answer::ShutdownComplete.into(),
    );
    case("INIT in UDP, nobody listens", plain(&sctp(QUIET_PORT, 0, &init_chunk())), Answer::Refused.into());
    // Whatever comes to our encapsulation port is ours.
    case("port not ours in UDP", plain(&sctp(OTHER_PORT, TAG, &data_chunk(4))), Answer::Abort.into());
    case("INIT in UDP, port not ours", plain(&sctp(OTHER_PORT, 0, &init_chunk())), Answer::Refused.into());
    case("port 0 in UDP", plain(&sctp(0, TAG, &data_chunk(4))), Drop::PortZero.into());
    let mut wrong = sound.clone();
    wrong[8] ^= 1;
    case("wrong CRC in UDP", plain(&wrong), Drop::Checksum.into());

    let with = |change: &dyn Fn(&mut Vec<u8>)| both(&sound, change);
    case("another UDP port", with(&|udp| udp[3] ^= 1), Pass::Udp.into());
    case("half a UDP header", with(&|udp| udp.truncate(7)), Pass::Udp.into());
    case("UDP length 7", with(&|udp| udp[4..6].copy_from_slice(&[0, 7])), Drop::UdpLength.into());
    case("UDP length too long", with(&|udp| udp[4..6].copy_from_slice(&[4, 0])), Drop::UdpLength.into());
    case("UDP length 8", with(&|udp| udp[4..6].copy_from_slice(&[0, 8])), Drop::ShortHeader.into());
    case("more in IP than in UDP", with(&|udp| udp.extend([1, 2, 3])), ours);
    case("UDP source port 0", with(&|udp| udp[..2].fill(0)), Drop::UdpPortZero.into());
    case("wrong UDP checksum", with(&|udp| udp[6] ^= 1), Drop::UdpChecksum.into());
    case("UDP checksum, last byte", with(&|udp| *udp.last_mut().unwrap() ^= 1), Drop::UdpChecksum.into());
    let [v4, v6] = with(&|udp| udp[6..8].fill(0));
    let [unknown_v4, unknown_v6] = both(&unknown, |udp| udp[6..8].fill(0));
    let [wrong_v4, wrong_v6] = both(&unknown, |udp| udp[6] ^= 1);
    case("wrong UDP checksum, out of the blue", [wrong_v4, wrong_v6], Drop::UdpChecksum.into());

    let mut one = |name, frame: Vec<u8>, verdict: Verdict| frames.push((name, frame, verdict));
    one("no UDP checksum, IPv4", v4, ours);
    one("no UDP checksum, IPv6", v6, Drop::UdpZeroChecksum.into());
    one("no UDP checksum, out of the blue", unknown_v4, Answer::Abort.into());
    one("no UDP checksum, out of the blue, IPv6", unknown_v6, Drop::UdpZeroChecksum.into());
    let (v4, v6) = headers();
    let transit = Ipv4 { destination: FOREIGN_V4, ..v4.clone() };
    one("UDP in transit", transit.frame(&udp(PORTS, &PEER_V4, &FOREIGN_V4, &unknown)), Pass::Transit.into());
    let transit = Ipv6 { destination: FOREIGN_V6, ..v6.clone() };
    one("UDP in transit, IPv6", transit.frame(&udp(PORTS, &PEER_V6, &FOREIGN_V6, &unknown)), Pass::Transit.into());
    let in_udp = udp(PORTS, &PEER_V4, &OURS_V4, &sound);
    one("UDP, QinQ", ethernet(&[0x88a8, 0x8100], 0x0800, &v4.packet(&in_udp)), ours);
    one("UDP, options", Ipv4 { options: vec![1; 40], ..v4.clone() }.frame(&in_udp), ours);
    one("UDP, first fragment", Ipv4 { fragment: 0x2000, ..v4.clone() }.frame(&in_udp[..48]), Drop::Fragment.into());
    one("UDP, last fragment", Ipv4 { fragment: 3, ..v4 }.frame(&in_udp[24..]), Pass::LaterFragment.into());
    let in_udp = udp(PORTS, &PEER_V6, &OURS_V6, &sound);
    one("UDP, extension headers", v6.with(extension::DESTINATION, &options_header(2)).frame(&in_udp), ours);

    let sent = sctp_between(PORT, PEER_PORT, PEER_TAG, &data_chunk(40));
    let sent = udp((UDP_PORT, PEER_UDP_PORT), &OURS_V4, &PEER_V4, &sent);
    let quoted = Ipv4 { source: OURS_V4, destination: PEER_V4, protocol: IPPROTO_UDP, ..Ipv4::default() }.packet(&sent);
    let icmp = |code, quoted: &[u8]| Ipv4 { protocol: 1, ..Ipv4::default() }.frame(&icmp_error(3, code, quoted));
    one("ICMP, port unreachable, quotes UDP", icmp(3, &quoted), Redirect::Icmp.into());
    one("ICMP, too big, quotes UDP", icmp(4, &quoted[..36]), Redirect::Icmp.into());
    one("ICMP quotes too little of UDP", icmp(3, &quoted[..35]), Pass::Icmp.into());
    let mut wrong = quoted.clone();
    wrong[35] ^= 1;
    one("ICMP quotes UDP with a wrong tag", icmp(3, &wrong), Drop::IcmpTag.into());
    let mut other = quoted;
    other[21] ^= 1;
    one("ICMP quotes UDP of others", icmp(3, &other), Pass::Icmp.into());
    frames
}

/// Without an encapsulation port the kernel keeps all UDP.
#[test]
fn without_a_port_all_udp_passes() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let settings = Settings { udp_port: 0, ..Settings::default() };
    let program = Model::new(&settings).program(settings)?;
    for frame in both(&sctp(PORT, TAG, &data_chunk(4)), |_| {}) {
        program.run_expecting(&frame, Pass::Udp.into())?;
    }
    Ok(())
}

/// What is left to userspace is left whole: neither checksum is looked at. A checksum that must be there is missed all the same.
#[test]
fn long_packets_are_left_to_userspace_with_their_udp_checksum() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let settings = Settings { verify_up_to: 60, ..Settings::default() };
    let program = Model::new(&settings).program(settings)?;
    let sent = sctp(PORT, TAG, &data_chunk(100));
    for frame in both(&sent, |udp| udp[6] ^= 1) {
        let outcome = program.run_expecting(&frame, Redirect::Association.into())?;
        let metadata = outcome.rx_metadata().context("no metadata")?;
        ensure!(metadata.checksum() == Checksum::NotChecked && metadata.is_in_udp(), "{metadata:?}");
        let located = metadata.locate(&frame).context("not located")?;
        ensure!(located.udp_source_port == PEER_UDP_PORT && frame[located.sctp] == sent, "{metadata:?}");
    }
    let [_, v6] = both(&sent, |udp| udp[6..8].fill(0));
    program.run_expecting(&v6, Drop::UdpZeroChecksum.into())?;
    Ok(())
}

/// A sender on this machine leaves the UDP checksum to "offload", too.
#[test]
fn udp_checksums_are_not_looked_at_on_a_trusted_link() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let settings = Settings { policy: policy::TRUSTED_LINK, ..Settings::default() };
    let program = Model::new(&settings).program(settings)?;
    for frame in both(&sctp(PORT, TAG, &data_chunk(100)), |udp| udp[6] ^= 1) {
        program.run_expecting(&frame, Redirect::Association.into())?;
    }
    Ok(())
}

/// Every length up to what a test run takes, odd ones too, with right and wrong checksums.
#[test]
fn udp_checksums_of_every_length() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let settings = Settings::default();
    let program = Model::new(&settings).program(settings)?;
    for length in (1..200).chain((200..3300).step_by(61)) {
        let sent = sctp(PORT, TAG, &data_chunk(length));
        for frame in both(&sent, |_| {}) {
            program.run_expecting(&frame, Redirect::Association.into()).with_context(|| format!("{length} bytes"))?;
        }
        // Behind the chunk's header: changes before that have other verdicts.
        for frame in both(&sent, |udp| udp[24 + length % 13] ^= 1 << (length % 8)) {
            program.run_expecting(&frame, Drop::UdpChecksum.into()).with_context(|| format!("{length} bytes"))?;
        }
    }
    Ok(())
}
