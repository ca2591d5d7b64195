//! What the user asks and is told (RFC 9260 §11).

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use sctp_core::wire::{Cause, Chunk, ChunkType, ErrorChunk, Shutdown};
use sctp_core::{
    AssociationConfig, AssociationError, AssociationState, CloseReason, Event, LastTsns, Message, PathState,
    RemoteError, SendError, SendFailure,
};

use crate::forger::Forger;
use crate::sim::app::Plan;
use crate::sim::packet::has;
use crate::sim::world::World;
use crate::stage::*;

const SECOND: Duration = Duration::from_secs(1);

/// Gives a message to side 0 that is in no books, for what is never delivered.
fn send(world: &mut World, message: Message) {
    let (now, id) = (world.now, world.sides[0].id);
    world.nodes[CLIENT].endpoint.send(now, id, message).unwrap();
}

fn payload(fragments: &[Bytes]) -> Vec<u8> {
    fragments.concat()
}

/// What side 0 of a world was told in vain; the books do not know of these messages.
fn failures(world: &mut World) -> Vec<(u64, bool, SendFailure, u32, Vec<u8>)> {
    let mut found = Vec::new();
    let mut buffer = [0; 1480];
    let now = world.now;
    let endpoint = &mut world.nodes[CLIENT].endpoint;
    while endpoint.poll_transmit(now, &mut buffer).is_some() {}
    while let Some((_, event)) = endpoint.poll_event() {
        if let Event::SendFailed { context, sent, reason, ppid, payload: parts, .. } = event {
            found.push((context, sent, reason, ppid, payload(&parts)));
        }
    }
    found
}

/// LIFE TIME (§11.1.5): what was not begun in time is not sent, and given back.
#[test]
fn a_message_whose_life_is_over_is_given_back() {
    let mut world = established("message_lifetime", &AssociationConfig::default());
    isolate(&mut world);
    // The window is full with this one.
    send(&mut world, Message::new(0, vec![1; 20_000].into()).with_context(1));
    let lifetime = Duration::from_millis(50);
    send(&mut world, Message::new(0, "late".into()).with_lifetime(lifetime).with_context(2).with_ppid(46));
    send(&mut world, Message::new(0, "patient".into()).with_context(3));
    assert_eq!(failures(&mut world), [], "it has not been sent yet, and has not waited too long");
    world.now += lifetime;
    assert_eq!(failures(&mut world), [], "a message that is begun goes on, and it is not the other's turn");
    // The application gives up: all is reported, whatever its life.
    let (now, id) = (world.now, world.sides[0].id);
    world.nodes[CLIENT].endpoint.abort(now, id, Bytes::new()).unwrap();
    let failed = failures(&mut world);
    assert_eq!(failed.len(), 3);
    assert_eq!((failed[0].0, failed[0].1, failed[0].4.len()), (1, true, 20_000), "all its parts, sent or not");
    assert_eq!(failed[1], (2, false, SendFailure::Closed, 46, b"late".to_vec()));
    assert_eq!(failed[2], (3, false, SendFailure::Closed, 0, b"patient".to_vec()));
}

#[test]
fn an_expired_message_makes_way_for_the_next() {
    let config = AssociationConfig { send_buffer: 1000, max_send_buffer: 0, ..AssociationConfig::default() };
    let mut world = pair("expired_message", Plan::with_config(config), Plan::manual());
    world.connect(0);
    let lifetime = Duration::from_millis(30);
    send(&mut world, Message::new(0, vec![1; 900].into()).with_lifetime(lifetime).with_context(1));
    let (now, id) = (world.now, world.sides[0].id);
    let next = Message::new(0, vec![2; 900].into()).with_context(2);
    let refused = world.nodes[CLIENT].endpoint.send(now, id, next.clone());
    assert!(matches!(refused, Err(SendError::WouldBlock(_))));
    // Nothing is sent while connecting (but with the COOKIE ECHO, which does not come to it).
    world.now += lifetime;
    assert_eq!(failures(&mut world), [(1, false, SendFailure::Expired, 0, vec![1; 900])]);
    let association = world.nodes[CLIENT].endpoint.association(id).unwrap();
    assert_eq!((association.send_buffer_used(), association.state()), (0, AssociationState::CookieWait));
    world.nodes[CLIENT].endpoint.send(world.now, id, next).unwrap();
}

/// Two hosts with two addresses each, the association established and all paths active.
fn two_paths(name: &str, config: &AssociationConfig) -> World {
    let plan = Plan::with_config(config.clone());
    let mut world = multi_homed(name, 2, plan.clone(), plan);
    establish(&mut world);
    world.run_for(SECOND * 5);
    assert!(endpoint_paths(&world).iter().all(|(_, state)| *state == PathState::Active));
    world
}

