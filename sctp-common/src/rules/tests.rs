use super::*;
use crate::frame::samples::{ethernet, ipv4_packet, packet};
use crate::frame::{decode, ipv4_mapped};

const TAG: u32 = 0x1234_5678;

/// An SCTP packet of `chunks`, decoded, with its frame.
fn decoded(chunks: &[u8]) -> (Vec<u8>, Decoded) {
    let bytes = [&packet()[..12], chunks].concat();
    let frame = ethernet(&[], 0x0800, &ipv4_packet(&[], &bytes));
    let decoded = decode(frame.as_slice()).unwrap();
    (frame, decoded)
}

fn head(kind: u8, flags: u8, length: u16) -> ChunkHead {
    ChunkHead { kind, flags, length }
}

fn well_formed_error(chunks: &[u8]) -> DropReason {
    well_formed(&decoded(chunks).1).unwrap_err()
}

/// Chunk types that no section of §8.5.1 is about.
const ORDINARY: [u8; 13] = [
    chunk::DATA,
    chunk::INIT_ACK,
    chunk::SACK,
    chunk::HEARTBEAT,
    chunk::HEARTBEAT_ACK,
    chunk::SHUTDOWN,
    chunk::ERROR,
    chunk::COOKIE_ACK,
    chunk::ECNE,
    chunk::AUTH,
    chunk::I_DATA,
    chunk::FORWARD_TSN,
    0x3f,
];

#[test]
fn a_well_formed_packet_gives_its_first_chunk() {
    assert_eq!(well_formed(&decoded(&packet()[12..]).1), Ok(head(0, 3, 20)));
}

#[test]
fn chunk_lengths_are_compared_with_the_packet() {
    assert_eq!(well_formed_error(&[]), DropReason::NoChunk);
    for few in 1..4 {
        assert_eq!(well_formed_error(&vec![0; few]), DropReason::ChunkHeader);
    }
    for length in 0..4 {
        assert_eq!(well_formed_error(&[4, 0, 0, length, 0, 0, 0, 0]), DropReason::ChunkLength);
    }
    assert_eq!(well_formed_error(&[4, 0, 0, 9, 0, 0, 0, 0]), DropReason::ChunkTruncated);
    assert_eq!(well_formed_error(&[4, 0, 0xff, 0xff, 0, 0, 0, 0]), DropReason::ChunkTruncated);
    for unpadded in 5..8_u8 {
        let mut bytes = vec![4, 0, 0, unpadded];
        bytes.resize(unpadded.into(), 0);
        assert_eq!(well_formed_error(&bytes), DropReason::ChunkPadding);
        bytes.resize(8, 0);
        assert_eq!(well_formed(&decoded(&bytes).1), Ok(head(4, 0, unpadded.into())));
    }
    assert_eq!(well_formed(&decoded(&[14, 0, 0, 4]).1), Ok(head(14, 0, 4)));
}

#[test]
fn ports_fragments_and_length_come_first() {
    let (_, sound) = decoded(&[4, 0, 0, 2]);
    assert_eq!(well_formed(&Decoded { source_port: 0, ..sound }), Err(DropReason::PortZero));
    assert_eq!(well_formed(&Decoded { destination_port: 0, ..sound }), Err(DropReason::PortZero));
    assert_eq!(well_formed(&Decoded { fragment: true, ..sound }), Err(DropReason::Fragment));
    let too_long = MAX_SCTP_LENGTH as u16 + 1;
    assert_eq!(well_formed(&Decoded { sctp_len: too_long, ..sound }), Err(DropReason::TooLong));
}

/// §8.5: the tag must be the receiver's own.
#[test]
fn ordinary_chunks_carry_the_local_tag() {
    for kind in ORDINARY {
        for flags in [0, flags::T, 0xff] {
            assert_eq!(expected_tag(TAG, head(kind, flags, 20), 32), Ok(ExpectedTag::Local), "chunk type {kind}");
        }
    }
}

