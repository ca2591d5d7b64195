//! IPv4 and IPv6 headers, up to the first byte of what they carry.

use super::{Frame, ipv4_mapped};
use crate::icmp::{ICMP, ICMPV6};
use crate::verdict::{DropReason, PassReason, Verdict};
use crate::wire::IPPROTO_SCTP;

/// How many IPv6 extension headers are followed. RFC 8200 §4.1 recommends an order with at most six in front of the upper
/// layer; more make the packet [`PassReason::ExtensionHeaders`].
pub(super) const MAX_EXTENSION_HEADERS: usize = 6;

/// An IP packet that carries SCTP.
pub(super) struct IpPacket {
    pub(super) source: [u8; 16],
    pub(super) destination: [u8; 16],
    pub(super) is_ipv4: bool,
    pub(super) ecn: u8,
    pub(super) fragment: bool,
    /// Offset of the payload from the frame's start.
    pub(super) payload_offset: usize,
    /// Bytes of the payload; the frame has them all.
    pub(super) payload_len: usize,
}

/// Reads the IPv4 header at `at` (RFC 791 §3.1).
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
pub(super) fn ipv4<F: Frame + ?Sized>(frame: &F, at: usize) -> Result<IpPacket, Verdict> {
    let header: [u8; 20] = frame.read(at).ok_or(PassReason::NotSctp)?;
    let [version_ihl, traffic, l0, l1, _, _, f0, f1, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = header;
    if protocol != IPPROTO_SCTP {
        return Err(if protocol == ICMP { PassReason::Icmp } else { PassReason::NotSctp }.into());
    }
    if version_ihl >> 4 != 4 {
        return Err(DropReason::IpVersion.into());
    }
    let header_len = usize::from(version_ihl & 0x0f) * 4;
    if header_len < header.len() {
        return Err(DropReason::IpHeaderLength.into());
    }
    let total_len = usize::from(u16::from_be_bytes([l0, l1]));
    if total_len < header_len {
        return Err(DropReason::IpLength.into());
    }
    if at + total_len > frame.len() {
        return Err(DropReason::Truncated.into());
    }
    if header_sum(frame, at, &header, header_len).ok_or(DropReason::Truncated)? != 0xffff {
        return Err(DropReason::IpChecksum.into());
    }
    let fragment = u16::from_be_bytes([f0, f1]);
    if fragment & 0x1fff != 0 {
        return Err(PassReason::LaterFragment.into());
    }
    Ok(IpPacket {
        source: ipv4_mapped([s0, s1, s2, s3]),
        destination: ipv4_mapped([d0, d1, d2, d3]),
        is_ipv4: true,
        ecn: traffic & 3,
        fragment: fragment & 0x2000 != 0,
        payload_offset: at + header_len,
        payload_len: total_len - header_len,
    })
}

/// The ones'-complement sum over the header (RFC 1071): 0xffff if its checksum is right. Words are added in host byte order,
/// which changes the sum's byte order but not whether it is all ones.
#[inline(always)]
fn header_sum<F: Frame + ?Sized>(frame: &F, at: usize, fixed: &[u8; 20], header_len: usize) -> Option<u32> {
    let (words, _) = fixed.as_chunks::<4>();
    let mut sum = 0;
    for word in words {
        sum += u64::from(u32::from_ne_bytes(*word));
    }
    let mut option = fixed.len();
    for _ in 0..10 {
        if option >= header_len {
            break;
        }
        sum += u64::from(u32::from_ne_bytes(frame.read(at + option)?));
        option += 4;
    }
    // At most 15 words of 32 bits: the first fold leaves at most 33 bits, the next ones 17 and 16.
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    Some(sum as u32)
}

/// Reads the IPv6 header at `at` and follows its extension headers (RFC 8200 §3, §4).
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
pub(super) fn ipv6<F: Frame + ?Sized>(frame: &F, at: usize) -> Result<IpPacket, Verdict> {
    let [v0, v1, _, _, l0, l1, next_header, _]: [u8; 8] = frame.read(at).ok_or(PassReason::NotSctp)?;
    let chain = extension_headers(frame, next_header, at + 40)?;
    if v0 >> 4 != 6 {
        return Err(DropReason::IpVersion.into());
    }
    let source = frame.read(at + 8).ok_or(DropReason::Truncated)?;
    let destination = frame.read(at + 24).ok_or(DropReason::Truncated)?;
    let end = at + 40 + usize::from(u16::from_be_bytes([l0, l1]));
    if end > frame.len() {
        return Err(DropReason::Truncated.into());
    }
    if end < chain.end {
        return Err(DropReason::IpLength.into());
    }
    Ok(IpPacket {
        source,
        destination,
        is_ipv4: false,
        ecn: (v1 >> 4) & 3,
        fragment: chain.fragment,
        payload_offset: chain.end,
        payload_len: end - chain.end,
    })
}

/// A chain of extension headers that leads to SCTP.
struct Chain {
    /// Where it ends and SCTP begins, from the frame's start.
    end: usize,
    /// It holds the fragment header of a first fragment.
    fragment: bool,
}

#[inline(always)]
fn extension_headers<F: Frame + ?Sized>(frame: &F, first: u8, at: usize) -> Result<Chain, Verdict> {
    let mut kind = first;
    let mut chain = Chain { end: at, fragment: false };
    for _ in 0..=MAX_EXTENSION_HEADERS {
        if kind == IPPROTO_SCTP {
            return Ok(chain);
        }
        if !matches!(kind, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION) {
            return Err(if kind == ICMPV6 { PassReason::Icmp } else { PassReason::NotSctp }.into());
        }
        let [next, length, b2, b3]: [u8; 4] = frame.read(chain.end).ok_or(PassReason::NotSctp)?;
        let mut bytes = (usize::from(length) + 1) * 8;
        if kind == FRAGMENT {
            let offset_flags = u16::from_be_bytes([b2, b3]);
            if offset_flags & 0xfff8 != 0 {
                let ours = next == IPPROTO_SCTP;
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

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;