fn endpoint_paths(world: &World) -> Vec<(IpAddr, PathState)> {
    let association = world.nodes[CLIENT].endpoint.association(world.sides[0].id).unwrap();
    association.paths().map(|path| (path.address, path.state)).collect()
}

/// Sends a message for one of the server's addresses.
fn send_to(world: &mut World, index: Option<u8>, length: usize) {
    let destination = index.map(|index| address(SERVER, index));
    let message = Message { destination, ..world.ledger.compose(world.sides[0].flow, 0, false, length) };
    world.send_message(0, message);
}

/// From where and to where the client has sent DATA since the last time.
fn data_ways(world: &World, since: &mut usize) -> Vec<(IpAddr, IpAddr)> {
    let packets = world.packets[*since..].iter();
    *since = world.packets.len();
    let data = packets.filter(|packet| packet.from == Some(CLIENT) && has(&packet.bytes, ChunkType::DATA));
    data.map(|packet| (packet.source, packet.destination)).collect()
}

/// DESTINATION TRANSPORT ADDRESS (§11.1.5).
#[test]
fn a_message_goes_to_the_address_that_is_asked_for() {
    let mut world = two_paths("message_destination", &AssociationConfig::rfc());
    let to = |ways: Vec<(IpAddr, IpAddr)>| ways.into_iter().map(|(_, destination)| destination).collect::<Vec<_>>();
    let mut since = world.packets.len();
    let [first, second] = [0, 1].map(|index| address(SERVER, index));
    for (index, expected) in [(None, first), (Some(1), second), (Some(0), first), (Some(1), second)] {
        send_to(&mut world, index, 100);
        world.run_for(SECOND);
        assert_eq!(to(data_ways(&world, &mut since)), [expected], "{index:?}");
    }
    // All fragments of a message.
    send_to(&mut world, Some(1), 4000);
    send_to(&mut world, None, 100);
    world.run_for(SECOND);
    assert_eq!(to(data_ways(&world, &mut since)), [second, second, second, first]);

    // One that is not active is not used: "Whenever possible".
    let (now, id) = (world.now, world.sides[0].id);
    world.nodes[CLIENT].endpoint.set_failure_threshold(now, id, second, 0).unwrap();
    world.network.config(address(CLIENT, 1), second).cuts.push((now, now + SECOND * 100));
    world.network.config(address(CLIENT, 0), second).cuts.push((now, now + SECOND * 100));
    send_to(&mut world, Some(1), 100);
    world.run_for(SECOND * 5);
    assert_eq!(to(data_ways(&world, &mut since)), [second, first], "what was lost is sent again elsewhere");
    assert!(endpoint_paths(&world).contains(&(second, PathState::Inactive)), "one error was enough");
    send_to(&mut world, Some(1), 100);
    world.run_for(SECOND);
    assert_eq!(to(data_ways(&world, &mut since)), [first]);
    assert_eq!(world.sides[1].received, 8);

    let foreign = IpAddr::from([192, 0, 2, 1]);
    let message = Message::new(0, "x".into()).with_destination(foreign);
    let refused = world.nodes[CLIENT].endpoint.send(world.now, id, message);
    assert_eq!(refused, Err(SendError::NoSuchPath(foreign)));
    world.finish();
}

/// SET FAILURE THRESHOLD (§11.1.12): of one path, whatever that of the others.
#[test]
fn each_path_may_have_its_own_failure_threshold() {
    let config = AssociationConfig {
        heartbeat_interval: Some(SECOND),
        path_max_retransmits: 3,
        rto_max: SECOND,
        ..AssociationConfig::rfc()
    };
    let mut world = two_paths("failure_threshold", &config);
    let (now, id) = (world.now, world.sides[0].id);
    let endpoint = &mut world.nodes[CLIENT].endpoint;
    let [first, second] = [0, 1].map(|index| address(SERVER, index));
    endpoint.set_failure_threshold(now, id, second, 1).unwrap();
    let refused = endpoint.set_failure_threshold(now, id, second, 1001);
    assert!(matches!(refused, Err(AssociationError::Config(error)) if error.setting == "path_max_retransmits"));
    let foreign = IpAddr::from([192, 0, 2, 1]);
    assert_eq!(endpoint.set_failure_threshold(now, id, foreign, 1), Err(AssociationError::NoSuchPath(foreign)));
    isolate(&mut world);
    let failed = |world: &World| endpoint_paths(world).iter().any(|(_, state)| *state == PathState::Inactive);
    assert!(world.run_while(SECOND * 60, failed));
    let paths: Vec<_> = world.nodes[CLIENT].endpoint.association(id).unwrap().paths().collect();
    let second_path = paths.iter().find(|path| path.address == second).unwrap();
    assert_eq!((second_path.state, second_path.error_count), (PathState::Inactive, 2));
    let first_path = paths.iter().find(|path| path.address == first).unwrap();
    assert_eq!(first_path.state, PathState::Active, "with {} errors", first_path.error_count);
    world.harsh = true;
    world.finish();
}

