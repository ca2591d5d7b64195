//! Loss, repetition, delay and reordering: nothing of it is seen by the applications. Idle associations stay up.

use std::time::Duration;

use sctp_lab::veth::Family;
use sctp_lab::{Faults, Process};
use sctp_tests::foreign::{Foreign, Stack, sound};
use sctp_tests::{LONG, PORT, stop};

const TROUBLE: Faults = Faults {
    loss: 0.02,
    duplication: 0.02,
    reordering: 0.05,
    delay: Duration::from_millis(1),
    marking: 0.0,
    mtu: None,
    without: &[],
    padding: 0,
};

const MESSAGES: [&str; 8] = ["--count", "1500", "--size", "1~32768", "--streams", "4", "--window", "64"];

/// Our client over a bad network.
fn ours_survives_trouble(foreign: &Foreign, family: Family) {
    let mut server = foreign.serve(family, &["--associations", "1"]).unwrap();
    foreign.cable().set(TROUBLE);
    let client = foreign.our_client(family, &[&["--mode", "echo"], &MESSAGES[..]].concat()).unwrap().summary(LONG);
    foreign.cable().set(Faults::default());
    sound(&client.unwrap()).unwrap();
    let server = server.summary(LONG).unwrap();
    assert_eq!((&server["received"], &server["graceful"]), (&1500.into(), &true.into()), "{server}");
    assert_eq!(server["checksum_errors"], 0, "{server}");
}

/// The peer's client over a bad network.
fn its_survives_trouble(foreign: &Foreign, family: Family) {
    let server = foreign.serve_ours(&[]).unwrap();
    foreign.cable().set(TROUBLE);
    let client = foreign.client_summary(family, &MESSAGES);
    foreign.cable().set(Faults::default());
    assert_eq!(client.unwrap()["received"], 1500);
    let server = stop(server).unwrap().summary().unwrap();
    assert_eq!((&server["received"], &server["failed"]), (&1500.into(), &0.into()), "{server}");
    let (_, lost) = foreign.cable().counts();
    assert!(lost > 50, "the cable has lost {lost} frames");
}

/// A congested router on the way marks packets in place of dropping them (RFC 3168; RFC 4960 Appendix A): each end tells the other of
/// what was marked, and reduces its window when it is told.
///
/// usrsctp 0.9.5 heeds no ECNE of RFC 4960, which is shorter than the one that it knows, and discards what follows it in the packet: it is told in
/// vain, but the transfer goes on.
fn marks_are_heeded(foreign: &Foreign, family: Family) {
    let mut server = foreign.serve(family, &["--associations", "1"]).unwrap();
    let delayed = Faults { delay: Duration::from_millis(1), ..Faults::default() };
    foreign.cable().set(Faults { marking: 0.05, ..delayed });
    let options = ["--mode", "echo", "--count", "500", "--size", "1~32768", "--streams", "4", "--window", "64"];
    let client = foreign.our_client(family, &options).unwrap().summary(LONG);
    foreign.cable().set(Faults::default());
    let client = client.unwrap();
    sound(&client).unwrap();
    let counters = &client["association"]["counters"];
    // Over IPv6 usrsctp's raw sockets do not show it the traffic class, nor do they set it.
    let uses_class = foreign.guest().is_some() || family == Family::Ipv4;
    assert_eq!(counters["ecn_reductions"].as_u64() > Some(0), uses_class, "the peer has told of marks: {client}");
    assert_eq!(counters["ecn_marks"].as_u64() > Some(0), uses_class, "marks on what the peer has sent: {client}");
    let server = server.summary(LONG).unwrap();
    assert_eq!((&server["received"], &server["graceful"]), (&500.into(), &true.into()), "{server}");
}

/// An association that is idle: heartbeats go both ways and are answered, the round trip is known.
fn an_idle_association_stays(foreign: &Foreign, family: Family) {
    // Heartbeats every 300 ms, on top of the RTO and their jitter. An RTO that a busy machine does not miss: this is not about lost paths.
    let options = ["--sink", "--associations", "1", "--timers", "1000/1000/3000/300/5"];
    let mut server = foreign.serve(family, &options).unwrap();
    let mut send = foreign.sctp().command(&foreign.lab.pair.left, &["send"]);
    // Of one family alone: usrsctp takes the IPv4 addresses that it hears of for paths even if it is bound to IPv6 addresses only,
    // cannot send to them, and says that they are lost.
    send.args(["--local-address", &foreign.lab.pair.left.address(family).to_string()]);
    send.args(["--profile", "ran"]).arg(foreign.lab.pair.right.socket_address(family, PORT).to_string());
    let mut send = Process::spawn(&mut send).unwrap();
    send.write_line("hello").unwrap();
    let association = foreign
        .our_association(|association| {
            let counters = &association["counters"];
            counters["heartbeats_acknowledged"].as_u64() >= Some(2)
                && counters["heartbeats_received"].as_u64().is_none_or(|count| count >= 2)
                // One may have been answered late.
                && association["paths"][0]["errors"] == 0
        })
        .unwrap();
    let path = &association["paths"][0];
    assert_eq!(path["state"], "active", "{association}");
    assert!(path["srtt_us"].is_u64(), "{association}");
    send.write_line("still there").unwrap();
    foreign.our_association(|association| association["counters"]["messages_sent"] == 2).unwrap();
    send.signal(libc::SIGINT).unwrap();
    send.wait(LONG).unwrap();
    let server = server.summary(LONG).unwrap();
    assert_eq!((&server["received"], &server["lost"]), (&2.into(), &false.into()), "{server}");
    assert_eq!((&server["paths_lost"], &server["graceful"]), (&0.into(), &true.into()), "{server}");
}

super::rows!(
    "flt",
    crate::faulty(),
    [ours_survives_trouble, marks_are_heeded, an_idle_association_stays, its_survives_trouble]
);
