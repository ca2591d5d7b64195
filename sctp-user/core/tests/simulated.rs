//! Random worlds by seed: see `sim`.
//!
//! `SCTP_SIM_SEEDS` says how many seeds are run (300 without), `SCTP_SIM_FIRST` from which on, `SCTP_SIM_SEED` names a single
//! one. A failing seed prints the rule that was broken, the time, where its capture is, and how to run it again.

mod sim;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use sim::packet::chunk_types;
use sim::scenario;
use sim::world::World;

/// Failures after which there is no point in going on.
const MOST_FAILURES: usize = 10;

/// So many seeds show all there is to be seen.
const ENOUGH_SEEDS: u64 = 300;

/// What must have happened in so many seeds; what never happens is not tested.
const EXPECTED: [&str; 33] = [
    "Accepted",
    "Closed by LocalAbort",
    "Closed by PeerAbort",
    "Closed by Shutdown",
    "Closed by Unreachable",
    "Connected",
    "MessageReceived",
    "PathChanged",
    "PeerShutdown",
    "Restarted",
    "SendFailed",
    "Writable",
    "Corrupted packet",
    "Cut packet",
    "Duplicated packet",
    "Lost packet",
    "Passed packet",
    "QueueFull packet",
    "injected packet",
    "ABORT chunk",
    "COOKIE ACK chunk",
    "COOKIE ECHO chunk",
    "DATA chunk",
    "HEARTBEAT chunk",
    "HEARTBEAT ACK chunk",
    "INIT chunk",
    "INIT ACK chunk",
    "SACK chunk",
    "SHUTDOWN chunk",
    "SHUTDOWN ACK chunk",
    "SHUTDOWN COMPLETE chunk",
    "IPv4 packet",
    "IPv6 packet",
];

#[test]
fn random_worlds_keep_every_invariant() {
    let single = setting("SCTP_SIM_SEED");
    let first = single.or_else(|| setting("SCTP_SIM_FIRST")).unwrap_or(0);
    let count = if single.is_some() { 1 } else { setting("SCTP_SIM_SEEDS").unwrap_or(ENOUGH_SEEDS) };
    let mut tally = Tally::default();
    let mut failed = Vec::new();
    for seed in first..first + count {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let mut world = scenario::build(seed);
            scenario::run(&mut world);
            tally.add(&world);
        }));
        if outcome.is_err() {
            failed.push(seed);
            if failed.len() == MOST_FAILURES {
                break;
            }
        }
    }
    println!("{tally}");
    assert!(failed.is_empty(), "{} seeds failed after {}: {failed:?}", failed.len(), tally.worlds);
    if count >= ENOUGH_SEEDS {
        let missing: Vec<_> = EXPECTED.iter().filter(|kind| !tally.seen.contains_key(**kind)).collect();
        assert!(missing.is_empty(), "never seen in {count} seeds: {missing:?}");
    }
}

/// Without this, a failing seed could not be run again.
#[test]
fn the_same_seed_gives_the_same_world() {
    let run = |seed| {
        let mut world = scenario::build(seed);
        scenario::run(&mut world);
        let packets =
            world.packets.iter().map(|packet| (packet.at, packet.source, packet.destination, packet.bytes.clone()));
        packets.collect::<Vec<_>>()
    };
    for seed in 1000..1010 {
        assert!(run(seed) == run(seed), "seed {seed}");
    }
    assert!(run(1000) != run(1001));
}

/// What has happened in all worlds.
#[derive(Default)]
struct Tally {
    worlds: u64,
    packets: usize,
    sent: usize,
    delivered: usize,
    seen: BTreeMap<String, u64>,
}

impl Tally {
    fn add(&mut self, world: &World) {
        self.worlds += 1;
        self.packets += world.packets.len();
        for flow in 0..world.ledger.flows.len() {
            self.sent += world.ledger.flows[flow].messages.len();
            self.delivered += world.ledger.delivered_count(flow);
        }
        for (_, event) in world.sides.iter().flat_map(|side| &side.events) {
            let name = match event {
                sctp_core::Event::Closed { reason } => format!("Closed by {}", variant(reason)),
                event => variant(event),
            };
            self.count(name);
        }
        for packet in &world.packets {
            self.count(if packet.destination.is_ipv4() { "IPv4 packet" } else { "IPv6 packet" }.to_owned());
            if packet.from.is_none() {
                self.count("injected packet".to_owned());
                continue;
            }
            self.count(format!("{:?} packet", packet.fate));
            for kind in chunk_types(&packet.bytes) {
                self.count(format!("{kind} chunk"));
            }
        }
    }

    fn count(&mut self, name: String) {
        *self.seen.entry(name).or_default() += 1;
    }
}

/// The name of an enum's variant.
fn variant(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.split([' ', '{', '(']).next().unwrap_or_default().to_owned()
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { worlds, packets, sent, delivered, seen } = self;
        writeln!(
            f,
            "{worlds} seeds kept every invariant: {packets} packets, {delivered} of {sent} messages delivered"
        )?;
        seen.iter().try_for_each(|(name, count)| writeln!(f, "{count:>10} {name}"))
    }
}

/// A number from the environment.
#[expect(clippy::disallowed_methods, reason = "how many seeds are run is a matter of the run, not of the core")]
fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {value:?}")))
}
