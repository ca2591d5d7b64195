//! What associations cost in memory: counted at the allocator, for everything that they hold.

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::IpAddr;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sctp_core::time::Instant;
use sctp_core::{
    AssociationConfig, AssociationId, ChecksumState, Connect, Datagram, Endpoint, EndpointConfig, Event, ListenConfig,
    Message, SharedPayload,
};

/// The system's allocator, with a count of the bytes that are in use.
struct Counting;

static IN_USE: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`, and `alloc` got the block from the same allocator.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ASSOCIATIONS: usize = 40;

/// Two endpoints and the packets between them, at once and without loss.
struct Pair {
    now: Instant,
    endpoints: [Endpoint; 2],
    addresses: [IpAddr; 2],
    ids: [Vec<AssociationId>; 2],
    received: usize,
    buffer: Box<[u8; 1480]>,
    config: AssociationConfig,
}

impl Pair {
    fn new(heartbeats: bool) -> Pair {
        let addresses: [IpAddr; 2] = [[10, 0, 0, 1].into(), [10, 0, 0, 2].into()];
        let endpoints = addresses.map(|address| {
            let config = EndpointConfig { addresses: vec![address], ..EndpointConfig::default() };
            Endpoint::new(config, [address.is_ipv4() as u8; 32])
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

    /// Lets packets and events flow until there are none.
    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for at in 0..2 {
                self.take_events(at);
                while let Some(transmit) = self.endpoints[at].poll_transmit(self.now, &mut self.buffer[..]) {
                    quiet = false;
                    // Copied into a place of its own, as from a ring whose frames are given back.
                    let bytes = Bytes::copy_from_slice(&self.buffer[..transmit.len]);
                    let datagram = Datagram {
                        source: self.addresses[at],
                        destination: transmit.destination,
                        encapsulation: None,
                        ecn: transmit.ecn,
                        checksum: ChecksumState::NotChecked,
                        association: None,
                        bytes: &bytes,
                        payload: &mut SharedPayload(&bytes),
                    };
                    self.endpoints[1 - at].handle(self.now, datagram);
                    self.take_events(1 - at);
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn take_events(&mut self, at: usize) {
        let endpoint = &mut self.endpoints[at];
        while endpoint.poll_tag().is_some() || endpoint.poll_peer().is_some() {}
        while let Some((id, event)) = endpoint.poll_event() {
            match event {
                Event::Accepted { .. } => self.ids[at].push(id),
                Event::MessageReceived => {
                    while let Some(message) = endpoint.recv(id) {
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
            let next = self.endpoints.iter_mut().filter_map(Endpoint::poll_timeout).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            for endpoint in &mut self.endpoints {
                endpoint.handle_timeout(self.now);
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
                    self.endpoints[at].send(self.now, self.ids[at][index], message).unwrap();
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
        measure(heartbeats);
    }
}

/// Without heartbeats nothing is ever due of an idle association, but what gives memory back.
fn measure(heartbeats: bool) {
    let mut pair = Pair::new(heartbeats);
    let empty = IN_USE.load(Ordering::Relaxed);
    for _ in 0..ASSOCIATIONS {
        let id = {
            let connect = Connect { config: pair.config.clone(), ..Connect::new(pair.addresses[1], 7) };
            pair.endpoints[0].connect(pair.now, connect).unwrap()
        };
        pair.ids[0].push(id);
        pair.settle();
    }
    assert_eq!(pair.ids[1].len(), ASSOCIATIONS);
    // Events and lists of the endpoints are small beside it, and count too.
    let each = |bytes: isize| bytes / (2 * ASSOCIATIONS as isize);
    let fresh = each(IN_USE.load(Ordering::Relaxed) - empty);
    pair.talk(4, 100);
    pair.pass(Duration::from_secs(100));
    let idle = each(IN_USE.load(Ordering::Relaxed) - empty);
    // Much more than an idle association has room for, in many chunks and fragments.
    pair.talk(300, 500);
    pair.talk(4, 100_000);
    assert_eq!(pair.received, 2 * ASSOCIATIONS * (4 * 100 + 300 * 500 + 4 * 100_000));
    let busy = each(IN_USE.load(Ordering::Relaxed) - empty);
    pair.pass(Duration::from_secs(100));
    let after = each(IN_USE.load(Ordering::Relaxed) - empty);
    println!("bytes for each association: {fresh} fresh, {idle} idle, {busy} after traffic, {after} idle again");
    // 1.5 KiB for itself; the rest is for its place in maps and timers, its settings, and the streams that it has used.
    assert!(fresh <= 2304 && idle <= 2304, "{fresh} bytes fresh, {idle} idle");
    assert!(busy > 2 * idle, "the traffic did not take more than an idle association has: {busy} bytes");
    // What a few streams need, and what the allocator rounds up.
    assert!(after <= idle + 256, "{after} bytes after traffic, {idle} before it");
    let due = pair.endpoints.iter_mut().filter_map(Endpoint::poll_timeout).count();
    assert_eq!(due, if heartbeats { 2 } else { 0 }, "the clock runs for heartbeats alone");
    drop(pair);
}
