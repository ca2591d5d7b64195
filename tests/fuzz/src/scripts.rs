//! Writes the seeds of the targets that read scripts: see `association` and `pair` for what the bytes mean.

use std::fs;

use crate::seeds::{directory, write};
use crate::{association, cookie, pair, setup};

type Target = (&'static str, fn(&[u8]), usize);

/// The targets, and how many seeds they have at least.
const TARGETS: [Target; 4] =
    [("association", association, 20), ("pair", pair, 10), ("cookie", cookie, 8), ("setup", setup, 20)];

// How far the association of a script has come.
const SERVER: u8 = 0;
const CLIENT: u8 = 1;
const LISTENING: u8 = 2;
const CONNECTING: u8 = 3;

// Instructions of `association`.
const SEND: [u8; 3] = [10, 0, 0];
const NEXT_TIMER: [u8; 1] = [17];
const READ_ALL: [u8; 2] = [21, 7];
const SHUT_DOWN: [u8; 2] = [22, 0];
const ABORT: [u8; 2] = [22, 5];
/// An unfragmented message of 60 bytes.
const DATA: [u8; 6] = [2, 3, 0, 1, 0, 10];
/// The application sends 1000 bytes.
const SAY: [u8; 6] = [19, 1, 0, 0x03, 0xe8, 0];

#[test]
fn scripts_are_written_and_stood() {
    write_associations();
    write_pairs();
    write_cookies();
    write_setups();
    for (target, run, least) in TARGETS {
        let seeds: Vec<_> = fs::read_dir(directory(target)).expect("the seeds").collect();
        assert!(seeds.len() >= least, "{target} has {} seeds", seeds.len());
        for entry in seeds {
            run(&fs::read(entry.expect("a seed").path()).expect("a seed"));
        }
    }
}

fn write_associations() {
    let script = |name: &str, how_far: u8, settings: u8, parts: &[&[u8]]| {
        write("association", name, &[&[how_far, settings], parts.concat().as_slice()].concat());
    };
    let acknowledge = [5, 0, 20, 0];
    let answer = [[7, 0].as_slice(), &SEND].concat();
    let ten = |part: &[u8]| part.repeat(10);
    for (name, how_far) in
        [("server", SERVER), ("client", CLIENT), ("listening", LISTENING), ("connecting", CONNECTING)]
    {
        script(&format!("{name}-alone"), how_far, 0, &[&ten(&NEXT_TIMER)]);
        script(
            &format!("{name}-handshake-late"),
            how_far,
            4,
            &[&[9, 1], &SEND, &NEXT_TIMER, &answer, &answer, &answer],
        );
    }
    script("data-in-order", SERVER, 0, &[&ten(&DATA), &SEND, &READ_ALL, &DATA, &SEND, &READ_ALL]);
    script("data-with-holes", SERVER, 4, &[&[2, 3, 2, 1, 1, 10], &[2, 3, 5, 1, 3, 10], &SEND, &DATA, &SEND, &READ_ALL]);
    script(
        "data-fragments",
        CLIENT,
        0,
        &[&[2, 2, 0, 1, 0, 200], &[2, 0, 0, 1, 0, 200], &SEND, &[2, 1, 0, 1, 0, 9], &SEND],
    );
    script("data-again", CLIENT, 4, &[&DATA, &SEND, &[2, 3, 255, 1, 0, 10], &SEND, &[2, 3, 128, 1, 0, 10], &SEND]);
    script("data-over-the-window", SERVER, 4, &[&ten(&[2, 3, 0, 1, 0, 255]), &[23, 15], &READ_ALL]);
    script("messages-acknowledged", SERVER, 0, &[&ten(&SAY), &acknowledge, &SEND, &SHUT_DOWN, &answer]);
    script("messages-lost", SERVER, 2, &[&ten(&SAY), &ten(&NEXT_TIMER), &acknowledge, &SEND]);
    script(
        "gaps-acknowledged",
        CLIENT,
        0,
        &[&ten(&SAY), &[5, 8, 20, 2, 2, 2, 4, 5], &SEND, &[5, 8, 20, 1, 2, 6], &SEND],
    );
    script("gaps-reneged", CLIENT, 0, &[&ten(&SAY), &[5, 8, 20, 1, 2, 5], &SEND, &[5, 8, 20, 0], &SEND, &NEXT_TIMER]);
    script("a-closed-window", SERVER, 3, &[&ten(&SAY), &[5, 5, 0, 0], &SEND, &ten(&NEXT_TIMER), &acknowledge, &SEND]);
    script("a-sack-of-what-was-not-sent", SERVER, 0, &[&SAY, &[5, 200, 20, 0], &SEND]);
    script("shutdown-by-us", SERVER, 3, &[&SHUT_DOWN, &answer, &NEXT_TIMER]);
    script("shutdown-by-the-peer", CLIENT, 3, &[&SAY, &[8, 0], &SEND, &[7, 0], &SEND]);
    script("shutdowns-that-cross", CLIENT, 3, &[&SHUT_DOWN, &[8, 0], &SEND, &answer, &answer]);
    script("shutdown-unanswered", SERVER, 3, &[&SHUT_DOWN, &NEXT_TIMER.repeat(60)]);
    script("aborted-by-us", CLIENT, 0, &[&SAY, &ABORT, &DATA, &SEND]);
    script("aborted-by-the-peer", CLIENT, 0, &[&SAY, &[0, 6, 0, 0, 0], &SEND, &SAY]);
    script("the-peer-restarts", SERVER, 0, &[&SAY, &[9, 3], &SEND, &answer, &SAY]);
    script("the-peer-restarts-with-more-addresses", SERVER, 4, &[&[9, 11], &SEND, &answer]);
    script("heartbeats-answered", SERVER, 3, &[&ten(&[&NEXT_TIMER, answer.as_slice()].concat())]);
    script("time-leaps", SERVER, 3, &[&ten(&SAY), &[18, 0xff, 0xff], &acknowledge, &SEND, &[18, 0xff, 0xff]]);
    script(
        "wrong-tags-and-sums",
        SERVER,
        0,
        &[&DATA, &[10, 251, 0], &DATA, &[10, 253, 0], &DATA, &[13], &DATA, &[10, 0, 15]],
    );
    write_captured(&script);
}

/// What usrsctp sent: each packet's chunks on an established association, and all of them to one that listens.
fn write_captured(script: &impl Fn(&str, u8, u8, &[&[u8]])) {
    let mut names: Vec<_> = fs::read_dir(directory("packet"))
        .expect("the captured packets")
        .map(|entry| entry.expect("a packet").file_name().into_string().expect("a name"))
        .filter(|name| name.starts_with("usrsctp-"))
        .collect();
    names.sort();
    let mut all = Vec::new();
    for name in names {
        let bytes = fs::read(directory("packet").join(&name)).expect("a packet");
        let block = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes(), bytes].concat();
        let chunks = [&[1], block(&bytes[12..]).as_slice(), &SEND].concat();
        script(&name, SERVER, 0, &[&chunks]);
        all.extend([[14].as_slice(), &block(&bytes), &chunks].concat());
    }
    script("usrsctp-all", LISTENING, 0, &[&all]);
}

