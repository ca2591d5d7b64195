//! Worlds made for one question each.

use std::time::Duration;

use sctp_common::steering::Steering;
use sctp_core::time::Instant;
use sctp_core::{
    AssociationConfig, AssociationState, CloseReason, Connect, ConnectError, Endpoint, EndpointConfig, Event, Message,
    PathState, SendError, WorkerSteering,
};

use crate::network::Link;
use crate::world::{PORT, Planned, Setup, World, address};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

fn established(setup: Setup) -> World {
    let mut world = World::new(setup);
    world.connect(0);
    assert!(world.run_until(5 * SECOND, World::all_established).unwrap());
    world
}

fn both(config: AssociationConfig, setup: Setup) -> Setup {
    Setup { config: [config.clone(), config], ..setup }
}

fn events(world: &World, host: usize) -> impl Iterator<Item = &Event> {
    world.hosts[host].app.events.iter().map(|(_, event)| event)
}

fn time(world: &mut World, limit: Duration, done: impl FnMut(&World) -> bool) -> Duration {
    let before = world.now;
    assert!(world.run_until(limit, done).unwrap(), "took longer than {limit:?}");
    world.now - before
}

#[test]
fn handshake_data_shutdown() {
    let mut world = established(Setup::new(1));
    for len in [1, 64, 1400, 1452, 1453, 5000, 200_000] {
        world.plan(0, 0, len);
        world.plan(1, 1, len);
    }
    assert!(world.run_until(60 * SECOND, World::all_delivered).unwrap());
    for host in 0..2 {
        let stats = *world.association(host).stats();
        assert_eq!((stats.data_chunks_retransmitted, stats.duplicate_chunks, stats.t3_timeouts), (0, 0, 0));
        assert_eq!((stats.messages_sent, stats.messages_received), (7, 7));
    }
    world.end_in_order(0, 5 * SECOND).unwrap();
}

#[test]
fn first_messages_go_with_the_cookie() {
    let mut world = World::new(Setup::new(2));
    world.connect(0);
    world.plan(0, 0, 100);
    // One and a half round trips of 10 ms.
    let took =
        time(&mut world, SECOND, |world| world.hosts[1].app.events.iter().any(|(_, e)| *e == Event::MessageReceived));
    assert_eq!(took, 15 * MILLISECOND);
    assert_eq!(world.hosts[1].endpoint.associations().next().unwrap().stats().packets_received, 1);
}

#[test]
fn request_and_response_never_wait_for_a_delayed_sack() {
    for len in [10, 1_400, 64_000] {
        let mut world = established(Setup::new(3));
        world.hosts[1].app.echoes = true;
        let mut total = Duration::ZERO;
        for round in 1..=50 {
            world.plan(0, 0, len);
            total += time(&mut world, SECOND, |world| {
                world.all_delivered() && world.association(0).stats().messages_received == round
            });
        }
        // A round trip takes 10 ms; 64 kB need some of them while the window grows.
        let expected = if len < 1500 { 12 * MILLISECOND } else { 40 * MILLISECOND };
        assert!(total < 50 * expected, "{len} bytes: {:?} a round", total / 50);
    }
}

#[test]
fn a_sender_that_waits_for_every_sack_does_not_wait_long() {
    // A window of one small chunk, and nobody answers: the classic trap of delayed SACKs.
    let config = AssociationConfig { max_outstanding: 1, ..AssociationConfig::default() };
    let mut world = established(both(config, Setup::new(4)));
    for _ in 0..200 {
        world.plan(0, 0, 20);
    }
    let took = time(&mut world, 60 * SECOND, World::all_delivered);
    assert!(took < 200 * 13 * MILLISECOND, "{took:?}");
}

