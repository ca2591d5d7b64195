//! The endpoint: all associations of one worker, and everything that concerns none of them.
//!
//! | file | holds |
//! |---|---|
//! | `mod`, `primitives` | what the user calls |
//! | `table` | the associations and the maps that lead to them |
//! | `routing` | which association a packet belongs to (§8.5) |
//! | `setup` | INIT and COOKIE ECHO, which may make one (§5.1, §5.2) |
//! | `icmp` | ICMP messages about packets of ours (§10) |
//! | `out_of_the_blue` | packets that belong to none (§8.4) |

mod icmp;
mod out_of_the_blue;
mod primitives;
mod routing;
mod setup;
mod table;

use core::net::IpAddr;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use self::table::Table;
use crate::answer::Answer;
use crate::association::{self, Association, Context, EventQueue, Limits, NewAssociation, in_scope, is_unicast};
use crate::config::{AssociationConfig, Connect, EndpointConfig, ListenConfig, check_heartbeat};
use crate::cookie::CookieJar;
use crate::error::{AssociationError, ConnectError, ListenError, SendError};
use crate::event::{Event, Handled, PeerChange, TagChange};
use crate::serial::Tsn;
use crate::spent::{Ending, SpentCookies};
use crate::time::Instant;
use crate::wheel::TimerWheel;
use crate::wire::Checksum;
use crate::{AssociationId, CookieSecret, Datagram, Ecn, Message, ReceivedMessage, Transmit};

/// So many packets of one association are sent before it is another's turn.
const TURN: u32 = 32;

/// The associations of one worker, their timers and their verification tags.
///
/// # How to drive it
///
/// ```text
/// loop {
///     endpoint.handle(now, datagram)           for every packet that has arrived
///     endpoint.handle_timeout(now)             when poll_timeout()'s time has come (or at any time)
///     endpoint.send / recv / shutdown …        what the application wants
///
///     while let Some(change) = endpoint.poll_tag() { … }      for the XDP program's map
///     while let Some(change) = endpoint.poll_peer() { … }     for the other workers
///     while let Some((id, event)) = endpoint.poll_event() { … }
///     while let Some(transmit) = endpoint.poll_transmit(now, buffer) { … }
///     sleep until a packet comes, the application wants something, or endpoint.poll_timeout()
/// }
/// ```
///
/// Time is to come from a clock that is never set back, as a monotonic one is. Should it be, nothing breaks and nothing is lost: what has
/// expired stays expired, differences are zero at least, and what is due comes later by as much as the clock was set back. The same seed,
/// calls and times give the same packets and events.
///
/// # What it costs
///
/// A packet whose association the layer below has found ([`Datagram::association`]) costs no look-up, any other one; sending,
/// timers and `poll_*` cost by what is due, not by how many associations there are.
#[derive(Debug)]
pub struct Endpoint {
    config: EndpointConfig,
    limits: Limits,
    rng: StdRng,
    table: Table,
    listeners: HashMap<u16, Listener, foldhash::quality::FixedState>,
    /// The settings that were last connected with: those who connect often do so with the same, and share them.
    connect_config: Option<Arc<AssociationConfig>>,
    wheel: TimerWheel,
    cookies: CookieJar,
    spent: SpentCookies,
    /// Associations that may have something to send or another deadline.
    dirty: VecDeque<u32>,
    /// Packets sent in a row for the association at the front.
    turn: u32,
    /// Answers that need no association, and last words of those that have ended.
    answers: VecDeque<Answer>,
    /// Bytes by which buffers may still grow.
    buffer_memory: usize,
    events: EventQueue,
}

/// A port that accepts associations.
#[derive(Debug)]
struct Listener {
    config: Arc<AssociationConfig>,
    max_associations: usize,
    /// How many it has accepted that still live.
    accepted: usize,
}

