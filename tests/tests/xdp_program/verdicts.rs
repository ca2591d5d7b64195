//! Each verdict with each reason, on frames built for it.

use std::collections::HashSet;

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sctp_common::frame::MAX_SCTP_LENGTH;
use sctp_common::maps::policy;
use sctp_common::metadata::Checksum;
use sctp_common::rules::MAX_CHUNKS;
use sctp_common::verdict::AnswerReason as Answer;
use sctp_common::verdict::DropReason as Drop;
use sctp_common::verdict::PassReason as Pass;
use sctp_common::verdict::RedirectReason as Redirect;
use sctp_common::verdict::Verdict;
use sctp_common::wire::{cause, chunk as kind, flags};

use super::answers::answer_to;
use super::frames::*;
use super::headroom::run_without_headroom;
use super::icmp::icmp_frames;
use super::model::Model;
use super::program::{Context, Program, Settings};
use super::udp::udp_frames;

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;

/// SCTP packets to our address, each with its verdict. They hold over IPv4, IPv6 and VLAN tags alike.
fn packets() -> Vec<(&'static str, Vec<u8>, Verdict)> {
    let data = data_chunk(40);
    let abort = |flags| chunk(kind::ABORT, flags, &[]);
    let shutdown_ack = chunk(kind::SHUTDOWN_ACK, 0, &[]);
    let complete = |flags| chunk(kind::SHUTDOWN_COMPLETE, flags, &[]);
    let stale = [&cause::STALE_COOKIE.to_be_bytes()[..], &[0, 8, 0, 0, 0, 1]].concat();
    let mut wrong = sctp(PORT, TAG, &data);
    wrong[8] ^= 1;
    let mut last_byte = sctp(PORT, TAG, &data);
    *last_byte.last_mut().unwrap() ^= 0x80;
    let mut zero = sctp(PORT, TAG, &data);
    zero[8..12].fill(0);

    let mut packets: Vec<(&'static str, Vec<u8>, Verdict)> = Vec::new();
    let mut case = |name, packet: Vec<u8>, verdict: Verdict| packets.push((name, packet, verdict));

    case("DATA", sctp(PORT, TAG, &data), Redirect::Association.into());
    case("DATA, 1 byte", sctp(PORT, TAG, &data_chunk(1)), Redirect::Association.into());
    case(
        "two chunks",
        sctp(PORT, TAG, &[chunk(kind::SACK, 0, &[0; 12]), data.clone()].concat()),
        Redirect::Association.into(),
    );
    case("unknown chunk", sctp(PORT, TAG, &chunk(0xfe, 0, &[1, 2, 3])), Redirect::Association.into());
    case("ABORT", sctp(PORT, TAG, &abort(0)), Redirect::Association.into());
    case("ABORT, T bit", sctp(PORT, PEER_TAG, &abort(flags::T)), Redirect::Association.into());
    case("SHUTDOWN COMPLETE", sctp(PORT, TAG, &complete(0)), Redirect::Association.into());
    case("SHUTDOWN COMPLETE, T bit", sctp(PORT, PEER_TAG, &complete(flags::T)), Redirect::Association.into());
    case(
        "COOKIE ECHO, known tag",
        sctp(PORT, TAG, &chunk(kind::COOKIE_ECHO, 0, &[7; 96])),
        Redirect::Association.into(),
    );
    case("INIT", sctp(PORT, 0, &init_chunk()), Redirect::Init.into());
    case("COOKIE ECHO", sctp(PORT, 77, &chunk(kind::COOKIE_ECHO, 0, &[7; 96])), Redirect::CookieEcho.into());

    case("port not ours", sctp(OTHER_PORT, TAG, &data), Pass::PortNotOwned.into());

    case("no common header", vec![0x13, 0x89, 0x96, 0x0c, 0, 0, 0, 1, 0, 0, 0], Drop::ShortHeader.into());
    case("destination port 0", sctp(0, TAG, &data), Drop::PortZero.into());
    case("source port 0", sctp_between(0, PORT, TAG, &data), Drop::PortZero.into());
    case("no chunk", sctp(PORT, TAG, &[]), Drop::NoChunk.into());
    case("half a chunk header", sctp(PORT, TAG, &[0, 3]), Drop::ChunkHeader.into());
    for length in 0..4 {
        case("chunk length 0 to 3", sctp(PORT, TAG, &[0, 3, 0, length, 0, 0, 0, 0]), Drop::ChunkLength.into());
    }
    case("chunk beyond the end", sctp(PORT, TAG, &[4, 0, 0, 9, 0, 0, 0, 0]), Drop::ChunkTruncated.into());
    case("padding beyond the end", sctp(PORT, TAG, &[4, 0, 0, 5, 0]), Drop::ChunkPadding.into());
    case("tag 0", sctp(PORT, 0, &data), Drop::ZeroTag.into());
    case("INIT with a tag", sctp(PORT, TAG, &init_chunk()), Drop::InitTag.into());
    case("INIT and DATA", sctp(PORT, 0, &[init_chunk(), data.clone()].concat()), Drop::InitBundled.into());
    case("INIT, nobody listens", sctp(QUIET_PORT, 0, &init_chunk()), Answer::Refused.into());
    case("INIT without a tag, nobody listens", sctp(QUIET_PORT, 0, &init_naming(0)), Drop::NotListening.into());
    case("short INIT, nobody listens", sctp(QUIET_PORT, 0, &chunk(kind::INIT, 0, &[])), Drop::NotListening.into());
    case("INIT of a peer", sctp_between(BOUND_PORT, QUIET_PORT, 0, &init_chunk()), Redirect::Init.into());
    case("wrong tag of a peer", sctp_between(BOUND_PORT, PORT, 77, &data), Drop::BadTag.into());
    case("ABORT of a peer, wrong tag", sctp_between(BOUND_PORT, PORT, 77, &abort(0)), Drop::OotbAbort.into());
    case("SHUTDOWN ACK of a peer", sctp_between(BOUND_PORT, PORT, 77, &shutdown_ack), Redirect::ShutdownAck.into());
    let behind = |flags| [chunk(kind::SACK, 0, &[0; 12]), abort(flags)].concat();
    case("ABORT behind, T bit", sctp(PORT, PEER_TAG, &behind(flags::T)), Redirect::Association.into());
    case("ABORT behind, no T bit", sctp(PORT, PEER_TAG, &behind(0)), Drop::OotbAbort.into());
    case("ABORT behind, T bit, other tag", sctp(PORT, 77, &behind(flags::T)), Drop::OotbAbort.into());
    case("wrong tag", sctp(PORT, TAG + 1, &data), Answer::Abort.into());
    case("tag of another port", sctp(QUIET_PORT, TAG, &data), Answer::Abort.into());
    case("peer's tag without T", sctp(PORT, PEER_TAG, &data), Answer::Abort.into());
    case("ABORT, unknown tag", sctp(PORT, 77, &abort(0)), Drop::OotbAbort.into());
    case("ABORT, T bit, own tag", sctp(PORT, TAG, &abort(flags::T)), Drop::OotbAbort.into());
    case("SHUTDOWN ACK", sctp(PORT, 77, &shutdown_ack), Answer::ShutdownComplete.into());
    case("SHUTDOWN ACK behind", sctp(PORT, 77, &[&data[..], &shutdown_ack].concat()), Answer::ShutdownComplete.into());
    case("ABORT behind", sctp(PORT, 77, &[data.clone(), abort(0)].concat()), Drop::OotbAbort.into());
    case("half a chunk behind", sctp(PORT, 77, &[&data[..], &[3, 0, 0, 16]].concat()), Drop::OotbUnreadable.into());
    case("many chunks", sctp(PORT, 77, &shutdown_ack.repeat(MAX_CHUNKS)), Answer::ShutdownComplete.into());
    case("too many chunks", sctp(PORT, 77, &shutdown_ack.repeat(MAX_CHUNKS + 1)), Drop::OotbUnreadable.into());
    case("SHUTDOWN COMPLETE, unknown tag", sctp(PORT, 77, &complete(flags::T)), Drop::OotbShutdownComplete.into());
    case("COOKIE ACK", sctp(PORT, 77, &chunk(kind::COOKIE_ACK, 0, &[])), Drop::OotbCookieAck.into());
    case("ERROR, stale cookie", sctp(PORT, 77, &chunk(kind::ERROR, 0, &stale)), Drop::OotbCookieAck.into());
    let stream = chunk(kind::ERROR, 0, &[0, 1, 0, 8, 0, 7, 0, 0]);
    case("ERROR, invalid stream", sctp(PORT, 77, &stream), Answer::Abort.into());
    let two = chunk(kind::ERROR, 0, &[&[0, 1, 0, 8, 0, 7, 0, 0], &stale[..]].concat());
    case("ERROR, two causes", sctp(PORT, 77, &two), Drop::OotbUnreadable.into());
    let last = [chunk(kind::SACK, 0, &[0; 12]), complete(0)].concat();
    case("SHUTDOWN COMPLETE behind", sctp(PORT, 77, &last), Drop::OotbShutdownComplete.into());
    let last = [chunk(kind::SACK, 0, &[0; 12]), chunk(kind::COOKIE_ACK, 0, &[])].concat();
    case("COOKIE ACK behind", sctp(PORT, 77, &last), Drop::OotbCookieAck.into());
    case("checksum wrong", wrong, Drop::Checksum.into());
    case("last byte wrong", last_byte, Drop::Checksum.into());
    let mut nobodys = sctp(PORT, 77, &data);
    nobodys[8] ^= 1;
    case("checksum wrong, out of the blue", nobodys.clone(), Drop::Checksum.into());
    nobodys[8..12].fill(0);
    case("checksum zero, out of the blue", nobodys, Drop::ZeroChecksum.into());
    case("checksum zero", zero, Drop::ZeroChecksum.into());
    packets
}

/// Whole frames for what lies below SCTP, each with its verdict.
fn frames() -> Vec<(&'static str, Vec<u8>, Verdict)> {
    let sound = sctp(PORT, TAG, &data_chunk(40));
    let v4 = Ipv4::default();
    let v6 = Ipv6::default();
    let ipv4_with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut packet = v4.packet(&sound);
        change(&mut packet);
        repair_ipv4_checksum(&mut packet);
        ethernet(&[], 0x0800, &packet)
    };
    let ipv6_with = |at: usize, value: u8| {
        let mut packet = v6.packet(&sound);
        packet[at] = value;
        ethernet(&[], 0x86dd, &packet)
    };
    let options = |length: u8| (1..=length).collect::<Vec<u8>>();
    let chain = |count: usize| {
        let headers = (0..count).map(|_| (extension::DESTINATION, options_header(0)));
        Ipv6 { extensions: headers.collect(), ..Ipv6::default() }
    };
    let fragment = |offset, more| Ipv6::default().with(extension::FRAGMENT, &fragment_header(offset, more));
    let routing = |left| Ipv6::default().with(extension::ROUTING, &[0, 0, 4, left, 0, 0, 0, 0]);
    let mut wrong_header_sum = v4.frame(&sound);
    wrong_header_sum[24] ^= 1;
    let mut cut = v4.frame(&sound);
    cut.pop();
    let mut multicast_v6 = PEER_V6;
    multicast_v6[0] = 0xff;

    let mut frames: Vec<(&'static str, Vec<u8>, Verdict)> = Vec::new();
    let mut case = |name, frame: Vec<u8>, verdict: Verdict| frames.push((name, frame, verdict));
    let ours = Verdict::from(Redirect::Association);

    case("ARP", ethernet(&[], 0x0806, &[0; 28]), Pass::NotSctp.into());
    case("UDP", Ipv4 { protocol: 17, ..v4.clone() }.frame(&sound), Pass::Udp.into());
    case("TCP", Ipv4 { protocol: 6, ..v4.clone() }.frame(&sound), Pass::NotSctp.into());
    case("ICMPv6", Ipv6 { upper: 58, ..v6.clone() }.frame(&sound), Pass::Icmp.into());
    case("three VLAN tags", ethernet(&[0x8100; 3], 0x0800, &v4.packet(&sound)), Pass::NotSctp.into());
    case("AH", v6.clone().with(extension::AUTHENTICATION, &[0; 8]).frame(&sound), Pass::NotSctp.into());

    case("IPv4, version 5", ipv4_with(&|packet| packet[0] = 0x55), Drop::IpVersion.into());
    case("IPv6, version 5", ipv6_with(0, 0x50), Drop::IpVersion.into());
    case("IHL 4", ipv4_with(&|packet| packet[0] = 0x44), Drop::IpHeaderLength.into());
    case("total length 19", ipv4_with(&|packet| packet[2..4].copy_from_slice(&[0, 19])), Drop::IpLength.into());
    case("total length too long", ipv4_with(&|packet| packet[2..4].copy_from_slice(&[4, 0])), Drop::Truncated.into());
    case("payload length too long", ipv6_with(4, 1), Drop::Truncated.into());
    case("frame cut", cut, Drop::Truncated.into());
    case("IPv4 header checksum", wrong_header_sum, Drop::IpChecksum.into());

    for length in (0..=40).step_by(4) {
        case("IPv4 options", Ipv4 { options: options(length), ..v4.clone() }.frame(&sound), ours);
    }
    case("IPv4 fragment, first", Ipv4 { fragment: 0x2000, ..v4.clone() }.frame(&sound), Drop::Fragment.into());
    case("IPv4 fragment, middle", Ipv4 { fragment: 0x2003, ..v4.clone() }.frame(&sound), Pass::LaterFragment.into());
    case("IPv4 fragment, last", Ipv4 { fragment: 0x0003, ..v4.clone() }.frame(&sound), Pass::LaterFragment.into());

    case("IPv6 fragment, first", fragment(0, true).frame(&sound), Drop::Fragment.into());
    case("IPv6 fragment, last", fragment(3, false).frame(&sound), Pass::LaterFragment.into());
    case("IPv6 fragment, atomic", fragment(0, false).frame(&sound), ours);
    case("IPv6 way-point", routing(1).frame(&sound), Pass::SourceRouted.into());
    case("IPv6 end of the route", routing(0).frame(&sound), ours);
    case("IPv6 hop by hop", v6.clone().with(extension::HOP_BY_HOP, &options_header(3)).frame(&sound), ours);
    case("IPv6, six extension headers", chain(6).frame(&sound), ours);
    case("IPv6, seven extension headers", chain(7).frame(&sound), Pass::ExtensionHeaders.into());

    let to_v4 = |destination| Ipv4 { destination, ..Ipv4::default() };
    let to_v6 = |destination| Ipv6 { destination, ..Ipv6::default() };
    let unknown = sctp(PORT, 77, &data_chunk(40));
    let init = sctp(PORT, 0, &init_chunk());
    case("IPv4 transit", to_v4(FOREIGN_V4).frame(&unknown), Pass::Transit.into());
    case("IPv6 transit", to_v6(FOREIGN_V6).frame(&unknown), Pass::Transit.into());
    case("INIT in transit", to_v4(FOREIGN_V4).frame(&init), Pass::Transit.into());
    case("known tag, other address", to_v4(FOREIGN_V4).frame(&sound), ours);
    case("broken in transit", to_v4(FOREIGN_V4).frame(&sctp(PORT, 0, &[])), Pass::Transit.into());
    case("to a group", to_v4([224, 0, 0, 1]).frame(&init), Drop::NonUnicast.into());
    case("from a group", Ipv4 { source: [224, 0, 0, 1], ..v4.clone() }.frame(&init), Drop::NonUnicast.into());
    case("from an IPv6 group", Ipv6 { source: multicast_v6, ..v6.clone() }.frame(&init), Drop::NonUnicast.into());
    frames
}

fn check(program: &Program, name: &str, frame: &[u8], expected: Verdict) -> Result<()> {
    let outcome = program.run(frame).with_context(|| name.to_owned())?;
    ensure!(outcome.verdict == expected, "{name}: {:?} instead of {expected:?}", outcome.verdict);
    let action = match expected {
        Verdict::Pass(_) => XDP_PASS,
        Verdict::Drop(_) => XDP_DROP,
        Verdict::Redirect(_) => XDP_REDIRECT,
        Verdict::Answer(_) => XDP_TX,
    };
    ensure!(outcome.action == action, "{name}: returned {} instead of {action}", outcome.action);
    let left = match expected {
        Verdict::Answer(reason) => answer_to(frame, reason)?,
        _ => frame.to_vec(),
    };
    ensure!(outcome.frame == left, "{name}: left {:02x?} instead of {left:02x?}", outcome.frame);
    let has_metadata = outcome.rx_metadata().is_some();
    ensure!(has_metadata == (action == XDP_REDIRECT), "{name}: metadata {:?}", outcome.metadata);
    Ok(())
}

/// All frames with their verdicts: the packets over each way to carry them, and what lies below.
fn all() -> Vec<(String, Vec<u8>, Verdict)> {
    let mut all = Vec::new();
    for (name, packet, verdict) in packets() {
        let (v4, v6) = (Ipv4::default().packet(&packet), Ipv6::default().packet(&packet));
        all.push((format!("{name}, IPv4"), ethernet(&[], 0x0800, &v4), verdict));
        all.push((format!("{name}, IPv6"), ethernet(&[], 0x86dd, &v6), verdict));
        all.push((format!("{name}, IPv4, VLAN"), ethernet(&[0x8100], 0x0800, &v4), verdict));
        all.push((format!("{name}, IPv6, VLAN"), ethernet(&[0x8100], 0x86dd, &v6), verdict));
        all.push((format!("{name}, IPv4, QinQ"), ethernet(&[0x88a8, 0x8100], 0x0800, &v4), verdict));
        all.push((format!("{name}, IPv6, QinQ"), ethernet(&[0x88a8, 0x8100], 0x86dd, &v6), verdict));
    }
    all.extend(
        frames()
            .into_iter()
            .chain(icmp_frames())
            .chain(udp_frames())
            .map(|(name, frame, verdict)| (name.to_owned(), frame, verdict)),
    );
    all
}

#[test]
fn every_verdict_and_every_reason() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let settings = Settings::default();
    let program = Model::new(&settings).program(settings)?;
    let mut seen = HashSet::new();
    for (name, frame, expected) in all() {
        check(&program, &name, &frame, expected)?;
        seen.insert(expected);
    }
    // Some have tests of their own, below, in `answers`, `cookies` and `inits`, since they are not about the frame. One needs a frame longer
    // than a test run takes; the rule is tested in `sctp_common`. One needs a driver whose frames cannot be cut.
    seen.extend([Drop::NoSocket, Drop::NoMetadata, Drop::TooLong].map(Verdict::from));
    seen.extend([Verdict::from(Pass::Fragment), Answer::HeartbeatAck.into(), Redirect::ToBeAnswered.into()]);
    seen.extend([Drop::BadCookie, Drop::StaleCookie, Drop::InitRate].map(Verdict::from));
    seen.insert(Answer::InitAck.into());
    seen.extend([Drop::OutOfTheBlue, Drop::OotbShutdownAck, Drop::AnswerRate, Drop::NoAnswer].map(Verdict::from));
    let unseen: Vec<_> = Verdict::all().filter(|verdict| !seen.contains(verdict)).collect();
    ensure!(unseen.is_empty(), "no frame of this test has the verdicts {unseen:?}");
    Ok(())
}

