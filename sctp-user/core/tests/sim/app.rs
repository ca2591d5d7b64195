//! Applications: what they do with their side of an association, and what they were told.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use sctp_core::time::Instant;
use sctp_core::{
    AssociationConfig, AssociationId, CloseReason, Event, Message, MessagePart, ReceivedMessage, SendError,
};

use super::ledger::FlowEnd;
use super::observer::Tags;
use super::random::Random;
use super::world::{Deed, Violation, World};

/// What an application does.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) config: AssociationConfig,
    /// How many messages it sends by itself, in bursts of up to `burst` with pauses of up to `pause`.
    pub(crate) messages: u32,
    pub(crate) sizes: Sizes,
    /// Streams that it uses, if it gets so many.
    pub(crate) streams: u16,
    pub(crate) unordered: f64,
    pub(crate) immediate: f64,
    /// Whether some of its messages are for a certain address of the peer.
    pub(crate) addressed: bool,
    pub(crate) burst: u32,
    pub(crate) pause: Duration,
    /// Whether it sends before the association is up.
    pub(crate) early: bool,
    /// Whether it knows all of the peer's addresses when it connects, or only the first.
    pub(crate) all_addresses: bool,
    pub(crate) reading: Reading,
    pub(crate) ending: Ending,
}

/// How long messages are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sizes {
    /// Always the same.
    Fixed(usize),
    /// Mostly short, some long, a few very long, up to this.
    Mixed(usize),
}

/// How an application reads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reading {
    /// All there is, at once.
    Eager,
    /// A few messages now and then, so that the window closes.
    Paced { every: Duration, messages: u32 },
    /// Only when the test says so.
    Manual,
}

/// How an application ends the association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It leaves this to the peer, or to the test.
    Wait,
    /// Orderly, so long after it has sent its last message.
    ShutdownWhenSent(Duration),
    /// Orderly, so long after the association came up, whatever is under way.
    ShutdownAfter(Duration),
    /// By an ABORT, so long after the association came up.
    AbortAfter(Duration),
}

/// Where a side of an association is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Opening,
    Open,
    Closed(CloseReason),
    /// The host crashed.
    Crashed,
}

/// One application's side of one association.
pub(crate) struct Side {
    pub(crate) node: usize,
    pub(crate) id: AssociationId,
    /// Which conversation it belongs to.
    pub(crate) conversation: Option<usize>,
    pub(crate) plan: Plan,
    pub(crate) phase: Phase,
    /// The flow that it sends now.
    pub(crate) flow: usize,
    /// The flow of the message that it read last.
    inbound: Option<usize>,
    /// The parts that it has read of a message that is not whole yet.
    parts: Option<ReceivedMessage>,
    /// How many messages it has read in parts.
    pub(crate) in_parts: u32,
    /// How many messages it has sent and read.
    pub(crate) sent: u32,
    pub(crate) received: u32,
    /// A message that did not fit the send buffer.
    blocked: Option<Message>,
    /// Streams that it may send on.
    streams: u16,
    /// Whether the next read is on the agenda.
    reading: bool,
    /// Whether there may be something to read.
    readable: bool,
    /// Whether nothing can be sent any more.
    finished: bool,
    /// Whether its host has crashed since: the id may name another association by now.
    pub(crate) forgotten: bool,
    /// Tags as they were last.
    pub(crate) tags: Option<Tags>,
    pub(crate) restarts: u32,
    /// Everything that it was told.
    pub(crate) events: Vec<(Instant, Event)>,
    pub(crate) opened: Option<Instant>,
    pub(crate) closed: Option<Instant>,
    random: Random,
}

impl Plan {
    /// Does nothing but read; the test does the rest.
    pub(crate) fn manual() -> Self {
        Self {
            config: AssociationConfig::default(),
            messages: 0,
            sizes: Sizes::Fixed(100),
            streams: 1,
            unordered: 0.0,
            immediate: 0.0,
            addressed: false,
            burst: 1,
            pause: Duration::ZERO,
            early: false,
            all_addresses: false,
            reading: Reading::Eager,
            ending: Ending::Wait,
        }
    }

