//! What the wire shows of each direction of each association, checked against what arrived where.
//!
//! The observer does not look into endpoints: it knows what was sent, and what the network delivered to whom. From this follows
//! what a receiver may acknowledge and what a sender may send.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use sctp_core::time::Instant;
use sctp_core::wire::{Chunk, Packet, ReceivedSack, padded};
use sctp_core::{AssociationConfig, AssociationState};

use super::packet::{Announced, number};
use super::world::Violation;

/// How much later than its delay a SACK may come: timers have a granularity.
const SACK_SLACK: Duration = Duration::from_millis(10);

/// Names a direction: the tag that its packets carry (the receiver's) and the sender's own tag.
type Key = (u32, u32);

/// Follows all directions.
#[derive(Default)]
pub(crate) struct Observer {
    pub(crate) announced: BTreeMap<u32, Announced>,
    directions: BTreeMap<Key, Direction>,
}

/// The tags of an association, as one of its endpoints sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tags {
    pub(crate) local: u32,
    pub(crate) peer: u32,
}

impl Tags {
    /// As the other end sees them.
    pub(crate) fn reversed(self) -> Self {
        Self { local: self.peer, peer: self.local }
    }
}

/// A path of the sender at the time of sending.
pub(crate) struct PathView {
    pub(crate) cwnd: u32,
    /// With the packet that is being sent.
    pub(crate) flight: u32,
}

/// One direction. TSNs are counted from the sender's initial TSN.
struct Direction {
    initial: u32,
    /// The next TSN that was never sent.
    next: i64,
    /// The first TSN that the sender does not know to be cumulatively acknowledged.
    acked: i64,
    /// What is sent from there on.
    sent: VecDeque<Sent>,
    /// How many of `sent`, from the front, may be marked as acknowledged by gap blocks.
    gaps_end: usize,
    /// Bytes sent and not acknowledged, not even by gap blocks, as far as the sender knows.
    outstanding: u64,
    /// The window that the sender last heard of.
    a_rwnd: u64,

    /// The first TSN that has not arrived.
    arrived: i64,
    /// Those above that have.
    arrived_above: BTreeSet<i64>,
    /// The cumulative TSN ack that the receiver last sent, plus one.
    sacked: i64,
    /// When a SACK must be on its way.
    due: Option<Instant>,
    /// Packets with DATA since the last SACK.
    unacknowledged: u32,
}

#[derive(Clone)]
struct Sent {
    length: u32,
    gap_acked: bool,
}

impl Observer {
    /// Takes down what an INIT or INIT ACK announces.
    pub(crate) fn announced(&mut self, packet: &Packet<'_>, node: usize) {
        for chunk in packet.chunks().filter_map(Result::ok).map_while(|raw| Chunk::parse(raw).ok()) {
            let init = match chunk {
                Chunk::Init(init) => init,
                Chunk::InitAck(ack) => ack.0,
                _ => continue,
            };
            let port = packet.source_port;
            let announced = Announced { node, port, initial_tsn: number(init.initial_tsn), a_rwnd: init.a_rwnd };
            self.announced.insert(init.initiate_tag, announced);
        }
    }

    /// A COOKIE ECHO has made an association. If it was a copy that made one before, tags and TSNs are used once more (RFC 9260 §5.1.5
    /// lets a cookie be used as often as it likes while it lives).
    pub(crate) fn reborn(&mut self, tags: Tags) {
        if let Some(outbound) = self.directions.get_mut(&(tags.peer, tags.local)) {
            *outbound = outbound.with_other_sender();
        }
        if let Some(inbound) = self.directions.get_mut(&(tags.local, tags.peer)) {
            *inbound = inbound.with_other_receiver(inbound.a_rwnd);
        }
    }

