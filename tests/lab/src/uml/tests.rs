use super::*;
use crate::content::Digest;
use crate::veth::Family;
use crate::{Pair, PairConfig, peer, require_root};

const LONG: Duration = Duration::from_secs(120);

fn pair(label: &str) -> Pair {
    Pair::create(label, &PairConfig::default()).unwrap()
}

/// In the guest: status, stdout, stderr, stdin, signals, and several commands at a time.
#[test]
fn commands_run_in_the_guest() {
    if !require_root() {
        return;
    }
    let pair = pair("uml");
    let guest = Guest::in_place_of(&pair.right).unwrap();
    assert_eq!(guest.run(&["uname", "-r"]).unwrap(), guest.release());
    let script = "echo out; echo err >&2; read -r word; echo $word; exit 7";
    let mut process = guest.spawn(&["sh", "-c", script]).unwrap();
    let mut sleeping = guest.spawn(&["sleep", "1000"]).unwrap();
    assert_eq!(process.wait_for_line("out", LONG).unwrap(), "out");
    process.write_line("word").unwrap();
    let finished = process.wait(LONG).unwrap();
    assert_eq!((finished.status.code(), finished.stderr.as_str()), (Some(7), "err\n"));
    assert_eq!(finished.stdout, ["out", "word"]);
    assert!(!sleeping.has_ended().unwrap());
    assert!(!sleeping.stop(LONG).unwrap().status.success());
    let error = guest.run(&["no-such-program"]).unwrap_err().to_string();
    assert!(error.contains("no-such-program"), "{error}");
    // More than any buffer on the way holds.
    let long = guest.run(&["seq", "100000"]).unwrap();
    assert_eq!(long.lines().count(), 100_000);
    let netem = ["tc", "qdisc", "add", "dev", "vec0", "root", "netem", "loss", "1%"];
    guest.run(&netem).unwrap();
    guest.power_off().unwrap();
    assert!(pair.right.namespace.processes().unwrap().is_empty());
}

/// Whether dropped or orphaned, a guest leaves no process.
#[test]
fn nothing_is_left_of_a_guest() {
    if !require_root() {
        return;
    }
    let pair = pair("gone");
    let guest = Guest::in_place_of(&pair.right).unwrap();
    assert!(pair.right.namespace.processes().unwrap().len() > 2);
    drop(guest);
    wait_until_empty(&pair.right.namespace);
    // The kernel ends a guest with the thread that started it.
    let guest = std::thread::scope(|scope| scope.spawn(|| Guest::in_place_of(&pair.right).unwrap()).join().unwrap());
    wait_until_empty(&pair.right.namespace);
    drop(guest);
}

fn wait_until_empty(namespace: &Namespace) {
    let deadline = Instant::now() + LONG;
    while !namespace.processes().unwrap().is_empty() {
        assert!(Instant::now() < deadline, "{:?} are left", namespace.processes());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// usrsctp and the kernel, each as the other's client and server: so the lab itself is known to be sound.
#[test]
fn the_kernel_and_usrsctp_talk() {
    if !require_root() {
        return;
    }
    let pair = pair("talk");
    let guest = Guest::in_place_of(&pair.right).unwrap();
    let options = ["--count", "500", "--size", "1~65536", "--streams", "7", "--window", "32"];
    let expected = Digest::of_run(500, "1~65536".parse().unwrap(), 7);
    for family in [Family::Ipv4, Family::Ipv6] {
        let (ours, its) = (pair.left.address(family).to_string(), pair.right.address(family).to_string());
        let mut server = guest.spawn(&["kernel_server", "--associations", "1", "--local", &its]).unwrap();
        server.wait_for_line("listening", LONG).unwrap();
        let mut client = pair.left.namespace.command(peer::usrsctp_client().unwrap());
        let client = Process::spawn(client.args(["--local", &ours]).args(options).arg(&its)).unwrap().summary(LONG);
        let client = client.unwrap();
        assert_eq!(client["succeeded"], true, "{client}");
        assert_judgement(&server.summary(LONG).unwrap(), &expected);

        let mut server = pair.left.namespace.command(peer::usrsctp_server().unwrap());
        let mut server = Process::spawn(server.args(["--associations", "1", "--local", &ours])).unwrap();
        server.wait_for_line("listening", LONG).unwrap();
        let words = [&["kernel_client"], &options[..], &[&ours]].concat();
        let client = guest.spawn(&words).unwrap().summary(LONG).unwrap();
        assert_eq!((&client["succeeded"], &client["checksum_errors"]), (&true.into(), &0.into()), "{client}");
        assert_judgement(&server.summary(LONG).unwrap(), &expected);
    }
}

fn assert_judgement(server: &serde_json::Value, expected: &Digest) {
    assert_eq!((&server["graceful"], &server["checksum_errors"]), (&true.into(), &0.into()), "{server}");
    assert_eq!(server["digest_by_stream"], expected.by_stream(), "{server}");
}
