//! What the XDP programs have to say.
//!
//! Rare events that point to a fault in set-up (a queue without a socket, a driver without room for metadata) are
//! written into a ring by the program, with a limit to their rate, and read here by a thread that sleeps until there is
//! one. They go to the logger of the crate `log`, which `tracing`'s subscribers
//! take over.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread::{self, JoinHandle};

use aya::Ebpf;
use aya_log::EbpfLogger;
use rustix::event::{PollFd, PollFlags, poll};

use super::super::LinkWaker;
use super::super::waker::Sleeper;

/// The log of one program.
pub(super) struct ProgramLog {
    /// Readable when there is something.
    ring: OwnedFd,
    /// Reads what there is.
    flush: Box<dyn FnMut() + Send>,
}

/// Takes the log out of a program, if it has one.
pub(super) fn of(ebpf: &mut Ebpf) -> Option<ProgramLog> {
    let mut logger =
        EbpfLogger::init(ebpf).inspect_err(|error| tracing::debug!(%error, "the XDP program keeps no log")).ok()?;
    let ring = logger
        .as_fd()
        .try_clone_to_owned()
        .inspect_err(|error| tracing::warn!(%error, "the XDP program's log is not read"))
        .ok()?;
    Some(ProgramLog { ring, flush: Box::new(move || logger.flush()) })
}

/// The thread that reads the logs. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct LogReader {
    stop: LinkWaker,
    thread: Option<JoinHandle<()>>,
}

impl LogReader {
    pub(super) fn start(mut logs: Vec<ProgramLog>) -> io::Result<Self> {
        let sleeper = Sleeper::new()?;
        let stop = sleeper.waker();
        let thread = thread::Builder::new().name("sctp-xdp-log".to_owned()).spawn(move || {
            while sleep(&sleeper, &logs) {
                logs.iter_mut().for_each(|log| (log.flush)());
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        self.stop.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that reads the XDP programs' log panicked");
        }
    }
}

/// Sleeps until there is something to read; `false` when it is time to stop.
fn sleep(sleeper: &Sleeper, logs: &[ProgramLog]) -> bool {
    if !sleeper.fall_asleep() {
        return false;
    }
    let mut watched = vec![PollFd::from_borrowed_fd(sleeper.event(), PollFlags::IN)];
    watched.extend(logs.iter().map(|log| PollFd::new(&log.ring, PollFlags::IN)));
    // An error has no other cause than a signal, after which it is tried again.
    let _ = poll(&mut watched, None);
    let stopped = watched[0].revents().contains(PollFlags::IN);
    drop(watched);
    sleeper.awake(stopped);
    !stopped
}