    /// An endpoint sends a packet of an association.
    pub(crate) fn sent(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        tags: Tags,
        config: &AssociationConfig,
        path: Option<PathView>,
    ) -> Result<(), Violation> {
        let mut new_bytes = 0;
        let mut data_bytes = 0;
        for raw in packet.chunks().filter_map(Result::ok) {
            let Ok(chunk) = Chunk::parse(raw) else { continue };
            match chunk {
                Chunk::Data(data) => {
                    let length = data.payload.len() as u32;
                    let direction = self.direction(tags.peer, tags.local)?;
                    let is_new = direction.send(number(data.header.tsn), length)?;
                    new_bytes += if is_new { length } else { 0 };
                    // In flight, chunks count as they are on the wire.
                    data_bytes += padded(raw.bytes.len()) as u32;
                }
                Chunk::Sack(sack) => self.direction(tags.local, tags.peer)?.acknowledge(now, &sack, config)?,
                Chunk::Shutdown(shutdown) => {
                    self.direction(tags.local, tags.peer)?.acknowledge_all(number(shutdown.cumulative_tsn_ack))?;
                }
                _ => {}
            }
        }
        match path {
            // RFC 9260 §6.1 B: new data may begin when less than cwnd is outstanding; one packet may go over it.
            //= test RFC 9260 §6.1: "At any given time, the sender MUST NOT transmit new data to a given transport
            //= address if it has cwnd + (PMDCS - 1) or more bytes of data outstanding"
            //= test RFC 9260 §6.1: "The breach of cwnd MUST constitute one packet only."
            //= test RFC 9260 §7.2: "The slow-start and congestion avoidance algorithms MUST be used by an endpoint to
            //= control the amount of data"
            //= test RFC 9260 §7.2: "an SCTP sender MUST NOT be more aggressive than the following algorithms allow"
            //= test RFC 9260 §6.1: "but MUST transmit no more DATA chunks until some or all of the outstanding DATA
            //= chunks are acknowledged"
            //= test RFC 9260 §6.1: "The following general rules MUST be applied by the data sender"
            Some(path) if new_bytes > 0 && path.flight.saturating_sub(data_bytes) >= path.cwnd => {
                let before = path.flight.saturating_sub(data_bytes);
                let what =
                    format!("{new_bytes} new bytes with {before} in flight and a cwnd of {}: {packet}", path.cwnd);
                Err(Violation { rule: "flight stays within cwnd", what })
            }
            _ => Ok(()),
        }
    }

    /// A packet has been acted upon by the endpoint that it was for; `state` is what it left.
    pub(crate) fn arrived(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        tags: Tags,
        config: &AssociationConfig,
        state: AssociationState,
    ) -> Result<(), Violation> {
        use AssociationState::{Closed, CookieEchoed, CookieWait, Established, ShutdownPending, ShutdownSent};
        let acknowledges = !matches!(state, CookieWait | CookieEchoed | Closed);
        // RFC 9260 §6: in other states DATA is discarded.
        let receives = matches!(state, Established | ShutdownPending | ShutdownSent);
        let mut has_data = false;
        for raw in packet.chunks().filter_map(Result::ok) {
            let Ok(chunk) = Chunk::parse(raw) else { continue };
            match chunk {
                Chunk::Data(data) if receives => {
                    has_data = true;
                    self.direction(tags.local, tags.peer)?.arrive(number(data.header.tsn));
                }
                // RFC 9260 §6: also in COOKIE-ECHOED, because DATA went with the COOKIE ECHO.
                Chunk::Sack(sack) if acknowledges || state == CookieEchoed => {
                    self.direction(tags.peer, tags.local)?.acknowledged(&sack)
                }
                Chunk::Shutdown(shutdown) if acknowledges => {
                    let direction = self.direction(tags.peer, tags.local)?;
                    let end = direction.relative(number(shutdown.cumulative_tsn_ack)) + 1;
                    direction.advance(end);
                }
                _ => {}
            }
        }
        if has_data {
            let direction = self.direction(tags.local, tags.peer)?;
            direction.check_due(now)?;
            direction.unacknowledged += 1;
            direction.due.get_or_insert(now + config.sack_delay + SACK_SLACK);
        }
        Ok(())
    }

