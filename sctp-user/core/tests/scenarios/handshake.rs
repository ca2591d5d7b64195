//! RFC 9260 §5: association initialization.

use std::time::Duration;

use sctp_core::wire::ChunkType;
use sctp_core::{AssociationConfig, CloseReason, EndpointConfig, Event, Message, SendError};

use crate::sim::app::{Phase, Plan, Reading, Sizes};
use crate::sim::network::LinkConfig;
use crate::sim::world::{Verdict, World};
use crate::stage::*;

const SECOND: Duration = Duration::from_secs(1);

//= test RFC 9260 §5: "the two endpoints MUST complete an initialization process"
//= test RFC 9260 §8.4: "If the packet contains an INIT chunk with a Verification Tag set to 0, it SHOULD be processed as
//= described in Section 5.1."
//= test RFC 9260 §5.1: "Moreover, "Z" MUST generate and send along with the INIT ACK chunk a State Cookie."
//= test RFC 9260 §5.1.4: "it MUST immediately send a COOKIE ECHO chunk to its peer with the received State Cookie"
//= test RFC 9260 §3.3.2: "then the receiver SHOULD process the INIT chunk and send back an INIT ACK"
//= test RFC 9260 §3.3.3: "then the receiver SHOULD process the INIT ACK chunk and send back a COOKIE ECHO chunk"
#[test]
fn clean_handshake_takes_four_packets_and_two_round_trips() {
    let mut world = pair("clean_handshake", Plan::manual(), Plan::manual());
    let start = world.now;
    world.connect(0);
    world.run_for(SECOND * 5);
    let expected = [
        (CLIENT, vec![ChunkType::INIT]),
        (SERVER, vec![ChunkType::INIT_ACK]),
        (CLIENT, vec![ChunkType::COOKIE_ECHO]),
        (SERVER, vec![ChunkType::COOKIE_ACK]),
    ];
    assert_eq!(dialogue(&world), expected);
    assert_eq!(world.sides[0].opened, Some(start + ROUND_TRIP * 2));
    assert_eq!(world.sides[1].opened, Some(start + DELAY * 3));
    world.finish();
}

/// T1-init and T1-cookie (RFC 9260 §5.1): what is lost is sent again after RTO.Initial, then twice that.
//= test RFC 9260 §4: "If the T1-init timer expires, the endpoint MUST retransmit the INIT chunk and restart the T1-init
//= timer."
//= test RFC 9260 §4: "If the T1-cookie timer expires, the endpoint MUST retransmit COOKIE ECHO chunk and restart the
//= T1-cookie timer."
//= test RFC 9260 §5.1.4: "The endpoint MUST also start the T1-cookie timer after sending the COOKIE ECHO chunk."
//= test RFC 9260 §5.1.4: "the endpoint MUST retransmit the COOKIE ECHO chunk and restart the T1-cookie timer"
//= test RFC 9260 §5.1.6: "When retransmitting the INIT chunk, the endpoint MUST follow the rules defined in Section
//= 6.3"
//= test RFC 9260 §5.1: "The T1-init timer and T1-cookie timer SHOULD follow the same rules given in Section 6.3."
//= test RFC 9260 §5.2.4: "It SHOULD stop any T1-cookie timer that is running and send a COOKIE ACK chunk."
#[test]
fn lost_handshake_packets_are_recovered_by_t1() {
    let cases = [
        (CLIENT, ChunkType::INIT, ChunkType::INIT, Duration::ZERO),
        (SERVER, ChunkType::INIT_ACK, ChunkType::INIT, Duration::ZERO),
        (CLIENT, ChunkType::COOKIE_ECHO, ChunkType::COOKIE_ECHO, ROUND_TRIP),
        (SERVER, ChunkType::COOKIE_ACK, ChunkType::COOKIE_ECHO, ROUND_TRIP),
    ];
    for (from, lost, repeated, begin) in cases {
        let mut world = pair(&format!("lost_{lost}_is_recovered"), Plan::manual(), Plan::manual());
        let start = world.now;
        lose(&mut world, from, lost, 2);
        world.connect(0);
        world.run_for(SECOND * 10);
        let sent = times(&world, CLIENT, repeated);
        assert_eq!(sent.len(), 3, "{lost} lost twice");
        assert_at(sent[0], start + begin, "first");
        assert_at(sent[1], sent[0] + SECOND, "after RTO.Initial");
        assert_at(sent[2], sent[1] + SECOND * 2, "after twice RTO.Initial");
        assert_eq!(world.sides.len(), 2, "one association at each end");
        assert!(world.sides.iter().all(|side| side.phase == Phase::Open));
        world.finish();
    }
}

