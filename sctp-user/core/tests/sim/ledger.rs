//! The books on user messages: what was sent, and what must become of it.
//!
//! A *flow* is what one application sends on one association, up to its end or its restart. Each message carries its flow and its number
//! in the payload protocol identifier, and its content derives from those, so the books hold no copy of it.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bytes::Bytes;
use sctp_core::{Message, ReceivedMessage};

use super::random::{Random, mix};
use super::world::Violation;

/// Contents are windows into a pool of random bytes this long (plus the longest message).
const POOL: usize = 1 << 20;
pub(crate) const LONGEST: usize = 1 << 20;
/// Bits of the identifier that hold the number of the message; the others hold the flow.
const NUMBER_BITS: u32 = 20;

#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) flows: Vec<Flow>,
}

pub(crate) struct Flow {
    /// Index of the side that sends it.
    pub(crate) from: usize,
    pub(crate) messages: Vec<Entry>,
    /// For each stream, how many ordered messages were sent …
    ordered: BTreeMap<u16, u32>,
    /// … and how many were delivered.
    delivered: BTreeMap<u16, u32>,
    /// The side that messages were delivered to last.
    reader: Option<usize>,
    pub(crate) end: FlowEnd,
}

/// How a flow ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlowEnd {
    /// Not yet.
    Open,
    /// By a shutdown in order: everything must be delivered.
    Complete,
    /// Otherwise: everything must be delivered or reported to the sender.
    Broken,
    /// The sender, or the receiver, crashed: nobody is there to tell or to ask.
    Forgotten,
}

pub(crate) struct Entry {
    stream: u16,
    unordered: bool,
    length: u32,
    /// Among the ordered messages of the stream.
    order: u32,
    delivered: bool,
    /// Reported as failed; with the `sent` of the report.
    failed: Option<bool>,
}

impl Ledger {
    pub(crate) fn open(&mut self, from: usize) -> usize {
        let flow = Flow {
            from,
            messages: Vec::new(),
            ordered: BTreeMap::new(),
            delivered: BTreeMap::new(),
            reader: None,
            end: FlowEnd::Open,
        };
        self.flows.push(flow);
        self.flows.len() - 1
    }

    /// Makes the next message of a flow. It is not entered before [`sent`](Self::sent).
    pub(crate) fn compose(&self, flow: usize, stream: u16, unordered: bool, length: usize) -> Message {
        let number = self.flows[flow].messages.len() as u32;
        assert!(number < 1 << NUMBER_BITS && flow < 1 << (32 - NUMBER_BITS), "the books are full");
        let ppid = scramble((flow as u32) << NUMBER_BITS | number);
        Message {
            ppid,
            ..Message::new(stream, content(ppid, length)).with_unordered(unordered).with_context(u64::from(ppid))
        }
    }

    /// The endpoint has taken a message.
    pub(crate) fn sent(&mut self, flow: usize, message: &Message) {
        let flow = &mut self.flows[flow];
        let next = flow.ordered.entry(message.stream).or_default();
        let order = *next;
        *next += u32::from(!message.unordered);
        flow.messages.push(Entry {
            stream: message.stream,
            unordered: message.unordered,
            length: message.payload.len() as u32,
            order,
            delivered: false,
            failed: None,
        });
    }

    /// A message was delivered to a side; says of which flow it is. `same` says whether two sides have the same association of the
    /// sender for a peer.
    ///
    /// So it is when a copy of a COOKIE ECHO makes an association anew after the one that it made first has ended, or when a client that
    /// was told of a stale cookie tries again. DATA that came with the cookie is then delivered to both: to each once.
    pub(crate) fn delivered(
        &mut self,
        message: &ReceivedMessage,
        reader: usize,
        same: impl Fn(usize, usize) -> bool,
    ) -> Result<usize, Violation> {
        let broken = |rule, what| Err(Violation { rule, what });
        let name = unscramble(message.ppid);
        let (flow_index, number) = ((name >> NUMBER_BITS) as usize, name & ((1 << NUMBER_BITS) - 1));
        let Some(flow) = self.flows.get_mut(flow_index) else {
            return broken("messages are delivered as they were sent", format!("nobody sent {message:?}"));
        };
        if flow.reader.is_some_and(|before| before != reader && same(before, reader)) {
            flow.delivered.clear();
            flow.messages.iter_mut().for_each(|entry| entry.delivered = false);
        }
        flow.reader = Some(reader);
        let Some(entry) = flow.messages.get_mut(number as usize) else {
            return broken("messages are delivered as they were sent", format!("flow {flow_index} has no {message:?}"));
        };
        let title = format!("message {number} of flow {flow_index} on stream {}", entry.stream);
        if entry.delivered {
            return broken("messages are delivered once", title);
        }
        entry.delivered = true;
        if entry.failed == Some(false) {
            return broken("what is reported as never sent is not delivered", title);
        }
        let attributes = (message.stream, message.unordered, message.len());
        if attributes != (entry.stream, entry.unordered, entry.length as usize) {
            let sent = (entry.stream, entry.unordered, entry.length);
            let what = format!("{title}: stream, unordered and length were {sent:?}, are {attributes:?}");
            return broken("messages are delivered as they were sent", what);
        }
        let mut expected = content(message.ppid, message.len());
        for fragment in &message.payload {
            if fragment.is_empty() || expected.split_to(fragment.len()) != *fragment {
                return broken("messages are delivered byte for byte", title);
            }
        }
        if !entry.unordered {
            let next = flow.delivered.entry(entry.stream).or_default();
            if entry.order != *next {
                let what = format!("{title} is ordered message {} of its stream, {next} was next", entry.order);
                return broken("ordered messages are delivered in order", what);
            }
            *next += 1;
            if message.ssn != entry.order as u16 {
                return broken("SSNs count ordered messages", format!("{title}: {} for {}", message.ssn, entry.order));
            }
        }
        Ok(flow_index)
    }

