//! ICMP errors that quote packets of ours (RFC 9260 §10), and fragments.

use anyhow::{Context as _, Result, ensure};
use sctp_common::maps::policy;
use sctp_common::metadata::Checksum;
use sctp_common::verdict::DropReason as Drop;
use sctp_common::verdict::PassReason as Pass;
use sctp_common::verdict::RedirectReason as Redirect;
use sctp_common::verdict::Verdict;
use sctp_common::wire::IPPROTO_SCTP;

use super::frames::*;
use super::model::Model;
use super::program::Settings;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// A packet of ours over IPv4 and over IPv6, as a router quotes it.
fn sent(packet: &[u8]) -> [Vec<u8>; 2] {
    let v4 = Ipv4 { source: OURS_V4, destination: PEER_V4, ..Ipv4::default() };
    let v6 = Ipv6 { source: OURS_V6, destination: PEER_V6, ..Ipv6::default() };
    [v4.packet(packet), v6.packet(packet)]
}

fn over_v4(kind: u8, code: u8, quoted: &[u8]) -> Vec<u8> {
    Ipv4 { protocol: ICMP, ..Ipv4::default() }.frame(&icmp_error(kind, code, quoted))
}

fn over_v6(kind: u8, code: u8, quoted: &[u8]) -> Vec<u8> {
    Ipv6 { upper: ICMPV6, ..Ipv6::default() }.frame(&icmp_error(kind, code, quoted))
}

/// Frames with ICMP inside, each with its verdict.
pub(crate) fn icmp_frames() -> Vec<(&'static str, Vec<u8>, Verdict)> {
    let [v4, v6] = sent(&sctp_between(PORT, PEER_PORT, PEER_TAG, &data_chunk(40)));
    let [init_v4, init_v6] = sent(&sctp_between(PORT, PEER_PORT, 0, &init_naming(TAG)));
    let [wrong_v4, wrong_v6] = sent(&sctp_between(PORT, PEER_PORT, PEER_TAG ^ 1, &data_chunk(40)));
    let [other_v4, _] = sent(&sctp_between(OTHER_PORT, PEER_PORT, PEER_TAG, &data_chunk(40)));
    let udp = Ipv4 { protocol: 17, ..Ipv4::default() }.packet(&[0; 30]);
    let options = Ipv4 { protocol: ICMP, options: vec![1; 12], ..Ipv4::default() };
    let quoted_options = Ipv4 { source: OURS_V4, options: vec![1; 40], ..Ipv4::default() };
    let quoted_options = quoted_options.packet(&sctp_between(PORT, PEER_PORT, PEER_TAG, &data_chunk(4)));
    let tagged =
        ethernet(&[0x88a8, 0x8100], 0x0800, &Ipv4 { protocol: ICMP, ..Ipv4::default() }.packet(&icmp_error(3, 4, &v4)));
    let transit = Ipv4 { protocol: ICMP, destination: FOREIGN_V4, ..Ipv4::default() };
    let fragment = Ipv4 { protocol: ICMP, fragment: 0x2000, ..Ipv4::default() };
    let later = Ipv4 { source: OURS_V4, fragment: 3, ..Ipv4::default() };
    let later = later.packet(&sctp_between(PORT, PEER_PORT, PEER_TAG, &data_chunk(40)));
    let icmpv6 = Ipv6 { upper: ICMPV6, ..Ipv6::default() };
    let extended = icmpv6.clone().with(extension::HOP_BY_HOP, &options_header(0));
    let extended = extended.with(extension::FRAGMENT, &fragment_header(0, false));
    let broken = icmpv6.with(extension::FRAGMENT, &fragment_header(0, true));
    let ours = Verdict::from(Redirect::Icmp);
    let ignored = Verdict::from(Pass::Icmp);
    let unknown = Verdict::from(Drop::IcmpTag);
    vec![
        ("fragmentation needed", over_v4(3, 4, &v4), ours),
        ("fragmentation needed, eight bytes", over_v4(3, 4, &v4[..28]), ours),
        ("fragmentation needed, seven bytes", over_v4(3, 4, &v4[..27]), ignored),
        ("fragmentation needed, QinQ", tagged, ours),
        ("fragmentation needed, options outside", options.frame(&icmp_error(3, 4, &v4)), ours),
        ("fragmentation needed, options inside", over_v4(3, 4, &quoted_options), ours),
        ("packet too big, extension headers outside", extended.frame(&icmp_error(2, 0, &v6)), ours),
        ("packet too big, the first fragment of it", broken.frame(&icmp_error(2, 0, &v6)), ignored),
        ("protocol unreachable", over_v4(3, 2, &v4), ours),
        ("host unreachable, INIT", over_v4(3, 1, &init_v4), ours),
        ("host unreachable, INIT cut", over_v4(3, 1, &init_v4[..39]), unknown),
        ("host unreachable, wrong tag", over_v4(3, 1, &wrong_v4), unknown),
        ("host unreachable, port not ours", over_v4(3, 1, &other_v4), ignored),
        ("host unreachable, UDP", over_v4(3, 1, &udp), ignored),
        ("host unreachable, later fragment", over_v4(3, 1, &later), ignored),
        ("port unreachable", over_v4(3, 3, &v4), ignored),
        ("echo request", over_v4(8, 0, &v4), ignored),
        ("time exceeded", over_v4(11, 0, &v4), ignored),
        ("wrong tag in transit", transit.frame(&icmp_error(3, 1, &wrong_v4)), ignored),
        ("our tag in transit", transit.frame(&icmp_error(3, 1, &v4)), ours),
        ("fragment of an ICMP message", fragment.frame(&icmp_error(3, 1, &v4)), ignored),
        ("packet too big", over_v6(2, 0, &v6), ours),
        ("no route, ICMPv6", over_v6(1, 0, &v6), ours),
        ("unrecognized next header", over_v6(4, 1, &v6), ours),
        ("erroneous header field", over_v6(4, 0, &v6), ignored),
        ("port unreachable, ICMPv6", over_v6(1, 4, &v6), ignored),
        ("echo request, ICMPv6", over_v6(128, 0, &v6), ignored),
        ("no route, INIT, ICMPv6", over_v6(1, 0, &init_v6), ours),
        ("no route, wrong tag, ICMPv6", over_v6(1, 0, &wrong_v6), unknown),
        ("ICMP quotes IPv6", over_v4(3, 4, &v6), ignored),
        ("neighbour solicitation", over_v6(135, 0, &[0; 24]), ignored),
    ]
}