#[test]
fn dialogue_acknowledges_along_with_data() {
    let mut world = established(Setup::new(5));
    world.hosts[1].app.echoes = true;
    for round in 1..=100 {
        world.plan(0, 0, 20);
        time(&mut world, SECOND, |world| world.association(0).stats().messages_received == round);
    }
    // One packet each way for a round, but at the beginning.
    let stats = world.association(1).stats();
    assert!(stats.packets_sent < 130, "{} packets", stats.packets_sent);
}

#[test]
fn a_link_is_used_well() {
    // 2.5 MB/s and 40 ms: 100 kB are under way at a time; the queue takes as much.
    let link =
        Link { delay: 20 * MILLISECOND, rate: Some(2_500_000), max_queueing: 40 * MILLISECOND, ..Link::default() };
    let mut world = established(Setup { links: vec![link], ..Setup::new(6) });
    // The first overshoot, with its losses, is over after a while.
    for _ in 0..160 {
        world.plan(0, 0, 50_000);
    }
    time(&mut world, 60 * SECOND, |world| world.association(1).stats().data_bytes_received > 4_500_000);
    let took = time(&mut world, 60 * SECOND, World::all_delivered);
    let rate = 3_500_000.0 / took.as_secs_f64();
    assert!(rate > 2_500_000.0 * 0.95, "{rate} bytes a second");
}

#[test]
fn sack_for_every_second_packet() {
    // Packets one after the other, and in batches: without a limit of its rate the link brings a window's at once.
    for rate in [Some(5_000_000), None] {
        let link = Link { rate, max_queueing: SECOND, ..Link::default() };
        let mut world = established(Setup { links: vec![link], ..Setup::new(7) });
        for _ in 0..20 {
            world.plan(0, 0, 30_000);
        }
        time(&mut world, 60 * SECOND, World::all_delivered);
        let (sender, receiver) = (world.association(0).stats(), world.association(1).stats());
        let ratio = sender.packets_sent as f64 / receiver.sacks_sent as f64;
        assert!((1.7..=2.1).contains(&ratio), "{ratio} packets to a SACK");
    }
}

#[test]
fn fast_retransmit_repairs_without_a_timeout() {
    let link = Link { loss: 0.01, ..Link::default() };
    let mut world = established(Setup { links: vec![link], ..Setup::new(8) });
    for _ in 0..100 {
        world.plan(0, 0, 20_000);
    }
    time(&mut world, 600 * SECOND, World::all_delivered);
    let stats = world.association(0).stats();
    assert!(stats.fast_retransmits >= 10, "{stats:?}");
    assert!(stats.t3_timeouts <= stats.fast_retransmits / 4, "{stats:?}");
}

#[test]
fn a_closed_window_is_probed_and_opens_again() {
    let config = AssociationConfig {
        receive_buffer: 20_000,
        max_message_size: 10_000,
        heartbeat_interval: None,
        ..AssociationConfig::default()
    };
    let mut world = established(both(config, Setup::new(9)));
    // Host 1 does not read for five minutes.
    world.hosts[1].app.reading_pause = Some(Duration::ZERO);
    world.hosts[1].app.next_read = world.now + 300 * SECOND;
    for _ in 0..10 {
        world.plan(0, 0, 10_000);
    }
    world.run_for(290 * SECOND).unwrap();
    assert_eq!(world.association(0).state(), AssociationState::Established);
    let held = world.association(1).receive_buffer_used();
    assert!((18_000..=20_000 + 1452).contains(&held), "{held}");
    let packets = world.association(0).stats().packets_sent;
    assert!(packets < 40, "{packets} packets: probes back off");
    let took = time(&mut world, 60 * SECOND, World::all_delivered);
    assert!(took < 12 * SECOND, "{took:?}");
    world.end_in_order(1, 5 * SECOND).unwrap();
}

