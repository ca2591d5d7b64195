//! One interface, with the test as the wire.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use sctp_common::verdict::DropReason;
use sctp_core::{ChecksumState, Ecn};
use sctp_lab::frame::{Checksum, SctpFrame, chunk};
use sctp_lab::require_root;
use sctp_user::datapath::xdp::XdpConfig;
use sctp_user::datapath::{FrameSize, Link, TransmitError};

use crate::support::*;

#[test]
fn frames_become_datagrams() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let wire = Wire::new("dp-in")?;
    let (control, mut links) = open(&wire.namespace, &config("tap0", 1))?;
    assert!(control.mode().interfaces[0].native, "{:?}", control.mode());
    let link = &mut links[0];
    let v4 = wire.inbound(TAG, data(1, 100));
    let frames = [
        v4.clone(),
        SctpFrame { source: THEIRS_V6.into(), destination: OURS_V6.into(), ..v4.clone() },
        SctpFrame { chunks: data(1, 1400), ..v4.clone() },
        SctpFrame { vlans: vec![7], ..v4.clone() },
        SctpFrame { vlans: vec![7, 8], chunks: data(1, 2), ..v4.clone() },
    ];
    for frame in frames {
        wire.tap.send(0, &frame.build())?;
        let seen = receive(link, 1, LONG)?.pop().context("it arrives")?;
        assert_eq!((seen.source, seen.destination), (frame.source, frame.destination));
        assert_eq!((seen.ecn, seen.checksum), (Ecn::NotEct, ChecksumState::Verified));
        assert_eq!(seen.association, Some(association()));
        assert_eq!(seen.packet, frame.packet(), "{} VLAN tags", frame.vlans.len());
        assert_eq!(seen.payload, frame.packet());
    }
    let stats = link.stats();
    assert_eq!((stats.received_packets, stats.received_malformed, stats.received_without_metadata), (5, 0, 0));
    assert_all_home(&control, &mut links)
}

#[test]
fn an_init_has_no_association_and_strangers_do_not_come_in() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let wire = Wire::new("dp-init")?;
    let (control, mut links) = open(&wire.namespace, &config("tap0", 1))?;
    let init = wire.inbound(0, chunk::init(99, 1));
    let sound = wire.inbound(TAG, data(1, 100));
    let strangers = [
        SctpFrame { destination_port: PORT + 1, ..init.clone() },
        SctpFrame { verification_tag: TAG + 1, ..sound.clone() },
        SctpFrame { checksum: Checksum::Wrong, ..sound.clone() },
        SctpFrame { checksum: Checksum::Zero, ..sound.clone() },
    ];
    for frame in strangers {
        wire.tap.send(0, &frame.build())?;
    }
    wire.tap.send(0, &init.build())?;
    let seen = receive(&mut links[0], 2, QUIET)?;
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!((seen[0].association, &seen[0].packet), (None, &init.packet()));
    let count = |name| -> Result<u64> {
        let counters = control.counters()?;
        let found = counters.iter().find(|(verdict, _)| verdict.name() == name);
        Ok(found.with_context(|| format!("no counter {name}"))?.1)
    };
    for name in ["port-not-owned", "abort", "checksum", "zero-checksum", "init"] {
        assert_eq!(count(name)?, 1, "{name}");
    }
    // After the port is given back, the kernel gets everything.
    control.disown_port(PORT)?;
    wire.tap.send(0, &sound.build())?;
    assert_eq!(receive(&mut links[0], 1, QUIET)?, []);
    assert_eq!(count("port-not-owned")?, 2);
    Ok(())
}

#[test]
fn a_trusted_link_needs_no_checksum() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let wire = Wire::new("dp-trust")?;
    let config = XdpConfig { trusted_link: true, ..config("tap0", 1) };
    let (_control, mut links) = open(&wire.namespace, &config)?;
    let frame = SctpFrame { checksum: Checksum::Zero, ..wire.inbound(TAG, data(1, 100)) };
    wire.tap.send(0, &frame.build())?;
    let seen = receive(&mut links[0], 1, LONG)?.pop().context("it arrives")?;
    assert_eq!(seen.checksum, ChecksumState::Verified);
    Ok(())
}

