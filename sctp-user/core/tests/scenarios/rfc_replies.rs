//! Requirements of RFC 9260 on what a packet is answered with, and where to, that no other scenario shows.

use std::time::Duration;

use sctp_core::wire::{
    CauseCode, Chunk, ChunkType, CookieEcho, DataFlags, Heartbeat, Init, InitAck, Packet, Parameter, Shutdown,
};
use sctp_core::{AssociationConfig, AssociationState, CloseReason};

use crate::forger::{Answer, Forger, PEER_TAG, PEER_TSN, Raw, data_chunk, init};
use crate::sim::app::Plan;
use crate::sim::packet::has;
use crate::stage::*;

const SECOND: Duration = Duration::from_secs(1);

/// A chunk of an unknown type whose sender wants to hear that it was not understood.
fn unknown(length: u8) -> Raw {
    let mut chunk = vec![0xfe, 0, 0, length];
    chunk.resize(length.into(), 7);
    Raw(chunk)
}

//= test RFC 9260 §3.3.3: "The value of 0 MUST NOT be used, and the value MUST NOT be greater than the MIS value sent in
//= the INIT chunk."
#[test]
fn an_init_ack_asks_for_no_more_streams_than_the_init_grants() {
    for (granted, asked) in [(1, 1), (7, 7), (32, 32), (1000, 32)] {
        let mut forger = Forger::new("init_ack_streams");
        let answers = forger.send(0, &[&Init { inbound_streams: granted, ..init(&[]) }]);
        let Chunk::InitAck(ack) = answers[0].only() else { panic!("no INIT ACK") };
        assert_eq!(ack.0.outbound_streams, asked, "of {granted}");
        forger.finish();
    }
}

//= test RFC 9260 §3.3.3: "A receiver of an INIT ACK chunk with the a_rwnd value set to a value smaller than 1500 MUST
//= discard the packet, SHOULD send a packet in response containing an ABORT chunk and using the Initiate Tag as the
//= Verification Tag, and MUST NOT change the state of any existing association."
#[test]
fn an_init_ack_with_a_tiny_window_is_refused_and_waited_on() {
    let mut forger = Forger::connecting("init_ack_with_a_tiny_window");
    let answers = forger.say(&[&InitAck(Init { a_rwnd: 1499, ..init(&[]) })]);
    assert_eq!((answers[0].tag, answers[0].abort()), (PEER_TAG, (vec![CauseCode::INVALID_PARAMETER], false)));
    assert_eq!(forger.state(), AssociationState::CookieWait);
    assert_eq!(forger.association().peer_tag(), 0, "nothing is believed");
    // A good one is still welcome.
    let cookie = [Parameter::StateCookie(&[1, 2, 3, 4])];
    let answers = forger.say(&[&InitAck(init(&cookie))]);
    assert!(matches!(answers[0].chunks()[0], Chunk::CookieEcho(_)));
    forger.finish();
}

//= test RFC 9260 §3.3.3: "The receiver of INIT ACK chunks containing a Host Name Address parameter MUST send an ABORT
//= chunk"
//= test RFC 9260 §5.1.2: "The ABORT chunk SHOULD be sent to the source IP address from which the last peer packet was
//= received."
#[test]
fn an_init_ack_with_a_host_name_is_aborted_where_it_came_from() {
    for link in [0, 1] {
        let mut forger = Forger::connecting("init_ack_with_a_host_name");
        forger.link = link;
        let parameters = [Parameter::StateCookie(&[1, 2, 3, 4]), Parameter::HostName(b"example.org\0")];
        let answers = forger.say(&[&InitAck(init(&parameters))]);
        assert_eq!((answers[0].tag, answers[0].abort()), (PEER_TAG, (vec![CauseCode::UNRESOLVABLE_ADDRESS], false)));
        let sent = forger.world.packets.last().expect("the ABORT");
        assert_eq!(sent.destination, address(SERVER, link));
        assert_eq!(forger.associations(), 0);
        forger.finish();
    }
}

