//! The project's own `sctp` command, as a process on a [`Host`].
//!
//! Tests and demonstration drive the stack as its users do: by the command. This crate does not depend on the stack.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::peer::workspace;
use crate::{Host, Process};

/// Names a ready-made `sctp` command, so that nothing is built.
pub const PROGRAM: &str = "SCTP_PROGRAM";

/// How long a server may take to be ready, on a slow and busy machine: loading, verifying and attaching the XDP program among it.
const READY: Duration = Duration::from_secs(120);

/// How long a stack may take to say what it is like.
const STATS: Duration = Duration::from_secs(60);

/// The `sctp` command.
#[derive(Clone, Debug)]
pub struct Sctp {
    program: PathBuf,
}

impl Sctp {
    /// The optimised command, built by cargo unless the environment variable [`PROGRAM`] names one.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn build() -> Result<Self> {
        if let Some(program) = std::env::var_os(PROGRAM) {
            return Ok(Self { program: program.into() });
        }
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(workspace()).args(["build", "--release", "--package", "sctp-user", "--bin", "sctp"]);
        let output = cargo.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "cargo could not build the sctp command (see above)");
        let messages = String::from_utf8_lossy(&output.stdout);
        let program = messages.lines().find_map(executable_named_sctp);
        Ok(Self { program: program.context("cargo does not say where the sctp command is")? })
    }

    /// Where it is.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A subcommand (`["perf", "client"]`) that will run on the interfaces of `host`.
    pub fn command(&self, host: &Host, subcommand: &[&str]) -> Command {
        let mut command = host.namespace.command(&self.program);
        command.args(subcommand);
        for port in host.ports() {
            command.args(["-i", &port.interface]);
        }
        command
    }

    /// Starts a server (`["echo", "-p", "5000"]` less the interface) and waits until it is ready. Returns the line by which
    /// it says so, too.
    ///
    /// # Errors
    /// If it does not get ready: with what it printed on stderr.
    pub fn serve(&self, host: &Host, subcommand: &[&str], options: &[&str]) -> Result<(Process, String)> {
        let mut process = Process::spawn(self.command(host, subcommand).args(options))?;
        let line = process.wait_for_line("listening on", READY)?;
        Ok((process, line))
    }

    /// `sctp perf client` with these options; its progress and its summary are lines of JSON.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn perf_client(&self, host: &Host, server: SocketAddr, options: &[&str]) -> Result<Process> {
        let mut command = self.command(host, &["perf", "client"]);
        Process::spawn(command.arg(server.to_string()).args(options).args(["--json", "--progress", "json"]))
    }

    /// What the stack that runs on the host's interface says of itself.
    ///
    /// # Errors
    /// If none runs there.
    pub fn stats(&self, host: &Host) -> Result<Value> {
        let mut command = host.namespace.command(&self.program);
        let mut process = Process::spawn(command.args(["stats", "-i", &host.interface, "--json"]))?;
        let answer = process.summary(STATS)?;
        // One object for each stack; there is one.
        Ok(match answer {
            Value::Array(stacks) => stacks.into_iter().next().context("no stack answered")?,
            stack => stack,
        })
    }

    /// The counters of the XDP program on the host's interface, by name.
    ///
    /// # Errors
    /// If no stack runs there.
    pub fn counters(&self, host: &Host) -> Result<Counters> {
        Counters::read(&self.stats(host)?["xdp"])
    }
}

/// Counters of an XDP program: how many packets met each fate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// Reads the object `xdp` of statistics and summaries.
    ///
    /// # Errors
    /// If it is none.
    pub fn read(xdp: &Value) -> Result<Self> {
        let object = xdp.as_object().with_context(|| format!("no counters: {xdp}"))?;
        let counters = object.iter().map(|(name, count)| Ok((name.clone(), count.as_u64().context("no number")?)));
        Ok(Self(counters.collect::<Result<_>>()?))
    }

    /// The counter of this name; 0 if it has not counted.
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// What was counted since `earlier`; only counters that moved.
    pub fn since(&self, earlier: &Self) -> Self {
        let moved = self.0.iter().map(|(name, count)| (name.clone(), count.saturating_sub(earlier.get(name))));
        Self(moved.filter(|(_, count)| *count > 0).collect())
    }

    /// Names and counts, by name; only counters that counted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().filter(|(_, count)| **count > 0).map(|(name, count)| (name.as_str(), *count))
    }
}

/// The path in a message of cargo's, if it is about the binary `sctp`.
fn executable_named_sctp(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let target = &message["target"];
    let is_it = target["name"] == "sctp" && target["kind"][0] == "bin";
    is_it.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_executable_is_found_among_cargos_messages() {
        let message = |name, kind| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"name":"{name}","kind":["{kind}"]}},"executable":"/t/sctp"}}"#
            )
        };
        assert_eq!(executable_named_sctp(&message("sctp", "bin")), Some("/t/sctp".into()));
        assert_eq!(executable_named_sctp(&message("sctp", "lib")), None);
        assert_eq!(executable_named_sctp(&message("other", "bin")), None);
        assert_eq!(executable_named_sctp("no message"), None);
    }

    #[test]
    fn counters_are_compared() {
        let before = Counters::read(&json!({"checksum": 1, "not-sctp": 4, "transit": 0})).unwrap();
        let after = Counters::read(&json!({"checksum": 11, "not-sctp": 4, "transit": 0, "zero-tag": 2})).unwrap();
        let moved = after.since(&before);
        assert_eq!(moved.iter().collect::<Vec<_>>(), [("checksum", 10), ("zero-tag", 2)]);
        assert_eq!((moved.get("checksum"), moved.get("not-sctp"), moved.get("absent")), (10, 0, 0));
        assert!(Counters::read(&json!(null)).is_err());
        assert!(Counters::read(&json!({"checksum": "many"})).is_err());
    }
}
