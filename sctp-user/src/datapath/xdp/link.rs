//! A worker's link over AF_XDP sockets.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use sctp_common::wire::{IPPROTO_SCTP, IPPROTO_UDP, UDP_HEADER_LENGTH};
use sctp_core::{Datagram, Transmit};
use smallvec::SmallVec;

use super::super::capture::Direction;
use super::super::fragments::fragments;
use super::super::frames::FrameCache;
use super::super::headers::MAX_LENGTH as MAX_HEADERS;
use super::super::payload::{Arena, Received};
use super::super::rings::{Arrived, TransmitRing};
use super::super::umem::Frame;
use super::super::waker::Sleeper;
use super::super::{FrameStats, IcmpError, Link, LinkStats, LinkWaker, TransmitError};
use super::control::Shared;
use super::packet::Found;
use super::parked::{Parked, ParkedPacket, Parking, Waiting};
use super::port::Port;
use super::reassembled::Reassembled;
use super::route::{Detour, Routes, Way};

/// The link of one worker: its sockets on every queue of every interface.
#[derive(Debug)]
pub struct XdpLink {
    worker: u16,
    shared: Arc<Shared>,
    ports: Vec<Port>,
    /// Which of `ports` to look at first, so that none is served before the others always.
    next: usize,
    cache: FrameCache,
    arena: Arena,
    /// Packets that came in IP fragments; one worker of all has this.
    reassembled: Option<Reassembled>,
    /// ICMP errors that nobody has asked for yet.
    icmp: VecDeque<IcmpError>,
    routes: Routes,
    parked: Parked,
    /// The network's generation when parked packets were last tried; `None` if some have not been yet.
    parked_generation: Option<u64>,
    /// The frame that was handed out to be written into.
    buffer: Option<Frame>,
    sleeper: Sleeper,
    stats: LinkStats,
    /// Of the last packet that was sent in IP fragments.
    identification: u32,
}

impl XdpLink {
    pub(super) fn new(
        worker: u16,
        shared: Arc<Shared>,
        ports: Vec<Port>,
        reassembled: Option<Reassembled>,
        dscp: u8,
    ) -> io::Result<Self> {
        let sleeper = Sleeper::new()?;
        shared.network.wake_on_change(sleeper.waker());
        let cache = FrameCache::new(shared.pool.clone());
        let mut link = Self {
            worker,
            shared,
            ports,
            next: 0,
            cache,
            arena: Arena::new(),
            reassembled,
            icmp: VecDeque::new(),
            routes: Routes::new(dscp),
            parked: Parked::default(),
            parked_generation: None,
            buffer: None,
            sleeper,
            stats: LinkStats::default(),
            // Workers send from the same addresses.
            identification: u32::from(worker) << 12,
        };
        for port in &mut link.ports {
            port.service(&mut link.cache, &mut link.stats);
        }
        Ok(link)
    }

    /// Which worker this link belongs to.
    pub fn worker(&self) -> u16 {
        self.worker
    }

