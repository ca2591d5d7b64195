//! RFC 9260 §7 and its companions: CUBIC, ECN, pacing, buffers that grow.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::time::Duration;

use sctp_core::time::Instant;
use sctp_core::wire::{Chunk, ChunkType, Packet};
use sctp_core::{Association, AssociationConfig, CongestionAlgorithm, Ecn, EndpointConfig};

use crate::sim::app::{Phase, Plan, Sizes};
use crate::sim::network::LinkConfig;
use crate::sim::packet::{chunk_types, has, number};
use crate::sim::world::{Conversation, Verdict, World};
use crate::stage::*;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// A full message for one packet.
const FULL: usize = 1452;

fn association(world: &World, side: usize) -> &Association {
    let side = &world.sides[side];
    world.nodes[side.node].endpoint.association(side.id).expect("it lives")
}

/// A client that sends `messages` full packets over this link.
fn transfer(name: &str, link: &LinkConfig, config: &AssociationConfig, messages: u32) -> World {
    let client = Plan { messages, sizes: Sizes::Fixed(FULL), burst: messages, ..Plan::with_config(config.clone()) };
    let mut world = pair(name, client, Plan::with_config(config.clone()));
    world.mesh(CLIENT, SERVER, link);
    world.connect(0);
    let open = |world: &World| world.sides.len() == 2 && world.sides.iter().all(|side| side.phase == Phase::Open);
    assert!(world.run_while(SECOND * 10, open), "the association comes up");
    world
}

fn time_to_read(world: &mut World, messages: u32) -> Duration {
    let start = world.now;
    let done = world.run_while(SECOND * 600, |world| world.sides[1].received == messages);
    assert!(done, "{} of {messages} read", world.sides[1].received);
    world.now - start
}

/// 16 Mbit/s over 300 ms hold 400 packets. One is lost after 6 s; NewReno needs a minute to get the window back, CUBIC 7 s.
#[test]
fn cubic_fills_a_long_fat_link_better() {
    let link = LinkConfig { rate: Some(16_000_000), queue: 1 << 20, ..LinkConfig::with_delay(MILLISECOND * 150) };
    let time = |algorithm| {
        let buffer = 700_000;
        let config = AssociationConfig {
            congestion: algorithm,
            receive_buffer: buffer,
            max_receive_buffer: 0,
            send_buffer: 2 * buffer,
            ..AssociationConfig::default()
        };
        let name = format!("long_fat_{algorithm:?}");
        let mut world = transfer(&name, &link, &config, 24_000);
        let lost = world.now + SECOND * 6;
        let mut done = false;
        world.intercept(move |sight| {
            let lose = !done && sight.at >= lost && has(sight.bytes, ChunkType::DATA);
            done |= lose;
            if lose { Verdict::Drop } else { Verdict::Pass }
        });
        let time = time_to_read(&mut world, 24_000);
        let statistics = association(&world, 0).stats();
        assert_eq!((statistics.fast_retransmits, statistics.t3_timeouts), (1, 0));
        world.finish();
        time
    };
    let (newreno, cubic) = (time(CongestionAlgorithm::NewReno), time(CongestionAlgorithm::Cubic));
    assert!(cubic * 110 < newreno * 100, "CUBIC took {cubic:?}, NewReno {newreno:?}");
}

