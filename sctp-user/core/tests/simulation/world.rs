//! Two hosts with an endpoint and an application each, on a simulated network.
//!
//! Time jumps from event to event. After every step the invariants are checked; what breaks one is an `Err` that says so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sctp_core::time::Instant;
use sctp_core::wire::Packet as SctpPacket;
use sctp_core::{
    Association, AssociationConfig, AssociationId, AssociationState, ChecksumState, CloseReason, Connect, Datagram,
    Ecn, Endpoint, EndpointConfig, Event, ListenConfig, Message, PathState, PeerChange, SendError, SharedPayload,
    TagChange, Transmit,
};

use crate::network::{Link, Network, Packet};

/// The port that hosts listen on.
pub(crate) const PORT: u16 = 3868;

/// Most steps of a world: beyond it something goes round in circles.
const MAX_STEPS: u64 = 3_000_000;

/// What a world is made of.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) ipv6: bool,
    pub(crate) links: Vec<Link>,
    pub(crate) config: [AssociationConfig; 2],
    /// Which hosts listen; a host that does not connects from an ephemeral port.
    pub(crate) listens: [bool; 2],
    /// Only the first address of the peer is named when connecting; the rest is learned.
    pub(crate) connect_to_one: bool,
    pub(crate) cookie_lifetime: Duration,
    pub(crate) max_associations: usize,
    pub(crate) trace: bool,
}

impl Setup {
    /// One perfect link, defaults, host 1 listens.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            ipv6: false,
            links: vec![Link::default()],
            config: [AssociationConfig::default(), AssociationConfig::default()],
            listens: [false, true],
            connect_to_one: true,
            cookie_lifetime: Duration::from_secs(60),
            max_associations: 1000,
            trace: false,
        }
    }
}

/// A message that an application means to send.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) at: Instant,
    pub(crate) stream: u16,
    pub(crate) len: usize,
    pub(crate) unordered: bool,
}

/// The application of a host.
#[derive(Default)]
pub(crate) struct App {
    pub(crate) planned: VecDeque<Planned>,
    /// What has been given to the endpoint: stream, unordered, payload, by number.
    sent: Vec<(u16, bool, Bytes)>,
    blocked: bool,
    /// Numbers of the peer's messages that have arrived.
    received: BTreeSet<u64>,
    /// Highest number that has arrived in order, by stream.
    in_order: BTreeMap<u16, u64>,
    /// Reads one message every so often; `None` reads everything at once.
    pub(crate) reading_pause: Option<Duration>,
    pub(crate) next_read: Instant,
    pub(crate) echoes: bool,
    /// Events, with when they came.
    pub(crate) events: Vec<(Instant, Event)>,
    pub(crate) closed: Option<CloseReason>,
}

/// An endpoint, its addresses, and what it has told of its tags and peers.
pub(crate) struct Host {
    pub(crate) endpoint: Endpoint,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) association: Option<AssociationId>,
    pub(crate) app: App,
    tags: BTreeSet<(u16, u32, bool)>,
    peers: BTreeSet<(IpAddr, u16, u16)>,
    pub(crate) discards: BTreeMap<&'static str, u64>,
}

/// The whole.
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) hosts: [Host; 2],
    pub(crate) network: Network,
    pub(crate) setup: Setup,
    rng: StdRng,
    steps: u64,
}

impl Host {
    fn new(host: usize, setup: &Setup, seed: u64) -> Self {
        let addresses: Vec<IpAddr> = (0..setup.links.len()).map(|link| address(setup.ipv6, link, host)).collect();
        let config = EndpointConfig {
            addresses: addresses.clone(),
            cookie_lifetime: setup.cookie_lifetime,
            max_associations: setup.max_associations,
            ..EndpointConfig::default()
        };
        let mut endpoint = Endpoint::new(config, StdRng::seed_from_u64(seed).random());
        if setup.listens[host] {
            let association = setup.config[host].clone();
            endpoint.listen(PORT, ListenConfig { association, ..ListenConfig::default() }).unwrap();
        }
        Self {
            endpoint,
            addresses,
            association: None,
            app: App::default(),
            tags: BTreeSet::new(),
            peers: BTreeSet::new(),
            discards: BTreeMap::new(),
        }
    }
}

/// What a step may find wrong.
pub(crate) type Checked<T = ()> = Result<T, String>;

