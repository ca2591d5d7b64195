//! An association: the state machine of RFC 9260 for one peer.
//!
//! Four kinds of methods, as the endpoint has them: getters; `handle_*` (a packet or a timeout happened); actions (send,
//! shutdown …); and `poll_transmit`. What has happened is told by the events in the [`Context`] that `handle_*` and actions are
//! given. After any of them the endpoint asks three things: has it ended ([`is_closed`](Association::is_closed)), which
//! packets does it want to send, when must it be looked at again.
//!
//! | file | holds |
//! |---|---|
//! | `state` | the states, each with what only it has |
//! | `status` | what applications may ask |
//! | `parameters` | what INIT and INIT ACK say: addresses, cookie, extensions (§5.1.2) |
//! | `handshake` | setting up: INIT ACK, COOKIE ECHO, COOKIE ACK, stale cookies (§5.1, §5.2.6) |
//! | `collision` | table 12: COOKIE ECHO when the association exists (§5.2.4) |
//! | `inbound` | packets and chunks in, by state |
//! | `acknowledge` | SACKs in: windows, losses, timers (§6.2.1, §7.2) |
//! | `ecn` | marked packets: ECNE and CWR (RFC 4960 Appendix A) |
//! | `outbound` | packets out: what goes where, bundling, DATA (§6.1, §6.10) |
//! | `control` | packets out: control chunks and SACKs (§6.2, §6.10) |
//! | `receiver`, `sender` | DATA on either side |
//! | `timeouts` | what each timer does when it expires |
//! | `paths` | heartbeats, errors, fail-over (§5.4, §8) |
//! | `pmtu` | the PMTU of each path (§7.3, RFC 8899) |
//! | `shutdown` | ending in order or at once (§9) |

mod acknowledge;
pub(crate) mod collision;
mod control;
mod ecn;
mod handshake;
mod inbound;
mod outbound;
mod parameters;
mod paths;
mod pmtu;
mod receiver;
mod sender;
mod shutdown;
mod source;
mod state;
mod status;
mod timeouts;

use core::net::IpAddr;
use core::num::NonZeroU16;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::StdRng;

use self::ecn::EcnState;
use self::receiver::{Receiver, Unfinished};
use self::sender::Sender;
use self::state::State;
use crate::answer::Answer;
use crate::config::AssociationConfig;
use crate::data::outstanding::{MESSAGE_OVERHEAD, OutboundChunk};
use crate::data::send_queue::Unsent;
use crate::event::{Event, PathState};
use crate::path::{Path, Paths};
use crate::serial::Tsn;
use crate::time::Instant;
use crate::wire::{Checksum, padded};
use crate::{AssociationId, AssociationStats, Message, ReceivedMessage, SendError, SendFailure};

pub(crate) use self::handshake::NewAssociation;
pub(crate) use self::inbound::Inbound;
pub(crate) use self::parameters::{PeerParameters, in_scope, is_unicast};

/// Most control chunks that wait to be sent. A peer that provokes more (HEARTBEATs, unknown chunks) is not answered for a while.
const MAX_CONTROL: usize = 64;

/// Bytes that replies leave free in their packet: the common header, the small control chunks that may come first, and a SACK with
/// Duplicate TSNs; its Gap Ack Blocks take what is left.
const BESIDE_REPLIES: usize = 12 + 24 + 16 + 4 * 16;

/// The space of so many events is kept when none waits.
const KEPT_EVENTS: usize = 1024;

