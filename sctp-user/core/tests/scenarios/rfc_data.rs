//! Requirements of RFC 9260 on what INIT, DATA, SACK and HEARTBEAT hold, and on when they count, that no other scenario shows.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use sctp_core::serial::Tsn;
use sctp_core::wire::{
    Chunk, ChunkType, CookieEcho, DataFlags, DataHeader, GapAckBlock, Heartbeat, Init, InitAck, Packet, Parameter,
    Sack, Shutdown, SupportedAddressTypes,
};
use sctp_core::{AssociationConfig, AssociationState, Message, SendError};

use crate::forger::{Answer, Forger, PEER_TAG, PEER_TSN, Raw, data_chunk, init};
use crate::sim::world::World;
use crate::stage::*;

const SECOND: Duration = Duration::from_secs(1);

/// The DATA chunks that the client has sent, in order.
fn data_sent(world: &World) -> Vec<(DataHeader, usize)> {
    let mut sent = Vec::new();
    for packet in world.packets.iter().filter(|packet| packet.from == Some(CLIENT)) {
        for raw in Packet::parse(&packet.bytes).unwrap().chunks() {
            if let Ok(Chunk::Data(data)) = raw.and_then(Chunk::parse) {
                sent.push((data.header, data.payload.len()));
            }
        }
    }
    sent
}

//= test RFC 9260 §3.3.1: "If an unordered user message is fragmented, each fragment of the message MUST have its U bit
//= set to 1."
//= test RFC 9260 §3.3.1: "the same Stream Sequence Number MUST be carried in each of the fragments of the message"
//= test RFC 9260 §3.3.1: "This field MUST be sent even in fragmented DATA chunks"
//= test RFC 9260 §6.9: "then the U flag of each DATA chunk of the user message MUST be set to 1"
//= test RFC 9260 §6.9: "The transmitter MUST also set the B/E bits of the first DATA chunk in the series to 10"
#[test]
fn fragments_of_a_message_agree() {
    let mut world = established("fragments_agree", &AssociationConfig::default());
    for length in [5000, 10, 3000] {
        world.send(0, 3, length);
        world.send_unordered(0, 4, length);
    }
    world.run_for(SECOND * 5);
    let sent = data_sent(&world);
    let mut lengths = Vec::new();
    let mut ordered = 0;
    for message in sent.chunk_by(|before, _| !before.0.flags.is_ending()) {
        let (first, _) = message[0];
        for (at, (header, _)) in message.iter().enumerate() {
            assert_eq!(header.tsn, first.tsn + at as u32, "TSNs are in sequence");
            assert_eq!((header.stream, header.ssn, header.ppid), (first.stream, first.ssn, first.ppid));
            assert_eq!(header.flags.is_unordered(), first.stream == 4);
            let (is_first, is_last) = (at == 0, at + 1 == message.len());
            assert_eq!((header.flags.is_beginning(), header.flags.is_ending()), (is_first, is_last));
        }
        if first.stream == 3 {
            assert_eq!(first.ssn.get(), ordered);
            ordered += 1;
        }
        lengths.push(message.iter().map(|(_, length)| length).sum::<usize>());
    }
    assert_eq!(lengths, [5000, 5000, 10, 10, 3000, 3000]);
    world.finish();
}

