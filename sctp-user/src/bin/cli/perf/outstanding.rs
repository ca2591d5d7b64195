//! Which messages wait for their echo, and which of them an echo answers.
//!
//! Ordered messages come back in order within their stream, so an echo should answer the oldest message of its stream. A
//! message that carries its sequence number says itself which one it is: if that is not the oldest, those before it were
//! overtaken and will never come (they are lost). Unordered messages are looked up by their number or, if they are too short for
//! one, by their octets.

use std::collections::VecDeque;
use std::time::Instant;

use super::content::{Content, carried_sequence};

/// A message that waits for its echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Its sequence number.
    pub(crate) sequence: u64,
    /// When it was sent, or should have been.
    pub(crate) sent: Instant,
}

/// What an echo was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Echo {
    /// The message that was waited for, every octet of it (unless octets are not compared).
    Right(Waiting),
    /// The answer to a message, but with other octets than it had.
    Changed(Waiting),
    /// Not the answer to any message that waits: made up, or there twice.
    Unknown,
}

/// All messages that wait.
#[derive(Debug)]
pub(crate) struct Outstanding {
    content: Content,
    /// Look up echoes in any order.
    unordered: bool,
    /// Compare octets.
    verified: bool,
    /// Those that wait, by stream, the oldest first.
    streams: Vec<VecDeque<Waiting>>,
    /// How many wait.
    count: usize,
    /// How many were overtaken.
    overtaken: u64,
}

impl Outstanding {
    /// Nothing waits yet. With `verified` false, sizes are compared and octets are not.
    pub(crate) fn new(content: Content, unordered: bool, verified: bool) -> Self {
        let streams = vec![VecDeque::new(); usize::from(content.streams)];
        Self { content, unordered, verified, streams, count: 0, overtaken: 0 }
    }

    /// How many messages wait.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// How many messages were overtaken in their stream by a later one: they are lost.
    pub(crate) fn overtaken(&self) -> u64 {
        self.overtaken
    }

    /// A message is about to be sent.
    pub(crate) fn add(&mut self, waiting: Waiting) {
        let stream = usize::from(self.content.stream(waiting.sequence));
        self.streams[stream].push_back(waiting);
        self.count += 1;
    }

