//! Our stack and usrsctp, each as the other's client and server: every octet of every message, both families.

use anyhow::Result;
use sctp_lab::content::{Digest, Sizes, content};
use sctp_lab::veth::Family;
use sctp_lab::{Process, peer, require_root};
use sctp_tests::{LONG, Lab, is_in_use, stop};
use serde_json::Value;

/// usrsctp's server on the right; ended when dropped.
fn usrsctp_server(lab: &Lab, family: Family, options: &[&str]) -> Result<Process> {
    let program = peer::usrsctp_server()?;
    let mut server = Process::spawn(&mut lab.usrsctp(&lab.pair.right, family, &program, options))?;
    server.wait_for_line("listening", LONG)?;
    Ok(server)
}

/// usrsctp's client on the left, to its end: fails unless all came back unchanged and the end was graceful.
fn usrsctp_client(lab: &Lab, family: Family, options: &[&str]) -> Result<Value> {
    let program = peer::usrsctp_client()?;
    let mut command = lab.usrsctp(&lab.pair.left, family, &program, options);
    Process::spawn(command.arg(lab.pair.right.address(family).to_string()))?.summary(LONG)
}

/// Our client sends to usrsctp's echo server, which must see each association end in order.
fn ours_to_usrsctp(label: &str, family: Family, runs: &[&[&str]]) {
    if !require_root() {
        return;
    }
    let lab = Lab::new(label, 1).unwrap();
    for options in runs {
        let mut server = usrsctp_server(&lab, family, &["--associations", "1"]).unwrap();
        let client = lab.perf_client(family, &[&["--mode", "echo"], *options].concat()).unwrap();
        let server = server.summary(LONG).unwrap();
        assert_eq!(server["received"], client["sent"], "{server}");
        assert_eq!((&server["graceful"], &server["checksum_errors"]), (&true.into(), &0.into()), "{server}");
    }
}

/// usrsctp's client sends to our echo server.
fn usrsctp_to_ours(label: &str, family: Family, runs: &[&[&str]]) {
    if !require_root() {
        return;
    }
    let lab = Lab::new(label, 1).unwrap();
    let server = lab.serve(&["echo"], &["--json"]).unwrap();
    let mut sent = 0;
    for options in runs {
        let client = usrsctp_client(&lab, family, options).unwrap();
        assert_eq!((&client["succeeded"], &client["checksum_errors"]), (&true.into(), &0.into()), "{client}");
        sent += client["sent"].as_u64().unwrap();
    }
    let summary = stop(server).unwrap().summary().unwrap();
    assert_eq!((&summary["received"], &summary["failed"]), (&sent.into(), &0.into()), "{summary}");
    assert_eq!(summary["associations"], runs.len(), "{summary}");
}

#[test]
fn ours_to_usrsctp_ipv4() {
    let few: &[&[&str]] = &[
        &["--count", "1", "--size", "1"],
        &["--count", "1", "--size", "65536"],
        &["--count", "100", "--size", "1-65536", "--streams", "10"],
        &["--count", "100", "--size", "1-65536", "--streams", "10", "--unordered"],
    ];
    ours_to_usrsctp("to4", Family::Ipv4, few);
}

#[test]
fn ours_to_usrsctp_ipv6() {
    let few: &[&[&str]] = &[
        &["--count", "1", "--size", "65536"],
        &["--count", "100", "--size", "1-65536", "--streams", "10"],
        &["--count", "100", "--size", "1-3000", "--streams", "3", "--unordered"],
    ];
    ours_to_usrsctp("to6", Family::Ipv6, few);
}

#[test]
fn ours_to_usrsctp_many() {
    let many: &[&[&str]] = &[
        &["--count", "100000", "--size", "1-1400", "--streams", "16", "--window", "256"],
        &["--count", "100000", "--size", "1~65536", "--streams", "16", "--window", "64"],
    ];
    ours_to_usrsctp("tomany", Family::Ipv4, many);
}

#[test]
fn usrsctp_to_ours_ipv4() {
    let few: &[&[&str]] = &[
        &["--count", "1", "--size", "1"],
        &["--count", "1", "--size", "65536"],
        &["--count", "100", "--size", "1-65536", "--streams", "10"],
        &["--count", "100", "--size", "1-65536", "--streams", "10", "--unordered"],
    ];
    usrsctp_to_ours("from4", Family::Ipv4, few);
}

