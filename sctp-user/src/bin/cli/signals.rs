//! The wish to end: SIGINT and SIGTERM.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

/// Exit status after a second signal: that of a program that SIGINT ended.
const KILLED: i32 = 128 + 2;

/// Tells everybody who holds a clone that the program should come to its end.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    /// Since when the end is wished.
    sender: Arc<watch::Sender<Option<Instant>>>,
    receiver: watch::Receiver<Option<Instant>>,
}

impl Stop {
    /// One that only [`now`](Self::now) triggers.
    pub(crate) fn new() -> Self {
        let (sender, receiver) = watch::channel(None);
        Self { sender: Arc::new(sender), receiver }
    }

    /// One that SIGINT and SIGTERM trigger too. A second signal ends the program on the spot.
    ///
    /// Must be called within an async runtime.
    pub(crate) fn on_signals() -> io::Result<Self> {
        let stop = Self::new();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let trigger = stop.clone();
        tokio::spawn(async move {
            for times in 0.. {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if times > 0 {
                    std::process::exit(KILLED);
                }
                trigger.now();
            }
        });
        Ok(stop)
    }

    /// Ends it now.
    pub(crate) fn now(&self) {
        self.sender.send_if_modified(|since| since.replace(since.unwrap_or_else(Instant::now)).is_none());
    }

    /// Whether the end is wished.
    pub(crate) fn is_wished(&self) -> bool {
        self.receiver.borrow().is_some()
    }

    /// Waits until the end is wished. Cancel-safe.
    pub(crate) async fn wished(&self) {
        // The sender lives as long as `self`.
        let _ = self.receiver.clone().wait_for(Option::is_some).await;
    }

    /// Waits until the end has been wished for as long as `grace`. Cancel-safe.
    pub(crate) async fn overdue(&self, grace: Duration) {
        self.wished().await;
        let since = *self.receiver.borrow();
        tokio::time::sleep_until(since.unwrap_or_else(Instant::now) + grace).await;
    }

    /// What `work` comes to, or an error when it is still at it `grace` after the end was wished.
    pub(crate) async fn within<T>(&self, grace: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            // What is done counts, also when it is done late.
            biased;
            done = work => done,
            () = self.overdue(grace) => Err(anyhow!("the association did not end within {grace:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_has_its_grace_from_when_the_end_was_wished() {
        let stop = Stop::new();
        let grace = Duration::from_millis(20);
        // As long as it takes while nobody wishes the end.
        let long = async {
            tokio::time::sleep(2 * grace).await;
            Ok(1)
        };
        assert_eq!(stop.within(grace, long).await.unwrap(), 1);
        let before = Instant::now();
        stop.now();
        let since = *stop.receiver.borrow();
        let error = stop.within(grace, std::future::pending::<Result<()>>()).await.unwrap_err();
        assert_eq!(error.to_string(), "the association did not end within 20ms");
        assert!(before.elapsed() >= grace);
        // A second wish does not give a second grace; what is done already counts.
        stop.now();
        stop.within(grace, std::future::pending::<Result<()>>()).await.unwrap_err();
        assert_eq!(stop.within(grace, async { Ok(2) }).await.unwrap(), 2);
        assert_eq!(*stop.receiver.borrow(), since);
    }

    #[tokio::test]
    async fn every_clone_learns_of_the_end() {
        let stop = Stop::new();
        let other = stop.clone();
        assert!(!other.is_wished());
        assert!(tokio::time::timeout(Duration::from_millis(1), other.wished()).await.is_err());
        stop.now();
        other.wished().await;
        other.wished().await;
        assert!(other.is_wished());
    }
}
