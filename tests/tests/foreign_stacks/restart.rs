//! Restarts (RFC 9260 §5.2): one side dies without a word and comes back from the same port.

use std::time::{Duration, Instant};

use sctp_lab::veth::Family;
use sctp_lab::{Faults, Process};
use sctp_tests::foreign::{Foreign, Stack, ended, notices, sound};
use sctp_tests::{LONG, is_in_use, stop};

/// Kills a process while the cable is cut, so that not even its kernel can say a word for it.
fn kill_silently(foreign: &Foreign, mut process: Process) {
    foreign.cable().set(Faults::cut());
    process.signal(libc::SIGKILL).unwrap();
    assert!(!process.wait(LONG).unwrap().status.success());
    // What its kernel has said is in the cable soon, and lost there.
    std::thread::sleep(Duration::from_millis(300));
}

/// The peer's client restarts: our server is told, and it is the same association for it.
fn its_client_restarts(foreign: &Foreign, family: Family) {
    let ours = &foreign.lab.pair.left;
    let mut server = foreign.serve_ours(&[]).unwrap();
    let port = ["--local-port", "6000"];
    let before =
        foreign.client(family, &[&port[..], &["--mode", "ping", "--count", "0", "--duration", "3600"]].concat());
    foreign.our_association(is_in_use).unwrap();
    kill_silently(foreign, before.unwrap());
    // A kernel would answer what our server sends to nobody by ABORT. So nothing from here gets there until the client has come again.
    let inits = || foreign.sctp().counters(ours).unwrap().get("init");
    let inits_before = inits();
    foreign.cable().set_each([Faults::cut(), Faults::default()]);
    let options = ["--mode", "echo", "--count", "200", "--size", "1-3000", "--streams", "5"];
    let mut after = foreign.client(family, &[&port[..], &options, &SOON_AGAIN].concat()).unwrap();
    let deadline = Instant::now() + LONG;
    while inits() == inits_before {
        assert!(!after.has_ended().unwrap() && Instant::now() < deadline, "no INIT: {:?}", after.stop(LONG));
        std::thread::sleep(Duration::from_millis(20));
    }
    foreign.cable().set(Faults::default());
    let after = after.summary(LONG).unwrap();
    assert_eq!((&after["succeeded"], &after["received"]), (&true.into(), &200.into()), "{after}");
    server.wait_for_line("restarted", LONG).unwrap();
    let server = stop(server).unwrap();
    let associations = ended(&server);
    assert_eq!(associations.len(), 1, "a restart is no new association: {associations:?}");
    assert_eq!(notices(&associations[0], "restarted").len(), 1, "{}", associations[0]);
    assert!(associations[0]["error"].is_null(), "{}", associations[0]);
}

/// The client repeats its INIT soon: initial RTO, minimum and maximum, heartbeats (ms), path retransmissions.
const SOON_AGAIN: [&str; 2] = ["--timers", "300/300/2000/30000/5"];

/// Our client restarts: the peer is told, and it is the same association for it.
fn our_client_restarts(foreign: &Foreign, family: Family) {
    let mut server = foreign.serve(family, &["--associations", "1"]).unwrap();
    // As many streams as after the restart: usrsctp does not grant more to an association that comes again.
    let port = ["--local-port", "6001", "--streams", "5"];
    let mut before =
        foreign.our_client(family, &[&port[..], &["--mode", "ping", "--duration", "100s"]].concat()).unwrap();
    before.wait_for_line("progress", LONG).unwrap();
    kill_silently(foreign, before);
    let options = ["--mode", "echo", "--count", "200", "--size", "1-3000", "--timeout", "60s"];
    let mut after = foreign.our_client(family, &[&port[..], &options].concat()).unwrap();
    // Not before our stack is there: till then the machine's own kernel would answer for us.
    foreign.our_association(|_| true).unwrap();
    foreign.cable().set(Faults::default());
    sound(&after.summary(LONG).unwrap()).unwrap();
    let server = server.summary(LONG).unwrap();
    assert_eq!((&server["restarts"], &server["graceful"]), (&1.into(), &true.into()), "{server}");
    assert!(server["received"].as_u64() > Some(200), "{server}");
}

/// Our server dies without a word and comes back at the same port: it knows nothing of the association and says so by ABORT (RFC 9260
/// §8.4), and the peer's client can come again.
fn our_server_restarts(foreign: &Foreign, family: Family) {
    let server = foreign.serve_ours(&[]).unwrap();
    let mut before = foreign.client(family, &["--mode", "ping", "--count", "0", "--duration", "3600"]).unwrap();
    foreign.our_association(is_in_use).unwrap();
    kill_silently(foreign, server);
    let server = foreign.serve_ours(&[]).unwrap();
    foreign.cable().set(Faults::default());
    let before = before.wait(LONG).unwrap();
    // It was an ABORT, and not the end of the peer's patience: that takes ten retransmissions, each of which would be answered.
    let counters = foreign.sctp().counters(&foreign.lab.pair.left).unwrap();
    assert!((1..5).contains(&counters.get("to-be-answered")), "{counters:?}");
    assert!(!before.status.success(), "{before:?}");
    let before = before.summary().unwrap();
    assert_eq!((&before["lost"], &before["graceful"]), (&true.into(), &false.into()), "{before}");
    let options = ["--mode", "echo", "--count", "200", "--size", "1-3000", "--streams", "5"];
    let after = foreign.client_summary(family, &options).unwrap();
    assert_eq!(after["received"], 200, "{after}");
    let server = stop(server).unwrap();
    let summary = server.summary().unwrap();
    assert_eq!((&summary["received"], &summary["failed"]), (&200.into(), &0.into()), "{summary}");
    assert_eq!(ended(&server).len(), 1, "{server:?}");
}

super::rows!("rst", crate::faulty(), [our_client_restarts, its_client_restarts, our_server_restarts]);
