//! RFC 7829, RFC 9260 §6.4, §8: paths that fail, in this way or that, and come back.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use sctp_core::time::Instant;
use sctp_core::wire::ChunkType;
use sctp_core::{AssociationConfig, Event, PathInfo, PathState};

use crate::sim::app::{Phase, Plan, Sizes};
use crate::sim::network::LinkConfig;
use crate::sim::packet::has;
use crate::sim::world::{Verdict, World};
use crate::stage::*;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Two hosts on two networks that have nothing in common, of one family each or of two.
struct Networks {
    world: World,
    ends: [[IpAddr; 2]; 2],
}

fn v4(node: usize, index: u8) -> IpAddr {
    address(node, index)
}

fn v6(node: usize, index: u8) -> IpAddr {
    Ipv6Addr::new(0xfd00, index.into(), 0, 0, 0, 0, 0, node as u16 + 1).into()
}

impl Networks {
    fn new(name: &str, plan: &Plan, address: fn(usize, u8) -> IpAddr) -> Self {
        let mut world = World::new(1, name, format!("cargo test -p sctp-core --test scenarios {name}"));
        let ends = [CLIENT, SERVER].map(|node| [address(node, 0), address(node, 1)]);
        for end in &ends {
            world.node(end);
        }
        world.networks(CLIENT, SERVER, &LinkConfig::with_delay(DELAY));
        world.converse(conversation(plan.clone(), plan.clone()));
        establish(&mut world);
        world.run_for(SECOND * 2);
        Self { world, ends }
    }

    /// Cuts one network for a while, from one host to the other or both ways.
    fn cut(&mut self, network: usize, from: Option<usize>, begin: Instant, end: Instant) {
        for node in [CLIENT, SERVER] {
            if from.is_none_or(|from| from == node) {
                let (source, destination) = (self.ends[node][network], self.ends[1 - node][network]);
                self.world.network.config(source, destination).cuts.push((begin, end));
            }
        }
    }

    fn path(&self, side: usize, network: usize) -> PathInfo {
        let world = &self.world;
        let node = world.sides[side].node;
        let association = world.nodes[node].endpoint.association(world.sides[side].id).unwrap();
        association.paths().find(|path| path.address == self.ends[1 - node][network]).expect("the path is known")
    }

    /// Runs, and gives the longest time that either application went without a message.
    fn longest_silence(&mut self, duration: Duration) -> Duration {
        let end = self.world.now + duration;
        let mut longest = Duration::ZERO;
        let mut last = [self.world.now; 2];
        let mut counts = [0, 1].map(|side| self.world.sides[side].received);
        while self.world.now < end {
            self.world.run_for(MILLISECOND * 5);
            for side in [0, 1] {
                let received = self.world.sides[side].received;
                if received > counts[side] || received == self.world.sides[1 - side].plan.messages {
                    (counts[side], last[side]) = (received, self.world.now);
                }
                longest = longest.max(self.world.now - last[side]);
            }
        }
        longest
    }

    fn states_told(&self, side: usize, network: usize) -> Vec<PathState> {
        let side = &self.world.sides[side];
        let wanted = self.ends[1 - side.node][network];
        let state = |event: &Event| match event {
            Event::PathChanged { address, state } if *address == wanted => Some(*state),
            _ => None,
        };
        side.events.iter().filter_map(|(_, event)| state(event)).collect()
    }

    fn all_received(&mut self, within: Duration) {
        let wanted = self.world.sides[0].plan.messages;
        let all = |world: &World| world.sides.iter().all(|side| side.received == wanted && side.phase == Phase::Open);
        assert!(self.world.run_while(within, all), "every message arrives, and the association lives");
    }
}

/// Both sides send a message of 300 bytes every 10 ms.
fn chatter(config: AssociationConfig, messages: u32) -> Plan {
    Plan { messages, sizes: Sizes::Fixed(300), burst: 1, pause: MILLISECOND * 10, ..Plan::with_config(config) }
}

