//! The maps that the judgement looks things up in. Userspace fills them.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap};
use sctp_common::judge::Tables;
use sctp_common::maps::{AddressKey, PeerEntry, PeerKey, PortEntry, TagEntry, TagKey};

#[map]
static PORTS: Array<PortEntry> = Array::with_max_entries(1 << 16, 0);

/// Two tags for each association: 32 Ki associations, unless userspace sets another size. Memory is taken as entries come.
#[map]
static TAGS: HashMap<TagKey, TagEntry> = HashMap::with_max_entries(1 << 16, BPF_F_NO_PREALLOC);

/// As many as tags, unless userspace sets another size: one address for each of two associations.
#[map]
static PEERS: HashMap<PeerKey, PeerEntry> = HashMap::with_max_entries(1 << 16, BPF_F_NO_PREALLOC);

#[map]
static ADDRESSES: HashMap<AddressKey, u32> = HashMap::with_max_entries(1024, BPF_F_NO_PREALLOC);

/// The program's maps.
pub(crate) struct Maps;

impl Tables for Maps {
    #[inline(always)]
    fn port(&self, port: u16) -> PortEntry {
        PORTS.get(port.into()).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn tag(&self, key: &TagKey) -> Option<TagEntry> {
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
        ADDRESSES.get_ptr(AddressKey(*address)).is_some()
    }
}
