//! The handle of a port that accepts associations.

use std::sync::Arc;
use std::task::Poll;

use super::association::Association;
use super::error::AcceptError;
use super::stack::Shared;
use crate::stack::accept::Acceptor;
use crate::stack::command::Command;
use crate::stack::ports::{PortLease, Reservation};

/// Accepts the associations that peers set up with a port.
///
/// Dropping it stops listening; associations that were accepted live on, those that were not are
/// aborted.
#[derive(Debug)]
pub struct Listener {
    port: u16,
    acceptor: Arc<Acceptor>,
    stack: Arc<Shared>,
    /// What lets INITs in.
    lease: Option<PortLease>,
    _reservation: Reservation,
}

impl Listener {
    /// A listener that nobody has been told of yet. Dropping it undoes as much as was done.
    pub(crate) fn new(port: u16, acceptor: Arc<Acceptor>, stack: Arc<Shared>, reservation: Reservation) -> Listener {
        Listener { port, acceptor, stack, lease: None, _reservation: reservation }
    }

    /// Lets INITs in, now that all workers listen.
    pub(crate) fn open(&mut self, lease: PortLease) {
        self.lease = Some(lease);
    }

    /// The next association that a peer has set up.
    ///
    /// Cancel-safe: a future that is dropped before it is ready has not taken an association.
    ///
    /// # Errors
    /// When the stack has stopped.
    pub async fn accept(&mut self) -> Result<Association, AcceptError> {
        let Listener { acceptor, stack, .. } = &*self;
        let attempt = || match acceptor.next() {
            Some(channel) => Poll::Ready(Ok(Association::new(channel, stack.clone()))),
            None => match stack.stopped() {
                Some(why) => Poll::Ready(Err(AcceptError::Stopped(why.to_owned()))),
                None => Poll::Pending,
            },
        };
        acceptor.waiting().until(attempt).await
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many associations were aborted because too many waited to be accepted.
    pub fn refused(&self) -> u64 {
        self.acceptor.refused()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.lease = None;
        for mailbox in self.stack.mailboxes() {
            // A worker that has ended listens no more.
            let _ = mailbox.command(Command::Unlisten { port: self.port });
        }
        self.acceptor.close();
    }
}