//= test RFC 9260 §5.3.1: "Initiate Tag values SHOULD be selected from the range of 1 to 2^32 - 1."
//= test RFC 9260 §5.1: "Tag_A SHOULD be a random number in the range of 1 to 4294967295"
//= test RFC 9260 §3.3.3: "The Initiate Tag MUST NOT take the value 0."
//= test RFC 9260 §3.3.3: "the Initial TSN SHOULD be set to a random value in that range"
#[test]
fn tags_and_initial_tsns_are_random() {
    let mut forger = Forger::new("random_tags");
    let (mut tags, mut tsns) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..200 {
        let answers = forger.send(0, &[&init(&[])]);
        let Chunk::InitAck(ack) = answers[0].only() else { panic!("no INIT ACK") };
        tags.insert(ack.0.initiate_tag);
        tsns.insert(ack.0.initial_tsn.get());
    }
    assert!(!tags.contains(&0));
    for numbers in [tags, tsns] {
        assert_eq!(numbers.len(), 200, "none twice");
        // Each bit is set in about half of them.
        for bit in 0..32 {
            let set = numbers.iter().filter(|number| *number >> bit & 1 == 1).count();
            assert!((50..150).contains(&set), "bit {bit} is set in {set} of 200");
        }
    }
    forger.finish();
}

//= test RFC 9260 §3.3.2: "the Initial TSN SHOULD be set to a random value in that range"
#[test]
fn initial_tsns_of_inits_are_random() {
    let mut endpoint = sctp_core::Endpoint::new(sctp_core::EndpointConfig::default(), [7; 32]);
    let (mut tsns, mut buffer) = (BTreeSet::new(), [0; 1480]);
    let now = sctp_core::time::Instant::from_millis(1);
    for _ in 0..200 {
        endpoint.connect(now, sctp_core::Connect::new(address(SERVER, 0), SERVER_PORT)).unwrap();
        let len = endpoint.poll_transmit(now, &mut buffer).expect("an INIT").len;
        let packet = Packet::parse(&buffer[..len]).unwrap();
        let Chunk::Init(init) = Chunk::parse(packet.chunks().next().unwrap().unwrap()).unwrap() else {
            panic!("{packet}")
        };
        tsns.insert(init.initial_tsn.get());
    }
    assert_eq!(tsns.len(), 200, "none twice");
    for bit in 0..32 {
        let set = tsns.iter().filter(|number| *number >> bit & 1 == 1).count();
        assert!((50..150).contains(&set), "bit {bit} is set in {set} of 200");
    }
}

/// Types of the parameters of an INIT or INIT ACK that are there, without the addresses, which may be many.
fn parameter_types(init: &Init<'_>) -> Vec<String> {
    let parameters = init.parameters.iter().map(Result::unwrap);
    let named = parameters.filter(|parameter| parameter.address().is_none());
    named.map(|parameter| parameter.to_string().split(' ').take(2).collect()).collect()
}

//= test RFC 9260 §5.1: "In the INIT chunk, "A" MUST provide its Verification Tag (Tag_A) in the Initiate Tag field."
//= test RFC 9260 §5.1: "In the response, besides filling in other parameters, "Z" MUST set the Verification Tag field to
//= Tag_A and also provide its own Verification Tag (Tag_Z) in the Initiate Tag field."
//= test RFC 9260 §3.3.2: "Unless otherwise noted, each parameter MUST only be included once in the INIT chunk."
//= test RFC 9260 §3.3.2: "An INIT chunk MUST NOT contain the Host Name Address parameter."
//= test RFC 9260 §3.3.2: "The Advertised Receiver Window Credit MUST NOT be smaller than 1500."
//= test RFC 9260 §3.3.2.1.4: "The sender of an INIT chunk or INIT ACK chunk MUST NOT include this parameter."
//= test RFC 9260 §3.3.3: "An INIT ACK chunk MUST NOT contain the Host Name Address parameter."
//= test RFC 9260 §3.3.3: "The Advertised Receiver Window Credit MUST NOT be smaller than 1500."
//= test RFC 9260 §3.3.3.1: "The Host Name Address parameter is described in Section 3.3.2.1.4 and MUST NOT be included in
//= an INIT ACK chunk."
#[test]
fn init_and_init_ack_hold_what_they_must() {
    let plan = crate::sim::app::Plan::manual();
    let mut world = multi_homed("init_holds", 3, plan.clone(), plan);
    establish(&mut world);
    let tags = |side: usize| world.nodes[world.sides[side].node].tags(world.sides[side].id).unwrap();
    let (mut inits, mut acks) = (0, 0);
    for packet in &world.packets {
        let packet = Packet::parse(&packet.bytes).unwrap();
        let init = match Chunk::parse(packet.chunks().next().unwrap().unwrap()).unwrap() {
            Chunk::Init(init) => {
                inits += 1;
                assert_eq!(init.initiate_tag, tags(0).local);
                init
            }
            Chunk::InitAck(ack) => {
                acks += 1;
                assert_eq!((packet.verification_tag, ack.0.initiate_tag), (tags(0).local, tags(1).local));
                assert!(ack.state_cookie().unwrap().is_some());
                ack.0
            }
            _ => continue,
        };
        assert!(init.a_rwnd >= 1500 && init.outbound_streams > 0 && init.inbound_streams > 0);
        assert_eq!(init.parameters.addresses().count(), 3);
        let types = parameter_types(&init);
        assert_eq!(types.iter().collect::<BTreeSet<_>>().len(), types.len(), "{types:?}");
        assert!(!init.parameters.iter().any(|parameter| matches!(parameter, Ok(Parameter::HostName(_)))));
    }
    assert_eq!((inits, acks), (1, 1));
    world.finish();
}

