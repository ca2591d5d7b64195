//! The thread that follows the kernel's notifications.

use std::collections::HashSet;
use std::io;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use futures_util::future::FutureExt;
use futures_util::stream::{Stream, StreamExt};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{NeighbourFlags, NeighbourState};
use netlink_packet_route::route::RouteMessage;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::{Handle, MulticastGroup};
use tokio::sync::mpsc;

use super::Shared;
use super::tables::{Probe, Tables};

/// The thread's whole life. `ready` is told when the first snapshot is there, or why there is none.
pub(super) fn run(
    interfaces: &[String],
    shared: &Shared,
    requests: mpsc::Receiver<Probe>,
    ready: &SyncSender<io::Result<()>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(ready, Err(error)),
    };
    runtime.block_on(async {
        match Follower::start(interfaces).await {
            Ok((mut follower, notifications)) => {
                shared.publish(follower.tables.snapshot());
                report(ready, Ok(()));
                follower.follow(shared, requests, notifications).await;
            }
            Err(error) => report(ready, Err(error)),
        }
    });
}

fn report(ready: &SyncSender<io::Result<()>>, outcome: io::Result<()>) {
    // Whoever started the thread waits for this; if it has gone, the closed request channel ends the thread.
    let _ = ready.send(outcome);
}

struct Follower {
    kernel: Handle,
    tables: Tables,
}

/// What has to be read anew.
#[derive(Clone, Copy, Debug, Default)]
struct Stale {
    links: bool,
    addresses: bool,
    routes: bool,
    neighbours: bool,
}

