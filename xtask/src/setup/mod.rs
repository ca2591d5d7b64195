//! `cargo xtask setup`: what is missing is found, named and installed; where all is there it is quick and silent.

mod facts;
mod needs;
mod plan;

use std::process::Command;

use anyhow::{Result, bail, ensure};
use sctp_lab::{interrupt, is_root, kernel};

pub(crate) use needs::Purpose;
use plan::{Plan, Rustup, Step};

/// The oldest kernel that is expected to work: the README gives the reasons.
pub(crate) const OLDEST_KERNEL: (u32, u32) = (5, 15);

/// Sees to it that everything for `purpose` is there.
///
/// # Errors
/// If something is missing that cannot be installed, or not without root: then the commands to run have been printed.
pub(crate) fn ensure(purpose: Purpose) -> Result<()> {
    if purpose >= Purpose::Lab {
        check_kernel()?;
    }
    let mut rustup = Rustup::Absent;
    // Each round installs something, or is the last: packages, compiler, linker, and a second way for the compiler.
    for _ in 0..5 {
        let facts = facts::gather(purpose, rustup)?;
        let plan = plan::plan(&facts);
        if plan.is_empty() {
            return Ok(());
        }
        announce(&plan);
        if !plan.by_hand.is_empty() {
            bail!("something is missing that this command cannot install (see above)");
        }
        if !is_root() && plan.steps.iter().any(|step| step.root) {
            bail!("not root: run the commands above, then this one again");
        }
        for step in &plan.steps {
            interrupt::check()?;
            if let Err(error) = carry_out(step) {
                ensure!(step.may_fail, error);
                eprintln!("{error:#}: trying another way");
                rustup = Rustup::Failed;
                break;
            }
        }
    }
    bail!("something is still missing after everything was installed: `cargo xtask setup` says what")
}

/// Says what is missing that the rest works without.
pub(crate) fn print_shortcomings() -> Result<()> {
    let facts = facts::gather(Purpose::All, Rustup::Absent)?;
    for line in plan::plan(&facts).without {
        println!("note: {line}");
    }
    Ok(())
}

/// Refuses kernels that cannot work, with the reason.
fn check_kernel() -> Result<()> {
    let (version, release) = kernel::version()?;
    let (major, minor) = OLDEST_KERNEL;
    ensure!(
        version >= OLDEST_KERNEL,
        "the running kernel {release} is too old: {major}.{minor} is the oldest with all that AF_XDP and the XDP program need"
    );
    ensure!(kernel::has_af_xdp(), "the running kernel {release} has no AF_XDP sockets: it needs CONFIG_XDP_SOCKETS=y");
    Ok(())
}

/// Says what will be done, and why.
fn announce(plan: &Plan) {
    let as_typed = |step: &Step, command: &str| match command.split_once(' ') {
        Some((first, _)) if step.root && !is_root() && first.contains('=') => format!("sudo env {command}"),
        _ if step.root && !is_root() => format!("sudo {command}"),
        _ => command.to_owned(),
    };
    if !plan.steps.is_empty() {
        println!("Some things are missing. What will be done:");
    }
    for step in &plan.steps {
        println!("  # {}", step.why);
        for command in &step.commands {
            println!("  {}", as_typed(step, command));
        }
    }
    for line in &plan.by_hand {
        println!("  to be done by hand: {line}");
    }
}

fn carry_out(step: &Step) -> Result<()> {
    for command in &step.commands {
        println!("\n$ {command}");
        // Through a shell, so that what runs is what was announced.
        let status = Command::new("sh").args(["-c", command]).status()?;
        ensure!(status.success(), "`{command}` failed ({status})");
    }
    Ok(())
}
