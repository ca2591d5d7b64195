//! INITs that are answered in front of the stack (RFC 9260 §5.1.3), so that a flood of them costs no worker anything.
//!
//! A State Cookie holds all that is known of an association before it exists. So whoever has the cookies' secret can answer an INIT, and
//! the stack takes the COOKIE ECHO that follows as if it had answered itself. What is answered here gets the INIT ACK that the stack would give,
//! octet for octet but for what is drawn at random; what cannot be is left to the stack, at a bounded rate.
//!
//! | step | |
//! |---|---|
//! | [`read`] | is it one that can be answered? [`parameter`] looks at each parameter, and [keeps](Keep) what the answer needs of it |
//! | [`Ack::new`] | what the answer will be, and how long |
//! | [`Ack::head`], [`Ack::cookie`] | its headers, its fixed fields and the cookie's fixed part; the rest is copied from what was kept and from [`Announced`] |
//! | [`CookieSettings::seal`](crate::cookie::CookieSettings::seal) | the cookie's MAC |
//! | [`packet_checksum`](crate::crc32c::packet_checksum) | the packet's CRC32c |
//!
//! [`answer`] takes all the steps, for whoever need not do them one by one.
//!
//! # What is left to the stack
//!
//! * INITs that concern an association which there is ([`Walk::is_living`]): restart and collision (§5.2.1, §5.2.2) need Tie-Tags.
//! * INITs that are not answered with an INIT ACK: those with a host name or malformed parameters or fields.
//! * INITs of peers on this host or on this link alone, to which other addresses of ours mean something than to all others.
//! * INITs beyond the bounds here ([`MAX_PARAMETERS`], [`MAX_LISTED`], [`MAX_REPORTED`], [`MAX_SCTP_LENGTH`]), and those in UDP.
//!
//! # What is drawn
//!
//! "It is very important that the Initiate Tag value be randomized to help protect against off-path attacks" (§5.3.1). The generator that BPF
//! programs have is a linear one: who has seen some of its output knows the rest. So it is only the input, with the time, of SipHash under
//! a key that nobody else has ([`Draw`]): which looks random to all others. Whatever the tag, the COOKIE ECHO goes to the worker that owns
//! it ([`Steering`](crate::steering::Steering)), and that makes the association. The tag is none of an association that lives.

mod ack;
#[cfg(test)]
mod tests;

pub use ack::{Ack, Draw, Init, Terms, answer};

use core::net::IpAddr;

use crate::frame::{Addresses, Decoded, Frame, ipv4_mapped};
use crate::judge::Tables;
use crate::maps::{AddressKey, PeerKey};
use crate::rules::{is_global, is_ipv4, is_unicast};
use crate::wire::{CHUNK_HEADER_LENGTH, PARAMETER_HEADER_LENGTH, padded, parameter as kind, unknown};

/// Most parameters of an INIT that is answered here.
pub const MAX_PARAMETERS: usize = 16;

/// Most addresses of a peer, besides the one that its INIT comes from.
pub const MAX_LISTED: usize = 8;

/// Longest parameter, in bytes, that is reported to its sender as not recognized.
pub const MAX_REPORTED: usize = 32;

/// Bytes of reports, type, length and padding included, at most.
pub const MAX_REPORTS: usize = 128;

/// Longest answer, in bytes, common header included: what every stack may send.
pub const MAX_SCTP_LENGTH: usize = 512;

/// Bytes of an INIT chunk before its parameters (§3.3.2).
pub(crate) const INIT_LENGTH: usize = 20;

/// What a listener's INIT ACKs say of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Offer {
    /// Receive window in bytes (a_rwnd). 0: there is no such offer.
    pub window: u32,
    /// Streams that it would send on (OS), at least 1.
    pub outbound_streams: u16,
    /// Most streams that it lets a peer send on (MIS), at least 1.
    pub inbound_streams: u16,
    /// Most addresses of a peer that it uses besides the one that the INIT comes from.
    pub further: u16,
    /// What it agrees to if the peer offers it: bits of [`flags`](crate::cookie::flags).
    pub flags: u16,
}

