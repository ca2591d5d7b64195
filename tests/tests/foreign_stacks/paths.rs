//! Several paths (RFC 9260 §6.4, §8): two cables, one is cut in mid-transfer and mended later. No message is lost, and the time
//! without any is short.

use sctp_lab::Faults;
use sctp_lab::veth::Family;
use sctp_tests::foreign::{Foreign, RAN_TIMERS, Stack, ended, notices};
use sctp_tests::{LONG, interrupt, is_in_use, stop};
use serde_json::Value;

/// The longest time without a message that is taken for a fail-over with RTOs of 120 ms to 500 ms, seconds. A machine that is not busy
/// needs a fifth of a second; with RTOs of 1 s and more, as without a profile, a path that is cut costs half a minute and more.
const FAIL_OVER: f64 = 3.0;

/// The state of the first path of our association.
fn state_of_first<'a>(foreign: &Foreign, family: Family, association: &'a Value) -> &'a Value {
    let first = foreign.lab.pair.right.address(family).to_string();
    let paths = association["paths"].as_array().map(Vec::as_slice).unwrap_or_default();
    paths.iter().find(|path| path["address"] == first.as_str()).map_or(&Value::Null, |path| &path["state"])
}

/// Cuts the first cable when messages flow, until our end has given the path up; mends it, until the path is in use again.
fn cut_for_a_while(foreign: &Foreign, family: Family) {
    foreign.our_association(is_in_use).unwrap();
    foreign.cable().set(Faults::cut());
    let received = |association: &Value| association["counters"]["messages_received"].as_u64().unwrap();
    let given_up = |association: &Value| state_of_first(foreign, family, association) == "inactive";
    let before = received(&foreign.our_association(given_up).unwrap());
    foreign.our_association(|association| received(association) > before + 100).unwrap();
    foreign.cable().set(Faults::default());
    foreign.our_association(|association| state_of_first(foreign, family, association) == "active").unwrap();
}

fn assert_short(summary: &Value) {
    let gap = summary["longest_gap_seconds"].as_f64().unwrap();
    println!("longest time without an echo: {gap:.3} s");
    assert!(gap < FAIL_OVER, "{summary}");
}

/// Our client's messages and the peer's answers both leave the dead path.
fn our_client_changes_paths(foreign: &Foreign, family: Family) {
    let mut server = foreign.serve(family, &[&["--associations", "1"], &RAN_TIMERS[..]].concat()).unwrap();
    let local = foreign.our_addresses(family);
    let options = ["--profile", "ran", "--mode", "echo", "--window", "32", "--size", "1-1400", "--duration", "1h"];
    let words: Vec<&str> = local.iter().map(String::as_str).chain(options).collect();
    let client = foreign.our_client(family, &words).unwrap();
    cut_for_a_while(foreign, family);
    let client = interrupt(client).unwrap();
    assert_short(&client);
    let first = foreign.lab.pair.right.address(family).to_string();
    let of_first = |notice: &&Value| notice["address"] == first.as_str();
    let states: Vec<_> = notices(&client, "path-changed").into_iter().filter(of_first).map(|n| &n["state"]).collect();
    assert!(states.iter().any(|state| *state != "active"), "the cut was not noticed: {client}");
    assert_eq!(states.last().copied(), Some(&"active".into()), "the path has not come back: {client}");
    let server = server.summary(LONG).unwrap();
    assert_eq!((&server["received"], &server["graceful"]), (&client["sent"], &true.into()), "{server}");
}

/// The same with the peer as the client.
fn its_client_changes_paths(foreign: &Foreign, family: Family) {
    let local = foreign.our_addresses(family);
    let words: Vec<&str> = ["--profile", "ran"].into_iter().chain(local.iter().map(String::as_str)).collect();
    let server = foreign.serve_ours(&words).unwrap();
    let options = ["--mode", "echo", "--count", "0", "--window", "32", "--size", "1-1400", "--duration", "3600"];
    let mut client = foreign.client(family, &[&options[..], &RAN_TIMERS].concat()).unwrap();
    cut_for_a_while(foreign, family);
    let client = client.stop(LONG).unwrap().summary().unwrap();
    assert_eq!(client["succeeded"], true, "{client}");
    assert_short(&client);
    let server = stop(server).unwrap();
    let association = &ended(&server)[0];
    assert_eq!((&association["received"], &association["error"]), (&client["sent"], &Value::Null));
}

super::rows!("pth", crate::two_cables(), [our_client_changes_paths, its_client_changes_paths]);