impl World {
    pub(crate) fn new(setup: Setup) -> Self {
        let mut rng = StdRng::seed_from_u64(setup.seed);
        let network = Network::new(setup.links.clone(), StdRng::seed_from_u64(rng.random()));
        let hosts = [0, 1].map(|host| Host::new(host, &setup, rng.random()));
        Self { now: Instant::from_millis(1), hosts, network, setup, rng, steps: 0 }
    }

    /// Host `host` forgets everything, as after a crash, and begins anew; what the applications have counted begins anew too.
    pub(crate) fn restart(&mut self, host: usize) {
        self.hosts[host] = Host::new(host, &self.setup, self.rng.random());
        let other = &mut self.hosts[1 - host].app;
        let events = core::mem::take(&mut other.events);
        *other = App { events, ..App::default() };
    }

    /// Host `host` connects to the other.
    pub(crate) fn connect(&mut self, host: usize) -> AssociationId {
        let mut peer_addresses = self.hosts[1 - host].addresses.clone();
        if self.setup.connect_to_one {
            peer_addresses.truncate(1);
        }
        let connect = Connect {
            local_port: self.setup.listens[host].then_some(PORT),
            local_addresses: Vec::new(),
            peer_port: PORT,
            peer_addresses,
            config: self.setup.config[host].clone(),
        };
        let id = self.hosts[host].endpoint.connect(self.now, connect).unwrap();
        self.hosts[host].association = Some(id);
        id
    }

    /// The association of a host, which must live.
    pub(crate) fn association(&self, host: usize) -> &Association {
        let host = &self.hosts[host];
        host.endpoint.association(host.association.expect("connected or accepted")).expect("alive")
    }

    /// Host `host` means to send a message now.
    pub(crate) fn plan(&mut self, host: usize, stream: u16, len: usize) {
        let at = self.now;
        self.hosts[host].app.planned.push_back(Planned { at, stream, len, unordered: false });
    }

    pub(crate) fn shutdown(&mut self, host: usize) {
        let id = self.hosts[host].association.expect("connected or accepted");
        let _ = self.hosts[host].endpoint.shutdown(self.now, id);
    }

    /// Whether both applications have everything that the other sent and meant to send.
    pub(crate) fn all_delivered(&self) -> bool {
        [0, 1].into_iter().all(|host| {
            let (sender, receiver) = (&self.hosts[host].app, &self.hosts[1 - host].app);
            sender.planned.is_empty() && receiver.received.len() == sender.sent.len()
        })
    }

    /// Whether both hosts have an established association.
    pub(crate) fn all_established(&self) -> bool {
        self.hosts.iter().all(|host| {
            let association = host.association.and_then(|id| host.endpoint.association(id));
            association.is_some_and(|association| association.state() == AssociationState::Established)
        })
    }

    /// Goes on until `done`, or until nothing more can happen, or until `limit` of virtual time has passed.
    pub(crate) fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> Checked<bool> {
        let end = self.now + limit;
        loop {
            self.settle()?;
            if done(self) {
                return Ok(true);
            }
            match self.next_event() {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => {
                    self.now = end;
                    return Ok(false);
                }
            }
            self.step()?;
        }
    }

    /// Runs for some time.
    pub(crate) fn run_for(&mut self, time: Duration) -> Checked {
        self.run_until(time, |_| false).map(|_| ())
    }

    /// Everything is over: shuts down by `host`, then checks that nothing is left.
    pub(crate) fn end_in_order(&mut self, host: usize, limit: Duration) -> Checked {
        self.shutdown(host);
        let closed = self.run_until(limit, |world| world.hosts.iter().all(|host| host.app.closed.is_some()))?;
        for (at, host) in self.hosts.iter().enumerate() {
            ensure(host.app.closed == Some(CloseReason::Shutdown), || {
                format!("host {at} ended with {:?} (both ended: {closed})", host.app.closed)
            })?;
        }
        self.check_nothing_left()
    }

