//! RFC 9260 §5.4, §6.4, §8: several paths.

use std::time::Duration;

use sctp_core::time::Instant;
use sctp_core::wire::ChunkType;
use sctp_core::{AssociationConfig, Event, PathInfo, PathState};

use crate::sim::app::{Phase, Plan, Sizes};
use crate::sim::packet::has;
use crate::sim::world::{Verdict, World};
use crate::stage::*;

const SECOND: Duration = Duration::from_secs(1);

fn path(world: &World, side: usize, index: u8) -> PathInfo {
    let peer = if world.sides[side].node == CLIENT { SERVER } else { CLIENT };
    let association = world.nodes[world.sides[side].node].endpoint.association(world.sides[side].id).unwrap();
    association.paths().find(|path| path.address == address(peer, index)).expect("the path is known")
}

/// Cuts all links to and from the `index`th addresses for a while.
fn cut(world: &mut World, index: u8, from: Instant, to: Instant) {
    for (source, destination, link) in world.network.configs() {
        let ends = [address(CLIENT, index), address(SERVER, index)];
        if ends.contains(&source) || ends.contains(&destination) {
            link.cuts.push((from, to));
        }
    }
}

/// RFC 9260 §5.4: addresses from the INIT are probed before they are used, and then are.
//= test RFC 9260 §5.1.2: "SHOULD use only these transport addresses"
//= test RFC 9260 §6.4: "By default, an endpoint SHOULD always transmit to the primary path"
#[test]
fn further_addresses_are_learned_and_verified() {
    let mut world = multi_homed("addresses_verified", 3, Plan::manual(), Plan::manual());
    establish(&mut world);
    world.run_for(SECOND * 10);
    for side in [0, 1] {
        for index in 0..3 {
            assert_eq!(path(&world, side, index).state, PathState::Active, "side {side}, path {index}");
        }
        assert!(path(&world, side, 0).primary);
    }
    for packet in &world.packets {
        let data = has(&packet.bytes, ChunkType::DATA);
        assert!(!data || [address(CLIENT, 0), address(SERVER, 0)].contains(&packet.destination));
    }
    world.finish();
}

/// An address that does not answer stays unconfirmed and gets no data.
//= test RFC 9260 §5.4: "An endpoint MUST NOT send any chunks to an UNCONFIRMED address"
#[test]
fn an_address_that_does_not_answer_is_not_used() {
    let plan = Plan { messages: 200, sizes: Sizes::Fixed(1000), burst: 5, pause: ROUND_TRIP, ..Plan::manual() };
    let mut world = multi_homed("unconfirmed_address", 2, plan.clone(), plan);
    let start = world.now;
    cut(&mut world, 1, start, Instant::FAR_FUTURE);
    establish(&mut world);
    world.run_for(SECOND * 30);
    assert_ne!(path(&world, 0, 1).state, PathState::Active);
    assert!(world.sides.iter().all(|side| side.received == 200));
    let to_it = world.packets.iter().filter(|packet| packet.destination == address(SERVER, 1));
    assert!(to_it.clone().count() > 0, "it is probed");
    assert!(to_it.into_iter().all(|packet| !has(&packet.bytes, ChunkType::DATA)));
    world.finish();
}

/// With the profile `ran`, traffic goes on within a second of the cut of the primary path, and nothing is lost.
//= test RFC 9260 §8.2: "the endpoint SHOULD mark the destination transport address as inactive, and a notification
//= SHOULD be sent to the upper layer"
//= test RFC 9260 §8.2: "SHOULD also report to the upper layer when an inactive destination address is marked as active"
//= test RFC 9260 §6.4.1: "the SCTP endpoint SHOULD try to send the data to an alternate active destination transport
//= address if one exists"
//= test RFC 9260 §8.3: "the endpoint SHOULD mark the corresponding destination address as inactive if it is not so
//= marked and SHOULD also report"
//= test RFC 9260 §8.3: "The endpoint SHOULD report to the upper layer when an inactive destination address is marked as
//= active"
// And the half of §8.3 that we meet: "the endpoint SHOULD continue sending HEARTBEAT chunks on this destination address".
#[test]
fn traffic_moves_to_another_path_within_a_second() {
    let config = AssociationConfig::ran();
    let plan = Plan {
        messages: 2000,
        sizes: Sizes::Fixed(300),
        burst: 1,
        pause: Duration::from_millis(10),
        ..Plan::with_config(config)
    };
    let mut world = multi_homed("fail_over", 2, plan.clone(), plan);
    establish(&mut world);
    world.run_for(SECOND * 2);
    let fault = world.now;
    cut(&mut world, 0, fault, fault + SECOND * 5);
    // How long the reader goes without a message.
    let (mut longest, mut last, mut count) = (Duration::ZERO, world.now, world.sides[1].received);
    while world.now < fault + SECOND * 5 {
        world.run_for(Duration::from_millis(5));
        if world.sides[1].received > count {
            (count, last) = (world.sides[1].received, world.now);
        }
        longest = longest.max(world.now - last);
    }
    assert!(longest < SECOND, "no message for {longest:?}");
    let inactive =
        |event: &Event| *event == Event::PathChanged { address: address(SERVER, 0), state: PathState::Inactive };
    let noticed = told(&world, 0, inactive).expect("the application is told");
    assert!(noticed < fault + SECOND * 2, "after {:?}", noticed - fault);
    world.run_for(SECOND * 30);
    assert_eq!(path(&world, 0, 0).state, PathState::Active, "the path is found again when it is back");
    assert!(world.sides.iter().all(|side| side.received == 2000 && side.phase == Phase::Open));
    world.finish();
}

