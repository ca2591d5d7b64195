//! What the XDP program answers by itself reaches peers that nobody here wrote, and they take it for what it is: ABORT and SHUTDOWN COMPLETE
//! with the T bit (RFC 9260 §8.4), HEARTBEAT ACK (§8.3), INIT ACK (§5.1.3).
//!
//! Our stack is on a TAP device, whose driver sends what the program returns for sending, as a NIC's does. (On veth, the other labs' device,
//! workers answer: that driver drops such frames unless the far end has an XDP program, too.) The program's counters say that no worker had a hand
//! in it, and tshark and our own decoder read the answers as the peer's interface receives them.

use std::time::{Duration, Instant};

use sctp_common::crc32c::packet_checksum;
use sctp_common::frame::decode;
use sctp_common::wire::{chunk, flags};
use sctp_lab::veth::Family;
use sctp_lab::{Faults, PacketSocket, PairConfig, capture, require_root};
use sctp_tests::foreign::{Foreign, Stack, sound};
use sctp_tests::{LONG, PORT, stop};

/// Answers that the program has given, by the names of their counters. None was left to a worker.
fn answered(foreign: &Foreign, name: &str) -> u64 {
    let counters = foreign.sctp().counters(&foreign.lab.pair.left).unwrap();
    assert_eq!(counters.get("to-be-answered"), 0, "{counters:?}");
    counters.get(name)
}