    /// No association, timer, tag or directory entry is left.
    pub(crate) fn check_nothing_left(&mut self) -> Checked {
        // Wheel entries of the past may still turn up, but nothing may come of them.
        let until = self.now + Duration::from_secs(600);
        for (at, host) in self.hosts.iter_mut().enumerate() {
            while let Some(timeout) = host.endpoint.poll_timeout().filter(|timeout| *timeout <= until) {
                host.endpoint.handle_timeout(timeout);
            }
            let mut buffer = [0; 1480];
            ensure(host.endpoint.poll_transmit(until, &mut buffer).is_none(), || format!("host {at} still sends"))?;
            ensure(host.endpoint.poll_timeout().is_none(), || format!("host {at} has a timer left"))?;
            ensure(host.endpoint.associations().count() == 0, || format!("host {at} has an association left"))?;
            ensure(host.tags.is_empty(), || format!("host {at} has tags left: {:?}", host.tags))?;
            ensure(host.peers.is_empty(), || format!("host {at} has peers left: {:?}", host.peers))?;
        }
        Ok(())
    }

    /// Has a packet arrive at a host, as if from the network.
    pub(crate) fn inject(&mut self, host: usize, packet: Packet) -> sctp_core::Handled {
        deliver(&mut self.hosts[host], self.now, &packet, ChecksumState::NotChecked)
    }

    /// What a host would send now, without sending it.
    pub(crate) fn fetch(&mut self, host: usize) -> Vec<Packet> {
        let now = self.now;
        let host = &mut self.hosts[host];
        let mut buffer = [0; 1480];
        let mut packets = Vec::new();
        while let Some(transmit) = host.endpoint.poll_transmit(now, &mut buffer) {
            packets.push(Packet {
                source: transmit.source.unwrap_or(host.addresses[0]),
                destination: transmit.destination,
                bytes: Bytes::copy_from_slice(&buffer[..transmit.len]),
            });
        }
        packets
    }

    fn next_event(&mut self) -> Option<Instant> {
        let mut next = self.network.next_arrival();
        for host in &mut self.hosts {
            let plans = host.app.planned.front().filter(|_| !host.app.blocked && host.association.is_some());
            let plan = plans.map(|planned| planned.at);
            let waiting =
                host.association.and_then(|id| host.endpoint.association(id)).map_or(0, |a| a.messages_ready());
            let reads = (waiting > 0 && host.app.reading_pause.is_some()).then_some(host.app.next_read);
            next = [next, host.endpoint.poll_timeout(), plan, reads].into_iter().flatten().min();
        }
        next
    }

    fn step(&mut self) -> Checked {
        self.steps += 1;
        ensure(self.steps < MAX_STEPS, || "too many steps: something goes round in circles".to_owned())?;
        while let Some(packet) = self.network.arrived(self.now) {
            let Some(at) = self.hosts.iter().position(|host| host.addresses.contains(&packet.destination)) else {
                return Err(format!("packet to nobody: {}", packet.destination));
            };
            if self.setup.trace {
                println!("{:>12.6} arrives at {at}: {}", seconds(self.now), shown(&packet.bytes));
            }
            deliver(&mut self.hosts[at], self.now, &packet, ChecksumState::NotChecked);
        }
        for host in &mut self.hosts {
            host.endpoint.handle_timeout(self.now);
        }
        Ok(())
    }

    /// Applications and endpoints do all they can at this time.
    fn settle(&mut self) -> Checked {
        loop {
            let mut moved = false;
            for at in 0..2 {
                self.poll_events(at)?;
                self.application_sends(at)?;
                self.application_reads(at)?;
                moved |= self.transmit(at)?;
            }
            self.check_invariants()?;
            if !moved {
                return Ok(());
            }
        }
    }

    fn poll_events(&mut self, at: usize) -> Checked {
        let host = &mut self.hosts[at];
        while let Some(change) = host.endpoint.poll_tag() {
            let ok = match change {
                TagChange::Added { local_port, tag, kind, .. } => {
                    host.tags.insert((local_port, tag, kind == sctp_core::TagKind::Local))
                }
                TagChange::Removed { local_port, tag, kind, .. } => {
                    host.tags.remove(&(local_port, tag, kind == sctp_core::TagKind::Local))
                }
            };
            ensure(ok, || format!("host {at}: tag change out of order: {change:?}"))?;
        }
        while let Some(change) = host.endpoint.poll_peer() {
            let ok = match change {
                PeerChange::Added { peer, peer_port, local_port } => host.peers.insert((peer, peer_port, local_port)),
                PeerChange::Removed { peer, peer_port, local_port } => {
                    host.peers.remove(&(peer, peer_port, local_port))
                }
            };
            ensure(ok, || format!("host {at}: peer change out of order: {change:?}"))?;
        }
        while let Some((id, event)) = host.endpoint.poll_event() {
            if self.setup.trace {
                println!("{:>12.6} event at {at}: {event:?}", seconds(self.now));
            }
            match &event {
                Event::Accepted { .. } => host.association = Some(id),
                Event::Writable => host.app.blocked = false,
                Event::Closed { reason } => {
                    ensure(host.app.closed.is_none(), || format!("host {at} closed twice"))?;
                    host.app.closed = Some(reason.clone());
                }
                _ => {}
            }
            host.app.events.push((self.now, event));
        }
        Ok(())
    }

