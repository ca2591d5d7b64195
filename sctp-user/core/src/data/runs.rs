//! Sets of TSNs kept as runs.
//!
//! What is lost or received out of order comes in runs, so a set costs by the number of runs, not of TSNs: looking up is
//! logarithmic, appending to the last run or taking from the first (which is what traffic does) takes constant time.

use std::collections::VecDeque;

use crate::serial::Tsn;

/// The TSNs from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: Tsn,
    pub(crate) last: Tsn,
}

impl Run {
    /// How many TSNs it has.
    pub(crate) fn len(self) -> u32 {
        self.first.steps_to(self.last).wrapping_add(1)
    }

    fn contains(self, tsn: Tsn) -> bool {
        self.first.precedes_or_is(tsn) && tsn.precedes_or_is(self.last)
    }
}

/// A set of TSNs. All of them must lie within 2^31 of each other, as everything in a window does.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    /// In order, disjoint, and not adjacent.
    runs: VecDeque<Run>,
}

impl Runs {
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Gives back memory that nothing is in.
    pub(crate) fn shrink(&mut self) {
        self.runs.shrink_to_fit();
    }

    /// How many runs there are.
    pub(crate) fn count(&self) -> usize {
        self.runs.len()
    }

    /// The runs in order.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = Run> + Clone + '_ {
        self.runs.iter().copied()
    }

    /// The lowest TSN.
    pub(crate) fn first(&self) -> Option<Tsn> {
        self.runs.front().map(|run| run.first)
    }

    /// The highest TSN.
    pub(crate) fn last(&self) -> Option<Tsn> {
        self.runs.back().map(|run| run.last)
    }

    pub(crate) fn contains(&self, tsn: Tsn) -> bool {
        self.runs.get(self.position(tsn)).is_some_and(|run| run.contains(tsn))
    }

    /// Whether `tsn` would extend a run or join two, rather than begin a new one. (Or is a member.)
    pub(crate) fn touches(&self, tsn: Tsn) -> bool {
        let at = self.position(tsn.previous());
        self.runs.get(at).is_some_and(|run| run.first.precedes_or_is(tsn.next()))
    }

    /// Adds one TSN; false if it was a member.
    pub(crate) fn insert(&mut self, tsn: Tsn) -> bool {
        // Nearly always it goes to the end.
        match self.runs.back_mut() {
            Some(last) if last.last.next() == tsn => {
                last.last = tsn;
                return true;
            }
            Some(last) if last.last.precedes(tsn) => {
                self.runs.push_back(Run { first: tsn, last: tsn });
                return true;
            }
            None => {
                self.runs.push_back(Run { first: tsn, last: tsn });
                return true;
            }
            Some(_) => {}
        }
        // The first run that ends at `tsn - 1` or later.
        let at = self.position(tsn.previous());
        let run = self.runs[at];
        if run.contains(tsn) {
            return false;
        }
        if run.last.next() == tsn {
            // It extends this one, and may close the gap to the next.
            match self.runs.get(at + 1) {
                Some(next) if next.first == tsn.next() => {
                    self.runs[at].last = next.last;
                    self.runs.remove(at + 1);
                }
                _ => self.runs[at].last = tsn,
            }
        } else if run.first == tsn.next() {
            self.runs[at].first = tsn;
        } else {
            self.runs.insert(at, Run { first: tsn, last: tsn });
        }
        true
    }

    /// Appends a run that begins after everything that is in the set.
    pub(crate) fn push_back(&mut self, run: Run) {
        match self.runs.back_mut() {
            Some(last) if last.last.next() == run.first => last.last = run.last,
            _ => self.runs.push_back(run),
        }
    }

    /// Takes out the lowest TSN.
    pub(crate) fn pop_first(&mut self) -> Option<Tsn> {
        let run = self.runs.front_mut()?;
        let tsn = run.first;
        if run.first == run.last {
            self.runs.pop_front();
        } else {
            run.first = tsn.next();
        }
        Some(tsn)
    }

    /// Takes out the first run.
    pub(crate) fn pop_first_run(&mut self) -> Option<Run> {
        self.runs.pop_front()
    }

    /// Takes out one TSN; false if it was no member.
    pub(crate) fn remove(&mut self, tsn: Tsn) -> bool {
        let at = self.position(tsn);
        let Some(run) = self.runs.get(at).copied().filter(|run| run.contains(tsn)) else { return false };
        match (run.first == tsn, run.last == tsn) {
            (true, true) => {
                self.runs.remove(at);
            }
            (true, false) => self.runs[at].first = tsn.next(),
            (false, true) => self.runs[at].last = tsn.previous(),
            (false, false) => {
                self.runs[at].last = tsn.previous();
                self.runs.insert(at + 1, Run { first: tsn.next(), last: run.last });
            }
        }
        true
    }

    /// Takes out everything up to `tsn`, `tsn` included.
    pub(crate) fn remove_through(&mut self, tsn: Tsn) {
        while let Some(run) = self.runs.front_mut() {
            if run.last.precedes_or_is(tsn) {
                self.runs.pop_front();
            } else {
                if run.first.precedes_or_is(tsn) {
                    run.first = tsn.next();
                }
                return;
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.runs.clear();
    }

    /// Index of the first run that ends at `tsn` or later.
    fn position(&self, tsn: Tsn) -> usize {
        self.runs.partition_point(|run| run.last.precedes(tsn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn listed(runs: &Runs) -> Vec<(u32, u32)> {
        runs.iter().map(|run| (run.first.get(), run.last.get())).collect()
    }

    #[test]
    fn joins_neighbours_across_the_wrap() {
        let mut runs = Runs::default();
        for tsn in [u32::MAX, 1, 0, 5, 3, 4] {
            assert!(runs.insert(Tsn(tsn)));
        }
        assert!(!runs.insert(Tsn(0)));
        assert_eq!(listed(&runs), [(u32::MAX, 1), (3, 5)]);
        assert!(runs.touches(Tsn(2)) && runs.touches(Tsn(6)) && !runs.touches(Tsn(7)));
        runs.remove_through(Tsn(3));
        assert_eq!(listed(&runs), [(4, 5)]);
    }

    proptest! {
        #[test]
        fn behaves_like_a_set(base: u32, steps in prop::collection::vec((0_u32..64, 0_u8..8), 0..200)) {
            let (mut runs, mut model) = (Runs::default(), BTreeSet::new());
            for (offset, action) in steps {
                let tsn = Tsn(base) + offset;
                match action {
                    0..=4 => prop_assert_eq!(runs.insert(tsn), model.insert(offset)),
                    5 => prop_assert_eq!(runs.remove(tsn), model.remove(&offset)),
                    6 => prop_assert_eq!(runs.pop_first(), model.pop_first().map(|first| Tsn(base) + first)),
                    _ => {
                        runs.remove_through(tsn);
                        model = model.split_off(&(offset + 1));
                    }
                }
                let members: BTreeSet<u32> =
                    runs.iter().flat_map(|run| (0..run.len()).map(move |at| (run.first + at).get().wrapping_sub(base))).collect();
                prop_assert_eq!(&members, &model);
                let listed: Vec<Run> = runs.iter().collect();
                for pair in listed.windows(2) {
                    prop_assert!(pair[0].last.next().precedes(pair[1].first), "runs are apart");
                }
                for probe in 0..64 {
                    prop_assert_eq!(runs.contains(Tsn(base) + probe), model.contains(&probe));
                }
            }
        }
    }
}