impl Offer {
    /// Bytes of one offer.
    pub const SIZE: usize = 12;

    /// The offer as the map [`OFFERS`](crate::maps::names::OFFERS) holds it.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::SIZE] {
        let [a, b, c, d] = self.window.to_ne_bytes();
        let [e, f] = self.outbound_streams.to_ne_bytes();
        let [g, h] = self.inbound_streams.to_ne_bytes();
        let [i, j] = self.further.to_ne_bytes();
        let [k, l] = self.flags.to_ne_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }
}

/// Our addresses as INIT ACKs list them (§5.1.2): ready-made lists of parameters, for peers that can use IPv4 addresses alone, IPv6 addresses
/// alone, and both.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Bytes of each list, in the order of [`lists`](Self::lists); [`NOT_ANNOUNCED`](Self::NOT_ANNOUNCED) if they do not fit.
    pub lengths: [u32; 4],
    /// The lists; the first is of peers that can use none, and empty.
    pub lists: [[u8; Self::MAX_LENGTH]; 4],
}

impl Announced {
    /// Bytes of all.
    pub const SIZE: usize = 4 * 4 + 4 * Self::MAX_LENGTH;

    /// Bytes of a list at most.
    pub const MAX_LENGTH: usize = 128;

    /// The length of a list that is not known.
    pub const NOT_ANNOUNCED: u32 = u32::MAX;

    /// Before our addresses are known.
    pub const UNKNOWN: Self = Self { lengths: [Self::NOT_ANNOUNCED; 4], lists: [[0; Self::MAX_LENGTH]; 4] };

    /// Lists `addresses`, which are all of ours, in their order. Those that mean something else to others are left out, for they are announced
    /// to nobody who is answered here; and a single address is not listed, since the peer sees it anyway (§12.4).
    #[must_use]
    pub fn new(addresses: &[IpAddr]) -> Self {
        let global = || addresses.iter().map(|address| AddressKey::new(*address).0).filter(is_global);
        let mut announced = Self { lengths: [0; 4], ..Self::UNKNOWN };
        if global().count() <= 1 {
            return announced;
        }
        for ((usable, list), length) in (0..).zip(&mut announced.lists).zip(&mut announced.lengths) {
            *length = list_of(global().filter(|address| family(address) & usable != 0), list);
        }
        announced
    }

    /// The lists as the map [`ANNOUNCED`](crate::maps::names::ANNOUNCED) holds them.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let (lengths, lists) = bytes.split_at_mut(4 * 4);
        for (to, from) in lengths.as_chunks_mut().0.iter_mut().zip(self.lengths) {
            *to = from.to_ne_bytes();
        }
        lists.copy_from_slice(self.lists.as_flattened());
        bytes
    }
}

/// Writes the parameters of `addresses` to `list`, and gives their length, or [`Announced::NOT_ANNOUNCED`] if they do not fit.
fn list_of(addresses: impl Iterator<Item = [u8; 16]>, list: &mut [u8; Announced::MAX_LENGTH]) -> u32 {
    let mut length = 0;
    for address in addresses {
        let (kind, value) = match family(&address) {
            IPV4 => (kind::IPV4_ADDRESS, &address[12..]),
            _ => (kind::IPV6_ADDRESS, &address[..]),
        };
        let bytes = PARAMETER_HEADER_LENGTH + value.len();
        let Some(space) = list.get_mut(length..length + bytes) else { return Announced::NOT_ANNOUNCED };
        space[..2].copy_from_slice(&kind.to_be_bytes());
        space[2..4].copy_from_slice(&(bytes as u16).to_be_bytes());
        space[4..].copy_from_slice(value);
        length += bytes;
    }
    length as u32
}

/// Bits for the families of addresses.
const IPV4: u64 = 1;
const IPV6: u64 = 2;

/// The bit of an address's family.
#[inline(always)]
const fn family(address: &[u8; 16]) -> u64 {
    if is_ipv4(address) { IPV4 } else { IPV6 }
}

