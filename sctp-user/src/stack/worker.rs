//! A worker: one thread that joins a link to an endpoint.
//!
//! The worker owns its link, its endpoint with all its associations, and their timers; on the way
//! of a packet it shares nothing. One turn of its loop is, in this order:
//!
//! 1. do what the application asks: commands, then the associations with something in their channel;
//! 2. take a batch of packets from the link, and what other workers handed over, to the endpoint;
//! 3. let timers that are due expire;
//! 4. tell the data path of tags that came or went (before a packet that needs them is sent);
//! 5. pass events and messages to the channels;
//! 6. write packets until there is nothing to send, the budget is used up or the link is full;
//! 7. kick the link.
//!
//! A turn that did nothing is followed by a short spin, and then by sleep in the link until a packet
//! comes, a timer is due or someone puts mail in (see [`Mailbox`]).

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use sctp_core::time::Instant;
use sctp_core::{AssociationId, Datagram, Discard, Endpoint, Event, Handled, SendError, SharedPayload, TagChange};

use super::accept::Acceptor;
use super::channel::{Channel, Established};
use super::clock::Clock;
use super::command::{Command, ConnectFailure, Inspection};
use super::mailbox::Mailbox;
use super::notification::{Ended, Notification};
use super::ports::{PortLease, Ports, Reason};
use super::spin::Spin;
use super::steer::{OwnedPacket, Steer};
use super::table::{Entry, Table};
use crate::datapath::Link;

/// Packets received in one turn.
const RECEIVE_BUDGET: usize = 64;
/// Packets sent in one turn.
const TRANSMIT_BUDGET: usize = 256;
/// Messages taken from one association in one turn.
const SEND_BUDGET: usize = 512;
/// Associations served in one turn.
const SERVE_BUDGET: usize = 256;
/// How long to sleep at most while packets wait for room in the link.
const BACK_PRESSURE_NAP: Duration = Duration::from_micros(200);

/// What a worker has counted.
#[derive(Debug, Default, Clone)]
pub(crate) struct WorkerCounters {
    /// Turns of the loop.
    pub(crate) turns: u64,
    /// Times that the worker went to sleep.
    pub(crate) sleeps: u64,
    /// Packets given to the endpoint.
    pub(crate) packets_received: u64,
    /// Packets written.
    pub(crate) packets_sent: u64,
    /// Packets that the link did not take.
    pub(crate) packets_not_sent: u64,
    /// Packets handed to other workers.
    pub(crate) handed_over: u64,
    /// Packets that other workers handed to this one.
    pub(crate) taken_over: u64,
    /// Packets that the endpoint answered without an association.
    pub(crate) answered: u64,
    /// Times that the link had no room for a packet.
    pub(crate) back_pressure: u64,
    /// Packets that the endpoint dropped, by reason (`Discard as usize`).
    pub(crate) discarded: [u64; Discard::ALL.len()],
}

/// What the workers of a stack have in common.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    pub(crate) steer: Arc<Steer>,
    pub(crate) ports: Arc<Ports>,
    pub(crate) clock: Clock,
}

/// One worker.
pub(crate) struct Worker<L: Link> {
    link: L,
    endpoint: Endpoint,
    mailbox: Arc<Mailbox>,
    common: Common,
    table: Table,
    /// The ports that are listened on.
    acceptors: HashMap<u16, Arc<Acceptor>>,
    /// Associations to serve once more in the next turn.
    agenda: VecDeque<AssociationId>,
    spin: Spin,
    counters: WorkerCounters,
    /// The state of the host's addresses that was looked at last, and what they were.
    generation: u64,
    addresses: Vec<IpAddr>,
    /// When the endpoint's next timer is due.
    next_timeout: Option<Instant>,
    /// Whether packets wait for room in the link.
    congested: bool,
    /// When the worker stops, whatever is left.
    stop_at: Option<Instant>,
    /// Why it has ended, once it knows.
    farewell: Option<String>,
}