#[test]
fn a_lost_window_update_does_not_stall() {
    let config = AssociationConfig { receive_buffer: 20_000, max_message_size: 10_000, ..AssociationConfig::default() };
    let mut world = established(both(config, Setup::new(10)));
    world.hosts[1].app.reading_pause = Some(Duration::ZERO);
    world.hosts[1].app.next_read = world.now + 2 * SECOND;
    for _ in 0..5 {
        world.plan(0, 0, 10_000);
    }
    // The link is away when host 1 reads and tells of it.
    let read = world.hosts[1].app.next_read;
    world.network.link_mut(0).cuts = vec![(read - 50 * MILLISECOND, read + 100 * MILLISECOND)];
    time(&mut world, 20 * SECOND, World::all_delivered);
}

#[test]
fn a_cut_path_is_left_within_a_second() {
    let links = vec![Link::default(), Link { delay: 8 * MILLISECOND, ..Link::default() }];
    let setup = both(AssociationConfig::ran(), Setup { links, ..Setup::new(11) });
    let mut world = established(setup);
    world.run_for(2 * SECOND).unwrap();
    assert!(world.association(0).paths().all(|path| path.state == PathState::Active));

    let start = world.now;
    for step in 0..800 {
        let planned = Planned { at: start + step * 10 * MILLISECOND, stream: 0, len: 200, unordered: false };
        world.hosts[0].app.planned.push_back(planned);
    }
    world.network.link_mut(0).cuts = vec![(start + 2 * SECOND, start + 5 * SECOND)];
    let mut longest = Duration::ZERO;
    for number in 1..=800 {
        let took = time(&mut world, 2 * SECOND, |world| world.association(1).stats().messages_received >= number);
        longest = longest.max(took);
    }
    assert!(longest < SECOND, "nothing arrived for {longest:?}");
    let changes: Vec<_> = events(&world, 0)
        .filter_map(|event| match event {
            Event::PathChanged { address, state } => Some((*address, *state)),
            _ => None,
        })
        .collect();
    let first = address(false, 0, 1);
    assert!(changes.contains(&(first, PathState::Inactive)), "{changes:?}");
    world.run_for(10 * SECOND).unwrap();
    assert_eq!(world.association(0).primary_path().state, PathState::Active, "it came back");
    world.end_in_order(0, 5 * SECOND).unwrap();
}

#[test]
fn both_connect_at_once() {
    for delay in [0, 1, 4, 5, 6, 9, 10, 11, 14, 15, 16] {
        let links = vec![Link::default(), Link::default()];
        let mut world = World::new(Setup { listens: [true, true], links, ..Setup::new(12 + delay) });
        world.connect(0);
        world.run_for(Duration::from_millis(delay)).unwrap();
        if world.hosts[1].association.is_none() {
            world.connect(1);
        }
        world.plan(0, 0, 1000);
        world.plan(1, 0, 1000);
        time(&mut world, 10 * SECOND, |world| world.all_established() && world.all_delivered());
        for host in 0..2 {
            assert_eq!(world.hosts[host].endpoint.associations().count(), 1);
            let up = events(&world, host).filter(|e| matches!(e, Event::Connected { .. } | Event::Accepted { .. }));
            assert_eq!(up.count(), 1, "delay {delay}");
        }
        assert_eq!(world.association(0).peer_tag(), world.association(1).local_tag());
        assert_eq!(world.association(1).peer_tag(), world.association(0).local_tag());
        world.end_in_order(1, 5 * SECOND).unwrap();
    }
}

#[test]
fn a_restarted_peer_takes_the_old_place() {
    let mut world = established(Setup { listens: [true, true], ..Setup::new(30) });
    world.plan(0, 0, 5000);
    world.plan(1, 3, 5000);
    time(&mut world, SECOND, World::all_delivered);
    let id = world.hosts[1].association;
    let old_tag = world.association(1).local_tag();

    world.restart(0);
    world.connect(0);
    time(&mut world, 5 * SECOND, |world| world.all_established() && events(world, 0).count() > 0);
    let restarts = events(&world, 1).filter(|event| matches!(event, Event::Restarted { .. })).count();
    assert_eq!(restarts, 1);
    assert_eq!(world.hosts[1].association, id, "under the same id");
    assert_ne!(world.association(1).local_tag(), old_tag);
    world.plan(0, 0, 5000);
    world.plan(1, 3, 5000);
    time(&mut world, SECOND, World::all_delivered);
    world.end_in_order(1, 5 * SECOND).unwrap();
}

