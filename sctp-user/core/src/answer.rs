//! Packets that are written before it is their turn to be sent: answers without an association, and last words.

use core::net::IpAddr;
use core::num::NonZeroU16;

use bytes::Bytes;
use sctp_common::wire::UDP_HEADER_LENGTH;
use smallvec::SmallVec;

use crate::wire::{Checksum, CommonHeader, Emit, Sink, Writer, padded};

/// Where a packet goes, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Destination {
    /// Our address to send from; `None` leaves it to routing.
    pub(crate) source: Option<IpAddr>,
    pub(crate) address: IpAddr,
    /// The UDP port that it goes to in UDP; `None` for directly over IP.
    pub(crate) encapsulation: Option<NonZeroU16>,
}

/// A packet with one chunk, ready to be sent.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) to: Destination,
    pub(crate) bytes: SmallVec<[u8; 64]>,
}

impl Answer {
    /// Writes a packet with `chunk` alone. `None` if the chunk has no space in a packet of `max_packet` bytes.
    pub(crate) fn new<C: Emit>(
        to: Destination,
        header: CommonHeader,
        chunk: &C,
        checksum: Checksum,
        max_packet: usize,
    ) -> Option<Self> {
        let len = 12 + padded(chunk.length());
        let udp_header = if to.encapsulation.is_some() { UDP_HEADER_LENGTH } else { 0 };
        if len + udp_header > max_packet {
            return None;
        }
        let mut bytes = SmallVec::from_elem(0, len);
        //= RFC 9260 §3: "INIT, INIT ACK, and SHUTDOWN COMPLETE chunks MUST NOT be bundled with any other chunk"
        //= RFC 9260 §5.1: "An INIT or INIT ACK chunk MUST NOT be bundled with any other chunk."
        //= RFC 9260 §5.1: "They MUST be the only chunks present in the SCTP packets that carry them."
        //= RFC 9260 §6.10: "An endpoint MUST NOT bundle INIT, INIT ACK, or SHUTDOWN COMPLETE chunks with any other
        //= chunks."
        //= RFC 9260 §3.3.7: "DATA chunks MUST NOT be bundled with ABORT chunks."
        //= RFC 9260 §3.3.7: "but they MUST be placed before the ABORT chunk in the SCTP packet"
        let mut writer = Writer::new(&mut bytes, header).ok()?;
        writer.chunk(chunk).ok()?;
        let written = writer.finish(checksum);
        bytes.truncate(written);
        Some(Self { to, bytes })
    }
}

/// A chunk that has been written before.
#[derive(Debug)]
pub(crate) struct Encoded<'a>(pub(crate) &'a [u8]);

impl Emit for Encoded<'_> {
    fn length(&self) -> usize {
        self.0.len()
    }

    fn emit(&self, out: &mut Sink<'_>) {
        out.bytes(self.0);
    }
}

/// Writes a chunk for later. `None` if it is longer than a chunk can be.
pub(crate) fn encode<C: Emit>(chunk: &C) -> Option<Bytes> {
    let len = chunk.length();
    let mut bytes = vec![0; 12 + padded(len)];
    let header = CommonHeader { source_port: 0, destination_port: 0, verification_tag: 0 };
    Writer::new(&mut bytes, header).ok()?.chunk(chunk).ok()?;
    Some(Bytes::from(bytes).slice(12..12 + len))
}
