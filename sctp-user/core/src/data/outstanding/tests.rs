use bytes::Bytes;

use super::*;
use crate::serial::Ssn;
use crate::wire::DataFlags;
use proptest::prelude::*;

fn chunk(len: usize) -> OutboundChunk {
    OutboundChunk::new(Bytes::from(vec![0; len]), 0, 0, 0, Ssn(0), DataFlags::UNFRAGMENTED)
}

/// `count` chunks of 100 bytes from TSN 1 on.
fn outstanding(count: u32) -> Outstanding {
    let mut outstanding = Outstanding::new(Tsn(1), 2);
    for _ in 0..count {
        outstanding.push(chunk(100), 0);
    }
    outstanding
}

fn sack(outstanding: &mut Outstanding, cumulative: u32, blocks: &[(u16, u16)]) -> Acknowledged {
    outstanding.acknowledge(Tsn(cumulative), blocks.iter().copied(), false).unwrap()
}

fn lost(outstanding: &Outstanding) -> Vec<u32> {
    outstanding.lost.iter().flat_map(|run| run.first.get()..=run.last.get()).collect()
}

//= test RFC 9260 §5.1: "each endpoint MUST set its internal Cumulative TSN Ack Point to the value of its transmitted
//= Initial TSN minus one"
#[test]
fn nothing_before_the_initial_tsn_is_outstanding() {
    for initial in [Tsn(7), Tsn(0), Tsn(u32::MAX)] {
        let mut data = Outstanding::new(initial, 1);
        assert_eq!((data.cumulative().next(), data.next_tsn()), (initial, initial));
        assert_eq!(data.push(chunk(1), 0), initial);
        assert_eq!(data.cumulative().next(), initial);
    }
}

//= test RFC 9260 §6.7: "the endpoint MUST remove all DATA chunks that have been acknowledged by the SACK chunk's
//= Cumulative TSN Ack"
#[test]
fn cumulative_acknowledgement_releases() {
    let mut data = outstanding(3);
    let outcome = sack(&mut data, 2, &[]);
    assert_eq!(
        outcome,
        Acknowledged { advanced: true, newly: true, released: 200 + 2 * MESSAGE_OVERHEAD, lost: false }
    );
    assert_eq!(data.flight(0).bytes, 116);
    assert_eq!(data.flight(0).acknowledged, 232);
    assert!(data.flight(0).earliest_acknowledged);
    assert_eq!(data.flight(0).earliest, Some(Tsn(3)));
    assert_eq!(data.data_in_flight(), 100);
    sack(&mut data, 3, &[]);
    assert!(data.is_empty());
    assert_eq!(data.flight(0).earliest, None);
}

//= test RFC 9260 §12.4: "MUST abort the association if it receives a SACK chunk acknowledging a TSN that has not been
//= sent"
#[test]
fn what_was_never_sent_cannot_be_acknowledged() {
    let mut data = outstanding(3);
    assert_eq!(data.acknowledge(Tsn(4), core::iter::empty(), false), Err(NeverSent));
    // A gap ack block beyond it is cut.
    sack(&mut data, 0, &[(2, 900)]);
    assert_eq!(data.flight(0).bytes, 116);
    assert!(data.is_acknowledged(Tsn(3)) && !data.is_acknowledged(Tsn(4)));
}

/// Three SACKs that each newly acknowledge something above a hole mark it, and not before (§7.2.4).
//= test RFC 9260 §7.2.4: "it SHOULD wait for two further miss indications"
//= test RFC 9260 §6.7: "The number of "missing" reports for each outstanding DATA chunk MUST be recorded by the data
//= sender"
//= test RFC 9260 §6.7: "smaller than the highest-acknowledged TSN reported in the SACK chunk MUST be treated as
//= "missing""
#[test]
fn third_miss_indication_marks() {
    let mut data = outstanding(10);
    assert!(!sack(&mut data, 1, &[(2, 2)]).lost);
    assert!(!sack(&mut data, 1, &[(2, 3)]).lost);
    assert!(sack(&mut data, 1, &[(2, 4)]).lost);
    assert_eq!(lost(&data), [2]);
    assert_eq!(data.flight(0).lost, data.first_lost().unwrap().1.size());
    // Repeated SACKs that acknowledge nothing new count nothing.
    for _ in 0..5 {
        assert!(!sack(&mut data, 1, &[(2, 4), (6, 6)]).lost);
    }
    assert_eq!(lost(&data), [2]);
}

