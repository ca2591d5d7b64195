//! Requirements of RFC 9260 on when DATA and SACKs are sent, that no other scenario shows.

use std::time::Duration;

use sctp_core::time::Instant;
use sctp_core::wire::{Chunk, ChunkType, CookieEcho, DataFlags, GapAckBlock, Packet, Sack, Shutdown};
use sctp_core::{AssociationConfig, AssociationState, CloseReason, PathInfo};

use crate::forger::{Answer, Forger, PEER_TSN, data_chunk};
use crate::sim::app::{Plan, Reading};
use crate::sim::packet::has;
use crate::sim::world::{Verdict, World};
use crate::stage::*;

const SECOND: Duration = Duration::from_secs(1);

/// DATA chunk with its padding of a message that is sent whole.
const fn size(message: u32) -> u32 {
    16 + message.next_multiple_of(4)
}

/// The forger acknowledges `count` of the chunks that it has got, and reports gaps.
fn acknowledge(forger: &mut Forger, count: u32, a_rwnd: u32, blocks: &[(u16, u16)]) -> Vec<Answer> {
    let blocks: Vec<_> = blocks.iter().map(|(start, end)| GapAckBlock { start: *start, end: *end }).collect();
    forger.say(&[&Sack {
        cumulative_tsn_ack: forger.own_tsn + count - 1,
        a_rwnd,
        gap_ack_blocks: blocks.iter().copied(),
        duplicate_tsns: std::iter::empty(),
    }])
}

/// When and what DATA the server has sent: TSNs from its first, each packet.
fn data_sent(forger: &Forger) -> Vec<(Instant, Vec<u32>)> {
    let first = forger.own_tsn.get();
    let from_server = forger.world.packets.iter().filter(|packet| packet.from == Some(SERVER));
    let packets = from_server.filter(|packet| has(&packet.bytes, ChunkType::DATA));
    packets
        .map(|packet| (packet.at, data(&packet.bytes).iter().map(|(tsn, _)| tsn.wrapping_sub(first)).collect()))
        .collect()
}

/// Sends messages of `length` bytes, and acknowledges them window by window, until cwnd is large. More are outstanding then; gives how many
/// chunks have been acknowledged.
fn widen(forger: &mut Forger, length: usize) -> u32 {
    let mut acknowledged = 0;
    for _ in 0..10 {
        for _ in 0..40 {
            forger.world.send(0, 0, length);
        }
        acknowledged = forger.association().stats().data_chunks_sent as u32;
        acknowledge(forger, acknowledged, 1 << 20, &[]);
    }
    acknowledged
}

fn ends_badly(mut forger: Forger) {
    // What the forger acknowledged nobody has read: no books are kept.
    forger.world.harsh = true;
    drop(forger);
}

//= test RFC 9260 §6.1: "A zero window probe MUST only be sent when the cwnd allows"
//= test RFC 9260 §6.1: "A zero window probe SHOULD only be sent when all outstanding DATA chunks have been cumulatively
//= acknowledged and no DATA chunks are in flight."
//= test RFC 9260 §6.1: "The sender SHOULD send the first zero window probe after 1 RTO when it detects that the receiver
//= has closed its window and SHOULD increase the probe interval exponentially afterwards."
#[test]
fn a_closed_window_is_probed_when_nothing_is_in_flight() {
    let mut forger = Forger::established("closed_window_probed");
    for _ in 0..4 {
        forger.world.send(0, 0, 1000);
    }
    // Two wait: the window closes while two are on their way.
    acknowledge(&mut forger, 2, 0, &[]);
    forger.world.send(0, 0, 1000);
    forger.world.run_for(SECOND * 5);
    let sent = data_sent(&forger);
    assert!(
        sent.iter().all(|(_, tsns)| tsns.iter().all(|tsn| *tsn < 4)),
        "only what is outstanding is repeated: {sent:?}"
    );
    // All of it acknowledged; nothing in flight, and the window still closed.
    acknowledge(&mut forger, 4, 0, &[]);
    let (before, closed) = (data_sent(&forger).len(), forger.world.now);
    let rto = forger.association().primary_path().rto;
    let mut due = closed + rto;
    for doubled in 0..4 {
        forger.world.run_until(due + TICK);
        let probes = data_sent(&forger).split_off(before);
        assert_eq!(probes.len(), doubled + 1, "{probes:?}");
        let (at, tsns) = probes.last().unwrap();
        assert_eq!(tsns, &[4], "one chunk, and the same each time");
        assert_at(*at, due, "a probe");
        // It has come, but there is still no room.
        acknowledge(&mut forger, 4, 0, &[]);
        due = *at + rto * (1 << doubled);
    }
    // At last there is.
    acknowledge(&mut forger, 5, 100_000, &[]);
    assert_eq!(forger.association().outstanding_chunks(), 0);
    assert_eq!(forger.association().primary_path().error_count, 0);
    ends_badly(forger);
}