#[test]
fn a_peer_that_forgot_is_noticed() {
    let mut world = established(Setup::new(31));
    world.restart(1);
    world.plan(0, 0, 100);
    world.run_for(SECOND).unwrap();
    // It answered the DATA out of the blue with an ABORT, the tag reflected.
    let reason = CloseReason::PeerAbort { cause: None, info: "".into() };
    assert_eq!(world.hosts[0].app.closed, Some(reason));
    assert!(events(&world, 0).any(|event| matches!(event, Event::SendFailed { context: 0, sent: true, .. })));
    world.check_nothing_left().unwrap();
}

#[test]
fn nobody_listens() {
    let mut world = World::new(Setup { listens: [false, false], ..Setup::new(32) });
    world.connect(0);
    world.run_for(SECOND).unwrap();
    assert!(matches!(world.hosts[0].app.closed, Some(CloseReason::PeerAbort { .. })));
    world.check_nothing_left().unwrap();
}

#[test]
fn nobody_answers() {
    let cut = (Instant::ORIGIN, Instant::FAR_FUTURE);
    let link = Link { cuts: vec![cut], ..Link::default() };
    let config = AssociationConfig { max_init_retransmits: 3, ..AssociationConfig::default() };
    let mut world = World::new(both(config, Setup { links: vec![link], ..Setup::new(33) }));
    world.connect(0);
    world.plan(0, 2, 100);
    // 1 + 2 + 4 + 8 s.
    let took = time(&mut world, 60 * SECOND, |world| world.hosts[0].app.closed.is_some());
    assert!((15 * SECOND..15 * SECOND + 2 * MILLISECOND).contains(&took), "{took:?}");
    assert_eq!(world.hosts[0].app.closed, Some(CloseReason::ConnectTimeout));
    assert!(events(&world, 0).any(|event| *event == Event::SendFailed { context: 0, stream: 2, sent: false }));
    world.check_nothing_left().unwrap();
}

#[test]
fn a_peer_that_vanishes_is_given_up() {
    for with_data in [true, false] {
        let config = AssociationConfig {
            association_max_retransmits: 4,
            heartbeat_interval: Some(SECOND),
            ..AssociationConfig::default()
        };
        let mut world = established(both(config, Setup::new(34)));
        world.network.link_mut(0).cuts = vec![(Instant::ORIGIN, Instant::FAR_FUTURE)];
        if with_data {
            world.plan(0, 0, 100);
        }
        time(&mut world, 600 * SECOND, |world| world.hosts.iter().all(|host| host.app.closed.is_some()));
        for host in 0..2 {
            assert_eq!(world.hosts[host].app.closed, Some(CloseReason::Unreachable));
        }
        world.check_nothing_left().unwrap();
    }
}

#[test]
fn shutdowns_that_cross() {
    for delay in [0, 1, 5, 9, 10, 11, 15, 20] {
        let mut world = established(Setup::new(40 + delay));
        world.plan(0, 0, 100_000);
        world.plan(1, 0, 100_000);
        world.run_for(MILLISECOND).unwrap();
        world.shutdown(0);
        world.run_for(Duration::from_millis(delay)).unwrap();
        world.end_in_order(1, 60 * SECOND).unwrap();
        assert!(world.all_delivered(), "delay {delay}");
    }
}

