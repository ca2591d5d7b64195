//! INITs that are answered in front of the endpoint (`sctp_common::init`): with what the endpoint itself would answer, and with cookies that it
//! takes for its own (RFC 9260 §5.1.3).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use proptest::prelude::*;
use sctp_common::cookie::CookieSettings;
use sctp_common::frame::decode;
use sctp_common::init::{Announced, Terms, answer};
use sctp_common::judge::Tables;
use sctp_common::maps::{AddressKey, PeerEntry, PeerKey, PortEntry, TagEntry, TagKey};
use sctp_core::time::Instant;
use sctp_core::wire::{ChunkType, CookieEcho, Packet};
use sctp_core::{AssociationConfig, CookieSecret, Endpoint, EndpointConfig, Handled, ListenConfig};

use crate::stage::{SERVER_PORT, handle};

const PEER_PORT: u16 = 5000;
const SECRET: [u64; 2] = [11, 12];
const NOW: Instant = Instant::from_millis(1234);

/// What a program in front of an endpoint without associations knows.
struct Front {
    own: Vec<IpAddr>,
}

impl Tables for Front {
    fn port(&self, _: u16) -> PortEntry {
        PortEntry::owned(true)
    }

    fn tag(&self, _: &TagKey) -> Option<TagEntry> {
        None
    }

    fn peer(&self, _: &PeerKey) -> Option<PeerEntry> {
        None
    }

    fn is_ours(&self, address: &[u8; 16]) -> bool {
        self.own.iter().any(|own| AddressKey::new(*own).0 == *address)
    }
}

/// An INIT, who it is from, and who it is for.
#[derive(Clone, Debug)]
struct Case {
    own: Vec<IpAddr>,
    source: IpAddr,
    fixed: [u8; 16],
    parameters: Vec<u8>,
    config: AssociationConfig,
}

impl Case {
    fn endpoint(&self) -> Endpoint {
        let config = EndpointConfig {
            addresses: self.own.clone(),
            cookie_secret: Some(CookieSecret::new(SECRET)),
            ..EndpointConfig::default()
        };
        let mut endpoint = Endpoint::new(config, [1; 32]);
        endpoint.listen(SERVER_PORT, ListenConfig { association: self.config.clone(), ..Default::default() }).unwrap();
        endpoint
    }

    /// Our address that the peer sends to.
    fn destination(&self) -> IpAddr {
        *self.own.iter().find(|own| own.is_ipv4() == self.source.is_ipv4()).unwrap()
    }

    fn packet(&self) -> Vec<u8> {
        let value = [&self.fixed[..], &self.parameters].concat();
        let mut chunk = vec![1, 0];
        chunk.extend((value.len() as u16 + 4).to_be_bytes());
        chunk.extend(value);
        chunk.resize(chunk.len().next_multiple_of(4), 0);
        sctp(0, &chunk)
    }

    /// What the endpoint answers.
    fn by_endpoint(&self) -> Option<Vec<u8>> {
        let mut endpoint = self.endpoint();
        handle(&mut endpoint, NOW, self.source, self.destination(), &self.packet());
        let mut buffer = [0; 1480];
        let sent = endpoint.poll_transmit(NOW, &mut buffer)?;
        assert_eq!((sent.destination, sent.source), (self.source, Some(self.destination())));
        assert!(endpoint.poll_transmit(NOW, &mut [0; 1480]).is_none());
        Some(buffer[..sent.len].to_vec())
    }

    /// What is answered in front of it.
    fn in_front(&self) -> Option<Vec<u8>> {
        let frame = frame(self.source, self.destination(), &self.packet());
        let packet = decode(frame.as_slice()).unwrap();
        let config = EndpointConfig::default();
        let epoch = config.cookie_epoch().as_nanos() as u64;
        let lifespans = [config.cookie_lifetime, 2 * config.cookie_lifetime].map(|life| life.as_millis() as u32);
        let terms = Terms {
            settings: &CookieSettings::new(&CookieSecret::new(SECRET), epoch, 0, lifespans),
            offer: &self.config.offer(),
            announced: &Announced::new(&self.own),
            now: NOW.as_nanos(),
            number: 7,
        };
        let mut out = [0; 1024];
        let length = answer(&frame, &packet, &Front { own: self.own.clone() }, &terms, &mut out)?;
        let answered = decode(&out[..length]).unwrap();
        let addresses = answered.addresses(&out[..]).unwrap();
        assert_eq!(addresses.source, AddressKey::new(self.destination()).0);
        assert_eq!(addresses.destination, AddressKey::new(self.source).0);
        Some(out[answered.sctp_offset.into()..length].to_vec())
    }

