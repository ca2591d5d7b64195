//! Our stack on both ends of a cable, through XDP and AF_XDP, driven by the `sctp` command.

use std::path::Path;
use std::time::{Duration, Instant};

use sctp_lab::frame::{Checksum, SctpFrame, chunk};
use sctp_lab::veth::Family;
use sctp_lab::{Process, capture, faults, netns, peer, require_root};
use sctp_tests::{LONG, Lab, PORT, interrupt, stop};

/// Echoes of many sizes, on a cable with so many queues; tshark judges what both ends captured.
fn messages_come_back(label: &str, queues: u16, family: Family) {
    if !require_root() {
        return;
    }
    assert!(capture::can_judge(), "tshark is not installed: `cargo xtask setup`");
    let lab = Lab::new(label, queues).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).with_extension("pcapng");
    let path = |name: &str| file(name).to_str().unwrap().to_owned();

    let server = lab.serve(&["echo"], &["--json", "--capture", &path("server")]).unwrap();
    let runs: [(&str, &[&str]); 4] = [
        ("one", &["--count", "1", "--size", "1"]),
        ("small", &["--count", "20000", "--size", "64", "--streams", "4"]),
        ("large", &["--count", "300", "--size", "1-65536", "--streams", "4", "--window", "16"]),
        ("unordered", &["--count", "300", "--size", "1-65536", "--unordered", "--window", "16"]),
    ];
    let mut sent = 0;
    for (name, options) in runs {
        let capture = path(name);
        let summary = lab.perf_client(family, &[options, &["--mode", "echo", "--capture", &capture]].concat()).unwrap();
        assert_eq!(summary["af_xdp"]["attach"], "native", "{summary}");
        assert_eq!(summary["af_xdp"]["queues"], queues, "{summary}");
        sent += summary["sent"].as_u64().unwrap();
    }
    let summary = stop(server).unwrap().summary().unwrap();
    assert_eq!((&summary["echoed"], &summary["failed"]), (&sent.into(), &0.into()), "{summary}");
    assert_eq!(summary["associations"], runs.len(), "{summary}");

    for name in ["server", "one", "small", "large", "unordered"] {
        let findings = capture::judge(&file(name)).unwrap();
        assert!(findings.packets > 4, "{name}: {findings:?}");
        assert_eq!((findings.malformed, findings.bad_checksums), (0, 0), "{name}: {findings:?}");
    }
}

#[test]
fn messages_come_back_on_one_queue() {
    messages_come_back("e2e1", 1, Family::Ipv4);
}

#[test]
fn messages_come_back_on_two_queues() {
    messages_come_back("e2e2", 2, Family::Ipv4);
}

#[test]
fn messages_come_back_over_ipv6() {
    messages_come_back("e2e6", 2, Family::Ipv6);
}

/// One way; the server's own digest is compared with the client's.
#[test]
fn a_stream_of_messages_arrives() {
    if !require_root() {
        return;
    }
    let lab = Lab::new("stream", 2).unwrap();
    let server = lab.serve(&["perf", "server"], &[]).unwrap();
    let options = ["--mode", "stream", "--count", "50000", "--size", "1-3000", "--streams", "8"];
    let summary = lab.perf_client(Family::Ipv4, &options).unwrap();
    assert_eq!(summary["received"], 50_000, "{summary}");
    assert!(summary["digest_sent"].is_string(), "{summary}");
    assert_eq!(summary["digest_sent"], summary["digest_received"]);
    stop(server).unwrap();
}

/// Several associations share the workers.
#[test]
fn many_associations_live_side_by_side() {
    if !require_root() {
        return;
    }
    let lab = Lab::new("many", 2).unwrap();
    let server = lab.serve(&["echo"], &["--json"]).unwrap();
    let options = ["--associations", "100", "--count", "20000", "--size", "1-2000", "--window", "8"];
    let summary = lab.perf_client(Family::Ipv4, &options).unwrap();
    assert_eq!(summary["verified"], 20_000, "{summary}");
    let summary = stop(server).unwrap().summary().unwrap();
    assert_eq!((&summary["associations"], &summary["failed"]), (&100.into(), &0.into()), "{summary}");
}

