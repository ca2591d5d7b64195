//! The loop of a measurement on one association: sends what is due, takes what comes, and sleeps when there is neither.
//!
//! It is one task without locks. As long as messages move it works in batches with the calls of the association that do not
//! wait; only when nothing moves it waits for whatever comes first.

use std::future;
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Result, anyhow};
use bytes::Bytes;
use sctp_user::{Association, CloseReason, Message, ReceivedMessage, SendError, TrySendError};
use tokio::time::{sleep_until, timeout};

use super::content::{Content, Generator};
use super::pacer::Pacer;
use super::schedule::{Next, Plan, Schedule};
use super::work::Work;
use crate::cli::node::GRACE;
use crate::cli::notices::Notices;
use crate::cli::progress::Counts;
use crate::cli::signals::Stop;

/// How many messages are taken, and how many are sent, before other tasks get their turn.
const BATCH: usize = 64;

/// What all associations of a measurement share.
#[derive(Debug)]
pub(crate) struct Job {
    /// The options.
    pub(crate) work: Work,
    /// How far it has come.
    pub(crate) counts: Counts,
    /// The wish to end before.
    pub(crate) stop: Stop,
}

/// One association's share of a [`Job`].
#[derive(Debug)]
pub(crate) struct Share {
    /// What is shared.
    pub(crate) job: Rc<Job>,
    /// The association.
    pub(crate) association: Association,
    /// What its messages contain.
    pub(crate) content: Content,
    /// When they are sent.
    pub(crate) plan: Plan,
    /// Where the plan has a rate.
    pub(crate) pacer: Option<Pacer>,
}

/// What is done with messages, by kind of measurement.
pub(crate) trait Exercise {
    /// Whether [`sent`](Self::sent) wants to see payloads.
    const LOOKS_AT_WHAT_IS_SENT: bool;

    /// Whether another message may be sent now. If not, one that comes may change that.
    fn has_room(&self) -> bool;

    /// Message `sequence` was sent at `at`, or should have been.
    fn sent(&mut self, sequence: u64, size: usize, payload: Option<Bytes>, at: Instant);

    /// A message has come.
    fn received(&mut self, message: ReceivedMessage) -> Result<()>;

    /// Whether everything that was sent has its answer.
    fn is_settled(&self) -> bool;
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Everything was sent and settled.
    Complete,
    /// The program was told to end; what had been sent is settled, or has not been in the time for that.
    Interrupted,
}

impl Share {
    /// Sends what the plan says and takes what comes, until all is settled.
    pub(crate) async fn drive<E: Exercise>(&self, exercise: &mut E, notices: &mut Notices) -> Result<End> {
        Driver {
            share: self,
            notices,
            generator: Generator::new(self.content, !self.job.work.no_verify),
            schedule: Schedule::new(self.plan, Instant::now()),
            ready: None,
            moved: Instant::now(),
            interrupted: None,
            cut_short: false,
        }
        .run(exercise)
        .await
    }

    /// Why nothing more can be sent or received: the association's end.
    pub(crate) async fn why_ended(&self) -> anyhow::Error {
        match timeout(GRACE, self.association.closed()).await {
            Ok(Some(CloseReason::Shutdown)) | Err(_) => anyhow!("the peer has ended the association"),
            Ok(Some(reason)) => anyhow::Error::new(reason),
            Ok(None) => anyhow!("the stack has stopped"),
        }
    }

    /// Why a message was not taken.
    pub(crate) async fn refused(&self, error: SendError) -> anyhow::Error {
        match error {
            SendError::Closed => self.why_ended().await,
            error => error.into(),
        }
    }

    /// The next message, waited for at most as long as the options say.
    pub(crate) async fn receive(&self) -> Result<ReceivedMessage> {
        let patience = self.job.work.timeout;
        let message = tokio::select! {
            message = timeout(patience, self.association.recv()) => message,
            () = self.interrupted() => return Err(anyhow!("interrupted")),
        };
        match message {
            Ok(Ok(Some(message))) => Ok(message),
            Ok(Ok(None) | Err(_)) => Err(self.why_ended().await),
            Err(_) => Err(anyhow!("the peer has not answered for {patience:?}")),
        }
    }

    /// Waits until the program was told to end, and then for as long as a graceful end may take.
    async fn interrupted(&self) {
        self.job.stop.overdue(GRACE).await;
    }
}

/// The state of the loop.
struct Driver<'a> {
    share: &'a Share,
    notices: &'a mut Notices,
    generator: Generator,
    schedule: Schedule,
    /// The next message, if it is made but not sent: it is not due yet, or the association has no room.
    ready: Option<Message>,
    /// When something was last sent or received.
    moved: Instant,
    /// When the program was told to end.
    interrupted: Option<Instant>,
    /// Whether there was something left to send then.
    cut_short: bool,
}

