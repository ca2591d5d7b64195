//! `cargo xtask rfc`: which requirements of RFC 9260 are met, where, and which are not.
//!
//! Each MUST and each SHOULD of the RFC is a requirement. Code that meets one cites it, and so does a test that shows it, in the
//! manner of duvet: `//= RFC 9260 §6.1: "…"` and `//= test RFC 9260 §6.1: "…"`. What cannot be cited has a reason in
//! `docs/rfc9260/exceptions.txt`. The list of requirements is made from the text of the RFC, by `--extract`.

mod annotation;
mod coverage;
mod exception;
mod extract;
mod report;
mod requirement;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use sctp_lab::peer::workspace;

use coverage::Coverage;
use requirement::{Level, Requirements};

/// Where requirements and exceptions are.
const REQUIREMENTS: &str = "docs/rfc9260/requirements.txt";
const EXCEPTIONS: &str = "docs/rfc9260/exceptions.txt";

/// Where code and tests are that may cite.
const SOURCES: [&str; 4] = ["sctp-common", "sctp-ebpf", "sctp-user", "tests"];

/// What to show.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Makes the list of requirements anew from the text of RFC 9260 (rfc-editor.org/rfc/rfc9260.txt).
    #[arg(long, value_name = "TEXT")]
    extract: Option<PathBuf>,
    /// Only this section and its subsections, with each requirement and where it is met.
    #[arg(long)]
    section: Option<String>,
    /// Lists the requirements that nobody has cited or explained, and those that are known to be unmet.
    #[arg(long)]
    unmet: bool,
    /// Lists the requirements that are met without a test that says so.
    #[arg(long)]
    untested: bool,
    /// Lists the exceptions with their reasons.
    #[arg(long)]
    excepted: bool,
}

/// Prints the coverage.
///
/// # Errors
/// If a citation or an exception is wrong, or a MUST has neither.
pub(crate) fn run(options: &Options) -> Result<()> {
    let root = workspace();
    if let Some(text) = &options.extract {
        return write_requirements(text, &root.join(REQUIREMENTS));
    }
    let requirements = read(&root.join(REQUIREMENTS), Requirements::parse)?;
    let coverage = cover(root, &requirements)?;
    let shown = report::Shown { unmet: options.unmet, untested: options.untested, excepted: options.excepted };
    match &options.section {
        Some(section) => report::print_section(&coverage, section)?,
        None if shown.any() => report::print_lists(&coverage, shown),
        None => report::print_table(&coverage),
    }
    judge(&coverage)
}

/// `cargo xtask test rfc`: prints the sums alone.
///
/// # Errors
/// As of [`run`].
pub(crate) fn check() -> Result<()> {
    let requirements = read(&workspace().join(REQUIREMENTS), Requirements::parse)?;
    let coverage = cover(workspace(), &requirements)?;
    report::print_sums(&coverage);
    judge(&coverage)
}

fn cover<'r>(root: &Path, requirements: &'r Requirements) -> Result<Coverage<'r>> {
    let exceptions = read(&root.join(EXCEPTIONS), exception::parse)?;
    let mut coverage = Coverage::new(requirements);
    for (path, source) in coverage::sources(root, &SOURCES).context("cannot read the sources")? {
        coverage.add_source(&path, &source);
    }
    coverage.add_exceptions(Path::new(EXCEPTIONS), &exceptions);
    Ok(coverage)
}

fn judge(coverage: &Coverage<'_>) -> Result<()> {
    for error in &coverage.errors {
        eprintln!("{error}");
    }
    let unknown = coverage.unknown(Level::Must).count();
    match (coverage.errors.len(), unknown) {
        (0, 0) => Ok(()),
        (0, unknown) => bail!("{unknown} MUSTs are neither cited nor excepted: `cargo xtask rfc --unmet` lists them"),
        (wrong, _) => bail!("{wrong} citations or exceptions are wrong"),
    }
}

fn write_requirements(text: &Path, list: &Path) -> Result<()> {
    let requirements = read(text, extract::extract)?;
    let head = "# Made from the text of RFC 9260 by `cargo xtask rfc --extract`. Not to be edited.\n\n";
    std::fs::create_dir_all(list.parent().expect("the list is in a folder"))?;
    std::fs::write(list, format!("{head}{requirements}"))
        .with_context(|| format!("cannot write {}", list.display()))?;
    println!("{}: {} requirements", list.display(), requirements.count());
    Ok(())
}

fn read<T>(path: &Path, parse: impl FnOnce(&str) -> Result<T>) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| path.display().to_string())
}