/// The same rules in userspace say the same, so the cases above also guard the model that the differential test trusts.
#[test]
fn the_model_agrees() {
    let model = Model::new(&Settings::default());
    for (name, frame, expected) in all() {
        assert_eq!(model.judge(&frame).0, expected, "{name}");
    }
}

#[test]
fn metadata_describes_the_frame() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let settings = Settings::default();
    let model = Model::new(&settings);
    let program = model.program(settings)?;
    let mut redirected = 0;
    for (name, frame, _) in all() {
        let (verdict, Some((_, expected))) = model.judge(&frame) else { continue };
        if verdict == Redirect::Icmp.into() {
            continue;
        }
        let metadata = program.run(&frame)?.rx_metadata().with_context(|| format!("{name}: no metadata"))?;
        ensure!(metadata == expected, "{name}: {metadata:?} instead of {expected:?}");
        ensure!(metadata.checksum() == Checksum::Verified, "{name}: {metadata:?}");
        let located = metadata.locate(&frame).with_context(|| format!("{name}: {metadata:?} is outside"))?;
        let verified = crc32c::crc32c(&without_checksum(&frame[located.sctp.clone()])).to_le_bytes();
        ensure!(frame[located.sctp][8..12] == verified, "{name}: located something else");
        redirected += 1;
    }
    ensure!(redirected > 60, "only {redirected} frames were redirected");
    Ok(())
}

