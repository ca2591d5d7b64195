//! Packets that no honest peer sends, or not now, while an association lives.

use std::time::Duration;

use bytes::Bytes;
use sctp_core::serial::Tsn;
use sctp_core::wire::{CauseCode, Chunk, CookieEcho, DataFlags, Emit, Heartbeat, Parameter, Shutdown};
use sctp_core::{ChecksumState, Datagram, Ecn, PayloadSource, SharedPayload};

use crate::forger::{Answer, Forged, Forger, PEER_TSN, Raw, codes, data_chunk, init};
use crate::sim::random::Random;
use crate::stage::*;

// DATA and SACK.

//= test RFC 9260 §6.2: "it SHOULD send an ABORT chunk with a "No User Data" error cause"
#[test]
fn data_without_user_data_is_aborted() {
    let mut forger = Forger::established("data_without_user_data_is_aborted");
    let mut chunk = vec![0, 3, 0, 16];
    chunk.extend_from_slice(&PEER_TSN.to_be_bytes());
    chunk.extend_from_slice(&[0; 8]);
    let answers = forger.say(&[&Raw(chunk)]);
    assert_eq!(answers[0].abort(), (vec![CauseCode::NO_USER_DATA], false));
    assert_eq!(forger.associations(), 0);
    forger.finish();
}

//= test RFC 9260 §6.5: "it SHOULD acknowledge the reception of the DATA chunk following the normal procedure,
//= immediately send an ERROR chunk"
#[test]
fn an_invalid_stream_is_acknowledged_and_reported() {
    let mut forger = Forger::established("an_invalid_stream_is_acknowledged_and_reported");
    let answers = forger.say(&[&data_chunk(PEER_TSN, 10, 0, DataFlags::UNFRAGMENTED, b"x")]);
    let chunks = answers[0].chunks();
    let [Chunk::Error(error), Chunk::Sack(sack)] = &chunks[..] else { panic!("{chunks:?}") };
    assert_eq!(codes(&error.causes), [CauseCode::INVALID_STREAM]);
    assert_eq!(sack.cumulative_tsn_ack, Tsn(PEER_TSN));
    forger.finish();
}

//= test RFC 9260 §6.7: "If the endpoint detects a gap in the received DATA chunk sequence, it SHOULD send a SACK chunk
//= with Gap Ack Blocks immediately."
//= test RFC 9260 §6.2: "When a packet arrives with duplicate DATA chunk(s) and with no new DATA chunk(s), the endpoint
//= MUST immediately send a SACK chunk with no delay."
//= test RFC 9260 §7.2.4: "it SHOULD start sending a SACK chunk back every time a packet arrives carrying data until the
//= hole is filled"
//= test RFC 9260 §6.2: "The duplicate TSN number(s) SHOULD be reported in the SACK chunk as duplicate."
#[test]
fn gaps_and_duplicates_are_reported_at_once() {
    let mut forger = Forger::established("gaps_and_duplicates_are_reported_at_once");
    let whole = DataFlags::UNFRAGMENTED;
    let sack = |answers: &[Answer]| match answers[0].only() {
        Chunk::Sack(sack) => sack.to_string(),
        other => panic!("{other}"),
    };
    forger.say(&[&data_chunk(PEER_TSN, 0, 0, whole, b"x")]);
    let answers =
        forger.say(&[&data_chunk(PEER_TSN + 2, 0, 2, whole, b"x"), &data_chunk(PEER_TSN + 4, 0, 4, whole, b"x")]);
    assert!(sack(&answers).contains("cum=1000") && sack(&answers).contains("gaps=[1002-1002, 1004-1004]"));
    let answers = forger.say(&[&data_chunk(PEER_TSN + 2, 0, 2, whole, b"x")]);
    assert!(sack(&answers).contains("duplicates=1"), "{}", sack(&answers));
    let answers = forger.say(&[&data_chunk(PEER_TSN + 1, 0, 1, whole, b"x")]);
    assert!(sack(&answers).contains("cum=1002") && sack(&answers).contains("duplicates=0"));
    let answers = forger.say(&[&data_chunk(PEER_TSN + 3, 0, 3, whole, b"x")]);
    assert!(sack(&answers).contains("cum=1004") && sack(&answers).contains("gaps=[]"));
    forger.finish();
}

#[test]
fn gaps_are_bounded() {
    let mut forger = Forger::established("gaps_are_bounded");
    for step in 1..2000 {
        forger.say(&[&data_chunk(PEER_TSN + 2 * step, 0, 0, DataFlags::UNFRAGMENTED | DataFlags::UNORDERED, b"x")]);
    }
    let association = forger.association();
    assert_eq!(association.stats().data_chunks_received, 256);
    assert_eq!(association.stats().data_chunks_dropped, 1999 - 256);
    forger.finish();
}

