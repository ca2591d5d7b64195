//! Which packets a port's owner may see: verification tag rules (RFC 9260 §8.5, §8.5.1) and the rules for packets out of
//! the blue (§8.4), as pure functions.
//!
//! For a packet that goes to userspace they look at the first chunk only: where the RFC says "contains", userspace, which walks
//! all chunks, has the last word. Before the program answers by itself, it walks them too ([`Contents`]).

#[cfg(test)]
mod tests;

use crate::frame::{Addresses, ChunkHead, Decoded, Frame, MAX_SCTP_LENGTH};
use crate::maps::TagKind;
use crate::verdict::{AnswerReason, DropReason};
use crate::wire::{
    CHUNK_HEADER_LENGTH, COMMON_HEADER_LENGTH, PARAMETER_HEADER_LENGTH as CAUSE_HEADER_LENGTH, cause, chunk, flags,
    padded,
};

/// Checks what can be said of a packet to one of our ports from its headers alone, and gives its first chunk.
///
/// # Errors
///
/// The reason to drop the packet, if it is for us.
#[inline(always)]
pub fn well_formed(packet: &Decoded) -> Result<ChunkHead, DropReason> {
    let sctp_len = usize::from(packet.sctp_len);
    if packet.source_port == 0 || packet.destination_port == 0 {
        return Err(DropReason::PortZero);
    }
    if packet.fragment {
        return Err(DropReason::Fragment);
    }
    if sctp_len > MAX_SCTP_LENGTH {
        return Err(DropReason::TooLong);
    }
    let Some(first) = packet.first_chunk() else {
        return Err(if sctp_len == COMMON_HEADER_LENGTH { DropReason::NoChunk } else { DropReason::ChunkHeader });
    };
    let length = usize::from(first.length);
    if length < CHUNK_HEADER_LENGTH {
        return Err(DropReason::ChunkLength);
    }
    if COMMON_HEADER_LENGTH + length > sctp_len {
        return Err(DropReason::ChunkTruncated);
    }
    if COMMON_HEADER_LENGTH + padded(length) > sctp_len {
        return Err(DropReason::ChunkPadding);
    }
    Ok(first)
}

/// What a packet's verification tag has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedTag {
    /// The tag of an association on this port that we drew.
    Local,
    /// The tag of an association on this port that the peer drew, reflected.
    Peer,
    /// Zero, as it is: the packet is an INIT, alone.
    Zero,
}

impl ExpectedTag {
    /// Whose tag of an association it is, if any's.
    #[inline(always)]
    #[must_use]
    pub const fn of_association(self) -> Option<TagKind> {
        match self {
            Self::Local => Some(TagKind::Local),
            Self::Peer => Some(TagKind::Peer),
            Self::Zero => None,
        }
    }
}

/// Decides from the first chunk which tag the packet must carry (§8.5, and the exceptions in §8.5.1).
///
/// `sctp_len` is the length of the SCTP packet, common header included; `first` must be [`well_formed`].
///
/// # Errors
///
/// The reason why no tag could make the packet acceptable.
#[inline(always)]
pub fn expected_tag(tag: u32, first: ChunkHead, sctp_len: usize) -> Result<ExpectedTag, DropReason> {
    match first.kind {
        // A) "The sender MUST set the Verification Tag of the packet to 0."
        //= RFC 9260 §8.5.1: "The sender MUST set the Verification Tag of the packet to 0."
        //= RFC 9260 §12.3: "The receiver of an INIT chunk MUST silently discard the INIT chunk and all further chunks"
        chunk::INIT if tag != 0 => Err(DropReason::InitTag),
        // A) "… SHOULD verify that the packet contains only an INIT chunk. Otherwise, the receiver MUST silently
        // discard the packet."
        //= RFC 9260 §8.5.1: "it SHOULD verify that the packet contains only an INIT chunk"
        chunk::INIT if COMMON_HEADER_LENGTH + padded(usize::from(first.length)) != sctp_len => {
            Err(DropReason::InitBundled)
        }
        chunk::INIT => Ok(ExpectedTag::Zero),
        //= RFC 9260 §8.5.1: "Otherwise, the receiver MUST silently discard the packet."
        _ if tag == 0 => Err(DropReason::ZeroTag),
        // B), C) "… matches its own tag and the T bit is not set OR … is set to its Peer's Tag and the T bit is set"
        //= RFC 9260 §8.5.1: "The receiver of an ABORT chunk MUST accept the packet if the Verification Tag field of the
        //= packet matches its own tag and the T bit is not set OR if it is set to its Peer's Tag and the T bit is set"
        chunk::ABORT | chunk::SHUTDOWN_COMPLETE if first.flags & flags::T != 0 => Ok(ExpectedTag::Peer),
        _ => Ok(ExpectedTag::Local),
    }
}