/// Profile `ran`, in each family: a network is cut in mid-transfer; traffic goes on by the other within a second, comes back with the
/// network, and survives the next cut as well.
#[test]
fn ran_fails_over_within_a_second() {
    for (name, family) in [("ran_fail_over_v4", v4 as fn(usize, u8) -> IpAddr), ("ran_fail_over_v6", v6)] {
        let mut at = Networks::new(name, &chatter(AssociationConfig::ran(), 4000), family);
        for _ in 0..2 {
            let begin = at.world.now;
            at.cut(0, None, begin, begin + SECOND * 4);
            let silence = at.longest_silence(SECOND * 4);
            assert!(silence < SECOND / 2, "{name}: no message for {silence:?}");
            assert_eq!(at.path(0, 0).state, PathState::Inactive, "{name}");
            let silence = at.longest_silence(SECOND * 5);
            assert!(silence < SECOND / 4, "{name}: the return takes {silence:?}");
            let path = at.path(0, 0);
            assert_eq!((path.state, path.error_count), (PathState::Active, 0));
            assert!(path.rto < MILLISECOND * 200, "the back-off of the outage is over: {:?}", path.rto);
            let last = at
                .world
                .packets
                .iter()
                .rfind(|packet| packet.from == Some(CLIENT) && has(&packet.bytes, ChunkType::DATA));
            assert_eq!(last.expect("DATA is sent").destination, at.ends[SERVER][0], "DATA is back on the primary path");
        }
        let told = [PathState::PotentiallyFailed, PathState::Inactive, PathState::Active];
        assert_eq!(at.states_told(0, 0), told.repeat(2));
        at.all_received(SECOND * 120);
        at.world.finish();
    }
}

/// RFC 7829 §3.2 rules 2, 5, 6, 8: after the first timeout DATA is on the other path, and HEARTBEATs follow each other at RTO, doubled each
/// time, until the path is inactive.
//= test RFC 9260 §8.3: "The endpoint SHOULD increment the respective error counter of the destination transport address
//= each time a HEARTBEAT chunk is sent to that address and not acknowledged within one RTO."
//= test RFC 9260 §8.2: "an endpoint SHOULD keep an error counter for each of the destination transport addresses"
#[test]
fn a_potentially_failed_path_is_probed_once_per_rto() {
    let config = AssociationConfig { path_max_retransmits: 4, ..AssociationConfig::ran() };
    let mut at = Networks::new("potentially_failed_probed", &Plan::with_config(config), v4);
    let begin = at.world.now;
    at.cut(0, None, begin, Instant::FAR_FUTURE);
    at.world.send(0, 0, 100);
    at.world.run_for(MILLISECOND * 125);
    assert_eq!(at.path(0, 0).state, PathState::PotentiallyFailed);
    assert_eq!(at.world.sides[1].received, 0);
    at.world.run_for(MILLISECOND * 15);
    assert_eq!(at.world.sides[1].received, 1, "by the other path, at the first timeout");
    at.world.run_for(SECOND * 3);
    let destination = at.ends[SERVER][0];
    let probes: Vec<_> = at
        .world
        .packets
        .iter()
        .filter(|packet| packet.at >= begin + MILLISECOND * 100 && packet.destination == destination)
        .map(|packet| packet.at)
        .collect();
    // T3-rtx after 120 ms; then 240, 480, 500 (RTO.Max) ms.
    for (probe, due) in probes.iter().zip([120, 360, 840, 1340]) {
        assert_at(*probe, begin + MILLISECOND * due, "a HEARTBEAT");
    }
    assert_eq!(at.path(0, 0).state, PathState::Inactive);
    let inactive = told(&at.world, 0, |event| matches!(event, Event::PathChanged { state: PathState::Inactive, .. }));
    assert_at(inactive.expect("it is told"), begin + MILLISECOND * 1840, "five errors");
    at.world.finish();
}

