//! The seeds of the fuzz targets (`tests/fuzz/seeds`), and what fuzzing has made of them in this clone, wrapped into frames and judged by
//! the program and by the same rules in userspace.
//!
//! A target reads its bytes in its own way: as a packet, a chunk, parameters, causes, or a script. What is part of a packet is put where
//! it belongs; and the bytes of every target are a packet as they are, too, mostly a malformed one.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use sctp_common::maps::policy;
use sctp_common::verdict::Verdict;
use sctp_common::wire::chunk as kind;

use super::differential::judged_alike;
use super::frames::*;
use super::model::Model;
use super::program::Settings;

#[test]
fn the_fuzz_corpus_is_judged_alike() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let packets = packets()?;
    let mut seen: BTreeMap<u32, usize> = BTreeMap::new();
    for (policy, verify_up_to) in
        [(0, u32::MAX), (policy::TRUSTED_LINK | policy::ANSWER_HEARTBEATS, 256), (policy::SILENT, 0)]
    {
        let settings = Settings { workers: 3, policy, verify_up_to, ..Settings::default() };
        let model = Model::new(&settings);
        let program = model.program(settings)?;
        let mut judged = 0;
        for (name, packet) in &packets {
            for frame in frames(packet) {
                let verdict = judged_alike(&model, &program, &frame).with_context(|| name.clone())?;
                *seen.entry(verdict.index()).or_default() += 1;
                judged += 1;
            }
        }
        ensure!(program.total()? == judged, "some frame was counted twice");
    }
    for (index, count) in &seen {
        let verdict = Verdict::from_index(*index).context("a verdict")?;
        println!("{count:>6} {} {}", verdict.action(), verdict.name());
    }
    println!("{} packets, {} frames", packets.len(), seen.values().sum::<usize>());
    ensure!(seen.len() >= 20, "the corpus reaches only {} verdicts", seen.len());
    Ok(())
}

/// Packets, each with the name of the file that it is from.
fn packets() -> Result<Vec<(String, Vec<u8>)>> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut packets = Vec::new();
    for (directory, least) in [("seeds", 180), ("corpus", 0)] {
        let directory = fuzz.join(directory);
        if least == 0 && !directory.exists() {
            continue;
        }
        let mut files = 0;
        for target in std::fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
            let target = target?;
            for file in std::fs::read_dir(target.path())? {
                let path = file?.path();
                let bytes = std::fs::read(&path)?;
                let name = path.strip_prefix(&fuzz)?.display().to_string();
                for packet in packets_of(&target.file_name().to_string_lossy(), &bytes) {
                    packets.push((name.clone(), packet));
                }
                files += 1;
            }
        }
        ensure!(files >= least, "{files} files in {}", directory.display());
    }
    Ok(packets)
}

/// Ports and tags that the endpoint tells apart.
const DESTINATIONS: [(u16, u16, u32); 9] = [
    (PEER_PORT, PORT, TAG),
    (PEER_PORT, PORT, PEER_TAG),
    (PEER_PORT, PORT, 0),
    (PEER_PORT, PORT, 77),
    (BOUND_PORT, PORT, 0),
    (BOUND_PORT, PORT, 77),
    (PEER_PORT, QUIET_PORT, 0),
    (PEER_PORT, QUIET_PORT, 77),
    (PEER_PORT, OTHER_PORT, 77),
];

/// The packets that one input of a target stands for. Longer ones than a frame carries are left out.
fn packets_of(target: &str, bytes: &[u8]) -> Vec<Vec<u8>> {
    let init = |kind, parameters: &[u8]| {
        chunk(kind, 0, &[&[0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 9], parameters].concat())
    };
    let chunks = match (target, bytes) {
        ("chunk", [kind, flags, value @ ..]) => vec![chunk(*kind, *flags, value)],
        ("parameters", parameters) => [kind::INIT, kind::INIT_ACK].map(|kind| init(kind, parameters)).into(),
        ("causes", causes) => [kind::ABORT, kind::ERROR].map(|kind| chunk(kind, 0, causes)).into(),
        // Two octets of choices, the window, the numbers of streams.
        ("setup", [_, _, _, _, _, _, _, _, _, _, parameters @ ..]) => {
            [kind::INIT, kind::INIT_ACK].map(|kind| init(kind, parameters)).into()
        }
        ("cookie", cookie) => vec![chunk(kind::COOKIE_ECHO, 0, cookie)],
        _ => Vec::new(),
    };
    let mut packets = vec![bytes.to_vec()];
    packets.extend(chunks.iter().map(|chunks| sctp(PORT, 0, chunks)));
    packets.retain(|packet| packet.len() <= 1400);
    // A wrong checksum stays wrong.
    for packet in packets.clone().into_iter().filter(|packet| packet.len() >= 12) {
        let wrong_by = checksum(&packet) ^ stored(&packet);
        for (source, port, tag) in DESTINATIONS {
            let mut packet = packet.clone();
            packet[..2].copy_from_slice(&source.to_be_bytes());
            packet[2..4].copy_from_slice(&port.to_be_bytes());
            packet[4..8].copy_from_slice(&tag.to_be_bytes());
            let sum = checksum(&packet) ^ wrong_by;
            packet[8..12].copy_from_slice(&sum.to_le_bytes());
            packets.push(packet);
        }
    }
    packets
}

/// The packet over each network layer: plain, below VLAN tags, behind options and extension headers.
fn frames(packet: &[u8]) -> [Vec<u8>; 6] {
    let options = Ipv4 { options: vec![1; 8], ..Ipv4::default() };
    let extended = Ipv6::default()
        .with(extension::HOP_BY_HOP, &options_header(0))
        .with(extension::DESTINATION, &options_header(1));
    let (ipv4, ipv6) = (Ipv4::default(), Ipv6::default());
    [
        ipv4.frame(packet),
        ipv6.frame(packet),
        ethernet(&[0x8100], 0x0800, &ipv4.packet(packet)),
        ethernet(&[0x88a8, 0x8100], 0x86dd, &ipv6.packet(packet)),
        options.frame(packet),
        extended.frame(packet),
    ]
}

/// The checksum that `packet` has.
fn stored(packet: &[u8]) -> u32 {
    u32::from_le_bytes([packet[8], packet[9], packet[10], packet[11]])
}

/// The checksum that `packet` should have.
fn checksum(packet: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&[&packet[..8], &[0; 4]].concat()), &packet[12..])
}
