//! A network inside the process.
//!
//! Hosts with IP addresses are attached to a [`MemoryNetwork`], and get a [`MemoryLink`] for each of their
//! workers. Packets go from link to link in memory, with real time and real threads, and with the
//! [`Faults`] that were asked for, decided by a seed. It needs no privileges.
//!
//! It is meant for tests of whatever stands on a [`Link`], and for trying the stack out. Simulated time is
//! the business of the protocol's own tests.

mod faults;
#[cfg(test)]
mod tests;

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{self, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use sctp_common::steering::{End, Steering};
use sctp_common::wire::chunk;
use sctp_core::{ChecksumState, Datagram, Ecn, SharedPayload, Transmit};

pub use faults::Faults;

use super::capture::{CaptureSink, Direction};
use super::headers::Headers;
use super::waker::Sleeper;
use super::{Link, LinkStats, LinkWaker, TransmitError};
use faults::Random;

/// A network that hosts can be attached to. Clones are the same network.
#[derive(Clone, Debug)]
pub struct MemoryNetwork {
    hub: Arc<Hub>,
}

/// How hosts are attached.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// The host's addresses.
    pub addresses: Vec<IpAddr>,
    /// How many workers it has, and the key that steers packets to them.
    pub steering: Steering,
    /// Where to record what comes and goes, as if it had been on an Ethernet.
    pub capture: Option<CaptureSink>,
}

#[derive(Debug)]
struct Hub {
    seed: u64,
    /// The longest IP packet, in bytes.
    mtu: usize,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    faults: Faults,
    hosts: HashMap<IpAddr, Arc<Host>>,
    links: u64,
}

#[derive(Debug)]
struct Host {
    steering: Steering,
    inboxes: Vec<Inbox>,
    /// How many of its links there are still.
    links: AtomicUsize,
}

/// What is on its way to one link.
#[derive(Debug)]
struct Inbox {
    packets: Mutex<Pending>,
    waker: LinkWaker,
}

#[derive(Debug, Default)]
struct Pending {
    packets: BinaryHeap<Reverse<Arrival>>,
    count: u64,
}

/// A packet and when it is there.
#[derive(Debug)]
struct Arrival {
    at: Instant,
    /// Keeps packets for the same moment in order.
    number: u64,
    source: IpAddr,
    destination: IpAddr,
    ecn: Ecn,
    packet: Bytes,
}

impl MemoryNetwork {
    /// A network without hosts that carries IP packets of up to 1500 bytes.
    ///
    /// `seed` decides which packets the faults meet: links that send the same packets in the same order see
    /// the same faults.
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self::with_mtu(seed, faults, 1500)
    }

    /// As [`new`](Self::new), with another maximum length of IP packets, in bytes (up to 65535).
    pub fn with_mtu(seed: u64, faults: Faults, mtu: usize) -> Self {
        let state = State { faults, hosts: HashMap::new(), links: 0 };
        let mtu = mtu.min(usize::from(u16::MAX));
        Self { hub: Arc::new(Hub { seed, mtu, state: RwLock::new(state) }) }
    }

    /// Two hosts with one worker each.
    ///
    /// # Errors
    ///
    /// As [`attach`](Self::attach).
    pub fn pair(seed: u64, faults: Faults, one: IpAddr, other: IpAddr) -> io::Result<(MemoryLink, MemoryLink)> {
        let network = Self::new(seed, faults);
        Ok((network.attach(&[one])?, network.attach(&[other])?))
    }

    /// Attaches a host with one worker.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if another host has one of the addresses; or what the system says when it has no file
    /// descriptor left.
    pub fn attach(&self, addresses: &[IpAddr]) -> io::Result<MemoryLink> {
        let mut links = self.attach_host(&HostConfig {
            addresses: addresses.to_vec(),
            steering: Steering { key: [0; 2], workers: 1 },
            capture: None,
        })?;
        links.pop().ok_or_else(|| io::Error::other("a host without workers"))
    }

    /// Attaches a host; a link for each of its workers comes back.
    ///
    /// Packets are steered to workers as the XDP program does it: by the verification tag, or by addresses
    /// and ports if it is zero. ABORT and SHUTDOWN COMPLETE with a reflected tag (the T bit) go to
    /// all of them, since there is no map of tags here.
    ///
    /// # Errors
    ///
    /// As [`attach`](Self::attach).
    pub fn attach_host(&self, config: &HostConfig) -> io::Result<Vec<MemoryLink>> {
        let sleepers: Vec<Sleeper> =
            (0..config.steering.workers.max(1)).map(|_| Sleeper::new()).collect::<io::Result<_>>()?;
        let inbox = |sleeper: &Sleeper| Inbox { packets: Mutex::default(), waker: sleeper.waker() };
        let inboxes: Vec<Inbox> = sleepers.iter().map(inbox).collect();
        let links = AtomicUsize::new(inboxes.len());
        let host = Arc::new(Host { steering: config.steering, inboxes, links });
        let mut state = self.hub.write();
        if let Some(address) = config.addresses.iter().find(|address| state.hosts.contains_key(address)) {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("{address} is taken")));
        }
        for &address in &config.addresses {
            state.hosts.insert(address, host.clone());
        }
        let links = (0..).zip(sleepers).map(|(worker, sleeper)| {
            state.links += 1;
            MemoryLink {
                hub: self.hub.clone(),
                host: host.clone(),
                worker,
                addresses: config.addresses.clone(),
                number: state.links,
                random: Random::new(self.hub.seed.wrapping_add(state.links)),
                capture: config.capture.clone(),
                sleeper,
                buffer: BytesMut::new(),
                handed_out: false,
                free_from: None,
                last_arrival: None,
                due: Vec::new(),
                stats: LinkStats::default(),
            }
        });
        Ok(links.collect())
    }

    /// Changes the faults, for packets sent from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.hub.write().faults = faults;
    }

    /// The longest IP packet that the network carries, in bytes.
    pub fn mtu(&self) -> usize {
        self.hub.mtu
    }
}

