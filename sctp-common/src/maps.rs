//! Names, keys and values of the XDP program's maps and globals.
//!
//! The structs are `repr(C)` without padding, so that their bytes, which are all the kernel compares and copies, are
//! fully defined. Userspace handles them as byte arrays (`to_bytes`, `from_bytes`): it then needs no `unsafe` promise
//! about their layout. All numbers are in host byte order.

use crate::verdict::Verdict;

/// What the bytes of keys and values mean. To be raised whenever they come to mean something else without a change of their sizes: programs
/// are replaced under maps that hold entries.
pub const LAYOUT: u32 = 3;

/// Map names, as they stand in the ELF object.
pub mod names {
    /// Array of [`PortEntry`](super::PortEntry), index = SCTP port: which ports are ours.
    pub const PORTS: &str = "PORTS";
    /// Array of [`TagBucket`](crate::near::TagBucket), index = [`bucket_of`](crate::near::bucket_of): verification tags of live
    /// associations.
    pub const TAG_BUCKETS: &str = "TAG_BUCKETS";
    /// Hash of [`TagKey`](super::TagKey) to [`TagEntry`](super::TagEntry): those that did not fit their bucket.
    pub const TAGS: &str = "TAGS";
    /// Hash of [`PeerKey`](super::PeerKey) to [`PeerEntry`](super::PeerEntry): the peers of live associations.
    pub const PEERS: &str = "PEERS";
    /// Hash of [`HeartbeatKey`](super::HeartbeatKey) to [`HeartbeatEntry`](super::HeartbeatEntry): whose HEARTBEATs are answered by the
    /// program.
    pub const HEARTBEATS: &str = "HEARTBEATS";
    /// Hash of [`AddressKey`](super::AddressKey) to `u32` (its value has no meaning): our own IP addresses.
    pub const ADDRESSES: &str = "ADDRESSES";
    /// Array of one [`CookieSettings`](crate::cookie::CookieSettings): how State Cookies are made and checked.
    pub const COOKIES: &str = "COOKIES";
    /// Array of one `u32`, which is another number whenever an address has been removed from [`ADDRESSES`].
    pub const ADDRESS_GENERATION: &str = "ADDRESS_GENERATION";
    /// Array of [`Offer`](crate::init::Offer): what INIT ACKs say of listeners, index = [`PortEntry::offer`](super::PortEntry::offer).
    pub const OFFERS: &str = "OFFERS";
    /// Array of one [`Announced`](crate::init::Announced): which addresses INIT ACKs list.
    pub const ANNOUNCED: &str = "ANNOUNCED";
    /// AF_XDP sockets, index = [`socket_index`](super::socket_index).
    pub const XSKS: &str = "XSKS";
    /// Per-CPU array of `u64`, index = [`counter_index`](super::counter_index).
    pub const COUNTERS: &str = "COUNTERS";
    /// Array of one [`Watch`](crate::sample::Watch): which drops somebody looks at.
    pub const WATCH: &str = "WATCH";
    /// Ring buffer of [`Sample`](crate::sample::Sample)s.
    pub const DROPS: &str = "DROPS";
    /// Per-CPU array of one [`Sampling`](crate::sample::Sampling).
    pub const SAMPLING: &str = "SAMPLING";
}