    pub(crate) fn with_config(config: AssociationConfig) -> Self {
        Self { config, ..Self::manual() }
    }
}

impl Sizes {
    fn draw(self, random: &mut Random) -> usize {
        match self {
            Self::Fixed(size) => size,
            Self::Mixed(longest) => {
                let top = match random.below(100) {
                    0..50 => 100,
                    50..75 => 1500,
                    75..90 => 10_000,
                    90..98 => 65_536,
                    _ => 262_144,
                };
                random.within(1..=top.min(longest as u64)) as usize
            }
        }
    }
}

impl Side {
    pub(crate) fn new(
        node: usize,
        id: AssociationId,
        plan: Plan,
        flow: usize,
        conversation: Option<usize>,
        random: Random,
    ) -> Self {
        Self {
            node,
            id,
            conversation,
            plan,
            phase: Phase::Opening,
            flow,
            inbound: None,
            parts: None,
            in_parts: 0,
            sent: 0,
            received: 0,
            blocked: None,
            streams: 1,
            reading: false,
            readable: false,
            finished: false,
            forgotten: false,
            tags: None,
            restarts: 0,
            events: Vec::new(),
            opened: None,
            closed: None,
            random,
        }
    }

    /// Puts a message together that is delivered in parts; gives those that are whole.
    fn put_together(&mut self, message: ReceivedMessage) -> Result<Option<ReceivedMessage>, Violation> {
        let begun = self.parts.take();
        let title = |message: &ReceivedMessage| {
            let ReceivedMessage { stream, ssn, ppid, unordered, part, .. } = message;
            format!("{part:?} of {ppid:#x} on stream {stream}, number {ssn}, unordered {unordered}")
        };
        let whole = match (begun, message.part) {
            (None, MessagePart::Whole | MessagePart::First) => message,
            (Some(mut begun), MessagePart::Middle | MessagePart::Last) => {
                let name = |message: &ReceivedMessage| (message.stream, message.ssn, message.ppid, message.unordered);
                if name(&begun) != name(&message) || message.is_empty() {
                    let what = format!("{} after {}", title(&message), title(&begun));
                    return Err(Violation { rule: "parts are of one message", what });
                }
                begun.part = message.part;
                begun.payload.extend(message.payload);
                begun
            }
            (begun, _) => {
                let what = format!("{} after {:?}", title(&message), begun.as_ref().map(title));
                return Err(Violation { rule: "parts of a message come one after another", what });
            }
        };
        if whole.part.is_followed() {
            self.parts = Some(whole);
            return Ok(None);
        }
        self.in_parts += u32::from(whole.part == MessagePart::Last);
        Ok(Some(whole))
    }

    pub(crate) fn is_over(&self) -> bool {
        match self.phase {
            Phase::Crashed => true,
            Phase::Closed(_) => self.forgotten || !self.readable,
            Phase::Opening | Phase::Open => false,
        }
    }

    pub(crate) fn reason(&self) -> Option<&CloseReason> {
        match &self.phase {
            Phase::Closed(reason) => Some(reason),
            _ => None,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, id, phase, flow, sent, received, restarts, .. } = self;
        write!(
            f,
            "node {node}, {id:?}, {phase:?}, flow {flow}, {sent} messages sent, {received} read, {restarts} restarts"
        )?;
        if let Some(Tags { local, peer }) = self.tags {
            write!(f, ", tags {local:#010x} and {peer:#010x}")?;
        }
        Ok(())
    }
}