/// One association, to look at. Actions go by the [`Endpoint`](crate::Endpoint) and the association's id.
#[derive(Debug)]
pub struct Association {
    id: AssociationId,
    config: Arc<AssociationConfig>,
    /// Set by the endpoint: for all associations alike.
    limits: Limits,
    //= RFC 9260 §1.3: "All transport addresses used by an SCTP endpoint MUST use the same port number"
    local_port: u16,
    peer_port: u16,
    //= RFC 9260 §5.3.1: "the Verification Tag value used by either endpoint in a given association MUST NOT change
    //= during the life time of an association"
    local_tag: u32,
    /// 0 while it is not known.
    peer_tag: u32,
    /// Nonces that name this association in cookies, ours and the peer's (§5.2.2).
    tie_tags: (u32, u32),
    local_initial_tsn: Tsn,
    /// Our addresses that the peer is told about; empty if it is to use the one it sees.
    local_addresses: Arc<[IpAddr]>,
    /// The application chose our addresses: routing may not.
    bound: bool,
    state: State,
    paths: Paths,
    /// Consecutive timeouts on all paths (§8.1).
    error_count: u32,
    outbound_streams: u16,
    inbound_streams: u16,
    /// The application wants to end as soon as the association is established.
    shutdown_requested: bool,
    /// The peer established it with a port that we listen on.
    accepted: bool,
    /// The peer has shut down, and the user has not yet handed over all that it had accepted before.
    draining: bool,
    /// It has ended in a way that both sides know of.
    ended_mutually: bool,
    /// If both sides are capable of ECN: where it stands.
    ecn: Option<Box<EcnState>>,
    sender: Sender,
    receiver: Receiver,
    /// Control chunks that wait, in the order in which they go.
    control: VecDeque<QueuedControl>,
    /// What is still to be said in a packet of its own: ABORT, SHUTDOWN COMPLETE, mostly after the end.
    farewell: Option<Box<Answer>>,
    /// When to give back what queues have grown to, if no heartbeat does.
    release_at: Option<Instant>,
    stats: AssociationStats,
}

/// Limits that the endpoint sets for all its associations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most bytes of an SCTP packet.
    pub(crate) max_packet: u16,
    pub(crate) checksum: Checksum,
}

impl Limits {
    /// Most bytes of an SCTP packet.
    pub(crate) fn max_packet(&self) -> usize {
        self.max_packet.into()
    }
}

/// What methods are given that act on the world outside of the association.
pub(crate) struct Context<'a> {
    pub(crate) now: Instant,
    pub(crate) rng: &'a mut StdRng,
    pub(crate) events: &'a mut EventQueue,
}

/// Events that wait for the application.
#[derive(Debug)]
pub(crate) struct EventQueue {
    queue: VecDeque<(AssociationId, Event)>,
    limit: usize,
}

impl EventQueue {
    pub(crate) fn new(limit: usize) -> Self {
        Self { queue: VecDeque::new(), limit }
    }

    /// Adds an event. Of those that a peer could provoke without end some are dropped when too many wait.
    pub(crate) fn push(&mut self, id: AssociationId, event: Event) {
        let can_be_dropped = matches!(event, Event::RemoteError { .. } | Event::PathChanged { .. });
        if !can_be_dropped || self.queue.len() < self.limit {
            self.queue.push_back((id, event));
        }
    }

    pub(crate) fn pop(&mut self) -> Option<(AssociationId, Event)> {
        let next = self.queue.pop_front();
        // What a flood has left behind goes when it is over.
        if self.queue.is_empty() && self.queue.capacity() > KEPT_EVENTS {
            self.queue = VecDeque::new();
        }
        next
    }
}

/// A control chunk that waits to be sent, and the path that it goes to.
#[derive(Debug)]
struct QueuedControl {
    path: usize,
    /// Number of the packet that was received last: what was provoked by the same packet has the same.
    packet: u64,
    chunk: Control,
}

/// Control chunks. What can change until they are sent is filled in then.
#[derive(Debug)]
enum Control {
    Init,
    CookieEcho,
    CookieAck,
    Heartbeat,
    /// HEARTBEAT and PAD, in a packet of their own.
    PathMtuProbe,
    Shutdown,
    ShutdownAck,
    /// HEARTBEAT ACK and ERROR, written when they were provoked.
    Encoded(Bytes),
}

// What the endpoint does with it.
impl Association {
    pub(crate) fn is_closed(&self) -> bool {
        self.state.is_closed()
    }

    pub(crate) fn local_initial_tsn(&self) -> Tsn {
        self.local_initial_tsn
    }

    pub(crate) fn shared_config(&self) -> Arc<AssociationConfig> {
        Arc::clone(&self.config)
    }