/// Waits until the program has given so many.
fn wait_for_answers(foreign: &Foreign, name: &str, count: u64) {
    let deadline = Instant::now() + LONG;
    while answered(foreign, name) < count {
        assert!(Instant::now() < deadline, "no {name}: {:?}", foreign.sctp().stats(&foreign.lab.pair.left));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The frame that answered, as the peer has received it: the next that begins with a chunk of this type and these flags.
fn seen(socket: &PacketSocket, kind: u8, flags: u8) -> Vec<u8> {
    let wanted = |frame: &[u8]| {
        let first = decode(frame).ok().and_then(|packet| packet.first_chunk());
        first.is_some_and(|first| (first.kind, first.flags) == (kind, flags))
    };
    let frame = socket.receive(LONG, wanted).unwrap().expect("an answer");
    let packet = decode(&frame[..]).unwrap();
    let computed = packet_checksum(&frame[..], packet.sctp_offset.into(), packet.sctp_len.into());
    assert_eq!(computed, Some(packet.checksum), "{frame:02x?}");
    frame
}

/// Our server knows nothing of an association that the peer sends DATA for: ABORT, and the association is lost for the peer.
fn abort(foreign: &Foreign, family: Family, socket: &PacketSocket) -> Vec<u8> {
    let mut server = foreign.serve_ours(&[]).unwrap();
    let mut client = foreign.client(family, &["--hold", "--mode", "ping"]).unwrap();
    client.wait_for_line("peer_tag", LONG).unwrap();
    server.signal(libc::SIGKILL).unwrap();
    assert!(!server.wait(LONG).unwrap().status.success());
    let server = foreign.serve_ours(&[]).unwrap();
    client.write_line("go").unwrap();
    let client = client.wait(LONG).unwrap().summary().unwrap();
    assert_eq!((&client["lost"], &client["checksum_errors"]), (&true.into(), &0.into()), "{client}");
    assert_eq!(answered(foreign, "abort"), 1);
    stop(server).unwrap();
    seen(socket, chunk::ABORT, flags::T)
}

/// The last packet of an association is lost, and our end has forgotten it when the peer asks again: SHUTDOWN COMPLETE, and the peer has
/// ended in order.
fn shutdown_complete(foreign: &Foreign, family: Family, socket: &PacketSocket) -> Vec<u8> {
    // It repeats its SHUTDOWN ACK for a while: RTO initial, minimum and maximum, heartbeats (ms), path retransmissions.
    let options = ["--associations", "1", "--timers", "300/300/1500/30000/20"];
    let mut server = foreign.serve(family, &options).unwrap();
    let without = |kinds| Faults { without: kinds, ..Faults::default() };
    foreign.cable().set(without(&[chunk::SHUTDOWN_COMPLETE]));
    let port = PORT.to_string();
    let client = foreign.our_client(family, &["--mode", "echo", "--count", "5", "--local-port", &port]);
    sound(&client.unwrap().summary(LONG).unwrap()).unwrap();
    foreign.cable().set(Faults::cut());
    // The same port, and no association.
    let ours = foreign.serve_ours(&[]).unwrap();
    // usrsctp sends HEARTBEATs beside its SHUTDOWN ACK; the answer to one that came first would be an ABORT.
    foreign.cable().set(without(&[chunk::HEARTBEAT]));
    let server = server.summary(LONG).unwrap();
    assert_eq!((&server["graceful"], &server["lost"]), (&true.into(), &false.into()), "{server}");
    assert_eq!(server["checksum_errors"], 0, "{server}");
    assert_eq!(answered(foreign, "shutdown-complete"), 1);
    foreign.cable().set(Faults::default());
    stop(ours).unwrap();
    seen(socket, chunk::SHUTDOWN_COMPLETE, flags::T)
}

/// HEARTBEATs of an idle peer, which would take its path for lost without their acknowledgements.
fn heartbeat_ack(foreign: &Foreign, family: Family, socket: &PacketSocket) -> Vec<u8> {
    let addresses = foreign.our_addresses(family);
    let words: Vec<&str> = ["--xdp-heartbeats"].into_iter().chain(addresses.iter().map(String::as_str)).collect();
    let server = foreign.serve_ours(&words).unwrap();
    let options = ["--hold", "--mode", "echo", "--count", "20", "--timers", "200/200/2000/100/2"];
    let mut client = foreign.client(family, &options).unwrap();
    client.wait_for_line("peer_tag", LONG).unwrap();
    wait_for_answers(foreign, "heartbeat-ack", 4);
    client.write_line("go").unwrap();
    let client = client.summary(LONG).unwrap();
    assert_eq!((&client["succeeded"], &client["received"]), (&true.into(), &20.into()), "{client}");
    assert_eq!((&client["paths_lost"], &client["checksum_errors"]), (&0.into(), &0.into()), "{client}");
    stop(server).unwrap();
    seen(socket, chunk::HEARTBEAT_ACK, 0)
}

/// An INIT is answered by the program, with a State Cookie that a worker takes: the association is as any other.
fn init_ack(foreign: &Foreign, family: Family, socket: &PacketSocket) -> Vec<u8> {
    let addresses = foreign.our_addresses(family);
    let words: Vec<&str> =
        ["--init-cookies", "always"].into_iter().chain(addresses.iter().map(String::as_str)).collect();
    let server = foreign.serve_ours(&words).unwrap();
    foreign.cable().set_each([Faults::default(), Faults { padding: 256, ..Faults::default() }]);
    // Packets of one frame: the padding must fit, too.
    let client = foreign.client_summary(family, &["--mode", "echo", "--count", "100", "--size", "1-1000"]).unwrap();
    foreign.cable().set(Faults::default());
    assert_eq!(client["received"], 100, "{client}");
    let counters = foreign.sctp().counters(&foreign.lab.pair.left).unwrap();
    assert!(counters.get("init-ack") >= 1, "{counters:?}");
    assert_eq!(counters.get("init"), 0, "no worker has seen an INIT: {counters:?}");
    let server = stop(server).unwrap().summary().unwrap();
    assert_eq!((&server["associations"], &server["received"]), (&1.into(), &100.into()), "{server}");
    assert_eq!(server["failed"], 0, "{server}");
    seen(socket, chunk::INIT_ACK, 0)
}

/// Each answer, over one family.
fn answers_arrive(label: &str, family: Family) {
    if !require_root() {
        return;
    }
    assert!(capture::can_judge(), "tshark is not installed: `cargo xtask setup`");
    let foreign = Foreign::new(Stack::Usrsctp, label, &PairConfig { taps: true, ..PairConfig::default() }).unwrap();
    let rows = [abort, shutdown_complete, heartbeat_ack, init_ack];
    let frames = rows.map(|row| {
        let socket = foreign.lab.pair.right.packet_socket().unwrap();
        row(&foreign, family, &socket)
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    capture::write(file.path(), &frames).unwrap();
    let findings = capture::judge(file.path()).unwrap();
    assert_eq!((findings.packets, findings.malformed, findings.bad_checksums), (4, 0, 0), "{findings:?}");
}

#[test]
fn answers_of_the_program_arrive_ipv4() {
    answers_arrive("ans4", Family::Ipv4);
}

#[test]
fn answers_of_the_program_arrive_ipv6() {
    answers_arrive("ans6", Family::Ipv6);
}

/// The Linux kernel connects by the program's INIT ACK, too.
#[test]
fn the_kernel_takes_the_programs_init_ack() {
    if !require_root() {
        return;
    }
    let config = PairConfig { taps: true, ..PairConfig::default() };
    let foreign = Foreign::new(Stack::Kernel, "ansk", &config).unwrap();
    for family in [Family::Ipv4, Family::Ipv6] {
        let socket = foreign.lab.pair.right.packet_socket().unwrap();
        init_ack(&foreign, family, &socket);
    }
}
