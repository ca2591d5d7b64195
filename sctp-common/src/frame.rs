//! The decoder: from an Ethernet frame to the SCTP common header and the first chunk's header.
//!
//! [`decode`] follows up to two VLAN tags (IEEE 802.1Q and 802.1ad), an IPv4 header with options or an IPv6 header with
//! extension headers, and trusts no length before it has compared it with what surrounds it. What it cannot follow is
//! either somebody else's ([`Verdict::Pass`]) or damaged in a way that no stack would accept ([`Verdict::Drop`]).
//!
//! It checks the IPv4 header checksum, since a redirected packet never meets the kernel code that would. It does not
//! judge what lies above the IP layer: the port may turn out not to be ours, and then the packet is none of our business,
//! however odd it looks.
//!
//! # Decisions
//!
//! * **Fragments.** A first fragment has ports and is decoded, marked [`Decoded::fragment`]; if it is for us it is dropped
//!   by name, or passes to the kernel where that is [asked for](crate::maps::policy::PASS_FRAGMENTS). Later fragments have no ports and
//!   pass to the kernel always, which cannot complete a packet of ours without its first fragment, and so never answers for us, while
//!   other SCTP users of the host keep theirs.
//!   An IPv6 "atomic" fragment (offset 0, none to follow, RFC 6946) is a whole packet and treated as one.
//! * **ICMP** is told apart from the rest, since an error may quote a packet of ours: see [`icmp`](crate::icmp).
//! * **UDP** is told apart, too: it may carry SCTP (RFC 6951). [`decode_udp`] looks into it; where the host has no encapsulation port,
//!   nobody need.
//! * **Authentication and encryption headers** (AH, ESP) pass to the kernel's IPsec.
//! * **Padding.** The SCTP packet ends where the IP length says; Ethernet's padding behind it is ignored.
//! * **Multi-buffer frames** are not handled: the program is not marked `xdp.frags`, so a driver with an MTU that
//!   needs them refuses to attach it, and generic mode linearises frames first.

pub(crate) mod ip;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
mod udp;

use crate::crc32c::{self, Tables};
use crate::verdict::{DropReason, PassReason, Verdict};
use crate::wire::{CHUNK_HEADER_LENGTH, COMMON_HEADER_LENGTH, IPPROTO_SCTP, UDP_HEADER_LENGTH};

pub use udp::decode_udp;

/// Bytes of an Ethernet header without VLAN tags.
pub const ETHERNET_HEADER_LENGTH: usize = 14;

/// Bytes that one VLAN tag adds.
pub const VLAN_TAG_LENGTH: usize = 4;

/// Longest SCTP packet, common header included, that is judged; longer ones are dropped as
/// [`DropReason::TooLong`]. It bounds the checksum's loop for the BPF verifier, and covers jumbo frames.
pub const MAX_SCTP_LENGTH: usize = 9216;

/// Read access to a frame's bytes, from the first byte of its Ethernet header.
///
/// Implemented for byte slices here and for packet memory in the XDP program.
pub trait Frame {
    /// Bytes of the frame.
    fn len(&self) -> usize;

    /// Whether the frame has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The `N` bytes from offset `at`, or `None` if not all of them are within the frame.
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]>;

    /// The `N` bytes from offset `at` for whoever takes them word by word, or `None` if not all of them are within the frame.
    fn words<const N: usize>(&self, at: usize) -> Option<Self::Words<N>>;

    /// What [`words`](Self::words) gives.
    type Words<const N: usize>: Words;

    /// `word` and `state` as they are: whatever is computed from `word` is computed when `state` is known, not before.
    ///
    /// It is a hint about registers. The BPF machine has ten, and the compiler, left alone, begins with the work on all words
    /// that it sees, until all of the stack is full of it. The CPU, which has more, orders the work as it likes.
    #[inline(always)]
    fn in_order(word: u64, state: u64) -> (u64, u64) {
        (word, state)
    }

    /// `word ^ state`, computed when both are known, not before: [`in_order`](Self::in_order) and its sum in one.
    #[inline(always)]
    fn sum(word: u64, state: u64) -> u64 {
        word ^ state
    }

    /// The `tables` of CRC32c, which the BPF machine is to keep the address of in a register.
    #[inline(always)]
    fn tables(tables: &'static Tables) -> &'static Tables {
        tables
    }

    /// `value`, of which the verifier no longer knows how it was found.
    #[inline(always)]
    fn forget(value: u16) -> u16 {
        value
    }

    /// [`crc32c::double_step`].
    #[inline(always)]
    fn add_words(tables: &Tables, state: u32, words: [u64; 2]) -> u32 {
        crc32c::double_step(tables, state, words)
    }

    /// [`crc32c::step`].
    #[inline(always)]
    fn add_word(tables: &Tables, state: u32, word: u64) -> u32 {
        crc32c::step(tables, state, word)
    }
}

