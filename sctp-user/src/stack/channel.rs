//! The way between an association's handles and its worker.
//!
//! Two queues of messages, one each way, both bounded in bytes, and a few flags. Neither side takes
//! a lock or allocates for a message (the queues allocate a block for every 31). The worker is told
//! of an association once, however many messages are put in before it looks (`scheduled`); the
//! application is woken once per turn of the worker, and only if it waits.
//!
//! The queues are short: they bridge the time until the other side runs. What waits for the network
//! waits in the association's send buffer, and what waits for the application waits in its receive
//! buffer, where it closes the receive window (RFC 9260 §6). So the inbound queue is filled only up
//! to its limit, and the rest stays with the association until the application has read.

use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU8, AtomicU16, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Instant;

use bytes::Bytes;
use crossbeam_queue::{ArrayQueue, SegQueue};
use crossbeam_utils::CachePadded;
use sctp_core::{AssociationId, LastTsns, Message, ReceivedMessage, SendFailure};
use smallvec::smallvec;

use super::mailbox::Mailbox;
use super::notification::{Ended, Notification};
use super::wait::WaitSet;

/// What each queued message is charged on top of its payload, so that the limits also bound how
/// many small messages a queue holds.
const MESSAGE_OVERHEAD: usize = 64;

/// How many notifications a subscriber may be behind.
const NOTIFICATIONS: usize = 256;

/// Limits of one association's queues between application and worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueLimits {
    /// Bytes on the way to the worker.
    pub(crate) outgoing: usize,
    /// Bytes on the way to the application.
    pub(crate) incoming: usize,
    /// The largest message that the association will take.
    pub(crate) max_message_size: usize,
}

/// What was agreed with the peer.
#[derive(Debug, Clone)]
pub(crate) struct Established {
    /// Outbound and inbound streams, at first.
    pub(crate) streams: (u16, u16),
    pub(crate) local_port: u16,
    pub(crate) peer_port: u16,
    /// The peer's addresses, the primary path's first.
    pub(crate) peer_addresses: Vec<std::net::IpAddr>,
}

/// Why a message was not taken.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The queue is full; the message comes back.
    Full(Message),
    /// The association takes no more messages: it is closing or has ended.
    Closed,
    /// There is no such outbound stream.
    NoSuchStream {
        /// How many there are.
        streams: u16,
    },
    /// A message has at least one byte (RFC 9260 §3.3.1).
    Empty,
    /// The message is larger than the association takes.
    TooLarge {
        /// What it takes, in bytes.
        limit: usize,
    },
}

/// How far an association has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Phase {
    Connecting = 0,
    Established = 1,
    /// No more messages are taken from the application.
    Closing = 2,
    Closed = 3,
}

/// What the application asks of the worker besides sending: bits of `Channel::requests`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Requests(u8);

impl Requests {
    const SHUTDOWN: u8 = 1;
    const ABORT: u8 = 2;
    const DISCARD: u8 = 4;

    /// SHUTDOWN after everything that was sent.
    pub(crate) fn shutdown(self) -> bool {
        self.0 & Self::SHUTDOWN != 0
    }

    /// ABORT, now.
    pub(crate) fn abort(self) -> bool {
        self.0 & Self::ABORT != 0
    }

    /// Nobody will read any more: what arrives is thrown away, so that the window stays open.
    pub(crate) fn discard(self) -> bool {
        self.0 & Self::DISCARD != 0
    }
}

/// A message on its way to the worker.
#[derive(Debug)]
struct Outgoing {
    message: Message,
    /// When it was given, if it has a lifetime.
    given: Option<Instant>,
}

impl Outgoing {
    /// The message, with what is left of its lifetime.
    fn into_message(self) -> Message {
        let Outgoing { mut message, given } = self;
        if let (Some(lifetime), Some(given)) = (&mut message.lifetime, given) {
            *lifetime = lifetime.saturating_sub(given.elapsed());
        }
        message
    }
}

/// The channel of one association.
#[derive(Debug)]
pub(crate) struct Channel {
    id: AssociationId,
    mailbox: Arc<Mailbox>,
    limits: QueueLimits,

    outgoing: SegQueue<Outgoing>,
    outgoing_bytes: CachePadded<AtomicUsize>,
    /// Whether the association is in its worker's ready queue.
    scheduled: AtomicBool,
    requests: AtomicU8,
    abort_reason: OnceLock<Bytes>,
    writable: WaitSet,

    incoming: SegQueue<ReceivedMessage>,
    /// Counted for a batch after it was put in, so that it may be negative for a moment.
    incoming_bytes: CachePadded<AtomicIsize>,
    /// Whether the worker holds messages back until there is room again.
    withheld: AtomicBool,
    readable: WaitSet,

