//! Requirements of RFC 9260 on ports, tags, cookies and restarts that no other scenario shows.

use std::net::IpAddr;
use std::time::Duration;

use sctp_core::serial::Tsn;
use sctp_core::wire::{
    Cause, Checksum, Chunk, ChunkType, CommonHeader, CookieEcho, DataFlags, Init, InitAck, Packet, Parameter,
    ParameterList, Sack, Writer,
};
use sctp_core::{AssociationState, ListenConfig, ListenError};

use crate::forger::{Forger, PEER_TAG, PEER_TSN, data_chunk, init};
use crate::sim::app::{Plan, Sizes};
use crate::sim::packet::has;
use crate::sim::world::Verdict;
use crate::stage::*;

const SECOND: Duration = Duration::from_secs(1);

/// The tag of a peer that begins again.
const NEW_TAG: u32 = 99;

//= test RFC 9260 §1.3: "A transport address used by an SCTP endpoint MUST NOT be used by another SCTP endpoint."
#[test]
fn a_port_has_one_listener() {
    let mut forger = Forger::new("one_listener");
    let again = forger.endpoint().listen(SERVER_PORT, ListenConfig::default());
    assert_eq!(again, Err(ListenError::PortInUse(SERVER_PORT)));
    forger.endpoint().unlisten(SERVER_PORT);
    assert_eq!(forger.endpoint().listen(SERVER_PORT, ListenConfig::default()), Ok(()));
    forger.finish();
}

/// Whatever addresses packets go between: ports and tags stay those of the handshake.
//= test RFC 9260 §1.3: "All transport addresses used by an SCTP endpoint MUST use the same port number but can use
//= multiple IP addresses."
//= test RFC 9260 §5.3.1: "the Verification Tag value used by either endpoint in a given association MUST NOT change
//= during the life time of an association"
#[test]
fn ports_and_tags_stay_on_every_path() {
    let plan = Plan { messages: 100, sizes: Sizes::Fixed(3000), pause: SECOND / 10, ..Plan::manual() };
    let mut world = multi_homed("ports_and_tags", 3, plan.clone(), plan);
    establish(&mut world);
    let tags = |side: usize| world.nodes[world.sides[side].node].tags(world.sides[side].id).unwrap();
    let (client, server) = (tags(0), tags(1));
    world.run_for(SECOND * 2);
    // The first path fails, and traffic moves.
    world.intercept(|sight| {
        let first = [address(CLIENT, 0), address(SERVER, 0)];
        if first.contains(&sight.source) || first.contains(&sight.destination) { Verdict::Drop } else { Verdict::Pass }
    });
    assert!(world.run_while(SECOND * 120, |world| world.sides.iter().all(|side| side.received == 100)));
    let mut sources = std::collections::BTreeSet::new();
    for captured in &world.packets {
        let packet = Packet::parse(&captured.bytes).unwrap();
        let from_client = captured.from == Some(CLIENT);
        let ports = if from_client { (CLIENT_PORT, SERVER_PORT) } else { (SERVER_PORT, CLIENT_PORT) };
        assert_eq!((packet.source_port, packet.destination_port), ports);
        if !has(&captured.bytes, ChunkType::INIT) {
            assert_eq!(packet.verification_tag, if from_client { server.local } else { client.local });
        }
        sources.insert(captured.source);
    }
    assert!(sources.len() > 2, "{sources:?}");
    for (side, before) in [(0, client), (1, server)] {
        assert_eq!(world.nodes[world.sides[side].node].tags(world.sides[side].id), Some(before));
    }
    world.shutdown(0);
    world.run_for(SECOND * 10);
    world.finish();
}