/// §8.1: HEARTBEATs that fail on a path without DATA end no association, however many.
//= test RFC 9260 §8.1: "Unacknowledged HEARTBEAT chunks observed on paths different from the path currently used for
//= data transfer SHOULD NOT increment the association error counter"
#[test]
fn probes_of_a_dead_path_do_not_end_the_association() {
    let mut at = Networks::new("dead_path_probed", &chatter(AssociationConfig::ran(), 3000), v4);
    let begin = at.world.now;
    at.cut(0, None, begin, Instant::FAR_FUTURE);
    at.world.run_for(SECOND * 60);
    assert_eq!(at.path(0, 0).state, PathState::Inactive);
    assert_eq!(at.path(0, 1).state, PathState::Active);
    at.all_received(SECOND * 60);
    at.world.finish();
}

/// A network that comes and goes loses nothing.
#[test]
fn a_flapping_network_loses_nothing() {
    for config in [AssociationConfig::ran(), AssociationConfig::signalling(), AssociationConfig::default()] {
        let mut at = Networks::new("flapping", &chatter(config, 2000), v4);
        let begin = at.world.now;
        for flap in 0..40 {
            let from = begin + MILLISECOND * (500 * flap);
            at.cut(0, None, from, from + MILLISECOND * 50 * (1 + flap % 9));
        }
        let silence = at.longest_silence(SECOND * 20);
        assert!(silence < SECOND * 4, "no message for {silence:?}");
        at.all_received(SECOND * 120);
        at.world.finish();
    }
}

/// Only what the server sends is lost, on the primary network: our DATA arrives, its SACKs do not. They come by the other network once the
/// server sees DATA repeated (§6.4).
#[test]
fn lost_sacks_are_sent_by_another_path() {
    let mut at = Networks::new("sacks_lost", &Plan::with_config(AssociationConfig::ran()), v4);
    let begin = at.world.now;
    at.cut(0, Some(SERVER), begin, Instant::FAR_FUTURE);
    // The client retransmits on the network whose way there works: no timeout moves it off.
    let (source, destination) = (at.ends[CLIENT][1], at.ends[SERVER][1]);
    at.world.network.config(source, destination).cuts.push((begin, begin + SECOND * 2));
    at.world.send(0, 0, 100);
    at.world.run_for(SECOND * 2);
    let other = at.ends[CLIENT][1];
    let sacks = at.world.packets.iter().filter(|packet| packet.from == Some(SERVER) && packet.at >= begin);
    let sacks: Vec<IpAddr> =
        sacks.filter(|packet| has(&packet.bytes, ChunkType::SACK)).map(|packet| packet.destination).collect();
    assert_eq!(sacks[0], at.ends[CLIENT][0], "the first goes back to where the DATA came from");
    assert!(sacks[1..].contains(&other), "{sacks:?}");
    let association = at.world.nodes[CLIENT].endpoint.association(at.world.sides[0].id).unwrap();
    assert_eq!(association.outstanding_chunks(), 0, "one of them arrived");
    at.world.finish();
}

/// The same in mid-transfer, both ways of the other network working: traffic goes on.
#[test]
fn traffic_survives_a_cut_one_way() {
    for from in [CLIENT, SERVER] {
        let mut at = Networks::new("one_way", &chatter(AssociationConfig::ran(), 1500), v4);
        let begin = at.world.now;
        at.cut(0, Some(from), begin, begin + SECOND * 8);
        let silence = at.longest_silence(SECOND * 8);
        assert!(silence < SECOND, "no message for {silence:?}");
        at.all_received(SECOND * 60);
        at.world.finish();
    }
}