/// Names of the program's globals, set when it is loaded and constant afterwards.
pub mod globals {
    /// `u32`: how many workers there are (at least 1).
    pub const WORKERS: &str = "WORKERS";
    /// `u32`: how many entries the map [`TAG_BUCKETS`](super::names::TAG_BUCKETS) has.
    pub const TAG_BUCKET_COUNT: &str = "TAG_BUCKET_COUNT";
    /// `[u64; 2]`: key of [`Steering`](crate::steering::Steering), and of [`bucket_of`](crate::near::bucket_of).
    pub const HASH_KEY: &str = "HASH_KEY";
    /// `u32`: bits of [`policy`](super::policy).
    pub const POLICY: &str = "POLICY";
    /// `u32`: the longest SCTP packet, in bytes, common header included, whose CRC32c is verified before it is redirected.
    /// Longer ones are redirected as [`Checksum::NotChecked`](crate::metadata::Checksum::NotChecked), and whoever receives
    /// them has to verify them. What the program answers it has verified, whatever the length. As built: all.
    pub const VERIFY_UP_TO: &str = "VERIFY_UP_TO";
    /// `[u64; 2]`: [`Rate`](crate::limit::Rate) at which each CPU answers packets out of the blue. As built:
    /// [`Rate::ANSWERS_PER_CPU`](crate::limit::Rate::ANSWERS_PER_CPU).
    pub const ANSWERS_PER_CPU: &str = "ANSWERS_PER_CPU";
    /// `[u64; 2]`: the same for those from one network ([`source_prefix`](crate::limit::source_prefix)). As built:
    /// [`Rate::ANSWERS_PER_PREFIX`](crate::limit::Rate::ANSWERS_PER_PREFIX).
    pub const ANSWERS_PER_PREFIX: &str = "ANSWERS_PER_PREFIX";
    /// `[u64; 2]`: [`Rate`](crate::limit::Rate) at which each CPU gives samples of dropped packets, while somebody looks. As built:
    /// [`Rate::SAMPLES_PER_CPU`](crate::limit::Rate::SAMPLES_PER_CPU).
    pub const SAMPLES_PER_CPU: &str = "SAMPLES_PER_CPU";
    /// `[u64; 2]`: [`Rate`](crate::limit::Rate) of INITs on each CPU that go to workers before the program
    /// [answers them itself](super::policy::INIT_COOKIES). As built: [`Rate::INITS_PER_CPU`](crate::limit::Rate::INITS_PER_CPU).
    pub const INITS_PER_CPU: &str = "INITS_PER_CPU";
    /// `u32`: how many queues have counters of their own. All further ones share those that come last. As built: none.
    pub const QUEUES: &str = "QUEUES";
    /// `u32`: our UDP encapsulation port (RFC 6951), or 0, as built, if what comes in UDP is not looked at.
    pub const UDP_PORT: &str = "UDP_PORT";
    /// `u8`: most verbose level that the program logs (0 none, 1 error, 2 warn, 3 info …), defined by aya-log. At 0 the
    /// verifier removes the logging code altogether.
    pub const LOG_LEVEL: &str = "AYA_LOG_LEVEL";
}

/// Bits of the global [`POLICY`](globals::POLICY).
pub mod policy {
    /// The interface is a trusted local link (veth, tap, loopback): a checksum field of zero means that the sender, on
    /// this same machine, left the CRC to "offload". Such packets are accepted, marked
    /// [`Checksum::Trusted`](crate::metadata::Checksum::Trusted).
    pub const TRUSTED_LINK: u32 = 1 << 0;
    /// The driver has no room for metadata: redirect without it instead of dropping by name. Userspace then decodes
    /// each frame itself, and must wipe a frame's metadata place before it gives the frame back to the fill ring, lest
    /// an older struct be taken for a new one.
    pub const WITHOUT_METADATA: u32 = 1 << 1;
    /// Packets out of the blue are never answered (RFC 9260 §8.4 says that they SHOULD be): nobody learns from this host
    /// what it has not.
    pub const SILENT: u32 = 1 << 2;
    /// A first fragment of a packet for us is left to the kernel, for whoever reassembles there, instead of being dropped.
    pub const PASS_FRAGMENTS: u32 = 1 << 3;
    /// HEARTBEATs are answered where [`HEARTBEATS`](super::names::HEARTBEATS) has an entry.
    pub const ANSWER_HEARTBEATS: u32 = 1 << 4;
    /// What is to be answered goes to a worker, who answers it: the driver does not send what the program returns for sending. That
    /// of veth drops it without a word unless the other end has an XDP program too.
    pub const WORKERS_ANSWER: u32 = 1 << 5;
    /// INITs beyond a [rate](super::globals::INITS_PER_CPU) are answered by the program ([`init`](crate::init)), as far as it can; of others
    /// few go to workers.
    pub const INIT_COOKIES: u32 = 1 << 6;
    /// All INITs are, not only those beyond the rate. With [`INIT_COOKIES`] only.
    pub const ALWAYS_INIT_COOKIES: u32 = 1 << 7;
}

/// The index in [`XSKS`](names::XSKS) of the socket that `worker` has bound to `queue`.
#[inline(always)]
#[must_use]
pub const fn socket_index(queue: u32, worker: u16, workers: u32) -> u32 {
    queue.wrapping_mul(workers).wrapping_add(worker as u32)
}

/// The index in [`COUNTERS`](names::COUNTERS) of a verdict on a packet that came by `queue`, where `queues` have counters of their own.
#[inline(always)]
#[must_use]
pub const fn counter_index(queue: u32, queues: u32, verdict: u32) -> u32 {
    let row = if queue < queues { queue } else { queues };
    row.wrapping_mul(Verdict::COUNT).wrapping_add(verdict)
}