    pub(crate) fn shared_addresses(&self) -> Arc<[IpAddr]> {
        Arc::clone(&self.local_addresses)
    }

    /// Other settings from now on.
    pub(crate) fn set_config(&mut self, config: Arc<AssociationConfig>) {
        self.config = config;
    }

    /// Whether queues have space.
    fn holds_memory(&self) -> bool {
        self.sender.outstanding.holds_memory() || self.sender.queue.holds_memory() || self.receiver.holds_memory()
    }

    /// Gives memory back that traffic has left behind. For an association that is idle.
    fn release_memory(&mut self) {
        self.sender.queue.shrink();
        self.sender.outstanding.shrink();
        self.receiver.shrink();
        self.control.shrink_to_fit();
    }

    pub(crate) fn tie_tags(&self) -> (u32, u32) {
        self.tie_tags
    }

    pub(crate) fn is_accepted(&self) -> bool {
        self.accepted
    }

    /// Whether it has ended in a way that the peer knows of, too.
    pub(crate) fn ended_mutually(&self) -> bool {
        self.ended_mutually
    }

    pub(crate) fn take_farewell(&mut self) -> Option<Answer> {
        self.farewell.take().map(|farewell| *farewell)
    }

    pub(crate) fn peer_addresses(&self) -> impl ExactSizeIterator<Item = IpAddr> + '_ {
        self.paths.iter().map(|path| path.address)
    }

    pub(crate) fn find_path(&self, address: IpAddr) -> Option<usize> {
        self.paths.find(address)
    }

    /// Whether a message may be sent, however full the send buffer is; gives its path, if it is to go by one of its own.
    #[inline]
    pub(crate) fn check(&self, message: &Message) -> Result<Option<u8>, SendError> {
        let ends = matches!(
            self.state,
            State::ShutdownPending | State::ShutdownSent(_) | State::ShutdownReceived | State::ShutdownAckSent(_)
        );
        //= RFC 9260 §4: "In the SHUTDOWN-RECEIVED state, the endpoint MUST NOT accept any new send requests from its
        //= SCTP user."
        //= RFC 9260 §4: "In the SHUTDOWN-ACK-SENT state, the endpoint MUST NOT accept any new send requests from its
        //= SCTP user."
        //= RFC 9260 §9.2: "An endpoint SHOULD reject any new data request from its upper layer"
        //= RFC 9260 §9.2: "the SHUTDOWN chunk receiver MUST NOT accept new data from its SCTP user"
        if (ends && !self.draining) || self.shutdown_requested {
            return Err(SendError::ShuttingDown);
        }
        //= RFC 9260 §5.1.1: "the valid outbound stream identifier range for either endpoint MUST be 0 to min(local OS,
        //= remote MIS) - 1"
        //= RFC 9260 §6.5: "Every DATA chunk MUST carry a valid stream identifier."
        if message.stream >= self.outbound_streams {
            return Err(SendError::InvalidStream { stream: message.stream, streams: self.outbound_streams });
        }
        let (len, max) = (message.payload.len(), self.config.max_message_size);
        //= RFC 9260 §6.2: "An endpoint SHOULD NOT send a DATA chunk with no user data part."
        if len == 0 {
            return Err(SendError::Empty);
        }
        if len > max {
            return Err(SendError::TooLong { len, max });
        }
        // Paths keep their places until the peer restarts, when nothing waits any more.
        match message.destination {
            None => Ok(None),
            Some(address) => Ok(Some(self.paths.find(address).ok_or(SendError::NoSuchPath(address))? as u8)),
        }
    }

    /// Whether the send buffer has room for a message of `len` bytes.
    #[inline]
    pub(crate) fn has_room(&self, len: usize) -> bool {
        self.sender.has_room(len)
    }

    /// A message was refused for want of room: the application is to be told when there is some.
    pub(crate) fn refuse(&mut self) {
        self.sender.refused = true;
    }

    /// Takes a message to send, which has been [checked](Self::check) and has [room](Self::has_room).
    #[inline]
    pub(crate) fn send(&mut self, message: Message, path: Option<u8>, now: Instant) {
        self.sender.push(message, path, &self.config, now);
        self.stats.messages_sent += 1;
    }

    /// By how many bytes the receive buffer ought to grow.
    pub(crate) fn receive_growth(&self) -> usize {
        self.receiver.growth()
    }

    /// By how many bytes the send buffer ought to grow: to twice the window of the path that DATA goes to.
    pub(crate) fn send_growth(&self) -> usize {
        let window = self.paths[self.paths.for_data()].controller_window() as usize;
        (2 * window).min(self.config.max_send_buffer).saturating_sub(self.sender.buffer())
    }

    pub(crate) fn enlarge_receive_buffer(&mut self, by: usize) {
        self.receiver.enlarge(by);
    }

    pub(crate) fn enlarge_send_buffer(&mut self, by: usize) {
        self.sender.enlarge(by);
    }

    /// Bytes by which both buffers have grown.
    pub(crate) fn grown(&self) -> usize {
        self.receiver.buffer() - self.config.receive_buffer + self.sender.buffer() - self.config.send_buffer
    }

    /// Gives the next message to the application.
    pub(crate) fn recv(&mut self) -> Option<ReceivedMessage> {
        let message = self.receiver.pop()?;
        if let Some(point) = self.config.partial_delivery_point {
            self.receiver.deliver_part(point);
        }
        Some(message)
    }

    /// Whether taking a message has made a SACK due.
    pub(crate) fn wants_to_send(&self) -> bool {
        self.receiver.sack.due
    }

    /// The messages that wait for the application, when the association is being forgotten.
    pub(crate) fn take_ready(&mut self) -> VecDeque<ReceivedMessage> {
        self.receiver.take_ready()
    }

    /// A packet whose tag is right has come on a path, if it has one: in UDP from this port, or directly over IP. Packets to there go the same way from
    /// now on, and so do those to addresses that the peer tells of.
    ///
    /// "After finding the SCTP association (which includes checking the verification tag), the UDP source port MUST be stored as the
    /// encapsulation port for the destination address the SCTP packet is received from"; "When a non-encapsulated SCTP packet is received
    /// … the encapsulation of outgoing packets belonging to the same association and the corresponding destination address MUST be
    /// disabled" (RFC 6951 §5.4).
    fn learn_encapsulation(&mut self, path: Option<usize>, port: Option<NonZeroU16>) {
        self.paths.encapsulation = port;
        if let Some(at) = path {
            self.paths.set_encapsulation(at, port);
        }
    }

    /// The user says how packets to an address of the peer go: in UDP to this port, or directly over IP (RFC 6951 §6.1). False if the peer
    /// has no such address.
    pub(crate) fn set_remote_udp_port(&mut self, address: IpAddr, port: Option<NonZeroU16>) -> bool {
        let Some(at) = self.paths.find(address) else { return false };
        self.paths.set_encapsulation(at, port);
        true
    }

    /// The UDP port that packets to an address of the peer go to; `None` in `Some` for directly over IP, `None` if it has no such address.
    pub(crate) fn encapsulation(&self, address: IpAddr) -> Option<Option<NonZeroU16>> {
        self.paths.find(address).map(|at| self.paths[at].encapsulation)
    }

    /// Makes another of the peer's addresses the primary path (§11.1.6).
    pub(crate) fn set_primary(&mut self, address: IpAddr, cx: &mut Context<'_>) -> bool {
        let Some(path) = self.paths.find(address) else { return false };
        if path != self.paths.primary() {
            self.paths.set_primary(path);
            self.emit(cx, Event::PrimaryChanged { address });
        }
        true
    }

    /// Makes one of our addresses the source of all packets that it can be the source of (§11.1.6). False if the peer has not been told of
    /// it, and would not know whose packets they are.
    pub(crate) fn set_source(&mut self, source: IpAddr) -> bool {
        if !self.local_addresses.contains(&source) {
            return false;
        }
        let fits = |path: &&mut Path| path.address.is_ipv4() == source.is_ipv4() && in_scope(source, path.address);
        for path in self.paths.iter_mut().filter(fits) {
            path.source = Some(source);
        }
        true
    }

    /// Sets how many errors in a row make a path inactive (§11.1.12). False if the peer has no such address.
    pub(crate) fn set_failure_threshold(&mut self, address: IpAddr, threshold: u16) -> bool {
        let Some(path) = self.paths.find(address) else { return false };
        self.paths[path].set_threshold(threshold);
        true
    }
}