/// The link of one worker of a host on a [`MemoryNetwork`].
pub struct MemoryLink {
    hub: Arc<Hub>,
    host: Arc<Host>,
    worker: usize,
    addresses: Vec<IpAddr>,
    /// Stands in for an interface's number in captures.
    number: u64,
    random: Random,
    capture: Option<CaptureSink>,
    sleeper: Sleeper,
    buffer: BytesMut,
    handed_out: bool,
    /// When the last packet sent has left, at the rate that is set.
    free_from: Option<Instant>,
    /// When the last packet sent arrives, so that jitter does not reorder.
    last_arrival: Option<Instant>,
    /// Packets taken from the inbox and not handled yet.
    due: Vec<Arrival>,
    stats: LinkStats,
}

impl MemoryLink {
    /// The host's addresses.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    fn inbox(&self) -> &Inbox {
        &self.host.inboxes[self.worker]
    }

    /// When the next packet is there.
    fn next_arrival(&self) -> Option<Instant> {
        self.inbox().lock().packets.peek().map(|Reverse(arrival)| arrival.at)
    }

    fn record(&self, direction: Direction, (source, destination): (IpAddr, IpAddr), ecn: Ecn, packet: &[u8]) {
        let Some(capture) = &self.capture else { return };
        let macs = match direction {
            Direction::Inbound => (OTHER_MAC, OWN_MAC),
            Direction::Outbound => (OWN_MAC, OTHER_MAC),
        };
        let Some(headers) = Headers::new(macs.0, macs.1, source, destination, 0) else { return };
        let mut frame = vec![0; headers.len() + packet.len()];
        headers.write(&mut frame[..headers.len()], packet.len() as u16, ecn);
        frame[headers.len()..].copy_from_slice(packet);
        capture.frame(self.number as u32, direction, &frame);
    }

    /// Sends one packet through the faults.
    fn send(&mut self, host: &Host, faults: &Faults, source: IpAddr, transmit: &Transmit, packet: Bytes) {
        let now = Instant::now();
        let fate = faults.decide(&mut self.random, packet.len());
        let mut left = now;
        if let Some(rate) = faults.rate {
            let start = self.free_from.map_or(now, |free| free.max(now));
            let duration = |bytes: usize| Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
            if start - now > duration(faults.backlog * packet.len()) {
                self.stats.device_drops += 1;
                return;
            }
            left = start + duration(packet.len());
            self.free_from = Some(left);
        }
        if fate.copies == 0 {
            self.stats.device_drops += 1;
            return;
        }
        let in_order = left + faults.delay + fate.jitter;
        let in_order = self.last_arrival.map_or(in_order, |last| last.max(in_order));
        self.last_arrival = Some(in_order);
        let packet = match fate.flipped {
            None => packet,
            Some(bit) => {
                let mut damaged = packet.to_vec();
                damaged[bit / 8] ^= 1 << (bit % 8);
                Bytes::from(damaged)
            }
        };
        for _ in 0..fate.copies {
            host.deliver(|number| Arrival {
                at: in_order + fate.held_back,
                number,
                source,
                destination: transmit.destination,
                ecn: transmit.ecn,
                packet: packet.clone(),
            });
        }
    }
}