impl<L: Link> Worker<L> {
    /// A worker that has not begun. `endpoint` must have been made for the mailbox's worker index.
    pub(crate) fn new(link: L, endpoint: Endpoint, mailbox: Arc<Mailbox>, common: Common) -> Worker<L> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Worker {
            link,
            endpoint,
            mailbox,
            common,
            table: Table::default(),
            acceptors: HashMap::new(),
            agenda: VecDeque::new(),
            spin: Spin::new(cores),
            counters: WorkerCounters::default(),
            generation: 0,
            addresses: Vec::new(),
            next_timeout: None,
            congested: false,
            stop_at: None,
            farewell: None,
        }
    }

    /// Runs until a command stops the worker or its link fails.
    pub(crate) fn run(mut self) {
        match self.turn_until_stopped() {
            Ok(()) => self.farewell = Some("the stack was stopped".to_owned()),
            Err(error) => {
                let worker = self.mailbox.index();
                tracing::error!(worker, %error, "the worker's link failed");
                self.farewell = Some(format!("the link failed: {error}"));
            }
        }
    }

    fn turn_until_stopped(&mut self) -> io::Result<()> {
        loop {
            let now = self.common.clock.now();
            let worked = self.turn(now)?;
            self.counters.turns += 1;
            if self.stop_at.is_some_and(|stop_at| self.table.len() == 0 || now >= stop_at) {
                return self.finish();
            }
            if worked {
                self.spin.worked();
            } else if self.spin.again(now.as_nanos()) {
                // Where there are more threads than cores, what is waited for needs this one.
                thread::yield_now();
            } else {
                self.sleep()?;
            }
        }
    }

    /// One turn; whether it did anything.
    fn turn(&mut self, now: Instant) -> io::Result<bool> {
        // The application first: what it has sent comes before a SHUTDOWN that has just arrived.
        let mut worked = self.obey(now);
        worked |= self.serve_ready(now);
        worked |= self.receive(now)?;
        worked |= self.take_over(now);
        worked |= self.expire(now);
        self.follow_addresses();
        self.announce(now);
        worked |= self.pass_events(now);
        worked |= self.transmit(now);
        // Asked when there is nothing left to send, where it costs least.
        self.next_timeout = self.endpoint.poll_timeout();
        self.link.flush()?;
        Ok(worked)
    }

    fn sleep(&mut self) -> io::Result<()> {
        if !self.mailbox.fall_asleep() {
            return Ok(());
        }
        let before = self.common.clock.now();
        let wake_at = [self.next_timeout, self.stop_at].into_iter().flatten().min();
        let mut timeout = wake_at.map(|at| at.saturating_duration_since(before));
        if self.congested {
            timeout = Some(timeout.map_or(BACK_PRESSURE_NAP, |t| t.min(BACK_PRESSURE_NAP)));
        }
        let result = if timeout == Some(Duration::ZERO) { Ok(()) } else { self.link.wait(timeout) };
        self.mailbox.wake_up();
        self.counters.sleeps += 1;
        self.spin.slept(self.common.clock.now().saturating_duration_since(before));
        result
    }
}

/// Packets.
impl<L: Link> Worker<L> {
    fn receive(&mut self, now: Instant) -> io::Result<bool> {
        let Worker { link, endpoint, mailbox, common, counters, .. } = self;
        let worker = mailbox.index();
        let mut sink = |datagram: Datagram<'_>| {
            if let Some(owner) = common.steer.elsewhere(&datagram, worker) {
                counters.handed_over += 1;
                owner.packet(OwnedPacket::copy(&datagram));
                return;
            }
            counters.packets_received += 1;
            counters.count(endpoint.handle(now, datagram));
        };
        Ok(link.receive(RECEIVE_BUDGET, &mut sink)? > 0)
    }

    /// Handles what other workers handed over.
    fn take_over(&mut self, now: Instant) -> bool {
        let mut worked = false;
        for _ in 0..RECEIVE_BUDGET {
            let Some(packet) = self.mailbox.next_packet() else { break };
            worked = true;
            self.counters.taken_over += 1;
            let handled = self.endpoint.handle(
                now,
                Datagram {
                    source: packet.source,
                    destination: packet.destination,
                    ecn: packet.ecn,
                    checksum: packet.checksum,
                    association: None,
                    bytes: &packet.bytes,
                    payload: &mut SharedPayload(&packet.bytes),
                },
            );
            self.counters.count(handled);
        }
        worked
    }

    fn transmit(&mut self, now: Instant) -> bool {
        self.congested = false;
        for sent in 0..TRANSMIT_BUDGET {
            let Some(buffer) = self.link.transmit_buffer() else {
                self.congested = true;
                self.counters.back_pressure += 1;
                return sent > 0;
            };
            let Some(transmit) = self.endpoint.poll_transmit(now, buffer) else {
                return sent > 0;
            };
            match self.link.transmit(&transmit) {
                Ok(()) => self.counters.packets_sent += 1,
                // As if the network had lost it. The reason is in the link's statistics.
                Err(error) => {
                    self.counters.packets_not_sent += 1;
                    tracing::debug!(%error, destination = %transmit.destination, "packet not sent");
                }
            }
        }
        true
    }

    fn expire(&mut self, now: Instant) -> bool {
        let due = self.next_timeout.is_some_and(|at| at <= now);
        if due {
            self.endpoint.handle_timeout(now);
        }
        due
    }

    /// Tells the data path and the other workers of tags and peers that came or went.
    fn announce(&mut self, now: Instant) {
        while let Some(change) = self.endpoint.poll_tag() {
            let worker = self.mailbox.index();
            let Err(error) = self.common.ports.control().change_tag(worker, &change) else {
                continue;
            };
            tracing::warn!(?change, %error, "the data path did not take a verification tag");
            if let TagChange::Added { id, .. } = change {
                // Its packets would be dropped as out of the blue: better to end it with a reason.
                let reason = Bytes::from_static(b"no room for another association");
                self.abort(now, id, reason);
            }
        }
        while let Some(change) = self.endpoint.poll_peer() {
            self.common.steer.change_peer(change, self.mailbox.index());
        }
    }
}