    /// The endpoint has sent all that it wants to send at this time.
    pub(crate) fn quiet(&mut self, tags: Tags, config: &AssociationConfig) -> Result<(), Violation> {
        let Some(direction) = self.directions.get_mut(&(tags.local, tags.peer)) else { return Ok(()) };
        //= test RFC 9260 §6.2: "an acknowledgement SHOULD be generated for at least every second packet"
        if direction.unacknowledged >= u32::from(config.sack_every) {
            let what = format!("{} packets with DATA are unacknowledged", direction.unacknowledged);
            return Err(Violation { rule: "every second packet is acknowledged at once", what });
        }
        Ok(())
    }

    /// The endpoint was not running until `until`: what was due meanwhile is due then.
    pub(crate) fn overslept(&mut self, tags: Tags, until: Instant) {
        if let Some(direction) = self.directions.get_mut(&(tags.local, tags.peer)) {
            direction.due = direction.due.map(|due| due.max(until + SACK_SLACK));
        }
    }

    /// The endpoint's clock was set back: what is due by it comes so much later. That is right: all that an endpoint knows of time is what
    /// it is told, and 200 ms by its own clock is all that can be asked of it. (What could be done against it, a clock of its own that
    /// never goes back, would stand still meanwhile and be as late.)
    pub(crate) fn set_back(&mut self, tags: Tags, by: Duration) {
        if let Some(direction) = self.directions.get_mut(&(tags.local, tags.peer)) {
            direction.due = direction.due.map(|due| due + by);
        }
    }

    /// Bytes that the endpoint with these tags has sent and, as far as it can know, the peer has not got.
    pub(crate) fn outstanding(&self, tags: Tags) -> u64 {
        self.directions.get(&(tags.peer, tags.local)).map_or(0, |direction| direction.outstanding)
    }

    fn direction(&mut self, receiver: u32, sender: u32) -> Result<&mut Direction, Violation> {
        let announced = |tag| {
            let what = || format!("tag {tag:#010x} was never announced");
            self.announced
                .get(&tag)
                .ok_or_else(|| Violation { rule: "associations have announced their tags", what: what() })
        };
        let initial = announced(sender)?.initial_tsn;
        let a_rwnd = u64::from(announced(receiver)?.a_rwnd);
        let key = (receiver, sender);
        if !self.directions.contains_key(&key) {
            // When both initiate, the peer's tag may turn out to be another one (RFC 9260 §5.2.4, action B): the sender goes on
            // where it was, with a receiver that knows nothing of it.
            let before = self.directions.iter().filter(|((_, from), _)| *from == sender).map(|(_, before)| before);
            let direction = Direction::new(initial, a_rwnd);
            let direction =
                before.max_by_key(|before| before.next).map_or(direction, |before| before.with_other_receiver(a_rwnd));
            self.directions.insert(key, direction);
        }
        Ok(self.directions.get_mut(&key).expect("it has just been made sure of"))
    }
}

impl Direction {
    fn new(initial: u32, a_rwnd: u64) -> Self {
        Self {
            initial,
            next: 0,
            acked: 0,
            sent: VecDeque::new(),
            gaps_end: 0,
            outstanding: 0,
            a_rwnd,
            arrived: 0,
            arrived_above: BTreeSet::new(),
            sacked: 0,
            due: None,
            unacknowledged: 0,
        }
    }

    fn with_other_receiver(&self, a_rwnd: u64) -> Self {
        let Self { next, acked, gaps_end, outstanding, .. } = *self;
        Self { next, acked, sent: self.sent.clone(), gaps_end, outstanding, ..Self::new(self.initial, a_rwnd) }
    }

    fn with_other_sender(&self) -> Self {
        let Self { arrived, sacked, due, unacknowledged, .. } = *self;
        let arrived_above = self.arrived_above.clone();
        Self { arrived, arrived_above, sacked, due, unacknowledged, ..Self::new(self.initial, self.a_rwnd) }
    }

    fn relative(&self, tsn: u32) -> i64 {
        // Against the middle of the window, so that runs of more than 2^31 TSNs would work too.
        let base = self.initial.wrapping_add(self.next as u32);
        self.next + i64::from(tsn.wrapping_sub(base) as i32)
    }

