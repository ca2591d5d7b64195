//! A table of verification tags that the XDP program looks into without a call: most of them are found, or known to be nobody's, with
//! one line of the CPU's cache.
//!
//! The kernel's hash maps cost a call (20 ns and more, where returns are protected against speculation) and with a million entries three
//! or four cache misses: bucket, list, entry, value. Array maps are read in place. So the tags lie in an array of [buckets](TagBucket)
//! of 64 bytes, three to a bucket; [`bucket_of`] says which. What does not fit its bucket lies in the map
//! [`TAGS`](crate::maps::names::TAGS), a hash map of the kernel's, and the bucket counts how many those are. While it counts none, a tag
//! that is not in the bucket is nobody's.
//!
//! # Writing while it is read
//!
//! Userspace writes a bucket as a whole, and the program reads it at the same time. A key is one aligned word, which is written at once; the
//! rest is not. So an entry is written twice: with a key of zero, then with its own ([`TagBucket::without`]). It is removed by
//! one write. The program reads the key, then the entry, then the key again: if it is still the same, so is the entry.

use crate::maps::{TagEntry, TagKey};
use crate::siphash::HashKey;

/// Tags in a bucket.
pub const TAGS_PER_BUCKET: usize = 3;

/// Which of `buckets` buckets `key` belongs to.
///
/// The hash is a multiplication by a secret number, and one to mix. That is enough: our own tags are random, and a peer that could guess the
/// number and chose its tags by it would send its own packets through the slower map.
#[inline(always)]
#[must_use]
pub const fn bucket_of(key: &TagKey, secret: &HashKey, buckets: u32) -> u32 {
    let hash = (key.number() ^ secret[0]).wrapping_mul(secret[1] | 1);
    let hash = (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    ((hash * buckets as u64) >> 32) as u32
}

/// How many buckets there are for `tags` tags: half full with all of them, and one in ten of those in the map behind.
#[must_use]
pub const fn buckets_for(tags: u32) -> u32 {
    if tags < 2 { 1 } else { tags / 2 }
}

/// Three tags at most, in 64 bytes.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TagBucket {
    /// [Numbers](TagKey::number) of the keys; 0 where there is none.
    pub keys: [u64; TAGS_PER_BUCKET],
    /// Slots and generations.
    pub places: [[u32; 2]; TAGS_PER_BUCKET],
    /// Workers.
    pub workers: [u16; TAGS_PER_BUCKET],
    /// How many tags that belong here lie in the map [`TAGS`](crate::maps::names::TAGS).
    pub elsewhere: u16,
    unused: u64,
}

impl TagBucket {
    /// Bytes of one bucket.
    pub const SIZE: usize = 64;

    /// The entry of `key`, if it is here.
    #[must_use]
    pub fn find(&self, key: &TagKey) -> Option<TagEntry> {
        self.place_of(key.number()).map(|place| self.entry(place))
    }

    /// The entry at `place`, below [`TAGS_PER_BUCKET`].
    #[inline(always)]
    #[must_use]
    pub const fn entry(&self, place: usize) -> TagEntry {
        let [slot, generation] = self.places[place];
        TagEntry { slot, generation, worker: self.workers[place] as u32 }
    }

    /// The bucket with `entry` for `key`, which it does not have; `None` if it is full.
    #[must_use]
    pub fn with(mut self, key: &TagKey, entry: TagEntry) -> Option<Self> {
        let place = self.place_of(0)?;
        self.keys[place] = key.number();
        self.places[place] = [entry.slot, entry.generation];
        self.workers[place] = entry.worker as u16;
        Some(self)
    }

    /// The bucket with no key in the place of `key`, and all else as it is; `None` if it does not have `key`.
    #[must_use]
    pub fn without(mut self, key: &TagKey) -> Option<Self> {
        let place = self.place_of(key.number())?;
        self.keys[place] = 0;
        Some(self)
    }

    /// The bucket with another count of tags that lie elsewhere.
    #[must_use]
    pub const fn with_elsewhere(mut self, elsewhere: u16) -> Self {
        self.elsewhere = elsewhere;
        self
    }