/// The window closes over DATA that is on its way, and the peer drops it, as the Linux kernel does: to send it again is what probes the
/// window. For as long as that is answered the association lives, and not a timer longer.
//= test RFC 9260 §6.1: "If the sender continues to receive SACK chunks from the peer while doing zero window probing, the
//= unacknowledged window probes SHOULD NOT increment the error counter for the association or any destination transport
//= address."
#[test]
fn what_is_outstanding_probes_a_window_that_has_closed_over_it() {
    // The forger does not answer HEARTBEATs.
    let config = AssociationConfig { heartbeat_interval: None, ..AssociationConfig::default() };
    let mut forger = Forger::established_with("closed_over", config);
    for _ in 0..4 {
        forger.world.send(0, 0, 1000);
    }
    acknowledge(&mut forger, 2, 0, &[]);
    let cwnd = forger.association().primary_path().cwnd;
    let repeated = |forger: &mut Forger| {
        let before = data_sent(forger).len();
        let deadline = forger.world.now + SECOND * 100;
        while data_sent(forger).len() == before {
            assert!(forger.world.now < deadline, "nothing is sent again");
            forger.world.run_for(SECOND / 10);
        }
    };
    // Far more often than Association.Max.Retrans.
    for _ in 0..30 {
        repeated(&mut forger);
        acknowledge(&mut forger, 2, 0, &[]);
        let path = forger.association().primary_path();
        assert_eq!((path.error_count, path.cwnd), (0, cwnd));
    }
    // There is room: no need to wait for the timer.
    acknowledge(&mut forger, 2, 100_000, &[]);
    let (at, tsns) = data_sent(&forger).pop().unwrap();
    assert_eq!((at, &tsns[..]), (forger.world.now, &[2][..]));
    // And closed again, before that has come; then no word any more.
    acknowledge(&mut forger, 2, 0, &[]);
    forger.world.run_for(SECOND * 3600);
    assert_eq!(forger.close_reason(), Some(&CloseReason::Unreachable));
    ends_badly(forger);
}

//= test RFC 9260 §6.1: "The sender MUST also have an algorithm for sending new DATA chunks to avoid silly window syndrome
//= (SWS)"
#[test]
fn no_slivers_are_sent_into_a_small_window() {
    let mut forger = Forger::established("no_slivers");
    let rto = forger.association().primary_path().rto;
    forger.world.send(0, 0, 10);
    acknowledge(&mut forger, 1, 600, &[]);
    forger.world.send(0, 0, 1400);
    for a_rwnd in [600, 1000, 1399] {
        acknowledge(&mut forger, 1, a_rwnd, &[]);
        forger.world.run_for(rto / 10);
        assert_eq!(data_sent(&forger).len(), 1, "a window of {a_rwnd} is too small");
    }
    acknowledge(&mut forger, 1, 1400, &[]);
    assert_eq!(data_sent(&forger)[1].1, [1]);
    assert_eq!(forger.association().primary_path().flight, size(1400), "it goes whole");
    ends_badly(forger);
}