/// What to do with a packet for us that no association claims, by its first chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfTheBlue {
    /// §8.4, 3: an INIT, to be processed as §5.1 says.
    Init,
    /// §8.4, 4: a COOKIE ECHO as the first chunk, to be processed as §5.1 says.
    CookieEcho,
    /// §8.4, 2 and 5 to 8: what all chunks have a say in, not only the first ([`Contents::answer`]).
    Other,
    /// §8.4, 1 and 2: to be discarded silently.
    Silent(DropReason),
}

/// Classifies a packet out of the blue by the rules of §8.4, in their order, from its first chunk.
///
/// `first` must be [`well_formed`] and have passed [`expected_tag`], which has taken care of tag 0.
#[inline(always)]
pub fn out_of_the_blue(addresses: &Addresses, first: ChunkHead) -> OutOfTheBlue {
    if !is_unicast(&addresses.source) || !is_unicast(&addresses.destination) {
        //= RFC 9260 §8.4: "If the OOTB packet is to or from a non-unicast address, a receiver SHOULD silently discard
        //= the packet."
        return OutOfTheBlue::Silent(DropReason::NonUnicast);
    }
    match first.kind {
        //= RFC 9260 §8.4: "If the OOTB packet contains an ABORT chunk, the receiver MUST silently discard the OOTB
        //= packet"
        chunk::ABORT => OutOfTheBlue::Silent(DropReason::OotbAbort),
        chunk::INIT => OutOfTheBlue::Init,
        chunk::COOKIE_ECHO => OutOfTheBlue::CookieEcho,
        _ => OutOfTheBlue::Other,
    }
}

/// Which chunks a packet has, as far as §8.4 asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents(u32);

impl Contents {
    const ABORT: u32 = 1 << 0;
    const SHUTDOWN_ACK: u32 = 1 << 1;
    const SHUTDOWN_COMPLETE: u32 = 1 << 2;
    const COOKIE_ACK: u32 = 1 << 3;
    const UNREADABLE: u32 = 1 << 4;
    const REFLECTED_ABORT: u32 = 1 << 5;

    /// The contents from [`bits`](Self::bits).
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The contents as a number.
    #[inline(always)]
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Walks the chunks of the SCTP packet of `length` bytes at offset `at` of `frame`. Up to [`MAX_CHUNKS`].
    #[inline(always)]
    pub fn of<F: Frame + ?Sized>(frame: &F, at: usize, length: usize) -> Self {
        let end = at + length;
        let mut next = at + COMMON_HEADER_LENGTH;
        let mut found = 0;
        for _ in 0..MAX_CHUNKS {
            if next + CHUNK_HEADER_LENGTH > end {
                return Self(found);
            }
            let Some([kind, bits, l0, l1]) = frame.read(next) else { break };
            let length = u16::from_be_bytes([l0, l1]);
            if usize::from(length) < CHUNK_HEADER_LENGTH || next + usize::from(length) > end {
                break;
            }
            found |=
                if kind == chunk::ERROR { Self::of_error(frame, next, length) } else { Self::of_chunk(kind, bits) };
            next += padded(usize::from(length));
        }
        if next + CHUNK_HEADER_LENGTH > end { Self(found) } else { Self(found | Self::UNREADABLE) }
    }

    /// Those of an SCTP packet of `length` bytes, if `first`, which must be [`well_formed`], is the only chunk and says it all by its
    /// header.
    #[inline(always)]
    #[must_use]
    pub const fn of_only(first: ChunkHead, length: usize) -> Option<Self> {
        if first.kind == chunk::ERROR || COMMON_HEADER_LENGTH + padded(first.length as usize) != length {
            return None;
        }
        Some(Self(Self::of_chunk(first.kind, first.flags)))
    }

    /// What a chunk other than ERROR counts as.
    #[inline(always)]
    const fn of_chunk(kind: u8, bits: u8) -> u32 {
        match kind {
            chunk::ABORT if bits & flags::T != 0 => Self::ABORT | Self::REFLECTED_ABORT,
            chunk::ABORT => Self::ABORT,
            chunk::SHUTDOWN_ACK => Self::SHUTDOWN_ACK,
            chunk::SHUTDOWN_COMPLETE => Self::SHUTDOWN_COMPLETE,
            chunk::COOKIE_ACK => Self::COOKIE_ACK,
            _ => 0,
        }
    }

