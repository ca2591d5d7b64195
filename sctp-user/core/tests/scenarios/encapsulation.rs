//! RFC 6951: SCTP in UDP. Two endpoints, and between them an address translator that gives one of them another UDP port.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::time::Duration;

use bytes::Bytes;
use sctp_core::time::Instant;
use sctp_core::wire::{Cause, Chunk, ChunkType, Packet};
use sctp_core::{
    AssociationConfig, AssociationError, AssociationId, ChecksumState, Connect, ConnectError, Datagram, Ecn, Endpoint,
    EndpointConfig, Event, IcmpHandled, IcmpMessage, ListenConfig, Message, SharedPayload, Transmit,
};

use crate::sim::packet::{chunk_types, has};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const PORT: u16 = 5000;

const fn udp(port: u16) -> Option<NonZeroU16> {
    NonZeroU16::new(port)
}

/// A packet on its way.
#[derive(Clone)]
struct Sent {
    transmit: Transmit,
    bytes: Bytes,
}

struct Pair {
    now: Instant,
    client: Endpoint,
    server: Endpoint,
    /// The UDP port that the server sees packets of the client come from; `None` if there is no UDP header.
    seen: Option<NonZeroU16>,
    /// All that the client and the server have sent.
    of_client: Vec<Sent>,
    of_server: Vec<Sent>,
}

/// The server's own port; the client's is 9899.
const SERVER_UDP: Option<NonZeroU16> = udp(9900);

impl Pair {
    fn new() -> Self {
        let endpoint = |address: IpAddr, udp_port, seed| {
            let addresses = vec![address];
            Endpoint::new(EndpointConfig { addresses, udp_port, ..EndpointConfig::default() }, [seed; 32])
        };
        let mut server = endpoint(SERVER, SERVER_UDP, 2);
        server.listen(PORT, ListenConfig::default()).unwrap();
        let client = endpoint(CLIENT, udp(9899), 1);
        let now = Instant::from_millis(1000);
        Self { now, client, server, seen: udp(61_000), of_client: Vec::new(), of_server: Vec::new() }
    }

    fn connect(&mut self, remote_udp_port: Option<NonZeroU16>) -> AssociationId {
        let config = AssociationConfig { remote_udp_port, ..AssociationConfig::default() };
        let connect = Connect { config, local_port: Some(40_000), ..Connect::new(SERVER, PORT) };
        let id = self.client.connect(self.now, connect).unwrap();
        self.run();
        id
    }

    /// Established, in UDP.
    fn connected() -> (Self, AssociationId, AssociationId) {
        let mut pair = Self::new();
        let id = pair.connect(SERVER_UDP);
        let accepted = pair.server.associations().next().expect("the server has accepted").id();
        (pair, id, accepted)
    }

    /// Carries packets until there are none. One that goes to the wrong port is lost.
    fn run(&mut self) {
        for _ in 0..1000 {
            self.now += Duration::from_millis(5);
            self.client.handle_timeout(self.now);
            self.server.handle_timeout(self.now);
            let mut idle = true;
            for sent in poll(&mut self.client, self.now) {
                idle = false;
                if sent.transmit.encapsulation.is_none() || sent.transmit.encapsulation == SERVER_UDP {
                    let seen = sent.transmit.encapsulation.and(self.seen);
                    deliver(&mut self.server, self.now, (CLIENT, SERVER), seen, &sent.bytes);
                }
                self.of_client.push(sent);
            }
            for sent in poll(&mut self.server, self.now) {
                idle = false;
                if sent.transmit.encapsulation.is_none() || sent.transmit.encapsulation == self.seen {
                    let seen = sent.transmit.encapsulation.and(SERVER_UDP);
                    deliver(&mut self.client, self.now, (SERVER, CLIENT), seen, &sent.bytes);
                }
                self.of_server.push(sent);
            }
            if idle {
                return;
            }
        }
        panic!("there is no end of packets");
    }

    fn send(&mut self, from_client: bool, id: AssociationId, len: usize) {
        let message = Message::new(0, Bytes::from(vec![7; len]));
        let endpoint = if from_client { &mut self.client } else { &mut self.server };
        endpoint.send(self.now, id, message).unwrap();
        self.run();
    }
}

