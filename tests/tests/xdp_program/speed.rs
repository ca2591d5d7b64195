//! Nanoseconds per packet, printed for people (`cargo xtask bench xdp`) and not judged, since machines are shared; and how much work the
//! program is for the verifier, which is judged.
//!
//! Each figure is the median of some rounds of many runs on one frame, less the same with a program that does nothing in the place
//! of ours: see [`harness`].

mod harness;
mod stack;

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, ensure};
use sctp_common::maps::{TagEntry, TagKey, TagKind, policy};
use sctp_common::verdict::Verdict;
use sctp_common::wire::chunk as kind;

use self::harness::{Handmade, RandomTag, time};
use super::frames::*;
use super::model::Model;
use super::program::{Program, Settings};

const REPEAT: u32 = 100_000;
const ROUNDS: usize = 7;

/// Half of what the kernel allows, since other compilers and other kernels come to other numbers.
const VERIFIED_LIMIT: u32 = 500_000;

/// What the kernel allows for a program and the functions that it calls, together.
const STACK_LIMIT: usize = 512;

/// What a kind of frame is to cost at most, in nanoseconds over the bare program.
type Target = Option<u64>;

fn program(settings: Settings) -> Result<Program> {
    Model::new(&settings).program(settings)
}

#[test]
fn the_verifier_has_patience_to_spare() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let info = program(Settings::default())?.info()?;
    let verified = info.verified_instruction_count().context("the kernel does not count them")?;
    println!(
        "verified instructions {verified}, translated {} bytes, compiled {} bytes",
        info.size_translated().unwrap_or_default(),
        info.size_jitted(),
    );
    ensure!(verified < VERIFIED_LIMIT, "the verifier walks {verified} instructions");
    Ok(())
}

#[test]
fn the_stack_suffices() -> Result<()> {
    let functions = stack::use_of(sctp_ebpf_object::OBJECT)?;
    for (name, bytes) in &functions {
        println!("stack of {name} and what it calls: {bytes} bytes");
    }
    let (_, whole) = functions.iter().find(|(name, _)| name == sctp_ebpf_object::PROGRAM).context("no program")?;
    ensure!(*whole <= STACK_LIMIT, "{whole} bytes of stack: {functions:?}");
    // A test of the test: the program calls others, so it cannot do with less than they.
    ensure!(functions.iter().all(|(_, bytes)| bytes <= whole), "a function needs more than the program: {functions:?}");
    ensure!(*whole >= 64, "hardly any stack is used, which cannot be: {functions:?}");
    Ok(())
}

