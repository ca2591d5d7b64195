//! Messages that wait to be sent: a queue per stream, and whose turn it is (RFC 9260 §6.5, §6.9).
//!
//! Messages are cut into fragments only as packets are built, by slicing: nothing is copied, and the size of a fragment is that
//! of the packet at hand.

use std::collections::VecDeque;

use bytes::Bytes;
use slab::Slab;
use smallvec::SmallVec;

use super::outstanding::OutboundChunk;
use crate::Message;
use crate::config::StreamScheduler;
use crate::serial::Ssn;
use crate::time::Instant;

/// No message: end of a list.
const NONE: u32 = u32::MAX;

/// A message in its stream's list.
#[derive(Debug)]
struct Queued {
    message: Message,
    /// The next message of the same stream.
    next: u32,
    /// When it is not worth sending any more.
    expiry: Instant,
}

/// An outbound stream.
#[derive(Clone, Copy, Debug)]
struct Stream {
    first: u32,
    last: u32,
    /// Of the next ordered message.
    ssn: Ssn,
}

impl Stream {
    //= RFC 9260 §6.5: "The Stream Sequence Number in all the outgoing streams MUST start from 0 when the association is
    //= established."
    const EMPTY: Self = Self { first: NONE, last: NONE, ssn: Ssn(0) };
}

/// A message of which a fragment has been sent: it is finished before another begins (RFC 9260 §6.9 wants its TSNs in
/// sequence).
#[derive(Debug)]
struct Begun {
    context: u64,
    ppid: u32,
    stream: u16,
    unordered: bool,
    immediate: bool,
    payload: Bytes,
    /// Where in the payload the next fragment begins. Messages are far shorter than 4 GiB.
    offset: u32,
    ssn: Ssn,
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
    /// A message of which nothing was sent.
    fn new(message: Message) -> Self {
        let Message { stream, context, ppid, payload, .. } = message;
        Self { context, stream, begun: false, ppid, payload: smallvec::smallvec![payload] }
    }

    /// Bytes of its payload.
    pub(crate) fn len(&self) -> usize {
        self.payload.iter().map(Bytes::len).sum()
    }
}

/// What waits to be sent.
#[derive(Debug)]
pub(crate) struct SendQueue {
    messages: Slab<Queued>,
    /// As far as streams have been used.
    streams: Vec<Stream>,
    /// Streams in the order of their turns: one entry for each message with [`StreamScheduler::FirstCome`], one for each stream
    /// that has messages with [`StreamScheduler::RoundRobin`].
    turns: VecDeque<u16>,
    scheduler: StreamScheduler,
    //= RFC 9260 §3.3.1: "the TSNs for each fragment of a fragmented user message MUST be strictly sequential"
    //= RFC 9260 §6.9: "The transmitter MUST then assign, in sequence, a separate TSN to each of the DATA chunks in the
    //= series."
    begun: Option<Begun>,
    /// Bytes of user data that wait. The send buffer has at most 1 GiB, beyond which one message may go.
    bytes: u32,
    /// How many of `messages` have a lifetime.
    expiring: u32,
    /// How many of `messages` do not wait for others.
    unbundled: u32,
}

impl SendQueue {
    pub(crate) fn new(scheduler: StreamScheduler) -> Self {
        Self {
            messages: Slab::new(),
            streams: Vec::new(),
            turns: VecDeque::new(),
            scheduler,
            begun: None,
            bytes: 0,
            expiring: 0,
            unbundled: 0,
        }
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
        self.messages.len() + usize::from(self.begun.is_some())
    }

    /// Whether a message waits that does so for no other.
    pub(crate) fn has_unbundled(&self) -> bool {
        self.unbundled > 0
    }

    /// Whether a message waits that has a lifetime.
    pub(crate) fn has_expiring(&self) -> bool {
        self.expiring > 0
    }

    /// Queues a message; it has at least one byte.
    pub(crate) fn push(&mut self, message: Message, now: Instant) {
        let number = message.stream;
        let at = usize::from(number);
        if at >= self.streams.len() {
            self.streams.resize(at + 1, Stream::EMPTY);
        }
        self.bytes += message.payload.len() as u32;
        let expiry = message.lifetime.map_or(Instant::FAR_FUTURE, |lifetime| now + lifetime);
        self.expiring += u32::from(message.lifetime.is_some());
        self.unbundled += u32::from(message.no_bundle);
        let key = self.messages.insert(Queued { message, next: NONE, expiry }) as u32;
        let stream = &mut self.streams[at];
        let was_empty = stream.first == NONE;
        match was_empty {
            true => stream.first = key,
            false => self.messages[stream.last as usize].next = key,
        }
        stream.last = key;
        if was_empty || self.scheduler == StreamScheduler::FirstCome {
            self.turns.push_back(number);
        }
    }

