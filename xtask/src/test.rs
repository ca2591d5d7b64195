//! `cargo xtask test`: everything that must hold, the quick things first.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use sctp_lab::privilege::{NOT_RUN_FILE, in_ci};
use sctp_lab::{Sctp, is_root, tool};
use tabled::builder::Builder;
use tabled::settings::Style;

use crate::cargo::{self, cargo};
use crate::rfc;
use crate::setup::{self, Purpose};

/// What to test.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only these parts [default: all but long].
    parts: Vec<Part>,
    /// Go on after a part has failed.
    #[arg(long)]
    keep_going: bool,
    /// Only tests whose name contains this (parts unit, lab and long).
    #[arg(long)]
    filter: Option<String>,
}

/// The parts, in the order that they run in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Formatting.
    Format,
    /// Each MUST of RFC 9260 is met, or there is a reason.
    Rfc,
    /// The XDP program compiles for its target.
    Ebpf,
    /// Lints, as errors.
    Lint,
    /// Documentation without warnings.
    Docs,
    /// Tests of each crate by itself: units, properties, the simulated network, examples in the documentation.
    Unit,
    /// Tests of several crates: XDP programs in the kernel, AF_XDP on TAP devices and veth pairs, foreign peers.
    Lab,
    /// The same, in minutes rather than seconds: a hundred thousand messages against a kernel that is slow. Only if it is named.
    Long,
}

/// All crates but the XDP program, which does not compile for the host.
const HOST_CRATES: [&str; 3] = ["--workspace", "--exclude", "sctp-ebpf"];

/// The crate whose tests need a laboratory.
const LAB_CRATE: &str = "sctp-tests";

/// Runs the parts.
///
/// # Errors
/// If one of them fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    let parts = options.parts();
    let needs_tools = parts.iter().any(|part| matches!(part, Part::Unit | Part::Lab | Part::Long));
    setup::ensure(if needs_tools { Purpose::Test } else { Purpose::Build })?;
    if in_ci() && !is_root() {
        bail!("in CI every test must run, and many need root");
    }
    let not_run = tempfile::NamedTempFile::new()?;
    let mut report = Vec::new();
    for part in Part::value_variants().iter().filter(|part| parts.contains(part)) {
        println!("\n== {}", part.title());
        let started = Instant::now();
        let outcome = part.run(options, not_run.path());
        let failed = outcome.is_err();
        report.push((*part, started.elapsed(), outcome));
        if failed && !options.keep_going {
            break;
        }
    }
    print_report(&report, parts.len());
    print_not_run(not_run.path())?;
    if options.parts.is_empty() {
        println!("the part long is not among them: cargo xtask test long");
    }
    let failed = report.iter().filter(|(_, _, outcome)| outcome.is_err()).count();
    for (part, _, outcome) in report {
        outcome.with_context(|| {
            if failed > 1 { format!("{failed} parts failed, first {}", part.title()) } else { part.title() }
        })?;
    }
    Ok(())
}

impl Options {
    /// What is to be run.
    fn parts(&self) -> Vec<Part> {
        let by_default = || Part::value_variants().iter().copied().filter(|part| *part != Part::Long).collect();
        if self.parts.is_empty() { by_default() } else { self.parts.clone() }
    }
}

impl Part {
    fn title(self) -> String {
        let value = self.to_possible_value().expect("no part is hidden");
        let help = value.get_help().map(ToString::to_string).unwrap_or_default();
        format!("{}: {help}", self.name())
    }

    fn name(self) -> String {
        self.to_possible_value().expect("no part is hidden").get_name().to_owned()
    }

    fn run(self, options: &Options, not_run: &Path) -> Result<()> {
        match self {
            Self::Format => cargo::run(&mut cargo(&["fmt", "--all", "--check"])),
            Self::Rfc => rfc::check(),
            Self::Ebpf => cargo::build_object().map(drop),
            Self::Lint => {
                let mut clippy = cargo(&["clippy", "--all-targets"]);
                cargo::run(clippy.args(HOST_CRATES).args(["--", "-D", "warnings"]))
            }
            Self::Docs => {
                let mut doc = cargo(&["doc", "--no-deps", "--document-private-items"]);
                cargo::run(doc.args(HOST_CRATES).env("RUSTDOCFLAGS", "-D warnings"))
            }
            Self::Unit => {
                let but_lab = [&HOST_CRATES[..], &["--exclude", LAB_CRATE]].concat();
                run_tests(&but_lab, Which::Usual, options, not_run, |_| {})?;
                // nextest does not run the examples in the documentation.
                let mut examples = cargo(&["test", "--doc"]);
                if has_nextest() && options.filter.is_none() { cargo::run(examples.args(HOST_CRATES)) } else { Ok(()) }
            }
            Self::Lab => run_lab_tests(Which::Usual, options, not_run),
            Self::Long => run_lab_tests(Which::Ignored, options, not_run),
        }
    }
}

/// Which tests of a crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    /// Those that are not marked.
    Usual,
    /// Those with `#[ignore]`, because they take long.
    Ignored,
}

/// Runs the tests that need a laboratory.
fn run_lab_tests(which: Which, options: &Options, not_run: &Path) -> Result<()> {
    // Built here, once, and not under the first test's time limit.
    let sctp = Sctp::build()?;
    run_tests(&["--package", LAB_CRATE], which, options, not_run, |tests| {
        tests.env(sctp_lab::sctp::PROGRAM, sctp.program());
    })
}

/// Runs the tests of some crates, with nextest where it is installed, in an environment that `prepare` adds to.
fn run_tests(
    crates: &[&str],
    which: Which,
    options: &Options,
    not_run: &Path,
    prepare: impl FnOnce(&mut Command),
) -> Result<()> {
    let ignored = which == Which::Ignored;
    let mut command = if has_nextest() {
        let mut command = cargo(&["nextest", "run", "--no-tests", "warn"]);
        command.args(crates).args(["--profile", if in_ci() { "ci" } else { "default" }]);
        command.args(ignored.then_some(["--run-ignored", "only"]).into_iter().flatten()).args(&options.filter);
        command
    } else {
        let mut command = cargo(&["test"]);
        command.args(crates).args(&options.filter).args(ignored.then_some(["--", "--ignored"]).into_iter().flatten());
        command
    };
    prepare(command.env(NOT_RUN_FILE, not_run));
    cargo::run(&mut command)
}

fn has_nextest() -> bool {
    tool::is_installed("cargo-nextest")
}

fn print_report(report: &[(Part, Duration, Result<()>)], wanted: usize) {
    let mut table = Builder::default();
    table.push_record(["part", "result", "seconds"]);
    for (part, elapsed, outcome) in report {
        let result = if outcome.is_ok() { "passed" } else { "FAILED" };
        table.push_record([part.name(), result.to_owned(), format!("{:.0}", elapsed.as_secs_f64())]);
    }
    println!("\n{}", table.build().with(Style::sharp()));
    if report.len() < wanted {
        println!("{} more were not begun; --keep-going runs all", wanted - report.len());
    }
}

/// Lists the tests that could not run. In CI such a test has failed instead.
fn print_not_run(file: &Path) -> Result<()> {
    let names = std::fs::read_to_string(file)?;
    if !names.is_empty() {
        println!("{} tests DID NOT RUN, because they need root:", names.lines().count());
        names.lines().for_each(|name| println!("  {name}"));
        println!("run all: sudo -E env PATH=\"$PATH\" cargo xtask test");
    }
    Ok(())
}
