//! How long a worker looks for work before it sleeps.
//!
//! Sleeping and being woken costs microseconds on both sides, spinning costs a core. The worker
//! spins for a while that follows its luck: it grows when work came while it was spinning, and
//! shrinks when the spin was in vain. An idle worker soon does not spin at all.

use std::time::Duration;

/// The longest spin. About what it costs to sleep and be woken again.
const LONGEST: Duration = Duration::from_micros(50);
/// What an idle worker tries again after good luck, and what falls to nothing after bad luck.
const SHORTEST: Duration = Duration::from_micros(2);

/// The adaptive spin of one worker.
#[derive(Debug)]
pub(crate) struct Spin {
    allowance: Duration,
    longest: Duration,
    /// When the spin under way began, in nanoseconds of the worker's clock.
    since: Option<u64>,
}

impl Spin {
    /// `cores` is the number of cores that this process may use. On a single core nobody can make
    /// work for us while we spin.
    pub(crate) fn new(cores: usize) -> Spin {
        let longest = if cores > 1 { LONGEST } else { Duration::ZERO };
        Spin { allowance: Duration::ZERO, longest, since: None }
    }

    /// The turn found work.
    pub(crate) fn worked(&mut self) {
        if self.since.take().is_some() {
            self.allowance = (self.allowance * 2).clamp(SHORTEST, self.longest.max(SHORTEST));
        }
    }

    /// The turn at `now` (nanoseconds) found nothing: whether to look once more rather than sleep.
    pub(crate) fn again(&mut self, now: u64) -> bool {
        let allowance = self.allowance.min(self.longest);
        let since = *self.since.get_or_insert(now);
        if u128::from(now.saturating_sub(since)) < allowance.as_nanos() {
            return true;
        }
        self.since = None;
        self.allowance /= 2;
        if self.allowance < SHORTEST {
            self.allowance = Duration::ZERO;
        }
        false
    }

    /// The worker slept for `slept`: a short sleep says that a spin would have met the work.
    pub(crate) fn slept(&mut self, slept: Duration) {
        if slept < self.longest {
            self.allowance = (self.allowance * 2).clamp(SHORTEST, self.longest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_worker_does_not_spin() {
        let mut spin = Spin::new(4);
        assert!(!spin.again(0));
        assert!(!spin.again(1));
    }

    #[test]
    fn short_sleeps_teach_it_to_spin_and_vain_spins_to_stop() {
        let mut spin = Spin::new(4);
        for _ in 0..10 {
            spin.slept(Duration::from_micros(5));
        }
        assert!(spin.again(1_000));
        assert!(spin.again(1_000 + 49_000));
        assert!(!spin.again(1_000 + 50_000));
        let mut vain = 1;
        let mut now = 1_000_000;
        while spin.again(now) {
            now += 1_000_000;
            assert!(!spin.again(now));
            vain += 1;
        }
        assert!(vain <= 6, "{vain} spins in vain");
    }

    #[test]
    fn luck_lengthens_it() {
        let mut spin = Spin::new(2);
        spin.slept(Duration::from_micros(1));
        let before = spin.allowance;
        assert!(spin.again(0));
        spin.worked();
        assert!(spin.allowance > before);
    }

    #[test]
    fn a_single_core_never_spins() {
        let mut spin = Spin::new(1);
        spin.slept(Duration::from_micros(1));
        assert!(!spin.again(0));
    }
}
