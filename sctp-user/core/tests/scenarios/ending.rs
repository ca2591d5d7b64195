//! RFC 9260 §8 and §9: how associations end.

use std::time::Duration;

use sctp_core::wire::ChunkType;
use sctp_core::{AssociationConfig, CloseReason, Event, Message, SendError};

use crate::sim::app::{Plan, Sizes};
use crate::sim::world::{ABORT_REASON, World};
use crate::stage::*;

const SECOND: Duration = Duration::from_secs(1);

fn assert_both_shut_down(world: &World) {
    for side in &world.sides {
        assert_eq!(side.reason(), Some(&CloseReason::Shutdown));
    }
}

#[test]
fn an_idle_association_is_shut_down_by_three_packets() {
    let mut world = established("clean_shutdown", &AssociationConfig::default());
    let (start, before) = (world.now, world.packets.len());
    world.shutdown(0);
    world.run_for(SECOND * 5);
    let expected = [
        (CLIENT, vec![ChunkType::SHUTDOWN]),
        (SERVER, vec![ChunkType::SHUTDOWN_ACK]),
        (CLIENT, vec![ChunkType::SHUTDOWN_COMPLETE]),
    ];
    assert_eq!(dialogue(&world)[before..], expected);
    assert_both_shut_down(&world);
    assert_eq!(world.sides[0].closed, Some(start + ROUND_TRIP));
    assert_eq!(world.sides[1].closed, Some(start + ROUND_TRIP + DELAY));
    assert_eq!(told(&world, 1, |event| *event == Event::PeerShutdown), Some(start + DELAY));
    world.finish();
}

/// RFC 9260 §9.2: what was accepted from the applications is delivered before the association ends, whoever ends it.
#[test]
fn shutdown_delivers_what_is_outstanding() {
    let plan = Plan { messages: 100, sizes: Sizes::Mixed(30_000), burst: 100, streams: 5, ..Plan::manual() };
    for (case, closers) in [("client", &[0][..]), ("server", &[1]), ("both", &[0, 1])] {
        for after in [0, 7, 25, 60] {
            let mut world = pair(&format!("shutdown_by_{case}_after_{after}_ms"), plan.clone(), plan.clone());
            establish(&mut world);
            world.run_for(Duration::from_millis(after));
            for closer in closers {
                world.shutdown(*closer);
            }
            world.run_for(SECOND * 60);
            assert_both_shut_down(&world);
            let (sent, received) = (world.sides[0].sent, world.sides[1].received);
            assert_eq!(sent, received);
            assert_eq!(world.sides[1].sent, world.sides[0].received);
            world.finish();
        }
    }
}

/// T2-shutdown (RFC 9260 §9.2) recovers each of the three packets; a lost SHUTDOWN COMPLETE needs the answer to an out-of-the-blue
/// SHUTDOWN ACK (§8.4 rule 5).
#[test]
fn lost_shutdown_packets_are_recovered_by_t2() {
    let cases = [
        (CLIENT, ChunkType::SHUTDOWN, CLIENT, ChunkType::SHUTDOWN),
        (SERVER, ChunkType::SHUTDOWN_ACK, SERVER, ChunkType::SHUTDOWN_ACK),
        (CLIENT, ChunkType::SHUTDOWN_COMPLETE, SERVER, ChunkType::SHUTDOWN_ACK),
    ];
    for (from, lost, repeater, repeated) in cases {
        let mut world = established(&format!("lost_{lost}"), &AssociationConfig::rfc());
        lose(&mut world, from, lost, 1);
        world.shutdown(0);
        world.run_for(SECOND * 10);
        let sent = times(&world, repeater, repeated);
        // When SHUTDOWN ACK is lost, T2 runs at both ends, and either may be first.
        assert!(sent.len() >= 2, "{lost}: {:?}", dialogue(&world));
        assert_at(sent[1], sent[0] + SECOND, "RTO.Min");
        assert_both_shut_down(&world);
        world.finish();
    }
}

#[test]
fn both_may_shut_down_at_once() {
    for offset in 0..25 {
        let mut world = established(&format!("crossing_shutdowns_{offset}_ms"), &AssociationConfig::default());
        world.shutdown(0);
        world.run_for(Duration::from_millis(offset));
        world.shutdown(1);
        world.run_for(SECOND * 5);
        assert_both_shut_down(&world);
        world.finish();
    }
}

#[test]
fn nothing_can_be_sent_after_shutdown() {
    let mut world = established("send_after_shutdown", &AssociationConfig::default());
    world.shutdown(0);
    let (now, id) = (world.now, world.sides[0].id);
    let message = Message::new(0, vec![1].into());
    assert_eq!(world.nodes[CLIENT].endpoint.send(now, id, message.clone()), Err(SendError::ShuttingDown));
    world.run_for(SECOND);
    let now = world.now;
    assert_eq!(world.nodes[CLIENT].endpoint.send(now, id, message), Err(SendError::NoAssociation));
    world.finish();
}