/// SET PRIMARY with a source transport address (§11.1.6).
#[test]
fn the_source_address_can_be_chosen() {
    let mut world = two_paths("source_address", &AssociationConfig::rfc());
    let (now, id) = (world.now, world.sides[0].id);
    let mut since = world.packets.len();
    let endpoint = &mut world.nodes[CLIENT].endpoint;
    endpoint.set_primary(now, id, address(SERVER, 1)).unwrap();
    endpoint.set_source(now, id, address(CLIENT, 0)).unwrap();
    send_to(&mut world, None, 100);
    send_to(&mut world, Some(0), 100);
    world.run_for(SECOND);
    let from = address(CLIENT, 0);
    assert_eq!(data_ways(&world, &mut since), [(from, address(SERVER, 1)), (from, address(SERVER, 0))]);
    let foreign = IpAddr::from([192, 0, 2, 1]);
    let refused = world.nodes[CLIENT].endpoint.set_source(world.now, id, foreign);
    assert_eq!(refused, Err(AssociationError::NotOurAddress(foreign)));
    assert_eq!(world.sides[1].received, 2);
    world.finish();
}

/// COMMUNICATION LOST (§11.2.5): last-acked and last-sent.
#[test]
fn the_end_tells_how_far_data_got() {
    let mut world = established("last_tsns", &AssociationConfig::rfc());
    let first = {
        world.send(0, 0, 100);
        world.send(0, 0, 100);
        world.run_for(SECOND);
        let packets = world.packets.iter().filter(|packet| packet.from == Some(CLIENT));
        packets.flat_map(|packet| data(&packet.bytes)).map(|(tsn, _)| tsn).next().unwrap()
    };
    isolate(&mut world);
    for _ in 0..3 {
        world.send(0, 0, 100);
    }
    world.run_for(Duration::from_millis(1));
    world.abort(0);
    let acked = first.wrapping_add(1);
    let lost = LastTsns { acked, sent: acked.wrapping_add(3) };
    assert!(told(&world, 0, |event| matches!(event, Event::Closed { last_tsns, .. } if *last_tsns == lost)).is_some());
    let failed =
        world.sides[0].events.iter().filter(|(_, event)| matches!(event, Event::SendFailed { sent: true, .. }));
    assert_eq!(failed.count(), 3);
    world.harsh = true;
    world.finish();
}

/// NO-BUNDLE (§11.1.5): with Nagle's algorithm a small message waits for what is outstanding; one that says so does not.
#[test]
fn a_message_may_refuse_to_wait_for_others() {
    for (no_bundle, packets) in [(false, 1), (true, 2)] {
        let config = AssociationConfig { nagle: true, ..AssociationConfig::default() };
        let mut world = established(&format!("no_bundle_{no_bundle}"), &config);
        let before = times(&world, CLIENT, ChunkType::DATA).len();
        world.send(0, 0, 10);
        let message = world.ledger.compose(world.sides[0].flow, 0, false, 10).with_no_bundle(no_bundle);
        world.send_message(0, message);
        world.run_for(Duration::from_millis(1));
        assert_eq!(times(&world, CLIENT, ChunkType::DATA).len() - before, packets);
        world.run_for(SECOND);
        assert_eq!(world.sides[1].received, 2);
        world.finish();
    }
}

/// SACK-IMMEDIATELY (§11.1.5): the I bit on the last DATA chunk of the message.
#[test]
fn the_last_chunk_of_a_message_carries_the_i_bit() {
    let mut world = established("sack_immediately", &AssociationConfig::default());
    let message = world.ledger.compose(world.sides[0].flow, 0, false, 3000).with_immediate(true);
    world.send_message(0, message);
    world.run_for(SECOND);
    let mut bits = Vec::new();
    for packet in world.packets.iter().filter(|packet| packet.from == Some(CLIENT)) {
        for raw in sctp_core::wire::Packet::parse(&packet.bytes).unwrap().chunks() {
            if let Ok(Chunk::Data(data)) = Chunk::parse(raw.unwrap()) {
                bits.push((data.header.flags.is_ending(), data.header.flags.is_immediate()));
            }
        }
    }
    assert_eq!(bits.last(), Some(&(true, true)));
    assert!(bits.len() > 1);
    world.finish();
}

