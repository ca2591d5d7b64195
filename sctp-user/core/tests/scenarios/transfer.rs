//! RFC 9260 §6 and §7: user data, acknowledgements, timers, windows.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use sctp_core::time::Instant;
use sctp_core::wire::{Chunk, ChunkType, Packet};
use sctp_core::{AssociationConfig, CloseReason, Connect, Endpoint, EndpointConfig, Event, RemoteError};

use crate::sim::app::{Phase, Plan, Reading, Sizes};
use crate::sim::network::{LinkConfig, Loss};
use crate::sim::packet::{has, number};
use crate::sim::world::{Verdict, World};
use crate::stage::*;

const SECOND: Duration = Duration::from_secs(1);

/// The delayed-SACK trap: a client that sends, and waits for the answer before it sends again, must not wait for a timer of the
/// other side.
#[test]
fn request_and_response_take_a_round_trip_each() {
    for size in [1, 100, 1400, 1500, 5000, 65_536, 262_144] {
        let mut world = established(&format!("request_response_{size}"), &AssociationConfig::default());
        let mut longest = Duration::ZERO;
        for round in 1..=30 {
            let start = world.now;
            world.send(0, 0, size);
            assert!(world.run_while(SECOND * 5, |world| world.sides[1].received == round));
            world.send(1, 0, size);
            assert!(world.run_while(SECOND * 5, |world| world.sides[0].received == round));
            // The first rounds of long messages need several round trips until the window has grown.
            if round > 10 {
                longest = longest.max(world.now - start);
            }
        }
        // Max.Burst (RFC 9260 §6.1 D) lets four packets begin, and four more go for each SACK: 180 packets take five to six round
        // trips each way however large cwnd is.
        let round_trips = if size > 20_000 { 12 } else { 1 };
        let bound = ROUND_TRIP * round_trips + TICK;
        assert!(longest <= bound, "{size} bytes there and back took {longest:?}");
        world.finish();
    }
}

/// RFC 9260 §7.2.4: one lost packet among many is sent again on gap reports, long before its timer.
//= test RFC 9260 §7.2.4: "it SHOULD wait for two further miss indications"
//= test RFC 9260 §7.2.4: "the sender SHOULD ignore the value of cwnd and SHOULD NOT delay retransmission for this
//= single packet"
#[test]
fn fast_retransmit_comes_before_t3() {
    let mut world = established("fast_retransmit", &AssociationConfig::default());
    // Opens the congestion window.
    for _ in 0..20 {
        world.send(0, 0, 1400);
        world.run_for(ROUND_TRIP * 2);
    }
    let lost = world.now;
    lose(&mut world, CLIENT, ChunkType::DATA, 1);
    for _ in 0..6 {
        world.send(0, 0, 1400);
    }
    world.run_for(SECOND * 3);
    let first = world.packets.iter().find(|packet| packet.at >= lost && has(&packet.bytes, ChunkType::DATA)).unwrap();
    let tsn = data(&first.bytes)[0];
    let again = world.packets.iter().filter(|packet| packet.at >= lost && data(&packet.bytes).contains(&tsn));
    let times: Vec<Instant> = again.map(|packet| packet.at).collect();
    assert_eq!(times.len(), 2, "sent, and sent again once");
    assert_at(times[1], lost + ROUND_TRIP, "the third report");
    let association = world.nodes[CLIENT].endpoint.association(world.sides[0].id).unwrap();
    assert_eq!((association.stats().fast_retransmits, association.stats().t3_timeouts), (1, 0));
    assert_eq!(world.sides[1].received, 26);
    world.finish();
}

