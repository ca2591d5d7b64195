//! Putting fragments together (RFC 9260 §6.9).
//!
//! Fragments of a message have consecutive TSNs. So what has arrived of messages that are not complete yet is kept as runs of
//! consecutive fragments; a fragment extends a run at either end, joins two, or begins one. When fragments come in order,
//! which is nearly always, there is one run and it grows at its end.

use std::collections::VecDeque;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::serial::Tsn;
use crate::{MessagePart, ReceivedMessage};

/// What a DATA chunk says about its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FragmentHead {
    pub(crate) tsn: Tsn,
    pub(crate) stream: u16,
    pub(crate) ssn: u16,
    pub(crate) ppid: u32,
    pub(crate) unordered: bool,
    /// First fragment (B bit).
    pub(crate) beginning: bool,
    /// Last fragment (E bit).
    pub(crate) ending: bool,
}

/// Fragments that do not fit together: the peer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FragmentError {
    /// Neighbours belong to different messages although neither ends or begins one.
    Mismatch,
    /// The message is longer than may be received.
    TooLong,
}

/// Consecutive fragments of one message.
#[derive(Debug)]
struct Part {
    first: Tsn,
    last: Tsn,
    head: FragmentHead,
    has_beginning: bool,
    has_ending: bool,
    /// Of the fragments that it holds.
    bytes: usize,
    fragments: VecDeque<Bytes>,
}

/// The message that comes first of those that are not complete.
pub(crate) struct Begun {
    /// Of its first fragment.
    pub(crate) head: FragmentHead,
    /// Bytes that have arrived from its beginning on, and have not been taken.
    pub(crate) bytes: usize,
}

/// Everything that has arrived of messages that are not complete.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    /// In order of TSN.
    parts: VecDeque<Part>,
    /// An emptied queue of fragments, for its memory.
    spare: VecDeque<Bytes>,
    /// Of the first part, fragments have been taken.
    first_begun: bool,
}

impl Reassembly {
    /// How many parts of messages there are.
    pub(crate) fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Whether a fragment would be stored without beginning another part.
    pub(crate) fn extends(&self, tsn: Tsn) -> bool {
        let at = self.position(tsn);
        (at > 0 && self.parts[at - 1].last.next() == tsn)
            || self.parts.get(at).is_some_and(|part| part.first == tsn.next())
    }

    /// Adds a fragment whose TSN has not been received before; gives the message if it completes one.
    //= RFC 9260 §6.9: "An endpoint MUST recognize fragmented DATA chunks by examining the B/E bits in each of the
    //= received DATA chunks and queue the fragmented DATA chunks for reassembly."
    //= RFC 9260 §6.9: "it MUST support reassembly when receiving DATA chunks"
    pub(crate) fn insert(
        &mut self,
        head: FragmentHead,
        payload: Bytes,
        max_len: usize,
    ) -> Result<Option<ReceivedMessage>, FragmentError> {
        let at = self.position(head.tsn);
        let after_previous = at > 0 && {
            let previous = &self.parts[at - 1];
            previous.last.next() == head.tsn && !previous.has_ending && !head.beginning
        };
        let before_next =
            self.parts.get(at).is_some_and(|next| head.tsn.next() == next.first && !next.has_beginning && !head.ending);
        self.check_neighbours(at, &head, after_previous, before_next)?;

        let at = match (after_previous, before_next) {
            (true, joins) => {
                let part = &mut self.parts[at - 1];
                part.last = head.tsn;
                part.has_ending = head.ending;
                part.bytes += payload.len();
                part.fragments.push_back(payload);
                if joins {
                    self.join(at - 1);
                }
                at - 1
            }
            (false, true) => {
                let part = &mut self.parts[at];
                part.first = head.tsn;
                part.has_beginning = head.beginning;
                part.head.ppid = head.ppid;
                part.bytes += payload.len();
                part.fragments.push_front(payload);
                at
            }
            (false, false) => {
                let mut fragments = core::mem::take(&mut self.spare);
                let bytes = payload.len();
                fragments.push_back(payload);
                let part = Part {
                    first: head.tsn,
                    last: head.tsn,
                    head,
                    has_beginning: head.beginning,
                    has_ending: head.ending,
                    bytes,
                    fragments,
                };
                self.parts.insert(at, part);
                at
            }
        };
        let part = &self.parts[at];
        if part.bytes > max_len {
            return Err(FragmentError::TooLong);
        }
        Ok(if part.has_beginning && part.has_ending { self.complete(at) } else { None })
    }

    /// The first part, if its message begins with it.
    pub(crate) fn first_begun(&self) -> Option<Begun> {
        let part = self.parts.front().filter(|part| part.has_beginning)?;
        Some(Begun { head: FragmentHead { tsn: part.first, ..part.head }, bytes: part.bytes })
    }

