//! RFC 9260 §6.9, §11.1.7: messages that are delivered in parts. (What becomes of them else: `transfer`, too long.)

use std::time::Duration;

use sctp_core::wire::ChunkType;
use sctp_core::{AssociationConfig, CloseReason, Event, MessagePart, ReceivedMessage};

use crate::sim::app::{Phase, Plan, Reading};
use crate::sim::packet::has;
use crate::sim::world::{Deed, Verdict, World};
use crate::stage::*;

const SECOND: Duration = Duration::from_secs(1);
const MEBIBYTE: usize = 1 << 20;
const BUFFER: usize = 256 << 10;
const POINT: usize = 64 << 10;

/// Sends up to a mebibyte.
fn sender() -> Plan {
    let config = AssociationConfig {
        receive_buffer: 2 * MEBIBYTE,
        max_message_size: MEBIBYTE,
        send_buffer: 4 * MEBIBYTE,
        ..config(None)
    };
    Plan::with_config(config)
}

fn config(point: Option<usize>) -> AssociationConfig {
    AssociationConfig {
        receive_buffer: BUFFER,
        max_receive_buffer: 0,
        max_message_size: BUFFER / 2,
        partial_delivery_point: point,
        ..AssociationConfig::default()
    }
}

fn reader(reading: Reading) -> Plan {
    Plan { reading, ..Plan::with_config(config(Some(POINT))) }
}

fn established(name: &str, server: Plan) -> World {
    let mut world = pair(name, sender(), server);
    establish(&mut world);
    world
}

/// What waits for the server's application, which has not read yet.
fn waiting(world: &mut World) -> Vec<ReceivedMessage> {
    let id = world.sides[1].id;
    core::iter::from_fn(|| world.nodes[SERVER].endpoint.recv(id)).collect()
}

fn aborted(world: &World) -> usize {
    world.sides[1].events.iter().filter(|(_, event)| matches!(event, Event::PartialDeliveryAborted { .. })).count()
}

//= test RFC 9260 §6.9: "it SHOULD dispatch part of its inbound message through a partial delivery API"
/// A mebibyte arrives with a quarter of it as buffer, also when the application is slow; what is sent after it waits for its end, on
/// other streams, too. The books of the simulation see that nothing comes in between.
#[test]
fn a_message_larger_than_the_buffer_arrives() {
    let slow = Reading::Paced { every: Duration::from_millis(50), messages: 1 };
    for (name, reading) in [("partial_eager", Reading::Eager), ("partial_slow", slow)] {
        let mut world = established(name, reader(reading));
        world.send(0, 0, 10);
        world.send(0, 0, MEBIBYTE);
        world.send(0, 0, 10);
        world.send_unordered(0, 0, 20_000);
        world.send_unordered(0, 0, MEBIBYTE / 2);
        assert!(world.run_while(SECOND * 60, |world| world.sides[1].received == 5), "{name}: all arrive");
        assert!(world.sides[1].in_parts >= 2, "{name}");
        assert_eq!(world.nodes[SERVER].endpoint.association(world.sides[1].id).unwrap().stats().messages_received, 5);
        world.finish();
    }
}

/// Parts have at least as many bytes as was asked for, and say what they are. Short messages are whole.
#[test]
fn parts_are_as_large_as_asked_for() {
    let mut world = established("partial_sizes", reader(Reading::Manual));
    world.send(0, 3, POINT / 2);
    world.send(0, 3, 2 * POINT + 5000);
    world.run_for(SECOND);
    let got = waiting(&mut world);
    let parts: Vec<_> = got.iter().map(|message| (message.part, message.stream, message.ssn)).collect();
    assert_eq!(parts[0], (MessagePart::Whole, 3, 0));
    assert_eq!((parts[1], parts[2]), ((MessagePart::First, 3, 1), (MessagePart::Middle, 3, 1)));
    assert_eq!(parts.last(), Some(&(MessagePart::Last, 3, 1)));
    assert!(got[1..got.len() - 1].iter().all(|message| (POINT..POINT + 1500).contains(&message.len())));
    assert_eq!(got[1..].iter().map(ReceivedMessage::len).sum::<usize>(), 2 * POINT + 5000);
}