/// On a short link CUBIC must not take more than its share from NewReno (RFC 9438 §5.1).
#[test]
fn cubic_shares_a_short_link() {
    let link = LinkConfig { rate: Some(10_000_000), queue: 30_000, ..LinkConfig::with_delay(MILLISECOND * 5) };
    let config = |congestion| AssociationConfig { congestion, ..AssociationConfig::default() };
    let (newreno, cubic) = (config(CongestionAlgorithm::NewReno), config(CongestionAlgorithm::Cubic));
    let mut world = pair("short_link", Plan::manual(), Plan::manual());
    world.mesh(CLIENT, SERVER, &link);
    let endless = |config: AssociationConfig| Plan {
        messages: u32::MAX,
        sizes: Sizes::Fixed(FULL),
        burst: 100,
        ..Plan::with_config(config)
    };
    let mut clients = Vec::new();
    for (at, config) in [newreno.clone(), newreno, cubic.clone(), cubic].into_iter().enumerate() {
        let conversation = Conversation {
            client_port: CLIENT_PORT + 1 + at as u16,
            server_port: SERVER_PORT + 1 + at as u16,
            ..conversation(endless(config), Plan::manual())
        };
        let conversation = world.converse(conversation);
        clients.push(world.connect(conversation));
        world.run_for(MILLISECOND * 300);
    }
    world.run_for(SECOND * 5);
    let acknowledged = |world: &World| -> Vec<u64> {
        clients.iter().map(|side| association(world, *side).stats().data_bytes_sent).collect()
    };
    let before = acknowledged(&world);
    world.run_for(SECOND * 30);
    let sent: Vec<u64> = acknowledged(&world).iter().zip(&before).map(|(after, before)| after - before).collect();
    let (newreno, cubic) = (sent[0] + sent[1], sent[2] + sent[3]);
    assert!(cubic < newreno * 2 && newreno < cubic * 2, "NewReno {:?}, CUBIC {:?}", &sent[..2], &sent[2..]);
    let total = (newreno + cubic) as f64 * 8.0 / 30.0;
    assert!(total > 0.85 * 10e6, "together they use the link, not {total} bit/s of it");
    world.harsh = true;
    world.finish();
}

/// ECN is used if both sides want it, whoever connects; the server learns it from the cookie.
#[test]
fn ecn_is_negotiated() {
    for (client, server) in [(true, true), (true, false), (false, true), (false, false)] {
        let plan = |ecn| Plan::with_config(AssociationConfig { ecn, ..AssociationConfig::default() });
        let mut world = pair("ecn_negotiated", plan(client), plan(server));
        establish(&mut world);
        for side in 0..2 {
            assert_eq!(association(&world, side).uses_ecn(), client && server, "{client}, {server}: side {side}");
        }
        world.finish();
    }
    assert!(!AssociationConfig::rfc().ecn && AssociationConfig::default().ecn);
}

/// A link that marks where others drop: the window falls without a loss, and the link stays full.
#[test]
fn marks_shrink_the_window_without_a_loss() {
    for ipv6 in [false, true] {
        for congestion in [CongestionAlgorithm::NewReno, CongestionAlgorithm::Cubic] {
            let config = AssociationConfig { congestion, ..AssociationConfig::default() };
            let link = LinkConfig {
                rate: Some(10_000_000),
                queue: 1 << 20,
                mark: Some(20_000),
                ..LinkConfig::with_delay(DELAY)
            };
            let messages = 8000;
            let client =
                Plan { messages, sizes: Sizes::Fixed(1400), burst: messages, ..Plan::with_config(config.clone()) };
            let mut world = World::new(1, "marks", "cargo test -p sctp-core --test scenarios marks");
            for node in [CLIENT, SERVER] {
                let v6: IpAddr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, node as u16 + 1).into();
                let addresses = vec![if ipv6 { v6 } else { address(node, 0) }];
                world.node_with(EndpointConfig { addresses, ..EndpointConfig::default() });
            }
            world.mesh(CLIENT, SERVER, &link);
            world.converse(conversation(client, Plan::with_config(config)));
            world.connect(0);
            assert!(world.run_while(SECOND, |world| world.accepted(SERVER).is_some()));
            let mut most = 0;
            let start = world.now;
            while world.sides[1].received < messages {
                world.run_for(MILLISECOND * 10);
                assert!(world.now < start + SECOND * 60, "{} read", world.sides[1].received);
                if world.now > start + SECOND {
                    most = most.max(association(&world, 0).paths().next().unwrap().cwnd);
                }
            }
            let took = (world.now - start).as_secs_f64();
            let sender = *association(&world, 0).stats();
            assert_eq!((sender.data_chunks_retransmitted, sender.t3_timeouts), (0, 0), "nothing is lost");
            let reductions = association(&world, 0).ecn_stats().unwrap().reductions;
            assert!(reductions >= 3, "{reductions} reductions");
            assert!(association(&world, 1).ecn_stats().unwrap().marks >= reductions);
            // 25 000 bytes are on their way, 20 000 may wait; one round trip passes until a mark takes effect.
            assert!(most < 100_000, "cwnd of {most}");
            let rate = f64::from(messages) * 1400.0 * 8.0 / took;
            assert!(rate > 0.9 * 10e6, "{rate} bit/s");
            world.finish();
        }
    }
}

