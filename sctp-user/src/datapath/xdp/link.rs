//! A worker's link over AF_XDP sockets.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use sctp_common::frame;
use sctp_common::metadata::{Checksum, RxMetadata};
use sctp_core::{AssociationId, ChecksumState, Datagram, Ecn, Transmit};
use smallvec::SmallVec;

use super::super::capture::Direction;
use super::super::frames::FrameCache;
use super::super::headers::MAX_LENGTH as MAX_HEADERS;
use super::super::payload::{Arena, Received};
use super::super::rings::{Arrived, ReceiveRing, TransmitRing};
use super::super::socket::{Kick, QueueRings, Socket};
use super::super::umem::Frame;
use super::super::waker::Sleeper;
use super::super::{FrameStats, Link, LinkStats, LinkWaker, TransmitError};
use super::control::Shared;
use super::parked::{Parked, ParkedPacket, Parking, Waiting};
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
    routes: Routes,
    parked: Parked,
    /// The network's generation when parked packets were last tried.
    parked_generation: u64,
    /// The frame that was handed out to be written into.
    buffer: Option<Frame>,
    sleeper: Sleeper,
    stats: LinkStats,
}

/// One of the worker's sockets.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) ifindex: u32,
    pub(super) socket: Arc<Socket>,
    pub(super) receive: ReceiveRing,
    /// There on the one queue of each interface that the worker sends by.
    pub(super) transmit: Option<TransmitRing>,
    pub(super) queue: QueueAccess,
    /// The fill ring should be topped up, but was busy or there were no frames.
    hungry: bool,
}

/// A queue's fill and completion rings.
#[derive(Debug)]
pub(super) enum QueueAccess {
    /// Nobody else uses them.
    Own(QueueRings),
    /// Several workers have a socket on the queue.
    Shared(Arc<Mutex<QueueRings>>),
}

impl Port {
    pub(super) fn new(
        ifindex: u32,
        socket: Arc<Socket>,
        receive: ReceiveRing,
        transmit: Option<TransmitRing>,
        queue: QueueAccess,
    ) -> Self {
        Self { ifindex, socket, receive, transmit, queue, hungry: true }
    }

    /// Takes sent frames home and gives the kernel empty ones.
    ///
    /// If another worker is at the shared rings, that one does it for both, more or less: it is tried again.
    fn service(&mut self, cache: &mut FrameCache, stats: &mut LinkStats) {
        let served = self.queue.with(|rings| {
            let returned = rings.completion.drain(|frame| cache.give(frame));
            let filled = rings.fill.top_up(|| cache.take());
            (returned, filled, filled.frames > 0 && rings.fill.needs_wakeup())
        });
        let Some((returned, filled, wake)) = served else {
            self.hungry = true;
            return;
        };
        stats.frames.in_transmit -= i64::from(returned);
        stats.frames.in_receive += i64::from(filled.frames);
        self.hungry = filled.missing > 0;
        if wake {
            self.socket.kick_receive();
            stats.receive_kicks += 1;
        }
    }

    /// Takes sent frames home.
    fn reap(&mut self, cache: &mut FrameCache, stats: &mut LinkStats) {
        let returned = self.queue.with(|rings| rings.completion.drain(|frame| cache.give(frame)));
        stats.frames.in_transmit -= i64::from(returned.unwrap_or(0));
    }

    /// Has the kernel send what is in the transmit ring.
    fn kick(&mut self, zero_copy: bool, cache: &mut FrameCache, stats: &mut LinkStats) -> io::Result<()> {
        let Some(ring) = &mut self.transmit else { return Ok(()) };
        ring.publish();
        let mut waiting = ring.waiting();
        let mut retried = false;
        while waiting > 0 && ring.needs_wakeup() {
            stats.transmit_kicks += 1;
            let outcome = self.socket.kick_transmit()?;
            match outcome {
                // With zero-copy the driver goes on by itself.
                _ if zero_copy => break,
                Kick::Done => break,
                Kick::Again => {}
                Kick::Dropped => stats.device_drops += 1,
                Kick::Down => {
                    stats.interface_down += 1;
                    break;
                }
            }
            let left = ring.waiting();
            if left == waiting && outcome == Kick::Again {
                // The kernel takes nothing as long as the completion ring has no room for it. If that is not
                // the reason, the device is busy, and comes up again at the next flush.
                if retried {
                    break;
                }
                retried = true;
                let drained = self.queue.with(|rings| rings.completion.drain(|frame| cache.give(frame)));
                stats.frames.in_transmit -= i64::from(drained.unwrap_or(0));
            }
            waiting = left;
        }
        Ok(())
    }

