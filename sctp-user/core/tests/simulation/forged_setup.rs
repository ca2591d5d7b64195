//! Packets that no honest peer sends, or not now, while associations begin, restart and end.

use std::time::Duration;

use bytes::Bytes;
use sctp_core::serial::Tsn;
use sctp_core::wire::{
    Abort, CauseCode, CauseList, Checksum, Chunk, CommonHeader, CookieEcho, DataFlags, Emit, Heartbeat, Init, InitAck,
    Packet as SctpPacket, Parameter, Shutdown, ShutdownComplete, Writer,
};
use sctp_core::{AssociationState, CloseReason, Event, Handled, PathState};

use crate::forger::{Answer, Forger, PEER_TAG, PEER_TSN, Raw, codes, data, init};
use crate::network::Packet;
use crate::world::{PORT, Setup, World, address};

// The common header.

#[test]
fn wrong_checksums_and_cut_packets_are_dropped() {
    let mut forger = Forger::new(1);
    let good = forger.packet(0, &[&init(&[])]);
    for bit in (0..good.bytes.len() * 8).step_by(7) {
        let mut bytes = good.bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(forger.send_packet(Packet { bytes: bytes.into(), ..good.clone() }).is_empty(), "bit {bit}");
    }
    for len in 0..good.bytes.len() {
        assert!(forger.send_packet(Packet { bytes: good.bytes.slice(..len), ..good.clone() }).is_empty());
    }
    let discards: Vec<_> = forger.world.hosts[1].discards.keys().copied().collect();
    assert_eq!(
        discards,
        ["bad_checksum", "malformed", "port_zero"].iter().filter(|d| discards.contains(d)).copied().collect::<Vec<_>>()
    );
    assert_eq!(forger.send_packet(good).len(), 1);
}

#[test]
fn tags_must_be_right() {
    let mut forger = Forger::established(2);
    let chunk = data(PEER_TSN, 0, 0, DataFlags::UNFRAGMENTED, b"x");
    forger.dropped(forger.tag ^ 1, &[&chunk], "bad_tag");
    forger.dropped(0, &[&chunk], "bad_tag");
    forger.dropped(PEER_TAG, &[&chunk], "bad_tag");
    assert_eq!(forger.say(&[&chunk]).len(), 1);
}

#[test]
fn sources_must_be_known() {
    let mut forger = Forger::established(3);
    forger.link = 1;
    let chunk = data(PEER_TSN, 0, 0, DataFlags::UNFRAGMENTED, b"x");
    forger.dropped(forger.tag, &[&chunk], "unknown_source");
}

// INIT (§3.3.2, §5.1, §8.5.1 A).

#[test]
fn init_must_be_alone_and_without_a_tag() {
    let mut forger = Forger::new(4);
    forger.dropped(7, &[&init(&[])], "bad_tag");
    forger.dropped(0, &[&init(&[]), &Chunk::CookieAck], "bad_bundle");
    forger.dropped(0, &[&Chunk::CookieAck], "bad_tag");
}

#[test]
fn init_with_bad_fields_is_aborted() {
    let mut forger = Forger::new(5);
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
}

/// The two high bits of a parameter's type say whether to stop and whether to report (§3.2.1).
#[test]
fn unknown_parameters_of_init_by_their_bits() {
    for (kind, reported, stops) in
        [(0x3fff, false, true), (0x7fff, true, true), (0xbfff, false, false), (0xffff, true, false)]
    {
        let mut forger = Forger::new(6);
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
    }
}

#[test]
fn init_to_a_port_that_nobody_listens_on() {
    let mut forger = Forger::new(7);
    forger.world.hosts[1].endpoint.unlisten(PORT);
    let answers = forger.send(0, &[&init(&[])]);
    assert_eq!(answers[0].tag, PEER_TAG);
    assert_eq!(answers[0].abort(), (vec![], false));
}

#[test]
fn a_flood_of_init_leaves_nothing_behind() {
    let mut forger = Forger::new(8);
    let packet = forger.packet(0, &[&init(&[])]);
    let mut answered = 0;
    for _ in 0..5000 {
        answered += usize::from(forger.world.inject(1, packet.clone()) == Handled::Answered);
    }
    assert_eq!(answered, 1024, "no more answers wait than allowed");
    assert_eq!(forger.associations(), 0);
    assert_eq!(forger.world.fetch(1).len(), 1024);
    assert_eq!(forger.world.hosts[1].endpoint.poll_timeout(), None);
}

// COOKIE ECHO (§5.1.5, §5.2.4).

#[test]
fn forged_cookies_are_dropped() {
    let mut forger = Forger::new(9);
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
}