/// What is kept of an INIT while its frame becomes the answer.
pub trait Keep {
    /// The address that was kept at `place`, below [`MAX_LISTED`].
    fn address(&self, place: usize) -> [u8; 16];

    /// Keeps an address at `place`, below [`MAX_LISTED`].
    fn keep_address(&mut self, place: usize, address: [u8; 16]);

    /// Keeps four bytes of reports, to be sent from offset `at` of them, a multiple of four below [`MAX_REPORTS`].
    fn keep_report(&mut self, at: usize, word: [u8; 4]);
}

/// What is known of an INIT after some of its parameters, in one number.
///
/// ```text
///  bits  0..2   families of addresses that the peer can use (Supported Address Types)
///        2..4   families of addresses that it has listed
///        4      it is capable of ECN
///        5      the rest is not to be looked at
///        6      only a worker can answer it
///        7      it concerns an association that there is
///        8..16  addresses that were kept
///       16..24  bytes of reports
///       24..28  bytes of padding at their end
///       32..64  by how much the cookie should live longer, in milliseconds
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk(pub u64);

impl Walk {
    const TYPES: u64 = IPV4 | IPV6;
    const LISTED: u32 = 2;
    const ECN: u64 = 1 << 4;
    const STOP: u64 = 1 << 5;
    const UNANSWERABLE: u64 = 1 << 6;
    const LIVING: u64 = 1 << 7;
    const KEPT: u32 = 8;
    const REPORTS: u32 = 16;
    const PADDING: u32 = 24;
    const INCREMENT: u32 = 32;

    /// Before the first parameter: "The absence of this parameter indicates that the sending endpoint can support any address type"
    /// (§3.3.2.1.5).
    pub const START: Self = Self(Self::TYPES);

    /// Whether the INIT can be answered here.
    #[inline(always)]
    #[must_use]
    pub const fn is_answerable(self) -> bool {
        self.0 & (Self::UNANSWERABLE | Self::LIVING) == 0
    }

    /// Whether it concerns an association that there is.
    #[inline(always)]
    #[must_use]
    pub const fn is_living(self) -> bool {
        self.0 & Self::LIVING != 0
    }

    #[inline(always)]
    const fn unanswerable(self) -> Self {
        Self(self.0 | Self::UNANSWERABLE)
    }

    #[inline(always)]
    const fn is_over(self) -> bool {
        self.0 & (Self::STOP | Self::UNANSWERABLE | Self::LIVING) != 0
    }

    /// How many addresses were kept, as far as [`MAX_LISTED`].
    #[inline(always)]
    #[must_use]
    pub const fn kept(self) -> usize {
        (self.0 >> Self::KEPT) as usize & 0xf
    }

    /// How many bytes of reports were kept, padding included, as far as [`MAX_REPORTS`].
    #[inline(always)]
    #[must_use]
    pub const fn reports(self) -> usize {
        (self.0 >> Self::REPORTS) as usize & 0xfc
    }

    #[inline(always)]
    const fn padding(self) -> usize {
        (self.0 >> Self::PADDING) as usize & 3
    }

    #[inline(always)]
    const fn increment(self) -> u32 {
        (self.0 >> Self::INCREMENT) as u32
    }

    /// The families of addresses that a peer which is seen at an address of family `seen` can use: those that it names, those that it lists,
    /// and the one that it sends from (§5.1.2).
    #[inline(always)]
    const fn usable(self, seen: u64) -> u64 {
        (self.0 | self.0 >> Self::LISTED | seen) & Self::TYPES
    }
}