#[test]
fn nothing_is_taken_after_shutdown() {
    let mut world = established(Setup::new(50));
    world.plan(0, 0, 100_000);
    world.run_for(MILLISECOND).unwrap();
    world.shutdown(0);
    let id = world.hosts[0].association.unwrap();
    let refused = world.hosts[0].endpoint.send(world.now, id, Message::new(0, "late".into()));
    assert_eq!(refused, Err(SendError::ShuttingDown));
    time(&mut world, SECOND, |world| events(world, 1).any(|event| *event == Event::PeerShutdown));
    world.run_for(SECOND).unwrap();
    assert!(world.all_delivered());
    world.check_nothing_left().unwrap();
}

#[test]
fn the_last_packets_of_a_shutdown_may_get_lost() {
    // SHUTDOWN at 0, SHUTDOWN ACK at 5, SHUTDOWN COMPLETE at 10 ms: each lost in turn.
    for lost in [0, 5, 10] {
        let mut world = established(Setup::new(51));
        world.run_for(SECOND).unwrap();
        let at = world.now + Duration::from_millis(lost);
        world.network.link_mut(0).cuts = vec![(at, at + MILLISECOND)];
        world.end_in_order(0, 10 * SECOND).unwrap();
    }
}

#[test]
fn a_shutdown_takes_no_longer_than_its_guard() {
    let config = AssociationConfig { shutdown_guard: Some(3 * SECOND), ..AssociationConfig::default() };
    let mut world = established(both(config, Setup::new(52)));
    world.network.link_mut(0).cuts = vec![(Instant::ORIGIN, Instant::FAR_FUTURE)];
    world.shutdown(0);
    let took = time(&mut world, 60 * SECOND, |world| world.hosts[0].app.closed.is_some());
    assert_eq!(world.hosts[0].app.closed, Some(CloseReason::ShutdownTimeout));
    assert!(took < 3 * SECOND + MILLISECOND);
}

#[test]
fn abort_reaches_the_peer_with_its_reason() {
    let mut world = established(Setup::new(53));
    let id = world.hosts[0].association.unwrap();
    world.hosts[0].endpoint.abort(world.now, id, "no more".into()).unwrap();
    world.run_for(SECOND).unwrap();
    assert_eq!(world.hosts[0].app.closed, Some(CloseReason::LocalAbort));
    let reason = CloseReason::PeerAbort { cause: Some(12), info: "no more".into() };
    assert_eq!(world.hosts[1].app.closed, Some(reason));
    world.check_nothing_left().unwrap();
}

#[test]
fn what_has_arrived_can_be_read_after_the_end() {
    let mut world = established(Setup::new(54));
    world.hosts[1].app.reading_pause = Some(Duration::ZERO);
    world.hosts[1].app.next_read = Instant::FAR_FUTURE;
    world.plan(0, 0, 10);
    world.plan(0, 0, 5000);
    world.run_for(MILLISECOND).unwrap();
    world.shutdown(0);
    world.run_for(SECOND).unwrap();
    assert_eq!(world.hosts[1].app.closed, Some(CloseReason::Shutdown));
    let id = world.hosts[1].association.unwrap();
    let endpoint = &mut world.hosts[1].endpoint;
    assert!(endpoint.association(id).is_none());
    assert_eq!(endpoint.recv(id).map(|message| message.len()), Some(10));
    assert_eq!(endpoint.recv(id).map(|message| message.len()), Some(5000));
    assert_eq!(endpoint.recv(id), None);
    world.check_nothing_left().unwrap();
}

#[test]
fn stale_cookies_are_asked_to_live_longer() {
    // The round trip takes 10 ms, cookies live for 8: longer when asked.
    let setup = Setup { cookie_lifetime: 8 * MILLISECOND, ..Setup::new(55) };
    established(setup).end_in_order(0, SECOND).unwrap();

    // Not long enough, whatever is asked.
    let mut world = World::new(Setup { cookie_lifetime: MILLISECOND, ..Setup::new(56) });
    world.connect(0);
    world.run_for(SECOND).unwrap();
    assert_eq!(world.hosts[0].app.closed, Some(CloseReason::StaleCookie));
    world.check_nothing_left().unwrap();
}