fn without_checksum(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[8..12].fill(0);
    packet
}

#[test]
fn metadata_of_others_makes_way() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let settings = Settings::default();
    let program = Model::new(&settings).program(settings)?;
    let frame = Ipv4::default().frame(&sctp(PORT, TAG, &data_chunk(40)));
    for others in [4, 8, 16, 32] {
        let input = [vec![0xaa; others], frame.clone()].concat();
        let outcome = program.run_with(&input, others, &Context::default())?;
        ensure!(outcome.metadata.len() == 16, "{others} bytes of others: {:?}", outcome.metadata);
        ensure!(outcome.rx_metadata().is_some() && outcome.frame == frame, "{others} bytes of others: {outcome:?}");
    }
    Ok(())
}

#[test]
fn a_checksum_of_zero_is_accepted_on_a_trusted_link() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let settings = Settings { policy: policy::TRUSTED_LINK, ..Settings::default() };
    let program = Model::new(&settings).program(settings)?;
    let mut packet = sctp(PORT, TAG, &data_chunk(40));
    packet[8..12].fill(0);
    let outcome = program.run(&Ipv4::default().frame(&packet))?;
    ensure!(outcome.verdict == Redirect::Association.into(), "{outcome:?}");
    let checksum = outcome.rx_metadata().map(|metadata| metadata.checksum());
    ensure!(checksum == Some(Checksum::Trusted), "{checksum:?}");
    packet[8] = 1;
    check(&program, "wrong, not zero", &Ipv4::default().frame(&packet), Drop::Checksum.into())
}

