//! Packets that no honest peer sends, or not now, while associations begin, restart and end.

use std::time::Duration;

use bytes::Bytes;
use sctp_core::serial::Tsn;
use sctp_core::wire::{
    Abort, Cause, CauseCode, CauseList, Chunk, CookieEcho, DataFlags, Emit, Heartbeat, Init, InitAck, Parameter, Sack,
    Shutdown, ShutdownComplete,
};
use sctp_core::{AssociationConfig, AssociationState, CloseReason, Handled, PathState};

use crate::forger::{Forged, Forger, PEER_TAG, PEER_TSN, Raw, data_chunk, init};
use crate::stage::{CLIENT, SERVER_PORT, address};

// The common header.

//= test RFC 9260 §6.8: "When an SCTP packet is received, the receiver MUST first check the CRC32c checksum"
//= test RFC 9260 §6.8: "If it is not, the receiver MUST treat the packet as an invalid SCTP packet."
#[test]
fn wrong_checksums_and_cut_packets_are_dropped() {
    let mut forger = Forger::new("wrong_checksums_and_cut_packets_are_dropped");
    let good = forger.packet(0, &[&init(&[])]);
    let cut = (0..good.bytes.len()).map(|len| good.bytes.slice(..len));
    let flipped = (0..good.bytes.len() * 8).step_by(7).map(|bit| {
        let mut bytes = good.bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        Bytes::from(bytes)
    });
    for bytes in flipped.chain(cut) {
        assert!(forger.send_packet(Forged { bytes: bytes.clone(), ..good.clone() }).is_empty(), "{bytes:02x?}");
        let reason = forger.discard().expect("it is dropped");
        assert!(["bad_checksum", "malformed", "port_zero"].contains(&reason), "{reason}");
    }
    assert_eq!(forger.send_packet(good).len(), 1);
    forger.finish();
}

//= test RFC 9260 §8.5: "the endpoint MUST ensure that the value in the Verification Tag field of the received SCTP
//= packet matches its own tag"
//= test RFC 9260 §8.5: "the receiver MUST silently discard the packet and MUST NOT process it any further"
#[test]
fn tags_must_be_right() {
    let mut forger = Forger::established("tags_must_be_right");
    let chunk = data_chunk(PEER_TSN, 0, 0, DataFlags::UNFRAGMENTED, b"x");
    forger.dropped(forger.tag ^ 1, &[&chunk], "bad_tag");
    forger.dropped(0, &[&chunk], "bad_tag");
    forger.dropped(PEER_TAG, &[&chunk], "bad_tag");
    assert_eq!(forger.say(&[&chunk]).len(), 1);
    forger.finish();
}

#[test]
fn sources_must_be_known() {
    let mut forger = Forger::established("sources_must_be_known");
    forger.link = 1;
    let chunk = data_chunk(PEER_TSN, 0, 0, DataFlags::UNFRAGMENTED, b"x");
    forger.dropped(forger.tag, &[&chunk], "unknown_source");
    forger.finish();
}

// INIT (§3.3.2, §5.1, §8.5.1 A).

//= test RFC 9260 §12.3: "The receiver of an INIT chunk MUST silently discard the INIT chunk and all further chunks"
//= test RFC 9260 §8.5.1: "it SHOULD verify that the packet contains only an INIT chunk"
//= test RFC 9260 §8.5.1: "Otherwise, the receiver MUST silently discard the packet."
#[test]
fn init_must_be_alone_and_without_a_tag() {
    let mut forger = Forger::new("init_must_be_alone_and_without_a_tag");
    forger.dropped(7, &[&init(&[])], "bad_tag");
    forger.dropped(0, &[&init(&[]), &Chunk::CookieAck], "bad_bundle");
    forger.dropped(0, &[&Chunk::CookieAck], "bad_tag");
    forger.finish();
}

