//! The worker and its link: packets in, packets out, timers, tags.

use std::io;

use bytes::Bytes;
use sctp_core::time::Instant;
use sctp_core::{Datagram, Handled, SharedPayload, TagChange, TagKind};

use super::{RECEIVE_BUDGET, TRANSMIT_BUDGET, Worker, WorkerCounters};
use crate::datapath::Link;
use crate::stack::command::Command;
use crate::stack::steer::OwnedPacket;

impl<L: Link> Worker<L> {
    pub(super) fn receive(&mut self, now: Instant) -> io::Result<bool> {
        let Worker { link, endpoint, mailbox, common, counters, .. } = self;
        let worker = mailbox.index();
        let mut sink = |datagram: Datagram<'_>| {
            if let Some(owner) = common.steer.elsewhere(&datagram, worker) {
                counters.handed_over += 1;
                owner.packet(OwnedPacket::copy(&datagram));
                return;
            }
            counters.packets_received += 1;
            counters.count(endpoint.handle(now, datagram));
        };
        let received = link.receive(RECEIVE_BUDGET, &mut sink)?;
        while let Some(error) = self.link.poll_icmp() {
            //= RFC 9260 §10: "Whenever an ICMP message is received by an SCTP endpoint, the following procedures MUST be
            //= followed to ensure proper utilization of the information being provided by layer 3."
            //= RFC 9260 §12.4: "all SCTP implementations MUST implement the ICMP handling described in Section 10"
            let handled = self.endpoint.handle_icmp(now, &error.message());
            tracing::debug!(?handled, ?error, "an ICMP error about a packet of ours");
        }
        Ok(received > 0)
    }

    /// Handles what other workers handed over.
    pub(super) fn take_over(&mut self, now: Instant) -> bool {
        let mut worked = false;
        for _ in 0..RECEIVE_BUDGET {
            let Some(packet) = self.mailbox.next_packet() else { break };
            worked = true;
            self.counters.taken_over += 1;
            let handled = self.endpoint.handle(
                now,
                Datagram {
                    source: packet.source,
                    destination: packet.destination,
                    encapsulation: packet.encapsulation,
                    ecn: packet.ecn,
                    checksum: packet.checksum,
                    association: None,
                    bytes: &packet.bytes,
                    payload: &mut SharedPayload(&packet.bytes),
                },
            );
            self.counters.count(handled);
        }
        worked
    }

    pub(super) fn transmit(&mut self, now: Instant) -> bool {
        self.congested = false;
        for sent in 0..TRANSMIT_BUDGET {
            let Some(buffer) = self.link.transmit_buffer() else {
                self.congested = true;
                self.counters.back_pressure += 1;
                return sent > 0;
            };
            let Some(transmit) = self.endpoint.poll_transmit(now, buffer) else {
                return sent > 0;
            };
            match self.link.transmit(&transmit) {
                Ok(()) => self.counters.packets_sent += 1,
                // As if the network had lost it. The reason is in the link's statistics.
                Err(error) => {
                    self.counters.packets_not_sent += 1;
                    tracing::debug!(%error, destination = %transmit.destination, "packet not sent");
                }
            }
        }
        true
    }

    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let due = self.next_timeout.is_some_and(|at| at <= now);
        if due {
            self.endpoint.handle_timeout(now);
        }
        due
    }

    /// Tells the data path of the tag that an association's peer has drawn.
    fn tell_peer_tag(&self, change: &TagChange) {
        let &TagChange::Added { kind: TagKind::Peer, id, .. } = change else { return };
        let Some(association) = self.endpoint.association(id) else { return };
        if let Err(error) = self.common.ports.control().know_peer_tag(association) {
            // Its HEARTBEATs are answered by the worker then.
            tracing::warn!(%id, %error, "the data path did not take a peer's tag");
        }
    }

    /// Tells the data path and the other workers of tags and peers that came or went.
    pub(super) fn announce(&mut self, now: Instant) {
        while let Some(change) = self.endpoint.poll_tag() {
            let worker = self.mailbox.index();
            let Err(error) = self.common.ports.control().change_tag(worker, &change) else {
                self.tell_peer_tag(&change);
                continue;
            };
            tracing::warn!(?change, %error, "the data path did not take a verification tag");
            if let TagChange::Added { id, .. } = change {
                // Its packets would be dropped as out of the blue: better to end it with a reason.
                let reason = Bytes::from_static(b"no room for another association");
                self.abort(now, id, reason);
            }
        }
        while let Some(change) = self.endpoint.poll_peer() {
            let worker = self.mailbox.index();
            if let Err(error) = self.common.ports.control().change_peer(worker, &change) {
                // The association works all the same; a packet of this peer with a wrong tag will be taken for one out of the blue.
                tracing::warn!(?change, %error, "the data path did not take a peer");
            }
            self.common.steer.change_peer(change, worker);
        }
    }
}

impl<L: Link> Worker<L> {
    /// The first worker watches the host's addresses for all.
    pub(super) fn follow_addresses(&mut self) {
        if self.mailbox.index() != 0 {
            return;
        }
        let generation = self.common.ports.control().generation();
        if generation == self.generation {
            return;
        }
        self.generation = generation;
        let addresses = match self.common.ports.control().addresses() {
            Ok(addresses) => addresses,
            Err(error) => {
                tracing::warn!(%error, "the data path did not take the host's addresses");
                return;
            }
        };
        if addresses == self.addresses {
            return;
        }
        tracing::info!(?addresses, "the host's addresses");
        for mailbox in self.common.steer.mailboxes() {
            // A worker that has ended needs no addresses.
            let _ = mailbox.command(Command::SetAddresses(addresses.clone()));
        }
        self.addresses = addresses;
    }
}

impl WorkerCounters {
    fn count(&mut self, handled: Handled) {
        match handled {
            Handled::Processed(_) => {}
            Handled::Answered => self.answered += 1,
            Handled::Dropped(reason) => self.discarded[reason as usize] += 1,
        }
    }
}
