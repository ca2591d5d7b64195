//! Tests of several crates together; what they share.
//!
//! * `lab_*`: our stack on both ends of a cable, driven by the `sctp` command.
//! * `usrsctp_*`, `kernel_*`: the same against usrsctp and the Linux kernel, stacks that nobody here wrote.
//! * `foreign_*`: what both of them are put through in the same way: ends, restarts, faults, several paths, a path that
//!   becomes narrow.
//! * `datapath_*`: AF_XDP sockets on TAP devices and veth pairs.
//! * `xdp_program*`: the XDP program, run by the kernel on frames that the test gives it.
//!
//! Most need root; they say so and do not run without it, and fail in CI (`sctp_lab::require_root`).

pub mod foreign;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use sctp_lab::process::Finished;
use sctp_lab::veth::Family;
use sctp_lab::{Host, Pair, PairConfig, Process, Sctp};
use serde_json::Value;

// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// The port that servers of the tests listen on.
pub const PORT: u16 = 5000;

/// How long anything that ends may take, on a slow and busy machine.
pub const LONG: Duration = Duration::from_secs(300);

/// How long a server may take to end.
pub const STOP: Duration = Duration::from_secs(60);

/// Two hosts and a cable, and the command to run on them.
#[derive(Debug)]
pub struct Lab {
    /// The `sctp` command.
    pub sctp: Sctp,
    /// The hosts: clients on the left, servers on the right.
    pub pair: Pair,
}

impl Lab {
    /// Makes it.
    ///
    /// # Errors
    /// If the command cannot be built or the hosts cannot be made.
    pub fn new(label: &str, queues: u16) -> Result<Self> {
        Self::with(label, &PairConfig { queues, ..PairConfig::default() })
    }

    /// Makes it with other cables.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with(label: &str, config: &PairConfig) -> Result<Self> {
        Ok(Self { sctp: Sctp::build()?, pair: Pair::create(label, config)? })
    }

    /// Starts our server on the right.
    ///
    /// # Errors
    /// If it does not get ready.
    pub fn serve(&self, subcommand: &[&str], options: &[&str]) -> Result<Process> {
        let port = PORT.to_string();
        Ok(self.sctp.serve(&self.pair.right, subcommand, &[&["-p", &port], options].concat())?.0)
    }

    /// Runs our client on the left to its end, and returns its summary if every message was verified.
    ///
    /// # Errors
    /// If it fails, or a message was lost or changed.
    pub fn perf_client(&self, family: Family, options: &[&str]) -> Result<Value> {
        let address = self.pair.right.socket_address(family, PORT);
        let summary = self.sctp.perf_client(&self.pair.left, address, options)?.summary(LONG)?;
        let sound = summary["mismatched"] == 0 && summary["lost"] == 0 && summary["verified"] == summary["sent"];
        ensure!(sound, "messages were lost or changed: {summary}");
        Ok(summary)
    }

    /// What the first association of the stack on this host is like now; waits until there is a stack, and an association of which
    /// `wanted` holds.
    ///
    /// # Errors
    /// If there is none in time.
    pub fn association(&self, host: &Host, mut wanted: impl FnMut(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + LONG;
        loop {
            let stats = self.sctp.stats(host);
            if let Ok(stats) = &stats
                && let association = &stats["associations"][0]
                && !association.is_null()
                && wanted(association)
            {
                return Ok(association.clone());
            }
            ensure!(Instant::now() < deadline, "no association is as wanted: {stats:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A usrsctp program on a host, bound to the host's address.
    pub fn usrsctp(
        &self,
        host: &Host,
        family: Family,
        program: &std::path::Path,
        options: &[&str],
    ) -> std::process::Command {
        let mut command = host.namespace.command(program);
        command.args(["--port", &PORT.to_string(), "--local", &host.address(family).to_string()]).args(options);
        command
    }
}

/// Has our client end, which would go on for long, and returns its summary if it was well until then.
///
/// # Errors
/// If it has failed, or a message was lost or changed.
pub fn interrupt(mut client: Process) -> Result<Value> {
    let summary = client.stop(LONG)?.summary()?;
    let sound = summary["mismatched"] == 0 && summary["lost"] == 0 && summary["verified"] == summary["sent"];
    let interrupted = summary["error"].as_str().is_some_and(|error| error.ends_with("interrupted"));
    ensure!(sound && interrupted, "the client is not content: {summary}");
    Ok(summary)
}

/// True of an association that has received some messages.
pub fn is_in_use(association: &Value) -> bool {
    association["counters"]["messages_received"].as_u64() > Some(10)
}

/// Asks a server to end, and fails if it does not end well.
///
/// # Errors
/// If its exit status is not 0.
pub fn stop(mut server: Process) -> Result<Finished> {
    let finished = server.stop(STOP)?;
    ensure!(finished.status.success(), "the server ended with {}: {}", finished.status, finished.stderr.trim());
    Ok(finished)
}
