//! What must hold for all packets: those that we write, those that are damaged, and any bytes at all.

use core::net::{Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::serial::{Ssn, Tsn};

/// Bytes that live as long as the test program, as the chunks of a strategy must.
fn bytes(length: core::ops::Range<usize>) -> impl Strategy<Value = &'static [u8]> {
    vec(any::<u8>(), length).prop_map(|bytes| &*bytes.leak())
}

fn data() -> impl Strategy<Value = Data<'static>> {
    let header = (any::<u32>(), any::<u16>(), any::<u16>(), any::<u32>(), any::<[bool; 4]>());
    (header, bytes(1..1500)).prop_map(|((tsn, stream, ssn, ppid, [b, e, u, i]), payload)| {
        let optional = |set, flag| if set { flag } else { DataFlags::default() };
        let flags =
            DataFlags::of_fragment(b, e) | optional(u, DataFlags::UNORDERED) | optional(i, DataFlags::IMMEDIATE);
        Data::new(DataHeader { tsn: Tsn(tsn), stream, ssn: Ssn(ssn), ppid, flags }, payload)
    })
}

fn parameter() -> impl Strategy<Value = Parameter<'static>> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|octets| Parameter::Ipv4Address(Ipv4Addr::from(octets))),
        any::<[u8; 16]>().prop_map(|octets| Parameter::Ipv6Address(Ipv6Addr::from(octets))),
        bytes(0..100).prop_map(Parameter::StateCookie),
        bytes(0..20).prop_map(Parameter::Unrecognized),
        any::<u32>().prop_map(|increment_ms| Parameter::CookiePreservative { increment_ms }),
        bytes(0..20).prop_map(Parameter::HostName),
        any::<[bool; 2]>()
            .prop_map(|[ipv4, ipv6]| Parameter::SupportedAddressTypes(SupportedAddressTypes { ipv4, ipv6 })),
        Just(Parameter::EcnCapable),
        Just(Parameter::ForwardTsnSupported),
        bytes(0..9).prop_map(Parameter::SupportedExtensions),
        (0_u16..50).prop_map(|data_length| Parameter::Padding { data_length }),
    ]
}

fn parameters() -> impl Strategy<Value = ParameterList<'static>> {
    vec(parameter(), 0..8).prop_map(|items| ParameterList::new(items.leak()))
}

fn cause() -> impl Strategy<Value = Cause<'static>> {
    prop_oneof![
        any::<u16>().prop_map(|stream| Cause::InvalidStreamIdentifier { stream }),
        vec(any::<u16>().prop_map(ParameterType), 0..5)
            .prop_map(|types| Cause::MissingMandatoryParameter(MissingParameters::new(types.leak()))),
        any::<u32>().prop_map(|staleness| Cause::StaleCookie { staleness }),
        Just(Cause::OutOfResource),
        bytes(0..30).prop_map(Cause::UnresolvableAddress),
        bytes(0..30).prop_map(Cause::UnrecognizedChunkType),
        Just(Cause::InvalidMandatoryParameter),
        parameters().prop_map(Cause::UnrecognizedParameters),
        any::<u32>().prop_map(|tsn| Cause::NoUserData { tsn: Tsn(tsn) }),
        Just(Cause::CookieReceivedWhileShuttingDown),
        parameters().prop_map(Cause::RestartWithNewAddresses),
        bytes(0..30).prop_map(Cause::UserInitiatedAbort),
        bytes(0..30).prop_map(Cause::ProtocolViolation),
        any::<(u16, u16)>().prop_map(|(current, new)| Cause::RestartWithNewEncapsulationPort { current, new }),
    ]
}

fn causes() -> impl Strategy<Value = CauseList<'static>> {
    vec(cause(), 0..6).prop_map(|items| CauseList::new(items.leak()))
}

fn init() -> impl Strategy<Value = Init<'static>> {
    (1_u32.., 1500_u32.., 1_u16.., 1_u16.., any::<u32>(), parameters()).prop_map(
        |(initiate_tag, a_rwnd, outbound_streams, inbound_streams, initial_tsn, parameters)| Init {
            initiate_tag,
            a_rwnd,
            outbound_streams,
            inbound_streams,
            initial_tsn: Tsn(initial_tsn),
            parameters,
        },
    )
}

fn gap_ack_blocks() -> impl Strategy<Value = Vec<GapAckBlock>> {
    vec(any::<[u16; 2]>().prop_map(|[start, end]| GapAckBlock { start, end }), 0..20)
}

