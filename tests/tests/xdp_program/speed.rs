//! Nanoseconds per packet, printed for people (`cargo xtask bench xdp`) and not judged, since machines are shared; and how much work the
//! program is for the verifier, which is judged.
//!
//! Each figure is for many runs on one frame, less the same with a program that does nothing in the place of ours: see [`harness`], and
//! [`paired`] for how it is kept apart from what else the machine does.
//!
//! `SCTP_XDP_AGAINST` names another object of the program, which then takes turns with this one in the same run; `SCTP_XDP_ROWS` chooses
//! rows.

mod harness;
mod paired;
mod stack;

use anyhow::{Context as _, Result, ensure};
use sctp_common::maps::{TagEntry, TagKey, TagKind, policy};
use sctp_common::wire::chunk as kind;

use self::harness::{Handmade, RandomTag, time};
use self::paired::{Figures, Side, Slices, measure};
use super::frames::*;
use super::inits::{Answering, linux_init};
use super::model::Model;
use super::program::{Outcome, Program, Settings};

/// A slice takes a few milliseconds.
const SLICES: Slices = Slices { repeat: 20_000, rounds: 15 };

/// Where every run looks up another tag, the caches need longer to warm up.
const LONG_SLICES: Slices = Slices { repeat: 100_000, rounds: 15 };

/// Half of what the kernel allows, since other compilers and other kernels come to other numbers.
const VERIFIED_LIMIT: u32 = 500_000;

/// What the kernel allows for a program and the functions that it calls, together.
const STACK_LIMIT: usize = 512;

/// What a kind of frame is to cost at most, in nanoseconds over the bare program.
type Target = Option<u64>;

/// The environment variable that names the object of another version of the program.
const AGAINST: &str = "SCTP_XDP_AGAINST";

/// The environment variable that chooses rows, by a part of their name and their number of bytes.
const ROWS: &str = "SCTP_XDP_ROWS";

fn program(settings: Settings) -> Result<Program> {
    Model::new(&settings).program(settings)
}

/// The program, and the other version if there is one.
fn programs(settings: Settings) -> Result<Vec<Program>> {
    let mut programs = vec![program(settings)?];
    if let Some(path) = std::env::var_os(AGAINST) {
        let object = std::fs::read(&path).with_context(|| path.display().to_string())?;
        programs.push(Model::new(&settings).program_of(&object, settings)?);
    }
    Ok(programs)
}

