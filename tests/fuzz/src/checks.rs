//! What must hold of the wire format for any bytes: nothing panics, nothing points outside, and what was understood once is
//! understood the same after it was written again.
//!
//! The fuzz targets call these functions, and so do property tests beside the code in `sctp-core`, where `cargo test` runs them.

use super::wire::{
    Abort, CauseList, Checksum, Chunk, CommonHeader, ErrorChunk, Init, InitAck, Packet, Parameter, ParameterList,
    RawChunk, Writer, padded, verify_checksum,
};

const HEADER: CommonHeader = CommonHeader { source_port: 1, destination_port: 2, verification_tag: 3 };
const COMMON_HEADER_LENGTH: usize = 12;

/// Any bytes as a packet.
pub fn packet(bytes: &[u8]) {
    let right = verify_checksum(bytes);
    let Ok(packet) = Packet::parse(bytes) else { return };
    assert!(!packet.to_string().contains('\n'), "a log line is one line");
    assert_eq!(packet.bytes(), bytes);

    let mut expected_offset = COMMON_HEADER_LENGTH;
    let mut walk = packet.chunks();
    while let Some(item) = walk.next() {
        let Ok(raw) = item else {
            assert!(walk.next().is_none(), "the walk goes on after an error");
            break;
        };
        assert_eq!(raw.offset, expected_offset);
        assert_eq!(raw.bytes, &bytes[raw.offset..raw.offset + raw.bytes.len()]);
        expected_offset += padded(raw.bytes.len());
        understood_again(bytes, raw);
    }

    // A checksum that is right is right because of every bit.
    if right {
        let mut damaged = bytes.to_vec();
        damaged[bytes.len() - 1] ^= 1;
        assert!(!verify_checksum(&damaged));
    }
}

/// Any bytes as a chunk whose header is sound: type, flags, value.
pub fn chunk(bytes: &[u8]) {
    let [chunk_type, flags, value @ ..] = bytes else { return };
    framed(*chunk_type, *flags, value);
}

/// Any bytes as the parameters of an INIT and of an INIT ACK whose fixed fields are sound.
pub fn parameters(bytes: &[u8]) {
    for chunk_type in [1, 2] {
        framed(chunk_type, 0, &[&[0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 9], bytes].concat());
    }
}

/// Any bytes as the error causes of an ABORT and of an ERROR.
pub fn causes(bytes: &[u8]) {
    for chunk_type in [6, 9] {
        framed(chunk_type, 0, bytes);
    }
}

fn framed(chunk_type: u8, flags: u8, value: &[u8]) {
    let Ok(length) = u16::try_from(value.len() + 4) else { return };
    let [high, low] = length.to_be_bytes();
    packet(&[&[0, 1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, chunk_type, flags, high, low], value].concat());
}

fn understood_again(packet: &[u8], raw: RawChunk<'_>) {
    let Ok(chunk) = Chunk::parse(raw) else { return };
    assert_eq!(chunk.chunk_type(), raw.chunk_type);
    let _ = format!("{chunk:?}");
    same_after_writing(&chunk);
    match &chunk {
        Chunk::Data(data) => assert_eq!(&packet[data.payload_range()], data.payload),
        Chunk::Sack(sack) => {
            for block in sack.gap_ack_blocks.clone() {
                let Some((first, last)) = block.tsns(sack.cumulative_tsn_ack) else {
                    assert_eq!(block.count(), 0);
                    continue;
                };
                assert_eq!(first.steps_to(last) + 1, block.count());
                assert!(sack.cumulative_tsn_ack.precedes(first));
            }
        }
        Chunk::Init(init) => {
            parameter_list(init.parameters);
            rewritten_parameters(init.parameters, |parameters| Chunk::Init(Init { parameters, ..*init }));
        }
        Chunk::InitAck(init_ack) => {
            let _ = init_ack.state_cookie();
            rewritten_parameters(init_ack.0.parameters, |parameters| {
                Chunk::InitAck(InitAck(Init { parameters, ..init_ack.0 }))
            });
        }
        Chunk::Abort(abort) => {
            rewritten_causes(abort.causes, |causes| Chunk::Abort(Abort { causes, ..*abort }));
        }
        Chunk::Error(error) => rewritten_causes(error.causes, |causes| Chunk::Error(ErrorChunk { causes })),
        _ => {}
    }
}

/// Writes a chunk, reads it back and writes that: the same chunk, the same bytes.
fn same_after_writing(chunk: &Chunk<'_>) {
    let once = written(chunk);
    let packet = Packet::parse(&once).expect("what we write is a packet");
    let mut chunks = packet.chunks();
    let raw = chunks.next().expect("one chunk").expect("a sound chunk");
    assert!(chunks.next().is_none());
    let again = Chunk::parse(raw).expect("what we write can be read");
    assert_eq!(&again, chunk);
    assert_eq!(written(&again), once);
}

fn written(chunk: &Chunk<'_>) -> Vec<u8> {
    let length = padded(super::wire::Emit::length(chunk));
    let mut buffer = vec![0xee; COMMON_HEADER_LENGTH + length];
    let mut writer = Writer::new(&mut buffer, HEADER).expect("room for a header");
    writer.chunk(chunk).expect("room for the chunk");
    assert_eq!(writer.remaining(), 0);
    let length = writer.finish(Checksum::Compute);
    assert_eq!(length, buffer.len());
    assert!(verify_checksum(&buffer));
    buffer
}

/// The rules that a list of parameters obeys whatever is in it.
fn parameter_list(list: ParameterList<'_>) {
    let mut reports = Vec::new();
    let recognized = list.recognized(|raw| reports.push(raw)).filter(Result::is_ok).count();
    let known = list.iter().flatten().filter(|parameter| !matches!(parameter, Parameter::Unknown(_))).count();
    assert!(recognized <= known);
    assert!(reports.iter().all(|raw| raw.unknown_action().report));
    assert!(list.addresses().count() <= known);
    assert!(list.check_structure().is_ok() || list.iter().any(|item| item.is_err()));
}

/// A list without errors is the same when it is sent item by item.
fn rewritten_parameters(list: ParameterList<'_>, chunk: impl for<'b> Fn(ParameterList<'b>) -> Chunk<'b>) {
    if let Ok(items) = list.iter().collect::<Result<Vec<_>, _>>() {
        assert!(ParameterList::new(&items) == list);
        same_after_writing(&chunk(ParameterList::new(&items)));
    }
}

/// A list without errors is the same when it is sent item by item.
fn rewritten_causes(list: CauseList<'_>, chunk: impl for<'b> Fn(CauseList<'b>) -> Chunk<'b>) {
    if let Ok(items) = list.iter().collect::<Result<Vec<_>, _>>() {
        assert!(CauseList::new(&items) == list);
        same_after_writing(&chunk(CauseList::new(&items)));
    }
}
