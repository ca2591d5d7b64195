//! The worker and what its endpoint tells: associations that come, change and end.

use std::sync::Arc;

use bytes::Bytes;
use sctp_core::time::Instant;
use sctp_core::{AssociationId, Event, LastTsns, SendFailure};

use super::Worker;
use crate::datapath::Link;
use crate::stack::channel::{Channel, Established};
use crate::stack::notification::{Ended, Notification};
use crate::stack::ports::Reason;

impl<L: Link> Worker<L> {
    pub(super) fn pass_events(&mut self, now: Instant) -> bool {
        let mut worked = false;
        while let Some((id, event)) = self.endpoint.poll_event() {
            worked = true;
            self.pass_event(now, id, event);
        }
        worked
    }

    pub(super) fn pass_event(&mut self, now: Instant, id: AssociationId, event: Event) {
        if let Event::Accepted { local_port, outbound_streams, inbound_streams } = event {
            self.accept(now, id, local_port, (outbound_streams, inbound_streams));
            return;
        }
        let Some(entry) = self.table.get_mut(id) else {
            // An association that was refused before it had a channel.
            if matches!(event, Event::Closed { .. }) {
                self.endpoint.release(id);
            }
            return;
        };
        if let Some(notification) = Notification::from_event(&event) {
            entry.channel.notify(|| notification);
        }
        match event {
            Event::Connected { outbound_streams, inbound_streams } => {
                let established = self.established(id, (outbound_streams, inbound_streams));
                if let Some(entry) = self.table.get_mut(id) {
                    entry.channel.set_established(established);
                }
            }
            Event::Restarted { outbound_streams, inbound_streams } => {
                entry.channel.set_streams(outbound_streams, inbound_streams);
            }
            Event::MessageReceived => self.deliver(id),
            Event::Writable => {
                entry.blocked = false;
                self.serve(now, id);
            }
            Event::PeerShutdown => {
                entry.channel.set_closing();
                entry.peer_waits = true;
                self.serve(now, id);
            }
            Event::Closed { reason, last_tsns } => self.close(id, Ended::Closed(reason), last_tsns),
            _ => {}
        }
    }

    /// A peer has set up an association.
    pub(super) fn accept(&mut self, now: Instant, id: AssociationId, port: u16, streams: (u16, u16)) {
        let refusal = match self.acceptors.get(&port).cloned() {
            None => "nobody listens any more",
            Some(acceptor) => match self.common.ports.lease(port, Reason::Association) {
                Err(_) => "the data path refused the port",
                Ok(lease) => {
                    let limits = acceptor.limits();
                    let channel = Arc::new(Channel::new(id, self.mailbox.clone(), limits));
                    channel.set_established(self.established(id, streams));
                    self.adopt(id, channel.clone(), lease);
                    match acceptor.offer(channel) {
                        Ok(()) => return,
                        Err(_) => "too many associations wait to be accepted",
                    }
                }
            },
        };
        tracing::debug!(port, refusal, "an association was turned away");
        self.abort(now, id, Bytes::from_static(refusal.as_bytes()));
    }

    pub(super) fn established(&self, id: AssociationId, (outbound, inbound): (u16, u16)) -> Established {
        let association = self.endpoint.association(id);
        let mut paths: Vec<_> = association.iter().flat_map(|a| a.paths()).collect();
        paths.sort_by_key(|path| !path.primary);
        Established {
            streams: (outbound, inbound),
            local_port: association.map_or(0, |a| a.local_port()),
            peer_port: association.map_or(0, |a| a.peer_port()),
            peer_addresses: paths.into_iter().map(|path| path.address).collect(),
        }
    }

    /// An association has ended: its reader gets what had arrived, then the end.
    pub(super) fn close(&mut self, id: AssociationId, ended: Ended, last_tsns: LastTsns) {
        let Some(entry) = self.table.remove(id) else { return };
        let discard = entry.channel.requests().discard();
        // What is left is bounded by the receive buffer; the window need not be kept any more.
        let mut charge = 0;
        while let Some(message) = self.endpoint.recv(id) {
            if !discard {
                charge += Channel::charge(message.len());
                entry.channel.deliver(message);
            }
        }
        entry.channel.delivered(charge);
        self.endpoint.release(id);
        if let Some(message) = entry.pending {
            entry.channel.refuse(message, SendFailure::Closed);
        }
        entry.channel.end(ended, Some(last_tsns));
    }
}
