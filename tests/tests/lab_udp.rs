//! SCTP in UDP (RFC 6951) over veth: our stack on both ends, and against usrsctp, each as the other's client and server.

use std::path::Path;

use anyhow::Result;
use sctp_lab::veth::Family;
use sctp_lab::{Host, Process, capture, peer, require_root, tool};
use sctp_tests::{LONG, Lab, PORT, stop};
use serde_json::Value;

/// Of the left host.
const CLIENT: [&str; 2] = ["--udp-port", "9900"];
/// Of the right host.
const SERVER: [&str; 2] = ["--udp-port", "9899"];
/// What the client is told of the right host.
const REMOTE: [&str; 2] = ["--remote-udp-port", "9899"];

/// Messages that come back: from those that a packet has many of to those that take many packets.
const RUN: [&str; 6] = ["--count", "300", "--size", "1-20000", "--streams", "4"];

const FAMILIES: [Family; 2] = [Family::Ipv4, Family::Ipv6];

/// The UDP port that a stack's first association sends to.
fn port_in_use(stack: &Value) -> &Value {
    &stack["associations"][0]["paths"][0]["remote_udp_port"]
}

/// The kernel's sockets leave UDP checksums to the device, which has no wire behind it.
fn checksums_in_software(host: &Host) {
    let mut ethtool = host.namespace.command("ethtool");
    tool::run_command(ethtool.args(["-K", &host.interface, "tx", "off"])).unwrap();
}

/// What came and went was SCTP in UDP, all of it, and sound to its end, as tshark sees it.
fn all_in_udp(capture: &Path) {
    let findings = capture::judge(capture).unwrap();
    assert!(findings.packets > 300, "{findings:?}");
    assert_eq!((findings.in_udp, findings.malformed, findings.bad_checksums), (findings.packets, 0, 0), "{findings:?}");
}

#[test]
fn messages_come_back_in_udp() {
    if !require_root() {
        return;
    }
    let lab = Lab::new("udp", 2).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("client.pcapng");
    let server = lab.serve(&["echo"], &[&SERVER[..], &["--json"]].concat()).unwrap();
    let mut sent = 0;
    for family in FAMILIES {
        let options = [&CLIENT[..], &REMOTE, &RUN, &["--mode", "echo", "--capture", file.to_str().unwrap()]].concat();
        let summary = lab.perf_client(family, &options).unwrap();
        sent += summary["sent"].as_u64().unwrap();
        all_in_udp(&file);
    }
    let summary = stop(server).unwrap().summary().unwrap();
    assert_eq!((&summary["echoed"], &summary["failed"]), (&sent.into(), &0.into()), "{summary}");
}

/// While it runs, both ends say where they send to.
#[test]
fn both_ends_know_the_port_of_the_other() {
    if !require_root() {
        return;
    }
    let lab = Lab::new("udpport", 1).unwrap();
    let _server = lab.serve(&["echo"], &SERVER).unwrap();
    let address = lab.pair.right.socket_address(Family::Ipv4, PORT);
    let options = [&CLIENT[..], &REMOTE, &["--mode", "ping", "--duration", "30s"]].concat();
    let mut client = lab.sctp.perf_client(&lab.pair.left, address, &options).unwrap();
    client.wait_for_line("progress", LONG).unwrap();
    let [left, right] = [&lab.pair.left, &lab.pair.right].map(|host| lab.sctp.stats(host).unwrap());
    assert_eq!((port_in_use(&left), port_in_use(&right)), (&9899.into(), &9900.into()), "{left} {right}");
    client.signal(libc::SIGINT).unwrap();
    client.wait(LONG).unwrap();
}

/// A port that another program has is not taken from it.
#[test]
fn a_port_in_use_is_refused() {
    if !require_root() {
        return;
    }
    let lab = Lab::new("udpused", 1).unwrap();
    let bind = || std::net::UdpSocket::bind("0.0.0.0:9899");
    let _other = lab.pair.right.namespace.run(bind).unwrap();
    let mut echo = lab.sctp.command(&lab.pair.right, &["echo", "-p", "5000", "--udp-port", "9899"]);
    let finished = Process::spawn(&mut echo).unwrap().wait(LONG).unwrap();
    assert!(!finished.status.success(), "{finished:?}");
    assert!(finished.stderr.contains("UDP port 9899 cannot be taken"), "{finished:?}");
}

fn usrsctp(lab: &Lab, host: &Host, family: Family, server: bool, options: &[&str]) -> Result<Process> {
    let program = if server { peer::usrsctp_server() } else { peer::usrsctp_client() }?;
    let mut command = lab.usrsctp(host, family, &program, options);
    if !server {
        command.arg(lab.pair.right.address(family).to_string());
    }
    let mut process = Process::spawn(&mut command)?;
    if server {
        process.wait_for_line("listening", LONG)?;
    }
    Ok(process)
}

#[test]
fn ours_to_usrsctp_in_udp() {
    if !require_root() {
        return;
    }
    let lab = Lab::new("udpto", 1).unwrap();
    checksums_in_software(&lab.pair.right);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("client.pcapng");
    for family in FAMILIES {
        let options = [&SERVER[..], &["--associations", "1"]].concat();
        let mut server = usrsctp(&lab, &lab.pair.right, family, true, &options).unwrap();
        let options = [&CLIENT[..], &REMOTE, &RUN, &["--mode", "echo", "--capture", file.to_str().unwrap()]].concat();
        let client = lab.perf_client(family, &options).unwrap();
        all_in_udp(&file);
        let server = server.summary(LONG).unwrap();
        assert_eq!((&server["received"], &server["graceful"]), (&client["sent"], &true.into()), "{server}");
        assert_eq!(server["checksum_errors"], 0, "{server}");
    }
}

#[test]
fn usrsctp_to_ours_in_udp() {
    if !require_root() {
        return;
    }
    let lab = Lab::new("udpfrom", 1).unwrap();
    checksums_in_software(&lab.pair.left);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("server.pcapng");
    let options = [&SERVER[..], &["--json", "--capture", file.to_str().unwrap()]].concat();
    let server = lab.serve(&["echo"], &options).unwrap();
    let mut sent = 0;
    for family in FAMILIES {
        let options = [&CLIENT[..], &REMOTE, &RUN].concat();
        let client = usrsctp(&lab, &lab.pair.left, family, false, &options).unwrap().summary(LONG).unwrap();
        assert_eq!((&client["succeeded"], &client["checksum_errors"]), (&true.into(), &0.into()), "{client}");
        sent += client["sent"].as_u64().unwrap();
    }
    let summary = stop(server).unwrap().summary().unwrap();
    assert_eq!((&summary["received"], &summary["failed"]), (&sent.into(), &0.into()), "{summary}");
    all_in_udp(&file);
}