//= test RFC 9260 §3.3.2.1.2: "the endpoint receiving the INIT chunk MUST use the source address associated with the
//= received IP datagram as its sole destination address for the association"
//= test RFC 9260 §3.3.3: "the receiver of the INIT ACK chunk MUST use the source address associated with the received IP
//= datagram as its sole destination address"
//= test RFC 9260 §5.1.2: "the endpoint MUST take the source IP address from which the chunk arrives and record it"
#[test]
fn without_addresses_the_source_is_the_only_path() {
    let paths =
        |forger: &Forger| forger.association().paths().map(|path| path.address).collect::<Vec<std::net::IpAddr>>();
    let forger = Forger::established("server_without_addresses");
    assert_eq!(paths(&forger), [address(CLIENT, 0)]);
    forger.finish();
    let mut forger = Forger::connecting("client_without_addresses");
    let cookie = [Parameter::StateCookie(&[1, 2, 3, 4])];
    forger.say(&[&InitAck(init(&cookie))]);
    assert_eq!(paths(&forger), [address(SERVER, 0)]);
    forger.finish();
}

//= test RFC 9260 §5.1.2: "it MUST use all the addresses belonging to the supported address family"
//= test RFC 9260 §5.1.2: "The endpoint SHOULD NOT respond with any kind of error indication."
//= test RFC 9260 §5.1.2: "then the address family that is not listed in the 'Supported Address Types' parameter SHOULD
//= also be considered as supported by the receiver of the INIT chunk"
//= test RFC 9260 §5.1.2: "The receiver of the INIT chunk SHOULD NOT respond with any kind of error indication."
#[test]
fn families_that_we_do_not_have_are_passed_over() {
    let mut forger = Forger::new("families");
    let v6 = "2001:db8::1".parse().unwrap();
    // It says that it supports IPv6 alone, but comes by IPv4 and lists both.
    let only_v6 = SupportedAddressTypes { ipv4: false, ipv6: true };
    let listed = [
        Parameter::SupportedAddressTypes(only_v6),
        Parameter::from_address(v6),
        Parameter::from_address(address(CLIENT, 0)),
        Parameter::from_address(address(CLIENT, 1)),
    ];
    let (tag, cookie) = forger.cookie(&listed);
    let answers = forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
    assert!(matches!(answers[0].only(), Chunk::CookieAck), "no ERROR with it");
    let paths: Vec<_> = forger.association().paths().map(|path| path.address).collect();
    assert_eq!(paths, [address(CLIENT, 0), address(CLIENT, 1)]);
    forger.finish();
}

