//! Many usrsctp clients at a time, each on a host of its own, against one server of ours: some end in order, some die in the middle of it,
//! some come again. The server tells them apart, and nothing of any of them stays.

use std::collections::BTreeMap;
use std::time::Instant;

use sctp_lab::veth::Family;
use sctp_lab::{Crowd, Host, Process, Sctp, peer, require_root};
use sctp_tests::foreign::{ended, notices};
use sctp_tests::{LONG, PORT, stop};
use serde_json::Value;

/// What becomes of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Ends when all has come back.
    Ends,
    /// Is killed in mid-transfer.
    Dies,
    /// Is killed in mid-transfer, and another begins at the same port.
    ComesAgain,
}

/// One after the other; of each as many.
const FATES: [Fate; 3] = [Fate::Ends, Fate::Dies, Fate::ComesAgain];

/// Clients of each round.
const CLIENTS: u8 = 9;

/// Rounds of the same, over one family and the other: memory that stays behind after each would add up.
const ROUNDS: u64 = 2;

/// Messages of those that end.
const COUNT: u64 = 400;

/// What a round may leave behind, octets, before it is taken for what clients have left: a tenth of what they send in it, and less than
/// the send buffers of those that die.
const SLACK: u64 = 2 << 20;

/// usrsctp's client on a host, from port 6000.
fn client(host: &Host, server: &Host, family: Family, options: &[&str]) -> Process {
    let local = host.address(family).to_string();
    let mut command = host.namespace.command(peer::usrsctp_client().unwrap());
    command.args(["--port", &PORT.to_string(), "--local", &local, "--local-port", "6000"]);
    command.args(["--mode", "echo", "--size", "1-16384", "--streams", "4", "--window", "16"]).args(options);
    Process::spawn(command.arg(server.address(family).to_string())).unwrap()
}

/// By the client's address: messages that our server has received from it.
fn received(sctp: &Sctp, server: &Host) -> BTreeMap<String, u64> {
    let stats = sctp.stats(server).unwrap();
    let associations = stats["associations"].as_array().unwrap();
    let of = |association: &Value| {
        let address = association["paths"][0]["address"].as_str().unwrap().to_owned();
        (address, association["counters"]["messages_received"].as_u64().unwrap())
    };
    associations.iter().map(of).collect()
}

/// Waits for what `wanted` says of [`received`].
fn wait_for(sctp: &Sctp, server: &Host, wanted: impl Fn(&BTreeMap<String, u64>) -> bool) {
    let deadline = Instant::now() + LONG;
    loop {
        let received = received(sctp, server);
        if wanted(&received) {
            return;
        }
        assert!(Instant::now() < deadline, "{received:?}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Octets of memory that a process has touched.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel tells");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// All clients at a time, until the server has no association any more.
fn round(sctp: &Sctp, server: &Host, clients: &[Host], family: Family) {
    let count = COUNT.to_string();
    let begin = |(host, fate): (&Host, Fate)| {
        let options = match fate {
            Fate::Ends => vec!["--count", &count],
            Fate::Dies | Fate::ComesAgain => vec!["--count", "0", "--duration", "3600"],
        };
        (fate, client(host, server, family, &options))
    };
    let running: Vec<_> = clients.iter().zip(FATES.into_iter().cycle()).map(begin).collect();
    let goes_on = |host: &Host, received: &BTreeMap<String, u64>| {
        received.get(&host.address(family).to_string()).is_some_and(|received| *received > 20)
    };
    for (host, (fate, mut process)) in clients.iter().zip(running) {
        if fate == Fate::Ends {
            let summary = process.summary(LONG).unwrap();
            assert_eq!((&summary["succeeded"], &summary["received"]), (&true.into(), &COUNT.into()), "{summary}");
            continue;
        }
        wait_for(sctp, server, |received| goes_on(host, received));
        process.signal(libc::SIGKILL).unwrap();
        assert!(!process.wait(LONG).unwrap().status.success());
        if fate == Fate::ComesAgain {
            let summary = client(host, server, family, &["--count", &count]).summary(LONG).unwrap();
            assert_eq!((&summary["succeeded"], &summary["received"]), (&true.into(), &COUNT.into()), "{summary}");
        }
    }
    wait_for(sctp, server, BTreeMap::is_empty);
}

#[test]
fn a_crowd_of_clients_comes_and_goes() {
    if !require_root() {
        return;
    }
    let sctp = Sctp::build().unwrap();
    let crowd = Crowd::create("crowd", CLIENTS + 1).unwrap();
    let (server, clients) = crowd.hosts.split_first().unwrap();
    // Dead clients are given up after four seconds.
    let options = ["-p", &PORT.to_string(), "--json", "--profile", "ran"];
    let (process, _) = sctp.serve(server, &["echo"], &options).unwrap();
    let mut memory = Vec::new();
    for number in 0..ROUNDS {
        let family = if number % 2 == 0 { Family::Ipv4 } else { Family::Ipv6 };
        round(&sctp, server, clients, family);
        memory.push(resident(process.id()));
    }
    println!("octets after each round: {memory:?}");

    let finished = stop(process).unwrap();
    let (summary, associations) = (finished.summary().unwrap(), ended(&finished));
    let of_each = u64::from(CLIENTS) / FATES.len() as u64;
    let in_all = u64::from(CLIENTS) * ROUNDS;
    assert_eq!(
        (&summary["associations"], &summary["failed"]),
        (&in_all.into(), &(of_each * ROUNDS).into()),
        "{summary}"
    );
    let sum: u64 = associations.iter().map(|association| association["received"].as_u64().unwrap()).sum();
    assert_eq!(summary["received"], sum, "{summary}");
    for family in [Family::Ipv4, Family::Ipv6] {
        for (host, fate) in clients.iter().zip(FATES.into_iter().cycle()) {
            let peer = host.socket_address(family, 6000).to_string();
            let its: Vec<_> = associations.iter().filter(|association| association["peer"] == peer.as_str()).collect();
            let rounds = if family == Family::Ipv4 { ROUNDS.div_ceil(2) } else { ROUNDS / 2 };
            assert_eq!(its.len() as u64, rounds, "{peer} {fate:?}: {its:?}");
            for association in its {
                let (received, restarts) =
                    (association["received"].as_u64().unwrap(), notices(association, "restarted").len());
                match fate {
                    Fate::Ends => assert_eq!((received, restarts), (COUNT, 0), "{association}"),
                    Fate::Dies => assert!(received > 20 && restarts == 0, "{association}"),
                    Fate::ComesAgain => assert!(received > COUNT + 20 && restarts == 1, "{association}"),
                }
                assert_eq!(association["error"].is_null(), fate != Fate::Dies, "{association}");
            }
        }
    }
    // The first round has shown how much there must be at a time.
    let growth = memory[memory.len() - 1].saturating_sub(memory[0]);
    assert!(growth < SLACK * (ROUNDS - 1), "memory stays behind: {memory:?}");
}
