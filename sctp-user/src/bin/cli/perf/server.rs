//! `sctp perf server`: returns messages as they come, until a client starts a one-way measurement; then it counts and digests
//! them and reports (see [`super::control`]).

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use sctp_user::{Association, Message, ReceivedMessage};

use super::control::{Amount, CONTROL_PPID, Control, Report};
use super::digest::{DigestKind, Digester};
use crate::cli::echo::finish;
use crate::cli::node::GRACE;
use crate::cli::notices::Notices;
use crate::cli::options::StackOptions;
use crate::cli::progress;
use crate::cli::serve::{self, Inbox, Served, ServerOptions};
use crate::cli::signals::Stop;

/// How long messages that were announced may still take. It starts anew with each that comes.
const PATIENCE: Duration = Duration::from_secs(5);

/// Messages between two looks at the clock.
const LOOK_AT_THE_CLOCK: u64 = 64;

/// Options of `sctp perf server`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PerfServerOptions {
    #[command(flatten)]
    pub(crate) server: ServerOptions,

    #[command(flatten)]
    pub(crate) stack: StackOptions,
}

/// Runs the subcommand.
pub(crate) async fn run(options: PerfServerOptions) -> Result<()> {
    serve::run(&options.stack, &options.server, serve_one).await
}

/// Serves one association.
pub(crate) async fn serve_one(association: Association, mut notices: Notices, stop: Stop) -> Served {
    let mut served = Served::new(&association);
    let result = stop.within(GRACE, serve_until_end(&association, &mut notices, &stop, &mut served)).await;
    served.end(result, notices)
}

async fn serve_until_end(
    association: &Association,
    notices: &mut Notices,
    stop: &Stop,
    served: &mut Served,
) -> Result<()> {
    let mut inbox = Inbox::new(association, notices, stop);
    let mut sink: Option<Sink> = None;
    loop {
        let deadline = sink.as_ref().and_then(Sink::deadline);
        let Ok(message) = inbox.next_until(deadline).await else {
            // What is missing by now will not come.
            report(association, &mut sink).await?;
            continue;
        };
        let Some(message) = message? else {
            return finish(association, stop).await;
        };
        if message.ppid == CONTROL_PPID {
            control(association, &mut sink, message).await?;
        } else {
            served.count(&message);
            match &mut sink {
                Some(sink) => {
                    if let Some(progress) = sink.take(&message) {
                        say(association, progress).await?;
                    }
                }
                None => served.echo(association, message).await?,
            }
        }
        if sink.as_ref().is_some_and(Sink::is_complete) {
            report(association, &mut sink).await?;
        }
    }
}

/// Acts upon a control message.
async fn control(association: &Association, sink: &mut Option<Sink>, message: ReceivedMessage) -> Result<()> {
    let answer = match (Control::decode(&message.into_bytes()), sink.as_mut()) {
        (Ok(Control::Start { digest }), None) => {
            *sink = Some(Sink::new(digest));
            Control::Ready
        }
        (Ok(Control::Finish(announced)), Some(sink)) => {
            sink.announced = Some((announced, Instant::now()));
            return Ok(());
        }
        (Ok(Control::Start { .. }), Some(_)) => Control::Refused("a measurement is under way".to_owned()),
        (Ok(Control::Finish(_)), None) => Control::Refused("no measurement is under way".to_owned()),
        (Ok(_), _) => Control::Refused("that is for servers to say".to_owned()),
        (Err(error), _) => Control::Refused(error.to_string()),
    };
    say(association, answer).await
}

/// Ends a one-way measurement; messages are returned again.
async fn report(association: &Association, sink: &mut Option<Sink>) -> Result<()> {
    match sink.take() {
        Some(sink) => say(association, Control::Report(sink.report())).await,
        None => Ok(()),
    }
}

async fn say(association: &Association, control: Control) -> Result<()> {
    Ok(association.send(Message::new(0, control.encode()).with_ppid(CONTROL_PPID)).await?)
}

/// A one-way measurement under way.
#[derive(Debug)]
struct Sink {
    digester: Digester,
    amount: Amount,
    /// When the first message came, and the last one.
    span: Option<(Instant, Instant)>,
    /// When progress was last reported.
    reported: Instant,
    /// What the client says it has sent, and when that, or a message after it, came.
    announced: Option<(Amount, Instant)>,
}

impl Sink {
    fn new(digest: DigestKind) -> Self {
        Self {
            digester: Digester::new(digest),
            amount: Amount::default(),
            span: None,
            reported: Instant::now(),
            announced: None,
        }
    }

    /// Takes a message in. Gives a report of progress when one is due.
    fn take(&mut self, message: &ReceivedMessage) -> Option<Control> {
        let length = message.len();
        self.digester.add(message.stream, length, message.payload.iter().map(|fragment| &fragment[..]));
        self.amount.add(length);
        let count = self.amount.messages;
        // Reading the clock costs as much as taking in a small message.
        if count != 1 && !count.is_multiple_of(LOOK_AT_THE_CLOCK) && self.announced.is_none() {
            return None;
        }
        let now = Instant::now();
        self.span.get_or_insert((now, now)).1 = now;
        if let Some((_, last)) = &mut self.announced {
            *last = now;
        }
        if now.saturating_duration_since(self.reported) < progress::INTERVAL {
            return None;
        }
        self.reported = now;
        Some(Control::Progress(self.amount))
    }

    /// Until when messages that are missing are waited for.
    fn deadline(&self) -> Option<Instant> {
        self.announced.map(|(_, last)| last + PATIENCE)
    }

    /// Whether everything that was announced is there.
    fn is_complete(&self) -> bool {
        self.announced.is_some_and(|(announced, _)| self.amount.messages >= announced.messages)
    }

    fn report(&self) -> Report {
        Report {
            amount: self.amount,
            elapsed: self.span.map_or(Duration::ZERO, |(first, last)| last.saturating_duration_since(first)),
            digest: self.digester.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(octets: &'static [u8]) -> ReceivedMessage {
        let payload = [Bytes::from_static(octets)].into_iter().collect();
        ReceivedMessage { stream: 0, ssn: 0, ppid: 0, unordered: false, part: sctp_user::MessagePart::Whole, payload }
    }

    #[test]
    fn a_sink_waits_for_what_was_announced() {
        let mut sink = Sink::new(DigestKind::Ordered);
        assert_eq!(sink.take(&message(b"one")), None);
        assert!(!sink.is_complete());
        assert_eq!(sink.deadline(), None);
        sink.announced = Some((Amount { messages: 2, bytes: 6 }, Instant::now()));
        assert!(!sink.is_complete());
        assert!(sink.deadline().is_some());
        assert_eq!(sink.take(&message(b"two")), None);
        assert!(sink.is_complete());

        let mut digester = Digester::new(DigestKind::Ordered);
        digester.add(0, 3, [&b"one"[..]]);
        digester.add(0, 3, [&b"two"[..]]);
        let report = sink.report();
        assert_eq!(report.amount, Amount { messages: 2, bytes: 6 });
        assert_eq!(report.digest, digester.finish());
    }

    #[test]
    fn progress_is_reported_now_and_then() {
        let mut sink = Sink::new(DigestKind::None);
        sink.reported = Instant::now().checked_sub(progress::INTERVAL).unwrap();
        assert_eq!(sink.take(&message(b"x")), Some(Control::Progress(Amount { messages: 1, bytes: 1 })));
        assert_eq!(sink.take(&message(b"x")), None);
        assert_eq!(sink.report().digest, None);
    }
}