//= test RFC 9260 §3.3.2: "with the OS value set to 0 MUST discard the packet, SHOULD send a packet in response
//= containing an ABORT chunk and using the Initiate Tag as the Verification Tag, and MUST NOT change the state"
//= test RFC 9260 §3.3.2: "with the MIS value set to 0 MUST discard the packet, SHOULD send a packet in response
//= containing an ABORT chunk and using the Initiate Tag as the Verification Tag, and MUST NOT change the state"
//= test RFC 9260 §3.3.2: "smaller than 1500 MUST discard the packet, SHOULD send a packet in response containing an
//= ABORT chunk and using the Initiate Tag as the Verification Tag, and MUST NOT change the state"
//= test RFC 9260 §3.3.2: "Initiate Tag in a received INIT chunk is found to be 0, the receiver MUST silently discard
//= the packet"
//= test RFC 9260 §3.3.2: "The receiver of an INIT chunk containing a Host Name Address parameter MUST send an ABORT
//= chunk"
//= test RFC 9260 §3.3.2.1.4: "The receiver of an INIT chunk or an INIT ACK containing a Host Name Address parameter
//= MUST send an ABORT chunk"
//= test RFC 9260 §5.1.2: "the endpoint MUST immediately send an ABORT chunk"
//= test RFC 9260 §12.2.4.1: "the Host Name Address parameter MUST send an ABORT chunk"
//= test RFC 9260 §5.1: "it SHOULD respond with an ABORT chunk"
//= test RFC 9260 §5.1: "It SHOULD also specify the cause of abort"
//= test RFC 9260 §5.1: "the ABORT chunk MUST be set to the Initiate Tag value of the received INIT"
//= test RFC 9260 §8.4: "the Verification Tag of the packet containing the ABORT chunk MUST be the Initiate Tag of the
//= received INIT chunk"
#[test]
fn init_with_bad_fields_is_aborted() {
    let mut forger = Forger::new("init_with_bad_fields_is_aborted");
    let refused = |forger: &mut Forger, init: Init<'_>| {
        let answers = forger.send(0, &[&init]);
        assert_eq!(answers[0].tag, PEER_TAG);
        answers[0].abort()
    };
    let cause = (vec![CauseCode::INVALID_PARAMETER], false);
    assert_eq!(refused(&mut forger, Init { outbound_streams: 0, ..init(&[]) }), cause);
    assert_eq!(refused(&mut forger, Init { inbound_streams: 0, ..init(&[]) }), cause);
    assert_eq!(refused(&mut forger, Init { a_rwnd: 1499, ..init(&[]) }), cause);
    forger.dropped(0, &[&Init { initiate_tag: 0, ..init(&[]) }], "malformed");
    let host_name = [Parameter::HostName(b"example.org\0")];
    assert_eq!(refused(&mut forger, init(&host_name)), (vec![CauseCode::UNRESOLVABLE_ADDRESS], false));
    assert_eq!(forger.associations(), 0);
    forger.finish();
}

/// The two high bits of a parameter's type say whether to stop and whether to report (§3.2.1).
//= test RFC 9260 §3.2.2: "it MUST put the "Unrecognized Parameter" parameter(s) in the INIT ACK chunk"
//= test RFC 9260 §3.3.3.1.2: "has a type that indicates it SHOULD be reported to the sender"
#[test]
fn unknown_parameters_of_init_by_their_bits() {
    for (kind, reported, stops) in
        [(0x3fff, false, true), (0x7fff, true, true), (0xbfff, false, false), (0xffff, true, false)]
    {
        let mut forger = Forger::new("unknown_parameters_of_init_by_their_bits");
        let [high, low] = u16::to_be_bytes(kind);
        let unknown = [high, low, 0, 6, 0xaa, 0xbb, 0, 0];
        let after = [0x40, 0x99, 0, 4];
        let mut chunk = vec![1, 0, 0, 20];
        for field in [PEER_TAG, 100_000, (10 << 16) | 10, PEER_TSN] {
            chunk.extend_from_slice(&field.to_be_bytes());
        }
        chunk.extend_from_slice(&unknown);
        chunk.extend_from_slice(&after);
        chunk[3] = chunk.len() as u8;
        let answers = forger.send(0, &[&Raw(chunk)]);
        let Chunk::InitAck(ack) = answers[0].only() else { panic!("no INIT ACK") };
        let reports: Vec<Vec<u8>> = ack
            .0
            .parameters
            .iter()
            .filter_map(|parameter| match parameter.unwrap() {
                Parameter::Unrecognized(bytes) => Some(bytes.to_vec()),
                _ => None,
            })
            .collect();
        let mut expected = Vec::new();
        if reported {
            expected.push(unknown[..6].to_vec());
        }
        if !stops {
            expected.push(after.to_vec());
        }
        assert_eq!(reports, expected, "type {kind:#06x}");
        forger.finish();
    }
}