/// Addresses.
impl<L: Link> Worker<L> {
    /// The first worker watches the host's addresses for all.
    fn follow_addresses(&mut self) {
        if self.mailbox.index() != 0 {
            return;
        }
        let generation = self.common.ports.control().generation();
        if generation == self.generation {
            return;
        }
        self.generation = generation;
        let addresses = match self.common.ports.control().addresses() {
            Ok(addresses) => addresses,
            Err(error) => {
                tracing::warn!(%error, "the data path did not take the host's addresses");
                return;
            }
        };
        if addresses == self.addresses {
            return;
        }
        tracing::info!(?addresses, "the host's addresses");
        for mailbox in self.common.steer.mailboxes() {
            // A worker that has ended needs no addresses.
            let _ = mailbox.command(Command::SetAddresses(addresses.clone()));
        }
        self.addresses = addresses;
    }
}

impl WorkerCounters {
    fn count(&mut self, handled: Handled) {
        match handled {
            Handled::Processed(_) => {}
            Handled::Answered => self.answered += 1,
            Handled::Dropped(reason) => self.discarded[reason as usize] += 1,
        }
    }
}

/// The application's wishes.
impl<L: Link> Worker<L> {
    fn obey(&mut self, now: Instant) -> bool {
        let mut worked = false;
        while let Some(command) = self.mailbox.next_command() {
            worked = true;
            match command {
                Command::Connect { connect, limits, reply } => {
                    let result = self.connect(now, *connect, limits);
                    if let Err(Ok(channel)) = reply.send(result) {
                        // Whoever asked has gone in the meantime.
                        channel.abandon();
                    }
                }
                Command::Listen { port, config, acceptor, reply } => {
                    let result = self.endpoint.listen(port, *config);
                    if result.is_ok() {
                        self.acceptors.insert(port, acceptor);
                    }
                    // The listener's own end tells the worker, should nobody wait for the reply.
                    let _ = reply.send(result);
                }
                Command::Unlisten { port } => {
                    self.endpoint.unlisten(port);
                    self.acceptors.remove(&port);
                }
                Command::SetPrimary { id, address, reply } => {
                    // Whoever asked may have given up.
                    let _ = reply.send(self.endpoint.set_primary(now, id, address));
                }
                Command::SetAddresses(addresses) => self.endpoint.set_local_addresses(&addresses),
                Command::Inspect(look) => look(&Inspection {
                    worker: self.mailbox.index(),
                    endpoint: &self.endpoint,
                    link: self.link.stats(),
                    counters: &self.counters,
                    handed_over_lost: self.mailbox.packets_lost(),
                }),
                Command::Stop { grace } => self.begin_to_stop(now, grace),
            }
        }
        worked
    }

    fn connect(
        &mut self,
        now: Instant,
        connect: sctp_core::Connect,
        limits: super::channel::QueueLimits,
    ) -> Result<Arc<Channel>, ConnectFailure> {
        let id = self.endpoint.connect(now, connect).map_err(ConnectFailure::Refused)?;
        let port = self.endpoint.association(id).map_or(0, |association| association.local_port());
        match self.common.ports.lease(port, Reason::Association) {
            Ok(lease) => {
                let channel = Arc::new(Channel::new(id, self.mailbox.clone(), limits));
                self.adopt(id, channel.clone(), lease);
                Ok(channel)
            }
            Err(error) => {
                self.abort(now, id, Bytes::new());
                Err(ConnectFailure::Port(error))
            }
        }
    }