/// How many entries [`COUNTERS`](names::COUNTERS) has where `queues` have counters of their own.
#[must_use]
pub const fn counters(queues: u32) -> u32 {
    (queues + 1) * Verdict::COUNT
}

/// How many entries the map [`OFFERS`](names::OFFERS) has: how many kinds of listeners there can be whose INITs the program answers.
pub const OFFERS: u32 = 256;

/// What the program knows of one SCTP port.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortEntry {
    /// Bits: [`OWNED`](Self::OWNED), [`LISTENING`](Self::LISTENING); from bit 16 the number of the [offer](Self::offer), counted from 1.
    pub flags: u32,
}

impl PortEntry {
    /// The port is ours: the program judges its packets. Without this bit they pass to the kernel untouched.
    pub const OWNED: u32 = 1 << 0;
    /// INIT chunks of anybody are wanted: there is a listener. Without this bit an INIT reaches a worker only from the
    /// peer of an association, which may restart or collide with it (RFC 9260 §5.2.1, §5.2.2); any other is refused.
    pub const LISTENING: u32 = 1 << 1;
    /// Bytes of one value.
    pub const SIZE: usize = 4;

    /// An entry for a port that is ours.
    #[must_use]
    pub const fn owned(listening: bool) -> Self {
        Self { flags: if listening { Self::OWNED | Self::LISTENING } else { Self::OWNED } }
    }

    /// The same for a port whose listener has the offer at this index of the map [`OFFERS`](names::OFFERS), below [`OFFERS`].
    #[must_use]
    pub const fn with_offer(self, index: u16) -> Self {
        Self { flags: self.flags & 0xffff | (index as u32 + 1) << 16 }
    }

    /// The same for a port whose INITs the program does not answer.
    #[must_use]
    pub const fn without_offer(self) -> Self {
        Self { flags: self.flags & 0xffff }
    }

    /// The index of the listener's offer, if the program may answer INITs to it.
    #[inline(always)]
    #[must_use]
    pub const fn offer(self) -> Option<u32> {
        (self.flags >> 16).checked_sub(1)
    }

    /// Whether the port is ours.
    #[inline(always)]
    #[must_use]
    pub const fn is_owned(self) -> bool {
        self.flags & Self::OWNED != 0
    }

    /// Whether INIT chunks to the port are wanted.
    #[inline(always)]
    #[must_use]
    pub const fn is_listening(self) -> bool {
        self.flags & Self::LISTENING != 0
    }

    /// The value as the map holds it.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::SIZE] {
        self.flags.to_ne_bytes()
    }

    /// The value from the map's bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        Self { flags: u32::from_ne_bytes(bytes) }
    }
}

/// Whose tag a [`TagKey`] holds.
///
/// A packet's first chunk decides which of the two it must carry ([`rules::expected_tag`](crate::rules::expected_tag)),
/// so one look-up suffices, and a local tag can never be mistaken for a peer's tag of the same value.
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TagKind {
    /// A tag that we drew: what every packet of the peer carries (RFC 9260 §8.5).
    Local = 0,
    /// A tag that the peer drew: what ABORT and SHUTDOWN COMPLETE with the T bit reflect (§8.5.1 B, C).
    Peer = 1,
}

/// Key of the map [`TAGS`](names::TAGS), and of the [buckets](crate::near) in front of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TagKey {
    local_port: u16,
    kind: u16,
    tag: u32,
}

impl TagKey {
    /// Bytes of one key.
    pub const SIZE: usize = 8;

    /// The key for `tag` (of the side that `kind` says) on our port `local_port`.
    #[inline(always)]
    #[must_use]
    pub const fn new(local_port: u16, kind: TagKind, tag: u32) -> Self {
        Self { local_port, kind: kind as u16, tag }
    }

    /// The key as one number, which is not 0 for a tag that is not: those of associations never are.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u64 {
        self.local_port as u64 | (self.kind as u64) << 16 | (self.tag as u64) << 32
    }

    /// The key as the map compares it.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::SIZE] {
        let [a, b] = self.local_port.to_ne_bytes();
        let [c, d] = self.kind.to_ne_bytes();
        let [e, f, g, h] = self.tag.to_ne_bytes();
        [a, b, c, d, e, f, g, h]
    }
}

/// Value of the map [`TAGS`](names::TAGS): whose packets carry the tag.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TagEntry {
    /// The association's slot in its worker's endpoint.
    pub slot: u32,
    /// The slot's generation: tells a packet for an association that has ended from one for the slot's next user.
    pub generation: u32,
    /// The worker that owns the association. For a local tag this is also
    /// [`Steering::owner`](crate::steering::Steering::owner) of the tag; a peer's tag says nothing about our workers.
    pub worker: u32,
}

