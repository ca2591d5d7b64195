//! RFC 9260 §6.9, §7.3, RFC 8899: the PMTU of a path is found out, and followed when it changes.

use std::time::Duration;

use sctp_core::wire::ChunkType;
use sctp_core::{AssociationConfig, CloseReason, EndpointConfig, Event, IcmpHandled, IcmpMessage, PathInfo};

use crate::sim::app::{Phase, Plan, Sizes};
use crate::sim::network::{Fate, LinkConfig};
use crate::sim::packet::has;
use crate::sim::world::World;
use crate::stage::*;

const SECOND: Duration = Duration::from_secs(1);

fn path(world: &World, side: usize) -> PathInfo {
    world.nodes[world.sides[side].node].endpoint.association(world.sides[side].id).unwrap().primary_path()
}

fn carry(world: &mut World, mtu: usize) {
    for (_, _, link) in world.network.configs() {
        link.mtu = mtu;
    }
}

fn received(world: &mut World, within: Duration) {
    let wanted = world.sides[0].plan.messages;
    let all = |world: &World| world.sides.iter().all(|side| side.received == wanted && side.phase == Phase::Open);
    assert!(world.run_while(within, all), "every message arrives, and the association lives");
}

/// The network in the middle begins to drop large packets and says nothing. Traffic goes on, in smaller packets; what was cut before goes
/// in fragments; and when the network carries more again, that is found out too.
//= test RFC 9260 §7.3: "An endpoint SHOULD apply these techniques"
#[test]
fn a_black_hole_is_found_and_left() {
    let plan = Plan { messages: 400, sizes: Sizes::Fixed(5000), burst: 2, pause: SECOND / 2, ..Plan::manual() };
    let mut world = pair("black_hole", plan.clone(), plan);
    establish(&mut world);
    world.run_for(SECOND * 2);
    let probes = |world: &World| world.packets.iter().filter(|packet| has(&packet.bytes, ChunkType::PAD)).count();
    assert_eq!(probes(&world), 0, "while all is well there is nothing to find out");
    carry(&mut world, 1400);
    let before = world.now;
    world.run_for(SECOND * 20);
    for side in [0, 1] {
        assert!((1200..=1400).contains(&path(&world, side).mtu), "side {side}: {}", path(&world, side).mtu);
    }
    assert!(probes(&world) > 0);
    let settled = world.now;
    world.run_for(SECOND * 60);
    let lost = world.packets.iter().filter(|packet| packet.at > settled && packet.fate == Fate::TooBig);
    assert!(lost.clone().all(|packet| has(&packet.bytes, ChunkType::PAD)), "only probes get lost");
    assert_eq!(path(&world, 0).mtu, 1400);
    assert_eq!(path(&world, 0).error_count, 0, "a probe that gets lost is no error");
    let cut_before = world.packets.iter().filter(|packet| packet.at > before && packet.bytes.len() > 1380);
    assert!(cut_before.into_iter().any(|packet| packet.fate == Fate::Passed), "in fragments");
    carry(&mut world, 1500);
    received(&mut world, SECOND * 1200);
    world.run_for(SECOND);
    world.finish();
}

/// A probe's loss changes neither cwnd nor error counts, and its success raises the PMTU to what the interface carries.
#[test]
fn jumbo_frames_are_found_by_probes() {
    for (carries, expected) in [(9000, 9000), (4352, 4352), (1500, 1500)] {
        let name = format!("jumbo_{carries}");
        let mut world = World::new(1, &name, format!("cargo test -p sctp-core --test scenarios {name}"));
        for node in [CLIENT, SERVER] {
            let addresses = vec![address(node, 0)];
            world.node_with(EndpointConfig { addresses, max_packet: 8980, ..EndpointConfig::default() });
        }
        world.mesh(CLIENT, SERVER, &LinkConfig { mtu: carries, ..LinkConfig::with_delay(DELAY) });
        let config = AssociationConfig { max_path_mtu: Some(9000), ..AssociationConfig::default() };
        let plan = Plan {
            messages: 200,
            sizes: Sizes::Fixed(20_000),
            burst: 1,
            pause: SECOND / 2,
            ..Plan::with_config(config)
        };
        world.converse(conversation(plan.clone(), plan));
        establish(&mut world);
        received(&mut world, SECOND * 600);
        assert_eq!(path(&world, 0).mtu, expected);
        let stats = *world.nodes[CLIENT].endpoint.association(world.sides[0].id).unwrap().stats();
        assert_eq!((stats.t3_timeouts, stats.data_chunks_retransmitted), (0, 0));
        world.finish();
    }
}

/// With discovery turned off nothing is probed.
#[test]
fn discovery_can_be_turned_off() {
    let config = AssociationConfig {
        path_mtu_discovery: false,
        max_path_mtu: Some(9000),
        path_mtu: 1280,
        ..AssociationConfig::default()
    };
    let plan = Plan { messages: 20, sizes: Sizes::Fixed(5000), ..Plan::with_config(config) };
    let mut world = pair("no_discovery", plan.clone(), plan);
    establish(&mut world);
    received(&mut world, SECOND * 60);
    assert_eq!(path(&world, 0).mtu, 1280);
    assert!(world.packets.iter().all(|packet| !has(&packet.bytes, ChunkType::PAD)));
    world.finish();
}