//= test RFC 9260 §3.2.1: "The receiver MUST ignore the padding bytes."
#[test]
fn padding_of_parameters_is_ignored() {
    let mut forger = Forger::new("parameter_padding");
    let mut chunk = vec![1, 0, 0, 36];
    for field in [PEER_TAG, 100_000, (10 << 16) | 10, PEER_TSN] {
        chunk.extend_from_slice(&field.to_be_bytes());
    }
    // An unknown parameter of five bytes with noise behind it, then a Cookie Preservative.
    chunk.extend_from_slice(&[0x80, 0x99, 0, 5, 1, 0xff, 0xff, 0xff, 0, 9, 0, 8, 0, 0, 0x10, 0]);
    let answers = forger.send(0, &[&Raw(chunk)]);
    assert!(matches!(answers[0].only(), Chunk::InitAck(_)));
    forger.finish();
}

/// The SACK among some answers.
fn sack(answers: &[Answer]) -> Option<(u32, u32)> {
    answers.iter().flat_map(|answer| answer.chunks()).find_map(|chunk| match chunk {
        Chunk::Sack(sack) => Some((sack.cumulative_tsn_ack.get(), sack.a_rwnd)),
        _ => None,
    })
}

/// An association of ours with these settings.
fn with_config(name: &str, config: AssociationConfig) -> Forger {
    let mut forger = Forger::with_config(name, config);
    let (tag, cookie) = forger.cookie(&[]);
    forger.tag = tag;
    forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
    forger
}

//= test RFC 9260 §6.2: "the receiver SHOULD NOT delay the sending of the corresponding SACK chunk, i.e., the receiver
//= SHOULD immediately respond with the corresponding SACK chunk"
//= test RFC 9260 §5.1: "Subsequent acknowledgements SHOULD be done as described in Section 6.2."
#[test]
fn the_i_bit_is_answered_at_once() {
    let config = AssociationConfig { sack_early: false, ..AssociationConfig::rfc() };
    let mut forger = with_config("i_bit", config);
    let whole = DataFlags::UNFRAGMENTED;
    assert!(sack(&forger.say(&[&data_chunk(PEER_TSN, 0, 0, whole, b"first")])).is_some());
    assert_eq!(sack(&forger.say(&[&data_chunk(PEER_TSN + 1, 0, 1, whole, b"delayed")])), None);
    forger.world.run_for(SECOND);
    let at_once = forger.say(&[&data_chunk(PEER_TSN + 2, 0, 2, whole | DataFlags::IMMEDIATE, b"urgent")]);
    assert_eq!(sack(&at_once).map(|(cumulative, _)| cumulative), Some(PEER_TSN + 2));
    forger.finish();
}

//= test RFC 9260 §3.3.1: "Therefore, the receiver MUST ignore the Stream Sequence Number field."
//= test RFC 9260 §6.6: "but the receiver MUST ignore the field"
#[test]
fn the_ssn_of_unordered_messages_is_ignored() {
    let mut forger = Forger::established("unordered_ssn");
    let flags = DataFlags::UNFRAGMENTED | DataFlags::UNORDERED;
    for (step, ssn) in [7, 7, 0, 65_535].into_iter().enumerate() {
        forger.say(&[&data_chunk(PEER_TSN + step as u32, 0, ssn, flags, b"x")]);
        assert_eq!(forger.association().messages_ready(), step + 1);
    }
    // They do not count in the order of the stream.
    forger.say(&[&data_chunk(PEER_TSN + 4, 0, 0, DataFlags::UNFRAGMENTED, b"ordered")]);
    assert_eq!(forger.association().messages_ready(), 5);
    forger.finish();
}

//= test RFC 9260 §6.2: "An endpoint SHOULD NOT send a DATA chunk with no user data part."
#[test]
fn an_empty_message_is_refused() {
    let mut world = established("empty_message", &AssociationConfig::default());
    let (now, id) = (world.now, world.sides[0].id);
    assert_eq!(world.nodes[CLIENT].endpoint.send(now, id, Message::new(0, Bytes::new())), Err(SendError::Empty));
    world.finish();
}

