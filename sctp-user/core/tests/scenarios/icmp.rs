//! RFC 9260 §10: ICMP from routers, and from those who only say so.

use std::net::IpAddr;
use std::time::Duration;

use sctp_core::{AssociationConfig, IcmpHandled, IcmpMessage, PathInfo};

use crate::sim::app::{Phase, Plan, Sizes};
use crate::sim::random::Random;
use crate::sim::world::World;
use crate::stage::*;

const SECOND: Duration = Duration::from_secs(1);

/// The head of a packet from the client to the server, as a router quotes it.
fn head(tag: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&CLIENT_PORT.to_be_bytes());
    bytes.extend_from_slice(&SERVER_PORT.to_be_bytes());
    bytes.extend_from_slice(&tag.to_be_bytes());
    bytes
}

fn peer_tag(world: &World) -> u32 {
    world.nodes[CLIENT].endpoint.association(world.sides[0].id).unwrap().peer_tag()
}

fn path(world: &World) -> PathInfo {
    world.nodes[CLIENT].endpoint.association(world.sides[0].id).unwrap().primary_path()
}

fn tell(world: &mut World, kind: (u8, u8), mtu: u32, addresses: (IpAddr, IpAddr), quoted: &[u8]) -> IcmpHandled {
    let (source, destination) = addresses;
    let message =
        IcmpMessage { icmp_type: kind.0, code: kind.1, mtu, source, destination, encapsulation: None, quoted };
    let handled = world.nodes[CLIENT].endpoint.handle_icmp(world.now, &message);
    world.settle(CLIENT);
    handled
}

fn talking(name: &str) -> World {
    let plan = Plan { messages: 200, sizes: Sizes::Fixed(5000), burst: 2, pause: SECOND / 20, ..Plan::manual() };
    let mut world = pair(name, plan.clone(), plan);
    establish(&mut world);
    world.run_for(SECOND);
    world
}

fn all_received(world: &mut World) {
    let all = |world: &World| world.sides.iter().all(|side| side.received == 200 && side.phase == Phase::Open);
    assert!(world.run_while(SECOND * 600, all), "every message arrives, and the association lives");
}

/// Somebody who knows the addresses and ports, but not the tag, sends every kind of message: none of them does anything.
//= test RFC 9260 §10: "the following procedures MUST be followed to ensure proper utilization of the information being
//= provided by layer 3"
//= test RFC 9260 §10: "An implementation MUST use the payload of the ICMP message (v4 or v6) to locate the association
//= that sent the message to which ICMP is responding."
//= test RFC 9260 §10: "If the association cannot be found, an implementation SHOULD ignore the ICMP message."
//= test RFC 9260 §10: "An implementation SHOULD ignore any ICMP messages where the code indicates "Port Unreachable"."
//= test RFC 9260 §12.4: "all SCTP implementations MUST implement the ICMP handling described in Section 10"
#[test]
fn whoever_does_not_know_the_tag_is_not_believed() {
    let mut world = talking("forged_icmp");
    let (right, here, there) = (peer_tag(&world), address(CLIENT, 0), address(SERVER, 0));
    let own = world.nodes[CLIENT].endpoint.association(world.sides[0].id).unwrap().local_tag();
    let mut random = Random::new(7);
    for step in 0..5000 {
        let tag = match step % 8 {
            0 => own,
            1 => 0,
            2 => right ^ 1 << random.below(32),
            _ => random.next() as u32,
        };
        if tag == right {
            continue;
        }
        let mut quoted = head(tag);
        // Sometimes more than the eight bytes that must be there, sometimes less, sometimes with an INIT of any tag.
        let more = random.below(40) as usize;
        quoted.resize(8 + more, random.next() as u8);
        quoted.truncate(random.within(0..=48) as usize);
        let kind = *random.pick(&[(3, 0), (3, 1), (3, 2), (3, 4), (3, 13)]);
        let handled = tell(&mut world, kind, random.below(70_000) as u32, (here, there), &quoted);
        assert_eq!(handled, IcmpHandled::NotOurs, "{kind:?} {quoted:02x?}");
    }
    // With the right tag: other addresses or ports, or a port that nobody listens on, which means nothing for SCTP.
    let sound = head(right);
    let elsewhere = address(SERVER, 9);
    assert_eq!(tell(&mut world, (3, 4), 600, (here, elsewhere), &sound), IcmpHandled::NoAssociation);
    assert_eq!(tell(&mut world, (3, 4), 600, (address(CLIENT, 9), there), &sound), IcmpHandled::NoAssociation);
    let mut other_port = sound.clone();
    other_port[1] ^= 1;
    assert_eq!(tell(&mut world, (3, 1), 0, (here, there), &other_port), IcmpHandled::NoAssociation);
    assert_eq!(tell(&mut world, (3, 3), 0, (here, there), &sound), IcmpHandled::Ignored);
    assert_eq!((path(&world).mtu, path(&world).error_count), (1500, 0));
    all_received(&mut world);
    assert_eq!(path(&world).mtu, 1500);
    world.finish();
}

