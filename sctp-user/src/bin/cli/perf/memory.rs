//! `sctp perf memory`: client and server in one process, over a network in memory. Two whole stacks, with workers, timers and
//! checksums; only the network interface is missing. Needs no privileges, and the network can be made as bad as wanted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use sctp_common::steering::Steering;
use sctp_user::Stack;
use sctp_user::datapath::memory::{Faults, HostConfig, MemoryNetwork};
use sctp_user::telemetry::capture::Capture;
use sctp_user::telemetry::pcapng::LinkType;
use tokio::sync::oneshot;

use super::client::measure;
use super::server::serve_one;
use super::work::Work;
use crate::cli::node::Node;
use crate::cli::options::{AssociationOptions, Verbosity};
use crate::cli::serve::{self, ServerOptions};
use crate::cli::signals::Stop;
use crate::cli::values::{self, Peer};

/// Options of `sctp perf memory`.
#[derive(Args, Clone, Debug)]
pub(crate) struct MemoryOptions {
    #[command(flatten)]
    pub(crate) work: Work,

    #[command(flatten)]
    pub(crate) network: NetworkOptions,

    #[command(flatten)]
    pub(crate) association: AssociationOptions,

    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
}

/// The network between the two stacks.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetworkOptions {
    /// Share of packets that are lost (1%, 0.01)
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = values::share)]
    pub(crate) loss: f64,

    /// Share of packets that arrive twice
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = values::share)]
    pub(crate) duplication: f64,

    /// Share of packets that later ones overtake
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = values::share)]
    pub(crate) reordering: f64,

    /// Share of packets of which a bit is flipped
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = values::share)]
    pub(crate) corruption: f64,

    /// Time that every packet takes, one way
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) delay: Option<Duration>,

    /// What decides which packets are met
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) network_seed: u64,

    /// Use IPv6 instead of IPv4
    #[arg(long)]
    pub(crate) ipv6: bool,

    /// Write what the client's side sends and receives to a capture file that Wireshark reads
    #[arg(long, value_name = "FILE.pcapng")]
    pub(crate) capture: Option<PathBuf>,
}

/// Runs the subcommand.
pub(crate) async fn run(options: MemoryOptions) -> Result<()> {
    options.work.check()?;
    let stop = Stop::on_signals()?;
    let [client, server] = options.network.addresses();
    let capture = options.network.capture.as_deref().map(|file| {
        Capture::start(file, LinkType::Ethernet, |_| "memory".to_owned())
            .with_context(|| format!("cannot write the capture file {}", file.display()))
    });
    let capture = capture.transpose()?;
    let network = MemoryNetwork::new(options.network.network_seed, options.network.faults());
    let steering = Steering { key: [0; 2], workers: 1 };
    let attach = |address: IpAddr, capture: Option<&Capture>| -> Result<Stack> {
        let capture = capture.map(Capture::sink);
        let links = network.attach_host(&HostConfig { addresses: vec![address], steering, capture })?;
        let builder = Stack::builder().local_address(address);
        Ok(links.into_iter().fold(builder, |builder, link| builder.link(link)).build()?)
    };
    let server_stack = attach(server, None).context("cannot open the server's stack")?;
    let client_stack = attach(client, capture.as_ref()).context("cannot open the client's stack")?;
    let server = Server::start(server_stack, options.association.clone()).await?;
    let node = Node::on(client_stack, capture);
    let peer = Peer { addresses: vec![options.network.addresses()[1]], port: PORT };
    let result = measure(&node, &peer, options.work, &options.association, &stop).await;
    let result = node.close_after(result).await;
    let served = server.stop();
    result.and(served)
}

/// The server's port.
const PORT: u16 = 5001;