#[test]
fn init_to_a_port_that_nobody_listens_on() {
    let mut forger = Forger::new("init_to_a_port_that_nobody_listens_on");
    forger.endpoint().unlisten(SERVER_PORT);
    let answers = forger.send(0, &[&init(&[])]);
    assert_eq!(answers[0].tag, PEER_TAG);
    assert_eq!(answers[0].abort(), (vec![], false));
    forger.finish();
}

//= test RFC 9260 §5.1: ""Z" MUST NOT allocate any resources or keep any states for the new association"
#[test]
fn a_flood_of_init_leaves_nothing_behind() {
    let mut forger = Forger::new("a_flood_of_init_leaves_nothing_behind");
    let packet = forger.packet(0, &[&init(&[])]);
    let mut answered = 0;
    for _ in 0..5000 {
        answered += usize::from(forger.overwhelm(&packet) == Handled::Answered);
    }
    assert_eq!(answered, 1024, "no more answers wait than allowed");
    assert_eq!(forger.associations(), 0);
    assert_eq!(forger.relieve().len(), 1024);
    assert_eq!(forger.endpoint().poll_timeout(), None);
    forger.finish();
}

// COOKIE ECHO (§5.1.5, §5.2.4).

//= test RFC 9260 §4: "the receiver MUST silently discard the packet"
//= test RFC 9260 §5.1.5: "If this comparison fails, the SCTP packet, including the COOKIE ECHO chunk and any DATA
//= chunks, MUST be silently discarded."
//= test RFC 9260 §5.1.5: "If these values do not match, the packet MUST be silently discarded."
#[test]
fn forged_cookies_are_dropped() {
    let mut forger = Forger::new("forged_cookies_are_dropped");
    let (tag, cookie) = forger.cookie(&[]);
    let mut forged = cookie.clone();
    forged[20] ^= 1;
    forger.dropped(tag, &[&CookieEcho { cookie: &forged }], "bad_cookie");
    forger.dropped(tag, &[&CookieEcho { cookie: b"" }], "bad_cookie");
    forger.dropped(tag ^ 1, &[&CookieEcho { cookie: &cookie }], "bad_tag");
    // Somebody else's address.
    forger.link = 1;
    forger.dropped(tag, &[&CookieEcho { cookie: &cookie }], "unknown_source");
    assert_eq!(forger.associations(), 0);
    forger.finish();
}

//= test RFC 9260 §5.2.4: "It SHOULD stop any T1-cookie timer that is running and send a COOKIE ACK chunk."
#[test]
fn a_repeated_cookie_is_acknowledged_again() {
    // Nobody answers heartbeats.
    let config = AssociationConfig { heartbeat_interval: None, ..AssociationConfig::default() };
    let mut forger = Forger::with_config("a_repeated_cookie_is_acknowledged_again", config);
    let (tag, cookie) = forger.cookie(&[]);
    for _ in 0..3 {
        let answers = forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
        assert!(matches!(answers[0].chunks()[0], Chunk::CookieAck));
        assert_eq!(forger.associations(), 1);
    }
    // After the cookie's life it is still this association's (§5.2.4 step 3), as long as its key is known.
    forger.world.run_for(Duration::from_secs(600));
    let answers = forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
    assert!(answers.iter().any(|answer| matches!(answer.chunks()[0], Chunk::CookieAck)));
    forger.finish();
}