    phase: AtomicU8,
    established: OnceLock<Established>,
    outbound_streams: AtomicU16,
    inbound_streams: AtomicU16,
    ended: OnceLock<Ended>,
    /// Messages that were taken from the application but not by the association.
    unsent: AtomicUsize,
    phase_changed: WaitSet,

    /// Whether `subscribers` holds anybody, so that the worker need not lock to find out.
    subscribed: AtomicBool,
    subscribers: Mutex<Vec<Weak<Subscription>>>,
}

impl Channel {
    /// The channel of an association that is being set up.
    pub(crate) fn new(id: AssociationId, mailbox: Arc<Mailbox>, limits: QueueLimits) -> Channel {
        Channel {
            id,
            mailbox,
            limits,
            outgoing: SegQueue::new(),
            outgoing_bytes: CachePadded::new(AtomicUsize::new(0)),
            scheduled: AtomicBool::new(false),
            requests: AtomicU8::new(0),
            abort_reason: OnceLock::new(),
            writable: WaitSet::default(),
            incoming: SegQueue::new(),
            incoming_bytes: CachePadded::new(AtomicIsize::new(0)),
            withheld: AtomicBool::new(false),
            readable: WaitSet::default(),
            phase: AtomicU8::new(Phase::Connecting as u8),
            established: OnceLock::new(),
            outbound_streams: AtomicU16::new(0),
            inbound_streams: AtomicU16::new(0),
            ended: OnceLock::new(),
            unsent: AtomicUsize::new(0),
            phase_changed: WaitSet::default(),
            subscribed: AtomicBool::new(false),
            subscribers: Mutex::new(Vec::new()),
        }
    }

    /// The association's name within its worker.
    pub(crate) fn id(&self) -> AssociationId {
        self.id
    }

    /// The mailbox of the association's worker.
    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }
}

/// The application's side.
impl Channel {
    /// Gives a message to the worker.
    pub(crate) fn try_send(&self, message: Message) -> Result<(), Refused> {
        if self.phase() != Phase::Established {
            return Err(Refused::Closed);
        }
        self.check(&message)?;
        let charge = charge(message.payload.len());
        // Counted first and looked at then, in an order that all threads agree on (see `is_drained`).
        let before = self.outgoing_bytes.fetch_add(charge, Ordering::SeqCst);
        if self.phase() != Phase::Established {
            self.withdraw(charge);
            return Err(Refused::Closed);
        }
        // One message may go beyond the limit, so that every message can be sent.
        if before >= self.limits.outgoing {
            self.withdraw(charge);
            return Err(Refused::Full(message));
        }
        let given = message.lifetime.map(|_| Instant::now());
        self.outgoing.push(Outgoing { message, given });
        self.schedule();
        Ok(())
    }

    /// A message that was counted is not put in after all.
    fn withdraw(&self, charge: usize) {
        self.outgoing_bytes.fetch_sub(charge, Ordering::SeqCst);
        if self.phase() == Phase::Closing {
            // The worker may have waited for it.
            self.schedule();
        }
    }

    fn check(&self, message: &Message) -> Result<(), Refused> {
        let (streams, _) = self.streams();
        if message.stream >= streams {
            return Err(Refused::NoSuchStream { streams });
        }
        if message.payload.is_empty() {
            return Err(Refused::Empty);
        }
        if message.payload.len() > self.limits.max_message_size {
            return Err(Refused::TooLarge { limit: self.limits.max_message_size });
        }
        Ok(())
    }

    /// The next message. `Err` with the reason when there will be none any more.
    pub(crate) fn try_recv(&self) -> Result<Option<ReceivedMessage>, &Ended> {
        // In this order: the end is published after the last message.
        let ended = self.ended.get();
        let Some(message) = self.incoming.pop() else {
            return match ended {
                Some(ended) => Err(ended),
                None => Ok(None),
            };
        };
        let charge = charge(message.len()) as isize;
        let left = self.incoming_bytes.fetch_sub(charge, Ordering::AcqRel) - charge;
        if left <= self.limits.incoming as isize / 2 {
            fence(Ordering::SeqCst);
            if self.withheld.load(Ordering::Relaxed) && self.withheld.swap(false, Ordering::Relaxed) {
                self.schedule();
            }
        }
        Ok(Some(message))
    }

    /// Asks for a graceful end after all that has been sent. With `discard` nobody reads any more.
    pub(crate) fn shutdown(&self, discard: bool) {
        self.advance(Phase::Closing);
        let wanted = Requests::SHUTDOWN | if discard { Requests::DISCARD } else { 0 };
        if self.requests.fetch_or(wanted, Ordering::AcqRel) & wanted != wanted {
            self.schedule();
        }
    }

    /// Asks for an end now.
    pub(crate) fn abort(&self, reason: Bytes) {
        // The first reason stands.
        let _ = self.abort_reason.set(reason);
        self.advance(Phase::Closing);
        if self.requests.fetch_or(Requests::ABORT, Ordering::AcqRel) & Requests::ABORT == 0 {
            self.schedule();
        }
    }

