//! Two links that talk to each other, from two namespaces.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sctp_core::AssociationId;
use sctp_lab::veth::Family;
use sctp_lab::{Pair, PairConfig, require_root};
use sctp_user::datapath::Link;
use sctp_user::datapath::xdp::{AttachMode, Control, XdpConfig, XdpInterfaces, XdpLink};

use crate::support::*;

/// Both ends open: the left one with one worker.
struct Ends {
    pair: Pair,
    left: (Control, Vec<XdpLink>),
    right: (Control, Vec<XdpLink>),
}

fn ends(label: &str, queues: u16, right: impl FnOnce(&str) -> XdpConfig) -> Result<Ends> {
    let pair = Pair::create(label, &PairConfig { queues, ..PairConfig::default() })?;
    // Known from the start: what waits for a next hop is limited, and another test's subject.
    for (host, peer) in [(&pair.left, &pair.right), (&pair.right, &pair.left)] {
        let mac = peer.mac.map(|octet| format!("{octet:02x}")).join(":");
        let address = peer.ipv4.to_string();
        host.namespace.ip(&["neigh", "replace", &address, "lladdr", &mac, "dev", &host.interface])?;
    }
    // With a queueing discipline the kernel makes a sender wait when the other end is behind, instead of dropping.
    for host in [&pair.left, &pair.right] {
        let mut command = host.namespace.command("tc");
        command.args(["qdisc", "replace", "dev", &host.interface, "root", "pfifo"]);
        ensure!(command.status()?.success(), "tc");
    }
    let left = open(&pair.left.namespace, &config(&pair.left.interface, 1))?;
    let right = open(&pair.right.namespace, &right(&pair.right.interface))?;
    Ok(Ends { pair, left, right })
}

/// Sends `count` packets, at most [`WINDOW`] ahead of what `received` counts; with these tags in turn.
fn send_many(
    link: &mut XdpLink,
    ends: &Pair,
    family: Family,
    tags: &[u32],
    count: usize,
    received: &AtomicUsize,
) -> Result<()> {
    for (number, tag) in (0..count).zip(tags.iter().cycle()) {
        let packet = packet(*tag, number as u32, 40 + number % 1000);
        send(link, &to(ends.right.address(family), packet.len()), &packet)?;
        if number % 32 == 31 {
            link.flush()?;
            // The receivers share the machine with the sender: what they have no room for would be lost.
            let start = Instant::now();
            while number > received.load(Ordering::Acquire) + WINDOW {
                ensure!(start.elapsed() < LONG, "{received:?} of {number} packets have been received");
                thread::yield_now();
            }
        }
    }
    link.flush()?;
    Ok(())
}

/// How many packets the receivers' rings have room for.
const WINDOW: usize = 512;