    fn application_sends(&mut self, at: usize) -> Checked {
        let host = &mut self.hosts[at];
        let Some(id) = host.association.filter(|_| host.app.closed.is_none()) else { return Ok(()) };
        while let Some(planned) = host.app.planned.front().filter(|planned| !host.app.blocked && planned.at <= self.now)
        {
            let number = host.app.sent.len() as u64;
            let payload = content(self.setup.seed ^ at as u64, number, planned.len);
            let message = Message::new(planned.stream, payload.clone())
                .with_ppid(number as u32)
                .with_unordered(planned.unordered)
                .with_context(number);
            match host.endpoint.send(self.now, id, message) {
                Ok(()) => {
                    host.app.sent.push((planned.stream, planned.unordered, payload));
                    host.app.planned.pop_front();
                }
                Err(SendError::WouldBlock(_)) => host.app.blocked = true,
                Err(error) => return Err(format!("host {at} cannot send: {error}")),
            }
        }
        Ok(())
    }

    fn application_reads(&mut self, at: usize) -> Checked {
        let Some(id) = self.hosts[at].association else { return Ok(()) };
        loop {
            let host = &mut self.hosts[at];
            if let Some(pause) = host.app.reading_pause {
                if host.app.next_read > self.now {
                    return Ok(());
                }
                host.app.next_read = self.now + pause;
            }
            let Some(message) = host.endpoint.recv(id) else { return Ok(()) };
            let number = u64::from(message.ppid);
            let (stream, unordered) = (message.stream, message.unordered);
            let echo = host.app.echoes;
            ensure(host.app.received.insert(number), || format!("host {at} got message {number} twice"))?;
            if !unordered {
                let last = host.app.in_order.insert(stream, number);
                ensure(last.is_none_or(|last| last < number), || {
                    format!("host {at}, stream {stream}: {number} came after {last:?}")
                })?;
            }
            let sent = self.hosts[1 - at].app.sent.get(number as usize).cloned();
            let bytes = message.into_bytes();
            ensure(sent == Some((stream, unordered, bytes.clone())), || {
                format!("host {at}: message {number} of {} bytes is not as it was sent", bytes.len())
            })?;
            if echo {
                self.plan(at, stream, bytes.len());
            }
        }
    }

    /// Sends what an endpoint has to send. True if there was something.
    fn transmit(&mut self, at: usize) -> Checked<bool> {
        let mut buffer = [0; 1480];
        let mut any = false;
        loop {
            let before = self.flights(at);
            let host = &mut self.hosts[at];
            let Some(transmit) = host.endpoint.poll_transmit(self.now, &mut buffer) else { return Ok(any) };
            any = true;
            self.check_windows(at, &before)?;
            let Transmit { source, destination, len, .. } = transmit;
            let bytes = Bytes::copy_from_slice(&buffer[..len]);
            let Some(link) = self.hosts[1 - at].addresses.iter().position(|address| *address == destination) else {
                return Err(format!("host {at} sends to nobody: {destination}"));
            };
            let source = source.unwrap_or(self.hosts[at].addresses[link]);
            if self.setup.trace {
                println!("{:>12.6} host {at} on link {link}: {}", seconds(self.now), shown(&bytes));
            }
            check_packet(&bytes).map_err(|error| format!("host {at} sent a bad packet: {error}"))?;
            self.network.send(self.now, link, at, Packet { source, destination, bytes });
        }
    }

    /// For each path: flight, cwnd, and the association's fast retransmissions.
    fn flights(&self, at: usize) -> Vec<(u32, u32, u64)> {
        let host = &self.hosts[at];
        let Some(association) = host.association.and_then(|id| host.endpoint.association(id)) else {
            return Vec::new();
        };
        let fast = association.stats().fast_retransmits;
        association.paths().map(|path| (path.flight, path.cwnd, fast)).collect()
    }

