//! Messages arrive whole, once, in order, whatever their size, stream and number.

use std::collections::HashSet;

use super::net::Net;
use super::*;
use crate::{AssociationConfig, MessagePart, Notification, ReceivedMessage};

const MESSAGES: u64 = 10_000;
const STREAMS: u16 = 16;

/// Message number `number`: mostly small, sometimes up to 64 KiB.
fn message(number: u64) -> Message {
    let mut numbers = Numbers(number);
    let magnitude = 1 << numbers.below(17).min(numbers.below(17));
    let length = 1 + numbers.below(magnitude);
    Message::new((number % u64::from(STREAMS)) as u16, content(number, length as usize)).with_ppid(number as u32)
}

async fn send_all(association: &Association, unordered: bool) {
    for number in 0..MESSAGES {
        association.send(message(number).with_unordered(unordered)).await.unwrap();
    }
}

/// Receives all messages; checks that each stream's come in order.
async fn receive_in_order(association: &Association) {
    let mut next: Vec<u64> = (0..u64::from(STREAMS)).collect();
    for _ in 0..MESSAGES {
        let received = within(association.recv()).await.unwrap().unwrap();
        let number = &mut next[usize::from(received.stream)];
        check(received, *number);
        *number += u64::from(STREAMS);
    }
    assert!(association.try_recv().is_none());
}

fn check(received: ReceivedMessage, number: u64) {
    let expected = message(number);
    assert_eq!(received.stream, expected.stream);
    assert_eq!(received.ppid, expected.ppid);
    assert_eq!(received.len(), expected.payload.len());
    assert!(received.into_bytes() == expected.payload, "message {number} is not as it was sent");
}

async fn both_ways(net: &Net) {
    let pair = Pair::new(net).await;
    let Pair { accepted, connected, .. } = &pair;
    within(async {
        tokio::join!(
            send_all(accepted, false),
            send_all(connected, false),
            receive_in_order(accepted),
            receive_in_order(connected),
        )
    })
    .await;
    let (one, other) = within(async { tokio::join!(accepted.closed(), connected.close()) }).await;
    assert_eq!(one, Some(crate::CloseReason::Shutdown));
    other.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_both_ways() {
    both_ways(&Net::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_both_ways_with_loss() {
    both_ways(&Net::lossy(0.01)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_thread_is_enough_for_the_application() {
    // All four tasks on one thread: nobody blocks it.
    let net = Net::new();
    let local = tokio::task::LocalSet::new();
    local.run_until(both_ways(&net)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unordered_messages_arrive_once() {
    let pair = Pair::new(&Net::lossy(0.01)).await;
    let receive = async {
        let mut missing: HashSet<u64> = (0..MESSAGES).collect();
        while !missing.is_empty() {
            let received = within(pair.accepted.recv()).await.unwrap().unwrap();
            assert!(received.unordered);
            let number = u64::from(received.ppid);
            assert!(missing.remove(&number), "message {number} came twice");
            check(received, number);
        }
    };
    within(async { tokio::join!(send_all(&pair.connected, true), receive) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_associations() {
    const ASSOCIATIONS: u64 = 200;
    let net = Net::new();
    let (server, client) = (net.stack(SERVER), net.stack(CLIENT));
    let mut listener = server.listen(PORT, ListenOptions::default()).await.unwrap();
    let serve = tokio::spawn(async move {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..ASSOCIATIONS {
            let association = listener.accept().await.unwrap();
            tasks.spawn(async move {
                while let Some(message) = association.recv().await.unwrap() {
                    let echo = Message::new(message.stream, message.into_bytes());
                    association.send(echo).await.unwrap();
                }
            });
        }
        tasks.join_all().await;
    });
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..ASSOCIATIONS {
        let client = client.clone();
        clients.spawn(async move {
            let peer = format!("{SERVER}:{PORT}").parse().unwrap();
            let association = client.connect(peer, ConnectOptions::default()).await.unwrap();
            for step in 0..20 {
                let payload = content(number * 1000 + step, 100 + step as usize);
                association.send(Message::new(0, payload.clone())).await.unwrap();
                let echo = association.recv().await.unwrap().unwrap();
                assert_eq!(echo.into_bytes(), payload);
            }
            association.close().await.unwrap();
        });
    }
    within(clients.join_all()).await;
    within(serve).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn clones_send_and_receive_at_once() {
    const EACH: u64 = 1000;
    let pair = Pair::new(&Net::new()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for sender in 0..4 {
        let association = pair.connected.clone();
        tasks.spawn(async move {
            for number in 0..EACH {
                let payload = content(sender * EACH + number, 200);
                association.send(Message::new(sender as u16, payload)).await.unwrap();
            }
            Vec::new()
        });
        let association = pair.accepted.clone();
        tasks.spawn(async move {
            let mut got = Vec::new();
            for _ in 0..EACH {
                let payload = association.recv().await.unwrap().unwrap().into_bytes();
                got.push(u64::from_le_bytes(payload[..8].try_into().unwrap()));
            }
            got
        });
    }
    let mut got: Vec<u64> = within(tasks.join_all()).await.into_iter().flatten().collect();
    got.sort_unstable();
    assert!(got.into_iter().eq(0..4 * EACH), "each message came to one of the readers");
}

/// A mebibyte to whoever has room for a quarter of it, as RFC 9260 §6.9 has it; the next one ends with the association.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_larger_than_the_receive_buffer_comes_in_parts() {
    const LENGTH: usize = 1 << 20;
    const POINT: usize = 64 << 10;
    let takes = AssociationConfig {
        receive_buffer: 256 << 10,
        max_receive_buffer: 0,
        max_message_size: POINT,
        partial_delivery_point: Some(POINT),
        ..AssociationConfig::default()
    };
    let sends = AssociationConfig { receive_buffer: 2 << 20, max_message_size: LENGTH, ..AssociationConfig::default() };
    let (listen, connect) = (ListenOptions::default().association(takes), ConnectOptions::default().association(sends));
    let pair = Pair::with_options(&Net::new(), listen, connect).await;
    let mut notifications = pair.accepted.notifications();
    pair.connected.send(Message::new(3, content(1, LENGTH))).await.unwrap();
    pair.connected.send(Message::new(3, content(2, 100))).await.unwrap();
    let (mut parts, mut received) = (Vec::new(), Vec::new());
    while parts.last().is_none_or(|part: &MessagePart| part.is_followed()) {
        let part = within(pair.accepted.recv()).await.unwrap().unwrap();
        assert_eq!((part.stream, part.ssn), (3, 0));
        parts.push(part.part);
        received.extend_from_slice(&part.into_bytes());
    }
    assert!(received == content(1, LENGTH), "the parts are the message");
    assert_eq!((parts[0], parts[parts.len() - 1]), (MessagePart::First, MessagePart::Last));
    let short = within(pair.accepted.recv()).await.unwrap().unwrap();
    assert_eq!((short.part, short.len()), (MessagePart::Whole, 100));

    // Nobody reads on: the rest cannot come.
    pair.connected.send(Message::new(3, content(3, LENGTH)).with_ppid(7)).await.unwrap();
    let first = within(pair.accepted.recv()).await.unwrap().unwrap();
    assert_eq!((first.part, first.ssn), (MessagePart::First, 2));
    pair.connected.abort("enough");
    let aborted = Notification::PartialDeliveryAborted { stream: 3, ssn: 2, ppid: 7 };
    while within(notifications.next()).await.expect("it is told before the end") != aborted {}
}
