//! Floods of garbage, each kind by itself: meanwhile strangers connect and exchange messages, an association that was there before loses
//! none, and the counters name the garbage.
//!
//! How fast it goes then is no matter of these tests, since generator, stacks and tests share the machine's processors: see
//! `cargo xtask bench floods`.

use std::time::{Duration, Instant};

use sctp_lab::sctp::Counters;
use sctp_lab::veth::Family;
use sctp_lab::{Flood, Garbage, Host, PairConfig, Process, Sctp, flood, peer, require_root};
use sctp_tests::foreign::{Foreign, Stack};
use sctp_tests::{LONG, Lab, PORT, stop};

/// Frames a second, if the machine allows, of what XDP drops by itself.
const RATE: u32 = 300_000;

/// Frames a second of what workers have to answer, or to look at. A worker that shares a processor with the flood answers some 50 000
/// INITs; of more it loses some, and so those of strangers, whose set-up takes seconds then.
const RATE_TO_WORKERS: u32 = 20_000;

/// Frames that a flood has at least.
const LEAST: u64 = 10_000;

/// The port of the association that is there before.
const BYSTANDER: u16 = 6000;

/// Has a flood flow from one host to the stack of another while `strangers` do what they do.
fn flooded(sctp: &Sctp, [from, to]: [&Host; 2], family: Family, garbage: Garbage, strangers: impl FnOnce()) {
    let before = sctp.counters(to).unwrap();
    let frames = garbage.frames(from, to, family, BYSTANDER, PORT);
    let rate = if garbage.reaches_workers() { RATE_TO_WORKERS } else { RATE };
    let flood = Flood::start(from, frames, Some(rate)).unwrap();
    let started = Instant::now();
    strangers();
    let took = started.elapsed();
    while flood.so_far().frames < LEAST {
        assert!(started.elapsed() < LONG, "the flood only drips: {:?}", flood.so_far());
        std::thread::sleep(Duration::from_millis(5));
    }
    let flood = flood.stop().unwrap();
    let moved: Counters = sctp.counters(to).unwrap().since(&before);
    let named: u64 = garbage.counters().iter().map(|name| moved.get(name)).sum();
    let seconds = flood.time.as_secs_f64();
    println!(
        "{:<22} {:.3} Mpps offered, {:.3} Mpps judged, strangers were done after {took:.1?}; {moved:?}",
        garbage.name(),
        flood.mpps(),
        named as f64 / seconds / 1e6,
    );
    // A cable loses what its other end has no time for.
    assert!(named > LEAST / 20, "{} frames, of which {named} were counted as such: {moved:?}", flood.frames);
}

/// Waits until the bystander has had answers again: whatever a flood did to it, it goes on.
fn goes_on(bystander: &mut Process) {
    // What was printed in the meantime comes first.
    for _ in 0..2 {
        bystander.wait_for_line("progress", LONG).unwrap();
    }
}

/// usrsctp connects, while an association of ours was there before; all of it on one host.
#[test]
fn usrsctp_connects_during_floods() {
    if !require_root() {
        return;
    }
    let lab = Lab::new("flood", 1).unwrap();
    let (left, right) = (&lab.pair.left, &lab.pair.right);
    flood::route_back(right, left).unwrap();
    let family = Family::Ipv4;
    let server = lab.serve(&["echo"], &["--json"]).unwrap();
    let options = ["--mode", "ping", "--duration", "300s", "--local-port", &BYSTANDER.to_string()];
    let mut bystander = lab.sctp.perf_client(left, right.socket_address(family, PORT), &options).unwrap();
    bystander.wait_for_line("progress", LONG).unwrap();

    for garbage in Garbage::ALL {
        flooded(&lab.sctp, [left, right], family, garbage, || {
            let options = ["--count", "100", "--size", "1-3000", "--streams", "4"];
            let mut client = lab.usrsctp(left, family, &peer::usrsctp_client().unwrap(), &options);
            let client = Process::spawn(client.arg(right.address(family).to_string())).unwrap().summary(LONG).unwrap();
            assert_eq!((&client["succeeded"], &client["received"]), (&true.into(), &100.into()), "{client}");
        });
        goes_on(&mut bystander);
    }
    let summary = bystander.stop(LONG).unwrap().summary().unwrap();
    assert_eq!((&summary["mismatched"], &summary["lost"]), (&0.into(), &0.into()), "{summary}");
    let summary = stop(server).unwrap().summary().unwrap();
    let associations = Garbage::ALL.len() + 1;
    assert_eq!((&summary["associations"], &summary["failed"]), (&associations.into(), &0.into()), "{summary}");
}

/// The kernel connects, while an association of its own was there before.
#[test]
fn the_kernel_connects_during_floods() {
    if !require_root() {
        return;
    }
    let foreign = Foreign::new(Stack::Kernel, "floodk", &PairConfig::default()).unwrap();
    let (left, right) = (&foreign.lab.pair.left, &foreign.lab.pair.right);
    // Without a route back: the guest, which is slow, would drown in INIT ACKs for others.
    let family = Family::Ipv6;
    let server = foreign.serve_ours(&[]).unwrap();
    let port = BYSTANDER.to_string();
    let options = ["--mode", "ping", "--count", "0", "--duration", "300", "--local-port", &port];
    let mut bystander = foreign.client(family, &[&options[..], &["--timeout", "400"]].concat()).unwrap();
    let received = |least: u64| {
        let wanted =
            |association: &serde_json::Value| association["counters"]["messages_received"].as_u64() > Some(least);
        foreign.our_association(wanted).unwrap()["counters"]["messages_received"].as_u64().unwrap()
    };
    received(10);

    for garbage in Garbage::ALL {
        flooded(foreign.sctp(), [right, left], family, garbage, || {
            let options = ["--mode", "echo", "--count", "100", "--size", "1-3000", "--streams", "4"];
            let client = foreign.client_summary(family, &options).unwrap();
            assert_eq!(client["received"], 100, "{client}");
        });
        // Whatever the flood did to it, it goes on.
        received(received(0) + 10);
    }
    // With one message under way at a time, a message lost would have been its last.
    assert!(!bystander.has_ended().unwrap(), "{:?}", bystander.wait(LONG));
    drop(bystander);
    let summary = stop(server).unwrap().summary().unwrap();
    assert_eq!(summary["associations"], Garbage::ALL.len() + 1, "{summary}");
}
