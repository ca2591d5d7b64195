//! The simulation itself is tested here: faults happen as often as they are asked for, and each rule can be broken.

mod sim;

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use sctp_core::serial::Tsn;
use sctp_core::time::Instant;
use sctp_core::wire::{
    Abort, CauseList, Checksum, CommonHeader, DataFlags, DataHeader, Emit, GapAckBlock, HeartbeatAck, Init, Packet,
    ParameterList, Sack, Shutdown, ShutdownComplete, Writer,
};
use sctp_core::{AssociationConfig, AssociationState, Ecn};

use sim::ledger::{FlowEnd, Ledger};
use sim::network::{Fate, LinkConfig, Loss, Network};
use sim::observer::{Observer, PathView, Tags};
use sim::packet::{self, Sending};
use sim::random::Random;
use sim::world::Violation;

const A: &str = "10.0.0.1";
const B: &str = "10.0.0.2";
const TAG_A: u32 = 0xaaaa_aaaa;
const TAG_B: u32 = 0xbbbb_bbbb;

fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

fn ms(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// Sends `count` packets, one a millisecond; gives the fates and the times and bytes of the arrivals.
fn send_many(config: LinkConfig, count: u64) -> (Vec<Fate>, Vec<(Instant, Bytes)>) {
    let mut network = Network::new(Random::new(3));
    network.lay(ip(A), ip(B), config);
    let mut arrivals = Vec::new();
    let packet = |at: u64| Bytes::from(at.to_be_bytes().repeat(100));
    let fates = (0..count)
        .map(|at| network.carry(ms(at), ip(A), ip(B), (&packet(at), Ecn::NotEct, false), &mut arrivals))
        .collect();
    (fates, arrivals.into_iter().map(|arrival| (arrival.at, arrival.bytes)).collect())
}

#[test]
fn a_perfect_link_delays_and_nothing_else() {
    let (_, arrivals) = send_many(LinkConfig::with_delay(Duration::from_millis(7)), 100);
    assert_eq!(arrivals.len(), 100);
    for (index, (at, bytes)) in arrivals.iter().enumerate() {
        assert_eq!(*at, ms(index as u64 + 7));
        assert_eq!(bytes[..8], (index as u64).to_be_bytes());
    }
}

#[test]
fn faults_are_as_frequent_as_asked_for() {
    let count = |config: LinkConfig, fate| {
        let (fates, arrivals) = send_many(config, 10_000);
        (fates.iter().filter(|found| **found == fate).count(), arrivals)
    };
    let (lost, arrivals) = count(LinkConfig { loss: Loss::Uniform(0.1), ..LinkConfig::default() }, Fate::Lost);
    assert!((900..1100).contains(&lost) && arrivals.len() == 10_000 - lost);
    let burst = Loss::Burst { enter: 0.01, leave: 0.2, loss: 1.0 };
    let (lost, _) = count(LinkConfig { loss: burst, ..LinkConfig::default() }, Fate::Lost);
    assert!((300..700).contains(&lost), "{lost}: a twenty-first of the time is bad");
    let (twice, arrivals) = count(LinkConfig { duplicate: 0.2, ..LinkConfig::default() }, Fate::Duplicated);
    assert!((1800..2200).contains(&twice) && arrivals.len() == 10_000 + twice);
    let (broken, arrivals) = count(LinkConfig { corrupt: 0.3, ..LinkConfig::default() }, Fate::Corrupted);
    assert!((2700..3300).contains(&broken));
    let sound = arrivals.iter().filter(|(_, bytes)| bytes.len() == 800 && bytes[..8].repeat(100) == bytes[..]).count();
    assert!(sound.abs_diff(10_000 - broken) < 50, "{sound} sound and {broken} broken");
}

#[test]
fn jitter_keeps_the_order_and_reordering_does_not() {
    let overtaken = |config| {
        let (_, arrivals) = send_many(config, 1000);
        arrivals.windows(2).filter(|pair| pair[1].0 < pair[0].0).count()
    };
    let jitter = Duration::from_millis(20);
    assert_eq!(overtaken(LinkConfig { jitter, ..LinkConfig::default() }), 0);
    assert!(overtaken(LinkConfig { reorder: 0.2, reorder_by: jitter, ..LinkConfig::default() }) > 50);
}

#[test]
fn a_slow_link_queues_and_then_drops() {
    // A packet of 820 bytes with its IP header takes 6.56 ms at 1 Mbit/s, and one comes every millisecond.
    let (fates, arrivals) =
        send_many(LinkConfig { rate: Some(1_000_000), queue: 10_000, ..LinkConfig::default() }, 200);
    let full = fates.iter().filter(|fate| **fate == Fate::QueueFull).count();
    assert_eq!(fates[..10], [Fate::Passed; 10]);
    assert!((130..170).contains(&full), "{full} dropped");
    let gaps = arrivals.windows(2).map(|pair| pair[1].0 - pair[0].0);
    assert!(gaps.clone().all(|gap| gap >= Duration::from_micros(6559)), "{:?}", gaps.min());
}

#[test]
fn cuts_and_limits_hold() {
    let cut = LinkConfig { cuts: vec![(ms(10), ms(20))], ..LinkConfig::default() };
    let (fates, _) = send_many(cut, 30);
    let expected: Vec<Fate> = (0..30).map(|at| if (10..20).contains(&at) { Fate::Cut } else { Fate::Passed }).collect();
    assert_eq!(fates, expected);
    let (fates, _) = send_many(LinkConfig { mtu: 819, ..LinkConfig::default() }, 1);
    assert_eq!(fates, [Fate::TooBig]);
    let (fates, _) = send_many(LinkConfig { mtu: 820, ..LinkConfig::default() }, 1);
    assert_eq!(fates, [Fate::Passed]);
}

fn header(tag: u32) -> CommonHeader {
    CommonHeader { source_port: 1, destination_port: 2, verification_tag: tag }
}

fn write(tag: u32, chunks: &[&dyn Emit]) -> Vec<u8> {
    let mut buffer = [0; 1480];
    let mut writer = Writer::new(&mut buffer, header(tag)).unwrap();
    for chunk in chunks {
        writer.chunk(*chunk).unwrap();
    }
    let length = writer.finish(Checksum::Compute);
    buffer[..length].to_vec()
}

fn init(tag: u32) -> Init<'static> {
    Init {
        initiate_tag: tag,
        a_rwnd: 10_000,
        outbound_streams: 1,
        inbound_streams: 1,
        initial_tsn: Tsn(u32::MAX),
        parameters: ParameterList::EMPTY,
    }
}