/// STATUS and SET PROTOCOL PARAMETERS (§11.1.8, §11.1.13).
#[test]
fn settings_can_be_changed_and_looked_at() {
    let mut world = established("settings_change", &AssociationConfig::rfc());
    world.send(0, 0, 1000);
    world.run_for(SECOND);
    let (now, id) = (world.now, world.sides[0].id);
    let endpoint = &mut world.nodes[CLIENT].endpoint;
    let status = endpoint.status(id).unwrap();
    assert_eq!((status.state, status.outstanding_chunks, status.paths.len()), (AssociationState::Established, 0, 1));
    let primary = status.primary().unwrap();
    assert_eq!((primary.address, primary.srtt), (address(SERVER, 0), Some(ROUND_TRIP)));
    assert_eq!(status.stats.messages_sent, 1);
    endpoint.configure(now, id, |config| config.association_max_retransmits = 1).unwrap();
    endpoint.configure(now, id, |config| config.rto_max = SECOND).unwrap();
    assert_eq!(endpoint.association(id).unwrap().config().association_max_retransmits, 1);
    let refused = endpoint.configure(now, id, |config| config.sack_every = 0);
    assert!(matches!(refused, Err(AssociationError::Config(error)) if error.setting == "sack_every"));
    let refused = endpoint.configure(now, id, |config| config.outbound_streams = 7);
    assert!(matches!(refused, Err(AssociationError::Config(error)) if error.setting == "outbound_streams"));
    assert_eq!(endpoint.association(id).unwrap().config().sack_every, 2);
    // They count: after two timeouts of a second the peer is given up.
    isolate(&mut world);
    let start = world.now;
    world.send(0, 0, 1000);
    world.run_for(SECOND * 10);
    assert_eq!(world.sides[0].reason(), Some(&CloseReason::Unreachable));
    assert!(world.sides[0].closed.unwrap() <= start + SECOND * 2 + TICK * 3);
    assert!(world.nodes[CLIENT].endpoint.status(id).is_none());
    world.harsh = true;
    world.finish();
}

/// COMMUNICATION ERROR (§11.2.6).
#[test]
fn errors_that_the_peer_reports_are_told() {
    let mut forger = Forger::established("remote_errors");
    let causes = [
        Cause::InvalidStreamIdentifier { stream: 7 },
        Cause::OutOfResource,
        Cause::StaleCookie { staleness: 1 },
        Cause::ProtocolViolation(b"after a stale cookie nothing counts"),
    ];
    assert!(forger.say(&[&ErrorChunk { causes: causes[..].into() }]).is_empty());
    assert_eq!(forger.state(), AssociationState::Established);
    let told: Vec<&Event> = forger.world.sides[0].events.iter().map(|(_, event)| event).collect();
    let errors = told.iter().filter_map(|event| match event {
        Event::RemoteError { error } => Some(error),
        _ => None,
    });
    let expected = [RemoteError::InvalidStreamIdentifier { stream: 7 }, RemoteError::OutOfResource];
    assert_eq!(errors.collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
    forger.finish();
}

/// "stop accepting new data from its SCTP user", but not what the user had accepted already (§9.2).
#[test]
fn a_user_with_a_queue_may_empty_it_after_the_peers_shutdown() {
    let config = AssociationConfig { queued_outside: true, ..AssociationConfig::default() };
    let mut forger = Forger::with_config("queued_outside", config);
    let (tag, cookie) = forger.cookie(&[]);
    forger.tag = tag;
    forger.say(&[&sctp_core::wire::CookieEcho { cookie: &cookie }]);
    let id = forger.association().id();
    let all = Shutdown { cumulative_tsn_ack: forger.own_tsn - 1 };
    assert!(forger.say(&[&all]).is_empty(), "no SHUTDOWN ACK yet");
    assert_eq!(forger.state(), AssociationState::ShutdownReceived);
    let now = forger.world.now;
    forger.endpoint().send(now, id, Message::new(0, "accepted before".into())).unwrap();
    let answers = forger.relieve();
    assert!(matches!(answers[0].only(), Chunk::Data(_)));
    forger.endpoint().finish_sending(now, id).unwrap();
    assert_eq!(forger.state(), AssociationState::ShutdownReceived, "it is outstanding");
    let late = Message::new(0, "late".into());
    assert_eq!(forger.endpoint().send(now, id, late), Err(SendError::ShuttingDown));
    let answers = forger.say(&[&Shutdown { cumulative_tsn_ack: forger.own_tsn }]);
    assert!(matches!(answers[0].only(), Chunk::ShutdownAck));
    // Without a queue there is nothing to wait for; asking does no harm.
    let mut other = Forger::established("nothing_queued_outside");
    let (now, id) = (other.world.now, other.association().id());
    other.endpoint().finish_sending(now, id).unwrap();
    let answers = other.say(&[&Shutdown { cumulative_tsn_ack: other.own_tsn - 1 }]);
    assert!(matches!(answers[0].only(), Chunk::ShutdownAck));
    for mut forger in [forger, other] {
        forger.say(&[&sctp_core::wire::ShutdownComplete { tag_reflected: false }]);
        assert_eq!(forger.close_reason(), Some(&CloseReason::Shutdown));
        forger.world.harsh = true;
        forger.finish();
    }
}