/// Bytes within a frame, to be read in words.
pub trait Words {
    /// The eight bytes from offset `AT` of these, the first of them as the least significant. Whether they are within is
    /// checked when it is compiled.
    fn word<const AT: usize>(&self) -> u64;

    /// [`crc32c::double_step`] with the two words from `AT`.
    fn add_two<const AT: usize>(&self, tables: &Tables, state: u32) -> u32;

    /// [`crc32c::step`] with the word at `AT`.
    #[inline(always)]
    fn add<const AT: usize>(&self, tables: &Tables, state: u32) -> u32 {
        crc32c::step(tables, state, self.word::<AT>())
    }
}

impl<const N: usize> Words for [u8; N] {
    #[inline]
    fn word<const AT: usize>(&self) -> u64 {
        const { assert!(AT + 8 <= N) };
        self[AT..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    #[inline]
    fn add_two<const AT: usize>(&self, tables: &Tables, state: u32) -> u32 {
        const { assert!(AT + 16 <= N) };
        let two = self[AT..].first_chunk().map_or([0; 2], |bytes: &[u8; 16]| {
            let both = u128::from_le_bytes(*bytes);
            [both as u64, (both >> 64) as u64]
        });
        crc32c::double_step(tables, state, two)
    }
}

impl Frame for [u8] {
    fn len(&self) -> usize {
        self.len()
    }

    #[inline]
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.get(at..)?.first_chunk().copied()
    }

    #[inline]
    fn words<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.read(at)
    }

    type Words<const N: usize> = [u8; N];
}

/// An SCTP packet within its frame.
///
/// It has no addresses: a packet that carries a verification tag of ours is steered without a look at them, and the rest asks for
/// [them](Self::addresses). So it fits [three registers](Self::pack).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Offset of the IP header from the frame's start: 14, 18 or 22.
    pub l3_offset: u16,
    /// Offset of the SCTP common header from the frame's start.
    pub sctp_offset: u16,
    /// Bytes of the SCTP packet, common header included: at least 12. The frame has them all.
    pub sctp_len: u16,
    /// Whether the packet came over IPv4.
    pub is_ipv4: bool,
    /// ECN codepoint of the IP header: 0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE (RFC 3168 §5).
    pub ecn: u8,
    /// The packet is the first fragment of a larger one: neither its length nor its checksum mean anything.
    pub fragment: bool,
    /// The packet came in UDP (RFC 6951), whose header is directly in front of it.
    pub in_udp: bool,
    /// Source port, host byte order.
    pub source_port: u16,
    /// Destination port, host byte order.
    pub destination_port: u16,
    /// Verification tag, host byte order.
    pub verification_tag: u32,
    /// The checksum field, in the byte order in which a computed CRC32c compares to it (RFC 9260 Appendix A).
    pub checksum: u32,
    /// Header of the first chunk; zeros if fewer than four bytes follow the common header. It is no `Option`, whose value
    /// is undefined for `None`: the compiler may then take any register for it, even one with a pointer, and the verifier
    /// refuses what it does with that, although nothing comes of it.
    pub(crate) first_chunk: ChunkHead,
}

impl Decoded {
    /// Header of the first chunk; `None` if fewer than four bytes follow the common header.
    #[inline(always)]
    #[must_use]
    pub const fn first_chunk(&self) -> Option<ChunkHead> {
        if (self.sctp_len as usize) < COMMON_HEADER_LENGTH + CHUNK_HEADER_LENGTH {
            return None;
        }
        Some(self.first_chunk)
    }

    /// Offset of the first chunk from the frame's start.
    #[inline(always)]
    #[must_use]
    pub const fn first_chunk_at(&self) -> usize {
        self.sctp_offset as usize + COMMON_HEADER_LENGTH
    }

    /// Between whom the packet goes. `frame` is the frame in which this was found; `None` for any other that is too short.
    #[inline(always)]
    #[must_use]
    pub fn addresses<F: Frame + ?Sized>(&self, frame: &F) -> Option<Addresses> {
        let l3 = usize::from(self.l3_offset);
        if self.is_ipv4 {
            let both = frame.words::<8>(l3 + 12)?.word::<0>();
            Some(Addresses {
                source: ipv4_mapped((both as u32).to_le_bytes()),
                destination: ipv4_mapped(((both >> 32) as u32).to_le_bytes()),
            })
        } else {
            let both = frame.words::<32>(l3 + 8)?;
            let address = |first: u64, last: u64| (u128::from(first) | u128::from(last) << 64).to_le_bytes();
            Some(Addresses {
                source: address(both.word::<0>(), both.word::<8>()),
                destination: address(both.word::<16>(), both.word::<24>()),
            })
        }
    }

