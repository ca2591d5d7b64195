//! Verification tags as the program looks them up: in [buckets](sctp_common::near), and behind them in a hash map.

use aya::maps::{Array, HashMap, MapData, MapError};
use sctp_common::maps::{TagEntry, TagKey};
use sctp_common::near::{TagBucket, bucket_of};
use sctp_common::siphash::HashKey;

use super::program::is_missing;

/// The tags of one program.
pub(super) struct Tags {
    buckets: Array<MapData, [u8; TagBucket::SIZE]>,
    behind: HashMap<MapData, [u8; TagKey::SIZE], [u8; TagEntry::SIZE]>,
    secret: HashKey,
}

impl Tags {
    /// The tags in two maps of a program whose hash key is `secret`.
    pub(super) fn new(
        buckets: Array<MapData, [u8; TagBucket::SIZE]>,
        behind: HashMap<MapData, [u8; TagKey::SIZE], [u8; TagEntry::SIZE]>,
        secret: HashKey,
    ) -> Self {
        Self { buckets, behind, secret }
    }

    /// The entry of `key`.
    pub(super) fn get(&self, key: TagKey) -> Option<TagEntry> {
        let (_, bucket) = self.bucket(key).ok()?;
        match bucket.find(&key) {
            None if bucket.elsewhere > 0 => self.behind.get(&key.to_bytes(), 0).ok().map(TagEntry::from_bytes),
            found => found,
        }
    }

    /// Sets the entry of `key`.
    ///
    /// # Errors
    ///
    /// If neither the bucket nor the map behind has room, or the kernel refuses.
    pub(super) fn set(&mut self, key: TagKey, entry: TagEntry) -> Result<(), MapError> {
        match self.get(key) {
            Some(present) if present == entry => return Ok(()),
            Some(_) => self.remove(key)?,
            None => {}
        }
        let (index, bucket) = self.bucket(key)?;
        if let Some(bucket) = bucket.with(&key, entry) {
            // All but the key first: once that is there, the rest is read.
            if let Some(without) = bucket.without(&key) {
                self.write(index, &without)?;
            }
            return self.write(index, &bucket);
        }
        self.behind.insert(key.to_bytes(), entry.to_bytes(), 0)?;
        // Not more than are counted: the last ones would not be looked for.
        let Some(elsewhere) = bucket.elsewhere.checked_add(1) else {
            self.behind.remove(&key.to_bytes())?;
            return Err(MapError::OutOfBounds { index, max_entries: self.buckets.len() });
        };
        self.write(index, &bucket.with_elsewhere(elsewhere))
    }

    /// Removes `key`; that it is not there is no error.
    pub(super) fn remove(&mut self, key: TagKey) -> Result<(), MapError> {
        let (index, bucket) = self.bucket(key)?;
        if let Some(bucket) = bucket.without(&key) {
            return self.write(index, &bucket);
        }
        if bucket.elsewhere == 0 {
            return Ok(());
        }
        match self.behind.remove(&key.to_bytes()) {
            Ok(()) => self.write(index, &bucket.with_elsewhere(bucket.elsewhere - 1)),
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn bucket(&self, key: TagKey) -> Result<(u32, TagBucket), MapError> {
        let index = bucket_of(&key, &self.secret, self.buckets.len());
        Ok((index, TagBucket::from_bytes(&self.buckets.get(&index, 0)?)))
    }

    fn write(&mut self, index: u32, bucket: &TagBucket) -> Result<(), MapError> {
        self.buckets.set(index, bucket.to_bytes(), 0)
    }
}

#[cfg(test)]
mod tests {
    use sctp_common::maps::TagKind;

    use super::*;

    fn key(tag: u32) -> TagKey {
        TagKey::new(38412, TagKind::Local, tag)
    }

    fn entry(slot: u32) -> TagEntry {
        TagEntry { slot, generation: 1, worker: 2 }
    }

    /// More tags than the buckets hold: two of them, so all but six of the tags lie behind.
    #[test]
    fn tags_are_found_where_they_lie() {
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "this test needs root");
            eprintln!("not run: this test needs root, for maps in the kernel");
            return;
        }
        let buckets = Array::create(2, 0).unwrap();
        let behind = HashMap::create(64, 0).unwrap();
        let mut tags = Tags::new(buckets, behind, [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3211]);
        for tag in 1..=40 {
            tags.set(key(tag), entry(tag)).unwrap();
        }
        assert!((1..=40).all(|tag| tags.get(key(tag)) == Some(entry(tag))));
        assert_eq!(tags.get(key(41)), None);
        assert_eq!(tags.behind.keys().count(), 34);
        for tag in (1..=40).filter(|tag| tag % 2 == 0) {
            tags.remove(key(tag)).unwrap();
            tags.remove(key(tag)).unwrap();
        }
        tags.set(key(1), entry(77)).unwrap();
        for tag in 2..=40 {
            assert_eq!(tags.get(key(tag)), (tag % 2 != 0).then(|| entry(tag)), "{tag}");
        }
        assert_eq!(tags.get(key(1)), Some(entry(77)));
        for tag in 1..=40 {
            tags.remove(key(tag)).unwrap();
        }
        let nothing = |index| TagBucket::from_bytes(&tags.buckets.get(&index, 0).unwrap());
        assert!([0, 1].iter().all(|index| nothing(*index).elsewhere == 0 && nothing(*index).keys == [0; 3]));
        assert_eq!(tags.behind.keys().count(), 0);
    }
}
