//! Network namespaces that do not outlive their use.
//!
//! A namespace is named `sctp-<label>-<random>-<pid>` after the process that made it, so that `ip netns exec` reaches it while
//! it lives and [`sweep`] can tell whether it still has an owner. It goes away in one of three ways:
//!
//! 1. its guard is dropped;
//! 2. the process dies without dropping (a panic that aborts, SIGKILL): a janitor, a small shell that waits for the end of a
//!    pipe whose other end only that process holds, deletes it;
//! 3. the janitor died too (a crash of the whole session): the next [`sweep`] deletes it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};

use crate::{sys, tool};

/// What the names of all namespaces of this crate begin with.
const PREFIX: &str = "sctp-";

/// Where `ip netns` keeps its namespaces.
const DIRECTORY: &str = "/run/netns";

/// A network namespace, with its loopback up. Deleted when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    file: File,
    janitor: Child,
}

impl Namespace {
    /// Makes a namespace whose name contains `label`.
    ///
    /// # Errors
    /// Without root, or without `ip`.
    pub fn create(label: &str) -> Result<Self> {
        let name = format!("{PREFIX}{label}-{:06x}-{}", random_suffix(), std::process::id());
        tool::run("ip", &["netns", "add", &name])?;
        let janitor = match start_janitor(&name) {
            Ok(janitor) => janitor,
            Err(error) => {
                delete(&name)?;
                return Err(error).context("cannot start the shell that cleans up after a crash");
            }
        };
        let file = match File::open(format!("{DIRECTORY}/{name}")) {
            Ok(file) => file,
            Err(error) => {
                // The janitor does what `Drop` would.
                drop(janitor);
                return Err(error).with_context(|| format!("cannot open the namespace {name}"));
            }
        };
        let namespace = Self { name, file, janitor };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// The name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` in the namespace and returns what it printed.
    ///
    /// # Errors
    /// If `ip` fails.
    pub fn ip(&self, arguments: &[&str]) -> Result<String> {
        tool::run_command(Command::new("ip").args(["-n", &self.name]).args(arguments))
    }

    /// Runs `work` on a thread of its own inside the namespace. Sockets that it opens stay in the namespace.
    ///
    /// A process must not be started there: it would end with that thread. Use [`Self::command`].
    ///
    /// # Panics
    /// If the namespace cannot be entered, or `work` panics.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let name = std::thread::current().name().unwrap_or("lab").to_owned();
        std::thread::scope(|scope| {
            std::thread::Builder::new()
                .name(name)
                .spawn_scoped(scope, || {
                    sys::enter_network_namespace(self.file.as_fd()).expect("the namespace exists as long as its guard");
                    work()
                })
                .expect("a thread can be started")
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A command that will run inside the namespace, and die with the thread that spawns it.
    ///
    /// # Panics
    /// If the process has no file descriptor left.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let file = self.file.try_clone().expect("a file descriptor is left");
        let mut command = Command::new(program);
        sys::tie_to_parent(&mut command, Some(OwnedFd::from(file)));
        command
    }

    /// Ids of the processes that live in the namespace.
    ///
    /// # Errors
    /// If `ip` fails.
    pub fn processes(&self) -> Result<Vec<u32>> {
        let pids = tool::run("ip", &["netns", "pids", &self.name])?;
        Ok(pids.lines().filter_map(|line| line.trim().parse().ok()).collect())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = delete(&self.name) {
            eprintln!("{error:#}");
        }
        // Its work is done. Both calls fail only if it is gone already.
        let _ = self.janitor.kill();
        let _ = self.janitor.wait();
    }
}

/// Deletes the namespaces whose owner is dead, and returns their names.
///
/// # Errors
/// If one cannot be deleted.
pub fn sweep() -> Result<Vec<String>> {
    let mut swept = Vec::new();
    for name in leftovers()? {
        delete(&name)?;
        swept.push(name);
    }
    Ok(swept)
}

/// Names of the namespaces of this crate whose owner is dead.
///
/// # Errors
/// If the directory of namespaces cannot be read.
pub fn leftovers() -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(DIRECTORY) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context(DIRECTORY),
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter(|name| owner(name).is_some_and(|pid| !sys::process_exists(pid))).collect())
}

