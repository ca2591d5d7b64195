//! ICMP messages about packets of ours: what is to be done, decided by RFC 9260 §10 (rules ICMP1 to ICMP9).
//!
//! The core does not parse ICMP: whoever receives it hands in type, code and the packet that it quotes.

use core::net::IpAddr;
use core::num::NonZeroU16;

use crate::AssociationState;
use crate::wire::ChunkType;

/// An ICMP or ICMPv6 message that quotes an SCTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpMessage<'a> {
    /// The ICMP type; whether of ICMP or of ICMPv6 is told by the addresses.
    pub icmp_type: u8,
    /// The ICMP code.
    pub code: u8,
    /// ICMP Fragmentation Needed: the next-hop MTU (RFC 1191 §4), 0 from a router that does not tell. ICMPv6 Packet Too Big: the MTU
    /// (RFC 4443 §3.2). In bytes with the IP header. Of no meaning in others.
    pub mtu: u32,
    /// Source address of the packet that is quoted: one of ours.
    pub source: IpAddr,
    /// Destination address of the packet that is quoted.
    pub destination: IpAddr,
    /// The UDP destination port of a packet that went in UDP (RFC 6951 §5.5); `None` if it went directly over IP.
    pub encapsulation: Option<NonZeroU16>,
    /// What is quoted of the SCTP packet, from its common header on: 8 bytes at least, or the message tells nothing.
    pub quoted: &'a [u8],
}

/// What became of an ICMP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IcmpHandled {
    /// It tells nothing that SCTP wants to know.
    Ignored,
    /// No association has the addresses and ports of the packet that it quotes.
    NoAssociation,
    /// The packet that it quotes was not sent by the association that has its addresses and ports: somebody guesses.
    NotOurs,
    /// A packet was too big: the PMTU of the path is looked into.
    PathMtu,
    /// The path's error counter went up, unless it just had.
    Unreachable,
    /// The peer's host does not know SCTP: the association has ended.
    Aborted,
}

/// What a message means, whoever it is about (ICMP1 to ICMP4, ICMP7 to ICMP9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    Nothing,
    /// Packet Too Big, Fragmentation Needed.
    TooBig,
    /// Protocol Unreachable, Unrecognized Next Header Type Encountered.
    NoSctp,
    Unreachable,
}

/// What is known of an association that has the addresses and ports of a quoted packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Suspect {
    pub(crate) state: AssociationState,
    pub(crate) local_tag: u32,
    /// 0 while it is not known.
    pub(crate) peer_tag: u32,
    /// [`AssociationConfig::abort_on_protocol_unreachable`](crate::AssociationConfig::abort_on_protocol_unreachable).
    pub(crate) aborts: bool,
}

/// Reads a message's type and code; `in_udp` says whether the packet that it quotes went in UDP.
pub(crate) fn meaning(is_ipv4: bool, icmp_type: u8, code: u8, in_udp: bool) -> Meaning {
    match (is_ipv4, icmp_type, code) {
        // "ICMP messages with type 'Destination Unreachable' and code 'Port Unreachable' SHOULD be treated as ICMP messages with type
        // 'Destination Unreachable' and code 'Protocol Unreachable'", and so on for ICMPv6 (RFC 6951 §5.5).
        (true, 3, 3) | (false, 1, 4) if in_udp => Meaning::NoSctp,
        //= RFC 9260 §10: "An implementation SHOULD ignore any ICMP messages where the code indicates "Port Unreachable"."
        (true, 3, 3) | (false, 1, 4) => Meaning::Nothing,
        (true, 3, 4) | (false, 2, _) => Meaning::TooBig,
        (true, 3, 2) | (false, 4, 1) => Meaning::NoSctp,
        (true, 3, _) | (false, 1, _) => Meaning::Unreachable,
        // ICMP1, ICMP2, ICMP4: all other types, and Parameter Problem with other codes, MAY be ignored.
        _ => Meaning::Nothing,
    }
}

