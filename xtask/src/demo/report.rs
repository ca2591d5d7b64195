//! The closing table.

use anyhow::{Context, Result};
use sctp_lab::sctp::Counters;
use serde_json::Value;
use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Style};

use super::traffic::Outcome;

/// What was measured in all.
#[derive(Default)]
pub(super) struct Report {
    pub(super) rows: Vec<Row>,
    af_xdp: Value,
    counters: Counters,
}

/// One kind of traffic.
pub(super) struct Row {
    pub(super) label: &'static str,
    messages_per_second: f64,
    megabytes_per_second: f64,
    p50: f64,
    p99: f64,
}

impl Row {
    /// From the summaries of many messages at once and of messages one at a time.
    pub(super) fn new(label: &'static str, echo: &Value, ping: &Value) -> Result<Self> {
        let number = |summary: &Value, path: &str| {
            summary
                .pointer(path)
                .and_then(Value::as_f64)
                .with_context(|| format!("the summary lacks {path}: {summary}"))
        };
        Ok(Self {
            label,
            messages_per_second: number(echo, "/messages_per_second")?,
            megabytes_per_second: number(echo, "/megabytes_per_second")?,
            p50: number(ping, "/rtt_us/p50")?,
            p99: number(ping, "/rtt_us/p99")?,
        })
    }
}

impl Report {
    pub(super) fn set_af_xdp(&mut self, outcome: &Outcome) {
        self.af_xdp = outcome.af_xdp.clone();
    }

    pub(super) fn set_counters(&mut self, counters: Counters) {
        self.counters = counters;
    }

    pub(super) fn print(&self) {
        let mut table = Builder::default();
        table.push_record(["echo, client → server", "messages/s", "MB/s", "round trip p50", "p99"]);
        for row in &self.rows {
            table.push_record([
                row.label.to_owned(),
                format!("{:.0}", row.messages_per_second),
                format!("{:.1}", row.megabytes_per_second),
                format!("{:.0} µs", row.p50),
                format!("{:.0} µs", row.p99),
            ]);
        }
        let mut table = table.build();
        table.with(Style::sharp()).modify(Columns::new(1..), Alignment::right());
        println!("\n{table}");

        let text = |name: &str| self.af_xdp[name].as_str().unwrap_or("?").to_owned();
        let number = |name: &str| self.af_xdp[name].as_u64().unwrap_or_default();
        println!(
            "AF_XDP: {} mode, {} XDP, {} queues, {} workers at each end.",
            text("mode"),
            text("attach"),
            number("queues"),
            number("workers")
        );
        // What the AF_XDP sockets count stands beside the program's own counters.
        let verdicts = self.counters.iter().filter(|(name, _)| !name.starts_with("xsk_"));
        let verdicts: Vec<_> = verdicts.map(|(name, count)| format!("{name} {count}")).collect();
        println!("XDP verdicts at our server (runs 1 and 2): {}.", verdicts.join(", "));
    }
}
