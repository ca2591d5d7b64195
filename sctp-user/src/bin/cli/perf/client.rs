//! `sctp perf client`: sets associations up, has each do its share, and sums up.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use sctp_user::telemetry::AssociationSnapshot;
use sctp_user::{Association, CloseReason, ConnectOptions};
use tokio::task::LocalSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::drive::{Job, Share};
use super::outcome::{self, Outcome};
use super::pacer::PacerThread;
use super::summary::{RoundTrip, Summary};
use super::work::{Mode, Work};
use super::{one_way, round_trip};
use crate::cli::failure;
use crate::cli::node::{GRACE, Node};
use crate::cli::notices::Notices;
use crate::cli::options::{AssociationOptions, StackOptions};
use crate::cli::progress::{self, Counts, Progress, ProgressMode, print_json, print_line};
use crate::cli::signals::Stop;
use crate::cli::values::Peer;

/// How many associations are set up, or ended, at the same time.
const CONCURRENCY: usize = 64;

/// Options of `sctp perf client`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClientOptions {
    /// The server: ADDR:PORT, an IPv6 address in brackets; more addresses of the same server after commas
    /// (10.0.0.2,10.0.1.2:5001)
    #[arg(value_name = "ADDR:PORT")]
    pub(crate) peer: Peer,

    #[command(flatten)]
    pub(crate) work: Work,

    #[command(flatten)]
    pub(crate) stack: StackOptions,
}

/// Runs the subcommand.
pub(crate) async fn run(options: ClientOptions) -> Result<()> {
    options.work.check()?;
    let stop = Stop::on_signals()?;
    let node = Node::open(&options.stack)?;
    let result = measure(&node, &options.peer, options.work, &options.stack.association, &stop).await;
    node.close_after(result).await
}

/// Measures from `node` to `peer`, and prints what came of it.
pub(crate) async fn measure(
    node: &Node,
    peer: &Peer,
    work: Work,
    settings: &AssociationOptions,
    stop: &Stop,
) -> Result<()> {
    let associations = connect(node, peer, &work, settings, stop).await?;
    let first = (associations[0].id().to_string(), associations[0].worker());
    let job = Rc::new(Job { work, counts: Counts::default(), stop: stop.clone() });
    let outcomes = LocalSet::new().run_until(run_all(&job, &associations)).await?;
    let mut total = outcome::total(outcomes);
    // Before the associations end, so that they are still in it.
    let snapshot = node.snapshot().await;
    let association = snapshot.associations.iter().find(|one| (&one.id, one.worker) == (&first.0, first.1)).cloned();
    let closed = match &job.work.abort {
        Some(reason) => abort(associations, reason).await,
        None => close(associations).await,
    };
    if let Err(error) = closed {
        total.failure.get_or_insert(error);
    }
    let failure = verdict(&mut total, peer);
    let mut summary = summarise(&job.work, total, association);
    summary.set_stack(snapshot);
    summary.error = failure.as_ref().map(failure::sentence);
    match job.work.json {
        true => print_json(&summary),
        false => print_line(&summary.table()),
    }
    failure.map_or(Ok(()), Err)
}

/// Sets all associations up.
async fn connect(
    node: &Node,
    peer: &Peer,
    work: &Work,
    settings: &AssociationOptions,
    stop: &Stop,
) -> Result<Vec<Association>> {
    let mut options = ConnectOptions::default().association(settings.config(work.streams));
    if let Some(port) = work.local_port {
        options = options.local_port(port);
    }
    let associations: Vec<Association> = stream::iter(0..work.associations)
        .map(|_| node.connect(peer, options.clone(), work.timeout, stop))
        .buffered(CONCURRENCY)
        .try_collect()
        .await?;
    let granted = associations.iter().map(Association::outbound_streams).min().unwrap_or_default();
    if granted < work.streams {
        return Err(anyhow!("{peer} takes messages on {granted} streams at most: use --streams {granted}"));
    }
    Ok(associations)
}

