//! IPv4 and IPv6 headers, up to the first byte of what they carry.

use super::{Frame, Words as _};
use crate::icmp::{ICMP, ICMPV6};
use crate::verdict::{DropReason, PassReason, Verdict};
use crate::wire::IPPROTO_UDP;

/// How many IPv6 extension headers are followed. RFC 8200 §4.1 recommends an order with at most six in front of the upper
/// layer; more make the packet [`PassReason::ExtensionHeaders`].
pub(super) const MAX_EXTENSION_HEADERS: usize = 6;

/// An IP packet that carries what was looked for.
pub(super) struct IpPacket {
    pub(super) is_ipv4: bool,
    pub(super) ecn: u8,
    pub(super) fragment: bool,
    /// Offset of the payload from the frame's start.
    pub(super) payload_offset: usize,
    /// Bytes of the payload; the frame has them all.
    pub(super) payload_len: usize,
}

/// Reads the IPv4 header at `at` (RFC 791 §3.1) of a packet that carries `upper`: SCTP or UDP.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-------+-------+---------------+-------------------------------+
/// |Version|  IHL  |   DSCP    |ECN|          Total Length         |
/// +-------------------------------+-----+-------------------------+
/// |         Identification        |Flags|     Fragment Offset     |
/// +---------------+---------------+-----+-------------------------+
/// | Time to Live  |    Protocol   |        Header Checksum        |
/// +---------------+---------------+-------------------------------+
/// |                        Source Address                         |
/// +---------------------------------------------------------------+
/// |                     Destination Address                       |
/// +---------------------------------------------------------------+
/// |                  Options, up to 40 bytes                      |
/// +---------------------------------------------------------------+
/// ```
#[inline(always)]
pub(super) fn ipv4<F: Frame + ?Sized>(frame: &F, at: usize, upper: u8) -> Result<IpPacket, Verdict> {
    // In three words, the first byte of each the least significant, and the last one half: single bytes would be stored and gathered again.
    let header = frame.words::<IPV4_HEADER_LENGTH>(at).ok_or(PassReason::NotSctp)?;
    let (start, middle, end) = (header.word::<0>(), header.word::<8>(), header.word::<12>() >> 32);
    let protocol = (middle >> 8) as u8;
    if protocol != upper {
        return Err(other(protocol).into());
    }
    if start as u8 >> 4 != 4 {
        return Err(DropReason::IpVersion.into());
    }
    let header_len = usize::from(start as u8 & 0x0f) * 4;
    if header_len < IPV4_HEADER_LENGTH {
        return Err(DropReason::IpHeaderLength.into());
    }
    let total_len = usize::from(((start >> 16) as u16).swap_bytes());
    if total_len < header_len {
        return Err(DropReason::IpLength.into());
    }
    if at + total_len > frame.len() {
        return Err(DropReason::Truncated.into());
    }
    let fixed = (start & 0xffff_ffff) + (start >> 32) + (middle & 0xffff_ffff) + (middle >> 32) + end;
    if header_sum(frame, at, fixed, header_len).ok_or(DropReason::Truncated)? != 0xffff {
        return Err(DropReason::IpChecksum.into());
    }
    let fragment = ((start >> 48) as u16).swap_bytes();
    if fragment & 0x1fff != 0 {
        return Err(PassReason::LaterFragment.into());
    }
    Ok(IpPacket {
        is_ipv4: true,
        ecn: (start >> 8) as u8 & 3,
        fragment: fragment & 0x2000 != 0,
        payload_offset: at + header_len,
        payload_len: total_len - header_len,
    })
}

/// What a packet is that carries `protocol` and not what was looked for.
#[inline(always)]
fn other(protocol: u8) -> PassReason {
    if protocol == ICMP {
        PassReason::Icmp
    } else if protocol == IPPROTO_UDP {
        PassReason::Udp
    } else {
        PassReason::NotSctp
    }
}

/// The ones'-complement sum over the header (RFC 1071), `fixed` being that over the words before its options: 0xffff if its checksum is
/// right. Words are added least significant byte first, which changes the sum's byte order but not whether it is all ones.
#[inline(always)]
fn header_sum<F: Frame + ?Sized>(frame: &F, at: usize, fixed: u64, header_len: usize) -> Option<u32> {
    let mut sum = fixed;
    let mut option = IPV4_HEADER_LENGTH;
    for _ in 0..10 {
        if option >= header_len {
            break;
        }
        sum += u64::from(u32::from_le_bytes(frame.read(at + option)?));
        option += 4;
    }
    // At most 15 words of 32 bits: the first fold leaves at most 33 bits, the next ones 17 and 16.
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    Some(sum as u32)
}

