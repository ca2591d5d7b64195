//! Tables and figures as people like to read them.

use std::collections::BTreeMap;
use std::fmt;

use sctp_user::telemetry::AfXdpSnapshot;
use tabled::builder::Builder;
use tabled::settings::Style;

/// A table of names and values.
#[derive(Debug, Default)]
pub(crate) struct Rows(Vec<[String; 2]>);

impl Rows {
    /// Adds a row.
    pub(crate) fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push([name.into(), value.into()]);
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut builder = Builder::default();
        self.0.iter().for_each(|row| builder.push_record(row));
        let mut table = builder.build();
        table.with(Style::rounded().remove_horizontals());
        fmt::Display::fmt(&table, f)
    }
}

/// A whole number with its thousands apart: `1 234 567`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A time, given in microseconds, in the unit that suits it.
pub(crate) fn micros(microseconds: f64) -> String {
    match microseconds {
        few if few < 1e3 => format!("{few:.1} µs"),
        more if more < 1e6 => format!("{:.2} ms", more / 1e3),
        many => format!("{:.2} s", many / 1e6),
    }
}

/// How a stack is bound to its interfaces: `AF_XDP copy mode, native XDP, 2 queues, 1 worker`.
pub(crate) fn describe_af_xdp(af_xdp: &AfXdpSnapshot) -> String {
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    format!(
        "AF_XDP {} mode, {} XDP, {} queue{}, {} worker{}",
        af_xdp.mode,
        af_xdp.attach,
        af_xdp.queues,
        plural(af_xdp.queues),
        af_xdp.workers,
        plural(af_xdp.workers)
    )
}

/// Messages and payload per second.
pub(crate) fn throughput(messages: f64, megabytes: f64) -> String {
    format!("{} messages/s, {megabytes:.2} MB/s", thousands(messages.round() as u64))
}

/// Adds how a stack was bound, and the XDP counters that are not zero.
pub(crate) fn add_stack(rows: &mut Rows, af_xdp: Option<&AfXdpSnapshot>, xdp: &BTreeMap<String, u64>) {
    rows.add("link", af_xdp.map_or_else(|| "in memory".to_owned(), describe_af_xdp));
    let counted = xdp.iter().filter(|(_, count)| **count > 0);
    for (index, (name, count)) in counted.enumerate() {
        rows.add(if index == 0 { "XDP" } else { "" }, format!("{name} {}", thousands(*count)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1000), "1 000");
        assert_eq!(thousands(1_234_567), "1 234 567");
        assert_eq!(micros(12.34), "12.3 µs");
        assert_eq!(micros(1234.0), "1.23 ms");
        assert_eq!(micros(2_500_000.0), "2.50 s");
    }

    #[test]
    fn rows_become_a_table() {
        let mut rows = Rows::default();
        rows.add("name", "value");
        rows.add("", "more");
        let table = rows.to_string();
        assert_eq!(table.lines().count(), 4, "{table}");
        assert!(table.contains("name") && table.contains("more"), "{table}");
    }

    #[test]
    fn bindings() {
        let af_xdp = AfXdpSnapshot { mode: "copy".to_owned(), attach: "native".to_owned(), queues: 2, workers: 1 };
        assert_eq!(describe_af_xdp(&af_xdp), "AF_XDP copy mode, native XDP, 2 queues, 1 worker");
    }
}
