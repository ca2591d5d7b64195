//! How long a worker looks for work before it sleeps.
//!
//! Sleeping and being woken costs microseconds on both sides, spinning costs a core. The worker
//! spins for a while that follows its luck: it grows when work came while it was spinning, and
//! shrinks when the spin was in vain. An idle worker soon does not spin at all.
//!
//! Where there are fewer than two cores for each worker it never spins: there the application, the other
//! end or the kernel needs the core that it would spin on (measured in memory on two busy cores: yielding while idle
//! cost a third to a half of the messages per second, and spinning gained nothing).

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
    /// For one of `workers` workers on `cores` cores.
    pub(crate) fn new(cores: usize, workers: usize) -> Spin {
        let longest = if cores > 2 * workers { LONGEST } else { Duration::ZERO };
        Spin { allowance: Duration::ZERO, longest, since: None }
    }

    /// The turn found work.
    pub(crate) fn worked(&mut self) {
        if self.since.take().is_some() {
            self.lengthen();
        }
    }

    /// The turn at `now` (nanoseconds) found nothing: whether to look once more rather than sleep.
    pub(crate) fn again(&mut self, now: u64) -> bool {
        let since = *self.since.get_or_insert(now);
        if u128::from(now.saturating_sub(since)) < self.allowance.as_nanos() {
            return true;
        }
        self.since = None;
        false
    }

    /// The worker slept for `slept`, after a spin in vain. Had it been short, a longer spin would have met
    /// the work.
    pub(crate) fn slept(&mut self, slept: Duration) {
        if slept < self.longest {
            self.lengthen();
        } else {
            self.allowance /= 2;
            if self.allowance < SHORTEST {
                self.allowance = Duration::ZERO;
            }
        }
    }

    fn lengthen(&mut self) {
        self.allowance = (self.allowance * 2).max(SHORTEST).min(self.longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_worker_does_not_spin() {
        let mut spin = Spin::new(4, 1);
        assert!(!spin.again(0));
        assert!(!spin.again(1));
    }

    #[test]
    fn short_sleeps_teach_it_to_spin_and_long_ones_to_stop() {
        let mut spin = Spin::new(4, 1);
        let mut now = 0;
        for _ in 0..10 {
            while spin.again(now) {
                now += 1_000;
            }
            spin.slept(Duration::from_micros(5));
        }
        assert!(spin.again(now));
        assert!(spin.again(now + 49_000));
        assert!(!spin.again(now + 50_000));
        let mut vain = 0;
        while spin.allowance > Duration::ZERO {
            spin.slept(Duration::from_millis(1));
            vain += 1;
        }
        assert!(vain <= 6, "{vain} spins in vain");
        assert!(!spin.again(now));
    }

    #[test]
    fn luck_lengthens_it() {
        let mut spin = Spin::new(3, 1);
        spin.slept(Duration::from_micros(1));
        let before = spin.allowance;
        assert!(spin.again(0));
        spin.worked();
        assert!(spin.allowance > before);
    }

    #[test]
    fn without_cores_to_spare_it_never_spins() {
        for (cores, workers) in [(1, 1), (2, 1), (8, 4)] {
            let mut spin = Spin::new(cores, workers);
            spin.slept(Duration::from_micros(1));
            assert!(!spin.again(0));
        }
    }
}
