//! Notifications, statistics, and the statistics service.

use futures_util::StreamExt as _;

use super::net::Net;
use super::*;
use crate::telemetry::service::{StatsService, query};
use crate::telemetry::snapshot;
use crate::{AssociationConfig, CloseReason, Notification};

/// A pair whose ends tell when everything sent has been acknowledged.
async fn talkative_pair() -> Pair {
    let config = AssociationConfig { notify_sender_dry: true, ..AssociationConfig::default() };
    let listen = ListenOptions::default().association(config.clone());
    Pair::with_options(&Net::new(), listen, ConnectOptions::default().association(config)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn notifications_end_with_the_association() {
    let pair = talkative_pair().await;
    let mut first = pair.accepted.notifications();
    let second = pair.accepted.notifications();
    say(&pair.accepted, &pair.connected, "hello").await;
    within(pair.connected.close()).await.unwrap();
    let all: Vec<Notification> = within(second.collect()).await;
    let Some(Notification::Closed { reason: Some(CloseReason::Shutdown), last_tsns: Some(last) }) = all.last() else {
        panic!("{all:?}")
    };
    assert_eq!(last.acked, last.sent, "what was sent has been acknowledged");
    assert!(all.contains(&Notification::PeerShutdown), "{all:?}");
    assert!(all.contains(&Notification::SenderDry), "{all:?}");
    // Every subscriber gets everything.
    for expected in all {
        assert_eq!(within(first.next()).await, Some(expected));
    }
    assert_eq!(within(first.next()).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_were_lost_are_reported_by_their_number() {
    let net = Net::new();
    let pair = Pair::new(&net).await;
    let notifications = pair.connected.notifications();
    net.cut();
    for context in 100..103 {
        let message = Message::new(1, "into the void".into()).with_context(context);
        pair.connected.send(message).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    pair.connected.abort("enough");
    let all: Vec<Notification> = within(notifications.collect()).await;
    let failed: Vec<u64> = all
        .iter()
        .filter_map(|notification| match notification {
            Notification::SendFailed { context, stream: 1, .. } => Some(*context),
            _ => None,
        })
        .collect();
    assert_eq!(failed, [100, 101, 102], "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_subscriber_is_told_what_it_missed() {
    let pair = talkative_pair().await;
    let mut notifications = pair.connected.notifications();
    for _ in 0..400 {
        // Each of them runs the sender dry.
        say(&pair.connected, &pair.accepted, "one").await;
        say(&pair.accepted, &pair.connected, "two").await;
    }
    within(pair.connected.close()).await.unwrap();
    let Some(Notification::Missed { count }) = within(notifications.next()).await else {
        panic!("nothing was missed");
    };
    let mut rest = 0;
    while within(notifications.next()).await.is_some() {
        rest += 1;
    }
    assert_eq!(rest, 256, "the newest are kept; {count} were missed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_shows_the_association() {
    let pair = Pair::new(&Net::new()).await;
    for _ in 0..10 {
        say(&pair.connected, &pair.accepted, "hello").await;
    }
    let picture = within(snapshot(&pair.server)).await;
    assert_eq!((picture.workers.len(), picture.associations.len()), (1, 1));
    assert!(picture.workers[0].packets_received > 10);
    let association = &picture.associations[0];
    assert_eq!(association.state, "ESTABLISHED");
    assert_eq!((association.local_port, association.peer_port), (PORT, pair.connected.local_port()));
    assert_eq!(association.counters["messages_received"], 10);
    assert_eq!((association.counters["ecn_marks"], association.counters["ecn_reductions"]), (0, 0));
    assert_eq!(association.paths.len(), 1);
    let path = &association.paths[0];
    assert_eq!((path.state.as_str(), path.primary), ("active", true));
    assert!(path.cwnd > 1000 && path.rto_us > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_tells_other_processes() {
    let pair = Pair::new(&Net::new()).await;
    let name = format!("test-{}", std::process::id());
    let service = StatsService::start(&pair.server, &name).unwrap();
    let taken = StatsService::start(&pair.server, &name).unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
    let asked = name.clone();
    let picture = tokio::task::spawn_blocking(move || query(&asked)).await.unwrap().unwrap();
    assert_eq!(picture.associations.len(), 1);
    assert!(crate::telemetry::service::running().unwrap().contains(&name));
    drop(service);
    assert!(query(&name).is_err());
}
