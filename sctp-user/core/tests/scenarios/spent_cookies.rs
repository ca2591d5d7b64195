//! Cookies that come back where they were not made, too often, or too late (RFC 9260 §5.1.5).

use std::time::Duration;

use sctp_core::time::Instant;
use sctp_core::wire::{Abort, CauseList, Chunk, CookieEcho, Init, Packet, Shutdown, ShutdownComplete};
use sctp_core::{AssociationConfig, CloseReason, CookieSecret, Endpoint, EndpointConfig, Handled, ListenConfig};

use crate::forger::{Forger, PEER_TAG, init};
use crate::stage::*;

fn abort() -> Abort<'static> {
    Abort { tag_reflected: false, causes: CauseList::EMPTY }
}

#[test]
fn the_endpoints_of_a_stack_understand_each_others_cookies() {
    let endpoint = |secret: [u64; 2], seed: u8| {
        let config = EndpointConfig {
            addresses: vec![address(SERVER, 0)],
            cookie_secret: Some(CookieSecret::new(secret)),
            ..EndpointConfig::default()
        };
        let mut endpoint = Endpoint::new(config, [seed; 32]);
        endpoint.listen(SERVER_PORT, ListenConfig::default()).unwrap();
        endpoint
    };
    let now = Instant::from_millis(1000);
    let forger = Forger::new("cookies_of_a_stack");
    let (mut first, mut second, mut stranger) = (endpoint([1, 2], 1), endpoint([1, 2], 2), endpoint([1, 3], 3));
    let (client, server) = (address(CLIENT, 0), address(SERVER, 0));
    handle(&mut first, now, client, server, &forger.packet(0, &[&init(&[])]).bytes);
    let mut buffer = [0; 1480];
    let sent = first.poll_transmit(now, &mut buffer).unwrap();
    let packet = Packet::parse(&buffer[..sent.len]).unwrap();
    let Ok(Chunk::InitAck(ack)) = Chunk::parse(packet.chunks().next().unwrap().unwrap()) else { panic!("{packet}") };
    let echo = CookieEcho { cookie: ack.state_cookie().unwrap().unwrap() };
    let echo = forger.packet(ack.0.initiate_tag, &[&echo]).bytes;
    let later = now + Duration::from_millis(20);
    assert!(matches!(handle(&mut stranger, later, client, server, &echo), Handled::Dropped(_)));
    assert!(matches!(handle(&mut second, later, client, server, &echo), Handled::Processed(_)));
    assert_eq!((stranger.associations().count(), second.associations().count()), (0, 1));
    forger.finish();
}

/// The server gives up; its ABORT gets lost. A copy of the COOKIE ECHO must not make a twin of what the client still has.
#[test]
fn a_copied_cookie_echo_does_not_revive_what_we_have_aborted() {
    let mut forger = Forger::new("copied_cookie_echo_after_abort");
    let (tag, cookie) = forger.cookie(&[]);
    let echo = CookieEcho { cookie: &cookie };
    forger.send(tag, &[&echo]);
    let (now, id) = (forger.world.now, forger.association().id());
    forger.endpoint().abort(now, id, "enough".into()).unwrap();
    forger.relieve();
    for _ in 0..3 {
        let answers = forger.send(tag, &[&echo]);
        // The peer learns that there is nothing any more.
        assert_eq!((answers[0].tag, answers[0].abort()), (PEER_TAG, (vec![], false)));
        assert_eq!(forger.associations(), 0);
    }
    // It may connect anew.
    let (tag, cookie) = forger.cookie(&[]);
    forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
    assert_eq!(forger.associations(), 1);
    forger.world.harsh = true;
    forger.finish();
}

#[test]
fn a_copied_cookie_echo_after_an_end_that_both_know_of_is_dropped() {
    // The client aborts, or shuts down.
    for aborts in [true, false] {
        let mut forger = Forger::new("copied_cookie_echo_after_the_end");
        let (tag, cookie) = forger.cookie(&[]);
        let echo = CookieEcho { cookie: &cookie };
        forger.send(tag, &[&echo]);
        if aborts {
            forger.send(tag, &[&abort()]);
        } else {
            forger.send(tag, &[&Shutdown { cumulative_tsn_ack: forger.own_tsn - 1 }]);
            forger.send(tag, &[&ShutdownComplete { tag_reflected: false }]);
            assert_eq!(forger.close_reason(), Some(&CloseReason::Shutdown));
        }
        assert_eq!(forger.associations(), 0);
        forger.dropped(tag, &[&echo], "spent_cookie");
        // Until it is stale anyway.
        forger.world.run_for(Duration::from_secs(61));
        let answers = forger.send(tag, &[&echo]);
        assert!(matches!(answers[0].only(), Chunk::Error(_)));
        assert_eq!(forger.associations(), 0);
        forger.world.harsh = true;
        forger.finish();
    }
}

#[test]
fn a_restart_uses_the_first_cookie_up() {
    let mut forger = Forger::new("restart_uses_the_cookie_up");
    let (old_tag, old_cookie) = forger.cookie(&[]);
    forger.send(old_tag, &[&CookieEcho { cookie: &old_cookie }]);
    let answers = forger.send(0, &[&Init { initiate_tag: 99, ..init(&[]) }]);
    let Chunk::InitAck(ack) = answers[0].only() else { panic!("no INIT ACK") };
    let (tag, cookie) = (ack.0.initiate_tag, ack.state_cookie().unwrap().unwrap().to_vec());
    forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
    assert_eq!(forger.world.sides[0].restarts, 1);
    forger.send(tag, &[&abort()]);
    assert_eq!(forger.associations(), 0);
    for (tag, cookie) in [(old_tag, &old_cookie), (tag, &cookie)] {
        forger.dropped(tag, &[&CookieEcho { cookie }], "spent_cookie");
    }
    forger.world.harsh = true;
    forger.finish();
}

/// A collision makes a cookie with the tag of the side that connects. It may come back when that has been given up.
#[test]
fn a_cookie_of_a_collision_does_not_make_an_association_afterwards() {
    let mut forger = Forger::connecting("cookie_of_a_collision");
    let answers = forger.send(0, &[&init(&[])]);
    let Chunk::InitAck(ack) = answers[0].only() else { panic!("no INIT ACK") };
    let (tag, cookie) = (ack.0.initiate_tag, ack.state_cookie().unwrap().unwrap().to_vec());
    assert_eq!(tag, forger.tag);
    let (now, id) = (forger.world.now, forger.association().id());
    forger.endpoint().listen(CLIENT_PORT, ListenConfig::default()).ok();
    forger.endpoint().abort(now, id, "never mind".into()).unwrap();
    forger.relieve();
    let answers = forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
    assert_eq!((answers[0].tag, answers[0].abort()), (PEER_TAG, (vec![], false)));
    assert_eq!(forger.associations(), 0);
    forger.world.harsh = true;
    forger.finish();
}

#[test]
fn a_cookie_holds_no_more_addresses_than_it_may() {
    let many: Vec<sctp_core::wire::Parameter<'_>> =
        (1..=100).map(|last| sctp_core::wire::Parameter::from_address([10, 9, 9, last].into())).collect();
    let config = AssociationConfig { max_paths: 255, ..AssociationConfig::default() };
    let mut forger = Forger::with_config("cookie_with_many_addresses", config);
    let (tag, cookie) = forger.cookie(&many);
    assert_eq!(cookie.len(), sctp_common::cookie::MAX_LENGTH);
    forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
    assert_eq!(forger.association().paths().len(), 1 + sctp_common::cookie::MAX_ADDRESSES);
    forger.world.harsh = true;
    forger.finish();
}
