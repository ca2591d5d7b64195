//! `cargo xtask fuzz`: every target for some minutes, or one.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use sctp_ebpf_toolchain::{NIGHTLY, tools_directory};
use sctp_lab::peer::workspace;
use sctp_lab::{Process, interrupt, process, tool};
use tabled::builder::Builder;
use tabled::settings::Style;

use crate::cargo::{self, cargo};

/// What to fuzz.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only these targets; see tests/fuzz/README.md.
    targets: Vec<String>,
    /// Seconds for each.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

/// Where the targets are.
const DIRECTORY: &str = "tests/fuzz";

/// How long a fuzzer may take to end after its time is over.
const END: Duration = Duration::from_secs(120);

/// Runs the targets one after the other. What they find lies in `tests/fuzz/artifacts`.
///
/// # Errors
/// If a target finds something, or the tools cannot be had.
pub(crate) fn run(options: &Options) -> Result<()> {
    let all = targets()?;
    if let Some(unknown) = options.targets.iter().find(|target| !all.contains(target)) {
        bail!("there is no target {unknown}; there are {}", all.join(", "));
    }
    let targets = if options.targets.is_empty() { &all } else { &options.targets };
    ensure_tools()?;
    // The core forbids unsafe code, so the address sanitizer would only take time; the assertions find what can go wrong.
    let flags = ["--fuzz-dir", DIRECTORY, "--sanitizer", "none", "--debug-assertions"];
    cargo::run(fuzz("build").args(flags))?;
    let mut table = Builder::default();
    table.push_record(["target", "runs", "runs/s", "finding"]);
    let mut found = 0;
    for target in targets {
        for directory in ["corpus", "artifacts"] {
            std::fs::create_dir_all(workspace().join(DIRECTORY).join(directory).join(target))?;
        }
        let mut command = fuzz("run");
        command.args(flags).arg(target);
        command.args(["corpus", "seeds"].map(|part| format!("{DIRECTORY}/{part}/{target}")));
        command.args(["--", "-print_final_stats=1", "-timeout=20", "-max_len=4096"]);
        command.arg(format!("-max_total_time={}", options.seconds));
        let outcome = follow(target, &mut command, options.seconds)?;
        found += usize::from(outcome.finding.is_some());
        let Outcome { runs, seconds, finding } = outcome;
        let rate = format!("{:.0}", runs as f64 / seconds);
        table.push_record([target.clone(), runs.to_string(), rate, finding.unwrap_or_else(|| "none".to_owned())]);
    }
    println!("{}", table.build().with(Style::sharp()));
    ensure!(
        found == 0,
        "{found} targets have found something; `cargo fuzz run --fuzz-dir {DIRECTORY} TARGET FILE` repeats it"
    );
    Ok(())
}

/// What became of a target's run.
struct Outcome {
    runs: u64,
    seconds: f64,
    /// What it said, and the file that shows it.
    finding: Option<String>,
}

/// The targets that there are.
fn targets() -> Result<Vec<String>> {
    let directory = workspace().join(DIRECTORY).join("fuzz_targets");
    let mut targets = Vec::new();
    for entry in std::fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let path = entry?.path();
        targets.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    targets.sort();
    Ok(targets)
}

/// Installs what is missing: the compiler of the day that the project has chosen, and cargo-fuzz among the workspace's tools.
fn ensure_tools() -> Result<()> {
    if tool::run("rustc", &[&format!("+{NIGHTLY}"), "--version"]).is_err() {
        println!("libFuzzer needs a nightly compiler: installing {NIGHTLY}");
        let mut install = process::here("rustup");
        cargo::run(install.args(["toolchain", "install", NIGHTLY, "--profile", "minimal"]))?;
    }
    if !cargo_fuzz().exists() && !tool::is_installed("cargo-fuzz") {
        println!("cargo-fuzz runs the targets: installing it into {}", cargo::shown(&tools_directory()));
        let mut install = cargo(&["install", "cargo-fuzz", "--locked", "--root"]);
        cargo::run(install.arg(tools_directory().parent().unwrap_or(Path::new("."))))?;
    }
    Ok(())
}