    /// Compares the two answers, and has the endpoint make an association of the cookie; whether there was an answer in front.
    fn compare(&self) -> bool {
        let Some(front) = self.in_front() else { return false };
        let own = self.by_endpoint().expect("the endpoint does not answer");
        assert_eq!(Drawn::take(&front).rest, Drawn::take(&own).rest);

        let mut associations = Vec::new();
        for ack in [&front, &own] {
            let Drawn { tag, cookie, .. } = Drawn::take(ack);
            let echo = CookieEcho { cookie: &cookie };
            let mut chunk = vec![10, 0];
            chunk.extend((4 + echo.cookie.len() as u16).to_be_bytes());
            chunk.extend(&cookie);
            let mut endpoint = self.endpoint();
            let now = NOW + Duration::from_millis(5);
            let handled = handle(&mut endpoint, now, self.source, self.destination(), &sctp(tag, &chunk));
            assert!(matches!(handled, Handled::Processed(_)), "{handled:?}");
            let association = endpoint.associations().next().expect("no association");
            assert_eq!(association.local_tag(), tag);
            let paths: Vec<_> = association.paths().map(|path| (path.address, path.state)).collect();
            let status = (association.state(), association.peer_tag(), association.peer_port(), paths);
            associations.push(status);
        }
        assert_eq!(associations[0], associations[1]);
        true
    }
}

/// A packet of the peer's with the right checksum.
fn sctp(tag: u32, chunk: &[u8]) -> Vec<u8> {
    let mut packet = PEER_PORT.to_be_bytes().to_vec();
    packet.extend(SERVER_PORT.to_be_bytes());
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(chunk);
    let checksum = sctp_common::crc32c::checksum(&packet);
    packet[8..12].copy_from_slice(&checksum.to_le_bytes());
    packet
}

/// The packet in a frame.
fn frame(source: IpAddr, destination: IpAddr, packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = vec![0x45, 0];
            header.extend((packet.len() as u16 + 20).to_be_bytes());
            header.extend([0, 0, 0x40, 0, 64, 132, 0, 0]);
            header.extend(source.octets());
            header.extend(destination.octets());
            let words = header.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
            let sum = words.sum::<u32>();
            let sum = (sum >> 16) + (sum & 0xffff);
            let sum = !((sum >> 16) + sum) as u16;
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            frame.extend([8, 0]);
            frame.extend(header);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((packet.len() as u16).to_be_bytes());
            frame.extend([132, 64]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        _ => unreachable!("they are of one family"),
    }
    frame.extend(packet);
    frame
}

/// What two INIT ACKs cannot have in common, and the rest.
struct Drawn {
    tag: u32,
    cookie: Vec<u8>,
    rest: Vec<u8>,
}

impl Drawn {
    fn take(packet: &[u8]) -> Self {
        let parsed = Packet::parse(packet).unwrap();
        let kind = parsed.chunks().next().unwrap().unwrap().chunk_type;
        assert_eq!(kind, ChunkType::INIT_ACK, "{parsed}");
        assert!(sctp_core::wire::verify_checksum(packet), "{packet:02x?}");
        let mut rest = packet.to_vec();
        let cookie = 36..32 + usize::from(u16::from_be_bytes([packet[34], packet[35]]));
        // Checksum, tags, TSNs, MAC.
        for range in [8..12, 16..20, 28..32, 44..48, 60..64, cookie.end - 16..cookie.end] {
            rest[range].fill(0);
        }
        let tag = u32::from_be_bytes(packet[16..20].try_into().unwrap());
        assert_ne!(tag, 0);
        Self { tag, cookie: packet[cookie].to_vec(), rest }
    }
}