/// Only missing TSNs below the highest newly acknowledged one get an indication (HTNA).
//= test RFC 9260 §7.2.4: "Miss indications SHOULD follow the Highest TSN Newly Acknowledged (HTNA) algorithm."
#[test]
fn htna_limits_indications() {
    let mut data = outstanding(20);
    // 10 is acknowledged first, then only things below 10: what is missing between 6 and 10 has one indication each.
    sack(&mut data, 0, &[(10, 10)]);
    sack(&mut data, 0, &[(3, 3), (10, 10)]);
    sack(&mut data, 0, &[(3, 4), (10, 10)]);
    assert_eq!(lost(&data), [1, 2]);
    assert!(data.flight(0).bytes > 0);
}

/// In fast recovery a SACK that advances counts for everything missing in it (§7.2.4).
#[test]
fn fast_recovery_counts_all_missing() {
    let mut data = outstanding(20);
    sack(&mut data, 0, &[(10, 10)]);
    for cumulative in [1, 2] {
        let blocks = [(10 - cumulative, 10 - cumulative)];
        data.acknowledge(Tsn(cumulative.into()), blocks.into_iter(), true).unwrap();
    }
    assert_eq!(lost(&data), (3..10).collect::<Vec<_>>());
}

#[test]
fn fast_retransmitted_once_only() {
    let mut data = outstanding(20);
    for last in 2..=4 {
        sack(&mut data, 0, &[(2, last)]);
    }
    assert_eq!(lost(&data), [1]);
    data.retransmit_first(0);
    for last in 5..=15 {
        sack(&mut data, 0, &[(2, last)]);
    }
    assert_eq!(lost(&data), [0_u32; 0]);
    // T3-rtx still helps.
    data.time_out(0);
    assert_eq!(lost(&data), [1, 16, 17, 18, 19, 20]);
    assert_eq!(data.flight(0).bytes, 0);
    assert!(data.first_lost().unwrap().1.timed_out());
}

#[test]
fn reneging_puts_back_in_flight() {
    let mut data = outstanding(4);
    sack(&mut data, 0, &[(2, 3)]);
    assert_eq!(data.flight(0).bytes, 2 * 116);
    sack(&mut data, 0, &[(3, 3)]);
    assert!(data.flight(0).reneged);
    assert_eq!(data.flight(0).bytes, 3 * 116);
    sack(&mut data, 0, &[]);
    assert_eq!(data.flight(0).bytes, 4 * 116);
    assert_eq!(data.flight(0).earliest, Some(Tsn(1)));
    // A SHUTDOWN has no blocks and takes nothing back.
    sack(&mut data, 0, &[(2, 2)]);
    data.acknowledge_cumulatively(Tsn(0)).unwrap();
    assert!(data.is_acknowledged(Tsn(2)));
}

#[test]
fn retransmission_moves_between_paths() {
    let mut data = outstanding(3);
    data.time_out(0);
    assert_eq!(data.data_in_flight(), 0);
    data.retransmit_first(1);
    assert_eq!(data.flight(1).bytes, 116);
    assert!(data.is_earliest(1, Tsn(1)));
    sack(&mut data, 1, &[]);
    assert_eq!(data.flight(1).acknowledged, 116);
    assert_eq!(lost(&data), [2, 3]);
    // Acknowledged although marked lost: the timeout was spurious.
    sack(&mut data, 3, &[]);
    assert!(data.is_empty() && !data.has_lost());
    assert_eq!(data.data_in_flight(), 0);
}

