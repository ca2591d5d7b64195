//! Our stack and the Linux kernel's SCTP, each as the other's client and server: every octet of every message, both families,
//! and graceful ends from either side.
//!
//! The kernel runs as User-Mode Linux on the right: see [`sctp_lab::uml`].

use anyhow::Result;
use sctp_lab::content::{Digest, Sizes};
use sctp_lab::uml::Guest;
use sctp_lab::veth::Family;
use sctp_lab::{Host, Process, require_root};
use sctp_tests::{LONG, Lab, PORT, is_in_use, stop};
use serde_json::Value;

/// Our stack on the left, the kernel on the right.
struct KernelLab {
    // Ends before the namespaces do.
    guest: Guest,
    lab: Lab,
}

impl KernelLab {
    fn new(label: &str) -> Result<Self> {
        let lab = Lab::new(label, 1)?;
        Ok(Self { guest: Guest::in_place_of(&lab.pair.right)?, lab })
    }

    /// The kernel's server, bound to one of its addresses.
    fn serve(&self, family: Family, options: &[&str]) -> Result<Process> {
        let (port, address) = (PORT.to_string(), self.lab.pair.right.address(family).to_string());
        let mut server =
            self.guest.spawn(&[&["kernel_server", "--port", &port, "--local", &address], options].concat())?;
        server.wait_for_line("listening", LONG)?;
        Ok(server)
    }

    /// The kernel's client, bound to all of its addresses or to one, against our server on the left.
    fn client(&self, family: Family, options: &[&str]) -> Result<Process> {
        let (port, address) = (PORT.to_string(), self.ours().address(family).to_string());
        self.guest.spawn(&[&["kernel_client", "--port", &port], options, &[&address]].concat())
    }

    /// Our server on the left.
    fn serve_ours(&self, options: &[&str]) -> Result<Process> {
        let port = PORT.to_string();
        Ok(self.lab.sctp.serve(self.ours(), &["echo"], &[&["-p", &port, "--json"], options].concat())?.0)
    }

    fn ours(&self) -> &Host {
        &self.lab.pair.left
    }

    /// Our client against the kernel's echo server, which must see each association end in order.
    fn ours_to_kernel(&self, family: Family, runs: &[&[&str]]) {
        for options in runs {
            let mut server = self.serve(family, &["--associations", "1"]).unwrap();
            let client = self.lab.perf_client(family, &[&["--mode", "echo"], *options].concat()).unwrap();
            let server = server.summary(LONG).unwrap();
            assert_eq!(server["received"], client["sent"], "{server}");
            assert_eq!((&server["graceful"], &server["checksum_errors"]), (&true.into(), &0.into()), "{server}");
        }
    }

    /// The kernel's client against our echo server.
    fn kernel_to_ours(&self, family: Family, runs: &[&[&str]]) {
        let server = self.serve_ours(&[]).unwrap();
        let mut sent = 0;
        for options in runs {
            let client = self.client(family, options).unwrap().summary(LONG).unwrap();
            assert_eq!((&client["succeeded"], &client["checksum_errors"]), (&true.into(), &0.into()), "{client}");
            sent += client["sent"].as_u64().unwrap();
        }
        let summary = stop(server).unwrap().summary().unwrap();
        assert_eq!((&summary["received"], &summary["failed"]), (&sent.into(), &0.into()), "{summary}");
        assert_eq!(summary["associations"], runs.len(), "{summary}");
    }

    /// So many of the kernel's clients at a time against our echo server.
    fn kernel_clients_at_once(&self, family: Family, count: u64) {
        let server = self.serve_ours(&[]).unwrap();
        let options = ["--mode", "echo", "--count", "100", "--size", "1-8192", "--streams", "4", "--window", "8"];
        let clients: Vec<_> = (0..count).map(|_| self.client(family, &options).unwrap()).collect();
        for mut client in clients {
            let client = client.summary(LONG).unwrap();
            assert_eq!((&client["succeeded"], &client["received"]), (&true.into(), &100.into()), "{client}");
        }
        let summary = stop(server).unwrap().summary().unwrap();
        assert_eq!((&summary["received"], &summary["failed"]), (&(100 * count).into(), &0.into()), "{summary}");
        assert_eq!(summary["associations"], count, "{summary}");
    }
}