//= test RFC 9260 §6.1: "Otherwise, the data sender MUST NOT restart the timer."
#[test]
fn new_data_does_not_restart_t3() {
    let mut forger = Forger::established("t3_runs_on");
    let (begin, rto) = (forger.world.now, forger.association().primary_path().rto);
    forger.world.send(0, 0, 100);
    for _ in 0..3 {
        forger.world.run_for(rto / 4);
        forger.world.send(0, 0, 100);
    }
    forger.world.run_until(begin + rto + TICK);
    let sent = data_sent(&forger);
    assert_eq!(sent[..4].iter().map(|(_, tsns)| tsns[0]).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_at(sent[4].0, begin + rto, "the first is sent again");
    assert_eq!(sent[4].1[0], 0);
    ends_badly(forger);
}

//= test RFC 9260 §6.2: "The receiver MUST avoid sending a large number of window updates"
#[test]
fn a_slow_reader_sends_few_window_updates() {
    let config = AssociationConfig {
        receive_buffer: 20_000,
        max_receive_buffer: 20_000,
        max_message_size: 10_000,
        ..AssociationConfig::rfc()
    };
    let server = Plan { reading: Reading::Manual, ..Plan::with_config(config) };
    let mut world = pair("few_window_updates", Plan::manual(), server);
    establish(&mut world);
    for _ in 0..300 {
        world.send(0, 0, 100);
    }
    world.run_for(SECOND * 5);
    let waiting = world.nodes[SERVER].endpoint.association(world.sides[1].id).unwrap().messages_ready();
    assert!(waiting > 50, "{waiting}");
    // No more comes: what the server sends now are window updates.
    world.intercept(|sight| if sight.from == CLIENT { Verdict::Drop } else { Verdict::Pass });
    world.run_for(SECOND);
    let before = times(&world, SERVER, ChunkType::SACK).len();
    for _ in 0..waiting {
        world.take(1, 1).unwrap();
        world.settle(SERVER);
        world.run_for(Duration::from_millis(1));
    }
    assert_eq!(world.sides[1].received as usize, waiting, "all has been taken");
    let updates = times(&world, SERVER, ChunkType::SACK).len() - before;
    assert!((1..=5).contains(&updates), "{updates} for {waiting} messages");
    world.harsh = true;
    drop(world);
}

//= test RFC 9260 §6.2: "Acknowledgements MUST be sent in SACK chunks unless shutdown was requested by the ULP"
#[test]
fn only_an_end_that_shuts_down_acknowledges_by_shutdown() {
    let mut forger = Forger::established("acknowledged_by");
    let whole = DataFlags::UNFRAGMENTED;
    let answers = forger.say(&[&data_chunk(PEER_TSN, 0, 0, whole, b"x")]);
    assert!(matches!(answers[0].only(), Chunk::Sack(sack) if sack.cumulative_tsn_ack.get() == PEER_TSN));
    forger.world.shutdown(0);
    forger.relieve();
    assert_eq!(forger.state(), AssociationState::ShutdownSent);
    let answers = forger.say(&[&data_chunk(PEER_TSN + 1, 0, 1, whole, b"x")]);
    let Chunk::Shutdown(Shutdown { cumulative_tsn_ack }) = answers[0].only() else { panic!("no SHUTDOWN alone") };
    assert_eq!(cumulative_tsn_ack.get(), PEER_TSN + 1);
    ends_badly(forger);
}

//= test RFC 9260 §6.9: "The implementation MUST also take into account the space required for a SACK chunk if bundling a
//= SACK chunk with the DATA chunk."
//= test RFC 9260 §6.1: "the sender SHOULD create a SACK chunk and bundle it with the outbound DATA chunk, as long as the
//= size of the final SCTP packet does not exceed the current PMTU"
#[test]
fn fragments_leave_room_for_a_sack() {
    let config = AssociationConfig { sack_early: false, ..AssociationConfig::rfc() };
    let mut forger = Forger::with_config("room_for_a_sack", config);
    let (tag, cookie) = forger.cookie(&[]);
    forger.tag = tag;
    forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
    let whole = DataFlags::UNFRAGMENTED;
    forger.say(&[&data_chunk(PEER_TSN, 0, 0, whole, b"x")]);
    assert!(forger.say(&[&data_chunk(PEER_TSN + 1, 0, 1, whole, b"x")]).is_empty(), "its SACK is delayed");
    let before = forger.world.packets.len();
    forger.world.send(0, 0, 2500);
    let bundle = |packet: &crate::sim::capture::Captured| {
        let packet = Packet::parse(&packet.bytes).unwrap();
        packet.chunks().map(|chunk| chunk.unwrap().chunk_type).collect::<Vec<_>>()
    };
    let sent = &forger.world.packets[before..];
    assert_eq!(bundle(&sent[0]), [ChunkType::SACK, ChunkType::DATA]);
    // 1500 bytes less the IP header, filled but for what cannot be cut into fours.
    assert!((1476..=1480).contains(&sent[0].bytes.len()), "{}", sent[0].bytes.len());
    assert_eq!(bundle(&sent[1]), [ChunkType::DATA]);
    ends_badly(forger);
}

fn path(world: &World, index: u8) -> PathInfo {
    let association = world.nodes[CLIENT].endpoint.association(world.sides[0].id).unwrap();
    association.paths().find(|path| path.address == address(SERVER, index)).expect("the path is known")
}

//= test RFC 9260 §7.2: "an SCTP sender MUST keep a set of the control variables cwnd, ssthresh, and partial_bytes_acked
//= for EACH destination address"
//= test RFC 9260 §7.3: "An endpoint MUST maintain separate PMTU estimates for each destination address of its peer."
//= test RFC 9260 §7.3: "An endpoint SHOULD apply these techniques and SHOULD do so on a per-destination-address basis."
//= test RFC 9260 §7.2.1: "The initial value of ssthresh SHOULD be arbitrarily high"
//= test RFC 9260 §7.2.1: "then it SHOULD update its cwnd (or cwnds) apportioned to the destination addresses to which it
//= transmitted the acknowledged data"
#[test]
fn each_destination_has_its_own_windows_and_pmtu() {
    let mut world = multi_homed("own_windows", 2, Plan::manual(), Plan::manual());
    establish(&mut world);
    world.run_for(SECOND * 5);
    let fresh = path(&world, 1);
    assert!(fresh.ssthresh >= 1 << 30 && fresh.cwnd == 4404);
    for _ in 0..100 {
        world.send(0, 0, 1400);
    }
    world.run_for(SECOND * 2);
    assert!(path(&world, 0).cwnd > 2 * fresh.cwnd);
    assert_eq!((path(&world, 1).cwnd, path(&world, 1).ssthresh), (fresh.cwnd, fresh.ssthresh));
    lose(&mut world, CLIENT, ChunkType::DATA, 1);
    for _ in 0..20 {
        world.send(0, 0, 1400);
    }
    world.run_for(SECOND * 2);
    assert!(path(&world, 0).ssthresh < fresh.ssthresh);
    assert_eq!((path(&world, 1).cwnd, path(&world, 1).ssthresh), (fresh.cwnd, fresh.ssthresh));
    let (now, id) = (world.now, world.sides[0].id);
    world.nodes[CLIENT].endpoint.set_path_mtu(now, id, address(SERVER, 1), 1300).unwrap();
    assert_eq!((path(&world, 0).mtu, path(&world, 1).mtu), (1500, 1300));
    world.finish();
}

/// A SACK acknowledges new DATA and is the third to report a chunk missing: the window grows by the one before it shrinks by the other.
//= test RFC 9260 §7.2.4: "the cwnd adjustment rules defined in Sections 7.2.1 and 7.2.2 MUST be applied first"
//= test RFC 9260 §7.2: "the length of the DATA chunk, including the padding, SHOULD be used"
#[test]
fn the_window_grows_before_it_is_halved() {
    const MESSAGE: u32 = 1398;
    let mut forger = Forger::established("grows_before_halved");
    // Windows of more than 12 PMDCS, so that the floor of 4 for ssthresh says nothing.
    let acknowledged = widen(&mut forger, MESSAGE as usize);
    acknowledge(&mut forger, acknowledged, 1 << 20, &[(3, 3)]);
    acknowledge(&mut forger, acknowledged, 1 << 20, &[(3, 4)]);
    let before = forger.association().primary_path();
    assert!(before.cwnd > 20_000 && before.ssthresh > before.cwnd && before.flight >= before.cwnd, "{before:?}");
    // The first of those missing has come after all; the second is reported for the third time.
    acknowledge(&mut forger, acknowledged + 1, 1 << 20, &[(2, 4)]);
    let after = forger.association().primary_path();
    assert_eq!(after.ssthresh, (before.cwnd + 2 * size(MESSAGE)) / 2);
    assert_eq!(after.cwnd, after.ssthresh);
    ends_badly(forger);
}

/// One SACK lets go what fills a large window: no more than Max.Burst packets follow it at once, and the window is none the smaller.
//= test RFC 9260 §6.1: "the protocol parameter 'Max.Burst' SHOULD be used to limit the number of packets sent"
//= test RFC 9260 §6.1: "cwnd SHOULD NOT be changed permanently"
#[test]
fn one_event_sends_a_burst_at_most() {
    let mut forger = Forger::established("max_burst");
    let acknowledged = widen(&mut forger, 1400);
    for _ in 0..40 {
        forger.world.send(0, 0, 1400);
    }
    let sent = data_sent(&forger).len() as u32;
    let before = forger.association().primary_path();
    assert!(sent - acknowledged > 20 && forger.association().send_buffer_used() > 40 * 1400, "{before:?}");
    acknowledge(&mut forger, sent, 1 << 20, &[]);
    let burst = AssociationConfig::default().max_burst as usize;
    assert_eq!(data_sent(&forger).len() - sent as usize, burst);
    let after = forger.association().primary_path();
    assert!(after.cwnd >= before.cwnd && after.flight < after.cwnd, "{after:?}");
    ends_badly(forger);
}

/// Two chunks of a window are reported missing one after the other: both are sent again, the window shrinks once.
//= test RFC 9260 §7.2.4: "While in Fast Recovery, the ssthresh and cwnd SHOULD NOT change for any destinations due to a
//= subsequent Fast Recovery event (i.e., one SHOULD NOT reduce the cwnd further due to a subsequent Fast Retransmit)."
#[test]
fn fast_recovery_shrinks_the_window_once() {
    let mut forger = Forger::established("fast_recovery_once");
    let acknowledged = widen(&mut forger, 1400);
    let before = forger.association().primary_path();
    // The first and the third are missing.
    for last in [4, 5, 6] {
        acknowledge(&mut forger, acknowledged, 1 << 20, &[(2, 2), (4, last)]);
    }
    let first = forger.association().primary_path();
    assert!(first.cwnd < before.cwnd && first.ssthresh < before.ssthresh, "{first:?}");
    assert_eq!(forger.association().stats().fast_retransmits, 1);
    let outstanding = (data_sent(&forger).len() as u32 - acknowledged) as u16;
    for last in 7..outstanding {
        acknowledge(&mut forger, acknowledged, 1 << 20, &[(2, 2), (4, last)]);
    }
    let after = forger.association().primary_path();
    assert_eq!((after.cwnd, after.ssthresh), (first.cwnd, first.ssthresh));
    assert_eq!(forger.association().stats().fast_retransmits, 2);
    ends_badly(forger);
}

/// The primary path takes larger packets than the other: DATA fits both, for it may have to go by either.
//= test RFC 9260 §6.9: "If its peer is multi-homed, the endpoint SHOULD choose a DATA chunk size smaller than or equal to
//= the AMDCS."
//= test RFC 9260 §7.3: "The sender SHOULD track an AMDCS that will be the smallest PMDCS discovered for all of the peer's
//= destination addresses."
#[test]
fn chunks_fit_every_path() {
    let mut world = multi_homed("chunks_fit", 2, Plan::manual(), Plan::manual());
    establish(&mut world);
    world.run_for(SECOND * 5);
    for mtu in [1300, 1400, 600] {
        let (now, id) = (world.now, world.sides[0].id);
        world.nodes[CLIENT].endpoint.set_path_mtu(now, id, address(SERVER, 1), mtu).unwrap();
        world.send(0, 0, 20_000);
        world.run_for(SECOND);
        let sent = world.packets.iter().filter(|packet| packet.from == Some(CLIENT) && packet.at >= now);
        let lengths = sent.flat_map(|packet| {
            let chunks = Packet::parse(&packet.bytes).unwrap().chunks();
            let data = chunks.map(Result::unwrap).filter(|chunk| chunk.chunk_type == ChunkType::DATA);
            data.map(|chunk| chunk.bytes.len()).collect::<Vec<_>>()
        });
        assert_eq!(lengths.max(), Some((usize::from(mtu) - 20 - 12) & !3), "AMDCS with a PMTU of {mtu}");
    }
    world.finish();
}