/// RFC 7829 §5: with primary path switch-over DATA stays where it went.
#[test]
fn the_primary_switches_over_if_wanted() {
    let config = AssociationConfig { primary_switchover_max_retransmits: Some(0), ..AssociationConfig::ran() };
    let mut at = Networks::new("switch_over", &chatter(config, 3000), v4);
    let begin = at.world.now;
    at.cut(0, None, begin, begin + SECOND * 2);
    at.world.run_for(SECOND * 10);
    let other = at.ends[SERVER][1];
    let switched = told(&at.world, 0, |event| *event == Event::PrimaryChanged { address: other });
    assert!(switched.expect("it is told") <= begin + MILLISECOND * 200);
    assert_eq!(at.path(0, 0).state, PathState::Active, "the old one is back");
    let last =
        at.world.packets.iter().rfind(|packet| packet.from == Some(CLIENT) && has(&packet.bytes, ChunkType::DATA));
    assert_eq!(last.expect("DATA is sent").destination, other);
    at.all_received(SECOND * 60);
    at.world.finish();
}

/// RFC 7829 §3.2 rule 12: an application need not know of potentially failed paths.
#[test]
fn potential_failure_can_be_hidden() {
    let config = AssociationConfig { expose_potentially_failed: false, ..AssociationConfig::ran() };
    let mut at = Networks::new("hidden", &chatter(config, 1500), v4);
    let begin = at.world.now;
    at.cut(0, None, begin, begin + SECOND * 4);
    at.world.run_for(MILLISECOND * 300);
    assert_eq!(at.path(0, 0).state, PathState::Active);
    at.world.run_for(SECOND * 12);
    assert_eq!(at.states_told(0, 0), [PathState::Inactive, PathState::Active]);
    at.all_received(SECOND * 60);
    at.world.finish();
}

/// Everything is cut, for so long that T3-rtx has backed off to a minute. When a HEARTBEAT shows that a path works, DATA does not wait for
/// the rest of that minute.
#[test]
fn data_goes_on_soon_after_a_long_outage() {
    let config = AssociationConfig {
        association_max_retransmits: 30,
        path_max_retransmits: 30,
        heartbeat_interval: Some(SECOND * 5),
        ..AssociationConfig::default()
    };
    let mut world = pair("long_outage", Plan::with_config(config.clone()), Plan::with_config(config));
    establish(&mut world);
    let begin = world.now;
    let end = begin + SECOND * 130;
    for (_, _, link) in world.network.configs() {
        link.cuts.push((begin, end));
    }
    world.send(0, 0, 100);
    world.run_until(end);
    let done = world.run_while(SECOND * 600, |world| world.sides[1].received == 1);
    assert!(done, "it arrives");
    // Of the HEARTBEATs there is one for every RTO (60 s at most, and half of that as jitter) and interval.
    let answered = world.packets.iter().find(|packet| packet.at > end && has(&packet.bytes, ChunkType::HEARTBEAT_ACK));
    let data = world.packets.iter().rfind(|packet| packet.from == Some(CLIENT) && has(&packet.bytes, ChunkType::DATA));
    if let Some(answered) = answered {
        let waited = data.expect("it was sent").at.saturating_duration_since(answered.at);
        assert!(waited < SECOND, "{waited:?} after the HEARTBEAT ACK");
    }
    world.finish();
}

/// RFC 9260 §11.1.9: heartbeats of one path can be turned off and on; §5.4: no more than HB.Max.Burst verify addresses at a time.
#[test]
fn heartbeats_of_a_path_can_be_changed() {
    let config = AssociationConfig { heartbeat_interval: Some(SECOND * 5), ..AssociationConfig::default() };
    let mut at = Networks::new("change_heartbeat", &Plan::with_config(config), v4);
    let (id, address) = (at.world.sides[0].id, at.ends[SERVER][1]);
    let count = |at: &Networks, from: Instant| {
        let packets = at.world.packets.iter().filter(|packet| packet.at >= from && packet.destination == address);
        packets.filter(|packet| has(&packet.bytes, ChunkType::HEARTBEAT)).count()
    };
    let now = at.world.now;
    at.world.nodes[CLIENT].endpoint.set_heartbeat(now, id, Some(address), None).unwrap();
    at.world.settle(CLIENT);
    at.world.run_for(SECOND * 60);
    assert_eq!(count(&at, now), 0, "off");
    let now = at.world.now;
    at.world.nodes[CLIENT].endpoint.request_heartbeat(now, id, address).unwrap();
    at.world.settle(CLIENT);
    at.world.run_for(SECOND * 20);
    assert_eq!(count(&at, now), 1, "on demand");
    let now = at.world.now;
    at.world.nodes[CLIENT].endpoint.set_heartbeat(now, id, Some(address), Some(SECOND)).unwrap();
    at.world.settle(CLIENT);
    at.world.run_for(SECOND * 60);
    let sent = count(&at, now);
    assert!((35..=55).contains(&sent), "every 1.3 seconds or so: {sent} in a minute");
    let wrong = at.world.nodes[CLIENT].endpoint.set_heartbeat(now, id, Some(address), Some(MILLISECOND));
    assert!(wrong.is_err());
    at.world.finish();
}

