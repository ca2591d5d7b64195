//! `cargo xtask bench`: our stack and usrsctp on the same cable, in one run, on one machine. `cargo xtask bench xdp`: the XDP program alone.
//! `cargo xtask bench floods`: our stack beside [floods] of garbage.
//!
//! Wall-clock figures of a shared machine wander, so the two take turns and the median of the rounds counts; ratios come first.

mod floods;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use sctp_lab::peer::target_directory;
use sctp_lab::veth::Family;
use sctp_lab::{Pair, PairConfig, Process, Sctp, interrupt, kernel, peer};
use serde::Serialize;
use serde_json::Value;
use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Style};

use crate::cargo;
use crate::setup::{self, Purpose};

/// What to measure.
#[derive(Debug, Args, Serialize)]
pub(crate) struct Options {
    /// What to measure instead of the whole stack.
    #[command(subcommand)]
    #[serde(skip)]
    part: Option<Part>,
    /// Message sizes, octets.
    #[arg(long, value_delimiter = ',', default_value = "64,1024,1400,16384")]
    sizes: Vec<u32>,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Rounds; the median of them counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Queues of each interface.
    #[arg(long, default_value_t = 1)]
    queues: u16,
}

/// A part of the whole.
#[derive(Clone, Debug, Subcommand)]
enum Part {
    /// The XDP program: nanoseconds for each kind of packet, by runs in the kernel without a network
    Xdp(XdpOptions),
    /// Our stack beside floods of garbage: messages per second, alone and then
    Floods(floods::Options),
}

/// What to measure the XDP program against.
#[derive(Args, Clone, Debug)]
struct XdpOptions {
    /// An object of another version of the program (target/bpf/bpfel-unknown-none/release/sctp-ebpf), to be measured in turn with this one
    #[arg(long)]
    against: Option<PathBuf>,
    /// Only rows with this in their name and number of bytes
    #[arg(long)]
    rows: Option<String>,
}

/// The port that servers listen on.
const PORT: u16 = 5000;

/// Messages of a measurement of round trips.
const PINGS: &str = "10000";

/// How long a server may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Measures, prints, and writes JSON.
///
/// # Errors
/// Without root, or if a measurement fails: a figure of messages that did not arrive would be none.
pub(crate) fn run(options: &Options) -> Result<()> {
    match &options.part {
        Some(Part::Xdp(options)) => return xdp(options),
        Some(Part::Floods(options)) => return floods::run(options),
        None => {}
    }
    setup::ensure(Purpose::Lab)?;
    cargo::require_root("bench")?;
    ensure!(options.rounds > 0 && options.seconds > 0, "at least one round of at least one second");
    let sctp = Sctp::build()?;
    let (server, client) = (peer::usrsctp_server()?, peer::usrsctp_client()?);
    sctp_lab::sweep()?;
    let pair = Pair::create("bench", &PairConfig { queues: options.queues, ..PairConfig::default() })?;
    let bench = Bench { options, sctp: &sctp, usrsctp_server: &server, usrsctp_client: &client, pair: &pair };

    let mut results = Vec::new();
    for &size in &options.sizes {
        let stacks = [Stack::Ours, Stack::Usrsctp];
        let mut rounds = BTreeMap::from(stacks.map(|stack| (stack, Vec::new())));
        for round in 1..=options.rounds {
            for stack in stacks {
                println!("one way, {size} octets, round {round} of {}: {}", options.rounds, stack.name());
                rounds.entry(stack).or_default().push(bench.one_way(stack, size)?);
            }
        }
        let median = |stack| median(&rounds[&stack]);
        results.push(OneWay { size, ours: median(Stack::Ours), usrsctp: median(Stack::Usrsctp), rounds });
    }
    println!("round trips, 64 octets");
    let round_trips = RoundTrips { ours: bench.round_trips(Stack::Ours)?, usrsctp: bench.round_trips(Stack::Usrsctp)? };
    drop(pair);

    let report = Report { machine: Machine::here()?, options, one_way: &results, round_trips };
    report.print();
    report.write()
}

/// Has the tests of the program print what they measure.
fn xdp(options: &XdpOptions) -> Result<()> {
    setup::ensure(Purpose::Lab)?;
    cargo::require_root("bench xdp")?;
    let test = ["test", "--package", "sctp-tests", "--test", "xdp_program"];
    let figures = ["--", "speed::", "--nocapture", "--test-threads", "1"];
    let mut command = cargo::cargo(&[&test[..], &figures[..]].concat());
    if let Some(object) = &options.against {
        command.env("SCTP_XDP_AGAINST", object.canonicalize().with_context(|| object.display().to_string())?);
    }
    if let Some(rows) = &options.rows {
        command.env("SCTP_XDP_ROWS", rows);
    }
    cargo::run(&mut command)
}

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Stack {
    Ours,
    Usrsctp,
}