#[test]
fn streams_are_negotiated() {
    let wide = AssociationConfig { outbound_streams: 10, max_inbound_streams: 4, ..AssociationConfig::default() };
    let narrow = AssociationConfig { outbound_streams: 7, max_inbound_streams: 6, ..AssociationConfig::default() };
    let mut world = World::new(Setup { config: [wide, narrow], ..Setup::new(57) });
    world.connect(0);
    world.plan(0, 5, 10);
    world.plan(0, 9, 10);
    assert!(world.run_until(SECOND, World::all_established).unwrap());
    assert_eq!((world.association(0).outbound_streams(), world.association(0).inbound_streams()), (6, 4));
    assert_eq!((world.association(1).outbound_streams(), world.association(1).inbound_streams()), (4, 6));
    assert!(events(&world, 0).any(|event| *event == Event::SendFailed { context: 1, stream: 9, sent: false }));
    world.run_for(SECOND).unwrap();
    assert_eq!(world.association(1).stats().messages_received, 1);
    let id = world.hosts[0].association.unwrap();
    let refused = world.hosts[0].endpoint.send(world.now, id, Message::new(6, "x".into()));
    assert_eq!(refused, Err(SendError::InvalidStream { stream: 6, streams: 6 }));
}

#[test]
fn a_message_that_is_too_long_ends_the_association() {
    let small = AssociationConfig { max_message_size: 3000, ..AssociationConfig::default() };
    let setup = Setup { config: [AssociationConfig::default(), small], ..Setup::new(58) };
    let mut world = established(setup);
    world.plan(0, 0, 10_000);
    world.run_for(SECOND).unwrap();
    assert!(matches!(world.hosts[1].app.closed, Some(CloseReason::ProtocolViolation { .. })));
    assert!(matches!(world.hosts[0].app.closed, Some(CloseReason::PeerAbort { cause: Some(13), .. })));
    world.check_nothing_left().unwrap();
}

#[test]
fn the_limit_of_associations_holds() {
    let mut world = established(Setup { max_associations: 1, ..Setup::new(59) });
    // A second peer at another port of host 0, as far as host 1 can see.
    let connect = Connect { local_port: Some(7), ..Connect::new(world.hosts[1].addresses[0], PORT) };
    let refused = world.hosts[0].endpoint.connect(world.now, connect.clone());
    assert_eq!(refused, Err(ConnectError::TooManyAssociations { max: 1 }));

    let first = world.hosts[0].association.unwrap();
    world.hosts[0].endpoint.abort(world.now, first, "".into()).unwrap();
    // The ABORT gets lost, so host 1 has no room.
    world.fetch(0);
    world.run_for(MILLISECOND).unwrap();
    world.hosts[0].app.closed = None;
    world.hosts[0].endpoint.connect(world.now, connect).unwrap();
    world.run_for(SECOND).unwrap();
    let reason = CloseReason::PeerAbort { cause: Some(4), info: "".into() };
    assert_eq!(world.hosts[0].app.closed, Some(reason));
}