    /// The last handle is gone. A graceful end that was asked for runs on; else the association is
    /// aborted. Messages that nobody will read are thrown away.
    pub(crate) fn abandon(&self) {
        if self.ended.get().is_some() {
            return;
        }
        if self.requests.load(Ordering::Acquire) & Requests::SHUTDOWN != 0 {
            self.shutdown(true);
        } else {
            self.abort(Bytes::from_static(b"dropped by the application"));
        }
    }

    /// What was agreed with the peer, once it was.
    pub(crate) fn established(&self) -> Option<&Established> {
        self.established.get()
    }

    /// How many outbound and inbound streams there are.
    pub(crate) fn streams(&self) -> (u16, u16) {
        (self.outbound_streams.load(Ordering::Acquire), self.inbound_streams.load(Ordering::Acquire))
    }

    /// Whether messages are taken at present.
    pub(crate) fn is_open(&self) -> bool {
        self.phase() == Phase::Established
    }

    /// How the association ended, once it has.
    pub(crate) fn ended(&self) -> Option<&Ended> {
        self.ended.get()
    }

    /// How many messages the application gave that were never sent, because the association ended or
    /// the peer shut it down before.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent.load(Ordering::Acquire)
    }

    /// Those who wait for room for a message.
    pub(crate) fn writable(&self) -> &WaitSet {
        &self.writable
    }

    /// Those who wait for a message.
    pub(crate) fn readable(&self) -> &WaitSet {
        &self.readable
    }

    /// Those who wait for the association to be established or to end.
    pub(crate) fn phase_changed(&self) -> &WaitSet {
        &self.phase_changed
    }

    /// A new subscriber to the association's notifications.
    pub(crate) fn subscribe(&self) -> Arc<Subscription> {
        let subscription = Arc::new(Subscription::default());
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.retain(|subscriber| subscriber.strong_count() > 0);
        subscribers.push(Arc::downgrade(&subscription));
        self.subscribed.store(true, Ordering::Release);
        subscription
    }

    /// Puts the association in its worker's ready queue unless it is there already.
    fn schedule(&self) {
        // A read-modify-write on both sides: if this one finds `true`, the worker's later swap to
        // `false` sees what was put in before.
        if !self.scheduled.swap(true, Ordering::AcqRel) {
            self.mailbox.ready(self.id);
        }
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Connecting,
            1 => Phase::Established,
            2 => Phase::Closing,
            _ => Phase::Closed,
        }
    }

    /// Moves forward to `phase`, never back.
    fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::SeqCst);
    }
}

/// The worker's side.
impl Channel {
    /// The worker looks at the channel now: from here on it has to be told again.
    pub(crate) fn unschedule(&self) {
        self.scheduled.swap(false, Ordering::AcqRel);
    }

    /// The next message to send.
    pub(crate) fn next_outgoing(&self) -> Option<Message> {
        self.outgoing.pop().map(Outgoing::into_message)
    }

    /// Whether nothing is left to be sent, and nothing can come any more. To be asked once the channel is closing.
    ///
    /// Whoever sends counts the message and then looks whether the association is open; the channel is closed before the
    /// worker looks at the count. So if the count is zero here, whoever sends later finds it closed.
    pub(crate) fn is_drained(&self) -> bool {
        self.phase() >= Phase::Closing && self.outgoing_bytes.load(Ordering::SeqCst) == 0
    }

    /// What a message of `len` bytes counts for in either queue.
    pub(crate) fn charge(len: usize) -> usize {
        charge(len)
    }

    /// Gives room back for messages that have left the outbound queue, and wakes senders when half
    /// of the queue is free.
    pub(crate) fn release(&self, charge: usize) {
        let before = self.outgoing_bytes.fetch_sub(charge, Ordering::AcqRel);
        if before - charge <= self.limits.outgoing / 2 {
            self.writable.wake_all();
        }
    }

    /// A message that the application gave cannot be sent any more.
    pub(crate) fn refuse(&self, message: Message, reason: SendFailure) {
        self.unsent.fetch_add(1, Ordering::AcqRel);
        self.notify(|| {
            let Message { context, stream, ppid, payload, .. } = message;
            Notification::SendFailed { context, stream, sent: false, reason, ppid, payload: smallvec![payload] }
        });
    }

    /// What the application asks for.
    pub(crate) fn requests(&self) -> Requests {
        Requests(self.requests.load(Ordering::Acquire))
    }

    /// The reason to give in an ABORT.
    pub(crate) fn abort_reason(&self) -> Bytes {
        self.abort_reason.get().cloned().unwrap_or_default()
    }