/// RFC 9260 §6.3.3: T3-rtx starts at the RTO, doubles up to RTO.Max, and the peer is given up after Association.Max.Retrans.
//= test RFC 9260 §6.1: "if the T3-rtx timer of that address is not currently running, the sender MUST start that timer"
//= test RFC 9260 §6.1: "the timer value SHOULD be adjusted according to the timer rules"
//= test RFC 9260 §6.1: "the sender MUST restart the timer if the earliest"
//= test RFC 9260 §8.1: "An endpoint SHOULD keep a counter on the total number of consecutive retransmissions to its
//= peer"
//= test RFC 9260 §8.1: "the endpoint SHOULD consider the peer endpoint unreachable and SHALL stop transmitting"
#[test]
fn t3_backs_off_to_rto_max_and_gives_up() {
    let config = AssociationConfig {
        rto_max: SECOND * 5,
        association_max_retransmits: 6,
        path_max_retransmits: 6,
        heartbeat_interval: None,
        ..AssociationConfig::rfc()
    };
    let mut world = established("t3_back_off", &config);
    isolate(&mut world);
    let start = world.now;
    world.send(0, 0, 100);
    world.run_for(SECOND * 100);
    let sent: Vec<Instant> = times(&world, CLIENT, ChunkType::DATA).into_iter().filter(|at| *at >= start).collect();
    let gaps: Vec<u64> = sent.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    // The handshake measured a round trip of 20 ms, so the RTO is RTO.Min, which is a second.
    assert_eq!(gaps, [1, 2, 4, 5, 5, 5]);
    assert_eq!(world.sides[0].reason(), Some(&CloseReason::Unreachable));
    let closed = world.sides[0].closed.unwrap();
    assert!(closed >= sent[6] + SECOND * 5 && closed <= sent[6] + SECOND * 5 + TICK);
    world.harsh = true;
    world.finish();
}

#[test]
fn a_lost_last_packet_is_recovered_by_t3() {
    let mut world = established("lost_tail", &AssociationConfig::rfc());
    lose(&mut world, CLIENT, ChunkType::DATA, 1);
    let start = world.now;
    world.send(0, 0, 100);
    world.run_for(SECOND * 3);
    let sent = times(&world, CLIENT, ChunkType::DATA);
    assert_eq!(sent.len(), 2);
    assert_at(sent[1], start + SECOND, "RTO.Min");
    assert_eq!(world.sides[1].received, 1);
    world.finish();
}

fn small_window() -> AssociationConfig {
    AssociationConfig { receive_buffer: 8000, max_message_size: 6000, ..AssociationConfig::rfc() }
}

/// RFC 9260 §6.1 A: a closed window is probed, more and more slowly, for as long as the receiver lives.
//= test RFC 9260 §6.1: "Senders MUST support zero window probing."
//= test RFC 9260 §6.1: "the unacknowledged window probes SHOULD NOT increment the error counter"
//= test RFC 9260 §6.1: "SHOULD increase the probe interval exponentially afterwards"
//= test RFC 9260 §6.2: "When the window opens up, an SCTP receiver SHOULD send additional SACK chunks"
//= test RFC 9260 §6.2: "The data receiver SHOULD notify the data sender in a timely manner"
#[test]
fn a_closed_window_is_probed_for_hours() {
    let config = AssociationConfig { association_max_retransmits: 3, ..small_window() };
    let client = Plan { messages: 40, sizes: Sizes::Fixed(1000), burst: 40, ..Plan::with_config(config.clone()) };
    let server = Plan { reading: Reading::Manual, ..Plan::with_config(config) };
    let mut world = pair("closed_window", client, server);
    establish(&mut world);
    world.run_for(SECOND * 10);
    let begin = world.now;
    world.run_for(SECOND * 3 * 3600);
    assert_eq!(state(&world, 0), Some(sctp_core::AssociationState::Established), "the probes are answered");
    let probes: Vec<Instant> = times(&world, CLIENT, ChunkType::DATA).into_iter().filter(|at| *at > begin).collect();
    assert!((100..=200).contains(&probes.len()), "one a minute (RTO.Max), not {} in 3 h", probes.len());
    // The reader wakes up: everything flows, at once and not with the next probe.
    let start = world.now;
    world.sides[1].plan.reading = Reading::Eager;
    let read = world.take(1, u32::MAX);
    world.judge(read);
    world.settle(SERVER);
    assert!(world.run_while(SECOND * 5, |world| world.sides[1].received == 40), "{} read", world.sides[1].received);
    assert!(world.now - start < SECOND, "the window update is sent when the window opens, not when it is probed");
    world.finish();
}

/// The same when the window update is lost: the next probe finds the window open.
//= test RFC 9260 §6.1: "Senders MUST support zero window probing."
#[test]
fn a_lost_window_update_does_not_matter() {
    let config = small_window();
    let client = Plan { messages: 40, sizes: Sizes::Fixed(1000), burst: 40, ..Plan::with_config(config.clone()) };
    let server = Plan { reading: Reading::Manual, ..Plan::with_config(config) };
    let mut world = pair("lost_window_update", client, server);
    establish(&mut world);
    world.run_for(SECOND * 10);
    world.sides[1].plan.reading = Reading::Eager;
    let sacks = times(&world, SERVER, ChunkType::SACK).len();
    lose(&mut world, SERVER, ChunkType::SACK, 1);
    let read = world.take(1, u32::MAX);
    world.judge(read);
    world.settle(SERVER);
    assert_eq!(times(&world, SERVER, ChunkType::SACK).len(), sacks + 1, "an update is sent");
    assert!(world.run_while(SECOND * 120, |world| world.sides[1].received == 40), "{} read", world.sides[1].received);
    world.finish();
}

