//! Pacing: packets spread over the round trip.
//!
//! A virtual schedule in which every packet takes the time that it would at `k × cwnd / SRTT`. A packet may be ahead of the schedule by
//! a burst, no more; so in any interval there are at most the burst and what the rate allows.

use core::time::Duration;

use crate::time::Instant;

/// The schedule of one path.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// Percent of cwnd / SRTT.
    percent: u16,
    /// When what has been sent is through, at the rate.
    schedule: Instant,
    /// When the next packet may be sent.
    earliest: Instant,
    /// Set while DATA waits for nothing but the schedule.
    pub(crate) timer: Option<Instant>,
}

impl Pacer {
    /// Paces at `percent` of cwnd / SRTT.
    pub(crate) fn new(percent: u16) -> Self {
        Self { percent, schedule: Instant::ORIGIN, earliest: Instant::ORIGIN, timer: None }
    }

    /// When the next packet may be sent.
    pub(crate) fn earliest(&self) -> Instant {
        self.earliest
    }

    /// A packet of `len` bytes has been sent, with a window of `window` bytes; it may be followed at once until `burst` bytes are ahead
    /// of the schedule.
    pub(crate) fn sent(&mut self, now: Instant, len: usize, window: u32, srtt: Duration, burst: usize) {
        let time_of = |bytes: usize| {
            let nanos = bytes as u128 * srtt.as_nanos() * 100 / (u128::from(self.percent) * u128::from(window.max(1)));
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        };
        self.schedule = self.schedule.max(now) + time_of(len);
        // One packet more would be ahead by more than the burst.
        self.earliest = self.schedule - time_of(burst.saturating_sub(len));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: usize = 1000;
    const MILLISECOND: Duration = Duration::from_millis(1);

    /// Sends whenever it may, for `time`; gives when.
    fn times(pacer: &mut Pacer, from: Instant, time: Duration, burst: usize) -> Vec<Instant> {
        let (mut now, mut sent) = (from, Vec::new());
        while now < from + time {
            if pacer.earliest() <= now {
                // 100 packets in a round trip of 100 ms.
                pacer.sent(now, PACKET, 100_000, MILLISECOND * 100, burst * PACKET);
                sent.push(now);
            } else {
                now = pacer.earliest();
            }
        }
        sent
    }

    #[test]
    fn rate_is_the_window_in_a_round_trip() {
        for (percent, expected) in [(100, 1000), (125, 1250), (200, 2000)] {
            let sent = times(&mut Pacer::new(percent), Instant::from_millis(5), MILLISECOND * 1000, 1);
            assert!(sent.len().abs_diff(expected) <= 2, "{} packets in ten round trips at {percent} %", sent.len());
        }
    }

    #[test]
    fn bursts_are_bounded_after_any_pause() {
        let mut pacer = Pacer::new(100);
        let mut from = Instant::from_millis(5);
        for pause in [0, 1, 50, 10_000] {
            from += MILLISECOND * pause;
            let sent = times(&mut pacer, from, MILLISECOND * 20, 4);
            let most = sent.iter().filter(|at| **at == sent[0]).count();
            assert!(most <= 4, "{most} at once");
            for (first, at) in sent.iter().enumerate() {
                let within = sent[first..].iter().filter(|other| **other <= *at + MILLISECOND * 5).count();
                assert!(within <= 4 + 5, "{within} within 5 ms");
            }
            from += MILLISECOND * 20;
        }
    }
}
