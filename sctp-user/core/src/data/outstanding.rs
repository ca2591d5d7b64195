//! DATA that has been sent and not been acknowledged cumulatively (RFC 9260 §6.1, §6.2.1, §7.2.4).
//!
//! Chunks lie in a ring indexed by their distance from the Cumulative TSN Ack Point. What is acknowledged by Gap Ack Blocks
//! and what waits to be retransmitted are kept as runs beside it, so that a SACK costs by the runs it names and the chunks
//! it newly acknowledges, whatever the number of chunks outstanding.
//!
//! Miss indications need no counter per chunk. A missing TSN gets one for every SACK whose highest newly acknowledged TSN
//! (HTNA) lies above it, so it has three or more exactly if it lies below the third highest HTNA seen: three numbers for all
//! chunks, and a frontier that only moves forward.

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::outbound_chunk::Status;
pub(crate) use super::outbound_chunk::{DATA_CHUNK_HEADER, OutboundChunk};
use super::runs::{Run, Runs};
use crate::serial::Tsn;

/// What a message counts in the send buffer beside its bytes.
pub(crate) const MESSAGE_OVERHEAD: usize = 64;

/// What is in flight on one path, and what the SACK in hand did to it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flight {
    /// Bytes in flight, as [`OutboundChunk::size`] counts.
    pub(crate) bytes: u32,
    /// The lowest TSN in flight.
    pub(crate) earliest: Option<Tsn>,
    /// By this SACK: bytes acknowledged.
    pub(crate) acknowledged: u32,
    /// By this SACK: something was acknowledged that was sent on this path only …
    pub(crate) credited: bool,
    /// … and the largest of that, as [`OutboundChunk::size`] counts.
    pub(crate) largest: u32,
    /// By this SACK: the lowest TSN in flight was acknowledged.
    pub(crate) earliest_acknowledged: bool,
    /// By this SACK: bytes marked for retransmission after three miss indications.
    pub(crate) lost: u32,
    /// By this SACK: the peer took back an acknowledgement of something sent on this path.
    pub(crate) reneged: bool,
    /// Bytes in flight before this SACK.
    pub(crate) before: u32,
}

impl Flight {
    fn credit(&mut self, moved: bool, size: u32) {
        if !moved {
            self.credited = true;
            self.largest = self.largest.max(size);
        }
    }
}

/// What a SACK did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    /// The Cumulative TSN Ack Point moved.
    pub(crate) advanced: bool,
    /// Something was acknowledged for the first time.
    pub(crate) newly: bool,
    /// What is freed in the send buffer: bytes of user data and [`MESSAGE_OVERHEAD`] for each message.
    pub(crate) released: usize,
    /// Chunks were marked for fast retransmission.
    pub(crate) lost: bool,
}

/// A SACK or SHUTDOWN acknowledges a TSN that was never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NeverSent;

/// All DATA that is outstanding.
#[derive(Debug)]
pub(crate) struct Outstanding {
    /// The Cumulative TSN Ack Point: everything up to it is acknowledged for good.
    cumulative: Tsn,
    /// The chunk at index i has TSN `cumulative + 1 + i`.
    chunks: VecDeque<OutboundChunk>,
    /// Those with [`Status::Acknowledged`].
    acknowledged: Runs,
    /// The set before the SACK in hand; kept to reuse its memory.
    previous: Runs,
    /// Those with [`Status::Lost`].
    lost: Runs,
    /// The three highest HTNAs, highest first.
    highest: [Tsn; 3],
    /// Everything below has been looked at for fast retransmission.
    frontier: Tsn,
    /// Bytes of user data in flight, on all paths: what counts against the peer's window.
    data_in_flight: usize,
    flights: SmallVec<[Flight; 1]>,
}

impl Outstanding {
    /// `initial` is our Initial TSN: the first that will be sent.
    pub(crate) fn new(initial: Tsn, paths: usize) -> Self {
        //= RFC 9260 §5.1: "each endpoint MUST set its internal Cumulative TSN Ack Point to the value of its transmitted
        //= Initial TSN minus one"
        let cumulative = initial.previous();
        Self {
            cumulative,
            chunks: VecDeque::new(),
            acknowledged: Runs::default(),
            previous: Runs::default(),
            lost: Runs::default(),
            highest: [cumulative; 3],
            frontier: initial,
            data_in_flight: 0,
            flights: SmallVec::from_elem(Flight::default(), paths),
        }
    }