/// Ports and tag of a quoted packet: source port, destination port, Verification Tag. `None` if it is too short.
pub(crate) fn ports_and_tag(quoted: &[u8]) -> Option<(u16, u16, u32)> {
    let [a, b, c, d, tag @ ..] = *quoted.first_chunk::<8>()?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]), u32::from_be_bytes(tag)))
}

/// Decides about a message whose quoted packet has the addresses and ports of `suspect` (ICMP6 to ICMP9).
pub(crate) fn decide(meaning: Meaning, quoted: &[u8], suspect: Suspect) -> IcmpHandled {
    if meaning == Meaning::Nothing {
        return IcmpHandled::Ignored;
    }
    let Some((_, _, tag)) = ports_and_tag(quoted) else { return IcmpHandled::NotOurs };
    //= RFC 9260 §10: "An implementation MUST validate that the Verification Tag contained in the ICMP message matches the
    //= Verification Tag of the peer."
    let is_init = tag == 0;
    let is_ours = match is_init {
        false => tag == suspect.peer_tag,
        // The Initiate Tag of an INIT of ours is the tag that the peer is to use.
        true => initiate_tag(quoted) == Some(suspect.local_tag),
    };
    match meaning {
        _ if !is_ours => IcmpHandled::NotOurs,
        Meaning::Nothing => IcmpHandled::Ignored,
        //= RFC 9260 §10: "an implementation SHOULD process this information as defined for PMTU discovery"
        Meaning::TooBig => IcmpHandled::PathMtu,
        //= RFC 9260 §10: "an implementation MUST treat this message as an abort with the T bit set if it does not contain an
        //= INIT chunk."
        Meaning::NoSctp if !is_init && (suspect.aborts || !has_spoken(suspect.state)) => IcmpHandled::Aborted,
        Meaning::NoSctp if is_init && suspect.state == AssociationState::CookieWait => IcmpHandled::Aborted,
        Meaning::NoSctp if is_init => IcmpHandled::Ignored,
        // The host has shown that it knows SCTP. A stack over raw sockets whose buffer is full is what says so now.
        Meaning::NoSctp => IcmpHandled::Unreachable,
        Meaning::Unreachable => IcmpHandled::Unreachable,
    }
}

/// Whether the peer has answered a COOKIE ECHO or sent one: it speaks SCTP, and is where it says to be.
fn has_spoken(state: AssociationState) -> bool {
    !matches!(state, AssociationState::CookieWait | AssociationState::CookieEchoed)
}

