//! A link between two routers becomes narrower than those of the hosts, and wide again, while messages go both ways (RFC 9260 §7.3, §10;
//! RFC 8899): no message is lost, and both ends come to send what it carries.

use std::time::Instant;

use sctp_lab::routers::Routers;
use sctp_lab::veth::Family;
use sctp_lab::{Faults, PairConfig};
use sctp_tests::foreign::{Foreign, RAN_TIMERS, Stack, ended};
use sctp_tests::{LONG, interrupt, is_in_use, stop};
use serde_json::Value;

/// What the hosts' own links carry.
const WIDE: u16 = 1500;

/// As wide as the link between the routers is for a while.
fn narrow(family: Family) -> u16 {
    match family {
        Family::Ipv4 => 1300,
        Family::Ipv6 => 1280,
    }
}

/// Ends that do not wait long for what is lost, and look soon for a path that is wide again.
const OUR_TIMERS: [&str; 4] = ["--profile", "ran", "--path-mtu-raise", "1s"];

/// Messages that fill packets of any size; so many that they do not end before the test says so.
const MESSAGES: [&str; 6] = ["--mode", "echo", "--window", "32", "--size", "1-8192"];

fn routers(foreign: &Foreign) -> &Routers {
    foreign.lab.pair.routers.as_ref().expect("a pair with routers")
}

fn mtu(association: &Value) -> u64 {
    association["paths"][0]["mtu"].as_u64().expect("the MTU of a path")
}

fn received(association: &Value) -> u64 {
    association["counters"]["messages_received"].as_u64().expect("a counter")
}

/// Waits for so many more messages.
fn go_on(foreign: &Foreign, messages: u64) {
    let before = received(&foreign.our_association(|_| true).unwrap());
    foreign.our_association(|association| received(association) >= before + messages).unwrap();
}

/// The packets of the peer that came in fragments.
fn reassembled(foreign: &Foreign) -> u64 {
    let stats = foreign.sctp().stats(&foreign.lab.pair.left).unwrap();
    let workers = stats["workers"].as_array().expect("workers");
    workers.iter().map(|worker| worker["link"]["reassembled"].as_u64().expect("a counter")).sum()
}

/// Waits until neither end sends what is too big for the way: no router has to say so, and none has to fragment.
fn nothing_is_too_big(foreign: &Foreign) {
    let deadline = Instant::now() + LONG;
    loop {
        let before = (routers(foreign).errors_sent().unwrap(), reassembled(foreign));
        go_on(foreign, 50);
        let after = (routers(foreign).errors_sent().unwrap(), reassembled(foreign));
        if before == after {
            return;
        }
        assert!(Instant::now() < deadline, "packets are too big again and again: {before:?}, {after:?}");
    }
}

/// The link narrows and the routers say so, until both ends have understood; then it widens, until ours has found out.
///
/// For usrsctp's packets it stays wide, because it cannot be told: over raw sockets it sees no ICMP. Its host's kernel does, and refuses
/// what it sends with DF from then on (EMSGSIZE), whereupon usrsctp 0.9.5 sends no DATA any more and starts no timer for it.
fn narrow_for_a_while(foreign: &Foreign, family: Family) {
    let narrow = narrow(family);
    let wide = |association: &Value| is_in_use(association) && mtu(association) == u64::from(WIDE);
    foreign.our_association(wide).unwrap();
    let before = routers(foreign).errors_sent().unwrap();
    let can_be_told = foreign.guest().is_some();
    let to_us = if can_be_told { narrow } else { WIDE };
    routers(foreign).set_mtu([narrow.into(), to_us.into()]).unwrap();
    foreign.our_association(|association| mtu(association) == u64::from(narrow)).unwrap();
    nothing_is_too_big(foreign);
    let told = routers(foreign).errors_sent().unwrap();
    assert!(told[0] > before[0], "we have been told: {before:?}, {told:?}");
    assert_eq!(told[1] > before[1], can_be_told, "{before:?}, {told:?}");
    routers(foreign).set_mtu([WIDE.into(); 2]).unwrap();
    foreign.our_association(|association| mtu(association) == u64::from(WIDE)).unwrap();
    go_on(foreign, 50);
}

/// Large packets from us are lost without a word, until we have found out.
fn swallow_for_a_while(foreign: &Foreign, family: Family) {
    let narrow = narrow(family);
    foreign.our_association(is_in_use).unwrap();
    let before = routers(foreign).errors_sent().unwrap();
    // Those of the peer are not: neither of the two looks for black holes by itself.
    foreign.cable().set_each([Faults { mtu: Some(narrow.into()), ..Faults::default() }, Faults::default()]);
    foreign.our_association(|association| mtu(association) <= u64::from(narrow)).unwrap();
    go_on(foreign, 50);
    foreign.cable().set(Faults::default());
    go_on(foreign, 50);
    assert_eq!(routers(foreign).errors_sent().unwrap(), before, "nobody has said anything");
}

/// Has the peer's kernel forget what it has been told: it would remember for ten minutes, for other associations too.
fn forget(foreign: &Foreign) {
    if let Some(guest) = foreign.guest() {
        guest.run(&["ip", "route", "flush", "cache"]).unwrap();
        guest.run(&["ip", "-6", "route", "flush", "cache"]).unwrap();
    }
}

/// Our client, and what happens on the way.
fn our_client_sends(foreign: &Foreign, family: Family, happens: fn(&Foreign, Family)) {
    let mut server = foreign.serve(family, &[&["--associations", "1"], &RAN_TIMERS[..]].concat()).unwrap();
    let client = foreign.our_client(family, &[&OUR_TIMERS[..], &MESSAGES, &["--duration", "1h"]].concat()).unwrap();
    happens(foreign, family);
    let client = interrupt(client).unwrap();
    let server = server.summary(LONG).unwrap();
    assert_eq!((&server["received"], &server["graceful"]), (&client["sent"], &true.into()), "{server}");
    forget(foreign);
}

/// The peer's client, and what happens on the way.
fn its_client_sends(foreign: &Foreign, family: Family, happens: fn(&Foreign, Family)) {
    let server = foreign.serve_ours(&OUR_TIMERS).unwrap();
    let options = ["--count", "0", "--duration", "3600"];
    let mut client = foreign.client(family, &[&MESSAGES[..], &options, &RAN_TIMERS].concat()).unwrap();
    happens(foreign, family);
    let client = client.stop(LONG).unwrap().summary().unwrap();
    assert_eq!(client["succeeded"], true, "{client}");
    let server = stop(server).unwrap();
    let association = &ended(&server)[0];
    assert_eq!((&association["received"], &association["error"]), (&client["sent"], &Value::Null));
    forget(foreign);
}

fn our_client_is_told(foreign: &Foreign, family: Family) {
    our_client_sends(foreign, family, narrow_for_a_while);
}

fn our_server_is_told(foreign: &Foreign, family: Family) {
    its_client_sends(foreign, family, narrow_for_a_while);
}

fn our_client_finds_out(foreign: &Foreign, family: Family) {
    our_client_sends(foreign, family, swallow_for_a_while);
}

fn routed() -> PairConfig {
    PairConfig { routed: true, ..PairConfig::default() }
}

super::rows!("mtu", routed(), [our_client_is_told, our_server_is_told, our_client_finds_out]);
