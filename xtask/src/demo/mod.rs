//! `cargo xtask demo`: two SCTP endpoints talk through XDP and AF_XDP, faults are injected, and a foreign stack takes part.

mod faults;
mod memory;
mod report;
mod traffic;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use sctp_lab::process::{Finished, Process};
use sctp_lab::veth::Family;
use sctp_lab::{Pair, PairConfig, Sctp, capture, is_root, netns, peer};

use crate::setup::{self, Purpose};
use report::Report;
use traffic::Traffic;

/// How much to show.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Messages of each run.
    #[arg(long, default_value_t = 100_000)]
    messages: u64,
    /// Their sizes in octets: N or LOW-HIGH.
    #[arg(long, default_value = "1-1400")]
    size: String,
    /// Streams that they take in turn.
    #[arg(long, default_value_t = 8)]
    streams: u16,
    /// Queues of each interface.
    #[arg(long, default_value_t = 2)]
    queues: u16,
    /// Octets of the largest IP packet.
    #[arg(long, default_value_t = 1500)]
    mtu: u32,
    /// Keep captures of our stack's frames (pcapng) in this directory, and let tshark judge them.
    #[arg(long, value_name = "DIR")]
    capture: Option<PathBuf>,
    /// Show both endpoints in one process, over a link in memory; needs no root.
    #[arg(long)]
    memory: bool,
}

/// The port that servers listen on.
const PORT: u16 = 5000;

/// How long a server may take to end.
const STOP: Duration = Duration::from_secs(10);

/// Shows everything.
///
/// # Errors
/// If anything goes otherwise than it must: a message lost or changed, a fault not caught, something left behind.
pub(crate) fn run(options: &Options) -> Result<()> {
    let started = Instant::now();
    if options.memory || !is_root() {
        setup::ensure(Purpose::Build)?;
        return memory::run(options, &Sctp::build()?);
    }
    setup::ensure(Purpose::Lab)?;
    let sctp = Sctp::build()?;
    let peers = Peers { server: peer::usrsctp_server()?, client: peer::usrsctp_client()? };
    if let Some(directory) = &options.capture {
        std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    for leftover in sctp_lab::sweep()? {
        println!("removed {leftover}, which a run that crashed had left");
    }

    let pair = Pair::create("demo", &PairConfig { queues: options.queues, mtu: options.mtu, ..PairConfig::default() })?;
    println!("Two hosts, joined by a veth pair with {} queues each:", options.queues);
    for host in [&pair.left, &pair.right] {
        let (namespace, interface) = (host.namespace.name(), &host.interface);
        println!("  {namespace}  {interface}  {}  {}", host.ipv4, host.ipv6);
    }

    let mut report = Report::default();
    ours_to_ours(options, &sctp, &pair, &mut report)?;
    ours_to_usrsctp(options, &sctp, &peers, &pair, &mut report)?;
    usrsctp_to_ours(options, &sctp, &peers, &pair, &mut report)?;
    drop(pair);

    report.print();
    if let Some(directory) = &options.capture {
        judge_captures(directory)?;
    }
    let left = netns::owned_by(std::process::id())?;
    ensure!(left.is_empty(), "left behind: {}", left.join(", "));
    println!("All cleaned up. {:.0} s.", started.elapsed().as_secs_f64());
    Ok(())
}

/// The compiled foreign peers.
struct Peers {
    server: PathBuf,
    client: PathBuf,
}

fn ours_to_ours(options: &Options, sctp: &Sctp, pair: &Pair, report: &mut Report) -> Result<()> {
    println!("\n1. Our stack on both ends");
    let (mut server, ready) = start_our_server(options, sctp, pair, "ours-server")?;
    println!("   server: {ready}");
    let traffic = Traffic { options, sctp, client: &pair.left, server: &pair.right, name: "ours-client" };
    let outcome = blame(&mut server, traffic.run("ours → ours"))?;
    report.set_af_xdp(&outcome);

    println!("\n2. Faults, beside a live association");
    blame(&mut server, faults::inject(sctp, pair, Family::Ipv4, PORT))?;
    report.set_counters(sctp.counters(&pair.right)?);
    report.rows.push(outcome.row);
    let finished = server.stop(STOP)?;
    ensure!(finished.status.success(), "our server did not end well ({}): {}", finished.status, finished.stderr.trim());
    ensure!(!pair.right.has_xdp()?, "our server left its XDP program attached to {}", pair.right.interface);
    Ok(())
}

fn ours_to_usrsctp(options: &Options, sctp: &Sctp, peers: &Peers, pair: &Pair, report: &mut Report) -> Result<()> {
    println!("\n3. Our stack as the client of usrsctp over raw IP");
    let port = PORT.to_string();
    let mut command = pair.right.namespace.command(&peers.server);
    let mut server = Process::spawn(command.args(["--port", &port, "--local", &pair.right.ipv4.to_string()]))?;
    server.wait_for_line("listening", STOP)?;
    let traffic = Traffic { options, sctp, client: &pair.left, server: &pair.right, name: "client-of-usrsctp" };
    report.rows.push(blame(&mut server, traffic.run("ours → usrsctp"))?.row);
    Ok(())
}

fn usrsctp_to_ours(options: &Options, sctp: &Sctp, peers: &Peers, pair: &Pair, report: &mut Report) -> Result<()> {
    println!("\n4. usrsctp over raw IP as the client of our stack");
    let (mut server, ready) = start_our_server(options, sctp, pair, "server-of-usrsctp")?;
    println!("   server: {ready}");
    let row = traffic::run_usrsctp("usrsctp → ours", options, &peers.client, pair);
    report.rows.push(blame(&mut server, row)?);
    let finished = server.stop(STOP)?;
    ensure!(finished.status.success(), "our server did not end well ({}): {}", finished.status, finished.stderr.trim());
    Ok(())
}

/// Where a client failed because its server has ended, says so.
fn blame<T>(server: &mut Process, result: Result<T>) -> Result<T> {
    let Err(error) = result else { return result };
    if !server.has_ended()? {
        return Err(error);
    }
    let Finished { status, stderr, .. } = server.wait(STOP)?;
    Err(error.context(format!("the server ended in the middle ({status}) {}", stderr.trim())))
}

fn start_our_server(options: &Options, sctp: &Sctp, pair: &Pair, name: &str) -> Result<(Process, String)> {
    let mut arguments = vec!["-p".to_owned(), PORT.to_string()];
    arguments.extend(capture_option(options, name));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    sctp.serve(&pair.right, &["echo"], &arguments)
}

/// The option that makes our command keep a capture, if captures are wanted.
fn capture_option(options: &Options, name: &str) -> Vec<String> {
    let Some(directory) = &options.capture else { return Vec::new() };
    let file = directory.join(name).with_extension("pcapng");
    vec!["--capture".to_owned(), file.to_string_lossy().into_owned()]
}

fn judge_captures(directory: &Path) -> Result<()> {
    let mut files: Vec<_> = std::fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "pcapng"));
    files.sort();
    println!("\nCaptures:");
    for file in files {
        if !capture::can_judge() {
            println!("  {} (tshark is not installed: not judged)", file.display());
            continue;
        }
        let capture::Findings { packets, malformed, bad_checksums, .. } = capture::judge(&file)?;
        println!(
            "  {}: tshark reads {packets} SCTP packets, {malformed} malformed, {bad_checksums} with a bad checksum",
            file.display()
        );
        ensure!(packets > 0 && malformed == 0 && bad_checksums == 0, "tshark finds fault with {}", file.display());
    }
    Ok(())
}