/// RFC 9260 §5.1.3: no state before a valid COOKIE ECHO.
//= test RFC 9260 §5.1: ""Z" MUST NOT allocate any resources or keep any states for the new association"
#[test]
fn a_server_keeps_no_state_before_the_cookie_comes_back() {
    let mut world = pair("no_state_before_cookie", Plan::manual(), Plan::manual());
    lose(&mut world, SERVER, ChunkType::INIT_ACK, 3);
    world.connect(0);
    world.run_for(SECOND * 2);
    assert_eq!(world.nodes[SERVER].endpoint.associations().count(), 0);
    assert_eq!(world.nodes[SERVER].endpoint.poll_timeout(), None);
    world.run_for(SECOND * 20);
    assert_eq!(world.nodes[SERVER].endpoint.associations().count(), 1);
    world.finish();
}

//= test RFC 9260 §4: "This MUST be repeated up to 'Max.Init.Retransmits' times."
//= test RFC 9260 §4: "After that, the endpoint MUST abort the initialization process and report the error to the SCTP
//= user."
#[test]
fn init_is_given_up_after_max_init_retransmits() {
    let config = AssociationConfig { max_init_retransmits: 4, init_rto_max: SECOND * 3, ..AssociationConfig::rfc() };
    let client = Plan { messages: 1, early: true, ..Plan::with_config(config) };
    let mut world = pair("init_given_up", client, Plan::manual());
    isolate(&mut world);
    let start = world.now;
    world.connect(0);
    world.run_for(SECOND * 60);
    let sent = times(&world, CLIENT, ChunkType::INIT);
    let due = [0, 1, 3, 6, 9].map(|seconds| start + SECOND * seconds);
    assert_eq!(sent.len(), due.len());
    for (sent, due) in sent.iter().zip(due) {
        // Every timer may be a tick late, and the ticks add up.
        assert!(*sent >= due && *sent <= due + TICK * 4, "{sent:?} for {due:?}");
    }
    assert_eq!(world.sides[0].reason(), Some(&CloseReason::ConnectTimeout));
    let failed = |event: &Event| matches!(event, Event::SendFailed { stream: 0, sent: false, .. });
    assert!(told(&world, 0, failed).is_some(), "what was to be sent is reported");
    assert!(world.sides[0].closed.unwrap() >= start + SECOND * 12);
    assert!(world.sides[0].closed.unwrap() <= start + SECOND * 12 + TICK * 5);
    world.finish();
}

//= test RFC 9260 §4: "This MUST be repeated up to 'Max.Init.Retransmits' times."
//= test RFC 9260 §4: "After that, the endpoint MUST abort the initialization process and report the error to the SCTP
//= user."
#[test]
fn cookie_echo_is_given_up_after_max_init_retransmits() {
    let config = AssociationConfig { max_init_retransmits: 3, ..AssociationConfig::rfc() };
    let mut world = pair("cookie_given_up", Plan::with_config(config), Plan::manual());
    lose(&mut world, CLIENT, ChunkType::COOKIE_ECHO, usize::MAX);
    world.connect(0);
    world.run_for(SECOND * 60);
    assert_eq!(times(&world, CLIENT, ChunkType::COOKIE_ECHO).len(), 4);
    assert_eq!(world.sides[0].reason(), Some(&CloseReason::ConnectTimeout));
    assert_eq!(world.nodes[SERVER].endpoint.associations().count(), 0);
    world.finish();
}

#[test]
fn a_port_that_nobody_listens_on_answers_with_abort() {
    let mut world = pair("nobody_listens", Plan::manual(), Plan::manual());
    world.nodes[SERVER].unlisten();
    let start = world.now;
    world.connect(0);
    world.run_for(SECOND);
    assert!(matches!(world.sides[0].reason(), Some(CloseReason::PeerAbort { .. })), "{:?}", world.sides[0].phase);
    assert_eq!(world.sides[0].closed, Some(start + ROUND_TRIP));
    assert_eq!(dialogue(&world), [(CLIENT, vec![ChunkType::INIT]), (SERVER, vec![ChunkType::ABORT])]);
    world.finish();
}