fn write_pairs() {
    let script = |name: &str, settings: [u8; 2], parts: &[&[u8]]| {
        write("pair", name, &[settings.as_slice(), &parts.concat()].concat());
    };
    // Instructions: twice their number, plus one if they concern the server.
    let say = [30, 1, 0x0f, 0xa0, 0];
    let (deliver_all, next_timer, read) = ([8], [28], [34, 35]);
    let shut_down = [36, 0];
    let some = |part: &[u8]| part.repeat(6);
    script("a-transfer", [0, 0], &[&some(&say), &some(&deliver_all), &read, &shut_down, &some(&deliver_all)]);
    script("a-transfer-with-narrow-settings", [4, 4], &[&some(&say), &some(&deliver_all), &read, &some(&deliver_all)]);
    script("losses", [0, 0], &[&some(&say), &[11, 0, 11, 1], &deliver_all, &some(&next_timer), &deliver_all, &read]);
    script("doubles", [0, 0], &[&some(&say), &[13, 0, 13, 0, 13, 2], &some(&deliver_all), &read]);
    script("disorder", [0, 0], &[&some(&say), &[7, 3, 7, 1, 7, 2], &some(&deliver_all), &read]);
    script("damage", [0, 0], &[&say, &[15, 0, 0, 0, 20, 1], &deliver_all, &next_timer, &deliver_all, &read]);
    script("forgery", [0, 0], &[&say, &[17, 0, 0, 0, 20, 1], &deliver_all, &next_timer, &deliver_all, &read]);
    script("a-forged-handshake", [0x40, 0], &[&[17, 0, 0, 0, 40, 1], &some(&deliver_all), &some(&next_timer)]);
    script("splices", [0, 4], &[&some(&say), &[21, 0, 1], &some(&deliver_all), &read]);
    script("both-connect", [0x40, 0], &[&[37, 11], &some(&deliver_all), &say, &some(&deliver_all), &read]);
    script("both-shut-down", [3, 3], &[&[36, 0, 37, 0], &some(&deliver_all), &some(&next_timer)]);
    script("nothing-arrives", [3, 3], &[&some(&say), &next_timer.repeat(60)]);
    script("clocks-leap", [3, 3], &[&some(&say), &[38, 255, 39, 255], &some(&deliver_all), &read]);
}