//= test RFC 9260 §5.4: "The number of packets containing HEARTBEAT chunks sent at each RTO SHOULD be limited by the
//= 'HB.Max.Burst' parameter."
#[test]
fn addresses_are_verified_a_few_at_a_time() {
    let plan = Plan::with_config(AssociationConfig { heartbeat_max_burst: 2, ..AssociationConfig::default() });
    let mut world = multi_homed("verification_burst", 8, plan.clone(), plan);
    establish(&mut world);
    world.run_for(SECOND * 10);
    let mut sent: Vec<Instant> = times(&world, CLIENT, ChunkType::HEARTBEAT);
    sent.truncate(7);
    let begin = sent[0];
    let rounds: Vec<u64> = sent.iter().map(|at| (*at - begin).as_secs()).collect();
    assert_eq!(rounds, [0, 0, 1, 1, 2, 2, 3], "two for each RTO of a second");
    let association = world.nodes[CLIENT].endpoint.association(world.sides[0].id).unwrap();
    assert!(association.paths().all(|path| path.state == PathState::Active));
    world.finish();
}

/// A client with two addresses and a server with one, all of them linked.
fn one_server_address(name: &str, plan: &Plan) -> World {
    let mut world = World::new(1, name, format!("cargo test -p sctp-core --test scenarios {name}"));
    world.node(&[address(CLIENT, 0), address(CLIENT, 1)]);
    world.node(&[address(SERVER, 0)]);
    world.mesh(CLIENT, SERVER, &LinkConfig::with_delay(DELAY));
    world.converse(conversation(plan.clone(), plan.clone()));
    establish(&mut world);
    world.run_for(SECOND * 2);
    world
}

fn sources(world: &World, since: Instant) -> Vec<IpAddr> {
    let sent = world.packets.iter().filter(|packet| packet.from == Some(CLIENT) && packet.at >= since);
    let mut sources: Vec<IpAddr> = sent.map(|packet| packet.source).collect();
    sources.dedup();
    sources
}

/// RFC 9260 §6.4.1: with a single destination, another source address makes another path.
#[test]
fn another_source_address_is_tried() {
    let mut world = one_server_address("another_source", &chatter(AssociationConfig::ran(), 1000));
    let begin = world.now;
    for (from, to) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
        world.network.config(address(from, 0), address(to, 0)).cuts.push((begin, Instant::FAR_FUTURE));
    }
    world.run_for(SECOND * 2);
    assert_eq!(sources(&world, world.now - SECOND), [address(CLIENT, 1)], "from the address that works");
    assert!(world.run_while(SECOND * 60, |world| world.sides.iter().all(|side| side.received == 1000)));
    assert!(world.sides.iter().all(|side| side.phase == Phase::Open));
    world.finish();
}