/// Somebody on the path, who knows the tag, names every size there is, the absurd ones too, while traffic flows: it goes on, in packets
/// that are never smaller than a path must carry; and when the lies end the path is as wide as before.
//= test RFC 9260 §10: "an implementation SHOULD process this information as defined for PMTU discovery"
#[test]
fn lies_about_the_pmtu_do_little_harm() {
    for discovery in [true, false] {
        let config = AssociationConfig { path_mtu_discovery: discovery, ..AssociationConfig::default() };
        let plan = Plan {
            messages: 200,
            sizes: Sizes::Fixed(5000),
            burst: 2,
            pause: SECOND / 20,
            ..Plan::with_config(config)
        };
        let mut world = pair("lies_about_pmtu", plan.clone(), plan);
        establish(&mut world);
        let quoted = head(peer_tag(&world));
        let addresses = (address(CLIENT, 0), address(SERVER, 0));
        let mut random = Random::new(11);
        for step in 0..400_u32 {
            let mtu = match step % 4 {
                0 => step / 4,
                1 => *random.pick(&[0, 1, 8, 28, 68, 296, 575, 576, 1279, 1280, 1499, 1500, 1501, 9000, u32::MAX]),
                _ => random.below(1500) as u32,
            };
            assert_eq!(tell(&mut world, (3, 4), mtu, addresses, &quoted), IcmpHandled::PathMtu);
            assert!((576..=1500).contains(&path(&world).mtu), "told {mtu}: {}", path(&world).mtu);
            world.run_for(SECOND / 50);
        }
        let lied = world.now;
        all_received(&mut world);
        assert_eq!(path(&world).error_count, 0);
        if discovery {
            // Probes find out what the path carries, as soon as the search is repeated.
            world.run_until(lied + SECOND * 700);
            world.send(0, 0, 5000);
            world.run_for(SECOND * 60);
            assert_eq!(path(&world).mtu, 1500);
        }
        world.finish();
    }
}

/// Somebody on the path says again and again that the peer cannot be reached, while it can: heartbeats show that it is not true.
#[test]
fn lies_about_reachability_do_little_harm() {
    let mut world = talking("lies_about_reachability");
    let quoted = head(peer_tag(&world));
    let addresses = (address(CLIENT, 0), address(SERVER, 0));
    for step in 0..2000 {
        let code = [0, 1, 2, 5, 13][step % 5];
        assert_eq!(tell(&mut world, (3, code), 0, addresses, &quoted), IcmpHandled::Unreachable);
        assert!(path(&world).error_count <= 2, "{}", path(&world).error_count);
        world.run_for(Duration::from_millis(3));
    }
    all_received(&mut world);
    world.run_for(SECOND);
    assert_eq!(path(&world).error_count, 0, "the last HEARTBEAT has been answered");
    world.finish();
}