fn parameter(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend((value.len() as u16 + 4).to_be_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

const OUR_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const OUR_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

fn addresses_of_peers() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        6 => (1..20_u8).prop_map(|last| IpAddr::from([10, 0, 1, last])),
        6 => (1..20_u16).prop_map(|last| IpAddr::from([0xfd01, 0, 0, 0, 0, 0, 0, last])),
        1 => Just(IpAddr::from([127, 0, 0, 1])),
        1 => Just(IpAddr::from([169, 254, 3, 1])),
        1 => Just(IpAddr::from([224, 0, 0, 1])),
        1 => Just(IpAddr::from([255; 4])),
        1 => Just(IpAddr::from([0; 4])),
        1 => Just(IpAddr::from(Ipv6Addr::LOCALHOST)),
        1 => Just(IpAddr::from(Ipv6Addr::UNSPECIFIED)),
        1 => Just(IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 9])),
        1 => Just(IpAddr::from([0xff02, 0, 0, 0, 0, 0, 0, 1])),
        1 => Just(IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0x0a00, 0x0102])),
        1 => Just(IpAddr::from(OUR_V4)),
        1 => Just(IpAddr::from(OUR_V6)),
    ]
}

fn parameters() -> impl Strategy<Value = Vec<u8>> {
    let bytes = |most| prop::collection::vec(any::<u8>(), 0..most);
    prop_oneof![
        8 => addresses_of_peers().prop_map(|address| match address {
            IpAddr::V4(v4) => parameter(5, &v4.octets()),
            IpAddr::V6(v6) => parameter(6, &v6.octets()),
        }),
        2 => prop::collection::vec(prop_oneof![Just(5_u16), Just(6), Just(11), any::<u16>()], 0..4)
            .prop_map(|types| parameter(12, types.map_be().as_flattened())),
        2 => any::<u32>().prop_map(|more| parameter(9, &(more % 100_000).to_be_bytes())),
        2 => Just(parameter(0x8000, &[])),
        1 => Just(parameter(0xc000, &[])),
        1 => bytes(8).prop_map(|types| parameter(0x8008, &types)),
        1 => bytes(40).prop_map(|padding| parameter(0x8005, &padding)),
        1 => bytes(8).prop_map(|cookie| parameter(7, &cookie)),
        1 => bytes(8).prop_map(|report| parameter(8, &report)),
        1 => bytes(8).prop_map(|name| parameter(11, &name)),
        // The kernel's adaptation indication.
        2 => Just(parameter(0xc006, &[0, 0, 0, 1])),
        3 => (any::<u16>(), bytes(36)).prop_map(|(kind, value)| parameter(kind | 0x2000, &value)),
        // With a length of its own.
        1 => (any::<u16>(), 0..12_u16).prop_map(|(kind, length)| [kind.to_be_bytes(), length.to_be_bytes()].concat()),
    ]
}

trait BigEndian {
    fn map_be(self) -> Vec<[u8; 2]>;
}

impl BigEndian for Vec<u16> {
    fn map_be(self) -> Vec<[u8; 2]> {
        self.into_iter().map(u16::to_be_bytes).collect()
    }
}

fn owns() -> impl Strategy<Value = Vec<IpAddr>> {
    let (v4, v6) = (IpAddr::from(OUR_V4), IpAddr::from(OUR_V6));
    prop_oneof![
        2 => Just(vec![v4, v6]),
        1 => Just(vec![v6, v4]),
        1 => Just(vec![IpAddr::from([127, 0, 0, 1]), v4, v6, IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 5])]),
        1 => Just(vec![v4, v6, IpAddr::from([10, 0, 0, 3]), IpAddr::from([10, 0, 0, 4])]),
        1 => Just((0..9_u8).map(|last| IpAddr::from([10, 0, 0, 2 + last])).chain([v6]).collect()),
    ]
}