fn cargo_fuzz() -> std::path::PathBuf {
    tools_directory().join("cargo-fuzz")
}

/// A command of cargo-fuzz.
fn fuzz(what: &str) -> std::process::Command {
    let program = Some(cargo_fuzz()).filter(|program| program.exists()).unwrap_or_else(|| "cargo-fuzz".into());
    let mut command = process::here(program);
    command.current_dir(workspace()).args(["fuzz", what]).env("RUSTUP_TOOLCHAIN", NIGHTLY).env_remove("CARGO");
    command
}

/// Runs a target and shows how far it is.
fn follow(target: &str, command: &mut std::process::Command, seconds: u64) -> Result<Outcome> {
    let bar = ProgressBar::new(seconds);
    bar.set_style(ProgressStyle::with_template("{prefix:12} [{bar:40}] {pos}/{len} s")?.progress_chars("=> "));
    bar.set_prefix(target.to_owned());
    let started = Instant::now();
    let mut fuzzer = Process::spawn(command.stdin(Stdio::null()))?;
    while !fuzzer.has_ended()? {
        interrupt::check().inspect_err(|_| bar.abandon())?;
        if started.elapsed() > Duration::from_secs(seconds) + END {
            // What the other targets have found is to be told all the same. It is killed as it is dropped.
            bar.abandon();
            let finding = Some(format!("it was to end {} s ago", END.as_secs()));
            return Ok(Outcome { runs: 0, seconds: started.elapsed().as_secs_f64(), finding });
        }
        bar.set_position(started.elapsed().as_secs().min(seconds));
        std::thread::sleep(Duration::from_millis(200));
    }
    bar.finish_and_clear();
    interrupt::check()?;
    let finished = fuzzer.wait(END)?;
    Ok(outcome(finished.status.success(), &finished.stderr, started.elapsed()))
}

/// Reads what libFuzzer printed.
fn outcome(succeeded: bool, printed: &str, elapsed: Duration) -> Outcome {
    let after = |text: &str| printed.lines().rev().find_map(|line| Some(line.split_once(text)?.1.trim().to_owned()));
    let runs = after("stat::number_of_executed_units:").and_then(|runs| runs.parse().ok()).unwrap_or(0);
    let finding = (!succeeded).then(|| {
        let what = after("SUMMARY:").or_else(|| after("error:")).unwrap_or_else(|| "failed".to_owned());
        let panic = printed.lines().skip_while(|line| !line.contains("panicked at")).nth(1).unwrap_or(&what);
        let file = after("Test unit written to").unwrap_or_else(|| "no input was written".to_owned());
        format!("{panic}\n{file}")
    });
    Outcome { runs, seconds: elapsed.as_secs_f64().max(1.0), finding }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_run_is_counted() {
        let printed = "Done 1000 runs in 11 second(s)\nstat::number_of_executed_units: 1000\nstat::average_exec_per_sec:     90\n";
        let outcome = outcome(true, printed, Duration::from_secs(11));
        assert_eq!((outcome.runs, outcome.finding), (1000, None));
    }

    #[test]
    fn a_finding_names_panic_and_input() {
        let printed = "INFO: seed corpus\n\
            thread '<unnamed>' panicked at src/host.rs:9:5:\nit sends and sends\nnote: run with RUST_BACKTRACE\n\
            SUMMARY: libFuzzer: deadly signal\n\
            artifact_prefix='x/'; Test unit written to x/crash-1\n\
            stat::number_of_executed_units: 17\n";
        let outcome = outcome(false, printed, Duration::from_secs(1));
        assert_eq!(outcome.runs, 17);
        assert_eq!(outcome.finding.as_deref(), Some("it sends and sends\nx/crash-1"));
    }

    #[test]
    fn every_target_has_seeds() {
        for target in targets().unwrap() {
            assert!(workspace().join(DIRECTORY).join("seeds").join(&target).is_dir(), "{target}");
        }
    }
}