    /// Whether fragments have been taken of a message that is not complete.
    pub(crate) fn is_first_begun(&self) -> bool {
        self.first_begun
    }

    /// Takes the fragments that have arrived from the beginning of the first message on: the rest of it will be given as if it were all.
    /// Nothing may come before it any more.
    pub(crate) fn take_first(&mut self) -> SmallVec<[Bytes; 1]> {
        let Some(part) = self.parts.front_mut() else { return SmallVec::new() };
        self.first_begun = true;
        part.bytes = 0;
        part.fragments.drain(..).collect()
    }

    /// Whether it has space for fragments.
    pub(crate) fn holds_memory(&self) -> bool {
        self.parts.capacity() + self.spare.capacity() > 0
    }

    /// Gives back memory that nothing is in.
    pub(crate) fn shrink(&mut self) {
        self.parts.shrink_to_fit();
        self.spare = VecDeque::new();
    }

    /// Drops everything.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Index of the first part that begins after `tsn`.
    fn position(&self, tsn: Tsn) -> usize {
        match self.parts.back() {
            Some(last) if last.first.follows(tsn) => self.parts.partition_point(|part| part.first.precedes(tsn)),
            _ => self.parts.len(),
        }
    }

    /// Consecutive TSNs where neither the first ends nor the second begins a message must be of one message.
    fn check_neighbours(
        &self,
        at: usize,
        head: &FragmentHead,
        after_previous: bool,
        before_next: bool,
    ) -> Result<(), FragmentError> {
        if at > 0 && self.parts[at - 1].last.next() == head.tsn {
            let previous = &self.parts[at - 1];
            let fits = match after_previous {
                true => same_message(&previous.head, head),
                // A message must end before another begins.
                false => previous.has_ending && head.beginning,
            };
            if !fits {
                return Err(FragmentError::Mismatch);
            }
        }
        if let Some(next) = self.parts.get(at).filter(|next| head.tsn.next() == next.first) {
            let fits = match before_next {
                true => same_message(&next.head, head),
                false => next.has_beginning && head.ending,
            };
            if !fits {
                return Err(FragmentError::Mismatch);
            }
        }
        Ok(())
    }

    /// Joins the part at `at` with the next.
    fn join(&mut self, at: usize) {
        let Some(mut next) = self.parts.remove(at + 1) else { return };
        let part = &mut self.parts[at];
        part.last = next.last;
        part.has_ending = next.has_ending;
        part.bytes += next.bytes;
        // The shorter is moved, so that all joins together cost O(n log n).
        if part.fragments.len() >= next.fragments.len() {
            part.fragments.append(&mut next.fragments);
        } else {
            while let Some(fragment) = part.fragments.pop_back() {
                next.fragments.push_front(fragment);
            }
            part.fragments = next.fragments;
        }
    }

    fn complete(&mut self, at: usize) -> Option<ReceivedMessage> {
        let mut part = self.parts.remove(at)?;
        self.first_begun &= at > 0;
        let payload: SmallVec<[Bytes; 1]> = part.fragments.drain(..).collect();
        if self.spare.capacity() < part.fragments.capacity() {
            self.spare = part.fragments;
        }
        let FragmentHead { stream, ssn, ppid, unordered, .. } = part.head;
        Some(ReceivedMessage { stream, ssn, ppid, unordered, part: MessagePart::Whole, payload })
    }
}

