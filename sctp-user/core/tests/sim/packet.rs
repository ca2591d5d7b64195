//! Rules that every packet on the wire obeys, whatever the association is doing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use sctp_core::wire::{Chunk, ChunkType, Packet, RawChunk, padded, verify_checksum};

use super::world::Violation;

/// An Initiate Tag that a node has announced in an INIT or INIT ACK, and what it announced with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Announced {
    pub(crate) node: usize,
    pub(crate) port: u16,
    pub(crate) initial_tsn: u32,
    pub(crate) a_rwnd: u32,
}

/// What the rules need to know besides the packet.
pub(crate) struct Sending<'a> {
    pub(crate) destination: IpAddr,
    /// The node that has the destination address.
    pub(crate) to: Option<usize>,
    /// Most bytes from the common header on.
    pub(crate) limit: usize,
    /// All tags that nodes have announced so far.
    pub(crate) announced: &'a BTreeMap<u32, Announced>,
    /// The tag of the packet that is being answered.
    pub(crate) answering: Option<u32>,
}

/// The T bit of ABORT and SHUTDOWN COMPLETE (RFC 9260 §8.5.1): the tag is the receiver's own, reflected.
const REFLECTED: u8 = 0x01;

/// Checks a packet that an endpoint sends.
pub(crate) fn check(bytes: &[u8], sending: &Sending<'_>) -> Result<(), Violation> {
    let broken = |rule, what: String| Err(Violation { rule, what });
    let packet = match Packet::parse(bytes) {
        Ok(packet) => packet,
        Err(error) => return broken("packets are well formed", format!("{error}: {bytes:02x?}")),
    };
    //= test RFC 9260 §6.8: "After the packet is constructed … the transmitter MUST:"
    if !verify_checksum(bytes) {
        return broken("checksums are right", format!("{packet}"));
    }
    //= test RFC 9260 §6.10: "The total size of the resultant SCTP packet MUST be less that or equal to the current
    //= PMTU."
    if bytes.len() > sending.limit {
        let what = format!("{} bytes where {} fit: {packet}", bytes.len(), sending.limit);
        return broken("packets fit the path MTU", what);
    }
    let mut chunks = Vec::new();
    for raw in packet.chunks() {
        let parsed = raw.and_then(|raw| Ok((raw, Chunk::parse(raw)?)));
        match parsed {
            Ok((raw, Chunk::Unknown(_))) => {
                return broken("only known chunks are sent", format!("{raw:?} in {packet}"));
            }
            Ok((raw, _)) => chunks.push(raw),
            //= test RFC 9260 §6.10: "Partial chunks MUST NOT be placed in an SCTP packet."
            Err(error) => return broken("chunks are well formed", format!("{error}: {bytes:02x?}")),
        }
    }
    check_padding(bytes, &chunks)?;
    check_bundle(&packet, &chunks)?;
    check_tag(&packet, &chunks, sending)
}