impl TagEntry {
    /// Bytes of one value.
    pub const SIZE: usize = 12;

    /// The value as the map holds it.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::SIZE] {
        let [a, b, c, d] = self.slot.to_ne_bytes();
        let [e, f, g, h] = self.generation.to_ne_bytes();
        let [i, j, k, l] = self.worker.to_ne_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }

    /// The value from the map's bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
        Self {
            slot: u32::from_ne_bytes([a, b, c, d]),
            generation: u32::from_ne_bytes([e, f, g, h]),
            worker: u32::from_ne_bytes([i, j, k, l]),
        }
    }
}

/// Key of the map [`PEERS`](names::PEERS): an address of a peer, and the ports of the association with it.
///
/// It is asked for only where the verification tag has failed.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerKey {
    address: [u8; 16],
    peer_port: u16,
    local_port: u16,
}

impl PeerKey {
    /// Bytes of one key.
    pub const SIZE: usize = 20;

    /// The key for the peer at `address` (network byte order, IPv4 as IPv4-mapped IPv6).
    #[inline(always)]
    #[must_use]
    pub const fn new(address: [u8; 16], peer_port: u16, local_port: u16) -> Self {
        Self { address, peer_port, local_port }
    }

    /// The key as the map compares it.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::SIZE] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = self.address;
        let [q, r] = self.peer_port.to_ne_bytes();
        let [s, t] = self.local_port.to_ne_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t]
    }
}

/// Value of the map [`PEERS`](names::PEERS): who has the association with the peer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerEntry {
    /// The worker that owns it.
    pub worker: u32,
}

impl PeerEntry {
    /// Bytes of one value.
    pub const SIZE: usize = 4;

    /// The value as the map holds it.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::SIZE] {
        self.worker.to_ne_bytes()
    }

    /// The value from the map's bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        Self { worker: u32::from_ne_bytes(bytes) }
    }
}

/// Key of the map [`HEARTBEATS`](names::HEARTBEATS): one path of an association.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HeartbeatKey {
    address: [u8; 16],
    tag: u32,
    peer_port: u16,
    local_port: u16,
}

impl HeartbeatKey {
    /// Bytes of one key.
    pub const SIZE: usize = 24;

    /// The key for HEARTBEATs from the peer at `address` (network byte order, IPv4 as IPv4-mapped IPv6) with our verification tag `tag`.
    #[inline(always)]
    #[must_use]
    pub const fn new(address: [u8; 16], tag: u32, peer_port: u16, local_port: u16) -> Self {
        Self { address, tag, peer_port, local_port }
    }

    /// The key as the map compares it.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::SIZE] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = self.address;
        let [q, r, s, t] = self.tag.to_ne_bytes();
        let [u, v] = self.peer_port.to_ne_bytes();
        let [w, x] = self.local_port.to_ne_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x]
    }
}

/// Value of the map [`HEARTBEATS`](names::HEARTBEATS).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatEntry {
    /// How many HEARTBEATs the program has answered: a sign of life of the peer that its association would not see otherwise.
    pub answered: u64,
    /// The peer's verification tag, which the answer carries.
    pub peer_tag: u32,
    unused: u32,
}

impl HeartbeatEntry {
    /// Bytes of one value.
    pub const SIZE: usize = 16;

    /// An entry for a peer that has drawn `peer_tag`; nothing has been answered yet.
    #[must_use]
    pub const fn new(peer_tag: u32) -> Self {
        Self { answered: 0, peer_tag, unused: 0 }
    }

    /// The value as the map holds it.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::SIZE] {
        let [a, b, c, d, e, f, g, h] = self.answered.to_ne_bytes();
        let [i, j, k, l] = self.peer_tag.to_ne_bytes();
        let [m, n, o, p] = self.unused.to_ne_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }

    /// The value from the map's bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Self {
            answered: u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            peer_tag: u32::from_ne_bytes([i, j, k, l]),
            unused: u32::from_ne_bytes([m, n, o, p]),
        }
    }
}

/// Key of the map [`ADDRESSES`](names::ADDRESSES): an IP address, network byte order, IPv4 as IPv4-mapped IPv6.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressKey(pub [u8; 16]);

impl AddressKey {
    /// Bytes of one key.
    pub const SIZE: usize = 16;

    /// The key of `address`.
    #[must_use]
    pub const fn new(address: core::net::IpAddr) -> Self {
        Self(match address {
            core::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            core::net::IpAddr::V6(v6) => v6.octets(),
        })
    }