/// Names of the namespaces that the process with this id made and has not deleted.
///
/// # Errors
/// If the directory of namespaces cannot be read.
pub fn owned_by(pid: u32) -> Result<Vec<String>> {
    let pid = i32::try_from(pid)?;
    let entries = match std::fs::read_dir(DIRECTORY) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context(DIRECTORY),
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter(|name| owner(name) == Some(pid)).collect())
}

/// The process that made a namespace, if the name is one of ours.
fn owner(name: &str) -> Option<i32> {
    name.strip_prefix(PREFIX)?.rsplit_once('-')?.1.parse().ok()
}

fn delete(name: &str) -> Result<()> {
    tool::run("ip", &["netns", "delete", name]).map(drop)
}

/// Starts the shell that deletes the namespace when this process has died.
fn start_janitor(name: &str) -> io::Result<Child> {
    // It waits for the end of its stdin. A signal to the terminal's group must not end it before: hence its own group and trap.
    Command::new("sh")
        .args([
            "-c",
            "trap '' INT TERM HUP; read -r _; for pid in $(ip netns pids \"$0\"); do kill -9 $pid; done; ip netns delete \"$0\"",
            name,
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

/// A number that differs between calls, and very likely between processes with the same id.
fn random_suffix() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write_u64(CALLS.fetch_add(1, Ordering::Relaxed));
    hasher.finish() & 0xff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::require_root;
    use std::time::{Duration, Instant};

    #[test]
    fn names_tell_their_owner() {
        assert_eq!(owner("sctp-demo-00beef-1234"), Some(1234));
        assert_eq!(owner("sctp-demo"), None);
        assert_eq!(owner("other-demo-00beef-1234"), None);
    }

    #[test]
    fn a_namespace_is_there_and_then_it_is_not() {
        if !require_root() {
            return;
        }
        let namespace = Namespace::create("life").unwrap();
        let name = namespace.name().to_owned();
        assert!(owned_by(std::process::id()).unwrap().contains(&name));
        assert!(namespace.ip(&["-br", "link"]).unwrap().starts_with("lo "));
        drop(namespace);
        assert!(!owned_by(std::process::id()).unwrap().contains(&name));
    }

    #[test]
    fn work_and_commands_run_inside() {
        if !require_root() {
            return;
        }
        let namespace = Namespace::create("inside").unwrap();
        namespace.ip(&["link", "add", "only-here", "type", "veth", "peer", "name", "other"]).unwrap();
        assert!(sys::interface_index("only-here").is_err());
        assert!(namespace.run(|| sys::interface_index("only-here")).is_ok());
        let listed = tool::run_command(namespace.command("ls").arg("/sys/class/net")).unwrap();
        assert_eq!(listed, "lo\nonly-here\nother\n");
    }

    #[test]
    fn processes_are_listed() {
        if !require_root() {
            return;
        }
        let namespace = Namespace::create("processes").unwrap();
        let mut sleep = namespace.command("sleep").arg("60").spawn().unwrap();
        assert_eq!(namespace.processes().unwrap(), [sleep.id()]);
        sleep.kill().unwrap();
        sleep.wait().unwrap();
    }

    #[test]
    fn a_leftover_is_swept() {
        if !require_root() {
            return;
        }
        // A process id that cannot exist: above the kernel's limit.
        let name = format!("{PREFIX}dead-{:06x}-{}", random_suffix(), i32::MAX);
        tool::run("ip", &["netns", "add", &name]).unwrap();
        assert!(sweep().unwrap().contains(&name));
        assert!(!leftovers().unwrap().contains(&name));
    }

    #[test]
    fn the_janitor_deletes_what_a_dead_process_left() {
        if !require_root() {
            return;
        }
        let name = format!("{PREFIX}janitor-{:06x}-{}", random_suffix(), std::process::id());
        tool::run("ip", &["netns", "add", &name]).unwrap();
        let mut janitor = start_janitor(&name).unwrap();
        // This is what the kernel does when the process dies.
        drop(janitor.stdin.take());
        assert!(janitor.wait().unwrap().success());
        let deadline = Instant::now() + Duration::from_secs(60);
        while owned_by(std::process::id()).unwrap().contains(&name) {
            assert!(Instant::now() < deadline, "{name} is still there");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
