//! Next hops: asked for, waited for, followed, and given up.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sctp_lab::require_root;
use sctp_user::datapath::{Link, TransmitError};

use crate::support::*;

/// The kernel's ARP request for [`THEIRS`], as it comes out of the device.
fn arp_request(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x08, 0x06]) && frame.get(20..22) == Some(&[0, 1]) && frame[38..42] == THEIRS.octets()
}

/// The answer to it.
fn arp_reply(our_mac: [u8; 6]) -> Vec<u8> {
    let mut frame = [our_mac, THEIR_MAC].concat();
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 2]);
    frame.extend(THEIR_MAC);
    frame.extend(THEIRS.octets());
    frame.extend(our_mac);
    frame.extend(OURS.octets());
    frame.resize(60, 0);
    frame
}

#[test]
fn packets_wait_for_the_next_hop_and_leave_in_order() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let wire = Wire::new("dp-arp")?;
    let (control, mut links) = open(&wire.namespace, &config("tap0", 1))?;
    let link = &mut links[0];
    let packets: Vec<Vec<u8>> = (0..10).map(|tsn| packet(TAG, tsn, 40)).collect();
    for packet in &packets {
        send(link, &to(THEIRS.into(), packet.len()), packet)?;
    }
    link.flush()?;
    assert_eq!((link.stats().transmitted_packets, link.stats().neighbour_waits), (0, 10));
    wire.tap.receive(0, LONG, arp_request)?.context("the kernel asks")?;
    wire.tap.send(0, &arp_reply(wire.mac))?;
    for packet in &packets {
        // The answer wakes the sleeper.
        if link.stats().transmitted_packets == 0 {
            link.wait(Some(LONG))?;
            link.flush()?;
        }
        let frame = wire.next_frame(LONG)?.context("it is sent")?;
        assert_eq!(frame[..6], THEIR_MAC);
        assert_eq!(frame[34..], packet[..]);
    }
    assert_eq!(link.stats().neighbour_drops, 0);
    assert_all_home(&control, &mut links)
}

#[test]
fn packets_to_a_silent_next_hop_are_dropped_and_counted() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let wire = Wire::new("dp-mute")?;
    // Three requests, 20 ms apart, instead of a second.
    wire.namespace.ip(&["ntable", "change", "name", "arp_cache", "dev", "tap0", "retrans", "20"])?;
    let (control, mut links) = open(&wire.namespace, &config("tap0", 1))?;
    let link = &mut links[0];
    let packet = packet(TAG, 1, 40);
    let sent = to(THEIRS.into(), packet.len());
    for _ in 0..64 {
        send(link, &sent, &packet)?;
    }
    link.transmit_buffer().context("a frame is free")?;
    let refused = link.transmit(&sent);
    assert_eq!(refused, Err(TransmitError::NeighbourUnresolved { next_hop: THEIRS.into() }));
    let start = std::time::Instant::now();
    while link.stats().neighbour_drops < 65 {
        ensure!(start.elapsed() < LONG, "{:?}", link.stats());
        link.wait(Some(Duration::from_millis(100)))?;
    }
    // Without it they would be given up after four.
    assert!(
        start.elapsed() < Duration::from_millis(3900),
        "the kernel's verdict was not waited out: {:?}",
        start.elapsed()
    );
    assert_eq!(link.stats().transmitted_packets, 0);
    // It is asked for again when there is something to send again.
    while wire.tap.receive(0, QUIET, arp_request)?.is_some() {}
    send(link, &sent, &packet)?;
    wire.tap.receive(0, LONG, arp_request)?.context("the kernel asks again")?;
    wire.tap.send(0, &arp_reply(wire.mac))?;
    while link.stats().transmitted_packets == 0 {
        ensure!(start.elapsed() < LONG, "{:?}", link.stats());
        link.wait(Some(Duration::from_millis(100)))?;
    }
    assert_all_home(&control, &mut links)
}

#[test]
fn changes_of_neighbours_and_routes_are_followed() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let wire = Wire::new("dp-move")?;
    wire.introduce()?;
    let (control, mut links) = open(&wire.namespace, &config("tap0", 1))?;
    let link = &mut links[0];
    let packet = packet(TAG, 1, 40);
    let far = "192.0.2.7".parse()?;
    let mut send_to = |destination| -> Result<[u8; 6]> {
        send(link, &to(destination, packet.len()), &packet)?;
        link.flush()?;
        let frame = wire.next_frame(LONG)?.context("it is sent")?;
        Ok(*frame.first_chunk().context("an address")?)
    };
    // The kernel's news take a moment.
    let changed = |before: u64| -> Result<()> {
        let start = std::time::Instant::now();
        while control.network().generation() == before {
            ensure!(start.elapsed() < LONG, "nothing was heard of the change");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    };
    assert_eq!(send_to(THEIRS.into())?, THEIR_MAC);
    let elsewhere = [2, 0x78, 0, 0, 0, 0x33];
    let before = control.network().generation();
    wire.introduce_as("10.78.0.2", elsewhere)?;
    changed(before)?;
    assert_eq!(send_to(THEIRS.into())?, elsewhere);

    let gateway = [2, 0x78, 0, 0, 0, 0xfe];
    wire.introduce_as("10.78.0.254", gateway)?;
    let before = control.network().generation();
    wire.namespace.ip(&["route", "add", "192.0.2.0/24", "via", "10.78.0.254"])?;
    changed(before)?;
    assert_eq!(send_to(far)?, gateway);

    let before = control.network().generation();
    wire.namespace.ip(&["route", "replace", "192.0.2.0/24", "via", "10.78.0.2"])?;
    changed(before)?;
    assert_eq!(send_to(far)?, elsewhere);

    // IPv4 routes of a link that goes down vanish without a word from the kernel.
    let before = control.network().generation();
    wire.namespace.ip(&["link", "set", "tap0", "down"])?;
    changed(before)?;
    let start = std::time::Instant::now();
    loop {
        link.transmit_buffer().context("a frame is free")?;
        match link.transmit(&to(far, packet.len())) {
            Err(TransmitError::NoRoute { .. }) => break,
            outcome => ensure!(start.elapsed() < LONG, "{outcome:?}"),
        }
        link.flush()?;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
