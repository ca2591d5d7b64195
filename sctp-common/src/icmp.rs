//! ICMP and ICMPv6 errors that quote a packet of ours (RFC 9260 §10): finding the quotation, and whose it is.
//!
//! ```text
//!  Ethernet, VLAN tags
//!  IPv4 header with options (protocol 1) | IPv6 header, extension headers (next header 58)
//! +---------------+---------------+-------------------------------+
//! |     Type      |     Code      |            Checksum           |
//! +---------------+---------------+-------------------------------+
//! |         unused, or the MTU of the next link, or a pointer     |
//! +---------------------------------------------------------------+
//! |  IP header of the packet that could not be delivered, ours,   |
//! |  and as much of what follows as fits; over IPv4 perhaps only  |
//! |  eight bytes: ports and verification tag                      |
//! ```
//!
//! Anybody can send such a message. What makes one believable is the verification tag in the quotation, which nobody
//! off the path knows (ICMP6): the XDP program looks it up and redirects the frame to the worker of the association that sent the
//! packet. The worker verifies the ICMP checksum, which the kernel would have done.

#[cfg(test)]
mod tests;

use crate::frame::ip::extension_headers;
use crate::frame::{ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, Frame, ethernet, ipv4_mapped};
use crate::judge::{Owner, Tables};
use crate::maps::{TagKey, TagKind};
use crate::verdict::{DropReason, PassReason, RedirectReason, Verdict};
use crate::wire::{CHUNK_HEADER_LENGTH, COMMON_HEADER_LENGTH, IPPROTO_SCTP, IPPROTO_UDP, UDP_HEADER_LENGTH, chunk};

/// What an ICMP error says, and about which packet of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotation {
    /// Offset of the outer IP header from the frame's start: 14, 18 or 22.
    pub l3_offset: u16,
    /// Offset of the ICMP message.
    pub icmp_offset: u16,
    /// Offset of the quoted packet's IP header.
    pub inner_offset: u16,
    /// Offset of the quoted packet's SCTP common header.
    pub sctp_offset: u16,
    /// Offset of the first byte behind the ICMP message.
    pub end: u16,
    /// Whether the message is ICMP rather than ICMPv6.
    pub is_ipv4: bool,
    /// ICMP type.
    pub kind: u8,
    /// ICMP code, whose meaning depends on the type.
    pub code: u8,
    /// The word behind the ICMP checksum, host byte order: the MTU for [`is_too_big`](Self::is_too_big), over IPv4 in its low half.
    pub word: u32,
    /// UDP destination port of a quoted packet that went in UDP (RFC 6951); 0 if it went directly over IP.
    pub udp_port: u16,
    /// Source port of the quoted packet: ours.
    pub source_port: u16,
    /// Destination port of the quoted packet: the peer's.
    pub destination_port: u16,
    /// Verification tag of the quoted packet: the peer's, or 0 for an INIT.
    pub verification_tag: u32,
    /// Initiate Tag of the quoted packet, ours, if it is an INIT and the quotation is long enough to tell; else 0.
    pub initiate_tag: u32,
}

impl Quotation {
    /// Whether the quoted packet was too long for a link on its way: Fragmentation Needed (RFC 792, RFC 1191), Packet Too Big (RFC 8201).
    #[inline(always)]
    #[must_use]
    pub const fn is_too_big(&self) -> bool {
        if self.is_ipv4 { self.kind == 3 && self.code == 4 } else { self.kind == 2 }
    }

    /// The MTU of the link that the packet was too long for, in bytes with the IP header; `None` if it is not about that, or the router is
    /// too old to say.
    #[must_use]
    pub const fn mtu(&self) -> Option<u32> {
        let mtu = if self.is_ipv4 { self.word & 0xffff } else { self.word };
        if self.is_too_big() && mtu != 0 { Some(mtu) } else { None }
    }