#[test]
fn odd_blocks_are_put_in_order() {
    let mut data = outstanding(20);
    sack(&mut data, 0, &[(10, 12), (3, 4), (4, 6), (0, 2), (9, 8)]);
    let runs: Vec<_> = data.acknowledged.iter().map(|run| (run.first.get(), run.last.get())).collect();
    assert_eq!(runs, [(3, 6), (10, 12)]);
}

/// The straightforward sender of §6.2.1 and §7.2.4: a counter per chunk.
#[derive(Clone, Debug, Default)]
struct Model {
    cumulative: u32,
    /// Per chunk from TSN 1 on: acknowledged, marked lost, misses.
    chunks: Vec<(bool, bool, u32)>,
}

impl Model {
    fn sack(&mut self, cumulative: u32, acked: &[bool]) {
        let mut newly = None;
        for tsn in 1..=self.chunks.len() as u32 {
            let chunk = &mut self.chunks[tsn as usize - 1];
            let now = tsn <= cumulative || acked[tsn as usize - 1];
            if now && !chunk.0 && tsn > self.cumulative {
                newly = Some(tsn);
            }
            if tsn > self.cumulative {
                chunk.0 = now;
                chunk.1 &= !now;
            }
        }
        self.cumulative = cumulative;
        let has_gaps = (cumulative as usize..self.chunks.len()).any(|at| acked[at]);
        let Some(newly) = newly.filter(|_| has_gaps) else { return };
        for tsn in cumulative + 1..newly {
            let chunk = &mut self.chunks[tsn as usize - 1];
            if !chunk.0 {
                chunk.2 += 1;
                chunk.1 |= chunk.2 == 3;
            }
        }
    }
}

proptest! {
    /// Without reneging, run arithmetic and per-chunk counting agree on what is lost, in flight and acknowledged.
    #[test]
    fn agrees_with_counting_per_chunk(
        base: u32,
        count in 1_usize..60,
        steps in prop::collection::vec(prop::collection::vec(0_usize..60, 0..6), 1..40),
    ) {
        let mut data = Outstanding::new(Tsn(base), 1);
        for _ in 0..count {
            data.push(chunk(1), 0);
        }
        let mut model = Model { cumulative: 0, chunks: vec![(false, false, 0); count] };
        let mut acked = vec![false; count];
        for step in steps {
            for at in step {
                if at < count {
                    acked[at] = true;
                }
            }
            let cumulative = acked.iter().take_while(|acked| **acked).count();
            let mut blocks: Vec<(u16, u16)> = Vec::new();
            for (at, acked) in acked.iter().enumerate().skip(cumulative) {
                let offset = (at + 1 - cumulative) as u16;
                match blocks.last_mut() {
                    _ if !acked => {}
                    Some(last) if last.1 + 1 == offset => last.1 = offset,
                    _ => blocks.push((offset, offset)),
                }
            }
            data.acknowledge(Tsn(base).previous() + cumulative as u32, blocks.into_iter(), false).unwrap();
            model.sack(cumulative as u32, &acked);
            for at in cumulative..count {
                let tsn = Tsn(base) + at as u32;
                prop_assert_eq!(data.is_acknowledged(tsn), model.chunks[at].0);
                prop_assert_eq!(data.lost.contains(tsn), model.chunks[at].1, "loss of {}", at + 1);
            }
            let in_flight = (cumulative..count).filter(|at| !model.chunks[*at].0 && !model.chunks[*at].1);
            prop_assert_eq!(data.flight(0).bytes as usize, in_flight.clone().count() * 20);
            prop_assert_eq!(data.flight(0).earliest, in_flight.clone().next().map(|at| Tsn(base) + at as u32));
        }
    }
}
