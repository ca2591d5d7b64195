//! HEARTBEATs of live associations, answered by the program (RFC 9260 §8.3).

use anyhow::{Result, ensure};
use sctp_common::frame::ipv4_mapped;
use sctp_common::maps::{HeartbeatKey, policy};
use sctp_common::verdict::AnswerReason as Answer;
use sctp_common::verdict::DropReason as Drop;
use sctp_common::verdict::RedirectReason as Redirect;
use sctp_common::wire::chunk as kind;

use super::answers::answer_to;
use super::frames::*;
use super::model::Model;
use super::program::{Program, Settings};

fn heartbeat(length: usize) -> Vec<u8> {
    let info: Vec<u8> = (0..length).map(|i| (i * 5) as u8).collect();
    chunk(kind::HEARTBEAT, 0, &info)
}

fn load() -> Result<Program> {
    let settings = Settings { policy: policy::ANSWER_HEARTBEATS, ..Settings::default() };
    Model::new(&settings).program(settings)
}

#[test]
fn a_heartbeat_is_answered_byte_for_byte() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let program = load()?;
    for length in [4, 5, 6, 7, 40, 64, 79, 300, 1200] {
        let packet = sctp(PORT, TAG, &heartbeat(length));
        let (v4, v6) = (Ipv4::default().packet(&packet), Ipv6::default().packet(&packet));
        for tags in [&[][..], &[0x8100], &[0x88a8, 0x8100]] {
            for frame in [ethernet(tags, 0x0800, &v4), ethernet(tags, 0x86dd, &v6)] {
                let outcome = program.run_expecting(&frame, Answer::HeartbeatAck.into())?;
                ensure!(outcome.frame == answer_to(&frame, Answer::HeartbeatAck)?, "{length}: {:02x?}", outcome.frame);
            }
        }
    }
    let answered = program.heartbeats(HeartbeatKey::new(ipv4_mapped(PEER_V4), TAG, PEER_PORT, PORT))?;
    ensure!(answered == 9 * 3, "{answered} are counted");
    Ok(())
}

/// One answer as a constant, so that not all depends on the function that builds them.
#[test]
fn a_heartbeat_ack_in_full() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let frame = Ipv4::default().frame(&sctp(PORT, TAG, &chunk(kind::HEARTBEAT, 0, &[0, 1, 0, 8, 1, 2, 3, 4])));
    let mut answer = load()?.run_expecting(&frame, Answer::HeartbeatAck.into())?.frame;
    let crc = u32::from_le_bytes(answer[42..46].try_into()?);
    answer[42..46].fill(0);
    let expected = [
        2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, // Ethernet
        0x45, 0, 0, 44, 0, 0, 0x40, 0, 64, 132, 0x26, 0x4c, 10, 0, 0, 2, 10, 0, 0, 1, // IPv4
        0x96, 0x0c, 0x13, 0x89, 0x9a, 0xbc, 0xde, 0xf0, 0, 0, 0, 0, 5, 0, 0, 12, // SCTP, HEARTBEAT ACK
        0, 1, 0, 8, 1, 2, 3, 4, // what was in the HEARTBEAT
        0xee, 0xee, // Ethernet's padding, as it was
    ];
    ensure!(answer == expected, "{answer:02x?}");
    ensure!(crc == crc32c::crc32c(&answer[34..58]), "CRC {crc:08x}");
    Ok(())
}

/// What the program cannot answer, or must not, goes where it went before.
#[test]
fn others_go_to_their_worker() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let program = load()?;
    let packet = sctp(PORT, TAG, &heartbeat(40));
    let bundled = sctp(PORT, TAG, &[heartbeat(40), data_chunk(8)].concat());
    let behind = sctp(PORT, TAG, &[data_chunk(8), heartbeat(40)].concat());
    let mut group = Ipv4::default().frame(&packet);
    group[6] |= 1;
    let frames = [
        ("bundled", Ipv4::default().frame(&bundled)),
        ("behind", Ipv4::default().frame(&behind)),
        ("IPv4 options", Ipv4 { options: vec![1; 4], ..Ipv4::default() }.frame(&packet)),
        ("extension header", Ipv6::default().with(extension::DESTINATION, &options_header(0)).frame(&packet)),
        ("another address", Ipv4 { source: [10, 0, 0, 77], ..Ipv4::default() }.frame(&packet)),
        ("another port", Ipv4::default().frame(&sctp_between(BOUND_PORT, PORT, TAG, &heartbeat(40)))),
        ("from a group", group),
        ("HEARTBEAT ACK", Ipv4::default().frame(&sctp(PORT, TAG, &chunk(kind::HEARTBEAT_ACK, 0, &[1; 8])))),
    ];
    for (name, frame) in frames {
        let outcome = program.run(&frame)?;
        ensure!(outcome.verdict == Redirect::Association.into() && outcome.frame == frame, "{name}: {outcome:?}");
    }
    let settings = Settings::default();
    let without = Model::new(&settings).program(settings)?;
    let outcome = without.run(&Ipv4::default().frame(&packet))?;
    ensure!(outcome.verdict == Redirect::Association.into(), "not asked to: {outcome:?}");
    Ok(())
}

#[test]
fn a_damaged_heartbeat_is_not_answered() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    for verify_up_to in [u32::MAX, 0] {
        let settings = Settings { policy: policy::ANSWER_HEARTBEATS, verify_up_to, ..Settings::default() };
        let program = Model::new(&settings).program(settings)?;
        let mut packet = sctp(PORT, TAG, &heartbeat(40));
        packet[30] ^= 1;
        let frame = Ipv4::default().frame(&packet);
        let outcome = program.run_expecting(&frame, Drop::Checksum.into())?;
        ensure!(outcome.frame == frame, "{outcome:?}");
        let answered = program.heartbeats(HeartbeatKey::new(ipv4_mapped(PEER_V4), TAG, PEER_PORT, PORT))?;
        ensure!(answered == 0, "{answered} are counted");
    }
    Ok(())
}