/// RFC 9260 §9.1: the peer's application gets the reason.
#[test]
fn abort_tells_the_peer_why() {
    let mut world = established("abort", &AssociationConfig::default());
    let start = world.now;
    world.send(0, 0, 100_000);
    world.abort(0);
    world.run_for(SECOND);
    assert_eq!(world.sides[0].reason(), Some(&CloseReason::LocalAbort));
    assert_eq!(world.sides[0].closed, Some(start));
    let expected = CloseReason::PeerAbort { cause: Some(12), info: ABORT_REASON.into() };
    assert_eq!(world.sides[1].reason(), Some(&expected));
    assert_eq!(world.sides[1].closed, Some(start + DELAY));
    let failed = told(&world, 0, |event| matches!(event, Event::SendFailed { sent: true, .. }));
    assert_eq!(failed, Some(start), "the message that was under way is reported");
    world.finish();
}

/// RFC 9260 §8.5.1: who missed the ABORT learns of it by the T bit when it speaks next.
#[test]
fn a_lost_abort_is_made_up_for() {
    let mut world = established("lost_abort", &AssociationConfig::default());
    lose(&mut world, CLIENT, ChunkType::ABORT, 1);
    world.abort(0);
    world.run_for(SECOND);
    assert_eq!(world.sides[1].reason(), None);
    world.send(1, 0, 100);
    world.run_for(SECOND);
    assert!(
        matches!(world.sides[1].reason(), Some(CloseReason::PeerAbort { cause: None, .. })),
        "{:?}",
        world.sides[1].phase
    );
    world.finish();
}

#[test]
fn an_abort_while_connecting_ends_the_attempt() {
    for after in [0, 5, 15, 25, 35] {
        let mut world = pair(&format!("abort_while_connecting_{after}_ms"), Plan::manual(), Plan::manual());
        world.connect(0);
        world.run_for(Duration::from_millis(after));
        world.abort(0);
        world.run_for(SECOND * 5);
        assert_eq!(world.sides[0].reason(), Some(&CloseReason::LocalAbort));
        for node in [CLIENT, SERVER] {
            assert_eq!(world.nodes[node].endpoint.associations().count(), 0, "after {after} ms");
        }
        world.finish();
    }
}

#[test]
fn a_shutdown_while_connecting_ends_the_association_in_the_end() {
    for after in [0, 5, 15, 25, 35] {
        let mut world = pair(&format!("shutdown_while_connecting_{after}_ms"), Plan::manual(), Plan::manual());
        world.connect(0);
        world.run_for(Duration::from_millis(after));
        world.shutdown(0);
        world.run_for(SECOND * 30);
        assert!(world.sides[0].reason().is_some());
        for node in [CLIENT, SERVER] {
            assert_eq!(world.nodes[node].endpoint.associations().count(), 0, "after {after} ms");
        }
        world.finish();
    }
}

/// RFC 9260 §8.1: heartbeats find an idle peer that is gone.
#[test]
fn an_idle_peer_that_dies_is_noticed() {
    let config = AssociationConfig {
        heartbeat_interval: Some(SECOND * 5),
        association_max_retransmits: 4,
        path_max_retransmits: 4,
        rto_max: SECOND * 5,
        ..AssociationConfig::rfc()
    };
    let mut world = established("idle_peer_dies", &config);
    isolate(&mut world);
    world.run_for(SECOND * 120);
    assert_eq!(world.sides[0].reason(), Some(&CloseReason::Unreachable));
    assert_eq!(world.sides[1].reason(), Some(&CloseReason::Unreachable));
    world.harsh = true;
    world.finish();
}

/// Heartbeats keep an idle association, for days.
#[test]
fn an_idle_association_lives_on() {
    let mut world = established("idle_for_days", &AssociationConfig::default());
    world.run_for(SECOND * 3600 * 48);
    world.send(0, 0, 100);
    world.run_for(SECOND);
    assert_eq!(world.sides[1].received, 1);
    let heartbeats = times(&world, CLIENT, ChunkType::HEARTBEAT).len();
    // HB.interval of 30 s plus an RTO of 0.3 to 1 s, ± half of that.
    assert!((5400..=5800).contains(&heartbeats), "{heartbeats} heartbeats in 48 h");
    world.finish();
}

/// T5-shutdown-guard (RFC 9260 §9.2).
#[test]
fn a_shutdown_does_not_take_for_ever() {
    let config = AssociationConfig {
        shutdown_guard: Some(SECOND * 7),
        association_max_retransmits: 1000,
        path_max_retransmits: 1000,
        ..AssociationConfig::rfc()
    };
    let mut world = established("shutdown_guard", &config);
    let start = world.now;
    isolate(&mut world);
    world.shutdown(0);
    world.run_for(SECOND * 60);
    assert_eq!(world.sides[0].reason(), Some(&CloseReason::ShutdownTimeout));
    assert_at(world.sides[0].closed.unwrap(), start + SECOND * 7, "the guard");
    world.harsh = true;
    world.finish();
}

/// A peer that is asked to shut down, and still has a lot to send, is waited for.
#[test]
fn the_peer_may_finish_what_it_has_begun() {
    let server = Plan { messages: 50, sizes: Sizes::Fixed(20_000), burst: 50, ..Plan::manual() };
    let mut world = pair("peer_finishes", Plan::manual(), server);
    establish(&mut world);
    world.shutdown(0);
    world.run_for(SECOND * 60);
    assert_both_shut_down(&world);
    assert!(world.sides[1].sent > 0);
    assert_eq!(world.sides[0].received, world.sides[1].sent);
    world.finish();
}