#[test]
fn ours_to_kernel_few() {
    if !require_root() {
        return;
    }
    let lab = KernelLab::new("tok").unwrap();
    let few: &[&[&str]] = &[
        &["--count", "1", "--size", "1"],
        &["--count", "1", "--size", "65536"],
        &["--count", "100", "--size", "1-65536", "--streams", "10"],
        &["--count", "100", "--size", "1-65536", "--streams", "10", "--unordered"],
    ];
    for family in [Family::Ipv4, Family::Ipv6] {
        lab.ours_to_kernel(family, few);
    }
}

#[test]
fn ours_to_kernel_many() {
    if !require_root() {
        return;
    }
    let many: &[&[&str]] = &[
        &["--count", "20000", "--size", "1-1400", "--streams", "16", "--window", "256"],
        &["--count", "1000", "--size", "1-65536", "--streams", "16", "--window", "16"],
    ];
    KernelLab::new("tokmany").unwrap().ours_to_kernel(Family::Ipv4, many);
}

/// The kernel announces all its addresses, of both families, where it is not bound to one.
#[test]
fn kernel_to_ours_few() {
    if !require_root() {
        return;
    }
    let lab = KernelLab::new("fromk").unwrap();
    for family in [Family::Ipv4, Family::Ipv6] {
        let local = lab.lab.pair.right.address(family).to_string();
        let few: &[&[&str]] = &[
            &["--count", "1", "--size", "1"],
            &["--count", "1", "--size", "65536", "--local", &local],
            &["--count", "100", "--size", "1-65536", "--streams", "10"],
            &["--count", "100", "--size", "1-65536", "--streams", "10", "--unordered", "--local", &local],
        ];
        lab.kernel_to_ours(family, few);
        lab.kernel_clients_at_once(family, 8);
    }
}

#[test]
fn kernel_to_ours_many() {
    if !require_root() {
        return;
    }
    let many: &[&[&str]] = &[
        &["--count", "20000", "--size", "1-1400", "--streams", "16", "--window", "256"],
        &["--count", "1000", "--size", "1-65536", "--streams", "16", "--window", "16"],
    ];
    KernelLab::new("fromkmany").unwrap().kernel_to_ours(Family::Ipv4, many);
}

/// A hundred thousand messages from one octet to 64 KiB, mostly small: 0.6 GB each way, which the guest takes minutes for.
const LONG_RUNS: &[&[&str]] = &[
    &["--count", "100000", "--size", "1-1400", "--streams", "16", "--window", "256"],
    &["--count", "100000", "--size", "1~65536", "--streams", "16", "--window", "64"],
];

#[test]
#[ignore = "takes minutes: cargo xtask test long"]
fn ours_to_kernel_100_000() {
    if !require_root() {
        return;
    }
    KernelLab::new("toklong").unwrap().ours_to_kernel(Family::Ipv6, LONG_RUNS);
}

#[test]
#[ignore = "takes minutes: cargo xtask test long"]
fn kernel_to_ours_100_000() {
    if !require_root() {
        return;
    }
    KernelLab::new("fromklong").unwrap().kernel_to_ours(Family::Ipv6, LONG_RUNS);
}

/// What the guest sends is lost now and then: the kernel's messages and its SACKs. Nothing of that is seen by the applications.
#[test]
fn messages_survive_loss() {
    if !require_root() {
        return;
    }
    let lab = KernelLab::new("lossk").unwrap();
    lab.guest.run(&["tc", "qdisc", "add", "dev", "vec0", "root", "netem", "loss", "2%"]).unwrap();
    let options: &[&[&str]] = &[&["--count", "2000", "--size", "1-8192", "--streams", "4", "--window", "64"]];
    lab.ours_to_kernel(Family::Ipv4, options);
    lab.kernel_to_ours(Family::Ipv6, options);
    let statistics = lab.guest.run(&["tc", "-s", "qdisc", "show", "dev", "vec0"]).unwrap();
    assert!(!statistics.contains("dropped 0,"), "netem has lost nothing: {statistics}");
}

