//! Answers to packets out of the blue (RFC 9260 §8.4): byte for byte, and how many.

use anyhow::{Context as _, Result, bail, ensure};
use sctp_common::frame::{Decoded, decode, decode_udp};
use sctp_common::limit::Rate;
use sctp_common::maps::policy;
use sctp_common::verdict::{AnswerReason as Answer, DropReason as Drop, RedirectReason as Redirect, Verdict};
use sctp_common::wire::{IPPROTO_SCTP, IPPROTO_UDP, chunk as kind, flags};

use super::frames::*;
use super::model::Model;
use super::program::{Program, Settings};
use super::udp::{UDP_PORT, udp};

/// What the frame must become that is answered. Built from scratch: of the frame, no more than addresses, ports and tag.
pub(crate) fn answer_to(frame: &[u8], reason: Answer) -> Result<Vec<u8>> {
    let packet = decode(frame).or_else(|_| decode_udp(frame, UDP_PORT)).ok().context("not decodable")?;
    let initiate_tag =
        || Ok::<_, anyhow::Error>(u32::from_be_bytes(frame[packet.first_chunk_at() + 4..][..4].try_into()?));
    let end = usize::from(packet.sctp_offset + packet.sctp_len);
    let (kind, flags, tag) = match reason {
        Answer::HeartbeatAck => {
            // The chunk stays as it is, but for its type and flags, and so does Ethernet's padding behind it.
            let rest = &frame[packet.first_chunk_at() + 2..end];
            let chunk = [&[kind::HEARTBEAT_ACK, 0], rest].concat();
            let sctp = sctp_between(packet.destination_port, packet.source_port, PEER_TAG, &chunk);
            return Ok([headers_of_answer(frame, &packet, sctp.len()), sctp, frame[end..].to_vec()].concat());
        }
        Answer::Abort => (kind::ABORT, flags::T, packet.verification_tag),
        Answer::ShutdownComplete => (kind::SHUTDOWN_COMPLETE, flags::T, packet.verification_tag),
        Answer::Refused => (kind::ABORT, 0, initiate_tag()?),
        // It has random numbers in it: see `inits`.
        Answer::InitAck => bail!("no two of them are the same"),
    };
    let sctp = sctp_between(packet.destination_port, packet.source_port, tag, &[kind, flags, 0, 4]);
    let mut answer = headers_of_answer(frame, &packet, sctp.len());
    answer.extend(if packet.in_udp { in_udp(frame, &packet, &sctp) } else { sctp });
    if frame.len() >= 60 {
        answer.resize(answer.len().max(60), 0);
    }
    Ok(answer)
}

/// An answer's SCTP packet in UDP, to the port that the frame came from.
fn in_udp(frame: &[u8], packet: &Decoded, sctp: &[u8]) -> Vec<u8> {
    let addresses = packet.addresses(frame).expect("the frame that it was found in");
    let (source, destination) = (addresses.destination, addresses.source);
    let skipped = if packet.is_ipv4 { 12 } else { 0 };
    let port = u16::from_be_bytes([frame[packet.udp_offset()], frame[packet.udp_offset() + 1]]);
    udp((UDP_PORT, port), &source[skipped..], &destination[skipped..], sctp)
}

/// Ethernet and IP headers of an answer with `length` bytes of SCTP.
fn headers_of_answer(frame: &[u8], packet: &Decoded, length: usize) -> Vec<u8> {
    let (upper, length) = if packet.in_udp { (IPPROTO_UDP, length + 8) } else { (IPPROTO_SCTP, length) };
    let mut answer = [&frame[6..12], &frame[..6], &frame[12..packet.l3_offset.into()]].concat();
    let addresses = packet.addresses(frame).expect("the frame that it was found in");
    let [l0, l1] = (length as u16).to_be_bytes();
    if packet.is_ipv4 {
        let [t0, t1] = (length as u16 + 20).to_be_bytes();
        let mut header = vec![0x45, 0, t0, t1, 0, 0, 0x40, 0, 64, upper, 0, 0];
        header.extend(&addresses.destination[12..]);
        header.extend(&addresses.source[12..]);
        repair_ipv4_checksum(&mut header);
        answer.extend(header);
    } else {
        answer.extend([0x60, 0, 0, 0, l0, l1, upper, 64]);
        answer.extend(addresses.destination);
        answer.extend(addresses.source);
    }
    answer
}

