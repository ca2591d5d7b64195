//! What others may send: the unknown, the broken and the forged.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use sctp_core::wire::checksum::compute;
use sctp_core::wire::{Cause, Chunk, ChunkType, Packet};
use sctp_core::{AssociationConfig, AssociationState};

use crate::sim::app::{Phase, Plan, Sizes};
use crate::sim::packet::{chunk_types, has};
use crate::sim::random::Random;
use crate::sim::world::{Deed, World};
use crate::stage::*;

const SECOND: Duration = Duration::from_secs(1);

/// A packet with these chunks and a right checksum.
fn packet(source_port: u16, destination_port: u16, tag: u32, chunks: &[Vec<u8>]) -> Bytes {
    let mut bytes = Vec::new();
    bytes.extend(source_port.to_be_bytes());
    bytes.extend(destination_port.to_be_bytes());
    bytes.extend(tag.to_be_bytes());
    bytes.extend([0; 4]);
    for chunk in chunks {
        bytes.extend(chunk);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    sign(bytes)
}

fn sign(mut bytes: Vec<u8>) -> Bytes {
    if bytes.len() >= 12 {
        let checksum = compute(&bytes);
        bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
    }
    bytes.into()
}

fn chunk(kind: u8, flags: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, flags];
    bytes.extend((4 + value.len() as u16).to_be_bytes());
    bytes.extend(value);
    bytes
}

/// A HEARTBEAT with six bytes of information.
fn heartbeat() -> Vec<u8> {
    chunk(4, 0, &[0, 1, 0, 10, 1, 2, 3, 4, 5, 6])
}

fn init(tag: u32, parameters: &[u8]) -> Vec<u8> {
    let mut value = Vec::new();
    value.extend(tag.to_be_bytes());
    value.extend(100_000_u32.to_be_bytes());
    value.extend(10_u16.to_be_bytes());
    value.extend(10_u16.to_be_bytes());
    value.extend(1_u32.to_be_bytes());
    value.extend(parameters);
    chunk(1, 0, &value)
}

/// Puts a packet before the server, as from the client's address.
fn to_server(world: &mut World, bytes: Bytes) -> usize {
    let before = world.packets.len() + 1;
    world.inject_packet(address(CLIENT, 0), address(SERVER, 0), bytes);
    world.run_for(Duration::from_millis(1));
    before
}

/// The tag that the server's association expects.
fn server_tag(world: &World) -> u32 {
    world.nodes[SERVER].tags(world.sides[1].id).expect("the association is established").local
}

/// RFC 9260 §3.2, table 2: the two highest bits of an unknown chunk type say whether to go on and whether to tell.
#[test]
fn unknown_chunks_are_treated_by_their_high_bits() {
    for (kind, goes_on, reports) in [(0x3e, false, false), (0x7e, false, true), (0xbe, true, false), (0xfe, true, true)]
    {
        let mut world = established(&format!("unknown_chunk_{kind:#04x}"), &AssociationConfig::default());
        let unknown = chunk(kind, 0xaa, b"whatever");
        let tag = server_tag(&world);
        let before = to_server(&mut world, packet(CLIENT_PORT, SERVER_PORT, tag, &[unknown.clone(), heartbeat()]));
        let answers: Vec<ChunkType> = world.packets[before..].iter().flat_map(|p| chunk_types(&p.bytes)).collect();
        assert_eq!(answers.contains(&ChunkType::HEARTBEAT_ACK), goes_on, "{kind:#04x}: {answers:?}");
        assert_eq!(answers.contains(&ChunkType::ERROR), reports, "{kind:#04x}: {answers:?}");
        let quoted = world.packets[before..].iter().any(|packet| reported(&packet.bytes).contains(&unknown));
        assert_eq!(quoted, reports, "the chunk is sent back whole");
        assert_eq!(state(&world, 1), Some(AssociationState::Established));
        world.finish();
    }
}

/// What "Unrecognized Chunk Type" causes in a packet quote.
fn reported(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut quotes = Vec::new();
    for raw in Packet::parse(bytes).unwrap().chunks() {
        let Ok(Chunk::Error(error)) = Chunk::parse(raw.unwrap()) else { continue };
        for cause in error.causes.iter() {
            if let Ok(Cause::UnrecognizedChunkType(chunk)) = cause {
                quotes.push(chunk.to_vec());
            }
        }
    }
    quotes
}

