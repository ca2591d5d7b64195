//! Which socket a packet goes to: a program with one socket alone drops, by name, what belongs elsewhere.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use sctp_common::frame::ipv4_mapped;
use sctp_common::maps::{TagEntry, TagKey, TagKind, socket_index};
use sctp_common::metadata::NO_SLOT;
use sctp_common::steering::{End, Steering};
use sctp_common::verdict::{DropReason, RedirectReason, Verdict};
use sctp_common::wire::{chunk as kind, flags};

use super::frames::*;
use super::program::{Context, Outcome, Program, Settings};

const WORKERS: u16 = 4;

fn settings() -> Settings {
    Settings { workers: WORKERS.into(), ..Settings::default() }
}

fn steering() -> Steering {
    Steering { key: settings().hash_key, workers: WORKERS }
}

/// The program with a socket at `index` alone.
fn with_socket(index: u32) -> Result<Program> {
    let mut program = Program::load(settings())?;
    program.own_port(PORT, true)?;
    program.add_address(ipv4_mapped(OURS_V4))?;
    program.add_socket(index)?;
    Ok(program)
}

/// Whether the packet went to the one socket that there is.
fn arrived(outcome: &Outcome, reason: RedirectReason) -> Result<bool> {
    let elsewhere = Verdict::from(DropReason::NoSocket);
    ensure!(outcome.verdict == reason.into() || outcome.verdict == elsewhere, "{:?}", outcome.verdict);
    Ok(outcome.verdict != elsewhere)
}

#[test]
fn inits_go_where_the_hash_of_their_flow_says() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    for worker in 0..WORKERS {
        let program = with_socket(worker.into())?;
        let mut here = 0;
        for port in 1..=200 {
            let outcome = program.run(&Ipv4::default().frame(&sctp_between(port, PORT, 0, &init_chunk())))?;
            let source = End { address: ipv4_mapped(PEER_V4), port };
            let destination = End { address: ipv4_mapped(OURS_V4), port: PORT };
            let expected = steering().spread(&source, &destination) == worker;
            ensure!(arrived(&outcome, RedirectReason::Init)? == expected, "port {port}, worker {worker}");
            here += u32::from(expected);
        }
        ensure!((20..=80).contains(&here), "worker {worker} has {here} of 200 flows");
    }
    Ok(())
}

#[test]
fn cookie_echoes_go_to_the_owner_of_their_tag() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    for worker in 0..WORKERS {
        let program = with_socket(worker.into())?;
        for tag in 1..=200 {
            let outcome =
                program.run(&Ipv4::default().frame(&sctp(PORT, tag, &chunk(kind::COOKIE_ECHO, 0, &[1; 64]))))?;
            let expected = steering().owner(tag) == worker;
            ensure!(arrived(&outcome, RedirectReason::CookieEcho)? == expected, "tag {tag}, worker {worker}");
            let metadata = outcome.rx_metadata().context("no metadata")?;
            ensure!(metadata.association().is_none() && metadata.slot == NO_SLOT);
        }
    }
    Ok(())
}

#[test]
fn packets_of_an_association_go_where_its_entries_say() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    for worker in 0..u32::from(WORKERS) {
        let mut program = with_socket(worker)?;
        let entry = |slot, worker| TagEntry { slot, generation: slot + 1, worker };
        for (tag, owner) in (100..).zip(0..u32::from(WORKERS)) {
            program.add_tag(TagKey::new(PORT, TagKind::Local, tag), entry(tag, owner))?;
            // The peer of the next one happens to have drawn the same number.
            program.add_tag(TagKey::new(PORT, TagKind::Peer, tag), entry(tag + 500, (owner + 1) % 4))?;
        }
        for (tag, owner) in (100..).zip(0..u32::from(WORKERS)) {
            let ours = program.run(&Ipv4::default().frame(&sctp(PORT, tag, &data_chunk(8))))?;
            ensure!(arrived(&ours, RedirectReason::Association)? == (owner == worker), "tag {tag}");
            let reflected = chunk(kind::ABORT, flags::T, &[]);
            let theirs = program.run(&Ipv4::default().frame(&sctp(PORT, tag, &reflected)))?;
            ensure!(arrived(&theirs, RedirectReason::Association)? == ((owner + 1) % 4 == worker), "tag {tag}");
            let association = |outcome: &Outcome| outcome.rx_metadata().and_then(|metadata| metadata.association());
            ensure!(association(&ours) == Some((tag, tag + 1)), "{ours:?}");
            ensure!(association(&theirs) == Some((tag + 500, tag + 501)), "{theirs:?}");
        }
    }
    Ok(())
}

/// The socket is that of the owner on the queue that the packet came by. A test run takes its queue from an interface, so this
/// needs one with several, in a network namespace of its own.
#[test]
fn each_queue_has_its_own_sockets() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let in_its_own_namespace = std::thread::spawn(|| {
        // SAFETY: concerns this thread alone. The namespace goes with the thread, and the interfaces go with it.
        let unshared = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        ensure!(unshared == 0, "unshare: {}", std::io::Error::last_os_error());
        let arguments = "link add left numrxqueues 3 type veth peer name right numrxqueues 3".split(' ');
        let added = Command::new("ip").args(arguments).status().context("iproute2 is not installed")?;
        ensure!(added.success(), "ip link add: {added}");
        // SAFETY: the name is a terminated string.
        let interface = unsafe { libc::if_nametoindex(c"left".as_ptr()) };
        ensure!(interface != 0, "no interface left: {}", std::io::Error::last_os_error());

        let frame = Ipv4::default().frame(&sctp(PORT, 9, &chunk(kind::COOKIE_ECHO, 0, &[1; 64])));
        let owner = steering().owner(9);
        for queue in 0..3 {
            let program = with_socket(socket_index(queue, owner, WORKERS.into()))?;
            for came_by in 0..3 {
                let context = Context { interface, queue: came_by };
                let outcome = program.run_with(&frame, 0, &context)?;
                let here = arrived(&outcome, RedirectReason::CookieEcho)?;
                ensure!(here == (came_by == queue), "socket on queue {queue}, packet by queue {came_by}");
            }
        }
        Ok(())
    });
    in_its_own_namespace.join().map_err(|panic| anyhow::anyhow!("{panic:?}"))?
}