    /// Receives from one socket.
    fn receive_from(&mut self, port: usize, budget: usize, share: bool, sink: &mut dyn FnMut(Datagram<'_>)) -> usize {
        let port = &mut self.ports[port];
        let stats = &mut self.stats;
        let mut popped = 0;
        while popped < budget {
            let Some(Arrived { frame, offset, length }) = port.receive.pop() else { break };
            popped += 1;
            let bytes = self.cache.umem().bytes(&frame, 0..offset + length);
            if let Some(capture) = &self.shared.capture {
                capture.frame(port.ifindex, Direction::Inbound, &bytes[offset..]);
            }
            let packet = match Found::in_frame(bytes, offset, self.shared.udp) {
                Some(Found::Packet(packet)) => packet,
                Some(Found::Icmp(error)) => {
                    stats.received_icmp += 1;
                    // Rare, and anybody can send them: what does not fit is gone.
                    if self.icmp.len() < MAX_ICMP {
                        self.icmp.push_back(error);
                    }
                    self.cache.give(frame);
                    continue;
                }
                Some(Found::BadUdp) => {
                    stats.received_udp_checksum += 1;
                    self.cache.give(frame);
                    continue;
                }
                None => {
                    stats.received_malformed += 1;
                    self.cache.give(frame);
                    continue;
                }
            };
            stats.received_packets += 1;
            stats.received_bytes += packet.range.len() as u64;
            stats.received_without_metadata += u64::from(!packet.metadata);
            let mut received = Received::new(frame);
            let (bytes, mut payload) = received.open(&self.cache, &mut self.arena, packet.range, share);
            sink(Datagram {
                source: packet.source,
                destination: packet.destination,
                encapsulation: packet.encapsulation,
                ecn: packet.ecn,
                checksum: packet.checksum,
                association: packet.association,
                bytes,
                payload: &mut payload,
            });
            received.close(&mut self.cache);
        }
        if popped > 0 {
            port.receive.release();
            stats.frames.in_receive -= popped as i64;
        }
        if popped > 0 || port.hungry {
            port.service(&mut self.cache, stats);
        }
        popped
    }

    fn park(
        &mut self,
        frame: Frame,
        transmit: &Transmit,
        (ifindex, next_hop, failures): (u32, IpAddr, u32),
    ) -> Result<(), TransmitError> {
        let packet = ParkedPacket { frame, transmit: *transmit };
        match self.parked.park((ifindex, next_hop, failures), Instant::now(), packet) {
            Parking::Parked { first } => {
                // The answer may have come since the way was looked up.
                self.parked_generation = None;
                self.stats.neighbour_waits += 1;
                if first && !self.shared.network.ask_for_neighbour(ifindex, next_hop) {
                    tracing::debug!(%next_hop, "too many neighbours are being asked for");
                }
                Ok(())
            }
            Parking::Full(frame) => {
                self.cache.give(frame);
                self.stats.neighbour_drops += 1;
                Err(TransmitError::NeighbourUnresolved { next_hop })
            }
        }
    }

    /// Sends parked packets whose next hop has become known, and drops those that have waited long enough.
    fn retry_parked(&mut self) {
        let Some(deadline) = self.parked.deadline() else { return };
        let generation = self.shared.network.generation();
        let now = Instant::now();
        if Some(generation) == self.parked_generation && now < deadline {
            return;
        }
        self.parked_generation = Some(generation);
        for (key, waiting) in self.parked.take() {
            self.retry(key, waiting, now);
        }
    }

    fn retry(&mut self, key: (u32, IpAddr), waiting: Waiting, now: Instant) {
        let Some(&Transmit { source, destination, .. }) = waiting.first() else { return };
        let hopeless = match self.routes.find(&self.shared.network, source, destination) {
            Ok(_) => false,
            Err(Detour::Neighbour { failures, .. }) if !waiting.is_hopeless(failures, now) => {
                return self.parked.put_back(key, waiting);
            }
            Err(_) => true,
        };
        let Self { routes, shared, ports, cache, stats, identification, .. } = self;
        let mut outlets = Outlets { ports, cache, shared, stats, identification };
        for ParkedPacket { frame, transmit } in waiting.into_packets() {
            let outcome = match routes.find(&shared.network, transmit.source, transmit.destination) {
                Ok(way) if !hopeless && fits(&transmit, way.limit) => outlets.push(frame, way, &transmit),
                _ => Err(frame),
            };
            if let Err(frame) = outcome {
                outlets.cache.give(frame);
                outlets.stats.neighbour_drops += 1;
            }
        }
    }

    /// How long the worker may sleep at most, for reasons of the link's own.
    fn patience(&mut self) -> Option<Duration> {
        let parked = self.parked.deadline().map(|at| at.saturating_duration_since(Instant::now()));
        let unsent = self.ports.iter_mut().filter_map(Port::retry_after).min();
        let hungry = self.ports.iter().any(|port| port.hungry).then_some(NO_FRAMES);
        [parked, unsent, hungry].into_iter().flatten().min()
    }
}

/// The way out: what queueing a packet needs of a link, apart from the memory of routes.
struct Outlets<'a> {
    ports: &'a mut [Port],
    cache: &'a mut FrameCache,
    shared: &'a Shared,
    stats: &'a mut LinkStats,
    /// Of the last packet that was sent in fragments.
    identification: &'a mut u32,
}

impl Outlets<'_> {
    /// Puts a packet into the transmit ring of the interface that it leaves by. Gives the frame back if there is no
    /// room.
    fn push(&mut self, mut frame: Frame, way: &Way, transmit: &Transmit) -> Result<(), Frame> {
        let mut ports = self.ports.iter_mut().filter(|port| port.ifindex == way.ifindex);
        let Some(ring) = ports.find_map(|port| port.transmit.as_mut()) else { return Err(frame) };
        if !ring.has_room() {
            return Err(frame);
        }
        if let Some(mtu) = transmit.fragment_to {
            return self.push_fragments(frame, way, transmit, mtu);
        }
        let start = HEADROOM - udp_header(transmit) - way.headers.len();
        let end = HEADROOM + transmit.len;
        let bytes = self.cache.umem().bytes_mut(&mut frame, start..end);
        match self.shared.udp_ports(transmit) {
            // The way's limit, which the length is within, is below 2^16.
            None => way.headers.write(&mut bytes[..way.headers.len()], transmit.len as u16, transmit.ecn),
            Some(ports) => way.headers.write_in_udp(bytes, ports, transmit.ecn),
        }
        if let Some(capture) = &self.shared.capture {
            capture.frame(way.ifindex, Direction::Outbound, bytes);
        }
        ring.push(frame, start, end - start);
        self.stats.frames.in_transmit += 1;
        self.stats.transmitted_packets += 1;
        self.stats.transmitted_bytes += transmit.len as u64;
        Ok(())
    }
}

