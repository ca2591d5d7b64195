//! How associations and listeners begin, and how that fails.

use std::time::Instant;

use super::net::Net;
use super::*;
use crate::{CloseReason, ConnectError, ListenError, Profile, RemoteError};

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_know_who_they_are() {
    let options = ConnectOptions::default().local_port(4000).streams(5);
    let pair = Pair::with_options(&Net::new(), ListenOptions::default(), options).await;
    assert_eq!(pair.connected.local_port(), 4000);
    assert_eq!(pair.connected.peer_port(), PORT);
    assert_eq!(pair.connected.peer_addresses(), [SERVER.parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(pair.accepted.peer_port(), 4000);
    assert_eq!(pair.accepted.peer_addresses(), [CLIENT.parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(pair.connected.outbound_streams(), 5);
    assert_eq!(pair.accepted.inbound_streams(), 5);
    assert_eq!(pair.listener.port(), PORT);
    let server = SERVER.parse().unwrap();
    assert_eq!(within(pair.connected.set_primary(server)).await, Ok(()));
    let other = "10.0.0.99".parse().unwrap();
    let error = within(pair.connected.set_primary(other)).await;
    assert_eq!(error, Err(crate::PathError::NoSuchPath(other)));
    assert!(pair.connected.is_open() && pair.accepted.is_open());
    assert_eq!((pair.server.workers(), pair.client.workers()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_works_too() {
    let net = Net::new();
    let (server, client) = (net.stack("fd00::1"), net.stack("fd00::2"));
    let mut listener = server.listen(7, ListenOptions::default()).await.unwrap();
    let connect = client.connect("[fd00::1]:7".parse().unwrap(), ConnectOptions::default());
    let (accepted, connected) = within(async { tokio::join!(listener.accept(), connect) }).await;
    say(&connected.unwrap(), &accepted.unwrap(), "hello").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_association_cannot_be_set_up_twice() {
    let net = Net::new();
    let options = ConnectOptions::default().local_port(4000);
    let pair = Pair::with_options(&net, ListenOptions::default(), options.clone()).await;
    let peer = format!("{SERVER}:{PORT}").parse().unwrap();
    let error = within(pair.client.connect(peer, options)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "an association with 10.0.0.1:38412 from port 4000 exists already: use it or another local port"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_answers() {
    let net = Net::new();
    let client = net.stack(CLIENT);
    let mut config = Profile::Ran.config();
    config.max_init_retransmits = 2;
    let options = ConnectOptions::default().association(config);
    let connect = client.connect("10.0.0.77:7".parse().unwrap(), options);
    let error = within(connect).await.unwrap_err();
    assert!(matches!(error, ConnectError::Failed(CloseReason::ConnectTimeout)), "{error:?}");
    assert!(error.to_string().contains("the peer does not answer"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_without_listener_refuses() {
    let net = Net::new();
    let (_server, client) = (net.stack(SERVER), net.stack(CLIENT));
    let connect = client.connect("10.0.0.1:7".parse().unwrap(), ConnectOptions::default());
    let error = within(connect).await.unwrap_err();
    assert!(matches!(error, ConnectError::Failed(CloseReason::PeerAbort { .. })), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_attempt_to_connect_is_given_up() {
    let net = Net::new();
    let client = net.stack(CLIENT);
    let options = ConnectOptions::default().local_port(4000);
    let peer = "10.0.0.77:7".parse().unwrap();
    let attempt = client.connect(peer, options.clone());
    let attempt = tokio::time::timeout(Duration::from_millis(50), attempt).await;
    assert!(attempt.is_err(), "nobody is there to answer");
    // The port is free again, so the attempt is not going on.
    let started = Instant::now();
    loop {
        let again = client.connect(peer, options.clone());
        match tokio::time::timeout(Duration::from_millis(50), again).await {
            Err(_) => break,
            Ok(refused) => assert!(started.elapsed() < Duration::from_secs(10), "{refused:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_has_one_listener() {
    let net = Net::new();
    let server = net.stack(SERVER);
    let listener = server.listen(PORT, ListenOptions::default()).await.unwrap();
    let error = server.listen(PORT, ListenOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("port 38412 is being listened on already"), "{error}");
    drop(listener);
    server.listen(PORT, ListenOptions::default()).await.unwrap();
    let error = server.listen(0, ListenOptions::default()).await.unwrap_err();
    assert!(matches!(error, ListenError::Refused(sctp_core::ListenError::PortZero)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_accept_queue_turns_associations_away() {
    let net = Net::new();
    let (server, client) = (net.stack(SERVER), net.stack(CLIENT));
    let options = ListenOptions::default().backlog(2);
    let mut listener = server.listen(PORT, options).await.unwrap();
    let peer = format!("{SERVER}:{PORT}").parse().unwrap();
    let connect = || within(client.connect(peer, ConnectOptions::default()));
    let waiting = [connect().await.unwrap(), connect().await.unwrap()];
    // The refusal may come before or after the application has seen the association established.
    let reason = match connect().await {
        Ok(association) => within(association.closed()).await.unwrap(),
        Err(ConnectError::Failed(reason)) => reason,
        Err(error) => panic!("{error}"),
    };
    let CloseReason::PeerAbort { cause: Some(cause) } = reason else { panic!("{reason:?}") };
    assert_eq!(cause, RemoteError::UserInitiatedAbort { reason: "too many associations wait to be accepted".into() });
    assert_eq!(listener.refused(), 1);
    for attempt in &waiting {
        let accepted = within(listener.accept()).await.unwrap();
        assert_eq!(accepted.peer_port(), attempt.local_port());
        say(attempt, &accepted, "hello").await;
    }
}

#[test]
fn what_cannot_be_built_says_why() {
    let error = Stack::builder().build().unwrap_err();
    assert_eq!(error.to_string(), "no interface was named: name at least one");
    let error = Stack::builder().interface("no-such-if0").build().unwrap_err();
    assert!(error.to_string().contains("no-such-if0"), "{error}");
    let error = Stack::builder().interface("no-such-if0").workers(0).build().unwrap_err();
    assert_eq!(error.to_string(), "0 workers can do nothing: ask for at least one");
}