impl Follower {
    /// Subscribes to notifications, and then reads all tables; so no change falls between the two.
    async fn start(
        interfaces: &[String],
    ) -> io::Result<(Self, impl Stream<Item = RouteMessageOrLoss> + Unpin + use<>)> {
        let (connection, kernel, notifications) = rtnetlink::new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Neigh,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv6Route,
        ])?;
        tokio::spawn(connection);
        let links = collect(kernel.link().get().execute()).await?;
        let mut tables = Tables::new([]);
        tables.set_links(&links);
        let names: HashSet<&str> = interfaces.iter().map(String::as_str).collect();
        let in_use: Vec<u32> = tables
            .snapshot()
            .links()
            .iter()
            .filter(|link| names.contains(link.name.as_str()))
            .map(|link| link.ifindex)
            .collect();
        let mut follower = Self { kernel, tables: Tables::new(in_use) };
        follower.refresh(Stale::everything()).await?;
        let notifications = notifications.map(|(message, _)| match message.payload {
            NetlinkPayload::InnerMessage(message) => RouteMessageOrLoss::Message(message),
            NetlinkPayload::Overrun(_) => RouteMessageOrLoss::Loss,
            _ => RouteMessageOrLoss::Nothing,
        });
        Ok((follower, notifications))
    }

    async fn follow(
        &mut self,
        shared: &Shared,
        mut requests: mpsc::Receiver<Probe>,
        mut notifications: impl Stream<Item = RouteMessageOrLoss> + Unpin,
    ) {
        loop {
            let mut stale = Stale::default();
            let mut probes = Vec::new();
            tokio::select! {
                request = requests.recv() => match request {
                    Some(probe) => probes.push(probe),
                    None => return,
                },
                notification = notifications.next() => match notification {
                    Some(notification) => self.take(notification, &mut stale, &mut probes),
                    None => {
                        tracing::error!(
                            "the netlink socket failed: changes of routes and neighbours are no longer seen"
                        );
                        // Requests cannot be fulfilled any more, but the owner decides when to end.
                        while requests.recv().await.is_some() {}
                        return;
                    }
                },
            }
            // What has come meanwhile goes into the same snapshot.
            while let Some(Some(notification)) = notifications.next().now_or_never() {
                self.take(notification, &mut stale, &mut probes);
            }
            while let Err(error) = self.refresh(stale).await {
                // The kernel was in the middle of a change, or short of memory.
                tracing::warn!(%error, "reading the kernel's network tables failed, trying again");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            shared.publish(self.tables.snapshot());
            probes.sort_unstable_by_key(|probe| (probe.ifindex, probe.address));
            probes.dedup();
            for probe in probes {
                self.probe(probe).await;
            }
        }
    }

    fn take(&mut self, notification: RouteMessageOrLoss, stale: &mut Stale, probes: &mut Vec<Probe>) {
        match notification {
            RouteMessageOrLoss::Message(message) => match message {
                RouteNetlinkMessage::NewNeighbour(message) => {
                    probes.extend(self.tables.add_neighbour(&message));
                }
                RouteNetlinkMessage::DelNeighbour(message) => {
                    self.tables.remove_neighbour(&message);
                }
                RouteNetlinkMessage::NewLink(_) | RouteNetlinkMessage::DelLink(_) => {
                    stale.links = true;
                    stale.routes = true;
                }
                RouteNetlinkMessage::NewAddress(_) | RouteNetlinkMessage::DelAddress(_) => {
                    stale.addresses = true;
                    stale.routes = true;
                }
                RouteNetlinkMessage::NewRoute(_) | RouteNetlinkMessage::DelRoute(_) => {
                    stale.routes = true;
                }
                _ => {}
            },
            RouteMessageOrLoss::Loss => *stale = Stale::everything(),
            RouteMessageOrLoss::Nothing => {}
        }
    }

    async fn refresh(&mut self, stale: Stale) -> io::Result<()> {
        if stale.links {
            self.tables.set_links(&collect(self.kernel.link().get().execute()).await?);
        }
        if stale.addresses {
            self.tables.set_addresses(&collect(self.kernel.address().get().execute()).await?);
        }
        if stale.routes {
            // Without a family the kernel gives those of all families.
            let routes = self.kernel.route().get(RouteMessage::default()).execute();
            self.tables.set_routes(&collect(routes).await?);
        }
        if stale.neighbours {
            self.tables.set_neighbours(&collect(self.kernel.neighbours().get().execute()).await?);
        }
        Ok(())
    }

    /// Has the kernel resolve a neighbour, or check the address it has, as if it had a packet to send there
    /// itself (`NTF_USE`).
    async fn probe(&mut self, probe: Probe) {
        let Probe { ifindex, address } = probe;
        let mut request =
            self.kernel.neighbours().add(ifindex, address).flags(NeighbourFlags::Use).state(NeighbourState::None);
        let message = RouteNetlinkMessage::NewNeighbour(request.message_mut().clone());
        let mut message = NetlinkMessage::from(message);
        // Not NLM_F_EXCL: an entry that exists is used as it is.
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE;
        match self.kernel.request(message) {
            Ok(mut answers) => {
                while let Some(answer) = answers.next().await {
                    if let NetlinkPayload::Error(error) = answer.payload
                        && error.code.is_some()
                    {
                        let error = error.to_io();
                        tracing::debug!(%address, ifindex, %error, "the kernel resolves no neighbour");
                    }
                }
            }
            Err(error) => tracing::debug!(%address, ifindex, %error, "the kernel cannot be asked"),
        }
    }
}

impl Stale {
    fn everything() -> Self {
        Self { links: true, addresses: true, routes: true, neighbours: true }
    }
}

/// What comes from the kernel unasked.
enum RouteMessageOrLoss {
    Message(RouteNetlinkMessage),
    /// The socket's buffer was full, and something has been lost.
    Loss,
    Nothing,
}

async fn collect<T>(answers: impl Stream<Item = Result<T, rtnetlink::Error>>) -> io::Result<Vec<T>> {
    let mut answers = std::pin::pin!(answers);
    let mut all = Vec::new();
    while let Some(answer) = answers.next().await {
        all.push(answer.map_err(io::Error::other)?);
    }
    Ok(all)
}

const RETRY_PAUSE: Duration = Duration::from_millis(50);
