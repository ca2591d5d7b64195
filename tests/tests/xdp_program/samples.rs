//! Dropped packets that are shown to whoever looks.

use anyhow::{Result, ensure};
use sctp_common::frame::ipv4_mapped;
use sctp_common::limit::Rate;
use sctp_common::sample::{CAPTURED, Watch};
use sctp_common::verdict::{DropReason, Verdict};

use super::frames::*;
use super::program::{Program, Settings};

/// A time that does not come.
const NEVER: u64 = u64::MAX;

fn program(samples: Rate) -> Result<Program> {
    let mut program = Program::load(Settings { samples, ..Settings::default() })?;
    program.own_port(PORT, true)?;
    program.add_address(ipv4_mapped(OURS_V4))?;
    program.add_address(OURS_V6)?;
    Ok(program)
}

fn everything() -> Watch {
    Watch { until: NEVER, reasons: u64::MAX }
}

/// The frame of this many bytes, or of a few more, that is dropped for its checksum.
fn with_wrong_checksum(length: usize) -> Vec<u8> {
    let mut packet = sctp(PORT, 0, &init_chunk());
    packet[8] ^= 1;
    let mut frame = Ipv4::default().frame(&packet);
    frame.resize(frame.len().max(length), 0xa5);
    frame
}

#[test]
fn what_is_dropped_is_shown_byte_for_byte() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let mut program = program(Settings::default().samples)?;
    program.watch(everything())?;
    let long = sctp(PORT, 0, &data_chunk(1200));
    let frames = [
        (Ipv4::default().frame(&sctp(PORT, 0, &data_chunk(40))), DropReason::ZeroTag),
        (Ipv4::default().frame(&sctp(PORT, 5, &init_chunk())), DropReason::InitTag),
        (Ipv6::default().frame(&long), DropReason::ZeroTag),
        (ethernet(&[0x8100], 0x0800, &Ipv4::default().packet(&sctp(0, 7, &data_chunk(1)))), DropReason::PortZero),
    ];
    for (frame, reason) in frames {
        let outcome = program.run(&frame)?;
        ensure!(outcome.verdict == Verdict::Drop(reason), "{:?}", outcome.verdict);
        let samples = program.samples()?;
        ensure!(samples.len() == 1, "{reason:?}: {samples:?}");
        let sample = samples[0];
        assert_eq!(sample.reason(), Some(reason));
        assert_eq!((sample.length as usize, sample.queue), (frame.len(), 0));
        assert_eq!(sample.bytes(), &frame[..frame.len().min(CAPTURED)], "{reason:?}");
        ensure!(sample.time > 0);
    }
    // What is not dropped is nobody's business.
    for frame in [
        Ipv4::default().frame(&sctp(OTHER_PORT, 7, &data_chunk(40))),
        Ipv4::default().frame(&sctp(PORT, 7, &data_chunk(40))),
    ] {
        let verdict = program.run(&frame)?.verdict;
        ensure!(verdict.action() != "drop", "{verdict:?}");
        ensure!(program.samples()?.is_empty(), "{verdict:?} is shown");
    }
    assert_eq!(program.left_out()?, 0);
    Ok(())
}

#[test]
fn frames_of_every_length_are_copied_to_the_last_even_byte() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let mut program = program(Settings::default().samples)?;
    program.watch(everything())?;
    for length in 62..=140 {
        let frame = with_wrong_checksum(length);
        program.run(&frame)?;
        let samples = program.samples()?;
        ensure!(samples.len() == 1, "{length} bytes: {samples:?}");
        let captured = frame.len().min(CAPTURED) & !1;
        assert_eq!((samples[0].length as usize, samples[0].bytes()), (frame.len(), &frame[..captured]));
    }
    Ok(())
}

#[test]
fn nothing_is_shown_unless_somebody_looks_for_it() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let mut program = program(Settings::default().samples)?;
    let frame = with_wrong_checksum(0);
    let others = DropReason::ALL.iter().filter(|reason| **reason != DropReason::Checksum);
    let nobody = [
        Watch::default(),
        // A time that has passed: whoever looked has died.
        Watch { until: 1, reasons: u64::MAX },
        Watch { until: NEVER, reasons: others.fold(0, |all, reason| all | Watch::bit(*reason)) },
    ];
    for watch in nobody {
        program.watch(watch)?;
        ensure!(program.run(&frame)?.verdict == DropReason::Checksum.into());
        ensure!(program.samples()?.is_empty(), "{watch:?}");
    }
    program.watch(Watch { until: NEVER, reasons: Watch::bit(DropReason::Checksum) })?;
    program.run(&frame)?;
    assert_eq!(program.samples()?.len(), 1);
    assert_eq!(program.left_out()?, 0, "what nobody wants is not left out");
    Ok(())
}

#[test]
fn a_flood_is_sampled_at_a_rate_and_the_rest_is_counted() -> Result<()> {
    const FLOOD: usize = 200;
    const BURST: usize = 5;
    if !sctp_lab::require_root() {
        return Ok(());
    }
    // A sample in an hour, and five at once.
    let hour = 3_600_000_000_000;
    let mut program = program(Rate { interval: hour, tolerance: hour * (BURST as u64 - 1) })?;
    program.watch(everything())?;
    let frame = with_wrong_checksum(0);
    for _ in 0..FLOOD {
        program.run(&frame)?;
    }
    let shown = program.samples()?.len();
    // Each CPU that the test ran on has a bucket of its own.
    let cpus = std::thread::available_parallelism()?.get();
    ensure!((BURST..=BURST * cpus).contains(&shown), "{shown} were shown");
    assert_eq!(program.left_out()?, (FLOOD - shown) as u64);
    Ok(())
}

#[test]
fn samples_that_nobody_takes_are_left_out() -> Result<()> {
    const FLOOD: usize = 3000;
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let mut program = program(Settings::default().samples)?;
    program.watch(everything())?;
    let frame = with_wrong_checksum(0);
    for _ in 0..FLOOD {
        program.run(&frame)?;
    }
    let left_out = program.left_out()? as usize;
    ensure!(left_out > 0, "the ring has no end");
    assert_eq!(program.samples()?.len(), FLOOD - left_out);
    Ok(())
}
