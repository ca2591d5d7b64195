//! The program and the same rules in userspace, on thousands of frames that differ from sound ones in a few places.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sctp_common::maps::policy;
use sctp_common::verdict::Verdict;
use sctp_common::wire::chunk as kind;

use super::answers::answer_to;
use super::frames::*;
use super::model::Model;
use super::program::{Program, Settings};
use super::udp::{PEER_UDP_PORT, UDP_PORT, udp};

const FRAMES: usize = 102_000;

/// Any number will do; a failure prints the frame itself.
const SEED: u64 = 0x5c7b_2026;

#[test]
fn mutated_frames_are_judged_alike() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let mut generator = StdRng::seed_from_u64(SEED);
    let mut seen: HashMap<Verdict, usize> = HashMap::new();
    for (policy, verify_up_to) in [
        (0, u32::MAX),
        (policy::TRUSTED_LINK | policy::ANSWER_HEARTBEATS, 256),
        (policy::SILENT | policy::PASS_FRAGMENTS, 0),
        (policy::WORKERS_ANSWER, 256),
    ] {
        let settings = Settings { workers: 3, policy, verify_up_to, ..Settings::default() };
        let model = Model::new(&settings);
        let program = model.program(settings)?;
        for _ in 0..FRAMES / 4 {
            let frame = mutated(&mut generator);
            let expected = judged_alike(&model, &program, &frame)?;
            *seen.entry(expected).or_default() += 1;
        }
        // Every frame has raised the counter that it should; if that is all there is, no frame has raised another.
        ensure!(program.total()? == FRAMES as u64 / 4, "some frame was counted twice");
    }
    let mut seen: Vec<_> = seen.into_iter().collect();
    seen.sort_by_key(|(verdict, _)| verdict.index());
    for (verdict, count) in &seen {
        println!("{:>6} {} {}", count, verdict.action(), verdict.name());
    }
    ensure!(seen.len() > 25, "the frames reach only {} verdicts", seen.len());
    Ok(())
}

/// Has the program judge `frame`, and fails unless verdict, counter, metadata and answer are those of `model`, byte for byte.
/// The verdict that both have come to.
pub(crate) fn judged_alike(model: &Model, program: &Program, frame: &[u8]) -> Result<Verdict> {
    let (expected, details) = model.judge(frame);
    let outcome = program.run_expecting(frame, expected).context("the program has it otherwise than userspace")?;
    let metadata = details.map(|(_, metadata)| metadata);
    ensure!(outcome.rx_metadata() == metadata, "metadata {:?}: {frame:02x?}", outcome.metadata);
    if let Verdict::Answer(reason) = expected {
        ensure!(outcome.frame == answer_to(frame, reason)?, "answer {:02x?} to {frame:02x?}", outcome.frame);
    } else {
        ensure!(outcome.frame == frame, "the program changed the frame: {frame:02x?}");
    }
    Ok(expected)
}