#[test]
fn a_repeated_cookie_is_acknowledged_again() {
    let mut forger = Forger::new(10);
    let (tag, cookie) = forger.cookie(&[]);
    for _ in 0..3 {
        let answers = forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
        assert!(matches!(answers[0].chunks()[0], Chunk::CookieAck));
        assert_eq!(forger.associations(), 1);
    }
    // Long after the cookie's life: still this association's (§5.2.4 step 3).
    forger.world.now += Duration::from_secs(3600);
    let answers = forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
    assert!(answers.iter().any(|answer| matches!(answer.chunks()[0], Chunk::CookieAck)));
}

#[test]
fn a_stale_cookie_is_reported_with_its_staleness() {
    let mut forger = Forger::new(11);
    let (tag, cookie) = forger.cookie(&[]);
    forger.world.now += Duration::from_millis(60_003);
    let answers = forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
    assert_eq!(answers[0].tag, PEER_TAG);
    let Chunk::Error(error) = answers[0].only() else { panic!("no ERROR") };
    assert_eq!(
        error.causes.to_string(),
        CauseList::new(&[sctp_core::wire::Cause::StaleCookie { staleness: 3000 }]).to_string()
    );
    assert_eq!(forger.associations(), 0);
}

#[test]
fn a_cookie_lives_longer_if_the_init_asks_for_it() {
    let mut forger = Forger::new(12);
    let (tag, cookie) = forger.cookie(&[Parameter::CookiePreservative { increment_ms: 5000 }]);
    forger.world.now += Duration::from_secs(64);
    let answers = forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
    assert!(matches!(answers[0].chunks()[0], Chunk::CookieAck));
}

#[test]
fn data_with_the_cookie_is_acknowledged_with_it() {
    let mut forger = Forger::new(13);
    let (tag, cookie) = forger.cookie(&[]);
    let chunk = data(PEER_TSN, 0, 0, DataFlags::UNFRAGMENTED, b"first");
    let answers = forger.send(tag, &[&CookieEcho { cookie: &cookie }, &chunk]);
    let chunks = answers[0].chunks();
    assert!(matches!(chunks[..], [Chunk::CookieAck, Chunk::Sack(_)]), "{chunks:?}");
    let id = forger.world.hosts[1].endpoint.associations().next().unwrap().id();
    assert_eq!(forger.world.hosts[1].endpoint.recv(id).unwrap().into_bytes(), "first");
}

#[test]
fn addresses_that_mean_ourselves_are_not_believed() {
    let mut forger = Forger::new(52);
    let listed = [[127, 0, 0, 1], [169, 254, 1, 1], [224, 0, 0, 1], [10, 0, 0, 1], [10, 7, 7, 7]];
    let listed = listed.map(|address| Parameter::from_address(address.into()));
    let (tag, cookie) = forger.cookie(&listed);
    forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
    let association = forger.world.hosts[1].endpoint.associations().next().unwrap();
    let paths: Vec<_> = association.paths().map(|path| (path.address.to_string(), path.state)).collect();
    let expected = [("10.0.0.1", PathState::Active), ("10.7.7.7", PathState::Unconfirmed)];
    assert_eq!(paths, expected.map(|(address, state)| (address.to_owned(), state)));
}

// INIT when the association exists (§5.2.2).

#[test]
fn restart_with_more_addresses_is_refused() {
    let mut forger = Forger::established(14);
    let other = [Parameter::from_address(address(false, 1, 0))];
    let answers = forger.send(0, &[&Init { initiate_tag: 99, ..init(&other) }]);
    assert_eq!(answers[0].tag, 99);
    assert_eq!(answers[0].abort(), (vec![CauseCode::RESTART_WITH_NEW_ADDRESSES], false));
    assert_eq!(forger.state(), Some(AssociationState::Established));
}

#[test]
fn restart_changes_both_tags() {
    let mut forger = Forger::established(15);
    forger.events();
    let answers = forger.send(0, &[&Init { initiate_tag: 99, initial_tsn: Tsn(5), ..init(&[]) }]);
    let Chunk::InitAck(ack) = answers[0].only() else { panic!("no INIT ACK") };
    assert_eq!(answers[0].tag, 99);
    let (new, cookie) = (ack.0.initiate_tag, ack.state_cookie().unwrap().unwrap().to_vec());
    assert_ne!(new, forger.tag);
    // The INIT alone changes nothing.
    let chunk = data(PEER_TSN, 0, 0, DataFlags::UNFRAGMENTED, b"x");
    assert_eq!(forger.say(&[&chunk]).len(), 1);
    let answers = forger.send(new, &[&CookieEcho { cookie: &cookie }]);
    assert_eq!(answers[0].tag, 99);
    assert!(matches!(answers[0].chunks()[0], Chunk::CookieAck));
    assert!(forger.events().iter().any(|event| matches!(event, Event::Restarted { .. })));
    forger.dropped(forger.tag, &[&chunk], "bad_tag");
    let again = data(5, 0, 0, DataFlags::UNFRAGMENTED, b"y");
    let answers = forger.send(new, &[&again]);
    assert!(matches!(answers[0].only(), Chunk::Sack(sack) if sack.cumulative_tsn_ack == Tsn(5)));
    // The cookie of the first association is of no use any more.
    assert_eq!(forger.associations(), 1);
}