/// Every chunk but SACK, whose lists have types of their own when they are sent.
fn chunk() -> impl Strategy<Value = Chunk<'static>> {
    prop_oneof![
        data().prop_map(Chunk::Data),
        init().prop_map(Chunk::Init),
        init().prop_map(|init| Chunk::InitAck(InitAck(init))),
        bytes(0..64).prop_map(|info| Chunk::Heartbeat(Heartbeat { info })),
        bytes(0..64).prop_map(|info| Chunk::HeartbeatAck(HeartbeatAck { info })),
        (any::<bool>(), causes()).prop_map(|(tag_reflected, causes)| Chunk::Abort(Abort { tag_reflected, causes })),
        any::<u32>().prop_map(|tsn| Chunk::Shutdown(Shutdown { cumulative_tsn_ack: Tsn(tsn) })),
        Just(Chunk::ShutdownAck),
        causes().prop_map(|causes| Chunk::Error(ErrorChunk { causes })),
        bytes(0..200).prop_map(|cookie| Chunk::CookieEcho(CookieEcho { cookie })),
        Just(Chunk::CookieAck),
        any::<u32>().prop_map(|tsn| Chunk::Ecne(Ecne { lowest_tsn: Tsn(tsn) })),
        any::<u32>().prop_map(|tsn| Chunk::Cwr(Cwr { lowest_tsn: Tsn(tsn) })),
        any::<bool>().prop_map(|tag_reflected| Chunk::ShutdownComplete(ShutdownComplete { tag_reflected })),
        (0_u16..100).prop_map(|data_length| Chunk::Pad(Pad { data_length })),
    ]
}

fn packet_of(chunks: &[Chunk<'_>]) -> Vec<u8> {
    let mut buffer = vec![0xee; 65_536];
    let mut writer = Writer::new(&mut buffer, HEADER).expect("room for a header");
    for chunk in chunks {
        writer.chunk(chunk).expect("room for a chunk");
    }
    let length = writer.finish(Checksum::Compute);
    buffer.truncate(length);
    buffer
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(chunks in vec(chunk(), 1..8)) {
        let packet = packet_of(&chunks);
        prop_assert!(verify_checksum(&packet));
        let packet = Packet::parse(&packet).expect("a packet");
        let read: Vec<_> = packet.chunks().map(|raw| raw.and_then(Chunk::parse)).collect();
        prop_assert_eq!(read, chunks.into_iter().map(Ok).collect::<Vec<_>>());
    }

    #[test]
    fn a_sack_is_read_back(
        tsn: u32, a_rwnd: u32, gaps in gap_ack_blocks(), duplicates in vec(any::<u32>().prop_map(Tsn), 0..9),
    ) {
        let sack = Sack {
            cumulative_tsn_ack: Tsn(tsn),
            a_rwnd,
            gap_ack_blocks: gaps.iter().copied(),
            duplicate_tsns: duplicates.iter().copied(),
        };
        let bytes = emitted(&sack);
        let Ok(Chunk::Sack(read)) = parsed(&bytes) else { panic!("no SACK") };
        prop_assert_eq!(&read, &sack);
        prop_assert_eq!(emitted(&read), bytes);
    }

    #[test]
    fn lists_of_items_pass_the_checks(chunks in vec(chunk(), 1..4)) {
        checks::packet(&packet_of(&chunks));
    }

    #[test]
    fn damaged_packets_pass_the_checks(
        chunks in vec(chunk(), 1..4),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut packet = packet_of(&chunks);
        for (at, byte) in damage {
            let at = at.index(packet.len());
            packet[at] = byte;
        }
        if let Some(cut) = cut {
            packet.truncate(cut.index(packet.len()));
        }
        checks::packet(&packet);
    }

    #[test]
    fn any_bytes_pass_the_checks(bytes in vec(any::<u8>(), 0..300)) {
        checks::packet(&bytes);
        checks::chunk(&bytes);
        checks::parameters(&bytes);
        checks::causes(&bytes);
    }

    #[test]
    fn any_bytes_as_each_chunk_pass_the_checks(
        chunk_type in prop_oneof![0_u8..15, Just(0x84), any::<u8>()], value in vec(0_u8..20, 0..80),
    ) {
        checks::chunk(&[&[chunk_type, 0xff], &value[..]].concat());
    }

    /// Small numbers make lengths and types that mean something.
    #[test]
    fn small_bytes_as_lists_pass_the_checks(bytes in vec(0_u8..14, 0..80)) {
        checks::parameters(&bytes);
        checks::causes(&bytes);
    }

    #[test]
    fn no_buffer_is_overrun(chunks in vec(chunk(), 1..8), size in 12_usize..3000) {
        let mut buffer = vec![0xee; size];
        let mut writer = Writer::new(&mut buffer, HEADER).expect("room for a header");
        let mut fitting = Vec::new();
        for chunk in chunks {
            let (before, fits) = (writer.len(), padded(chunk.length()) <= writer.remaining());
            prop_assert_eq!(writer.chunk(&chunk).is_ok(), fits);
            prop_assert_eq!(writer.len(), before + if fits { padded(chunk.length()) } else { 0 });
            if fits {
                fitting.push(chunk);
            }
        }
        let length = writer.finish(Checksum::Compute);
        buffer.truncate(length);
        prop_assert_eq!(buffer, packet_of(&fitting));
    }
}