/// Reads the IPv6 header at `at` and follows its extension headers (RFC 8200 §3, §4) to `upper`: SCTP or UDP.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-------+-----------+---+---------------------------------------+
/// |Version|   DSCP    |ECN|               Flow Label              |
/// +-------+-----------+---+-------+---------------+---------------+
/// |         Payload Length        |  Next Header  |   Hop Limit   |
/// +-------------------------------+---------------+---------------+
/// |                   Source Address (16 bytes)                   |
/// +---------------------------------------------------------------+
/// |                 Destination Address (16 bytes)                |
/// +---------------------------------------------------------------+
/// ```
#[inline(always)]
pub(super) fn ipv6<F: Frame + ?Sized>(frame: &F, at: usize, upper: u8) -> Result<IpPacket, Verdict> {
    let start = frame.words::<8>(at).ok_or(PassReason::NotSctp)?.word::<0>();
    let chain = extension_headers(frame, (start >> 48) as u8, at + 40, upper)?;
    if chain.upper == ICMPV6 {
        return Err(PassReason::Icmp.into());
    }
    if start as u8 >> 4 != 6 {
        return Err(DropReason::IpVersion.into());
    }
    if at + 40 > frame.len() {
        return Err(DropReason::Truncated.into());
    }
    let end = at + 40 + usize::from(((start >> 32) as u16).swap_bytes());
    if end > frame.len() {
        return Err(DropReason::Truncated.into());
    }
    if end < chain.end {
        return Err(DropReason::IpLength.into());
    }
    Ok(IpPacket {
        is_ipv4: false,
        ecn: (start >> 12) as u8 & 3,
        fragment: chain.fragment,
        payload_offset: chain.end,
        payload_len: end - chain.end,
    })
}

/// A chain of extension headers that leads to what was looked for, or to ICMPv6.
pub(crate) struct Chain {
    /// Where it ends and that begins, from the frame's start.
    pub(crate) end: usize,
    /// It holds the fragment header of a first fragment.
    pub(crate) fragment: bool,
    /// Which of the two.
    pub(crate) upper: u8,
}

/// Follows the extension headers from offset `at`, the first of which is of type `first`, to `upper` or to ICMPv6 (RFC 8200 §4).
///
/// # Errors
///
/// The verdict on a packet that carries something else, or whose chain cannot be followed.
#[inline(always)]
pub(crate) fn extension_headers<F: Frame + ?Sized>(
    frame: &F,
    first: u8,
    at: usize,
    upper: u8,
) -> Result<Chain, Verdict> {
    let mut kind = first;
    let mut chain = Chain { end: at, fragment: false, upper };
    for _ in 0..=MAX_EXTENSION_HEADERS {
        if kind == upper {
            return Ok(chain);
        }
        if kind == ICMPV6 {
            chain.upper = ICMPV6;
            return Ok(chain);
        }
        if !matches!(kind, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION) {
            return Err(if kind == IPPROTO_UDP { PassReason::Udp } else { PassReason::NotSctp }.into());
        }
        let [next, length, b2, b3]: [u8; 4] = frame.read(chain.end).ok_or(PassReason::NotSctp)?;
        let mut bytes = (usize::from(length) + 1) * 8;
        if kind == FRAGMENT {
            let offset_flags = u16::from_be_bytes([b2, b3]);
            if offset_flags & 0xfff8 != 0 {
                let ours = next == upper;
                return Err(if ours { PassReason::LaterFragment } else { PassReason::NotSctp }.into());
            }
            chain.fragment |= offset_flags & 1 != 0;
            bytes = 8;
        } else if kind == ROUTING && b3 != 0 {
            return Err(PassReason::SourceRouted.into());
        }
        kind = next;
        chain.end += bytes;
    }
    Err(PassReason::ExtensionHeaders.into())
}

/// Bytes of an IPv4 header without options.
const IPV4_HEADER_LENGTH: usize = 20;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;