/// Thousands of packets from somebody who knows the addresses and ports but not the tags, amid a transfer.
#[test]
fn forged_packets_do_not_disturb() {
    let plan = Plan { messages: 300, sizes: Sizes::Mixed(5000), burst: 5, pause: DELAY, ..Plan::manual() };
    let mut world = pair("forged_packets", plan.clone(), plan);
    let mut random = Random::new(5);
    for _ in 0..3000 {
        let (victim, pretended) = if random.chance(0.5) { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
        let at = world.now + random.millis(0..=3000);
        world.schedule(at, Deed::Inject(victim, pretended));
    }
    establish_among_strangers(&mut world);
    world.run_for(SECOND * 30);
    for side in &world.sides[..2] {
        assert_eq!((&side.phase, side.received, side.restarts), (&Phase::Open, 300, 0));
    }
    assert!(world.dropped > 500, "{} dropped", world.dropped);
    world.finish();
}

fn establish_among_strangers(world: &mut World) {
    world.connect(0);
    world.run_for(SECOND * 5);
    assert_eq!(world.sides.len(), 2);
}

/// An INIT with the client's address does not harm the association that exists (RFC 9260 §5.2.2): the answer goes to the client,
/// who does not know what it is about.
//= test RFC 9260 §5.2.2: "the existing association, including its current state, and the corresponding TCB MUST NOT be
//= changed"
#[test]
fn a_forged_init_does_not_disturb() {
    let mut world = established("forged_init", &AssociationConfig::default());
    for tag in 1..20 {
        to_server(&mut world, packet(CLIENT_PORT, SERVER_PORT, 0, &[init(tag, &[])]));
        world.send(0, 0, 1000);
        world.send(1, 0, 1000);
        world.run_for(ROUND_TRIP * 2);
    }
    for side in &world.sides {
        assert_eq!((&side.phase, side.received, side.restarts), (&Phase::Open, 19, 0));
    }
    world.finish();
}

/// ABORT, SHUTDOWN COMPLETE and the like end nothing without the right tag (RFC 9260 §8.5).
//= test RFC 9260 §8.5: "the receiver MUST silently discard the packet and MUST NOT process it any further"
#[test]
fn a_forged_end_needs_the_tag() {
    let mut world = established("forged_end", &AssociationConfig::default());
    let tag = server_tag(&world);
    let tags = world.nodes[SERVER].tags(world.sides[1].id).unwrap();
    for (kind, flags) in [(6, 0), (6, 1), (14, 0), (14, 1), (8, 0), (7, 0), (9, 0)] {
        for wrong in [0, 1, tag ^ 1, tag.swap_bytes(), !tag] {
            let value: &[u8] = if kind == 7 { &[0; 4] } else { &[] };
            to_server(&mut world, packet(CLIENT_PORT, SERVER_PORT, wrong, &[chunk(kind, flags, value)]));
        }
    }
    // The T bit is for the peer's tag, its absence for ours.
    to_server(&mut world, packet(CLIENT_PORT, SERVER_PORT, tags.local, &[chunk(6, 1, &[])]));
    to_server(&mut world, packet(CLIENT_PORT, SERVER_PORT, tags.peer, &[chunk(6, 0, &[])]));
    assert_eq!(state(&world, 1), Some(AssociationState::Established));
    to_server(&mut world, packet(CLIENT_PORT, SERVER_PORT, tags.peer, &[chunk(6, 1, &[])]));
    assert!(world.sides[1].reason().is_some(), "an ABORT with the T bit and the peer's tag is one");
    world.harsh = true;
    world.finish();
}

/// "Control chunks … MAY be bundled with an ABORT chunk, but they MUST be placed before the ABORT chunk" (§3.3.7), and the T bit then
/// means what it always means (§8.5.1 B).
#[test]
fn an_abort_behind_another_chunk_may_reflect_the_tag() {
    let mut world = established("abort_behind", &AssociationConfig::default());
    let tags = world.nodes[SERVER].tags(world.sides[1].id).unwrap();
    let behind = |flags| [heartbeat(), chunk(6, flags, &[])];
    to_server(&mut world, packet(CLIENT_PORT, SERVER_PORT, tags.peer ^ 1, &behind(1)));
    to_server(&mut world, packet(CLIENT_PORT, SERVER_PORT, tags.peer, &behind(0)));
    assert_eq!(state(&world, 1), Some(AssociationState::Established));
    to_server(&mut world, packet(CLIENT_PORT, SERVER_PORT, tags.peer, &behind(1)));
    assert!(world.sides[1].reason().is_some(), "an ABORT with the T bit and the peer's tag is one");
    world.harsh = true;
    world.finish();
}

/// Ten thousand INITs leave nothing behind.
#[test]
fn an_init_flood_leaves_no_state() {
    let mut world = pair("init_flood", Plan::manual(), Plan::manual());
    for index in 0..10_000_u32 {
        let port = 1 + (index % 60_000) as u16;
        to_server(&mut world, packet(port, SERVER_PORT, 0, &[init(index + 1, &[])]));
    }
    assert_eq!(world.nodes[SERVER].endpoint.associations().count(), 0);
    let answers = times(&world, SERVER, ChunkType::INIT_ACK).len();
    assert_eq!(answers, 10_000);
    // An honest client still gets through.
    world.packets.clear();
    establish(&mut world);
    world.finish();
}

/// Every beginning of every packet of a short conversation, checksummed anew: broken, but with the right tag.
#[test]
fn truncated_packets_do_no_harm() {
    let plan = Plan { messages: 3, sizes: Sizes::Fixed(60), ..Plan::manual() };
    let mut world = pair("truncated_packets", plan.clone(), plan.clone());
    establish(&mut world);
    world.run_for(SECOND);
    let sent: Vec<Bytes> =
        world.packets.iter().filter(|packet| packet.from == Some(CLIENT)).map(|packet| packet.bytes.clone()).collect();
    let mut cases = 0;
    for bytes in sent {
        for length in 0..bytes.len() {
            cases += 1;
            to_server(&mut world, sign(bytes[..length].to_vec()));
        }
    }
    assert!(cases > 300);
    assert_eq!(state(&world, 1), Some(AssociationState::Established));
    world.send(0, 0, 1000);
    world.run_for(SECOND);
    assert_eq!(world.sides[1].received, 4);
    world.finish();
}

#[test]
fn a_zero_checksum_is_not_a_checksum() {
    let mut world = established("zero_checksum", &AssociationConfig::default());
    let tag = server_tag(&world);
    let mut bytes = packet(CLIENT_PORT, SERVER_PORT, tag, &[heartbeat()]).to_vec();
    bytes[8..12].fill(0);
    let before = to_server(&mut world, bytes.into());
    assert_eq!(world.packets.len(), before, "no answer");
    world.finish();
}

/// The answers to packets that belong to no association (RFC 9260 §8.4).
//= test RFC 9260 §8.4: "the receiver of the OOTB packet MUST fill in the Verification Tag field of the outbound packet
//= with the Verification Tag received in the SHUTDOWN ACK chunk"
//= test RFC 9260 §3.3.7: "no TCB is found, it MUST silently discard it"
#[test]
fn packets_out_of_the_blue_are_answered_as_the_rfc_says() {
    let tag = 0x7777_7777;
    let abort = || chunk(6, 0, &[]);
    let cases = [
        (vec![heartbeat()], Some(ChunkType::ABORT), "rule 8: HEARTBEAT"),
        (vec![chunk(0, 3, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 9])], Some(ChunkType::ABORT), "rule 8: DATA"),
        (vec![abort()], None, "rule 2: ABORT"),
        (vec![heartbeat(), abort()], None, "rule 2: ABORT anywhere"),
        (vec![chunk(8, 0, &[])], Some(ChunkType::SHUTDOWN_COMPLETE), "rule 5: SHUTDOWN ACK"),
        (vec![chunk(14, 0, &[])], None, "rule 6: SHUTDOWN COMPLETE"),
        (vec![chunk(9, 0, &[0, 3, 0, 8, 0, 0, 0, 0])], None, "rule 7: ERROR with Stale Cookie"),
        (vec![chunk(11, 0, &[])], None, "rule 7: COOKIE ACK"),
        (vec![chunk(10, 0, b"no cookie of ours")], None, "rule 4: COOKIE ECHO with a bad cookie"),
        (vec![chunk(7, 0, &[0; 4])], Some(ChunkType::ABORT), "rule 8: SHUTDOWN"),
    ];
    for (chunks, expected, rule) in cases {
        let mut world = pair("out_of_the_blue", Plan::manual(), Plan::manual());
        let before = to_server(&mut world, packet(CLIENT_PORT, SERVER_PORT, tag, &chunks));
        let answers: Vec<&[u8]> = world.packets[before..].iter().map(|packet| &packet.bytes[..]).collect();
        match expected {
            None => assert!(answers.is_empty(), "{rule}: {:?}", dialogue(&world)),
            Some(kind) => {
                assert_eq!(answers.len(), 1, "{rule}");
                assert_eq!(chunk_types(answers[0]), [kind], "{rule}");
                let answer = Packet::parse(answers[0]).unwrap();
                assert_eq!(answer.verification_tag, tag, "{rule}: the tag is reflected");
                assert_eq!(answer.chunks().next().unwrap().unwrap().flags, 1, "{rule}: the T bit is set");
            }
        }
        world.finish();
    }
}