/// Not verified means marked as not verified: never dropped for it, never taken for verified.
#[test]
fn long_packets_are_left_to_userspace_where_it_is_told_to_verify_them() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    // A DATA chunk with this much payload makes an SCTP packet of 256 bytes.
    const FITS: usize = 256 - 28;
    // The policies, and the longest payload that each verifies.
    for (verify_up_to, verified) in [(u32::MAX, usize::MAX), (256, FITS), (0, 0)] {
        let settings = Settings { verify_up_to, ..Settings::default() };
        let program = Model::new(&settings).program(settings)?;
        for length in [1, 64, FITS, FITS + 1, 1372] {
            let expected = if length <= verified { Checksum::Verified } else { Checksum::NotChecked };
            let mut packet = sctp(PORT, TAG, &data_chunk(length));
            let marked = |packet: &[u8]| -> Result<Option<Checksum>> {
                let outcome = program.run(&Ipv4::default().frame(packet))?;
                Ok(outcome.rx_metadata().map(|metadata| metadata.checksum()))
            };
            let sound = marked(&packet)?;
            ensure!(sound == Some(expected), "{length} bytes, limit {verify_up_to}: {sound:?}");
            packet[8] ^= 1;
            let broken = marked(&packet)?;
            let expected = (length > verified).then_some(Checksum::NotChecked);
            ensure!(broken == expected, "{length} bytes, broken, limit {verify_up_to}: {broken:?}");
        }
        let mut zero = sctp(PORT, TAG, &data_chunk(1372));
        zero[8..12].fill(0);
        check(&program, "zero", &Ipv4::default().frame(&zero), Drop::ZeroChecksum.into())?;
    }
    Ok(())
}