/// A frame that was sound, with zero to three mutations. Checksums are mostly repaired afterwards, or nothing would get
/// past them.
fn mutated(generator: &mut StdRng) -> Vec<u8> {
    let mut sctp = packet(generator);
    for _ in 0..generator.random_range(0..=2) {
        mutate(&mut sctp, 64, generator);
    }
    if sctp.len() >= 12 {
        match generator.random_range(0..10) {
            0 => {}
            1 => sctp[8..12].fill(0),
            _ => {
                sctp[8..12].fill(0);
                let crc = crc32c::crc32c(&sctp);
                sctp[8..12].copy_from_slice(&crc.to_le_bytes());
            }
        }
    }
    let is_ipv4 = generator.random();
    if generator.random_ratio(1, 10) {
        return quoting(is_ipv4, generator);
    }
    let mut ip = match (is_ipv4, generator.random_ratio(1, 4)) {
        (true, false) => ipv4(generator).packet(&sctp),
        (false, false) => ipv6(generator).packet(&sctp),
        (true, true) => {
            let header = Ipv4 { protocol: 17, ..ipv4(generator) };
            header.packet(&in_udp(&header.source, &header.destination, &sctp, generator))
        }
        (false, true) => {
            let header = Ipv6 { upper: 17, ..ipv6(generator) };
            header.packet(&in_udp(&header.source, &header.destination, &sctp, generator))
        }
    };
    if generator.random_ratio(1, 3) {
        mutate(&mut ip, 60, generator);
    }
    if is_ipv4 && ip.len() >= 20 && !generator.random_ratio(1, 10) {
        repair_ipv4_checksum(&mut ip);
    }
    let tags: &[u16] = match generator.random_range(0..6) {
        0 => &[0x8100],
        1 => &[0x88a8, 0x8100],
        2 if generator.random_ratio(1, 5) => &[0x8100; 3],
        _ => &[],
    };
    let mut frame = ethernet(tags, if is_ipv4 { 0x0800 } else { 0x86dd }, &ip);
    if generator.random_ratio(1, 20) {
        frame.truncate(generator.random_range(14..=frame.len()));
    }
    if generator.random_ratio(1, 50) {
        mutate(&mut frame, 24, generator);
    }
    frame.resize(frame.len().max(14), 0);
    frame
}

/// `sctp` in UDP, mostly to our port and with the right checksum.
fn in_udp(source: &[u8], destination: &[u8], sctp: &[u8], generator: &mut StdRng) -> Vec<u8> {
    let to = if generator.random_ratio(1, 10) { generator.random() } else { UDP_PORT };
    let from = if generator.random_ratio(1, 20) { 0 } else { generator.random() };
    let mut packet = udp((from, to), source, destination, sctp);
    match generator.random_range(0..12) {
        0 => packet[6..8].fill(0),
        1 => packet[6] ^= 1,
        2 => mutate(&mut packet, 8, generator),
        3 => packet.extend([1, 2, 3]),
        _ => {}
    }
    packet
}

/// An ICMP error about a packet, with a few mutations.
fn quoting(is_ipv4: bool, generator: &mut StdRng) -> Vec<u8> {
    let port = [PORT, PORT, PORT, OTHER_PORT][generator.random_range(0..4)];
    let tag = [PEER_TAG, PEER_TAG, 0, 77][generator.random_range(0..4)];
    let chunks = if tag == 0 { init_naming([TAG, 5][generator.random_range(0..2)]) } else { data_chunk(20) };
    let sent = sctp_between(port, PEER_PORT, tag, &chunks);
    let mut quoted = match (is_ipv4, generator.random_ratio(1, 3)) {
        (true, false) => ipv4(generator).packet(&sent),
        (false, false) => ipv6(generator).packet(&sent),
        (true, true) => {
            let sent = udp((UDP_PORT, PEER_UDP_PORT), &OURS_V4, &PEER_V4, &sent);
            Ipv4 { protocol: 17, ..ipv4(generator) }.packet(&sent)
        }
        (false, true) => {
            let sent = udp((UDP_PORT, PEER_UDP_PORT), &OURS_V6, &PEER_V6, &sent);
            Ipv6 { upper: 17, ..ipv6(generator) }.packet(&sent)
        }
    };
    if generator.random_ratio(1, 3) {
        mutate(&mut quoted, 60, generator);
    }
    quoted.truncate(generator.random_range(20..=quoted.len().max(20)));
    let kind = [1, 2, 3, 3, 4, 8][generator.random_range(0..6)];
    let message = icmp_error(kind, generator.random_range(0..5), &quoted);
    if is_ipv4 {
        let outer = Ipv4 { protocol: 1, fragment: 0, ..ipv4(generator) };
        outer.frame(&message)
    } else {
        Ipv6 { upper: 58, extensions: Vec::new(), ..ipv6(generator) }.frame(&message)
    }
}