/// With something missing before it, a message is not begun: what comes late might be kept from its reader by it.
#[test]
fn nothing_is_begun_before_its_turn() {
    let mut world = established("partial_turn", reader(Reading::Manual));
    lose(&mut world, CLIENT, ChunkType::DATA, 1);
    world.send(0, 7, 100);
    world.send(0, 3, 3 * POINT);
    world.run_for(ROUND_TRIP / 2 + TICK);
    assert!(waiting(&mut world).is_empty());
    world.run_for(SECOND * 5);
    let got = waiting(&mut world);
    assert_eq!((got[0].stream, got[0].part), (7, MessagePart::Whole));
    assert_eq!((got[1].stream, got[1].part), (3, MessagePart::First));
    assert_eq!(got.last().map(|message| message.part), Some(MessagePart::Last));
}

/// The association ends in the middle of a message: whoever has read some of it is told, and nobody else. What he has not read of it is
/// taken back.
#[test]
fn the_end_of_an_association_aborts_what_is_begun() {
    for (name, reads) in [("partial_abort", true), ("partial_abort_unread", false)] {
        let mut world = established(name, reader(Reading::Manual));
        world.send(0, 0, MEBIBYTE);
        // The window closes before all of it is there.
        world.run_for(SECOND);
        if reads {
            assert!(!world.take(1, 1).unwrap());
        }
        world.abort(0);
        world.run_for(SECOND);
        assert!(matches!(world.sides[1].phase, Phase::Closed(CloseReason::PeerAbort { .. })), "{name}");
        assert_eq!(aborted(&world), usize::from(reads), "{name}");
        assert!(waiting(&mut world).is_empty(), "{name}");
        world.finish();
    }
}

/// What has waited for the end of a message that will never come is delivered then, but for what must come after it in its stream.
//= test RFC 9260 §6.6: "an endpoint MUST deliver DATA chunks received with the U flag set to 0 to the upper layer
//= according to the order"
#[test]
fn an_aborted_message_is_followed_by_none_of_its_stream() {
    for (name, reads) in [("partial_order", true), ("partial_order_unread", false)] {
        let mut world = established(name, reader(Reading::Manual));
        let mut first = None;
        world.intercept(move |sight| {
            if sight.from != CLIENT || !has(sight.bytes, ChunkType::DATA) {
                return Verdict::Pass;
            }
            let tsns: Vec<u32> = data(sight.bytes).into_iter().map(|(tsn, _)| tsn).collect();
            let missing = first.get_or_insert(tsns[0]).wrapping_add(60);
            if tsns.contains(&missing) { Verdict::Drop } else { Verdict::Pass }
        });
        world.send(0, 0, 2 * POINT);
        world.send(0, 0, 100);
        world.send(0, 1, 100);
        world.run_for(SECOND * 3);
        if reads {
            assert!(!world.take(1, 1).unwrap());
        }
        world.abort(0);
        world.run_for(SECOND);
        assert_eq!(aborted(&world), usize::from(reads), "{name}");
        // Read when the association ended: that of the other stream. The books see to the order.
        assert_eq!(world.sides[1].received, 1, "{name}");
    }
}

/// A restart of the peer aborts what is begun as well.
#[test]
fn a_restart_aborts_what_is_begun() {
    let mut world = established("partial_restart", reader(Reading::Eager));
    world.harsh = true;
    world.send(0, 0, MEBIBYTE);
    assert!(
        world.run_while(SECOND, |world| world.nodes[SERVER]
            .endpoint
            .associations()
            .any(|a| a.receive_buffer_used() > 0))
    );
    world.run_for(ROUND_TRIP * 4);
    world.crash(CLIENT);
    world.schedule(world.now, Deed::Connect(0));
    assert!(world.run_while(SECOND * 10, |world| world.sides[1].restarts == 1));
    assert_eq!(aborted(&world), 1);
    world.send(2, 0, 2 * BUFFER);
    assert!(world.run_while(SECOND * 10, |world| world.sides[1].received == 1), "the next one arrives");
    world.finish();
}
