//! Several workers: packets find the owner of their association, whoever receives them.

use super::net::Net;
use super::*;
use crate::telemetry::{StackSnapshot, snapshot};
use crate::{CloseReason, ConnectError, Notification};

const ASSOCIATIONS: usize = 20;
const MESSAGES: u64 = 50;

/// Runs traffic over associations between two stacks of two workers, and looks at the server.
async fn traffic(server: Stack, client: Stack) -> StackSnapshot {
    let mut listener = server.listen(PORT, ListenOptions::default()).await.unwrap();
    let mut pairs = Vec::new();
    for _ in 0..ASSOCIATIONS {
        pairs.push(connect_to(&mut listener, &client, ConnectOptions::default()).await);
    }
    for (accepted, connected) in &pairs {
        for number in 0..MESSAGES {
            connected.send(Message::new(0, content(number, 300))).await.unwrap();
        }
        for number in 0..MESSAGES {
            let message = within(accepted.recv()).await.unwrap().unwrap();
            assert_eq!(message.into_bytes(), content(number, 300));
        }
    }
    let picture = within(snapshot(&server)).await;
    for (_, connected) in &pairs {
        within(connected.close()).await.unwrap();
    }
    assert_eq!(picture.workers.len(), 2);
    let mut owned = [0; 2];
    for association in &picture.associations {
        owned[usize::from(association.worker)] += 1;
    }
    assert_eq!(owned[0] + owned[1], ASSOCIATIONS);
    assert!(owned[0] > 0 && owned[1] > 0, "{owned:?}");
    picture
}

#[tokio::test(flavor = "multi_thread")]
async fn steered_packets_are_not_handed_over() {
    let net = Net::new();
    let picture = traffic(net.steered(SERVER, 2), net.steered(CLIENT, 2)).await;
    for worker in &picture.workers {
        assert_eq!((worker.handed_over, worker.taken_over), (0, 0), "{worker:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_that_come_to_the_wrong_worker_are_handed_over() {
    let net = Net::new();
    let picture = traffic(net.unsteered(SERVER, 2), net.unsteered(CLIENT, 2)).await;
    let handed_over: u64 = picture.workers.iter().map(|worker| worker.handed_over).sum();
    let taken_over: u64 = picture.workers.iter().map(|worker| worker.taken_over).sum();
    assert!(handed_over > 0, "{:?}", picture.workers);
    assert_eq!(handed_over, taken_over);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_peer_finds_its_association() {
    // The peer forgets everything and connects again from the same port (RFC 9260 §5.2.2). Its INIT may
    // be received by either worker.
    let net = Net::new();
    let server = net.unsteered(SERVER, 2);
    let mut listener = server.listen(PORT, ListenOptions::default()).await.unwrap();
    let options = || ConnectOptions::default().local_port(4000);
    let mut client = quiet(&net);
    let (accepted, mut connected) = connect_to(&mut listener, &client, options()).await;
    say(&connected, &accepted, "before").await;
    let mut notifications = accepted.notifications();
    for _ in 0..5 {
        net.cut();
        drop(connected);
        client.close(Duration::ZERO).await;
        net.mend();
        client = quiet(&net);
        let peer = format!("{SERVER}:{PORT}").parse().unwrap();
        connected = within(client.connect(peer, options())).await.unwrap();
        // What the forgetful peer had not acknowledged is reported first.
        loop {
            match within(notifications.next()).await {
                Some(Notification::Restarted { .. }) => break,
                Some(Notification::SendFailed { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
        say(&connected, &accepted, "after").await;
        say(&accepted, &connected, "after").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_server_finds_the_association_at_the_clients_port() {
    // Nobody listens on the client's port. The server forgets everything, and now it is the one who connects.
    let net = Net::new();
    let client = net.unsteered(CLIENT, 2);
    let server = net.stack(SERVER);
    let mut listener = server.listen(PORT, ListenOptions::default()).await.unwrap();
    let options = ConnectOptions::default().local_port(4000);
    let (accepted, connected) = connect_to(&mut listener, &client, options).await;
    say(&connected, &accepted, "before").await;
    let mut notifications = connected.notifications();
    net.cut();
    drop((accepted, listener));
    server.close(Duration::ZERO).await;
    net.mend();
    let server = net.stack(SERVER);
    let peer = format!("{CLIENT}:4000").parse().unwrap();
    let again = within(server.connect(peer, ConnectOptions::default().local_port(PORT))).await.unwrap();
    loop {
        match within(notifications.next()).await {
            Some(Notification::Restarted { .. }) => break,
            Some(Notification::SendFailed { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    say(&again, &connected, "after").await;
    say(&connected, &again, "after").await;
    // Another port of the same peer has no association, and nobody listens (RFC 9260 §5.1).
    let refused = within(server.connect(peer, ConnectOptions::default().local_port(PORT + 1))).await.unwrap_err();
    assert!(matches!(refused, ConnectError::Failed(CloseReason::PeerAbort { .. })), "{refused:?}");
}

/// A client that does not answer what the server still sends to the association that it has forgotten.
fn quiet(net: &Net) -> Stack {
    let steering = sctp_common::steering::Steering { key: [1, 2], workers: 1 };
    net.builder(CLIENT, steering).silent_out_of_the_blue(true).build().unwrap()
}