//= test RFC 9260 §5.1.5: "SHOULD be discarded, and the endpoint MUST transmit an ERROR chunk with a "Stale
//= Cookie" error cause"
#[test]
fn a_stale_cookie_is_reported_with_its_staleness() {
    let mut forger = Forger::new("a_stale_cookie_is_reported_with_its_staleness");
    let (tag, cookie) = forger.cookie(&[]);
    forger.world.run_for(Duration::from_millis(60_003));
    let answers = forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
    assert_eq!(answers[0].tag, PEER_TAG);
    let Chunk::Error(error) = answers[0].only() else { panic!("no ERROR") };
    assert_eq!(error.causes.to_string(), CauseList::new(&[Cause::StaleCookie { staleness: 3000 }]).to_string());
    assert_eq!(forger.associations(), 0);
    forger.finish();
}

#[test]
fn a_cookie_lives_longer_if_the_init_asks_for_it() {
    let mut forger = Forger::new("a_cookie_lives_longer_if_the_init_asks_for_it");
    let (tag, cookie) = forger.cookie(&[Parameter::CookiePreservative { increment_ms: 5000 }]);
    forger.world.run_for(Duration::from_secs(64));
    let answers = forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
    assert!(matches!(answers[0].chunks()[0], Chunk::CookieAck));
    forger.finish();
}

//= test RFC 9260 §5.1.5: "the COOKIE ACK chunk MUST appear first in the SCTP packet"
//= test RFC 9260 §8.4: "If the packet contains a COOKIE ECHO chunk as the first chunk, it MUST be processed as
//= described in Section 5.1."
#[test]
fn data_with_the_cookie_is_acknowledged_with_it() {
    let mut forger = Forger::new("data_with_the_cookie_is_acknowledged_with_it");
    let (tag, cookie) = forger.cookie(&[]);
    let chunk = data_chunk(PEER_TSN, 0, 0, DataFlags::UNFRAGMENTED, b"first");
    let answers = forger.send(tag, &[&CookieEcho { cookie: &cookie }, &chunk]);
    let chunks = answers[0].chunks();
    assert!(matches!(chunks[..], [Chunk::CookieAck, Chunk::Sack(_)]), "{chunks:?}");
    let id = forger.association().id();
    assert_eq!(forger.endpoint().recv(id).unwrap().into_bytes(), "first");
    forger.finish();
}

#[test]
fn addresses_that_mean_ourselves_are_not_believed() {
    let mut forger = Forger::new("addresses_that_mean_ourselves_are_not_believed");
    // Loopback, link-local, multicast, broadcast, unspecified, the source itself, one of the server's own, and a good one.
    let own = "10.1.0.2";
    assert_eq!(address(crate::stage::SERVER, 1).to_string(), own);
    let listed =
        ["127.0.0.1", "::1", "169.254.1.1", "fe80::1", "224.0.0.1", "ff02::1", "255.255.255.255", "0.0.0.0", "::"];
    let listed: Vec<Parameter<'_>> = (listed.iter().chain(&["10.0.0.1", own, "10.7.7.7"]))
        .map(|address| Parameter::from_address(address.parse().unwrap()))
        .collect();
    let (tag, cookie) = forger.cookie(&listed);
    forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
    let association = forger.association();
    let paths: Vec<_> = association.paths().map(|path| (path.address.to_string(), path.state)).collect();
    let expected = [("10.0.0.1", PathState::Active), ("10.7.7.7", PathState::Unconfirmed)];
    assert_eq!(paths, expected.map(|(address, state)| (address.to_owned(), state)));
    forger.finish();
}

// INIT when the association exists (§5.2.2).

//= test RFC 9260 §5.2.2: "Before responding, the endpoint MUST check to see if the unexpected INIT chunk adds new
//= addresses to the association."
//= test RFC 9260 §5.2.2: "the endpoint MUST respond with an ABORT chunk, copying the 'Initiate Tag'"
#[test]
fn restart_with_more_addresses_is_refused() {
    let mut forger = Forger::established("restart_with_more_addresses_is_refused");
    let other = [Parameter::from_address(address(CLIENT, 1))];
    let answers = forger.send(0, &[&Init { initiate_tag: 99, ..init(&other) }]);
    assert_eq!(answers[0].tag, 99);
    assert_eq!(answers[0].abort(), (vec![CauseCode::RESTART_WITH_NEW_ADDRESSES], false));
    assert_eq!(forger.state(), AssociationState::Established);
    forger.finish();
}