impl Stack {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "our stack over AF_XDP",
            Self::Usrsctp => "usrsctp over raw IP",
        }
    }
}

/// What one measurement of throughput came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Rate {
    messages_per_second: f64,
    megabytes_per_second: f64,
}

/// All measurements of one message size.
#[derive(Debug, Serialize)]
struct OneWay {
    size: u32,
    ours: Rate,
    usrsctp: Rate,
    rounds: BTreeMap<Stack, Vec<Rate>>,
}

/// Microseconds.
#[derive(Debug, Serialize)]
struct Quantiles {
    p50: f64,
    p99: f64,
    p999: f64,
}

#[derive(Debug, Serialize)]
struct RoundTrips {
    ours: Quantiles,
    usrsctp: Quantiles,
}

struct Bench<'a> {
    options: &'a Options,
    sctp: &'a Sctp,
    usrsctp_server: &'a Path,
    usrsctp_client: &'a Path,
    pair: &'a Pair,
}

impl Bench<'_> {
    /// Messages in one direction for some seconds; the time until the last is acknowledged counts.
    fn one_way(&self, stack: Stack, size: u32) -> Result<Rate> {
        let (size, seconds) = (size.to_string(), self.options.seconds.to_string());
        let summary = match stack {
            Stack::Ours => {
                let _server = self.our_server(&["perf", "server"])?;
                let duration = format!("{seconds}s");
                self.our_client(&["--mode", "stream", "--no-verify", "--size", &size, "--duration", &duration])?
            }
            Stack::Usrsctp => {
                let _server = self.their_server(&["--sink", "--no-verify"])?;
                self.their_client(&[
                    "--mode",
                    "sink",
                    "--no-verify",
                    "--count",
                    "0",
                    "--size",
                    &size,
                    "--duration",
                    &seconds,
                ])?
            }
        };
        Ok(Rate {
            messages_per_second: number(&summary, "/messages_per_second")?,
            megabytes_per_second: number(&summary, "/megabytes_per_second")?,
        })
    }

    /// One message of 64 octets at a time, there and back.
    fn round_trips(&self, stack: Stack) -> Result<Quantiles> {
        let summary = match stack {
            Stack::Ours => {
                let _server = self.our_server(&["echo"])?;
                self.our_client(&["--mode", "ping", "--size", "64", "--count", PINGS])?
            }
            Stack::Usrsctp => {
                let _server = self.their_server(&[])?;
                self.their_client(&["--mode", "ping", "--size", "64", "--count", PINGS])?
            }
        };
        Ok(Quantiles {
            p50: number(&summary, "/rtt_us/p50")?,
            p99: number(&summary, "/rtt_us/p99")?,
            p999: number(&summary, "/rtt_us/p999")?,
        })
    }

    fn limit(&self) -> Duration {
        Duration::from_secs(self.options.seconds) + Duration::from_secs(60)
    }

    fn our_server(&self, subcommand: &[&str]) -> Result<Process> {
        Ok(self.sctp.serve(&self.pair.right, subcommand, &["-p", &PORT.to_string()])?.0)
    }

    fn our_client(&self, arguments: &[&str]) -> Result<Value> {
        interrupt::check()?;
        let address = self.pair.right.socket_address(Family::Ipv4, PORT);
        let mut client = self.sctp.perf_client(&self.pair.left, address, arguments)?;
        let summary = client.summary(self.limit())?;
        ensure!(summary["lost"] == 0 && summary["mismatched"] == 0, "messages were lost or changed: {summary}");
        Ok(summary)
    }

    fn their_server(&self, arguments: &[&str]) -> Result<Process> {
        let mut command = self.pair.right.namespace.command(self.usrsctp_server);
        command.args(["--port", &PORT.to_string(), "--local", &self.pair.right.ipv4.to_string()]).args(arguments);
        let mut server = Process::spawn(&mut command)?;
        server.wait_for_line("listening", PATIENCE)?;
        Ok(server)
    }

    fn their_client(&self, arguments: &[&str]) -> Result<Value> {
        interrupt::check()?;
        let mut command = self.pair.left.namespace.command(self.usrsctp_client);
        command.args(["--port", &PORT.to_string(), "--local", &self.pair.left.ipv4.to_string()]).args(arguments);
        Process::spawn(command.arg(self.pair.right.ipv4.to_string()))?.summary(self.limit())
    }
}

