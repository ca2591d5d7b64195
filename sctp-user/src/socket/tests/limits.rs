//! Back-pressure, and messages that cannot be sent.

use super::net::Net;
use super::*;
use crate::{AssociationConfig, SendError, TrySendError};

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_slows_the_sender_down() {
    let pair = Pair::new(&Net::new()).await;
    // Until nothing has been taken for a while: all buffers are full.
    let mut sent = 0;
    let mut refused = 0;
    while refused < 20 {
        match pair.connected.try_send(Message::new(0, content(sent, 1000))) {
            Ok(()) => {
                sent += 1;
                refused = 0;
            }
            Err(TrySendError::Full(message)) => {
                assert_eq!(message.payload, content(sent, 1000), "the message comes back");
                refused += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    // Two queues of 256 KiB, a send and a receive buffer of 1 MiB; the peer may go beyond its window by some.
    assert!((1500..5000).contains(&sent), "{sent} messages of 1000 bytes were taken");
    let blocked = tokio::spawn({
        let sender = pair.connected.clone();
        async move { sender.send(Message::new(0, content(sent, 1000))).await }
    });
    for number in 0..=sent {
        let message = within(pair.accepted.recv()).await.unwrap().unwrap();
        assert_eq!(message.into_bytes(), content(number, 1000));
    }
    within(blocked).await.unwrap().unwrap();
    within(pair.connected.close()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_send_has_sent_nothing() {
    let pair = Pair::new(&Net::new()).await;
    let mut sent = 0;
    loop {
        let send = pair.connected.send(Message::new(0, content(sent, 10_000)));
        match tokio::time::timeout(Duration::from_millis(300), send).await {
            Ok(result) => result.unwrap(),
            Err(_) => break,
        }
        sent += 1;
    }
    pair.connected.shutdown();
    let mut received = 0;
    while let Some(message) = within(pair.accepted.recv()).await.unwrap() {
        assert_eq!(message.into_bytes(), content(received, 10_000));
        received += 1;
    }
    assert_eq!(received, sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_receive_has_taken_nothing() {
    let pair = Pair::new(&Net::new()).await;
    for _ in 0..3 {
        let receive = tokio::time::timeout(Duration::from_millis(20), pair.accepted.recv());
        assert!(receive.await.is_err());
    }
    say(&pair.connected, &pair.accepted, "the first").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_cannot_be_sent_are_refused_at_once() {
    let config = AssociationConfig { outbound_streams: 3, max_message_size: 5000, ..AssociationConfig::default() };
    let options = ConnectOptions::default().association(config);
    let pair = Pair::with_options(&Net::new(), ListenOptions::default(), options).await;
    let send = |stream, length| pair.connected.send(Message::new(stream, content(0, length)));
    assert_eq!(send(3, 1).await, Err(SendError::NoSuchStream { stream: 3, streams: 3 }));
    assert_eq!(send(0, 0).await, Err(SendError::Empty));
    assert_eq!(send(0, 5001).await, Err(SendError::TooLong { len: 5001, max: 5000 }));
    send(2, 5000).await.unwrap();
    let message = within(pair.accepted.recv()).await.unwrap().unwrap();
    assert_eq!((message.stream, message.len()), (2, 5000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_larger_than_the_queue_passes() {
    let pair =
        Pair::with_options(&Net::new(), ListenOptions::default().queue(1), ConnectOptions::default().queue(1)).await;
    for number in 0..20 {
        pair.connected.send(Message::new(0, content(number, 200_000))).await.unwrap();
        let message = within(pair.accepted.recv()).await.unwrap().unwrap();
        assert!(message.into_bytes() == content(number, 200_000));
    }
}
