//! The Linux kernel's own SCTP as a peer: a guest kernel that runs as an ordinary process (User-Mode Linux).
//!
//! Debian's package `user-mode-linux` is a real kernel with its modules; the machine's own needs no SCTP for it. A [`Guest`]
//! takes the place of a [`Host`]: its network card is the host's end of the cable, with the host's addresses, so that tests
//! address it as they address any other peer. Programs in it are [`Process`]es like those on the machine itself:
//!
//! ```no_run
//! use sctp_lab::{Pair, PairConfig, uml::Guest};
//! # fn main() -> anyhow::Result<()> {
//! let pair = Pair::create("example", &PairConfig::default())?;
//! let guest = Guest::in_place_of(&pair.right)?;
//! let mut server = guest.spawn(&["kernel_server", "--port", "5001"])?;
//! server.wait_for_line("listening", std::time::Duration::from_secs(10))?;
//! guest.run(&["tc", "qdisc", "add", "dev", "vec0", "root", "netem", "loss", "1%"])?;
//! # Ok(())
//! # }
//! ```
//!
//! * `root` makes its file system, from what the machine has;
//! * `modules` finds the modules that it needs and their order;
//! * `link` is the way to run commands in it.
//!
//! Nothing of a guest stays behind: it has process ids and a temporary directory of its own, which the kernel takes away with
//! its first process, and that one dies with its parent.

mod link;
mod modules;
mod root;

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::{Finished, Host, Namespace, Process, interrupt, tool};
use link::Link;

/// How long a guest may take until its first process answers: one to three seconds, and much more on a busy machine.
const BOOT: Duration = Duration::from_secs(120);

/// How long a guest may take to switch itself off.
const POWER_OFF: Duration = Duration::from_secs(60);

/// How long a tool of the system may run in a guest.
const TOOL: Duration = Duration::from_secs(120);

/// Memory of a guest, in MiB; what it does not touch costs nothing.
const MEMORY: u32 = 256;

/// Makes a place for temporary files that goes away with the process, then becomes the guest. `$0` is an empty directory.
const START: &str = "mount -t tmpfs lab \"$0\" && TMPDIR=\"$0\" exec \"$@\"";

/// A network card of a guest: named `vec0`, `vec1` and so on inside.
#[derive(Clone, Debug)]
pub struct Nic {
    /// The interface of the guest's namespace at which it sends and receives, one end of a veth pair for instance.
    pub interface: String,
    /// Its Ethernet address, which must not be that of the interface.
    pub mac: [u8; 6],
    /// Octets of the largest IP packet.
    pub mtu: u32,
    /// Its addresses and the lengths of their prefixes.
    pub addresses: Vec<(IpAddr, u8)>,
    /// The routers to all other networks.
    pub gateways: Vec<IpAddr>,
}

/// A running guest. Switched off when dropped.
#[derive(Debug)]
pub struct Guest {
    link: Link,
    process: Process,
    release: String,
}

impl Guest {
    /// Starts a guest with these network cards on interfaces of a namespace, and waits until it can run commands.
    ///
    /// The interfaces must be up and must take frames for others (`promisc on`). They should have no addresses: the machine's
    /// own kernel would answer too.
    ///
    /// # Errors
    /// Without root, without User-Mode Linux (`cargo xtask setup` installs it), or if the guest does not come up: then with
    /// what it printed.
    pub fn boot(namespace: &Namespace, nics: &[Nic]) -> Result<Self> {
        let root = root::build()?;
        let (ours, its) = UnixStream::pair().context("cannot make a socket pair")?;
        let mut command = namespace.command("unshare");
        // A process id namespace: when its first process dies, so does every helper that the guest has started.
        command.args(["--pid", "--fork", "--kill-child", "--", "sh", "-c", START]);
        command.arg(root.temporary()).arg(&root.kernel);
        command.args([format!("mem={MEMORY}M"), format!("rootflags={}", root.directory.display())]);
        command.args(["rootfstype=hostfs", "ro", "init=/init", "quiet", "loglevel=4", "panic=-1"]);
        // Its console is our stderr; its first serial line is the socket, as its stdin.
        command.args(["con=null", "con0=null,fd:2", "ssl=null", "ssl0=fd:0", "umid=guest"]);
        command.arg(format!("uml_dir={}/", root.temporary().display()));
        for (number, nic) in nics.iter().enumerate() {
            let mac = nic.mac.map(|octet| format!("{octet:02x}")).join(":");
            command.arg(format!("vec{number}:transport=raw,ifname={},depth=128,mac={mac}", nic.interface));
        }
        let mut process = Process::spawn_with_stdin(&mut command, Stdio::from(OwnedFd::from(its)))?;
        // The command still holds the guest's end: without it, the end of the guest is the end of the line.
        drop(command);
        let (link, ready) = Link::open(ours)?;
        let deadline = Instant::now() + BOOT;
        let release = loop {
            interrupt::check()?;
            match ready.recv_timeout(Duration::from_millis(50)) {
                Ok(release) => break release,
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline && !process.has_ended()? => {}
                Err(_) => bail!(failure(process)),
            }
        };
        let guest = Self { link, process, release };
        for (number, nic) in nics.iter().enumerate() {
            guest.configure(&format!("vec{number}"), nic)?;
        }
        Ok(guest)
    }

