//! What a measurement came to: a table for people, an object of JSON for programs.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use sctp_user::telemetry::{AfXdpSnapshot, AssociationSnapshot, StackSnapshot};
use serde::Serialize;

use crate::cli::notices::Notice;
use crate::cli::table;

/// The result of `sctp perf client` and `sctp perf memory`. Its JSON form is the last line of their output with `--json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    /// `stream`, `echo` or `ping`.
    pub(crate) mode: &'static str,
    /// Sizes of the messages in bytes: `64`, or `1-65536`.
    pub(crate) size: String,
    /// Streams that the messages went over.
    pub(crate) streams: u16,
    /// Associations that shared the work.
    pub(crate) associations: u32,
    /// Messages sent.
    pub(crate) sent: u64,
    /// Messages that came back or, one way, that the server has counted.
    pub(crate) received: u64,
    /// Of them, those that were compared and found right; with one-way measurements all of them if the digests agree.
    pub(crate) verified: u64,
    /// Messages that came back with other contents, or that nobody waited for; with one-way measurements all that arrived
    /// if the digests differ.
    pub(crate) mismatched: u64,
    /// Messages that were sent and did not come.
    pub(crate) lost: u64,
    /// From the first message sent to the last one received.
    pub(crate) seconds: f64,
    /// Messages received per second.
    pub(crate) messages_per_second: f64,
    /// Payload received per second in units of 10^6 bytes; counted once, not there and back.
    pub(crate) megabytes_per_second: f64,
    /// Of all messages sent one way; see the documentation of the digest.
    pub(crate) digest_sent: Option<String>,
    /// Of all messages that the server received.
    pub(crate) digest_received: Option<String>,
    /// Times from sending a message to its echo; `None` in one-way measurements.
    pub(crate) rtt_us: Option<RoundTrip>,
    /// The longest time, on any one association, from one echo to the next; `None` in one-way measurements.
    pub(crate) longest_gap_seconds: Option<f64>,
    /// What the associations told besides their messages: paths that failed, a peer that restarted.
    pub(crate) notices: Vec<Notice>,
    /// Counters of the XDP programs on this side; empty where there are none.
    pub(crate) xdp: BTreeMap<String, u64>,
    /// How the stack was bound to its interfaces; `None` in memory.
    pub(crate) af_xdp: Option<AfXdpSnapshot>,
    /// The (first) association as it was at the end of the measurement.
    pub(crate) association: Option<AssociationSnapshot>,
    /// What went wrong, if something did; the same sentence is on standard error.
    pub(crate) error: Option<String>,
}

/// Round-trip times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct RoundTrip {
    /// Half of the messages were faster.
    pub(crate) p50: f64,
    /// 99 of 100 were faster.
    pub(crate) p99: f64,
    /// 999 of 1000 were faster.
    pub(crate) p999: f64,
    /// The slowest one.
    pub(crate) max: f64,
    /// The average.
    pub(crate) mean: f64,
}

impl RoundTrip {
    /// From times in nanoseconds; `None` if there are none.
    pub(crate) fn from_nanoseconds(times: &Histogram<u64>) -> Option<Self> {
        let micros = |nanoseconds: u64| nanoseconds as f64 / 1000.0;
        (!times.is_empty()).then(|| Self {
            p50: micros(times.value_at_quantile(0.5)),
            p99: micros(times.value_at_quantile(0.99)),
            p999: micros(times.value_at_quantile(0.999)),
            max: micros(times.max()),
            mean: times.mean() / 1000.0,
        })
    }
}

impl Summary {
    /// Sets what follows from the amount received in a time.
    pub(crate) fn set_throughput(&mut self, bytes_received: u64, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        let per_second = |amount: f64| if seconds > 0.0 { amount / seconds } else { 0.0 };
        self.seconds = seconds;
        self.messages_per_second = per_second(self.received as f64);
        self.megabytes_per_second = per_second(bytes_received as f64 / 1e6);
    }

    /// Takes over what the stack says about itself.
    pub(crate) fn set_stack(&mut self, snapshot: StackSnapshot) {
        self.xdp = snapshot.xdp;
        self.af_xdp = snapshot.af_xdp;
    }

    /// The table.
    pub(crate) fn table(&self) -> String {
        let mut rows = table::Rows::default();
        rows.add("mode", self.describe_mode());
        rows.add("messages", self.describe_messages());
        rows.add("contents", self.describe_contents());
        rows.add("time", format!("{:.3} s", self.seconds));
        rows.add("throughput", table::throughput(self.messages_per_second, self.megabytes_per_second));
        if let Some(rtt) = &self.rtt_us {
            let times = [("p50", rtt.p50), ("p99", rtt.p99), ("p99.9", rtt.p999), ("max", rtt.max)];
            let times = times.map(|(name, time)| format!("{name} {}", table::micros(time)));
            rows.add("round trip", times.join(", "));
        }
        if let Some(association) = &self.association {
            rows.add("association", describe_association(association));
        }
        table::add_stack(&mut rows, self.af_xdp.as_ref(), &self.xdp);
        rows.to_string()
    }

    fn describe_mode(&self) -> String {
        let plural = |count: u32, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
        let streams = plural(u32::from(self.streams), "stream");
        let associations = plural(self.associations, "association");
        format!("{}, {} bytes, {streams}, {associations}", self.mode, self.size)
    }