impl World {
    /// An endpoint tells an application something.
    pub(crate) fn on_event(&mut self, index: usize, event: Event) -> Result<(), Violation> {
        let now = self.now;
        let side = &mut self.sides[index];
        if let Phase::Closed(reason) = &side.phase {
            let what = format!("{event:?} after {reason:?}");
            return Err(Violation { rule: "Closed is the last event", what });
        }
        side.events.push((now, event.clone()));
        match event {
            Event::Connected { outbound_streams, inbound_streams } => {
                self.on_open(index, outbound_streams, inbound_streams)
            }
            Event::Accepted { outbound_streams, inbound_streams, .. } => {
                self.on_open(index, outbound_streams, inbound_streams)
            }
            Event::Restarted { outbound_streams, .. } => {
                side.restarts += 1;
                side.streams = outbound_streams;
                side.blocked = None;
                let ended = core::mem::replace(&mut side.flow, self.ledger.open(index));
                self.end_flow(ended, FlowEnd::Broken);
                // The old peer's messages that are still to be read may be few or none: it is gone, and so is its flow.
                self.schedule(now, Deed::Send(index));
                Ok(())
            }
            Event::MessageReceived => {
                side.readable = true;
                self.read(index)
            }
            Event::Writable => {
                let blocked = self.sides[index].blocked.is_some();
                if blocked { self.send_planned(index) } else { Ok(()) }
            }
            Event::PeerShutdown => {
                side.finished = true;
                Ok(())
            }
            Event::SendFailed { context, stream, sent, .. } => self.ledger.failed(context, stream, sent),
            Event::PartialDeliveryAborted { ppid, .. } => match side.parts.take() {
                Some(parts) if parts.ppid == ppid => Ok(()),
                parts => {
                    let what = format!("of {ppid:#x}, with {:?}", parts.map(|parts| parts.ppid));
                    Err(Violation { rule: "what is aborted has been delivered in part", what })
                }
            },
            Event::Closed { reason, .. } => {
                side.closed = Some(now);
                side.finished = true;
                side.blocked = None;
                let end = if reason == CloseReason::Shutdown { FlowEnd::Complete } else { FlowEnd::Broken };
                side.phase = Phase::Closed(reason);
                let flow = side.flow;
                self.end_flow(flow, end);
                self.read(index)
            }
            _ => Ok(()),
        }
    }

    fn on_open(&mut self, index: usize, outbound: u16, inbound: u16) -> Result<(), Violation> {
        let now = self.now;
        let side = &mut self.sides[index];
        if side.phase != Phase::Opening {
            let what = format!("side {index} is {:?}", side.phase);
            return Err(Violation { rule: "an association comes up once", what });
        }
        let config = &side.plan.config;
        if outbound == 0 || inbound == 0 || outbound > config.outbound_streams || inbound > config.max_inbound_streams {
            let what = format!("{outbound} out and {inbound} in, asked for {config:?}");
            return Err(Violation { rule: "stream numbers are negotiated", what });
        }
        side.phase = Phase::Open;
        side.opened = Some(now);
        side.streams = outbound;
        let ending = side.plan.ending;
        match ending {
            Ending::ShutdownAfter(after) | Ending::AbortAfter(after) => self.schedule(now + after, Deed::End(index)),
            Ending::Wait | Ending::ShutdownWhenSent(_) => {}
        }
        self.send_planned(index)
    }

    /// Sends the next burst of what is planned.
    pub(crate) fn send_planned(&mut self, index: usize) -> Result<(), Violation> {
        for _ in 0..self.sides[index].plan.burst {
            let side = &mut self.sides[index];
            let early = side.plan.early && side.phase == Phase::Opening;
            if side.finished || (side.phase != Phase::Open && !early) {
                return Ok(());
            }
            let message = match side.blocked.take() {
                Some(message) => message,
                None if side.sent < side.plan.messages => {
                    let stream = side.random.below(u64::from(side.plan.streams.min(side.streams))) as u16;
                    let unordered = side.random.chance(side.plan.unordered);
                    let length = side.plan.sizes.draw(&mut side.random);
                    let immediate = side.random.chance(side.plan.immediate);
                    let message = self.ledger.compose(side.flow, stream, unordered, length);
                    let destination = self.chosen(index, message.ppid);
                    Message { immediate, destination, ..message }
                }
                None => break,
            };
            if !self.try_send(index, message)? {
                return Ok(());
            }
        }
        let side = &mut self.sides[index];
        if side.sent < side.plan.messages {
            let pause = side.random.duration(Duration::ZERO..=side.plan.pause);
            self.schedule(self.now + pause, Deed::Send(index));
        } else if let Ending::ShutdownWhenSent(after) = side.plan.ending {
            self.schedule(self.now + after, Deed::End(index));
        }
        Ok(())
    }

