//! The demonstration without root: both endpoints in one process, over a link in memory.

use std::time::Duration;

use anyhow::{Result, ensure};
use sctp_lab::process::here;
use sctp_lab::{Process, Sctp, is_root};
use tabled::builder::Builder;
use tabled::settings::Style;

use super::Options;

/// Runs the two endpoints against each other.
pub(super) fn run(options: &Options, sctp: &Sctp) -> Result<()> {
    if !is_root() {
        println!("Not root: no network namespaces, no XDP, no AF_XDP, no foreign peer.");
        println!("The whole demonstration: sudo -E env PATH=\"$PATH\" cargo xtask demo\n");
    }
    println!("The same two endpoints over a link in memory:");
    let mut command = here(sctp.program());
    command.args([
        "perf",
        "memory",
        "--mode",
        "echo",
        "--count",
        &options.messages.to_string(),
        "--size",
        &options.size,
    ]);
    command.args(["--streams", &options.streams.to_string(), "--json"]);
    let summary = Process::spawn(&mut command)?.summary(Duration::from_secs(300))?;
    ensure!(
        summary["verified"] == options.messages && summary["mismatched"] == 0 && summary["lost"] == 0,
        "not every message came back unchanged: {summary}"
    );
    let mut table = Builder::default();
    table.push_record(["messages", "messages/s", "MB/s", "round trip p50", "p99"]);
    let number = |path: &str| summary.pointer(path).and_then(serde_json::Value::as_f64).unwrap_or(f64::NAN);
    table.push_record([
        options.messages.to_string(),
        format!("{:.0}", number("/messages_per_second")),
        format!("{:.1}", number("/megabytes_per_second")),
        format!("{:.0} µs", number("/rtt_us/p50")),
        format!("{:.0} µs", number("/rtt_us/p99")),
    ]);
    println!("{}", table.build().with(Style::sharp()));
    println!("Every octet was compared.");
    Ok(())
}
