//! The worker and the channels of its associations: messages out, messages in, ends that are asked for.

use bytes::Bytes;
use sctp_core::time::Instant;
use sctp_core::{AssociationId, Message, SendError, SendFailure};

use super::{SEND_BUDGET, SERVE_BUDGET, Worker};
use crate::datapath::Link;
use crate::stack::channel::Channel;

impl<L: Link> Worker<L> {
    /// Serves the associations that have something in their channel.
    pub(super) fn serve_ready(&mut self, now: Instant) -> bool {
        let again = self.agenda.len();
        for _ in 0..again {
            if let Some(id) = self.agenda.pop_front() {
                self.serve(now, id);
            }
        }
        let mut served = again;
        for _ in 0..SERVE_BUDGET {
            let Some(id) = self.mailbox.next_ready() else { break };
            if let Some(entry) = self.table.get_mut(id) {
                entry.channel.unschedule();
                self.serve(now, id);
            }
            served += 1;
        }
        served > 0
    }

    pub(super) fn serve(&mut self, now: Instant, id: AssociationId) {
        let Some(entry) = self.table.get_mut(id) else { return };
        let requests = entry.channel.requests();
        if requests.abort() {
            let reason = entry.channel.abort_reason();
            self.abort(now, id, reason);
            return;
        }
        let drained = self.send(now, id);
        let Some(entry) = self.table.get_mut(id) else { return };
        // What was accepted goes, also what another thread is about to put in; it schedules the channel then.
        if drained && entry.channel.is_drained() {
            if core::mem::take(&mut entry.peer_waits) {
                // It may have ended already; then its last event is on the way.
                let _ = self.endpoint.finish_sending(now, id);
            }
            if requests.shutdown() && !entry.shut_down {
                entry.shut_down = true;
                // As above.
                let _ = self.endpoint.shutdown(now, id);
            }
        }
        self.deliver(id);
    }

    pub(super) fn abort(&mut self, now: Instant, id: AssociationId, reason: Bytes) {
        // It may have ended already; then its last event is on the way.
        let _ = self.endpoint.abort(now, id, reason);
    }

    /// Moves messages from the channel to the association's send buffer; whether none is left.
    pub(super) fn send(&mut self, now: Instant, id: AssociationId) -> bool {
        let Some(entry) = self.table.get_mut(id) else { return true };
        // Of an association that has ended, the end is on the way; it reports what the channel still has.
        if entry.blocked || self.endpoint.association(id).is_none() {
            return false;
        }
        let mut released = 0;
        let mut drained = false;
        for _ in 0..SEND_BUDGET {
            let Some(message) = entry.pending.take().or_else(|| entry.channel.next_outgoing()) else {
                drained = true;
                break;
            };
            let charge = Channel::charge(message.payload.len());
            let (context, stream) = (message.context, message.stream);
            match self.endpoint.send(now, id, message) {
                Ok(()) => released += charge,
                Err(SendError::WouldBlock(message)) => {
                    entry.pending = Some(message);
                    entry.blocked = true;
                    break;
                }
                Err(error) => {
                    released += charge;
                    tracing::debug!(%id, %error, "a message was not taken");
                    // A restart may have left fewer streams, or addresses.
                    let message = Message::new(stream, Bytes::new()).with_context(context);
                    let reason = match error {
                        SendError::NoSuchPath(_) => SendFailure::NoSuchPath,
                        _ => SendFailure::NoSuchStream,
                    };
                    entry.channel.refuse(message, reason);
                }
            }
        }
        if released > 0 {
            entry.channel.release(released);
        }
        if !drained && !entry.blocked {
            self.agenda.push_back(id);
        }
        drained
    }

    /// Moves messages that have arrived to the channel, as far as it has room.
    pub(super) fn deliver(&mut self, id: AssociationId) {
        let Some(entry) = self.table.get_mut(id) else { return };
        if entry.channel.requests().discard() {
            while self.endpoint.recv(id).is_some() {}
            return;
        }
        loop {
            let room = entry.channel.room();
            let mut charge = 0;
            while charge < room {
                let Some(message) = self.endpoint.recv(id) else { break };
                charge += Channel::charge(message.len());
                entry.channel.deliver(message);
            }
            if charge > 0 {
                entry.channel.delivered(charge);
            }
            // Without room the channel says when there is some; with room left all is delivered.
            if charge < room || room == 0 {
                return;
            }
        }
    }
}