    /// An echo has come on `stream`.
    pub(crate) fn answer(&mut self, stream: u16, payload: &[u8]) -> Echo {
        let Some(queue) = self.streams.get_mut(usize::from(stream)) else {
            return Echo::Unknown;
        };
        let carried = carried_sequence(payload).filter(|_| self.verified);
        let position = match carried {
            Some(sequence) => queue.iter().position(|waiting| waiting.sequence == sequence),
            None if self.unordered && self.verified => {
                let content = &self.content;
                queue.iter().position(|waiting| content.matches(waiting.sequence, payload))
            }
            None if self.unordered => {
                let content = &self.content;
                queue.iter().position(|waiting| content.size(waiting.sequence) == payload.len())
            }
            // Nothing says which one it is, so it is the one whose turn it is.
            None => (!queue.is_empty()).then_some(0),
        };
        let Some(position) = position else {
            return Echo::Unknown;
        };
        if !self.unordered && position > 0 {
            queue.drain(..position);
            self.count -= position;
            self.overtaken += position as u64;
        }
        let at = if self.unordered { position } else { 0 };
        let Some(waiting) = queue.remove(at) else {
            return Echo::Unknown;
        };
        self.count -= 1;
        let right = match self.verified {
            true => self.content.matches(waiting.sequence, payload),
            false => self.content.size(waiting.sequence) == payload.len(),
        };
        if right { Echo::Right(waiting) } else { Echo::Changed(waiting) }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::cli::perf::content::Generator;
    use crate::cli::values::SizeRange;

    fn content(size: usize, streams: u16) -> Content {
        Content { seed: 1, sizes: SizeRange { lowest: size, highest: size, mostly_small: false }, streams }
    }

    /// `count` messages that wait, and their payloads.
    fn waiting(content: Content, unordered: bool, count: u64) -> (Outstanding, Vec<Bytes>) {
        let mut outstanding = Outstanding::new(content, unordered, true);
        let mut generator = Generator::new(content, true);
        let sent = Instant::now();
        let payloads = (0..count).map(|sequence| {
            outstanding.add(Waiting { sequence, sent });
            generator.payload(sequence)
        });
        let payloads = payloads.collect();
        (outstanding, payloads)
    }

    fn sequence(echo: Echo) -> u64 {
        match echo {
            Echo::Right(waiting) => waiting.sequence,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn echoes_answer_their_messages() {
        for size in [3, 8, 100] {
            let (mut outstanding, payloads) = waiting(content(size, 2), false, 6);
            // Streams may overtake each other.
            for number in [1, 0, 3, 5, 2, 4] {
                assert_eq!(sequence(outstanding.answer((number % 2) as u16, &payloads[number])), number as u64);
            }
            assert_eq!((outstanding.len(), outstanding.overtaken()), (0, 0));
        }
    }

    #[test]
    fn messages_that_are_overtaken_in_their_stream_are_lost() {
        let (mut outstanding, payloads) = waiting(content(20, 1), false, 5);
        assert_eq!(sequence(outstanding.answer(0, &payloads[2])), 2);
        assert_eq!((outstanding.len(), outstanding.overtaken()), (2, 2));
        assert_eq!(outstanding.answer(0, &payloads[1]), Echo::Unknown);
        assert_eq!(sequence(outstanding.answer(0, &payloads[3])), 3);
    }

    #[test]
    fn short_messages_in_the_wrong_order_are_changed() {
        let (mut outstanding, payloads) = waiting(content(5, 1), false, 2);
        assert!(matches!(outstanding.answer(0, &payloads[1]), Echo::Changed(Waiting { sequence: 0, .. })));
        assert_eq!(outstanding.len(), 1);
    }

    #[test]
    fn unordered_messages_may_come_in_any_order() {
        for size in [5, 50] {
            let (mut outstanding, payloads) = waiting(content(size, 1), true, 4);
            for number in [3, 0, 2, 1] {
                assert_eq!(sequence(outstanding.answer(0, &payloads[number])), number as u64);
            }
            assert_eq!((outstanding.len(), outstanding.overtaken()), (0, 0));
        }
    }

    #[test]
    fn echoes_that_nobody_waits_for_are_unknown() {
        let (mut outstanding, payloads) = waiting(content(20, 2), false, 2);
        assert_eq!(outstanding.answer(1, &payloads[0]), Echo::Unknown);
        assert_eq!(outstanding.answer(2, &payloads[0]), Echo::Unknown);
        assert_eq!(sequence(outstanding.answer(0, &payloads[0])), 0);
        assert_eq!(outstanding.answer(0, &payloads[0]), Echo::Unknown);
        assert_eq!(outstanding.answer(0, b"short"), Echo::Unknown);
        assert_eq!(outstanding.len(), 1);
    }

    #[test]
    fn other_octets_and_lengths_are_seen() {
        let (mut outstanding, payloads) = waiting(content(20, 1), false, 2);
        let mut changed = payloads[0].to_vec();
        changed[19] ^= 1;
        assert!(matches!(outstanding.answer(0, &changed), Echo::Changed(Waiting { sequence: 0, .. })));
        assert!(matches!(outstanding.answer(0, &payloads[1][..19]), Echo::Changed(Waiting { sequence: 1, .. })));
        assert_eq!(outstanding.len(), 0);
    }

    #[test]
    fn without_verification_sizes_are_still_compared() {
        let mut outstanding = Outstanding::new(content(20, 1), false, false);
        let sent = Instant::now();
        outstanding.add(Waiting { sequence: 0, sent });
        outstanding.add(Waiting { sequence: 1, sent });
        assert!(matches!(outstanding.answer(0, &[0; 20]), Echo::Right(_)));
        assert!(matches!(outstanding.answer(0, &[0; 19]), Echo::Changed(_)));
    }
}