/// RFC 9260 §3.2: padding is zero; packets end where the last padding ends; reserved flags are zero.
fn check_padding(bytes: &[u8], chunks: &[RawChunk<'_>]) -> Result<(), Violation> {
    for chunk in chunks {
        let end = chunk.offset + chunk.bytes.len();
        //= test RFC 9260 §3.2: "the sender MUST pad the chunk with all zero bytes"
        //= test RFC 9260 §3.2: "The total length of a chunk (including Type, Length, and Value fields) MUST be a
        //= multiple of 4 bytes."
        //= test RFC 9260 §3.2: "The sender MUST NOT pad with more than 3 bytes."
        //= test RFC 9260 §3.3.1: "The implementation MUST pad the end of the data to a 4-byte boundary with all zero
        //= bytes."
        //= test RFC 9260 §3.3.1: "Any padding MUST NOT be included in the Length field."
        //= test RFC 9260 §3.3.1: "A sender MUST never add more than 3 bytes of padding."
        let padding = bytes.get(end..chunk.offset + padded(chunk.bytes.len()));
        if !padding.is_some_and(|padding| padding.iter().all(|byte| *byte == 0)) {
            return Err(Violation { rule: "chunks are padded with zeroes", what: format!("{chunk:?}") });
        }
        //= test RFC 9260 §3.3.2: "The Chunk Flags field in INIT chunks is reserved, and all bits in it SHOULD be set to
        //= 0 by the sender"
        //= test RFC 9260 §3.3.3: "The Chunk Flags field in INIT ACK chunks is reserved, and all bits in it SHOULD be
        //= set to 0 by the sender"
        let allowed = match chunk.chunk_type {
            ChunkType::DATA => 0x0f,
            ChunkType::ABORT | ChunkType::SHUTDOWN_COMPLETE => REFLECTED,
            _ => 0,
        };
        if chunk.flags & !allowed != 0 {
            return Err(Violation { rule: "reserved flags are zero", what: format!("{chunk:?}") });
        }
    }
    Ok(())
}

/// RFC 9260 §6.10, §3.3.7, §3.3.11, §3.3.12: what may share a packet, and in which order.
fn check_bundle(packet: &Packet<'_>, chunks: &[RawChunk<'_>]) -> Result<(), Violation> {
    let count = |wanted| chunks.iter().filter(|chunk| chunk.chunk_type == wanted).count();
    let alone = [ChunkType::INIT, ChunkType::INIT_ACK, ChunkType::SHUTDOWN_COMPLETE];
    let first = [ChunkType::COOKIE_ECHO, ChunkType::COOKIE_ACK];
    let without_data = [ChunkType::ABORT, ChunkType::SHUTDOWN, ChunkType::SHUTDOWN_ACK];
    let is_data: Vec<bool> = chunks.iter().map(|chunk| chunk.chunk_type == ChunkType::DATA).collect();
    let mut tsns = Vec::new();
    for chunk in chunks {
        if let Ok(Chunk::Data(data)) = Chunk::parse(*chunk) {
            tsns.push(number(data.header.tsn));
        }
    }
    let what = if chunks.is_empty() {
        "no chunk at all"
    } else if chunks.len() > 1 && alone.iter().any(|kind| count(*kind) > 0) {
        //= test RFC 9260 §3: "INIT, INIT ACK, and SHUTDOWN COMPLETE chunks MUST NOT be bundled with any other chunk"
        //= test RFC 9260 §6.10: "An endpoint MUST NOT bundle INIT, INIT ACK, or SHUTDOWN COMPLETE chunks with any other
        //= chunks."
        //= test RFC 9260 §5.1: "An INIT or INIT ACK chunk MUST NOT be bundled with any other chunk."
        //= test RFC 9260 §5.1: "They MUST be the only chunks present in the SCTP packets that carry them."
        //= test RFC 9260 §12.3: "an INIT chunk MUST NOT be bundled with any other chunk in a packet and (2) a packet
        //= containing an INIT chunk MUST have a zero Verification Tag"
        "INIT, INIT ACK and SHUTDOWN COMPLETE are alone"
    } else if first.iter().any(|kind| chunks.iter().skip(1).any(|chunk| chunk.chunk_type == *kind)) {
        //= test RFC 9260 §3.2.2: "Any time a COOKIE ECHO chunk is sent in a packet, it MUST be the first chunk."
        //= test RFC 9260 §3.3.11: "This chunk MUST precede any DATA chunk sent within the association"
        //= test RFC 9260 §3.3.12: "This chunk MUST precede any DATA or SACK chunk sent within the association"
        //= test RFC 9260 §5.1: "but the COOKIE ACK chunk MUST be the first chunk in the packet"
        //= test RFC 9260 §5.1.5: "however, the COOKIE ACK chunk MUST be the first chunk in the SCTP packet"
        //= test RFC 9260 §5.1.5: "the COOKIE ACK chunk MUST appear first in the SCTP packet"
        "COOKIE ECHO and COOKIE ACK come first"
    } else if !is_data.is_sorted() {
        //= test RFC 9260 §6: "Control chunks MUST come before DATA chunks in the packet."
        //= test RFC 9260 §6.10: "an endpoint MUST place control chunks first in the outbound SCTP packet"
        "control chunks come before DATA"
    } else if count(ChunkType::DATA) > 0 && without_data.iter().any(|kind| count(*kind) > 0) {
        //= test RFC 9260 §3.3.7: "DATA chunks MUST NOT be bundled with ABORT chunks."
        //= test RFC 9260 §9.1: "MUST NOT bundle any DATA chunk with the ABORT chunk"
        "ABORT, SHUTDOWN and SHUTDOWN ACK do not share a packet with DATA"
    } else if count(ChunkType::SACK) > 1 {
        //= test RFC 9260 §6.7: "the endpoint MUST send only one SACK chunk"
        "one SACK is enough"
    } else if chunks.iter().rev().skip(1).any(|chunk| chunk.chunk_type == ChunkType::ABORT) {
        //= test RFC 9260 §3.3.7: "but they MUST be placed before the ABORT chunk in the SCTP packet"
        "what follows an ABORT is not read"
    } else if !tsns.is_sorted_by(|a, b| (b.wrapping_sub(*a) as i32) > 0) {
        //= test RFC 9260 §6.10: "The transmitter MUST transmit DATA chunks within an SCTP packet in increasing order of
        //= TSN."
        "DATA is in increasing order of TSN"
    } else {
        return Ok(());
    };
    Err(Violation { rule: "bundling follows RFC 9260 §6.10", what: format!("{what}: {packet}") })
}

