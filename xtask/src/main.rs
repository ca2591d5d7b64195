//! What there is to do around the code: `cargo xtask --help`.
//!
//! This program must be buildable on a machine that has nothing but Rust, because `setup` is one of its commands: it depends
//! on neither the XDP program nor the stack, and drives them as processes.
#![forbid(unsafe_code)]

mod bench;
mod cargo;
mod demo;
mod deploy;
mod fuzz;
mod lab;
mod rfc;
mod setup;
mod soak;
mod test;
mod verify_kernel;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use setup::Purpose;

/// Sets up, builds, demonstrates, tests, measures and installs SCTP over XDP and AF_XDP.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Finds what is missing on this machine and installs it. Quick and silent when all is there.
    Setup,
    /// Builds the `sctp` command, optimised, and the XDP program.
    Build,
    /// Shows two SCTP endpoints talking through XDP and AF_XDP, faults being caught, and a foreign stack taking part.
    Demo(demo::Options),
    /// Brings up two hosts and a cable to try things on, until Ctrl-C.
    Lab(lab::Options),
    /// Runs all checks and tests, the quick ones first.
    Test(test::Options),
    /// Shows which requirements of RFC 9260 are met and tested, where, and which are not.
    Rfc(rfc::Options),
    /// Runs random worlds of the simulated network, as many as you like, on all cores.
    Soak(soak::Options),
    /// Fuzzes parsers, whole associations, cookies and set-ups.
    Fuzz(fuzz::Options),
    /// Has another kernel, Debian's 6.1 by default, verify and run the XDP program, in an emulator.
    VerifyKernel(verify_kernel::Options),
    /// Measures our stack and usrsctp on the same cable.
    Bench(bench::Options),
    /// Installs the `sctp` command here or on another machine.
    Deploy(deploy::Options),
}

fn main() -> ExitCode {
    let outcome =
        sctp_lab::interrupt::catch().map_err(anyhow::Error::from).and_then(|()| run(Arguments::parse().command));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<sctp_lab::interrupt::Interrupted>() => {
            eprintln!("interrupted; everything is cleaned up");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Setup => {
            setup::ensure(Purpose::All)?;
            setup::print_shortcomings()
        }
        Task::Build => cargo::build(),
        Task::Demo(options) => demo::run(&options),
        Task::Lab(options) => lab::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Rfc(options) => rfc::run(&options),
        Task::Soak(options) => soak::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::VerifyKernel(options) => verify_kernel::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Deploy(options) => deploy::run(&options),
    }
}
