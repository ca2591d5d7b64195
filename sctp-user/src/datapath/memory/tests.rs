use std::collections::HashSet;
use std::thread;

use super::super::capture::Capture;
use super::*;

const KEY: [u64; 2] = [11, 12];

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

/// An SCTP packet with this tag, first chunk and length; its last bytes hold `number`.
fn packet(tag: u32, chunk: u8, flags: u8, length: usize, number: u32) -> Vec<u8> {
    let mut packet = vec![0; length];
    packet[..4].copy_from_slice(&[0x1b, 0x58, 0x13, 0x88]);
    packet[4..8].copy_from_slice(&tag.to_be_bytes());
    packet[12..14].copy_from_slice(&[chunk, flags]);
    packet[length - 4..].copy_from_slice(&number.to_be_bytes());
    packet
}

fn number(packet: &[u8]) -> u32 {
    u32::from_be_bytes(*packet.last_chunk().expect("four bytes"))
}

fn to(destination: IpAddr, len: usize) -> Transmit {
    Transmit {
        source: None,
        destination,
        encapsulation: None,
        len,
        ecn: Ecn::Ect0,
        fragment_to: None,
        association: None,
    }
}

fn send(link: &mut MemoryLink, destination: IpAddr, packet: &[u8]) -> Result<(), TransmitError> {
    let buffer = link.transmit_buffer().expect("always a buffer");
    buffer[..packet.len()].copy_from_slice(packet);
    link.transmit(&to(destination, packet.len()))
}

/// Everything that arrives until nothing has for `patience`.
fn drain(link: &mut MemoryLink, patience: Duration) -> Vec<u32> {
    let mut numbers = Vec::new();
    let mut last = Instant::now();
    while last.elapsed() < patience {
        let received = link.receive(64, &mut |datagram| numbers.push(number(datagram.bytes))).expect("it receives");
        if received > 0 {
            last = Instant::now();
        }
        link.wait(Some(Duration::from_millis(1))).expect("it waits");
    }
    numbers
}

const QUIET: Duration = Duration::from_millis(50);

#[test]
fn packets_arrive_as_they_were_sent() {
    let (mut one, mut other) = MemoryNetwork::pair(1, Faults::default(), address(1), address(2)).expect("a network");
    let sent = packet(5, 0, 3, 100, 7);
    send(&mut one, address(2), &sent).expect("it is sent");
    let mut seen = 0;
    let received = other.receive(10, &mut |datagram| {
        assert_eq!((datagram.source, datagram.destination), (address(1), address(2)));
        assert_eq!(datagram.bytes, sent);
        assert_eq!((datagram.ecn, datagram.checksum), (Ecn::Ect0, ChecksumState::NotChecked));
        assert_eq!(datagram.payload.take(90..100), sent[90..100]);
        seen += 1;
    });
    assert_eq!((received.expect("it receives"), seen), (1, 1));
    assert_eq!(one.stats().transmitted_packets, 1);
    assert_eq!((other.stats().received_packets, other.stats().received_bytes), (1, 100));
}

#[test]
fn a_budget_is_kept_and_order_too() {
    let (mut one, mut other) = MemoryNetwork::pair(1, Faults::default(), address(1), address(2)).expect("a network");
    for number in 0..10 {
        send(&mut one, address(2), &packet(5, 0, 3, 64, number)).expect("it is sent");
    }
    let mut numbers = Vec::new();
    for expected in [4, 4, 2, 0] {
        let received = other.receive(4, &mut |datagram| numbers.push(number(datagram.bytes)));
        assert_eq!(received.expect("it receives"), expected);
    }
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
}

#[test]
fn what_cannot_be_sent_is_an_error() {
    let network = MemoryNetwork::with_mtu(1, Faults::default(), 600);
    let mut link = network.attach(&[address(1), "fd00::1".parse().expect("an address")]).expect("a free address");
    let peer: IpAddr = "fd00::2".parse().expect("an address");
    let _peer = network.attach(&[peer]).expect("a free address");
    let missing = link.transmit(&to(peer, 100));
    assert_eq!(missing, Err(TransmitError::NoBuffer { length: 100 }));
    let nowhere = send(&mut link, address(9), &[0; 100]);
    assert_eq!(nowhere, Err(TransmitError::NoRoute { destination: address(9) }));
    let long = send(&mut link, peer, &[0; 561]);
    assert_eq!(long, Err(TransmitError::TooLong { destination: peer, length: 561, limit: 560 }));
    assert_eq!(send(&mut link, peer, &[0; 560]), Ok(()));
    assert_eq!((link.stats().no_route, link.stats().too_long), (1, 1));
}

