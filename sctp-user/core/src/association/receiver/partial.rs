//! Partial delivery: a message that is too long to be waited for goes to the application in parts (RFC 9260 §6.9, §11.1.7).
//!
//! One message goes so at a time, and nothing else is delivered meanwhile: its parts come one after another. It begins only when all
//! that was sent before it has arrived. So whatever has to wait for its end was sent after it, and what is still missing of it fills
//! gaps, which is accepted however full the buffer is: the two cannot wait for each other.

use std::collections::VecDeque;

use super::Receiver;
use crate::{MessagePart, ReceivedMessage};

/// A message of which parts have been delivered.
#[derive(Debug)]
pub(super) struct PartialDelivery {
    stream: u16,
    ssn: u16,
    ppid: u32,
    unordered: bool,
    /// How many parts have been delivered.
    parts: usize,
    /// Messages that wait for its end.
    pub(super) waiting: VecDeque<ReceivedMessage>,
}

/// A message of which the application has had parts, and gets no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unfinished {
    pub(crate) stream: u16,
    pub(crate) ssn: u16,
    pub(crate) ppid: u32,
}

impl Receiver {
    /// Delivers what there is of the message that comes next, if that is `point` bytes or more, or if the buffer runs out while the
    /// application has nothing to take that would make room.
    //= RFC 9260 §6.9: "it SHOULD dispatch part of its inbound message through a partial delivery API"
    pub(crate) fn deliver_part(&mut self, point: usize) {
        let Some(begun) = self.reassembly.first_begun() else { return };
        let runs_out = self.ready.is_empty() && self.free() < self.buffer() / 4;
        let enough = begun.bytes >= point || (runs_out && begun.bytes > 0);
        let all_before = begun.head.tsn.precedes_or_is(self.tracker.cumulative());
        let (stream, ssn, ppid, unordered) = (begun.head.stream, begun.head.ssn, begun.head.ppid, begun.head.unordered);
        let first = self.partial.is_none();
        if !enough || !all_before || (first && !unordered && !self.streams.is_next(stream, ssn)) {
            return;
        }
        let part = if first { MessagePart::First } else { MessagePart::Middle };
        let message = ReceivedMessage { stream, ssn, ppid, unordered, part, payload: self.reassembly.take_first() };
        let partial = self.partial.get_or_insert_with(|| {
            Box::new(PartialDelivery { stream, ssn, ppid, unordered, parts: 0, waiting: VecDeque::new() })
        });
        partial.parts += 1;
        if !first || unordered {
            self.ready.push_back(message);
            return;
        }
        // It has had its turn: those behind it in its stream wait for its end.
        let (ready, waiting) = (&mut self.ready, &mut partial.waiting);
        self.streams.order(message, |message| match message.part {
            MessagePart::First => ready.push_back(message),
            _ => waiting.push_back(message),
        });
    }

    /// Delivers the last part of a message, then what has waited for it.
    pub(super) fn end_partial(&mut self, rest: ReceivedMessage) {
        self.ready.push_back(ReceivedMessage { part: MessagePart::Last, ..rest });
        if let Some(partial) = self.partial.take() {
            self.ready.extend(partial.waiting);
        }
    }

    /// The message that is being delivered in parts will not become whole. Takes back what of it the application has not taken, and
    /// delivers what has waited for its end, but for what must come after it (§6.6); says which message it was, if the application has
    /// taken some of it, and how many have waited.
    pub(crate) fn abort_partial(&mut self) -> (Option<Unfinished>, usize) {
        let Some(partial) = self.partial.take() else { return (None, 0) };
        let PartialDelivery { stream, ssn, ppid, parts, mut waiting, unordered } = *partial;
        // Those that come after it in its stream have lost their turn with it.
        waiting.retain(|message| {
            let keeps_turn = unordered || message.unordered || message.stream != stream;
            if !keeps_turn {
                self.uncharge(message);
            }
            keeps_turn
        });
        let waited = waiting.len();
        let mut left = 0;
        // Nothing has been delivered since.
        while left < parts
            && let Some(message) = self.ready.pop_back_if(|message| message.part.is_followed())
        {
            self.uncharge(&message);
            left += 1;
        }
        self.ready.extend(waiting);
        ((left < parts).then_some(Unfinished { stream, ssn, ppid }), waited)
    }
}