fn nobodys() -> Vec<u8> {
    sctp(PORT, 77, &data_chunk(40))
}

/// One answer as a constant, so that not all depends on the function above.
#[test]
fn an_abort_byte_for_byte() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let settings = Settings::default();
    let program = Model::new(&settings).program(settings)?;
    let outcome = program.run(&ethernet(&[0x8100], 0x0800, &Ipv4::default().packet(&nobodys())))?;
    let expected = [
        2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0, 0, 100, 8, 0, // Ethernet, VLAN 100
        0x45, 0, 0, 36, 0, 0, 0x40, 0, 64, 132, 0x26, 0x54, 10, 0, 0, 2, 10, 0, 0, 1, // IPv4
        0x96, 0x0c, 0x13, 0x89, 0, 0, 0, 77, 0, 0, 0, 0, 6, 1, 0, 4, // SCTP, ABORT with the T bit
        0, 0, 0, 0, 0, 0, // Padding
    ];
    ensure!(outcome.verdict == Answer::Abort.into(), "{outcome:?}");
    let mut answer = outcome.frame;
    let crc = u32::from_le_bytes(answer[46..50].try_into()?);
    answer[46..50].fill(0);
    ensure!(answer == expected, "{answer:02x?}");
    ensure!(crc == crc32c::crc32c(&answer[38..54]), "CRC {crc:08x}");
    Ok(())
}

/// Frames of every length: longer ones are cut, and none becomes longer, even one that Ethernet should have padded.
#[test]
fn answers_have_their_own_length() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let settings = Settings::default();
    let program = Model::new(&settings).program(settings)?;
    for length in (1..1400).step_by(97) {
        for tags in [&[][..], &[0x8100], &[0x88a8, 0x8100]] {
            let packet = sctp(PORT, 77, &data_chunk(length));
            let v4 = Ipv4 { options: vec![1; 8], traffic: 0xbb, ..Ipv4::default() }.packet(&packet);
            let v6 = Ipv6::default().with(extension::DESTINATION, &options_header(2)).packet(&packet);
            for frame in [ethernet(tags, 0x0800, &v4), ethernet(tags, 0x86dd, &v6)] {
                let outcome = program.run_expecting(&frame, Answer::Abort.into())?;
                ensure!(outcome.frame == answer_to(&frame, Answer::Abort)?, "{length} bytes: {:02x?}", outcome.frame);
            }
        }
    }
    let mut short = Ipv4::default().frame(&sctp(PORT, 77, &chunk(kind::SHUTDOWN_ACK, 0, &[])));
    short.truncate(50);
    let outcome = program.run(&short)?;
    ensure!(outcome.frame == answer_to(&short, Answer::ShutdownComplete)?, "{outcome:?}");
    ensure!(outcome.frame.len() == 50, "{} bytes", outcome.frame.len());
    Ok(())
}

#[test]
fn a_silent_host_answers_nothing() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let settings = Settings { policy: policy::SILENT, ..Settings::default() };
    let program = Model::new(&settings).program(settings)?;
    let cases = [
        (nobodys(), Drop::OutOfTheBlue),
        (sctp(PORT, 77, &chunk(kind::SHUTDOWN_ACK, 0, &[])), Drop::OotbShutdownAck),
        (sctp(PORT, 77, &chunk(kind::ABORT, 0, &[])), Drop::OotbAbort),
        (sctp(QUIET_PORT, 0, &init_chunk()), Drop::NotListening),
    ];
    for (packet, reason) in cases {
        let frame = Ipv4::default().frame(&packet);
        let outcome = program.run(&frame)?;
        ensure!(outcome.verdict == reason.into() && outcome.frame == frame, "{outcome:?}");
    }
    Ok(())
}

/// Where the driver cannot send, the packet itself goes to a worker; as often as an answer would, and verified as it would be.
#[test]
fn workers_answer_where_the_driver_does_not_send() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    sctp_lab::cpus::stay()?;
    let settings = Settings { workers: 3, verify_up_to: 0, answers: [only(3), PLENTY], ..Settings::default() };
    let settings = Settings { policy: policy::WORKERS_ANSWER, ..settings };
    let program = Model::new(&settings).program(settings)?;
    let mut damaged = nobodys();
    damaged[9] ^= 1;
    program.run_expecting(&Ipv4::default().frame(&damaged), Drop::Checksum.into())?;
    for packet in [nobodys(), sctp(PORT, 77, &chunk(kind::SHUTDOWN_ACK, 0, &[])), sctp(QUIET_PORT, 0, &init_chunk())] {
        let frame = Ipv4::default().frame(&packet);
        let outcome = program.run_expecting(&frame, Redirect::ToBeAnswered.into())?;
        let metadata = outcome.rx_metadata().context("no metadata")?;
        ensure!(outcome.frame == frame && metadata.association().is_none(), "{outcome:?}");
    }
    program.run_expecting(&Ipv4::default().frame(&nobodys()), Drop::AnswerRate.into())?;
    Ok(())
}