/// The association of ours has sent `count` messages; the forger has not acknowledged any.
fn with_data_outstanding(name: &str, count: usize) -> Forger {
    let mut forger = Forger::established(name);
    for _ in 0..count {
        forger.world.send(0, 0, 100);
    }
    assert_eq!(forger.association().outstanding_chunks(), count);
    forger
}

//= test RFC 9260 §3.3.8: "the receiver of the SHUTDOWN chunk MUST NOT interpret the lack of a Gap Ack Block as a renege"
#[test]
fn a_shutdown_takes_back_no_gap_ack_block() {
    let mut forger = with_data_outstanding("shutdown_is_no_renege", 3);
    let blocks = [GapAckBlock { start: 2, end: 3 }];
    forger.say(&[&Sack {
        cumulative_tsn_ack: forger.own_tsn - 1,
        a_rwnd: 100_000,
        gap_ack_blocks: blocks.iter().copied(),
        duplicate_tsns: std::iter::empty(),
    }]);
    assert_eq!(forger.association().data_in_flight(), 100);
    forger.say(&[&Shutdown { cumulative_tsn_ack: forger.own_tsn - 1 }]);
    assert_eq!(forger.association().data_in_flight(), 100);
    forger.world.harsh = true;
    forger.finish();
}

//= test RFC 9260 §6: "A SACK chunk MUST be processed in ESTABLISHED, SHUTDOWN-PENDING, and SHUTDOWN-RECEIVED states."
//= test RFC 9260 §6: "Data transmission MUST only happen in the ESTABLISHED, SHUTDOWN-PENDING, and SHUTDOWN-RECEIVED
//= states."
//= test RFC 9260 §6: "DATA chunks MUST only be received according to the rules below in ESTABLISHED, SHUTDOWN-PENDING, and
//= SHUTDOWN-SENT states."
//= test RFC 9260 §6: "A SACK chunk received in any other state SHOULD be discarded."
//= test RFC 9260 §4: "In the SHUTDOWN-RECEIVED state, the endpoint MUST NOT accept any new send requests from its SCTP
//= user."
//= test RFC 9260 §9.2: "the SHUTDOWN chunk receiver MUST NOT accept new data from its SCTP user"
#[test]
fn data_and_sacks_count_in_the_states_that_are_for_them() {
    use AssociationState::{Established, ShutdownAckSent, ShutdownPending, ShutdownReceived, ShutdownSent};
    for state in [Established, ShutdownPending, ShutdownReceived] {
        let mut forger = with_data_outstanding("sacks_by_state", 1);
        match state {
            ShutdownPending => forger.world.shutdown(0),
            ShutdownReceived => {
                forger.say(&[&Shutdown { cumulative_tsn_ack: forger.own_tsn - 1 }]);
                let (now, id) = (forger.world.now, forger.association().id());
                let late = Message::new(0, Bytes::from_static(b"late"));
                assert_eq!(forger.endpoint().send(now, id, late), Err(SendError::ShuttingDown));
            }
            _ => {}
        }
        assert_eq!(forger.state(), state);
        let taken = sack(&forger.say(&[&data_chunk(PEER_TSN, 0, 0, DataFlags::UNFRAGMENTED, b"x")])).is_some();
        assert_eq!(taken, state != ShutdownReceived, "DATA in {state:?}");
        let acknowledged = Sack {
            cumulative_tsn_ack: forger.own_tsn,
            a_rwnd: 100_000,
            gap_ack_blocks: std::iter::empty(),
            duplicate_tsns: std::iter::empty(),
        };
        forger.say(&[&acknowledged]);
        assert_eq!(forger.association().outstanding_chunks(), 0, "SACK in {state:?}");
        let next = match state {
            ShutdownPending => ShutdownSent,
            ShutdownReceived => ShutdownAckSent,
            other => other,
        };
        assert_eq!(forger.state(), next);
        let before = forger.association().stats().data_chunks_received;
        forger.say(&[&data_chunk(PEER_TSN + 1, 0, 1, DataFlags::UNFRAGMENTED, b"y")]);
        let taken = forger.association().stats().data_chunks_received > before;
        assert_eq!(taken, next != ShutdownAckSent, "DATA in {next:?}");
        // A SACK that acknowledges what was never sent ends an association, if it is looked at.
        if matches!(next, ShutdownSent | ShutdownAckSent) {
            forger.say(&[&Sack { cumulative_tsn_ack: forger.own_tsn + 9, ..acknowledged }]);
            assert_eq!(forger.state(), next);
        }
        forger.world.harsh = true;
        // What the forger acknowledged nobody has read: no books are kept.
        drop(forger);
    }
}