impl Driver<'_> {
    async fn run<E: Exercise>(mut self, exercise: &mut E) -> Result<End> {
        let result = self.turn_until_end(exercise).await;
        if result.is_err() {
            // What had arrived before is not lost. If it is wrong too, the first failure stands.
            while let Ok(true) = self.take(exercise) {}
        }
        result
    }

    async fn turn_until_end<E: Exercise>(&mut self, exercise: &mut E) -> Result<End> {
        loop {
            if self.interrupted.is_none() && self.share.job.stop.is_wished() {
                self.interrupted = Some(Instant::now());
                self.cut_short = !self.schedule.is_finished();
                self.schedule.finish();
            }
            let taken = self.take(exercise)?;
            let (sent, due) = self.send(exercise).await?;
            if self.schedule.is_finished() && exercise.is_settled() {
                return Ok(if self.cut_short { End::Interrupted } else { End::Complete });
            }
            if taken || sent {
                self.moved = Instant::now();
                tokio::task::yield_now().await;
            } else if let Some(end) = self.wait(exercise, due).await? {
                return Ok(end);
            }
        }
    }

    /// Takes messages that are there; says whether there were any.
    fn take<E: Exercise>(&mut self, exercise: &mut E) -> Result<bool> {
        for taken in 0..BATCH {
            match self.share.association.try_recv() {
                Some(message) => exercise.received(message)?,
                None => return Ok(taken > 0),
            }
        }
        Ok(true)
    }

    /// Sends messages that are due; says whether there were any, and when the next one is due.
    async fn send<E: Exercise>(&mut self, exercise: &mut E) -> Result<(bool, Option<Instant>)> {
        for sent in 0..BATCH {
            if self.schedule.is_finished() || !exercise.has_room() {
                return Ok((sent > 0, None));
            }
            let message = self.ready.take().unwrap_or_else(|| self.message());
            let size = message.payload.len();
            let payload = E::LOOKS_AT_WHAT_IS_SENT.then(|| message.payload.clone());
            // Before it is sent: the answer may be on its way while this thread is being put to sleep.
            let now = Instant::now();
            match self.schedule.next(now) {
                Next::Send => {}
                Next::Wait(due) => {
                    self.ready = Some(message);
                    return Ok((sent > 0, Some(due)));
                }
                Next::Finished => return Ok((sent > 0, None)),
            }
            match self.share.association.try_send(message) {
                Ok(()) => self.count(exercise, now, size, payload),
                Err(TrySendError::Full(message)) => {
                    self.ready = Some(message);
                    return Ok((sent > 0, None));
                }
                Err(TrySendError::Refused(error)) => return Err(self.share.refused(error).await),
                Err(error) => return Err(error.into()),
            }
        }
        Ok((true, None))
    }

    /// Waits until something can be done again. Gives the end if this is it.
    async fn wait<E: Exercise>(&mut self, exercise: &mut E, due: Option<Instant>) -> Result<Option<End>> {
        let association = &self.share.association;
        let patience = self.share.job.work.timeout;
        let give_up = match self.interrupted {
            Some(interrupted) => interrupted + GRACE,
            None => self.moved.max(due.unwrap_or(self.moved)) + patience,
        };
        let sending = !self.schedule.is_finished();
        let blocked = self.ready.clone().filter(|_| sending && due.is_none() && exercise.has_room());
        tokio::select! {
            message = association.recv() => match message {
                Ok(Some(message)) => {
                    exercise.received(message)?;
                    self.moved = Instant::now();
                }
                Ok(None) | Err(_) => return Err(self.share.why_ended().await),
            },
            result = send(association, blocked) => match result {
                Ok(()) => {
                    self.moved = Instant::now();
                    if let Some(Message { payload, .. }) = self.ready.take() {
                        let size = payload.len();
                        self.count(exercise, self.moved, size, E::LOOKS_AT_WHAT_IS_SENT.then_some(payload));
                    }
                }
                Err(error) => return Err(self.share.refused(error).await),
            },
            () = self.notices.next() => {}
            () = pause_until(self.share.pacer.as_ref(), due), if due.is_some() => {}
            () = reach(self.schedule.deadline()), if sending => {}
            () = self.share.job.stop.wished(), if self.interrupted.is_none() => {}
            () = sleep_until(give_up.into()) => return match self.interrupted {
                Some(_) => Ok(Some(End::Interrupted)),
                None => Err(anyhow!("nothing was sent or received for {patience:?}")),
            },
        }
        Ok(None)
    }

    /// Makes the next message.
    fn message(&mut self) -> Message {
        let sequence = self.schedule.sequence();
        let work = &self.share.job.work;
        Message::new(self.share.content.stream(sequence), self.generator.payload(sequence))
            .with_ppid(work.ppid)
            .with_unordered(work.unordered)
    }

    fn count<E: Exercise>(&mut self, exercise: &mut E, now: Instant, size: usize, payload: Option<Bytes>) {
        let (sequence, at) = self.schedule.advance(now);
        exercise.sent(sequence, size, payload, at);
        self.share.job.counts.count_sent();
    }
}

/// Sends the message, if there is one; else never ready.
async fn send(association: &Association, message: Option<Message>) -> Result<(), SendError> {
    match message {
        Some(message) => association.send(message).await,
        None => future::pending().await,
    }
}

/// Waits until a message is due.
async fn pause_until(pacer: Option<&Pacer>, due: Option<Instant>) {
    match (pacer, due) {
        (Some(pacer), Some(due)) => pacer.wait_until(due).await,
        (None, Some(due)) => sleep_until(due.into()).await,
        (_, None) => future::pending().await,
    }
}

/// Waits until the plan ends by time, if it does.
async fn reach(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => future::pending().await,
    }
}