    /// Makes room for paths up to `count`.
    pub(crate) fn set_path_count(&mut self, count: usize) {
        self.flights.resize(count, Flight::default());
    }

    /// The Cumulative TSN Ack Point.
    pub(crate) fn cumulative(&self) -> Tsn {
        self.cumulative
    }

    /// The TSN of the next new chunk.
    //= RFC 9260 §3.3.1: "The TSNs of DATA chunks sent SHOULD be strictly sequential."
    //= RFC 9260 §6.9: "The transmitter MUST then assign, in sequence, a separate TSN to each of the DATA chunks"
    pub(crate) fn next_tsn(&self) -> Tsn {
        self.cumulative.next() + self.chunks.len() as u32
    }

    /// Nothing is outstanding.
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// How many chunks are outstanding.
    pub(crate) fn len(&self) -> usize {
        self.chunks.len()
    }

    /// Bytes of user data in flight on all paths.
    pub(crate) fn data_in_flight(&self) -> usize {
        self.data_in_flight
    }

    pub(crate) fn flight(&self, path: usize) -> &Flight {
        &self.flights[path]
    }

    /// Whether anything is marked for retransmission.
    pub(crate) fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    /// The lowest chunk that is marked for retransmission.
    pub(crate) fn first_lost(&self) -> Option<(Tsn, &OutboundChunk)> {
        let tsn = self.lost.first()?;
        Some((tsn, &self.chunks[self.index(tsn)]))
    }

    /// Whether `tsn` has been acknowledged, cumulatively or by a Gap Ack Block.
    pub(crate) fn is_acknowledged(&self, tsn: Tsn) -> bool {
        tsn.precedes_or_is(self.cumulative) || self.acknowledged.contains(tsn)
    }

    /// The path that `tsn` was last sent on, if it is outstanding.
    pub(crate) fn path_of(&self, tsn: Tsn) -> Option<usize> {
        let outstanding = tsn.follows(self.cumulative) && tsn.precedes(self.next_tsn());
        outstanding.then(|| usize::from(self.chunks[self.index(tsn)].path))
    }

    /// Whether `tsn` is the lowest in flight on `path`.
    pub(crate) fn is_earliest(&self, path: usize, tsn: Tsn) -> bool {
        self.flights[path].earliest == Some(tsn)
    }

    /// Takes on a chunk that is being sent for the first time, on `path`.
    #[inline]
    pub(crate) fn push(&mut self, mut chunk: OutboundChunk, path: u8) -> Tsn {
        let tsn = self.next_tsn();
        chunk.path = path;
        chunk.status = Status::InFlight;
        let flight = &mut self.flights[usize::from(path)];
        flight.bytes += chunk.size();
        flight.earliest.get_or_insert(tsn);
        self.data_in_flight += chunk.payload.len();
        self.chunks.push_back(chunk);
        tsn
    }

    /// The first chunk marked for retransmission is being sent again, on `path`.
    pub(crate) fn retransmit_first(&mut self, path: u8) {
        let Some(tsn) = self.lost.pop_first() else { return };
        let at = self.index(tsn);
        let chunk = &mut self.chunks[at];
        chunk.status = Status::InFlight;
        chunk.moved |= chunk.path != path;
        chunk.path = path;
        chunk.timed_out = false;
        self.data_in_flight += chunk.payload.len();
        let flight = &mut self.flights[usize::from(path)];
        flight.bytes += chunk.size();
        if flight.earliest.is_none_or(|earliest| tsn.precedes(earliest)) {
            flight.earliest = Some(tsn);
        }
    }

    /// Marks all that is in flight on `path` for retransmission: its T3-rtx has expired (RFC 9260 §6.3.3 E3).
    pub(crate) fn time_out(&mut self, path: u8) -> u32 {
        // All of it may be reported missing anew.
        self.highest = [self.cumulative; 3];
        self.frontier = self.cumulative.next();
        let Some(earliest) = self.flights[usize::from(path)].earliest else { return 0 };
        let mut largest = 0;
        let mut lost = Runs::default();
        core::mem::swap(&mut lost, &mut self.previous);
        lost.clear();
        let from = self.index(earliest);
        // Those lost before lie on either side and between: merge by walking in order.
        let mut before = core::mem::take(&mut self.lost);
        while let Some(run) = before.first().filter(|first| first.precedes(earliest)).and_then(|_| before.pop_first()) {
            lost.push_back(Run { first: run, last: run });
        }
        for at in from..self.chunks.len() {
            let tsn = self.cumulative.next() + at as u32;
            let chunk = &mut self.chunks[at];
            match chunk.status {
                Status::InFlight if chunk.path == path => {
                    chunk.status = Status::Lost;
                    chunk.timed_out = true;
                    largest = largest.max(chunk.size());
                    self.data_in_flight -= chunk.payload.len();
                    lost.push_back(Run { first: tsn, last: tsn });
                }
                Status::Lost => lost.push_back(Run { first: tsn, last: tsn }),
                _ => {}
            }
        }
        before.clear();
        self.previous = before;
        self.lost = lost;
        let flight = &mut self.flights[usize::from(path)];
        flight.bytes = 0;
        flight.earliest = None;
        largest
    }