/// Receives on every link, each in a thread of its own, until all together have got `count` packets, or nothing more has
/// come for a while. Returns how many of which association each has got.
fn receive_on_all(links: &mut [XdpLink], count: usize, received: &AtomicUsize) -> Result<Vec<BTreeMap<u32, usize>>> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let threads: Vec<_> = links
            .iter_mut()
            .map(|link| {
                scope.spawn(|| -> Result<BTreeMap<u32, usize>> {
                    let link = link;
                    let mut slots = BTreeMap::new();
                    let mut last = Instant::now();
                    while !done.load(Ordering::Relaxed) && last.elapsed() < LONG {
                        let got = link.receive(64, &mut |datagram| {
                            let slot = datagram.association.map_or(u32::MAX, AssociationId::slot);
                            *slots.entry(slot).or_default() += 1;
                        })?;
                        if got == 0 {
                            link.wait(Some(Duration::from_millis(10)))?;
                            continue;
                        }
                        last = Instant::now();
                        if received.fetch_add(got, Ordering::AcqRel) + got >= count {
                            done.store(true, Ordering::Relaxed);
                        }
                    }
                    Ok(slots)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a receiver ends")).collect()
    })
}

/// Tags for a right end with this steering, and the slot that each was announced with.
fn announce(control: &Control, config: &XdpConfig, tags: u32) -> Result<Vec<u32>> {
    let tags: Vec<u32> = (1..=tags).map(|number| number * 0x0101_0101).collect();
    for (slot, &tag) in (0..).zip(&tags) {
        add_tag(control, &config.steering, tag, AssociationId::from_parts(slot, 1))?;
    }
    Ok(tags)
}

fn workers_and_queues(label: &str, workers: u16, queues: u16) -> Result<()> {
    const PACKETS: usize = 20_000;
    const TAGS: u32 = 64;
    if !require_root() {
        return Ok(());
    }
    let Ends { pair, left: (left, mut senders), right: (right, mut receivers) } =
        ends(label, queues, |interface| config(interface, workers))?;
    let config = config("", workers);
    let tags = announce(&right, &config, TAGS)?;
    let arrived = AtomicUsize::new(0);
    let received = thread::scope(|scope| -> Result<_> {
        let receiving = scope.spawn(|| receive_on_all(&mut receivers, PACKETS, &arrived));
        send_many(&mut senders[0], &pair, Family::Ipv4, &tags, PACKETS, &arrived)?;
        receiving.join().expect("the receivers end")
    })?;
    let total: usize = received.iter().flat_map(BTreeMap::values).sum();
    assert_eq!(total, PACKETS, "{:?} {:?}", right.xsk_stats()?, right.counters()?);
    for (worker, slots) in (0..).zip(&received) {
        assert!(!slots.is_empty(), "worker {worker} got nothing");
        for &slot in slots.keys() {
            assert_eq!(config.steering.owner(tags[slot as usize]), worker, "slot {slot}");
        }
    }
    assert_all_home(&left, &mut senders)?;
    assert_all_home(&right, &mut receivers)
}

#[test]
fn one_queue_one_worker() -> Result<()> {
    workers_and_queues("dp-1q1w", 1, 1)
}

#[test]
fn two_workers_share_a_queue() -> Result<()> {
    workers_and_queues("dp-1q2w", 2, 1)
}

#[test]
fn one_worker_serves_three_queues() -> Result<()> {
    workers_and_queues("dp-3q1w", 1, 3)
}

#[test]
fn three_workers_on_two_queues() -> Result<()> {
    workers_and_queues("dp-2q3w", 3, 2)
}

/// Workers that share a queue receive and send at the same time: the shared rings are fought over.
#[test]
fn two_workers_on_one_queue_echo_a_hundred_thousand_packets() -> Result<()> {
    const PACKETS: usize = 100_000;
    if !require_root() {
        return Ok(());
    }
    let Ends { pair, left: (left, mut lefts), right: (right, mut rights) } =
        ends("dp-echo", 1, |interface| config(interface, 2))?;
    let config = config("", 2);
    let tags = announce(&right, &config, 16)?;
    // What comes back carries the same tag, to the same port.
    let left_config = crate::support::config("", 1);
    announce(&left, &left_config, 16)?;
    let done = AtomicBool::new(false);
    let (sent, back) = thread::scope(|scope| -> Result<(usize, usize)> {
        let echoing: Vec<_> = rights.iter_mut().map(|link| scope.spawn(|| echo(link, &done))).collect();
        let outcome = ping(&mut lefts[0], &pair, &tags, PACKETS);
        done.store(true, Ordering::Relaxed);
        for thread in echoing {
            thread.join().expect("an echoing worker ends")?;
        }
        outcome
    })?;
    assert_eq!((sent, back), (PACKETS, PACKETS), "{:?} {:?}", left.xsk_stats()?, right.xsk_stats()?);
    let echoed: Vec<u64> = rights.iter().map(|link| link.stats().transmitted_packets).collect();
    assert!(echoed.iter().all(|&count| count > PACKETS as u64 / 10), "{echoed:?}");
    assert_all_home(&left, &mut lefts)?;
    assert_all_home(&right, &mut rights)
}

/// Sends back whatever comes.
fn echo(link: &mut XdpLink, done: &AtomicBool) -> Result<()> {
    let mut packets = Vec::new();
    while !done.load(Ordering::Relaxed) {
        link.receive(64, &mut |datagram| packets.push((datagram.source, datagram.bytes.to_vec())))?;
        if packets.is_empty() {
            link.wait(Some(Duration::from_millis(10)))?;
        }
        for (source, packet) in packets.drain(..) {
            send(link, &to(source, packet.len()), &packet)?;
        }
        link.flush()?;
    }
    Ok(())
}

/// Sends packets and counts what comes back, at most 128 outstanding. Ends early when nothing comes any more.
fn ping(link: &mut XdpLink, pair: &Pair, tags: &[u32], count: usize) -> Result<(usize, usize)> {
    let (mut sent, mut back) = (0, 0);
    let mut last = Instant::now();
    while back < count && last.elapsed() < LONG {
        while sent < count && sent - back < 128 {
            let packet = packet(tags[sent % tags.len()], sent as u32, 40 + sent % 1300);
            send(link, &to(pair.right.ipv4.into(), packet.len()), &packet)?;
            sent += 1;
        }
        link.flush()?;
        let got = link.receive(64, &mut |_| {})?;
        back += got;
        if got > 0 {
            last = Instant::now();
        } else {
            link.wait(Some(Duration::from_millis(10)))?;
        }
    }
    Ok((sent, back))
}

#[test]
fn ipv6_neighbours_are_found() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let mut ends = ends("dp-nd", 1, |interface| config(interface, 1))?;
    let [sender] = &mut ends.left.1[..] else { panic!("one worker") };
    send_many(sender, &ends.pair, Family::Ipv6, &[TAG], 1, &AtomicUsize::new(0))?;
    let start = Instant::now();
    while sender.stats().transmitted_packets == 0 {
        ensure!(start.elapsed() < LONG, "{:?}", sender.stats());
        sender.wait(Some(Duration::from_millis(100)))?;
    }
    sender.flush()?;
    let seen = receive(&mut ends.right.1[0], 1, LONG)?.pop().context("it arrives")?;
    assert_eq!((seen.source, seen.destination), (ends.pair.left.ipv6.into(), ends.pair.right.ipv6.into()));
    Ok(())
}