    /// Whether the destination has no SCTP: Protocol Unreachable, or Unrecognized Next Header Type Encountered (ICMP8); Port Unreachable if
    /// the packet went in UDP (RFC 6951 §5.5).
    #[must_use]
    pub const fn is_protocol_unreachable(&self) -> bool {
        let (kind, code) = (self.kind, self.code);
        match (self.is_ipv4, self.udp_port != 0) {
            (true, false) => kind == 3 && code == 2,
            (false, false) => kind == 4 && code == 1,
            (true, true) => kind == 3 && (code == 2 || code == PORT_UNREACHABLE),
            (false, true) => kind == 4 && code == 1 || kind == 1 && code == PORT_UNREACHABLE_V6,
        }
    }

    /// Whose packet is quoted (RFC 9260 §10, ICMP5 and ICMP6).
    ///
    /// # Errors
    ///
    /// The verdict on a message that is none of our business, or that quotes a tag that no association has.
    #[inline(always)]
    pub fn find_owner<F: Frame + ?Sized, T: Tables>(&self, frame: &F, tables: &T) -> Result<Owner, Verdict> {
        if !tables.port(self.source_port).is_owned() {
            return Err(PassReason::Icmp.into());
        }
        let (kind, tag) = match self.verification_tag {
            0 => (TagKind::Local, self.initiate_tag),
            tag => (TagKind::Peer, tag),
        };
        match tables.tag(&TagKey::new(self.source_port, kind, tag)) {
            Some(entry) => Ok(Owner::of(RedirectReason::Icmp, entry)),
            None if self.receiver(frame).is_some_and(|address| tables.is_ours(&address)) => {
                Err(DropReason::IcmpTag.into())
            }
            None => Err(PassReason::Icmp.into()),
        }
    }

    /// Where the message was sent to: one of our addresses, if it is for us.
    #[inline(always)]
    fn receiver<F: Frame + ?Sized>(&self, frame: &F) -> Option<[u8; 16]> {
        let at = usize::from(self.l3_offset);
        if self.is_ipv4 { frame.read(at + 16).map(ipv4_mapped) } else { frame.read(at + 24) }
    }

    /// Source and destination address of the quoted packet, ours and the peer's, network byte order, IPv4 as IPv4-mapped IPv6. `frame` is the
    /// frame in which this was found.
    #[must_use]
    pub fn addresses<F: Frame + ?Sized>(&self, frame: &F) -> Option<([u8; 16], [u8; 16])> {
        let at = usize::from(self.inner_offset);
        if self.is_ipv4 {
            Some((ipv4_mapped(frame.read(at + 12)?), ipv4_mapped(frame.read(at + 16)?)))
        } else {
            Some((frame.read(at + 8)?, frame.read(at + 24)?))
        }
    }

    /// Whether the checksums of the IP header and of the ICMP message are right (RFC 791, RFC 792; RFC 4443 §2.3). `frame` is the frame
    /// in which this was found. No packet memory of the program's: only userspace asks.
    #[must_use]
    pub fn has_right_checksums(&self, frame: &[u8]) -> bool {
        let (l3, icmp, end) = (usize::from(self.l3_offset), usize::from(self.icmp_offset), usize::from(self.end));
        let (Some(header), Some(message)) = (frame.get(l3..icmp), frame.get(icmp..end)) else { return false };
        if self.is_ipv4 {
            return is_ones(sum_of(header)) && is_ones(sum_of(message));
        }
        let Some(addresses) = header.get(8..IPV6_HEADER_LENGTH) else { return false };
        is_ones(sum_of(addresses) + message.len() as u64 + u64::from(ICMPV6) + sum_of(message))
    }
}

