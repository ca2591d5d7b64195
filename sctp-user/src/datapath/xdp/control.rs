//! Everything about open interfaces that is not the way of a packet.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use aya::maps::MapError;
use sctp_common::cookie::CookieSettings;
use sctp_common::init::{Announced, Offer};
use sctp_common::judge::Tables;
use sctp_common::maps::{
    AddressKey, HeartbeatKey, PeerEntry, PeerKey, PortEntry, TagEntry, TagKey, TagKind as MapTagKind,
};
use sctp_common::verdict::{DropReason, Verdict};
use sctp_core::time::Instant;
use sctp_core::{Association, CookieSecret, PeerChange, TagChange, TagKind, Transmit};

use super::super::SocketStatistics;
use super::super::capture::CaptureSink;
use super::super::frames::FramePool;
use super::super::headers::UdpPorts;
use super::super::netlink::Network;
use super::super::socket::Socket;
use super::config::Mode;
use super::drops::{DropWatch, Drops};
use super::log::LogReader;
use super::offers::Offers;
use super::packet::UdpReceive;
use super::program::Program;
use super::reserve::UdpReservation;
use super::shared_tags::{Change, SharedTags};

/// Controls open interfaces: which ports, tags and addresses are ours, and what has been counted.
///
/// Clones control the same interfaces. The XDP programs are detached when the last clone and the last
/// [`XdpLink`](super::XdpLink) have gone.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

/// What controls and links have in common.
pub(super) struct Shared {
    pub(super) network: Network,
    pub(super) pool: Arc<FramePool>,
    pub(super) capture: Option<CaptureSink>,
    pub(super) mode: Mode,
    /// SCTP in UDP, if it is wanted.
    pub(super) udp: Option<UdpReceive>,
    /// Keep our encapsulation port from others.
    pub(super) _udp_port: Option<UdpReservation>,
    /// Whether the programs answer HEARTBEATs.
    pub(super) answers_heartbeats: bool,
    /// Touched when associations come and go, and to read counters; never for a packet.
    pub(super) programs: Mutex<Programs>,
    /// They belong to the links.
    pub(super) sockets: Vec<Weak<Socket>>,
    pub(super) _log: LogReader,
    /// What the programs show of their drops.
    pub(super) drops: Arc<Drops>,
}

/// How often the program gave each verdict to packets of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueCounters {
    /// The interface's name.
    pub interface: String,
    /// The queue; `None` for those that the stack does not use, together.
    pub queue: Option<u32>,
    /// Every verdict.
    pub verdicts: Vec<(Verdict, u64)>,
}

impl Shared {
    /// The UDP ports that a packet goes by, if it goes in UDP.
    pub(super) fn udp_ports(&self, transmit: &Transmit) -> Option<UdpPorts> {
        let (own, peer) = (self.udp?, transmit.encapsulation?);
        Some(UdpPorts { source: own.port.get(), destination: peer.get() })
    }
}

/// The programs, one for each interface, which are always told the same.
pub(super) struct Programs {
    pub(super) programs: Vec<Program>,
    pub(super) addresses: HashSet<IpAddr>,
    /// Whose HEARTBEATs the programs answer, by local port and tag.
    pub(super) heartbeats: HashMap<(u16, u32), Vec<HeartbeatKey>>,
    /// Associations whose peer's tag names another association in the programs.
    pub(super) shared_tags: SharedTags,
    /// What the programs say of listeners.
    pub(super) offers: Offers,
}

impl Control {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Takes the packets for `port` from the kernel. `listening`: INIT chunks of anybody are wanted; else only those of
    /// [peers](Self::change_peer).
    ///
    /// # Errors
    ///
    /// What the kernel says when a map cannot be changed.
    pub fn own_port(&self, port: u16, listening: bool) -> io::Result<()> {
        self.everywhere(|program| program.set_port(port, PortEntry::owned(listening)))
    }

    /// Lets the programs answer INITs to `port`, which must be [ours](Self::own_port), for a listener with this `offer`, if they are
    /// [to do so](super::XdpConfig::init_cookies). Of more than 256 different offers they answer INITs to the first only.
    ///
    /// # Errors
    ///
    /// As [`own_port`](Self::own_port).
    pub fn offer(&self, port: u16, offer: Offer) -> io::Result<()> {
        let mut programs = self.programs();
        let Programs { programs, offers, .. } = &mut *programs;
        let place = offers.add(port, offer);
        programs.iter_mut().try_for_each(|program| {
            let entry = program.port(port);
            let Some(place) = place else { return program.set_port(port, entry.without_offer()).map_err(map_error) };
            program.set_offer(place, offer).map_err(map_error)?;
            program.set_port(port, entry.with_offer(place)).map_err(map_error)
        })
    }