impl Link for MemoryLink {
    fn receive(&mut self, budget: usize, sink: &mut dyn FnMut(Datagram<'_>)) -> io::Result<usize> {
        let now = Instant::now();
        let mut due = std::mem::take(&mut self.due);
        {
            let mut pending = self.inbox().lock();
            while due.len() < budget && pending.packets.peek().is_some_and(|Reverse(next)| next.at <= now) {
                due.extend(pending.packets.pop().map(|Reverse(arrival)| arrival));
            }
        }
        let received = due.len();
        for arrival in due.drain(..) {
            let Arrival { source, destination, ecn, packet, .. } = arrival;
            self.record(Direction::Inbound, (source, destination), ecn, &packet);
            self.stats.received_packets += 1;
            self.stats.received_bytes += packet.len() as u64;
            sink(Datagram {
                source,
                destination,
                encapsulation: None,
                ecn,
                checksum: ChecksumState::NotChecked,
                association: None,
                bytes: &packet,
                payload: &mut SharedPayload(&packet),
            });
        }
        // The vector keeps its memory.
        self.due = due;
        Ok(received)
    }

    fn transmit_buffer(&mut self) -> Option<&mut [u8]> {
        let length = self.hub.mtu;
        if !self.handed_out {
            if self.buffer.capacity() < length {
                self.buffer.reserve(length.max(BLOCK));
            }
            self.buffer.resize(length, 0);
            self.handed_out = true;
        }
        Some(&mut self.buffer[..])
    }

    fn transmit(&mut self, transmit: &Transmit) -> Result<(), TransmitError> {
        let &Transmit { destination, len: length, .. } = transmit;
        if !self.handed_out || length > self.buffer.len() {
            return Err(TransmitError::NoBuffer { length });
        }
        self.handed_out = false;
        let source = transmit
            .source
            .filter(|source| !source.is_unspecified())
            .or_else(|| self.addresses.iter().copied().find(|address| address.is_ipv4() == destination.is_ipv4()));
        if transmit.encapsulation.is_some() {
            // There is no UDP here.
            self.stats.no_route += 1;
            return Err(TransmitError::NoUdpPort { destination });
        }
        let found = {
            let state = self.hub.read();
            state.hosts.get(&destination).map(|host| (host.clone(), state.faults))
        };
        let (Some(source), Some((host, faults))) = (source, found) else {
            self.stats.no_route += 1;
            return Err(TransmitError::NoRoute { destination });
        };
        let limit = self.hub.mtu.saturating_sub(if destination.is_ipv4() { 20 } else { 40 });
        if length > limit && transmit.fragment_to.is_none() {
            self.stats.too_long += 1;
            return Err(TransmitError::TooLong { destination, length, limit });
        }
        let packet = self.buffer.split_to(length).freeze();
        self.record(Direction::Outbound, (source, destination), transmit.ecn, &packet);
        self.stats.transmitted_packets += 1;
        self.stats.transmitted_bytes += length as u64;
        self.send(&host, &faults, source, transmit, packet);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let arrival = self.next_arrival().map(|at| at.saturating_duration_since(Instant::now()));
        let limit = [timeout, arrival].into_iter().flatten().min();
        if limit == Some(Duration::ZERO) || !self.sleeper.fall_asleep() {
            return Ok(());
        }
        self.stats.sleeps += 1;
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let mut watched = [PollFd::from_borrowed_fd(self.sleeper.event(), PollFlags::IN)];
        let outcome = poll(&mut watched, limit.as_ref());
        let rung = watched[0].revents().contains(PollFlags::IN);
        self.sleeper.awake(rung);
        match outcome {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn waker(&self) -> LinkWaker {
        self.sleeper.waker()
    }

    fn stats(&self) -> LinkStats {
        self.stats
    }
}

impl fmt::Debug for MemoryLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLink")
            .field("addresses", &self.addresses)
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}

impl Drop for MemoryLink {
    fn drop(&mut self) {
        // The host is gone when its last link is. (Links that are sending to it hold it for a moment, too.)
        let mut state = self.hub.write();
        if self.host.links.fetch_sub(1, atomic::Ordering::AcqRel) == 1 {
            for address in &self.addresses {
                state.hosts.remove(address);
            }
        }
    }
}

impl Hub {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host {
    /// Puts a packet into the inbox of the worker that it is for.
    fn deliver(&self, arrival: impl Fn(u64) -> Arrival) {
        match self.worker_for(&arrival(0)) {
            Some(worker) => self.inboxes[usize::from(worker)].put(&arrival),
            None => self.inboxes.iter().for_each(|inbox| inbox.put(&arrival)),
        }
    }

    /// The worker that a packet is for; `None` if that cannot be told.
    fn worker_for(&self, arrival: &Arrival) -> Option<u16> {
        let packet = &arrival.packet[..];
        let (&[s0, s1, d0, d1, t0, t1, t2, t3], rest) = packet.split_first_chunk()?;
        let tag = u32::from_be_bytes([t0, t1, t2, t3]);
        let first = rest.get(4..6);
        let reflected =
            first.is_some_and(|first| matches!(first[0], chunk::ABORT | chunk::SHUTDOWN_COMPLETE) && first[1] & 1 != 0);
        if reflected && self.inboxes.len() > 1 {
            return None;
        }
        let end = |address: IpAddr, port| End { address: mapped(address), port: u16::from_be_bytes(port) };
        Some(match tag {
            0 => self.steering.spread(&end(arrival.source, [s0, s1]), &end(arrival.destination, [d0, d1])),
            tag => self.steering.owner(tag),
        })
    }
}

impl Inbox {
    fn put(&self, arrival: &impl Fn(u64) -> Arrival) {
        {
            let mut pending = self.lock();
            pending.count += 1;
            let number = pending.count;
            pending.packets.push(Reverse(arrival(number)));
        }
        self.waker.wake();
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.packets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ord for Arrival {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Arrival {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Arrival {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Arrival {}

fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => Ipv6Addr::octets(&v6),
    }
}

/// How much memory to take at a time for packets to send.
const BLOCK: usize = 256 * 1024;

/// Link-layer addresses in captures.
const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
