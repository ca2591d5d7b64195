//! How associations, listeners and stacks end.

use std::time::Instant;

use super::net::Net;
use super::*;
use crate::telemetry::snapshot;
use crate::{AcceptError, CloseError, CloseReason, ConnectError, RecvError, RemoteError, SendError};

#[tokio::test(flavor = "multi_thread")]
async fn the_client_closes() {
    let pair = Pair::new(&Net::new()).await;
    pair.connected.send(Message::new(0, "last words".into())).await.unwrap();
    within(pair.connected.close()).await.unwrap();
    // What was sent before the end can be read after it.
    let last = within(pair.accepted.recv()).await.unwrap().unwrap();
    assert_eq!(last.into_bytes(), "last words");
    assert_eq!(within(pair.accepted.recv()).await.unwrap(), None);
    assert_eq!(within(pair.accepted.recv()).await.unwrap(), None, "the end stays the end");
    assert_eq!(pair.accepted.send(Message::new(0, "x".into())).await, Err(SendError::Closed));
    within(pair.accepted.close()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_closes() {
    let pair = Pair::new(&Net::new()).await;
    say(&pair.connected, &pair.accepted, "hello").await;
    within(pair.accepted.close()).await.unwrap();
    assert_eq!(within(pair.connected.recv()).await.unwrap(), None);
    assert_eq!(within(pair.connected.closed()).await, Some(CloseReason::Shutdown));
    assert!(!pair.connected.is_open());
}

#[tokio::test(flavor = "multi_thread")]
async fn both_close_at_once() {
    let pair = Pair::new(&Net::new()).await;
    let (one, other) = within(async { tokio::join!(pair.accepted.close(), pair.connected.close()) }).await;
    one.unwrap();
    other.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_lets_the_peers_messages_in() {
    let pair = Pair::new(&Net::new()).await;
    for number in 0..2000 {
        pair.accepted.send(Message::new(0, content(number, 100))).await.unwrap();
    }
    // The peer's association has taken all of them when it has told so much of itself.
    while within(snapshot(&pair.server)).await.associations[0].counters["messages_sent"] < 2000 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    pair.connected.shutdown();
    for number in 0..2000 {
        let message = within(pair.connected.recv()).await.unwrap().unwrap();
        assert_eq!(message.into_bytes(), content(number, 100));
    }
    assert_eq!(within(pair.connected.recv()).await.unwrap(), None);
    within(pair.accepted.close()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_before_the_peers_shutdown_arrives() {
    // "only deliver data in queue at the time of sending or receiving the SHUTDOWN chunk" (RFC 9260 §9): all of it, wherever it
    // is between the application and the association. Several tasks send, so that some are always about to.
    for round in 0..10 {
        let pair = Pair::new(&Net::new()).await;
        let mut senders = Vec::new();
        for stream in 0..4 {
            let accepted = pair.accepted.clone();
            senders.push(tokio::spawn(async move {
                let mut sent = 0_u64;
                while accepted.send(Message::new(stream, content(sent, 3000))).await.is_ok() {
                    sent += 1;
                }
                sent
            }));
        }
        tokio::time::sleep(Duration::from_millis(10 * round)).await;
        pair.connected.shutdown();
        let mut received = [0; 4];
        while let Some(message) = within(pair.connected.recv()).await.unwrap() {
            let count = &mut received[usize::from(message.stream)];
            assert!(message.into_bytes() == content(*count, 3000));
            *count += 1;
        }
        for (sender, received) in senders.into_iter().zip(received) {
            assert_eq!(within(sender).await.unwrap(), received, "every message that was taken has arrived");
        }
        assert_eq!(within(pair.accepted.close()).await, Ok(()));
        assert_eq!(within(pair.accepted.closed()).await, Some(CloseReason::Shutdown));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn close_does_not_wait_for_a_reader() {
    let pair = Pair::new(&Net::new()).await;
    // More than fits into all buffers on the way, and nobody reads.
    let peer = pair.accepted.clone();
    let sender = tokio::spawn(async move {
        let mut sent = 0_u64;
        while peer.send(Message::new(0, content(sent, 10_000))).await.is_ok() {
            sent += 1;
        }
        sent
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    within(pair.connected.close()).await.unwrap();
    assert!(within(sender).await.unwrap() > 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_tells_the_peer_why() {
    let pair = Pair::new(&Net::new()).await;
    say(&pair.connected, &pair.accepted, "hello").await;
    pair.connected.abort("no more money");
    let reason = within(pair.accepted.closed()).await.unwrap();
    let cause = RemoteError::UserInitiatedAbort { reason: "no more money".into() };
    assert_eq!(reason, CloseReason::PeerAbort { cause: Some(cause) });
    assert_eq!(within(pair.accepted.recv()).await, Err(RecvError::Lost(reason.clone())));
    assert_eq!(within(pair.accepted.close()).await, Err(CloseError::Lost(reason)));
    assert_eq!(within(pair.connected.closed()).await, Some(CloseReason::LocalAbort));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_handle_aborts() {
    let Pair { accepted, connected, server: _server, client: _client, listener: _listener } =
        Pair::new(&Net::new()).await;
    let other = connected.clone();
    drop(connected);
    say(&other, &accepted, "still here").await;
    drop(other);
    let reason = within(accepted.closed()).await.unwrap();
    assert!(matches!(reason, CloseReason::PeerAbort { .. }), "{reason:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_end_goes_on_without_a_handle() {
    let Pair { accepted, connected, client: _client, .. } = Pair::new(&Net::new()).await;
    for number in 0..1000 {
        connected.send(Message::new(0, content(number, 1000))).await.unwrap();
    }
    connected.shutdown();
    drop(connected);
    for number in 0..1000 {
        let message = within(accepted.recv()).await.unwrap().unwrap();
        assert_eq!(message.into_bytes(), content(number, 1000));
    }
    assert_eq!(within(accepted.recv()).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_listener_leaves_what_was_accepted() {
    let net = Net::new();
    let Pair { server, client, listener, accepted, connected } = Pair::new(&net).await;
    let peer = format!("{SERVER}:{PORT}").parse().unwrap();
    // This one waits to be accepted when the listener goes.
    let waiting = within(client.connect(peer, ConnectOptions::default())).await.unwrap();
    drop(listener);
    let reason = within(waiting.closed()).await.unwrap();
    assert!(matches!(reason, CloseReason::PeerAbort { .. }), "{reason:?}");
    say(&connected, &accepted, "still here").await;
    // Nobody listens any more.
    let refused = within(client.connect(peer, ConnectOptions::default())).await.unwrap_err();
    assert!(matches!(refused, ConnectError::Failed(CloseReason::PeerAbort { .. })), "{refused:?}");
    // The port can be listened on again.
    let mut listener = server.listen(PORT, ListenOptions::default()).await.unwrap();
    let (accepted, connected) = connect_to(&mut listener, &client, ConnectOptions::default()).await;
    say(&connected, &accepted, "hello again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_the_stack_ends_its_associations_in_order() {
    let mut pair = Pair::new(&Net::new()).await;
    pair.accepted.send(Message::new(0, "last words".into())).await.unwrap();
    within(pair.server.close(Duration::from_secs(10))).await;
    let last = within(pair.connected.recv()).await.unwrap().unwrap();
    assert_eq!(last.into_bytes(), "last words");
    assert_eq!(within(pair.connected.recv()).await.unwrap(), None);
    assert_eq!(within(pair.accepted.closed()).await, Some(CloseReason::Shutdown));
    let accept = within(pair.listener.accept()).await;
    assert!(matches!(accept, Err(AcceptError::Stopped(_))), "{accept:?}");
    let connect = pair.server.connect("10.0.0.9:1".parse().unwrap(), ConnectOptions::default());
    let error = within(connect).await.unwrap_err();
    assert_eq!(error.to_string(), "the stack has stopped: the stack was stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_does_not_wait_for_a_dead_peer_for_ever() {
    let net = Net::new();
    let pair = Pair::new(&net).await;
    net.cut();
    pair.accepted.send(Message::new(0, "into the void".into())).await.unwrap();
    let started = Instant::now();
    within(pair.server.close(Duration::from_millis(300))).await;
    assert!((250..5000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    assert_eq!(within(pair.accepted.closed()).await, Some(CloseReason::LocalAbort));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_lives_as_long_as_a_handle() {
    let Pair { server, client, listener, accepted, connected } = Pair::new(&Net::new()).await;
    drop((server, client, listener));
    say(&connected, &accepted, "hello").await;
    say(&accepted, &connected, "hello yourself").await;
}
