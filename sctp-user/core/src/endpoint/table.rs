//! The associations, and the maps that lead to them.

use core::net::IpAddr;
use std::collections::VecDeque;

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;
use hashbrown::HashMap;
use slab::Slab;
use smallvec::SmallVec;

use crate::association::Association;
use crate::event::{PeerChange, TagChange, TagKind};
use crate::time::Instant;
use crate::{AssociationId, ReceivedMessage};

/// All associations, in slots that are used again under another generation.
#[derive(Debug)]
pub(super) struct Table {
    slots: Slab<Occupant>,
    /// How often each slot has been given back.
    generations: Vec<u32>,
    /// Our port and our tag, to the slot.
    tags: HashMap<(u16, u32), u32, Hasher>,
    /// The peer's address and port and our port, to the slot.
    peers: HashMap<PeerKey, u32, Hasher>,
    tag_changes: VecDeque<TagChange>,
    peer_changes: VecDeque<PeerChange>,
}

/// Seeded by the endpoint's generator: a peer cannot know what collides.
type Hasher = SeedableRandomState;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct PeerKey {
    address: IpAddr,
    peer_port: u16,
    local_port: u16,
}

#[derive(Debug)]
enum Occupant {
    Live(Box<Live>),
    /// It has ended; these messages have not been taken yet.
    Lingering(VecDeque<ReceivedMessage>),
}

/// An association that lives, and what the endpoint notes about it.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) association: Association,
    /// It is in the list of those that may have something to send.
    pub(super) dirty: bool,
    /// Until then a State Cookie with our tag may be fresh; the origin if none was made.
    pub(super) cookie_expiry: Instant,
    /// What the maps hold of it.
    registered: Registered,
}

#[derive(Debug, Default)]
struct Registered {
    local_tag: u32,
    peer_tag: u32,
    addresses: SmallVec<[IpAddr; 1]>,
}

impl Table {
    pub(super) fn new(seed: u64) -> Self {
        let hasher = Hasher::with_seed(seed, SharedSeed::global_fixed());
        Self {
            slots: Slab::new(),
            generations: Vec::new(),
            tags: HashMap::with_hasher(hasher.clone()),
            peers: HashMap::with_hasher(hasher),
            tag_changes: VecDeque::new(),
            peer_changes: VecDeque::new(),
        }
    }

    /// How many slots are in use.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The id that the next association gets.
    pub(super) fn next_id(&self) -> AssociationId {
        self.id_of(self.slots.vacant_key() as u32)
    }

    pub(super) fn id_of(&self, slot: u32) -> AssociationId {
        AssociationId::from_parts(slot, self.generations.get(slot as usize).copied().unwrap_or(0))
    }

    /// The slot of an id, unless it has been given to another since.
    pub(super) fn slot_of(&self, id: AssociationId) -> Option<u32> {
        let current = self.slots.contains(id.slot() as usize) && self.id_of(id.slot()) == id;
        current.then_some(id.slot())
    }

    /// Takes in an association whose id is [`next_id`](Self::next_id).
    pub(super) fn insert(&mut self, association: Association) -> u32 {
        let live =
            Live { association, dirty: false, cookie_expiry: Instant::ORIGIN, registered: Registered::default() };
        let slot = self.slots.insert(Occupant::Live(Box::new(live)));
        if slot >= self.generations.len() {
            self.generations.resize(slot + 1, 0);
        }
        slot as u32
    }

    pub(super) fn get(&self, id: AssociationId) -> Option<&Association> {
        match self.slots.get(self.slot_of(id)? as usize)? {
            Occupant::Live(live) => Some(&live.association),
            Occupant::Lingering(_) => None,
        }
    }

