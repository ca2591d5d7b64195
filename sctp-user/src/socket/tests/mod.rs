//! Two stacks in one process over a network in memory.

mod ending;
mod limits;
mod messages;
mod net;
mod primitives;
mod setup;
mod sight;
mod steering;

use std::time::Duration;

use bytes::Bytes;

use self::net::Net;
use crate::{Association, ConnectOptions, ListenOptions, Listener, Message, Stack};

/// The server's address and port.
const SERVER: &str = "10.0.0.1";
const PORT: u16 = 38412;
const CLIENT: &str = "10.0.0.2";

/// No test waits longer than this for anything.
async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("in time")
}

/// A server and a client on one network, and an association between them.
struct Pair {
    server: Stack,
    client: Stack,
    listener: Listener,
    /// The association's handle on the server.
    accepted: Association,
    /// The association's handle on the client.
    connected: Association,
}

impl Pair {
    async fn new(net: &Net) -> Pair {
        Pair::with_options(net, ListenOptions::default(), ConnectOptions::default()).await
    }

    async fn with_options(net: &Net, listen: ListenOptions, connect: ConnectOptions) -> Pair {
        let (server, client) = (net.stack(SERVER), net.stack(CLIENT));
        let mut listener = server.listen(PORT, listen).await.unwrap();
        let (accepted, connected) = connect_to(&mut listener, &client, connect).await;
        Pair { server, client, listener, accepted, connected }
    }
}

/// Connects a client to a listener.
async fn connect_to(listener: &mut Listener, client: &Stack, options: ConnectOptions) -> (Association, Association) {
    let peer = format!("{SERVER}:{PORT}").parse().unwrap();
    let (accepted, connected) = within(async { tokio::join!(listener.accept(), client.connect(peer, options)) }).await;
    (accepted.unwrap(), connected.unwrap())
}

/// A small generator of numbers that looks random enough.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A message's content, from its number: the number itself as far as it fits, then a pattern.
fn content(number: u64, length: usize) -> Bytes {
    const PATTERN: [u8; 256] = {
        let mut pattern = [0; 256];
        let mut at = 0;
        while at < 256 {
            pattern[at] = (at as u8).wrapping_mul(89).wrapping_add(7);
            at += 1;
        }
        pattern
    };
    let mut content = Vec::with_capacity(length + 256);
    content.extend_from_slice(&number.to_le_bytes());
    let start = number as usize % 256;
    content.extend_from_slice(&PATTERN[start..]);
    while content.len() < length {
        content.extend_from_slice(&PATTERN);
    }
    content.truncate(length);
    content.into()
}

/// Sends a text and receives it on the other side.
async fn say(from: &Association, to: &Association, text: &'static str) {
    from.send(Message::new(0, Bytes::from_static(text.as_bytes()))).await.unwrap();
    let message = within(to.recv()).await.unwrap().unwrap();
    assert_eq!(message.into_bytes(), text);
}