    /// Marks everything in flight for retransmission, on whatever path: it was sent with a COOKIE ECHO that got lost.
    pub(crate) fn time_out_all(&mut self) {
        for path in 0..self.flights.len() {
            self.time_out(path as u8);
        }
    }

    /// Processes the Cumulative TSN Ack of a SHUTDOWN, which has no Gap Ack Blocks to renege on (RFC 9260 §3.3.8).
    //= RFC 9260 §3.3.8: "the receiver of the SHUTDOWN chunk MUST NOT interpret the lack of a Gap Ack Block as a renege"
    pub(crate) fn acknowledge_cumulatively(&mut self, cumulative: Tsn) -> Result<Acknowledged, NeverSent> {
        let mut outcome = self.begin(cumulative)?;
        self.advance(cumulative, &mut outcome);
        self.find_earliest();
        Ok(outcome)
    }

    /// Processes a SACK (RFC 9260 §6.2.1 D). `blocks` are Gap Ack Blocks as offsets from `cumulative`, in the order of the chunk.
    ///
    /// The caller has dropped SACKs whose Cumulative TSN Ack lies before ours (item i).
    pub(crate) fn acknowledge(
        &mut self,
        cumulative: Tsn,
        blocks: impl Iterator<Item = (u16, u16)>,
        in_fast_recovery: bool,
    ) -> Result<Acknowledged, NeverSent> {
        let mut outcome = self.begin(cumulative)?;
        let mut highest_newly = self.advance(cumulative, &mut outcome);

        core::mem::swap(&mut self.acknowledged, &mut self.previous);
        self.acknowledged.clear();
        self.collect_blocks(blocks);
        if let Some(highest) = self.compare_runs(&mut outcome) {
            highest_newly = Some(highest);
        }
        self.find_earliest();

        if let (Some(newly), Some(highest)) = (highest_newly, self.acknowledged.last()) {
            let reference = if in_fast_recovery && outcome.advanced { highest } else { newly };
            self.count_misses(reference, &mut outcome);
        }
        Ok(outcome)
    }

    /// Whether it has space for chunks.
    pub(crate) fn holds_memory(&self) -> bool {
        self.chunks.capacity() > 0
    }

    /// Gives back memory that nothing is in.
    pub(crate) fn shrink(&mut self) {
        self.chunks.shrink_to_fit();
        for runs in [&mut self.acknowledged, &mut self.previous, &mut self.lost] {
            runs.shrink();
        }
    }