    /// Takes an association into the table.
    fn adopt(&mut self, id: AssociationId, channel: Arc<Channel>, lease: PortLease) {
        let before = self.table.insert(id, Entry::new(channel, lease));
        debug_assert!(before.is_none(), "{id} came before the end of its slot's last association");
    }

    fn begin_to_stop(&mut self, now: Instant, grace: Duration) {
        self.stop_at = Some(now + grace);
        for (_, acceptor) in self.acceptors.drain() {
            acceptor.close();
        }
        for channel in self.table.channels() {
            if grace.is_zero() {
                channel.abort(Bytes::from_static(b"the stack was stopped"));
            } else {
                channel.shutdown(true);
            }
        }
    }

    /// Serves the associations that have something in their channel.
    fn serve_ready(&mut self, now: Instant) -> bool {
        let again = self.agenda.len();
        for _ in 0..again {
            if let Some(id) = self.agenda.pop_front() {
                self.serve(now, id);
            }
        }
        let mut served = again;
        for _ in 0..SERVE_BUDGET {
            let Some(id) = self.mailbox.next_ready() else { break };
            if let Some(entry) = self.table.get_mut(id) {
                entry.channel.unschedule();
                self.serve(now, id);
            }
            served += 1;
        }
        served > 0
    }

    fn serve(&mut self, now: Instant, id: AssociationId) {
        let Some(entry) = self.table.get_mut(id) else { return };
        let requests = entry.channel.requests();
        if requests.abort() {
            let reason = entry.channel.abort_reason();
            self.abort(now, id, reason);
            return;
        }
        let drained = self.send(now, id);
        let Some(entry) = self.table.get_mut(id) else { return };
        if requests.shutdown() && drained && !entry.shut_down {
            entry.shut_down = true;
            // It may have ended already; then its last event is on the way.
            let _ = self.endpoint.shutdown(now, id);
        }
        self.deliver(id);
    }

    fn abort(&mut self, now: Instant, id: AssociationId, reason: Bytes) {
        // It may have ended already; then its last event is on the way.
        let _ = self.endpoint.abort(now, id, reason);
    }

    /// Moves messages from the channel to the association's send buffer; whether none is left.
    fn send(&mut self, now: Instant, id: AssociationId) -> bool {
        let Some(entry) = self.table.get_mut(id) else { return true };
        if entry.blocked {
            return false;
        }
        let mut released = 0;
        let mut drained = false;
        for _ in 0..SEND_BUDGET {
            let Some(message) = entry.pending.take().or_else(|| entry.channel.next_outgoing()) else {
                drained = true;
                break;
            };
            let charge = Channel::charge(message.payload.len());
            let (context, stream) = (message.context, message.stream);
            match self.endpoint.send(now, id, message) {
                Ok(()) => released += charge,
                Err(SendError::WouldBlock(message)) => {
                    entry.pending = Some(message);
                    entry.blocked = true;
                    break;
                }
                Err(error) => {
                    released += charge;
                    tracing::debug!(%id, %error, "a message was not taken");
                    entry.channel.refuse(context, stream);
                }
            }
        }
        if released > 0 {
            entry.channel.release(released);
        }
        if !drained && !entry.blocked {
            self.agenda.push_back(id);
        }
        drained
    }

    /// Moves messages that have arrived to the channel, as far as it has room.
    fn deliver(&mut self, id: AssociationId) {
        let Some(entry) = self.table.get_mut(id) else { return };
        if entry.channel.requests().discard() {
            while self.endpoint.recv(id).is_some() {}
            return;
        }
        loop {
            let room = entry.channel.room();
            let mut charge = 0;
            while charge < room {
                let Some(message) = self.endpoint.recv(id) else { break };
                charge += Channel::charge(message.len());
                entry.channel.deliver(message);
            }
            if charge > 0 {
                entry.channel.delivered(charge);
            }
            // Without room the channel says when there is some; with room left all is delivered.
            if charge < room || room == 0 {
                return;
            }
        }
    }
}

/// Events.
impl<L: Link> Worker<L> {
    fn pass_events(&mut self, now: Instant) -> bool {
        let mut worked = false;
        while let Some((id, event)) = self.endpoint.poll_event() {
            worked = true;
            self.pass_event(now, id, event);
        }
        worked
    }