impl Outlets<'_> {
    /// Puts a packet into the transmit ring as IP fragments of at most `mtu` bytes: all of them or none.
    fn push_fragments(&mut self, mut frame: Frame, way: &Way, transmit: &Transmit, mtu: u16) -> Result<(), Frame> {
        let mtu = usize::from(mtu).min(way.limit + way.headers.ip_len()) as u16;
        let begin = HEADROOM - udp_header(transmit);
        let end = HEADROOM + transmit.len;
        let parts = fragments(end - begin, mtu, transmit.destination);
        let mut ports = self.ports.iter_mut().filter(|port| port.ifindex == way.ifindex);
        let Some(ring) = ports.find_map(|port| port.transmit.as_mut()) else { return Err(frame) };
        if parts.len() == 0 || !ring.has_room_for(parts.len() as u32) {
            return Err(frame);
        }
        let mut copies: SmallVec<[Frame; 8]> = SmallVec::new();
        while copies.len() < parts.len() {
            match self.cache.take() {
                Some(copy) => copies.push(copy),
                None => {
                    copies.into_iter().for_each(|copy| self.cache.give(copy));
                    return Err(frame);
                }
            }
        }
        *self.identification = self.identification.wrapping_add(1);
        let upper = match self.shared.udp_ports(transmit) {
            None => IPPROTO_SCTP,
            Some(ports) => {
                way.headers.write_udp(self.cache.umem().bytes_mut(&mut frame, begin..end), ports);
                IPPROTO_UDP
            }
        };
        let headers = way.headers.fragment_len();
        let start = HEADROOM - headers;
        for (part, mut copy) in parts.zip(copies) {
            let from = begin + usize::from(part.offset);
            let payload = self.cache.umem().bytes(&frame, from..from + usize::from(part.length));
            let bytes = self.cache.umem().bytes_mut(&mut copy, start..HEADROOM + usize::from(part.length));
            bytes[headers..].copy_from_slice(payload);
            way.headers.write_fragment(&mut bytes[..headers], part, upper, *self.identification, transmit.ecn);
            if let Some(capture) = &self.shared.capture {
                capture.frame(way.ifindex, Direction::Outbound, bytes);
            }
            let length = bytes.len();
            ring.push(copy, start, length);
            self.stats.frames.in_transmit += 1;
        }
        self.cache.give(frame);
        self.stats.transmitted_packets += 1;
        self.stats.transmitted_bytes += transmit.len as u64;
        self.stats.fragmented += 1;
        Ok(())
    }
}