/// RFC 3168 §6.1.5: what is sent again is not ECN-capable, so that a congested router drops it; what is new is.
#[test]
fn retransmissions_are_not_ecn_capable() {
    let mut world = established("ecn_retransmissions", &AssociationConfig::default());
    assert!(association(&world, 0).uses_ecn());
    let sent = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&sent);
    world.intercept(move |sight| {
        if sight.from != CLIENT || !has(sight.bytes, ChunkType::DATA) {
            return Verdict::Pass;
        }
        let mut seen = seen.borrow_mut();
        seen.push((data(sight.bytes).into_iter().map(|(tsn, _)| tsn).collect::<Vec<u32>>(), sight.ecn));
        // One for fast retransmit, and the last for T3-rtx.
        if seen.len() == 2 || seen.len() == 10 { Verdict::Drop } else { Verdict::Pass }
    });
    for _ in 0..8 {
        world.send(0, 0, FULL);
    }
    world.run_for(SECOND * 5);
    world.send(0, 0, FULL);
    world.run_for(SECOND * 5);
    assert_eq!(world.sides[1].received, 9);
    let mut known = BTreeSet::new();
    let mut again = 0;
    for (tsns, ecn) in sent.borrow().iter() {
        let is_new = tsns.iter().filter(|tsn| known.insert(**tsn)).count() == tsns.len();
        again += usize::from(!is_new);
        assert_eq!(*ecn, if is_new { Ecn::Ect0 } else { Ecn::NotEct }, "{tsns:?}");
    }
    assert_eq!(again, 2);
    let stats = association(&world, 0).stats();
    assert_eq!((stats.fast_retransmits, stats.t3_timeouts), (1, 1));
    world.finish();
}

/// However many marks and echoes there are in a window of data, it is reduced once; and echoes end when a CWR gets through.
#[test]
fn one_reduction_for_a_window_of_marks() {
    let mut world = established("one_reduction", &AssociationConfig::default());
    for _ in 0..60 {
        world.send(0, 0, FULL);
    }
    assert!(world.run_while(SECOND, |world| world.sides[1].received == 60));
    world.run_for(ROUND_TRIP);
    // From now on every packet is marked, and the first CWR is lost.
    for (_, _, config) in world.network.configs() {
        config.rate = Some(1_000_000_000);
        config.mark = Some(0);
    }
    lose(&mut world, CLIENT, ChunkType::CWR, 1);
    let before = association(&world, 0).paths().next().unwrap().cwnd;
    for _ in 0..12 {
        world.send(0, 0, FULL);
    }
    world.run_for(ROUND_TRIP + TICK);
    let sender = association(&world, 0);
    assert_eq!(sender.ecn_stats().unwrap().reductions, 1);
    let cwnd = sender.paths().next().unwrap().cwnd;
    assert!(cwnd >= before / 2 && cwnd < before, "{before} to {cwnd}");
    assert!(association(&world, 1).ecn_stats().unwrap().marks > 1);
    for (_, _, config) in world.network.configs() {
        config.mark = None;
    }
    for _ in 0..10 {
        world.send(0, 0, FULL);
        world.run_for(ROUND_TRIP * 2);
    }
    assert_eq!(association(&world, 0).ecn_stats().unwrap().reductions, 1, "the window was marked, not the later ones");
    let (echoes, answers) = (times(&world, SERVER, ChunkType::ECNE), times(&world, CLIENT, ChunkType::CWR));
    assert!(answers.len() >= 2, "the lost CWR is sent again");
    assert!(*echoes.last().unwrap() < *answers.last().unwrap() + ROUND_TRIP, "the echoes end");
    world.finish();
}