    /// Nobody listens on `port` any more: INITs to it go to workers.
    ///
    /// # Errors
    ///
    /// As [`own_port`](Self::own_port).
    pub fn withdraw_offer(&self, port: u16) -> io::Result<()> {
        let mut programs = self.programs();
        let Programs { programs, offers, .. } = &mut *programs;
        programs.iter_mut().try_for_each(|program| {
            let entry = program.port(port).without_offer();
            program.set_port(port, entry).map_err(map_error)
        })?;
        offers.remove(port);
        Ok(())
    }

    /// Has the programs check State Cookies before a COOKIE ECHO reaches a worker (RFC 9260 §5.1.5), and make them where they
    /// [answer INITs](Self::offer): with the `secret` of the endpoints, of whose keys each is used for `epoch`, and whose time is `now`. A cookie
    /// lives for the first of the two `lifespans`, or up to the second if the peer asks for more. Without this every COOKIE ECHO for us passes,
    /// and no INIT is answered.
    ///
    /// # Errors
    ///
    /// As [`own_port`](Self::own_port).
    pub fn check_cookies(
        &self,
        secret: &CookieSecret,
        epoch: Duration,
        lifespans: [Duration; 2],
        now: Instant,
    ) -> io::Result<()> {
        let monotonic = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let monotonic = monotonic.tv_sec as u64 * 1_000_000_000 + monotonic.tv_nsec as u64;
        let epoch = u64::try_from(epoch.as_nanos()).unwrap_or(u64::MAX);
        let milliseconds = |lifespan: Duration| u32::try_from(lifespan.as_millis()).unwrap_or(u32::MAX);
        let lifespans = lifespans.map(milliseconds);
        let settings = CookieSettings::new(secret, epoch, monotonic.wrapping_sub(now.as_nanos()), lifespans);
        self.everywhere(|program| program.check_cookies(&settings))
    }

    /// Leaves the packets for `port` to the kernel again.
    ///
    /// # Errors
    ///
    /// As [`own_port`](Self::own_port).
    pub fn disown_port(&self, port: u16) -> io::Result<()> {
        self.everywhere(|program| program.set_port(port, PortEntry::default()))?;
        self.programs().offers.remove(port);
        Ok(())
    }

    /// Tells the programs of a verification tag that has come into use or gone out of it, by an association
    /// of `worker`.
    ///
    /// Several associations may have the same tag of their peers': the programs know one of them as long as there is any.
    ///
    /// # Errors
    ///
    /// What the kernel says: above all that the map is full
    /// ([`XdpConfig::tags`](super::XdpConfig::tags)).
    pub fn change_tag(&self, worker: u16, change: &TagChange) -> io::Result<()> {
        let kind = |kind: TagKind| match kind {
            TagKind::Local => MapTagKind::Local,
            TagKind::Peer => MapTagKind::Peer,
        };
        let entry = |id: sctp_core::AssociationId| TagEntry {
            slot: id.slot(),
            generation: id.generation(),
            worker: u32::from(worker),
        };
        match *change {
            TagChange::Added { local_port, tag, kind: side, id } => self
                .change_shared(TagKey::new(local_port, kind(side), tag), |shared, key, present| {
                    shared.add(key, present.filter(|_| side == TagKind::Peer), entry(id))
                }),
            TagChange::Removed { local_port, tag, kind: side, id } => {
                if side == TagKind::Local {
                    self.forget_heartbeats(local_port, tag)?;
                }
                self.change_shared(TagKey::new(local_port, kind(side), tag), |shared, key, present| {
                    shared.remove(key, present, entry(id))
                })
            }
        }
    }