impl Association {
    fn emit(&self, cx: &mut Context<'_>, event: Event) {
        cx.events.push(self.id, event);
    }

    /// Adds a path for an address of the peer, if it is new and there may be another.
    fn add_path(&mut self, address: IpAddr, state: PathState, now: Instant) -> Option<usize> {
        if let Some(known) = self.paths.find(address) {
            return Some(known);
        }
        if self.paths.len() >= self.config.max_paths {
            return None;
        }
        let path = Path::new(address, state, &self.config, now);
        let mut path = path.encapsulated(self.paths.encapsulation, &self.config);
        if self.bound {
            path.source = closest(&self.local_addresses, address);
        }
        self.paths.push(path);
        self.sender.outstanding.set_path_count(self.paths.len());
        Some(self.paths.len() - 1)
    }

    /// Queues a control chunk; behind those that wait, but before them if it must be first in its packet.
    fn queue_control(&mut self, path: usize, chunk: Control) {
        match chunk {
            Control::Init | Control::CookieEcho | Control::CookieAck => {
                //= RFC 9260 §3.2.2: "Any time a COOKIE ECHO chunk is sent in a packet, it MUST be the first chunk."
                //= RFC 9260 §3.3.11: "This chunk MUST precede any DATA chunk sent within the association"
                //= RFC 9260 §3.3.12: "This chunk MUST precede any DATA or SACK chunk sent within the association"
                //= RFC 9260 §5.1: "but the COOKIE ACK chunk MUST be the first chunk in the packet"
                //= RFC 9260 §5.1: "it MUST be the first chunk in the packet and, until the COOKIE ACK chunk is
                //= returned, the sender MUST NOT send any other packets to the peer"
                //= RFC 9260 §5.1.5: "however, the COOKIE ACK chunk MUST be the first chunk in the SCTP packet"
                //= RFC 9260 §5.1.5: "if the SACK chunk is bundled with the COOKIE ACK chunk, the COOKIE ACK chunk MUST
                //= appear first in the SCTP packet"
                // Once is enough, however often a peer provokes it.
                let kind = core::mem::discriminant(&chunk);
                let same =
                    |queued: &QueuedControl| queued.path == path && core::mem::discriminant(&queued.chunk) == kind;
                if !self.control.iter().any(same) {
                    self.control.push_front(QueuedControl { path, packet: self.stats.packets_received, chunk });
                }
            }
            Control::Encoded(ref reply) if !self.has_space_for(reply.len(), path) => {}
            _ if self.control.len() < MAX_CONTROL => {
                self.control.push_back(QueuedControl { path, packet: self.stats.packets_received, chunk });
            }
            _ => {}
        }
    }

