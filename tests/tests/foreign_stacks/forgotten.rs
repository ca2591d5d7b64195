//! Our server forgets its associations: it is killed and comes back, and the peer's next packet is out of the blue (RFC 9260 §8.4).

use std::time::{Duration, Instant};

use sctp_lab::veth::Family;
use sctp_lab::{Host, PairConfig, tool};
use sctp_tests::foreign::{Foreign, Stack};
use sctp_tests::{LONG, stop};

/// RTO initial, minimum and maximum, heartbeats (ms), path retransmissions: many retransmissions before the peer gives up by itself.
const PATIENT: [&str; 2] = ["--timers", "500/500/4000/30000/20"];

/// The ABORT comes from XDP, with the T bit set and the tag of the peer's packet reflected; and the peer ends its association for it.
fn xdp_aborts_what_the_server_has_forgotten(foreign: &Foreign, family: Family) {
    let ours = &foreign.lab.pair.left;
    take_what_xdp_sends(&foreign.lab.pair.right);
    // While no server is there, the machine's own kernel would say for it that it knows no SCTP.
    ours.send_no_icmp_errors().unwrap();
    let mut before = foreign.serve_ours(&[]).unwrap();
    let options = [&PATIENT[..], &["--mode", "ping", "--count", "0", "--duration", "100"]].concat();
    let mut client = foreign.client(family, &options).unwrap();
    foreign.our_association(|association| association["counters"]["messages_received"].as_u64() > Some(10)).unwrap();
    before.signal(libc::SIGKILL).unwrap();
    assert!(!before.wait(LONG).unwrap().status.success());

    let after = foreign.serve_ours(&[]).unwrap();
    let deadline = Instant::now() + LONG;
    while foreign.sctp().counters(ours).unwrap().get("abort") == 0 {
        let ended = client.has_ended().unwrap();
        assert!(!ended && Instant::now() < deadline, "nothing came out of the blue: {:?}", client.stop(LONG));
        std::thread::sleep(Duration::from_millis(20));
    }
    let client = client.wait(LONG).unwrap().summary().unwrap();
    assert_eq!((&client["lost"], &client["graceful"]), (&true.into(), &false.into()), "{client}");
    // It was this ABORT, and not the end of the peer's patience: that takes ten retransmissions, each of which would be answered.
    let counters = foreign.sctp().counters(ours).unwrap();
    assert!((1..5).contains(&counters.get("abort")), "{counters:?}");
    let summary = stop(after).unwrap().summary().unwrap();
    assert_eq!((&summary["associations"], &summary["failed"]), (&0.into(), &0.into()), "{summary}");
}

/// A veth takes what an XDP program sends at its other end only where it is received as by a network card (NAPI): with GRO, or a program of
/// its own.
fn take_what_xdp_sends(host: &Host) {
    let words = ["-K", &host.interface, "gro", "on"];
    tool::run_command(host.namespace.command("ethtool").args(words)).unwrap();
}

super::rows!("fgt", PairConfig::default(), [xdp_aborts_what_the_server_has_forgotten]);