//= test RFC 9260 §3.3.3: "with the MIS value set to 0, it MUST destroy the TCB and SHOULD send an ABORT chunk"
#[test]
fn an_init_ack_that_grants_no_streams_ends_the_attempt() {
    let mut forger = Forger::connecting("init_ack_without_inbound_streams");
    let answers = forger.say(&[&InitAck(Init { inbound_streams: 0, ..init(&[]) })]);
    assert_eq!((answers[0].tag, answers[0].abort()), (PEER_TAG, (vec![CauseCode::INVALID_PARAMETER], false)));
    assert_eq!(forger.associations(), 0);
    forger.finish();
}

//= test RFC 9260 §5.1.2: "An INIT or INIT ACK chunk MUST be treated as belonging to an already established association
//= (or one in the process of being established) if the use of any of the valid address parameters"
//= test RFC 9260 §5.2.2: "The error SHOULD list the addresses that were added to the restarting association."
#[test]
fn an_init_that_lists_an_address_in_use_is_about_that_association() {
    let mut forger = Forger::established("init_lists_known_address");
    forger.link = 1;
    let known = [Parameter::from_address(address(CLIENT, 0))];
    let answers = forger.send(0, &[&Init { initiate_tag: 99, ..init(&known) }]);
    assert_eq!((answers[0].tag, answers[0].abort().0), (99, vec![CauseCode::RESTART_WITH_NEW_ADDRESSES]));
    let Chunk::Abort(abort) = answers[0].only() else { panic!("no ABORT") };
    assert!(abort.causes.to_string().contains("10.1.0.1"), "the new address is named: {}", abort.causes);
    assert_eq!(forger.state(), AssociationState::Established);
    forger.finish();
}

//= test RFC 9260 §5.4: "An endpoint MUST NOT send any chunks to an UNCONFIRMED address, with the following exceptions:"
#[test]
fn nothing_but_heartbeats_goes_to_an_unconfirmed_address() {
    let mut forger = Forger::new("unconfirmed_address_replies");
    let (tag, cookie) = forger.cookie(&[Parameter::from_address(address(CLIENT, 1))]);
    forger.tag = tag;
    forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
    forger.link = 1;
    let before = forger.world.packets.len();
    forger.say(&[&unknown(20), &data_chunk(PEER_TSN, 99, 0, DataFlags::UNFRAGMENTED, b"no such stream")]);
    forger.say(&[&Heartbeat { info: b"hello" }]);
    forger.say(&[&Shutdown { cumulative_tsn_ack: forger.own_tsn - 1 }]);
    forger.say(&[&Shutdown { cumulative_tsn_ack: forger.own_tsn - 1 }]);
    let sent = forger.world.packets[before..].iter().filter(|packet| packet.from == Some(SERVER));
    let (mut errors, mut answered, mut ends) = (0, 0, 0);
    for packet in sent {
        let unconfirmed = packet.destination == address(CLIENT, 1);
        for chunk in Packet::parse(&packet.bytes).unwrap().chunks() {
            let kind = chunk.unwrap().chunk_type;
            let probing = matches!(kind, ChunkType::HEARTBEAT | ChunkType::HEARTBEAT_ACK);
            assert!(!unconfirmed || probing, "{kind} to an unconfirmed address");
            errors += usize::from(kind == ChunkType::ERROR);
            ends += usize::from(kind == ChunkType::SHUTDOWN_ACK);
            answered += usize::from(kind == ChunkType::HEARTBEAT_ACK && unconfirmed);
        }
    }
    assert_eq!((errors, answered, ends), (2, 1, 2));
    forger.finish();
}