#[test]
fn generic_mode_works_too() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let generic = |interface: &str| XdpConfig { attach: AttachMode::Generic, ..config(interface, 2) };
    let Ends { pair, left: (_left, mut senders), right: (right, mut receivers) } = ends("dp-skb", 1, generic)?;
    let mode = right.mode();
    assert_eq!((mode.interfaces[0].native, mode.zero_copy), (false, false));
    let tags = announce(&right, &config("", 2), 16)?;
    let arrived = AtomicUsize::new(0);
    let received = thread::scope(|scope| -> Result<_> {
        let receiving = scope.spawn(|| receive_on_all(&mut receivers, 1000, &arrived));
        send_many(&mut senders[0], &pair, Family::Ipv4, &tags, 1000, &arrived)?;
        receiving.join().expect("the receivers end")
    })?;
    assert_eq!(received.iter().flat_map(BTreeMap::values).sum::<usize>(), 1000);
    let without_metadata: u64 = receivers.iter().map(|link| link.stats().received_without_metadata).sum();
    assert_eq!(without_metadata, 0);
    assert_all_home(&right, &mut receivers)
}

#[test]
fn two_interfaces_are_one_link() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let pair = Pair::create("dp-multi", &PairConfig::default())?;
    let host = &pair.left.namespace;
    // A second pair within the left namespace: one end for the link, the other for the test.
    host.ip(&["link", "add", "second0", "type", "veth", "peer", "name", "second1"])?;
    host.ip(&["address", "add", "10.79.0.1/24", "dev", "second0"])?;
    host.ip(&["link", "set", "second0", "up"])?;
    host.ip(&["link", "set", "second1", "up"])?;
    host.ip(&["neigh", "replace", "10.79.0.2", "lladdr", "02:79:00:00:00:02", "dev", "second0"])?;
    let wire = host.run(|| sctp_lab::PacketSocket::open("second1"))?;
    let mut both = config(&pair.left.interface, 1);
    both.interfaces.push("second0".to_owned());
    let (control, mut links) = open(host, &both)?;
    assert_eq!(control.mode().interfaces.len(), 2);
    let far_end = pair.right.packet_socket()?;
    let packet = packet(TAG, 1, 100);
    send(&mut links[0], &to("10.79.0.2".parse()?, packet.len()), &packet)?;
    send(&mut links[0], &to(pair.right.ipv4.into(), packet.len()), &packet)?;
    let start = Instant::now();
    while links[0].stats().transmitted_packets < 2 {
        ensure!(start.elapsed() < LONG, "{:?}", links[0].stats());
        links[0].wait(Some(Duration::from_millis(100)))?;
    }
    links[0].flush()?;
    let second = wire.receive(LONG, is_sctp)?.context("it leaves by the second interface")?;
    assert_eq!((&second[..6], &second[26..34]), (&[2, 0x79, 0, 0, 0, 2][..], &[10, 79, 0, 1, 10, 79, 0, 2][..]));
    let first = far_end.receive(LONG, is_sctp)?.context("it leaves by the first interface")?;
    assert_eq!(first[26..34], [pair.left.ipv4.octets(), pair.right.ipv4.octets()].concat());
    assert_all_home(&control, &mut links)
}