#[test]
fn packets_become_frames() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let wire = Wire::new("dp-out")?;
    wire.introduce()?;
    let (control, mut links) = open(&wire.namespace, &config("tap0", 1))?;
    let link = &mut links[0];
    for (destination, source, length) in [
        (THEIRS.into(), OURS.into(), 100),
        (THEIRS_V6.into(), OURS_V6.into(), 100),
        (THEIRS.into(), OURS.into(), 1440),
        (THEIRS_V6.into(), OURS_V6.into(), 1),
    ] {
        let expected = SctpFrame {
            source_mac: wire.mac,
            destination_mac: THEIR_MAC,
            vlans: Vec::new(),
            source,
            destination,
            source_port: 7000,
            destination_port: PORT,
            verification_tag: TAG,
            checksum: Checksum::Right,
            chunks: data(1, length),
        };
        let packet = expected.packet();
        send(link, &to(destination, packet.len()), &packet)?;
        link.flush()?;
        let mut frame = wire.next_frame(LONG)?.context("it is sent")?;
        // Ethernet's padding is the NIC's business.
        frame.resize(frame.len().max(60), 0);
        assert_eq!(frame, expected.build());
    }
    assert_all_home(&control, &mut links)
}

#[test]
fn dscp_and_ecn_go_into_the_ip_header() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let wire = Wire::new("dp-ecn")?;
    wire.introduce()?;
    let config = XdpConfig { dscp: 46, frame_size: FrameSize::TwoKiB, ..config("tap0", 1) };
    let (_control, mut links) = open(&wire.namespace, &config)?;
    let packet = packet(TAG, 1, 50);
    let mut sent = to(THEIRS.into(), packet.len());
    sent.ecn = Ecn::Ect0;
    send(&mut links[0], &sent, &packet)?;
    sent.destination = THEIRS_V6.into();
    send(&mut links[0], &sent, &packet)?;
    links[0].flush()?;
    let v4 = wire.next_frame(LONG)?.context("it is sent")?;
    assert_eq!(v4[15], 46 << 2 | 0b10);
    let v6 = wire.next_frame(LONG)?.context("it is sent")?;
    assert_eq!((v6[14] << 4) | (v6[15] >> 4), 46 << 2 | 0b10);
    Ok(())
}

#[test]
fn what_cannot_be_sent_is_an_error_and_costs_no_frame() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let wire = Wire::new("dp-err")?;
    wire.introduce()?;
    let (control, mut links) = open(&wire.namespace, &config("tap0", 1))?;
    let link = &mut links[0];
    assert_eq!(link.transmit(&to(THEIRS.into(), 50)), Err(TransmitError::NoBuffer { length: 50 }));
    let buffer = link.transmit_buffer().context("a frame is free")?.len();
    let too_much = to(THEIRS.into(), buffer + 1);
    assert_eq!(link.transmit(&too_much), Err(TransmitError::NoBuffer { length: buffer + 1 }));
    let too_long = TransmitError::TooLong { destination: THEIRS.into(), length: 1481, limit: 1480 };
    assert_eq!(link.transmit(&to(THEIRS.into(), 1481)), Err(too_long), "the buffer is still there");
    let nowhere = "192.0.2.1".parse()?;
    link.transmit_buffer().context("a frame is free")?;
    assert_eq!(link.transmit(&to(nowhere, 50)), Err(TransmitError::NoRoute { destination: nowhere }));
    assert_eq!((link.stats().too_long, link.stats().no_route), (1, 1));
    assert_all_home(&control, &mut links)
}

#[test]
fn a_hundred_thousand_packets_each_way_lose_no_frame_of_memory() -> Result<()> {
    const PACKETS: u32 = 100_000;
    if !require_root() {
        return Ok(());
    }
    let wire = Wire::new("dp-home")?;
    wire.introduce()?;
    let (control, mut links) = open(&wire.namespace, &config("tap0", 1))?;
    let sizes = [40, 600, 1400];
    let inbound = sizes.map(|size| wire.inbound(TAG, data(1, size)).build());
    let outbound = sizes.map(|size| packet(TAG, 1, size));
    // The wire takes frames off the device, whose queue is short, and tells how many.
    let taken = AtomicU32::new(0);
    thread::scope(|scope| -> Result<()> {
        let wire = &wire;
        let taken = &taken;
        let taking = scope.spawn(move || -> Result<()> {
            while taken.load(Ordering::Acquire) < PACKETS && wire.next_frame(LONG)?.is_some() {
                taken.fetch_add(1, Ordering::AcqRel);
            }
            Ok(())
        });
        let link = &mut links[0];
        // The application keeps payload for a while, as a slow reader would: up to 500 at a time.
        let mut kept = Vec::new();
        let mut received = 0;
        for number in 0..PACKETS {
            let size = number as usize % sizes.len();
            wire.tap.send(0, &inbound[size])?;
            send(link, &to(THEIRS.into(), outbound[size].len()), &outbound[size])?;
            if number % 16 == 15 {
                received +=
                    link.receive(64, &mut |datagram| kept.push(datagram.payload.take(12..datagram.bytes.len())))?;
                if kept.len() >= 500 {
                    kept.clear();
                }
                link.flush()?;
                while number - taken.load(Ordering::Acquire).min(number) > 256 {
                    ensure!(!taking.is_finished(), "the wire has seen {taken:?} frames");
                    thread::yield_now();
                }
            }
        }
        received += link.receive(usize::MAX, &mut |_| {})?;
        assert_eq!(received, PACKETS as usize);
        assert!(!kept.is_empty());
        let frames = link.stats().frames;
        assert!(control.free_frames() as i64 + frames.total() < i64::from(control.mode().frames), "some are kept");
        taking.join().expect("the wire ends")
    })?;
    assert_eq!(taken.into_inner(), PACKETS);
    assert_eq!(links[0].stats().transmitted_packets, u64::from(PACKETS));
    assert_all_home(&control, &mut links)
}