#[test]
fn without_a_socket_the_packet_is_dropped_by_name() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let mut program = Program::load(Settings::default())?;
    program.own_port(PORT, true)?;
    program.add_address(our_addresses()[0])?;
    let outcome = program.run(&Ipv4::default().frame(&sctp(PORT, 0, &init_chunk())))?;
    ensure!(outcome.verdict == Drop::NoSocket.into() && outcome.action == XDP_DROP, "{outcome:?}");
    Ok(())
}

#[test]
fn rare_events_are_logged_now_and_then_or_never() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    for (log_level, expected) in [(0, 0..=0), (1, 0..=0), (2, 1..=10)] {
        let mut program = Program::load(Settings { log_level, ..Settings::default() })?;
        program.own_port(PORT, true)?;
        program.add_address(our_addresses()[0])?;
        let frame = Ipv4::default().frame(&sctp(PORT, 0, &init_chunk()));
        for _ in 0..100 {
            program.run(&frame)?;
        }
        let logged = program.logged()?;
        ensure!(expected.contains(&logged), "log level {log_level}: {logged} records of 100 events");
    }
    Ok(())
}

#[test]
fn without_room_for_metadata_the_packet_is_dropped_by_name_or_redirected_without() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let frame = Ipv4::default().frame(&sctp(PORT, TAG, &data_chunk(40)));
    let cases = [
        (0, XDP_DROP, Verdict::from(Drop::NoMetadata)),
        (policy::WITHOUT_METADATA, XDP_REDIRECT, Verdict::from(Redirect::Association)),
    ];
    for (policy, action, verdict) in cases {
        let settings = Settings { policy, ..Settings::default() };
        let program = Model::new(&settings).program(settings)?;
        let returned = run_without_headroom(&program, &frame)?;
        let counted = program.counted()?;
        ensure!(counted == verdict && returned == action, "policy {policy}: {counted:?}, returned {returned}");
    }
    Ok(())
}