    pub(super) fn live_mut(&mut self, slot: u32) -> Option<&mut Live> {
        match self.slots.get_mut(slot as usize)? {
            Occupant::Live(live) => Some(live),
            Occupant::Lingering(_) => None,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Association> {
        self.slots.iter().filter_map(|(_, occupant)| match occupant {
            Occupant::Live(live) => Some(&live.association),
            Occupant::Lingering(_) => None,
        })
    }

    /// The association with our port and tag.
    pub(super) fn find_tag(&self, local_port: u16, tag: u32) -> Option<u32> {
        self.tags.get(&(local_port, tag)).copied()
    }

    pub(super) fn has_tag(&self, local_port: u16, tag: u32) -> bool {
        self.tags.contains_key(&(local_port, tag))
    }

    /// The association with a peer's address and the ports.
    pub(super) fn find_peer(&self, address: IpAddr, peer_port: u16, local_port: u16) -> Option<u32> {
        self.peers.get(&PeerKey { address, peer_port, local_port }).copied()
    }

    /// Makes the maps agree with an association. Cheap when nothing has changed.
    pub(super) fn sync(&mut self, slot: u32) {
        let Some(Occupant::Live(live)) = self.slots.get(slot as usize) else { return };
        let (association, registered) = (&live.association, &live.registered);
        let unchanged = registered.local_tag == association.local_tag()
            && registered.peer_tag == association.peer_tag()
            && registered.addresses.len() == association.peer_addresses().len();
        if unchanged || association.is_closed() {
            return;
        }
        let now = Registered {
            local_tag: association.local_tag(),
            peer_tag: association.peer_tag(),
            addresses: association.peer_addresses().collect(),
        };
        self.replace(slot, now);
    }

    /// The association has ended: forgets all but the messages that the application has not taken.
    pub(super) fn bury(&mut self, slot: u32) {
        self.replace(slot, Registered::default());
        let Some(occupant) = self.slots.get_mut(slot as usize) else { return };
        if let Occupant::Live(live) = occupant {
            let ready = live.association.take_ready();
            *occupant = Occupant::Lingering(ready);
        }
        if matches!(occupant, Occupant::Lingering(messages) if messages.is_empty()) {
            self.release(slot);
        }
    }

    /// Takes a message of an association that has ended.
    pub(super) fn pop_lingering(&mut self, slot: u32) -> Option<ReceivedMessage> {
        let Some(Occupant::Lingering(messages)) = self.slots.get_mut(slot as usize) else { return None };
        let message = messages.pop_front();
        if messages.is_empty() {
            self.release(slot);
        }
        message
    }

    /// Gives back the slot of an association that has ended.
    pub(super) fn release(&mut self, slot: u32) {
        if let Some(Occupant::Lingering(_)) = self.slots.get(slot as usize) {
            self.slots.remove(slot as usize);
            let generation = &mut self.generations[slot as usize];
            *generation = generation.wrapping_add(1);
        }
    }

    pub(super) fn poll_tag(&mut self) -> Option<TagChange> {
        self.tag_changes.pop_front()
    }

    pub(super) fn poll_peer(&mut self) -> Option<PeerChange> {
        self.peer_changes.pop_front()
    }

    /// Puts what `now` says into the maps in place of what was there, and tells of the differences.
    fn replace(&mut self, slot: u32, now: Registered) {
        let id = self.id_of(slot);
        let Some(Occupant::Live(live)) = self.slots.get_mut(slot as usize) else { return };
        let (local_port, peer_port) = (live.association.local_port(), live.association.peer_port());
        let before = core::mem::take(&mut live.registered);

        for (old, new, kind) in
            [(before.local_tag, now.local_tag, TagKind::Local), (before.peer_tag, now.peer_tag, TagKind::Peer)]
        {
            if old == new {
                continue;
            }
            if old != 0 {
                if kind == TagKind::Local {
                    self.tags.remove(&(local_port, old));
                }
                self.tag_changes.push_back(TagChange::Removed { local_port, tag: old, kind, id });
            }
            if new != 0 {
                if kind == TagKind::Local {
                    self.tags.insert((local_port, new), slot);
                }
                self.tag_changes.push_back(TagChange::Added { local_port, tag: new, kind, id });
            }
        }
        for peer in before.addresses.iter().filter(|peer| !now.addresses.contains(peer)).copied() {
            let key = PeerKey { address: peer, peer_port, local_port };
            // Another association may have claimed the address first.
            if self.peers.get(&key) == Some(&slot) {
                self.peers.remove(&key);
                self.peer_changes.push_back(PeerChange::Removed { peer, peer_port, local_port });
            }
        }
        for peer in now.addresses.iter().filter(|peer| !before.addresses.contains(peer)).copied() {
            let key = PeerKey { address: peer, peer_port, local_port };
            if let hashbrown::hash_map::Entry::Vacant(entry) = self.peers.entry(key) {
                entry.insert(slot);
                self.peer_changes.push_back(PeerChange::Added { peer, peer_port, local_port });
            }
        }
        live.registered = now;
    }
}
