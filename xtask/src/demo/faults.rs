//! Faulty packets, and the counters of the XDP program that catch them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sctp_lab::veth::Family;
use sctp_lab::{Pair, Sctp, faults};

/// Copies of each faulty frame.
const COPIES: u64 = 10;

/// How long it may take until a counter has moved.
const PATIENCE: Duration = Duration::from_secs(2);

/// Sends every kind of faulty packet to our server while an association lives on beside them; says which counter caught it.
pub(super) fn inject(sctp: &Sctp, pair: &Pair, family: Family, port: u16) -> Result<()> {
    let address = pair.right.socket_address(family, port);
    let mut bystander =
        sctp.perf_client(&pair.left, address, &["--mode", "ping", "--duration", "4s", "--size", "64"])?;
    bystander.wait_for_line("progress", PATIENCE)?;
    let stats = sctp.stats(&pair.right)?;
    let peer_port = stats["associations"][0]["peer_port"].as_u64().and_then(|port| u16::try_from(port).ok());
    let peer_port = peer_port.with_context(|| format!("the server tells of no association: {stats}"))?;

    let socket = pair.left.packet_socket()?;
    for fault in faults::all(&pair.left, &pair.right, family, peer_port, port) {
        let before = sctp.counters(&pair.right)?;
        for _ in 0..COPIES {
            socket.send(&fault.frame)?;
        }
        let deadline = Instant::now() + PATIENCE;
        let caught = loop {
            let moved = sctp.counters(&pair.right)?.since(&before);
            if moved.get(fault.counter) >= COPIES || Instant::now() > deadline {
                break moved.get(fault.counter);
            }
        };
        ensure!(
            caught == COPIES,
            "{COPIES} frames with “{}” were sent, and the counter {} moved by {caught}",
            fault.what,
            fault.counter
        );
        println!("   ✓ {:<42} {caught} × {} {}", fault.what, fault.action(), fault.counter);
    }

    let summary = bystander.summary(Duration::from_secs(30))?;
    ensure!(
        summary["mismatched"] == 0 && summary["lost"] == 0 && summary["verified"] == summary["sent"],
        "the association beside the faults suffered: {summary}"
    );
    println!("   ✓ the association beside them lost nothing: {} messages came back meanwhile", summary["verified"]);
    Ok(())
}
