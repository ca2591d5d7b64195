//! Random worlds by seed: see `sim`. `cargo xtask soak` runs any number of them.
//!
//! | variable | says |
//! |---|---|
//! | `SCTP_SIM_SEEDS` | how many seeds are run; 2000 without |
//! | `SCTP_SIM_FIRST` | from which on |
//! | `SCTP_SIM_SEED` | that a single one is run |
//! | `SCTP_SIM_PROFILE` | that all associations have this profile: `default`, `rfc`, `signalling` or `ran` |
//! | `SCTP_SIM_PROGRESS` | if set, that lines `done N` tell how many are done |
//!
//! A failing seed prints the rule that was broken, the time, where its capture is, and how to run it again.

mod sim;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use sim::scenario::{self, Profile};
use sim::tally::Tally;

/// Failures after which there is no point in going on.
const MOST_FAILURES: usize = 10;

/// So many seeds are run if nobody says otherwise; they show all there is to be seen.
const ENOUGH_SEEDS: u64 = 2000;

/// Progress is told each time that so many seeds are done.
const STRIDE: u64 = 20;

/// What is to be run.
struct Run {
    first: u64,
    count: u64,
    profile: Option<Profile>,
    tells_progress: bool,
}

#[test]
fn random_worlds_keep_every_invariant() {
    let single = number("SCTP_SIM_SEED");
    let run = Run {
        first: single.or_else(|| number("SCTP_SIM_FIRST")).unwrap_or(0),
        count: if single.is_some() { 1 } else { number("SCTP_SIM_SEEDS").unwrap_or(ENOUGH_SEEDS) },
        profile: setting("SCTP_SIM_PROFILE").map(|name| name.parse().expect("SCTP_SIM_PROFILE names a profile")),
        tells_progress: setting("SCTP_SIM_PROGRESS").is_some(),
    };
    let (tally, mut failed) = run.on_all_cores();
    println!("{tally}");
    failed.sort_unstable();
    assert!(failed.is_empty(), "{} seeds failed, {} kept every invariant: {failed:?}", failed.len(), tally.worlds);
    if run.count >= ENOUGH_SEEDS {
        let missing = tally.missing();
        assert!(missing.is_empty(), "never seen in {} seeds: {missing:?}", run.count);
    }
}

impl Run {
    /// Runs the seeds; gives what has happened, and which failed.
    fn on_all_cores(&self) -> (Tally, Vec<u64>) {
        let taken = AtomicU64::new(0);
        let done = AtomicU64::new(0);
        let failures = AtomicU64::new(0);
        let worker = || {
            let (mut tally, mut failed) = (Tally::default(), Vec::new());
            loop {
                let index = taken.fetch_add(1, Ordering::Relaxed);
                if index >= self.count || failures.load(Ordering::Relaxed) >= MOST_FAILURES as u64 {
                    return (tally, failed);
                }
                let seed = self.first + index;
                let outcome = catch_unwind(AssertUnwindSafe(|| {
                    let mut world = scenario::build(seed, self.profile);
                    scenario::run(&mut world);
                    tally.add(&world);
                }));
                if outcome.is_err() {
                    failures.fetch_add(1, Ordering::Relaxed);
                    failed.push(seed);
                }
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                if self.tells_progress && (done.is_multiple_of(STRIDE) || done == self.count) {
                    println!("done {done}");
                }
            }
        };
        let cores = thread::available_parallelism().map_or(1, usize::from).min(self.count as usize).max(1);
        thread::scope(|scope| {
            let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
            let mut all = (Tally::default(), Vec::new());
            for worker in workers {
                let (tally, failed) = worker.join().expect("panics of worlds are caught");
                all.0.merge(tally);
                all.1.extend(failed);
            }
            all
        })
    }
}

/// Without this, a failing seed could not be run again.
#[test]
fn the_same_seed_gives_the_same_world() {
    let run = |seed| {
        let mut world = scenario::build(seed, None);
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

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let value = setting(name)?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {value:?}")))
}

#[expect(clippy::disallowed_methods, reason = "how many seeds are run is a matter of the run, not of the core")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