#[test]
fn when_the_application_keeps_everything_payload_is_copied_and_reception_goes_on() -> Result<()> {
    const PACKETS: usize = 20_000;
    if !require_root() {
        return Ok(());
    }
    let wire = Wire::new("dp-short")?;
    let config = XdpConfig { frames: Some(2048 + 512), ..config("tap0", 1) };
    let (control, mut links) = open(&wire.namespace, &config)?;
    let frame = wire.inbound(TAG, data(1, 1400));
    let bytes = frame.build();
    let mut kept = Vec::new();
    for _ in 0..PACKETS / 32 {
        for _ in 0..32 {
            wire.tap.send(0, &bytes)?;
        }
        links[0].receive(64, &mut |datagram| kept.push(datagram.payload.take(0..datagram.bytes.len())))?;
    }
    links[0].receive(usize::MAX, &mut |datagram| kept.push(datagram.payload.take(0..datagram.bytes.len())))?;
    assert_eq!(kept.len(), PACKETS);
    let expected = frame.packet();
    assert!(kept.iter().all(|payload| *payload == expected));
    assert_eq!(control.xsk_stats()?.receive_dropped, 0);
    drop(kept);
    assert_all_home(&control, &mut links)
}

#[test]
fn payload_outlives_the_link_and_the_interface() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let wire = Wire::new("dp-late")?;
    let (control, mut links) = open(&wire.namespace, &config("tap0", 1))?;
    let frame = wire.inbound(TAG, data(1, 1400));
    wire.tap.send(0, &frame.build())?;
    let seen = receive(&mut links[0], 1, LONG)?.pop().context("it arrives")?;
    drop((control, links, wire));
    assert_eq!(seen.payload, frame.packet());
    Ok(())
}

#[test]
fn drops_are_shown_while_somebody_looks() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let wire = Wire::new("dp-drops")?;
    let (control, _links) = open(&wire.namespace, &config("tap0", 1))?;
    let wrong = SctpFrame { checksum: Checksum::Wrong, ..wire.inbound(TAG, data(1, 100)) }.build();
    let zero = SctpFrame { checksum: Checksum::Zero, ..wire.inbound(TAG, data(1, 10)) }.build();
    wire.tap.send(0, &wrong)?;
    let before = SystemTime::now();
    let mut all = control.watch_drops(&[])?;
    let mut one = control.watch_drops(&[DropReason::ZeroChecksum])?;
    for frame in [&wrong, &zero] {
        wire.tap.send(0, frame)?;
    }
    let ifindex = control.mode().interfaces[0].ifindex;
    for (frame, reason) in [(&wrong, DropReason::Checksum), (&zero, DropReason::ZeroChecksum)] {
        let packet = all.next(LONG)?.context("it is shown")?;
        assert_eq!((packet.reason, packet.interface, packet.queue), (reason, ifindex, 0));
        assert_eq!((packet.length as usize, &packet.frame[..]), (frame.len(), &frame[..frame.len().min(128) & !1]));
        // It is of the wall's clock, and not of the time since the machine was started.
        assert!(packet.time + Duration::from_secs(60) > before, "{packet:?}");
    }
    assert_eq!(one.next(LONG)?.context("it is shown")?.reason, DropReason::ZeroChecksum);
    assert_eq!((one.next(QUIET)?, all.left_out()?), (None, 0));
    drop((all, one));
    // What nobody saw is not kept for the next who looks.
    wire.tap.send(0, &wrong)?;
    let mut next = control.watch_drops(&[])?;
    assert_eq!(next.next(QUIET)?, None);
    // Of a flood that one CPU makes, a burst and a thousand a second are shown.
    let start = Instant::now();
    for _ in 0..5000 {
        wire.tap.send(0, &wrong)?;
    }
    let mut shown = 0;
    while next.next(QUIET)?.is_some() {
        shown += 1;
    }
    let cpus = thread::available_parallelism()?.get() as u64;
    let allowed = cpus * (100 + 1000 * (1 + start.elapsed().as_secs()));
    assert!((100..=allowed).contains(&shown), "{shown} were shown");
    assert_eq!(shown + next.left_out()?, 5000);
    Ok(())
}