/// §8.5.1 A.
//= test RFC 9260 §8.5.1: "it SHOULD verify that the packet contains only an INIT chunk"
//= test RFC 9260 §12.3: "The receiver of an INIT chunk MUST silently discard the INIT chunk and all further chunks"
#[test]
fn init_carries_tag_zero_and_is_alone() {
    assert_eq!(expected_tag(0, head(chunk::INIT, 0, 20), 32), Ok(ExpectedTag::Zero));
    assert_eq!(expected_tag(0, head(chunk::INIT, 0, 21), 36), Ok(ExpectedTag::Zero));
    assert_eq!(expected_tag(TAG, head(chunk::INIT, 0, 20), 32), Err(DropReason::InitTag));
    assert_eq!(expected_tag(0, head(chunk::INIT, 0, 20), 36), Err(DropReason::InitBundled));
}

/// §8.5.1 A: tag 0 is for INIT only.
//= test RFC 9260 §8.5.1: "Otherwise, the receiver MUST silently discard the packet."
#[test]
fn nothing_else_carries_tag_zero() {
    let others = [chunk::ABORT, chunk::SHUTDOWN_COMPLETE, chunk::SHUTDOWN_ACK, chunk::COOKIE_ECHO];
    for kind in ORDINARY.into_iter().chain(others) {
        assert_eq!(expected_tag(0, head(kind, flags::T, 20), 32), Err(DropReason::ZeroTag), "chunk type {kind}");
    }
}

/// §8.5.1 B and C.
//= test RFC 9260 §8.5.1: "The receiver of an ABORT chunk MUST accept the packet"
#[test]
fn abort_and_shutdown_complete_may_reflect_the_peers_tag() {
    for kind in [chunk::ABORT, chunk::SHUTDOWN_COMPLETE] {
        assert_eq!(expected_tag(TAG, head(kind, 0, 4), 16), Ok(ExpectedTag::Local));
        assert_eq!(expected_tag(TAG, head(kind, flags::T, 4), 16), Ok(ExpectedTag::Peer));
        assert_eq!(expected_tag(TAG, head(kind, !flags::T, 4), 16), Ok(ExpectedTag::Local));
    }
}

/// §8.5.1 D and E: the tag is ours if there is an association; without one §8.4 follows.
#[test]
fn cookie_echo_and_shutdown_ack_carry_the_local_tag() {
    for kind in [chunk::COOKIE_ECHO, chunk::SHUTDOWN_ACK] {
        assert_eq!(expected_tag(TAG, head(kind, flags::T, 4), 16), Ok(ExpectedTag::Local));
    }
}

#[test]
fn an_association_has_a_tag_of_either_kind() {
    assert_eq!(ExpectedTag::Local.of_association(), Some(TagKind::Local));
    assert_eq!(ExpectedTag::Peer.of_association(), Some(TagKind::Peer));
    assert_eq!(ExpectedTag::Zero.of_association(), None);
}

fn blue(chunks: &[u8]) -> OutOfTheBlue {
    let (frame, packet) = decoded(chunks);
    out_of_the_blue(&packet.addresses(frame.as_slice()).unwrap(), well_formed(&packet).unwrap())
}

/// §8.4, 1.
//= test RFC 9260 §8.4: "If the OOTB packet is to or from a non-unicast address, a receiver SHOULD silently discard the
//= packet."
#[test]
fn out_of_the_blue_from_or_to_what_is_not_one_host() {
    let (frame, packet) = decoded(&[chunk::INIT, 0, 0, 4]);
    let sound = packet.addresses(frame.as_slice()).unwrap();
    let first = head(chunk::INIT, 0, 4);
    let mut multicast = [0; 16];
    multicast[0] = 0xff;
    for address in [ipv4_mapped([224, 0, 0, 1]), ipv4_mapped([255; 4]), ipv4_mapped([0; 4]), multicast, [0; 16]] {
        for addresses in [Addresses { source: address, ..sound }, Addresses { destination: address, ..sound }] {
            let expected = OutOfTheBlue::Silent(DropReason::NonUnicast);
            assert_eq!(out_of_the_blue(&addresses, first), expected);
        }
    }
}

