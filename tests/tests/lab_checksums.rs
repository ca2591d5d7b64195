//! Who verifies the checksums of received packets is a choice (`--checksum`): with each, messages of a foreign peer and of our own arrive,
//! and a packet that is wrong in nothing but its checksum is not acted upon, and is counted by who has looked at it.

use std::time::{Duration, Instant};

use sctp_lab::frame::{Checksum, SctpFrame, chunk};
use sctp_lab::veth::Family;
use sctp_lab::{Process, peer, require_root};
use sctp_tests::{LONG, Lab, PORT, stop};
use serde_json::Value;

/// Octets of messages in damaged packets: in one of less and in one of more than 256, which is where `split` divides.
const SIZES: [usize; 2] = [100, 1000];

/// How many damaged packets of each size are sent.
const DAMAGED: u64 = 5;

/// The peer's port.
const PEER_PORT: u16 = 6000;

/// What the server's program, and what its workers have dropped for a wrong checksum.
fn dropped(stats: &Value) -> [u64; 2] {
    let workers = stats["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let by_workers = workers.iter().filter_map(|worker| worker["discarded"]["bad_checksum"].as_u64()).sum();
    [stats["xdp"]["checksum"].as_u64().unwrap_or(0), by_workers]
}

/// Damaged packets with the tag of an association come; `expected` are those that the program, and the workers, drop.
fn verified_by(label: &str, family: Family, policy: &str, expected: [u64; 2]) {
    if !require_root() {
        return;
    }
    let lab = Lab::new(label, 2).unwrap();
    let (left, right) = (&lab.pair.left, &lab.pair.right);
    let server = lab.serve(&["echo"], &["--json", "--checksum", policy]).unwrap();

    let options = ["--local-port", "6000", "--hold", "--count", "200", "--size", "1-3000", "--streams", "4"];
    let mut command = lab.usrsctp(left, family, &peer::usrsctp_client().unwrap(), &options);
    let mut client = Process::spawn(command.arg(right.address(family).to_string())).unwrap();
    let tags: Value = serde_json::from_str(&client.wait_for_line("peer_tag", LONG).unwrap()).unwrap();
    let socket = left.packet_socket().unwrap();
    for size in SIZES {
        let damaged = SctpFrame {
            source_mac: left.mac,
            destination_mac: right.mac,
            vlans: vec![],
            source: left.address(family),
            destination: right.address(family),
            source_port: PEER_PORT,
            destination_port: PORT,
            verification_tag: tags["peer_tag"].as_u64().unwrap().try_into().unwrap(),
            checksum: Checksum::Wrong,
            chunks: chunk::data(1, 0, 0, &vec![7; size]),
        };
        (0..DAMAGED).for_each(|_| socket.send(&damaged.build()).unwrap());
    }
    let deadline = Instant::now() + LONG;
    loop {
        let stats = lab.sctp.stats(right).unwrap();
        if dropped(&stats) == expected {
            break;
        }
        assert!(Instant::now() < deadline, "{expected:?} are expected: {stats}");
        std::thread::sleep(Duration::from_millis(20));
    }
    client.write_line("go").unwrap();
    let summary = client.summary(LONG).unwrap();
    assert_eq!((&summary["succeeded"], &summary["received"]), (&true.into(), &200.into()), "{summary}");

    let options = ["--mode", "echo", "--count", "300", "--size", "1-65536", "--streams", "4", "--window", "16"];
    lab.perf_client(family, &[&options[..], &["--checksum", policy]].concat()).unwrap();
    let summary = stop(server).unwrap().summary().unwrap();
    assert_eq!((&summary["echoed"], &summary["failed"]), (&500.into(), &0.into()), "{summary}");
}

#[test]
fn checksums_verified_by_xdp() {
    verified_by("crcx", Family::Ipv4, "xdp", [2 * DAMAGED, 0]);
}

#[test]
fn checksums_verified_by_the_workers() {
    verified_by("crcu", Family::Ipv6, "user", [0, 2 * DAMAGED]);
}

#[test]
fn checksums_verified_by_both() {
    verified_by("crcs", Family::Ipv4, "split", [DAMAGED, DAMAGED]);
}