/// usrsctp 0.9.5 discards what follows an ECNE of 8 bytes in a packet: it gets SACKs all the same.
#[test]
fn a_peer_that_discards_what_follows_an_echo_gets_sacks() {
    let mut world = established("deaf_to_echoes", &AssociationConfig::default());
    for (_, _, config) in world.network.configs() {
        config.mark_anyway = 1.0;
    }
    let orders = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&orders);
    world.intercept(move |sight| {
        if sight.from != SERVER || !has(sight.bytes, ChunkType::ECNE) {
            return Verdict::Pass;
        }
        let in_front = chunk_types(sight.bytes).first() == Some(&ChunkType::ECNE);
        seen.borrow_mut().push(in_front);
        if in_front { Verdict::Drop } else { Verdict::Pass }
    });
    world.send(0, 0, FULL);
    world.run_for(TICK);
    for (_, _, config) in world.network.configs() {
        config.mark_anyway = 0.0;
    }
    for _ in 0..59 {
        world.send(0, 0, FULL);
    }
    world.run_for(SECOND * 5);
    assert_eq!(world.sides[1].received, 60);
    assert_eq!(association(&world, 0).outstanding_chunks(), 0);
    assert_eq!(orders.borrow()[..4], [true, true, true, false]);
    world.finish();
}

/// A router that marks some packets and drops others of the same window is one congestion, not two (RFC 3168 §6.1.2).
#[test]
fn a_loss_in_a_marked_window_reduces_it_no_further() {
    let mut world = established("marked_and_lost", &AssociationConfig::default());
    for _ in 0..60 {
        world.send(0, 0, FULL);
    }
    assert!(world.run_while(SECOND, |world| world.sides[1].received == 60));
    world.run_for(ROUND_TRIP);
    for (_, _, config) in world.network.configs() {
        config.rate = Some(1_000_000_000);
        config.mark = Some(0);
    }
    let mut data = 0;
    world.intercept(move |sight| {
        data += u32::from(has(sight.bytes, ChunkType::DATA));
        if data == 2 && has(sight.bytes, ChunkType::DATA) { Verdict::Drop } else { Verdict::Pass }
    });
    let before = association(&world, 0).paths().next().unwrap().cwnd;
    for _ in 0..10 {
        world.send(0, 0, FULL);
    }
    world.run_for(ROUND_TRIP * 3);
    let sender = association(&world, 0);
    assert_eq!((sender.stats().fast_retransmits, sender.stats().t3_timeouts), (1, 0));
    assert_eq!(sender.ecn_stats().unwrap().reductions, 1);
    let cwnd = sender.paths().next().unwrap().cwnd;
    assert!(cwnd >= before / 2 && cwnd < before, "{before} to {cwnd}");
    assert_eq!(world.sides[1].received, 70);
    world.finish();
}

/// The windows of a path of 100 Mbit/s and 200 ms, 2.5 MB, outgrow the first megabyte by themselves.
#[test]
fn buffers_grow_with_the_path() {
    let link = LinkConfig { rate: Some(100_000_000), queue: 8 << 20, ..LinkConfig::with_delay(MILLISECOND * 100) };
    let config = AssociationConfig { receive_buffer: 400_000, send_buffer: 400_000, ..AssociationConfig::default() };
    let mut world = transfer("buffers_grow", &link, &config, 20_000);
    let time = time_to_read(&mut world, 20_000);
    let (sender, receiver) = (association(&world, 0).send_buffer(), association(&world, 1).receive_buffer());
    assert!(receiver > 2_000_000 && receiver <= config.max_receive_buffer, "{receiver}");
    assert!(sender > 2_000_000 && sender <= config.max_send_buffer, "{sender}");
    // With 400 000 bytes in a round trip it would take 15 s.
    assert!(time < SECOND * 7, "{time:?}");
    // What was announced is never taken back: cumulative acknowledgement and window together only go forward.
    let mut edge = None;
    for packet in world.packets.iter().filter(|packet| packet.from == Some(SERVER)) {
        for raw in Packet::parse(&packet.bytes).unwrap().chunks() {
            if let Ok(Chunk::Sack(sack)) = raw.and_then(Chunk::parse) {
                let tsn = number(sack.cumulative_tsn_ack);
                let (first, last) = *edge.get_or_insert((tsn, 0));
                let now = u64::from(tsn.wrapping_sub(first)) * FULL as u64 + u64::from(sack.a_rwnd);
                assert!(now >= last, "{last} to {now}");
                edge = Some((first, now));
            }
        }
    }
    world.finish();
}