fn data(tsn: u32) -> sctp_core::wire::Data<'static> {
    let header = DataHeader {
        tsn: Tsn(tsn),
        stream: 0,
        ssn: sctp_core::serial::Ssn(0),
        ppid: 0,
        flags: DataFlags::UNFRAGMENTED,
    };
    sctp_core::wire::Data::new(header, &[7; 100])
}

/// The rule that a packet breaks.
fn broken_by(bytes: &[u8]) -> Option<&'static str> {
    let mut observer = Observer::default();
    let mut reply = write(0, &[&init(TAG_B)]);
    // The receiver's port is the destination port of what is sent to it.
    reply[..2].copy_from_slice(&2_u16.to_be_bytes());
    observer.announced(&Packet::parse(&reply).unwrap(), 1);
    let announced = &observer.announced;
    let sending = Sending { destination: ip(B), to: Some(1), limit: 500, announced, answering: Some(5) };
    packet::check(bytes, &sending).err().map(|violation| violation.rule)
}

#[test]
fn broken_packets_are_found() {
    let shutdown = Shutdown { cumulative_tsn_ack: Tsn(1) };
    let info = HeartbeatAck { info: &[1, 2, 3, 4, 5] };
    let bundling = Some("bundling follows RFC 9260 §6.10");
    let tags = Some("tags follow RFC 9260 §8.5");
    assert_eq!(broken_by(&write(TAG_B, &[&info, &data(1), &data(2)])), None);
    assert_eq!(broken_by(&write(0, &[&init(TAG_A)])), None);
    assert_eq!(broken_by(&write(5, &[&ShutdownComplete { tag_reflected: true }])), None);

    assert_eq!(broken_by(&[0; 11]), Some("packets are well formed"));
    let sound = write(TAG_B, &[&info]);
    let mut bytes = sound.clone();
    bytes[20] ^= 1;
    assert_eq!(broken_by(&bytes), Some("checksums are right"));
    assert_eq!(broken_by(&resign(&sound, |bytes| bytes[15] = 200)), Some("chunks are well formed"));
    assert_eq!(broken_by(&resign(&sound, |bytes| bytes[12] = 0xee)), Some("only known chunks are sent"));
    assert_eq!(
        broken_by(&resign(&sound, |bytes| *bytes.last_mut().unwrap() = 1)),
        Some("chunks are padded with zeroes")
    );
    assert_eq!(broken_by(&resign(&sound, |bytes| bytes[13] = 1)), Some("reserved flags are zero"));
    let six: [&dyn Emit; 6] = [&data(1), &data(2), &data(3), &data(4), &data(5), &data(6)];
    assert_eq!(broken_by(&write(TAG_B, &six)), Some("packets fit the path MTU"));

    assert_eq!(broken_by(&write(TAG_B, &[&data(1), &info])), bundling);
    assert_eq!(broken_by(&write(TAG_B, &[&data(2), &data(1)])), bundling);
    assert_eq!(broken_by(&write(TAG_B, &[&shutdown, &data(1)])), bundling);
    assert_eq!(broken_by(&write(0, &[&init(TAG_A), &info])), bundling);
    let abort = Abort { tag_reflected: false, causes: CauseList::EMPTY };
    assert_eq!(broken_by(&write(TAG_B, &[&abort, &info])), bundling);

    assert_eq!(broken_by(&write(TAG_B, &[&init(TAG_A)])), tags);
    assert_eq!(broken_by(&write(0, &[&info])), tags);
    assert_eq!(broken_by(&write(TAG_A, &[&info])), tags);
    assert_eq!(broken_by(&write(6, &[&ShutdownComplete { tag_reflected: true }])), tags);
}

