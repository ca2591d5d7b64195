//! `cargo xtask bench floods`: messages between two of our stacks on one cable, alone and beside floods of garbage to the one that serves.
//!
//! The generator has a processor of its own, on which the XDP program judges its frames, since over veth a frame is received on the processor
//! that sent it; client and server have the others. With `--shared` all share all, and the ratio tells how they do, more than what a
//! flood costs a host that serves.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use sctp_lab::flood::{self, Flood, Garbage};
use sctp_lab::peer::target_directory;
use sctp_lab::veth::Family;
use sctp_lab::{Pair, PairConfig, Process, Sctp, cpus, interrupt};
use serde::Serialize;
use serde_json::Value;
use tabled::builder::Builder;

use super::{Machine, PORT, number, print_table};
use crate::cargo;
use crate::setup::{self, Purpose};

/// How floods are measured.
#[derive(Clone, Copy, Debug, Args, Serialize)]
pub(crate) struct Options {
    /// Seconds of each measurement
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Frames of garbage per second, if the machine allows
    #[arg(long, default_value_t = 300_000)]
    rate: u32,
    /// Octets of each message
    #[arg(long, default_value_t = 64)]
    size: u32,
    /// Rounds; the median of their ratios counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Let the generator share the processors of client and server
    #[arg(long)]
    shared: bool,
}

/// The client's port, which some of the garbage pretends to come from.
const CLIENT_PORT: u16 = 6000;

/// Before and after a measurement the flood flows by itself so long.
const MARGIN: Duration = Duration::from_millis(300);

/// Measures, prints, and writes JSON.
///
/// # Errors
/// Without root, or if messages are lost.
pub(super) fn run(options: &Options) -> Result<()> {
    setup::ensure(Purpose::Lab)?;
    cargo::require_root("bench floods")?;
    ensure!(options.rounds > 0 && options.seconds > 0, "at least one round of at least one second");
    let sctp = Sctp::build()?;
    sctp_lab::sweep()?;
    let pair = Pair::create("bench-floods", &PairConfig::default())?;
    flood::route_back(&pair.right, &pair.left)?;
    let machine = Machine::here()?;
    let generator = if options.shared { None } else { Some(set_generator_apart()?) };
    let bench = Bench { options, sctp: &sctp, pair: &pair, generator };
    let mut rows = Vec::new();
    for garbage in Garbage::ALL {
        let mut rounds = Vec::new();
        for round in 1..=options.rounds {
            println!("{}, round {round} of {}", garbage.name(), options.rounds);
            rounds.push(bench.round(garbage)?);
        }
        rounds.sort_by(|left, right| left.ratio().total_cmp(&right.ratio()));
        rows.push(rounds.swap_remove(rounds.len() / 2));
    }
    drop(pair);
    let report = Report { machine, options, rows };
    report.print();
    report.write()
}

/// Takes the last processor from this thread, and from what it starts from now on.
fn set_generator_apart() -> Result<usize> {
    let mut rest = cpus::allowed()?;
    let generator = rest.pop().context("no processor")?;
    ensure!(
        !rest.is_empty(),
        "there is one processor only, which generator, client and server have to share: --shared"
    );
    cpus::keep_to(&rest)?;
    Ok(generator)
}

struct Bench<'a> {
    options: &'a Options,
    sctp: &'a Sctp,
    pair: &'a Pair,
    /// The generator's processor, if it has one for itself.
    generator: Option<usize>,
}

/// What the server has done until some moment.
struct Reading {
    at: Instant,
    cpu: Duration,
    /// Packets that XDP has counted as this garbage.
    judged: u64,
    /// Packets that workers have answered without an association: INITs.
    answered: u64,
    /// Packets that found no room on the way to a worker.
    lost: u64,
}

/// One kind of garbage, once.
#[derive(Clone, Debug, Serialize)]
struct Row {
    garbage: &'static str,
    mpps_offered: f64,
    mpps_judged: f64,
    messages_per_second_alone: f64,
    messages_per_second_beside: f64,
    /// Of one processor, 1 being all of it.
    server_cpu_alone: f64,
    server_cpu_beside: f64,
    answered_per_second: f64,
    lost_before_workers_per_second: f64,
}

impl Row {
    fn ratio(&self) -> f64 {
        self.messages_per_second_beside / self.messages_per_second_alone
    }
}