/// Test runs take frames up to about a page, so the length is only claimed where it exceeds that: what is longer than the
/// program verifies is dropped before it is read.
#[test]
fn long_packets() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let settings = Settings::default();
    let program = Model::new(&settings).program(settings)?;
    for length in [1, 3, 500, 1000, 1371, 1372, 1373, 2999, 3400] {
        let frame = Ipv4::default().frame(&sctp(PORT, TAG, &data_chunk(length)));
        check(&program, "long packet", &frame, Redirect::Association.into())?;
        let mut broken = frame.clone();
        let last = broken.len() - 1 - (length % 4);
        broken[last] ^= 1;
        let verdict = program.run(&broken)?.verdict;
        ensure!(verdict == Drop::Checksum.into(), "{length} bytes, broken at {last}: {verdict:?}");
    }
    let too_long = Ipv4::default().packet(&vec![0; MAX_SCTP_LENGTH + 1]);
    check(&program, "claims too much", &ethernet(&[], 0x0800, &too_long[..1000]), Drop::Truncated.into())
}

/// Every length of packet that fits a test run, of random bytes: sound, and with one bit changed anywhere.
#[test]
fn checksums_of_every_length() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let settings = Settings::default();
    let program = Model::new(&settings).program(settings)?;
    let mut generator = StdRng::seed_from_u64(9260);
    for length in 0..=LONGEST_PAYLOAD {
        let payload: Vec<u8> = (0..length).map(|_| generator.random()).collect();
        let mut packet = sctp(PORT, TAG, &chunk(kind::DATA, 3, &payload));
        let carrier = Ipv4 { options: vec![1; length % 11 * 4], ..Ipv4::default() };
        let sound = program.run_expecting(&carrier.frame(&packet), Redirect::Association.into())?;
        ensure!(sound.action == XDP_REDIRECT, "{length} bytes: {sound:?}");
        // Not the port, the tag, the chunk's header: changes there have other verdicts.
        let bit = generator.random_range(16 * 8..=packet.len() * 8);
        let (byte, mask) = if bit == packet.len() * 8 { (8, 1) } else { (bit / 8, 1 << (bit % 8)) };
        packet[byte] ^= mask;
        let broken = program.run_expecting(&carrier.frame(&packet), Drop::Checksum.into())?;
        ensure!(broken.action == XDP_DROP, "{length} bytes, bit {bit} changed: {broken:?}");
    }
    Ok(())
}

