//! Packets written by hand.

use sctp_core::wire::{CommonHeader, checksum};

/// A packet with these chunks, padded, and the right checksum.
pub(crate) fn packet(header: CommonHeader, chunks: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(12 + chunks.len());
    bytes.extend(header.source_port.to_be_bytes());
    bytes.extend(header.destination_port.to_be_bytes());
    bytes.extend(header.verification_tag.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(chunks);
    seal(&mut bytes);
    bytes
}

/// Makes the checksum right, if there is space for one.
pub(crate) fn seal(bytes: &mut [u8]) {
    if bytes.len() >= 12 {
        bytes[8..12].fill(0);
        let sum = checksum::compute(bytes);
        bytes[8..12].copy_from_slice(&sum.to_le_bytes());
    }
}

/// Appends a chunk with the right length, and its padding.
pub(crate) fn chunk(to: &mut Vec<u8>, chunk_type: u8, flags: u8, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    to.extend([chunk_type, flags]);
    to.extend(length.to_be_bytes());
    to.extend(&value[..usize::from(length) - 4]);
    to.resize(to.len().next_multiple_of(4), 0);
}

/// The value of an INIT or INIT ACK.
pub(crate) fn init(tag: u32, a_rwnd: u32, streams: (u16, u16), tsn: u32, parameters: &[u8]) -> Vec<u8> {
    let mut value = Vec::new();
    value.extend(tag.to_be_bytes());
    value.extend(a_rwnd.to_be_bytes());
    value.extend(streams.0.to_be_bytes());
    value.extend(streams.1.to_be_bytes());
    value.extend(tsn.to_be_bytes());
    value.extend(parameters);
    value
}

/// Appends a parameter with the right length, and its padding.
pub(crate) fn parameter(to: &mut Vec<u8>, parameter_type: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    to.extend(parameter_type.to_be_bytes());
    to.extend(length.to_be_bytes());
    to.extend(&value[..usize::from(length) - 4]);
    to.resize(to.len().next_multiple_of(4), 0);
}