    /// DATA goes out; says whether for the first time.
    fn send(&mut self, tsn: u32, length: u32) -> Result<bool, Violation> {
        let at = self.relative(tsn);
        //= test RFC 9260 §3.3.1: "The TSNs of DATA chunks sent SHOULD be strictly sequential."
        //= test RFC 9260 §3.3.1: "the TSNs for each fragment of a fragmented user message MUST be strictly sequential"
        //= test RFC 9260 §6.9: "The transmitter MUST then assign, in sequence, a separate TSN to each of the DATA
        //= chunks in the series."
        if at > self.next || at < 0 {
            let what = format!("TSN {tsn} is sent, {} was next", self.initial.wrapping_add(self.next as u32));
            return Err(Violation { rule: "TSNs are consecutive", what });
        }
        if at < self.next {
            return match usize::try_from(at - self.acked).ok().and_then(|index| self.sent.get(index)) {
                Some(sent) if sent.length != length => {
                    let what = format!("TSN {tsn} had {} bytes, now {length}", sent.length);
                    Err(Violation { rule: "a retransmission is what it was", what })
                }
                Some(sent) if !sent.gap_acked => Ok(false),
                _ => {
                    let what = format!("TSN {tsn}, which its sender knows to be acknowledged");
                    Err(Violation { rule: "nothing is sent again for nothing", what })
                }
            };
        }
        // RFC 9260 §6.1 A: new data fits the window, or is the probe of a window that is closed.
        //= test RFC 9260 §6.1: "the data sender MUST NOT transmit new data to any destination transport address if its
        //= peer's rwnd indicates that the peer has no buffer space"
        //= test RFC 9260 §6.2.1: "An endpoint SHOULD use the following rules to calculate the rwnd, using the a_rwnd value,
        //= the Cumulative TSN Ack, and Gap Ack Blocks in a received SACK chunk."
        if self.outstanding > 0 && self.outstanding + u64::from(length) > self.a_rwnd {
            let (outstanding, a_rwnd) = (self.outstanding, self.a_rwnd);
            let what = format!("TSN {tsn} of {length} bytes with {outstanding} outstanding and a_rwnd {a_rwnd}");
            return Err(Violation { rule: "outstanding data stays within the peer's rwnd", what });
        }
        self.next += 1;
        self.outstanding += u64::from(length);
        self.sent.push_back(Sent { length, gap_acked: false });
        Ok(true)
    }

    /// A SACK has reached the sender.
    fn acknowledged(&mut self, sack: &ReceivedSack<'_>) {
        let end = self.relative(number(sack.cumulative_tsn_ack)) + 1;
        // RFC 9260 §6.2.1 i: an old one is dropped.
        if end < self.acked || end > self.next {
            return;
        }
        self.advance(end);
        let mut blocks_end = 0;
        let mut acked = BTreeSet::new();
        for block in sack.gap_ack_blocks.clone() {
            // Offsets count from the cumulative TSN ack; `sent` begins one after it.
            let (start, end) = (usize::from(block.start), usize::from(block.end));
            if start == 0 || end < start || end > self.sent.len() {
                break;
            }
            acked.extend(start - 1..end);
            blocks_end = blocks_end.max(end);
        }
        for index in 0..blocks_end.max(self.gaps_end) {
            let gap_acked = acked.contains(&index);
            let sent = &mut self.sent[index];
            match (sent.gap_acked, gap_acked) {
                (false, true) => self.outstanding -= u64::from(sent.length),
                (true, false) => self.outstanding += u64::from(sent.length),
                _ => {}
            }
            sent.gap_acked = gap_acked;
        }
        self.gaps_end = blocks_end;
        self.a_rwnd = u64::from(sack.a_rwnd);
    }

    /// The sender learns that all before `end` has arrived.
    fn advance(&mut self, end: i64) {
        while self.acked < end.min(self.next) {
            let Some(sent) = self.sent.pop_front() else { break };
            self.outstanding -= if sent.gap_acked { 0 } else { u64::from(sent.length) };
            self.acked += 1;
            self.gaps_end = self.gaps_end.saturating_sub(1);
        }
    }

