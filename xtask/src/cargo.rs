//! Runs cargo for the workspace.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use sctp_ebpf_toolchain::Toolchain;
use sctp_lab::peer::{target_directory, workspace};
use sctp_lab::{Sctp, interrupt, tool};

use crate::setup::{self, Purpose};

/// `cargo xtask build`: the `sctp` command, optimised, and the XDP program as a file beside it.
pub(crate) fn build() -> Result<()> {
    setup::ensure(Purpose::Build)?;
    let started = Instant::now();
    let sctp = Sctp::build()?;
    let object = build_object()?;
    println!("{}  the sctp command, with the XDP program in it", shown(sctp.program()));
    println!("{}  the XDP program alone", shown(&object));
    println!("built in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// A cargo command in the workspace.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace()).args(arguments);
    command
}

/// Runs a command to its end with its output shown.
///
/// # Errors
/// If it cannot be started or fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = tool::command_line(command);
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    interrupt::check()?;
    ensure!(status.success(), "`{line}` failed ({status})");
    Ok(())
}

/// Builds the XDP program as a file of its own.
pub(crate) fn build_object() -> Result<PathBuf> {
    let toolchain = Toolchain::find()?;
    Ok(toolchain.build(&target_directory().join("ebpf"))?)
}

/// A path as short as it can be said from the workspace.
pub(crate) fn shown(path: &Path) -> String {
    path.strip_prefix(workspace()).unwrap_or(path).display().to_string()
}

/// Refuses to go on without root, and says what to type.
pub(crate) fn require_root(command: &str) -> Result<()> {
    if !sctp_lab::is_root() {
        bail!("network namespaces and XDP need root: run `sudo -E env PATH=\"$PATH\" cargo xtask {command}`");
    }
    Ok(())
}
