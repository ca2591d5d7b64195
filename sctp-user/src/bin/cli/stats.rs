//! `sctp stats`: what a running stack says of itself.

use anyhow::{Context as _, Result, bail};
use clap::Args;
use sctp_user::telemetry::service::{query, running};
use sctp_user::telemetry::{AssociationSnapshot, PathSnapshot, QueueSnapshot, StackSnapshot, WorkerSnapshot};

use super::options::Verbosity;
use super::progress::{print_json, print_line};
use super::table::{self, Rows};

/// Options of `sctp stats`.
#[derive(Args, Clone, Debug)]
pub(crate) struct StatsOptions {
    /// Interface that the stack runs on; may be given several times [default: all stacks of this network namespace]
    #[arg(short, long = "interface", value_name = "IF")]
    pub(crate) interfaces: Vec<String>,

    /// Show the XDP counters of each queue apart
    #[arg(long)]
    pub(crate) queues: bool,

    /// Print one object of JSON per stack and line
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
}

/// Runs the subcommand.
pub(crate) fn run(options: &StatsOptions) -> Result<()> {
    let mut interfaces = options.interfaces.clone();
    if interfaces.is_empty() {
        interfaces = running().context("cannot list the running stacks")?;
    }
    if interfaces.is_empty() {
        bail!(
            "no stack runs in this network namespace: start one (`sctp echo -i IF -p PORT`), or look in its namespace \
             (`ip netns exec NAME sctp stats`)"
        );
    }
    let mut seen: Vec<Vec<String>> = Vec::new();
    for interface in &interfaces {
        let snapshot = query(interface)?;
        // A stack on several interfaces answers for each of them.
        if seen.contains(&snapshot.interfaces) {
            continue;
        }
        match options.json {
            true => print_json(&snapshot),
            false => print_line(&describe(&snapshot, options.queues)),
        }
        seen.push(snapshot.interfaces);
    }
    Ok(())
}

/// The stack as tables.
fn describe(stack: &StackSnapshot, queues: bool) -> String {
    let mut rows = Rows::default();
    rows.add("interfaces", stack.interfaces.join(", "));
    table::add_stack(&mut rows, stack.af_xdp.as_ref(), &stack.xdp);
    if queues {
        stack.queues.iter().for_each(|queue| describe_queue(&mut rows, queue));
    }
    for worker in &stack.workers {
        rows.add(format!("worker {}", worker.worker), describe_worker(worker));
    }
    rows.add("associations", table::thousands(stack.associations.len() as u64));
    let mut text = rows.to_string();
    for association in &stack.associations {
        text.push('\n');
        text.push_str(&describe_association(association));
    }
    text
}

fn describe_queue(rows: &mut Rows, queue: &QueueSnapshot) {
    let number = queue.queue.map_or_else(|| "other queues".to_owned(), |number| format!("queue {number}"));
    let mut counted: Vec<String> =
        queue.xdp.iter().map(|(name, count)| format!("{name} {}", table::thousands(*count))).collect();
    if counted.is_empty() {
        counted.push("nothing".to_owned());
    }
    rows.add(format!("{} {number}", queue.interface), counted.join("\n"));
}

fn describe_worker(worker: &WorkerSnapshot) -> String {
    let mut text = format!(
        "{} packets received, {} sent, {} turns, {} sleeps",
        table::thousands(worker.packets_received),
        table::thousands(worker.packets_sent),
        table::thousands(worker.turns),
        table::thousands(worker.sleeps)
    );
    let more = [
        ("not sent", worker.packets_not_sent),
        ("handed over", worker.handed_over),
        ("taken over", worker.taken_over),
        ("answered without association", worker.answered),
        ("times without room", worker.back_pressure),
    ];
    let counted = more.into_iter().map(|(name, count)| (name.to_owned(), count));
    let discarded = worker.discarded.iter().map(|(name, count)| (format!("dropped as {name}"), *count));
    for (name, count) in counted.chain(discarded).filter(|(_, count)| *count > 0) {
        text.push_str(&format!("\n{} {name}", table::thousands(count)));
    }
    text
}