fn poll(endpoint: &mut Endpoint, now: Instant) -> Vec<Sent> {
    let mut buffer = [0; 1480];
    std::iter::from_fn(|| {
        let transmit = endpoint.poll_transmit(now, &mut buffer)?;
        Some(Sent { transmit, bytes: Bytes::copy_from_slice(&buffer[..transmit.len]) })
    })
    .collect()
}

fn deliver(
    endpoint: &mut Endpoint,
    now: Instant,
    (source, destination): (IpAddr, IpAddr),
    encapsulation: Option<NonZeroU16>,
    bytes: &Bytes,
) {
    endpoint.handle(
        now,
        Datagram {
            source,
            destination,
            encapsulation,
            ecn: Ecn::NotEct,
            checksum: ChecksumState::NotChecked,
            association: None,
            bytes,
            payload: &mut SharedPayload(bytes),
        },
    );
}

fn port_of(endpoint: &Endpoint, id: AssociationId) -> Option<NonZeroU16> {
    endpoint.association(id).expect("it lives").primary_path().encapsulation
}

fn all(sent: &[Sent], port: Option<NonZeroU16>) -> bool {
    !sent.is_empty() && sent.iter().all(|sent| sent.transmit.encapsulation == port)
}

/// §5.3: the client goes to the port that it was told, the server to the port that it sees, INIT ACK included.
#[test]
fn an_association_in_udp() {
    let (mut pair, id, accepted) = Pair::connected();
    pair.send(true, id, 100);
    pair.send(false, accepted, 100);
    assert!(all(&pair.of_client, SERVER_UDP));
    assert!(all(&pair.of_server, udp(61_000)));
    assert!(has(&pair.of_server[0].bytes, ChunkType::INIT_ACK));
    assert!(pair.client.recv(id).is_some() && pair.server.recv(accepted).is_some());
    // The farewells, too.
    pair.client.shutdown(pair.now, id).unwrap();
    pair.run();
    assert!(all(&pair.of_client, SERVER_UDP) && all(&pair.of_server, udp(61_000)));
    assert_eq!(pair.client.associations().count() + pair.server.associations().count(), 0);
}

/// §5.4: "the UDP source port MUST be stored as the encapsulation port for the destination address the SCTP packet is received from", after
/// the tag has been checked.
#[test]
fn the_port_is_followed_if_the_tag_is_right() {
    let (mut pair, id, accepted) = Pair::connected();
    pair.seen = udp(62_000);
    pair.send(true, id, 100);
    assert_eq!(port_of(&pair.server, accepted), udp(62_000));
    // Somebody else behind the same translator, who does not know the tag.
    let data = pair.of_client.iter().rfind(|sent| has(&sent.bytes, ChunkType::DATA)).expect("DATA was sent");
    let mut forged = data.bytes.to_vec();
    forged[4] ^= 1;
    forged[8..12].fill(0);
    let sum = sctp_common::crc32c::checksum(&forged);
    forged[8..12].copy_from_slice(&sum.to_le_bytes());
    deliver(&mut pair.server, pair.now, (CLIENT, SERVER), udp(63_000), &Bytes::from(forged));
    assert_eq!(port_of(&pair.server, accepted), udp(62_000));
    pair.of_server.clear();
    pair.send(false, accepted, 100);
    assert!(all(&pair.of_server, udp(62_000)));
}

/// §5.4: "When a non-encapsulated SCTP packet is received … the encapsulation of outgoing packets … MUST be disabled", and §5.6: the path
/// takes 8 bytes less while it is not.
#[test]
fn encapsulation_ends_with_a_packet_without_and_packets_fit() {
    let (mut pair, id, accepted) = Pair::connected();
    let longest = |sent: &[Sent]| sent.iter().map(|sent| sent.bytes.len()).max();
    pair.of_client.clear();
    pair.send(true, id, 20_000);
    assert_eq!(longest(&pair.of_client), Some(1472));
    assert!(pair.of_client.iter().all(|sent| sent.transmit.fragment_to.is_none()));
    pair.client.set_remote_udp_port(pair.now, id, SERVER, None).unwrap();
    pair.of_client.clear();
    pair.send(true, id, 20_000);
    assert_eq!(longest(&pair.of_client), Some(1480));
    assert_eq!((port_of(&pair.server, accepted), port_of(&pair.client, id)), (None, None));
    pair.of_server.clear();
    pair.send(false, accepted, 20_000);
    assert!(all(&pair.of_server, None));
    assert_eq!(longest(&pair.of_server), Some(1480));
    // DATA that was cut for the larger packets goes in IP fragments (RFC 9260 §6.9).
    let message = Message::new(0, Bytes::from(vec![7; 20_000]));
    pair.client.send(pair.now, id, message).unwrap();
    let lost = poll(&mut pair.client, pair.now);
    assert_eq!(longest(&lost), Some(1480));
    pair.client.set_remote_udp_port(pair.now, id, SERVER, SERVER_UDP).unwrap();
    pair.now += Duration::from_secs(2);
    pair.of_client.clear();
    pair.run();
    let large: Vec<&Sent> = pair.of_client.iter().filter(|sent| sent.bytes.len() > 1472).collect();
    assert!(!large.is_empty() && large.iter().all(|sent| sent.transmit.fragment_to == Some(1500)));
}