    /// The bucket as the map holds it.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let (words, _) = bytes.as_chunks_mut::<8>();
        let word = |place: usize| {
            let [slot, generation] = self.places[place].map(u32::to_ne_bytes);
            let [a, b, c, d] = slot;
            let [e, f, g, h] = generation;
            [a, b, c, d, e, f, g, h]
        };
        let [a, b, c] = self.workers.map(u16::to_ne_bytes);
        let last = self.elsewhere.to_ne_bytes();
        let workers = [a[0], a[1], b[0], b[1], c[0], c[1], last[0], last[1]];
        let [k0, k1, k2] = self.keys.map(u64::to_ne_bytes);
        for (to, from) in words.iter_mut().zip([k0, k1, k2, word(0), word(1), word(2), workers]) {
            *to = from;
        }
        bytes
    }

    /// The bucket from the map's bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let mut bucket = Self::default();
        let (words, _) = bytes.as_chunks::<8>();
        for (place, key) in bucket.keys.iter_mut().enumerate() {
            *key = u64::from_ne_bytes(words[place]);
        }
        for (place, to) in bucket.places.iter_mut().enumerate() {
            let [a, b, c, d, e, f, g, h] = words[TAGS_PER_BUCKET + place];
            *to = [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])];
        }
        let [a, b, c, d, e, f, g, h] = words[2 * TAGS_PER_BUCKET];
        bucket.workers = [[a, b], [c, d], [e, f]].map(u16::from_ne_bytes);
        bucket.elsewhere = u16::from_ne_bytes([g, h]);
        bucket
    }

    fn place_of(&self, number: u64) -> Option<usize> {
        self.keys.iter().position(|key| *key == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maps::TagKind;

    const KEY: HashKey = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3211];

    fn key(tag: u32) -> TagKey {
        TagKey::new(38412, TagKind::Local, tag)
    }

    fn entry(slot: u32) -> TagEntry {
        TagEntry { slot, generation: slot + 1, worker: slot + 2 }
    }

    #[test]
    fn a_bucket_is_a_line_of_the_cache_and_its_bytes_are_those_of_the_struct() {
        assert_eq!((size_of::<TagBucket>(), TagBucket::SIZE), (64, 64));
        let bucket = TagBucket::default().with(&key(7), entry(1)).unwrap().with(&key(8), entry(4)).unwrap();
        let bucket = bucket.with_elsewhere(0x0102);
        assert_eq!(TagBucket::from_bytes(&bucket.to_bytes()), bucket);
        let bytes = bucket.to_bytes();
        assert_eq!(bytes[8..16], key(8).number().to_ne_bytes());
        assert_eq!((&bytes[32..36], &bytes[36..40]), (&4_u32.to_ne_bytes()[..], &5_u32.to_ne_bytes()[..]));
        assert_eq!((&bytes[50..52], &bytes[54..56]), (&6_u16.to_ne_bytes()[..], &0x0102_u16.to_ne_bytes()[..]));
    }

    #[test]
    fn three_tags_fit_and_each_is_found() {
        let mut bucket = TagBucket::default();
        for tag in 1..=3 {
            bucket = bucket.with(&key(tag), entry(tag)).unwrap();
        }
        assert_eq!(bucket.with(&key(4), entry(4)), None);
        assert!((1..=3).all(|tag| bucket.find(&key(tag)) == Some(entry(tag))));
        assert_eq!(bucket.find(&TagKey::new(38412, TagKind::Peer, 1)), None);
        let removed = bucket.without(&key(2)).unwrap();
        assert_eq!((removed.find(&key(2)), removed.find(&key(3))), (None, Some(entry(3))));
        assert_eq!(removed.without(&key(2)), None);
        assert!(removed.with(&key(4), entry(4)).is_some());
    }

    #[test]
    fn tags_spread_evenly_over_buckets() {
        for buckets in [1_u32, 3, 64, 1000] {
            let mut share = vec![0_u32; buckets as usize];
            for tag in 1..=100_000 {
                share[bucket_of(&key(tag), &KEY, buckets) as usize] += 1;
            }
            let fair = 100_000 / buckets;
            assert!(share.iter().all(|&n| n >= fair / 2 && n <= fair * 2), "{buckets} buckets");
        }
    }

    #[test]
    fn there_is_always_a_bucket() {
        assert_eq!([0, 1, 2, 3, 1 << 20].map(buckets_for), [1, 1, 1, 1, 1 << 19]);
    }
}