//= test RFC 9260 §12.4: "When an SCTP implementation receives a packet containing multiple control or DATA chunks and
//= the processing of the packet would result in sending multiple chunks in response, the sender of the response chunk(s)
//= MUST NOT send more than one packet containing chunks other than DATA chunks."
#[test]
fn a_packet_of_many_chunks_is_answered_by_one_packet() {
    for length in [4, 8, 20, 60, 100, 252] {
        let mut forger = Forger::established("one_packet_in_answer");
        let mut chunks = Vec::new();
        while chunks.len() < 1400 / usize::from(length) {
            chunks.push(unknown(length));
        }
        let chunks: Vec<&dyn sctp_core::wire::Emit> = chunks.iter().map(|chunk| chunk as _).collect();
        let answers = forger.say(&chunks);
        assert_eq!(answers.len(), 1, "chunks of {length} bytes");
        assert!(answers[0].chunks().iter().all(|chunk| matches!(chunk, Chunk::Error(_))));
        // So do HEARTBEATs, and gaps.
        let heartbeats = [Heartbeat { info: &[7; 100] }; 12];
        let mut chunks: Vec<&dyn sctp_core::wire::Emit> = heartbeats.iter().map(|chunk| chunk as _).collect();
        let gap = data_chunk(PEER_TSN + 9, 0, 0, DataFlags::UNFRAGMENTED, b"x");
        chunks.push(&gap);
        let answers = forger.say(&chunks);
        assert_eq!(answers.len(), 1);
        assert!(matches!(answers[0].chunks().last(), Some(Chunk::Sack(_))), "the SACK has its place");
        forger.finish();
    }
}

//= test RFC 9260 §6.4: "An endpoint SHOULD transmit reply chunks (e.g., INIT ACK, COOKIE ACK, and HEARTBEAT ACK) in
//= response to control chunks to the same destination transport address"
//= test RFC 9260 §5.1: "The destination IP address of the INIT ACK chunk MUST be set to the source IP address of the INIT
//= chunk"
//= test RFC 9260 §5.1: "An endpoint MUST send the INIT ACK chunk to the IP address from which it received the INIT chunk."
//= test RFC 9260 §5.1.2: "The packet containing the INIT ACK chunk MUST be sent to the source address of the packet
//= containing the INIT chunk."
#[test]
fn replies_go_where_the_question_came_from() {
    for link in [0, 1] {
        let mut forger = Forger::new("replies_go_back");
        forger.link = link;
        let other = [Parameter::from_address(address(CLIENT, 1 - link))];
        let (tag, cookie) = forger.cookie(&other);
        forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
        forger.send(tag, &[&Heartbeat { info: b"12345678" }]);
        for (kind, count) in [(ChunkType::INIT_ACK, 1), (ChunkType::COOKIE_ACK, 1), (ChunkType::HEARTBEAT_ACK, 1)] {
            let sent: Vec<_> = forger.world.packets.iter().filter(|packet| has(&packet.bytes, kind)).collect();
            assert_eq!(sent.len(), count, "{kind}");
            assert!(sent.iter().all(|packet| packet.destination == address(CLIENT, link)), "{kind}");
        }
        forger.finish();
    }
}

//= test RFC 9260 §5.1: "Retransmissions of INIT chunks and COOKIE ECHO chunks SHOULD use all addresses of the peer"
#[test]
fn init_is_tried_on_all_addresses_of_the_peer() {
    let plan = Plan { all_addresses: true, ..Plan::manual() };
    let mut world = multi_homed("init_on_all_addresses", 3, plan.clone(), plan);
    isolate(&mut world);
    world.connect(0);
    world.run_for(SECOND * 20);
    let inits = world.packets.iter().filter(|packet| has(&packet.bytes, ChunkType::INIT));
    let destinations: Vec<_> = inits.map(|packet| packet.destination).take(4).collect();
    assert_eq!(destinations, [0, 1, 2, 0].map(|index| address(SERVER, index)));
    world.harsh = true;
    world.finish();
}

//= test RFC 9260 §9.2: "Once an endpoint has reached the SHUTDOWN-RECEIVED state, it MUST ignore ULP shutdown requests
//= but MUST continue responding to SHUTDOWN chunks from its peer."
//= test RFC 9260 §4: "In the SHUTDOWN-ACK-SENT state, the endpoint MUST NOT accept any new send requests from its SCTP
//= user."
#[test]
fn shutdown_is_answered_again_when_it_comes_again() {
    let mut forger = Forger::established("repeated_shutdown");
    let shutdown = Shutdown { cumulative_tsn_ack: forger.own_tsn - 1 };
    for _ in 0..3 {
        let answers = forger.say(&[&shutdown]);
        assert!(matches!(answers[0].only(), Chunk::ShutdownAck));
        assert_eq!(forger.state(), AssociationState::ShutdownAckSent);
        let (now, id) = (forger.world.now, forger.association().id());
        forger.endpoint().shutdown(now, id).expect("it lives");
        assert_eq!(forger.state(), AssociationState::ShutdownAckSent, "the user's request is ignored");
        let message = sctp_core::Message::new(0, bytes::Bytes::from_static(b"late"));
        assert_eq!(forger.endpoint().send(now, id, message), Err(sctp_core::SendError::ShuttingDown));
    }
    forger.finish();
}