/// RFC 9260 §6.2: every second packet is acknowledged at once, a single one after SACK.Delay.
//= test RFC 9260 §5.1: "After the reception of the first DATA chunk in an association, the endpoint MUST immediately
//= respond with a SACK chunk"
//= test RFC 9260 §6.2: "The guidelines on the delayed acknowledgement algorithm specified in Section 4.2 of [RFC5681]
//= SHOULD be followed."
//= test RFC 9260 §6.2: "an acknowledgement SHOULD be generated for at least every second packet"
//= test RFC 9260 §6.2: "An SCTP receiver MUST NOT generate more than one SACK chunk for every incoming packet"
//= test RFC 9260 §6.2: "an SCTP transmitter MUST NOT be more aggressive in sending SACK chunks than the following
//= algorithms allow"
#[test]
fn sacks_are_delayed_only_when_they_may_be() {
    let config = AssociationConfig { sack_early: false, ..AssociationConfig::rfc() };
    let mut world = established("delayed_sacks", &config);
    // "After the reception of the first DATA chunk … the endpoint MUST immediately respond with a SACK" (§5.1).
    let start = world.now;
    world.send(0, 0, 1400);
    world.run_for(SECOND);
    assert_eq!(times(&world, SERVER, ChunkType::SACK), [start + DELAY], "the first packet");
    let start = world.now;
    world.send(0, 0, 1400);
    world.run_for(SECOND);
    assert_at(
        *times(&world, SERVER, ChunkType::SACK).last().unwrap(),
        start + DELAY + config.sack_delay,
        "a single packet",
    );
    let start = world.now;
    world.send(0, 0, 1400);
    world.send(0, 0, 1400);
    world.run_for(SECOND);
    assert_eq!(*times(&world, SERVER, ChunkType::SACK).last().unwrap(), start + DELAY, "the second packet");
    world.finish();
}

/// RFC 9260 §6.6: one stream does not wait for another, nor an unordered message for anything.
//= test RFC 9260 §3.3.1: "unordered DATA chunks MUST be dispatched to the upper layer by the receiver without any
//= attempt to reorder"
//= test RFC 9260 §6.6: "the endpoint MUST hold the received DATA chunks from delivery to the ULP until they are
//= reordered"
//= test RFC 9260 §6.6: "an endpoint MUST deliver DATA chunks received with the U flag set to 0 to the upper layer
//= according to the order"
#[test]
fn only_its_own_stream_waits_for_a_lost_message() {
    let mut world = established("head_of_line", &AssociationConfig::default());
    lose(&mut world, CLIENT, ChunkType::DATA, 1);
    world.send(0, 0, 1400);
    world.send(0, 0, 1400);
    world.send(0, 1, 500);
    world.send_unordered(0, 0, 500);
    world.run_for(DELAY + TICK);
    assert_eq!(world.sides[1].received, 2, "stream 1 and the unordered one");
    world.run_for(SECOND * 3);
    assert_eq!(world.sides[1].received, 4);
    world.finish();
}

/// RFC 9260 §6.9, §6.10: every length around the edges of fragments and padding.
//= test RFC 9260 §6: "an endpoint MUST fragment large user messages into multiple DATA chunks"
//= test RFC 9260 §6: "MUST be implemented by the data receiver, i.e., an endpoint MUST properly receive and process
//= bundled or fragmented data"
//= test RFC 9260 §6.9: "The data sender MUST break the user message into a series of DATA chunks."
#[test]
fn messages_of_every_length_arrive() {
    for path_mtu in [576, 1280, 1500] {
        let config = AssociationConfig { path_mtu, ..AssociationConfig::default() };
        let mut world = established(&format!("lengths_{path_mtu}"), &config);
        let mtu = usize::from(path_mtu);
        let edges =
            (1..=4).chain(mtu - 60..=mtu + 4).chain(2 * mtu - 110..=2 * mtu - 90).chain([65_535, 65_536, 262_144]);
        for (before, length) in edges.enumerate() {
            world.send(0, 3, length);
            let arrived = world.run_while(SECOND * 10, |world| world.sides[1].received as usize > before);
            assert!(arrived, "{length} bytes");
        }
        world.finish();
    }
}