/// A test run takes a page less headroom, the room behind the frame and the headers of these packets.
const LONGEST_PAYLOAD: usize = 3400;

/// Every CPU remembers an address of ours, but no longer than it is one.
#[test]
fn an_address_that_is_removed_is_forgotten() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let settings = Settings::default();
    let mut program = Model::new(&settings).program(settings)?;
    let frames =
        [Ipv4::default().frame(&sctp(PORT, 0, &init_chunk())), Ipv6::default().frame(&sctp(PORT, 0, &init_chunk()))];
    let [v4, v6] = our_addresses();
    let judge =
        |program: &Program| frames.iter().map(|frame| Ok(program.run(frame)?.verdict)).collect::<Result<Vec<_>>>();
    let ours = Verdict::from(Redirect::Init);
    let others = Verdict::from(Pass::Transit);
    // More than once: in turns, and from memory.
    for _ in 0..3 {
        ensure!(judge(&program)? == [ours, ours]);
    }
    program.remove_address(v6)?;
    ensure!(judge(&program)? == [ours, others]);
    ensure!(program.run(&frames[0])?.verdict == ours && program.run(&frames[0])?.verdict == ours);
    program.remove_address(v4)?;
    ensure!(judge(&program)? == [others, others]);
    program.add_address(v4)?;
    ensure!(judge(&program)? == [ours, others]);
    Ok(())
}