    /// Which of the peer's addresses a message is for. (Nothing is drawn for it, so that seeds keep their meaning.)
    fn chosen(&self, index: usize, number: u32) -> Option<IpAddr> {
        let side = &self.sides[index];
        if !side.plan.addressed || number.is_multiple_of(3) {
            return None;
        }
        let paths: Vec<IpAddr> =
            self.nodes[side.node].endpoint.association(side.id)?.paths().map(|p| p.address).collect();
        paths.get(number as usize / 3 % paths.len()).copied()
    }

    /// Gives a message to the endpoint; says whether it was taken.
    fn try_send(&mut self, index: usize, message: Message) -> Result<bool, Violation> {
        let side = &mut self.sides[index];
        let copy = message.clone();
        let now = self.now + self.nodes[side.node].leapt;
        match self.nodes[side.node].endpoint.send(now, side.id, message) {
            Ok(()) => {
                side.sent += 1;
                self.ledger.sent(side.flow, &copy);
                Ok(true)
            }
            Err(SendError::WouldBlock(returned)) => {
                if returned != copy {
                    return Err(Violation {
                        rule: "a refused message comes back as it was",
                        what: format!("{returned:?}"),
                    });
                }
                side.blocked = Some(returned);
                Ok(false)
            }
            Err(SendError::ShuttingDown | SendError::NoAssociation) => {
                side.finished = true;
                Ok(false)
            }
            Err(error) => Err(Violation { rule: "sound messages are taken", what: format!("{error}: {copy:?}") }),
        }
    }

    /// Sends one message for a test.
    pub(crate) fn send(&mut self, side: usize, stream: u16, length: usize) {
        let message = self.ledger.compose(self.sides[side].flow, stream, false, length);
        let taken = self.try_send(side, message);
        let taken = self.judge(taken);
        assert!(taken, "the message is taken");
        self.settle(self.sides[side].node);
    }

    /// Sends a message that a test has composed.
    pub(crate) fn send_message(&mut self, side: usize, message: Message) {
        let taken = self.try_send(side, message);
        let taken = self.judge(taken);
        assert!(taken, "the message is taken");
        self.settle(self.sides[side].node);
    }

    /// Sends one message for a test, unordered.
    pub(crate) fn send_unordered(&mut self, side: usize, stream: u16, length: usize) {
        let message = self.ledger.compose(self.sides[side].flow, stream, true, length);
        let taken = self.try_send(side, message);
        let taken = self.judge(taken);
        assert!(taken, "the message is taken");
        self.settle(self.sides[side].node);
    }

    /// Reads as the plan says.
    pub(crate) fn read(&mut self, index: usize) -> Result<(), Violation> {
        match self.sides[index].plan.reading {
            Reading::Manual if !matches!(self.sides[index].phase, Phase::Closed(_)) => Ok(()),
            Reading::Eager | Reading::Manual => self.take(index, u32::MAX).map(drop),
            Reading::Paced { every, .. } => {
                if !self.sides[index].reading {
                    self.sides[index].reading = true;
                    self.schedule(self.now + every, Deed::Read(index));
                }
                Ok(())
            }
        }
    }