    /// Bytes of the message whose turn it is that are still to be sent. `None` when nothing waits.
    pub(crate) fn next_len(&self) -> Option<usize> {
        match &self.begun {
            Some(begun) => Some(begun.payload.len() - begun.offset as usize),
            None => {
                let stream = self.streams[usize::from(*self.turns.front()?)];
                Some(self.messages[stream.first as usize].message.payload.len())
            }
        }
    }

    /// Takes up to `max` bytes (at least one) of the message whose turn it is, as a chunk.
    pub(crate) fn take(&mut self, max: usize) -> Option<OutboundChunk> {
        let mut begun = match self.begun.take() {
            Some(begun) => begun,
            None => {
                let (message, ssn) = self.pop()?;
                if message.payload.len() <= max {
                    // The usual case: a message in one chunk.
                    self.bytes -= message.payload.len() as u32;
                    let Message { payload, context, ppid, stream, unordered, immediate, .. } = message;
                    let whole = (true, true);
                    return Some(OutboundChunk::new(payload, context, ppid, stream, ssn, whole, unordered, immediate));
                }
                let Message { context, ppid, stream, unordered, immediate, payload, .. } = message;
                Begun { context, ppid, stream, unordered, immediate, payload, offset: 0, ssn }
            }
        };
        let beginning = begun.offset == 0;
        let offset = begun.offset as usize;
        let left = begun.payload.len() - offset;
        let ending = left <= max;
        //= RFC 9260 §6.9: "The data sender MUST break the user message into a series of DATA chunks."
        //= RFC 9260 §6: "an endpoint MUST fragment large user messages into multiple DATA chunks"
        let payload = match (beginning, ending) {
            (true, true) => core::mem::take(&mut begun.payload),
            _ => begun.payload.slice(offset..offset + left.min(max)),
        };
        self.bytes -= payload.len() as u32;
        begun.offset += payload.len() as u32;
        //= RFC 9260 §3.3.1: "the same Stream Sequence Number MUST be carried in each of the fragments"
        //= RFC 9260 §3.3.1: "If an unordered user message is fragmented, each fragment of the message MUST have its U
        //= bit set to 1."
        //= RFC 9260 §3.3.1: "This field MUST be sent even in fragmented DATA chunks"
        //= RFC 9260 §6.9: "then the U flag of each DATA chunk of the user message MUST be set to 1"
        let chunk = OutboundChunk::new(
            payload,
            begun.context,
            begun.ppid,
            begun.stream,
            begun.ssn,
            (beginning, ending),
            begun.unordered,
            begun.immediate && ending,
        );
        if !ending {
            self.begun = Some(begun);
        }
        Some(chunk)
    }

    /// Gives back every message that waits; forgets them and the streams' sequence numbers.
    pub(crate) fn drain(&mut self) -> Vec<Unsent> {
        let mut unsent = Vec::with_capacity(self.messages());
        if let Some(begun) = self.begun.take() {
            let Begun { context, ppid, stream, payload, offset, .. } = begun;
            unsent.push(Unsent {
                context,
                stream,
                begun: true,
                ppid,
                payload: smallvec::smallvec![payload.slice(offset as usize..)],
            });
        }
        for stream in &self.streams {
            let mut key = stream.first;
            while let Some(queued) = self.messages.try_remove(key as usize) {
                unsent.push(Unsent::new(queued.message));
                key = queued.next;
            }
        }
        *self = Self::new(self.scheduler);
        unsent
    }

    /// Gives back memory that nothing is in.
    pub(crate) fn shrink(&mut self) {
        self.messages.shrink_to_fit();
        self.turns.shrink_to_fit();
    }

    /// Takes the messages of streams from `count` on: the peer grants no more (RFC 9260 §5.1.1).
    pub(crate) fn limit_streams(&mut self, count: u16) -> Vec<Unsent> {
        let mut refused = Vec::new();
        for at in usize::from(count)..self.streams.len() {
            let mut key = self.streams[at].first;
            while let Some(queued) = self.remove(key) {
                self.bytes -= queued.message.payload.len() as u32;
                key = queued.next;
                refused.push(Unsent::new(queued.message));
            }
        }
        self.streams.truncate(usize::from(count));
        self.turns.retain(|stream| *stream < count);
        refused
    }