/// RFC 9260 §5.2.6: a cookie that comes too late is answered with its staleness, and the client asks for another.
//= test RFC 9260 §5.1.5: "the endpoint MUST transmit an ERROR chunk with a "Stale Cookie" error cause to the peer
//= endpoint"
//= test RFC 9260 §4: "Or, if the received State Cookie is expired (see Section 5.1.5), the receiver MUST send back an
//= ERROR chunk."
#[test]
fn a_stale_cookie_is_replaced() {
    let config = AssociationConfig { max_init_retransmits: 20, ..AssociationConfig::rfc() };
    let mut world = pair("stale_cookie", Plan::with_config(config.clone()), Plan::with_config(config));
    let start = world.now;
    world.intercept(move |sight| {
        let lost = sight.at < start + SECOND * 62 && chunk_is(sight.bytes, ChunkType::COOKIE_ECHO);
        if lost { Verdict::Drop } else { Verdict::Pass }
    });
    world.connect(0);
    world.run_for(SECOND * 200);
    let stale = times(&world, SERVER, ChunkType::ERROR);
    assert_eq!(stale.len(), 1, "Stale Cookie is reported: {:?}", dialogue(&world));
    let inits = times(&world, CLIENT, ChunkType::INIT);
    assert_eq!(inits.len(), 2, "another cookie is asked for");
    assert!(inits[1] <= stale[0] + DELAY + TICK, "at once");
    assert!(world.sides.iter().all(|side| side.phase == Phase::Open));
    world.finish();
}

fn chunk_is(bytes: &[u8], kind: ChunkType) -> bool {
    crate::sim::packet::has(bytes, kind)
}

/// RFC 9260 §5.2.6: who is told that a cookie was stale asks for one that lives longer, and gives up when that is of no use.
//= test RFC 9260 §5.2.6: "SHOULD use the RTT information measured … SHOULD add no more than 1 second beyond the
//= measured RTT"
#[test]
fn a_cookie_is_asked_to_live_longer() {
    let connecting = |name: &str, cookie_lifetime| {
        let mut world = World::new(1, name, "cargo test -p sctp-core --test scenarios a_cookie_is_asked");
        for node in [CLIENT, SERVER] {
            let addresses = vec![address(node, 0)];
            world.node_with(EndpointConfig { addresses, cookie_lifetime, ..EndpointConfig::default() });
        }
        world.mesh(CLIENT, SERVER, &LinkConfig::with_delay(DELAY));
        world.converse(conversation(Plan::manual(), Plan::manual()));
        world.connect(0);
        world.run_for(SECOND);
        world
    };
    // The round trip takes a little longer than the cookie lives by itself.
    let mut world = connecting("cookie_lives_longer", ROUND_TRIP - Duration::from_millis(4));
    assert!(world.sides.len() == 2 && world.sides.iter().all(|side| side.phase == Phase::Open));
    world.shutdown(0);
    world.run_for(SECOND);
    assert!(world.sides.iter().all(|side| side.reason() == Some(&CloseReason::Shutdown)));
    world.finish();
    // Not long enough, whatever is asked.
    let mut world = connecting("cookie_always_stale", Duration::from_millis(1));
    assert_eq!(world.sides[0].reason(), Some(&CloseReason::StaleCookie));
    world.finish();
}

/// RFC 9260 §5.2.1, §5.2.4 (case B): both connect at once, in any order of crossing; one association comes of it.
//= test RFC 9260 §1.3: "Two SCTP endpoints MUST NOT have more than one SCTP association between them at any given
//= time."
//= test RFC 9260 §5.2.1: "Upon receipt of an INIT chunk in the COOKIE-WAIT state, an endpoint MUST respond with an INIT
//= ACK chunk using the same parameters"
//= test RFC 9260 §5.2.1: "Upon receipt of an INIT chunk in the COOKIE-ECHOED state, an endpoint MUST respond with an
//= INIT ACK chunk using the same parameters"
//= test RFC 9260 §5.2.1: "After that, the endpoint MUST NOT change its state, the T1-init timer MUST be left running,
//= and the corresponding TCB MUST NOT be destroyed."
//= test RFC 9260 §5.2.1: "The endpoint MUST also generate a State Cookie with the INIT ACK chunk."
//= test RFC 9260 §5.2.4: "it MUST update its peer's Verification Tag from the State Cookie"
#[test]
fn simultaneous_open_makes_one_association() {
    for offset in 0..45 {
        let plan = Plan { messages: 20, sizes: Sizes::Mixed(5000), burst: 5, ..Plan::manual() };
        let mut world = pair(&format!("simultaneous_open_{offset}_ms"), plan.clone(), plan);
        world.connect(0);
        world.run_for(Duration::from_millis(offset));
        if world.accepted(SERVER).is_none() {
            world.connect_back(0);
        }
        world.run_for(SECOND * 30);
        assert_eq!(world.sides.len(), 2, "offset {offset} ms");
        for node in [CLIENT, SERVER] {
            assert_eq!(world.nodes[node].endpoint.associations().count(), 1, "offset {offset} ms");
        }
        let tags = |side: usize| world.nodes[world.sides[side].node].tags(world.sides[side].id).unwrap();
        assert_eq!((tags(0).local, tags(0).peer), (tags(1).peer, tags(1).local), "offset {offset} ms");
        for side in &world.sides {
            assert_eq!((&side.phase, side.received), (&Phase::Open, 20), "offset {offset} ms");
        }
        world.finish();
    }
}