//= test RFC 9260 §5.2.2: "The outbound SCTP packet containing this INIT ACK chunk MUST carry a Verification Tag value
//= equal to the Initiate Tag"
//= test RFC 9260 §5.2.2: "And the INIT ACK chunk MUST contain a new Initiate Tag"
//= test RFC 9260 §5.2.2: "the endpoint MUST take no further actions, i.e., the existing association, including its
//= current state, and the corresponding TCB MUST NOT be changed"
//= test RFC 9260 §5.3.1: "A new Verification Tag value MUST be used each time"
//= test RFC 9260 §5.2.2: "Other parameters for the endpoint SHOULD be copied from the existing parameters of the
//= association (e.g., number of outbound streams) into the INIT ACK chunk and cookie."
#[test]
fn restart_changes_both_tags() {
    let mut forger = Forger::established("restart_changes_both_tags");
    let answers = forger.send(0, &[&Init { initiate_tag: 99, initial_tsn: Tsn(5), ..init(&[]) }]);
    let Chunk::InitAck(ack) = answers[0].only() else { panic!("no INIT ACK") };
    assert_eq!(answers[0].tag, 99);
    let (new, cookie) = (ack.0.initiate_tag, ack.state_cookie().unwrap().unwrap().to_vec());
    assert_ne!(new, forger.tag);
    // The rest is what the association has.
    let config = AssociationConfig::default();
    let window = config.receive_buffer as u32;
    assert_eq!(
        (ack.0.outbound_streams, ack.0.inbound_streams, ack.0.a_rwnd),
        (forger.association().outbound_streams(), config.max_inbound_streams, window)
    );
    // The INIT alone changes nothing.
    let chunk = data_chunk(PEER_TSN, 0, 0, DataFlags::UNFRAGMENTED, b"x");
    assert_eq!(forger.say(&[&chunk]).len(), 1);
    let answers = forger.send(new, &[&CookieEcho { cookie: &cookie }]);
    assert_eq!(answers[0].tag, 99);
    assert!(matches!(answers[0].chunks()[0], Chunk::CookieAck));
    assert_eq!(forger.world.sides[0].restarts, 1);
    forger.dropped(forger.tag, &[&chunk], "bad_tag");
    let again = data_chunk(5, 0, 0, DataFlags::UNFRAGMENTED, b"y");
    let answers = forger.send(new, &[&again]);
    assert!(matches!(answers[0].only(), Chunk::Sack(sack) if sack.cumulative_tsn_ack == Tsn(5)));
    // The cookie of the first association is of no use any more.
    assert_eq!(forger.associations(), 1);
    forger.finish();
}

// ABORT, SHUTDOWN COMPLETE (§8.5.1 B, C).

//= test RFC 9260 §8.5.1: "The receiver of an ABORT chunk MUST accept the packet if the Verification Tag field of the
//= packet matches its own tag and the T bit is not set OR if it is set to its Peer's Tag and the T bit is set"
//= test RFC 9260 §8.5.1: "Otherwise, the receiver MUST silently discard the packet and take no further action."
//= test RFC 9260 §9.1: "An endpoint receiving an ABORT chunk MUST apply the special Verification Tag check rules"
#[test]
fn abort_needs_the_right_tag_for_its_t_bit() {
    let plain = Abort { tag_reflected: false, causes: CauseList::EMPTY };
    let reflected = Abort { tag_reflected: true, causes: CauseList::EMPTY };
    let mut forger = Forger::established("abort_needs_the_right_tag_for_its_t_bit");
    let tag = forger.tag;
    forger.dropped(PEER_TAG, &[&plain], "bad_tag");
    forger.dropped(tag, &[&reflected], "bad_tag");
    assert_eq!(forger.associations(), 1);
    assert!(forger.send(PEER_TAG, &[&reflected]).is_empty());
    assert_eq!(forger.associations(), 0);
    forger.finish();

    let mut forger = Forger::established("abort_needs_the_right_tag_for_its_t_bit");
    assert!(forger.say(&[&plain]).is_empty());
    assert_eq!(forger.close_reason(), Some(&CloseReason::PeerAbort { cause: None }));
    forger.finish();
}