/// Finds the SCTP packet that an ICMP or ICMPv6 error in `frame` quotes: directly over IP, or in UDP from `udp_port`, this host's
/// encapsulation port, if that is not 0.
///
/// `None` for everything else: other protocols, damaged headers, fragments, queries, and the errors that RFC 9260 §10 (ICMP1 to ICMP4)
/// lets an endpoint ignore: types other than Destination Unreachable, Packet Too Big and Parameter Problem; "Port Unreachable", unless the
/// packet went in UDP (RFC 6951 §5.5); parameter problems other than an unrecognized next header; quotations that end before the
/// verification tag, as of a packet in UDP those of the shortest kind (eight bytes over IPv4) do: "it MUST be discarded silently" (RFC 6951
/// §5.5).
#[inline(always)]
pub fn quotation<F: Frame + ?Sized>(frame: &F, udp_port: u16) -> Option<Quotation> {
    let (ether_type, l3) = ethernet(frame)?;
    let place = match ether_type {
        ETHER_TYPE_IPV4 => over_ipv4(frame, l3, udp_port)?,
        ETHER_TYPE_IPV6 => over_ipv6(frame, l3, udp_port)?,
        _ => return None,
    };
    place.read(frame)
}

#[inline(always)]
fn over_ipv4<F: Frame + ?Sized>(frame: &F, l3: usize, udp_port: u16) -> Option<Place> {
    let [version, _, l0, l1, _, _, f0, f1] = frame.read(l3)?;
    let [_, protocol]: [u8; 2] = frame.read(l3 + 8)?;
    let length = header_length(version)?;
    let total = usize::from(u16::from_be_bytes([l0, l1]));
    let fragment = u16::from_be_bytes([f0, f1]) & 0x3fff != 0;
    if protocol != ICMP || fragment || l3 + total > frame.len() {
        return None;
    }
    let icmp = l3 + length;
    let [kind, code]: [u8; 2] = frame.read(icmp)?;
    if kind != 3 {
        return None;
    }
    let inner_at = icmp + ICMP_HEADER_LENGTH;
    let [version, _, _, _, _, _, f0, f1] = frame.read(inner_at)?;
    let [_, protocol]: [u8; 2] = frame.read(inner_at + 8)?;
    let inner_length = header_length(version)?;
    let later = u16::from_be_bytes([f0, f1]) & 0x1fff != 0;
    if later {
        return None;
    }
    let (sctp, in_udp) = upper(frame, protocol, inner_at + inner_length, udp_port)?;
    // Destination Unreachable, but not for want of the port.
    if code == PORT_UNREACHABLE && in_udp == 0 {
        return None;
    }
    Some(Place { l3, icmp, sctp, end: l3 + total, is_ipv4: true, udp_port: in_udp })
}

#[inline(always)]
fn over_ipv6<F: Frame + ?Sized>(frame: &F, l3: usize, udp_port: u16) -> Option<Place> {
    let [version, _, _, _, l0, l1, next_header, _] = frame.read(l3)?;
    let end = l3 + IPV6_HEADER_LENGTH + usize::from(u16::from_be_bytes([l0, l1]));
    let chain = extension_headers(frame, next_header, l3 + IPV6_HEADER_LENGTH, ICMPV6).ok()?;
    if version >> 4 != 6 || chain.upper != ICMPV6 || chain.fragment || end > frame.len() {
        return None;
    }
    let icmp = chain.end;
    let [kind, code]: [u8; 2] = frame.read(icmp)?;
    // Destination Unreachable; Packet Too Big; Parameter Problem for an unrecognized next header.
    let wanted = match kind {
        1 | 2 => true,
        4 => code == 1,
        _ => false,
    };
    if !wanted {
        return None;
    }
    let inner_at = icmp + ICMP_HEADER_LENGTH;
    let [version, _, _, _, _, _, next_header, _] = frame.read(inner_at)?;
    if version >> 4 != 6 {
        return None;
    }
    let (sctp, in_udp) = upper(frame, next_header, inner_at + IPV6_HEADER_LENGTH, udp_port)?;
    if kind == 1 && code == PORT_UNREACHABLE_V6 && in_udp == 0 {
        return None;
    }
    Some(Place { l3, icmp, sctp, end, is_ipv4: false, udp_port: in_udp })
}