/// Whether two fragments can be of one message. (The payload protocol identifier is that of the first fragment: some
/// stacks leave it out of the others.)
fn same_message(one: &FragmentHead, other: &FragmentHead) -> bool {
    one.stream == other.stream && one.unordered == other.unordered && (one.unordered || one.ssn == other.ssn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Messages of `lens` fragments each, from TSN `base` on; the payload of each fragment is its own number.
    fn fragments(base: u32, lens: &[usize]) -> Vec<(FragmentHead, Bytes)> {
        let mut tsn = Tsn(base);
        let mut all = Vec::new();
        for (ssn, len) in lens.iter().enumerate() {
            for at in 0..*len {
                let head = FragmentHead {
                    tsn,
                    stream: 1,
                    ssn: ssn as u16,
                    ppid: if at == 0 { 7 } else { 0 },
                    unordered: false,
                    beginning: at == 0,
                    ending: at + 1 == *len,
                };
                all.push((head, Bytes::from(vec![at as u8; 3])));
                tsn = tsn.next();
            }
        }
        all
    }

    //= test RFC 9260 §6.9: "An endpoint MUST recognize fragmented DATA chunks by examining the B/E bits"
    //= test RFC 9260 §6.9: "it MUST support reassembly when receiving DATA chunks"
    #[test]
    fn completes_in_any_order() {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let all = fragments(u32::MAX, &[3]);
            let mut reassembly = Reassembly::default();
            for (step, at) in order.into_iter().enumerate() {
                let (head, payload) = all[at].clone();
                let message = reassembly.insert(head, payload, 100).unwrap();
                assert_eq!(message.is_some(), step == 2);
                if let Some(message) = message {
                    assert_eq!(message.into_bytes(), [0, 0, 0, 1, 1, 1, 2, 2, 2][..]);
                }
            }
            assert_eq!(reassembly.parts(), 0);
        }
    }

    #[test]
    fn the_first_fragment_names_the_protocol() {
        let all = fragments(5, &[2]);
        let mut reassembly = Reassembly::default();
        reassembly.insert(all[1].0, all[1].1.clone(), 100).unwrap();
        let message = reassembly.insert(all[0].0, all[0].1.clone(), 100).unwrap().unwrap();
        assert_eq!(message.ppid, 7);
    }

    #[test]
    fn fragments_that_do_not_fit_are_refused() {
        let all = fragments(1, &[3]);
        let insert = |first: FragmentHead, second: FragmentHead| {
            let mut reassembly = Reassembly::default();
            reassembly.insert(first, Bytes::from_static(b"x"), 100).unwrap();
            reassembly.insert(second, Bytes::from_static(b"x"), 100).map(|_| ())
        };
        let (first, second, third) = (all[0].0, all[1].0, all[2].0);
        assert_eq!(insert(first, second), Ok(()));
        for other in [
            FragmentHead { stream: 2, ..second },
            FragmentHead { ssn: 9, ..second },
            FragmentHead { unordered: true, ..second },
            FragmentHead { beginning: true, ..second },
        ] {
            assert_eq!(insert(first, other), Err(FragmentError::Mismatch));
        }
        assert_eq!(insert(third, FragmentHead { ssn: 9, ..second }), Err(FragmentError::Mismatch));
        // The next after a last fragment must be a first one.
        assert_eq!(insert(third, FragmentHead { tsn: Tsn(4), ..second }), Err(FragmentError::Mismatch));
    }

    #[test]
    fn the_first_message_can_be_taken_as_it_comes() {
        let all = fragments(1, &[5, 2]);
        let mut reassembly = Reassembly::default();
        let insert = |reassembly: &mut Reassembly, at: usize| {
            let (head, payload): (FragmentHead, Bytes) = all[at].clone();
            reassembly.insert(head, payload, 9).unwrap().map(ReceivedMessage::into_bytes)
        };
        insert(&mut reassembly, 1);
        assert!(reassembly.first_begun().is_none(), "its beginning is missing");
        insert(&mut reassembly, 0);
        insert(&mut reassembly, 5);
        assert_eq!(reassembly.first_begun().map(|begun| (begun.head.tsn, begun.bytes)), Some((Tsn(1), 6)));
        assert_eq!(reassembly.take_first().concat(), [0, 0, 0, 1, 1, 1]);
        assert!(reassembly.is_first_begun() && reassembly.take_first().is_empty());
        // What is taken counts no more: three more fragments are as much as may be held.
        insert(&mut reassembly, 4);
        insert(&mut reassembly, 3);
        assert_eq!(insert(&mut reassembly, 6).map(|whole| whole.len()), Some(6), "another, while the first is begun");
        assert!(reassembly.is_first_begun());
        assert_eq!(insert(&mut reassembly, 2).as_deref(), Some(&[2, 2, 2, 3, 3, 3, 4, 4, 4][..]));
        assert!(!reassembly.is_first_begun());
    }

    #[test]
    fn length_is_bounded() {
        let all = fragments(1, &[3]);
        let mut reassembly = Reassembly::default();
        reassembly.insert(all[0].0, all[0].1.clone(), 5).unwrap();
        assert_eq!(reassembly.insert(all[1].0, all[1].1.clone(), 5), Err(FragmentError::TooLong));
    }

    proptest! {
        #[test]
        fn any_order_of_several_messages(
            base: u32,
            lens in prop::collection::vec(1_usize..9, 1..9),
            shuffle in prop::collection::vec(any::<u32>(), 72),
        ) {
            let mut all: Vec<_> = fragments(base, &lens).into_iter().zip(shuffle).collect();
            all.sort_by_key(|(_, key)| *key);
            let mut reassembly = Reassembly::default();
            let mut complete = Vec::new();
            for ((head, payload), _) in all {
                if let Some(message) = reassembly.insert(head, payload, 1000).unwrap() {
                    complete.push((message.ssn, message.len()));
                }
            }
            complete.sort_unstable();
            let expected: Vec<_> = lens.iter().enumerate().map(|(ssn, len)| (ssn as u16, len * 3)).collect();
            prop_assert_eq!(complete, expected);
            prop_assert_eq!(reassembly.parts(), 0);
        }
    }
}
