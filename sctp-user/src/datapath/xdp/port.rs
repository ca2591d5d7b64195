//! One socket of a worker, with the rings of its queue.

use std::io;
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use super::super::LinkStats;
use super::super::frames::FrameCache;
use super::super::rings::{ReceiveRing, TransmitRing};
use super::super::socket::{Kick, QueueRings, Socket};

/// One of the worker's sockets.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) ifindex: u32,
    pub(super) socket: Arc<Socket>,
    pub(super) receive: ReceiveRing,
    /// There on the one queue of each interface that the worker sends by.
    pub(super) transmit: Option<TransmitRing>,
    pub(super) queue: QueueAccess,
    /// The fill ring should be topped up, but was busy or there were no frames.
    pub(super) hungry: bool,
    /// The interface was down when something was to be sent last.
    down: bool,
}

/// A queue's fill and completion rings.
#[derive(Debug)]
pub(super) enum QueueAccess {
    /// Nobody else uses them.
    Own(QueueRings),
    /// Several workers have a socket on the queue.
    Shared(Arc<Mutex<QueueRings>>),
}

impl Port {
    pub(super) fn new(
        ifindex: u32,
        socket: Arc<Socket>,
        receive: ReceiveRing,
        transmit: Option<TransmitRing>,
        queue: QueueAccess,
    ) -> Self {
        Self { ifindex, socket, receive, transmit, queue, hungry: true, down: false }
    }

    /// Takes sent frames home and gives the kernel empty ones.
    ///
    /// If another worker is at the shared rings, that one does it for both, more or less: it is tried again.
    pub(super) fn service(&mut self, cache: &mut FrameCache, stats: &mut LinkStats) {
        let served = self.queue.with(|rings| {
            let returned = rings.completion.drain(|frame| cache.give(frame));
            let filled = rings.fill.top_up(|| cache.take());
            (returned, filled, filled.frames > 0 && rings.fill.needs_wakeup())
        });
        let Some((returned, filled, wake)) = served else {
            self.hungry = true;
            return;
        };
        stats.frames.in_transmit -= i64::from(returned);
        stats.frames.in_receive += i64::from(filled.frames);
        self.hungry = filled.missing > 0;
        if wake {
            self.socket.kick_receive();
            stats.receive_kicks += 1;
        }
    }

    /// Takes sent frames home.
    pub(super) fn reap(&mut self, cache: &mut FrameCache, stats: &mut LinkStats) {
        let returned = self.queue.with(|rings| rings.completion.drain(|frame| cache.give(frame)));
        stats.frames.in_transmit -= i64::from(returned.unwrap_or(0));
    }

    /// Has the kernel send what is in the transmit ring.
    pub(super) fn kick(&mut self, zero_copy: bool, cache: &mut FrameCache, stats: &mut LinkStats) -> io::Result<()> {
        let Some(ring) = &mut self.transmit else { return Ok(()) };
        ring.publish();
        let mut waiting = ring.waiting();
        let mut retried = false;
        while waiting > 0 && ring.needs_wakeup() {
            stats.transmit_kicks += 1;
            let outcome = self.socket.kick_transmit()?;
            self.down = outcome == Kick::Down;
            match outcome {
                // With zero-copy the driver goes on by itself.
                _ if zero_copy => break,
                Kick::Done => break,
                Kick::Again => {}
                Kick::Dropped => stats.device_drops += 1,
                Kick::Down => {
                    stats.interface_down += 1;
                    break;
                }
            }
            let left = ring.waiting();
            if left == waiting && outcome == Kick::Again {
                // The kernel takes nothing as long as the completion ring has no room for it. If that is not
                // the reason, the device is busy, and comes up again at the next flush.
                if retried {
                    break;
                }
                retried = true;
                let drained = self.queue.with(|rings| rings.completion.drain(|frame| cache.give(frame)));
                stats.frames.in_transmit -= i64::from(drained.unwrap_or(0));
            }
            waiting = left;
        }
        Ok(())
    }

    /// When to try again to have packets sent that the device has not taken.
    pub(super) fn retry_after(&mut self) -> Option<Duration> {
        let unsent = self.transmit.as_mut().is_some_and(|ring| ring.waiting() > 0);
        unsent.then_some(if self.down { INTERFACE_DOWN } else { BUSY_DEVICE })
    }
}

impl QueueAccess {
    /// Runs `work` on the rings, unless another worker does so just now.
    fn with<R>(&mut self, work: impl FnOnce(&mut QueueRings) -> R) -> Option<R> {
        match self {
            Self::Own(rings) => Some(work(rings)),
            Self::Shared(rings) => match rings.try_lock() {
                Ok(mut rings) => Some(work(&mut rings)),
                // Every step on the rings is whole by itself.
                Err(TryLockError::Poisoned(rings)) => Some(work(&mut rings.into_inner())),
                Err(TryLockError::WouldBlock) => None,
            },
        }
    }
}

/// How long to wait when a device takes no more packets.
const BUSY_DEVICE: Duration = Duration::from_micros(100);
/// How long to wait when an interface is down: its packets are lost sooner or later, so there is no hurry.
const INTERFACE_DOWN: Duration = Duration::from_millis(50);
