//! A stack that nobody here wrote, on the right of a [`Lab`]; ours is on the left. One text of a test serves for all of them.

use anyhow::{Result, ensure};
use sctp_lab::process::Finished;
use sctp_lab::uml::Guest;
use sctp_lab::veth::Family;
use sctp_lab::{Cable, PairConfig, Process, Sctp, peer};
use serde_json::Value;

use crate::{LONG, Lab, PORT};

/// Which stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// usrsctp, the library of FreeBSD's stack, over raw sockets.
    Usrsctp,
    /// The Linux kernel's, in User-Mode Linux: see [`sctp_lab::uml`].
    Kernel,
}

/// Timers of the profile `ran`, as the peers take them: RTO, heartbeats and path retransmissions.
pub const RAN_TIMERS: [&str; 2] = ["--timers", "120/120/500/1000/2"];

/// Our stack on the left, a foreign one on the right.
#[derive(Debug)]
pub struct Foreign {
    // Ends before the namespaces do.
    guest: Option<Guest>,
    /// The hosts and the cables.
    pub lab: Lab,
}

impl Foreign {
    /// Makes the hosts and, for the kernel, boots it: so one of these serves for many runs.
    ///
    /// # Errors
    /// If the hosts cannot be made, or the kernel does not come up.
    pub fn new(stack: Stack, label: &str, config: &PairConfig) -> Result<Self> {
        let lab = Lab::with(label, config)?;
        let guest = match stack {
            Stack::Usrsctp => None,
            Stack::Kernel => Some(Guest::in_place_of(&lab.pair.right)?),
        };
        Ok(Self { guest, lab })
    }

    /// The guest, where the peer is a kernel.
    pub fn guest(&self) -> Option<&Guest> {
        self.guest.as_ref()
    }

    /// The first cable, of a pair that was made with faulty ones.
    ///
    /// # Panics
    /// If it was not.
    pub fn cable(&self) -> &Cable {
        &self.lab.pair.cables[0]
    }

    /// Our command.
    pub fn sctp(&self) -> &Sctp {
        &self.lab.sctp
    }

    /// Starts the peer's program with these words.
    fn spawn(&self, server: bool, words: &[&str]) -> Result<Process> {
        match &self.guest {
            Some(guest) => guest.spawn(&[&[if server { "kernel_server" } else { "kernel_client" }], words].concat()),
            None => {
                let program = if server { peer::usrsctp_server() } else { peer::usrsctp_client() }?;
                Process::spawn(self.lab.pair.right.namespace.command(program).args(words))
            }
        }
    }

    /// `--local` with each of the peer's addresses.
    fn local(&self, family: Family) -> Vec<String> {
        let addresses = self.lab.pair.right.addresses(family);
        addresses.iter().flat_map(|address| ["--local".to_owned(), address.to_string()]).collect()
    }

    /// `--local-address` with each of ours of this family. Else the other family's are announced too, which usrsctp takes for paths
    /// even where it is bound to addresses of this one alone, cannot send to, and takes for lost.
    pub fn our_addresses(&self, family: Family) -> Vec<String> {
        let addresses = self.lab.pair.left.addresses(family);
        addresses.iter().flat_map(|address| ["--local-address".to_owned(), address.to_string()]).collect()
    }

    /// The peer's server, on all its addresses of this family; ready.
    ///
    /// # Errors
    /// If it does not get ready.
    pub fn serve(&self, family: Family, options: &[&str]) -> Result<Process> {
        let (port, local) = (PORT.to_string(), self.local(family));
        let words: Vec<&str> = ["--port", &port].into_iter().chain(local.iter().map(String::as_str)).collect();
        let mut server = self.spawn(true, &[&words[..], options].concat())?;
        server.wait_for_line("listening", LONG)?;
        Ok(server)
    }

    /// The peer's client, on all its addresses of this family, against our first one.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn client(&self, family: Family, options: &[&str]) -> Result<Process> {
        let (port, local) = (PORT.to_string(), self.local(family));
        let ours = self.lab.pair.left.address(family).to_string();
        let words: Vec<&str> = ["--port", &port].into_iter().chain(local.iter().map(String::as_str)).collect();
        self.spawn(false, &[&words[..], options, &[&ours]].concat())
    }

    /// The peer's client, to its end: fails unless all came back unchanged and the end was as it should be.
    ///
    /// # Errors
    /// See above.
    pub fn client_summary(&self, family: Family, options: &[&str]) -> Result<Value> {
        let summary = self.client(family, options)?.summary(LONG)?;
        let good = summary["succeeded"] == true && summary["checksum_errors"] == 0;
        ensure!(good, "the peer is not content: {summary}");
        Ok(summary)
    }

    /// Our echo server on the left, which prints what it sees as JSON; ready.
    ///
    /// # Errors
    /// If it does not get ready.
    pub fn serve_ours(&self, options: &[&str]) -> Result<Process> {
        let port = PORT.to_string();
        Ok(self.lab.sctp.serve(&self.lab.pair.left, &["echo"], &[&["-p", &port, "--json"], options].concat())?.0)
    }

    /// Our client against the peer's first address.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn our_client(&self, family: Family, options: &[&str]) -> Result<Process> {
        let address = self.lab.pair.right.socket_address(family, PORT);
        self.lab.sctp.perf_client(&self.lab.pair.left, address, options)
    }

    /// What our stack's first association is like now; waits until there is a stack, and an association of which `wanted` holds.
    ///
    /// # Errors
    /// If there is none in time.
    pub fn our_association(&self, wanted: impl FnMut(&Value) -> bool) -> Result<Value> {
        self.lab.association(&self.lab.pair.left, wanted)
    }
}

/// The summary of a run of our client, which it must have ended well.
///
/// # Errors
/// If a message was lost or changed, or the run failed.
pub fn sound(summary: &Value) -> Result<()> {
    let sound = summary["mismatched"] == 0 && summary["lost"] == 0 && summary["verified"] == summary["sent"];
    ensure!(sound && summary["error"].is_null(), "messages were lost or changed: {summary}");
    Ok(())
}

/// What our server said of the associations that have ended, in that order.
///
/// # Panics
/// If it has printed what is no JSON.
pub fn ended(finished: &Finished) -> Vec<Value> {
    let lines = finished.stdout.iter().filter(|line| line.contains("\"ended\""));
    lines.map(|line| serde_json::from_str::<Value>(line).expect("JSON")["ended"].clone()).collect()
}

/// The notices of this kind, of what a client or an association came to.
pub fn notices<'a>(summary: &'a Value, event: &str) -> Vec<&'a Value> {
    let all = summary["notices"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter(|notice| notice["event"] == event).collect()
}
