//! Nanoseconds per packet, printed for people (`--nocapture`) and not judged, since machines are shared; and how much work the
//! program is for the verifier, which is judged.

use anyhow::{Context as _, Result, ensure};
use sctp_common::maps::{TagEntry, TagKey, TagKind};
use sctp_common::verdict::Verdict;
use sctp_common::wire::chunk;

use super::frames::*;
use super::program::{Program, Settings};

const REPEAT: u32 = 50_000;
const ROUNDS: usize = 5;

/// How many runs of one frame each stand for many runs of the same.
const SINGLE: usize = 301;

/// Half of what the kernel allows, since other compilers and other kernels come to other numbers.
const VERIFIED_LIMIT: u32 = 500_000;

#[test]
fn nanoseconds_per_packet() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let mut program = Program::load(Settings::default())?;
    program.own_port(PORT, true)?;
    for address in our_addresses() {
        program.add_address(address)?;
    }
    program.add_tag(TagKey::new(PORT, TagKind::Local, TAG), TagEntry { slot: 1, generation: 1, worker: 0 })?;
    program.add_socket(0)?;

    let data = |length| sctp(PORT, TAG, &data_chunk(length));
    let tagged = ethernet(&[0x88a8, 0x8100], 0x0800, &Ipv4::default().packet(&data(64)));
    let cases = [
        ("not SCTP", ethernet(&[], 0x0806, &[0; 46])),
        ("port not ours", Ipv4::default().frame(&sctp(OTHER_PORT, TAG, &data_chunk(64)))),
        ("tag unknown, silent", Ipv4::default().frame(&sctp(PORT, TAG + 1, &chunk(chunk::ABORT, 0, &[0; 60])))),
        ("tag unknown, IPv4", Ipv4::default().frame(&sctp(PORT, TAG + 1, &data_chunk(16)))),
        ("tag unknown, IPv6", Ipv6::default().frame(&sctp(PORT, TAG + 1, &data_chunk(16)))),
        ("SHUTDOWN ACK", Ipv4::default().frame(&sctp(PORT, TAG + 1, &chunk(chunk::SHUTDOWN_ACK, 0, &[])))),
        ("DATA 16 B, IPv4", Ipv4::default().frame(&data(16))),
        ("DATA 64 B, IPv4", Ipv4::default().frame(&data(64))),
        ("DATA 64 B, IPv6", Ipv6::default().frame(&data(64))),
        ("DATA 64 B, QinQ", tagged),
        ("DATA 256 B, IPv4", Ipv4::default().frame(&data(256))),
        ("DATA 1372 B, IPv4", Ipv4::default().frame(&data(1372))),
        ("DATA 3200 B, IPv4", Ipv4::default().frame(&data(3200))),
        ("INIT", Ipv4::default().frame(&sctp(PORT, 0, &init_chunk()))),
        ("COOKIE ECHO 200 B", Ipv4::default().frame(&sctp(PORT, 7, &chunk(chunk::COOKIE_ECHO, 0, &[9; 200])))),
    ];

    let info = program.info()?;
    let verified = info.verified_instruction_count().context("the kernel does not count them")?;
    ensure!(verified < VERIFIED_LIMIT, "the verifier walks {verified} instructions");
    println!(
        "verified instructions {verified}, translated {} bytes, compiled {} bytes",
        info.size_translated().unwrap_or_default(),
        info.size_jitted(),
    );
    println!("{:<20} {:>6} {:>8}  verdict", "frame", "bytes", "ns");
    for (name, frame) in &cases {
        let verdict: Verdict = program.run(frame)?.verdict;
        let time = match verdict {
            // The answer is another frame, so every run needs the frame anew, and none is warm. What a run costs besides
            // the program is told by a frame for which the program does next to nothing.
            Verdict::Answer(_) => {
                let nothing = &cases[0].1;
                let besides = median::<SINGLE>(|| program.time(nothing, 1))?;
                median::<SINGLE>(|| program.time(frame, 1))?.saturating_sub(besides)
                    + median::<ROUNDS>(|| program.time(nothing, REPEAT))?
            }
            _ => median::<ROUNDS>(|| program.time(frame, REPEAT))?,
        };
        println!("{name:<20} {:>6} {time:>8}  {} {}", frame.len(), verdict.action(), verdict.name());
    }
    Ok(())
}

/// The median of `N` measurements.
fn median<const N: usize>(mut measure: impl FnMut() -> Result<u64>) -> Result<u64> {
    let mut times = [0; N];
    for time in &mut times {
        *time = measure()?;
    }
    times.sort_unstable();
    Ok(times[N / 2])
}