//= test RFC 9260 §3.2.1: "A sender MUST NOT pad with more than 3 bytes."
//= test RFC 9260 §3.3.2.1: "Any Type-Length-Value fields MUST be placed after the fixed-length fields."
//= test RFC 9260 §3.3.3.1: "Any Type-Length-Value fields MUST be placed after the fixed-length fields."
#[test]
fn parameters_follow_the_fixed_fields_with_little_padding() {
    const FIXED: usize = 12 + 20;
    for len in 1..=16_usize {
        let value = vec![0xff; len];
        let parameters = [Parameter::StateCookie(&value), Parameter::EcnCapable];
        for is_ack in [false, true] {
            let body = Init { parameters: ParameterList::new(&parameters), ..init(&[]) };
            let mut bytes = [0xee; 128];
            let header = CommonHeader { source_port: 1, destination_port: 2, verification_tag: 3 };
            let mut writer = Writer::new(&mut bytes, header).unwrap();
            match is_ack {
                true => writer.chunk(&InitAck(body)).unwrap(),
                false => writer.chunk(&body).unwrap(),
            }
            let written = writer.finish(Checksum::Zero);
            // The first parameter, right after the Initial TSN.
            assert_eq!(bytes[FIXED - 4..FIXED], PEER_TSN.to_be_bytes());
            assert_eq!(bytes[FIXED..FIXED + 4], [0, 7, 0, 4 + len as u8]);
            // Then the second, after as many zeroes as it takes to get to a multiple of 4, which are not more than 3.
            let end = FIXED + 4 + len;
            let next = end.next_multiple_of(4);
            assert!(next - end <= 3 && bytes[end..next].iter().all(|byte| *byte == 0));
            assert_eq!((&bytes[next..next + 4], next + 4), (&[0x80, 0, 0, 4][..], written));
        }
    }
}

/// In COOKIE-WAIT, an INIT from an address of the peer that our user has not named gets no INIT ACK.
//= test RFC 9260 §5.2.1: "The packet containing the INIT ACK chunk MUST only be sent to an address passed by the upper
//= layer in the request to initialize the association."
//= test RFC 9260 §5.2.1: "The packet containing the INIT ACK chunk MUST only be sent to an address reported in the
//= incoming INIT chunk."
//= test RFC 9260 §5.2.1: "The packet containing the INIT ACK chunk SHOULD be sent to the source address of the received
//= packet containing the INIT chunk."
#[test]
fn init_acks_go_where_the_user_wants_to_connect_to() {
    let mut forger = Forger::connecting("init_ack_to_known_addresses");
    let known = [Parameter::from_address(address(SERVER, 0))];
    forger.link = 1;
    forger.dropped(0, &[&Init { initiate_tag: NEW_TAG, ..init(&known) }], "unknown_source");
    forger.link = 0;
    for parameters in [&known[..], &[]] {
        let answers = forger.send(0, &[&Init { initiate_tag: NEW_TAG, ..init(parameters) }]);
        assert!(matches!(answers[0].only(), Chunk::InitAck(_)));
        let sent = forger.world.packets.last().unwrap();
        assert_eq!((sent.source, sent.destination), (address(CLIENT, 0), address(SERVER, 0)));
    }
    forger.finish();
}

/// A COOKIE ECHO may come from another address than the INIT. Nothing but COOKIE ACK and HEARTBEAT goes there.
//= test RFC 9260 §5.4: "A COOKIE ACK chunk MAY be sent to an UNCONFIRMED address, but it MUST be bundled with a HEARTBEAT
//= chunk including a nonce."
#[test]
fn a_cookie_ack_to_an_unconfirmed_address_comes_with_a_heartbeat() {
    let mut forger = Forger::new("cookie_ack_with_heartbeat");
    let (tag, cookie) = forger.cookie(&[Parameter::from_address(address(CLIENT, 1))]);
    forger.link = 1;
    let answers = forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
    let chunks = answers[0].chunks();
    let [Chunk::CookieAck, Chunk::Heartbeat(heartbeat)] = &chunks[..] else { panic!("{chunks:?}") };
    assert!(heartbeat.info[..8] != [0; 8], "a nonce");
    let sent = forger.world.packets.iter().find(|packet| has(&packet.bytes, ChunkType::COOKIE_ACK)).unwrap();
    assert_eq!(sent.destination, address(CLIENT, 1));
    // To the address that the INIT came from it needs none.
    let mut plain = Forger::new("cookie_ack_alone");
    let (tag, cookie) = plain.cookie(&[Parameter::from_address(address(CLIENT, 1))]);
    let answers = plain.send(tag, &[&CookieEcho { cookie: &cookie }]);
    assert!(matches!(answers[0].only(), Chunk::CookieAck));
    for forger in [forger, plain] {
        forger.finish();
    }
}