#[test]
fn the_verifier_has_patience_to_spare() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    // With all that can be switched on: what is not, the verifier need not look at.
    let policy = policy::ANSWER_HEARTBEATS | policy::INIT_COOKIES;
    let info = program(Settings { policy, ..Settings::default() })?.info()?;
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
    let verifying = programs(Settings { policy: policy::ANSWER_HEARTBEATS, ..Settings::default() })?;
    let leaving = programs(Settings { policy: policy::SILENT, verify_up_to: 0, ..Settings::default() })?;
    let answering = vec![Answering::always()?.program];
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
    let cases: Vec<(&str, &[Program], Vec<u8>, Target)> = vec![
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
        ("answer INIT ACK with cookie", &answering, v4(&sctp(PORT, 0, &init_chunk())), Some(350)),
        ("answer INIT ACK with cookie, IPv6", &answering, Ipv6::default().frame(&sctp(PORT, 0, &init_chunk())), None),
        ("answer INIT ACK with cookie to Linux", &answering, v4(&linux_init()), None),
        ("answer HEARTBEAT ACK", &verifying, v4(&heartbeat(66)), None),
        ("answer HEARTBEAT ACK", &verifying, v4(&heartbeat(130)), Some(120)),
    ];
    // All of them before the first is timed, which counts packets by the thousand.
    let run = |programs: &[Program], frame: &[u8]| programs.iter().map(|program| program.run(frame)).collect();
    let outcomes = cases.iter().map(|(_, programs, frame, _)| run(programs, frame));
    let outcomes: Vec<Vec<Outcome>> = outcomes.collect::<Result<_>>()?;
    let wanted = std::env::var(ROWS).unwrap_or_default();
    let chosen = |(name, _, frame, _): &(&str, _, Vec<u8>, _)| format!("{name} {}", frame.len()).contains(&wanted);
    let (cases, outcomes): (Vec<_>, Vec<_>) = cases.into_iter().zip(outcomes).filter(|(case, _)| chosen(case)).unzip();
    let mut rows = Vec::new();
    for ((name, programs, frame, _), outcomes) in cases.iter().zip(&outcomes) {
        ensure!(outcomes.iter().all(|outcome| outcome.verdict == outcomes[0].verdict), "{name}: {outcomes:?}");
        let sides = programs.iter().zip(outcomes);
        let sides = sides.map(|(program, outcome)| Side::new(program, frame, outcome.frame.len(), None));
        rows.push((frame.as_slice(), sides.collect::<Result<Vec<_>>>()?));
    }
    measure(&mut rows, SLICES)?;
    println!("{:<38} {:>6} {HEADINGS} {:>7}  verdict", "frame", "bytes", "target");
    for (((name, _, frame, target), (_, sides)), outcomes) in cases.iter().zip(&rows).zip(outcomes) {
        let verdict = outcomes[0].verdict;
        let target = target.map_or_else(String::new, |most| format!("≤ {most}"));
        let figures = shown(sides);
        println!("{name:<38} {:>6} {figures} {target:>7}  {} {}", frame.len(), verdict.action(), verdict.name());
    }
    let bare = Handmade::bare()?;
    let (nanoseconds, _) = time(bare.descriptor(), &[0; 60], 100_000)?;
    println!("{:<38} {:>6} {nanoseconds:>6}", "the bare program itself", 60);
    Ok(())
}

const HEADINGS: &str = "    ns   quiet  quartiles";

/// What a row's measurement comes to, under [`HEADINGS`]; behind it the other version's figures and by what they are divided.
fn shown(sides: &[Side]) -> String {
    let one = |Figures { median, quartiles: [low, high], quiet }: Figures| {
        format!("{median:>6} {quiet:>7} {:>10}", format!("{low}–{high}"))
    };
    let figures: Vec<Figures> = sides.iter().map(Side::figures).collect();
    match *figures.as_slice() {
        [now] => one(now),
        [now, before] => {
            let ratio = |now: i64, before: i64| now as f64 / before as f64;
            let ratios = [ratio(now.median, before.median), ratio(now.quiet, before.quiet)];
            format!("{}  before {}  × {:.2} {:.2}", one(now), one(before), ratios[0], ratios[1])
        }
        _ => String::new(),
    }
}

/// A packet of another association each time: what the look-up costs when the map does not fit the caches.
#[test]
fn nanoseconds_with_many_associations() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let frame = Ipv4::default().frame(&sctp(PORT, 1, &data_chunk(66)));
    const COUNTS: [u32; 4] = [1, 1 << 10, 1 << 14, 1 << 20];
    let mut rows = Vec::new();
    for count in COUNTS {
        let settings = Settings { verify_up_to: 0, tags: 1 << 21, ..Settings::default() };
        let mut programs = programs(settings)?;
        for program in &mut programs {
            for slot in 1..=count {
                program
                    .add_tag(TagKey::new(PORT, TagKind::Local, slot), TagEntry { slot, generation: 0, worker: 0 })?;
            }
        }
        let tag = Some(RandomTag { at: 14 + 20 + 4, count });
        let sides = programs.iter().map(|program| Side::new(program, &frame, frame.len(), tag));
        rows.push((frame.as_slice(), sides.collect::<Result<Vec<_>>>()?));
    }
    measure(&mut rows, LONG_SLICES)?;
    println!("{:<45} {HEADINGS} {:>7}", "steering, random association of", "target");
    let one = rows[0].1[0].figures().median;
    for (count, (_, sides)) in COUNTS.iter().zip(&rows) {
        let target = if *count == 1 << 20 { format!("≤ {}", one + 250) } else { String::new() };
        println!("{count:<45} {} {target:>7}", shown(sides));
    }
    Ok(())
}