fn packet(generator: &mut StdRng) -> Vec<u8> {
    const KINDS: [u8; 18] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 15, 64, 130, 192, 0xfe];
    let source = if generator.random_ratio(1, 6) { BOUND_PORT } else { PEER_PORT };
    let port = [PORT, PORT, PORT, PORT, QUIET_PORT, OTHER_PORT, 0][generator.random_range(0..7)];
    let tag = [TAG, TAG, PEER_TAG, 0, 77][generator.random_range(0..5)];
    let mut chunks = match generator.random_range(0..8) {
        0 => init_chunk(),
        1 => chunk(kind::ERROR, 0, &[0, 3, 0, 8, 0, 0, 0, 1]),
        2 => Vec::new(),
        _ => {
            let kind = KINDS[generator.random_range(0..KINDS.len())];
            let length = generator.random_range(0..80);
            chunk(kind, generator.random(), &vec![generator.random(); length])
        }
    };
    if generator.random_ratio(1, 4) {
        chunks.extend(data_chunk(generator.random_range(0..1200)));
    }
    if generator.random_ratio(1, 6) {
        let kind = [kind::ABORT, kind::SHUTDOWN_ACK, kind::COOKIE_ACK, kind::ERROR][generator.random_range(0..4)];
        chunks.extend(chunk(kind, generator.random_range(0..2), &[0, 3, 0, 4][..generator.random_range(0..2) * 4]));
    }
    sctp_between(source, port, tag, &chunks)
}

fn ipv4(generator: &mut StdRng) -> Ipv4 {
    let words = if generator.random_ratio(1, 4) { generator.random_range(0..=10) } else { 0 };
    Ipv4 {
        source: if generator.random_ratio(1, 20) { [224, 0, 0, 5] } else { PEER_V4 },
        destination: if generator.random_ratio(1, 8) { FOREIGN_V4 } else { OURS_V4 },
        traffic: generator.random(),
        fragment: [0x4000, 0x4000, 0x4000, 0x4000, 0x4000, 0x4000, 0x2000, 0x00b9][generator.random_range(0..8)],
        options: (0..words * 4).map(|_| generator.random()).collect(),
        ..Ipv4::default()
    }
}

fn ipv6(generator: &mut StdRng) -> Ipv6 {
    let mut header = Ipv6 {
        destination: if generator.random_ratio(1, 8) { FOREIGN_V6 } else { OURS_V6 },
        traffic: generator.random(),
        ..Ipv6::default()
    };
    let count = if generator.random_ratio(1, 3) { generator.random_range(0..=8) } else { 0 };
    for _ in 0..count {
        let units = generator.random_range(0..3);
        header = match generator.random_range(0..8) {
            0 => header.with(extension::HOP_BY_HOP, &options_header(units)),
            1 => header.with(extension::ROUTING, &[0, 0, 4, u8::from(generator.random_ratio(1, 4)), 0, 0, 0, 0]),
            2 => header.with(extension::FRAGMENT, &fragment_header(0, generator.random_ratio(1, 4))),
            3 if generator.random_ratio(1, 4) => header.with(extension::FRAGMENT, &fragment_header(5, true)),
            4 if generator.random_ratio(1, 4) => header.with(extension::AUTHENTICATION, &options_header(1)),
            _ => header.with(extension::DESTINATION, &options_header(units)),
        };
    }
    header
}

/// Changes, inserts or removes something within the first `reach` bytes, or cuts the end off.
fn mutate(bytes: &mut Vec<u8>, reach: usize, generator: &mut StdRng) {
    if bytes.is_empty() {
        return;
    }
    let at = generator.random_range(0..bytes.len().min(reach));
    match generator.random_range(0..8) {
        0..3 => bytes[at] = generator.random(),
        3 => bytes[at] ^= 1 << generator.random_range(0..8),
        4 => bytes[at] = [0, 1, 3, 4, 0x7f, 0x80, 0xff][generator.random_range(0..7)],
        5 => bytes.insert(at, generator.random()),
        6 => drop(bytes.remove(at)),
        _ => bytes.truncate(bytes.len() - generator.random_range(0..bytes.len().min(24))),
    }
}