/// Changes a packet and makes its checksum right again.
fn resign(bytes: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    change(&mut bytes);
    let checksum = packet_checksum(&bytes);
    bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn packet_checksum(bytes: &[u8]) -> u32 {
    sctp_core::wire::checksum::compute(bytes)
}

/// An observer of an association between A and B, and the settings of both.
fn observed() -> (Observer, AssociationConfig) {
    let mut observer = Observer::default();
    for (node, tag) in [(0, TAG_A), (1, TAG_B)] {
        let bytes = write(0, &[&init(tag)]);
        observer.announced(&Packet::parse(&bytes).unwrap(), node);
    }
    (observer, AssociationConfig { receive_buffer: 10_000, ..AssociationConfig::rfc() })
}

const OF_A: Tags = Tags { local: TAG_A, peer: TAG_B };
const OF_B: Tags = Tags { local: TAG_B, peer: TAG_A };

fn rule(result: Result<(), Violation>) -> Option<&'static str> {
    result.err().map(|violation| violation.rule)
}

#[test]
fn wrong_acknowledgements_are_found() {
    let sack = |cumulative, blocks: &[(u16, u16)], duplicates: &[u32], a_rwnd| {
        let blocks: Vec<_> = blocks.iter().map(|(start, end)| GapAckBlock { start: *start, end: *end }).collect();
        let duplicates: Vec<_> = duplicates.iter().map(|tsn| Tsn(*tsn)).collect();
        let sack = Sack {
            cumulative_tsn_ack: Tsn(cumulative),
            a_rwnd,
            gap_ack_blocks: blocks.into_iter(),
            duplicate_tsns: duplicates.into_iter(),
        };
        write(TAG_A, &[&sack])
    };
    let outcome = |bytes: Vec<u8>, at: u64| {
        let (mut observer, config) = observed();
        // TSNs begin at 2^32 - 1. The first, second, fourth and fifth arrive.
        for tsn in [u32::MAX, 0, 2, 3] {
            let bytes = write(TAG_B, &[&data(tsn)]);
            observer
                .arrived(ms(0), &Packet::parse(&bytes).unwrap(), OF_B, &config, AssociationState::Established)
                .unwrap();
        }
        rule(observer.sent(ms(at), &Packet::parse(&bytes).unwrap(), OF_B, &config, None))
    };
    assert_eq!(outcome(sack(0, &[(2, 3)], &[2], 5000), 0), None);
    assert_eq!(outcome(sack(u32::MAX, &[], &[], 5000), 200), None);
    let unarrived = Some("only what has arrived is acknowledged");
    assert_eq!(outcome(sack(1, &[], &[], 5000), 0), unarrived);
    assert_eq!(outcome(sack(0, &[(2, 4)], &[], 5000), 0), unarrived);
    assert_eq!(outcome(sack(0, &[(3, 3), (2, 2)], &[], 5000), 0), Some("gap ack blocks are in order"));
    assert_eq!(outcome(sack(0, &[(1, 1)], &[], 5000), 0), Some("gap ack blocks are in order"));
    assert_eq!(outcome(sack(0, &[], &[9], 5000), 0), Some("only duplicates are reported as such"));
    assert_eq!(outcome(sack(0, &[], &[], 10_001), 0), Some("a_rwnd is at most the receive buffer"));
    assert_eq!(outcome(sack(0, &[], &[], 5000), 211), Some("SACKs come in time"));
    let (mut observer, config) = observed();
    let bytes = write(TAG_B, &[&data(u32::MAX)]);
    for expected in [None, Some("every second packet is acknowledged at once")] {
        observer.arrived(ms(0), &Packet::parse(&bytes).unwrap(), OF_B, &config, AssociationState::Established).unwrap();
        assert_eq!(rule(observer.quiet(OF_B, &config)), expected);
    }
}