/// The kernel's reader sleeps while many small messages come: their overhead fills its buffer long before its window is used up, so that
/// it closes the window over what is on its way, and drops that. What is sent again is answered, but not taken, more often than
/// Association.Max.Retrans of the profile: the peer is there all the same (RFC 9260 §6.1 A).
#[test]
fn a_reader_may_sleep() {
    if !require_root() {
        return;
    }
    const MESSAGES: usize = 25_000;
    let lab = KernelLab::new("sleepk").unwrap();
    let options = ["--sink", "--associations", "1", "--sleep-after", "50"];
    let mut server = lab.serve(Family::Ipv6, &options).unwrap();
    let mut send = lab.lab.sctp.command(lab.ours(), &["send"]);
    let address = lab.lab.pair.right.socket_address(Family::Ipv6, PORT).to_string();
    let mut send = Process::spawn(send.args(["--profile", "ran", &address])).unwrap();
    send.write_line(&vec!["x"; MESSAGES].join("\n")).unwrap();
    let all_taken = |association: &Value| {
        association["counters"]["messages_sent"] == MESSAGES && association["paths"][0]["outstanding"] == 0
    };
    let association = lab.lab.association(lab.ours(), all_taken).unwrap();
    let timeouts = association["counters"]["t3_timeouts"].as_u64();
    assert!(timeouts > Some(1), "the window has closed over what was outstanding: {association}");
    send.signal(libc::SIGINT).unwrap();
    send.wait(LONG).unwrap();
    let server = server.summary(LONG).unwrap();
    assert_eq!((&server["received"], &server["graceful"]), (&MESSAGES.into(), &true.into()), "{server}");
    assert!(server["longest_gap_seconds"].as_f64() > Some(2.0), "it has slept: {server}");
}

/// One way, judged by the digest of what the kernel's server received.
#[test]
fn the_kernel_digests_what_we_send() {
    if !require_root() {
        return;
    }
    let lab = KernelLab::new("digestk").unwrap();
    let sizes: Sizes = "1~65536".parse().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut expected = Digest::default();
    let mut send = lab.lab.sctp.command(lab.ours(), &["send"]);
    send.arg(lab.lab.pair.right.socket_address(Family::Ipv4, PORT).to_string());
    for sequence in 0..100 {
        let message = sctp_lab::content::content(sequence, sizes.of(sequence) as usize);
        expected.add(0, &message);
        let file = directory.path().join(format!("{sequence:03}"));
        std::fs::write(&file, message).unwrap();
        send.arg(file);
    }
    let mut server = lab.serve(Family::Ipv4, &["--sink", "--associations", "1"]).unwrap();
    let finished = Process::spawn(&mut send).unwrap().wait(LONG).unwrap();
    assert!(finished.status.success(), "{finished:?}");
    let server = server.summary(LONG).unwrap();
    assert_eq!((&server["received"], &server["graceful"]), (&100.into(), &true.into()), "{server}");
    assert_eq!(server["digest_by_stream"], expected.by_stream(), "{server}");
}

/// When our server ends, the kernel's client sees a SHUTDOWN, not an ABORT and not silence.
#[test]
fn our_server_ends_gracefully() {
    if !require_root() {
        return;
    }
    let lab = KernelLab::new("endk").unwrap();
    let server = lab.serve_ours(&[]).unwrap();
    let mut client = lab.client(Family::Ipv4, &["--mode", "ping", "--count", "0", "--duration", "60"]).unwrap();
    lab.lab.association(lab.ours(), is_in_use).unwrap();
    stop(server).unwrap();
    let summary = client.wait(LONG).unwrap().summary().unwrap();
    assert_eq!(summary["graceful"], true, "{summary}");
    assert!(summary["received"].as_u64().unwrap() > 0, "{summary}");
}