    /// The endpoint reports that a message failed.
    pub(crate) fn failed(&mut self, context: u64, stream: u16, sent: bool) -> Result<(), Violation> {
        let name = unscramble(context as u32);
        let (flow, number) = ((name >> NUMBER_BITS) as usize, name & ((1 << NUMBER_BITS) - 1));
        let entry = self.flows.get_mut(flow).and_then(|flow| flow.messages.get_mut(number as usize));
        let title = format!("message {number} of flow {flow}");
        let Some(entry) = entry else {
            return Err(Violation { rule: "only messages that were sent can fail", what: title });
        };
        if entry.stream != stream || entry.failed.is_some() || (entry.delivered && !sent) {
            let Entry { delivered, failed, .. } = entry;
            let what = format!("{title}, delivered {delivered}, reported as {failed:?} before, now as {sent}");
            return Err(Violation { rule: "failures are reported once, and truly", what });
        }
        entry.failed = Some(sent);
        Ok(())
    }

    /// The balance, when everything is over.
    pub(crate) fn check(&self) -> Result<(), Violation> {
        for (index, flow) in self.flows.iter().enumerate() {
            for (number, entry) in flow.messages.iter().enumerate() {
                let rule = match flow.end {
                    FlowEnd::Complete if !entry.delivered => "an orderly end loses no message",
                    FlowEnd::Complete if entry.failed.is_some() => "an orderly end reports no failure",
                    FlowEnd::Broken if !entry.delivered && entry.failed.is_none() => {
                        "messages are delivered or reported as failed"
                    }
                    FlowEnd::Open => "flows end",
                    _ => continue,
                };
                let Entry { stream, unordered, length, order, delivered, failed } = entry;
                let what = format!(
                    "message {number} of flow {index}: stream {stream}, unordered {unordered}, {length} bytes, order \
                     {order}, delivered {delivered}, failed {failed:?}"
                );
                return Err(Violation { rule, what });
            }
        }
        Ok(())
    }

    pub(crate) fn delivered_count(&self, flow: usize) -> usize {
        self.flows[flow].messages.iter().filter(|entry| entry.delivered).count()
    }
}

/// The content of the message with this identifier. It costs nothing: it is a window into the pool.
fn content(ppid: u32, length: usize) -> Bytes {
    static BYTES: OnceLock<Bytes> = OnceLock::new();
    let pool = BYTES.get_or_init(|| {
        let mut bytes = vec![0; POOL + LONGEST];
        Random::new(0).fill(&mut bytes);
        bytes.into()
    });
    let start = mix(u64::from(ppid)) as usize % POOL;
    pool.slice(start..start + length)
}

/// A bijection, so that identifiers use all their bits.
const fn scramble(name: u32) -> u32 {
    name.wrapping_mul(0x9e37_79b1) ^ 0x5bd1_e995
}

const fn unscramble(ppid: u32) -> u32 {
    // The inverse of the multiplier modulo 2^32, by Newton's iteration.
    let mut inverse: u32 = 0x9e37_79b1;
    let mut round = 0;
    while round < 5 {
        inverse = inverse.wrapping_mul(2_u32.wrapping_sub(0x9e37_79b1_u32.wrapping_mul(inverse)));
        round += 1;
    }
    (ppid ^ 0x5bd1_e995).wrapping_mul(inverse)
}
