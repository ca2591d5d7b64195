//! What associations cost in memory: counted at the allocator, for everything that they hold.

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::IpAddr;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sctp_core::time::Instant;
use sctp_core::{
    AssociationConfig, AssociationId, ChecksumState, Connect, Datagram, Endpoint, EndpointConfig, Event, ListenConfig,
    Message, SharedPayload,
};

/// The system's allocator, with a count of the bytes that are in use, by who has them.
struct Counting;

/// Of the first endpoint, of the second, and of the test itself.
static IN_USE: [AtomicIsize; 3] = [const { AtomicIsize::new(0) }; 3];
/// Who is allocating.
static WHO: AtomicUsize = AtomicUsize::new(TEST);
const TEST: usize = 2;

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE[WHO.load(Ordering::Relaxed)].fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        IN_USE[WHO.load(Ordering::Relaxed)].fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`, and `alloc` got the block from the same allocator.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ASSOCIATIONS: usize = 40;

/// What all have together.
fn in_use() -> isize {
    IN_USE.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum()
}

/// Two endpoints and the packets between them, at once and without loss.
struct Pair {
    now: Instant,
    endpoints: [Endpoint; 2],
    addresses: [Vec<IpAddr>; 2],
    ids: [Vec<AssociationId>; 2],
    received: usize,
    buffer: Box<[u8; 1480]>,
    config: AssociationConfig,
}

impl Pair {
    /// Each end has an address on so many networks.
    fn new(heartbeats: bool, networks: u8) -> Pair {
        let addresses = [1, 2].map(|host| (0..networks).map(|network| IpAddr::from([10, network, 0, host])).collect());
        let endpoints = [0, 1].map(|at: usize| {
            let addresses: &Vec<IpAddr> = &addresses[at];
            let config = EndpointConfig { addresses: addresses.clone(), ..EndpointConfig::default() };
            Endpoint::new(config, [at as u8; 32])
        });
        let mut pair = Pair {
            now: Instant::from_millis(1000),
            endpoints,
            addresses,
            ids: [Vec::new(), Vec::new()],
            received: 0,
            buffer: Box::new([0; 1480]),
            config: AssociationConfig::default(),
        };
        pair.config.heartbeat_interval = pair.config.heartbeat_interval.filter(|_| heartbeats);
        let listen = ListenConfig { association: pair.config.clone(), ..ListenConfig::default() };
        pair.endpoints[1].listen(7, listen).unwrap();
        pair
    }

    /// Has an endpoint do something, to whose account it goes what that allocates.
    fn with<T>(&mut self, at: usize, act: impl FnOnce(&mut Endpoint) -> T) -> T {
        WHO.store(at, Ordering::Relaxed);
        let done = act(&mut self.endpoints[at]);
        WHO.store(TEST, Ordering::Relaxed);
        done
    }

    /// Sets up so many more associations.
    fn connect(&mut self, count: usize) {
        for _ in 0..count {
            let connect = Connect { config: self.config.clone(), ..Connect::new(self.addresses[1][0], 7) };
            let now = self.now;
            let id = self.with(0, |client| client.connect(now, connect)).unwrap();
            self.ids[0].push(id);
            self.settle();
        }
        assert_eq!(self.ids[1].len(), self.ids[0].len());
    }

    /// Lets packets and events flow until there are none.
    fn settle(&mut self) {
        let now = self.now;
        let mut buffer = core::mem::replace(&mut self.buffer, Box::new([0; 1480]));
        loop {
            let mut quiet = true;
            for at in 0..2 {
                self.take_events(at);
                while let Some(transmit) = self.with(at, |endpoint| endpoint.poll_transmit(now, &mut buffer[..])) {
                    quiet = false;
                    // Copied into a place of its own, as from a ring whose frames are given back. (Clones of it allocate nothing.)
                    let bytes = Bytes::from_owner(buffer[..transmit.len].to_vec());
                    let datagram = Datagram {
                        source: transmit.source.unwrap_or(self.addresses[at][0]),
                        destination: transmit.destination,
                        encapsulation: None,
                        ecn: transmit.ecn,
                        checksum: ChecksumState::NotChecked,
                        association: None,
                        bytes: &bytes,
                        payload: &mut SharedPayload(&bytes),
                    };
                    self.with(1 - at, |endpoint| endpoint.handle(now, datagram));
                    self.take_events(1 - at);
                }
            }
            if quiet {
                self.buffer = buffer;
                return;
            }
        }
    }

    fn take_events(&mut self, at: usize) {
        while self.with(at, |endpoint| endpoint.poll_tag().is_some() || endpoint.poll_peer().is_some()) {}
        while let Some((id, event)) = self.with(at, Endpoint::poll_event) {
            match event {
                Event::Accepted { .. } => self.ids[at].push(id),
                Event::MessageReceived => {
                    while let Some(message) = self.with(at, |endpoint| endpoint.recv(id)) {
                        self.received += message.len();
                    }
                }
                _ => {}
            }
        }
    }

    /// Time passes, with all that falls due.
    fn pass(&mut self, duration: Duration) {
        let until = self.now + duration;
        loop {
            let next = (0..2).filter_map(|at| self.with(at, Endpoint::poll_timeout)).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            let now = self.now.max(next);
            self.now = now;
            for at in 0..2 {
                self.with(at, |endpoint| endpoint.handle_timeout(now));
            }
            self.settle();
        }
        self.now = until;
    }

    /// Every association sends so many messages each way.
    fn talk(&mut self, messages: usize, len: usize) {
        let payload = Bytes::from(vec![7; len]);
        for at in 0..2 {
            for index in 0..self.ids[at].len() {
                for number in 0..messages {
                    let message = Message::new((number % 4) as u16, payload.clone());
                    let (now, id) = (self.now, self.ids[at][index]);
                    self.with(at, |endpoint| endpoint.send(now, id, message)).unwrap();
                }
            }
        }
        self.settle();
        self.pass(Duration::from_secs(5));
    }
}

/// One test, so that nothing else allocates meanwhile.
#[test]
fn an_idle_association_costs_little_also_after_traffic() {
    for heartbeats in [true, false] {
        for networks in [1, 2] {
            alone(heartbeats, networks);
        }
        measure(heartbeats);
    }
}

/// What an association has for itself: the struct, and what it allocates. Maps and timers grow by leaps: while these have room for more,
/// each association that is added costs itself alone.
fn alone(heartbeats: bool, networks: u8) {
    const MORE: usize = 10;
    let mut pair = Pair::new(heartbeats, networks);
    pair.connect(ASSOCIATIONS);
    pair.talk(4, 100);
    pair.pass(Duration::from_secs(100));
    let counts = || [0, 1].map(|at| IN_USE[at].load(Ordering::Relaxed));
    let before = counts();
    pair.connect(MORE);
    pair.talk(4, 100);
    pair.pass(Duration::from_secs(100));
    let after = counts();
    let [client, server] = [0, 1].map(|at| (after[at] - before[at]) / MORE as isize);
    println!(
        "struct and heap with {networks} paths, heartbeats {heartbeats}: {client} bytes (client), {server} (server)"
    );
    let most = if networks == 1 { 1536 } else { 2048 };
    assert!(client <= most && server <= most, "{client} and {server} bytes with {networks} paths");
    // The struct alone has more: if not, it is not what was counted.
    assert!(client >= 1000 && server >= 1000, "{client} and {server} bytes with {networks} paths");
}

/// Without heartbeats nothing is ever due of an idle association, but what gives memory back.
fn measure(heartbeats: bool) {
    let mut pair = Pair::new(heartbeats, 1);
    let empty = in_use();
    pair.connect(ASSOCIATIONS);
    // Events and lists of the endpoints are small beside it, and count too.
    let each = |bytes: isize| bytes / (2 * ASSOCIATIONS as isize);
    let fresh = each(in_use() - empty);
    pair.talk(4, 100);
    pair.pass(Duration::from_secs(100));
    let idle = each(in_use() - empty);
    // Much more than an idle association has room for, in many chunks and fragments.
    pair.talk(300, 500);
    pair.talk(4, 100_000);
    assert_eq!(pair.received, 2 * ASSOCIATIONS * (4 * 100 + 300 * 500 + 4 * 100_000));
    let busy = each(in_use() - empty);
    pair.pass(Duration::from_secs(100));
    let after = each(in_use() - empty);
    println!("bytes for each association: {fresh} fresh, {idle} idle, {busy} after traffic, {after} idle again");
    // What it has for itself, and its place in maps and timers.
    assert!(fresh <= 1792 && idle <= 1792, "{fresh} bytes fresh, {idle} idle");
    assert!(busy > 2 * idle, "the traffic did not take more than an idle association has: {busy} bytes");
    // What a few streams need, and what the allocator rounds up.
    assert!(after <= idle + 256, "{after} bytes after traffic, {idle} before it");
    let due = pair.endpoints.iter_mut().filter_map(Endpoint::poll_timeout).count();
    assert_eq!(due, if heartbeats { 2 } else { 0 }, "the clock runs for heartbeats alone");
    drop(pair);
}
