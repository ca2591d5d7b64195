//! RFC 9260 §8 and §9: how associations end.

use std::time::Duration;

use sctp_core::wire::ChunkType;
use sctp_core::{AssociationConfig, CloseReason, Event, Message, RemoteError, SendError};

use crate::sim::app::{Plan, Sizes};
use crate::sim::world::{ABORT_REASON, World};
use crate::stage::*;

const SECOND: Duration = Duration::from_secs(1);

fn assert_both_shut_down(world: &World) {
    for side in &world.sides {
        assert_eq!(side.reason(), Some(&CloseReason::Shutdown));
    }
}

//= test RFC 9260 §3.3.8: "An endpoint in an association MUST use this chunk to initiate a graceful close"
//= test RFC 9260 §3.3.9: "This chunk MUST be used to acknowledge the receipt of the SHUTDOWN chunk"
//= test RFC 9260 §3.3.13: "This chunk MUST be used to acknowledge the receipt of the SHUTDOWN ACK chunk"
//= test RFC 9260 §9.2: "It SHOULD then start the T2-shutdown timer and enter the SHUTDOWN-SENT state."
//= test RFC 9260 §9.2: "the SHUTDOWN chunk receiver MUST send a SHUTDOWN ACK chunk and start a T2-shutdown timer of its
//= own"
//= test RFC 9260 §9.2: "Upon the receipt of the SHUTDOWN ACK chunk, the sender of the SHUTDOWN chunk MUST stop the
//= T2-shutdown timer, send a SHUTDOWN COMPLETE chunk to its peer, and remove all record"
//= test RFC 9260 §9.2: "the endpoint SHOULD stop the T2-shutdown timer and remove all knowledge of the association"
//= test RFC 9260 §14.2: "if an association is "CLOSED", its TCB SHOULD be removed"
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
//= test RFC 9260 §9.2: "An endpoint SHOULD ensure that all its outstanding DATA chunks have been acknowledged before
//= initiating the shutdown procedure."
//= test RFC 9260 §9.2: "the SHUTDOWN chunk receiver MUST continue to follow normal data transmission procedures"
//= test RFC 9260 §4: "the endpoint MUST transmit or retransmit data and leave this state when all data in queue is
//= transmitted"
//= test RFC 9260 §4: "In the SHUTDOWN-SENT state, the endpoint MUST acknowledge any received DATA chunks without
//= delay."
//= test RFC 9260 §9.2: "the SHUTDOWN chunk sender MUST immediately respond to each received packet containing one or
//= more DATA chunks with a SHUTDOWN chunk"
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
//= test RFC 9260 §9.2: "If the timer expires, the endpoint MUST resend the SHUTDOWN chunk"
//= test RFC 9260 §9.2: "If the timer expires, the endpoint MUST resend the SHUTDOWN ACK chunk."
//= test RFC 9260 §9.2: "The rules in Section 6.3 MUST be followed to determine the proper timer value for T2-shutdown."
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

//= test RFC 9260 §9.2: "the endpoint SHOULD respond immediately with a SHUTDOWN ACK chunk to its peer and move into the
//= SHUTDOWN-ACK-SENT state"
//= test RFC 9260 §9.2: "If an endpoint is in the SHUTDOWN-ACK-SENT state and receives a SHUTDOWN ACK, it MUST stop the
//= T2-shutdown timer, send a SHUTDOWN COMPLETE chunk"
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

//= test RFC 9260 §9.2: "An endpoint SHOULD reject any new data request from its upper layer"
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
//= test RFC 9260 §9.1: "a "User-Initiated Abort" error cause (see Section 3.3.10.12) SHOULD be present"
//= test RFC 9260 §9.1: "the Upper Layer Abort Reason SHOULD be made available to the upper layer"
//= test RFC 9260 §9.1: "it MUST send an ABORT chunk to its peer endpoint"
//= test RFC 9260 §9.1: "the receiving endpoint MUST remove the association from its record and SHOULD report the
//= termination to its upper layer"
//= test RFC 9260 §9.1: "An endpoint MUST NOT respond to any received packet that contains an ABORT chunk"
//= test RFC 9260 §3.3.7: "MUST NOT respond to that ABORT chunk by sending an ABORT chunk of its own"
#[test]
fn abort_tells_the_peer_why() {
    let mut world = established("abort", &AssociationConfig::default());
    let start = world.now;
    world.send(0, 0, 100_000);
    world.abort(0);
    world.run_for(SECOND);
    assert_eq!(world.sides[0].reason(), Some(&CloseReason::LocalAbort));
    assert_eq!(world.sides[0].closed, Some(start));
    let expected =
        CloseReason::PeerAbort { cause: Some(RemoteError::UserInitiatedAbort { reason: ABORT_REASON.into() }) };
    assert_eq!(world.sides[1].reason(), Some(&expected));
    assert_eq!(world.sides[1].closed, Some(start + DELAY));
    let failed = told(&world, 0, |event| matches!(event, Event::SendFailed { sent: true, .. }));
    assert_eq!(failed, Some(start), "the message that was under way is reported");
    world.finish();
}

/// RFC 9260 §8.5.1: who missed the ABORT learns of it by the T bit when it speaks next.
//= test RFC 9260 §8.4: "The receiver SHOULD respond to the sender of the OOTB packet with an ABORT chunk."
//= test RFC 9260 §8.5.1: "The receiver of an ABORT chunk MUST accept the packet"
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
        matches!(world.sides[1].reason(), Some(CloseReason::PeerAbort { cause: None })),
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
//= test RFC 9260 §8.1: "the endpoint SHOULD consider the peer endpoint unreachable and SHALL stop transmitting any more
//= data to it"
//= test RFC 9260 §8.1: "the endpoint SHOULD report the failure to the upper layer"
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
//= test RFC 9260 §8.3: "it is RECOMMENDED that a HEARTBEAT chunk is sent once per RTO of that destination address plus
//= the protocol parameter 'HB.interval'"
//= test RFC 9260 §8.3: "SHOULD monitor the reachability of the idle destination transport address(es)"
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
//= test RFC 9260 §9.2: "At the expiration of this timer, the sender SHOULD abort the association by sending an ABORT
//= chunk."
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

//= test RFC 9260 §9.2: "If the T5-shutdown-guard timer is used, it SHOULD be set to the RECOMMENDED value of 5 times
//= 'RTO.Max'."
#[test]
fn the_guard_is_five_times_the_largest_rto() {
    let config = AssociationConfig {
        rto_max: SECOND * 2,
        association_max_retransmits: 1000,
        path_max_retransmits: 1000,
        ..AssociationConfig::rfc()
    };
    let mut world = established("shutdown_guard_rfc", &config);
    let start = world.now;
    isolate(&mut world);
    world.shutdown(0);
    world.run_for(SECOND * 60);
    assert_eq!(world.sides[0].reason(), Some(&CloseReason::ShutdownTimeout));
    assert_at(world.sides[0].closed.unwrap(), start + SECOND * 10, "the guard");
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
