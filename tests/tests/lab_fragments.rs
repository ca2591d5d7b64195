//! IP fragments: the path MTU shrinks under messages on their way, and an INIT ACK is longer than any packet.

use std::io::Read as _;
use std::path::Path;
use std::time::Instant;

use sctp_common::crc32c::checksum;
use sctp_common::wire::chunk;
use sctp_lab::veth::Family;
use sctp_lab::{Host, Process, require_root};
use sctp_tests::{LONG, Lab, PORT, interrupt, stop};
use serde_json::Value;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Where the kernel's own SCTP is loaded it would answer what it reassembles, and our stack says so and drops fragments.
fn kernel_leaves_sctp_to_us() {
    assert!(!Path::new("/proc/net/sctp").exists(), "unload the kernel's own SCTP for this test: modprobe -r sctp");
}

/// A counter of the link, over all workers.
fn of_link(stack: &Value, name: &str) -> u64 {
    let workers = stack["workers"].as_array().unwrap();
    workers.iter().map(|worker| worker["link"][name].as_u64().unwrap()).sum()
}

fn set_mtu(lab: &Lab, mtu: &str) {
    for host in [&lab.pair.left, &lab.pair.right] {
        host.namespace.ip(&["link", "set", &host.interface, "mtu", mtu]).unwrap();
    }
}

/// Messages of up to 8 KiB go both ways when the links' MTU is lowered. DATA that was cut before goes in IP fragments from then on
/// (RFC 9260 §6.9), over AF_XDP, and the other stack takes what its kernel has put together.
fn the_mtu_shrinks_in_mid_transfer(label: &str, family: Family) {
    if !require_root() {
        return;
    }
    kernel_leaves_sctp_to_us();
    let lab = Lab::new(label, 2).unwrap();
    let server = lab.serve(&["echo"], &["--json", "--profile", "ran"]).unwrap();
    let options = ["--profile", "ran", "--mode", "echo", "--window", "64", "--size", "1-8192", "--duration", "1h"];
    let address = lab.pair.right.socket_address(family, PORT);
    let mut client = lab.sctp.perf_client(&lab.pair.left, address, &options).unwrap();
    client.wait_for_line("progress", LONG).unwrap();
    set_mtu(&lab, "1300");
    let mut counts = [0; 4];
    let deadline = Instant::now() + LONG;
    while counts.contains(&0) {
        assert!(!client.has_ended().unwrap(), "{:?}", client.wait(LONG));
        assert!(Instant::now() < deadline, "fragments out and in, there and back: {counts:?}");
        let [left, right] = [&lab.pair.left, &lab.pair.right].map(|host| lab.sctp.stats(host).unwrap());
        counts = [
            of_link(&left, "fragmented"),
            of_link(&right, "reassembled"),
            of_link(&right, "fragmented"),
            of_link(&left, "reassembled"),
        ];
    }
    println!("out, in, there and back: {counts:?}");
    let summary = interrupt(client).unwrap();
    let server = stop(server).unwrap().summary().unwrap();
    assert_eq!((&server["echoed"], &server["failed"]), (&summary["sent"], &0.into()), "{server}");
}

#[test]
fn the_mtu_shrinks_in_mid_transfer_ipv4() {
    the_mtu_shrinks_in_mid_transfer("frag4", Family::Ipv4);
}

#[test]
fn the_mtu_shrinks_in_mid_transfer_ipv6() {
    the_mtu_shrinks_in_mid_transfer("frag6", Family::Ipv6);
}

/// A peer that speaks as much SCTP as it takes, on a raw socket: its kernel cuts and reassembles.
struct Peer {
    socket: Socket,
    family: Family,
    to: SockAddr,
}

/// What the peer has received.
struct Heard {
    /// Source port and destination port.
    ports: [u16; 2],
    /// The first chunk without its header.
    value: Vec<u8>,
}

/// The tag that the peer draws.
const PEER_TAG: u32 = 0x0a0b_0c0d;