/// RFC 9260 §5.2.4 (case A): a peer that restarted takes the place of the one that was.
//= test RFC 9260 §5.2.4: "A RESTART notification SHOULD be sent to the ULP instead of a COMMUNICATION LOST
//= notification."
//= test RFC 9260 §5.2.2: "the endpoint MUST generate an INIT ACK chunk with a State Cookie"
//= test RFC 9260 §5.2.2: "the endpoint MUST copy its current Tie-Tags to a reserved place within the State Cookie"
#[test]
fn a_restarted_client_takes_its_old_place() {
    let plan = Plan { messages: 10, sizes: Sizes::Fixed(500), ..Plan::manual() };
    let mut world = pair("restarted_client", plan.clone(), plan);
    establish(&mut world);
    world.run_for(SECOND);
    world.crash(CLIENT);
    world.run_for(SECOND);
    let client = world.connect(0);
    world.run_for(SECOND * 5);
    assert_eq!(world.sides[client].phase, Phase::Open);
    assert_eq!(world.sides[1].restarts, 1);
    assert_eq!(world.nodes[SERVER].endpoint.associations().count(), 1, "under the same id");
    assert_eq!(world.sides[1].received, 20, "ten before the restart and ten after it");
    world.send(1, 0, 1000);
    world.run_for(SECOND);
    assert_eq!(world.sides[client].received, 1);
    world.finish();
}

/// The same when the old association had data in flight both ways.
#[test]
fn a_restart_in_mid_transfer_loses_nothing_silently() {
    let plan = Plan { messages: 200, sizes: Sizes::Mixed(20_000), burst: 10, pause: DELAY, ..Plan::manual() };
    for moment in [0, 5, 15, 40, 95, 200, 333] {
        let mut world = pair(&format!("restart_after_{moment}_ms"), plan.clone(), plan.clone());
        establish(&mut world);
        world.run_for(Duration::from_millis(moment));
        world.crash(CLIENT);
        let client = world.connect(0);
        world.run_for(SECOND * 60);
        assert_eq!(world.sides[1].restarts, 1);
        assert_eq!(world.sides[client].sent, 200);
        world.shutdown(client);
        world.run_for(SECOND * 10);
        assert_eq!(world.sides[client].reason(), Some(&CloseReason::Shutdown));
        assert_eq!(world.sides[1].reason(), Some(&CloseReason::Shutdown));
        world.finish();
    }
}

/// RFC 9260 §8.4: a peer that knows nothing of the association says so.
#[test]
fn a_restarted_server_aborts_what_it_does_not_know() {
    let mut world = established("restarted_server", &AssociationConfig::default());
    world.crash(SERVER);
    world.send(0, 0, 100);
    world.run_for(SECOND);
    let reason = CloseReason::PeerAbort { cause: None };
    assert_eq!(world.sides[0].reason(), Some(&reason));
    assert!(told(&world, 0, |event| matches!(event, Event::SendFailed { sent: true, .. })).is_some());
    world.finish();
}

/// RFC 9260 §5.1: DATA may ride with the COOKIE ECHO, which saves a round trip.
//= test RFC 9260 §5.1: "it MUST be the first chunk in the packet and, until the COOKIE ACK chunk is returned, the
//= sender MUST NOT send any other packets to the peer"
#[test]
fn data_rides_with_the_cookie() {
    let client = Plan { messages: 1, early: true, ..Plan::manual() };
    let mut world = pair("data_rides_with_cookie", client, Plan::manual());
    let start = world.now;
    world.connect(0);
    world.run_for(SECOND);
    assert_eq!(told(&world, 1, |event| *event == Event::MessageReceived), Some(start + DELAY * 3));
    assert_eq!(dialogue(&world)[2].1, [ChunkType::COOKIE_ECHO, ChunkType::DATA]);
    world.finish();
}