    /// How many bytes (as [`Channel::charge`] counts) the inbound queue takes now. The last message
    /// may go beyond. At zero, the worker is told (`scheduled`) when there is room again.
    pub(crate) fn room(&self) -> usize {
        let limit = self.limits.incoming as isize;
        let room = limit - self.incoming_bytes.load(Ordering::Acquire);
        if room > 0 {
            return room as usize;
        }
        self.withheld.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        // The application may have read on before it could see the flag; the same condition as there.
        let used = self.incoming_bytes.load(Ordering::Acquire);
        if used > limit / 2 {
            return 0;
        }
        self.withheld.store(false, Ordering::Relaxed);
        (limit - used) as usize
    }

    /// Puts a message into the inbound queue. To be followed by `delivered`, once for many.
    pub(crate) fn deliver(&self, message: ReceivedMessage) {
        self.incoming.push(message);
    }

    /// Counts what was put into the inbound queue and wakes whoever waits for a message.
    pub(crate) fn delivered(&self, charge: usize) {
        self.incoming_bytes.fetch_add(charge as isize, Ordering::AcqRel);
        self.readable.wake_all();
    }

    /// The association is established.
    pub(crate) fn set_established(&self, established: Established) {
        let (outbound, inbound) = established.streams;
        self.set_streams(outbound, inbound);
        // It happens once; a restart only changes the streams.
        let _ = self.established.set(established);
        self.advance(Phase::Established);
        self.phase_changed.wake_all();
    }

    /// The numbers of streams have been negotiated.
    pub(crate) fn set_streams(&self, outbound: u16, inbound: u16) {
        self.outbound_streams.store(outbound, Ordering::Release);
        self.inbound_streams.store(inbound, Ordering::Release);
    }

    /// The peer takes no more messages.
    pub(crate) fn set_closing(&self) {
        self.advance(Phase::Closing);
        self.writable.wake_all();
    }

    /// The association has ended.
    pub(crate) fn end(&self, ended: Ended, last_tsns: Option<LastTsns>) {
        self.advance(Phase::Closed);
        while let Some(Outgoing { message, .. }) = self.outgoing.pop() {
            self.refuse(message, SendFailure::Closed);
        }
        let reason = match &ended {
            Ended::Closed(reason) => Some(reason.clone()),
            Ended::Stopped(_) => None,
        };
        self.notify(|| Notification::Closed { reason, last_tsns });
        // It ends once.
        let _ = self.ended.set(ended);
        self.writable.wake_all();
        self.readable.wake_all();
        self.phase_changed.wake_all();
        let subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        for subscriber in subscribers.iter().filter_map(Weak::upgrade) {
            subscriber.finish();
        }
    }

    /// Tells the subscribers, if any.
    pub(crate) fn notify(&self, notification: impl FnOnce() -> Notification) {
        if !self.subscribed.load(Ordering::Acquire) {
            return;
        }
        let notification = notification();
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.retain(|subscriber| match subscriber.upgrade() {
            Some(subscriber) => {
                subscriber.push(notification.clone());
                true
            }
            None => false,
        });
        self.subscribed.store(!subscribers.is_empty(), Ordering::Release);
    }
}

fn charge(len: usize) -> usize {
    len + MESSAGE_OVERHEAD
}

/// One subscriber's queue of notifications.
#[derive(Debug)]
pub(crate) struct Subscription {
    queue: ArrayQueue<Notification>,
    missed: AtomicUsize,
    finished: AtomicBool,
    waiting: WaitSet,
}

impl Default for Subscription {
    fn default() -> Subscription {
        Subscription {
            queue: ArrayQueue::new(NOTIFICATIONS),
            missed: AtomicUsize::new(0),
            finished: AtomicBool::new(false),
            waiting: WaitSet::default(),
        }
    }
}

impl Subscription {
    /// The next notification; `Err` when there will be none any more.
    pub(crate) fn next(&self) -> Result<Option<Notification>, ()> {
        let finished = self.finished.load(Ordering::Acquire);
        let missed = self.missed.swap(0, Ordering::AcqRel);
        if missed > 0 {
            return Ok(Some(Notification::Missed { count: missed }));
        }
        match self.queue.pop() {
            Some(notification) => Ok(Some(notification)),
            None if finished => Err(()),
            None => Ok(None),
        }
    }

    /// Those who wait for a notification.
    pub(crate) fn waiting(&self) -> &WaitSet {
        &self.waiting
    }

    fn push(&self, notification: Notification) {
        // The oldest goes: the newest state of the association is worth more.
        if self.queue.force_push(notification).is_some() {
            self.missed.fetch_add(1, Ordering::AcqRel);
        }
        self.waiting.wake_all();
    }

    fn finish(&self) {
        self.finished.store(true, Ordering::Release);
        self.waiting.wake_all();
    }
}

#[cfg(test)]
mod tests;
