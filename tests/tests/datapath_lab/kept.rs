//! Programs that outlive their process, and are replaced while they run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sctp_lab::{BpfFs, Namespace, Pair, PairConfig, require_root};
use sctp_user::datapath::Link as _;
use sctp_user::datapath::xdp::{AttachMode, Control, XdpConfig, XdpInterfaces, kept};

use crate::support::{LONG, QUIET, TAG, Wire, assert_all_home, config, data, open, receive};

fn kept_config(bpffs: &BpfFs, interface: &str, workers: u16) -> XdpConfig {
    XdpConfig { keep: Some(bpffs.path().join("sctp")), ..config(interface, workers) }
}

/// The id of the program on an interface, as the kernel tells it.
fn attached(namespace: &Namespace, interface: &str) -> Result<Option<u64>> {
    let links: serde_json::Value = serde_json::from_str(&namespace.ip(&["-j", "link", "show", interface])?)?;
    Ok(links[0]["xdp"]["prog"]["id"].as_u64())
}

/// The counters that are not zero.
fn counted(control: &Control) -> Result<BTreeMap<&'static str, u64>> {
    let counters = control.counters()?.into_iter();
    Ok(counters.filter(|(_, count)| *count > 0).map(|(verdict, count)| (verdict.name(), count)).collect())
}

#[test]
fn a_program_goes_with_its_process_unless_it_is_kept() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let wire = Wire::new("dp-goes")?;
    drop(open(&wire.namespace, &config("tap0", 1))?);
    ensure!(attached(&wire.namespace, "tap0")?.is_none(), "it is still attached");
    let bpffs = BpfFs::mount()?;
    drop(open(&wire.namespace, &kept_config(&bpffs, "tap0", 1))?);
    let first = attached(&wire.namespace, "tap0")?.context("it is attached")?;

    // Nobody's any more: who wants the interface without taking it over is told what to do.
    let refused = wire.namespace.run(|| XdpInterfaces::open(&config("tap0", 1)).map(drop));
    let sentence = refused.expect_err("a program is attached").to_string();
    assert!(sentence.ends_with("or has left it there (`sctp xdp detach -i tap0`)"), "{sentence}");
    let programs = wire.namespace.run(|| kept::list(&bpffs.path().join("sctp")))?;
    assert_eq!(programs.len(), 1);
    assert_eq!((programs[0].interface.as_str(), u64::from(programs[0].program)), ("tap0", first));
    assert_eq!((programs[0].native, programs[0].in_use, programs[0].replaceable), (true, false, true));

    let removed = wire.namespace.run(|| kept::remove(&bpffs.path().join("sctp"), "tap0"))?;
    assert!(removed && attached(&wire.namespace, "tap0")?.is_none());
    let removed = wire.namespace.run(|| kept::remove(&bpffs.path().join("sctp"), "tap0"))?;
    assert!(!removed, "there is nothing left");
    drop(open(&wire.namespace, &config("tap0", 1))?);
    Ok(())
}

#[test]
fn the_next_process_takes_the_program_over_with_its_counters_and_without_its_associations() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let wire = Wire::new("dp-over")?;
    let bpffs = BpfFs::mount()?;
    let config = kept_config(&bpffs, "tap0", 1);
    let frame = wire.inbound(TAG, data(1, 100)).build();
    let (control, mut links) = open(&wire.namespace, &config)?;
    wire.tap.send(0, &frame)?;
    assert_eq!(receive(&mut links[0], 1, LONG)?.len(), 1);
    let first = attached(&wire.namespace, "tap0")?;
    // As by a crash: ports and tags stay in the maps, the sockets go.
    drop((control, links));
    wire.tap.send(0, &frame)?;

    let (control, mut links) = wire.namespace.run(|| XdpInterfaces::open(&config))?;
    let second = attached(&wire.namespace, "tap0")?;
    assert!(second.is_some() && second != first, "{first:?}, {second:?}");
    wire.tap.send(0, &frame)?;
    assert_eq!(receive(&mut links[0], 1, QUIET)?, [], "the port belongs to nobody");
    control.own_port(crate::support::PORT, true)?;
    control.set_addresses(&control.local_addresses())?;
    wire.tap.send(0, &frame)?;
    assert_eq!(receive(&mut links[0], 1, QUIET)?, [], "the tag belongs to nobody");
    let counters = counted(&control)?;
    for (name, count) in [("association", 1), ("no-socket", 1), ("port-not-owned", 1), ("abort", 1)] {
        assert_eq!(counters.get(name), Some(&count), "{name}: {counters:?}");
    }
    drop((control, links));

    // Two workers need a larger map of sockets; the counters are of queues.
    let (control, mut links) = open(&wire.namespace, &kept_config(&bpffs, "tap0", 2))?;
    wire.tap.send(0, &frame)?;
    let mut seen = 0;
    for link in &mut links {
        seen += receive(link, 1, QUIET)?.len();
    }
    let association = counted(&control)?.get("association").copied();
    assert_eq!((seen, association), (1, Some(2)));
    // The maps that are kept now are those of the program that runs now.
    wire.namespace.run(|| kept::replace(&bpffs.path().join("sctp"), "tap0"))?;
    wire.tap.send(0, &frame)?;
    let mut seen = 0;
    for link in &mut links {
        seen += receive(link, 1, QUIET)?.len();
    }
    assert_eq!(seen, 1, "the tag is still known");
    Ok(())
}

