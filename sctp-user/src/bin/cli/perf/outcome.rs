//! What one association's share of a measurement came to, and how the shares add up.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::control::Amount;
use super::digest::{self, Digest};
use crate::cli::notices::Notice;

/// The result of one association.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What was sent.
    pub(crate) sent: Amount,
    /// What came back or, one way, what the server reports.
    pub(crate) received: Amount,
    /// See [`Summary`](super::summary::Summary).
    pub(crate) verified: u64,
    /// See [`Summary`](super::summary::Summary).
    pub(crate) mismatched: u64,
    /// Messages that were sent and did not come.
    pub(crate) lost: u64,
    /// Round-trip times in nanoseconds.
    pub(crate) times: Histogram<u64>,
    /// When the first message was sent and the last one received.
    pub(crate) span: Option<(Instant, Instant)>,
    /// The longest time from one echo to the next.
    pub(crate) longest_gap: Option<Duration>,
    /// What the association told besides its messages.
    pub(crate) notices: Vec<Notice>,
    /// Of what was sent.
    pub(crate) digest_sent: Option<Digest>,
    /// Of what the server received.
    pub(crate) digest_received: Option<Digest>,
    /// Why the measurement broke off.
    pub(crate) failure: Option<anyhow::Error>,
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            sent: Amount::default(),
            received: Amount::default(),
            verified: 0,
            mismatched: 0,
            lost: 0,
            times: new_histogram(),
            span: None,
            longest_gap: None,
            notices: Vec::new(),
            digest_sent: None,
            digest_received: None,
            failure: None,
        }
    }
}

/// Adds outcomes up. The digests of several associations become one, the first failure stands for all.
pub(crate) fn total(outcomes: Vec<Outcome>) -> Outcome {
    let digests = |of: fn(&Outcome) -> Option<Digest>| {
        let digests: Option<Vec<_>> = outcomes.iter().map(of).collect();
        digests.and_then(|digests| digest::combine(&digests))
    };
    let mut total = Outcome {
        digest_sent: digests(|outcome| outcome.digest_sent),
        digest_received: digests(|outcome| outcome.digest_received),
        ..Outcome::default()
    };
    for outcome in outcomes {
        total.sent.messages += outcome.sent.messages;
        total.sent.bytes += outcome.sent.bytes;
        total.received.messages += outcome.received.messages;
        total.received.bytes += outcome.received.bytes;
        total.verified += outcome.verified;
        total.mismatched += outcome.mismatched;
        total.lost += outcome.lost;
        // Both have the same bounds, so that everything fits.
        total.times += outcome.times;
        total.span = match (total.span, outcome.span) {
            (Some((first, last)), Some((other_first, other_last))) => {
                Some((first.min(other_first), last.max(other_last)))
            }
            (one, other) => one.or(other),
        };
        total.longest_gap = total.longest_gap.max(outcome.longest_gap);
        total.notices.extend(outcome.notices);
        total.failure = total.failure.or(outcome.failure);
    }
    total
}

/// Times from 1 ns to 15 min with three significant digits; longer ones count as 15 min.
pub(crate) const LONGEST_TIME: u64 = 900_000_000_000;

fn new_histogram() -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "the bounds are constants, which a test checks")]
    Histogram::new_with_bounds(1, LONGEST_TIME, 3).expect("valid bounds")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(messages: u64, digest: u8) -> Outcome {
        let mut outcome = Outcome {
            sent: Amount { messages, bytes: 10 * messages },
            received: Amount { messages, bytes: 10 * messages },
            verified: messages,
            digest_sent: Some(Digest([digest; 32])),
            ..Outcome::default()
        };
        outcome.times.record(messages).unwrap();
        outcome
    }

    #[test]
    fn outcomes_add_up() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (mut one, mut other) = (outcome(3, 1), outcome(4, 2));
        one.longest_gap = Some(Duration::from_millis(2));
        one.span = Some((at(1), at(5)));
        other.span = Some((at(2), at(6)));
        other.failure = Some(anyhow::anyhow!("lost"));
        let total = total(vec![one, Outcome::default(), other]);
        assert_eq!(total.sent, Amount { messages: 7, bytes: 70 });
        assert_eq!((total.verified, total.times.len()), (7, 2));
        assert_eq!(total.span, Some((at(1), at(6))));
        assert_eq!(total.longest_gap, Some(Duration::from_millis(2)));
        assert_eq!(total.failure.unwrap().to_string(), "lost");
        assert_eq!(total.digest_sent, None, "one association has no digest, so there is none of all");
    }

    #[test]
    fn digests_of_several_are_combined() {
        assert_eq!(total(vec![outcome(1, 1)]).digest_sent, Some(Digest([1; 32])));
        let both = total(vec![outcome(1, 1), outcome(1, 2)]).digest_sent;
        assert_eq!(both, digest::combine(&[Digest([1; 32]), Digest([2; 32])]));
    }

    #[test]
    fn the_histogram_holds_every_time() {
        let mut times = new_histogram();
        times.record(1).unwrap();
        times.record(LONGEST_TIME).unwrap();
    }
}
