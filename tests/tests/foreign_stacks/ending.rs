//! How associations end: in order from each side, by ABORT from each side, with the reason seen by the other.

use sctp_lab::PairConfig;
use sctp_lab::veth::Family;
use sctp_tests::foreign::{Foreign, Stack, ended};
use sctp_tests::{LONG, is_in_use, stop};

/// Cause code of a User-Initiated Abort (RFC 9260 §3.3.10.12).
const USER_INITIATED_ABORT: u16 = 12;

/// Our client aborts; the peer's user gets cause and reason.
fn our_client_aborts(foreign: &Foreign, family: Family) {
    let mut server = foreign.serve(family, &["--associations", "1"]).unwrap();
    let options = ["--mode", "echo", "--count", "50", "--abort=maintenance"];
    let client = foreign.our_client(family, &options).unwrap().summary(LONG).unwrap();
    sctp_tests::foreign::sound(&client).unwrap();
    let server = server.summary(LONG).unwrap();
    assert_eq!((&server["received"], &server["lost"], &server["graceful"]), (&50.into(), &true.into(), &false.into()));
    assert_eq!(server["abort_cause"], USER_INITIATED_ABORT, "{server}");
    assert_eq!(server["abort_reason"], "maintenance", "{server}");
}

/// Our server aborts in the middle of a run; the peer's user gets cause and reason.
fn our_server_aborts(foreign: &Foreign, family: Family) {
    let server = foreign.serve_ours(&["--abort-after", "20", "--abort-reason", "out of service"]).unwrap();
    let client = foreign.client(family, &["--mode", "ping", "--count", "1000"]).unwrap().wait(LONG).unwrap();
    assert!(!client.status.success());
    let client = client.summary().unwrap();
    assert_eq!((&client["lost"], &client["graceful"]), (&true.into(), &false.into()), "{client}");
    assert_eq!(client["abort_cause"], USER_INITIATED_ABORT, "{client}");
    assert_eq!(client["abort_reason"], "out of service", "{client}");
    let server = stop(server).unwrap();
    let association = &ended(&server)[0];
    assert_eq!((&association["aborted"], &association["received"]), (&true.into(), &20.into()), "{association}");
}

/// The peer's client aborts; our server says so, with the reason where that stack can give one.
fn its_client_aborts(foreign: &Foreign, family: Family) {
    let server = foreign.serve_ours(&[]).unwrap();
    let client = foreign.client_summary(family, &["--mode", "echo", "--count", "50", "--abort", "going home"]).unwrap();
    assert_eq!(client["received"], 50, "{client}");
    let server = stop(server).unwrap();
    let association = &ended(&server)[0];
    assert_eq!(association["received"], 50, "{association}");
    assert_aborted(foreign, &association["error"], "going home");
}

/// The peer's server aborts in the middle of a run; our client ends, says so and what it cost.
fn its_server_aborts(foreign: &Foreign, family: Family) {
    let mut server = foreign.serve(family, &["--associations", "1", "--abort-after", "20"]).unwrap();
    let client = foreign.our_client(family, &["--mode", "ping", "--count", "1000"]).unwrap().wait(LONG).unwrap();
    assert_eq!(client.status.code(), Some(1), "{client:?}");
    assert_aborted(foreign, &client.summary().unwrap()["error"], "enough");
    assert_eq!(server.summary(LONG).unwrap()["received"], 20);
}

/// What our command says of an ABORT. The kernel's one-to-one sockets give no reason.
fn assert_aborted(foreign: &Foreign, said: &serde_json::Value, reason: &str) {
    let said = said.as_str().unwrap_or_default();
    let expected = if foreign.guest().is_some() { "its user wanted it so" } else { reason };
    assert!(said.contains("aborted by the peer") && said.contains(expected), "{said}");
}

/// The peer's server ends in order in the middle of a run: what it had received it has, and our client says who ended.
fn its_server_shuts_down(foreign: &Foreign, family: Family) {
    let mut server = foreign.serve(family, &["--associations", "1", "--shutdown-after", "20"]).unwrap();
    let client = foreign.our_client(family, &["--mode", "ping", "--count", "1000"]).unwrap().wait(LONG).unwrap();
    assert_eq!(client.status.code(), Some(1), "{client:?}");
    let client = client.summary().unwrap();
    let said = client["error"].as_str().unwrap_or_default();
    assert!(said.contains("the peer has ended the association"), "{client}");
    assert_eq!(client["mismatched"], 0, "{client}");
    let server = server.summary(LONG).unwrap();
    assert_eq!((&server["graceful"], &server["lost"]), (&true.into(), &false.into()), "{server}");
}

/// Our server ends in order while the peer's client sends: it sees a SHUTDOWN, not an ABORT and not silence.
fn our_server_shuts_down(foreign: &Foreign, family: Family) {
    let server = foreign.serve_ours(&[]).unwrap();
    let mut client = foreign.client(family, &["--mode", "ping", "--count", "0", "--duration", "60"]).unwrap();
    foreign.our_association(is_in_use).unwrap();
    let server = stop(server).unwrap().summary().unwrap();
    assert_eq!(server["failed"], 0, "{server}");
    let client = client.wait(LONG).unwrap().summary().unwrap();
    assert_eq!((&client["graceful"], &client["lost"]), (&true.into(), &false.into()), "{client}");
}

super::rows!(
    "end",
    PairConfig::default(),
    [
        our_client_aborts,
        our_server_aborts,
        its_client_aborts,
        its_server_aborts,
        its_server_shuts_down,
        our_server_shuts_down,
    ]
);