#[test]
fn connect_checks_what_it_is_asked() {
    let mut world = World::new(Setup::new(60));
    let now = world.now;
    let peer = world.hosts[1].addresses[0];
    let good = Connect::new(peer, PORT);
    let endpoint = &mut world.hosts[0].endpoint;
    let mut refused = |connect: Connect| endpoint.connect(now, connect).unwrap_err();
    assert_eq!(refused(Connect { peer_addresses: vec![], ..good.clone() }), ConnectError::NoPeerAddress);
    assert_eq!(refused(Connect { peer_port: 0, ..good.clone() }), ConnectError::PortZero);
    assert_eq!(refused(Connect { local_port: Some(0), ..good.clone() }), ConnectError::PortZero);
    let v6 = "fd00::1".parse().unwrap();
    assert_eq!(refused(Connect { peer_addresses: vec![v6], ..good.clone() }), ConnectError::NoSourceFor(v6));
    assert_eq!(refused(Connect { local_addresses: vec![peer], ..good.clone() }), ConnectError::NotOurAddress(peer));
    let multicast = "224.0.0.1".parse().unwrap();
    let to_many = Connect { peer_addresses: vec![multicast], ..good.clone() };
    assert_eq!(refused(to_many), ConnectError::InvalidAddress(multicast));
    let many = (1..=9).map(|last| [10, 9, 9, last].into()).collect();
    assert_eq!(refused(Connect { peer_addresses: many, ..good.clone() }), ConnectError::TooManyAddresses { max: 8 });
    let config = AssociationConfig { sack_every: 0, ..AssociationConfig::default() };
    assert!(
        matches!(refused(Connect { config, ..good.clone() }), ConnectError::Config(error) if error.setting == "sack_every")
    );
    let fixed = Connect { local_port: Some(9), ..good };
    world.hosts[0].endpoint.connect(now, fixed.clone()).unwrap();
    let exists = ConnectError::Exists { peer, peer_port: PORT, local_port: 9 };
    assert_eq!(world.hosts[0].endpoint.connect(now, fixed), Err(exists));
}

#[test]
fn a_full_send_buffer_gives_the_message_back() {
    let config = AssociationConfig { send_buffer: 10_000, ..AssociationConfig::default() };
    let mut world = established(both(config, Setup::new(61)));
    for _ in 0..50 {
        world.plan(0, 0, 3000);
    }
    world.run_for(MILLISECOND).unwrap();
    assert!(world.association(0).send_buffer_free() < 3064);
    time(&mut world, 60 * SECOND, World::all_delivered);
    assert!(events(&world, 0).filter(|event| **event == Event::Writable).count() > 5);
    world.run_for(SECOND).unwrap();
    assert_eq!(world.association(0).send_buffer_free(), 10_000);
}

#[test]
fn a_smaller_path_mtu_is_kept_to() {
    let mut world = established(Setup::new(62));
    world.plan(0, 0, 100_000);
    world.run_for(12 * MILLISECOND).unwrap();
    let (id, peer) = (world.hosts[0].association.unwrap(), world.hosts[1].addresses[0]);
    world.hosts[0].endpoint.set_path_mtu(world.now, id, peer, 600).unwrap();
    world.run_for(SECOND).unwrap();
    assert!(world.all_delivered());
    let before = world.association(0).stats().data_chunks_sent;
    world.plan(0, 0, 5520);
    world.run_for(SECOND).unwrap();
    // 552 bytes of payload to a chunk, which is a multiple of four: 600 - 20 - 12 - 16.
    assert_eq!(world.association(0).stats().data_chunks_sent - before, 10);
    assert_eq!(world.association(0).primary_path().mtu, 600);
}

#[test]
fn tags_and_ports_lead_to_their_worker() {
    let steering = Steering { key: [1, 2], workers: 4 };
    let peer = address(false, 0, 1);
    let mut ports = Vec::new();
    for worker in 0..4 {
        let at = WorkerSteering { steering, worker };
        let config = EndpointConfig { steering: Some(at), ..EndpointConfig::default() };
        let mut endpoint = Endpoint::new(config, [worker as u8; 32]);
        for _ in 0..50 {
            let id = endpoint.connect(Instant::ORIGIN, Connect::new(peer, PORT)).unwrap();
            let association = endpoint.association(id).unwrap();
            assert_eq!(steering.owner(association.local_tag()), worker);
            ports.push(association.local_port());
        }
    }
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 200, "no two workers give this peer the same port");
}

#[test]
fn an_idle_association_is_small() {
    // There may be 100 000 of them. With its entries in the maps (about 150 bytes) it must stay below 1.5 KiB.
    assert!(size_of::<sctp_core::Association>() <= 1320, "{} bytes", size_of::<sctp_core::Association>());
}