//= test RFC 9260 §8.5.1: "An endpoint MUST ignore the SHUTDOWN COMPLETE chunk if it is not in the SHUTDOWN-ACK-SENT
//= state."
//= test RFC 9260 §9.2: "if it is not, the chunk SHOULD be discarded"
#[test]
fn shutdown_complete_counts_in_one_state_only() {
    let mut forger = Forger::established("shutdown_complete_counts_in_one_state_only");
    forger.say(&[&ShutdownComplete { tag_reflected: false }]);
    forger.send(PEER_TAG, &[&ShutdownComplete { tag_reflected: true }]);
    assert_eq!(forger.state(), AssociationState::Established);
    forger.say(&[&ShutdownComplete { tag_reflected: false }, &Chunk::CookieAck]);
    assert_eq!(forger.discard(), Some("bad_bundle"));
    forger.finish();
}

//= test RFC 9260 §9.2: "it SHOULD discard the INIT chunk and retransmit the SHUTDOWN ACK chunk"
#[test]
fn an_init_while_shutting_down_is_answered_with_shutdown_ack() {
    let mut forger = Forger::established("an_init_while_shutting_down_is_answered_with_shutdown_ack");
    assert_eq!(forger.association().outstanding_chunks(), 0);
    let answers = forger.say(&[&Shutdown { cumulative_tsn_ack: forger.own_tsn - 1 }]);
    assert!(matches!(answers[0].only(), Chunk::ShutdownAck));
    let answers = forger.send(0, &[&Init { initiate_tag: 99, ..init(&[]) }]);
    assert!(matches!(answers[0].only(), Chunk::ShutdownAck));
    assert_eq!(answers[0].tag, PEER_TAG);
    forger.say(&[&ShutdownComplete { tag_reflected: false }]);
    assert_eq!(forger.close_reason(), Some(&CloseReason::Shutdown));
    forger.finish();
}

// Out of the blue (§8.4). The rules themselves are tested beside their code.

//= test RFC 9260 §8.4: "MUST fill in the Verification Tag field of the outbound packet with the value found in the
//= Verification Tag field of the OOTB packet and set the T bit"
//= test RFC 9260 §8.4: "MUST fill in the Verification Tag field of the outbound packet with the Verification Tag
//= received in the SHUTDOWN ACK chunk"
//= test RFC 9260 §8.4: "a receiver SHOULD silently discard the packet"
//= test RFC 9260 §8.4: "the receiver of the OOTB packet MUST discard the OOTB packet and MUST NOT take any further
//= action"
//= test RFC 9260 §6: "A DATA chunk received in CLOSED is out of the blue and SHOULD be handled per Section 8.4."
//= test RFC 9260 §8.5.1: "Only where no TCB exists SHOULD the sender use the Verification Tag from the SHUTDOWN ACK
//= chunk and MUST set the T bit."
//= test RFC 9260 §8.5.1: "the endpoint MUST follow the procedure described in Section 8.4"
//= test RFC 9260 §6: "A SACK chunk in the CLOSED state is out of the blue and SHOULD be processed according to the rules in
//= Section 8.4."
#[test]
fn out_of_the_blue_packets_are_answered_with_their_own_tag() {
    let mut forger = Forger::new("out_of_the_blue_packets_are_answered_with_their_own_tag");
    let chunk = data_chunk(1, 0, 0, DataFlags::UNFRAGMENTED, b"x");
    let answers = forger.send(0x1234, &[&chunk]);
    assert_eq!((answers[0].tag, answers[0].abort()), (0x1234, (vec![], true)));
    let answers = forger.send(0x1234, &[&Chunk::ShutdownAck]);
    assert_eq!(answers[0].tag, 0x1234);
    assert!(matches!(answers[0].only(), Chunk::ShutdownComplete(complete) if complete.tag_reflected));
    let sack = Sack {
        cumulative_tsn_ack: Tsn(1),
        a_rwnd: 5000,
        gap_ack_blocks: core::iter::empty(),
        duplicate_tsns: core::iter::empty(),
    };
    assert_eq!(forger.send(0x1234, &[&sack])[0].abort(), (vec![], true));
    forger.dropped(0x1234, &[&Abort { tag_reflected: false, causes: CauseList::EMPTY }], "out_of_the_blue");
    forger.dropped(0x1234, &[&Chunk::CookieAck], "out_of_the_blue");
    let multicast = Forged { source: [224, 0, 0, 1].into(), ..forger.packet(0x1234, &[&chunk]) };
    assert!(forger.send_packet(multicast).is_empty());
    forger.finish();
}