    /// Starts a guest that takes over a host's end of the cables, with the host's Ethernet and IP addresses. What else runs on
    /// the host has no network any more.
    ///
    /// # Errors
    /// As [`Self::boot`].
    pub fn in_place_of(host: &Host) -> Result<Self> {
        let mut nics = Vec::new();
        for port in host.ports() {
            let interface = port.interface.as_str();
            let mtu = host.namespace.run(|| -> Result<u32> {
                let path = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
                std::fs::write(&path, "1").context(path)?;
                let path = format!("/sys/class/net/{interface}/mtu");
                std::fs::read_to_string(&path).unwrap_or_else(|_| "1500".into()).trim().parse().context(path)
            })?;
            host.namespace.ip(&["address", "flush", "dev", interface])?;
            // Another Ethernet address: what comes for the guest is no business of the machine's own kernel.
            let other = port.mac.map(|octet| format!("{octet:02x}")).join(":").replacen("02", "06", 1);
            host.namespace.ip(&["link", "set", interface, "address", &other, "promisc", "on"])?;
            let addresses = vec![(port.ipv4.into(), 24), (port.ipv6.into(), 64)];
            let gateways = host.gateways.map_or_else(Vec::new, |(ipv4, ipv6)| vec![ipv4.into(), ipv6.into()]);
            nics.push(Nic { interface: interface.to_owned(), mac: port.mac, mtu, addresses, gateways });
        }
        Self::boot(&host.namespace, &nics)
    }

    fn configure(&self, name: &str, nic: &Nic) -> Result<()> {
        self.run(&["ip", "link", "set", name, "mtu", &nic.mtu.to_string(), "up"])?;
        for (address, length) in &nic.addresses {
            // Duplicate address detection would keep an IPv6 address from use for a second.
            self.run(&["ip", "address", "add", &format!("{address}/{length}"), "dev", name, "nodad"])?;
        }
        for gateway in &nic.gateways {
            self.run(&["ip", "route", "add", "default", "via", &gateway.to_string(), "dev", name])?;
        }
        Ok(())
    }

    /// The guest's kernel: "6.1.0" or the like.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// Starts a program in the guest: one of the peers `kernel_server` and `kernel_client`, `ip`, `tc`, `ethtool`, or what
    /// busybox offers.
    ///
    /// # Errors
    /// If the guest has ended.
    pub fn spawn(&self, words: &[&str]) -> Result<Process> {
        self.link.run(words)
    }

    /// Runs a program in the guest to its end, and returns what it printed on stdout.
    ///
    /// # Errors
    /// If it fails: with what it printed on stderr.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        let finished = self.spawn(words)?.wait(TOOL)?;
        let line = words.join(" ");
        ensure!(finished.status.success(), "`{line}` in the guest: {}, {}", finished.status, finished.stderr.trim());
        Ok(finished.stdout.join("\n"))
    }

    /// Switches the guest off and waits until it has ended.
    ///
    /// # Errors
    /// If it does not end, or not well.
    pub fn power_off(mut self) -> Result<()> {
        let finished = self.end()?;
        ensure!(finished.status.success(), "the guest ended with {}: {}", finished.status, finished.stderr.trim());
        Ok(())
    }

    fn end(&mut self) -> Result<Finished> {
        self.link.power_off()?;
        self.process.wait(POWER_OFF)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Asked first, because what is killed leaves its remains to the machine's first process. If it does not end, or has
        // ended already, the guard of its process sees to it.
        if self.process.has_ended().is_ok_and(|ended| !ended) {
            let _ = self.end();
        }
    }
}

/// Why a guest did not come up, with what it printed.
fn failure(mut process: Process) -> String {
    let what = match process.has_ended() {
        Ok(true) => "ended before it was up".to_owned(),
        _ => format!("was not up after {BOOT:?}"),
    };
    // Closes its console, if it still runs.
    let said = process.stop(Duration::ZERO).map_or_else(|error| format!("{error:#}"), |finished| finished.stderr);
    format!("User-Mode Linux {what}: {}", said.trim())
}

/// True if User-Mode Linux is there.
pub fn is_installed() -> bool {
    tool::is_installed(root::KERNEL)
}

#[cfg(test)]
mod tests;
