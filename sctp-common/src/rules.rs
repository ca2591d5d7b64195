//! Which packets a port's owner may see: verification tag rules (RFC 9260 §8.5, §8.5.1) and the rules for packets out of
//! the blue (§8.4), as pure functions.
//!
//! They look at the packet's first chunk only, and so does the XDP program. Where the RFC says "contains", userspace,
//! which walks all chunks, has the last word.

#[cfg(test)]
mod tests;

use crate::frame::{ChunkHead, Decoded, Frame, MAX_SCTP_LENGTH};
use crate::maps::TagKind;
use crate::verdict::DropReason;
use crate::wire::{CHUNK_HEADER_LENGTH, COMMON_HEADER_LENGTH, cause, chunk, flags, padded};

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

/// What to do with a packet for us that no association claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfTheBlue {
    /// §8.4, 3: an INIT, to be processed as §5.1 says.
    Init,
    /// §8.4, 4: a COOKIE ECHO as the first chunk, to be processed as §5.1 says.
    CookieEcho,
    /// §8.4, 5: a SHUTDOWN ACK, to be answered with SHUTDOWN COMPLETE and the tag reflected.
    ShutdownAck,
    /// §8.4, 8: anything else, to be answered with ABORT and the tag reflected.
    Other,
    /// §8.4, 1, 2, 6 and 7: to be discarded silently.
    Silent(DropReason),
}

impl OutOfTheBlue {
    /// The reason to count when no answer is sent; `None` for what has to be processed.
    #[inline(always)]
    #[must_use]
    pub const fn drop_reason(self) -> Option<DropReason> {
        match self {
            Self::Init | Self::CookieEcho => None,
            Self::ShutdownAck => Some(DropReason::OotbShutdownAck),
            Self::Other => Some(DropReason::OutOfTheBlue),
            Self::Silent(reason) => Some(reason),
        }
    }
}

/// Classifies a packet out of the blue by the rules of §8.4, in their order.
///
/// `first` must be [`well_formed`] and have passed [`expected_tag`], which has taken care of tag 0.
#[inline(always)]
pub fn out_of_the_blue<F: Frame + ?Sized>(frame: &F, packet: &Decoded, first: ChunkHead) -> OutOfTheBlue {
    if !is_unicast(&packet.source) || !is_unicast(&packet.destination) {
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
        chunk::SHUTDOWN_ACK => OutOfTheBlue::ShutdownAck,
        chunk::SHUTDOWN_COMPLETE => OutOfTheBlue::Silent(DropReason::OotbShutdownComplete),
        chunk::COOKIE_ACK => OutOfTheBlue::Silent(DropReason::OotbCookieAck),
        chunk::ERROR if is_stale_cookie(frame, packet, first) => OutOfTheBlue::Silent(DropReason::OotbCookieAck),
        _ => OutOfTheBlue::Other,
    }
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

/// Whether the first cause of the ERROR chunk `first` is "Stale Cookie" (§3.3.10.3).
#[inline(always)]
fn is_stale_cookie<F: Frame + ?Sized>(frame: &F, packet: &Decoded, first: ChunkHead) -> bool {
    let at = usize::from(packet.sctp_offset) + COMMON_HEADER_LENGTH + CHUNK_HEADER_LENGTH;
    usize::from(first.length) >= 2 * CHUNK_HEADER_LENGTH
        && frame.read(at).map(u16::from_be_bytes) == Some(cause::STALE_COOKIE)
}
