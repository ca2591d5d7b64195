//! Cutting a packet into IP fragments (RFC 791 §3.2, RFC 8200 §4.5).
//!
//! Rare: DATA that was cut for a path MTU which has shrunk since cannot be cut again, "Instead … IP fragmentation MUST be used"
//! (RFC 9260 §6.9). It is done here, not by clearing DF: "the use of endpoint fragmentation by the sender is preferred" (RFC 8899 §4.4).

use std::net::IpAddr;

/// Bytes of the IPv6 Fragment header.
pub(crate) const FRAGMENT_HEADER: usize = 8;

/// A part of a packet behind the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// Where it begins, in bytes; a multiple of 8.
    pub(crate) offset: u16,
    pub(crate) length: u16,
    /// Whether others follow.
    pub(crate) more: bool,
}

/// The fragments of `length` bytes behind the IP header, each of at most `mtu` bytes with its headers. None if that is too little for any.
//= RFC 9260 §6.9: "Instead, if the PMTU has been reduced, then IP fragmentation MUST be used."
pub(crate) fn fragments(length: usize, mtu: u16, destination: IpAddr) -> impl ExactSizeIterator<Item = Fragment> {
    let headers = if destination.is_ipv4() { 20 } else { 40 + FRAGMENT_HEADER };
    // "all fragments except the last … an integer multiple of 8 octets long"
    let step = usize::from(mtu).saturating_sub(headers) & !7;
    let count = if step == 0 { 0 } else { length.div_ceil(step) };
    (0..count).map(move |at| {
        let offset = at * step;
        let end = length.min(offset + step);
        Fragment { offset: offset as u16, length: (end - offset) as u16, more: end < length }
    })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn cut(length: usize, mtu: u16, destination: IpAddr) -> Vec<(u16, u16, bool)> {
        fragments(length, mtu, destination).map(|part| (part.offset, part.length, part.more)).collect()
    }

    #[test]
    fn parts_of_eight_bytes() {
        let (v4, v6) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
        assert_eq!(cut(1480, 1200, v4), [(0, 1176, true), (1176, 304, false)]);
        assert_eq!(cut(1480, 1500, v4), [(0, 1480, false)]);
        assert_eq!(cut(1460, 1280, v6), [(0, 1232, true), (1232, 228, false)]);
        assert_eq!(
            cut(100, 28 + 20, v4),
            [(0, 24, true), (24, 24, true), (48, 24, true), (72, 24, true), (96, 4, false)]
        );
        assert_eq!(cut(100, 27, v4), []);
        assert_eq!(cut(100, 55, v6), []);
    }

    #[test]
    fn nothing_is_left_out_and_nothing_too_long() {
        for destination in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            for length in (12..9000).step_by(7) {
                for mtu in [576, 1200, 1280, 1499, 1500] {
                    let mut next = 0;
                    for part in fragments(length, mtu, destination) {
                        assert_eq!((usize::from(part.offset), part.offset % 8), (next, 0));
                        next += usize::from(part.length);
                        assert_eq!(part.more, next < length);
                        let headers = if destination.is_ipv4() { 20 } else { 48 };
                        assert!(part.length > 0 && part.length + headers <= mtu);
                    }
                    assert_eq!(next, length);
                }
            }
        }
    }
}