//= test RFC 9260 §3.3.5: "When a HEARTBEAT chunk is being used for path verification purposes, it MUST include a random
//= nonce of length 64 bits or longer"
//= test RFC 9260 §3.3.5: "The Sender-Specific Heartbeat Info field SHOULD include information about the sender's current
//= time when this HEARTBEAT chunk is sent and the destination transport address"
//= test RFC 9260 §8.3: "The sender of the HEARTBEAT chunk SHOULD include in the Heartbeat Information field of the chunk
//= the current time when the packet is sent and the destination address"
#[test]
fn a_heartbeat_holds_nonce_time_and_address() {
    let config = AssociationConfig { heartbeat_interval: Some(SECOND), ..AssociationConfig::rfc() };
    let mut world = established("heartbeat_info", &config);
    world.run_for(SECOND * 30);
    let (mut nonces, mut times) = (BTreeSet::new(), Vec::new());
    for packet in world.packets.iter().filter(|packet| packet.from == Some(CLIENT)) {
        for raw in Packet::parse(&packet.bytes).unwrap().chunks() {
            if let Ok(Chunk::Heartbeat(Heartbeat { info })) = raw.and_then(Chunk::parse) {
                nonces.insert(info[..8].to_vec());
                times.push(u64::from_be_bytes(info[8..16].try_into().unwrap()));
                assert_eq!(times.last(), Some(&packet.at.as_nanos()));
                let octets = match packet.destination {
                    std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                    std::net::IpAddr::V6(v6) => v6.octets(),
                };
                assert_eq!(info[16..], octets);
            }
        }
    }
    assert!(times.len() > 5);
    assert_eq!(nonces.len(), times.len(), "no nonce twice");
    world.finish();
}