/// The client's last packet, quoted as a router does.
fn quoted(world: &World, bytes: usize) -> Vec<u8> {
    let last = world.packets.iter().rfind(|packet| packet.from == Some(CLIENT)).expect("it has sent something");
    last.bytes[..bytes.min(last.bytes.len())].to_vec()
}

fn tell(world: &mut World, icmp_type: u8, code: u8, mtu: u32, quoted: &[u8]) -> IcmpHandled {
    let (source, destination) = (address(CLIENT, 0), address(SERVER, 0));
    let message = IcmpMessage { icmp_type, code, mtu, source, destination, encapsulation: None, quoted };
    let handled = world.nodes[CLIENT].endpoint.handle_icmp(world.now, &message);
    world.settle(CLIENT);
    handled
}

/// RFC 9260 §10, ICMP7: Fragmentation Needed, with what it must quote. The PMTU falls to the base at once and is what the router said a
/// few round trips later; a message with a wrong tag changes nothing.
#[test]
fn fragmentation_needed_is_followed() {
    let plan = Plan { messages: 100, sizes: Sizes::Fixed(5000), burst: 2, pause: SECOND / 10, ..Plan::manual() };
    let mut world = pair("fragmentation_needed", plan.clone(), plan);
    establish(&mut world);
    world.run_for(SECOND);
    carry(&mut world, 1400);
    let sound = quoted(&world, 8);
    let mut forged = sound.clone();
    forged[7] ^= 1;
    assert_eq!(tell(&mut world, 3, 4, 1400, &forged), IcmpHandled::NotOurs);
    assert_eq!(tell(&mut world, 3, 4, 1400, &sound[..7]), IcmpHandled::NotOurs);
    forged[0] ^= 1;
    assert_eq!(tell(&mut world, 3, 4, 1400, &forged), IcmpHandled::NoAssociation);
    assert_eq!(path(&world, 0).mtu, 1500);
    assert_eq!(tell(&mut world, 3, 4, 1400, &sound), IcmpHandled::PathMtu);
    assert_eq!(path(&world, 0).mtu, 1200);
    world.run_for(SECOND);
    assert_eq!(path(&world, 0).mtu, 1400);
    received(&mut world, SECOND * 600);
    // What a router has told is so until PMTU_RAISE_TIMER expires.
    carry(&mut world, 1500);
    world.run_for(SECOND * 601);
    assert_eq!(path(&world, 0).mtu, 1500);
    world.finish();
}

/// RFC 9260 §10, ICMP8 and ICMP9.
//= test RFC 9260 §8.3: "Whenever a HEARTBEAT ACK chunk arrives, the sender SHOULD clear the error counter of the
//= destination that the HEARTBEAT chunk was sent to."
//= test RFC 9260 §8.2: "the endpoint SHOULD clear the error counter of the destination transport address to which the
//= DATA chunk was last sent (or HEARTBEAT chunk was sent)"
#[test]
fn unreachable_hosts_and_protocols() {
    for to_the_letter in [false, true] {
        let config = AssociationConfig { abort_on_protocol_unreachable: to_the_letter, ..AssociationConfig::default() };
        let mut world = pair("unreachable", Plan { config, ..Plan::manual() }, Plan::manual());
        establish(&mut world);
        let sound = quoted(&world, 8);
        assert_eq!(tell(&mut world, 3, 3, 0, &sound), IcmpHandled::Ignored, "port unreachable");
        for code in [1, 1, 0, 1] {
            assert_eq!(tell(&mut world, 3, code, 0, &sound), IcmpHandled::Unreachable);
        }
        assert_eq!(path(&world, 0).error_count, 1, "several messages at once are one error");
        world.run_for(SECOND);
        assert_eq!(path(&world, 0).error_count, 0, "and none once a HEARTBEAT has been answered");
        if to_the_letter {
            assert_eq!(tell(&mut world, 3, 2, 0, &sound), IcmpHandled::Aborted);
            let closed =
                |event: &Event| matches!(event, Event::Closed { reason: CloseReason::ProtocolUnreachable, .. });
            assert!(told(&world, 0, closed).is_some());
            isolate(&mut world);
            continue;
        }
        // A raw socket of the peer's is full: no more than an error of the path, for as long as it answers.
        for _ in 0..20 {
            assert_eq!(tell(&mut world, 3, 2, 0, &sound), IcmpHandled::Unreachable);
            world.run_for(SECOND);
            assert_eq!(path(&world, 0).error_count, 0);
        }
        world.finish();
    }
}

/// DATA that makes the COOKIE ECHO's packet too large for the path does not keep the association from coming up.
#[test]
fn a_narrow_path_does_not_stop_the_handshake() {
    let client = Plan { messages: 3, sizes: Sizes::Fixed(4000), early: true, ..Plan::manual() };
    let mut world = pair("narrow_handshake", client, Plan::manual());
    world.mesh(CLIENT, SERVER, &LinkConfig { mtu: 1300, ..LinkConfig::with_delay(DELAY) });
    world.connect(0);
    world.run_for(SECOND * 60);
    assert_eq!(world.sides.len(), 2, "the server has accepted");
    assert_eq!(world.sides[1].received, 3);
    world.finish();
}
