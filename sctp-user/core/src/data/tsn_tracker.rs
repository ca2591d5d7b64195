//! Which TSNs have arrived (RFC 9260 §6.2, §6.7).

use smallvec::SmallVec;

use super::runs::Runs;
use crate::serial::Tsn;
use crate::wire::GapAckBlock;

/// Most duplicate TSNs that are reported in one SACK. More are counted only.
const MAX_DUPLICATES: usize = 16;

/// The furthest that a Gap Ack Block can reach from the Cumulative TSN Ack (16-bit offsets, RFC 9260 §3.3.4).
const MAX_OFFSET: u32 = u16::MAX as u32;

/// The TSNs received: everything up to the Cumulative TSN Ack, and runs above it.
#[derive(Debug)]
pub(crate) struct TsnTracker {
    cumulative: Tsn,
    above: Runs,
    /// TSNs received again since the last SACK.
    duplicates: SmallVec<[Tsn; 4]>,
}

/// How a TSN relates to what has been received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The one that the Cumulative TSN Ack waits for.
    Next,
    /// Beyond the next one, but below the highest received: fills (part of) a gap.
    FillsGap,
    /// Beyond the highest received.
    Highest,
    /// Received before.
    Duplicate,
    /// It would begin another run while there are as many as may be, or is too far ahead to be acknowledged.
    OutOfBounds,
}

impl TsnTracker {
    /// Gives back memory that nothing is in.
    pub(crate) fn shrink(&mut self) {
        self.above.shrink();
        self.duplicates.shrink_to_fit();
    }

    /// `initial` is the peer's Initial TSN: the first that will arrive.
    pub(crate) fn new(initial: Tsn) -> Self {
        Self { cumulative: initial.previous(), above: Runs::default(), duplicates: SmallVec::new() }
    }

    /// The Cumulative TSN Ack: the last TSN such that nothing before it is missing.
    pub(crate) fn cumulative(&self) -> Tsn {
        self.cumulative
    }

    /// Whether TSNs are missing below the highest that has arrived.
    pub(crate) fn has_gaps(&self) -> bool {
        !self.above.is_empty()
    }

    /// What the arrival of `tsn` means; changes nothing.
    pub(crate) fn classify(&self, tsn: Tsn, max_runs: usize) -> Arrival {
        let ahead = self.cumulative.distance(tsn);
        match self.above.last() {
            _ if ahead <= 0 => Arrival::Duplicate,
            _ if ahead == 1 => Arrival::Next,
            _ if ahead.unsigned_abs() > MAX_OFFSET => Arrival::OutOfBounds,
            Some(_) if self.above.contains(tsn) => Arrival::Duplicate,
            _ if self.above.count() >= max_runs && !self.above.touches(tsn) => Arrival::OutOfBounds,
            Some(highest) if tsn.precedes(highest) => Arrival::FillsGap,
            _ => Arrival::Highest,
        }
    }

    /// Records a TSN that [`classify`](Self::classify) found acceptable.
    //= RFC 9260 §6.2: "the SCTP endpoint MUST fill in the Cumulative TSN Ack field to indicate the latest sequential
    //= TSN (of a valid DATA chunk) it has received"
    //= RFC 9260 §3.3.4: "The Gap Ack Blocks SHOULD be isolated."
    pub(crate) fn accept(&mut self, tsn: Tsn) {
        if tsn != self.cumulative.next() {
            self.above.insert(tsn);
            return;
        }
        self.cumulative = tsn;
        if self.above.first() == Some(tsn.next())
            && let Some(run) = self.above.pop_first_run()
        {
            self.cumulative = run.last;
        }
    }

    /// Records a TSN that had been received before, for the next SACK.
    //= RFC 9260 §6.2: "The duplicate TSN number(s) SHOULD be reported in the SACK chunk as duplicate."
    pub(crate) fn note_duplicate(&mut self, tsn: Tsn) {
        if self.duplicates.len() < MAX_DUPLICATES {
            self.duplicates.push(tsn);
        }
    }

    /// The runs above the Cumulative TSN Ack as Gap Ack Blocks, the lowest `max` of them (§6.7).
    //= RFC 9260 §6.7: "This single SACK chunk MUST report the Gap Ack Blocks from the lowest to highest TSNs"
    pub(crate) fn gap_blocks(&self, max: usize) -> impl ExactSizeIterator<Item = GapAckBlock> + Clone + '_ {
        let offset = |tsn: Tsn| self.cumulative.steps_to(tsn) as u16;
        self.above.iter().take(max).map(move |run| GapAckBlock { start: offset(run.first), end: offset(run.last) })
    }

    /// How many Gap Ack Blocks it would take to report everything.
    pub(crate) fn gap_count(&self) -> usize {
        self.above.count()
    }

    /// The duplicates since [`clear_duplicates`](Self::clear_duplicates).
    pub(crate) fn duplicates(&self) -> &[Tsn] {
        &self.duplicates
    }

    /// Forgets the duplicates: they have been reported.
    pub(crate) fn clear_duplicates(&mut self) {
        self.duplicates.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(tracker: &mut TsnTracker, tsn: u32) -> Arrival {
        let arrival = tracker.classify(Tsn(tsn), 2);
        match arrival {
            Arrival::Next | Arrival::FillsGap | Arrival::Highest => tracker.accept(Tsn(tsn)),
            Arrival::Duplicate => tracker.note_duplicate(Tsn(tsn)),
            Arrival::OutOfBounds => {}
        }
        arrival
    }

    //= test RFC 9260 §3.3.4: "The Gap Ack Blocks SHOULD be isolated."
    //= test RFC 9260 §6.2: "MUST fill in the Cumulative TSN Ack field to indicate the latest sequential TSN"
    #[test]
    fn follows_the_wrap_and_closes_gaps() {
        let mut tracker = TsnTracker::new(Tsn(u32::MAX));
        assert_eq!(receive(&mut tracker, u32::MAX), Arrival::Next);
        assert_eq!(receive(&mut tracker, 2), Arrival::Highest);
        assert_eq!(receive(&mut tracker, 1), Arrival::FillsGap);
        assert_eq!(receive(&mut tracker, 1), Arrival::Duplicate);
        assert_eq!(receive(&mut tracker, 4), Arrival::Highest);
        assert_eq!(receive(&mut tracker, 6), Arrival::OutOfBounds, "a third run");
        assert_eq!(receive(&mut tracker, 0), Arrival::Next);
        assert_eq!(tracker.cumulative(), Tsn(2));
        assert_eq!(tracker.gap_blocks(9).collect::<Vec<_>>(), [GapAckBlock { start: 2, end: 2 }]);
        assert_eq!(tracker.gap_blocks(0).len(), 0);
        assert_eq!(receive(&mut tracker, u32::MAX), Arrival::Duplicate);
        assert_eq!(tracker.duplicates(), [Tsn(1), Tsn(u32::MAX)]);
    }

    #[test]
    fn too_far_ahead_cannot_be_acknowledged() {
        let tracker = TsnTracker::new(Tsn(1));
        assert_eq!(tracker.classify(Tsn(65_535), 10), Arrival::Highest);
        assert_eq!(tracker.classify(Tsn(65_536), 10), Arrival::OutOfBounds);
    }

    #[test]
    fn duplicates_are_bounded() {
        let mut tracker = TsnTracker::new(Tsn(1));
        receive(&mut tracker, 1);
        for _ in 0..1000 {
            receive(&mut tracker, 1);
        }
        assert_eq!(tracker.duplicates().len(), MAX_DUPLICATES);
    }
}