    fn pass_event(&mut self, now: Instant, id: AssociationId, event: Event) {
        if let Event::Accepted { local_port, outbound_streams, inbound_streams } = event {
            self.accept(now, id, local_port, (outbound_streams, inbound_streams));
            return;
        }
        let Some(entry) = self.table.get_mut(id) else {
            // An association that was refused before it had a channel.
            if matches!(event, Event::Closed { .. }) {
                self.endpoint.release(id);
            }
            return;
        };
        if let Some(notification) = Notification::from_event(&event) {
            entry.channel.notify(|| notification);
        }
        match event {
            Event::Connected { outbound_streams, inbound_streams } => {
                let established = self.established(id, (outbound_streams, inbound_streams));
                if let Some(entry) = self.table.get_mut(id) {
                    entry.channel.set_established(established);
                }
            }
            Event::Restarted { outbound_streams, inbound_streams } => {
                entry.channel.set_streams(outbound_streams, inbound_streams);
            }
            Event::MessageReceived => self.deliver(id),
            Event::Writable => {
                entry.blocked = false;
                self.serve(now, id);
            }
            Event::PeerShutdown => entry.channel.set_closing(),
            Event::Closed { reason } => self.close(id, Ended::Closed(reason)),
            _ => {}
        }
    }

    /// A peer has set up an association.
    fn accept(&mut self, now: Instant, id: AssociationId, port: u16, streams: (u16, u16)) {
        let refusal = match self.acceptors.get(&port).cloned() {
            None => "nobody listens any more",
            Some(acceptor) => match self.common.ports.lease(port, Reason::Association) {
                Err(_) => "the data path refused the port",
                Ok(lease) => {
                    let limits = acceptor.limits();
                    let channel = Arc::new(Channel::new(id, self.mailbox.clone(), limits));
                    channel.set_established(self.established(id, streams));
                    self.adopt(id, channel.clone(), lease);
                    match acceptor.offer(channel) {
                        Ok(()) => return,
                        Err(_) => "too many associations wait to be accepted",
                    }
                }
            },
        };
        tracing::debug!(port, refusal, "an association was turned away");
        self.abort(now, id, Bytes::from_static(refusal.as_bytes()));
    }

    fn established(&self, id: AssociationId, (outbound, inbound): (u16, u16)) -> Established {
        let association = self.endpoint.association(id);
        let mut paths: Vec<_> = association.iter().flat_map(|a| a.paths()).collect();
        paths.sort_by_key(|path| !path.primary);
        Established {
            streams: (outbound, inbound),
            local_port: association.map_or(0, |a| a.local_port()),
            peer_port: association.map_or(0, |a| a.peer_port()),
            peer_addresses: paths.into_iter().map(|path| path.address).collect(),
        }
    }

    /// An association has ended: its reader gets what had arrived, then the end.
    fn close(&mut self, id: AssociationId, ended: Ended) {
        let Some(entry) = self.table.remove(id) else { return };
        let discard = entry.channel.requests().discard();
        // What is left is bounded by the receive buffer; the window need not be kept any more.
        let mut charge = 0;
        while let Some(message) = self.endpoint.recv(id) {
            if !discard {
                charge += Channel::charge(message.len());
                entry.channel.deliver(message);
            }
        }
        entry.channel.delivered(charge);
        self.endpoint.release(id);
        if let Some(message) = &entry.pending {
            entry.channel.refuse(message.context, message.stream);
        }
        entry.channel.end(ended);
    }

    /// The last turn: aborts what is left and lets the last packets go.
    fn finish(&mut self) -> io::Result<()> {
        let now = self.common.clock.now();
        let left: Vec<_> = self.table.channels().map(|channel| channel.id()).collect();
        for id in left {
            self.abort(now, id, Bytes::from_static(b"the stack was stopped"));
        }
        for _ in 0..64 {
            self.announce(now);
            self.pass_events(now);
            let sent = self.transmit(now);
            self.link.flush()?;
            if self.congested {
                self.link.wait(Some(BACK_PRESSURE_NAP))?;
            } else if !sent {
                break;
            }
        }
        Ok(())
    }
}

impl<L: Link> Drop for Worker<L> {
    /// However the worker ends, by a panic too, nobody waits for it in vain.
    fn drop(&mut self) {
        let why = self.farewell.take().unwrap_or_else(|| "a worker panicked".to_owned());
        self.mailbox.end(why.clone());
        for (_, acceptor) in self.acceptors.drain() {
            acceptor.close();
        }
        for entry in self.table.drain() {
            entry.channel.end(Ended::Stopped(why.clone()));
        }
    }
}
