//! What nmap, a stranger who knows SCTP, makes of our ports.
//!
//! Three kinds of ports: one that a listener has, one that the stack owns but where nobody listens (the local port of a client), and one
//! that the stack does not own, whose packets are the kernel's: one without SCTP says "protocol unreachable" (over IPv6 "parameter
//! problem": the protocol is a next header that it does not know), which is "filtered" for nmap. (While it puts IP fragments together for us it
//! is silent: nmap says "filtered" as well, and only takes longer. Hence `--fragments drop` here.)
//!
//! An INIT scan (`-sY`) tells the first two apart as RFC 9260 §8.4 has it: INIT ACK, or ABORT. A COOKIE ECHO scan (`-sZ`) waits for an ABORT
//! from closed ports; but an endpoint "MUST silently discard" a cookie that it has not made (§5.1.5 step 2), listening or not, so that it
//! learns nothing of either.

use std::collections::BTreeMap;

use sctp_lab::veth::Family;
use sctp_lab::{Host, require_root, tool};
use sctp_tests::{LONG, Lab, PORT, stop};

/// A port that no stack here owns.
const NOT_OWNED: u16 = 3868;

/// The port that our client uses.
const CLIENT: u16 = 6000;

/// The states in which nmap sees ports of a host: `state, reason`.
fn scan(from: &Host, to: &Host, family: Family, technique: &str, ports: &[u16]) -> BTreeMap<u16, String> {
    let list = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
    let mut command = from.namespace.command("nmap");
    command.args(["-n", "-Pn", "--reason", technique, "-p", &list]);
    if family == Family::Ipv6 {
        command.arg("-6");
    }
    let report = tool::run_command(command.arg(to.address(family).to_string())).unwrap();
    let lines = report.lines().filter_map(|line| {
        let (port, rest) = line.split_once("/sctp ")?;
        let mut words = rest.split_whitespace();
        let (state, _service, reason) = (words.next()?, words.next()?, words.next()?);
        Some((port.parse().ok()?, format!("{state}, {reason}")))
    });
    let states: BTreeMap<_, _> = lines.collect();
    assert_eq!(states.len(), ports.len(), "{report}");
    states
}

/// Both scans of both ends, while messages go to and fro.
fn scanned(label: &str, family: Family, options: &[&str], not_owned: &str) {
    if !require_root() {
        return;
    }
    let lab = Lab::new(label, 2).unwrap();
    let server = lab.serve(&["echo"], &[&["--json"], options].concat()).unwrap();
    let (left, right) = (&lab.pair.left, &lab.pair.right);
    let address = right.socket_address(family, PORT);
    let options = ["--mode", "ping", "--duration", "100s", "--local-port", &CLIENT.to_string()];
    let mut client = lab.sctp.perf_client(left, address, &options).unwrap();
    client.wait_for_line("progress", LONG).unwrap();

    let state = |states: &BTreeMap<u16, String>, port| states[&port].clone();
    let inits = scan(left, right, family, "-sY", &[PORT, NOT_OWNED]);
    assert_eq!(state(&inits, PORT), "open, init-ack");
    assert_eq!(state(&inits, NOT_OWNED), not_owned);
    let inits = scan(right, left, family, "-sY", &[CLIENT]);
    assert_eq!(state(&inits, CLIENT), "closed, abort");

    let cookies = scan(left, right, family, "-sZ", &[PORT, NOT_OWNED]);
    assert_eq!(state(&cookies, PORT), "open|filtered, no-response");
    assert_eq!(state(&cookies, NOT_OWNED), not_owned);
    let cookies = scan(right, left, family, "-sZ", &[CLIENT]);
    assert_eq!(state(&cookies, CLIENT), "open|filtered, no-response");

    let summary = client.stop(LONG).unwrap().summary().unwrap();
    assert_eq!((&summary["mismatched"], &summary["lost"]), (&0.into(), &0.into()), "{summary}");
    let summary = stop(server).unwrap().summary().unwrap();
    assert_eq!((&summary["associations"], &summary["failed"]), (&1.into(), &0.into()), "{summary}");
}

#[test]
fn nmap_sees_open_and_closed_ports_ipv4() {
    scanned("nmap4", Family::Ipv4, &["--fragments", "drop"], "filtered, proto-unreach");
}

#[test]
fn nmap_sees_open_and_closed_ports_ipv6() {
    scanned("nmap6", Family::Ipv6, &["--fragments", "drop"], "filtered, param-problem");
}