    /// RFC 9260 §6.1 B: a packet may go beyond cwnd, if the flight has not reached it, and by itself only.
    fn check_windows(&self, at: usize, before: &[(u32, u32, u64)]) -> Checked {
        for (path, (now, (flight, cwnd, fast))) in self.flights(at).iter().zip(before).enumerate() {
            let grew = now.0 > *flight;
            ensure(!grew || flight < cwnd || now.2 > *fast, || {
                format!("host {at}, path {path}: {} bytes in flight grew to {}, cwnd {cwnd}", flight, now.0)
            })?;
        }
        Ok(())
    }

    fn check_invariants(&self) -> Checked {
        for (at, host) in self.hosts.iter().enumerate() {
            let Some(association) = host.association.and_then(|id| host.endpoint.association(id)) else { continue };
            let peer = &self.hosts[1 - at];
            let limit = association.config().receive_buffer;
            // §6.2: at most one more chunk than the buffer, and what fills gaps.
            ensure(association.receive_buffer_used() <= limit + 65_536, || {
                format!("host {at} holds {} bytes, its buffer has {limit}", association.receive_buffer_used())
            })?;
            let in_flight: u32 = association.paths().map(|path| path.flight).sum();
            ensure(association.outstanding_chunks() > 0 || in_flight == 0, || {
                format!("host {at}: {in_flight} bytes in flight but nothing outstanding")
            })?;
            ensure(association.data_in_flight() <= in_flight as usize, || format!("host {at}: flights disagree"))?;
            for path in association.paths() {
                ensure(path.state != PathState::Unconfirmed || path.flight == 0, || {
                    format!("host {at} sends DATA to {}, which is not confirmed", path.address)
                })?;
            }
            ensure(host.app.received.len() <= peer.app.sent.len(), || format!("host {at} got more than was sent"))?;
        }
        Ok(())
    }
}

/// The address of a host on a link.
pub(crate) fn address(ipv6: bool, link: usize, host: usize) -> IpAddr {
    match ipv6 {
        false => IpAddr::from([10, 0, link as u8, 1 + host as u8]),
        true => IpAddr::from([0xfd00, 0, 0, link as u16, 0, 0, 0, 1 + host as u16]),
    }
}

pub(crate) fn ensure(ok: bool, message: impl FnOnce() -> String) -> Checked {
    if ok { Ok(()) } else { Err(message()) }
}

fn deliver(host: &mut Host, now: Instant, packet: &Packet, checksum: ChecksumState) -> sctp_core::Handled {
    let datagram = Datagram {
        source: packet.source,
        destination: packet.destination,
        ecn: Ecn::NotEct,
        checksum,
        association: None,
        bytes: &packet.bytes,
        payload: &mut SharedPayload(&packet.bytes),
    };
    let handled = host.endpoint.handle(now, datagram);
    if let sctp_core::Handled::Dropped(reason) = handled {
        *host.discards.entry(reason.name()).or_default() += 1;
    }
    handled
}

/// What any receiver would hold against a packet.
fn check_packet(bytes: &[u8]) -> Checked {
    ensure(sctp_core::wire::verify_checksum(bytes), || "wrong checksum".to_owned())?;
    ensure(bytes.len().is_multiple_of(4), || "not padded".to_owned())?;
    let packet = SctpPacket::parse(bytes).map_err(|error| error.to_string())?;
    let mut data = false;
    for chunk in packet.chunks() {
        let chunk = chunk.and_then(sctp_core::wire::Chunk::parse).map_err(|error| error.to_string())?;
        let is_data = matches!(chunk, sctp_core::wire::Chunk::Data(_));
        ensure(is_data || !data, || "control chunk after DATA".to_owned())?;
        data |= is_data;
    }
    Ok(())
}

/// The payload of a message: so that every byte depends on its number and place.
fn content(seed: u64, number: u64, len: usize) -> Bytes {
    let mut state = seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.to_be_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}

fn shown(bytes: &[u8]) -> String {
    SctpPacket::parse(bytes).map_or_else(|error| error.to_string(), |packet| packet.to_string())
}

fn seconds(at: Instant) -> f64 {
    at.as_nanos() as f64 / 1e9
}
