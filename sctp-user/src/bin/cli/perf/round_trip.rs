//! `--mode echo` and `--mode ping`: messages go to an echo server and come back, and each is compared with what was sent.

use std::rc::Rc;
use std::time::Instant;

use anyhow::{Result, bail};
use bytes::Bytes;
use sctp_user::ReceivedMessage;

use super::drive::{End, Exercise, Job, Share};
use super::outcome::{LONGEST_TIME, Outcome};
use super::outstanding::{Echo, Outstanding, Waiting};
use crate::cli::notices::Notices;

/// Runs one association's share.
pub(crate) async fn run(share: &Share, notices: &mut Notices) -> Outcome {
    let granted = share.association.inbound_streams();
    if granted < share.content.streams {
        let failure = anyhow::anyhow!(
            "the peer sends on {granted} streams at most, so it cannot return messages on {}: use --streams {granted}",
            share.content.streams
        );
        return Outcome { failure: Some(failure), ..Outcome::default() };
    }
    let mut trip = RoundTrips::new(share);
    let result = share.drive(&mut trip, notices).await;
    let mut outcome = trip.outcome;
    outcome.lost = trip.outstanding.overtaken() + trip.outstanding.len() as u64;
    outcome.failure = match result {
        Ok(End::Complete) => None,
        Ok(End::Interrupted) => Some(anyhow::anyhow!("interrupted")),
        Err(error) => Some(error),
    };
    outcome
}

struct RoundTrips {
    job: Rc<Job>,
    window: usize,
    outstanding: Outstanding,
    outcome: Outcome,
    /// Messages that came in fragments are put together here.
    whole: Vec<u8>,
}

impl RoundTrips {
    fn new(share: &Share) -> Self {
        let work = &share.job.work;
        Self {
            job: share.job.clone(),
            window: work.window().unwrap_or(usize::MAX),
            outstanding: Outstanding::new(share.content, work.unordered, !work.no_verify),
            outcome: Outcome::default(),
            whole: Vec::new(),
        }
    }

    fn record(&mut self, waiting: Waiting, now: Instant) {
        let nanoseconds = now.saturating_duration_since(waiting.sent).as_nanos().min(u128::from(LONGEST_TIME));
        self.outcome.times.saturating_record(nanoseconds as u64);
    }
}

impl Exercise for RoundTrips {
    const LOOKS_AT_WHAT_IS_SENT: bool = false;

    fn has_room(&self) -> bool {
        self.outstanding.len() < self.window
    }

    fn sent(&mut self, sequence: u64, size: usize, _: Option<Bytes>, at: Instant) {
        self.outstanding.add(Waiting { sequence, sent: at });
        self.outcome.sent.add(size);
        self.outcome.span.get_or_insert((at, at));
    }

    fn received(&mut self, message: ReceivedMessage) -> Result<()> {
        let now = Instant::now();
        let work = &self.job.work;
        if message.ppid != work.ppid || message.unordered != work.unordered {
            bail!(
                "the peer does not return messages as they are (payload protocol identifier {} came back as {}): \
                 is it an echo server?",
                work.ppid,
                message.ppid
            );
        }
        let echo = match &message.payload[..] {
            [whole] => self.outstanding.answer(message.stream, whole),
            fragments => {
                self.whole.clear();
                fragments.iter().for_each(|fragment| self.whole.extend_from_slice(fragment));
                self.outstanding.answer(message.stream, &self.whole)
            }
        };
        self.outcome.received.add(message.len());
        self.job.counts.count_received(1);
        if let Some((_, last)) = &mut self.outcome.span {
            // Until the first echo there is no gap but the first round trip.
            let gap = now.saturating_duration_since(*last);
            self.outcome.longest_gap = self.outcome.longest_gap.max(Some(gap));
            *last = now;
        }
        match echo {
            Echo::Right(waiting) => {
                self.record(waiting, now);
                self.outcome.verified += u64::from(!self.job.work.no_verify);
            }
            Echo::Changed(waiting) => {
                self.record(waiting, now);
                self.outcome.mismatched += 1;
            }
            Echo::Unknown => self.outcome.mismatched += 1,
        }
        Ok(())
    }

    fn is_settled(&self) -> bool {
        self.outstanding.len() == 0
    }
}