/// The Initiate Tag of a quoted INIT, if that much is quoted.
fn initiate_tag(quoted: &[u8]) -> Option<u32> {
    let chunk = quoted.get(12..20)?;
    let tag = u32::from_be_bytes(*chunk.last_chunk()?);
    (chunk[0] == ChunkType::INIT.0).then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    use AssociationState::{CookieEchoed, CookieWait, Established};

    const LOCAL: u32 = 0x1111_1111;
    const PEER: u32 = 0x2222_2222;

    fn quote(tag: u32, chunk: u8, initiate: u32, len: usize) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34, 0x56, 0x78];
        bytes.extend(tag.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend([chunk, 0, 0, 20]);
        bytes.extend(initiate.to_be_bytes());
        bytes.truncate(len);
        bytes
    }

    /// ICMP1 to ICMP4 and ICMP7 to ICMP9: a row for each type and code that means anything, and some that do not.
    #[test]
    fn types_and_codes() {
        for (is_ipv4, icmp_type, code, expected) in [
            (true, 0, 0, Meaning::Nothing),
            (true, 4, 0, Meaning::Nothing),
            (true, 11, 0, Meaning::Nothing),
            (true, 12, 0, Meaning::Nothing),
            (true, 3, 0, Meaning::Unreachable),
            (true, 3, 1, Meaning::Unreachable),
            (true, 3, 2, Meaning::NoSctp),
            (true, 3, 3, Meaning::Nothing),
            (true, 3, 4, Meaning::TooBig),
            (true, 3, 13, Meaning::Unreachable),
            (false, 1, 0, Meaning::Unreachable),
            (false, 1, 3, Meaning::Unreachable),
            (false, 1, 4, Meaning::Nothing),
            (false, 2, 0, Meaning::TooBig),
            (false, 3, 0, Meaning::Nothing),
            (false, 4, 0, Meaning::Nothing),
            (false, 4, 1, Meaning::NoSctp),
            (false, 4, 2, Meaning::Nothing),
            (false, 128, 0, Meaning::Nothing),
        ] {
            let what = format!("IPv4: {is_ipv4}, type {icmp_type}, code {code}");
            assert_eq!(meaning(is_ipv4, icmp_type, code, false), expected, "{what}");
            // RFC 6951 §5.5: of what went in UDP, only the want of the port means something else.
            let port_unreachable = matches!((is_ipv4, icmp_type, code), (true, 3, 3) | (false, 1, 4));
            let expected = if port_unreachable { Meaning::NoSctp } else { expected };
            assert_eq!(meaning(is_ipv4, icmp_type, code, true), expected, "{what}, in UDP");
        }
    }

    /// ICMP6, and ICMP7 to ICMP9 of what it lets pass.
    //= test RFC 9260 §10: "An implementation MUST validate that the Verification Tag contained in the ICMP message matches
    //= the Verification Tag of the peer."
    //= test RFC 9260 §10: "an implementation MUST treat this message as an abort with the T bit set if it does not contain an
    //= INIT chunk."
    #[test]
    fn what_is_done() {
        use IcmpHandled::{Aborted, Ignored, NotOurs, PathMtu, Unreachable};
        use Meaning::{NoSctp, Nothing, TooBig};
        let established = Suspect { state: Established, local_tag: LOCAL, peer_tag: PEER, aborts: true };
        let forgiving = Suspect { aborts: false, ..established };
        let waiting = Suspect { state: CookieWait, local_tag: LOCAL, peer_tag: 0, aborts: false };
        let echoed = Suspect { state: CookieEchoed, ..forgiving };
        for (meaning, quoted, suspect, expected) in [
            (Nothing, quote(PEER, 0, 0, 20), established, Ignored),
            // 8 bytes are what a router must quote, and they are enough.
            (TooBig, quote(PEER, 0, 0, 8), established, PathMtu),
            (TooBig, quote(PEER, 0, 0, 7), established, NotOurs),
            (TooBig, quote(PEER + 1, 0, 0, 20), established, NotOurs),
            (TooBig, quote(LOCAL, 0, 0, 20), established, NotOurs),
            (NoSctp, quote(PEER, 0, 0, 8), established, Aborted),
            (NoSctp, quote(PEER, 0, 0, 8), forgiving, Unreachable),
            (NoSctp, quote(PEER + 1, 0, 0, 8), forgiving, NotOurs),
            (NoSctp, quote(PEER, 0, 0, 8), echoed, Aborted),
            (Meaning::Unreachable, quote(PEER, 0, 0, 8), established, Unreachable),
            (Meaning::Unreachable, quote(PEER + 1, 0, 0, 8), established, NotOurs),
            // INITs: by their Initiate Tag, if it is quoted.
            (NoSctp, quote(0, 1, LOCAL, 20), waiting, Aborted),
            (NoSctp, quote(0, 1, LOCAL, 19), waiting, NotOurs),
            (NoSctp, quote(0, 1, LOCAL, 8), waiting, NotOurs),
            (NoSctp, quote(0, 1, LOCAL + 1, 20), waiting, NotOurs),
            (NoSctp, quote(0, 2, LOCAL, 20), waiting, NotOurs),
            (NoSctp, quote(0, 1, LOCAL, 20), echoed, Ignored),
            (NoSctp, quote(0, 1, LOCAL, 20), established, Ignored),
            (TooBig, quote(0, 1, LOCAL, 20), waiting, PathMtu),
            (Meaning::Unreachable, quote(0, 1, LOCAL, 20), waiting, Unreachable),
            // The peer's tag is not known yet, but 0 is not it.
            (Meaning::Unreachable, quote(0, 0, LOCAL, 20), waiting, NotOurs),
        ] {
            assert_eq!(decide(meaning, &quoted, suspect), expected, "{meaning:?} {suspect:?} {quoted:02x?}");
        }
    }
}