/// The endpoint's limit holds for all associations together, and what has ended gives its part back.
#[test]
fn buffers_share_the_endpoints_memory() {
    const MEMORY: usize = 300_000;
    let config =
        AssociationConfig { receive_buffer: 100_000, max_message_size: 50_000, ..AssociationConfig::default() };
    let mut world = World::new(1, "shared_memory", "cargo test -p sctp-core --test scenarios share_the_endpoints");
    for node in [CLIENT, SERVER] {
        let addresses = vec![address(node, 0)];
        world.node_with(EndpointConfig { addresses, buffer_memory: MEMORY, ..EndpointConfig::default() });
    }
    let link = LinkConfig { rate: Some(100_000_000), queue: 8 << 20, ..LinkConfig::with_delay(MILLISECOND * 50) };
    world.mesh(CLIENT, SERVER, &link);
    let grown = |world: &World| -> usize {
        world.nodes[SERVER].endpoint.associations().map(|association| association.receive_buffer() - 100_000).sum()
    };
    for round in 0..2 {
        let mut sides = Vec::new();
        for at in 0..4 {
            let plan =
                Plan { messages: 3000, sizes: Sizes::Fixed(FULL), burst: 3000, ..Plan::with_config(config.clone()) };
            let index = world.converse(Conversation {
                client_port: CLIENT_PORT + 10 * round + at,
                server_port: SERVER_PORT + 10 * round + at,
                ..conversation(plan, Plan::with_config(config.clone()))
            });
            sides.push(world.connect(index));
        }
        let end = world.now + SECOND * 10;
        while world.now < end {
            world.run_for(MILLISECOND * 50);
            assert!(grown(&world) <= MEMORY, "round {round}: {}", grown(&world));
        }
        assert_eq!(grown(&world), MEMORY, "round {round}: all of it is of use");
        for side in sides {
            world.shutdown(side);
        }
        world.run_for(SECOND * 2);
        assert_eq!(world.nodes[SERVER].endpoint.associations().count(), 0);
    }
    world.finish();
}

/// With pacing no more than Max.Burst packets go at once, though the window would let hundreds; and the link is as full as without.
#[test]
fn pacing_spreads_packets() {
    let link = LinkConfig { rate: Some(50_000_000), queue: 1 << 20, ..LinkConfig::with_delay(MILLISECOND * 20) };
    let most_at_once = |pacing| {
        let config = AssociationConfig { pacing, max_burst: 4, ..AssociationConfig::default() };
        let mut world = transfer("pacing", &link, &config, 3000);
        let time = time_to_read(&mut world, 3000);
        let sent: Vec<Instant> = times(&world, CLIENT, ChunkType::DATA);
        let window = MILLISECOND;
        let within = |from: usize| sent[from..].iter().take_while(|at| **at <= sent[from] + window).count();
        let most = (0..sent.len()).map(within).max().unwrap();
        // The application pauses, so that the whole window is free; then it sends all at once.
        world.run_for(ROUND_TRIP * 5);
        let (begin, before) = (world.now, times(&world, CLIENT, ChunkType::DATA).len());
        for _ in 0..100 {
            world.send(0, 0, FULL);
        }
        let at_once = times(&world, CLIENT, ChunkType::DATA).len() - before;
        assert!(world.run_while(SECOND, |world| world.sides[1].received == 3100), "{:?}", world.now - begin);
        assert_eq!(association(&world, 0).stats().data_chunks_retransmitted, 0);
        world.finish();
        (most, at_once, time)
    };
    let (_, _, without) = most_at_once(None);
    let (most, at_once, with) = most_at_once(Some(125));
    assert!(at_once <= 4, "{at_once} packets at once after a pause");
    // 50 Mbit/s are a little more than four packets in a millisecond, slow start doubles that, and a quarter more are let go; and a
    // burst on top.
    assert!(most <= 4 + 11, "{most} packets within a millisecond");
    assert!(with.as_secs_f64() < without.as_secs_f64() * 1.2, "{with:?} with, {without:?} without");
}