    fn has_unsent(&mut self) -> bool {
        self.transmit.as_mut().is_some_and(|ring| ring.waiting() > 0)
    }
}

impl QueueAccess {
    /// Runs `work` on the rings, unless another worker does so just now.
    fn with<R>(&mut self, work: impl FnOnce(&mut QueueRings) -> R) -> Option<R> {
        match self {
            Self::Own(rings) => Some(work(rings)),
            Self::Shared(rings) => match rings.try_lock() {
                Ok(mut rings) => Some(work(&mut rings)),
                // Every step on the rings is whole by itself.
                Err(TryLockError::Poisoned(rings)) => Some(work(&mut rings.into_inner())),
                Err(TryLockError::WouldBlock) => None,
            },
        }
    }
}

impl XdpLink {
    pub(super) fn new(worker: u16, shared: Arc<Shared>, ports: Vec<Port>, dscp: u8) -> io::Result<Self> {
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
            routes: Routes::new(dscp),
            parked: Parked::default(),
            parked_generation: 0,
            buffer: None,
            sleeper,
            stats: LinkStats::default(),
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
            let Some(packet) = Packet::find(bytes, offset) else {
                stats.received_malformed += 1;
                self.cache.give(frame);
                continue;
            };
            stats.received_packets += 1;
            stats.received_bytes += packet.range.len() as u64;
            stats.received_without_metadata += u64::from(!packet.metadata);
            let mut received = Received::new(frame);
            let (bytes, mut payload) = received.open(&self.cache, &mut self.arena, packet.range, share);
            sink(Datagram {
                source: packet.source,
                destination: packet.destination,
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

    /// Puts a packet into the transmit ring of the interface that it leaves by.
    ///
    /// Gives the frame back if there is no room, or the interface is not ours.
    fn enqueue(&mut self, mut frame: Frame, way: &Way, transmit: &Transmit) -> Result<(), Frame> {
        let ring =
            self.ports.iter_mut().filter(|port| port.ifindex == way.ifindex).find_map(|port| port.transmit.as_mut());
        let Some(ring) = ring else { return Err(frame) };
        if !ring.has_room() {
            return Err(frame);
        }
        let start = HEADROOM - way.headers.len();
        let end = HEADROOM + transmit.len;
        let bytes = self.cache.umem().bytes_mut(&mut frame, start..end);
        // The limit of the way is below 2^16.
        way.headers.write(&mut bytes[..way.headers.len()], transmit.len as u16, transmit.ecn);
        if let Some(capture) = &self.shared.capture {
            capture.frame(way.ifindex, Direction::Outbound, bytes);
        }
        ring.push(frame, start, end - start);
        self.stats.frames.in_transmit += 1;
        self.stats.transmitted_packets += 1;
        self.stats.transmitted_bytes += transmit.len as u64;
        Ok(())
    }

    fn park(
        &mut self,
        frame: Frame,
        transmit: &Transmit,
        (ifindex, next_hop, failures): (u32, IpAddr, u32),
    ) -> Result<(), TransmitError> {
        let packet = ParkedPacket { frame, transmit: *transmit };
        if self.parked.is_empty() {
            self.parked_generation = self.shared.network.generation();
        }
        match self.parked.park((ifindex, next_hop, failures), Instant::now(), packet) {
            Parking::Parked { first } => {
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
        if generation == self.parked_generation && now < deadline {
            return;
        }
        self.parked_generation = generation;
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
        for ParkedPacket { frame, transmit } in waiting.into_packets() {
            let way = self.routes.find(&self.shared.network, transmit.source, transmit.destination);
            let outcome = match way.cloned() {
                Ok(way) if !hopeless && transmit.len <= way.limit => self.enqueue(frame, &way, &transmit),
                _ => Err(frame),
            };
            if let Err(frame) = outcome {
                self.cache.give(frame);
                self.stats.neighbour_drops += 1;
            }
        }
    }

    /// How long the worker may sleep at most, for reasons of the link's own.
    fn patience(&mut self) -> Option<Duration> {
        let parked = self.parked.deadline().map(|at| at.saturating_duration_since(Instant::now()));
        let unsent = self.ports.iter_mut().any(Port::has_unsent).then_some(BUSY_DEVICE);
        let hungry = self.ports.iter().any(|port| port.hungry).then_some(NO_FRAMES);
        [parked, unsent, hungry].into_iter().flatten().min()
    }
}

impl Link for XdpLink {
    fn receive(&mut self, budget: usize, sink: &mut dyn FnMut(Datagram<'_>)) -> io::Result<usize> {
        let share = !self.cache.is_short();
        let mut popped = 0;
        for _ in 0..self.ports.len() {
            let port = self.next;
            popped += self.receive_from(port, budget - popped, share, sink);
            if popped >= budget {
                break;
            }
            self.next = (port + 1) % self.ports.len();
        }
        Ok(popped)
    }

    fn transmit_buffer(&mut self) -> Option<&mut [u8]> {
        if self.buffer.is_none() {
            // Where the packet goes is not known yet, so every interface must be able to take it.
            for port in &mut self.ports {
                let full = port.transmit.as_mut().is_some_and(|ring| !ring.has_room());
                if full {
                    return None;
                }
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
        let found = self.routes.find(&self.shared.network, source, destination);
        let limit = match &found {
            Ok(way) => way.limit,
            Err(Detour::Neighbour { limit, .. }) => *limit,
            Err(Detour::NoRoute) => {
                self.cache.give(frame);
                self.stats.no_route += 1;
                return Err(TransmitError::NoRoute { destination });
            }
        };
        if len > limit {
            self.cache.give(frame);
            self.stats.too_long += 1;
            return Err(TransmitError::TooLong { destination, length: len, limit });
        }
        match found {
            Err(Detour::Neighbour { ifindex, next_hop, failures, .. }) => {
                self.park(frame, transmit, (ifindex, next_hop, failures))
            }
            Ok(way) => {
                let way = way.clone();
                self.enqueue(frame, &way, transmit).map_err(|frame| {
                    self.cache.give(frame);
                    self.stats.no_route += 1;
                    TransmitError::NoRoute { destination }
                })
            }
            Err(Detour::NoRoute) => unreachable!("returned above"),
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
        // What does not fit is centuries.
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let outcome = poll(&mut watched, limit.as_ref());
        let rung = watched[0].revents().contains(PollFlags::IN);
        drop(watched);
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

/// An SCTP packet in a received frame.
struct Packet {
    source: IpAddr,
    destination: IpAddr,
    ecn: Ecn,
    checksum: ChecksumState,
    association: Option<AssociationId>,
    /// Where in the frame's memory it lies.
    range: std::ops::Range<usize>,
    /// Whether the XDP program's metadata was there.
    metadata: bool,
}

impl Packet {
    /// Finds the packet in a frame's memory, in which the Ethernet header is at `start`.
    fn find(memory: &[u8], start: usize) -> Option<Self> {
        let frame = &memory[start..];
        let metadata = start
            .checked_sub(RxMetadata::SIZE)
            .and_then(|at| memory[at..].first_chunk())
            .and_then(RxMetadata::from_bytes);
        if let Some(metadata) = metadata
            && let Some(located) = metadata.locate(frame)
        {
            return Some(Self {
                source: address(located.source),
                destination: address(located.destination),
                ecn: Ecn::from_bits(metadata.ecn()),
                checksum: match metadata.checksum() {
                    Checksum::NotChecked => ChecksumState::NotChecked,
                    Checksum::Verified | Checksum::Trusted => ChecksumState::Verified,
                },
                association: metadata
                    .association()
                    .map(|(slot, generation)| AssociationId::from_parts(slot, generation)),
                range: start + located.sctp.start..start + located.sctp.end,
                metadata: true,
            });
        }
        let decoded = frame::decode(frame).ok().filter(|decoded| !decoded.fragment)?;
        let at = start + usize::from(decoded.sctp_offset);
        Some(Self {
            source: address(decoded.source),
            destination: address(decoded.destination),
            ecn: Ecn::from_bits(decoded.ecn),
            checksum: ChecksumState::NotChecked,
            association: None,
            range: at..at + usize::from(decoded.sctp_len),
            metadata: false,
        })
    }
}

fn address(octets: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(octets).to_canonical()
}

/// Bytes kept free in front of an outgoing packet: for Ethernet, IPv6, and what may come between them.
/// A multiple of the cache line's size, at which the packet begins.
const HEADROOM: usize = 128;
const _: () = assert!(MAX_HEADERS <= HEADROOM);

/// How long to wait when a device takes no more packets.
const BUSY_DEVICE: Duration = Duration::from_micros(100);
/// How long to wait when there are no frames for the fill ring: the application has to give some back.
const NO_FRAMES: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use sctp_common::metadata::RxMetadata;

    use super::super::super::headers::Headers;
    use super::*;

    /// A frame's memory: `start` bytes in front, Ethernet, IP, and an SCTP packet of `length` bytes.
    fn memory(start: usize, source: &str, destination: &str, length: usize, padding: usize) -> Vec<u8> {
        let parse = |text: &str| text.parse().expect("an address");
        let headers = Headers::new([1; 6], [2; 6], parse(source), parse(destination), 0).expect("one family");
        let mut memory = vec![0xee; start + headers.len() + length + padding];
        headers.write(&mut memory[start..start + headers.len()], length as u16, Ecn::Ect1);
        memory
    }

    fn with_metadata(mut memory: Vec<u8>, start: usize, checksum: Checksum, slot: u32) -> Vec<u8> {
        let decoded = frame::decode(&memory[start..]).expect("a sound frame");
        let metadata = RxMetadata::new(&decoded, checksum, slot, 5);
        memory[start - RxMetadata::SIZE..start].copy_from_slice(&metadata.to_bytes());
        memory
    }

    #[test]
    fn metadata_says_what_the_packet_is() {
        for (source, destination) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let memory = with_metadata(memory(256, source, destination, 40, 6), 256, Checksum::Verified, 9);
            let packet = Packet::find(&memory, 256).expect("a packet");
            assert!(packet.metadata);
            assert_eq!(
                (packet.source.to_string(), packet.destination.to_string()),
                (source.into(), destination.into())
            );
            assert_eq!((packet.ecn, packet.checksum), (Ecn::Ect1, ChecksumState::Verified));
            assert_eq!(packet.association, Some(AssociationId::from_parts(9, 5)));
            assert_eq!(packet.range, memory.len() - 46..memory.len() - 6, "without Ethernet's padding");
        }
    }

    #[test]
    fn metadata_says_what_is_known_of_the_checksum_and_of_the_association() {
        let find = |checksum, slot| {
            let memory = with_metadata(memory(256, "10.0.0.1", "10.0.0.2", 40, 0), 256, checksum, slot);
            Packet::find(&memory, 256).expect("a packet")
        };
        assert_eq!(find(Checksum::NotChecked, 1).checksum, ChecksumState::NotChecked);
        assert_eq!(find(Checksum::Trusted, 1).checksum, ChecksumState::Verified);
        assert_eq!(find(Checksum::Verified, sctp_common::metadata::NO_SLOT).association, None);
    }

    #[test]
    fn without_metadata_the_frame_is_decoded() {
        for start in [0, 8, 256] {
            let memory = memory(start, "10.0.0.1", "10.0.0.2", 40, 6);
            let packet = Packet::find(&memory, start).expect("a packet");
            assert!(!packet.metadata);
            assert_eq!((packet.checksum, packet.association), (ChecksumState::NotChecked, None));
            assert_eq!(packet.ecn, Ecn::Ect1);
            assert_eq!(packet.range, start + 34..start + 74);
        }
    }

    #[test]
    fn metadata_that_does_not_fit_the_frame_is_not_believed() {
        let mut memory = with_metadata(memory(256, "fd00::1", "fd00::2", 400, 0), 256, Checksum::Verified, 9);
        memory.truncate(300);
        assert!(Packet::find(&memory, 256).is_none());
    }

    #[test]
    fn nonsense_is_no_packet() {
        assert!(Packet::find(&[], 0).is_none());
        assert!(Packet::find(&[0; 300], 256).is_none());
        assert!(Packet::find(&[0xff; 300], 300).is_none());
        let mut fragment = memory(256, "10.0.0.1", "10.0.0.2", 40, 0);
        // More fragments; the header checksum must be right for the decoder to look further.
        fragment[256 + 14 + 6] = 0x20;
        let sum = u16::from_be_bytes([fragment[280], fragment[281]]);
        fragment[280..282].copy_from_slice(&(sum + 0x2000).to_be_bytes());
        assert!(frame::decode(&fragment[256..]).is_ok_and(|decoded| decoded.fragment));
        assert!(Packet::find(&fragment, 256).is_none());
    }
}