/// §8.4, 2.
//= test RFC 9260 §8.4: "If the OOTB packet contains an ABORT chunk, the receiver MUST silently discard the OOTB packet"
#[test]
fn out_of_the_blue_abort() {
    for flags in [0, flags::T] {
        assert_eq!(blue(&[chunk::ABORT, flags, 0, 4]), OutOfTheBlue::Silent(DropReason::OotbAbort));
    }
}

/// §8.4, 3 and 4.
#[test]
fn out_of_the_blue_init_and_cookie_echo_are_processed() {
    assert_eq!(blue(&[chunk::INIT, 0, 0, 4]), OutOfTheBlue::Init);
    assert_eq!(blue(&[chunk::COOKIE_ECHO, 0, 0, 4]), OutOfTheBlue::CookieEcho);
}

/// §8.4, 5 to 8.
#[test]
fn out_of_the_blue_all_chunks_are_asked() {
    for kind in ORDINARY.into_iter().chain([chunk::SHUTDOWN_ACK, chunk::SHUTDOWN_COMPLETE, chunk::ERROR]) {
        assert_eq!(blue(&[kind, 0, 0, 4]), OutOfTheBlue::Other, "chunk type {kind}");
    }
}

/// The answer to a packet with `chunks`, by all of them.
fn answer(chunks: &[&[u8]]) -> Result<AnswerReason, DropReason> {
    let (frame, packet) = decoded(&chunks.concat());
    let contents = Contents::of(frame.as_slice(), packet.sctp_offset.into(), packet.sctp_len.into());
    assert_eq!(Contents::from_bits(contents.bits()), contents);
    contents.answer()
}

const SACK: &[u8] = &[chunk::SACK, 0, 0, 4];
const SHUTDOWN_ACK: &[u8] = &[chunk::SHUTDOWN_ACK, 0, 0, 4];
const STALE: &[u8] = &[chunk::ERROR, 0, 0, 12, 0, 3, 0, 8, 0, 0, 0, 0];

/// §8.4, 5.
#[test]
fn a_shutdown_ack_is_completed() {
    assert_eq!(answer(&[SHUTDOWN_ACK]), Ok(AnswerReason::ShutdownComplete));
    assert_eq!(AnswerReason::ShutdownComplete.unanswered(), DropReason::OotbShutdownAck);
}

/// §8.4, 6.
#[test]
fn a_shutdown_complete_is_not_answered() {
    assert_eq!(answer(&[&[chunk::SHUTDOWN_COMPLETE, flags::T, 0, 4]]), Err(DropReason::OotbShutdownComplete));
}

/// §8.4, 7.
#[test]
fn a_stale_cookie_and_a_cookie_ack_are_not_answered() {
    assert_eq!(answer(&[&[chunk::COOKIE_ACK, 0, 0, 4]]), Err(DropReason::OotbCookieAck));
    assert_eq!(answer(&[STALE]), Err(DropReason::OotbCookieAck));
    assert_eq!(answer(&[&[chunk::ERROR, 0, 0, 8, 0, 1, 0, 4]]), Ok(AnswerReason::Abort));
    // The cause's header would lie beyond the chunk, in the next one.
    let beyond: &[u8] = &[chunk::ERROR, 0, 0, 4, 0, 3, 0, 8, 0, 0, 0, 0];
    assert_eq!(answer(&[beyond]), Ok(AnswerReason::Abort));
    // A second cause, which might be a stale cookie.
    let two = &[chunk::ERROR, 0, 0, 16, 0, 1, 0, 4, 0, 3, 0, 8, 0, 0, 0, 0];
    assert_eq!(answer(&[two]), Err(DropReason::OotbUnreadable));
}