impl Endpoint {
    /// An endpoint without associations. All randomness (tags, TSNs, nonces, and the cookies' secret unless it is given) comes from
    /// `seed`: it must be secret and used once.
    pub fn new(config: EndpointConfig, seed: [u8; 32]) -> Self {
        let mut rng = StdRng::from_seed(seed);
        let checksum = if config.checksum_offload { Checksum::Zero } else { Checksum::Compute };
        let secret = config.cookie_secret.unwrap_or_else(|| CookieSecret::new([rng.next_u64(), rng.next_u64()]));
        Self {
            limits: Limits { max_packet: config.max_packet.clamp(512, 65_535) as u16, checksum },
            table: Table::new(rng.next_u64()),
            listeners: HashMap::default(),
            connect_config: None,
            wheel: TimerWheel::new(),
            cookies: CookieJar::new(secret, config.cookie_epoch()),
            spent: SpentCookies::new(config.max_spent_cookies, rng.next_u64()),
            dirty: VecDeque::new(),
            turn: 0,
            answers: VecDeque::new(),
            buffer_memory: config.buffer_memory,
            events: EventQueue::new(config.max_pending_events),
            rng,
            config,
        }
    }

    /// Changes our own addresses. Associations to come announce them; those that there are stop sending from what has gone, and use
    /// another address that their peer knows. (They do not tell their peers of new ones.)
    pub fn set_local_addresses(&mut self, addresses: &[IpAddr]) {
        self.config.addresses = addresses.to_vec();
        if addresses.is_empty() {
            // Every address is taken for ours.
            return;
        }
        let slots: Vec<u32> = self.table.iter().map(|association| association.id().slot()).collect();
        for slot in slots {
            if let Some(live) = self.table.live_mut(slot) {
                live.association.local_addresses_changed(addresses);
            }
        }
    }

    /// Accepts associations on `port` from now on.
    ///
    /// # Errors
    /// The port is 0 or taken, or the settings are wrong.
    pub fn listen(&mut self, port: u16, config: ListenConfig) -> Result<(), ListenError> {
        if port == 0 {
            return Err(ListenError::PortZero);
        }
        if self.listeners.contains_key(&port) {
            //= RFC 9260 §1.3: "A transport address used by an SCTP endpoint MUST NOT be used by another SCTP endpoint."
            return Err(ListenError::PortInUse(port));
        }
        config.association.validate()?;
        let ListenConfig { association, max_associations } = config;
        self.listeners.insert(port, Listener { config: Arc::new(association), max_associations, accepted: 0 });
        Ok(())
    }

    /// Accepts none any more. Those that exist go on.
    pub fn unlisten(&mut self, port: u16) {
        self.listeners.remove(&port);
    }

    /// Whether associations are accepted on `port`.
    pub fn is_listening(&self, port: u16) -> bool {
        self.listeners.contains_key(&port)
    }

    /// Begins an association (ASSOCIATE, RFC 9260 §11.1.2). How it goes is told by [`Event::Connected`] or [`Event::Closed`].
    /// Messages can be queued at once; the first go with the COOKIE ECHO.
    ///
    /// # Errors
    /// What is wrong with the request; nothing has been sent then.
    pub fn connect(&mut self, now: Instant, connect: Connect) -> Result<AssociationId, ConnectError> {
        let Connect { local_port, local_addresses, peer_port, peer_addresses, config } = connect;
        config.validate()?;
        let peers = check_peers(&peer_addresses, &config)?;
        //= RFC 9260 §3.1: "The Source Port Number 0 MUST NOT be used."
        //= RFC 9260 §3.1: "The Destination Port Number 0 MUST NOT be used."
        if peer_port == 0 || local_port == Some(0) {
            return Err(ConnectError::PortZero);
        }
        if config.remote_udp_port.is_some() && self.config.udp_port.is_none() {
            return Err(ConnectError::NoUdpPort);
        }
        let bound = !local_addresses.is_empty();
        let local_addresses = self.check_local(local_addresses, &peers)?;
        if self.table.len() >= self.config.max_associations {
            return Err(ConnectError::TooManyAssociations { max: self.config.max_associations });
        }
        let local_port = match local_port {
            Some(port) => port,
            None => self.pick_port(peer_port, &peers).ok_or(ConnectError::NoFreePort)?,
        };
        //= RFC 9260 §1.3: "Two SCTP endpoints MUST NOT have more than one SCTP association between them at any given
        //= time."
        if let Some(peer) = peers.iter().find(|peer| self.table.find_peer(**peer, peer_port, local_port).is_some()) {
            return Err(ConnectError::Exists { peer: *peer, peer_port, local_port });
        }
        let new = NewAssociation {
            id: self.table.next_id(),
            encapsulation: config.remote_udp_port,
            config: self.share_config(config),
            limits: self.limits,
            local_port,
            peer_port,
            //= RFC 9260 §5.3.1: "A new Verification Tag value MUST be used each time the endpoint tears down and then
            //= reestablishes an association"
            local_tag: self.draw_tag(local_port),
            tie_tags: association::draw_tie_tags(&mut self.rng),
            //= RFC 9260 §3.3.2: "the Initial TSN SHOULD be set to a random value in that range"
            local_initial_tsn: Tsn(self.rng.next_u32()),
            local_addresses: self.announced(&local_addresses, peers[0]),
            bound,
        };
        let slot = self.table.insert(Association::connect(new, &peers, now));
        self.after(slot, now);
        Ok(self.table.id_of(slot))
    }

