//! What the servers (`sctp echo`, `sctp perf server`) share: accepting associations, ending in order, summing up.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use sctp_user::telemetry::{AfXdpSnapshot, StackSnapshot};
use sctp_user::{Association, ListenOptions, Listener, Message, ReceivedMessage, SendError};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::failure;
use super::node::Node;
use super::notices::{Notice, Notices};
use super::options::{AssociationOptions, StackOptions};
use super::progress::{print_json, print_line};
use super::signals::Stop;
use super::table;

/// Messages after which a task lets others run, though it has more to do.
const BATCH: u32 = 64;

/// Options of the servers.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServerOptions {
    /// SCTP port to listen on
    #[arg(short, long, default_value_t = 5001, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,

    /// Streams to offer to peers in each direction; a peer that asks for fewer gets fewer
    #[arg(long, value_name = "K", default_value_t = 2048, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) streams: u16,

    /// End when so many associations have come and gone [default: serve until SIGINT or SIGTERM]
    #[arg(long, value_name = "N", value_parser = super::values::positive_count)]
    pub(crate) associations: Option<u64>,

    /// Print associations that have ended, and the summary on the last line, as objects of JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Print nothing but failures.
    #[arg(skip)]
    quiet: bool,
}

impl ServerOptions {
    /// For a server inside this process, whose client does the talking.
    pub(crate) fn quiet(port: u16) -> Self {
        Self { port, streams: u16::MAX, associations: None, json: false, quiet: true }
    }
}

/// What was done for one association.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Served {
    /// The peer's primary address and port.
    peer: SocketAddr,
    /// Messages received.
    received: u64,
    /// Octets in them.
    bytes: u64,
    /// Messages sent back.
    echoed: u64,
    /// From the first message to the last.
    seconds: f64,
    /// The longest time from one message to the next.
    longest_gap_seconds: f64,
    /// What the association told besides its messages: paths that failed, a peer that restarted.
    notices: Vec<Notice>,
    /// Whether it was ended by ABORT, as the options wanted.
    aborted: bool,
    /// Why it did not end in order, or as the options wanted; `None` if it did.
    error: Option<String>,
    #[serde(skip)]
    longest_gap: Duration,
    #[serde(skip)]
    span: Option<(Instant, Instant)>,
}

impl Served {
    /// Nothing yet.
    pub(crate) fn new(association: &Association) -> Self {
        Self {
            peer: SocketAddr::new(association.peer_addresses()[0], association.peer_port()),
            received: 0,
            bytes: 0,
            echoed: 0,
            seconds: 0.0,
            longest_gap_seconds: 0.0,
            notices: Vec::new(),
            aborted: false,
            error: None,
            longest_gap: Duration::ZERO,
            span: None,
        }
    }

    /// Messages received so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// It was ended by ABORT, as the options wanted.
    pub(crate) fn set_aborted(&mut self) {
        self.aborted = true;
    }

    /// Counts a message that has come.
    pub(crate) fn count(&mut self, message: &ReceivedMessage) {
        self.received += 1;
        self.bytes += message.len() as u64;
        let now = Instant::now();
        let (_, last) = self.span.get_or_insert((now, now));
        self.longest_gap = self.longest_gap.max(now.saturating_duration_since(*last));
        *last = now;
    }

    /// Sends a message back as it came, on the stream of the same number.
    pub(crate) async fn echo(&mut self, association: &Association, message: ReceivedMessage) -> Result<(), SendError> {
        let ReceivedMessage { stream, ppid, unordered, .. } = message;
        let echo = Message::new(stream, message.into_bytes()).with_ppid(ppid).with_unordered(unordered);
        association.send(echo).await?;
        self.echoed += 1;
        Ok(())
    }

    /// How it ended.
    pub(crate) fn end(mut self, result: Result<()>, notices: Notices) -> Self {
        self.notices = notices.finish();
        self.longest_gap_seconds = self.longest_gap.as_secs_f64();
        self.seconds = self.span.map_or(0.0, |(first, last)| (last - first).as_secs_f64());
        self.error = result.err().as_ref().map(failure::sentence);
        self
    }

    fn line(&self) -> String {
        format!(
            "{}: {} messages ({:.2} MB) received in {:.3} s, {} echoed; {}",
            self.peer,
            table::thousands(self.received),
            self.bytes as f64 / 1e6,
            self.seconds,
            table::thousands(self.echoed),
            self.error.as_deref().unwrap_or(if self.aborted { "aborted" } else { "ended in order" })
        )
    }
}

