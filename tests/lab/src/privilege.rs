//! Tests that need root: they run, or they say that they did not.

use std::io::Write;

use crate::sys;

/// Where [`require_root`] notes the tests that did not run, one name a line, so that whoever started them can list them.
pub const NOT_RUN_FILE: &str = "SCTP_LAB_NOT_RUN";

/// True if the program runs as root.
pub fn is_root() -> bool {
    sys::effective_uid() == 0
}

/// The first line of every test that needs root: `if !sctp_lab::require_root() { return; }`.
///
/// Without root it says on stderr that the test did not run and returns false. In CI (environment variable `CI`) that is a
/// failure.
///
/// # Panics
/// In CI without root.
#[must_use = "without root the test must end here"]
pub fn require_root() -> bool {
    if is_root() {
        return true;
    }
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("?");
    assert!(!in_ci(), "{test} needs root (network namespaces, XDP), and in CI every test must run");
    // Not eprintln!, which the test harness captures.
    let _ = writeln!(std::io::stderr(), "DID NOT RUN: {test} needs root; use `sudo -E cargo xtask test`");
    if let Some(path) = std::env::var_os(NOT_RUN_FILE)
        && let Ok(mut file) = std::fs::OpenOptions::new().append(true).create(true).open(path)
    {
        let _ = writeln!(file, "{test}");
    }
    false
}

/// True if the environment says that this is a continuous-integration run.
pub fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}
