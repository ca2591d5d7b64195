//! Verification tags that several associations' peers have drawn.
//!
//! Our tags are ours to choose, so on one port no two associations have the same. A peer knows nothing of the tags that
//! other peers chose: two may draw the same one, by chance or to annoy, also where their associations belong to different
//! workers. The programs' map names one association for a tag; the others are remembered here, and one of them is named
//! when that one ends.

use std::collections::{HashMap, HashSet};

use sctp_common::maps::{TagEntry, TagKey};

/// The associations whose tag names another one in the programs' map.
#[derive(Debug, Default)]
pub(super) struct SharedTags {
    others: HashMap<TagKey, HashSet<TagEntry>>,
}

/// What is to be done with the programs' entry for a tag.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It stays as it is.
    Nothing,
    /// It is to name this association.
    Set(TagEntry),
    /// Nobody has the tag any more.
    Remove,
}

impl SharedTags {
    /// An association got the tag, whose entry is `present`.
    pub(super) fn add(&mut self, key: TagKey, present: Option<TagEntry>, entry: TagEntry) -> Change {
        match present {
            Some(present) if present != entry => {
                self.others.entry(key).or_default().insert(entry);
                Change::Nothing
            }
            _ => Change::Set(entry),
        }
    }

    /// An association has the tag, whose entry is `present`, no longer.
    pub(super) fn remove(&mut self, key: TagKey, present: Option<TagEntry>, entry: TagEntry) -> Change {
        let others = self.others.get_mut(&key);
        if present.is_some_and(|present| present != entry) {
            if let Some(others) = others {
                others.remove(&entry);
                self.tidy(key);
            }
            return Change::Nothing;
        }
        let heir = others.and_then(|others| {
            let heir = others.iter().next().copied()?;
            others.remove(&heir);
            Some(heir)
        });
        self.tidy(key);
        heir.map_or(Change::Remove, Change::Set)
    }

    fn tidy(&mut self, key: TagKey) {
        if self.others.get(&key).is_some_and(HashSet::is_empty) {
            self.others.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use sctp_common::maps::TagKind;

    use super::*;

    /// The programs' map, and what is told to it.
    #[derive(Default)]
    struct Map {
        shared: SharedTags,
        entries: HashMap<TagKey, TagEntry>,
    }

    impl Map {
        fn apply(&mut self, change: Change) {
            match change {
                Change::Nothing => {}
                Change::Set(entry) => drop(self.entries.insert(key(), entry)),
                Change::Remove => drop(self.entries.remove(&key())),
            }
        }

        fn add(&mut self, entry: TagEntry) {
            let change = self.shared.add(key(), self.entries.get(&key()).copied(), entry);
            self.apply(change);
        }

        fn remove(&mut self, entry: TagEntry) {
            let change = self.shared.remove(key(), self.entries.get(&key()).copied(), entry);
            self.apply(change);
        }

        fn named(&self) -> Option<TagEntry> {
            self.entries.get(&key()).copied()
        }
    }

    fn key() -> TagKey {
        TagKey::new(5000, TagKind::Peer, 7)
    }

    fn of(worker: u32, slot: u32) -> TagEntry {
        TagEntry { slot, generation: 0, worker }
    }

    #[test]
    fn a_tag_names_somebody_as_long_as_anybody_has_it() {
        // Every order in which three associations, of two workers, can end.
        let all = [of(0, 1), of(0, 2), of(1, 1)];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut map = Map::default();
            all.into_iter().for_each(|entry| map.add(entry));
            assert_eq!(map.named(), Some(all[0]), "the first stays");
            for (count, index) in order.into_iter().enumerate() {
                map.remove(all[index]);
                let left: Vec<_> = order[count + 1..].iter().map(|index| all[*index]).collect();
                match map.named() {
                    Some(named) => assert!(left.contains(&named), "{named:?} has ended: {order:?}"),
                    None => assert!(left.is_empty(), "{left:?} are there: {order:?}"),
                }
            }
            assert!(map.shared.others.is_empty(), "nothing is left");
        }
    }

    #[test]
    fn an_association_may_be_told_of_twice() {
        let mut map = Map::default();
        map.add(of(0, 1));
        map.add(of(0, 1));
        map.remove(of(0, 1));
        assert_eq!(map.named(), None);
        // It never was in the map: there was no room.
        assert_eq!(map.shared.remove(key(), None, of(0, 1)), Change::Remove);
    }
}
