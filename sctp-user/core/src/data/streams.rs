//! Putting ordered messages into the order of their streams (RFC 9260 §6.6).

use std::collections::VecDeque;

use slab::Slab;

use crate::ReceivedMessage;
use crate::serial::Ssn;

/// No message waits.
const NONE: u32 = u32::MAX;

/// An inbound stream.
#[derive(Clone, Copy, Debug)]
struct Stream {
    /// Of the message to deliver next.
    next: Ssn,
    /// Its waiting messages, an index into [`InboundStreams::waiting`].
    waiting: u32,
}

/// The inbound streams: what they deliver next, and what came too early.
///
/// A stream that has not been used costs nothing, and one that has nothing waiting eight bytes.
#[derive(Debug, Default)]
pub(crate) struct InboundStreams {
    streams: Vec<Stream>,
    /// Messages that wait for an earlier one of their stream, in order of their sequence numbers; one queue for each stream
    /// that has such. `None` while nothing has ever come too early.
    waiting: Option<Box<Waiting>>,
}

type Waiting = Slab<VecDeque<ReceivedMessage>>;

impl InboundStreams {
    /// Puts an ordered message in its place; calls `deliver` for every message whose turn has come.
    ///
    /// False if it repeats the number of one that was delivered or waits: then it is dropped.
    pub(crate) fn order(&mut self, message: ReceivedMessage, mut deliver: impl FnMut(ReceivedMessage)) -> bool {
        let at = usize::from(message.stream);
        if at >= self.streams.len() {
            self.streams.resize(at + 1, Stream { next: Ssn(0), waiting: NONE });
        }
        let stream = &mut self.streams[at];
        let ssn = Ssn(message.ssn);
        //= RFC 9260 §6.6: "an endpoint MUST deliver DATA chunks received with the U flag set to 0 to the upper layer
        //= according to the order of their Stream Sequence Number"
        //= RFC 9260 §6.6: "the endpoint MUST hold the received DATA chunks from delivery to the ULP until they are
        //= reordered"
        if ssn != stream.next {
            return ssn.follows(stream.next) && self.hold(at, message);
        }
        stream.next = ssn.next();
        deliver(message);
        if stream.waiting != NONE
            && let Some(all) = &mut self.waiting
            && let Some(queue) = all.get_mut(stream.waiting as usize)
        {
            while let Some(message) = queue.pop_front_if(|message| Ssn(message.ssn) == stream.next) {
                stream.next = stream.next.next();
                deliver(message);
            }
            if queue.is_empty() {
                all.remove(stream.waiting as usize);
                stream.waiting = NONE;
            }
        }
        true
    }

    /// Whether the message of this number is the one that its stream delivers next.
    pub(crate) fn is_next(&self, stream: u16, ssn: u16) -> bool {
        self.streams.get(usize::from(stream)).map_or(Ssn(0), |stream| stream.next) == Ssn(ssn)
    }

    /// Gives back memory that nothing is in.
    pub(crate) fn shrink(&mut self) {
        self.waiting.take_if(|waiting| waiting.is_empty());
    }

    /// All streams begin anew; what waited is dropped.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    fn hold(&mut self, at: usize, message: ReceivedMessage) -> bool {
        let (stream, all) = (&mut self.streams[at], self.waiting.get_or_insert_default());
        if stream.waiting == NONE {
            stream.waiting = all.insert(VecDeque::new()) as u32;
        }
        let queue = &mut all[stream.waiting as usize];
        let ssn = Ssn(message.ssn);
        let place = match queue.back() {
            Some(last) if Ssn(last.ssn).follows_or_is(ssn) => {
                queue.partition_point(|waiting| Ssn(waiting.ssn).precedes(ssn))
            }
            _ => queue.len(),
        };
        if queue.get(place).is_some_and(|waiting| Ssn(waiting.ssn) == ssn) {
            return false;
        }
        queue.insert(place, message);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(stream: u16, ssn: u16) -> ReceivedMessage {
        let payload = smallvec::smallvec![bytes::Bytes::from_static(b"x")];
        ReceivedMessage { stream, ssn, ppid: 0, unordered: false, part: crate::MessagePart::Whole, payload }
    }

    fn arrive(streams: &mut InboundStreams, stream: u16, ssn: u16) -> Vec<(u16, u16)> {
        let mut delivered = Vec::new();
        streams.order(message(stream, ssn), |message| delivered.push((message.stream, message.ssn)));
        delivered
    }

    //= test RFC 9260 §6.6: "an endpoint MUST deliver DATA chunks received with the U flag set to 0 to the upper layer
    //= according to the order"
    //= test RFC 9260 §6.6: "the endpoint MUST hold the received DATA chunks from delivery to the ULP until they are
    //= reordered"
    #[test]
    fn holds_until_the_gap_closes() {
        let mut streams = InboundStreams::default();
        assert_eq!(arrive(&mut streams, 2, 3), []);
        assert_eq!(arrive(&mut streams, 2, 1), []);
        assert_eq!(arrive(&mut streams, 0, 0), [(0, 0)]);
        assert_eq!(arrive(&mut streams, 2, 0), [(2, 0), (2, 1)]);
        assert_eq!(arrive(&mut streams, 2, 2), [(2, 2), (2, 3)]);
        assert!(streams.waiting.as_ref().is_none_or(|waiting| waiting.is_empty()));
        streams.shrink();
        assert!(streams.waiting.is_none());
    }

    #[test]
    fn repeated_numbers_are_dropped() {
        let mut streams = InboundStreams::default();
        assert_eq!(arrive(&mut streams, 0, 0), [(0, 0)]);
        assert!(!streams.order(message(0, 0), |_| panic!("delivered before")));
        assert!(streams.order(message(0, 2), |_| panic!("too early")));
        assert!(!streams.order(message(0, 2), |_| panic!("too early")));
        assert_eq!(arrive(&mut streams, 0, 1), [(0, 1), (0, 2)]);
    }

    #[test]
    fn sequence_numbers_wrap() {
        let mut streams = InboundStreams::default();
        for ssn in 0..u16::MAX {
            assert_eq!(arrive(&mut streams, 0, ssn).len(), 1);
        }
        assert_eq!(arrive(&mut streams, 0, 1), []);
        assert_eq!(arrive(&mut streams, 0, 0), []);
        assert_eq!(arrive(&mut streams, 0, u16::MAX), [(0, u16::MAX), (0, 0), (0, 1)]);
    }
}