// ABORT, SHUTDOWN COMPLETE (§8.5.1 B, C).

#[test]
fn abort_needs_the_right_tag_for_its_t_bit() {
    let plain = Abort { tag_reflected: false, causes: CauseList::EMPTY };
    let reflected = Abort { tag_reflected: true, causes: CauseList::EMPTY };
    let mut forger = Forger::established(16);
    let tag = forger.tag;
    forger.dropped(PEER_TAG, &[&plain], "bad_tag");
    forger.dropped(tag, &[&reflected], "bad_tag");
    assert_eq!(forger.associations(), 1);
    assert!(forger.send(PEER_TAG, &[&reflected]).is_empty());
    assert_eq!(forger.associations(), 0);

    let mut forger = Forger::established(17);
    assert!(forger.say(&[&plain]).is_empty());
    assert_eq!(forger.close_reason(), Some(CloseReason::PeerAbort { cause: None, info: Bytes::new() }));
}

#[test]
fn shutdown_complete_counts_in_one_state_only() {
    let mut forger = Forger::established(18);
    forger.say(&[&ShutdownComplete { tag_reflected: false }]);
    forger.send(PEER_TAG, &[&ShutdownComplete { tag_reflected: true }]);
    assert_eq!(forger.state(), Some(AssociationState::Established));
    forger.say(&[&ShutdownComplete { tag_reflected: false }, &Chunk::CookieAck]);
    assert!(matches!(forger.handled, Handled::Dropped(discard) if discard.name() == "bad_bundle"));
}

#[test]
fn an_init_while_shutting_down_is_answered_with_shutdown_ack() {
    let mut forger = Forger::established(19);
    let association = forger.world.hosts[1].endpoint.associations().next().unwrap();
    assert_eq!(association.outstanding_chunks(), 0);
    let answers = forger.say(&[&Shutdown { cumulative_tsn_ack: forger.own_tsn - 1 }]);
    assert!(matches!(answers[0].only(), Chunk::ShutdownAck));
    let answers = forger.send(0, &[&Init { initiate_tag: 99, ..init(&[]) }]);
    assert!(matches!(answers[0].only(), Chunk::ShutdownAck));
    assert_eq!(answers[0].tag, PEER_TAG);
    forger.say(&[&ShutdownComplete { tag_reflected: false }]);
    assert_eq!(forger.close_reason(), Some(CloseReason::Shutdown));
}

// Out of the blue (§8.4). The rules themselves are tested beside their code.

#[test]
fn out_of_the_blue_packets_are_answered_with_their_own_tag() {
    let mut forger = Forger::new(20);
    let chunk = data(1, 0, 0, DataFlags::UNFRAGMENTED, b"x");
    let answers = forger.send(0x1234, &[&chunk]);
    assert_eq!((answers[0].tag, answers[0].abort()), (0x1234, (vec![], true)));
    let answers = forger.send(0x1234, &[&Chunk::ShutdownAck]);
    assert_eq!(answers[0].tag, 0x1234);
    assert!(matches!(answers[0].only(), Chunk::ShutdownComplete(complete) if complete.tag_reflected));
    forger.dropped(0x1234, &[&Abort { tag_reflected: false, causes: CauseList::EMPTY }], "out_of_the_blue");
    forger.dropped(0x1234, &[&Chunk::CookieAck], "out_of_the_blue");
    let multicast = Packet { source: [224, 0, 0, 1].into(), ..forger.packet(0x1234, &[&chunk]) };
    assert!(forger.send_packet(multicast).is_empty());
}

// The connecting side: host 0 is the endpoint now, and we are host 1.

/// Has the endpoint of host 0 connect, and gives its INIT's tag.
fn connecting(world: &mut World) -> u32 {
    world.connect(0);
    let packets = world.fetch(0);
    let packet = SctpPacket::parse(&packets[0].bytes).unwrap();
    match Chunk::parse(packet.chunks().next().unwrap().unwrap()).unwrap() {
        Chunk::Init(init) => init.initiate_tag,
        other => panic!("not an INIT: {other}"),
    }
}