    /// The slow reader's turn has come.
    pub(crate) fn read_on(&mut self, index: usize) -> Result<(), Violation> {
        self.sides[index].reading = false;
        let Reading::Paced { every, messages } = self.sides[index].plan.reading else { return Ok(()) };
        if !self.take(index, messages)? {
            self.sides[index].reading = true;
            self.schedule(self.now + every, Deed::Read(index));
        }
        Ok(())
    }

    /// Reads up to `most` messages; says whether there are no more.
    pub(crate) fn take(&mut self, index: usize, most: u32) -> Result<bool, Violation> {
        for _ in 0..most {
            let side = &mut self.sides[index];
            if side.forgotten {
                return Ok(true);
            }
            let Some(message) = self.nodes[side.node].endpoint.recv(side.id) else {
                side.readable = false;
                return match &side.parts {
                    Some(parts) if matches!(side.phase, Phase::Closed(_)) => {
                        let what = format!("{:#x} on stream {}", parts.ppid, parts.stream);
                        Err(Violation { rule: "what was delivered in part is delivered or aborted", what })
                    }
                    _ => Ok(true),
                };
            };
            let Some(message) = side.put_together(message)? else { continue };
            side.received += 1;
            let sides = &self.sides;
            let peer = |side: usize| sides[side].tags.map(|tags| tags.peer);
            let same = |a: usize, b: usize| peer(a) == peer(b);
            let flow = self.ledger.delivered(&message, index, same)?;
            let side = &mut self.sides[index];
            if side.inbound.is_some_and(|before| before > flow) {
                let what = format!("flow {flow} after {:?}", side.inbound);
                return Err(Violation {
                    rule: "what is from before a restart comes before what is from after it",
                    what,
                });
            }
            if self.sides[index].inbound != Some(flow) {
                self.check_flow(index, flow)?;
                self.sides[index].inbound = Some(flow);
            }
        }
        Ok(false)
    }

    /// A side gets the first message of a flow: is it from the peer of this association?
    fn check_flow(&self, index: usize, flow: usize) -> Result<(), Violation> {
        let sender = &self.sides[self.ledger.flows[flow].from];
        let reader = &self.sides[index];
        let what = match (sender.conversation, reader.conversation) {
            (Some(ours), Some(theirs)) if ours == theirs && sender.node != reader.node => return Ok(()),
            (None, _) | (_, None) => return Ok(()),
            conversations => format!("of conversations {conversations:?}, nodes {} and {}", sender.node, reader.node),
        };
        Err(Violation { rule: "messages reach the association that they were sent on", what })
    }

    /// The time to end has come.
    pub(crate) fn end(&mut self, index: usize) {
        let side = &self.sides[index];
        if !matches!(side.phase, Phase::Opening | Phase::Open) {
            return;
        }
        match side.plan.ending {
            Ending::AbortAfter(_) => self.abort(index),
            Ending::Wait | Ending::ShutdownWhenSent(_) | Ending::ShutdownAfter(_) => self.shutdown(index),
        }
    }

    /// Shuts an association down in order.
    pub(crate) fn shutdown(&mut self, index: usize) {
        let side = &mut self.sides[index];
        side.finished = true;
        side.blocked = None;
        let node = side.node;
        // It may have ended in this very step.
        let now = self.now + self.nodes[node].leapt;
        let _ = self.nodes[node].endpoint.shutdown(now, side.id);
        self.settle(node);
    }

    /// Aborts an association.
    pub(crate) fn abort(&mut self, index: usize) {
        let side = &mut self.sides[index];
        side.finished = true;
        side.blocked = None;
        let node = side.node;
        let now = self.now + self.nodes[node].leapt;
        let _ = self.nodes[node].endpoint.abort(now, side.id, super::world::ABORT_REASON.into());
        self.settle(node);
    }

    fn end_flow(&mut self, flow: usize, end: FlowEnd) {
        let flow = &mut self.ledger.flows[flow];
        if flow.end == FlowEnd::Open {
            flow.end = end;
        }
    }
}