/// §8.4, 8.
#[test]
fn anything_else_is_aborted() {
    for kind in ORDINARY.into_iter().filter(|kind| *kind != chunk::COOKIE_ACK) {
        assert_eq!(answer(&[&[kind, 0, 0, 4]]), Ok(AnswerReason::Abort), "chunk type {kind}");
    }
    assert_eq!(AnswerReason::Abort.unanswered(), DropReason::OutOfTheBlue);
}

#[test]
fn an_abort_with_the_t_bit_is_found_wherever_it_is() {
    let found = |chunks: &[&[u8]]| {
        let (frame, packet) = decoded(&chunks.concat());
        Contents::of(frame.as_slice(), packet.sctp_offset.into(), packet.sctp_len.into()).has_reflected_abort()
    };
    assert!(found(&[SACK, &[chunk::ABORT, flags::T, 0, 4]]));
    assert!(!found(&[SACK, &[chunk::ABORT, 0, 0, 4]]));
    assert!(!found(&[SACK, &[chunk::SHUTDOWN_COMPLETE, flags::T, 0, 4]]));
}

#[test]
fn an_answer_depends_on_all_chunks() {
    assert_eq!(answer(&[SACK]), Ok(AnswerReason::Abort));
    assert_eq!(answer(&[SACK, SACK]), Ok(AnswerReason::Abort));
    assert_eq!(answer(&[SACK, SHUTDOWN_ACK]), Ok(AnswerReason::ShutdownComplete));
    assert_eq!(answer(&[SACK, STALE]), Err(DropReason::OotbCookieAck));
    assert_eq!(answer(&[SACK, &[chunk::COOKIE_ACK, 0, 0, 4]]), Err(DropReason::OotbCookieAck));
    assert_eq!(answer(&[SACK, &[chunk::SHUTDOWN_COMPLETE, 0, 0, 4]]), Err(DropReason::OotbShutdownComplete));
    assert_eq!(answer(&[SACK, &[chunk::ABORT, 0, 0, 4]]), Err(DropReason::OotbAbort));
    // A chunk with padding in front: 5 bytes that take 8.
    assert_eq!(answer(&[&[chunk::DATA, 0, 0, 5, 0, 0, 0, 0], SHUTDOWN_ACK]), Ok(AnswerReason::ShutdownComplete));
}

#[test]
fn of_several_rules_the_first_holds() {
    let abort: &[u8] = &[chunk::ABORT, 0, 0, 4];
    assert_eq!(answer(&[SHUTDOWN_ACK, STALE, abort]), Err(DropReason::OotbAbort));
    assert_eq!(answer(&[STALE, SHUTDOWN_ACK]), Ok(AnswerReason::ShutdownComplete));
}

#[test]
fn what_cannot_be_read_to_the_end_is_not_answered() {
    for last in [[chunk::SACK, 0, 0, 3], [chunk::SACK, 0, 0, 0], [chunk::SACK, 0, 0, 5], [chunk::SACK, 0, 0xff, 0xff]] {
        assert_eq!(answer(&[SACK, &last]), Err(DropReason::OotbUnreadable), "{last:?}");
    }
    assert_eq!(answer(&[SACK; MAX_CHUNKS]), Ok(AnswerReason::Abort));
    assert_eq!(answer(&[SACK; MAX_CHUNKS + 1]), Err(DropReason::OotbUnreadable));
    // Less than a chunk header behind the last chunk is nothing.
    assert_eq!(answer(&[SACK, &[chunk::ABORT, 0, 0]]), Ok(AnswerReason::Abort));
}

#[test]
fn ordinary_addresses_are_unicast() {
    for address in [[10, 0, 0, 1], [192, 168, 255, 255], [223, 255, 255, 255], [240, 0, 0, 1], [127, 0, 0, 1]] {
        assert!(is_unicast(&ipv4_mapped(address)), "{address:?}");
    }
    assert!(is_unicast(&[0xfe; 16]));
    assert!(is_unicast(&core::net::Ipv6Addr::LOCALHOST.octets()));
}