#[test]
fn partial_messages_are_bounded() {
    let mut forger = Forger::established("partial_messages_are_bounded");
    let flags = DataFlags::BEGINNING | DataFlags::UNORDERED;
    for step in 1..250 {
        forger.say(&[&data_chunk(PEER_TSN + 2 * step, 0, 0, flags, &[0; 1400])]);
    }
    let association = forger.association();
    assert_eq!(association.receive_buffer_used(), 249 * 1400);
    // A window of 1 MiB: the rest is dropped, not stored.
    for tsn in PEER_TSN..PEER_TSN + 2000 {
        let flags = if tsn == PEER_TSN { DataFlags::BEGINNING } else { DataFlags::MIDDLE };
        forger.say(&[&data_chunk(tsn, 0, 0, flags, &[0; 1400])]);
        if forger.associations() == 0 {
            break;
        }
    }
    assert_eq!(forger.associations(), 0, "fragments that do not fit together end the association");
    forger.finish();
}

#[test]
fn a_peer_that_ignores_the_window_is_not_stored() {
    let mut forger = Forger::established("a_peer_that_ignores_the_window_is_not_stored");
    for step in 0..3000_u16 {
        forger.say(&[&data_chunk(PEER_TSN + u32::from(step), 0, step, DataFlags::UNFRAGMENTED, &[0; 1400])]);
    }
    let association = forger.association();
    assert!(association.receive_buffer_used() < (1 << 20) + 1400);
    forger.finish();
    // Tiny messages cost more than they carry: they get no further than twice the buffer.
    let mut forger = Forger::established("a_peer_that_ignores_the_window_is_not_stored");
    for step in 0..60_000 {
        if step % 1000 == 0 {
            forger.world.run_for(Duration::from_millis(1));
        }
        forger.say(&[&data_chunk(PEER_TSN + step, 0, step as u16, DataFlags::UNFRAGMENTED, b"x")]);
    }
    let association = forger.association();
    assert!(association.messages_ready() <= 2 * (1 << 20) / 64, "{}", association.messages_ready());
    forger.finish();
}

//= test RFC 9260 §12.4: "An SCTP implementation MUST abort the association if it receives a SACK chunk acknowledging a
//= TSN that has not been sent."
#[test]
fn acknowledging_what_was_never_sent_is_aborted() {
    let mut forger = Forger::established("acknowledging_what_was_never_sent_is_aborted");
    let mut sack = vec![3, 0, 0, 16];
    sack.extend_from_slice(&forger.own_tsn.get().to_be_bytes());
    sack.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    let answers = forger.say(&[&Raw(sack)]);
    assert_eq!(answers[0].abort().0, [CauseCode::PROTOCOL_VIOLATION]);
    forger.finish();

    let mut forger = Forger::established("acknowledging_what_was_never_sent_is_aborted");
    let answers = forger.say(&[&Shutdown { cumulative_tsn_ack: forger.own_tsn }]);
    assert_eq!(answers[0].abort().0, [CauseCode::PROTOCOL_VIOLATION]);
    forger.finish();
}

#[test]
fn an_old_sack_changes_nothing() {
    let mut forger = Forger::established("an_old_sack_changes_nothing");
    let mut sack = vec![3, 0, 0, 16];
    sack.extend_from_slice(&(forger.own_tsn - 10).get().to_be_bytes());
    sack.extend_from_slice(&[0; 8]);
    assert!(forger.say(&[&Raw(sack)]).is_empty());
    let association = forger.association();
    assert_eq!(association.peer_window(), 100_000);
    forger.finish();
}

// Other chunks.

//= test RFC 9260 §3.3.6: "An endpoint MUST send this chunk to its peer endpoint as a response to a HEARTBEAT chunk"
//= test RFC 9260 §3.3.6: "This field MUST contain the Heartbeat Info parameter"
//= test RFC 9260 §8.3: "A receiver of a HEARTBEAT chunk MUST respond to a HEARTBEAT chunk with a HEARTBEAT ACK chunk"
//= test RFC 9260 §8.3: "SHOULD immediately respond with a HEARTBEAT ACK chunk that contains the Heartbeat Information
//= TLV, together with any other received TLVs, copied unchanged"
#[test]
fn heartbeats_are_echoed_exactly() {
    let mut forger = Forger::established("heartbeats_are_echoed_exactly");
    // With another parameter after the info, and padding.
    let chunk = vec![4, 0, 0, 18, 0, 1, 0, 7, 1, 2, 3, 0, 0x80, 0x55, 0, 6, 9, 8];
    let answers = forger.say(&[&Raw(chunk.clone())]);
    assert_eq!(answers[0].bytes[12], 5);
    assert_eq!(answers[0].bytes[13..30], chunk[1..]);
    let answers = forger.say(&[&Heartbeat { info: b"12345" }, &Heartbeat { info: b"" }]);
    assert_eq!(answers[0].chunks().len(), 2, "both in one packet");
    forger.finish();
}