    fn describe_messages(&self) -> String {
        let back = if self.mode == "stream" { "arrived" } else { "came back" };
        let lost = match self.lost {
            0 => "none lost".to_owned(),
            lost => format!("{} LOST", table::thousands(lost)),
        };
        format!("{} sent, {} {back}, {lost}", table::thousands(self.sent), table::thousands(self.received))
    }

    fn describe_contents(&self) -> String {
        match (self.mismatched, self.verified) {
            (0, 0) if self.received == 0 => "none to compare".to_owned(),
            (0, 0) => "not compared".to_owned(),
            (0, verified) if self.digest_received.is_some() => {
                format!("{} verified by SHA-256 digest", table::thousands(verified))
            }
            (0, verified) => format!("{} compared byte by byte, all right", table::thousands(verified)),
            (wrong, right) => format!("{} right, {} WRONG", table::thousands(right), table::thousands(wrong)),
        }
    }
}

fn describe_association(association: &AssociationSnapshot) -> String {
    let counter = |name: &str| table::thousands(association.counters.get(name).copied().unwrap_or_default());
    let mut text = format!(
        "{} packets sent, {} received, {} chunks retransmitted",
        counter("packets_sent"),
        counter("packets_received"),
        counter("data_chunks_retransmitted")
    );
    if let Some(path) = association.paths.iter().find(|path| path.primary) {
        if let Some(srtt) = path.srtt_us {
            text.push_str(&format!("\nsmoothed RTT {}, ", table::micros(srtt as f64)));
        } else {
            text.push('\n');
        }
        text.push_str(&format!("cwnd {} bytes", table::thousands(u64::from(path.cwnd))));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A summary of 100 messages that went well.
    fn good() -> Summary {
        Summary {
            mode: "echo",
            size: "64".to_owned(),
            streams: 4,
            associations: 1,
            sent: 100,
            received: 100,
            verified: 100,
            mismatched: 0,
            lost: 0,
            seconds: 0.0,
            messages_per_second: 0.0,
            megabytes_per_second: 0.0,
            digest_sent: None,
            digest_received: None,
            longest_gap_seconds: None,
            notices: Vec::new(),
            rtt_us: Some(RoundTrip { p50: 50.0, p99: 99.5, p999: 1234.0, max: 2_500_000.0, mean: 60.0 }),
            xdp: BTreeMap::from([("redirected".to_owned(), 1234), ("bad_tag".to_owned(), 0)]),
            af_xdp: None,
            association: None,
            error: None,
        }
    }

    #[test]
    fn the_json_has_the_documented_members() {
        let mut summary = good();
        summary.af_xdp =
            Some(AfXdpSnapshot { mode: "copy".to_owned(), attach: "native".to_owned(), queues: 2, workers: 1 });
        let json = serde_json::to_value(&summary).unwrap();
        for member in [
            "mode",
            "size",
            "sent",
            "received",
            "verified",
            "mismatched",
            "lost",
            "seconds",
            "messages_per_second",
            "megabytes_per_second",
            "digest_sent",
            "digest_received",
            "rtt_us",
            "xdp",
            "af_xdp",
            "association",
            "error",
        ] {
            assert!(json.get(member).is_some(), "{member}");
        }
        assert_eq!(json["rtt_us"]["p999"], 1234.0);
        assert_eq!(json["xdp"]["redirected"], 1234);
        assert_eq!(json["af_xdp"], serde_json::json!({"mode": "copy", "attach": "native", "queues": 2, "workers": 1}));
        assert!(!serde_json::to_string(&summary).unwrap().contains('\n'));
    }

    #[test]
    fn throughput_is_per_second_in_millions() {
        let mut summary = good();
        summary.set_throughput(6_400_000, Duration::from_secs(2));
        assert_eq!((summary.messages_per_second, summary.megabytes_per_second), (50.0, 3.2));
        summary.set_throughput(0, Duration::ZERO);
        assert_eq!((summary.messages_per_second, summary.megabytes_per_second), (0.0, 0.0));
    }

    #[test]
    fn the_table_says_what_is_right_and_what_is_wrong() {
        let table = good().table();
        for part in [
            "100 sent, 100 came back, none lost",
            "100 compared byte by byte",
            "p50 50.0 µs",
            "max 2.50 s",
            "redirected 1 234",
        ] {
            assert!(table.contains(part), "{part} in\n{table}");
        }
        assert!(!table.contains("bad_tag"), "{table}");
        let table = Summary { mismatched: 3, lost: 2, ..good() }.table();
        for part in ["2 LOST", "3 WRONG"] {
            assert!(table.contains(part), "{part} in\n{table}");
        }
    }

    #[test]
    fn round_trips_come_from_the_histogram() {
        let mut times = Histogram::new(3).unwrap();
        assert_eq!(RoundTrip::from_nanoseconds(&times), None);
        for microseconds in 1..=1000_u64 {
            times.record(microseconds * 1000).unwrap();
        }
        let rtt = RoundTrip::from_nanoseconds(&times).unwrap();
        for (value, right) in [(rtt.p50, 500.0), (rtt.p99, 990.0), (rtt.p999, 999.0), (rtt.max, 1000.0)] {
            assert!((value - right).abs() < right / 500.0, "{value} for {right}");
        }
    }
}