    /// Gives back all chunks, lowest TSN first; forgets them.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = OutboundChunk> {
        self.acknowledged.clear();
        self.lost.clear();
        self.data_in_flight = 0;
        self.flights.iter_mut().for_each(|flight| *flight = Flight::default());
        let chunks = core::mem::take(&mut self.chunks);
        self.cumulative += chunks.len() as u32;
        chunks.into_iter()
    }

    fn index(&self, tsn: Tsn) -> usize {
        self.cumulative.next().steps_to(tsn) as usize
    }

    fn begin(&mut self, cumulative: Tsn) -> Result<Acknowledged, NeverSent> {
        //= RFC 9260 §12.4: "An SCTP implementation MUST abort the association if it receives a SACK chunk acknowledging
        //= a TSN that has not been sent."
        if cumulative.follows_or_is(self.next_tsn()) {
            return Err(NeverSent);
        }
        for flight in &mut self.flights {
            flight.before = flight.bytes;
            flight.acknowledged = 0;
            flight.credited = false;
            flight.largest = 0;
            flight.earliest_acknowledged = false;
            flight.lost = 0;
            flight.reneged = false;
        }
        Ok(Acknowledged::default())
    }

    /// Drops everything up to `cumulative`; returns the highest TSN that was newly acknowledged by it.
    fn advance(&mut self, cumulative: Tsn, outcome: &mut Acknowledged) -> Option<Tsn> {
        let count = self.cumulative.distance(cumulative);
        if count <= 0 {
            return None;
        }
        outcome.advanced = true;
        let mut highest = None;
        for step in 1..=count.unsigned_abs() {
            //= RFC 9260 §6.7: "the endpoint MUST remove all DATA chunks that have been acknowledged by the SACK chunk's
            //= Cumulative TSN Ack from its transmit queue"
            let Some(chunk) = self.chunks.pop_front() else { break };
            outcome.released += chunk.payload.len() + if chunk.flags.is_ending() { MESSAGE_OVERHEAD } else { 0 };
            if chunk.status == Status::Acknowledged {
                continue;
            }
            highest = Some(self.cumulative + step);
            let flight = &mut self.flights[usize::from(chunk.path)];
            flight.acknowledged += chunk.size();
            flight.credit(chunk.moved, chunk.size());
            if chunk.status == Status::InFlight {
                flight.bytes -= chunk.size();
                self.data_in_flight -= chunk.payload.len();
            }
        }
        outcome.newly |= highest.is_some();
        self.cumulative = cumulative;
        self.acknowledged.remove_through(cumulative);
        self.lost.remove_through(cumulative);
        if self.frontier.precedes_or_is(cumulative) {
            self.frontier = cumulative.next();
        }
        highest
    }

    /// Fills `acknowledged` from Gap Ack Blocks: those that lie within what is outstanding, in order and disjoint.
    fn collect_blocks(&mut self, blocks: impl Iterator<Item = (u16, u16)>) {
        let end = self.chunks.len() as u32;
        for (start, last) in blocks {
            let (start, last) = (u32::from(start), u32::from(last).min(end));
            // A block that ends before it begins, names the cumulative TSN itself, or lies beyond what was sent.
            if start == 0 || start > last {
                continue;
            }
            let run = Run { first: self.cumulative + start, last: self.cumulative + last };
            match self.acknowledged.last() {
                // Out of order or overlapping: not forbidden by the RFC, only odd. Slow, but right.
                Some(previous) if run.first.precedes_or_is(previous) => {
                    for offset in start..=last {
                        self.acknowledged.insert(self.cumulative + offset);
                    }
                }
                _ => self.acknowledged.push_back(run),
            }
        }
    }

    /// Finds what is newly acknowledged and what the peer reneged on, by walking the runs before and after side by side.
    /// Returns the highest newly acknowledged TSN.
    fn compare_runs(&mut self, outcome: &mut Acknowledged) -> Option<Tsn> {
        let (after, before) = (core::mem::take(&mut self.acknowledged), core::mem::take(&mut self.previous));
        let mut highest = None;
        for_difference(&after, &before, |run| {
            for offset in 0..run.len() {
                self.acknowledge_one(run.first + offset);
            }
            highest = Some(run.last);
        });
        for_difference(&before, &after, |run| {
            for offset in 0..run.len() {
                self.renege_one(run.first + offset);
            }
        });
        outcome.newly |= highest.is_some();
        (self.acknowledged, self.previous) = (after, before);
        highest
    }

    fn acknowledge_one(&mut self, tsn: Tsn) {
        let at = self.index(tsn);
        let chunk = &mut self.chunks[at];
        let flight = &mut self.flights[usize::from(chunk.path)];
        flight.acknowledged += chunk.size();
        flight.credit(chunk.moved, chunk.size());
        match chunk.status {
            Status::InFlight => {
                flight.bytes -= chunk.size();
                self.data_in_flight -= chunk.payload.len();
            }
            Status::Lost => {
                self.lost.remove(tsn);
            }
            Status::Acknowledged => {}
        }
        self.chunks[at].status = Status::Acknowledged;
    }

    fn renege_one(&mut self, tsn: Tsn) {
        let at = self.index(tsn);
        let chunk = &mut self.chunks[at];
        chunk.status = Status::InFlight;
        self.data_in_flight += chunk.payload.len();
        let flight = &mut self.flights[usize::from(chunk.path)];
        flight.bytes += chunk.size();
        flight.reneged = true;
        if flight.earliest.is_none_or(|earliest| tsn.precedes(earliest)) {
            flight.earliest = Some(tsn);
        }
    }

    /// Moves each path's `earliest` on if it has been acknowledged or marked lost.
    ///
    /// It moves forward only, and over acknowledged runs in one step, so all SACKs together touch a chunk here once.
    fn find_earliest(&mut self) {
        for path in 0..self.flights.len() {
            let Some(earliest) = self.flights[path].earliest else { continue };
            let in_flight = |chunk: &OutboundChunk| chunk.status == Status::InFlight && usize::from(chunk.path) == path;
            let mut tsn = earliest;
            if tsn.follows(self.cumulative) && in_flight(&self.chunks[self.index(tsn)]) {
                continue;
            }
            self.flights[path].earliest_acknowledged |= self.is_acknowledged(earliest);
            if self.flights[path].bytes == 0 {
                self.flights[path].earliest = None;
                continue;
            }
            if tsn.precedes_or_is(self.cumulative) {
                tsn = self.cumulative.next();
            }
            let from = tsn;
            let mut runs = self.acknowledged.iter().skip_while(|run| run.last.precedes(from)).peekable();
            let end = self.next_tsn();
            let mut found = None;
            while tsn.precedes(end) {
                if let Some(run) = runs.next_if(|run| run.first.precedes_or_is(tsn)) {
                    tsn = run.last.next();
                    continue;
                }
                if in_flight(&self.chunks[self.index(tsn)]) {
                    found = Some(tsn);
                    break;
                }
                tsn = tsn.next();
            }
            self.flights[path].earliest = found;
        }
    }

    /// Counts one miss indication for everything missing below `reference`; marks as lost what has three (RFC 9260 §7.2.4).
    //= RFC 9260 §6.7: "All DATA chunks with TSNs not included in the Gap Ack Blocks that are smaller than the
    //= highest-acknowledged TSN reported in the SACK chunk MUST be treated as "missing""
    //= RFC 9260 §6.7: "The number of "missing" reports for each outstanding DATA chunk MUST be recorded by the data
    //= sender"
    //= RFC 9260 §7.2.4: "it SHOULD wait for two further miss indications"
    //= RFC 9260 §7.2.4: "Miss indications SHOULD follow the Highest TSN Newly Acknowledged (HTNA) algorithm."
    fn count_misses(&mut self, reference: Tsn, outcome: &mut Acknowledged) {
        let [first, second, third] = self.highest;
        self.highest = if reference.follows_or_is(first) {
            [reference, first, second]
        } else if reference.follows_or_is(second) {
            [first, reference, second]
        } else if reference.follows_or_is(third) {
            [first, second, reference]
        } else {
            return;
        };
        let limit = self.highest[2];
        if !self.frontier.precedes(limit) {
            return;
        }
        let mut tsn = self.frontier;
        self.frontier = limit;
        let acknowledged = core::mem::take(&mut self.acknowledged);
        let from = tsn;
        let mut runs = acknowledged.iter().skip_while(|run| run.last.precedes(from)).peekable();
        while tsn.precedes(limit) {
            if let Some(run) = runs.next_if(|run| run.first.precedes_or_is(tsn)) {
                tsn = run.last.next();
                continue;
            }
            self.lose_one(tsn, outcome);
            tsn = tsn.next();
        }
        drop(runs);
        self.acknowledged = acknowledged;
        self.find_earliest();
    }

    fn lose_one(&mut self, tsn: Tsn, outcome: &mut Acknowledged) {
        let at = self.index(tsn);
        let chunk = &mut self.chunks[at];
        if chunk.status != Status::InFlight || chunk.fast_retransmitted {
            return;
        }
        chunk.status = Status::Lost;
        chunk.fast_retransmitted = true;
        chunk.timed_out = false;
        outcome.lost = true;
        self.data_in_flight -= chunk.payload.len();
        let flight = &mut self.flights[usize::from(chunk.path)];
        flight.bytes -= chunk.size();
        flight.lost += chunk.size();
        self.lost.insert(tsn);
    }
}

/// Calls `each` for every maximal run of `one` that is not in `other`, in order.
fn for_difference(one: &Runs, other: &Runs, mut each: impl FnMut(Run)) {
    let mut others = other.iter().peekable();
    for mut run in one.iter() {
        loop {
            // Leave out what ends before this run.
            while others.next_if(|other| other.last.precedes(run.first)).is_some() {}
            match others.peek() {
                Some(other) if other.first.precedes_or_is(run.last) => {
                    if run.first.precedes(other.first) {
                        each(Run { first: run.first, last: other.first.previous() });
                    }
                    if other.last.follows_or_is(run.last) {
                        break;
                    }
                    run.first = other.last.next();
                }
                _ => {
                    each(run);
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
