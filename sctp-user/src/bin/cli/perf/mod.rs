//! `sctp perf`: measures messages per second, bytes per second and round-trip times, and checks every message.
//!
//! | module | holds |
//! |---|---|
//! | [`client`], [`server`], [`memory`] | the subcommands |
//! | [`work`], [`schedule`], [`pacer`] | what to do: options, when the next message is due |
//! | [`drive`] | the loop that sends and receives |
//! | [`round_trip`], [`one_way`] | what the loop does with messages, by mode |
//! | [`content`], [`outstanding`], [`digest`] | what messages contain, and how it is checked |
//! | [`control`] | the protocol between client and server in one-way measurements |
//! | [`outcome`], [`summary`] | results |

use anyhow::Result;
use clap::Subcommand;

pub(crate) mod client;
pub(crate) mod content;
pub(crate) mod control;
pub(crate) mod digest;
pub(crate) mod drive;
pub(crate) mod memory;
pub(crate) mod one_way;
pub(crate) mod outcome;
pub(crate) mod outstanding;
pub(crate) mod pacer;
pub(crate) mod round_trip;
pub(crate) mod schedule;
pub(crate) mod server;
pub(crate) mod summary;
pub(crate) mod work;

/// The subcommands of `sctp perf`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum PerfCommand {
    /// Serve clients: return their messages, or count and digest them
    #[command(after_help = SERVER_EXAMPLES)]
    Server(server::PerfServerOptions),
    /// Measure against a server
    #[command(after_help = CLIENT_EXAMPLES)]
    Client(client::ClientOptions),
    /// Measure between two stacks in this process, over a network in memory: needs no privileges and no interface
    #[command(after_help = MEMORY_EXAMPLES)]
    Memory(memory::MemoryOptions),
}

/// Runs the subcommand.
pub(crate) async fn run(command: PerfCommand) -> Result<()> {
    match command {
        PerfCommand::Server(options) => server::run(options).await,
        PerfCommand::Client(options) => client::run(options).await,
        PerfCommand::Memory(options) => memory::run(options).await,
    }
}

const SERVER_EXAMPLES: &str = "\
Examples:
  sctp perf server -i eth0 -p 5001
  sctp perf server -i eth0 -i eth1 --workers 2 --profile ran --json

When it is ready it prints
  listening on eth0 port 5001 (AF_XDP zero-copy mode, native XDP, 4 queues, 2 workers)
SIGINT and SIGTERM end its associations in order, within 2 s, and print a summary.";

const CLIENT_EXAMPLES: &str = "\
Examples:
  sctp perf client -i eth0 10.0.0.2:5001 --mode echo --size 64 --count 100k --streams 4 --window 256
  sctp perf client -i eth0 10.0.0.2:5001 --mode ping --duration 5s
  sctp perf client -i eth0 10.0.0.2:5001 --mode stream --size 1-64Ki --duration 10s --json
  sctp perf client -i eth0 '[fd00::2]:5001' --mode echo --rate 10k --duration 1m
  sctp perf client -i eth0 -i eth1 10.0.0.2,10.0.1.2:5001

echo and ping work with any echo server, stream with `sctp perf server`. MB are 10^6 bytes of payload, counted once.
With --json the last line is an object with mode, size, sent, received, verified, mismatched, lost, seconds,
messages_per_second, megabytes_per_second, digest_sent, digest_received, rtt_us, xdp, af_xdp, association and error.
The exit status is 1 when a message was lost or came back changed, or the association was lost.";

const MEMORY_EXAMPLES: &str = "\
Examples:
  sctp perf memory --mode echo --count 100k --streams 4
  sctp perf memory --mode stream --size 1400 --duration 5s
  sctp perf memory --mode ping --loss 1% --delay 5ms";