#[test]
fn what_arrives_on_a_queue_without_sockets_is_counted() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let few = |interface: &str| XdpConfig { queues: Some(1), ..config(interface, 1) };
    let Ends { pair, left, right: (right, mut receivers) } = ends("dp-noq", 2, few)?;
    drop(left);
    // The second of two workers sends by the second queue.
    let (_left, mut senders) = open(&pair.left.namespace, &config(&pair.left.interface, 2))?;
    for sender in &mut senders {
        send_many(sender, &pair, Family::Ipv4, &[TAG], 10, &AtomicUsize::new(0))?;
    }
    assert_eq!(receive(&mut receivers[0], 10, LONG)?.len(), 10);
    let start = Instant::now();
    loop {
        let counters = right.counters()?;
        let lost = counters.iter().find(|(verdict, _)| verdict.name() == "no-socket").context("no such counter")?.1;
        if lost == 10 {
            break;
        }
        ensure!(lost < 10 && start.elapsed() < LONG, "{lost} of 10");
        thread::yield_now();
    }
    assert_eq!(receive(&mut receivers[0], 1, QUIET)?, []);
    Ok(())
}

#[test]
fn a_link_that_is_down_does_not_keep_the_worker_awake() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let Ends { pair, left: (left, mut senders), right: _right } = ends("dp-down", 1, |interface| config(interface, 1))?;
    let sender = &mut senders[0];
    let packet = packet(TAG, 1, 40);
    // Queued while the interface was up, and not yet sent when it goes down.
    send(sender, &to(pair.right.ipv4.into(), packet.len()), &packet)?;
    pair.left.namespace.ip(&["link", "set", &pair.left.interface, "down"])?;
    sender.flush()?;
    assert_eq!(sender.stats().interface_down, 1);
    let before = sender.stats().sleeps;
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(500) {
        sender.wait(Some(Duration::from_millis(500)))?;
    }
    let sleeps = sender.stats().sleeps - before;
    assert!(sleeps < 50, "it woke up {sleeps} times");
    pair.left.namespace.ip(&["link", "set", &pair.left.interface, "up"])?;
    assert_all_home(&left, &mut senders)
}

#[test]
fn an_interface_can_be_opened_again_at_once() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let pair = Pair::create("dp-again", &PairConfig { queues: 2, ..PairConfig::default() })?;
    for _ in 0..5 {
        let opened = open(&pair.left.namespace, &config(&pair.left.interface, 2))?;
        assert!(pair.left.has_xdp()?);
        drop(opened);
        assert!(!pair.left.has_xdp()?, "the program was detached");
    }
    Ok(())
}

#[test]
fn a_worker_is_woken_from_another_thread() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let pair = Pair::create("dp-wake", &PairConfig::default())?;
    let (_control, mut links) = pair.left.namespace.run(|| XdpInterfaces::open(&config(&pair.left.interface, 1)))?;
    let waker = links[0].waker();
    let thread = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        waker.wake();
    });
    let start = Instant::now();
    // Changes of the network wake too, and come at any time on a new interface.
    while start.elapsed() < Duration::from_millis(50) {
        links[0].wait(Some(Duration::from_secs(60)))?;
    }
    assert!(start.elapsed() < Duration::from_secs(30));
    thread.join().expect("the thread ends");
    Ok(())
}