#[test]
fn wrong_sending_is_found() {
    let (mut observer, config) = observed();
    let mut send = |tsn: u32, path: Option<PathView>| {
        let bytes = write(TAG_B, &[&data(tsn)]);
        rule(observer.sent(ms(0), &Packet::parse(&bytes).unwrap(), OF_A, &config, path))
    };
    assert_eq!(send(u32::MAX, None), None);
    assert_eq!(send(u32::MAX, None), None, "a retransmission");
    assert_eq!(send(1, None), Some("TSNs are consecutive"));
    // The packet's chunk counts 116 bytes itself.
    assert_eq!(send(0, Some(PathView { cwnd: 1000, flight: 1115 })), None);
    assert_eq!(send(1, Some(PathView { cwnd: 1000, flight: 1116 })), Some("flight stays within cwnd"));
    assert_eq!(observer.outstanding(OF_A), 300);
    let acknowledge = |observer: &mut Observer, cumulative: u32, a_rwnd| {
        let sack = Sack {
            cumulative_tsn_ack: Tsn(cumulative),
            a_rwnd,
            gap_ack_blocks: [].into_iter(),
            duplicate_tsns: [].into_iter(),
        };
        let bytes = write(TAG_A, &[&sack]);
        observer.arrived(ms(0), &Packet::parse(&bytes).unwrap(), OF_A, &config, AssociationState::Established).unwrap();
    };
    acknowledge(&mut observer, u32::MAX, 250);
    assert_eq!(observer.outstanding(OF_A), 200);
    let mut send = |tsn: u32| {
        let bytes = write(TAG_B, &[&data(tsn)]);
        rule(observer.sent(ms(0), &Packet::parse(&bytes).unwrap(), OF_A, &config, None))
    };
    assert_eq!(send(2), Some("outstanding data stays within the peer's rwnd"));
    assert_eq!(send(u32::MAX), Some("nothing is sent again for nothing"));
    acknowledge(&mut observer, 1, 0);
    let mut send = |tsn: u32| {
        let bytes = write(TAG_B, &[&data(tsn)]);
        rule(observer.sent(ms(0), &Packet::parse(&bytes).unwrap(), OF_A, &config, None))
    };
    assert_eq!(send(2), None, "the probe of a closed window");
    assert_eq!(send(3), Some("outstanding data stays within the peer's rwnd"));
}

#[test]
fn the_books_find_what_is_wrong() {
    let received = |message: &sctp_core::Message, ssn| sctp_core::ReceivedMessage {
        stream: message.stream,
        ssn,
        ppid: message.ppid,
        unordered: message.unordered,
        part: sctp_core::MessagePart::Whole,
        payload: [message.payload.clone()].into_iter().collect(),
    };
    let rule = |result: Result<usize, Violation>| result.err().map(|violation| violation.rule);
    let mut ledger = Ledger::default();
    let flow = ledger.open(0);
    let messages: Vec<_> = (0..4)
        .map(|index| {
            let message = ledger.compose(flow, 1, index == 3, 500);
            ledger.sent(flow, &message);
            message
        })
        .collect();
    assert_eq!(rule(ledger.delivered(&received(&messages[0], 0), 1, |_, _| false)), None);
    assert_eq!(
        rule(ledger.delivered(&received(&messages[0], 0), 1, |_, _| false)),
        Some("messages are delivered once")
    );
    assert_eq!(rule(ledger.delivered(&received(&messages[3], 0), 1, |_, _| false)), None, "unordered");
    let mut wrong = received(&messages[1], 1);
    wrong.payload[0] = messages[2].payload.clone();
    assert_eq!(rule(ledger.delivered(&wrong, 1, |_, _| false)), Some("messages are delivered byte for byte"));
    assert_eq!(
        rule(ledger.delivered(&received(&messages[2], 2), 1, |_, _| false)),
        Some("ordered messages are delivered in order")
    );
    ledger.flows[flow].end = FlowEnd::Complete;
    ledger.check().unwrap();

    let flow = ledger.open(0);
    let message = ledger.compose(flow, 0, false, 1);
    ledger.sent(flow, &message);
    let balance = |ledger: &Ledger| ledger.check().err().map(|violation| violation.rule);
    assert_eq!(balance(&ledger), Some("flows end"));
    ledger.flows[flow].end = FlowEnd::Complete;
    assert_eq!(balance(&ledger), Some("an orderly end loses no message"));
    ledger.flows[flow].end = FlowEnd::Broken;
    assert_eq!(balance(&ledger), Some("messages are delivered or reported as failed"));
    ledger.failed(message.context, 0, false).unwrap();
    assert_eq!(balance(&ledger), None);
    let late = rule(ledger.delivered(&received(&message, 0), 1, |_, _| false));
    assert_eq!(late, Some("what is reported as never sent is not delivered"));
}
