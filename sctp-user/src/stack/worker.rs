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

mod channels;
mod commands;
mod events;
mod packets;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use sctp_core::time::Instant;
use sctp_core::{AssociationId, Discard, Endpoint};

use super::accept::Acceptor;
use super::clock::Clock;
use super::mailbox::Mailbox;
use super::notification::Ended;
use super::ports::Ports;
use super::spin::Spin;
use super::steer::Steer;
use super::table::Table;
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
        let spin = Spin::new(cores, common.steer.mailboxes().len());
        Worker {
            link,
            endpoint,
            mailbox,
            common,
            table: Table::default(),
            acceptors: HashMap::new(),
            agenda: VecDeque::new(),
            spin,
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
                std::hint::spin_loop();
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
            entry.channel.end(Ended::Stopped(why.clone()), None);
        }
    }
}
