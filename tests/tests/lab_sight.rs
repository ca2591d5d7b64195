//! What is seen of a running stack's XDP program, and its replacement while messages go on.

use std::time::Duration;

use sctp_common::verdict::Verdict;
use sctp_lab::veth::Family;
use sctp_lab::{BpfFs, Process, capture, faults, require_root, tool};
use sctp_tests::{LONG, Lab, PORT, stop};

/// `sctp drops` shows each faulty packet with its reason, and writes a capture that tshark reads.
#[test]
fn dropped_packets_are_shown_and_captured_with_their_reason() {
    if !require_root() {
        return;
    }
    assert!(capture::can_judge(), "tshark is not installed: `cargo xtask setup`");
    let lab = Lab::new("drops", 2).unwrap();
    let server = lab.serve(&["echo"], &[]).unwrap();
    let (left, right) = (&lab.pair.left, &lab.pair.right);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("drops.pcapng");
    let all = faults::all(left, right, Family::Ipv4, 7000, PORT);
    let wanted: Vec<_> = all.iter().filter(|fault| ["checksum", "zero-tag"].contains(&fault.counter)).collect();
    assert!(wanted.len() >= 2, "both kinds of fault");

    let count = wanted.len().to_string();
    let mut command = lab.sctp.command(right, &["drops"]);
    command.args(["--follow", "--json", "--count", &count, "--reason", "checksum", "--reason", "zero-tag", "--write"]);
    let mut drops = Process::spawn(command.arg(&file)).unwrap();
    // It is there when the file is: that is made after the stack has answered.
    let deadline = std::time::Instant::now() + LONG;
    while !file.exists() {
        assert!(std::time::Instant::now() < deadline, "the stack does not answer");
        std::thread::sleep(Duration::from_millis(10));
    }
    let socket = left.packet_socket().unwrap();
    // All of them, of which it was asked for two kinds.
    all.iter().for_each(|fault| socket.send(&fault.frame).unwrap());
    // The queues are served at the same time: in whatever order.
    let mut shown = Vec::new();
    for _ in &wanted {
        let line = drops.wait_for_line("reason", LONG).unwrap();
        let packet: serde_json::Value = serde_json::from_str(&line).unwrap();
        let fault = wanted.iter().find(|fault| packet["reason"] == fault.counter).expect("it was asked for");
        shown.push(fault.counter);
        assert_eq!(packet["interface"], right.interface.as_str(), "{packet}");
        assert_eq!(packet["source"], left.address(Family::Ipv4).to_string(), "{packet}");
        assert_eq!((&packet["source_port"], &packet["destination_port"]), (&7000.into(), &PORT.into()), "{packet}");
        let sent: String = fault.frame.iter().take(128).map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(packet["frame"].as_str().unwrap(), sent, "{packet}");
    }
    assert!(wanted.iter().all(|fault| shown.contains(&fault.counter)), "{shown:?}");
    assert!(drops.wait(LONG).unwrap().status.success());

    let file = file.to_str().unwrap();
    let comments = tool::run("tshark", &["-r", file, "-T", "fields", "-e", "frame.comment"]).unwrap();
    let comments: Vec<&str> = comments.lines().collect();
    let expected = shown.iter().map(|reason| format!("dropped by XDP: {reason} (queue "));
    assert_eq!(comments.len(), shown.len(), "{comments:?}");
    for (comment, expected) in comments.iter().zip(expected) {
        assert!(comment.starts_with(&expected), "{comment}");
    }

    // The counters of the queues add up to those of the program.
    let stats = lab.sctp.stats(right).unwrap();
    let queues = stats["queues"].as_array().unwrap();
    assert_eq!(queues.len(), 2, "{stats}");
    let of_queues: u64 = queues.iter().filter_map(|queue| queue["xdp"]["checksum"].as_u64()).sum();
    assert_eq!(stats["xdp"]["checksum"], of_queues, "{stats}");
    assert!(of_queues > 0, "{stats}");
    stop(server).unwrap();
}

/// A program is replaced twenty times under a stack whose messages go on.
#[test]
fn messages_go_on_while_the_program_is_replaced() {
    const REPLACEMENTS: usize = 20;
    if !require_root() {
        return;
    }
    let lab = Lab::new("replace", 2).unwrap();
    let bpffs = BpfFs::mount().unwrap();
    let root = bpffs.path().join("sctp");
    let server = lab.serve(&["echo"], &[&format!("--keep-program={}", root.display())]).unwrap();
    let (left, right) = (&lab.pair.left, &lab.pair.right);
    let address = right.socket_address(Family::Ipv4, PORT);
    // It ends when it is told to: however long the replacements take.
    let options = ["--mode", "echo", "--duration", "10m", "--window", "16"];
    let mut client = lab.sctp.perf_client(left, address, &options).unwrap();
    client.wait_for_line("progress", LONG).unwrap();
    let before = lab.sctp.counters(right).unwrap();
    let replace = || {
        let mut command = right.namespace.command(lab.sctp.program());
        command.args(["xdp", "replace", "-i", &right.interface, "--json", "--directory"]).arg(&root);
        Process::spawn(&mut command).unwrap().summary(LONG).unwrap()
    };
    let mut attached = Vec::new();
    for _ in 0..REPLACEMENTS {
        let replaced = replace();
        if let Some(last) = attached.last() {
            assert_eq!(&replaced["before"], last, "{replaced}");
        }
        attached.push(replaced["after"].clone());
    }
    // Another round trip through the last of them.
    client.wait_for_line("progress", LONG).unwrap();
    let moved = lab.sctp.counters(right).unwrap().since(&before);
    assert!(moved.get("association") > 0, "{moved:?}");
    let drops = Verdict::all().filter(|verdict| verdict.action() == "drop" && moved.get(verdict.name()) > 0);
    assert_eq!(drops.collect::<Vec<_>>(), [], "{moved:?}");
    let finished = client.stop(LONG).unwrap();
    let summary = finished.summary().unwrap();
    assert_eq!((&summary["mismatched"], &summary["lost"]), (&0.into(), &0.into()), "{summary}");
    assert!(summary["verified"].as_u64().unwrap() > 0, "{summary}");

    // The process ends; the program stays, and can be removed.
    stop(server).unwrap();
    assert!(right.has_xdp().unwrap());
    let mut command = right.namespace.command(lab.sctp.program());
    command.args(["xdp", "detach", "-i", &right.interface, "--directory"]).arg(&root);
    assert!(Process::spawn(&mut command).unwrap().wait(LONG).unwrap().status.success());
    assert!(!right.has_xdp().unwrap());
}