    /// Whether a reply to the packet in hand fits the packet that those before it go in, beside a SACK. One alone is always sent.
    //= RFC 9260 §12.4: "When an SCTP implementation receives a packet containing multiple control or DATA chunks and the
    //= processing of the packet would result in sending multiple chunks in response, the sender of the response chunk(s)
    //= MUST NOT send more than one packet containing chunks other than DATA chunks."
    fn has_space_for(&self, len: usize, path: usize) -> bool {
        let same = |queued: &&QueuedControl| queued.packet == self.stats.packets_received;
        let length = |queued: &QueuedControl| match &queued.chunk {
            Control::Encoded(reply) => padded(reply.len()),
            _ => 0,
        };
        let before: usize = self.control.iter().filter(same).map(length).sum();
        before == 0 || before + padded(len) + BESIDE_REPLIES <= self.paths.max_packet(path)
    }

    /// Reports messages that were not sent.
    fn report_unsent(&mut self, unsent: impl IntoIterator<Item = Unsent>, reason: SendFailure, cx: &mut Context<'_>) {
        for Unsent { context, stream, begun, ppid, payload } in unsent {
            self.emit(cx, Event::SendFailed { context, stream, sent: begun, reason, ppid, payload });
        }
    }

    /// Reports messages of which nothing was sent, and gives their space in the send buffer back.
    fn discard_unsent(&mut self, unsent: Vec<Unsent>, reason: SendFailure, cx: &mut Context<'_>) {
        let bytes = unsent.iter().map(|message| message.len() + MESSAGE_OVERHEAD).sum();
        self.report_unsent(unsent, reason, cx);
        if bytes > 0 && self.sender.release(bytes) {
            self.emit(cx, Event::Writable);
        }
    }

