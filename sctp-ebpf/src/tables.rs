//! The maps that the judgement looks things up in. Userspace fills them.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray};
use sctp_common::judge::Tables;
use sctp_common::maps::{AddressKey, PeerEntry, PeerKey, PortEntry, TagEntry, TagKey};
use sctp_common::near::{TAGS_PER_BUCKET, TagBucket};

use crate::settings;

#[map]
static PORTS: Array<PortEntry> = Array::with_max_entries(1 << 16, 0);

/// Tags of associations, three to a bucket.
#[map]
static TAG_BUCKETS: Array<TagBucket> = Array::with_max_entries(settings::TAG_BUCKETS, 0);

/// Those that do not fit their bucket: at worst all, two for each of 32 Ki associations, unless userspace sets another size. Memory is
/// taken as entries come.
#[map]
static TAGS: HashMap<TagKey, TagEntry> = HashMap::with_max_entries(1 << 16, BPF_F_NO_PREALLOC);

/// As many as tags, unless userspace sets another size: one address for each of two associations.
#[map]
static PEERS: HashMap<PeerKey, PeerEntry> = HashMap::with_max_entries(1 << 16, BPF_F_NO_PREALLOC);

#[map]
static ADDRESSES: HashMap<AddressKey, u32> = HashMap::with_max_entries(1024, BPF_F_NO_PREALLOC);

/// Another number whenever userspace has removed an address.
#[map]
static ADDRESS_GENERATION: Array<u32> = Array::with_max_entries(1, 0);

/// The address of ours that this CPU has found last, and in which generation. Most hosts have few, and hear at one of them for a while.
#[map]
static LAST_ADDRESS: PerCpuArray<Remembered> = PerCpuArray::with_max_entries(1, 0);

#[repr(C)]
struct Remembered {
    address: [u64; 2],
    generation: u32,
    /// 1 if there is one.
    is_set: u32,
}

/// The program's maps.
pub(crate) struct Maps;

impl Tables for Maps {
    #[inline(always)]
    fn port(&self, port: u16) -> PortEntry {
        PORTS.get(port.into()).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn tag(&self, key: &TagKey) -> Option<TagEntry> {
        let bucket = TAG_BUCKETS.get_ptr(settings::bucket_of(key))?;
        for place in 0..TAGS_PER_BUCKET {
            // SAFETY: the pointer is to a bucket of the map, which lives as long as the program. Userspace writes to it meanwhile, which is
            // why the key is read before and after: see the module `near`.
            unsafe {
                if key_at(bucket, place) == key.number() {
                    let entry = (*bucket).entry(place);
                    return if key_at(bucket, place) == key.number() { Some(entry) } else { None };
                }
            }
        }
        // SAFETY: as above.
        if unsafe { (*bucket).elsewhere } == 0 {
            return None;
        }
        // SAFETY: userspace replaces an entry as a whole and elements are freed only after the program has run (RCU), so
        // the copy taken here is of one entry or of its successor for the same tag.
        unsafe { TAGS.get(key) }.copied()
    }

    #[inline(always)]
    fn peer(&self, key: &PeerKey) -> Option<PeerEntry> {
        // SAFETY: as above.
        unsafe { PEERS.get(key) }.copied()
    }

    #[inline(always)]
    fn is_ours(&self, address: &[u8; 16]) -> bool {
        let value = u128::from_ne_bytes(*address);
        let words = [value as u64, (value >> 64) as u64];
        let (Some(last), Some(generation)) = (LAST_ADDRESS.get_ptr_mut(0), ADDRESS_GENERATION.get(0)) else {
            return false;
        };
        // SAFETY: the pointer is to this CPU's own value, which the kernel keeps for the program's life, and XDP programs on one CPU
        // do not interrupt each other.
        let last = unsafe { &mut *last };
        if last.address == words && last.generation == *generation && last.is_set != 0 {
            return true;
        }
        // Read before the look-up: an address that is removed meanwhile is not remembered for longer than this generation.
        let generation = *generation;
        let found = ADDRESSES.get_ptr(AddressKey(*address)).is_some();
        if found {
            *last = Remembered { address: words, generation, is_set: 1 };
        }
        found
    }
}

/// The key at `place` of `bucket`, read from memory now.
///
/// # Safety
///
/// `bucket` points to a bucket, and `place` is below [`TAGS_PER_BUCKET`].
#[inline(always)]
unsafe fn key_at(bucket: *const TagBucket, place: usize) -> u64 {
    // SAFETY: the caller vouches for it.
    unsafe { (&raw const (*bucket).keys[place]).read_volatile() }
}