impl NetworkOptions {
    /// The client's address and the server's, from the ranges for documentation.
    fn addresses(&self) -> [IpAddr; 2] {
        match self.ipv6 {
            false => [1, 2].map(|host| Ipv4Addr::new(192, 0, 2, host).into()),
            true => [1, 2].map(|host| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host).into()),
        }
    }

    fn faults(&self) -> Faults {
        Faults {
            loss: self.loss,
            duplication: self.duplication,
            reordering: self.reordering,
            corruption: self.corruption,
            delay: self.delay.unwrap_or_default(),
            ..Faults::default()
        }
    }
}

/// A server on a thread of its own, as it would be in a process of its own.
struct Server {
    stop: Stop,
    thread: thread::JoinHandle<Result<()>>,
}

impl Server {
    /// Starts it, and waits until it listens.
    async fn start(stack: Stack, settings: AssociationOptions) -> Result<Self> {
        let stop = Stop::new();
        let (ready, listening) = oneshot::channel();
        let stopped = stop.clone();
        let thread = thread::Builder::new()
            .name("sctp-server".to_owned())
            .spawn(move || serve_until(stack, &settings, &stopped, ready))
            .context("cannot start the server's thread")?;
        let server = Self { stop, thread };
        match listening.await {
            Ok(()) => Ok(server),
            // It has ended before it was ready, and says why.
            Err(_) => Err(server.stop().err().unwrap_or_else(|| anyhow!("the server ended at once"))),
        }
    }

    /// Ends it, and waits for that.
    fn stop(self) -> Result<()> {
        self.stop.now();
        self.thread.join().unwrap_or_else(|_| Err(anyhow!("the server broke down"))).context("the server failed")
    }
}

fn serve_until(stack: Stack, settings: &AssociationOptions, stop: &Stop, ready: oneshot::Sender<()>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let node = Node::on(stack, None);
        let options = ServerOptions::quiet(PORT);
        let result = async {
            let listener = serve::listen(&node, &options, settings).await?;
            // Whoever started the server waits for this.
            let _ = ready.send(());
            serve::serve(&node, listener, &options, stop, serve_one).await
        };
        let result = result.await.map(|_| ());
        node.close_after(result).await
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        options: MemoryOptions,
    }

    fn parse(line: &str) -> MemoryOptions {
        Command::try_parse_from(["x"].into_iter().chain(line.split_whitespace())).unwrap().options
    }

    #[test]
    fn faults_are_shares_and_times() {
        let faults = parse("--loss 1% --duplication 0.02 --reordering 3% --corruption 4% --delay 5ms").network.faults();
        assert_eq!((faults.loss, faults.duplication, faults.reordering, faults.corruption), (0.01, 0.02, 0.03, 0.04));
        assert_eq!(faults.delay, Duration::from_millis(5));
        assert_eq!(parse("").network.faults(), Faults::default());
    }

    /// Runs a whole measurement.
    fn run_line(line: &str) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(run(parse(line)))
    }

    #[test]
    fn messages_come_back() {
        run_line("--mode echo --size 1-3000 --count 2000 --streams 3 --json").unwrap();
        run_line("--mode echo --size 1-20 --count 500 --unordered --ipv6 --json").unwrap();
        run_line("--mode ping --count 100").unwrap();
        run_line("--mode echo --count 300 --associations 7 --no-verify --json").unwrap();
    }

    #[test]
    fn messages_arrive() {
        run_line("--mode stream --size 1-3000 --count 2000 --streams 3 --json").unwrap();
        run_line("--mode stream --size 200 --count 1000 --streams 5 --unordered --associations 2 --json").unwrap();
        run_line("--mode stream --count 1000 --no-verify --json").unwrap();
    }

    #[test]
    fn faults_of_the_network_are_mended() {
        run_line("--count 500 --size 100-2000 --streams 4 --loss 2% --duplication 2% --reordering 2% --corruption 2% --profile ran")
            .unwrap();
    }

    #[test]
    fn a_rate_is_kept() {
        let start = std::time::Instant::now();
        run_line("--mode echo --rate 1000 --count 300 --json").unwrap();
        assert!(start.elapsed() >= Duration::from_millis(299));
    }
}
