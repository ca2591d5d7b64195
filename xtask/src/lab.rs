//! `cargo xtask lab`: two hosts and a cable to try things on, until Ctrl-C.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use sctp_lab::{Host, Pair, PairConfig, Sctp, interrupt, peer};

use crate::cargo;
use crate::setup::{self, Purpose};

/// What the cable is like.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Queues of each interface.
    #[arg(long, default_value_t = 2)]
    queues: u16,
    /// Octets of the largest IP packet.
    #[arg(long, default_value_t = 1500)]
    mtu: u32,
}

/// Brings the laboratory up, prints what can be tried on it, and takes it down on Ctrl-C.
///
/// # Errors
/// Without root, or if something is missing.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::ensure(Purpose::Lab)?;
    cargo::require_root("lab")?;
    let sctp = Sctp::build()?;
    let (server, client) = (peer::usrsctp_server()?, peer::usrsctp_client()?);
    sctp_lab::sweep()?;
    let pair = Pair::create("lab", &PairConfig { queues: options.queues, mtu: options.mtu, ..PairConfig::default() })?;

    let sctp = sctp.program().display();
    let (left, right) = (&pair.left, &pair.right);
    println!("Two hosts and a cable, {} queues each:", options.queues);
    for host in [left, right] {
        println!("  {}  {}  {}  {}", host.namespace.name(), host.interface, host.ipv4, host.ipv6);
    }
    println!("\nOur stack on both ends (each line in a terminal of its own):");
    println!("  {} {sctp} echo -i {} -p 5000", inside(right), right.interface);
    println!(
        "  {} {sctp} perf client -i {} {}:5000 --mode ping --count 10000",
        inside(left),
        left.interface,
        right.ipv4
    );
    println!("  {} {sctp} stats -i {}", inside(right), right.interface);
    println!("\nusrsctp as a peer of ours, either way (one usrsctp program per host, and none beside ours):");
    println!("  {} {} --port 5000 --local {}", inside(right), server.display(), right.ipv4);
    let (client, local, peer) = (client.display(), left.ipv4, right.ipv4);
    println!("  {} {client} --port 5000 --count 1000 --size 1~65536 --local {local} {peer}", inside(left));
    println!("\nWhat XDP leaves to the kernel, and what is attached:");
    println!("  {} tcpdump -ni {}", inside(right), right.interface);
    println!("  {} ip -d link show {}", inside(right), right.interface);
    println!("\nCtrl-C takes it down.");

    while interrupt::check().is_ok() {
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(pair);
    println!("\nTaken down.");
    Ok(())
}

fn inside(host: &Host) -> String {
    format!("sudo ip netns exec {}", host.namespace.name())
}
