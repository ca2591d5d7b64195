//! Several paths (RFC 9260 §6.4, §8): two cables, one is cut in mid-transfer and mended later. No message is lost, and the time
//! without any is short.

use std::time::Duration;

use sctp_lab::veth::Family;
use sctp_lab::{Faults, Process};
use sctp_tests::foreign::{Foreign, RAN_TIMERS, Stack, ended, notices, sound};
use sctp_tests::{LONG, stop};

/// The longest time without a message that is taken for a fail-over with RTOs of 120 ms to 500 ms. Unloaded machines need less than
/// a second; with RTOs of 1 s and more, as without a profile, a path that is cut costs half a minute and more.
const FAIL_OVER: f64 = 6.0;

/// Cuts the first cable when messages flow, and mends it after the fail-over.
fn cut_for_a_while(foreign: &Foreign, client: &mut Process) {
    std::thread::sleep(Duration::from_secs(1));
    assert!(!client.has_ended().unwrap(), "the client has ended before the cable was cut");
    foreign.cable().set(Faults::cut());
    std::thread::sleep(Duration::from_millis(2500));
    foreign.cable().set(Faults::default());
}

/// Our client's messages and the peer's answers both leave the dead path.
fn our_client_changes_paths(foreign: &Foreign, family: Family) {
    let mut server = foreign.serve(family, &[&["--associations", "1"], &RAN_TIMERS[..]].concat()).unwrap();
    let options = ["--profile", "ran", "--mode", "echo", "--window", "32", "--size", "1-1400", "--duration", "6s"];
    let mut client = foreign.our_client(family, &options).unwrap();
    client.wait_for_line("progress", LONG).unwrap();
    cut_for_a_while(foreign, &mut client);
    let client = client.summary(LONG).unwrap();
    sound(&client).unwrap();
    let gap = client["longest_gap_seconds"].as_f64().unwrap();
    println!("longest time without an echo: {gap:.3} s");
    assert!(gap < FAIL_OVER, "{client}");
    let first = foreign.lab.pair.right.address(family).to_string();
    let of_first = |notice: &&serde_json::Value| notice["address"] == first.as_str();
    let states: Vec<_> = notices(&client, "path-changed").into_iter().filter(of_first).map(|n| &n["state"]).collect();
    assert!(states.iter().any(|state| *state != "active"), "the cut was not noticed: {client}");
    assert_eq!(states.last().copied(), Some(&"active".into()), "the path has not come back: {client}");
    let server = server.summary(LONG).unwrap();
    assert_eq!((&server["received"], &server["graceful"]), (&client["sent"], &true.into()), "{server}");
}

/// The same with the peer as the client.
fn its_client_changes_paths(foreign: &Foreign, family: Family) {
    let server = foreign.serve_ours(&["--profile", "ran"]).unwrap();
    let options = ["--mode", "echo", "--count", "0", "--window", "32", "--size", "1-1400", "--duration", "6"];
    let mut client = foreign.client(family, &[&options[..], &RAN_TIMERS].concat()).unwrap();
    foreign.our_association(|association| association["counters"]["messages_received"].as_u64() > Some(10)).unwrap();
    cut_for_a_while(foreign, &mut client);
    let client = client.summary(LONG).unwrap();
    assert_eq!(client["succeeded"], true, "{client}");
    let gap = client["longest_gap_seconds"].as_f64().unwrap();
    println!("longest time without an echo: {gap:.3} s");
    assert!(gap < FAIL_OVER, "{client}");
    let server = stop(server).unwrap();
    let association = &ended(&server)[0];
    assert_eq!((&association["received"], &association["error"]), (&client["sent"], &serde_json::Value::Null));
}

super::rows!("pth", crate::two_cables(), [our_client_changes_paths, its_client_changes_paths]);