    /// Processes a packet.
    pub fn handle(&mut self, now: Instant, datagram: Datagram<'_>) -> Handled {
        match self.route(now, datagram) {
            Ok(handled) => handled,
            Err(discard) => Handled::Dropped(discard),
        }
    }

    /// Does what is due by `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(slot) = self.wheel.pop_expired(now) {
            self.with(slot, now, |association, cx| association.handle_timeout(cx));
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called next. To be asked after `poll_transmit` has returned `None`.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        // Those whose packets have not been fetched (for want of buffers, say) have not been asked for their deadline yet.
        for at in 0..self.dirty.len() {
            self.arm(self.dirty[at]);
        }
        self.wheel.next_expiry()
    }

    /// Writes the next packet into `buf`, which should have [`EndpointConfig::max_packet`] bytes; `None` when there is none to be sent
    /// now.
    pub fn poll_transmit(&mut self, now: Instant, buf: &mut [u8]) -> Option<Transmit> {
        while let Some(answer) = self.answers.pop_front() {
            let Some(space) = buf.get_mut(..answer.bytes.len()) else { continue };
            space.copy_from_slice(&answer.bytes);
            return Some(Transmit {
                source: answer.to.source,
                destination: answer.to.address,
                encapsulation: answer.to.encapsulation,
                len: answer.bytes.len(),
                ecn: Ecn::NotEct,
                fragment_to: None,
                association: None,
            });
        }
        while let Some(slot) = self.dirty.front().copied() {
            if let Some(live) = self.table.live_mut(slot).filter(|live| live.dirty) {
                if live.association.has_expiring() {
                    live.association.drop_expired(&mut Context { now, rng: &mut self.rng, events: &mut self.events });
                }
                if let Some(transmit) = live.association.poll_transmit(now, buf) {
                    self.turn += 1;
                    if self.turn >= TURN {
                        self.turn = 0;
                        self.dirty.rotate_left(1);
                    }
                    return Some(transmit);
                }
                live.dirty = false;
                self.arm(slot);
            }
            self.turn = 0;
            self.dirty.pop_front();
        }
        None
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<(AssociationId, Event)> {
        self.events.pop()
    }

    /// The next change of verification tags, for the XDP program's map.
    pub fn poll_tag(&mut self) -> Option<TagChange> {
        self.table.poll_tag()
    }

    /// The next change of peers' addresses, for the workers' directory.
    pub fn poll_peer(&mut self) -> Option<PeerChange> {
        self.table.poll_peer()
    }

    /// An association, to look at; `None` if it has ended.
    pub fn association(&self, id: AssociationId) -> Option<&Association> {
        self.table.get(id)
    }

    /// All associations.
    pub fn associations(&self) -> impl Iterator<Item = &Association> {
        self.table.iter()
    }

    /// Takes a message to send (RFC 9260 §11.1.5). It goes out with the next `poll_transmit`s, as windows allow.
    ///
    /// # Errors
    /// [`SendError::WouldBlock`] gives the message back; [`Event::Writable`] tells when to try again. The others say what is wrong with
    /// it.
    pub fn send(&mut self, now: Instant, id: AssociationId, message: Message) -> Result<(), SendError> {
        let slot = self.table.slot_of(id).ok_or(SendError::NoAssociation)?;
        let live = self.table.live_mut(slot).ok_or(SendError::NoAssociation)?;
        let path = live.association.check(&message)?;
        let len = message.payload.len();
        if !live.association.has_room(len) {
            // Slow path: the buffer is full, and perhaps too small for the path.
            let growth = live.association.send_growth().min(self.buffer_memory);
            self.buffer_memory -= growth;
            live.association.enlarge_send_buffer(growth);
            if !live.association.has_room(len) {
                live.association.refuse();
                return Err(SendError::WouldBlock(message));
            }
        }
        live.association.send(message, path, now);
        if !live.dirty {
            live.dirty = true;
            self.dirty.push_back(slot);
        }
        Ok(())
    }

    /// Takes the next message that has arrived (RFC 9260 §11.1.7), of whatever stream; `None` when there is none. It opens the receive
    /// window.
    ///
    /// One stream's messages alone cannot be asked for: those of the others would keep their space in the one receive window that
    /// all streams share, until the stream that is asked for has none left. Whoever reads finds the stream in the message.
    pub fn recv(&mut self, id: AssociationId) -> Option<ReceivedMessage> {
        let slot = self.table.slot_of(id)?;
        if let Some(live) = self.table.live_mut(slot) {
            let message = live.association.recv()?;
            if !live.dirty && live.association.wants_to_send() {
                live.dirty = true;
                self.dirty.push_back(slot);
            }
            return Some(message);
        }
        self.table.pop_lingering(slot)
    }

    /// Forgets what an association that has [closed](Event::Closed) still holds: messages that have arrived and not been taken. No
    /// effect on others.
    pub fn release(&mut self, id: AssociationId) {
        if let Some(slot) = self.table.slot_of(id) {
            self.table.release(slot);
        }
    }

    /// Ends an association in order (SHUTDOWN, RFC 9260 §11.1.3): what was sent is delivered first. [`Event::Closed`] follows.
    ///
    /// # Errors
    /// There is no such association.
    pub fn shutdown(&mut self, now: Instant, id: AssociationId) -> Result<(), AssociationError> {
        let slot = self.live_slot(id)?;
        self.with(slot, now, |association, cx| association.shutdown(cx));
        Ok(())
    }

    /// All messages have been given that were accepted before [`Event::PeerShutdown`]: the shutdown may go on. Of use with
    /// [`queued_outside`](AssociationConfig::queued_outside) only, and without effect at other times.
    ///
    /// # Errors
    /// There is no such association.
    pub fn finish_sending(&mut self, now: Instant, id: AssociationId) -> Result<(), AssociationError> {
        let slot = self.live_slot(id)?;
        self.with(slot, now, |association, cx| association.finish_sending(cx));
        Ok(())
    }

    /// Ends an association at once (ABORT, RFC 9260 §11.1.4); the peer is told `reason`, of which at most 1024 bytes are sent.
    ///
    /// # Errors
    /// There is no such association.
    pub fn abort(&mut self, now: Instant, id: AssociationId, reason: Bytes) -> Result<(), AssociationError> {
        let slot = self.live_slot(id)?;
        self.with(slot, now, |association, cx| association.abort(&reason, cx));
        Ok(())
    }

    /// Makes another of the peer's addresses the primary path (SET PRIMARY, RFC 9260 §11.1.6; for its source transport address
    /// [`set_source`](Self::set_source)).
    ///
    /// # Errors
    /// There is no such association, or the address is not its peer's.
    pub fn set_primary(&mut self, now: Instant, id: AssociationId, address: IpAddr) -> Result<(), AssociationError> {
        let slot = self.live_slot(id)?;
        let mut known = false;
        self.with(slot, now, |association, cx| known = association.set_primary(address, cx));
        if known { Ok(()) } else { Err(AssociationError::NoSuchPath(address)) }
    }

    /// The PMTU of a path is known to be another one, by ICMP say: `mtu` bytes with the IP header, taken as at least 576 (IPv4) or 1280
    /// (IPv6). DATA that was cut for a larger one keeps its size, and IP has to fragment it (RFC 9260 §6.9, §7.3).
    ///
    /// # Errors
    /// There is no such association, or the address is not its peer's.
    pub fn set_path_mtu(
        &mut self,
        now: Instant,
        id: AssociationId,
        address: IpAddr,
        mtu: u16,
    ) -> Result<(), AssociationError> {
        let slot = self.live_slot(id)?;
        let mut known = false;
        self.with(slot, now, |association, _| known = association.set_path_mtu(address, mtu, now));
        if known { Ok(()) } else { Err(AssociationError::NoSuchPath(address)) }
    }

    /// Turns the heartbeat of a path on, with this HB.interval, or off with `None`; that of all paths if `address` is `None`
    /// (CHANGE HEARTBEAT, RFC 9260 §11.1.9). Addresses that are not verified yet are probed all the same.
    ///
    /// # Errors
    /// There is no such association, the address is not its peer's, or the interval is less than 10 ms.
    pub fn set_heartbeat(
        &mut self,
        now: Instant,
        id: AssociationId,
        address: Option<IpAddr>,
        interval: Option<Duration>,
    ) -> Result<(), AssociationError> {
        check_heartbeat(interval)?;
        let slot = self.live_slot(id)?;
        let mut known = false;
        self.with(slot, now, |association, cx| known = association.set_heartbeat(address, interval, cx));
        match address {
            Some(address) if !known => Err(AssociationError::NoSuchPath(address)),
            _ => Ok(()),
        }
    }

    /// Has a HEARTBEAT sent on a path now, unless one is under way (REQUEST HEARTBEAT, RFC 9260 §11.1.10). The path's
    /// [`srtt`](crate::PathInfo::srtt) or an [`Event::PathChanged`] tell how it went.
    ///
    /// # Errors
    /// There is no such association, or the address is not its peer's.
    pub fn request_heartbeat(
        &mut self,
        now: Instant,
        id: AssociationId,
        address: IpAddr,
    ) -> Result<(), AssociationError> {
        let slot = self.live_slot(id)?;
        let mut known = false;
        self.with(slot, now, |association, cx| known = association.request_heartbeat(address, cx));
        if known { Ok(()) } else { Err(AssociationError::NoSuchPath(address)) }
    }
}