/// RFC 9260 §6.4.1: what a path lost is sent again on another.
//= test RFC 9260 §6.4: "an endpoint SHOULD try to retransmit a chunk that timed out to an active destination transport
//= address that is different"
//= test RFC 9260 §6.3.3: "The RTO to be used for starting T3-rtx SHOULD be the one for the destination address to which
//= the retransmission is sent"
#[test]
fn retransmissions_take_another_path() {
    let mut world = multi_homed("retransmit_elsewhere", 2, Plan::manual(), Plan::manual());
    establish(&mut world);
    world.run_for(SECOND * 10);
    let start = world.now;
    cut(&mut world, 0, start, Instant::FAR_FUTURE);
    world.send(0, 0, 100);
    world.run_for(SECOND * 5);
    let sent = world.packets.iter().filter(|packet| packet.at >= start && has(&packet.bytes, ChunkType::DATA));
    let destinations: Vec<_> = sent.map(|packet| packet.destination).collect();
    assert_eq!(destinations[..2], [address(SERVER, 0), address(SERVER, 1)]);
    assert_eq!(world.sides[1].received, 1, "one timeout is all it takes");
    world.finish();
}

/// All paths are cut for a while that is shorter than patience: the association survives.
//= test RFC 9260 §8.1: "The counter used for endpoint failure detection MUST be reset each time a DATA chunk sent to
//= that peer endpoint is acknowledged"
#[test]
fn an_association_survives_when_all_paths_fail_for_a_while() {
    let plan = Plan { messages: 300, sizes: Sizes::Mixed(3000), burst: 3, pause: ROUND_TRIP, ..Plan::manual() };
    let mut world = multi_homed("all_paths_fail", 2, plan.clone(), plan);
    establish(&mut world);
    world.run_for(SECOND);
    let now = world.now;
    cut(&mut world, 0, now, now + SECOND * 6);
    cut(&mut world, 1, now + SECOND, now + SECOND * 5);
    assert!(world.run_while(SECOND * 120, |world| world.sides.iter().all(|side| side.received == 300)));
    world.finish();
}

/// The peer's packets come from an address that is being cut, one way only.
#[test]
fn a_path_that_fails_one_way_is_worked_around() {
    let plan = Plan { messages: 300, sizes: Sizes::Fixed(1000), burst: 3, pause: ROUND_TRIP, ..Plan::manual() };
    let mut world = multi_homed("one_way_cut", 2, plan.clone(), plan);
    establish(&mut world);
    world.run_for(SECOND * 2);
    world.intercept(|sight| if sight.destination == address(CLIENT, 0) { Verdict::Drop } else { Verdict::Pass });
    assert!(world.run_while(SECOND * 300, |world| world.sides.iter().all(|side| side.received == 300)));
    world.finish();
}

/// INITs go to each of the peer's addresses in turn (RFC 9260 §5.1 A), heartbeats to each path (§8.3).
//= test RFC 9260 §8.3: "SHOULD monitor the reachability of the idle destination transport address(es)"
//= test RFC 9260 §3.3.5: "An endpoint SHOULD send a HEARTBEAT (HB) chunk"
#[test]
fn idle_paths_are_probed() {
    let config = AssociationConfig { heartbeat_interval: Some(SECOND * 5), ..AssociationConfig::rfc() };
    let plan = Plan::with_config(config);
    let mut world = multi_homed("idle_paths_probed", 2, plan.clone(), plan);
    establish(&mut world);
    world.run_for(SECOND * 60);
    for index in 0..2 {
        let to = address(SERVER, index);
        let probes =
            world.packets.iter().filter(|p| p.destination == to && has(&p.bytes, ChunkType::HEARTBEAT)).count();
        assert!((7..=14).contains(&probes), "{probes} heartbeats to {to} in a minute");
    }
    world.finish();
}