    /// Whether [`drop_expired`](Self::drop_expired) may have something to do.
    pub(crate) fn has_expiring(&self) -> bool {
        self.sender.queue.has_expiring()
    }

    /// Gives up messages whose turn it is and whose lifetime is over (§11.1.5).
    pub(crate) fn drop_expired(&mut self, cx: &mut Context<'_>) {
        let expired: Vec<Unsent> = core::iter::from_fn(|| self.sender.queue.take_expired(cx.now)).collect();
        if !expired.is_empty() {
            self.discard_unsent(expired, SendFailure::Expired, cx);
            self.all_acknowledged(cx);
        }
    }

    /// Tells the application of a message that it will not get the rest of.
    fn abort_partial_delivery(&mut self, cx: &mut Context<'_>) {
        let was_ready = self.receiver.ready();
        let (unfinished, waited) = self.receiver.abort_partial();
        if let Some(Unfinished { stream, ssn, ppid }) = unfinished {
            self.emit(cx, Event::PartialDeliveryAborted { stream, ssn, ppid });
        }
        self.stats.messages_received += waited as u64;
        if was_ready == 0 && waited > 0 {
            self.emit(cx, Event::MessageReceived);
        }
    }

    /// Gives up everything that is outstanding or waits, and reports it.
    fn fail_all_data(&mut self, reason: SendFailure, cx: &mut Context<'_>) {
        // A message is reported once, whether its end is outstanding or waits. Gap Ack Blocks save none: what lies above a hole
        // has arrived, but cannot have been delivered for good.
        let mut waiting = self.sender.queue.drain();
        let mut failed: Vec<Unsent> = Vec::new();
        let mut ended = true;
        for chunk in self.sender.outstanding.drain() {
            let OutboundChunk { context, stream, ppid, flags, payload, .. } = chunk;
            match failed.last_mut().filter(|_| !ended) {
                Some(message) => message.payload.push(payload),
                None => {
                    failed.push(Unsent { context, stream, begun: true, ppid, payload: smallvec::smallvec![payload] })
                }
            }
            ended = flags.is_ending();
        }
        if !ended
            && let Some(message) = failed.last_mut()
            && let Some(rest) = waiting.first_mut().filter(|rest| rest.begun)
        {
            message.payload.append(&mut rest.payload);
            waiting.remove(0);
        }
        self.report_unsent(failed, reason, cx);
        self.report_unsent(waiting, reason, cx);
        let used = self.sender.buffered();
        self.sender.release(used);
    }
}

/// Nonces to name an association in cookies; never 0, which means none (§5.2.2).
pub(crate) fn draw_tie_tags(rng: &mut StdRng) -> (u32, u32) {
    use rand::Rng;
    (rng.next_u32().max(1), rng.next_u32().max(1))
}

/// The one of `addresses` that shares the longest prefix with `peer`, of those of the same family.
fn closest(addresses: &[IpAddr], peer: IpAddr) -> Option<IpAddr> {
    let prefix = |address: &IpAddr| match (address, peer) {
        (IpAddr::V4(own), IpAddr::V4(peer)) => Some((own.to_bits() ^ peer.to_bits()).leading_zeros()),
        (IpAddr::V6(own), IpAddr::V6(peer)) => Some((own.to_bits() ^ peer.to_bits()).leading_zeros()),
        _ => None,
    };
    let fitting = addresses.iter().filter_map(|address| Some((prefix(address)?, *address)));
    // The first of equals.
    fitting.reduce(|best, other| if other.0 > best.0 { other } else { best }).map(|(_, address)| address)
}