    /// Changes the programs' entry for a tag as `decide` says, which is given the present one.
    fn change_shared(
        &self,
        key: TagKey,
        decide: impl FnOnce(&mut SharedTags, TagKey, Option<TagEntry>) -> Change,
    ) -> io::Result<()> {
        let mut programs = self.programs();
        let Programs { programs, shared_tags, .. } = &mut *programs;
        let present = programs.first().and_then(|program| program.tag(key));
        let change = decide(shared_tags, key, present);
        programs.iter_mut().try_for_each(|program| match change {
            Change::Nothing => Ok(()),
            Change::Set(entry) => program.set_tag(key, entry).map_err(map_error),
            Change::Remove => program.remove_tag(key).map_err(map_error),
        })
    }

    /// Tells the programs of a peer that an association of `worker` has got or lost.
    ///
    /// They need to know the peers only where a verification tag fails. A removal is ignored if the peer belongs to another
    /// worker by now.
    ///
    /// # Errors
    ///
    /// As [`change_tag`](Self::change_tag).
    pub fn change_peer(&self, worker: u16, change: &PeerChange) -> io::Result<()> {
        let key = |peer, peer_port, local_port| PeerKey::new(AddressKey::new(peer).to_bytes(), peer_port, local_port);
        let entry = PeerEntry { worker: u32::from(worker) };
        match *change {
            PeerChange::Added { peer, peer_port, local_port } => {
                let key = key(peer, peer_port, local_port);
                self.everywhere(|program| program.set_peer(key, entry))
            }
            PeerChange::Removed { peer, peer_port, local_port } => {
                let key = key(peer, peer_port, local_port);
                self.everywhere(|program| match program.peer(key) {
                    Some(present) if present == entry => program.remove_peer(key),
                    _ => Ok(()),
                })
            }
        }
    }

    /// Has the HEARTBEATs of an association's peer answered by the programs, if [they are to](super::XdpConfig::answer_heartbeats).
    /// To be called when the tag that the peer has drawn has become known or has changed.
    ///
    /// # Errors
    ///
    /// As [`change_tag`](Self::change_tag).
    pub fn answer_heartbeats(&self, association: &Association) -> io::Result<()> {
        if !self.shared.answers_heartbeats {
            return Ok(());
        }
        let (port, tag) = (association.local_port(), association.local_tag());
        let peers = association.paths().map(|path| AddressKey::new(path.address).to_bytes());
        let keys: Vec<_> =
            peers.map(|address| HeartbeatKey::new(address, tag, association.peer_port(), port)).collect();
        self.forget_heartbeats(port, tag)?;
        for &key in &keys {
            self.everywhere(|program| program.add_heartbeats(key, association.peer_tag()))?;
        }
        self.programs().heartbeats.insert((port, tag), keys);
        Ok(())
    }

    /// How many HEARTBEATs the programs have answered for the association with our `tag` on `local_port`: as many signs of life of
    /// its peer. `None` if they answer none.
    pub fn heartbeats_answered(&self, local_port: u16, tag: u32) -> Option<u64> {
        let programs = self.programs();
        let keys = programs.heartbeats.get(&(local_port, tag))?;
        Some(
            programs.programs.iter().flat_map(|program| keys.iter().map(|key| program.heartbeats_answered(*key))).sum(),
        )
    }

    fn forget_heartbeats(&self, local_port: u16, tag: u32) -> io::Result<()> {
        let keys = self.programs().heartbeats.remove(&(local_port, tag)).unwrap_or_default();
        keys.into_iter().try_for_each(|key| self.everywhere(|program| program.remove_heartbeats(key)))
    }

    /// Says which IP addresses are ours: packets without a known tag are only judged if they are for one of
    /// them, since all others are in transit.
    ///
    /// # Errors
    ///
    /// As [`own_port`](Self::own_port).
    pub fn set_addresses(&self, addresses: &[IpAddr]) -> io::Result<()> {
        let mut programs = self.programs();
        let wanted: HashSet<IpAddr> = addresses.iter().copied().collect();
        let Programs { programs, addresses: present, .. } = &mut *programs;
        if wanted == *present {
            return Ok(());
        }
        let announced = Announced::new(addresses);
        for program in programs {
            // First the new ones, so that an address that stays is ours all the time.
            for &address in &wanted {
                program.add_address(address).map_err(map_error)?;
            }
            for &address in present.difference(&wanted) {
                program.remove_address(address).map_err(map_error)?;
            }
            program.set_announced(&announced).map_err(map_error)?;
        }
        *present = wanted;
        Ok(())
    }