/// A DATA chunk for a stream that was not negotiated (RFC 9260 §6.5), and one without data (§3.3.1).
#[test]
fn impossible_data_is_answered() {
    let data = |tsn: u32, stream: u16, payload: &[u8]| {
        let mut value = tsn.to_be_bytes().to_vec();
        value.extend(stream.to_be_bytes());
        value.extend([0; 6]);
        value.extend(payload);
        chunk(0, 3, &value)
    };
    let mut world = established("invalid_stream", &AssociationConfig::default());
    world.send(0, 0, 10);
    world.run_for(SECOND);
    let next =
        world.packets.iter().flat_map(|packet| crate::stage::data(&packet.bytes)).last().unwrap().0.wrapping_add(1);
    let tag = server_tag(&world);
    let before = to_server(&mut world, packet(CLIENT_PORT, SERVER_PORT, tag, &[data(next, 9999, b"x")]));
    assert!(
        world.packets[before..].iter().any(|packet| has(&packet.bytes, ChunkType::ERROR)),
        "Invalid Stream Identifier"
    );
    assert_eq!(state(&world, 1), Some(AssociationState::Established));
    assert_eq!(world.sides[1].received, 1);
    let before = to_server(&mut world, packet(CLIENT_PORT, SERVER_PORT, tag, &[data(next.wrapping_add(1), 0, b"")]));
    let last = world.packets[before..].last().expect("answered");
    assert!(has(&last.bytes, ChunkType::ABORT), "No User Data ends the association: {:?}", chunk_types(&last.bytes));
    world.harsh = true;
    world.finish();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// An on-path attacker, or a broken peer: chunks of any content with the right tag. The association may die of it, nothing
    /// else.
    #[test]
    fn anything_with_the_right_tag_is_survived(
        packets in prop::collection::vec(
            prop::collection::vec((any_kind(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..60)), 1..5),
            1..20,
        ),
    ) {
        let mut world = established("anything_with_the_right_tag", &AssociationConfig::default());
        world.harsh = true;
        let tag = server_tag(&world);
        for chunks in packets {
            let chunks: Vec<Vec<u8>> = chunks.iter().map(|(kind, flags, value)| chunk(*kind, *flags, value)).collect();
            to_server_unobserved(&mut world, &packet(CLIENT_PORT, SERVER_PORT, tag, &chunks));
        }
    }

    /// The same with small changes to what a real peer sent.
    #[test]
    fn mutated_packets_with_the_right_tag_are_survived(
        mutations in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)), 1..40),
    ) {
        let plan = Plan { messages: 5, sizes: Sizes::Fixed(100), ..Plan::manual() };
        let mut world = pair("mutated_with_the_right_tag", plan.clone(), plan);
        establish(&mut world);
        world.run_for(SECOND);
        world.harsh = true;
        let sent: Vec<Bytes> =
            world.packets.iter().filter(|packet| packet.from == Some(CLIENT)).map(|packet| packet.bytes.clone()).collect();
        for (which, changes) in mutations {
            let mut bytes = which.get(&sent).to_vec();
            for (at, value) in changes {
                let at = 12 + at.index(bytes.len() - 12);
                bytes[at] = value;
            }
            to_server_unobserved(&mut world, &sign(bytes));
        }
    }
}

fn any_kind() -> impl Strategy<Value = u8> {
    prop_oneof![4 => 0..16_u8, 1 => any::<u8>()]
}

fn to_server_unobserved(world: &mut World, bytes: &Bytes) {
    serve_unobserved(world, SERVER, address(CLIENT, 0), address(SERVER, 0), bytes);
}