/// Takes messages of an association until it ends or the program does.
#[derive(Debug)]
pub(crate) struct Inbox<'a> {
    association: &'a Association,
    notices: &'a mut Notices,
    stop: &'a Stop,
    batch: u32,
}

impl<'a> Inbox<'a> {
    /// The messages of `association`; its notices are taken down meanwhile.
    pub(crate) fn new(association: &'a Association, notices: &'a mut Notices, stop: &'a Stop) -> Self {
        Self { association, notices, stop, batch: 0 }
    }

    /// The next message; `None` at the end of the association, or when the program is told to end.
    pub(crate) async fn next(&mut self) -> Result<Option<ReceivedMessage>> {
        self.batch += 1;
        if self.batch.is_multiple_of(BATCH) {
            tokio::task::yield_now().await;
            if self.stop.is_wished() {
                return Ok(None);
            }
        }
        if let Some(message) = self.association.try_recv() {
            return Ok(Some(message));
        }
        loop {
            tokio::select! {
                message = self.association.recv() => return Ok(message?),
                () = self.stop.wished() => return Ok(None),
                () = self.notices.next() => {}
            }
        }
    }

    /// The next message, as [`next`](Self::next), but only until `deadline`; then `Err`.
    pub(crate) async fn next_until(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Result<Option<ReceivedMessage>>, tokio::time::error::Elapsed> {
        match deadline {
            Some(deadline) => timeout_at(deadline.into(), self.next()).await,
            None => Ok(self.next().await),
        }
    }
}

/// Opens the stack, listens, and has `handle` serve each association until the program is told to end.
pub(crate) async fn run<H, F>(stack: &StackOptions, options: &ServerOptions, handle: H) -> Result<()>
where
    H: Fn(Association, Notices, Stop) -> F,
    F: Future<Output = Served> + Send + 'static,
{
    let stop = Stop::on_signals()?;
    let node = Node::open(stack)?;
    let result = async {
        let listener = listen(&node, options, &stack.association).await?;
        print_line(&node.ready_line(options.port).await);
        let summary = serve(&node, listener, options, &stop, handle).await?;
        match options.json {
            true => print_json(&summary),
            false => print_line(&summary.table()),
        }
        Ok(())
    }
    .await;
    node.close_after(result).await
}

/// Listens on the port.
pub(crate) async fn listen(node: &Node, options: &ServerOptions, settings: &AssociationOptions) -> Result<Listener> {
    let config = settings.config(options.streams);
    Ok(node.stack().listen(options.port, ListenOptions::default().association(config)).await?)
}

/// Serves until `stop` or until the number of associations is reached.
pub(crate) async fn serve<H, F>(
    node: &Node,
    mut listener: Listener,
    options: &ServerOptions,
    stop: &Stop,
    handle: H,
) -> Result<Summary>
where
    H: Fn(Association, Notices, Stop) -> F,
    F: Future<Output = Served> + Send + 'static,
{
    let mut summary = Summary::new(options.port);
    let mut tasks = JoinSet::new();
    let mut left = options.associations.unwrap_or(u64::MAX);
    let result = loop {
        if left == 0 && tasks.is_empty() {
            break Ok(());
        }
        tokio::select! {
            association = listener.accept(), if left > 0 => match association {
                Ok(association) => {
                    left -= 1;
                    let notices = Notices::of(&association, options.json);
                    tasks.spawn(handle(association, notices, stop.clone()));
                }
                Err(error) => break Err(error.into()),
            },
            Some(served) = tasks.join_next() => summary.add(served?, options),
            () = stop.wished() => break Ok(()),
        }
    };
    drop(listener);
    // Each task ends its association in order, or says that it could not, within the grace.
    stop.now();
    while let Some(served) = tasks.join_next().await {
        summary.add(served?, options);
    }
    summary.set_stack(node.snapshot().await);
    result.map(|()| summary)
}

/// The result of a server. Its JSON form is the last line of the output with `--json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    /// Always `server`.
    role: &'static str,
    /// The SCTP port.
    port: u16,
    /// Associations that have ended.
    associations: u64,
    /// Of them, those that did not end in order.
    failed: u64,
    /// Messages received.
    received: u64,
    /// Octets in them.
    bytes: u64,
    /// Messages sent back.
    echoed: u64,
    /// From the first message to the last.
    seconds: f64,
    /// Messages received per second.
    messages_per_second: f64,
    /// Payload received per second in units of 10^6 bytes.
    megabytes_per_second: f64,
    /// Counters of the XDP programs; empty where there are none.
    xdp: BTreeMap<String, u64>,
    /// How the stack was bound to its interfaces; `None` in memory.
    af_xdp: Option<AfXdpSnapshot>,
    #[serde(skip)]
    span: Option<(Instant, Instant)>,
}