#[test]
fn metadata_leads_to_the_quoted_packet() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let settings = Settings::default();
    let model = Model::new(&settings);
    let program = model.program(settings)?;
    for (name, frame, verdict) in icmp_frames() {
        let outcome = program.run(&frame)?;
        ensure!(outcome.verdict == verdict && outcome.frame == frame, "{name}: {outcome:?}");
        if verdict != Redirect::Icmp.into() {
            continue;
        }
        let metadata = outcome.rx_metadata().with_context(|| format!("{name}: no metadata"))?;
        ensure!(metadata.is_icmp() && metadata.checksum() == Checksum::NotChecked, "{name}: {metadata:?}");
        ensure!(metadata.association() == Some((11, 22)), "{name}: {metadata:?}");
        ensure!(frame[metadata.sctp_offset()..][..2] == PORT.to_be_bytes(), "{name}: {metadata:?}");
    }
    Ok(())
}

/// A first fragment for us is dropped, or left to the kernel by order; one for others passes in any case.
#[test]
fn fragments_pass_by_order() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let packet = sctp(PORT, TAG, &data_chunk(40));
    let v4 = Ipv4 { fragment: 0x2000, ..Ipv4::default() };
    let frames = [
        v4.frame(&packet),
        Ipv4 { options: vec![1; 8], ..v4.clone() }.frame(&packet),
        Ipv6::default().with(extension::FRAGMENT, &fragment_header(0, true)).frame(&packet),
        ethernet(&[0x88a8, 0x8100], 0x0800, &v4.packet(&packet)),
    ];
    let others = Ipv4 { destination: FOREIGN_V4, protocol: IPPROTO_SCTP, ..v4 }.frame(&packet);
    for (policy, expected) in [(0, Verdict::from(Drop::Fragment)), (policy::PASS_FRAGMENTS, Pass::Fragment.into())] {
        let settings = Settings { policy, ..Settings::default() };
        let program = Model::new(&settings).program(settings)?;
        for frame in &frames {
            let outcome = program.run(frame)?;
            ensure!(outcome.verdict == expected && outcome.frame == *frame, "{outcome:?}");
        }
        ensure!(program.run(&others)?.verdict == Pass::Transit.into(), "a fragment in transit");
    }
    Ok(())
}
