//! Which State Cookies are spent: a bounded memory, so that a copy of a COOKIE ECHO cannot revive an association that has ended.
//!
//! RFC 9260 lets a cookie be returned any number of times while it is fresh (§5.1.5). If the association that it made has ended in
//! the meantime on our side alone, say by an ABORT that got lost, the copy would make a twin of it, with the same tags and TSNs;
//! and a peer that still has the first would take the twin's DATA for duplicates and acknowledge what it never got. So the tag of
//! an association that ends is remembered until no cookie with it is fresh any more. Nothing else need be: a tag is drawn anew for
//! every INIT that is not a collision.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::time::Instant;

/// Our port and the tag in the cookie.
type Key = (u16, u32);

/// How an association ended, for whoever returns its cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Both sides know: by a shutdown, or by the peer's ABORT.
    Mutual,
    /// The peer may not know, and should be told.
    OneSided,
}

#[derive(Clone, Copy, Debug)]
struct Spent {
    until: Instant,
    ending: Ending,
}

/// The tags of associations that have ended while cookies with them may be fresh.
#[derive(Debug)]
pub(crate) struct SpentCookies {
    tags: HashMap<Key, Spent, foldhash::quality::SeedableRandomState>,
    /// In the order in which they were spent.
    order: VecDeque<Key>,
    limit: usize,
}

impl SpentCookies {
    /// Remembers at most `limit` tags; beyond it the oldest is forgotten.
    pub(crate) fn new(limit: usize, seed: u64) -> Self {
        let hasher = foldhash::quality::SeedableRandomState::with_seed(seed, foldhash::SharedSeed::global_fixed());
        Self { tags: HashMap::with_hasher(hasher), order: VecDeque::new(), limit }
    }

    /// An association with this tag has ended; cookies with the tag are fresh until then at most.
    pub(crate) fn insert(&mut self, local_port: u16, tag: u32, until: Instant, ending: Ending, now: Instant) {
        self.forget_old(now);
        if until <= now || self.limit == 0 {
            return;
        }
        let key = (local_port, tag);
        if self.tags.insert(key, Spent { until, ending }).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > self.limit {
            self.forget_first();
        }
    }

    /// How the association ended whose cookie this is, if it did and the cookie may be fresh. A cookie that is fresh for longer, until
    /// `expiry`, is none of that association's: the tag has been drawn anew, by somebody in front of us who does not know of this.
    pub(crate) fn find(&self, local_port: u16, tag: u32, expiry: Instant, now: Instant) -> Option<Ending> {
        let is_its = |spent: &&Spent| spent.until > now && expiry <= spent.until;
        self.tags.get(&(local_port, tag)).filter(is_its).map(|spent| spent.ending)
    }

    /// Whether the tag should not be drawn again.
    pub(crate) fn has(&self, local_port: u16, tag: u32) -> bool {
        self.tags.contains_key(&(local_port, tag))
    }

    /// How many are remembered.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.order.len()
    }

    /// Forgets from the front what is stale. One that lives longer may keep others behind it for a while; the limit holds.
    fn forget_old(&mut self, now: Instant) {
        let stale = |key: &Key| self.tags.get(key).is_none_or(|spent| spent.until <= now);
        let count = self.order.iter().take_while(|key| stale(key)).count();
        for _ in 0..count {
            self.forget_first();
        }
        if self.order.is_empty() && self.order.capacity() > 0 {
            self.order = VecDeque::new();
            self.tags.shrink_to_fit();
        }
    }

    fn forget_first(&mut self) {
        if let Some(key) = self.order.pop_front() {
            self.tags.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn remembered_until_the_cookie_is_stale() {
        let mut spent = SpentCookies::new(10, 1);
        spent.insert(7, 1, at(100), Ending::OneSided, at(0));
        spent.insert(7, 2, at(50), Ending::Mutual, at(0));
        spent.insert(7, 3, at(0), Ending::Mutual, at(0));
        assert_eq!(spent.find(7, 1, at(99), at(99)), Some(Ending::OneSided));
        assert_eq!(spent.find(7, 1, at(100), at(100)), None);
        assert_eq!(spent.find(7, 2, at(49), at(49)), Some(Ending::Mutual));
        assert_eq!(spent.find(7, 3, at(0), at(0)), None);
        assert_eq!(spent.find(8, 1, at(0), at(0)), None);
    }

    #[test]
    fn a_cookie_that_is_fresh_for_longer_is_another_s() {
        let mut spent = SpentCookies::new(10, 1);
        spent.insert(7, 1, at(100), Ending::OneSided, at(0));
        assert_eq!(spent.find(7, 1, at(100), at(50)), Some(Ending::OneSided));
        assert_eq!(spent.find(7, 1, at(101), at(50)), None);
        assert!(spent.has(7, 1) && !spent.has(7, 2));
    }

    #[test]
    fn what_is_stale_is_forgotten() {
        let mut spent = SpentCookies::new(10, 1);
        for tag in 1..=5 {
            spent.insert(7, tag, at(100), Ending::OneSided, at(0));
        }
        assert_eq!(spent.len(), 5);
        spent.insert(7, 6, at(200), Ending::OneSided, at(100));
        assert_eq!(spent.len(), 1);
        spent.insert(7, 7, at(200), Ending::OneSided, at(200));
        assert_eq!((spent.len(), spent.order.capacity(), spent.tags.capacity()), (0, 0, 0));
    }

    #[test]
    fn the_oldest_go_beyond_the_limit() {
        let mut spent = SpentCookies::new(1000, 1);
        for tag in 1..=100_000 {
            spent.insert(7, tag, at(100), Ending::OneSided, at(0));
            assert!(spent.len() <= 1000);
        }
        assert_eq!(spent.find(7, 99_000, at(0), at(0)), None);
        assert_eq!(spent.find(7, 99_001, at(0), at(0)), Some(Ending::OneSided));
        assert!(spent.tags.capacity() < 4000);
        let mut none = SpentCookies::new(0, 1);
        none.insert(7, 1, at(100), Ending::OneSided, at(0));
        assert_eq!(none.find(7, 1, at(0), at(0)), None);
    }

    #[test]
    fn spent_twice_counts_once() {
        let mut spent = SpentCookies::new(10, 1);
        spent.insert(7, 1, at(100), Ending::OneSided, at(0));
        spent.insert(7, 1, at(300), Ending::Mutual, at(1));
        assert_eq!((spent.len(), spent.find(7, 1, at(200), at(200))), (1, Some(Ending::Mutual)));
    }
}
