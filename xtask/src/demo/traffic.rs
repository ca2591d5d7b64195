//! Messages there and back, every octet compared, with a progress bar.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use sctp_lab::veth::Family;
use sctp_lab::{Host, Pair, Process, Sctp, interrupt};
use serde_json::Value;

use super::report::Row;
use super::{Options, PORT, capture_option};

/// How long one run may take.
const LIMIT: Duration = Duration::from_secs(300);

/// How long a run may show no progress.
const STALL: Duration = Duration::from_secs(15);

/// Messages of the measurement of round trips, one after the other.
const PINGS: u64 = 5_000;

/// Messages outstanding.
const WINDOW: &str = "256";

/// Traffic of our client with an echo server.
pub(super) struct Traffic<'a> {
    pub(super) options: &'a Options,
    pub(super) sctp: &'a Sctp,
    pub(super) client: &'a Host,
    pub(super) server: &'a Host,
    /// Of the capture.
    pub(super) name: &'a str,
}

/// What our client's run came to.
pub(super) struct Outcome {
    pub(super) row: Row,
    /// How our client was bound to its interface.
    pub(super) af_xdp: Value,
}

impl Traffic<'_> {
    /// Sends messages and gets them back; then one at a time, for the round trips.
    pub(super) fn run(&self, label: &'static str) -> Result<Outcome> {
        let Options { messages, size, streams, .. } = self.options;
        let (messages, streams) = (messages.to_string(), streams.to_string());
        let capture = capture_option(self.options, self.name);
        let mut arguments = vec!["--mode", "echo", "--count", &messages, "--size", size];
        arguments.extend(["--streams", &streams, "--window", WINDOW]);
        arguments.extend(capture.iter().map(String::as_str));
        let summary = self.measure(self.options.messages, &arguments)?;
        print_handshake_and_echoes(&summary)?;

        let pings = PINGS.to_string();
        let ping = self.measure(PINGS, &["--mode", "ping", "--count", &pings, "--size", "64"])?;
        Ok(Outcome { row: Row::new(label, &summary, &ping)?, af_xdp: summary["af_xdp"].clone() })
    }

    /// Runs the client to its end with a progress bar, and returns its summary if all came back unchanged.
    fn measure(&self, messages: u64, arguments: &[&str]) -> Result<Value> {
        let address = self.server.socket_address(Family::Ipv4, PORT);
        let mut client = self.sctp.perf_client(self.client, address, arguments)?;
        let summary = follow(&mut client, messages)?;
        let count = |name: &str| summary[name].as_u64().with_context(|| format!("the summary lacks {name}: {summary}"));
        ensure!(
            count("verified")? == messages && count("mismatched")? == 0 && count("lost")? == 0,
            "not every message came back unchanged: {summary}"
        );
        Ok(summary)
    }
}

/// Lets usrsctp's client send messages to our server and check what comes back.
pub(super) fn run_usrsctp(label: &'static str, options: &Options, program: &Path, pair: &Pair) -> Result<Row> {
    let run = |messages: u64, more: &[&str]| -> Result<Value> {
        let mut command = pair.left.namespace.command(program);
        command.args(["--port", &PORT.to_string(), "--local", &pair.left.ipv4.to_string()]);
        command.args(["--count", &messages.to_string()]).args(more).arg(pair.right.ipv4.to_string());
        let mut client = Process::spawn(&mut command)?;
        let spinner = ProgressBar::new_spinner().with_message(format!("{messages} messages"));
        spinner.enable_steady_tick(Duration::from_millis(100));
        let summary = client.summary(LIMIT);
        spinner.finish_and_clear();
        let summary = summary?;
        ensure!(summary["succeeded"] == true, "not every message came back to usrsctp unchanged: {summary}");
        Ok(summary)
    };
    let streams = options.streams.to_string();
    let echo = ["--mode", "echo", "--size", &options.size, "--streams", &streams, "--window", WINDOW];
    let summary = run(options.messages, &echo)?;
    println!(
        "   ✓ {} messages of {} octets came back to usrsctp, every octet compared",
        options.messages, options.size
    );
    let ping = run(PINGS, &["--mode", "ping", "--size", "64"])?;
    Row::new(label, &summary, &ping)
}

/// Shows the progress lines of a client as a bar until its last line, the summary.
fn follow(client: &mut Process, messages: u64) -> Result<Value> {
    let bar = ProgressBar::new(messages);
    let template = "   [{bar:40}] {human_pos}/{human_len} messages  {per_sec}";
    bar.set_style(ProgressStyle::with_template(template)?.progress_chars("=> "));
    while let Some(line) = client.next_line(STALL).inspect_err(|_| bar.abandon())? {
        let line: Value = serde_json::from_str(&line).with_context(|| format!("no JSON: {line}"))?;
        if let Some(received) = line["progress"]["received"].as_u64() {
            bar.set_position(received);
        }
    }
    bar.finish_and_clear();
    interrupt::check()?;
    client.summary(LIMIT)
}

fn print_handshake_and_echoes(summary: &Value) -> Result<()> {
    let verified = summary["verified"].as_u64().context("verified")?;
    let association = &summary["association"];
    if association.is_null() {
        bail!("the summary tells nothing of the association: {summary}");
    }
    println!(
        "   ✓ handshake done: {} streams out, {} in",
        association["outbound_streams"], association["inbound_streams"]
    );
    println!(
        "   ✓ {verified} messages of {} octets came back, every octet compared",
        summary["size"].as_str().unwrap_or("?")
    );
    Ok(())
}