#[test]
fn a_place_has_one_stack() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let wire = Wire::new("dp-place")?;
    let bpffs = BpfFs::mount()?;
    let config = kept_config(&bpffs, "tap0", 1);
    let root = bpffs.path().join("sctp");
    let _open = open(&wire.namespace, &config)?;
    let sentence = "another stack runs on tap0: stop it first (`sctp stats -i tap0` shows it)";
    let refused = wire.namespace.run(|| XdpInterfaces::open(&config).map(drop)).expect_err("one runs");
    assert_eq!(refused.to_string(), sentence);
    assert_eq!(wire.namespace.run(|| kept::remove(&root, "tap0")).expect_err("one runs").to_string(), sentence);
    assert!(wire.namespace.run(|| kept::list(&root))?[0].in_use);
    Ok(())
}

#[test]
fn what_cannot_be_opened_is_not_kept() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let wire = Wire::new("dp-unkept")?;
    let bpffs = BpfFs::mount()?;
    let config = XdpConfig {
        attach: AttachMode::Generic,
        copy: sctp_user::datapath::xdp::CopyPolicy::ZeroCopy,
        ..kept_config(&bpffs, "tap0", 1)
    };
    wire.namespace.run(|| XdpInterfaces::open(&config)).expect_err("there is no zero-copy");
    ensure!(attached(&wire.namespace, "tap0")?.is_none(), "it is still attached");
    let nothing = wire.namespace.run(|| kept::replace(&bpffs.path().join("sctp"), "tap0")).expect_err("nothing");
    assert!(nothing.to_string().starts_with("no program of this stack is kept on tap0 under "), "{nothing}");
    Ok(())
}

#[test]
fn a_program_is_replaced_under_traffic_without_the_loss_of_a_packet() -> Result<()> {
    const REPLACEMENTS: u32 = 5;
    if !require_root() {
        return Ok(());
    }
    let wire = Wire::new("dp-swap")?;
    let bpffs = BpfFs::mount()?;
    let (control, mut links) = open(&wire.namespace, &kept_config(&bpffs, "tap0", 1))?;
    let frame = wire.inbound(TAG, data(1, 100)).build();
    let done = AtomicBool::new(false);
    let (sent, seen, programs) = thread::scope(|scope| -> Result<_> {
        let replacing = scope.spawn(|| -> Result<Vec<u32>> {
            let replace = || wire.namespace.run(|| kept::replace(&bpffs.path().join("sctp"), "tap0"));
            let programs = (0..REPLACEMENTS).map(|_| Ok(replace()?.after)).collect();
            done.store(true, Ordering::Release);
            programs
        });
        let (mut sent, mut seen) = (0_u64, 0_u64);
        while !replacing.is_finished() && !done.load(Ordering::Acquire) {
            for _ in 0..32 {
                wire.tap.send(0, &frame)?;
                sent += 1;
            }
            seen += links[0].receive(64, &mut |_| {})? as u64;
            // The verifier needs the CPU, too.
            thread::sleep(Duration::from_micros(200));
        }
        while seen < sent {
            let more = receive(&mut links[0], 1, LONG)?.len() as u64;
            ensure!(more > 0, "{seen} of {sent} packets were received");
            seen += more;
        }
        Ok((sent, seen, replacing.join().expect("the replacements end")?))
    })?;
    assert_eq!(sent, seen);
    let last = attached(&wire.namespace, "tap0")?;
    assert_eq!(programs.len() as u32, REPLACEMENTS);
    assert_eq!(last, programs.last().copied().map(u64::from));
    let counters = counted(&control)?;
    assert_eq!(counters.get("association"), Some(&sent), "{counters:?}");
    let drops = control.counters()?.into_iter().filter(|(verdict, count)| verdict.action() == "drop" && *count > 0);
    assert_eq!(drops.collect::<Vec<_>>(), []);
    assert_all_home(&control, &mut links)
}

#[test]
fn several_interfaces_are_kept_and_given_back_together() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let pair = Pair::create("dp-both", &PairConfig { cables: 2, ..PairConfig::default() })?;
    let bpffs = BpfFs::mount()?;
    let namespace = &pair.left.namespace;
    let names: Vec<String> = pair.left.ports().iter().map(|port| port.interface.clone()).collect();
    assert_eq!(names.len(), 2);
    let config = XdpConfig { interfaces: names.clone(), ..kept_config(&bpffs, "", 1) };
    let first = open(namespace, &config)?;
    assert_eq!(first.0.mode().interfaces.len(), 2);
    drop(first);
    let root = bpffs.path().join("sctp");
    let programs = namespace.run(|| kept::list(&root))?;
    assert_eq!(programs.iter().map(|program| &program.interface).collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
    // Both are taken over, or none: the second one's program is somebody else's now.
    namespace.run(|| kept::remove(&root, &names[1]))?;
    let stranger = namespace.run(|| crate::stranger::Stranger::attach("somebody_else", &names[1]))?;
    let refused = namespace.run(|| XdpInterfaces::open(&config).map(drop)).expect_err("one is taken").to_string();
    assert!(refused.contains(&format!("attached to {} by program somebody_else", names[1])), "{refused}");
    drop(stranger);
    drop(open(namespace, &config)?);
    for name in &names {
        assert!(namespace.run(|| kept::remove(&root, name))?);
        ensure!(attached(namespace, name)?.is_none(), "{name} has a program still");
    }
    Ok(())
}