/// Has every association do its share, and shows the progress meanwhile.
async fn run_all(job: &Rc<Job>, associations: &[Association]) -> Result<Vec<Outcome>> {
    let work = &job.work;
    let pacers =
        work.rate.map(|_| PacerThread::start()).transpose().context("cannot start the thread that paces messages")?;
    let progress = Progress::start(work.progress, work.goal());
    let tasks: Vec<_> = (0..)
        .zip(associations)
        .map(|(index, association)| {
            let share = Share {
                job: job.clone(),
                association: association.clone(),
                content: work.content(index),
                plan: work.plan(index),
                pacer: pacers.as_ref().map(PacerThread::pacer),
            };
            let mut notices = Notices::of(association, work.progress == ProgressMode::Json);
            tokio::task::spawn_local(async move {
                let mut outcome = match share.job.work.mode {
                    Mode::Stream => one_way::run(&share, &mut notices).await,
                    Mode::Echo | Mode::Ping => round_trip::run(&share, &mut notices).await,
                };
                outcome.notices = notices.finish();
                outcome
            })
        })
        .collect();
    let mut all = std::pin::pin!(async {
        let mut outcomes = Vec::new();
        for task in tasks {
            outcomes.push(task.await.context("a part of the measurement broke down")?);
        }
        anyhow::Ok(outcomes)
    });
    let mut ticks = tokio::time::interval_at(Instant::now() + progress::INTERVAL, progress::INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let outcomes = loop {
        tokio::select! {
            outcomes = &mut all => break outcomes?,
            _ = ticks.tick() => progress.update(&job.counts),
        }
    };
    progress.finish(&job.counts);
    Ok(outcomes)
}

/// Ends the associations in order, and those that do not end within the grace by ABORT; gives the first error.
async fn close(associations: Vec<Association>) -> Result<()> {
    let deadline = Instant::now() + GRACE;
    let mut closing = stream::iter(associations)
        .map(|association| async move {
            match tokio::time::timeout_at(deadline, association.close()).await {
                Ok(result) => result.map_err(anyhow::Error::from),
                Err(_) => {
                    association.abort("the end took too long");
                    Err(anyhow!("the association did not end within {GRACE:?}"))
                }
            }
        })
        .buffer_unordered(CONCURRENCY);
    let mut result = Ok(());
    while let Some(closed) = closing.next().await {
        result = result.and(closed);
    }
    result
}

/// Ends the associations by ABORT and waits until that is done, so that the peer is told before the program ends.
async fn abort(associations: Vec<Association>, reason: &str) -> Result<()> {
    for association in &associations {
        association.abort(reason.to_owned());
    }
    for association in associations {
        match association.closed().await {
            Some(CloseReason::LocalAbort) => {}
            Some(other) => return Err(anyhow::Error::new(other).context("it could not be aborted")),
            None => return Err(anyhow!("the stack has stopped")),
        }
    }
    Ok(())
}

/// What went wrong, with what it cost, if something did.
fn verdict(total: &mut Outcome, peer: &Peer) -> Option<anyhow::Error> {
    let (sent, received, lost) = (total.sent.messages, total.received.messages, total.lost);
    if let Some(failure) = total.failure.take() {
        let after = elapsed(total).as_secs_f64();
        return Some(failure.context(format!(
            "the measurement with {peer} broke off after {after:.1} s: {sent} messages sent, {received} received, {lost} lost"
        )));
    }
    match (total.mismatched, lost) {
        (0, 0) => None,
        (0, lost) => Some(anyhow!("{lost} of {sent} messages did not arrive at {peer}")),
        (wrong, lost) => Some(anyhow!(
            "{wrong} of {received} messages that arrived are not what was sent to {peer}, and {lost} did not arrive"
        )),
    }
}

fn elapsed(total: &Outcome) -> Duration {
    total.span.map_or(Duration::ZERO, |(first, last)| last.saturating_duration_since(first))
}

fn summarise(work: &Work, mut total: Outcome, association: Option<AssociationSnapshot>) -> Summary {
    let mut summary = Summary {
        mode: work.mode.name(),
        size: work.size.to_string(),
        streams: work.streams,
        associations: work.associations,
        sent: total.sent.messages,
        received: total.received.messages,
        verified: total.verified,
        mismatched: total.mismatched,
        lost: total.lost,
        seconds: 0.0,
        messages_per_second: 0.0,
        megabytes_per_second: 0.0,
        digest_sent: total.digest_sent.map(|digest| digest.to_string()),
        digest_received: total.digest_received.map(|digest| digest.to_string()),
        rtt_us: RoundTrip::from_nanoseconds(&total.times),
        longest_gap_seconds: total.longest_gap.map(|gap| gap.as_secs_f64()),
        notices: std::mem::take(&mut total.notices),
        xdp: Default::default(),
        af_xdp: None,
        association,
        error: None,
    };
    summary.set_throughput(total.received.bytes, elapsed(&total));
    summary
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::perf::control::Amount;

    fn verdict_of(mut outcome: Outcome) -> Option<String> {
        verdict(&mut outcome, &"10.0.0.2:5001".parse().unwrap()).as_ref().map(failure::sentence)
    }

    fn amount(messages: u64) -> Amount {
        Amount { messages, bytes: messages }
    }

    #[test]
    fn all_is_well() {
        let outcome = Outcome { sent: amount(9), received: amount(9), verified: 9, ..Outcome::default() };
        assert_eq!(verdict_of(outcome), None);
    }

    #[test]
    fn a_failure_says_what_was_lost() {
        let outcome = Outcome {
            sent: amount(9),
            received: amount(7),
            lost: 2,
            failure: Some(anyhow!("the peer has become unreachable")),
            ..Outcome::default()
        };
        assert_eq!(
            verdict_of(outcome).unwrap(),
            "the measurement with 10.0.0.2:5001 broke off after 0.0 s: 9 messages sent, 7 received, 2 lost: \
             the peer has become unreachable"
        );
    }

    #[test]
    fn wrong_and_missing_messages_are_failures() {
        let outcome = Outcome { sent: amount(9), received: amount(7), lost: 2, ..Outcome::default() };
        assert_eq!(verdict_of(outcome).unwrap(), "2 of 9 messages did not arrive at 10.0.0.2:5001");
        let outcome = Outcome { sent: amount(9), received: amount(9), mismatched: 1, ..Outcome::default() };
        assert!(verdict_of(outcome).unwrap().starts_with("1 of 9 messages that arrived are not what was sent"));
    }
}