    /// What the ERROR chunk of `length` bytes at `at` counts as: a COOKIE ACK if it tells of a stale cookie (§3.3.10.3). Only the
    /// first cause is looked at; further ones make the chunk unreadable, since one of them might be that.
    #[inline(always)]
    fn of_error<F: Frame + ?Sized>(frame: &F, at: usize, length: u16) -> u32 {
        let length = usize::from(length);
        if length < CHUNK_HEADER_LENGTH + CAUSE_HEADER_LENGTH {
            return 0;
        }
        // In one register: else the compiler compares the one that has the chunk's offset with the end, and reads by another, and the
        // verifier of Linux 6.1 does not see that they belong together.
        let (at, _) = F::in_order((at + CHUNK_HEADER_LENGTH) as u64, 0);
        let Some([c0, c1, l0, l1]) = frame.read(at as usize) else { return Self::UNREADABLE };
        if u16::from_be_bytes([c0, c1]) == cause::STALE_COOKIE {
            return Self::COOKIE_ACK;
        }
        let first = usize::from(u16::from_be_bytes([l0, l1]));
        if CHUNK_HEADER_LENGTH + padded(first) + CAUSE_HEADER_LENGTH <= length { Self::UNREADABLE } else { 0 }
    }

    /// Whether there is an ABORT with the T bit, which belongs to an association by the peer's tag (§8.5.1 B). It need not be
    /// the first chunk: control chunks may stand in front of it (§3.3.7).
    #[inline(always)]
    #[must_use]
    pub const fn has_reflected_abort(self) -> bool {
        self.0 & Self::REFLECTED_ABORT != 0
    }

    /// Whether there is a SHUTDOWN ACK.
    #[inline(always)]
    #[must_use]
    pub const fn has_shutdown_ack(self) -> bool {
        self.0 & Self::SHUTDOWN_ACK != 0
    }

    /// With what a packet out of the blue is answered that has these and whose first chunk leaves it open
    /// ([`OutOfTheBlue::Other`]): §8.4, 2 and 5 to 8, in their order.
    ///
    /// # Errors
    ///
    /// The reason to discard it silently. It is also discarded if its chunks cannot be read to the end, for one of those
    /// might forbid the answer.
    #[inline(always)]
    pub const fn answer(self) -> Result<AnswerReason, DropReason> {
        if self.0 & Self::ABORT != 0 {
            Err(DropReason::OotbAbort)
        } else if self.0 & Self::UNREADABLE != 0 {
            Err(DropReason::OotbUnreadable)
        } else if self.0 & Self::SHUTDOWN_ACK != 0 {
            Ok(AnswerReason::ShutdownComplete)
        } else if self.0 & Self::SHUTDOWN_COMPLETE != 0 {
            Err(DropReason::OotbShutdownComplete)
        } else if self.0 & Self::COOKIE_ACK != 0 {
            Err(DropReason::OotbCookieAck)
        } else {
            Ok(AnswerReason::Abort)
        }
    }
}

/// How many chunks of a packet out of the blue are looked at: more than fit an Ethernet frame of 1500 bytes with some payload
/// each. The BPF verifier wants a bound.
pub const MAX_CHUNKS: usize = 64;

/// Whether `address` is an IPv4 address, which is written as IPv4-mapped IPv6.
#[inline(always)]
#[must_use]
pub const fn is_ipv4(address: &[u8; 16]) -> bool {
    u128::from_be_bytes(*address) >> 32 == 0xffff
}

/// Whether `address` means the same host to everybody, or at least to all who are not on this host or this link: it is neither a loopback address
/// nor a link-local one.
#[inline(always)]
#[must_use]
pub const fn is_global(address: &[u8; 16]) -> bool {
    let value = u128::from_be_bytes(*address);
    let (high, low) = ((value >> 64) as u64, value as u64);
    if high == 0 && low >> 32 == 0xffff {
        let v4 = low as u32;
        return v4 >> 24 != 127 && v4 >> 16 != 0xa9fe;
    }
    high >> 54 != 0xfe80 >> 6 && !(high == 0 && low == 1)
}

/// Whether `address` can be one host's: not unspecified, not multicast, not the limited broadcast address.
///
/// A subnet's own broadcast address cannot be told from the packet; as a destination it is not among our addresses.
#[inline(always)]
#[must_use]
pub const fn is_unicast(address: &[u8; 16]) -> bool {
    let value = u128::from_be_bytes(*address);
    let (high, low) = ((value >> 64) as u64, value as u64);
    if high == 0 && low >> 32 == 0xffff {
        let v4 = low as u32;
        return v4 != 0 && v4 >> 28 != 0xe && v4 != u32::MAX;
    }
    high >> 56 != 0xff && (high | low) != 0
}