impl Summary {
    fn new(port: u16) -> Self {
        Self {
            role: "server",
            port,
            associations: 0,
            failed: 0,
            received: 0,
            bytes: 0,
            echoed: 0,
            seconds: 0.0,
            messages_per_second: 0.0,
            megabytes_per_second: 0.0,
            xdp: BTreeMap::new(),
            af_xdp: None,
            span: None,
        }
    }

    /// Adds an association that has ended, and says so.
    fn add(&mut self, served: Served, options: &ServerOptions) {
        match options {
            ServerOptions { quiet: true, .. } => {}
            ServerOptions { json: true, .. } => print_json(&serde_json::json!({ "ended": served })),
            _ => print_line(&served.line()),
        }
        self.associations += 1;
        self.failed += u64::from(served.error.is_some());
        self.received += served.received;
        self.bytes += served.bytes;
        self.echoed += served.echoed;
        self.span = match (self.span, served.span) {
            (Some((first, last)), Some((other_first, other_last))) => {
                Some((first.min(other_first), last.max(other_last)))
            }
            (one, other) => one.or(other),
        };
        let elapsed = self.span.map_or(Duration::ZERO, |(first, last)| last - first);
        self.seconds = elapsed.as_secs_f64();
        if elapsed > Duration::ZERO {
            self.messages_per_second = self.received as f64 / self.seconds;
            self.megabytes_per_second = self.bytes as f64 / 1e6 / self.seconds;
        }
    }

    fn set_stack(&mut self, snapshot: StackSnapshot) {
        self.xdp = snapshot.xdp;
        self.af_xdp = snapshot.af_xdp;
    }

    fn table(&self) -> String {
        let mut rows = table::Rows::default();
        let failed = match self.failed {
            0 => "all ended in order".to_owned(),
            failed => format!("{} did not end in order", table::thousands(failed)),
        };
        rows.add("associations", format!("{}, {failed}", table::thousands(self.associations)));
        rows.add(
            "messages",
            format!("{} received, {} echoed", table::thousands(self.received), table::thousands(self.echoed)),
        );
        rows.add("time", format!("{:.3} s", self.seconds));
        rows.add("throughput", table::throughput(self.messages_per_second, self.megabytes_per_second));
        table::add_stack(&mut rows, self.af_xdp.as_ref(), &self.xdp);
        rows.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(received: u64, error: Option<&str>) -> Served {
        let now = Instant::now();
        Served {
            peer: "10.0.0.1:49152".parse().unwrap(),
            received,
            bytes: 64 * received,
            echoed: received,
            seconds: 2.0,
            longest_gap_seconds: 0.0,
            notices: Vec::new(),
            aborted: false,
            error: error.map(str::to_owned),
            longest_gap: Duration::ZERO,
            span: Some((now, now + Duration::from_secs(2))),
        }
    }

    #[test]
    fn associations_add_up() {
        let mut summary = Summary::new(5001);
        let options = ServerOptions::quiet(5001);
        summary.add(served(1000, None), &ServerOptions { quiet: false, json: true, ..options.clone() });
        summary.add(served(2000, Some("the association is gone")), &options);
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json["role"], "server");
        assert_eq!(json["associations"], 2);
        assert_eq!(json["failed"], 1);
        assert_eq!(json["received"], 3000);
        assert_eq!(json["bytes"], 192_000);
        assert!(json["messages_per_second"].as_f64().unwrap() > 1000.0);
        let table = summary.table();
        assert!(table.contains("2, 1 did not end in order"), "{table}");
        assert!(table.contains("3 000 received, 3 000 echoed"), "{table}");
    }

    #[test]
    fn lines_say_how_it_ended() {
        let line = served(1000, None).line();
        assert_eq!(line, "10.0.0.1:49152: 1 000 messages (0.06 MB) received in 2.000 s, 1 000 echoed; ended in order");
        assert!(served(0, Some("aborted by the peer")).line().ends_with("; aborted by the peer"));
    }
}