impl Endpoint {
    fn live_slot(&self, id: AssociationId) -> Result<u32, AssociationError> {
        self.association(id).map(|_| id.slot()).ok_or(AssociationError::NoAssociation)
    }

    /// Does something with an association, then whatever that has made necessary.
    fn with(&mut self, slot: u32, now: Instant, act: impl FnOnce(&mut Association, &mut Context<'_>)) {
        let Some(live) = self.table.live_mut(slot) else { return };
        act(&mut live.association, &mut Context { now, rng: &mut self.rng, events: &mut self.events });
        self.after(slot, now);
    }

    /// Keeps maps, timers and lists true to what has become of an association.
    fn after(&mut self, slot: u32, now: Instant) {
        self.table.sync(slot);
        let Some(live) = self.table.live_mut(slot) else { return };
        if let Some(farewell) = live.association.take_farewell() {
            self.answers.push_back(farewell);
        }
        if !live.association.is_closed() {
            if !live.dirty {
                live.dirty = true;
                self.dirty.push_back(slot);
            }
            return;
        }
        if live.association.is_accepted()
            && let Some(listener) = self.listeners.get_mut(&live.association.local_port())
        {
            listener.accepted = listener.accepted.saturating_sub(1);
        }
        let ending = if live.association.ended_mutually() { Ending::Mutual } else { Ending::OneSided };
        let (port, tag) = (live.association.local_port(), live.association.local_tag());
        self.spent.insert(port, tag, live.cookie_expiry, ending, now);
        self.buffer_memory += live.association.grown();
        self.wheel.disarm(slot);
        //= RFC 9260 §14.2: "if an association is "CLOSED", its TCB SHOULD be removed"
        self.table.bury(slot);
    }

    /// Sees to it that the wheel wakes an association no later than its earliest deadline. If it does so earlier, no harm is done.
    fn arm(&mut self, slot: u32) {
        let deadline = self.table.live_mut(slot).and_then(|live| live.association.next_timeout());
        if let Some(deadline) = deadline.filter(|deadline| !self.wheel.is_armed_by(slot, *deadline)) {
            self.wheel.arm(slot, deadline);
        }
    }

    /// A tag that no association on this port has, and that leads to this worker (§5.3.1).
    fn draw_tag(&mut self, local_port: u16) -> u32 {
        loop {
            let tag = self.rng.next_u32();
            let ours = self.config.steering.is_none_or(|at| at.steering.owner(tag) == at.worker);
            //= RFC 9260 §5.1: "Tag_A SHOULD be a random number in the range of 1 to 4294967295"
            //= RFC 9260 §5.3.1: "Initiate Tag values SHOULD be selected from the range of 1 to 2^32 - 1."
            //= RFC 9260 §3.3.3: "The Initiate Tag MUST NOT take the value 0."
            let spent = self.spent.has(local_port, tag);
            if tag != 0 && ours && !spent && !self.table.has_tag(local_port, tag) {
                return tag;
            }
        }
    }

    /// Settings to connect with, in the same place as the last ones if they are the same.
    fn share_config(&mut self, config: AssociationConfig) -> Arc<AssociationConfig> {
        match &self.connect_config {
            Some(last) if **last == config => Arc::clone(last),
            _ => Arc::clone(self.connect_config.insert(Arc::new(config))),
        }
    }

    /// An ephemeral port that is free for these peers. With steering, workers have disjoint sets, so that two of them never give a peer
    /// the same port.
    fn pick_port(&mut self, peer_port: u16, peers: &[IpAddr]) -> Option<u16> {
        let (first, last) = (*self.config.ephemeral_ports.start(), *self.config.ephemeral_ports.end());
        let count = u32::from(last.checked_sub(first)?) + 1;
        let start = self.rng.next_u32() % count;
        (0..count).map(|step| first + ((start + step) % count) as u16).find(|port| {
            let ours = self
                .config
                .steering
                .is_none_or(|at| port % at.steering.workers.max(1) == at.worker % at.steering.workers.max(1));
            let free = |peer: &IpAddr| self.table.find_peer(*peer, peer_port, *port).is_none();
            *port != 0 && ours && !self.listeners.contains_key(port) && peers.iter().all(free)
        })
    }

    /// The addresses that an association uses: those asked for, or all.
    fn check_local(&self, asked: Vec<IpAddr>, peers: &[IpAddr]) -> Result<Vec<IpAddr>, ConnectError> {
        let addresses: Vec<IpAddr> = match asked.is_empty() {
            true => self.config.addresses.clone(),
            false => asked.iter().map(IpAddr::to_canonical).collect(),
        };
        if let Some(foreign) = addresses.iter().find(|address| !self.is_ours(**address)) {
            return Err(ConnectError::NotOurAddress(*foreign));
        }
        let same_family = |peer: &IpAddr| addresses.iter().any(|own| own.is_ipv4() == peer.is_ipv4());
        match peers.iter().find(|peer| !addresses.is_empty() && !same_family(peer)) {
            Some(peer) => Err(ConnectError::NoSourceFor(*peer)),
            None => Ok(addresses),
        }
    }

    /// What of our addresses a peer at `peer` is told: not what it cannot reach.
    fn announced(&self, addresses: &[IpAddr], peer: IpAddr) -> Arc<[IpAddr]> {
        addresses.iter().filter(|address| in_scope(**address, peer)).copied().collect()
    }
}

/// The peer's addresses, each once and in its plain form.
fn check_peers(addresses: &[IpAddr], config: &AssociationConfig) -> Result<Vec<IpAddr>, ConnectError> {
    let mut peers: Vec<IpAddr> = Vec::with_capacity(addresses.len());
    for address in addresses.iter().map(IpAddr::to_canonical) {
        if !is_unicast(address) {
            return Err(ConnectError::InvalidAddress(address));
        }
        if !peers.contains(&address) {
            peers.push(address);
        }
    }
    if peers.is_empty() {
        return Err(ConnectError::NoPeerAddress);
    }
    if peers.len() > config.max_paths {
        return Err(ConnectError::TooManyAddresses { max: config.max_paths });
    }
    Ok(peers)
}