//= test RFC 9260 §8.3: "it is RECOMMENDED that a HEARTBEAT chunk is sent once per RTO of that destination address plus
//= the protocol parameter 'HB.interval', with jittering of +/- 50% of the RTO value"
#[test]
fn heartbeats_are_jittered_both_ways() {
    let config =
        AssociationConfig { heartbeat_interval: Some(SECOND), path_mtu_discovery: false, ..AssociationConfig::rfc() };
    let mut world = established("heartbeat_jitter", &config);
    world.run_for(SECOND * 300);
    let sent = times(&world, CLIENT, ChunkType::HEARTBEAT);
    // RTO.Min is a second. The timer starts anew with the HEARTBEAT ACK.
    let (shortest, longest) = (SECOND * 3 / 2 + ROUND_TRIP, SECOND * 5 / 2 + ROUND_TRIP);
    let periods: Vec<Duration> = sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for period in &periods {
        assert!(*period >= shortest && *period <= longest + TICK, "{period:?}");
    }
    let short = periods.iter().filter(|period| **period < SECOND * 2).count();
    assert!(short > periods.len() / 3 && short < periods.len() * 2 / 3, "{short} of {} are short", periods.len());
    assert!(periods.len() > 120);
    world.finish();
}

/// A fast retransmission goes where the chunk went before, though another path is as good.
//= test RFC 9260 §6.4: "an endpoint SHOULD send fast retransmissions to the same destination transport address to which
//= the original data was sent"
#[test]
fn fast_retransmissions_keep_their_path() {
    let mut world = multi_homed("fast_same_path", 2, Plan::manual(), Plan::manual());
    establish(&mut world);
    for _ in 0..20 {
        world.send(0, 0, 1400);
        world.run_for(ROUND_TRIP * 2);
    }
    let start = world.now;
    lose(&mut world, CLIENT, ChunkType::DATA, 1);
    for _ in 0..6 {
        world.send(0, 0, 1400);
    }
    world.run_for(SECOND);
    let association = world.nodes[CLIENT].endpoint.association(world.sides[0].id).unwrap();
    assert_eq!((association.stats().fast_retransmits, association.stats().t3_timeouts), (1, 0));
    let sent = world.packets.iter().filter(|packet| packet.at >= start && has(&packet.bytes, ChunkType::DATA));
    let destinations: Vec<_> = sent.map(|packet| packet.destination).collect();
    assert_eq!(destinations, [address(SERVER, 0); 7]);
    world.finish();
}

/// HEARTBEATs alone find out that a path fails and that it works again, and measure it. Each HEARTBEAT ACK sets the counters to zero, that
/// of the association, too: it outlives any number of outages of which each is short.
//= test RFC 9260 §8.1: "When a HEARTBEAT ACK chunk is received from the peer endpoint, the counter SHOULD also be reset."
//= test RFC 9260 §8.3: "The receiver of the HEARTBEAT ACK chunk SHOULD also clear the association overall error count"
//= test RFC 9260 §8.3: "the sender of the HEARTBEAT chunk SHOULD clear the error counter of the destination transport
//= address to which the HEARTBEAT chunk was sent and mark the destination transport address as active"
//= test RFC 9260 §8.3: "The receiver of the HEARTBEAT ACK chunk SHOULD also perform an RTT measurement for that destination
//= transport address"
//= test RFC 9260 §8.3: "Only one heartbeat SHOULD be sent each time the heartbeat timer expires"
#[test]
fn an_answered_heartbeat_makes_up_for_those_that_were_not() {
    let config = AssociationConfig {
        heartbeat_interval: Some(SECOND),
        rto_max: SECOND,
        path_max_retransmits: 1,
        association_max_retransmits: 3,
        path_mtu_discovery: false,
        ..AssociationConfig::rfc()
    };
    let plan = Plan::with_config(config);
    let mut world = pair("heartbeats_alone", plan.clone(), plan);
    establish(&mut world);
    for _ in 0..5 {
        let start = world.now;
        cut(&mut world, 0, start, start + SECOND * 6);
        world.run_for(SECOND * 6);
        let failed = path(&world, 0, 0);
        assert!(failed.error_count >= 2 && failed.state == PathState::Inactive, "{failed:?}");
        world.run_for(SECOND * 4);
        assert_eq!((path(&world, 0, 0).error_count, path(&world, 0, 0).state), (0, PathState::Active));
    }
    let before = path(&world, 0, 0).srtt;
    for (source, destination) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
        world.network.config(address(source, 0), address(destination, 0)).delay = DELAY * 10;
    }
    world.run_for(SECOND * 5);
    assert!(path(&world, 0, 0).srtt > before);
    let sent = times(&world, CLIENT, ChunkType::HEARTBEAT);
    assert!(sent.windows(2).all(|pair| pair[1] > pair[0]), "one at a time");
    world.finish();
}