#[test]
fn nanoseconds_per_packet() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let verifying = program(Settings { policy: policy::ANSWER_HEARTBEATS, ..Settings::default() })?;
    let leaving = program(Settings { policy: policy::SILENT, verify_up_to: 0, ..Settings::default() })?;
    let v4 = |packet: &[u8]| Ipv4::default().frame(packet);
    // DATA, or any other chunk with a value, such that the frame has so many bytes over IPv4.
    let sized = |bytes: usize| sctp(PORT, TAG, &data_chunk(bytes - 14 - 20 - 28));
    let heartbeat = |bytes: usize| sctp(PORT, TAG, &chunk(kind::HEARTBEAT, 0, &vec![7; bytes - 14 - 20 - 16]));
    let nobodys = |chunks: &[u8]| sctp(PORT, 77, chunks);
    let bad_tag = sctp_between(BOUND_PORT, PORT, 77, &data_chunk(16));
    let quoted = Ipv4 { source: OURS_V4, destination: PEER_V4, ..Ipv4::default() };
    let quoted = quoted.packet(&sctp_between(PORT, PEER_PORT, PEER_TAG, &data_chunk(40)));
    let icmp = Ipv4 { protocol: 1, ..Ipv4::default() }.frame(&icmp_error(3, 4, &quoted));
    let qinq = ethernet(&[0x88a8, 0x8100], 0x0800, &Ipv4::default().packet(&sized(128)));
    let cases: Vec<(&str, &Program, Vec<u8>, Target)> = vec![
        ("not SCTP", &verifying, ethernet(&[], 0x0806, &[0; 46]), None),
        ("port not ours", &verifying, v4(&sctp(OTHER_PORT, TAG, &data_chunk(16))), None),
        ("steering, checksum left to userspace", &leaving, v4(&sized(128)), Some(60)),
        ("steering and checksum", &verifying, v4(&sized(128)), Some(75)),
        ("steering and checksum, IPv6", &verifying, Ipv6::default().frame(&sized(128)), None),
        ("steering and checksum, QinQ", &verifying, qinq, None),
        ("steering and checksum", &verifying, v4(&sized(512)), None),
        ("steering and checksum", &verifying, v4(&sized(1400)), Some(400)),
        ("steering and checksum", &verifying, v4(&sized(3400)), None),
        ("INIT", &verifying, v4(&sctp(PORT, 0, &init_chunk())), None),
        ("wrong tag of a peer", &verifying, v4(&bad_tag), Some(60)),
        ("wrong tag of nobody, silent", &leaving, v4(&nobodys(&data_chunk(16))), Some(60)),
        ("ABORT out of the blue", &verifying, v4(&nobodys(&chunk(kind::ABORT, 0, &[0; 16]))), Some(60)),
        ("ICMP error", &verifying, icmp, None),
        ("answer ABORT", &verifying, v4(&nobodys(&data_chunk(16))), Some(90)),
        ("answer ABORT, IPv6", &verifying, Ipv6::default().frame(&nobodys(&data_chunk(16))), None),
        ("answer SHUTDOWN COMPLETE", &verifying, v4(&nobodys(&chunk(kind::SHUTDOWN_ACK, 0, &[]))), None),
        ("answer ABORT to INIT", &verifying, v4(&sctp(QUIET_PORT, 0, &init_chunk())), None),
        ("answer HEARTBEAT ACK", &verifying, v4(&heartbeat(66)), None),
        ("answer HEARTBEAT ACK", &verifying, v4(&heartbeat(130)), Some(120)),
    ];
    println!("{:<38} {:>6} {:>6} {:>7}  verdict", "frame", "bytes", "ns", "target");
    // All of them before the first is timed, which counts packets by the hundred thousand.
    let verdicts = cases.iter().map(|(_, program, frame, _)| Ok(program.run(frame)?.verdict));
    let verdicts: Vec<Verdict> = verdicts.collect::<Result<_>>()?;
    for ((name, program, frame, target), verdict) in cases.iter().zip(verdicts) {
        let net = net_time(program, frame, None)?;
        let target = target.map_or_else(String::new, |most| format!("≤ {most}"));
        println!("{name:<38} {:>6} {net:>6} {target:>7}  {} {}", frame.len(), verdict.action(), verdict.name());
    }
    let bare = Handmade::bare()?;
    println!(
        "{:<38} {:>6} {:>6}",
        "the bare program itself",
        60,
        median(|| Ok(time(bare.descriptor(), &[0; 60], REPEAT)?.0))?
    );
    Ok(())
}

/// A packet of another association each time: what the look-up costs when the map does not fit the caches.
#[test]
fn nanoseconds_with_many_associations() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let frame = Ipv4::default().frame(&sctp(PORT, 1, &data_chunk(66)));
    println!("{:<38} {:>6} {:>7}", "steering, random association of", "ns", "target");
    let mut first = None;
    for count in [1, 1 << 10, 1 << 14, 1 << 20] {
        let settings = Settings { verify_up_to: 0, tags: 1 << 21, ..Settings::default() };
        let mut program = program(settings)?;
        for tag in 1..=count {
            program
                .add_tag(TagKey::new(PORT, TagKind::Local, tag), TagEntry { slot: tag, generation: 0, worker: 0 })?;
        }
        let net = net_time(&program, &frame, Some(RandomTag { at: 14 + 20 + 4, count }))?;
        let one = *first.get_or_insert(net);
        let target = if count == 1 << 20 { format!("≤ {}", one + 250) } else { String::new() };
        println!("{count:<38} {net:>6} {target:>7}");
    }
    Ok(())
}

/// Nanoseconds that `program` takes for `frame`, over what the bare program takes.
fn net_time(program: &Program, frame: &[u8], tag: Option<RandomTag>) -> Result<u64> {
    let bare = Handmade::bare()?;
    let with = Handmade::restorer(frame, tag, program.descriptor()?.as_fd())?;
    let without = Handmade::restorer(frame, tag, bare.descriptor())?;
    let (_, returned) = time(with.descriptor(), frame, 1)?;
    ensure!(returned != 0, "the restorer did not get into the program");
    let with = median(|| Ok(time(with.descriptor(), frame, REPEAT)?.0))?;
    let without = median(|| Ok(time(without.descriptor(), frame, REPEAT)?.0))?;
    Ok(with.saturating_sub(without))
}

/// The median of some measurements.
fn median(mut measure: impl FnMut() -> Result<u64>) -> Result<u64> {
    let mut times = [0; ROUNDS];
    for time in &mut times {
        *time = measure()?;
    }
    times.sort_unstable();
    Ok(times[ROUNDS / 2])
}