/// RFC 9260 §6.9: no packet is larger than the path's MTU, and full ones fill it.
//= test RFC 9260 §6: "The size of each DATA chunk SHOULD be smaller than or equal to the Association Maximum DATA Chunk
//= Size (AMDCS)."
//= test RFC 9260 §6.9: "the SCTP implementation MUST take into account the SCTP packet header as well as the DATA chunk
//= header(s)"
//= test RFC 9260 §6.9: "it MUST fragment a user message if the size of the user message to be sent causes the outbound
//= SCTP packet size to exceed the current PMTU"
#[test]
fn fragments_fill_packets() {
    let mut world = established("fragments_fill_packets", &AssociationConfig::default());
    world.send(0, 0, 100_000);
    world.run_for(SECOND * 5);
    let longest = world.packets.iter().map(|packet| packet.bytes.len()).max();
    assert_eq!(longest, Some(1480));
    let with_data = times(&world, CLIENT, ChunkType::DATA).len();
    assert!(with_data <= 100_000 / 1452 + 2, "{with_data} packets");
    world.finish();
}

/// When a path turns out to be narrower, what follows keeps to that.
//= test RFC 9260 §7.3: "this AMDCS SHOULD be used to calculate the size of each DATA chunk"
//= test RFC 9260 §6.9: "The sender SHOULD choose a size of DATA chunks that is smaller than or equal to the AMDCS."
#[test]
fn a_smaller_path_mtu_is_kept_to() {
    let mut world = established("smaller_path_mtu", &AssociationConfig::default());
    world.send(0, 0, 100_000);
    world.run_for(ROUND_TRIP + Duration::from_millis(2));
    let (now, id) = (world.now, world.sides[0].id);
    world.nodes[CLIENT].endpoint.set_path_mtu(now, id, address(SERVER, 0), 600).unwrap();
    world.settle(CLIENT);
    world.run_for(SECOND);
    assert_eq!(world.sides[1].received, 1);
    let association = |world: &World| {
        let association = world.nodes[CLIENT].endpoint.association(id).expect("it lives");
        (association.stats().data_chunks_sent, association.primary_path().mtu)
    };
    let (before, mtu) = association(&world);
    assert_eq!(mtu, 600);
    world.send(0, 0, 5520);
    world.run_for(SECOND);
    // 552 bytes of payload to a chunk, which is a multiple of four: 600 - 20 - 12 - 16.
    assert_eq!(association(&world).0 - before, 10);
    world.finish();
}

/// A message that is longer than the peer takes ends the association.
#[test]
fn a_message_that_is_too_long_is_a_violation() {
    let small = AssociationConfig { max_message_size: 3000, ..AssociationConfig::default() };
    let mut world = pair("message_too_long", Plan::manual(), Plan::with_config(small));
    establish(&mut world);
    world.send(0, 0, 10_000);
    world.run_for(SECOND);
    let reasons = (world.sides[0].reason(), world.sides[1].reason());
    let violation = matches!(reasons.1, Some(CloseReason::ProtocolViolation { .. }));
    assert!(
        violation
            && matches!(reasons.0, Some(CloseReason::PeerAbort { cause: Some(RemoteError::ProtocolViolation { .. }) })),
        "{reasons:?}"
    );
    world.harsh = true;
    world.finish();
}

/// RFC 9260 §6.10: small messages that wait share packets.
//= test RFC 9260 §6: "MUST be implemented by the data receiver, i.e., an endpoint MUST properly receive and process
//= bundled or fragmented data"
#[test]
fn small_messages_are_bundled() {
    let plan = Plan { messages: 1000, sizes: Sizes::Fixed(50), burst: 1000, streams: 10, ..Plan::manual() };
    let mut world = pair("bundling", plan, Plan::manual());
    establish(&mut world);
    world.run_for(SECOND * 5);
    assert_eq!(world.sides[1].received, 1000);
    let packets = times(&world, CLIENT, ChunkType::DATA).len();
    // 1468 bytes of chunks hold 21 of 68.
    assert!(packets <= 1000 / 21 + 20, "{packets} packets");
    world.finish();
}