/// Answers the endpoint of host 0 from host 1; gives what it says to that.
fn answer(world: &mut World, tag: u32, chunk: &dyn Emit) -> Vec<Answer> {
    let association = world.hosts[0].endpoint.associations().next().unwrap();
    let mut bytes = vec![0; 1480];
    let header = CommonHeader { source_port: PORT, destination_port: association.local_port(), verification_tag: tag };
    let mut writer = Writer::new(&mut bytes, header).unwrap();
    writer.chunk(chunk).unwrap();
    let len = writer.finish(Checksum::Compute);
    bytes.truncate(len);
    world.inject(0, Packet { source: address(false, 0, 1), destination: address(false, 0, 0), bytes: bytes.into() });
    let parsed = |packet: Packet| Answer {
        tag: SctpPacket::parse(&packet.bytes).unwrap().verification_tag,
        bytes: packet.bytes,
    };
    world.fetch(0).into_iter().map(parsed).collect()
}

#[test]
fn init_ack_without_a_cookie_is_aborted() {
    let mut world = World::new(Setup::new(40));
    let tag = connecting(&mut world);
    let answers = answer(&mut world, tag, &InitAck(init(&[])));
    assert_eq!((answers[0].tag, answers[0].abort()), (PEER_TAG, (vec![CauseCode::MISSING_PARAMETER], false)));
    assert_eq!(world.hosts[0].endpoint.associations().count(), 0);
}

#[test]
fn init_ack_with_bad_fields_is_aborted() {
    let mut world = World::new(Setup::new(41));
    let tag = connecting(&mut world);
    let answers = answer(&mut world, tag, &InitAck(Init { outbound_streams: 0, ..init(&[]) }));
    assert_eq!((answers[0].tag, answers[0].abort()), (PEER_TAG, (vec![CauseCode::INVALID_PARAMETER], false)));

    let mut world = World::new(Setup::new(42));
    let tag = connecting(&mut world);
    let answers = answer(&mut world, tag, &InitAck(Init { initiate_tag: 0, ..init(&[]) }));
    assert_eq!((answers[0].tag, answers[0].abort()), (tag, (vec![CauseCode::INVALID_PARAMETER], true)));
}

#[test]
fn parameters_of_init_ack_that_are_unknown_are_reported_with_the_cookie() {
    let mut world = World::new(Setup::new(43));
    let tag = connecting(&mut world);
    let mut chunk = vec![2, 0, 0, 36];
    for field in [PEER_TAG, 100_000, (10 << 16) | 10, PEER_TSN] {
        chunk.extend_from_slice(&field.to_be_bytes());
    }
    chunk.extend_from_slice(&[0, 7, 0, 8, 1, 2, 3, 4]);
    chunk.extend_from_slice(&[0xc0, 0x99, 0, 8, 5, 6, 7, 8]);
    let answers = answer(&mut world, tag, &Raw(chunk));
    let chunks = answers[0].chunks();
    let [Chunk::CookieEcho(echo), Chunk::Error(error)] = &chunks[..] else { panic!("{chunks:?}") };
    assert_eq!(echo.cookie, [1, 2, 3, 4]);
    assert_eq!(codes(&error.causes), [CauseCode::UNRECOGNIZED_PARAMETERS]);
}

#[test]
fn a_shutdown_ack_of_the_past_is_completed() {
    let mut world = World::new(Setup::new(44));
    let tag = connecting(&mut world);
    for tag in [tag, 0x5555] {
        let answers = answer(&mut world, tag, &Chunk::ShutdownAck);
        assert_eq!(answers[0].tag, tag);
        assert!(matches!(answers[0].only(), Chunk::ShutdownComplete(complete) if complete.tag_reflected));
    }
    assert_eq!(world.association(0).state(), AssociationState::CookieWait);
}

#[test]
fn chunks_that_come_too_early_change_nothing() {
    let mut world = World::new(Setup::new(45));
    let tag = connecting(&mut world);
    let early: [&dyn Emit; 5] = [
        &Chunk::CookieAck,
        &Shutdown { cumulative_tsn_ack: Tsn(1) },
        &data(1, 0, 0, DataFlags::UNFRAGMENTED, b"x"),
        &Heartbeat { info: b"1" },
        &ShutdownComplete { tag_reflected: false },
    ];
    for chunk in early {
        assert!(answer(&mut world, tag, chunk).is_empty());
        assert_eq!(world.association(0).state(), AssociationState::CookieWait);
    }
}
