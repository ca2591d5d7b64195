//! Messages that wait to be sent, and whose turn it is (RFC 9260 §6.5, §6.9).
//!
//! Messages are cut into fragments only as packets are built, by slicing: nothing is copied, and the size of a fragment is that
//! of the packet at hand.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes};
use smallvec::SmallVec;

use super::outstanding::OutboundChunk;
use crate::Message;
use crate::config::StreamScheduler;
use crate::serial::Ssn;
use crate::time::Instant;
use crate::wire::DataFlags;

/// A message that waits: 64 bytes, as every message sent is moved in and out.
#[derive(Debug)]
struct Queued {
    /// What is left of it.
    payload: Bytes,
    context: u64,
    /// When it is not worth sending any more; [`Instant::FAR_FUTURE`] without a lifetime.
    expiry: Instant,
    ppid: u32,
    stream: u16,
    /// U and I.
    flags: DataFlags,
    /// It waits for no other.
    unbundled: bool,
    /// The path that the application wants it to go by, or [`ANY_PATH`].
    path: u8,
}

/// No path in particular. (There are at most 255, from 0.)
const ANY_PATH: u8 = u8::MAX;

impl Queued {
    fn expires(&self) -> bool {
        self.expiry != Instant::FAR_FUTURE
    }
}

/// A message that was never, or not wholly, sent.
#[derive(Debug)]
pub(crate) struct Unsent {
    pub(crate) context: u64,
    pub(crate) stream: u16,
    /// Some of its fragments were sent.
    pub(crate) begun: bool,
    pub(crate) ppid: u32,
    /// All of it, or what was not sent.
    pub(crate) payload: SmallVec<[Bytes; 1]>,
}

impl Unsent {
    fn new(message: Queued, begun: bool) -> Self {
        let Queued { stream, context, ppid, payload, .. } = message;
        Self { context, stream, begun, ppid, payload: smallvec::smallvec![payload] }
    }

    /// Bytes of its payload.
    pub(crate) fn len(&self) -> usize {
        self.payload.iter().map(Bytes::len).sum()
    }
}

/// What waits to be sent.
#[derive(Debug)]
pub(crate) struct SendQueue {
    waiting: Waiting,
    /// The sequence number of the next ordered message of each stream, as far as streams have been used.
    //= RFC 9260 §6.5: "The Stream Sequence Number in all the outgoing streams MUST start from 0 when the association is
    //= established."
    ssns: Vec<Ssn>,
    /// If a fragment of the message whose turn it is has been sent: its sequence number. It is finished before another begins.
    //= RFC 9260 §3.3.1: "the TSNs for each fragment of a fragmented user message MUST be strictly sequential"
    //= RFC 9260 §6.9: "The transmitter MUST then assign, in sequence, a separate TSN to each of the DATA chunks in the
    //= series."
    begun: Option<Ssn>,
    /// Bytes of user data that wait. The send buffer has at most 1 GiB, beyond which one message may go.
    bytes: u32,
    /// How many messages have a lifetime.
    expiring: u32,
    /// How many messages do not wait for others.
    unbundled: u32,
}

/// The messages, in an order that makes the next one easy to find.
#[derive(Debug)]
enum Waiting {
    /// In the order that they came in.
    FirstCome(VecDeque<Queued>),
    RoundRobin(Box<RoundRobin>),
}

/// Streams that take turns.
#[derive(Debug, Default)]
struct RoundRobin {
    /// The messages of each stream.
    streams: Vec<VecDeque<Queued>>,
    /// The streams that have messages, in the order of their turns.
    turns: VecDeque<u16>,
    /// How many messages there are.
    messages: usize,
}

impl Waiting {
    fn new(scheduler: StreamScheduler) -> Self {
        match scheduler {
            StreamScheduler::FirstCome => Self::FirstCome(VecDeque::new()),
            StreamScheduler::RoundRobin => Self::RoundRobin(Box::default()),
        }
    }

    fn scheduler(&self) -> StreamScheduler {
        match self {
            Self::FirstCome(_) => StreamScheduler::FirstCome,
            Self::RoundRobin(_) => StreamScheduler::RoundRobin,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::FirstCome(messages) => messages.len(),
            Self::RoundRobin(robin) => robin.messages,
        }
    }

    #[inline]
    fn push(&mut self, message: Queued) {
        match self {
            Self::FirstCome(messages) => messages.push_back(message),
            Self::RoundRobin(robin) => robin.push(message),
        }
    }