    /// The key as the map compares it.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::SIZE] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn structs_have_no_padding() {
        assert_eq!(size_of::<PortEntry>(), PortEntry::SIZE);
        assert_eq!(size_of::<TagKey>(), TagKey::SIZE);
        assert_eq!(size_of::<TagEntry>(), TagEntry::SIZE);
        assert_eq!(size_of::<PeerKey>(), PeerKey::SIZE);
        assert_eq!(size_of::<PeerEntry>(), PeerEntry::SIZE);
        assert_eq!(size_of::<HeartbeatKey>(), HeartbeatKey::SIZE);
        assert_eq!(size_of::<HeartbeatEntry>(), HeartbeatEntry::SIZE);
        assert_eq!(size_of::<AddressKey>(), AddressKey::SIZE);
    }

    #[test]
    fn bytes_follow_the_order_of_the_fields() {
        let key = TagKey::new(0x0102, TagKind::Peer, 0x0304_0506).to_bytes();
        assert_eq!(key[..2], 0x0102_u16.to_ne_bytes());
        assert_eq!(key[2..4], 1_u16.to_ne_bytes());
        assert_eq!(key[4..], 0x0304_0506_u32.to_ne_bytes());
        let entry = TagEntry { slot: 1, generation: 2, worker: 3 };
        assert_eq!(TagEntry::from_bytes(entry.to_bytes()), entry);
        assert_eq!(entry.to_bytes()[4..8], 2_u32.to_ne_bytes());
        let key = PeerKey::new([9; 16], 0x0102, 0x0304).to_bytes();
        assert_eq!(key[..16], [9; 16]);
        assert_eq!((&key[16..18], &key[18..]), (&0x0102_u16.to_ne_bytes()[..], &0x0304_u16.to_ne_bytes()[..]));
        let key = HeartbeatKey::new([9; 16], 0x0506_0708, 0x0102, 0x0304).to_bytes();
        assert_eq!((&key[..16], &key[16..20]), (&[9; 16][..], &0x0506_0708_u32.to_ne_bytes()[..]));
        assert_eq!((&key[20..22], &key[22..]), (&0x0102_u16.to_ne_bytes()[..], &0x0304_u16.to_ne_bytes()[..]));
        let entry = HeartbeatEntry { answered: 5, ..HeartbeatEntry::new(6) };
        assert_eq!(HeartbeatEntry::from_bytes(entry.to_bytes()), entry);
        assert_eq!(PeerEntry::from_bytes(PeerEntry { worker: 7 }.to_bytes()), PeerEntry { worker: 7 });
    }

    #[test]
    fn ports_say_what_they_are() {
        assert!(!PortEntry::default().is_owned());
        assert!(PortEntry::owned(false).is_owned() && !PortEntry::owned(false).is_listening());
        assert!(PortEntry::owned(true).is_owned() && PortEntry::owned(true).is_listening());
        assert_eq!(PortEntry::from_bytes(PortEntry::owned(true).to_bytes()), PortEntry::owned(true));
        assert_eq!((PortEntry::default().offer(), PortEntry::owned(true).offer()), (None, None));
        let offering = PortEntry::owned(true).with_offer(255);
        assert_eq!((offering.offer(), offering.is_listening()), (Some(255), true));
        assert_eq!(offering.with_offer(0).offer(), Some(0));
        assert_eq!(offering.without_offer(), PortEntry::owned(true));
    }

    #[test]
    fn an_ipv4_address_is_mapped() {
        let key = AddressKey::new(IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3)));
        assert_eq!(key.to_bytes(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3]);
        assert_eq!(AddressKey::new(IpAddr::V6(Ipv6Addr::LOCALHOST)).0[15], 1);
    }

    #[test]
    fn queues_count_apart_and_those_beyond_together() {
        let count = Verdict::COUNT;
        assert_eq!(counter_index(3, 0, 5), 5);
        assert_eq!(counter_index(0, 2, 5), 5);
        assert_eq!(counter_index(1, 2, 5), count + 5);
        assert_eq!(counter_index(2, 2, 5), 2 * count + 5);
        assert_eq!(counter_index(900, 2, count - 1), counters(2) - 1);
    }

    #[test]
    fn sockets_of_one_queue_are_neighbours() {
        assert_eq!(socket_index(0, 0, 3), 0);
        assert_eq!(socket_index(0, 2, 3), 2);
        assert_eq!(socket_index(2, 1, 3), 7);
    }
}