/// Finds out whether the INIT that `packet` consists of can be answered here. It must be [claimed](crate::judge::find_claim) as one, with a
/// right checksum.
///
/// `step` looks at the parameter at an offset of the frame whose type and length are the high and the low half of a number: [`parameter`],
/// or whoever calls it.
#[inline(always)]
pub fn read<F, T>(
    frame: &F,
    packet: &Decoded,
    addresses: &Addresses,
    tables: &T,
    mut step: impl FnMut(u32, u32, Walk) -> Walk,
) -> Walk
where
    F: Frame + ?Sized,
    T: Tables,
{
    let mut walk = Walk::START;
    let source = &addresses.source;
    if tables.peer(&PeerKey::new(*source, packet.source_port, packet.destination_port)).is_some() {
        return Walk(walk.0 | Walk::LIVING);
    }
    // An IPv4-mapped address over IPv6 is nobody's.
    if !is_global(source) || is_ipv4(source) != packet.is_ipv4 || packet.in_udp || tables.is_ours(source) {
        return walk.unanswerable();
    }
    let length = packet.first_chunk().map_or(0, |first| usize::from(first.length));
    if length < INIT_LENGTH {
        return walk.unanswerable();
    }
    // Bounds that no verifier loses: see `CookieSettings::check`.
    let mut at = (packet.first_chunk_at() + INIT_LENGTH) & 0x7fff;
    let end = (packet.first_chunk_at() + length) & 0x7fff;
    for _ in 0..MAX_PARAMETERS {
        if at >= end || walk.is_over() {
            return walk;
        }
        let Some(head) = frame.read(at) else { return walk.unanswerable() };
        let head = u32::from_be_bytes(head);
        let length = (head & 0xffff) as usize;
        if at + PARAMETER_HEADER_LENGTH > end || length < PARAMETER_HEADER_LENGTH || at + length > end {
            return walk.unanswerable();
        }
        walk = step(at as u32, head, walk);
        at = (at + padded(length)) & 0x7fff;
    }
    if at >= end || walk.is_over() { walk } else { walk.unanswerable() }
}

/// Looks at a parameter of an INIT (§3.3.2.1, §3.2.2): the one at offset `at` of `frame`, whose type and length are the high and the low
/// half of `head`, and which ends within the chunk.
#[inline(always)]
pub fn parameter<F, T, K>(frame: &F, packet: &Decoded, at: u32, head: u32, walk: Walk, tables: &T, keep: &mut K) -> Walk
where
    F: Frame + ?Sized,
    T: Tables,
    K: Keep,
{
    let at = at as usize & 0x7fff;
    let value = at + PARAMETER_HEADER_LENGTH;
    let length = head as u16;
    match (head >> 16) as u16 {
        kind::IPV4_ADDRESS => match frame.read(value) {
            Some(address) if length == 8 => listed(frame, packet, ipv4_mapped(address), walk, tables, keep),
            _ => walk.unanswerable(),
        },
        kind::IPV6_ADDRESS => match frame.read(value) {
            Some(address) if length == 20 => listed(frame, packet, address, walk, tables, keep),
            _ => walk.unanswerable(),
        },
        kind::SUPPORTED_ADDRESS_TYPES => match supported(frame, value, length) {
            Some(types) => Walk(walk.0 & !Walk::TYPES | types),
            None => walk.unanswerable(),
        },
        kind::COOKIE_PRESERVATIVE => match frame.read(value) {
            Some(increment) if length == 8 => {
                let increment = u64::from(u32::from_be_bytes(increment));
                Walk(walk.0 & u64::from(u32::MAX) | increment << Walk::INCREMENT)
            }
            _ => walk.unanswerable(),
        },
        kind::ECN_CAPABLE if length == 4 => Walk(walk.0 | Walk::ECN),
        kind::FORWARD_TSN_SUPPORTED if length == 4 => walk,
        kind::ECN_CAPABLE | kind::FORWARD_TSN_SUPPORTED | kind::HOST_NAME => walk.unanswerable(),
        kind::STATE_COOKIE | kind::UNRECOGNIZED | kind::SUPPORTED_EXTENSIONS | kind::PADDING => walk,
        other => {
            let bits = (other >> 14) as u8;
            let walk = if bits & unknown::SKIP == 0 { Walk(walk.0 | Walk::STOP) } else { walk };
            if bits & unknown::REPORT == 0 { walk } else { reported(frame, at, head, walk, keep) }
        }
    }
}