/// A second copy of a COOKIE ECHO finds the association that the first one made (RFC 9260 §5.2.4, case D).
//= test RFC 9260 §5.1.5: "the procedures in Section 5.2 SHOULD be followed"
#[test]
fn a_duplicate_cookie_echo_makes_no_second_association() {
    let mut world = pair("duplicate_cookie_echo", Plan::manual(), Plan::manual());
    world.connect(0);
    world.run_for(ROUND_TRIP * 3);
    let echo = world.packets.iter().find(|packet| chunk_is(&packet.bytes, ChunkType::COOKIE_ECHO)).unwrap();
    let (source, destination, bytes) = (echo.source, echo.destination, echo.bytes.clone());
    world.inject_packet(source, destination, bytes);
    world.run_for(SECOND);
    assert_eq!(world.sides.len(), 2);
    assert_eq!(world.sides[1].events.len(), 1, "{:?}", world.sides[1].events);
    assert_eq!(times(&world, SERVER, ChunkType::COOKIE_ACK).len(), 2, "the peer may have missed the first");
    world.send(0, 0, 1000);
    world.run_for(SECOND);
    assert_eq!(world.sides[1].received, 1);
    world.finish();
}

/// RFC 9260 §5.1.1: each side sends on no more streams than the other takes.
//= test RFC 9260 §5.1.1: "the endpoint MUST use MIS outbound streams"
//= test RFC 9260 §5.1.1: "the sender of the chunk MUST indicate the number of outbound streams (OS) it wishes to have"
//= test RFC 9260 §5.1.1: "each endpoint MUST perform the following check"
#[test]
fn streams_are_negotiated_down() {
    let config = |outbound_streams, max_inbound_streams| {
        Plan::with_config(AssociationConfig { outbound_streams, max_inbound_streams, ..AssociationConfig::default() })
    };
    let mut world = pair("streams_negotiated", config(10, 3), config(20, 7));
    establish(&mut world);
    let (ours, theirs) = (&world.sides[0].events[0].1, &world.sides[1].events[0].1);
    assert_eq!(*ours, Event::Connected { outbound_streams: 7, inbound_streams: 3 });
    let expected = Event::Accepted { local_port: SERVER_PORT, outbound_streams: 3, inbound_streams: 7 };
    assert_eq!(*theirs, expected);
    world.finish();
}

/// What was sent early on a stream that there turns out not to be is reported, and no more is taken.
//= test RFC 9260 §5.1.1: "the valid outbound stream identifier range for either endpoint MUST be 0 to min(local OS,
//= remote MIS) - 1"
//= test RFC 9260 §6.5: "Every DATA chunk MUST carry a valid stream identifier."
#[test]
fn messages_on_streams_that_are_not_granted_fail() {
    let config = |outbound_streams, max_inbound_streams| {
        Plan::with_config(AssociationConfig { outbound_streams, max_inbound_streams, ..AssociationConfig::default() })
    };
    let mut world = pair("streams_not_granted", config(10, 4), config(7, 6));
    world.connect(0);
    world.send(0, 5, 10);
    world.send(0, 9, 10);
    world.run_for(SECOND);
    let streams = |side: usize| {
        let side = &world.sides[side];
        let association = world.nodes[side.node].endpoint.association(side.id).expect("it lives");
        (association.outbound_streams(), association.inbound_streams())
    };
    assert_eq!((streams(0), streams(1)), ((6, 4), (4, 6)));
    assert!(told(&world, 0, |event| matches!(event, Event::SendFailed { stream: 9, sent: false, .. })).is_some());
    assert_eq!(world.sides[1].received, 1);
    let (now, id) = (world.now, world.sides[0].id);
    let refused = world.nodes[CLIENT].endpoint.send(now, id, Message::new(6, "x".into()));
    assert_eq!(refused, Err(SendError::InvalidStream { stream: 6, streams: 6 }));
    world.finish();
}

#[test]
fn ipv6_works_like_ipv4() {
    let mut world = World::new(1, "ipv6", "cargo test -p sctp-core --test scenarios ipv6");
    let hosts = ["fd00::1", "fd00::2"].map(|address| address.parse().unwrap());
    for host in hosts {
        world.node(&[host]);
    }
    world.mesh(CLIENT, SERVER, &LinkConfig::with_delay(DELAY));
    let plan = Plan { messages: 50, sizes: Sizes::Mixed(100_000), burst: 10, ..Plan::manual() };
    world.converse(conversation(plan.clone(), Plan { reading: Reading::Eager, ..plan }));
    establish(&mut world);
    world.run_for(SECOND * 60);
    assert!(world.sides.iter().all(|side| side.received == 50));
    world.finish();
}