/// RFC 9260 §6.2: duplicates are dropped, and reported.
//= test RFC 9260 §6.2: "The duplicate TSN number(s) SHOULD be reported in the SACK chunk as duplicate."
#[test]
fn duplicates_are_reported_and_not_delivered() {
    let mut world = established("duplicates", &AssociationConfig::default());
    world.network.config(address(CLIENT, 0), address(SERVER, 0)).duplicate = 1.0;
    for _ in 0..20 {
        world.send(0, 0, 1000);
        world.run_for(ROUND_TRIP * 3);
    }
    assert_eq!(world.sides[1].received, 20);
    let association = world.nodes[SERVER].endpoint.association(world.sides[1].id).unwrap();
    assert_eq!(association.stats().duplicate_chunks, 20);
    let reported: usize = world.packets.iter().map(|packet| duplicates(&packet.bytes)).sum();
    assert!(reported >= 20, "{reported} reported");
    world.finish();
}

fn duplicates(bytes: &[u8]) -> usize {
    let mut count = 0;
    for raw in Packet::parse(bytes).unwrap().chunks() {
        if let Ok(Chunk::Sack(sack)) = Chunk::parse(raw.unwrap()) {
            count += sack.duplicate_tsns.len();
        }
    }
    count
}

/// More than 2^16 ordered messages on one stream.
//= test RFC 9260 §6.5: "when the Stream Sequence Number reaches the value 65535, the next Stream Sequence Number MUST
//= be set to 0"
#[test]
fn ssns_wrap() {
    let plan = Plan { messages: 70_000, sizes: Sizes::Fixed(1), burst: 2000, streams: 1, ..Plan::manual() };
    let mut world = pair("ssn_wrap", plan, Plan::manual());
    let link = LinkConfig { loss: Loss::Uniform(0.01), ..LinkConfig::with_delay(Duration::from_millis(1)) };
    world.mesh(CLIENT, SERVER, &link);
    let client = world.connect(0);
    assert!(world.run_while(SECOND * 600, |world| world.sides.len() == 2 && world.sides[1].received == 70_000));
    assert_eq!(world.sides[client].phase, Phase::Open);
    world.finish();
}

/// TSNs go past 2^32 while there are losses.
//= test RFC 9260 §1.6: "the next TSN a DATA chunk MUST use after transmitting TSN = 2^32 - 1 is TSN = 0"
#[test]
fn tsns_wrap() {
    const BEFORE: u32 = 60_000;
    let seed = (0..).find(|seed| initial_tsn(*seed) > u32::MAX - BEFORE).expect("every TSN turns up in the end");
    let plan = Plan { messages: BEFORE + 5000, sizes: Sizes::Fixed(1), burst: 2000, streams: 8, ..Plan::manual() };
    let mut world = World::new(1, "tsn_wrap", "cargo test -p sctp-core --test scenarios tsns_wrap");
    for node in [CLIENT, SERVER] {
        world.node_seeded(endpoint(node), wide(seed + node as u64));
    }
    let link = LinkConfig { loss: Loss::Uniform(0.01), ..LinkConfig::with_delay(Duration::from_millis(1)) };
    world.mesh(CLIENT, SERVER, &link);
    world.converse(conversation(plan, Plan::manual()));
    world.connect(0);
    let everything = BEFORE + 5000;
    assert!(world.run_while(SECOND * 600, |world| world.sides.len() == 2 && world.sides[1].received == everything));
    let tsns: Vec<u32> = world.packets.iter().flat_map(|packet| data(&packet.bytes)).map(|(tsn, _)| tsn).collect();
    assert!(tsns.iter().any(|tsn| *tsn > u32::MAX - BEFORE) && tsns.iter().any(|tsn| *tsn < 5000));
    world.finish();
}

fn endpoint(node: usize) -> EndpointConfig {
    EndpointConfig { addresses: vec![address(node, 0)], ..EndpointConfig::default() }
}

fn wide(seed: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes
}

/// The initial TSN of the first association that an endpoint with this seed makes.
fn initial_tsn(seed: u64) -> u32 {
    let mut endpoint = Endpoint::new(endpoint(CLIENT), wide(seed));
    let peer: IpAddr = address(SERVER, 0);
    let connect = Connect { local_port: Some(CLIENT_PORT), ..Connect::new(peer, SERVER_PORT) };
    let now = Instant::from_millis(1_000_000);
    endpoint.connect(now, connect).expect("nothing stands against it");
    let mut buffer = [0; 1480];
    let transmit = endpoint.poll_transmit(now, &mut buffer).expect("an INIT is sent");
    let packet = Packet::parse(&buffer[..transmit.len]).unwrap();
    match Chunk::parse(packet.chunks().next().unwrap().unwrap()) {
        Ok(Chunk::Init(init)) => number(init.initial_tsn),
        other => panic!("an INIT is sent, not {other:?}"),
    }
}