    /// DATA has reached the receiver.
    fn arrive(&mut self, tsn: u32) {
        let at = self.relative(tsn);
        if at >= self.arrived {
            self.arrived_above.insert(at);
        }
        while self.arrived_above.remove(&self.arrived) {
            self.arrived += 1;
        }
    }

    /// The receiver sends a SACK.
    fn acknowledge(
        &mut self,
        now: Instant,
        sack: &ReceivedSack<'_>,
        config: &AssociationConfig,
    ) -> Result<(), Violation> {
        self.check_due(now)?;
        self.acknowledge_all(number(sack.cumulative_tsn_ack))?;
        let mut previous = 0;
        for block in sack.gap_ack_blocks.clone() {
            let (start, end) = (i64::from(block.start), i64::from(block.end));
            // Blocks are apart from each other and from the cumulative TSN ack, and in order.
            //= test RFC 9260 §3.3.4: "The Gap Ack Blocks SHOULD be isolated."
            //= test RFC 9260 §6.7: "This single SACK chunk MUST report the Gap Ack Blocks from the lowest to highest
            //= TSNs"
            if start < previous + 2 || end < start {
                let what = format!("block {start}-{end} after {previous}: {sack}");
                return Err(Violation { rule: "gap ack blocks are in order", what });
            }
            previous = end;
            for at in self.sacked - 1 + start..self.sacked + end {
                //= test RFC 9260 §6.2: "The dropped DATA chunk(s) MUST NOT be included in the SACK chunk"
                //= test RFC 9260 §6.2: "it MUST NOT include them in Gap Ack Blocks in subsequent SACK chunks"
                if at >= self.arrived && !self.arrived_above.contains(&at) {
                    let what = format!("+{at} has not: {sack}");
                    return Err(Violation { rule: "only what has arrived is acknowledged", what });
                }
            }
        }
        for tsn in sack.duplicate_tsns.clone() {
            let at = self.relative(number(tsn));
            if at >= self.arrived && !self.arrived_above.contains(&at) {
                let what = format!("TSN {} has not arrived once: {sack}", number(tsn));
                return Err(Violation { rule: "only duplicates are reported as such", what });
            }
        }
        let most = config.receive_buffer.max(config.max_receive_buffer);
        if sack.a_rwnd as usize > most {
            let what = format!("{} of a buffer of {most}", sack.a_rwnd);
            return Err(Violation { rule: "a_rwnd is at most the receive buffer", what });
        }
        Ok(())
    }

    /// The receiver sends a cumulative TSN ack.
    fn acknowledge_all(&mut self, cumulative: u32) -> Result<(), Violation> {
        let end = self.relative(cumulative) + 1;
        if end > self.arrived {
            let what = format!("+{} is acknowledged, +{} is the first that has not arrived", end - 1, self.arrived);
            return Err(Violation { rule: "only what has arrived is acknowledged", what });
        }
        //= test RFC 9260 §6.2: "the SCTP endpoint MUST fill in the Cumulative TSN Ack field to indicate the latest
        //= sequential TSN"
        //= test RFC 9260 §6.2: "The data receiver SHOULD take into account that the data sender will not retransmit
        //= DATA chunks that are acked via the Cumulative TSN Ack"
        if end < self.sacked {
            let what = format!("from +{} back to +{}", self.sacked - 1, end - 1);
            return Err(Violation { rule: "the cumulative TSN ack never goes back", what });
        }
        self.sacked = end;
        self.due = None;
        self.unacknowledged = 0;
        Ok(())
    }

    fn check_due(&self, now: Instant) -> Result<(), Violation> {
        match self.due {
            //= test RFC 9260 §6.2: "SHOULD be generated within 200 ms of the arrival of any unacknowledged DATA chunk"
            //= test RFC 9260 §6.2: "The SCTP endpoint MUST always acknowledge the reception of each valid DATA chunk"
            Some(due) if now > due => {
                let late = now - due + SACK_SLACK;
                Err(Violation { rule: "SACKs come in time", what: format!("one is late by {late:?}") })
            }
            _ => Ok(()),
        }
    }
}
