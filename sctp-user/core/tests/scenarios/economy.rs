//! How much a transfer costs: packets, acknowledgements, time on the link.

use std::time::Duration;

use sctp_core::{AssociationConfig, AssociationStats, CloseReason};

use crate::sim::app::{Phase, Plan, Reading, Sizes};
use crate::sim::network::{LinkConfig, Loss};
use crate::sim::world::World;
use crate::stage::*;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

fn statistics(world: &World, side: usize) -> AssociationStats {
    let side = &world.sides[side];
    *world.nodes[side.node].endpoint.association(side.id).expect("it lives").stats()
}

/// A client that sends according to its plan over such a link, from the moment at which both sides are open.
fn sending(name: &str, link: &LinkConfig, client: Plan) -> World {
    let mut world = pair(name, client, Plan::manual());
    world.mesh(CLIENT, SERVER, link);
    world.connect(0);
    let open = |world: &World| world.sides.len() == 2 && world.sides.iter().all(|side| side.phase == Phase::Open);
    assert!(world.run_while(SECOND * 10, open), "the association comes up");
    world
}

fn plan(messages: u32, size: usize) -> Plan {
    Plan { messages, sizes: Sizes::Fixed(size), burst: messages, ..Plan::manual() }
}

/// Runs until the server has read so many messages; gives the time that took.
fn time_to_read(world: &mut World, messages: u32) -> Duration {
    let start = world.now;
    let done = world.run_while(SECOND * 600, |world| world.sides[1].received == messages);
    assert!(done, "{} of {messages} read", world.sides[1].received);
    world.now - start
}

#[test]
fn a_perfect_link_sees_everything_once() {
    let mut world = established("everything_once", &AssociationConfig::default());
    let lengths = [1, 64, 1400, 1452, 1453, 5000, 200_000];
    for length in lengths {
        world.send(0, 0, length);
        world.send(1, 1, length);
    }
    assert!(world.run_while(SECOND * 60, |world| world.sides.iter().all(|side| side.received == 7)));
    for side in 0..2 {
        let statistics = statistics(&world, side);
        assert_eq!(statistics.data_chunks_retransmitted, 0);
        assert_eq!((statistics.duplicate_chunks, statistics.t3_timeouts), (0, 0));
        assert_eq!((statistics.messages_sent, statistics.messages_received), (7, 7));
    }
    world.shutdown(0);
    world.run_for(SECOND * 5);
    assert!(world.sides.iter().all(|side| side.reason() == Some(&CloseReason::Shutdown)));
    world.finish();
}

/// One small chunk at a time, and nobody answers: the classic trap of delayed SACKs.
#[test]
fn a_sender_that_waits_for_every_sack_does_not_wait_long() {
    let config = AssociationConfig { max_outstanding: 1, ..AssociationConfig::default() };
    let mut world = established("waits_for_every_sack", &config);
    for _ in 0..200 {
        world.send(0, 0, 20);
    }
    let took = time_to_read(&mut world, 200);
    assert!(took < (ROUND_TRIP + 3 * MILLISECOND) * 200, "{took:?}");
    world.finish();
}

#[test]
fn a_dialogue_acknowledges_along_with_data() {
    let mut world = established("dialogue_acknowledges", &AssociationConfig::default());
    for round in 1..=100 {
        world.send(0, 0, 20);
        assert!(world.run_while(SECOND, |world| world.sides[1].received == round));
        world.send(1, 0, 20);
        assert!(world.run_while(SECOND, |world| world.sides[0].received == round));
    }
    // One packet each way for a round, but at the beginning.
    let packets = statistics(&world, 1).packets_sent;
    assert!(packets < 130, "{packets} packets");
    world.finish();
}

/// 2.5 MB/s and 40 ms: 100 kB are under way at a time; the queue takes as much.
#[test]
fn a_link_is_used_well() {
    let link = LinkConfig { rate: Some(20_000_000), queue: 100_000, ..LinkConfig::with_delay(20 * MILLISECOND) };
    let mut world = sending("link_used_well", &link, plan(160, 50_000));
    // The first overshoot, with its losses, is over after a while.
    let received = |world: &World| statistics(world, 1).data_bytes_received;
    assert!(world.run_while(SECOND * 60, |world| received(world) > 4_500_000));
    let took = time_to_read(&mut world, 160);
    // Of 1500 bytes on the link, 1452 are payload: 97 % of what can be had.
    let rate = 3_500_000.0 / took.as_secs_f64();
    assert!(rate > 2_500_000.0 * 0.94, "{rate} bytes a second");
    world.finish();
}

/// Packets one after the other, and in batches: without a limit of its rate the link brings a window's at once.
#[test]
fn there_is_a_sack_for_every_second_packet() {
    for rate in [Some(40_000_000), None] {
        let link = LinkConfig { rate, queue: 5_000_000, ..LinkConfig::with_delay(5 * MILLISECOND) };
        let mut world = sending("every_second_packet", &link, plan(20, 30_000));
        time_to_read(&mut world, 20);
        let ratio = statistics(&world, 0).packets_sent as f64 / statistics(&world, 1).sacks_sent as f64;
        assert!((1.7..=2.1).contains(&ratio), "{ratio} packets to a SACK");
        world.finish();
    }
}

#[test]
fn fast_retransmit_repairs_random_losses() {
    let link = LinkConfig { loss: Loss::Uniform(0.01), ..LinkConfig::with_delay(5 * MILLISECOND) };
    let mut world = sending("random_losses", &link, plan(100, 20_000));
    time_to_read(&mut world, 100);
    let statistics = statistics(&world, 0);
    assert!(statistics.fast_retransmits >= 10, "{statistics:?}");
    assert!(statistics.t3_timeouts <= statistics.fast_retransmits / 4, "{statistics:?}");
    world.finish();
}

/// A reader that does not read gets the window that was promised, and few probes.
#[test]
fn a_closed_window_is_full_and_rarely_probed() {
    let config = AssociationConfig {
        receive_buffer: 20_000,
        max_message_size: 10_000,
        heartbeat_interval: None,
        ..AssociationConfig::default()
    };
    let client = Plan { config: config.clone(), ..plan(10, 10_000) };
    let server = Plan { reading: Reading::Manual, ..Plan::with_config(config) };
    let mut world = pair("closed_window_is_full", client, server);
    establish(&mut world);
    world.run_for(SECOND * 290);
    let side = &world.sides[1];
    let held = world.nodes[SERVER].endpoint.association(side.id).expect("it lives").receive_buffer_used();
    assert!((18_000..=20_000 + 1452).contains(&held), "{held}");
    let packets = statistics(&world, 0).packets_sent;
    assert!(packets < 40, "{packets} packets: probes back off");
    world.finish();
}