/// Whoever verifies what is redirected: what is answered has been verified.
#[test]
fn nothing_is_answered_unverified() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    for verify_up_to in [0, 256, u32::MAX] {
        let settings = Settings { verify_up_to, ..Settings::default() };
        let program = Model::new(&settings).program(settings)?;
        for length in [40, 1372] {
            let mut packet = sctp(PORT, 77, &data_chunk(length));
            packet[8] ^= 1;
            let outcome = program.run(&Ipv4::default().frame(&packet))?;
            ensure!(outcome.verdict == Drop::Checksum.into(), "limit {verify_up_to}, {length} bytes: {outcome:?}");
        }
    }
    Ok(())
}

/// A frame to a group of hosts, whatever its IP address says.
#[test]
fn frames_to_a_group_are_not_answered() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let settings = Settings::default();
    let program = Model::new(&settings).program(settings)?;
    for at in [0, 6] {
        let mut frame = Ipv4::default().frame(&nobodys());
        frame[at] |= 1;
        let outcome = program.run(&frame)?;
        ensure!(outcome.verdict == Drop::NonUnicast.into() && outcome.frame == frame, "{outcome:?}");
    }
    Ok(())
}

/// So many tokens now, and the next in a quarter of an hour.
const fn only(tokens: u64) -> Rate {
    const INTERVAL: u64 = 900_000_000_000;
    Rate { interval: INTERVAL, tolerance: (tokens - 1) * INTERVAL }
}

const PLENTY: Rate = only(1000);

/// How many of `count` packets from each of `sources` are answered; all others have to be dropped for the rate. They run on one
/// CPU, or there would be several buckets.
fn answered(program: &Program, sources: &[[u8; 4]], count: usize) -> Result<Vec<usize>> {
    let mut answered = vec![0; sources.len()];
    for _ in 0..count {
        for (answered, &source) in answered.iter_mut().zip(sources) {
            match program.run(&Ipv4 { source, ..Ipv4::default() }.frame(&nobodys()))?.verdict {
                Verdict::Answer(Answer::Abort) => *answered += 1,
                Verdict::Drop(Drop::AnswerRate) => {}
                other => anyhow::bail!("{other:?}"),
            }
        }
    }
    Ok(answered)
}

#[test]
fn each_prefix_and_each_cpu_have_their_tokens() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    sctp_lab::cpus::stay()?;
    let load = |answers| {
        let settings = Settings { answers, ..Settings::default() };
        Model::new(&settings).program(settings)
    };
    // Two hosts of one prefix share, a third has its own.
    let sources = [[10, 7, 7, 1], [10, 7, 7, 2], [10, 7, 8, 1]];
    let found = answered(&load([PLENTY, only(6)])?, &sources, 10)?;
    ensure!(found == [3, 3, 6], "per prefix: {found:?}");
    let found = answered(&load([only(5), PLENTY])?, &sources, 10)?;
    ensure!(found == [2, 2, 1], "per CPU: {found:?}");

    // A prefix that has none left takes none from the CPU.
    let program = load([only(6), only(2)])?;
    ensure!(answered(&program, &sources[..1], 50)? == [2], "the first prefix");
    ensure!(answered(&program, &sources[2..], 50)? == [2], "the second prefix");
    Ok(())
}

/// A packet with a wrong checksum takes no token, so nobody can use up a network's answers by guessing.
#[test]
fn damaged_packets_take_no_tokens() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    sctp_lab::cpus::stay()?;
    let settings = Settings { answers: [only(2), only(2)], ..Settings::default() };
    let program = Model::new(&settings).program(settings)?;
    let mut packet = nobodys();
    packet[9] ^= 1;
    for _ in 0..10 {
        program.run_expecting(&Ipv4::default().frame(&packet), Drop::Checksum.into())?;
    }
    ensure!(answered(&program, &[PEER_V4], 5)? == [2], "tokens are missing");
    Ok(())
}
