//! Where workers put the associations that peers have set up, and the listener takes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_queue::ArrayQueue;

use super::channel::{Channel, QueueLimits};
use super::wait::WaitSet;

/// The accept queue of one port, filled by all workers.
#[derive(Debug)]
pub(crate) struct Acceptor {
    queue: ArrayQueue<Arc<Channel>>,
    limits: QueueLimits,
    closed: AtomicBool,
    refused: AtomicU64,
    waiting: WaitSet,
}

impl Acceptor {
    /// A queue for at most `backlog` associations that nobody has accepted yet.
    pub(crate) fn new(backlog: usize, limits: QueueLimits) -> Acceptor {
        Acceptor {
            queue: ArrayQueue::new(backlog.max(1)),
            limits,
            closed: AtomicBool::new(false),
            refused: AtomicU64::new(0),
            waiting: WaitSet::default(),
        }
    }

    /// Limits of the accepted associations' queues.
    pub(crate) fn limits(&self) -> QueueLimits {
        self.limits
    }

    /// A new association. `Err` when the queue is full: it must be aborted.
    pub(crate) fn offer(&self, channel: Arc<Channel>) -> Result<(), Arc<Channel>> {
        if let Err(channel) = self.queue.push(channel) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(channel);
        }
        // The listener may have gone in between, and not have seen this one.
        if self.closed.load(Ordering::SeqCst) {
            self.abandon_all();
        } else {
            self.waiting.wake_all();
        }
        Ok(())
    }

    /// The next association that waits.
    pub(crate) fn next(&self) -> Option<Arc<Channel>> {
        self.queue.pop()
    }

    /// Those who wait for an association.
    pub(crate) fn waiting(&self) -> &WaitSet {
        &self.waiting
    }

    /// How many associations were turned away because nobody accepted them in time.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Nobody accepts any more.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.abandon_all();
        self.waiting.wake_all();
    }

    fn abandon_all(&self) {
        while let Some(channel) = self.queue.pop() {
            channel.abandon();
        }
    }
}