    /// The UDP header that the packet came behind; all zeros if it came directly over IP. `frame` is the frame in which this was found;
    /// `None` for any other that is too short.
    #[inline(always)]
    #[must_use]
    pub fn udp<F: Frame + ?Sized>(&self, frame: &F) -> Option<UdpHeader> {
        if !self.in_udp {
            return Some(UdpHeader::default());
        }
        let header = frame.words::<UDP_HEADER_LENGTH>(self.udp_offset())?.word::<0>();
        Some(UdpHeader {
            source_port: (header as u16).swap_bytes(),
            destination_port: ((header >> 16) as u16).swap_bytes(),
            checksum: ((header >> 48) as u16).swap_bytes(),
        })
    }

    /// Offset of the UDP header from the frame's start, if there is one.
    #[inline(always)]
    #[must_use]
    pub const fn udp_offset(&self) -> usize {
        (self.sctp_offset as usize).wrapping_sub(UDP_HEADER_LENGTH)
    }

    /// All of it in three numbers, for a function that is called with registers alone.
    #[inline(always)]
    #[must_use]
    pub const fn pack(&self) -> [u64; 3] {
        let flags = (self.ecn & 3) as u64
            | (self.is_ipv4 as u64) << 2
            | (self.fragment as u64) << 3
            | (self.in_udp as u64) << 4;
        let ChunkHead { kind, flags: chunk_flags, length } = self.first_chunk;
        [
            self.l3_offset as u64 | (self.sctp_offset as u64) << 16 | (self.sctp_len as u64) << 32 | flags << 48,
            self.source_port as u64 | (self.destination_port as u64) << 16 | (self.verification_tag as u64) << 32,
            self.checksum as u64 | (kind as u64) << 32 | (chunk_flags as u64) << 40 | (length as u64) << 48,
        ]
    }

    /// The packet whose [packed](Self::pack) first number is `place`; the other two are read again from `frame`, in which it was found.
    ///
    /// # Errors
    ///
    /// [`DropReason::Truncated`] if it is not this frame.
    #[inline(always)]
    pub fn read<F: Frame + ?Sized>(frame: &F, place: u64) -> Result<Self, DropReason> {
        let Self { sctp_offset, sctp_len, .. } = Self::unpack([place, 0, 0]);
        let (header, rest) = headers(frame, sctp_offset.into(), sctp_len.into()).ok_or(DropReason::Truncated)?;
        Ok(Self::of_headers(place, header, rest))
    }

    /// The packet at `place` whose headers are these, as [`headers`] gives them.
    #[inline(always)]
    const fn of_headers(place: u64, header: u64, rest: u64) -> Self {
        Self {
            source_port: (header as u16).swap_bytes(),
            destination_port: ((header >> 16) as u16).swap_bytes(),
            verification_tag: ((header >> 32) as u32).swap_bytes(),
            checksum: rest as u32,
            first_chunk: ChunkHead {
                kind: (rest >> 32) as u8,
                flags: (rest >> 40) as u8,
                length: ((rest >> 48) as u16).swap_bytes(),
            },
            ..Self::unpack([place, 0, 0])
        }
    }

    /// What was [packed](Self::pack).
    #[inline(always)]
    #[must_use]
    pub const fn unpack([place, header, rest]: [u64; 3]) -> Self {
        Self {
            l3_offset: place as u16,
            sctp_offset: (place >> 16) as u16,
            sctp_len: (place >> 32) as u16,
            is_ipv4: place >> 50 & 1 != 0,
            ecn: (place >> 48 & 3) as u8,
            fragment: place >> 51 & 1 != 0,
            in_udp: place >> 52 & 1 != 0,
            source_port: header as u16,
            destination_port: (header >> 16) as u16,
            verification_tag: (header >> 32) as u32,
            checksum: rest as u32,
            first_chunk: ChunkHead { kind: (rest >> 32) as u8, flags: (rest >> 40) as u8, length: (rest >> 48) as u16 },
        }
    }
}

/// Between whom a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Source address, network byte order, IPv4 as IPv4-mapped IPv6.
    pub source: [u8; 16],
    /// Destination address, network byte order, IPv4 as IPv4-mapped IPv6.
    pub destination: [u8; 16],
}

/// What a UDP header says (RFC 768), beside the length, which is that of the SCTP packet and its own. Host byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpHeader {
    /// Source port: where answers go.
    pub source_port: u16,
    /// Destination port: our encapsulation port.
    pub destination_port: u16,
    /// The checksum field; 0 if the sender computed none.
    pub checksum: u16,
}

/// A chunk's header (RFC 9260 §3.2), as found, not checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkHead {
    /// Chunk type; see [`wire::chunk`](crate::wire::chunk).
    pub kind: u8,
    /// Chunk flags, whose meaning depends on the type.
    pub flags: u8,
    /// Bytes of the chunk, this header included, padding excluded.
    pub length: u16,
}

