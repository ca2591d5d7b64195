//! Waking a task at a time, to some microseconds.
//!
//! Timers of the async runtime count milliseconds, which is too coarse for a rate of thousands a second. A thread of its
//! own sleeps precisely, for all associations of a measurement.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Instant;

use tokio::sync::Notify;

/// The thread. It ends when the last of its [`Pacer`]s is dropped.
#[derive(Clone, Debug)]
pub(crate) struct PacerThread {
    alarms: Sender<Alarm>,
}

impl PacerThread {
    /// Starts the thread.
    pub(crate) fn start() -> io::Result<Self> {
        let (alarms, wishes) = mpsc::channel();
        thread::Builder::new().name("sctp-pacer".to_owned()).spawn(move || run(&wishes))?;
        Ok(Self { alarms })
    }

    /// A pacer for one task.
    pub(crate) fn pacer(&self) -> Pacer {
        Pacer { alarms: self.alarms.clone(), bell: Arc::default(), asked: Cell::new(None) }
    }
}

/// Wakes one task.
#[derive(Debug)]
pub(crate) struct Pacer {
    alarms: Sender<Alarm>,
    bell: Arc<Notify>,
    /// What the thread was last asked for, so that it is not asked again each time that the wait is interrupted.
    asked: Cell<Option<Instant>>,
}

impl Pacer {
    /// Waits until `due`. Cancel-safe.
    pub(crate) async fn wait_until(&self, due: Instant) {
        while Instant::now() < due {
            if self.asked.replace(Some(due)) != Some(due) {
                // The thread lives as long as the pacer does.
                let _ = self.alarms.send((due, self.bell.clone()));
            }
            self.bell.notified().await;
        }
    }
}

/// When to ring which bell.
type Alarm = (Instant, Arc<Notify>);

fn run(wishes: &Receiver<Alarm>) {
    // The kernel rounds sleeps up by 50 µs unless told otherwise. If it will not be told, pacing is a little coarser.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let mut times: BinaryHeap<Reverse<(Instant, usize)>> = BinaryHeap::new();
    let mut bells = slab::Slab::new();
    loop {
        let now = Instant::now();
        while let Some(&Reverse((due, bell))) = times.peek()
            && due <= now
        {
            times.pop();
            let bell: Arc<Notify> = bells.remove(bell);
            bell.notify_one();
        }
        let wish = match times.peek() {
            Some(Reverse((due, _))) => wishes.recv_timeout(due.saturating_duration_since(now)),
            None => wishes.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match wish {
            Ok((due, bell)) => times.push(Reverse((due, bells.insert(bell)))),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn it_is_not_early() {
        let pacer = PacerThread::start().unwrap().pacer();
        for milliseconds in [0, 1, 5] {
            let due = Instant::now() + Duration::from_millis(milliseconds);
            pacer.wait_until(due).await;
            assert!(Instant::now() >= due);
        }
    }

    #[tokio::test]
    async fn it_serves_tasks_in_any_order_and_survives_interruption() {
        let thread = PacerThread::start().unwrap();
        let (one, other) = (thread.pacer(), thread.pacer());
        let start = Instant::now();
        let (soon, late) = (start + Duration::from_millis(5), start + Duration::from_millis(20));
        let interrupted = tokio::time::timeout(Duration::from_millis(1), one.wait_until(late)).await;
        assert!(interrupted.is_err());
        other.wait_until(soon).await;
        assert!(Instant::now() < late);
        one.wait_until(late).await;
        assert!(Instant::now() >= late);
    }
}
