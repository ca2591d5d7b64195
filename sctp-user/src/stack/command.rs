//! The rare requests to a worker; those about a living association go by its channel instead.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sctp_core::time::Instant;
use sctp_core::{AssociationConfig, Connect, ConnectError, Endpoint, ListenConfig, ListenError};
use tokio::sync::oneshot;

use super::accept::Acceptor;
use super::channel::{Channel, QueueLimits};
use super::worker::WorkerCounters;
use crate::datapath::LinkStats;

/// Something that a worker does with its endpoint.
pub(crate) type Action = Box<dyn FnOnce(&mut Endpoint, Instant) + Send>;

/// A request to a worker.
pub(crate) enum Command {
    /// Begin an association. The reply is its channel, in which the rest is told.
    Connect { connect: Box<Connect>, limits: QueueLimits, reply: oneshot::Sender<Result<Arc<Channel>, ConnectFailure>> },
    /// Accept associations on a port.
    Listen {
        port: u16,
        config: Box<ListenConfig>,
        acceptor: Arc<Acceptor>,
        reply: oneshot::Sender<Result<(), ListenError>>,
    },
    /// Accept no more on a port.
    Unlisten { port: u16 },
    /// Do something rare with an association.
    Act(Action),
    /// The addresses of the host have changed.
    SetAddresses(Vec<IpAddr>),
    /// Look at the worker's state, on its thread.
    Inspect(Box<dyn FnOnce(&Inspection<'_>) + Send>),
    /// End every association gracefully and then the worker; after `grace` abort what is left.
    Stop { grace: Duration },
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Command::Connect { .. } => "Connect",
            Command::Listen { .. } => "Listen",
            Command::Unlisten { .. } => "Unlisten",
            Command::Act(_) => "Act",
            Command::SetAddresses(_) => "SetAddresses",
            Command::Inspect(_) => "Inspect",
            Command::Stop { .. } => "Stop",
        })
    }
}

/// Why an association could not be begun.
#[derive(Debug)]
pub(crate) enum ConnectFailure {
    /// The protocol core refused.
    Refused(ConnectError),
    /// The port could not be claimed.
    Port(std::io::Error),
}

/// What can be seen of a worker from within.
pub(crate) struct Inspection<'a> {
    pub(crate) worker: u16,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) link: LinkStats,
    pub(crate) counters: &'a WorkerCounters,
    /// Packets that other workers handed over, but that found the mailbox full.
    pub(crate) handed_over_lost: u64,
}

/// The queue limits that fit an association's settings.
pub(crate) fn queue_limits(config: &AssociationConfig, queue: usize) -> QueueLimits {
    // At least one byte, so that every message passes; and what an `isize` can count.
    let queue = queue.clamp(1, isize::MAX as usize / 4);
    QueueLimits { outgoing: queue, incoming: queue, max_message_size: config.max_message_size }
}
