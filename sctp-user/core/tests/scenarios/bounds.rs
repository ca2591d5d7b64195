//! A peer can make us keep only so much of anything, whatever it sends and however long nobody takes it.

use sctp_core::wire::{Cause, Chunk, ChunkType, CookieEcho, DataFlags, Emit, ErrorChunk, Packet};
use sctp_core::{AssociationConfig, EndpointConfig, Event, Handled};

use crate::forger::{Forger, PEER_TSN, data_chunk};

/// Gives the endpoint a packet so many times without letting it answer or tell.
fn overwhelm(forger: &mut Forger, times: usize, chunks: &[&dyn Emit]) {
    let packet = forger.packet(forger.tag, chunks);
    for _ in 0..times {
        assert!(matches!(forger.overwhelm(&packet), Handled::Processed(_)));
    }
}

/// How many chunks of a kind are in the answers.
fn count(answers: &[crate::forger::Answer], wanted: ChunkType) -> usize {
    let chunks = |answer: &crate::forger::Answer| {
        let packet = Packet::parse(&answer.bytes).unwrap();
        packet.chunks().filter(|raw| raw.is_ok_and(|raw| raw.chunk_type == wanted)).count()
    };
    answers.iter().map(chunks).sum()
}

#[test]
fn events_that_a_peer_provokes_are_bounded() {
    let limit = EndpointConfig::default().max_pending_events;
    let mut forger = Forger::established("events_are_bounded");
    let causes = [Cause::OutOfResource; 300];
    overwhelm(&mut forger, limit / 300 + 100, &[&ErrorChunk { causes: causes[..].into() }]);
    let mut events = 0;
    while let Some((_, event)) = forger.endpoint().poll_event() {
        assert!(matches!(event, Event::RemoteError { .. }));
        events += 1;
    }
    assert_eq!(events, limit);
    forger.finish();
}

#[test]
fn a_copied_cookie_echo_is_acknowledged_once_at_a_time() {
    let mut forger = Forger::new("cookie_acks_are_bounded");
    let (tag, cookie) = forger.cookie(&[]);
    forger.tag = tag;
    let echo = CookieEcho { cookie: &cookie };
    forger.say(&[&echo]);
    overwhelm(&mut forger, 5000, &[&echo]);
    assert_eq!(count(&forger.relieve(), ChunkType::COOKIE_ACK), 1);
    forger.finish();
}

#[test]
fn errors_to_be_reported_are_bounded() {
    let mut forger = Forger::established("errors_are_bounded");
    let unknown = crate::forger::Raw(vec![0xfe, 0, 0, 4]);
    overwhelm(&mut forger, 5000, &[&unknown, &unknown, &unknown]);
    let errors = count(&forger.relieve(), ChunkType::ERROR);
    assert!((1..=64).contains(&errors), "{errors} ERROR chunks");
    forger.finish();
}

#[test]
fn sacks_that_are_owed_are_bounded() {
    let mut forger = Forger::established("owed_sacks_are_bounded");
    for tsn in 0..2000 {
        let packet =
            forger.packet(forger.tag, &[&data_chunk(PEER_TSN + tsn, 0, tsn as u16, DataFlags::UNFRAGMENTED, b"x")]);
        forger.overwhelm(&packet);
    }
    // Not over the wire: its observer has not seen the DATA come.
    let (now, mut buffer, mut sacks, mut last) = (forger.world.now, [0; 1480], 0, 0);
    while let Some(transmit) = forger.endpoint().poll_transmit(now, &mut buffer) {
        for raw in Packet::parse(&buffer[..transmit.len]).unwrap().chunks() {
            if let Ok(Chunk::Sack(sack)) = Chunk::parse(raw.unwrap()) {
                (sacks, last) = (sacks + 1, sack.cumulative_tsn_ack.get());
            }
        }
    }
    assert!((1..=65).contains(&sacks), "{sacks} SACKs");
    assert_eq!(last, PEER_TSN + 1999);
    forger.world.harsh = true;
    forger.finish();
}

/// A stream that was not granted costs nothing; one that was costs a few bytes, however high its number.
#[test]
fn streams_are_bounded_by_what_was_granted() {
    let config = AssociationConfig { max_inbound_streams: 3, ..AssociationConfig::default() };
    let mut forger = Forger::with_config("streams_are_bounded", config);
    let (tag, cookie) = forger.cookie(&[]);
    forger.tag = tag;
    forger.say(&[&CookieEcho { cookie: &cookie }]);
    assert_eq!(forger.association().inbound_streams(), 3);
    let mut refused = 0;
    for (tsn, stream) in (PEER_TSN..).zip([0, 2, 3, 9, 65_535]) {
        let answers = forger.say(&[&data_chunk(tsn, stream, 0, DataFlags::UNFRAGMENTED, b"x")]);
        refused += count(&answers, ChunkType::ERROR);
    }
    assert_eq!((refused, forger.association().messages_ready()), (3, 2));
    forger.finish();
}