// The connecting side: we are the server now.

/// An INIT ACK that came in IP fragments, and a COOKIE ECHO that has to go in them.
#[test]
fn a_cookie_larger_than_the_path_mtu_is_echoed() {
    let mut forger = Forger::connecting("a_cookie_larger_than_the_path_mtu_is_echoed");
    // The link can send more than the path MTU, in fragments.
    let node = &mut forger.world.nodes[CLIENT];
    node.config.max_packet = 4096;
    node.buffer.resize(4096, 0);
    let cookie: Vec<u8> = (0..2001_u32).map(|value| value as u8).collect();
    let answers = forger.say(&[&InitAck(init(&[Parameter::StateCookie(&cookie)]))]);
    match answers[0].only() {
        Chunk::CookieEcho(echo) => assert_eq!(echo.cookie, cookie),
        other => panic!("not a COOKIE ECHO: {other}"),
    }
    forger.say(&[&Chunk::CookieAck]);
    assert_eq!(forger.state(), AssociationState::Established);
    forger.finish();
}

//= test RFC 9260 §5.1: "it SHOULD respond with an ABORT chunk"
#[test]
fn init_ack_without_a_cookie_is_aborted() {
    let mut forger = Forger::connecting("init_ack_without_a_cookie_is_aborted");
    let answers = forger.say(&[&InitAck(init(&[]))]);
    assert_eq!((answers[0].tag, answers[0].abort()), (PEER_TAG, (vec![CauseCode::MISSING_PARAMETER], false)));
    assert_eq!(forger.associations(), 0);
    forger.finish();
}

//= test RFC 9260 §3.3.3: "with the OS value set to 0, it MUST destroy the TCB and SHOULD send an ABORT chunk"
//= test RFC 9260 §3.3.3: "with the Initiate Tag set to 0, it MUST destroy the TCB and SHOULD send an ABORT chunk with
//= the T bit set"
#[test]
fn init_ack_with_bad_fields_is_aborted() {
    let mut forger = Forger::connecting("init_ack_without_streams_is_aborted");
    let answers = forger.say(&[&InitAck(Init { outbound_streams: 0, ..init(&[]) })]);
    assert_eq!((answers[0].tag, answers[0].abort()), (PEER_TAG, (vec![CauseCode::INVALID_PARAMETER], false)));
    forger.finish();

    let mut forger = Forger::connecting("init_ack_without_a_tag_is_aborted");
    let answers = forger.say(&[&InitAck(Init { initiate_tag: 0, ..init(&[]) })]);
    assert_eq!((answers[0].tag, answers[0].abort()), (forger.tag, (vec![CauseCode::INVALID_PARAMETER], true)));
    forger.finish();
}

