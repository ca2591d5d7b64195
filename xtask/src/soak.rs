//! `cargo xtask soak`: any number of random worlds of the simulated network.

use std::io::Read;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use sctp_lab::{Process, interrupt, process};
use serde_json::Value;

use crate::cargo::{self, cargo};

/// Which worlds.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many seeds.
    #[arg(long, default_value_t = 20_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// The profile of all associations; without, each seed draws one.
    #[arg(long)]
    profile: Option<Profile>,
}

/// The profiles of `AssociationConfig`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Profile {
    Default,
    Rfc,
    Signalling,
    Ran,
}

/// How long no seed may come to its end.
const STALL: Duration = Duration::from_secs(300);

/// How long the rest may take after the last seed.
const END: Duration = Duration::from_secs(60);

/// The test that runs the worlds.
const TEST: &str = "random_worlds_keep_every_invariant";

/// Builds the simulated network with optimisation, and runs the seeds on all cores.
///
/// # Errors
/// If a seed breaks an invariant.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(options.seeds > 0, "at least one seed");
    let Options { seeds, first, profile } = *options;
    let mut command = process::here(build()?);
    command.args([TEST, "--exact", "--nocapture"]).env("SCTP_SIM_PROGRESS", "1");
    command.env("SCTP_SIM_SEEDS", seeds.to_string()).env("SCTP_SIM_FIRST", first.to_string());
    if let Some(profile) = profile.and_then(|profile| profile.to_possible_value()) {
        command.env("SCTP_SIM_PROFILE", profile.get_name());
    }
    let started = Instant::now();
    let mut worlds = Process::spawn(&mut command)?;
    let told = follow(&mut worlds, seeds)?;
    let finished = worlds.wait(END)?;
    if !finished.status.success() {
        eprint!("{}", finished.stderr);
        bail!("not every seed kept every invariant; above: what was broken, where the capture is, how to repeat it");
    }
    told.iter().for_each(|line| println!("{line}"));
    let elapsed = started.elapsed().as_secs_f64();
    println!("seeds {first} to {}: {elapsed:.0} s, {:.0} seeds/s", first + seeds - 1, seeds as f64 / elapsed);
    Ok(())
}

/// Builds the test program, and returns where it is.
fn build() -> Result<PathBuf> {
    let mut build = cargo(&["test", "--profile", "soak", "--package", "sctp-core", "--test", "simulated", "--no-run"]);
    build.args(["--message-format", "json-render-diagnostics"]).stdout(Stdio::piped());
    let mut child = build.spawn().context("cannot start cargo")?;
    let mut messages = String::new();
    child.stdout.take().context("stdout is a pipe")?.read_to_string(&mut messages)?;
    let status = child.wait()?;
    interrupt::check()?;
    ensure!(status.success(), "the simulated network does not compile ({status})");
    let executable = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == "simulated").then(|| message["executable"].as_str().map(PathBuf::from))?
    };
    let program = messages.lines().find_map(executable).context("cargo names no test program")?;
    println!("{}", cargo::shown(&program));
    Ok(program)
}

/// Shows the progress as a bar; gives the other lines.
fn follow(worlds: &mut Process, seeds: u64) -> Result<Vec<String>> {
    let bar = ProgressBar::new(seeds);
    let template = "[{bar:40}] {human_pos}/{human_len} seeds  {per_sec}, {eta} left";
    bar.set_style(ProgressStyle::with_template(template)?.progress_chars("=> "));
    let mut told = Vec::new();
    while let Some(line) = worlds.next_line(STALL).inspect_err(|_| bar.abandon())? {
        match line.strip_prefix("done ").and_then(|done| done.parse().ok()) {
            // Threads may overtake each other between counting and telling.
            Some(done) => bar.set_position(bar.position().max(done)),
            None => told.push(line),
        }
    }
    bar.finish_and_clear();
    interrupt::check()?;
    // The test program's own lines are of no interest.
    told.retain(|line| !line.is_empty() && !line.starts_with("running ") && !line.starts_with("test "));
    Ok(told)
}
