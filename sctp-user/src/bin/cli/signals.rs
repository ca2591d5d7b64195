//! The wish to end: SIGINT and SIGTERM.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Exit status after a second signal: that of a program that SIGINT ended.
const KILLED: i32 = 128 + 2;

/// Tells everybody who holds a clone that the program should come to its end.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    sender: Arc<watch::Sender<bool>>,
    receiver: watch::Receiver<bool>,
}

impl Stop {
    /// One that only [`now`](Self::now) triggers.
    pub(crate) fn new() -> Self {
        let (sender, receiver) = watch::channel(false);
        Self { sender: Arc::new(sender), receiver }
    }

    /// One that SIGINT and SIGTERM trigger too. A second signal ends the program on the spot.
    ///
    /// Must be called within an async runtime.
    pub(crate) fn on_signals() -> io::Result<Self> {
        let stop = Self::new();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let trigger = stop.sender.clone();
        tokio::spawn(async move {
            for times in 0.. {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if times > 0 {
                    std::process::exit(KILLED);
                }
                trigger.send_replace(true);
            }
        });
        Ok(stop)
    }

    /// Ends it now.
    pub(crate) fn now(&self) {
        self.sender.send_replace(true);
    }

    /// Whether the end is wished.
    pub(crate) fn is_wished(&self) -> bool {
        *self.receiver.borrow()
    }

    /// Waits until the end is wished. Cancel-safe.
    pub(crate) async fn wished(&self) {
        // The sender lives as long as `self`.
        let _ = self.receiver.clone().wait_for(|wished| *wished).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

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