    /// The message whose turn it is.
    #[inline]
    fn front(&self) -> Option<&Queued> {
        match self {
            Self::FirstCome(messages) => messages.front(),
            Self::RoundRobin(robin) => robin.streams[usize::from(*robin.turns.front()?)].front(),
        }
    }

    #[inline]
    fn front_mut(&mut self) -> Option<&mut Queued> {
        match self {
            Self::FirstCome(messages) => messages.front_mut(),
            Self::RoundRobin(robin) => robin.streams[usize::from(*robin.turns.front()?)].front_mut(),
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<Queued> {
        match self {
            Self::FirstCome(messages) => messages.pop_front(),
            Self::RoundRobin(robin) => robin.pop(),
        }
    }
}

impl RoundRobin {
    fn push(&mut self, message: Queued) {
        let at = usize::from(message.stream);
        if at >= self.streams.len() {
            self.streams.resize_with(at + 1, VecDeque::new);
        }
        if self.streams[at].is_empty() {
            self.turns.push_back(message.stream);
        }
        self.streams[at].push_back(message);
        self.messages += 1;
    }

    fn pop(&mut self) -> Option<Queued> {
        let number = self.turns.pop_front()?;
        let stream = &mut self.streams[usize::from(number)];
        let message = stream.pop_front()?;
        self.messages -= 1;
        if !stream.is_empty() {
            self.turns.push_back(number);
        }
        Some(message)
    }
}

impl SendQueue {
    pub(crate) fn new(scheduler: StreamScheduler) -> Self {
        Self { waiting: Waiting::new(scheduler), ssns: Vec::new(), begun: None, bytes: 0, expiring: 0, unbundled: 0 }
    }

    /// Nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Bytes of user data that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// How many messages wait, the one begun included.
    pub(crate) fn messages(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a message waits that does so for no other.
    pub(crate) fn has_unbundled(&self) -> bool {
        self.unbundled > 0
    }

    /// Whether a message waits that has a lifetime.
    pub(crate) fn has_expiring(&self) -> bool {
        self.expiring > 0
    }

    /// Queues a message, whose destination is `path` if it has one of its own; it has at least one byte.
    #[inline]
    pub(crate) fn push(&mut self, message: Message, path: Option<u8>, now: Instant) {
        let Message { stream, ppid, unordered, immediate, no_bundle, lifetime, payload, context, .. } = message;
        if usize::from(stream) >= self.ssns.len() {
            self.ssns.resize(usize::from(stream) + 1, Ssn(0));
        }
        self.bytes += payload.len() as u32;
        let mut flags = DataFlags::default();
        if unordered {
            flags = flags | DataFlags::UNORDERED;
        }
        if immediate {
            flags = flags | DataFlags::IMMEDIATE;
        }
        let mut expiry = Instant::FAR_FUTURE;
        if let Some(lifetime) = lifetime {
            expiry = now + lifetime;
        }
        let path = path.unwrap_or(ANY_PATH);
        let queued = Queued { payload, context, expiry, ppid, stream, flags, unbundled: no_bundle, path };
        self.expiring += u32::from(queued.expires());
        self.unbundled += u32::from(no_bundle);
        self.waiting.push(queued);
    }

    /// The message whose turn it is: bytes that are still to be sent, and its path if the application said so. `None` when nothing waits.
    #[inline]
    pub(crate) fn next(&self) -> Option<(usize, Option<usize>)> {
        let message = self.waiting.front()?;
        Some((message.payload.len(), (message.path != ANY_PATH).then_some(message.path.into())))
    }

    /// Bytes of the message whose turn it is that are still to be sent. `None` when nothing waits.
    #[inline]
    pub(crate) fn next_len(&self) -> Option<usize> {
        self.waiting.front().map(|message| message.payload.len())
    }

    /// The path that the message whose turn it is wants to go by, if the application said so.
    #[inline]
    pub(crate) fn next_path(&self) -> Option<usize> {
        self.waiting.front().map(|message| message.path).filter(|path| *path != ANY_PATH).map(usize::from)
    }

    /// Takes up to `max` bytes (at least one) of the message whose turn it is, as a chunk.
    #[inline]
    pub(crate) fn take(&mut self, max: usize) -> Option<OutboundChunk> {
        let len = self.next_len()?;
        if len > max || self.begun.is_some() {
            return self.take_fragment(max);
        }
        // The usual case: a message in one chunk.
        let Queued { payload, context, ppid, stream, flags, .. } = self.pop()?;
        let ssn = self.next_ssn(stream, flags);
        Some(OutboundChunk::new(payload, context, ppid, stream, ssn, flags | DataFlags::UNFRAGMENTED))
    }

    //= RFC 9260 §6.9: "The data sender MUST break the user message into a series of DATA chunks."
    //= RFC 9260 §6: "an endpoint MUST fragment large user messages into multiple DATA chunks"
    fn take_fragment(&mut self, max: usize) -> Option<OutboundChunk> {
        let message = self.waiting.front()?;
        let (stream, flags) = (message.stream, message.flags);
        let (beginning, ending) = (self.begun.is_none(), message.payload.len() <= max);
        //= RFC 9260 §3.3.1: "the same Stream Sequence Number MUST be carried in each of the fragments"
        //= RFC 9260 §3.3.1: "This field MUST be sent even in fragmented DATA chunks"
        let ssn = match self.begun.take() {
            Some(ssn) => ssn,
            None => self.next_ssn(stream, flags),
        };
        //= RFC 9260 §3.3.1: "If an unordered user message is fragmented, each fragment of the message MUST have its U
        //= bit set to 1."
        //= RFC 9260 §6.9: "then the U flag of each DATA chunk of the user message MUST be set to 1"
        let mut place = DataFlags::of_fragment(beginning, ending);
        if flags.is_unordered() {
            place = place | DataFlags::UNORDERED;
        }
        if ending {
            let Queued { payload, context, ppid, .. } = self.pop()?;
            return Some(OutboundChunk::new(payload, context, ppid, stream, ssn, flags | place));
        }
        self.begun = Some(ssn);
        let message = self.waiting.front_mut()?;
        let payload = message.payload.slice(..max);
        message.payload.advance(max);
        self.bytes -= max as u32;
        Some(OutboundChunk::new(payload, message.context, message.ppid, stream, ssn, place))
    }

    /// The sequence number of a message that is being sent.
    #[inline]
    fn next_ssn(&mut self, stream: u16, flags: DataFlags) -> Ssn {
        let next = &mut self.ssns[usize::from(stream)];
        let ssn = *next;
        // Unordered messages do not count (RFC 9260 §6.5).
        //= RFC 9260 §6.5: "The Stream Sequence Number of an outgoing stream MUST be incremented by 1 for each ordered
        //= user message sent"
        //= RFC 9260 §6.5: "For unordered user messages, the Stream Sequence Number MUST NOT be changed."
        if !flags.is_unordered() {
            *next = ssn.next();
        }
        ssn
    }

    /// Gives back every message that waits, the one begun first; forgets them and the streams' sequence numbers.
    pub(crate) fn drain(&mut self) -> Vec<Unsent> {
        let mut unsent = Vec::with_capacity(self.messages());
        if self.begun.take().is_some() {
            unsent.extend(self.pop().map(|message| Unsent::new(message, true)));
        }
        let scheduler = self.waiting.scheduler();
        let rest = core::mem::replace(self, Self::new(scheduler)).waiting;
        let rest = match rest {
            Waiting::FirstCome(messages) => messages,
            Waiting::RoundRobin(robin) => robin.streams.into_iter().flatten().collect(),
        };
        unsent.extend(rest.into_iter().map(|message| Unsent::new(message, false)));
        unsent
    }

    /// Whether it has space for messages.
    pub(crate) fn holds_memory(&self) -> bool {
        match &self.waiting {
            Waiting::FirstCome(messages) => messages.capacity() > 0,
            Waiting::RoundRobin(robin) => !robin.streams.is_empty(),
        }
    }

    /// Gives back memory that nothing is in.
    pub(crate) fn shrink(&mut self) {
        match &mut self.waiting {
            Waiting::FirstCome(messages) => messages.shrink_to_fit(),
            Waiting::RoundRobin(robin) if robin.messages == 0 => **robin = RoundRobin::default(),
            Waiting::RoundRobin(_) => {}
        }
    }

    /// Takes the messages of streams from `count` on: the peer grants no more (RFC 9260 §5.1.1). What is begun is finished.
    pub(crate) fn limit_streams(&mut self, count: u16) -> Vec<Unsent> {
        let begun = self.begun.is_some();
        let mut before = Waiting::new(self.waiting.scheduler());
        core::mem::swap(&mut before, &mut self.waiting);
        (self.bytes, self.expiring, self.unbundled) = (0, 0, 0);
        let (mut refused, mut first) = (Vec::new(), true);
        while let Some(message) = before.pop() {
            if message.stream >= count && !(begun && first) {
                refused.push(Unsent::new(message, false));
            } else {
                self.bytes += message.payload.len() as u32;
                self.expiring += u32::from(message.expires());
                self.unbundled += u32::from(message.unbundled);
                self.waiting.push(message);
            }
            first = false;
        }
        refused
    }

    /// Takes the message whose turn it is, if it has waited too long and nothing of it was sent.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Option<Unsent> {
        if self.expiring == 0 || self.begun.is_some() || self.waiting.front()?.expiry > now {
            return None;
        }
        self.pop().map(|message| Unsent::new(message, false))
    }

    /// Takes the message whose turn it is.
    #[inline]
    fn pop(&mut self) -> Option<Queued> {
        let message = self.waiting.pop()?;
        self.bytes -= message.payload.len() as u32;
        self.expiring -= u32::from(message.expires());
        self.unbundled -= u32::from(message.unbundled);
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    fn message(stream: u16, text: &'static str) -> Message {
        Message::new(stream, Bytes::from_static(text.as_bytes()))
    }

    fn taken(queue: &mut SendQueue, max: usize) -> Vec<(u16, u16, String)> {
        core::iter::from_fn(|| queue.take(max))
            .map(|chunk| (chunk.stream, chunk.ssn.get(), String::from_utf8(chunk.payload.to_vec()).unwrap()))
            .collect()
    }

    //= test RFC 9260 §6.5: "The Stream Sequence Number of an outgoing stream MUST be incremented by 1 for each ordered
    //= user message"
    //= test RFC 9260 §6.5: "For unordered user messages, the Stream Sequence Number MUST NOT be changed."
    //= test RFC 9260 §6.5: "The Stream Sequence Number in all the outgoing streams MUST start from 0"
    #[test]
    fn first_come_first_served() {
        let mut queue = SendQueue::new(StreamScheduler::FirstCome);
        for (stream, text) in [(3, "a"), (3, "b"), (0, "c"), (3, "d")] {
            queue.push(message(stream, text), None, Instant::ORIGIN);
        }
        queue.push(message(0, "e").with_unordered(true), None, Instant::ORIGIN);
        queue.push(message(0, "f"), None, Instant::ORIGIN);
        let expected = [(3, 0, "a"), (3, 1, "b"), (0, 0, "c"), (3, 2, "d"), (0, 1, "e"), (0, 1, "f")];
        assert_eq!(taken(&mut queue, 10), expected.map(|(stream, ssn, text)| (stream, ssn, text.to_owned())));
        assert!(queue.is_empty());
    }

    #[test]
    fn round_robin_takes_turns() {
        let mut queue = SendQueue::new(StreamScheduler::RoundRobin);
        for (stream, text) in [(3, "a"), (3, "b"), (3, "c"), (0, "d"), (0, "e")] {
            queue.push(message(stream, text), None, Instant::ORIGIN);
        }
        let order: Vec<_> = taken(&mut queue, 10).into_iter().map(|taken| taken.2).collect();
        assert_eq!(order, ["a", "d", "b", "e", "c"]);
    }

    //= test RFC 9260 §6.9: "The transmitter MUST also set the B/E bits of the first DATA chunk in the series to 10"
    //= test RFC 9260 §3.3.1: "the same Stream Sequence Number MUST be carried in each of the fragments of the message"
    //= test RFC 9260 §3.3.1: "An unfragmented user message MUST have both the B and E bits set to 1."
    #[test]
    fn fragments_are_slices_with_the_flags_of_their_place() {
        let mut queue = SendQueue::new(StreamScheduler::FirstCome);
        queue.push(message(0, "abcdefgh"), None, Instant::ORIGIN);
        queue.push(message(1, "x"), None, Instant::ORIGIN);
        let mut flags = Vec::new();
        while let Some(chunk) = queue.take(3) {
            flags.push((chunk.flags.is_beginning(), chunk.flags.is_ending(), chunk.ssn.get(), chunk.payload.len()));
        }
        assert_eq!(flags, [(true, false, 0, 3), (false, false, 0, 3), (false, true, 0, 2), (true, true, 0, 1)]);
    }

    #[test]
    fn gives_back_what_was_not_sent() {
        let mut queue = SendQueue::new(StreamScheduler::FirstCome);
        queue.push(message(0, "abc"), None, Instant::ORIGIN);
        queue.push(message(7, "x"), None, Instant::ORIGIN);
        queue.push(message(1, "y"), None, Instant::ORIGIN);
        queue.take(1);
        let refused = queue.limit_streams(2);
        assert_eq!((refused.len(), refused[0].stream), (1, 7));
        let unsent: Vec<_> = queue.drain().iter().map(|unsent| (unsent.stream, unsent.begun)).collect();
        assert_eq!(unsent, [(0, true), (1, false)]);
        assert_eq!((queue.bytes(), queue.next_len()), (0, None));
    }

    //= test RFC 9260 §6.5: "when the Stream Sequence Number reaches the value 65535, the next Stream Sequence Number
    //= MUST be set to 0"
    #[test]
    fn sequence_numbers_wrap() {
        let mut queue = SendQueue::new(StreamScheduler::FirstCome);
        for _ in 0..=u16::MAX {
            queue.push(message(0, "x"), None, Instant::ORIGIN);
            queue.take(1);
        }
        queue.push(message(0, "x"), None, Instant::ORIGIN);
        assert_eq!(queue.take(1).unwrap().ssn, Ssn(0));
    }

    #[test]
    fn what_has_waited_too_long_is_not_begun() {
        let millis = Duration::from_millis;
        let mut queue = SendQueue::new(StreamScheduler::FirstCome);
        queue.push(message(0, "abc").with_lifetime(millis(10)), None, Instant::ORIGIN);
        queue.push(message(1, "d").with_lifetime(millis(5)), None, Instant::ORIGIN);
        queue.push(message(0, "e"), None, Instant::ORIGIN);
        assert!(queue.has_expiring());
        assert!(queue.take_expired(Instant::from_millis(9)).is_none(), "the other has to wait for its turn");
        queue.take(1);
        // What is begun is finished, whatever time has passed.
        assert!(queue.take_expired(Instant::from_millis(99)).is_none());
        queue.take(9);
        let expired = queue.take_expired(Instant::from_millis(99)).unwrap();
        assert_eq!((expired.stream, expired.begun, &expired.payload[0][..]), (1, false, &b"d"[..]));
        assert!(queue.take_expired(Instant::from_millis(99)).is_none() && !queue.has_expiring());
        assert_eq!(queue.bytes(), 1);
        // The message that was not sent leaves no gap in the sequence.
        queue.push(message(1, "f"), None, Instant::ORIGIN);
        assert_eq!(taken(&mut queue, 9), [(0, 1, "e".to_owned()), (1, 0, "f".to_owned())]);
    }

    #[test]
    fn each_message_has_its_own_path() {
        for scheduler in [StreamScheduler::FirstCome, StreamScheduler::RoundRobin] {
            let mut queue = SendQueue::new(scheduler);
            queue.push(message(0, "a"), None, Instant::ORIGIN);
            queue.push(message(0, "bcd"), Some(3), Instant::ORIGIN);
            queue.push(message(0, "ef"), None, Instant::ORIGIN);
            queue.push(message(0, "g"), Some(0), Instant::ORIGIN);
            let mut paths = Vec::new();
            while queue.next_len().is_some() {
                paths.push(queue.next_path());
                queue.take(1);
            }
            assert_eq!(paths, [None, Some(3), Some(3), Some(3), None, None, Some(0)]);
            assert_eq!(queue.next_path(), None);
        }
    }

    #[test]
    fn what_is_given_back_is_what_was_not_sent() {
        let mut queue = SendQueue::new(StreamScheduler::FirstCome);
        queue.push(message(0, "abcdef").with_ppid(7).with_context(8), None, Instant::ORIGIN);
        queue.push(message(2, "x").with_no_bundle(true), None, Instant::ORIGIN);
        assert!(queue.has_unbundled());
        queue.take(4);
        let unsent = queue.drain();
        assert_eq!((unsent[0].ppid, unsent[0].context, &unsent[0].payload[0][..]), (7, 8, &b"ef"[..]));
        assert_eq!((unsent[1].len(), &unsent[1].payload[0][..]), (1, &b"x"[..]));
        assert!(queue.is_empty() && !queue.has_unbundled());
    }
}