impl Peer {
    fn new(here: &Host, there: &Host, family: Family) -> Self {
        let domain = if family == Family::Ipv4 { Domain::IPV4 } else { Domain::IPV6 };
        let open = || Socket::new(domain, Type::from(libc::SOCK_RAW), Some(Protocol::from(libc::IPPROTO_SCTP)));
        let socket = here.namespace.run(open).unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        Self { socket, family, to: there.socket_address(family, 0).into() }
    }

    /// Waits for a packet whose first chunk is of this type.
    fn hear(&self, kind: u8) -> Heard {
        loop {
            let mut buffer = [0; 9000];
            let length = (&self.socket).read(&mut buffer).unwrap();
            let header = if self.family == Family::Ipv4 { usize::from(buffer[0] & 15) * 4 } else { 0 };
            let packet = &buffer[header..length];
            if packet[12] == kind {
                let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
                return Heard { ports: [port(0), port(2)], value: packet[16..12 + usize::from(port(14))].to_vec() };
            }
        }
    }

    /// Answers with a packet that has one chunk.
    fn say(&self, to: &Heard, tag: u32, kind: u8, value: &[u8]) {
        let [source, destination] = to.ports;
        let mut packet = [destination.to_be_bytes(), source.to_be_bytes()].concat();
        packet.extend(tag.to_be_bytes());
        packet.extend([0; 4]);
        packet.extend([kind, 0]);
        packet.extend((value.len() as u16 + 4).to_be_bytes());
        packet.extend(value);
        let sum = checksum(&packet);
        packet[8..12].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(self.socket.send_to(&packet, &self.to).unwrap(), packet.len());
    }
}

/// The INIT ACK comes in fragments, and the COOKIE ECHO goes in them.
//= test RFC 9260 §3.3.3: "An implementation MUST be prepared to receive an INIT ACK chunk that is quite large (more
//= than 1500 bytes)"
fn an_init_ack_is_longer_than_the_mtu(label: &str, family: Family) {
    if !require_root() {
        return;
    }
    kernel_leaves_sctp_to_us();
    let lab = Lab::new(label, 1).unwrap();
    let peer = Peer::new(&lab.pair.right, &lab.pair.left, family);
    let mut send = lab.sctp.command(&lab.pair.left, &["send"]);
    let mut send = Process::spawn(send.arg(lab.pair.right.socket_address(family, PORT).to_string())).unwrap();

    let init = peer.hear(chunk::INIT);
    let tag = u32::from_be_bytes(init.value[..4].try_into().unwrap());
    let cookie: Vec<u8> = (0..3000_u32).map(|value| value as u8).collect();
    // Initiate Tag, a_rwnd, streams out and in, initial TSN, State Cookie.
    let mut ack = [PEER_TAG.to_be_bytes(), 100_000_u32.to_be_bytes(), [0, 1, 0, 1], 1_u32.to_be_bytes()].concat();
    ack.extend([0, 7]);
    ack.extend((cookie.len() as u16 + 4).to_be_bytes());
    ack.extend(&cookie);
    peer.say(&init, tag, chunk::INIT_ACK, &ack);

    let echo = peer.hear(chunk::COOKIE_ECHO);
    assert_eq!(echo.value, cookie);
    peer.say(&echo, tag, chunk::COOKIE_ACK, &[]);
    // DATA only comes alone when the COOKIE ACK has arrived.
    send.write_line("hello").unwrap();
    let data = peer.hear(chunk::DATA);
    assert_eq!(data.value[12..], *b"hello");
    let stack = lab.sctp.stats(&lab.pair.left).unwrap();
    assert_eq!(of_link(&stack, "reassembled"), 1, "{stack}");
    assert!(of_link(&stack, "fragmented") > 0, "{stack}");
    send.signal(libc::SIGINT).unwrap();
    send.wait(LONG).unwrap();
}

#[test]
fn an_init_ack_is_longer_than_the_mtu_ipv4() {
    an_init_ack_is_longer_than_the_mtu("large4", Family::Ipv4);
}

#[test]
fn an_init_ack_is_longer_than_the_mtu_ipv6() {
    an_init_ack_is_longer_than_the_mtu("large6", Family::Ipv6);
}