/// Where the SCTP packet begins in a quoted packet that carries `protocol` at `at`, and to which UDP port it went, 0 if to none. `None` if
/// it is not SCTP, and not UDP from our encapsulation port.
#[inline(always)]
fn upper<F: Frame + ?Sized>(frame: &F, protocol: u8, at: usize, udp_port: u16) -> Option<(usize, u16)> {
    if protocol == IPPROTO_SCTP {
        return Some((at, 0));
    }
    if protocol != IPPROTO_UDP || udp_port == 0 {
        return None;
    }
    let [s0, s1, d0, d1] = frame.read(at)?;
    let (from, to) = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
    (from == udp_port && to != 0).then_some((at + UDP_HEADER_LENGTH, to))
}

/// Bytes of the IPv4 header whose first byte is `version`; `None` if it is none.
#[inline(always)]
fn header_length(version: u8) -> Option<usize> {
    let length = usize::from(version & 0x0f) * 4;
    (version >> 4 == 4 && length >= 20).then_some(length)
}

/// Where the parts of a message are.
struct Place {
    l3: usize,
    icmp: usize,
    sctp: usize,
    end: usize,
    is_ipv4: bool,
    udp_port: u16,
}

impl Place {
    /// Reads what is quoted of the SCTP packet.
    #[inline(always)]
    fn read<F: Frame + ?Sized>(self, frame: &F) -> Option<Quotation> {
        let Self { l3, icmp, sctp, end, is_ipv4, udp_port } = self;
        if sctp + 8 > end {
            return None;
        }
        let [kind, code, _, _, w0, w1, w2, w3] = frame.read(icmp)?;
        let [s0, s1, d0, d1, t0, t1, t2, t3] = frame.read(sctp)?;
        let verification_tag = u32::from_be_bytes([t0, t1, t2, t3]);
        let initiate_tag = if verification_tag == 0 && sctp + COMMON_HEADER_LENGTH + 8 <= end {
            let [first, _, _, _, i0, i1, i2, i3] = frame.read(sctp + COMMON_HEADER_LENGTH)?;
            if first == chunk::INIT { u32::from_be_bytes([i0, i1, i2, i3]) } else { 0 }
        } else {
            0
        };
        Some(Quotation {
            l3_offset: l3 as u16,
            icmp_offset: icmp as u16,
            inner_offset: (icmp + ICMP_HEADER_LENGTH) as u16,
            sctp_offset: sctp as u16,
            end: end as u16,
            is_ipv4,
            kind,
            code,
            word: u32::from_be_bytes([w0, w1, w2, w3]),
            udp_port,
            source_port: u16::from_be_bytes([s0, s1]),
            destination_port: u16::from_be_bytes([d0, d1]),
            verification_tag,
            initiate_tag,
        })
    }
}

/// The sum of the 16-bit words of `bytes` (RFC 1071), not folded.
fn sum_of(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<2>();
    let words: u64 = words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum();
    words + rest.first().map_or(0, |last| u64::from(*last) << 8)
}

/// Whether a ones'-complement sum is all ones, as it is over what carries its right checksum.
const fn is_ones(mut sum: u64) -> bool {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum == 0xffff
}

/// IP protocol number of ICMP.
pub(crate) const ICMP: u8 = 1;
/// IPv6 next header value of ICMPv6.
pub(crate) const ICMPV6: u8 = 58;
/// The code of Destination Unreachable for want of the port, in ICMP and in ICMPv6.
const PORT_UNREACHABLE: u8 = 3;
const PORT_UNREACHABLE_V6: u8 = 4;
const ICMP_HEADER_LENGTH: usize = 8;
const IPV6_HEADER_LENGTH: usize = 40;
const _: () = assert!(CHUNK_HEADER_LENGTH + 4 == 8, "an INIT's header and Initiate Tag are read at once");
