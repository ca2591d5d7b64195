//! INIT, INIT ACK, COOKIE ECHO and COOKIE ACK that are not expected, in every state (RFC 9260 §5.2).

use std::time::Duration;

use sctp_core::serial::Tsn;
use sctp_core::wire::{
    Cause, CauseCode, Chunk, CookieEcho, DataFlags, ErrorChunk, Init, InitAck, Parameter, Sack, Shutdown,
    ShutdownComplete, SupportedAddressTypes,
};
use sctp_core::{AssociationConfig, AssociationState, CloseReason};

use crate::forger::{Answer, Forger, PEER_TAG, PEER_TSN, codes, data_chunk, init};
use crate::sim::app::{Phase, Plan};
use crate::stage::*;

/// The tag of a peer that has restarted, or begins at the same time.
const NEW_TAG: u32 = 99;

fn another_init<'a>(parameters: &'a [Parameter<'a>]) -> Init<'a> {
    Init { initiate_tag: NEW_TAG, initial_tsn: Tsn(5), ..init(parameters) }
}

/// Tag and cookie of an INIT ACK for the new tag.
#[track_caller]
fn init_ack(answers: &[Answer]) -> (u32, Vec<u8>) {
    assert_eq!(answers[0].tag, NEW_TAG);
    match answers[0].only() {
        Chunk::InitAck(ack) => (ack.0.initiate_tag, ack.state_cookie().unwrap().unwrap().to_vec()),
        other => panic!("not an INIT ACK: {other}"),
    }
}

/// A client in COOKIE-ECHOED.
fn echoing(name: &str) -> Forger {
    let mut forger = Forger::connecting(name);
    let ack = [Parameter::StateCookie(b"cookie")];
    let answers = forger.say(&[&InitAck(init(&ack))]);
    assert!(matches!(answers[0].chunks()[0], Chunk::CookieEcho(_)));
    assert_eq!(forger.state(), AssociationState::CookieEchoed);
    forger
}

/// A server's association in one of the states from ESTABLISHED on.
fn in_state(state: AssociationState) -> Forger {
    let mut forger = Forger::established(&format!("in_{state:?}"));
    let all_acknowledged = Shutdown { cumulative_tsn_ack: forger.own_tsn - 1 };
    match state {
        AssociationState::Established => {}
        AssociationState::ShutdownPending => {
            forger.world.send(0, 0, 10);
            forger.world.shutdown(0);
        }
        AssociationState::ShutdownSent => forger.world.shutdown(0),
        AssociationState::ShutdownReceived => {
            forger.world.send(0, 0, 10);
            forger.say(&[&all_acknowledged]);
        }
        AssociationState::ShutdownAckSent => {
            forger.say(&[&all_acknowledged]);
        }
        other => panic!("{other:?} is not for a server"),
    }
    forger.relieve();
    assert_eq!(forger.state(), state);
    forger
}

const BEFORE_SHUTDOWN_ACK: [AssociationState; 4] = [
    AssociationState::Established,
    AssociationState::ShutdownPending,
    AssociationState::ShutdownSent,
    AssociationState::ShutdownReceived,
];

// INIT (§5.2.1, §5.2.2, §9.2).

//= test RFC 9260 §5.2.1: "Upon receipt of an INIT chunk in the COOKIE-WAIT state, an endpoint MUST respond with an INIT
//= ACK chunk using the same parameters"
//= test RFC 9260 §5.2.1: "When responding, the following rules MUST be applied:"
#[test]
fn init_in_cookie_wait_is_answered_with_the_tag_that_was_sent() {
    let mut forger = Forger::connecting("init_in_cookie_wait");
    let own = forger.association().local_tag();
    let (tag, _) = init_ack(&forger.send(0, &[&another_init(&[])]));
    assert_eq!((tag, forger.state()), (own, AssociationState::CookieWait));
    // New addresses do not matter yet.
    let more = [Parameter::from_address(address(SERVER, 1))];
    assert_eq!(init_ack(&forger.send(0, &[&another_init(&more)])).0, own);
    forger.finish();
}

//= test RFC 9260 §5.2.1: "then the entire INIT chunk MUST be discarded, and the state of the existing association
//= SHOULD NOT be changed"
//= test RFC 9260 §5.2.1: "An ABORT chunk SHOULD be sent in a response"
//= test RFC 9260 §5.2.1: "Upon receipt of an INIT chunk in the COOKIE-ECHOED state, an endpoint MUST respond with an
//= INIT ACK chunk using the same parameters"
//= test RFC 9260 §5.2.1: "The error SHOULD list the addresses that were added to the restarting association."
#[test]
fn init_in_cookie_echoed_is_answered_unless_it_adds_addresses() {
    let mut forger = echoing("init_in_cookie_echoed");
    let own = forger.association().local_tag();
    let (tag, _) = init_ack(&forger.send(0, &[&another_init(&[])]));
    assert_eq!((tag, forger.state()), (own, AssociationState::CookieEchoed));
    let more = [Parameter::from_address(address(SERVER, 1))];
    let answers = forger.send(0, &[&another_init(&more)]);
    assert_eq!((answers[0].tag, answers[0].abort()), (NEW_TAG, (vec![CauseCode::RESTART_WITH_NEW_ADDRESSES], false)));
    let Chunk::Abort(abort) = answers[0].only() else { panic!("no ABORT") };
    let Some(Ok(Cause::RestartWithNewAddresses(listed))) = abort.causes.iter().next() else { panic!("{abort}") };
    assert_eq!(listed.iter().map(Result::unwrap).collect::<Vec<_>>(), more);
    assert_eq!(forger.state(), AssociationState::CookieEchoed);
    forger.finish();
}

//= test RFC 9260 §5.2.2: "And the INIT ACK chunk MUST contain a new Initiate Tag"
//= test RFC 9260 §5.2.2: "the existing association, including its current state, and the corresponding TCB MUST NOT be
//= changed"
//= test RFC 9260 §5.2.2: "The error SHOULD list the addresses that were added to the restarting association."
#[test]
fn init_in_later_states_is_answered_with_a_new_tag() {
    for state in BEFORE_SHUTDOWN_ACK {
        let mut forger = in_state(state);
        let own = forger.association().local_tag();
        let (tag, _) = init_ack(&forger.send(0, &[&another_init(&[])]));
        assert_ne!(tag, own, "{state:?}");
        // "the existing association, including its current state, and the corresponding TCB MUST NOT be changed"
        assert_eq!((forger.association().local_tag(), forger.association().peer_tag()), (own, PEER_TAG));
        assert_eq!(forger.state(), state);
        let more = [Parameter::from_address(address(CLIENT, 1)), Parameter::from_address("fd00::7".parse().unwrap())];
        let answers = forger.send(0, &[&another_init(&more)]);
        let Chunk::Abort(abort) = answers[0].only() else { panic!("{state:?}: no ABORT") };
        let Some(Ok(Cause::RestartWithNewAddresses(listed))) = abort.causes.iter().next() else { panic!("{abort}") };
        // "Each New Address TLV is an exact copy of the TLV that was found in the INIT chunk that was new".
        assert_eq!(listed.iter().map(Result::unwrap).collect::<Vec<_>>(), more);
        assert_eq!((answers[0].tag, forger.state()), (NEW_TAG, state));
        forger.world.harsh = true;
        forger.finish();
    }
}

//= test RFC 9260 §9.2: "it SHOULD discard the INIT chunk and retransmit the SHUTDOWN ACK chunk"
#[test]
fn init_in_shutdown_ack_sent_is_answered_with_shutdown_ack() {
    let mut forger = in_state(AssociationState::ShutdownAckSent);
    let answers = forger.send(0, &[&another_init(&[])]);
    assert!(matches!(answers[0].only(), Chunk::ShutdownAck));
    assert_eq!((answers[0].tag, forger.state()), (PEER_TAG, AssociationState::ShutdownAckSent));
    forger.say(&[&ShutdownComplete { tag_reflected: false }]);
    forger.finish();
}

// COOKIE ECHO (§5.2.4, table 12).

//= test RFC 9260 §5.2.4: "A RESTART notification SHOULD be sent to the ULP"
#[test]
fn row_x_x_m_m_restarts_in_any_state_before_shutdown_ack() {
    for state in BEFORE_SHUTDOWN_ACK {
        let mut forger = in_state(state);
        let (tag, cookie) = init_ack(&forger.send(0, &[&another_init(&[])]));
        let answers = forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
        assert!(matches!(answers[0].chunks()[0], Chunk::CookieAck), "{state:?}");
        assert_eq!((answers[0].tag, forger.state()), (NEW_TAG, AssociationState::Established));
        assert_eq!(forger.world.sides[0].restarts, 1);
        forger.world.harsh = true;
        forger.finish();
    }
}

//= test RFC 9260 §5.2.4: "it MUST NOT set up a new association but instead resend the SHUTDOWN ACK chunk and send an
//= ERROR chunk"
#[test]
fn row_x_x_m_m_does_not_restart_what_is_shutting_down() {
    let mut forger = Forger::established("cookie_while_shutting_down");
    let (tag, cookie) = init_ack(&forger.send(0, &[&another_init(&[])]));
    forger.say(&[&Shutdown { cumulative_tsn_ack: forger.own_tsn - 1 }]);
    assert_eq!(forger.state(), AssociationState::ShutdownAckSent);
    let answers = forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
    let chunks = answers[0].chunks();
    let [Chunk::ShutdownAck, Chunk::Error(error)] = &chunks[..] else { panic!("{chunks:?}") };
    assert_eq!(codes(&error.causes), [CauseCode::COOKIE_WHILE_SHUTTING_DOWN]);
    assert_eq!(forger.state(), AssociationState::ShutdownAckSent);
    // The peer, to whom the SHUTDOWN ACK is out of the blue, completes the shutdown; then its cookie is good.
    forger.send(PEER_TAG, &[&ShutdownComplete { tag_reflected: true }]);
    assert_eq!(forger.close_reason(), Some(&CloseReason::Shutdown));
    let answers = forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
    assert!(matches!(answers[0].chunks()[0], Chunk::CookieAck));
    forger.world.harsh = true;
    forger.finish();
}

//= test RFC 9260 §5.2.4: "The endpoint SHOULD stay in or enter the ESTABLISHED state, but it MUST update its peer's
//= Verification Tag from the State Cookie"
#[test]
fn rows_m_0_and_m_x_take_the_peers_new_tag() {
    // COOKIE-WAIT: the peer's tag is not known. COOKIE-ECHOED: it is another one.
    for mut forger in [Forger::connecting("row_m_0"), echoing("row_m_x")] {
        let (tag, cookie) = init_ack(&forger.send(0, &[&another_init(&[])]));
        let answers = forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
        assert!(matches!(answers[0].chunks()[0], Chunk::CookieAck));
        assert_eq!((answers[0].tag, forger.state()), (NEW_TAG, AssociationState::Established));
        assert_eq!((forger.association().local_tag(), forger.association().peer_tag()), (tag, NEW_TAG));
        assert_eq!(forger.world.sides[0].phase, Phase::Open);
        // No T1 runs any more.
        forger.world.run_for(Duration::from_secs(5));
        assert_eq!(times(&forger.world, CLIENT, sctp_core::wire::ChunkType::INIT).len(), 1);
        forger.world.harsh = true;
        forger.finish();
    }
}

//= test RFC 9260 §5.2.4: "the endpoint SHOULD enter the ESTABLISHED state if it is in the COOKIE-ECHOED state"
#[test]
fn row_m_m_establishes_what_was_echoing() {
    let mut forger = echoing("row_m_m");
    let same = Init { initiate_tag: PEER_TAG, ..init(&[]) };
    let answers = forger.send(0, &[&same]);
    let Chunk::InitAck(ack) = answers[0].only() else { panic!("no INIT ACK") };
    let cookie = ack.state_cookie().unwrap().unwrap().to_vec();
    let answers = forger.say(&[&CookieEcho { cookie: &cookie }]);
    assert!(matches!(answers[0].chunks()[0], Chunk::CookieAck));
    assert_eq!((forger.state(), forger.association().peer_tag()), (AssociationState::Established, PEER_TAG));
    forger.world.harsh = true;
    forger.finish();
}

/// Two cookies for one INIT that came twice: the first association stands, the other cookie is late (C).
//= test RFC 9260 §5.2.4: "The cookie SHOULD be silently discarded."
//= test RFC 9260 §5.2.4: "The endpoint SHOULD NOT change states and SHOULD leave any timers running."
#[test]
fn row_x_m_0_0_is_late() {
    let mut forger = Forger::new("late_cookie");
    let (late_tag, late) = forger.cookie(&[]);
    let (tag, cookie) = forger.cookie(&[]);
    forger.tag = tag;
    forger.say(&[&CookieEcho { cookie: &cookie }]);
    let timeout = forger.endpoint().poll_timeout();
    assert!(forger.send(late_tag, &[&CookieEcho { cookie: &late }]).is_empty());
    assert_eq!((forger.associations(), forger.association().local_tag()), (1, tag));
    assert_eq!((forger.state(), forger.association().peer_tag()), (AssociationState::Established, PEER_TAG));
    assert!(timeout.is_some() && forger.endpoint().poll_timeout() == timeout, "its timers run on");
    forger.finish();
}

//= test RFC 9260 §5.2.4: "For any case not shown in Table 12, the cookie SHOULD be silently discarded."
#[test]
fn cookies_that_are_in_no_row_are_discarded_silently() {
    let mut forger = Forger::new("cookies_in_no_row");
    // Two cookies without Tie-Tags: of INITs of different tags, while there was no association.
    let (old_tag, old_cookie) = init_ack(&forger.send(0, &[&another_init(&[])]));
    let (tag, cookie) = forger.cookie(&[]);
    forger.tag = tag;
    forger.say(&[&CookieEcho { cookie: &cookie }]);
    // X X 0 0.
    assert!(forger.send(old_tag, &[&CookieEcho { cookie: &old_cookie }]).is_empty());
    assert_eq!((forger.associations(), forger.association().local_tag()), (1, tag));
    // And one whose Tie-Tags were those of an association that has restarted since: X X X X.
    let (first, first_cookie) = init_ack(&forger.send(0, &[&another_init(&[])]));
    let (second, second_cookie) = init_ack(&forger.send(0, &[&another_init(&[])]));
    forger.send(first, &[&CookieEcho { cookie: &first_cookie }]);
    assert_eq!(forger.association().local_tag(), first);
    // Its peer's tag is that of the association: X M X X.
    assert!(forger.send(second, &[&CookieEcho { cookie: &second_cookie }]).is_empty());
    assert_eq!((forger.associations(), forger.association().local_tag()), (1, first));
    assert_eq!(forger.world.sides[0].restarts, 1);
    forger.world.harsh = true;
    forger.finish();
}

// INIT ACK, COOKIE ACK (§5.2.3, §5.2.5).

//= test RFC 9260 §5.2.3: "the endpoint SHOULD discard the INIT ACK chunk"
//= test RFC 9260 §3.3.3: "or COOKIE-WAIT, it SHOULD be discarded silently"
//= test RFC 9260 §5.2.5: "an endpoint SHOULD silently discard a received COOKIE ACK chunk"
#[test]
fn an_init_ack_or_cookie_ack_that_nobody_waits_for_is_discarded() {
    let ack = [Parameter::StateCookie(b"another")];
    let mut forgers: Vec<Forger> = BEFORE_SHUTDOWN_ACK.into_iter().map(in_state).collect();
    forgers.push(in_state(AssociationState::ShutdownAckSent));
    for mut forger in forgers {
        let state = forger.state();
        assert!(forger.say(&[&InitAck(another_init(&ack))]).is_empty(), "{state:?}");
        // Also one that would end a handshake.
        assert!(forger.say(&[&InitAck(Init { outbound_streams: 0, ..another_init(&[]) })]).is_empty(), "{state:?}");
        assert!(forger.say(&[&Chunk::CookieAck]).is_empty(), "{state:?}");
        assert_eq!((forger.state(), forger.association().peer_tag()), (state, PEER_TAG));
        forger.world.harsh = true;
        forger.finish();
    }
    let mut forger = echoing("init_ack_in_cookie_echoed");
    assert!(forger.say(&[&InitAck(another_init(&ack))]).is_empty());
    assert_eq!((forger.state(), forger.association().peer_tag()), (AssociationState::CookieEchoed, PEER_TAG));
    forger.finish();
}

//= test RFC 9260 §5.2.6: "an endpoint SHOULD first examine if an association is in the process of being set up, i.e., the
//= association is in the COOKIE-ECHOED state"
//= test RFC 9260 §5.2.6: "In all cases, if the association is not in the COOKIE-ECHOED state, the ERROR chunk SHOULD be
//= silently discarded."
#[test]
fn a_stale_cookie_error_counts_in_cookie_echoed_only() {
    let causes = [Cause::StaleCookie { staleness: 1000 }];
    let error = ErrorChunk { causes: causes[..].into() };
    for state in BEFORE_SHUTDOWN_ACK.into_iter().chain([AssociationState::ShutdownAckSent]) {
        let mut forger = in_state(state);
        let told = forger.world.sides[0].events.len();
        assert!(forger.say(&[&error]).is_empty(), "{state:?}");
        assert_eq!((forger.state(), forger.association().peer_tag()), (state, PEER_TAG));
        assert_eq!(forger.world.sides[0].events.len(), told, "{state:?}");
        forger.world.harsh = true;
        forger.finish();
    }
    let mut forger = echoing("stale_in_cookie_echoed");
    assert!(matches!(forger.say(&[&error])[0].only(), Chunk::Init(_)), "it begins anew");
    forger.finish();
}

// Addresses (§5.1.2).

#[test]
fn an_init_ack_lists_no_address_of_a_type_that_the_peer_cannot_use() {
    let mut forger = Forger::new("supported_address_types");
    let own: Vec<std::net::IpAddr> = ["10.0.0.2", "10.1.0.2", "fd00::2"].map(|it| it.parse().unwrap()).to_vec();
    forger.endpoint().set_local_addresses(&own);
    let listed = |forger: &mut Forger, parameters: &[Parameter<'_>]| -> Vec<std::net::IpAddr> {
        let answers = forger.send(0, &[&init(parameters)]);
        let Chunk::InitAck(ack) = answers[0].only() else { panic!("no INIT ACK") };
        ack.0.parameters.addresses().collect()
    };
    let types = |ipv4, ipv6| Parameter::SupportedAddressTypes(SupportedAddressTypes { ipv4, ipv6 });
    assert_eq!(listed(&mut forger, &[]), own);
    assert_eq!(listed(&mut forger, &[types(true, false)]), own[..2]);
    // What it uses itself it supports, whatever it says: the INIT came from an IPv4 address.
    assert_eq!(listed(&mut forger, &[types(false, true)]), own);
    let v6 = Parameter::from_address("fd00::1".parse().unwrap());
    assert_eq!(listed(&mut forger, &[types(true, false), v6]), own);
    forger.finish();
}

// Simultaneous open (§5.2.1, §5.2.4 B).

/// The peer answers our INIT before its own application has it connect: then it has drawn another tag, and discards our COOKIE ECHO
/// with the DATA that came along. That must not wait for T3-rtx.
#[test]
fn data_that_went_with_a_cookie_echo_in_vain_is_sent_again_at_once() {
    let client = Plan { messages: 1, early: true, ..Plan::with_config(AssociationConfig::rfc()) };
    let mut world = pair("data_with_a_vain_cookie_echo", client, Plan::manual());
    let start = world.now;
    world.connect(0);
    world.run_for(Duration::from_millis(15));
    world.connect_back(0);
    world.run_for(Duration::from_secs(5));
    let dialogue = dialogue(&world);
    let carried =
        dialogue.iter().filter(|(from, chunks)| *from == CLIENT && chunks.contains(&sctp_core::wire::ChunkType::DATA));
    assert_eq!(carried.count(), 2, "in vain, and at once with the COOKIE ACK: {dialogue:?}");
    // INIT at 15 ms, INIT ACK at 25, COOKIE ECHO at 35, COOKIE ACK and DATA at 45.
    let arrived = told(&world, 1, |event| *event == sctp_core::Event::MessageReceived);
    assert_at(arrived.expect("it has arrived"), start + Duration::from_millis(55), "DATA");
    world.finish();
}

/// What comes with a COOKIE ECHO that restarts an association belongs to the new one.
#[test]
fn data_may_come_with_the_cookie_of_a_restart() {
    let mut forger = Forger::established("data_with_a_restart");
    let old = data_chunk(PEER_TSN + 1, 0, 1, DataFlags::UNFRAGMENTED, b"behind a gap");
    forger.say(&[&old]);
    let (tag, cookie) = init_ack(&forger.send(0, &[&another_init(&[])]));
    let fresh = data_chunk(5, 0, 0, DataFlags::UNFRAGMENTED, b"fresh");
    let answers = forger.send(tag, &[&CookieEcho { cookie: &cookie }, &fresh]);
    let chunks = answers[0].chunks();
    assert!(
        matches!(&chunks[..], [Chunk::CookieAck, Chunk::Sack(sack)] if sack.cumulative_tsn_ack == Tsn(5)),
        "{chunks:?}"
    );
    let id = forger.association().id();
    assert_eq!(forger.endpoint().recv(id).unwrap().into_bytes(), "fresh");
    assert!(forger.endpoint().recv(id).is_none(), "what the old association lacked is gone");
    forger.world.harsh = true;
    forger.finish();
}

/// A SACK acknowledges all that was sent before a restart in vain.
#[test]
fn a_sack_of_before_the_restart_has_the_wrong_tag() {
    let mut forger = Forger::established("sack_of_before_the_restart");
    let (tag, cookie) = init_ack(&forger.send(0, &[&another_init(&[])]));
    let old_tag = forger.tag;
    forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
    let sack = Sack {
        cumulative_tsn_ack: forger.own_tsn,
        a_rwnd: 100_000,
        gap_ack_blocks: std::iter::empty(),
        duplicate_tsns: std::iter::empty(),
    };
    forger.dropped(old_tag, &[&sack], "bad_tag");
    forger.world.harsh = true;
    forger.finish();
}