fn describe_association(association: &AssociationSnapshot) -> String {
    let counter = |name: &str| table::thousands(association.counters.get(name).copied().unwrap_or_default());
    let mut rows = Rows::default();
    rows.add(
        format!("association {}", association.id),
        format!(
            "{}, port {} to {}, worker {}, {} streams out, {} in",
            association.state,
            association.local_port,
            association.peer_port,
            association.worker,
            association.outbound_streams,
            association.inbound_streams
        ),
    );
    rows.add("messages", format!("{} sent, {} received", counter("messages_sent"), counter("messages_received")));
    rows.add("packets", format!("{} sent, {} received", counter("packets_sent"), counter("packets_received")));
    rows.add(
        "retransmitted",
        format!(
            "{} chunks, {} of them fast, {} T3 timeouts",
            counter("data_chunks_retransmitted"),
            counter("fast_retransmits"),
            counter("t3_timeouts")
        ),
    );
    for path in &association.paths {
        let port = path.remote_udp_port.map_or_else(String::new, |port| format!(" in UDP to port {port}"));
        rows.add(format!("path {}{port}", path.address), describe_path(path));
    }
    rows.to_string()
}

fn describe_path(path: &PathSnapshot) -> String {
    let micros = |time: u64| table::micros(time as f64);
    format!(
        "{}{}, RTT {}, RTO {}, cwnd {}, outstanding {}, MTU {}, {} errors",
        path.state,
        if path.primary { ", primary" } else { "" },
        path.srtt_us.map_or_else(|| "not measured".to_owned(), micros),
        micros(path.rto_us),
        table::thousands(u64::from(path.cwnd)),
        table::thousands(u64::from(path.outstanding)),
        path.mtu,
        path.errors
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn stack() -> StackSnapshot {
        StackSnapshot {
            interfaces: vec!["veth9".to_owned()],
            af_xdp: None,
            xdp: BTreeMap::from([("redirected".to_owned(), 12)]),
            queues: vec![
                QueueSnapshot {
                    interface: "veth9".to_owned(),
                    queue: Some(3),
                    xdp: BTreeMap::from([("redirected".to_owned(), 12), ("checksum".to_owned(), 2000)]),
                },
                QueueSnapshot { interface: "veth9".to_owned(), queue: Some(4), xdp: BTreeMap::new() },
            ],
            workers: vec![WorkerSnapshot {
                worker: 0,
                turns: 5,
                sleeps: 4,
                packets_received: 12,
                packets_sent: 1300,
                packets_not_sent: 0,
                handed_over: 0,
                taken_over: 0,
                answered: 2,
                back_pressure: 0,
                discarded: BTreeMap::from([("bad_tag".to_owned(), 3)]),
                link: BTreeMap::new(),
            }],
            associations: vec![AssociationSnapshot {
                id: "0.1".to_owned(),
                worker: 0,
                state: "ESTABLISHED".to_owned(),
                local_port: 5001,
                peer_port: 49152,
                outbound_streams: 32,
                inbound_streams: 16,
                send_buffer_free: 1 << 20,
                counters: BTreeMap::from([("messages_sent".to_owned(), 1000), ("t3_timeouts".to_owned(), 7)]),
                paths: vec![PathSnapshot {
                    address: "10.0.0.2".parse().unwrap(),
                    remote_udp_port: Some(9899),
                    state: "active".to_owned(),
                    primary: true,
                    srtt_us: Some(120),
                    rttvar_us: 10,
                    rto_us: 300_000,
                    cwnd: 100_000,
                    ssthresh: 1 << 20,
                    outstanding: 0,
                    mtu: 1500,
                    errors: 0,
                }],
            }],
        }
    }

    #[test]
    fn the_tables_say_it_all() {
        let text = describe(&stack(), false);
        assert!(!text.contains("queue 3"), "{text}");
        let text = describe(&stack(), true);
        for part in [
            "veth9",
            "redirected 12",
            "veth9 queue 3",
            "checksum 2 000",
            "veth9 queue 4",
            "1 300 sent",
            "2 answered without association",
            "3 dropped as bad_tag",
            "ESTABLISHED, port 5001 to 49152",
            "path 10.0.0.2 in UDP to port 9899",
            "1 000 sent",
            "7 T3 timeouts",
            "active, primary, RTT 120.0 µs, RTO 300.00 ms, cwnd 100 000",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains("handed over"), "{text}");
    }
}
