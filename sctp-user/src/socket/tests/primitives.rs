//! What applications may ask for beside messages (RFC 9260 §11.1).

use std::net::IpAddr;

use futures_util::StreamExt as _;
use sctp_common::steering::Steering;

use super::net::Net;
use super::*;
use crate::{AssociationConfig, Notification, PathError, PathState, SendError};

const SECOND_ADDRESSES: [&str; 2] = ["10.1.0.1", "10.1.0.2"];

fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

/// A pair with two addresses each, all paths active.
async fn two_homed(net: &Net) -> Pair {
    let stack = |first: &str, second: &str| {
        net.multi_homed(&[ip(first), ip(second)], Steering { key: [1, 2], workers: 1 }).build().unwrap()
    };
    let (server, client) = (stack(SERVER, SECOND_ADDRESSES[0]), stack(CLIENT, SECOND_ADDRESSES[1]));
    let mut listener = server.listen(PORT, ListenOptions::default()).await.unwrap();
    let (accepted, connected) = connect_to(&mut listener, &client, ConnectOptions::default()).await;
    let pair = Pair { server, client, listener, accepted, connected };
    within(async {
        while pair.connected.status().await.unwrap().paths.iter().any(|path| path.state != PathState::Active) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    pair
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_may_name_the_address_that_it_goes_to() {
    let pair = two_homed(&Net::new()).await;
    let second = ip(SECOND_ADDRESSES[0]);
    let message = |text: &'static str, address| Message::new(0, text.into()).with_destination(address);
    for (text, address) in [("one", second), ("two", ip(SERVER)), ("three", second)] {
        pair.connected.send(message(text, address)).await.unwrap();
        let received = within(pair.accepted.recv()).await.unwrap().unwrap();
        assert_eq!(received.into_bytes(), text);
    }
    let foreign = ip("192.0.2.1");
    assert_eq!(pair.connected.send(message("four", foreign)).await, Err(SendError::NoSuchPath(foreign)));
    within(pair.connected.close()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn source_and_failure_threshold_can_be_set() {
    let pair = two_homed(&Net::new()).await;
    let (second, foreign) = (ip(SECOND_ADDRESSES[0]), ip("192.0.2.1"));
    pair.connected.set_primary(second).await.unwrap();
    pair.connected.set_source(ip(SECOND_ADDRESSES[1])).await.unwrap();
    assert_eq!(pair.connected.set_source(foreign).await, Err(PathError::NotOurAddress(foreign)));
    pair.connected.set_failure_threshold(second, 2).await.unwrap();
    let refused = pair.connected.set_failure_threshold(foreign, 2).await;
    assert_eq!(refused, Err(PathError::NoSuchPath(foreign)));
    assert!(matches!(pair.connected.set_failure_threshold(second, 1001).await, Err(PathError::Setting(_))));
    say(&pair.connected, &pair.accepted, "hello").await;
    let status = pair.connected.status().await.unwrap();
    assert_eq!(status.primary().unwrap().address, second);
}

/// COMMUNICATION LOST tells what was acknowledged last, and what was sent last.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_tells_how_far_messages_got() {
    let net = Net::new();
    let config = AssociationConfig { sack_every: 1, ..AssociationConfig::default() };
    let pair = Pair::with_options(&net, ListenOptions::default().association(config), ConnectOptions::default()).await;
    let notifications = pair.connected.notifications();
    say(&pair.connected, &pair.accepted, "hello").await;
    within(async {
        while pair.connected.status().await.unwrap().outstanding_chunks > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    net.cut();
    pair.connected.send(Message::new(0, "into the void".into())).await.unwrap();
    within(async {
        while pair.connected.status().await.unwrap().outstanding_chunks == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    pair.connected.abort("enough");
    let all: Vec<Notification> = within(notifications.collect()).await;
    let Some(Notification::Closed { last_tsns: Some(last), .. }) = all.last() else { panic!("{all:?}") };
    assert_eq!(last.sent, last.acked.wrapping_add(1));
}