    /// The usable addresses of the interfaces that are valid beyond the link, as the kernel has them now.
    pub fn local_addresses(&self) -> Vec<IpAddr> {
        self.shared.network.snapshot().global_addresses().map(|local| local.address).collect()
    }

    /// The kernel's links, addresses, routes and neighbours.
    pub fn network(&self) -> &Network {
        &self.shared.network
    }

    /// How often the programs gave each verdict, over all interfaces.
    ///
    /// # Errors
    ///
    /// What the kernel says when a map cannot be read.
    pub fn counters(&self) -> io::Result<Vec<(Verdict, u64)>> {
        let mut sums: Vec<(Verdict, u64)> = Verdict::all().map(|verdict| (verdict, 0)).collect();
        for queue in self.queue_counters()? {
            for (sum, (verdict, count)) in sums.iter_mut().zip(queue.verdicts) {
                debug_assert_eq!(sum.0, verdict);
                sum.1 += count;
            }
        }
        Ok(sums)
    }

    /// The same for each queue of each interface.
    ///
    /// # Errors
    ///
    /// As [`counters`](Self::counters).
    pub fn queue_counters(&self) -> io::Result<Vec<QueueCounters>> {
        let mut all = Vec::new();
        for (program, interface) in self.programs().programs.iter().zip(&self.shared.mode.interfaces) {
            for (queue, verdicts) in (0..).zip(program.counters().map_err(map_error)?) {
                let queue = (queue < interface.queues).then_some(queue);
                all.push(QueueCounters { interface: interface.name.clone(), queue, verdicts });
            }
        }
        Ok(all)
    }

    /// Shows packets that the programs drop for these reasons, or for any if none is named, from now on.
    ///
    /// While somebody looks, each CPU samples at most 1000 of them a second, and counts the others.
    ///
    /// # Errors
    ///
    /// What the kernel says when a map cannot be read or written.
    pub fn watch_drops(&self, reasons: &[DropReason]) -> io::Result<DropWatch> {
        self.shared.drops.watch(reasons)
    }

    /// How the interfaces are being used.
    pub fn mode(&self) -> &Mode {
        &self.shared.mode
    }

    /// What the kernel has counted for all sockets together.
    ///
    /// # Errors
    ///
    /// What the kernel says when it does not tell.
    pub fn xsk_stats(&self) -> io::Result<SocketStatistics> {
        let mut sum = SocketStatistics::default();
        for socket in self.shared.sockets.iter().filter_map(Weak::upgrade) {
            sum += socket.statistics()?;
        }
        Ok(sum)
    }

    /// How many frames lie in the common pool, of [`Mode::frames`]. A moment later it may be another
    /// number. See [`FrameStats`](super::super::FrameStats).
    pub fn free_frames(&self) -> usize {
        self.shared.pool.free()
    }

    fn everywhere(&self, mut change: impl FnMut(&mut Program) -> Result<(), MapError>) -> io::Result<()> {
        self.programs().programs.iter_mut().try_for_each(|program| change(program).map_err(map_error))
    }

    fn programs(&self) -> MutexGuard<'_, Programs> {
        // A panic in between leaves no half-done change: each map operation is whole.
        self.shared.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Everything has been opened: programs that are to be kept are kept from now on.
    pub(super) fn settle(&self) {
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        programs.programs.iter_mut().for_each(Program::settle);
    }

    /// Has `read` look at what the programs have been told.
    pub(super) fn with_tables<R>(&self, read: impl FnOnce(&Programs) -> R) -> R {
        read(&self.programs.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The programs' own tables. Looking something up is a system call.
impl Tables for Programs {
    fn port(&self, port: u16) -> PortEntry {
        self.programs.first().map(|program| program.port(port)).unwrap_or_default()
    }

    fn tag(&self, key: &TagKey) -> Option<TagEntry> {
        self.programs.first()?.tag(*key)
    }

    fn peer(&self, key: &PeerKey) -> Option<PeerEntry> {
        self.programs.first()?.peer(*key)
    }

    fn is_ours(&self, address: &[u8; 16]) -> bool {
        self.addresses.contains(&Ipv6Addr::from(*address).to_canonical())
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("mode", &self.shared.mode).finish_non_exhaustive()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("mode", &self.mode).finish_non_exhaustive()
    }
}

fn map_error(error: MapError) -> io::Error {
    match error {
        MapError::SyscallError(error) => error.io_error,
        error => io::Error::other(error),
    }
}