/// Every kind of faulty packet is counted under its name, and harms no association.
fn faults_are_counted(label: &str, family: Family) {
    if !require_root() {
        return;
    }
    let lab = Lab::new(label, 2).unwrap();
    let server = lab.serve(&["echo"], &[]).unwrap();
    let address = lab.pair.right.socket_address(family, PORT);
    let options = ["--mode", "ping", "--duration", "1h"];
    let mut bystander = lab.sctp.perf_client(&lab.pair.left, address, &options).unwrap();
    bystander.wait_for_line("progress", LONG).unwrap();
    let stats = lab.sctp.stats(&lab.pair.right).unwrap();
    let peer_port = stats["associations"][0]["peer_port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap();

    let socket = lab.pair.left.packet_socket().unwrap();
    for fault in faults::all(&lab.pair.left, &lab.pair.right, family, peer_port, PORT) {
        let before = lab.sctp.counters(&lab.pair.right).unwrap();
        (0..3).for_each(|_| socket.send(&fault.frame).unwrap());
        let deadline = Instant::now() + LONG;
        loop {
            let moved = lab.sctp.counters(&lab.pair.right).unwrap().since(&before);
            if moved.get(fault.counter) == 3 {
                break;
            }
            assert!(Instant::now() < deadline, "“{}” should count as {}: {moved:?}", fault.what, fault.counter);
        }
    }

    interrupt(bystander).unwrap();
    stop(server).unwrap();
}

#[test]
fn faults_are_counted_ipv4() {
    faults_are_counted("faults4", Family::Ipv4);
}

#[test]
fn faults_are_counted_ipv6() {
    faults_are_counted("faults6", Family::Ipv6);
}

/// An INIT of the server at a client's port, on which nobody listens, gets through XDP: the server may have restarted (RFC 9260
/// §5.2.2). The association hears of it, answers, and goes on.
#[test]
fn an_init_reaches_the_association_at_a_port_that_nobody_listens_on() {
    if !require_root() {
        return;
    }
    let lab = Lab::new("reinit", 2).unwrap();
    let server = lab.serve(&["echo"], &[]).unwrap();
    let (left, right) = (&lab.pair.left, &lab.pair.right);
    let options = ["--mode", "ping", "--duration", "1h"];
    let mut client = lab.sctp.perf_client(left, right.socket_address(Family::Ipv4, PORT), &options).unwrap();
    client.wait_for_line("progress", LONG).unwrap();
    let stats = lab.sctp.stats(right).unwrap();
    let client_port = stats["associations"][0]["peer_port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap();
    let init = SctpFrame {
        source_mac: right.mac,
        destination_mac: left.mac,
        vlans: vec![],
        source: right.address(Family::Ipv4),
        destination: left.address(Family::Ipv4),
        source_port: PORT,
        destination_port: client_port,
        verification_tag: 0,
        checksum: Checksum::Right,
        chunks: chunk::init(7, 1),
    };
    let before = lab.sctp.counters(left).unwrap();
    right.packet_socket().unwrap().send(&init.build()).unwrap();
    let deadline = Instant::now() + LONG;
    loop {
        let moved = lab.sctp.counters(left).unwrap().since(&before);
        assert_eq!(moved.get("not-listening"), 0, "{moved:?}");
        if moved.get("init") == 1 {
            break;
        }
        assert!(Instant::now() < deadline, "the INIT has not been taken: {moved:?}");
    }
    interrupt(client).unwrap();
    stop(server).unwrap();
}

/// What the kernel has pinned, which must be the same before and after.
fn pinned() -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir("/sys/fs/bpf").into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// A server that is asked to end leaves nothing; neither does one that is killed.
#[test]
fn nothing_stays_behind() {
    if !require_root() {
        return;
    }
    let before = pinned();
    let lab = Lab::new("behind", 2).unwrap();
    let right = &lab.pair.right;
    let name = right.namespace.name().to_owned();

    let server = lab.serve(&["echo"], &[]).unwrap();
    assert!(right.has_xdp().unwrap(), "a running stack has its program attached");
    stop(server).unwrap();
    assert!(!right.has_xdp().unwrap(), "the program is still attached after the end");

    let mut server = lab.serve(&["echo"], &[]).unwrap();
    server.signal(libc::SIGKILL).unwrap();
    assert!(!server.wait(LONG).unwrap().status.success());
    let deadline = Instant::now() + LONG;
    while right.has_xdp().unwrap() {
        assert!(Instant::now() < deadline, "the program is still attached after a crash");
        std::thread::sleep(Duration::from_millis(20));
    }

    // The interface is as good as new.
    let server = lab.serve(&["echo"], &[]).unwrap();
    let summary = lab.perf_client(Family::Ipv4, &["--mode", "echo", "--count", "100"]).unwrap();
    assert_eq!(summary["verified"], 100, "{summary}");
    stop(server).unwrap();
    assert!(right.namespace.processes().unwrap().is_empty());
    drop(lab);
    assert!(!netns::owned_by(std::process::id()).unwrap().contains(&name));
    assert!(!Path::new("/run/netns").join(&name).exists());
    assert_eq!(pinned(), before);
}

/// Runs a command that must fail: with exit status 1 and one sentence, which is returned.
fn complaint(mut process: Process) -> String {
    let finished = process.wait(LONG).unwrap();
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    let complaint = finished.stderr.trim().to_owned();
    assert_eq!(complaint.lines().count(), 1, "one clear sentence: {complaint}");
    complaint
}

#[test]
fn a_wrong_interface_is_said_so() {
    if !require_root() {
        return;
    }
    let lab = Lab::new("nolink", 1).unwrap();
    let mut command = lab.pair.right.namespace.command(lab.sctp.program());
    let said = complaint(Process::spawn(command.args(["echo", "-i", "veth9", "-p", "5000"])).unwrap());
    assert!(said.contains("veth9") && said.contains("not exist"), "{said}");
}

#[test]
fn a_second_stack_on_an_interface_is_told_of_the_first() {
    if !require_root() {
        return;
    }
    let lab = Lab::new("second", 1).unwrap();
    let first = lab.serve(&["echo"], &[]).unwrap();
    let second = Process::spawn(lab.sctp.command(&lab.pair.right, &["echo"]).args(["-p", "5001"])).unwrap();
    let said = complaint(second);
    assert!(said.contains(&lab.pair.right.interface), "{said}");
    assert!(said.contains("attached") || said.contains("busy"), "{said}");
    // The first one goes on.
    let summary = lab.perf_client(Family::Ipv4, &["--mode", "echo", "--count", "100"]).unwrap();
    assert_eq!(summary["verified"], 100, "{summary}");
    stop(first).unwrap();
}

#[test]
fn a_busy_queue_is_named() {
    if !require_root() {
        return;
    }
    let lab = Lab::new("busy", 2).unwrap();
    let right = &lab.pair.right;
    let mut holder = right.namespace.command(peer::xsk_holder().unwrap());
    let mut holder = Process::spawn(holder.arg(&right.interface)).unwrap();
    holder.wait_for_line("holding", LONG).unwrap();
    let said = complaint(Process::spawn(lab.sctp.command(right, &["echo"]).args(["-p", "5000"])).unwrap());
    assert!(said.contains(&format!("queue 0 of {} is busy", right.interface)), "{said}");
    assert!(!right.has_xdp().unwrap(), "what could not be opened is taken back");
}

#[test]
fn a_missing_capability_is_named() {
    if !require_root() {
        return;
    }
    let lab = Lab::new("nocaps", 1).unwrap();
    let interface = &lab.pair.right.interface;
    // Every capability but one; the programs in `target` may lie where an ordinary user cannot read, root can.
    for (dropped, name) in [
        ("net_admin", "CAP_NET_ADMIN"),
        ("net_raw", "CAP_NET_RAW"),
        // CAP_SYS_ADMIN stands in for the two, which are younger.
        ("bpf,-sys_admin", "CAP_BPF"),
        ("perfmon,-sys_admin", "CAP_PERFMON"),
        ("ipc_lock", "CAP_IPC_LOCK"),
    ] {
        let mut command = lab.pair.right.namespace.command("setpriv");
        command.arg(format!("--bounding-set=-{dropped}")).arg(format!("--inh-caps=-{dropped}"));
        command.arg(lab.sctp.program()).args(["echo", "-i", interface, "-p", "5000"]);
        let said = complaint(Process::spawn(&mut command).unwrap());
        assert!(said.contains(name) && (said.contains("sudo") || said.contains("setcap")), "{said}");
    }
}