impl Bench<'_> {
    fn round(&self, garbage: Garbage) -> Result<Row> {
        let port = PORT.to_string();
        let (left, right) = (&self.pair.left, &self.pair.right);
        let (server, _) = self.sctp.serve(right, &["perf", "server"], &["-p", &port])?;
        let before = self.read(&server, garbage)?;
        let alone = self.client()?;
        let middle = self.read(&server, garbage)?;
        let frames = garbage.frames(left, right, Family::Ipv4, CLIENT_PORT, PORT);
        let flood = Flood::start_on(self.generator, left, frames, Some(self.options.rate))?;
        std::thread::sleep(MARGIN);
        let begin = self.read(&server, garbage)?;
        let beside = self.client()?;
        let end = self.read(&server, garbage)?;
        std::thread::sleep(MARGIN);
        let flooded = flood.stop()?;
        let seconds = (end.at - begin.at).as_secs_f64();
        let per_second = |end: u64, begin: u64| end.saturating_sub(begin) as f64 / seconds;
        Ok(Row {
            garbage: garbage.name(),
            mpps_offered: flooded.mpps(),
            mpps_judged: per_second(end.judged, begin.judged) / 1e6,
            messages_per_second_alone: number(&alone, "/messages_per_second")?,
            messages_per_second_beside: number(&beside, "/messages_per_second")?,
            server_cpu_alone: share(&before, &middle),
            server_cpu_beside: share(&begin, &end),
            answered_per_second: per_second(end.answered, begin.answered),
            lost_before_workers_per_second: per_second(end.lost, begin.lost),
        })
    }

    /// Our client for some seconds. Every message must arrive.
    fn client(&self) -> Result<Value> {
        interrupt::check()?;
        let Options { seconds, size, .. } = *self.options;
        let (duration, size, port) = (format!("{seconds}s"), size.to_string(), CLIENT_PORT.to_string());
        let options =
            ["--mode", "stream", "--no-verify", "--size", &size, "--duration", &duration, "--local-port", &port];
        let address = self.pair.right.socket_address(Family::Ipv4, PORT);
        let mut client =
            self.sctp.perf_client(&self.pair.left, address, &[&options[..], &["--timeout", "60s"]].concat())?;
        let summary = client.summary(Duration::from_secs(seconds + 120))?;
        ensure!(summary["lost"] == 0 && summary["mismatched"] == 0, "messages were lost or changed: {summary}");
        Ok(summary)
    }

    fn read(&self, server: &Process, garbage: Garbage) -> Result<Reading> {
        let stats = self.sctp.stats(&self.pair.right)?;
        let counter = |name: &str| stats["xdp"][name].as_u64().unwrap_or(0);
        let workers = stats["workers"].as_array().context("the server tells nothing of its workers")?;
        Ok(Reading {
            at: Instant::now(),
            cpu: server.cpu_time()?,
            judged: garbage.counters().iter().map(|name| counter(name)).sum(),
            answered: workers.iter().filter_map(|worker| worker["answered"].as_u64()).sum(),
            lost: counter("xsk_receive_ring_full") + counter("xsk_receive_dropped"),
        })
    }
}

/// The share of a processor that the server has had between two readings.
fn share(from: &Reading, to: &Reading) -> f64 {
    (to.cpu - from.cpu).as_secs_f64() / (to.at - from.at).as_secs_f64()
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    machine: Machine,
    options: &'a Options,
    rows: Vec<Row>,
}

impl Report<'_> {
    fn print(&self) {
        let mut table = Builder::default();
        table.push_record([
            "garbage",
            "ratio",
            "messages/s alone",
            "beside",
            "Mpps offered",
            "judged",
            "server's CPU alone",
            "beside",
            "answered/s",
            "no room/s",
        ]);
        for row in &self.rows {
            table.push_record([
                row.garbage.to_owned(),
                format!("{:.2}", row.ratio()),
                format!("{:.0}", row.messages_per_second_alone),
                format!("{:.0}", row.messages_per_second_beside),
                format!("{:.3}", row.mpps_offered),
                format!("{:.3}", row.mpps_judged),
                format!("{:.2}", row.server_cpu_alone),
                format!("{:.2}", row.server_cpu_beside),
                format!("{:.0}", row.answered_per_second),
                format!("{:.0}", row.lost_before_workers_per_second),
            ]);
        }
        print_table(table);
        let Machine { processor, cores, kernel, load, .. } = &self.machine;
        println!(
            "{cores} × {processor}, Linux {kernel}, load {load}; veth, one association, {} octets.",
            self.options.size
        );
        let whose = match self.options.shared {
            true => "generator, client and server share them",
            false => "the generator has one for itself, client and server the others",
        };
        println!("Of the processors, {whose}; XDP judges garbage on the generator's. No message was lost in any run.");
    }

    fn write(&self) -> Result<()> {
        let directory = target_directory().join("bench");
        std::fs::create_dir_all(&directory)?;
        let file = directory.join(format!("floods-{}.json", self.machine.unix_time));
        std::fs::write(&file, serde_json::to_string_pretty(self)?).with_context(|| file.display().to_string())?;
        println!("{}", cargo::shown(&file));
        Ok(())
    }
}
