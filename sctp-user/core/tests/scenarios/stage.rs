//! What scenarios have in common: two hosts, a link, and questions about the packets that were sent.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use sctp_core::time::Instant;
use sctp_core::wire::{Chunk, ChunkType, Data, Packet, verify_checksum};
use sctp_core::{
    AssociationConfig, AssociationId, AssociationState, ChecksumState, Datagram, Ecn, Endpoint, Event, Handled,
    SharedPayload,
};

use crate::sim::app::{Phase, Plan};
use crate::sim::network::LinkConfig;
use crate::sim::packet::{chunk_types, has, number};
use crate::sim::world::{Conversation, Verdict, World};

pub(crate) const CLIENT: usize = 0;
pub(crate) const SERVER: usize = 1;
pub(crate) const CLIENT_PORT: u16 = 40_000;
pub(crate) const SERVER_PORT: u16 = 5000;

/// One way.
pub(crate) const DELAY: Duration = Duration::from_millis(10);
pub(crate) const ROUND_TRIP: Duration = Duration::from_millis(20);

/// How late a timer may be.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// The host's `index`th address.
pub(crate) fn address(node: usize, index: u8) -> IpAddr {
    Ipv4Addr::new(10, index, 0, node as u8 + 1).into()
}

/// A client and a server with one address each, and a perfect link of 10 ms each way. Nobody has connected yet.
pub(crate) fn pair(name: &str, client: Plan, server: Plan) -> World {
    multi_homed(name, 1, client, server)
}

/// The same with several addresses each, and a link between any two of them.
pub(crate) fn multi_homed(name: &str, addresses: u8, client: Plan, server: Plan) -> World {
    let mut world = World::new(1, name, format!("cargo test -p sctp-core --test scenarios {name}"));
    for node in [CLIENT, SERVER] {
        let addresses: Vec<IpAddr> = (0..addresses).map(|index| address(node, index)).collect();
        world.node(&addresses);
    }
    world.mesh(CLIENT, SERVER, &LinkConfig::with_delay(DELAY));
    world.converse(conversation(client, server));
    world
}

pub(crate) fn conversation(client: Plan, server: Plan) -> Conversation {
    Conversation {
        client: CLIENT,
        server: SERVER,
        client_port: CLIENT_PORT,
        server_port: SERVER_PORT,
        client_plan: client,
        server_plan: server,
    }
}

/// The pair, connected: the client's side is 0 and the server's side is 1.
pub(crate) fn established(name: &str, config: &AssociationConfig) -> World {
    let plan = Plan::with_config(config.clone());
    let mut world = pair(name, plan.clone(), plan);
    establish(&mut world);
    world
}

/// Connects the first conversation.
pub(crate) fn establish(world: &mut World) {
    let client = world.connect(0);
    world.run_for(ROUND_TRIP * 3);
    assert_eq!(world.sides[client].phase, Phase::Open, "the client is connected");
    let server = world.accepted(SERVER).expect("the server has accepted");
    assert_eq!((client, server), (0, 1));
    assert_eq!(state(world, client), Some(AssociationState::Established));
    assert_eq!(state(world, server), Some(AssociationState::Established));
}

pub(crate) fn state(world: &World, side: usize) -> Option<AssociationState> {
    let side = &world.sides[side];
    Some(world.nodes[side.node].endpoint.association(side.id)?.state())
}

/// When a host sent packets with a chunk of this type.
pub(crate) fn times(world: &World, from: usize, kind: ChunkType) -> Vec<Instant> {
    let packets = world.packets.iter().filter(|packet| packet.from == Some(from) && has(&packet.bytes, kind));
    packets.map(|packet| packet.at).collect()
}

/// The chunk types of all packets so far, with the host that sent them.
pub(crate) fn dialogue(world: &World) -> Vec<(usize, Vec<ChunkType>)> {
    let packets = world.packets.iter().filter_map(|packet| Some((packet.from?, chunk_types(&packet.bytes))));
    packets.collect()
}

/// Loses the first `count` packets from this host that have a chunk of this type.
pub(crate) fn lose(world: &mut World, from: usize, kind: ChunkType, count: usize) {
    let mut left = count;
    world.intercept(move |sight| {
        if sight.from == from && left > 0 && has(sight.bytes, kind) {
            left -= 1;
            return Verdict::Drop;
        }
        Verdict::Pass
    });
}

/// The DATA chunks of a packet, as (TSN, stream).
pub(crate) fn data(bytes: &[u8]) -> Vec<(u32, u16)> {
    let mut found = Vec::new();
    for raw in Packet::parse(bytes).expect("sent packets are sound").chunks() {
        if let Ok(Chunk::Data(Data { header, .. })) = raw.and_then(Chunk::parse) {
            found.push((number(header.tsn), header.stream));
        }
    }
    found
}

/// Asserts that something happened when it should have, not earlier and at most a tick later.
#[track_caller]
pub(crate) fn assert_at(at: Instant, due: Instant, what: &str) {
    assert!(at >= due && at <= due + TICK, "{what}: was due at {due:?}, came at {at:?}");
}

/// When a side was told something.
pub(crate) fn told(world: &World, side: usize, wanted: impl Fn(&Event) -> bool) -> Option<Instant> {
    world.sides[side].events.iter().find(|(_, event)| wanted(event)).map(|(at, _)| *at)
}

/// All that a host sends from now on is lost, and all that is sent to it.
pub(crate) fn isolate(world: &mut World) {
    world.intercept(|_| Verdict::Drop);
}

/// Gives a packet to an endpoint.
pub(crate) fn handle(
    endpoint: &mut Endpoint,
    now: Instant,
    source: IpAddr,
    destination: IpAddr,
    bytes: &[u8],
) -> Handled {
    handle_hinted(endpoint, now, source, destination, bytes, None)
}

/// The same, with what the layer below believes it to belong to.
pub(crate) fn handle_hinted(
    endpoint: &mut Endpoint,
    now: Instant,
    source: IpAddr,
    destination: IpAddr,
    bytes: &[u8],
    association: Option<AssociationId>,
) -> Handled {
    let copied = bytes::Bytes::copy_from_slice(bytes);
    let datagram = Datagram {
        source,
        destination,
        encapsulation: None,
        ecn: Ecn::NotEct,
        checksum: ChecksumState::NotChecked,
        association,
        bytes,
        payload: &mut SharedPayload(&copied),
    };
    endpoint.handle(now, datagram)
}

/// Gives a packet to a host's endpoint alone: what a liar makes it believe is not what the observer of the wire knows. The endpoint
/// must stay within its means, send nothing broken, and come to rest.
pub(crate) fn serve_unobserved(world: &mut World, node: usize, source: IpAddr, destination: IpAddr, bytes: &[u8]) {
    let now = world.now;
    let endpoint = &mut world.nodes[node].endpoint;
    handle(endpoint, now, source, destination, bytes);
    let mut buffer = [0; 1480];
    let mut sent = 0;
    while endpoint.poll_event().is_some() || endpoint.poll_tag().is_some() || endpoint.poll_peer().is_some() {}
    while let Some(transmit) = endpoint.poll_transmit(now, &mut buffer) {
        let bytes = &buffer[..transmit.len];
        assert!(verify_checksum(bytes));
        for chunk in Packet::parse(bytes).expect("answers are sound").chunks() {
            Chunk::parse(chunk.expect("answers are sound")).expect("answers are sound");
        }
        sent += 1;
        assert!(sent < 100, "one packet is answered by {sent}");
    }
    assert!(endpoint.associations().count() <= 2);
}
