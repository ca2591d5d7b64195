//! A worker's own notes about its associations, found by slot without hashing.

use std::sync::Arc;

use sctp_core::{AssociationId, Message};

use super::channel::Channel;
use super::ports::PortLease;

/// What a worker keeps for an association beside what the endpoint holds.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) channel: Arc<Channel>,
    /// A message that did not fit into the send buffer.
    pub(crate) pending: Option<Message>,
    /// Whether `pending` waits for the association to become writable.
    pub(crate) blocked: bool,
    /// Whether the endpoint has been asked to shut the association down.
    pub(crate) shut_down: bool,
    /// Whether the peer has shut the association down, and waits for what is left to be sent.
    pub(crate) peer_waits: bool,
    /// Keeps the port ours.
    _port: PortLease,
}

impl Entry {
    /// The notes of a new association.
    pub(crate) fn new(channel: Arc<Channel>, port: PortLease) -> Entry {
        Entry { channel, pending: None, blocked: false, shut_down: false, peer_waits: false, _port: port }
    }
}

/// The notes of all of a worker's associations.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// By slot. A slot's entry is that of its present generation.
    entries: Vec<Option<Entry>>,
    len: usize,
}

impl Table {
    /// Adds an association's notes. Those of an earlier one in the same slot come back.
    pub(crate) fn insert(&mut self, id: AssociationId, entry: Entry) -> Option<Entry> {
        let slot = id.slot() as usize;
        if slot >= self.entries.len() {
            self.entries.resize_with(slot + 1, || None);
        }
        let before = self.entries[slot].replace(entry);
        self.len += usize::from(before.is_none());
        before
    }

    /// An association's notes; `None` when the id names nothing any more.
    pub(crate) fn get_mut(&mut self, id: AssociationId) -> Option<&mut Entry> {
        self.entries.get_mut(id.slot() as usize)?.as_mut().filter(|entry| entry.channel.id() == id)
    }

    /// Takes an association's notes out.
    pub(crate) fn remove(&mut self, id: AssociationId) -> Option<Entry> {
        self.get_mut(id)?;
        self.len -= 1;
        self.entries[id.slot() as usize].take()
    }

    /// How many associations there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// All associations.
    pub(crate) fn channels(&self) -> impl Iterator<Item = &Arc<Channel>> {
        self.entries.iter().flatten().map(|entry| &entry.channel)
    }

    /// Takes everything out.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Entry> {
        self.len = 0;
        std::mem::take(&mut self.entries).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::channel::QueueLimits;
    use crate::stack::mailbox::tests::mailbox;
    use crate::stack::ports::{NoControl, Ports, Reason};

    fn entry(id: AssociationId) -> Entry {
        let limits = QueueLimits { outgoing: 1, incoming: 1, max_message_size: 1 };
        let channel = Arc::new(Channel::new(id, Arc::new(mailbox(0)), limits));
        let ports = Arc::new(Ports::new(Box::new(NoControl)));
        Entry::new(channel, ports.lease(1, Reason::Association).unwrap())
    }

    #[test]
    fn an_entry_is_that_of_its_generation() {
        let mut table = Table::default();
        let (first, second) = (AssociationId::from_parts(5, 1), AssociationId::from_parts(5, 2));
        assert!(table.insert(first, entry(first)).is_none());
        assert!(table.get_mut(first).is_some());
        assert!(table.get_mut(second).is_none());
        assert!(table.remove(second).is_none());
        assert_eq!(table.len(), 1);
        assert!(table.remove(first).is_some());
        assert!(table.insert(second, entry(second)).is_none());
        assert!(table.get_mut(first).is_none());
        assert_eq!((table.len(), table.channels().count()), (1, 1));
        assert_eq!(table.drain().count(), 1);
        assert_eq!(table.len(), 0);
        assert!(table.get_mut(second).is_none());
    }
}