impl Link for XdpLink {
    fn receive(&mut self, budget: usize, sink: &mut dyn FnMut(Datagram<'_>)) -> io::Result<usize> {
        let share = !self.cache.is_short();
        let mut popped = 0;
        for _ in 0..self.ports.len() {
            let port = self.next;
            self.next = (port + 1) % self.ports.len();
            popped += self.receive_from(port, budget - popped, share, sink);
            if popped >= budget {
                break;
            }
        }
        if let Some(reassembled) = &mut self.reassembled
            && reassembled.is_due()
        {
            popped += reassembled.receive(budget, &self.shared, &mut self.stats, sink)?;
        }
        Ok(popped)
    }

    fn poll_icmp(&mut self) -> Option<IcmpError> {
        self.icmp.pop_front()
    }

    fn transmit_buffer(&mut self) -> Option<&mut [u8]> {
        if self.buffer.is_none() {
            // Where the packet goes is not known yet. One interface that takes no more must not stop the others.
            let mut rings = self.ports.iter_mut().filter_map(|port| port.transmit.as_mut());
            if !rings.any(TransmitRing::has_room) {
                return None;
            }
            let frame = match self.cache.take() {
                Some(frame) => frame,
                None => {
                    for port in &mut self.ports {
                        port.reap(&mut self.cache, &mut self.stats);
                    }
                    self.cache.take()?
                }
            };
            self.buffer = Some(frame);
        }
        let umem = self.cache.umem();
        let end = umem.frame_size() as usize;
        self.buffer.as_mut().map(|frame| umem.bytes_mut(frame, HEADROOM..end))
    }

    fn transmit(&mut self, transmit: &Transmit) -> Result<(), TransmitError> {
        let &Transmit { source, destination, len, .. } = transmit;
        let room = self.cache.umem().frame_size() as usize - HEADROOM;
        let Some(frame) = self.buffer.take_if(|_| len <= room) else {
            return Err(TransmitError::NoBuffer { length: len });
        };
        let Self { routes, shared, ports, cache, stats, identification, .. } = self;
        if transmit.encapsulation.is_some() && shared.udp.is_none() {
            cache.give(frame);
            stats.no_route += 1;
            return Err(TransmitError::NoUdpPort { destination });
        }
        match routes.find(&shared.network, source, destination) {
            Ok(way) if fits(transmit, way.limit) => {
                let mut outlets = Outlets { ports, cache, shared, stats, identification };
                outlets.push(frame, way, transmit).map_err(|frame| {
                    cache.give(frame);
                    stats.device_drops += 1;
                    TransmitError::Congested { destination }
                })
            }
            Err(Detour::Neighbour { ifindex, next_hop, failures, limit }) if fits(transmit, limit) => {
                self.park(frame, transmit, (ifindex, next_hop, failures))
            }
            Ok(&Way { limit, .. }) | Err(Detour::Neighbour { limit, .. }) => {
                cache.give(frame);
                stats.too_long += 1;
                Err(TransmitError::TooLong { destination, length: len, limit })
            }
            Err(Detour::NoRoute) => {
                cache.give(frame);
                stats.no_route += 1;
                Err(TransmitError::NoRoute { destination })
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.retry_parked();
        for port in &mut self.ports {
            if port.transmit.is_some() {
                port.kick(self.shared.mode.zero_copy, &mut self.cache, &mut self.stats)?;
                port.reap(&mut self.cache, &mut self.stats);
            }
            if port.hungry {
                port.service(&mut self.cache, &mut self.stats);
            }
        }
        Ok(())
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.flush()?;
        if self.ports.iter_mut().any(|port| !port.receive.is_empty()) {
            return Ok(());
        }
        let limit = [timeout, self.patience()].into_iter().flatten().min();
        if limit == Some(Duration::ZERO) || !self.sleeper.fall_asleep() {
            return Ok(());
        }
        self.stats.sleeps += 1;
        let mut watched: SmallVec<[PollFd<'_>; 16]> = SmallVec::new();
        watched.push(PollFd::from_borrowed_fd(self.sleeper.event(), PollFlags::IN));
        for port in &self.ports {
            watched.push(PollFd::new(&*port.socket, PollFlags::IN));
        }
        let others = watched.len();
        for socket in self.reassembled.iter().flat_map(Reassembled::sockets) {
            watched.push(PollFd::new(socket, PollFlags::IN));
        }
        // What does not fit is centuries.
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let outcome = poll(&mut watched, limit.as_ref());
        let rung = watched[0].revents().contains(PollFlags::IN);
        let whole = watched[others..].iter().any(|socket| !socket.revents().is_empty());
        drop(watched);
        if let Some(reassembled) = self.reassembled.as_mut().filter(|_| whole) {
            reassembled.wake();
        }
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
        let frames = FrameStats {
            cached: self.cache.len() as i64,
            waiting: self.parked.len() as i64 + i64::from(self.buffer.is_some()),
            ..self.stats.frames
        };
        LinkStats { frames, ..self.stats }
    }
}

impl Drop for XdpLink {
    fn drop(&mut self) {
        if let Some(frame) = self.buffer.take() {
            self.cache.give(frame);
        }
        for (_, waiting) in self.parked.take() {
            for packet in waiting.into_packets() {
                self.cache.give(packet.frame);
            }
        }
    }
}

/// Whether a packet can be sent where at most `limit` bytes fit: in fragments, if it may go so, any can.
fn fits(transmit: &Transmit, limit: usize) -> bool {
    transmit.len + udp_header(transmit) <= limit || transmit.fragment_to.is_some()
}

/// Bytes of the UDP header that a packet goes behind.
fn udp_header(transmit: &Transmit) -> usize {
    if transmit.encapsulation.is_some() { UDP_HEADER_LENGTH } else { 0 }
}

/// So many ICMP errors wait until they are asked for.
const MAX_ICMP: usize = 64;

/// Bytes kept free in front of an outgoing packet: for Ethernet, IPv6, and what may come between them.
/// A multiple of the cache line's size, at which the packet begins.
const HEADROOM: usize = 128;
const _: () = assert!(MAX_HEADERS <= HEADROOM);

/// How long to wait when there are no frames for the fill ring: the application has to give some back.
const NO_FRAMES: Duration = Duration::from_millis(1);