fn cases() -> impl Strategy<Value = Case> {
    // Packets from others are not looked at any further.
    let source = addresses_of_peers()
        .prop_filter("unicast", |source| sctp_common::rules::is_unicast(&AddressKey::new(*source).0));
    let streams = || prop_oneof![1..4_u16, any::<u16>().prop_map(|streams| streams.max(1))];
    let fixed = (any::<u32>(), 0..200_000_u32, prop_oneof![9 => streams(), 1 => Just(0)], streams(), any::<u32>());
    let config = (streams(), streams(), any::<bool>(), 1..20_usize, 4380..5_000_000_usize);
    (owns(), source, fixed, prop::collection::vec(parameters(), 0..8), 0..3_usize, config).prop_map(
        |(own, source, fixed, parameters, cut, (outbound, inbound, ecn, paths, window))| {
            let (tag, a_rwnd, os, mis, tsn) = fixed;
            let [a, b, c, d] = tag.to_be_bytes();
            let [e, f, g, h] = a_rwnd.to_be_bytes();
            let ([i, j], [k, l]) = (os.to_be_bytes(), mis.to_be_bytes());
            let [m, n, o, p] = tsn.to_be_bytes();
            let mut parameters = parameters.concat();
            // The last one may come without its padding.
            parameters.truncate(parameters.len().saturating_sub(cut));
            Case {
                own,
                source,
                fixed: [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p],
                parameters,
                config: AssociationConfig {
                    outbound_streams: outbound,
                    max_inbound_streams: inbound,
                    ecn,
                    max_paths: paths,
                    receive_buffer: window,
                    max_message_size: 2000,
                    ..AssociationConfig::default()
                },
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Whatever the INIT and the endpoint's settings: if it is answered in front, it is answered alike.
    //= test RFC 9260 §5.1: "Moreover, "Z" MUST generate and send along with the INIT ACK chunk a State Cookie."
    //= test RFC 9260 §3.2.2: "it MUST put the "Unrecognized Parameter" parameter(s) in the INIT ACK chunk sent in
    //= response to the INIT chunk"
    #[test]
    fn the_answer_in_front_is_the_endpoints(case in cases()) {
        case.compare();
    }
}

fn plain(source: IpAddr, parameters: Vec<Vec<u8>>) -> Case {
    Case {
        own: vec![OUR_V4.into(), OUR_V6.into()],
        source,
        fixed: [0, 0, 0, 9, 0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 5],
        parameters: parameters.concat(),
        config: AssociationConfig::default(),
    }
}

/// The test above would be content if nothing were answered: what usual stacks send is.
#[test]
fn usual_inits_are_answered_in_front() {
    let kernel = vec![
        parameter(12, &[0, 5, 0, 6]),
        parameter(0x8000, &[]),
        parameter(0x8008, &[0xc0, 0x82, 0x40]),
        parameter(0xc000, &[]),
        parameter(0xc006, &[0; 4]),
    ];
    let usrsctp = vec![
        parameter(0xc006, &[0; 4]),
        parameter(0x8000, &[]),
        parameter(0xc000, &[]),
        parameter(0x8008, &[0xc1, 0x80, 0x0f, 0x82, 0xc0, 0x40, 0xc2]),
        parameter(0x8002, &[7; 32]),
        parameter(0x8004, &[0, 3, 0, 1]),
        parameter(0x8003, &[0xc1, 0x80]),
        parameter(5, &[10, 0, 1, 1]),
        parameter(5, &[10, 0, 1, 2]),
        parameter(12, &[0, 5]),
    ];
    for source in [IpAddr::from([10, 0, 1, 1]), IpAddr::from([0xfd01, 0, 0, 0, 0, 0, 0, 1])] {
        for parameters in [vec![], kernel.clone(), usrsctp.clone()] {
            assert!(plain(source, parameters.clone()).compare(), "{source} {parameters:02x?}");
        }
    }
}

/// Peers on this host or link know other addresses of ours than others do.
#[test]
fn neighbours_are_left_to_the_endpoint() {
    for source in [[127, 0, 0, 1], [169, 254, 0, 9], OUR_V4.octets()] {
        assert_eq!(plain(IpAddr::from(source), vec![]).in_front(), None);
    }
}

/// A tag that was drawn for two cookies makes one association: the second peer is told to try again.
#[test]
fn a_tag_is_not_used_twice() {
    let (first, second) = (plain(IpAddr::from([10, 0, 1, 1]), vec![]), plain(IpAddr::from([10, 0, 1, 2]), vec![]));
    let [one, other] = [&first, &second].map(|case| Drawn::take(&case.in_front().unwrap()));
    // The input differs in nothing that is drawn from.
    assert_eq!(one.tag, other.tag);
    let mut endpoint = first.endpoint();
    let now = NOW + Duration::from_millis(5);
    for (case, drawn, accepted) in [(&first, &one, true), (&second, &other, false), (&first, &one, true)] {
        let mut chunk = vec![10, 0];
        chunk.extend((4 + drawn.cookie.len() as u16).to_be_bytes());
        chunk.extend(&drawn.cookie);
        let handled = handle(&mut endpoint, now, case.source, case.destination(), &sctp(drawn.tag, &chunk));
        assert_eq!(matches!(handled, Handled::Processed(_)), accepted, "{handled:?}");
    }
    assert_eq!(endpoint.associations().count(), 1);
}