#[test]
fn addresses_belong_to_one_host_as_long_as_it_is_there() {
    let network = MemoryNetwork::new(1, Faults::default());
    let config = HostConfig {
        addresses: vec![address(1), address(2)],
        steering: Steering { key: KEY, workers: 2 },
        capture: None,
    };
    let mut links = network.attach_host(&config).expect("free addresses");
    assert_eq!(network.attach(&[address(2)]).expect_err("taken").kind(), io::ErrorKind::AddrInUse);
    links.pop();
    assert!(network.attach(&[address(2)]).is_err(), "one worker is left");
    links.pop();
    network.attach(&[address(2)]).expect("free again");
}

#[test]
fn faults_do_what_they_say() {
    const PACKETS: u32 = 2000;
    let faults = Faults { loss: 0.2, duplication: 0.1, reordering: 0.1, ..Faults::default() };
    let run = |seed| {
        let (mut one, mut other) = MemoryNetwork::pair(seed, faults, address(1), address(2)).expect("a network");
        for number in 0..PACKETS {
            send(&mut one, address(2), &packet(5, 0, 3, 64, number)).expect("it is sent");
        }
        let lost = one.stats().device_drops;
        (drain(&mut other, QUIET), lost)
    };
    let (numbers, lost) = run(1);
    let distinct: HashSet<u32> = numbers.iter().copied().collect();
    assert_eq!(distinct.len() as u64, u64::from(PACKETS) - lost);
    assert!((300..500).contains(&lost), "{lost} lost");
    assert!((100..220).contains(&(numbers.len() - distinct.len())), "{} arrived", numbers.len());
    assert!(!numbers.is_sorted(), "some were held back");
    let (again, lost_again) = run(1);
    assert_eq!((again.len(), lost_again), (numbers.len(), lost), "the seed decides");
    assert_ne!(run(2).1, lost);
}

#[test]
fn corruption_flips_one_bit() {
    let faults = Faults { corruption: 1.0, ..Faults::default() };
    let (mut one, mut other) = MemoryNetwork::pair(3, faults, address(1), address(2)).expect("a network");
    let sent = packet(5, 0, 3, 64, 1);
    for _ in 0..50 {
        send(&mut one, address(2), &sent).expect("it is sent");
    }
    let mut seen = 0;
    other
        .receive(100, &mut |datagram| {
            let differing: u32 = datagram.bytes.iter().zip(&sent).map(|(a, b)| (a ^ b).count_ones()).sum();
            assert_eq!(differing, 1);
            seen += 1;
        })
        .expect("it receives");
    assert_eq!(seen, 50);
}

#[test]
fn delay_and_rate_take_their_time() {
    let delay = Duration::from_millis(30);
    // 100 packets of 1000 bytes at 1 MB/s take 100 ms.
    let faults = Faults { delay, rate: Some(1_000_000), jitter: Duration::from_millis(5), ..Faults::default() };
    let (mut one, mut other) = MemoryNetwork::pair(1, faults, address(1), address(2)).expect("a network");
    let start = Instant::now();
    for number in 0..100 {
        send(&mut one, address(2), &packet(5, 0, 3, 1000, number)).expect("it is sent");
    }
    let mut numbers = Vec::new();
    let mut first = None;
    while numbers.len() < 100 {
        assert!(start.elapsed() < Duration::from_secs(20), "{} arrived", numbers.len());
        other.wait(Some(Duration::from_secs(1))).expect("it waits");
        other.receive(100, &mut |datagram| numbers.push(number(datagram.bytes))).expect("it receives");
        if !numbers.is_empty() {
            first.get_or_insert_with(|| start.elapsed());
        }
    }
    assert!(first.expect("a packet has come") >= delay);
    assert!(start.elapsed() >= delay + Duration::from_millis(99));
    assert!(numbers.is_sorted(), "jitter keeps the order");
}

