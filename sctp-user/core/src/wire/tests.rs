//! Helpers of the tests beside the chunks, and the properties of the whole.

// Shared with the fuzz targets, which are a crate of their own.
#[allow(unreachable_pub)]
#[path = "../../../../tests/fuzz/src/checks.rs"]
mod checks;
mod properties;
mod usrsctp;

use super::*;
use crate::wire;

/// The bytes of a chunk, without its padding.
pub(crate) fn emitted(chunk: &impl Emit) -> Vec<u8> {
    let mut buffer = vec![0xee; 70_000];
    let mut writer = Writer::new(&mut buffer, HEADER).expect("room for a header");
    writer.chunk(chunk).expect("room for a chunk");
    assert_eq!(writer.len(), 12 + padded(chunk.length()));
    let end = writer.finish(Checksum::Compute);
    assert!(verify_checksum(&buffer[..end]));
    assert!(buffer[12 + chunk.length()..end].iter().all(|byte| *byte == 0), "padding is not zero");
    assert!(buffer[end..].iter().all(|byte| *byte == 0xee), "written beyond the end");
    buffer[12..12 + chunk.length()].to_vec()
}

/// The first chunk in `bytes`, which follow a common header.
pub(crate) fn parsed(bytes: &[u8]) -> Result<Chunk<'static>, ChunkError> {
    let header = [0, 1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0];
    let packet = Packet::parse([&header, bytes].concat().leak()).expect("a packet");
    packet.chunks().next().expect("a chunk").and_then(Chunk::parse)
}

/// A list as it is in a chunk, with the padding of its last item.
pub(crate) fn list_bytes<'a, T: ListItem<'a>>(items: &'a [T]) -> Vec<u8> {
    struct Holder<'a, T>(List<'a, T>);

    impl<'a, T: ListItem<'a>> Emit for Holder<'a, T> {
        fn length(&self) -> usize {
            self.0.length()
        }

        fn emit(&self, out: &mut Sink<'_>) {
            self.0.emit(out);
        }
    }

    let mut bytes = emitted(&Holder(List::new(items)));
    bytes.resize(padded(bytes.len()), 0);
    bytes
}

/// The parameters in `bytes`, as if they followed the fixed part of an INIT.
pub(crate) fn parameter_list(bytes: &[u8]) -> ParameterList<'_> {
    ParameterList::from_wire(bytes, 12 + 20)
}

pub(crate) fn parameters(bytes: &[u8]) -> Vec<Result<Parameter<'_>, ParameterError>> {
    parameter_list(bytes).iter().collect()
}

/// The causes in `bytes`, as if they followed the header of an ERROR.
pub(crate) fn causes(bytes: &[u8]) -> Vec<Result<Cause<'_>, CauseError>> {
    CauseList::from_wire(bytes, 12 + 4).iter().collect()
}

const HEADER: CommonHeader = CommonHeader { source_port: 1, destination_port: 2, verification_tag: 3 };
