//! The statistics service: what a running stack tells `sctp stats`.
//!
//! A stack listens on an abstract Unix socket `sctp-stack/<interface>`, whose names live in the
//! network namespace as the interface does. Whoever connects gets one JSON document (a
//! [`StackSnapshot`]) and the end of the stream. Like `/proc/net/sctp` it can be read by everybody
//! in the namespace; nothing can be changed by it.

use std::fs;
use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thiserror::Error;

use super::snapshot::{StackSnapshot, snapshot};
use crate::Stack;
use crate::stack::wait::block_on;

const PREFIX: &str = "sctp-stack/";
/// How long a reader may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why no statistics can be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StatsError {
    /// No stack runs on the interface.
    #[error(
        "no stack runs on interface {0} in this network namespace: \
         start one (`sctp echo -i {0} -p PORT`), or look in its namespace"
    )]
    NotRunning(String),
    /// The stack's answer broke off.
    #[error("the stack on interface {interface} did not answer: {source}")]
    NoAnswer {
        /// The interface.
        interface: String,
        /// Why.
        source: io::Error,
    },
    /// The stack's answer cannot be understood.
    #[error("the stack on interface {interface} is of another version: {source}")]
    BadAnswer {
        /// The interface.
        interface: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// The statistics service of a stack; dropping it ends the service.
#[derive(Debug)]
pub struct StatsService {
    name: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl StatsService {
    /// Serves the statistics of `stack` under the name of `interface`. The service keeps the stack
    /// alive.
    ///
    /// # Errors
    /// `AddrInUse` when another stack serves that name, and what the system returns.
    pub fn start(stack: &Stack, interface: &str) -> io::Result<StatsService> {
        let name = format!("{PREFIX}{interface}");
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stack, stopped) = (stack.clone(), stop.clone());
        let thread = thread::Builder::new().name("sctp-stats".to_owned()).spawn(move || {
            for client in listener.incoming() {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                // A reader that breaks off harms only itself.
                if let Err(error) = client.and_then(|client| answer(client, &stack)) {
                    tracing::debug!(%error, "a reader of the statistics was not served");
                }
            }
        })?;
        Ok(StatsService { name, stop, thread: Some(thread) })
    }
}

impl Drop for StatsService {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // A connection wakes the thread from `accept`.
        let woken = SocketAddr::from_abstract_name(&self.name).and_then(|address| UnixStream::connect_addr(&address));
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            // A panic in it has been reported on the standard error stream.
            let _ = thread.join();
        }
    }
}

fn answer(mut client: UnixStream, stack: &Stack) -> io::Result<()> {
    client.set_write_timeout(Some(PATIENCE))?;
    let picture = block_on(snapshot(stack));
    serde_json::to_writer(&mut client, &picture)?;
    client.write_all(b"\n")
}

/// Asks the stack that runs on `interface` in this network namespace.
///
/// # Errors
/// When none runs there, or its answer is not whole.
pub fn query(interface: &str) -> Result<StackSnapshot, StatsError> {
    let not_running = |_| StatsError::NotRunning(interface.to_owned());
    let address = SocketAddr::from_abstract_name(format!("{PREFIX}{interface}")).map_err(not_running)?;
    let mut stream = UnixStream::connect_addr(&address).map_err(not_running)?;
    let mut json = Vec::new();
    stream
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| stream.read_to_end(&mut json))
        .map_err(|source| StatsError::NoAnswer { interface: interface.to_owned(), source })?;
    serde_json::from_slice(&json).map_err(|source| StatsError::BadAnswer { interface: interface.to_owned(), source })
}

/// The interfaces of this network namespace on which a stack serves its statistics.
///
/// # Errors
/// When `/proc/net/unix` cannot be read.
pub fn running() -> io::Result<Vec<String>> {
    let sockets = fs::read_to_string("/proc/thread-self/net/unix")?;
    Ok(interfaces(&sockets))
}

fn interfaces(sockets: &str) -> Vec<String> {
    let mut found: Vec<String> =
        sockets.lines().filter_map(|line| line.split_once(" @")?.1.strip_prefix(PREFIX)).map(str::to_owned).collect();
    found.sort();
    // A connection under way appears with the name of its listener.
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_the_list_of_sockets() {
        let list = "\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 24062 @sctp-stack/veth9
0000000000000000: 00000002 00000000 00010000 0001 01 24063 /run/x.sock
0000000000000000: 00000003 00000000 00000000 0001 03 24064 @sctp-stack/veth9
0000000000000000: 00000002 00000000 00010000 0001 01 24062 @sctp-stack/eth0
0000000000000000: 00000002 00000000 00010000 0001 01 24062
";
        assert_eq!(interfaces(list), ["eth0", "veth9"]);
    }

    #[test]
    fn nobody_there_says_what_to_do() {
        let error = query("there-is-none").unwrap_err().to_string();
        assert!(error.contains("no stack runs on interface there-is-none"), "{error}");
        assert!(error.contains("sctp echo -i there-is-none"), "{error}");
    }
}
