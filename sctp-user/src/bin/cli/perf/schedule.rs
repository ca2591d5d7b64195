//! When the next message is due, and when there are no more.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// How much is to be sent, and how fast.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// Stop after so many messages.
    pub(crate) count: Option<u64>,
    /// Stop after this time.
    pub(crate) duration: Option<Duration>,
    /// Messages per second; `None` sends as fast as the association takes them.
    pub(crate) rate: Option<NonZeroU64>,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The next message is due.
    Send,
    /// Nothing before this time.
    Wait(Instant),
    /// There is nothing more to send.
    Finished,
}

/// Follows a [`Plan`].
#[derive(Debug)]
pub(crate) struct Schedule {
    plan: Plan,
    start: Instant,
    /// The number of the next message.
    sequence: u64,
    finished: bool,
}

impl Schedule {
    /// The plan begins at `start`.
    pub(crate) fn new(plan: Plan, start: Instant) -> Self {
        Self { plan, start, sequence: 0, finished: plan.count == Some(0) }
    }

    /// The number of the next message.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What to do at `now`. A message that is due stays so until [`advance`](Self::advance).
    pub(crate) fn next(&mut self, now: Instant) -> Next {
        if self.plan.duration.is_some_and(|duration| now.saturating_duration_since(self.start) >= duration) {
            self.finished = true;
        }
        if self.finished {
            return Next::Finished;
        }
        match self.due() {
            Some(due) if due > now => Next::Wait(due),
            _ => Next::Send,
        }
    }

    /// The message that was due has been sent at `now`: gives its number, and when its time began.
    ///
    /// That is now or, where a rate is given, when the message should have been sent. Times that are measured
    /// from then on include what it had to wait for being sent at all, so that a slow peer cannot hide its latency by
    /// making the sender wait ("coordinated omission").
    pub(crate) fn advance(&mut self, now: Instant) -> (u64, Instant) {
        let message = (self.sequence, self.due().unwrap_or(now));
        self.sequence += 1;
        self.finished |= self.plan.count.is_some_and(|count| self.sequence >= count);
        message
    }

    /// Nothing more is to be sent, whatever the plan says.
    pub(crate) fn finish(&mut self) {
        self.finished = true;
    }

    /// Whether there is nothing more to send.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// When the plan ends by time.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.plan.duration.and_then(|duration| self.start.checked_add(duration))
    }

    /// When the next message should be sent, where a rate says so.
    fn due(&self) -> Option<Instant> {
        self.plan.rate.map(|rate| self.start + offset(self.sequence, rate))
    }
}

/// How long after the start message `sequence` is due.
fn offset(sequence: u64, rate: NonZeroU64) -> Duration {
    let rate = rate.get();
    let nanoseconds = u128::from(sequence % rate) * 1_000_000_000 / u128::from(rate);
    Duration::from_secs(sequence / rate) + Duration::from_nanos(nanoseconds as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rate(rate: u64) -> Option<NonZeroU64> {
        NonZeroU64::new(rate)
    }

    #[test]
    fn counts_end() {
        let start = Instant::now();
        let mut schedule = Schedule::new(Plan { count: Some(2), ..Plan::default() }, start);
        for sequence in 0..2 {
            assert_eq!(schedule.next(start), Next::Send);
            assert_eq!(schedule.next(start), Next::Send, "it stays due");
            assert_eq!(schedule.sequence(), sequence);
            assert!(!schedule.is_finished());
            assert_eq!(schedule.advance(start), (sequence, start));
        }
        assert!(schedule.is_finished());
        assert_eq!(schedule.next(start), Next::Finished);
    }

    #[test]
    fn time_ends() {
        let start = Instant::now();
        let mut schedule = Schedule::new(Plan { duration: Some(SECOND), ..Plan::default() }, start);
        assert_eq!(schedule.deadline(), Some(start + SECOND));
        assert_eq!(schedule.next(start + SECOND - Duration::from_nanos(1)), Next::Send);
        assert_eq!(schedule.next(start + SECOND), Next::Finished);
    }

    #[test]
    fn a_rate_spreads_messages_and_catches_up() {
        let start = Instant::now();
        let mut schedule = Schedule::new(Plan { rate: rate(1000), ..Plan::default() }, start);
        assert_eq!(schedule.next(start), Next::Send);
        assert_eq!(schedule.advance(start), (0, start));
        let due = start + Duration::from_millis(1);
        assert_eq!(schedule.next(start), Next::Wait(due));
        let late = start + Duration::from_millis(5);
        assert_eq!(schedule.next(late), Next::Send);
        assert_eq!(schedule.advance(late), (1, due), "its time began when it was due");
    }

    #[test]
    fn rates_do_not_drift() {
        let three = rate(3).unwrap();
        assert_eq!(offset(3_000_000, three), 1_000_000 * SECOND);
        assert_eq!(offset(1, three), Duration::from_nanos(333_333_333));
        assert_eq!(offset(u64::MAX, rate(u64::MAX).unwrap()), SECOND);
    }

    #[test]
    fn a_finished_schedule_stays_so() {
        let start = Instant::now();
        let mut schedule = Schedule::new(Plan::default(), start);
        schedule.finish();
        assert_eq!(schedule.next(start), Next::Finished);
    }
}