/// The same with three addresses of ours and two of the peer's, of whose six pairs only one works, and another one after a while. They
/// are found, both times, and nothing is lost.
#[test]
fn source_addresses_take_turns_until_one_works() {
    let plan = chatter(AssociationConfig { association_max_retransmits: 100, ..AssociationConfig::ran() }, 1000);
    let mut world =
        World::new(1, "source_rotation", "cargo test -p sctp-core --test scenarios source_addresses_take_turns");
    world.node(&[address(CLIENT, 0), address(CLIENT, 1), address(CLIENT, 2)]);
    world.node(&[address(SERVER, 0), address(SERVER, 1)]);
    world.mesh(CLIENT, SERVER, &LinkConfig::with_delay(DELAY));
    world.converse(conversation(plan.clone(), plan));
    establish(&mut world);
    world.run_for(SECOND * 2);
    for (client, server) in [(2, 1), (1, 0)] {
        let begin = world.now;
        let works = [address(CLIENT, client), address(SERVER, server)];
        for (source, destination, link) in world.network.configs() {
            link.cuts.clear();
            if !(works.contains(&source) && works.contains(&destination)) {
                link.cuts.push((begin, Instant::FAR_FUTURE));
            }
        }
        let received = |world: &World| world.sides.iter().map(|side| side.received).min().unwrap();
        let before = received(&world);
        assert!(world.run_while(SECOND * 60, |world| received(world) >= before + 100), "a pair that works is found");
        let tried: std::collections::BTreeSet<_> = sources(&world, begin).into_iter().collect();
        assert!(tried.len() > 1, "{tried:?}");
        assert_eq!(sources(&world, world.now - SECOND / 10), [works[0]]);
    }
    assert!(world.run_while(SECOND * 120, |world| world.sides.iter().all(|side| side.received == 1000)));
    assert!(world.sides.iter().all(|side| side.phase == Phase::Open));
    world.finish();
}

/// When nothing works, both ends try their source addresses in turn, yet find together again. And a path that was left with one that does
/// not work when another path came back is not lost for good: the peer's packets show which one does.
#[test]
fn a_path_returns_to_the_address_that_works() {
    let config = AssociationConfig { association_max_retransmits: 100, ..AssociationConfig::ran() };
    let mut at = Networks::new("return_to_source", &chatter(config, 5000), v4);
    let lost = at.ends[CLIENT][0];
    at.world.intercept(|sight| if sight.from == SERVER { Verdict::Drop } else { Verdict::Pass });
    let strayed = |world: &World| {
        let last = world.packets.iter().rev().find(|packet| packet.from == Some(SERVER) && packet.destination == lost);
        last.is_some_and(|packet| packet.source == address(SERVER, 1))
    };
    assert!(at.world.run_while(SECOND * 10, strayed), "another source is tried");
    // The second network comes back, then the first.
    at.world.intercept(move |sight| if sight.destination == lost { Verdict::Drop } else { Verdict::Pass });
    at.world.run_for(SECOND * 10);
    assert_eq!((at.path(1, 0).state, at.path(1, 1).state), (PathState::Inactive, PathState::Active));
    at.world.intercept(|_| Verdict::Pass);
    at.world.run_for(SECOND * 3);
    assert_eq!((at.path(1, 0).state, at.path(1, 1).state), (PathState::Active, PathState::Active));
    at.all_received(SECOND * 60);
    at.world.finish();
}

/// An address is taken from the host: what goes on is sent from another that the peer knows.
#[test]
fn an_address_that_has_gone_is_not_used() {
    let mut world = one_server_address("address_gone", &chatter(AssociationConfig::ran(), 1000));
    assert_eq!(sources(&world, world.now - SECOND), [address(CLIENT, 0)]);
    world.nodes[CLIENT].endpoint.set_local_addresses(&[address(CLIENT, 1)]);
    let gone = world.now;
    world.network.config(address(SERVER, 0), address(CLIENT, 0)).cuts.push((gone, Instant::FAR_FUTURE));
    assert!(world.run_while(SECOND * 60, |world| world.sides.iter().all(|side| side.received == 1000)));
    assert_eq!(sources(&world, gone), [address(CLIENT, 1)]);
    world.finish();
}
