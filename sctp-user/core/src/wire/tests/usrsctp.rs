//! Packets that another stack sent: usrsctp 0.9.5, the handshake, data and close of an association with itself.

use super::*;

/// Reads one of the fuzzer's seeds.
macro_rules! seed {
    ($name:literal) => {
        include_bytes!(concat!("../../../../../tests/fuzz/seeds/packet/usrsctp-", $name)).as_slice()
    };
}

/// What every packet of usrsctp must pass.
fn understood(bytes: &[u8]) -> Packet<'_> {
    assert!(verify_checksum(bytes), "the checksum of another stack is right");
    let packet = Packet::parse(bytes).expect("a packet");
    assert_eq!(packet.checksum, checksum::compute(bytes));
    for chunk in packet.chunks() {
        let chunk = Chunk::parse(chunk.expect("a sound chunk")).expect("a good chunk");
        assert!(!matches!(chunk, Chunk::Unknown(_)), "{chunk}");
    }
    packet
}

fn first<'a>(packet: &Packet<'a>) -> Chunk<'a> {
    packet.chunks().next().expect("a chunk").and_then(Chunk::parse).expect("a good chunk")
}

#[test]
fn init() {
    let packet = understood(seed!("init"));
    assert_eq!((packet.source_port, packet.destination_port, packet.verification_tag), (5000, 38412, 0));
    let Chunk::Init(init) = first(&packet) else { panic!("no INIT") };
    assert_eq!((init.a_rwnd, init.outbound_streams, init.inbound_streams), (131_072, 10, 2048));
    let parameters: Vec<Parameter<'_>> = init.parameters.iter().collect::<Result<_, _>>().expect("good parameters");
    assert_eq!(parameters[..2], [Parameter::EcnCapable, Parameter::ForwardTsnSupported]);
    assert!(parameters[2].supports(ChunkType::RE_CONFIG));
    let mut reported = 0;
    assert_eq!(init.parameters.recognized(|_| reported += 1).count(), 3);
    assert_eq!(reported, 0, "the parameters of AUTH are skipped in silence");
}

#[test]
fn init_ack_and_cookie_echo() {
    let init_ack = understood(seed!("init-ack"));
    let Chunk::InitAck(init_ack) = first(&init_ack) else { panic!("no INIT ACK") };
    let cookie = init_ack.state_cookie().expect("good parameters").expect("a cookie");
    let echo = understood(seed!("cookie-echo"));
    assert_eq!(echo.verification_tag, init_ack.0.initiate_tag);
    assert_eq!(first(&echo), Chunk::CookieEcho(CookieEcho { cookie }));
    assert_eq!(first(&understood(seed!("cookie-ack"))), Chunk::CookieAck);
}

#[test]
fn data_and_sack() {
    let packet = understood(seed!("data"));
    let Chunk::Data(data) = first(&packet) else { panic!("no DATA") };
    assert_eq!(data.payload, b"hello");
    assert_eq!((data.header.stream, data.header.ssn.get(), data.header.ppid), (3, 0, 60));
    assert_eq!(data.header.flags, DataFlags::UNFRAGMENTED);
    let packet = understood(seed!("sack"));
    let Chunk::Sack(sack) = first(&packet) else { panic!("no SACK") };
    assert_eq!(sack.cumulative_tsn_ack, data.header.tsn);
    assert_eq!((sack.gap_ack_blocks.len(), sack.duplicate_tsns.len()), (0, 0));
}

#[test]
fn shutdown() {
    assert!(matches!(first(&understood(seed!("shutdown"))), Chunk::Shutdown(_)));
    assert_eq!(first(&understood(seed!("shutdown-ack"))), Chunk::ShutdownAck);
    let complete = Chunk::ShutdownComplete(ShutdownComplete { tag_reflected: false });
    assert_eq!(first(&understood(seed!("shutdown-complete"))), complete);
}

#[test]
fn written_by_us_the_packets_are_the_same_to_the_byte() {
    for bytes in [seed!("init"), seed!("data"), seed!("sack"), seed!("shutdown"), seed!("shutdown-complete")] {
        let packet = understood(bytes);
        let mut buffer = vec![0xee; 1500];
        let mut writer = Writer::new(&mut buffer, packet.header()).expect("room");
        for chunk in packet.chunks() {
            writer.chunk(&Chunk::parse(chunk.expect("sound")).expect("good")).expect("room");
        }
        let length = writer.finish(Checksum::Compute);
        assert_eq!(&buffer[..length], bytes);
    }
}