#[test]
fn a_backlog_overflows() {
    let faults = Faults { rate: Some(100_000), backlog: 10, ..Faults::default() };
    let (mut one, _other) = MemoryNetwork::pair(1, faults, address(1), address(2)).expect("a network");
    for number in 0..50 {
        send(&mut one, address(2), &packet(5, 0, 3, 1000, number)).expect("it is sent");
    }
    let lost = one.stats().device_drops;
    assert!((35..=40).contains(&lost), "{lost}");
}

#[test]
fn a_sleeping_link_is_woken_by_a_packet_and_by_its_waker() {
    let (mut one, mut other) = MemoryNetwork::pair(1, Faults::default(), address(1), address(2)).expect("a network");
    let waker = other.waker();
    let sleeper = thread::spawn(move || {
        let mut wait = || {
            let start = Instant::now();
            other.wait(Some(Duration::from_secs(60))).expect("it waits");
            assert!(start.elapsed() < Duration::from_secs(30));
            other.receive(10, &mut |_| {}).expect("it receives")
        };
        (wait(), wait())
    });
    thread::sleep(Duration::from_millis(20));
    send(&mut one, address(2), &packet(5, 0, 3, 64, 1)).expect("it is sent");
    thread::sleep(Duration::from_millis(20));
    waker.wake();
    assert_eq!(sleeper.join().expect("the sleeper ends"), (1, 0));
}

#[test]
fn workers_get_the_packets_of_their_tags() {
    let network = MemoryNetwork::new(1, Faults::default());
    let steering = Steering { key: KEY, workers: 3 };
    let config = HostConfig { addresses: vec![address(2)], steering, capture: None };
    let mut workers = network.attach_host(&config).expect("a free address");
    let mut peer = network.attach(&[address(1)]).expect("a free address");
    for tag in 1..=60 {
        send(&mut peer, address(2), &packet(tag, chunk::DATA, 3, 64, tag)).expect("it is sent");
    }
    let mut all = 0;
    for (worker, link) in (0..).zip(&mut workers) {
        let tags = drain(link, QUIET);
        assert!(tags.iter().all(|&tag| steering.owner(tag) == worker));
        assert!(!tags.is_empty());
        all += tags.len();
    }
    assert_eq!(all, 60);

    send(&mut peer, address(2), &packet(0, chunk::INIT, 0, 64, 1)).expect("it is sent");
    let reached: Vec<usize> = workers.iter_mut().map(|link| drain(link, QUIET).len()).collect();
    assert_eq!(reached.iter().sum::<usize>(), 1, "an INIT has one worker");
    send(&mut peer, address(2), &packet(99, chunk::ABORT, 1, 64, 1)).expect("it is sent");
    let reached: Vec<usize> = workers.iter_mut().map(|link| drain(link, QUIET).len()).collect();
    assert_eq!(reached, [1, 1, 1], "a reflected tag tells nothing");
}

#[test]
fn a_capture_sees_both_directions_as_frames() {
    #[derive(Default)]
    struct Seen(Mutex<Vec<(u32, Direction, Vec<u8>)>>);
    impl Capture for Seen {
        fn frame(&self, ifindex: u32, direction: Direction, frame: &[u8]) {
            self.0.lock().expect("no panic").push((ifindex, direction, frame.to_vec()));
        }
    }
    let seen = Arc::new(Seen::default());
    let network = MemoryNetwork::new(1, Faults::default());
    let mut host = network
        .attach_host(&HostConfig {
            addresses: vec![address(1)],
            steering: Steering { key: KEY, workers: 1 },
            capture: Some(CaptureSink::new(seen.clone())),
        })
        .expect("a free address");
    let mut peer = network.attach(&[address(2)]).expect("a free address");
    let sent = packet(5, 0, 3, 64, 1);
    send(&mut host[0], address(2), &sent).expect("it is sent");
    send(&mut peer, address(1), &sent).expect("it is sent");
    host[0].receive(10, &mut |_| {}).expect("it receives");
    let frames = seen.0.lock().expect("no panic");
    let directions: Vec<Direction> = frames.iter().map(|(_, direction, _)| *direction).collect();
    assert_eq!(directions, [Direction::Outbound, Direction::Inbound]);
    for (_, _, frame) in &*frames {
        let decoded = sctp_common::frame::decode(&frame[..]).expect("a sound frame");
        assert_eq!(frame[usize::from(decoded.sctp_offset)..], sent);
    }
}