/// A restart from another port needs no tag, so it is refused; one from the same port is not.
#[test]
fn a_restart_keeps_the_port() {
    let (mut pair, _, accepted) = Pair::connected();
    let restart = |pair: &mut Pair| {
        let config = EndpointConfig { addresses: vec![CLIENT], udp_port: udp(9899), ..EndpointConfig::default() };
        pair.client = Endpoint::new(config, [9; 32]);
        pair.of_server.clear();
        pair.connect(SERVER_UDP)
    };
    pair.seen = udp(62_000);
    restart(&mut pair);
    let answer = pair.of_server[0].clone();
    assert_eq!(answer.transmit.encapsulation, udp(62_000));
    let packet = Packet::parse(&answer.bytes).unwrap();
    let Ok(Chunk::Abort(abort)) = Chunk::parse(packet.chunks().next().unwrap().unwrap()) else { panic!("{packet:?}") };
    let cause = Cause::RestartWithNewEncapsulationPort { current: 61_000, new: 62_000 };
    assert_eq!(abort.causes.iter().collect::<Vec<_>>(), [Ok(cause)]);
    assert_eq!(port_of(&pair.server, accepted), udp(61_000), "nothing has changed");

    pair.seen = udp(61_000);
    restart(&mut pair);
    assert_eq!(chunk_types(&pair.of_server[0].bytes), [ChunkType::INIT_ACK]);
    let restarted =
        std::iter::from_fn(|| pair.server.poll_event()).any(|(_, event)| matches!(event, Event::Restarted { .. }));
    assert!(restarted);
    pair.of_server.clear();
    pair.send(false, accepted, 100);
    assert!(all(&pair.of_server, udp(61_000)));
}

/// §5.5: "code 'Port Unreachable' SHOULD be treated as … 'Protocol Unreachable'", of what went in UDP to the port that is in use.
#[test]
fn port_unreachable_means_that_there_is_no_sctp() {
    let (mut pair, id, _) = Pair::connected();
    pair.send(true, id, 100);
    let quoted = pair.of_client.last().unwrap().bytes.slice(..8);
    let mut tell = |encapsulation| {
        let message = IcmpMessage {
            icmp_type: 3,
            code: 3,
            mtu: 0,
            source: CLIENT,
            destination: SERVER,
            encapsulation,
            quoted: &quoted,
        };
        pair.client.handle_icmp(pair.now, &message)
    };
    assert_eq!(tell(None), IcmpHandled::Ignored);
    assert_eq!(tell(udp(1)), IcmpHandled::NotOurs);
    assert_eq!(tell(SERVER_UDP), IcmpHandled::Unreachable);
}

#[test]
fn without_a_port_of_our_own_nothing_goes_in_udp() {
    let mut client = Endpoint::new(EndpointConfig { addresses: vec![CLIENT], ..EndpointConfig::default() }, [1; 32]);
    let now = Instant::from_millis(1);
    let config = AssociationConfig { remote_udp_port: SERVER_UDP, ..AssociationConfig::default() };
    let connect = Connect { config, ..Connect::new(SERVER, PORT) };
    assert_eq!(client.connect(now, connect), Err(ConnectError::NoUdpPort));
    let id = client.connect(now, Connect::new(SERVER, PORT)).unwrap();
    assert_eq!(client.set_remote_udp_port(now, id, SERVER, SERVER_UDP), Err(AssociationError::NoUdpPort));
    assert_eq!(client.set_remote_udp_port(now, id, CLIENT, None), Err(AssociationError::NoSuchPath(CLIENT)));
}
