//! `--mode stream`: messages go to `sctp perf server`, which counts and digests them and reports (see [`super::control`]).

use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use sctp_user::{Message, ReceivedMessage};

use super::content::Content;
use super::control::{CONTROL_PPID, Control, Report};
use super::digest::Digester;
use super::drive::{End, Exercise, Job, Share};
use super::outcome::Outcome;
use crate::cli::notices::Notices;

/// Runs one association's share.
pub(crate) async fn run(share: &Share, notices: &mut Notices) -> Outcome {
    let mut one_way = OneWay::new(share);
    let result = one_way.run(share, notices).await;
    let mut outcome = one_way.outcome;
    outcome.digest_sent = one_way.digester.finish();
    match result {
        Ok((end, report)) => {
            outcome.received = report.amount;
            outcome.digest_received = report.digest;
            judge(&mut outcome);
            if end == End::Interrupted {
                outcome.failure = Some(anyhow!("interrupted"));
            }
        }
        Err(error) => {
            outcome.received.messages = one_way.reported;
            outcome.lost = outcome.sent.messages.saturating_sub(one_way.reported);
            outcome.failure = Some(error);
        }
    }
    outcome
}

/// Compares what the server reports with what was sent.
fn judge(outcome: &mut Outcome) {
    let (sent, received) = (outcome.sent, outcome.received);
    outcome.lost = sent.messages.saturating_sub(received.messages);
    let same = outcome.digest_sent == outcome.digest_received && sent == received;
    match (&outcome.digest_sent, same) {
        (Some(_), true) => outcome.verified = received.messages,
        (Some(_), false) => outcome.mismatched = received.messages,
        // Nothing was digested: only a wrong amount can be seen.
        (None, _) => outcome.mismatched = u64::from(received.bytes > sent.bytes || received.messages > sent.messages),
    }
}

struct OneWay {
    job: Rc<Job>,
    content: Content,
    digester: Digester,
    outcome: Outcome,
    /// How many messages the server says it has.
    reported: u64,
}

impl OneWay {
    fn new(share: &Share) -> Self {
        Self {
            job: share.job.clone(),
            content: share.content,
            digester: Digester::new(share.job.work.digest_kind()),
            outcome: Outcome::default(),
            reported: 0,
        }
    }

    async fn run(&mut self, share: &Share, notices: &mut Notices) -> Result<(End, Report)> {
        let digest = share.job.work.digest_kind();
        say(share, Control::Start { digest }).await?;
        match hear(share)
            .await
            .context("no answer to the start of a one-way measurement (is it `sctp perf server`?)")?
        {
            Control::Ready => {}
            Control::Start { .. } => {
                bail!("the peer is an echo server: use --mode echo, or `sctp perf server` on the other side")
            }
            Control::Refused(reason) => bail!("the server refuses: {reason}"),
            other => bail!("the server answered the start of a measurement with {other:?}"),
        }
        let end = share.drive(self, notices).await?;
        say(share, Control::Finish(self.outcome.sent)).await?;
        let report = loop {
            match hear(share).await.context("no report from the server")? {
                Control::Progress(amount) => self.progress(amount.messages),
                Control::Report(report) => break report,
                other => bail!("the server sent {other:?} where its report was due"),
            }
        };
        self.progress(report.amount.messages);
        if let Some((_, last)) = &mut self.outcome.span {
            *last = Instant::now();
        }
        Ok((end, report))
    }

    fn progress(&mut self, messages: u64) {
        self.job.counts.count_received(messages.saturating_sub(self.reported));
        self.reported = self.reported.max(messages);
    }
}

impl Exercise for OneWay {
    const LOOKS_AT_WHAT_IS_SENT: bool = true;

    fn has_room(&self) -> bool {
        true
    }

    fn sent(&mut self, sequence: u64, size: usize, payload: Option<Bytes>, at: Instant) {
        let stream = self.content.stream(sequence);
        self.digester.add(stream, size, payload.iter().map(|payload| &payload[..]));
        self.outcome.sent.add(size);
        self.outcome.span.get_or_insert((at, at));
    }

    fn received(&mut self, message: ReceivedMessage) -> Result<()> {
        match decode(message)? {
            Control::Progress(amount) => {
                self.progress(amount.messages);
                Ok(())
            }
            Control::Refused(reason) => bail!("the server refuses: {reason}"),
            other => bail!("the server sent {other:?} during the measurement"),
        }
    }

    fn is_settled(&self) -> bool {
        true
    }
}

/// Sends a control message.
async fn say(share: &Share, control: Control) -> Result<()> {
    let message = Message::new(0, control.encode()).with_ppid(CONTROL_PPID);
    match share.association.send(message).await {
        Ok(()) => Ok(()),
        Err(error) => Err(share.refused(error).await),
    }
}

/// Waits for a control message.
async fn hear(share: &Share) -> Result<Control> {
    decode(share.receive().await?)
}

fn decode(message: ReceivedMessage) -> Result<Control> {
    if message.ppid != CONTROL_PPID {
        bail!("the peer returned data in a one-way measurement: is it `sctp perf server`?");
    }
    Ok(Control::decode(&message.into_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::perf::control::Amount;
    use crate::cli::perf::digest::Digest;

    fn judged(received: Amount, digests: Option<(u8, u8)>) -> (u64, u64, u64) {
        let digest = |octet: u8| Digest([octet; 32]);
        let mut outcome = Outcome {
            sent: Amount { messages: 10, bytes: 100 },
            received,
            digest_sent: digests.map(|(sent, _)| digest(sent)),
            digest_received: digests.map(|(_, received)| digest(received)),
            ..Outcome::default()
        };
        judge(&mut outcome);
        (outcome.verified, outcome.mismatched, outcome.lost)
    }

    #[test]
    fn digests_and_amounts_decide() {
        let all = Amount { messages: 10, bytes: 100 };
        let fewer = Amount { messages: 8, bytes: 80 };
        let more = Amount { messages: 11, bytes: 110 };
        assert_eq!(judged(all, Some((1, 1))), (10, 0, 0));
        assert_eq!(judged(all, Some((1, 2))), (0, 10, 0));
        assert_eq!(judged(fewer, Some((1, 2))), (0, 8, 2));
        assert_eq!(judged(fewer, Some((1, 1))), (0, 8, 2), "equal digests of unequal amounts prove nothing");
        assert_eq!(judged(all, None), (0, 0, 0));
        assert_eq!(judged(fewer, None), (0, 0, 2));
        assert_eq!(judged(more, None), (0, 1, 0));
    }
}