/// An address that the peer lists: kept, unless it is kept already or the one that the INIT comes from; passed over if it cannot be the peer's.
#[inline(always)]
fn listed<F, T, K>(frame: &F, packet: &Decoded, address: [u8; 16], walk: Walk, tables: &T, keep: &mut K) -> Walk
where
    F: Frame + ?Sized,
    T: Tables,
    K: Keep,
{
    let Some(addresses) = packet.addresses(frame) else { return walk.unanswerable() };
    if address == addresses.source || !is_unicast(&address) || !is_global(&address) {
        return walk;
    }
    let kept = walk.kept();
    for place in 0..MAX_LISTED {
        // Asked each time: a count of rounds that the compiler knows beforehand it counts down, and older verifiers do not see that the place
        // stays within.
        if place >= F::in_order(kept as u64, 0).0 as usize {
            break;
        }
        if keep.address(place) == address {
            return walk;
        }
    }
    if tables.is_ours(&address) {
        return walk;
    }
    if tables.peer(&PeerKey::new(address, packet.source_port, packet.destination_port)).is_some() {
        return Walk(walk.0 | Walk::LIVING);
    }
    if kept >= MAX_LISTED {
        return walk.unanswerable();
    }
    keep.keep_address(kept, address);
    Walk((walk.0 | family(&address) << Walk::LISTED) + (1 << Walk::KEPT))
}

/// The families of addresses in a Supported Address Types parameter with its value at `at` (§3.3.2.1.5). `None` if it is malformed, or has more
/// types than there are.
#[inline(always)]
fn supported<F: Frame + ?Sized>(frame: &F, at: usize, length: u16) -> Option<u64> {
    const MOST: u16 = 4;
    let types = (length - PARAMETER_HEADER_LENGTH as u16) / 2;
    if !length.is_multiple_of(2) || types > MOST {
        return None;
    }
    let mut found = 0;
    for place in 0..MOST {
        if place >= F::in_order(types.into(), 0).0 as u16 {
            break;
        }
        match u16::from_be_bytes(frame.read(at + usize::from(place) * 2)?) {
            kind::IPV4_ADDRESS => found |= IPV4,
            kind::IPV6_ADDRESS => found |= IPV6,
            _ => {}
        }
    }
    Some(found)
}

/// A parameter that is not recognized and asks to be reported: kept as it is to be sent back (§3.2.2, §3.3.3.1.2).
#[inline(always)]
fn reported<F: Frame + ?Sized, K: Keep>(frame: &F, at: usize, head: u32, walk: Walk, keep: &mut K) -> Walk {
    let length = head as usize & 0xffff;
    let to = walk.reports();
    let report = PARAMETER_HEADER_LENGTH + padded(length);
    if length > MAX_REPORTED || to + report > MAX_REPORTS {
        return walk.unanswerable();
    }
    let outer = u32::from(kind::UNRECOGNIZED) << 16 | (PARAMETER_HEADER_LENGTH + length) as u32;
    keep.keep_report(to, outer.to_be_bytes());
    for word in 0..MAX_REPORTED / 4 {
        if word * 4 >= F::in_order(length as u64, 0).0 as usize {
            break;
        }
        // The chunk ends with its padding, so there are four.
        let Some(bytes) = frame.read(at + word * 4) else { return walk.unanswerable() };
        let rest = length - word * 4;
        let padding = if rest < 4 { u32::MAX >> (rest * 8) } else { 0 };
        let bytes = u32::from_be_bytes(bytes) & !padding;
        keep.keep_report(to + PARAMETER_HEADER_LENGTH + word * 4, bytes.to_be_bytes());
    }
    let padding = (padded(length) - length) as u64;
    let cleared = walk.0 & !(0xff << Walk::REPORTS | 0xf << Walk::PADDING);
    Walk(cleared | ((to + report) as u64) << Walk::REPORTS | padding << Walk::PADDING)
}

const _: () = assert!(MAX_LISTED <= crate::cookie::MAX_ADDRESSES);
const _: () = assert!(INIT_LENGTH == CHUNK_HEADER_LENGTH + 16);