//= test RFC 9260 §6.2: "if such a DATA chunk is dropped, the receiver MUST immediately send back a SACK chunk"
//= test RFC 9260 §6.2: "The receiver MUST also have an algorithm for advertising its receive window to avoid receiver
//= silly window syndrome (SWS)"
//= test RFC 9260 §6.2: "The data receiver SHOULD NOT increment a_rwnd unless it has released bytes from its receive
//= buffer."
//= test RFC 9260 §6.2: "if the receiver is holding fragmented DATA chunks in a reassembly queue, it SHOULD NOT increment
//= a_rwnd"
//= test RFC 9260 §6.2: "the data receiver SHOULD place the current value of a_rwnd into the a_rwnd field"
//= test RFC 9260 §6.2: "An endpoint SHOULD NOT revoke a SACK chunk and discard data."
#[test]
fn the_window_shrinks_by_what_is_held_and_closes_in_time() {
    const BUFFER: usize = 8000;
    let config = AssociationConfig {
        receive_buffer: BUFFER,
        max_receive_buffer: BUFFER,
        max_message_size: 6000,
        ..AssociationConfig::rfc()
    };
    for first in [DataFlags::UNFRAGMENTED, DataFlags::BEGINNING] {
        let mut forger = with_config("window_by_held", config.clone());
        let (mut held, mut cumulative) = (0, PEER_TSN - 1);
        for step in 0..12_u16 {
            // Either whole messages, or the beginning of one that never ends.
            let flags = match (first, step) {
                (DataFlags::UNFRAGMENTED, _) => first | DataFlags::UNORDERED,
                (_, 0) => first,
                (_, 1..5) => DataFlags::MIDDLE,
                _ => break,
            };
            let tsn = PEER_TSN + u32::from(step);
            let answers = forger.say(&[&data_chunk(tsn, 0, 0, flags | DataFlags::IMMEDIATE, &[0; 1000])]);
            let chunks: Vec<_> = answers.iter().flat_map(Answer::chunks).map(|chunk| chunk.to_string()).collect();
            let (acknowledged, a_rwnd) = sack(&answers).unwrap_or_else(|| panic!("no SACK at once: {chunks:?}"));
            if acknowledged == tsn {
                held += 1000;
                cumulative = tsn;
            }
            assert_eq!(
                acknowledged, cumulative,
                "what was dropped is not acknowledged, what was acknowledged stays so"
            );
            // Not below what the last SACK let the peer send, which may be on its way.
            assert_eq!(a_rwnd as usize, BUFFER - held, "{held} bytes are held");
        }
        assert_eq!(held, if first == DataFlags::BEGINNING { 5000 } else { BUFFER }, "no more than fits is taken");
        forger.world.harsh = true;
        forger.finish();
    }
}

//= test RFC 9260 §6.2: "When the receiver's advertised window is 0, the receiver MUST drop any new incoming DATA chunk with a
//= TSN larger than the largest TSN received so far."
#[test]
fn beyond_a_closed_window_nothing_is_taken_until_it_has_opened() {
    let config = AssociationConfig {
        receive_buffer: 8000,
        max_receive_buffer: 8000,
        max_message_size: 6000,
        ..AssociationConfig::rfc()
    };
    let mut forger = with_config("beyond_a_closed_window", config);
    let send = |forger: &mut Forger, step: u16| {
        let flags = DataFlags::UNFRAGMENTED | DataFlags::IMMEDIATE;
        sack(&forger.say(&[&data_chunk(PEER_TSN + u32::from(step), 0, step, flags, &[0; 1000])]))
            .expect("a SACK at once")
    };
    for step in 0..8 {
        send(&mut forger, step);
    }
    let full = PEER_TSN + 7;
    assert_eq!(send(&mut forger, 8), (full, 0), "a probe of the closed window");
    let id = forger.association().id();
    // 1000 octets are free, for which the window does not open; then 2000, for which it does.
    for wanted in [(full, 0), (full + 1, 1000)] {
        forger.endpoint().recv(id).expect("messages wait");
        forger.world.settle(SERVER);
        assert_eq!(send(&mut forger, 8), wanted);
    }
    forger.world.harsh = true;
    forger.finish();
}

//= test RFC 9260 §6.3.1: "RTT measurements MUST NOT be made using chunks that were retransmitted"
//= test RFC 9260 §6.3.1: "RTT measurements SHOULD only be made using a DATA chunk with TSN r if no DATA chunk with TSN less
//= than or equal to r was retransmitted"
//= test RFC 9260 §6.3.1: "a new RTT measurement MUST be made each round trip"
#[test]
fn round_trips_are_measured_but_not_by_what_was_sent_again() {
    let config = AssociationConfig { heartbeat_interval: None, ..AssociationConfig::rfc() };
    let mut world = established("rtt_measurements", &config);
    let srtt = |world: &World| {
        let association = world.nodes[CLIENT].endpoint.association(world.sides[0].id).expect("it lives");
        association.primary_path().srtt.expect("it has been measured")
    };
    for _ in 0..4 {
        world.send(0, 0, 100);
        world.run_for(SECOND);
    }
    let before = srtt(&world);
    lose(&mut world, CLIENT, ChunkType::DATA, 1);
    world.send(0, 0, 100);
    world.send(0, 0, 100);
    world.run_for(SECOND * 3);
    assert_eq!(world.sides[1].received, 6);
    let first: Tsn = data_sent(&world)[4].0.tsn;
    assert!(data_sent(&world).iter().filter(|(header, _)| header.tsn == first).count() > 1, "it was sent again");
    assert_eq!(srtt(&world), before, "by which nothing was measured");
    // The path becomes slower; every round trip brings the estimate nearer.
    for (source, destination) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
        world.network.config(address(source, 0), address(destination, 0)).delay = DELAY * 10;
    }
    let mut last = before;
    for _ in 0..10 {
        world.send(0, 0, 100);
        world.run_for(SECOND);
        assert!(srtt(&world) > last);
        last = srtt(&world);
    }
    world.finish();
}