//= test RFC 9260 §9.2: "or if duplicate TSNs have been received, then a SACK chunk MUST also be sent"
//= test RFC 9260 §9.2: "the SHUTDOWN chunk sender MUST immediately respond to each received packet containing one or
//= more DATA chunks with a SHUTDOWN chunk and restart the T2-shutdown timer"
//= test RFC 9260 §6.2: "the endpoint SHOULD use a SACK chunk instead of the SHUTDOWN chunk to acknowledge DATA chunks
//= received out of order"
#[test]
fn data_while_we_shut_down_is_answered_with_shutdown_and_holds_t2() {
    let mut forger = Forger::established("t2_starts_anew");
    forger.world.shutdown(0);
    assert_eq!(forger.state(), AssociationState::ShutdownSent);
    let shutdowns = |forger: &Forger| times(&forger.world, SERVER, ChunkType::SHUTDOWN).len();
    let before = shutdowns(&forger);
    // RTO.Initial is a second: without these packets T2 would have expired.
    for step in 0..10 {
        forger.world.run_for(Duration::from_millis(600));
        forger.say(&[&data_chunk(PEER_TSN + step, 0, step as u16, DataFlags::UNFRAGMENTED, b"x")]);
        assert_eq!(shutdowns(&forger), before + 1 + step as usize, "one for each");
    }
    // What cannot be acknowledged by a SHUTDOWN alone.
    let answers = forger.say(&[&data_chunk(PEER_TSN + 12, 0, 12, DataFlags::UNFRAGMENTED, b"x")]);
    let chunks: Vec<_> = answers.iter().flat_map(Answer::chunks).map(|chunk| chunk.to_string()).collect();
    assert!(chunks.iter().any(|chunk| chunk.starts_with("SHUTDOWN")), "{chunks:?}");
    assert!(chunks.iter().any(|chunk| chunk.starts_with("SACK") && chunk.contains("gaps=[1012-1012]")), "{chunks:?}");
    let before = shutdowns(&forger);
    forger.world.run_for(SECOND * 2);
    assert!(shutdowns(&forger) > before, "T2 still runs");
    forger.finish();
}

//= test RFC 9260 §9.2: "An endpoint SHOULD limit the number of retransmissions of the SHUTDOWN chunk to the protocol
//= parameter 'Association.Max.Retrans'."
//= test RFC 9260 §9.2: "The sender of the SHUTDOWN ACK chunk SHOULD limit the number of retransmissions of the SHUTDOWN ACK
//= chunk"
//= test RFC 9260 §9.2: "If this threshold is exceeded, the endpoint SHOULD destroy the TCB and SHOULD report the peer
//= endpoint unreachable to the upper layer"
#[test]
fn shutdown_and_shutdown_ack_are_repeated_only_so_often() {
    let config =
        AssociationConfig { association_max_retransmits: 3, path_max_retransmits: 3, ..AssociationConfig::rfc() };
    for asked_by_us in [true, false] {
        let mut forger = Forger::with_config("shutdown_given_up", config.clone());
        let (tag, cookie) = forger.cookie(&[]);
        forger.tag = tag;
        forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
        let kind = if asked_by_us { ChunkType::SHUTDOWN } else { ChunkType::SHUTDOWN_ACK };
        if asked_by_us {
            forger.world.shutdown(0);
        } else {
            forger.say(&[&Shutdown { cumulative_tsn_ack: forger.own_tsn - 1 }]);
        }
        forger.world.run_for(SECOND * 60);
        assert_eq!(times(&forger.world, SERVER, kind).len(), 1 + 3, "{kind}");
        assert_eq!(forger.associations(), 0);
        assert_eq!(forger.close_reason(), Some(&CloseReason::Unreachable));
        forger.world.harsh = true;
        forger.finish();
    }
}