#[test]
fn usrsctp_to_ours_ipv6() {
    let few: &[&[&str]] = &[
        &["--count", "1", "--size", "65536"],
        &["--count", "100", "--size", "1-65536", "--streams", "10"],
        &["--count", "100", "--size", "1-3000", "--streams", "3", "--unordered"],
    ];
    usrsctp_to_ours("from6", Family::Ipv6, few);
}

/// A hundred thousand messages from one octet to 64 KiB, mostly small: 0.6 GB each way.
#[test]
fn usrsctp_to_ours_many() {
    let many: &[&[&str]] = &[&["--count", "100000", "--size", "1~65536", "--streams", "16", "--window", "64"]];
    usrsctp_to_ours("frommany", Family::Ipv4, many);
}

/// One way, judged by usrsctp's digest of what arrived.
#[test]
fn usrsctp_digests_what_we_send() {
    if !require_root() {
        return;
    }
    let lab = Lab::new("digest", 1).unwrap();
    let sizes: Sizes = "1~65536".parse().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut expected = Digest::default();
    let mut send = lab.sctp.command(&lab.pair.left, &["send"]);
    send.arg(lab.pair.right.socket_address(Family::Ipv4, sctp_tests::PORT).to_string());
    for sequence in 0..200 {
        let message = content(sequence, sizes.of(sequence) as usize);
        expected.add(0, &message);
        let file = directory.path().join(format!("{sequence:03}"));
        std::fs::write(&file, message).unwrap();
        send.arg(file);
    }

    let mut server = usrsctp_server(&lab, Family::Ipv4, &["--sink", "--associations", "1"]).unwrap();
    let finished = Process::spawn(&mut send).unwrap().wait(LONG).unwrap();
    assert!(finished.status.success(), "{finished:?}");
    let server = server.summary(LONG).unwrap();
    assert_eq!((&server["received"], &server["graceful"]), (&200.into(), &true.into()), "{server}");
    assert_eq!(server["digest_by_stream"], expected.by_stream(), "{server}");
}

/// One way, judged by the files that our `sctp recv` wrote.
#[test]
fn we_receive_what_usrsctp_sends() {
    if !require_root() {
        return;
    }
    let lab = Lab::new("files", 1).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let mut server = lab.serve(&["recv"], &["--count", "200", "--out", out.to_str().unwrap()]).unwrap();
    let options = ["--mode", "sink", "--count", "200", "--size", "1~65536"];
    assert_eq!(usrsctp_client(&lab, Family::Ipv4, &options).unwrap()["succeeded"], true);
    let finished = server.wait(LONG).unwrap();
    assert!(finished.status.success(), "{finished:?}");

    let sizes: Sizes = "1~65536".parse().unwrap();
    let mut files: Vec<_> = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 200);
    for (sequence, file) in (0..).zip(files) {
        let message = std::fs::read(&file).unwrap();
        assert!(message == content(sequence, sizes.of(sequence) as usize), "message {sequence} in {}", file.display());
    }
}

/// When our server ends, usrsctp's client sees a SHUTDOWN, not an ABORT and not silence.
#[test]
fn our_server_ends_gracefully() {
    if !require_root() {
        return;
    }
    let lab = Lab::new("end", 1).unwrap();
    let server = lab.serve(&["echo"], &[]).unwrap();
    let program = peer::usrsctp_client().unwrap();
    let options = ["--mode", "ping", "--count", "0", "--duration", "60"];
    let mut command = lab.usrsctp(&lab.pair.left, Family::Ipv4, &program, &options);
    let mut client = Process::spawn(command.arg(lab.pair.right.ipv4.to_string())).unwrap();
    lab.association(&lab.pair.right, is_in_use).unwrap();
    stop(server).unwrap();
    let finished = client.wait(LONG).unwrap();
    let summary = finished.summary().unwrap();
    assert_eq!(summary["graceful"], true, "{summary}");
    assert!(summary["received"].as_u64().unwrap() > 0, "{summary}");
}