/// The packets of one round trip are one sample.
//= test RFC 9260 §6.3.1: "new RTT measurements SHOULD be made no more than once per round trip for a given destination
//= transport address"
#[test]
fn a_round_trip_is_measured_once() {
    let config = AssociationConfig { heartbeat_interval: None, ..AssociationConfig::rfc() };
    let mut world = established("one_sample", &config);
    let srtt = |world: &World| {
        let association = world.nodes[CLIENT].endpoint.association(world.sides[0].id).expect("it lives");
        association.primary_path().srtt.expect("it has been measured")
    };
    for _ in 0..10 {
        world.send(0, 0, 1400);
        world.send(0, 0, 1400);
        world.run_for(SECOND);
    }
    let before = srtt(&world);
    for (source, destination) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
        world.network.config(address(source, 0), address(destination, 0)).delay = DELAY * 10;
    }
    // As many as the smallest window lets go at once.
    for _ in 0..3 {
        world.send(0, 0, 1400);
    }
    world.run_for(SECOND);
    // RTO.Alpha is 1/8 (§16); the SACK for the first packet alone may wait for the second.
    let sample = before * 7 / 8 + DELAY * 20 / 8;
    assert!(srtt(&world) >= sample - TICK / 10 && srtt(&world) <= sample + TICK, "{:?}", srtt(&world));
    world.finish();
}

//= test RFC 9260 §6.2: "The SCTP endpoint MUST report as many Gap Ack Blocks as can fit in a single SACK chunk such that
//= the size of the SCTP packet does not exceed the current PMTU."
#[test]
fn gap_ack_blocks_fill_a_sack_in_a_batch_too() {
    for (path_mtu, expected) in [(1500, 400), (576, (576 - 20 - 12 - 16) / 4)] {
        let config =
            AssociationConfig { max_gaps: 400, path_mtu, path_mtu_discovery: false, ..AssociationConfig::rfc() };
        // As many as fit into 1480 bytes: (1480 - 12 - 16) / 4 = 363.
        let expected = expected.min(363);
        let mut forger = with_config("gap_blocks_fill_a_sack", config);
        let flags = DataFlags::UNFRAGMENTED | DataFlags::UNORDERED;
        let gap = |step: u32| data_chunk(PEER_TSN + 2 * step, 0, 0, flags, b"x");
        for step in 1..=400 {
            forger.say(&[&gap(step)]);
        }
        // Two at once: the first SACK is owed when the second packet comes.
        for step in [401, 402] {
            let packet = forger.packet(forger.tag, &[&gap(step)]);
            forger.overwhelm(&packet);
        }
        let answers = forger.relieve();
        assert_eq!(answers.len(), 2);
        for answer in &answers {
            let Chunk::Sack(sack) = answer.only() else { panic!("not a SACK") };
            assert_eq!(sack.gap_ack_blocks.len(), expected, "with an MTU of {path_mtu}");
        }
        forger.world.harsh = true;
        drop(forger);
    }
}