/// A whole window is lost: everything is sent again, and only what is needed.
//= test RFC 9260 §6.3.3: "SHOULD be marked for retransmission and sent as soon as cwnd allows"
//= test RFC 9260 §6.1: "the sender MUST first transmit any DATA chunks that are marked for retransmission"
#[test]
fn a_lost_window_is_sent_again() {
    let plan = Plan { messages: 300, sizes: Sizes::Fixed(1400), burst: 300, ..Plan::manual() };
    let mut world = pair("lost_window", plan, Plan::manual());
    establish(&mut world);
    world.run_for(ROUND_TRIP);
    let until = world.now + ROUND_TRIP;
    world.intercept(move |sight| {
        let lost = sight.from == CLIENT && sight.at < until && has(sight.bytes, ChunkType::DATA);
        if lost { Verdict::Drop } else { Verdict::Pass }
    });
    assert!(world.run_while(SECOND * 30, |world| world.sides[1].received == 300));
    world.finish();
}

/// A sender that fills the send buffer is told when there is room again.
#[test]
fn a_full_send_buffer_empties() {
    let config = AssociationConfig { send_buffer: 10_000, max_send_buffer: 0, ..AssociationConfig::default() };
    let plan = Plan { messages: 500, sizes: Sizes::Mixed(5000), burst: 500, ..Plan::with_config(config) };
    let mut world = pair("full_send_buffer", plan, Plan::manual());
    establish(&mut world);
    assert!(world.run_while(SECOND * 60, |world| world.sides[1].received == 500));
    let writable = world.sides[0].events.iter().filter(|(_, event)| *event == Event::Writable);
    assert!(writable.count() > 5);
    world.run_for(SECOND);
    let association = world.nodes[CLIENT].endpoint.association(world.sides[0].id).expect("it lives");
    assert_eq!(association.send_buffer_free(), 10_000);
    world.finish();
}

/// What was not read is still there after the association has ended.
#[test]
fn messages_can_be_read_after_the_end() {
    let server = Plan { reading: Reading::Manual, ..Plan::manual() };
    let mut world = pair("read_after_end", Plan::manual(), server);
    establish(&mut world);
    for _ in 0..5 {
        world.send(0, 0, 3000);
    }
    world.shutdown(0);
    world.run_for(SECOND * 5);
    assert_eq!(world.sides[1].reason(), Some(&CloseReason::Shutdown));
    assert_eq!(world.sides[1].received, 5);
    world.finish();
}

/// A message of three quarters of the receive buffer is the longest that may be; it arrives while others wait to be read.
#[test]
fn messages_may_nearly_fill_the_receive_buffer() {
    let config = AssociationConfig { receive_buffer: 20_000, max_message_size: 15_000, ..AssociationConfig::default() };
    let client = Plan { messages: 40, sizes: Sizes::Fixed(15_000), burst: 40, ..Plan::with_config(config.clone()) };
    let reading = Reading::Paced { every: Duration::from_millis(50), messages: 1 };
    let server = Plan { reading, ..Plan::with_config(config) };
    let mut world = pair("message_fills_buffer", client, server);
    establish(&mut world);
    assert!(world.run_while(SECOND * 600, |world| world.sides[1].received == 40), "{} read", world.sides[1].received);
    world.finish();
}

/// `Bytes` that the application sends are not kept longer than needed.
#[test]
fn sent_payload_is_let_go_when_acknowledged() {
    let mut world = established("payload_let_go", &AssociationConfig::default());
    let payload: Bytes = vec![7; 5000].into();
    let side = &world.sides[0];
    let (node, id, now) = (side.node, side.id, world.now);
    let message = sctp_core::Message::new(0, payload.clone());
    world.nodes[node].endpoint.send(now, id, message).unwrap();
    assert!(!payload.is_unique());
    world.sides[1].plan.reading = Reading::Manual;
    world.settle(CLIENT);
    world.run_for(SECOND);
    assert!(payload.is_unique());
    let (node, id) = (world.sides[1].node, world.sides[1].id);
    let received = world.nodes[node].endpoint.recv(id).expect("it has arrived");
    assert_eq!(received.into_bytes(), payload);
    world.finish();
}