/// What was measured, and where.
#[derive(Debug, Serialize)]
struct Report<'a> {
    machine: Machine,
    options: &'a Options,
    one_way: &'a [OneWay],
    round_trips: RoundTrips,
}

impl Report<'_> {
    fn print(&self) {
        let mut table = Builder::default();
        table.push_record(["one way, octets", "ratio", "ours, messages/s", "MB/s", "usrsctp, messages/s", "MB/s"]);
        for OneWay { size, ours, usrsctp, .. } in self.one_way {
            table.push_record([
                size.to_string(),
                format!("{:.2}", ours.messages_per_second / usrsctp.messages_per_second),
                format!("{:.0}", ours.messages_per_second),
                format!("{:.1}", ours.megabytes_per_second),
                format!("{:.0}", usrsctp.messages_per_second),
                format!("{:.1}", usrsctp.megabytes_per_second),
            ]);
        }
        print_table(table);

        let RoundTrips { ours, usrsctp } = &self.round_trips;
        let mut table = Builder::default();
        table.push_record(["round trip, 64 octets", "ratio", "ours", "usrsctp"]);
        for (name, ours, usrsctp) in
            [("p50", ours.p50, usrsctp.p50), ("p99", ours.p99, usrsctp.p99), ("p99.9", ours.p999, usrsctp.p999)]
        {
            let row = [
                name.to_owned(),
                format!("{:.2}", ours / usrsctp),
                format!("{ours:.0} µs"),
                format!("{usrsctp:.0} µs"),
            ];
            table.push_record(row);
        }
        print_table(table);
        let Machine { processor, cores, kernel, .. } = &self.machine;
        println!(
            "{cores} × {processor}, Linux {kernel}; veth, one association. More than 1 is faster one way, slower in round trips."
        );
    }

    fn write(&self) -> Result<()> {
        let directory = target_directory().join("bench");
        std::fs::create_dir_all(&directory)?;
        let file = directory.join(format!("{}.json", self.machine.unix_time));
        std::fs::write(&file, serde_json::to_string_pretty(self)?).with_context(|| file.display().to_string())?;
        println!("{}", cargo::shown(&file));
        Ok(())
    }
}

/// Where it was measured.
#[derive(Debug, Serialize)]
struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
    /// Processes ready to run, on the average of a minute, when the measurement ended.
    load: String,
    unix_time: u64,
}

impl Machine {
    fn here() -> Result<Self> {
        let processors = std::fs::read_to_string("/proc/cpuinfo")?;
        let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let load = std::fs::read_to_string("/proc/loadavg")?;
        Ok(Self {
            processor: model.map_or("unknown processor", |(_, name)| name).to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            kernel: kernel::version()?.1,
            load: load.split(' ').next().unwrap_or_default().to_owned(),
            unix_time: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        })
    }
}

fn print_table(table: Builder) {
    let mut table = table.build();
    println!("\n{}", table.with(Style::sharp()).modify(Columns::new(1..), Alignment::right()));
}

fn number(summary: &Value, path: &str) -> Result<f64> {
    let number = summary.pointer(path).and_then(Value::as_f64);
    number.filter(|number| *number > 0.0).with_context(|| format!("{path} is missing or zero in {summary}"))
}

/// The round in the middle, by messages per second.
fn median(rounds: &[Rate]) -> Rate {
    let mut rounds = rounds.to_vec();
    rounds.sort_by(|left, right| left.messages_per_second.total_cmp(&right.messages_per_second));
    rounds[rounds.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_median_is_one_of_the_rounds() {
        let rate = |messages_per_second| Rate { messages_per_second, megabytes_per_second: messages_per_second / 10.0 };
        assert_eq!(median(&[rate(3.0), rate(1.0), rate(2.0)]), rate(2.0));
        assert_eq!(median(&[rate(1.0)]), rate(1.0));
    }

    #[test]
    fn a_figure_that_is_missing_or_zero_is_an_error() {
        let summary = json!({"rtt_us": {"p50": 1.5}, "messages_per_second": 0.0});
        assert_eq!(number(&summary, "/rtt_us/p50").unwrap(), 1.5);
        assert!(number(&summary, "/rtt_us/p99").is_err());
        assert!(number(&summary, "/messages_per_second").is_err());
    }
}