//= test RFC 9260 §5.4: "then the implementation MUST NOT send a COOKIE ECHO chunk to an UNCONFIRMED address"
#[test]
fn cookie_echos_go_to_confirmed_addresses() {
    let mut forger = Forger::connecting("cookie_echo_to_confirmed");
    let parameters = [Parameter::StateCookie(b"cookie"), Parameter::from_address(address(SERVER, 1))];
    forger.say(&[&InitAck(init(&parameters))]);
    assert_eq!(forger.association().paths().len(), 2);
    forger.world.run_for(SECOND * 30);
    let echoes = forger.world.packets.iter().filter(|packet| has(&packet.bytes, ChunkType::COOKIE_ECHO));
    let destinations: Vec<IpAddr> = echoes.map(|packet| packet.destination).collect();
    assert!(destinations.len() >= 4, "{destinations:?}");
    assert!(destinations.iter().all(|destination| *destination == address(SERVER, 0)), "{destinations:?}");
    forger.world.harsh = true;
    drop(forger);
}

/// Tag and cookie for the peer as it begins again.
fn second_cookie(forger: &mut Forger) -> (u32, Vec<u8>) {
    let answers = forger.send(0, &[&Init { initiate_tag: NEW_TAG, initial_tsn: Tsn(5), ..init(&[]) }]);
    let Chunk::InitAck(ack) = answers[0].only() else { panic!("no INIT ACK") };
    (ack.0.initiate_tag, ack.state_cookie().unwrap().unwrap().to_vec())
}

//= test RFC 9260 §5.2.4: "the packet, including the COOKIE ECHO chunk and any DATA chunks, SHOULD be discarded"
//= test RFC 9260 §5.2.4: "The endpoint also MUST transmit an ERROR chunk with a "Stale Cookie" error cause to the peer
//= endpoint"
#[test]
fn a_stale_cookie_restarts_nothing() {
    let mut forger = Forger::established("stale_cookie_restarts_nothing");
    let (tag, cookie) = second_cookie(&mut forger);
    let own = forger.association().local_tag();
    forger.world.run_for(SECOND * 61);
    let data = data_chunk(5, 0, 0, DataFlags::UNFRAGMENTED, b"stale");
    let answers = forger.send(tag, &[&CookieEcho { cookie: &cookie }, &data]);
    assert_eq!(answers[0].tag, NEW_TAG);
    let Chunk::Error(error) = answers[0].only() else { panic!("no ERROR") };
    let cause = error.causes.iter().next().unwrap().unwrap();
    assert!(matches!(cause, Cause::StaleCookie { staleness } if (900_000..1_100_000).contains(&staleness)), "{cause}");
    let association = forger.association();
    assert_eq!((association.local_tag(), association.peer_tag()), (own, PEER_TAG));
    assert_eq!((association.state(), association.messages_ready()), (AssociationState::Established, 0));
    forger.world.harsh = true;
    forger.finish();
}

//= test RFC 9260 §5.2.4: "All the congestion control parameters (e.g., cwnd, ssthresh) related to this peer MUST be reset
//= to their initial values"
#[test]
fn a_restart_resets_congestion_control() {
    let mut forger = Forger::established("restart_resets_cwnd");
    let at_first = forger.association().primary_path();
    for _ in 0..10 {
        for _ in 0..40 {
            forger.world.send(0, 0, 1400);
        }
        let sent = forger.association().stats().data_chunks_sent as u32;
        forger.say(&[&Sack {
            cumulative_tsn_ack: forger.own_tsn + sent - 1,
            a_rwnd: 1 << 20,
            gap_ack_blocks: std::iter::empty(),
            duplicate_tsns: std::iter::empty(),
        }]);
    }
    // A timeout sets ssthresh.
    forger.world.run_for(SECOND * 3);
    let later = forger.association().primary_path();
    assert!(later.ssthresh < at_first.ssthresh && later.rto > at_first.rto && later.cwnd != at_first.cwnd);
    let (tag, cookie) = second_cookie(&mut forger);
    forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
    assert_eq!(forger.world.sides[0].restarts, 1);
    let after = forger.association().primary_path();
    assert_eq!((after.cwnd, after.ssthresh), (at_first.cwnd, at_first.ssthresh));
    assert_eq!((after.flight, after.srtt), (0, None));
    forger.world.harsh = true;
    drop(forger);
}