fn write_cookies() {
    // Settings, how, tag; then the cookie, or what is done to a good one.
    let alien = |name: &str, bytes: &[u8]| write("cookie", name, &[&[0, 0, 1, 2, 3, 4], bytes].concat());
    alien("empty", &[]);
    alien("short", b"a cookie");
    alien("long", &[1; 1000]);
    alien("of-the-right-form", &[&[1, 0, 0, 0], [0; 92].as_slice()].concat());
    alien("with-many-addresses", &[&[1, 0, 255, 0], [0; 92].as_slice()].concat());
    let changed = |name: &str, how: u8, bytes: &[u8]| write("cookie", name, &[&[0, how, 0, 0, 0, 0], bytes].concat());
    changed("good", 0x01, &[0, 0]);
    changed("good-and-late", 0x01, &[0x75, 0x31]);
    changed("good-with-addresses", 0x07, &[0, 0]);
    changed("good-with-data", 0x01, &[0, 0, 0, 3, 0, 20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
    changed("a-bit-changed", 0x09, &[0, 8, 1, 0, 0]);
    changed("cut", 0x21, &[0, 40, 0, 0]);
    changed("padded", 0x21, &[0, 7, 0, 0, 0]);
    changed("with-another-tag", 0x41, &[0, 0, 0, 0, 0, 1]);
    changed("from-elsewhere", 0x81, &[0, 0, 9]);
}

fn write_setups() {
    for entry in fs::read_dir(directory("parameters")).expect("the seeds of the parameters") {
        let path = entry.expect("a seed").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let parameters = fs::read(&path).expect("a seed");
        for (end, how) in [("init", 0), ("init-ack", 1)] {
            let head = [how, 0, 0, 1, 0, 0, 0, 10, 0, 10];
            write("setup", &format!("{end}-{name}"), &[head.as_slice(), &parameters].concat());
        }
    }
    write("setup", "init-without-window", &[0, 0, 0, 0, 0, 0, 0, 1, 0, 1]);
    write("setup", "init-ack-without-cookie", &[3, 0, 0, 1, 0, 0, 0, 1, 0, 1]);
    write("setup", "init-without-streams", &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
}