#[test]
fn control_chunks_that_wait_are_bounded() {
    let mut forger = Forger::established("control_chunks_that_wait_are_bounded");
    let tag = forger.tag;
    let packet = forger.packet(tag, &[&Heartbeat { info: &[7; 1000] }]);
    for _ in 0..1000 {
        forger.overwhelm(&packet);
    }
    assert!(forger.relieve().len() <= 70);
    forger.finish();
}

// Anything.

/// Honest packets, changed at random and with their checksums made good again, never make an endpoint panic, grow or send rubbish.
#[test]
fn changed_packets_do_no_harm() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let mut forger = Forger::established("changed_packets_do_no_harm");
        let mut tsn = PEER_TSN;
        for _ in 0..200 {
            let chunk =
                data_chunk(tsn, random.below(12) as u16, 0, DataFlags::UNFRAGMENTED | DataFlags::UNORDERED, b"payload");
            let own_address = [Parameter::from_address([10, 0, 0, 1].into())];
            let candidates: [&dyn Emit; 8] = [
                &chunk,
                &init(&own_address),
                &Heartbeat { info: &[1; 40] },
                &Chunk::ShutdownAck,
                &Shutdown { cumulative_tsn_ack: Tsn(random.next() as u32) },
                &Raw(vec![3, 0, 0, 24, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2, 0, 3, 0, 5, 0, 9]),
                &Raw(vec![9, 0, 0, 12, 0, 3, 0, 8, 0, 0, 0, 1]),
                &CookieEcho { cookie: &[1; 104] },
            ];
            tsn = tsn.wrapping_add(1);
            let count = random.within(1..=3);
            let chosen: Vec<&dyn Emit> = (0..count).map(|_| *random.pick(&candidates)).collect();
            let tag = if random.chance(0.9) { forger.tag } else { random.next() as u32 };
            let packet = forger.packet(tag, &chosen);
            let mut bytes = packet.bytes.to_vec();
            for _ in 0..random.below(4) {
                let at = random.within(8..=bytes.len() as u64 - 1) as usize;
                bytes[at] = random.next() as u8;
            }
            if random.chance(0.2) {
                bytes.truncate(random.within(12..=bytes.len() as u64 - 1) as usize);
            }
            bytes[8..12].fill(0);
            let crc = sctp_core::wire::checksum::compute(&bytes);
            bytes[8..12].copy_from_slice(&crc.to_le_bytes());
            let Forged { source, destination, .. } = packet;
            serve_unobserved(&mut forger.world, SERVER, source, destination, &bytes);
            let drained = forger.endpoint().associations().next().map(sctp_core::Association::id);
            if let Some(id) = drained {
                while forger.endpoint().recv(id).is_some() {}
            }
        }
        assert!(forger.associations() <= 1);
    }
}

/// The payload is asked for only where it is: in the packet, and for chunks that are accepted.
#[test]
fn payload_is_taken_for_what_is_accepted_only() {
    struct Counting<'a>(SharedPayload<'a>, usize);
    impl PayloadSource for Counting<'_> {
        fn take(&mut self, range: core::ops::Range<usize>) -> Bytes {
            self.1 += 1;
            self.0.take(range)
        }
    }
    let mut forger = Forger::established("payload_is_taken_for_what_is_accepted_only");
    let whole = DataFlags::UNFRAGMENTED;
    let chunks: [&dyn Emit; 3] = [
        &data_chunk(PEER_TSN, 0, 0, whole, b"a"),
        &data_chunk(PEER_TSN, 0, 0, whole, b"a"),
        &data_chunk(PEER_TSN + 1, 99, 0, whole, b"b"),
    ];
    let packet = forger.packet(forger.tag, &chunks);
    let mut payload = Counting(SharedPayload(&packet.bytes), 0);
    let datagram = Datagram {
        source: packet.source,
        destination: packet.destination,
        encapsulation: None,
        ecn: Ecn::NotEct,
        checksum: ChecksumState::Verified,
        association: None,
        bytes: &packet.bytes,
        payload: &mut payload,
    };
    let now = forger.world.now;
    forger.endpoint().handle(now, datagram);
    assert_eq!(payload.1, 1);
}