/// The two high bits of a parameter's type (§3.2.1) again; what is to be reported goes with the COOKIE ECHO (§3.2.2).
//= test RFC 9260 §3.2.2: "it SHOULD bundle the ERROR chunk containing the "Unrecognized Parameters" error cause"
//= test RFC 9260 §3.3.11: "This field MUST contain the exact cookie received"
#[test]
fn unknown_parameters_of_init_ack_by_their_bits() {
    for (kind, reported, stops) in
        [(0x3fff_u16, false, true), (0x7fff, true, true), (0xbfff, false, false), (0xffff, true, false)]
    {
        let mut forger = Forger::connecting("unknown_parameters_of_init_ack_by_their_bits");
        let [high, low] = kind.to_be_bytes();
        let unknown = [high, low, 0, 8, 5, 6, 7, 8];
        let after = [0xc0, 0x99, 0, 4];
        let mut chunk = vec![2, 0, 0, 20];
        for field in [PEER_TAG, 100_000, (10 << 16) | 10, PEER_TSN] {
            chunk.extend_from_slice(&field.to_be_bytes());
        }
        // "No processing already done is rolled back": the cookie comes first.
        chunk.extend_from_slice(&[0, 7, 0, 8, 1, 2, 3, 4]);
        chunk.extend_from_slice(&unknown);
        chunk.extend_from_slice(&after);
        chunk[3] = chunk.len() as u8;
        let answers = forger.say(&[&Raw(chunk)]);
        let chunks = answers[0].chunks();
        assert!(matches!(&chunks[0], Chunk::CookieEcho(echo) if echo.cookie == [1, 2, 3, 4]), "{chunks:?}");
        let mut expected = Vec::new();
        if reported {
            expected.extend(unknown);
        }
        if !stops {
            expected.extend(after);
        }
        let reports = match chunks.get(1) {
            Some(Chunk::Error(error)) => match error.causes.iter().next() {
                Some(Ok(Cause::UnrecognizedParameters(list))) => list
                    .iter()
                    .flat_map(|parameter| match parameter.unwrap() {
                        Parameter::Unknown(raw) => raw.bytes.to_vec(),
                        known => panic!("{known} is known"),
                    })
                    .collect(),
                other => panic!("{other:?}"),
            },
            Some(other) => panic!("{other}"),
            None => Vec::new(),
        };
        assert_eq!(reports, expected, "type {kind:#06x}");
        forger.finish();
    }
}

//= test RFC 9260 §8.5.1: "If the receiver is in COOKIE-ECHOED or COOKIE-WAIT state, the procedures in Section 8.4
//= SHOULD be followed"
//= test RFC 9260 §9.2: "SHOULD respond to the receipt of a SHUTDOWN ACK chunk with a stand-alone SHUTDOWN COMPLETE
//= chunk"
#[test]
fn a_shutdown_ack_of_the_past_is_completed() {
    let mut forger = Forger::connecting("a_shutdown_ack_of_the_past_is_completed");
    for tag in [forger.tag, 0x5555] {
        let answers = forger.send(tag, &[&Chunk::ShutdownAck]);
        assert_eq!(answers[0].tag, tag);
        assert!(matches!(answers[0].only(), Chunk::ShutdownComplete(complete) if complete.tag_reflected));
    }
    assert_eq!(forger.state(), AssociationState::CookieWait);
    forger.finish();
}

//= test RFC 9260 §9.2: "If a SHUTDOWN chunk is received in the COOKIE-WAIT or COOKIE ECHOED state, the SHUTDOWN chunk
//= SHOULD be silently discarded."
//= test RFC 9260 §5.2.5: "an endpoint SHOULD silently discard a received COOKIE ACK chunk"
//= test RFC 9260 §6: "A DATA chunk received in any other state SHOULD be discarded."
#[test]
fn chunks_that_come_too_early_change_nothing() {
    let mut forger = Forger::connecting("chunks_that_come_too_early_change_nothing");
    let early: [&dyn Emit; 5] = [
        &Chunk::CookieAck,
        &Shutdown { cumulative_tsn_ack: Tsn(1) },
        &data_chunk(1, 0, 0, DataFlags::UNFRAGMENTED, b"x"),
        &Heartbeat { info: b"1" },
        &ShutdownComplete { tag_reflected: false },
    ];
    for chunk in early {
        assert!(forger.say(&[chunk]).is_empty());
        assert_eq!(forger.state(), AssociationState::CookieWait);
    }
    forger.finish();
}