/// Finds the SCTP packet in `frame`.
///
/// # Errors
///
/// [`Verdict::Pass`] if the frame is not a packet that this program could judge, [`Verdict::Drop`] if its IP or SCTP
/// header is damaged.
#[inline(always)]
pub fn decode<F: Frame + ?Sized>(frame: &F) -> Result<Decoded, Verdict> {
    let (ether_type, l3_offset) = ethernet(frame).ok_or(PassReason::NotSctp)?;
    let packet = match ether_type {
        ETHER_TYPE_IPV4 => ip::ipv4(frame, l3_offset, IPPROTO_SCTP)?,
        ETHER_TYPE_IPV6 => ip::ipv6(frame, l3_offset, IPPROTO_SCTP)?,
        _ => return Err(PassReason::NotSctp.into()),
    };
    sctp(frame, l3_offset, &packet, false)
}

/// Reads the SCTP packet that is the payload of `packet`.
#[inline(always)]
fn sctp<F: Frame + ?Sized>(
    frame: &F,
    l3_offset: usize,
    packet: &ip::IpPacket,
    in_udp: bool,
) -> Result<Decoded, Verdict> {
    if packet.payload_len < COMMON_HEADER_LENGTH {
        return Err(DropReason::ShortHeader.into());
    }
    let (header, rest) = headers(frame, packet.payload_offset, packet.payload_len).ok_or(DropReason::Truncated)?;
    Ok(Decoded {
        l3_offset: l3_offset as u16,
        sctp_offset: packet.payload_offset as u16,
        sctp_len: packet.payload_len as u16,
        is_ipv4: packet.is_ipv4,
        ecn: packet.ecn,
        fragment: packet.fragment,
        in_udp,
        ..Decoded::of_headers(0, header, rest)
    })
}

/// `address` as IPv4-mapped IPv6 address, `::ffff:a.b.c.d`.
#[inline(always)]
#[must_use]
pub const fn ipv4_mapped(address: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = address;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// The type of what Ethernet carries, behind at most two VLAN tags, and its offset.
#[inline(always)]
pub(crate) fn ethernet<F: Frame + ?Sized>(frame: &F) -> Option<(u16, usize)> {
    let outer = u16::from_be_bytes(frame.read(ETHERNET_HEADER_LENGTH - 2)?);
    if !is_vlan(outer) {
        return Some((outer, ETHERNET_HEADER_LENGTH));
    }
    let inner = u16::from_be_bytes(frame.read(ETHERNET_HEADER_LENGTH + 2)?);
    if !is_vlan(inner) {
        return Some((inner, ETHERNET_HEADER_LENGTH + VLAN_TAG_LENGTH));
    }
    let innermost = u16::from_be_bytes(frame.read(ETHERNET_HEADER_LENGTH + VLAN_TAG_LENGTH + 2)?);
    Some((innermost, ETHERNET_HEADER_LENGTH + 2 * VLAN_TAG_LENGTH))
}

#[inline(always)]
const fn is_vlan(ether_type: u16) -> bool {
    matches!(ether_type, ETHER_TYPE_VLAN | ETHER_TYPE_SERVICE_VLAN)
}

/// The common header and the first chunk's of the SCTP packet of `length` bytes at `at` as two words, the first byte of each the least
/// significant. Zeros are in the place of a chunk header that the packet does not have.
#[inline(always)]
fn headers<F: Frame + ?Sized>(frame: &F, at: usize, length: usize) -> Option<(u64, u64)> {
    // In one register: the compiler keeps the offset in two parts that share no bit, because it shares its place with verdicts, and
    // compares only the higher one with what an offset may be at most. The verifier of Linux 6.1 knows no bound of the whole then.
    let at = F::in_order(at as u64, 0).0 as usize;
    if length < COMMON_HEADER_LENGTH + CHUNK_HEADER_LENGTH {
        let header = frame.words::<8>(at)?.word::<0>();
        let checksum = frame.read(at + 8)?;
        return Some((header, u32::from_le_bytes(checksum).into()));
    }
    let both = frame.words::<{ COMMON_HEADER_LENGTH + CHUNK_HEADER_LENGTH }>(at)?;
    Some((both.word::<0>(), both.word::<8>()))
}

pub(crate) const ETHER_TYPE_IPV4: u16 = 0x0800;
pub(crate) const ETHER_TYPE_IPV6: u16 = 0x86dd;
/// IEEE 802.1Q, a customer's VLAN tag.
const ETHER_TYPE_VLAN: u16 = 0x8100;
/// IEEE 802.1ad, a provider's VLAN tag ("QinQ").
const ETHER_TYPE_SERVICE_VLAN: u16 = 0x88a8;