/// RFC 9260 §8.5: the tag is the one that the receiver announced; §8.5.1 has the exceptions.
fn check_tag(packet: &Packet<'_>, chunks: &[RawChunk<'_>], sending: &Sending<'_>) -> Result<(), Violation> {
    let tag = packet.verification_tag;
    let first = &chunks[0];
    let what = if first.chunk_type == ChunkType::INIT {
        //= test RFC 9260 §3.1: "A packet containing an INIT chunk MUST have a zero Verification Tag."
        //= test RFC 9260 §8.5.1: "The sender MUST set the Verification Tag of the packet to 0."
        if tag == 0 { return Ok(()) } else { "an INIT has tag 0" }
    } else if tag == 0 {
        "only an INIT has tag 0"
    } else if is_reflected(first) {
        //= test RFC 9260 §3.1: "A packet containing a SHUTDOWN COMPLETE chunk with the T bit set MUST have the
        //= Verification Tag copied from the packet with the SHUTDOWN ACK chunk."
        if sending.answering == Some(tag) { return Ok(()) } else { "the T bit reflects the tag of what is answered" }
    } else if first.chunk_type == ChunkType::ABORT && sending.answering == Some(0) {
        // The answer to an INIT that is refused carries the INIT's Initiate Tag, which nobody needs to have announced.
        return Ok(());
    } else {
        match (sending.announced.get(&tag), sending.to) {
            //= test RFC 9260 §3.1: "On transmit, the value of the Verification Tag MUST be set to the value of the
            //= Initiate Tag received from the peer endpoint"
            //= test RFC 9260 §8.5: "the endpoint MUST fill in the Verification Tag field of the outbound packet with
            //= the tag value in the Initiate Tag parameter"
            //= test RFC 9260 §3.3.2: "This value MUST be placed into the Verification Tag field of every SCTP packet"
            //= test RFC 9260 §3.3.3: "This value MUST be placed into the Verification Tag field of every SCTP packet"
            //= test RFC 9260 §8.5.1: "When sending a COOKIE ECHO chunk, the endpoint MUST use the value of the Initiate
            //= Tag received in the INIT ACK chunk."
            //= test RFC 9260 §9.1: "The sender MUST fill in the peer's Verification Tag in the outbound packet"
            //= test RFC 9260 §8.5.1: "The endpoint MUST always fill in the Verification Tag field of the outbound
            //= packet with the destination endpoint's tag value if it is known."
            //= test RFC 9260 §8.5.1: "if the receiver of the SHUTDOWN ACK chunk has a TCB, then the destination
            //= endpoint's tag MUST be used and the T bit MUST NOT be set"
            (Some(announced), Some(to)) if announced.node == to && announced.port == packet.destination_port => {
                return Ok(());
            }
            (None, _) if sending.answering == Some(0) && first.chunk_type == ChunkType::INIT_ACK => return Ok(()),
            (_, None) => return Ok(()),
            _ => "the tag is one that the receiver announced",
        }
    };
    let what = format!("{what}: {packet} to {}", sending.destination);
    Err(Violation { rule: "tags follow RFC 9260 §8.5", what })
}

/// Whether this is an ABORT or SHUTDOWN COMPLETE with the T bit.
fn is_reflected(chunk: &RawChunk<'_>) -> bool {
    matches!(chunk.chunk_type, ChunkType::ABORT | ChunkType::SHUTDOWN_COMPLETE) && chunk.flags & REFLECTED != 0
}

/// Whether an endpoint may act upon this packet for an association with these tags (RFC 9260 §8.5, §8.5.1).
pub(crate) fn tag_fits(packet: &Packet<'_>, local: Option<u32>, peer: Option<u32>) -> bool {
    let tag = Some(packet.verification_tag);
    let Some(Ok(first)) = packet.chunks().next() else { return false };
    match first.chunk_type {
        // An INIT has no tag to be checked; a COOKIE ECHO is judged by its cookie.
        ChunkType::INIT => packet.verification_tag == 0,
        ChunkType::COOKIE_ECHO => true,
        _ if is_reflected(&first) => tag == peer || tag == local,
        _ => tag == local || (tag == peer && has_reflected_abort(packet)),
    }
}

/// Whether there is an ABORT with the T bit, which may stand behind control chunks (§3.3.7).
fn has_reflected_abort(packet: &Packet<'_>) -> bool {
    packet.chunks().map_while(Result::ok).any(|chunk| chunk.chunk_type == ChunkType::ABORT && is_reflected(&chunk))
}

/// The types of a packet's chunks; of a packet that is not well formed, those before the fault.
pub(crate) fn chunk_types(bytes: &[u8]) -> Vec<ChunkType> {
    let chunks = Packet::parse(bytes).map(|packet| packet.chunks()).into_iter().flatten();
    chunks.map_while(Result::ok).map(|chunk| chunk.chunk_type).collect()
}

/// Whether a packet has a chunk of this type.
pub(crate) fn has(bytes: &[u8], wanted: ChunkType) -> bool {
    chunk_types(bytes).contains(&wanted)
}

/// A TSN as a number.
pub(crate) fn number(tsn: sctp_core::serial::Tsn) -> u32 {
    tsn.0
}
