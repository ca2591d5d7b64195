//! The `sctp` command: options, subcommands, and how failures are told.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

mod drops;
mod echo;
mod failure;
mod node;
mod notices;
mod options;
mod perf;
mod progress;
mod recv;
mod send;
mod serve;
mod signals;
mod stats;
mod table;
mod values;
mod xdp;

/// SCTP (RFC 9260) over XDP and AF_XDP: echo, send, receive, measure, look inside.
#[derive(Debug, Parser)]
#[command(name = "sctp", version, propagate_version = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Return every message as it came
    #[command(after_help = ECHO_EXAMPLES)]
    Echo(echo::EchoOptions),
    /// Measure throughput and round-trip times, and check every message
    #[command(subcommand)]
    Perf(perf::PerfCommand),
    /// Send lines of standard input, or files, one message each
    #[command(after_help = SEND_EXAMPLES)]
    Send(send::SendOptions),
    /// Write messages that come to standard output or to files
    #[command(after_help = RECV_EXAMPLES)]
    Recv(recv::RecvOptions),
    /// Show counters, associations and paths of stacks that run
    #[command(after_help = STATS_EXAMPLES)]
    Stats(stats::StatsOptions),
    /// Show packets that stacks that run drop, and why
    #[command(after_help = DROPS_EXAMPLES)]
    Drops(drops::DropsOptions),
    /// Show, replace and detach XDP programs that were kept by --keep-program
    #[command(subcommand)]
    Xdp(xdp::XdpCommand),
}

/// Runs the command that the arguments name. Failures are one sentence on standard error and exit status 1; arguments that
/// cannot be understood give exit status 2.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", failure::sentence(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    log(command.verbosity());
    match command {
        Command::Stats(options) => stats::run(&options),
        Command::Drops(options) => drops::run(&options),
        Command::Xdp(command) => xdp::run(&command),
        // Clients are one task, and without locks fastest on one thread; servers have a task for each association.
        Command::Perf(command @ (perf::PerfCommand::Client(_) | perf::PerfCommand::Memory(_))) => {
            one_thread()?.block_on(perf::run(command))
        }
        Command::Send(options) => {
            let runtime = one_thread()?;
            let result = runtime.block_on(send::run(options));
            // Whoever reads standard input cannot be interrupted, and would keep the program until the next line.
            runtime.shutdown_background();
            result
        }
        Command::Perf(command) => many_threads()?.block_on(perf::run(command)),
        Command::Echo(options) => many_threads()?.block_on(echo::run(options)),
        Command::Recv(options) => many_threads()?.block_on(recv::run(options)),
    }
}

impl Command {
    fn verbosity(&self) -> u8 {
        let options = match self {
            Self::Echo(options) => &options.stack.verbosity,
            Self::Perf(perf::PerfCommand::Server(options)) => &options.stack.verbosity,
            Self::Perf(perf::PerfCommand::Client(options)) => &options.stack.verbosity,
            Self::Perf(perf::PerfCommand::Memory(options)) => &options.verbosity,
            Self::Send(options) => &options.stack.verbosity,
            Self::Recv(options) => &options.stack.verbosity,
            Self::Stats(options) => &options.verbosity,
            Self::Drops(options) => &options.verbosity,
            Self::Xdp(command) => &command.options().verbosity,
        };
        options.level
    }
}

/// Logs to standard error: warnings, or more as often as -v was given. `RUST_LOG` says otherwise in detail.
fn log(verbosity: u8) {
    let level = match verbosity {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
}

fn one_thread() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the async runtime")
}

fn many_threads() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("sctp-app")
        .build()
        .context("cannot start the async runtime")
}

const EXAMPLES: &str = "\
Examples:
  sudo sctp echo -i eth0 -p 7                              an echo server
  sudo sctp perf client -i eth0 10.0.0.2:7 --count 100k    messages per second and round-trip times against it
  sctp perf memory --count 100k                            the same without root and without a network
  sctp stats                                               what stacks that run are doing

Other protocols go on as before: the XDP program takes SCTP packets to ports in use, and nothing else.
It needs CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF, CAP_PERFMON and CAP_IPC_LOCK (sudo, or setcap on the program).";

const ECHO_EXAMPLES: &str = "\
Examples:
  sctp echo -i eth0 -p 7
  sctp echo -i eth0 --local-address 10.0.0.2 --profile signalling --capture echo.pcapng

When it is ready it prints
  listening on eth0 port 7 (AF_XDP copy mode, native XDP, 2 queues, 1 worker)
SIGINT and SIGTERM end its associations in order, within 2 s, and print a summary.";

const SEND_EXAMPLES: &str = "\
Examples:
  echo hello | sctp send -i eth0 10.0.0.2:5001
  sctp send -i eth0 10.0.0.2:5001 --ppid 60 --stream 3 ng-setup-request.bin
  sctp send -i eth0 '[fd00::2]:5001' *.bin

It ends when everything was acknowledged.";

const RECV_EXAMPLES: &str = "\
Examples:
  sctp recv -i eth0 -p 5001
  sctp recv -i eth0 -p 5001 --count 3 --out messages/
  sctp recv -i eth0 -p 5001 --quiet > lines.txt";

const STATS_EXAMPLES: &str = "\
Examples:
  sctp stats
  sctp stats -i eth0 --json | jq '.associations[].paths'
  sctp stats --queues                           what XDP counted, queue by queue
  ip netns exec ran sctp stats";

const DROPS_EXAMPLES: &str = "\
Examples:
  sudo sctp drops                               what is dropped within a second
  sudo sctp drops --follow --reason checksum --reason bad-tag
  sudo sctp drops --follow --json | jq .reason
  sudo sctp drops --for 10s --write drops.pcapng
  tshark -r drops.pcapng -T fields -e frame.comment

While somebody looks, each CPU shows at most 1000 dropped packets a second, by their first 128 bytes. Times are UTC.";

#[cfg(test)]
mod tests;
