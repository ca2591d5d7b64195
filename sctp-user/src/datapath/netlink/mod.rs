//! Links, addresses, routes and neighbours, as the kernel has them.
//!
//! A packet that leaves through AF_XDP never meets the kernel's routing, so whoever sends it must know the
//! interface, the source address and the next hop's link-layer address. ARP and neighbour discovery stay
//! the kernel's: the XDP program lets their packets pass, and here the results are followed.
//!
//! A thread listens to the kernel's notifications (rtnetlink) and publishes a [`Snapshot`] whenever
//! something has changed. Nothing is polled. Workers resolve a destination once, keep the result, and
//! compare one number ([`Network::generation`]) per packet to know that it still holds.
//!
//! Notifications of links, addresses and routes only tell *that* something has changed; the table is then
//! read as a whole. The kernel does not announce everything: the IPv4 routes of a link that goes down
//! disappear in silence. Neighbours change often and are announced completely, so they are followed one
//! by one.

mod follow;
mod snapshot;
mod tables;
#[cfg(test)]
mod tests;

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

pub use snapshot::{AddressInfo, LinkInfo, Mac, Snapshot};
pub(crate) use snapshot::{Hop, NeighbourUse, Resolution};

use super::LinkWaker;
use tables::Probe;

/// Follows the network of the namespace in which it was started.
///
/// The thread behind it ends when this is dropped.
#[derive(Debug)]
pub struct Network {
    shared: Arc<Shared>,
    /// There until it is dropped: closing it ends the thread.
    requests: Option<mpsc::Sender<Probe>>,
    thread: Option<JoinHandle<()>>,
}

impl Network {
    /// Starts to follow the network of the calling thread's namespace. Links are followed all, addresses,
    /// routes and neighbours as far as they concern the interfaces with these names.
    ///
    /// When it returns, the first snapshot is there. Names that do not exist are left out of it.
    ///
    /// # Errors
    ///
    /// If the thread or the netlink socket cannot be made, or the kernel does not answer.
    pub fn start(interfaces: &[String]) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            snapshot: ArcSwap::from_pointee(Snapshot::default()),
            generation: AtomicU64::new(0),
            wakers: Mutex::new(Vec::new()),
        });
        let (requests, asked) = mpsc::channel(REQUESTS);
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let thread = {
            let shared = shared.clone();
            let interfaces = interfaces.to_vec();
            // A new thread is in its parent's network namespace.
            thread::Builder::new()
                .name("sctp-netlink".to_owned())
                .spawn(move || follow::run(&interfaces, &shared, asked, &ready))?
        };
        let network = Self { shared, requests: Some(requests), thread: Some(thread) };
        match started.recv() {
            Ok(Ok(())) => Ok(network),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::other("the netlink thread ended before it began")),
        }
    }

    /// What is known now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// A number that changes whenever the snapshot does. One atomic load.
    pub fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// Has `waker` called whenever the snapshot changes.
    pub fn wake_on_change(&self, waker: LinkWaker) {
        self.shared.wakers.lock().unwrap_or_else(PoisonError::into_inner).push(waker);
    }

    /// Where a packet goes.
    pub(crate) fn resolve(&self, source: Option<IpAddr>, destination: IpAddr) -> Resolution {
        self.shared.snapshot.load().resolve(source, destination)
    }

    /// Asks the kernel to find out a neighbour's link-layer address, or to check the one it has. The answer
    /// comes as a change of the snapshot.
    ///
    /// `false` if so many requests are waiting that this one is not taken.
    pub(crate) fn ask_for_neighbour(&self, ifindex: u32, address: IpAddr) -> bool {
        match &self.requests {
            Some(requests) => requests.try_send(Probe { ifindex, address }).is_ok(),
            None => false,
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the netlink thread panicked");
        }
    }
}

/// What the thread and everybody else share.
#[derive(Debug)]
struct Shared {
    snapshot: ArcSwap<Snapshot>,
    generation: AtomicU64,
    wakers: Mutex<Vec<LinkWaker>>,
}

impl Shared {
    /// Makes `snapshot` the current one, if it differs from what is.
    fn publish(&self, snapshot: Snapshot) {
        if **self.snapshot.load() == snapshot {
            return;
        }
        self.snapshot.store(Arc::new(snapshot));
        // After the snapshot: who sees the new number sees the new snapshot.
        self.generation.fetch_add(1, Ordering::Release);
        for waker in self.wakers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            waker.wake();
        }
    }
}

/// How many requests for neighbours may wait for the thread.
const REQUESTS: usize = 1024;
