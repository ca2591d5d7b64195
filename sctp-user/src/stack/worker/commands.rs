//! The worker and the application's rare requests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sctp_core::time::Instant;
use sctp_core::{AssociationId, Connect};

use super::Worker;
use crate::datapath::Link;
use crate::stack::channel::{Channel, QueueLimits};
use crate::stack::command::{Command, ConnectFailure, Inspection};
use crate::stack::ports::{PortLease, Reason};
use crate::stack::table::Entry;

impl<L: Link> Worker<L> {
    pub(super) fn obey(&mut self, now: Instant) -> bool {
        let mut worked = false;
        while let Some(command) = self.mailbox.next_command() {
            worked = true;
            match command {
                Command::Connect { connect, limits, reply } => {
                    let result = self.connect(now, *connect, limits);
                    if let Err(Ok(channel)) = reply.send(result) {
                        // Whoever asked has gone in the meantime.
                        channel.abandon();
                    }
                }
                Command::Listen { port, config, acceptor, reply } => {
                    let result = self.endpoint.listen(port, *config);
                    if result.is_ok() {
                        self.acceptors.insert(port, acceptor);
                    }
                    // The listener's own end tells the worker, should nobody wait for the reply.
                    let _ = reply.send(result);
                }
                Command::Unlisten { port } => {
                    self.endpoint.unlisten(port);
                    self.acceptors.remove(&port);
                }
                Command::Act(act) => act(&mut self.endpoint, now),
                Command::SetAddresses(addresses) => self.endpoint.set_local_addresses(&addresses),
                Command::Inspect(look) => look(&Inspection {
                    worker: self.mailbox.index(),
                    endpoint: &self.endpoint,
                    link: self.link.stats(),
                    counters: &self.counters,
                    handed_over_lost: self.mailbox.packets_lost(),
                }),
                Command::Stop { grace } => self.begin_to_stop(now, grace),
            }
        }
        worked
    }

    pub(super) fn connect(
        &mut self,
        now: Instant,
        connect: Connect,
        limits: QueueLimits,
    ) -> Result<Arc<Channel>, ConnectFailure> {
        let id = self.endpoint.connect(now, connect).map_err(ConnectFailure::Refused)?;
        let port = self.endpoint.association(id).map_or(0, |association| association.local_port());
        match self.common.ports.lease(port, Reason::Association) {
            Ok(lease) => {
                let channel = Arc::new(Channel::new(id, self.mailbox.clone(), limits));
                self.adopt(id, channel.clone(), lease);
                Ok(channel)
            }
            Err(error) => {
                self.abort(now, id, Bytes::new());
                Err(ConnectFailure::Port(error))
            }
        }
    }

    /// Takes an association into the table.
    pub(super) fn adopt(&mut self, id: AssociationId, channel: Arc<Channel>, lease: PortLease) {
        let before = self.table.insert(id, Entry::new(channel, lease));
        debug_assert!(before.is_none(), "{id} came before the end of its slot's last association");
    }

    pub(super) fn begin_to_stop(&mut self, now: Instant, grace: Duration) {
        self.stop_at = Some(now + grace);
        for (_, acceptor) in self.acceptors.drain() {
            acceptor.close();
        }
        for channel in self.table.channels() {
            if grace.is_zero() {
                channel.abort(Bytes::from_static(b"the stack was stopped"));
            } else {
                channel.shutdown(true);
            }
        }
    }
}