    /// Takes the message whose turn it is, if it has waited too long and nothing of it was sent.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Option<Unsent> {
        if self.expiring == 0 || self.begun.is_some() {
            return None;
        }
        let stream = self.streams[usize::from(*self.turns.front()?)];
        if self.messages[stream.first as usize].expiry > now {
            return None;
        }
        let message = self.take_next()?;
        self.bytes -= message.payload.len() as u32;
        Some(Unsent::new(message))
    }

    fn remove(&mut self, key: u32) -> Option<Queued> {
        let queued = self.messages.try_remove(key as usize)?;
        self.expiring -= u32::from(queued.message.lifetime.is_some());
        self.unbundled -= u32::from(queued.message.no_bundle);
        Some(queued)
    }

    /// Takes the message whose turn it is.
    fn take_next(&mut self) -> Option<Message> {
        let number = self.turns.pop_front()?;
        let Queued { message, next, .. } = self.remove(self.streams[usize::from(number)].first)?;
        let stream = &mut self.streams[usize::from(number)];
        stream.first = next;
        if next == NONE {
            stream.last = NONE;
        } else if self.scheduler == StreamScheduler::RoundRobin {
            self.turns.push_back(number);
        }
        Some(message)
    }

    /// The message whose turn it is, with its sequence number.
    fn pop(&mut self) -> Option<(Message, Ssn)> {
        let message = self.take_next()?;
        let stream = &mut self.streams[usize::from(message.stream)];
        let ssn = stream.ssn;
        // Unordered messages do not count (RFC 9260 §6.5).
        //= RFC 9260 §6.5: "The Stream Sequence Number of an outgoing stream MUST be incremented by 1 for each ordered
        //= user message sent"
        //= RFC 9260 §6.5: "For unordered user messages, the Stream Sequence Number MUST NOT be changed."
        if !message.unordered {
            stream.ssn = ssn.next();
        }
        Some((message, ssn))
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
            queue.push(message(stream, text), Instant::ORIGIN);
        }
        queue.push(message(0, "e").with_unordered(true), Instant::ORIGIN);
        queue.push(message(0, "f"), Instant::ORIGIN);
        let expected = [(3, 0, "a"), (3, 1, "b"), (0, 0, "c"), (3, 2, "d"), (0, 1, "e"), (0, 1, "f")];
        assert_eq!(taken(&mut queue, 10), expected.map(|(stream, ssn, text)| (stream, ssn, text.to_owned())));
        assert!(queue.is_empty());
    }

    #[test]
    fn round_robin_takes_turns() {
        let mut queue = SendQueue::new(StreamScheduler::RoundRobin);
        for (stream, text) in [(3, "a"), (3, "b"), (3, "c"), (0, "d"), (0, "e")] {
            queue.push(message(stream, text), Instant::ORIGIN);
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
        queue.push(message(0, "abcdefgh"), Instant::ORIGIN);
        queue.push(message(1, "x"), Instant::ORIGIN);
        let mut flags = Vec::new();
        while let Some(chunk) = queue.take(3) {
            flags.push((chunk.beginning, chunk.ending, chunk.ssn.get(), chunk.payload.len()));
        }
        assert_eq!(flags, [(true, false, 0, 3), (false, false, 0, 3), (false, true, 0, 2), (true, true, 0, 1)]);
    }

    #[test]
    fn gives_back_what_was_not_sent() {
        let mut queue = SendQueue::new(StreamScheduler::FirstCome);
        queue.push(message(0, "abc"), Instant::ORIGIN);
        queue.push(message(7, "x"), Instant::ORIGIN);
        queue.push(message(1, "y"), Instant::ORIGIN);
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
            queue.push(message(0, "x"), Instant::ORIGIN);
            queue.take(1);
        }
        queue.push(message(0, "x"), Instant::ORIGIN);
        assert_eq!(queue.take(1).unwrap().ssn, Ssn(0));
    }

    #[test]
    fn what_has_waited_too_long_is_not_begun() {
        let millis = Duration::from_millis;
        let mut queue = SendQueue::new(StreamScheduler::FirstCome);
        queue.push(message(0, "abc").with_lifetime(millis(10)), Instant::ORIGIN);
        queue.push(message(1, "d").with_lifetime(millis(5)), Instant::ORIGIN);
        queue.push(message(0, "e"), Instant::ORIGIN);
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
        queue.push(message(1, "f"), Instant::ORIGIN);
        assert_eq!(taken(&mut queue, 9), [(0, 1, "e".to_owned()), (1, 0, "f".to_owned())]);
    }

    #[test]
    fn what_is_given_back_is_what_was_not_sent() {
        let mut queue = SendQueue::new(StreamScheduler::FirstCome);
        queue.push(message(0, "abcdef").with_ppid(7).with_context(8), Instant::ORIGIN);
        queue.push(message(2, "x").with_no_bundle(true), Instant::ORIGIN);
        assert!(queue.has_unbundled());
        queue.take(4);
        let unsent = queue.drain();
        assert_eq!((unsent[0].ppid, unsent[0].context, &unsent[0].payload[0][..]), (7, 8, &b"ef"[..]));
        assert_eq!((unsent[1].len(), &unsent[1].payload[0][..]), (1, &b"x"[..]));
        assert!(queue.is_empty() && !queue.has_unbundled());
    }
}
