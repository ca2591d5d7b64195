//! Frames from their layers, each layer sound unless a test breaks it.

use sctp_common::frame::ipv4_mapped;
use sctp_common::wire::{IPPROTO_SCTP, chunk};

/// The port that the tests' endpoint owns and listens on.
pub(crate) const PORT: u16 = 38412;
/// A port that it owns without listening.
pub(crate) const QUIET_PORT: u16 = 40000;
/// A port that it does not own.
pub(crate) const OTHER_PORT: u16 = 3868;
/// The peer's port.
pub(crate) const PEER_PORT: u16 = 5001;
/// The port from which the peer has an association besides, of whose tags nothing is known.
pub(crate) const BOUND_PORT: u16 = 5002;
/// The verification tag of the one association, drawn by us.
pub(crate) const TAG: u32 = 0x1234_5678;
/// The same association's tag, drawn by the peer.
pub(crate) const PEER_TAG: u32 = 0x9abc_def0;

/// Our address.
pub(crate) const OURS_V4: [u8; 4] = [10, 0, 0, 2];
/// The peer's address.
pub(crate) const PEER_V4: [u8; 4] = [10, 0, 0, 1];
/// An address behind us.
pub(crate) const FOREIGN_V4: [u8; 4] = [10, 9, 9, 9];

/// The unique local IPv6 address that ends in `last`.
pub(crate) const fn v6(last: u8) -> [u8; 16] {
    [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]
}

/// Our IPv6 address.
pub(crate) const OURS_V6: [u8; 16] = v6(2);
/// The peer's IPv6 address.
pub(crate) const PEER_V6: [u8; 16] = v6(1);
/// An IPv6 address behind us.
pub(crate) const FOREIGN_V6: [u8; 16] = v6(9);

/// Our addresses, as the program's map has them.
pub(crate) fn our_addresses() -> [[u8; 16]; 2] {
    [ipv4_mapped(OURS_V4), OURS_V6]
}

/// The peer's addresses, in the same form.
pub(crate) fn peer_addresses() -> [[u8; 16]; 2] {
    [ipv4_mapped(PEER_V4), PEER_V6]
}

/// A chunk with its padding.
pub(crate) fn chunk(kind: u8, flags: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, flags];
    bytes.extend((value.len() as u16 + 4).to_be_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An INIT chunk without parameters.
pub(crate) fn init_chunk() -> Vec<u8> {
    init_naming(0xcafe_babe)
}

/// An INIT chunk without parameters whose Initiate Tag is `tag`.
pub(crate) fn init_naming(tag: u32) -> Vec<u8> {
    let [a, b, c, d] = tag.to_be_bytes();
    let value = [a, b, c, d, 0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 1];
    chunk(chunk::INIT, 0, &value)
}

/// A DATA chunk with `length` bytes of payload.
pub(crate) fn data_chunk(length: usize) -> Vec<u8> {
    let mut value = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 60];
    value.extend((0..length).map(|i| (i * 7) as u8));
    chunk(chunk::DATA, 3, &value)
}

/// An SCTP packet from the peer with `chunks` behind its common header and the right checksum.
pub(crate) fn sctp(port: u16, tag: u32, chunks: &[u8]) -> Vec<u8> {
    sctp_between(PEER_PORT, port, tag, chunks)
}

/// An SCTP packet with the right checksum.
pub(crate) fn sctp_between(source: u16, destination: u16, tag: u32, chunks: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend(source.to_be_bytes());
    packet.extend(destination.to_be_bytes());
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(chunks);
    let crc = crc32c::crc32c(&packet);
    packet[8..12].copy_from_slice(&crc.to_le_bytes());
    packet
}

/// An IPv4 header and what may be odd about it, with the right header checksum.
#[derive(Clone, Debug)]
pub(crate) struct Ipv4 {
    pub(crate) source: [u8; 4],
    pub(crate) destination: [u8; 4],
    pub(crate) protocol: u8,
    /// DSCP and ECN.
    pub(crate) traffic: u8,
    /// Flags and fragment offset.
    pub(crate) fragment: u16,
    /// A multiple of four bytes, at most 40.
    pub(crate) options: Vec<u8>,
}

impl Default for Ipv4 {
    fn default() -> Self {
        Self {
            source: PEER_V4,
            destination: OURS_V4,
            protocol: IPPROTO_SCTP,
            traffic: 2,
            fragment: 0x4000,
            options: Vec::new(),
        }
    }
}

impl Ipv4 {
    /// The IP packet that carries `payload`.
    pub(crate) fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let mut packet = vec![0x40 | (header_len / 4) as u8, self.traffic];
        packet.extend((header_len as u16 + payload.len() as u16).to_be_bytes());
        packet.extend([0x12, 0x34]);
        packet.extend(self.fragment.to_be_bytes());
        packet.extend([64, self.protocol, 0, 0]);
        packet.extend(self.source);
        packet.extend(self.destination);
        packet.extend(&self.options);
        repair_ipv4_checksum(&mut packet);
        packet.extend(payload);
        packet
    }

    /// The Ethernet frame, without a VLAN tag, that carries `payload`.
    pub(crate) fn frame(&self, payload: &[u8]) -> Vec<u8> {
        ethernet(&[], 0x0800, &self.packet(payload))
    }
}

/// An ICMP or ICMPv6 error, with its checksum left at zero: the program leaves that to userspace.
pub(crate) fn icmp_error(kind: u8, code: u8, quoted: &[u8]) -> Vec<u8> {
    [&[kind, code, 0, 0, 0, 0, 5, 0x78][..], quoted].concat()
}

/// Makes the header checksum of the IPv4 packet right, over as many bytes as its IHL field says.
pub(crate) fn repair_ipv4_checksum(packet: &mut [u8]) {
    let header_len = usize::from(packet[0] & 0x0f) * 4;
    packet[10..12].fill(0);
    let words = packet[..header_len.min(packet.len())].chunks(2);
    let mut sum: u32 = words.map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    packet[10..12].copy_from_slice(&(!sum as u16).to_be_bytes());
}

/// An IPv6 header with its extension headers.
#[derive(Clone, Debug)]
pub(crate) struct Ipv6 {
    pub(crate) source: [u8; 16],
    pub(crate) destination: [u8; 16],
    /// Traffic class.
    pub(crate) traffic: u8,
    /// Extension headers, each its type and its bytes, whose first byte (next header) is filled in.
    pub(crate) extensions: Vec<(u8, Vec<u8>)>,
    /// What comes after the last extension header.
    pub(crate) upper: u8,
}

impl Default for Ipv6 {
    fn default() -> Self {
        Self { source: PEER_V6, destination: OURS_V6, traffic: 1, extensions: Vec::new(), upper: IPPROTO_SCTP }
    }
}

impl Ipv6 {
    /// The same with one more extension header.
    pub(crate) fn with(mut self, kind: u8, bytes: &[u8]) -> Self {
        self.extensions.push((kind, bytes.to_vec()));
        self
    }

    /// The IP packet that carries `payload`.
    pub(crate) fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let kinds: Vec<u8> = self.extensions.iter().map(|(kind, _)| *kind).chain([self.upper]).collect();
        let mut chain = Vec::new();
        for ((_, bytes), next) in self.extensions.iter().zip(&kinds[1..]) {
            chain.push(*next);
            chain.extend(&bytes[1..]);
        }
        let mut packet = vec![0x60 | self.traffic >> 4, self.traffic << 4, 0, 0];
        packet.extend((chain.len() as u16 + payload.len() as u16).to_be_bytes());
        packet.extend([kinds[0], 64]);
        packet.extend(self.source);
        packet.extend(self.destination);
        packet.extend(chain);
        packet.extend(payload);
        packet
    }

    /// The Ethernet frame, without a VLAN tag, that carries `payload`.
    pub(crate) fn frame(&self, payload: &[u8]) -> Vec<u8> {
        ethernet(&[], 0x86dd, &self.packet(payload))
    }
}

/// IPv6 extension header types.
pub(crate) mod extension {
    pub(crate) const HOP_BY_HOP: u8 = 0;
    pub(crate) const ROUTING: u8 = 43;
    pub(crate) const FRAGMENT: u8 = 44;
    pub(crate) const AUTHENTICATION: u8 = 51;
    pub(crate) const DESTINATION: u8 = 60;
}

/// An options header of `units` × 8 + 8 bytes, filled with padding options.
pub(crate) fn options_header(units: u8) -> Vec<u8> {
    let mut bytes = vec![0, units];
    bytes.resize(8 + usize::from(units) * 8, 0);
    bytes
}

/// A fragment header (RFC 8200 §4.5) for `offset` in units of eight bytes.
pub(crate) fn fragment_header(offset: u16, more: bool) -> Vec<u8> {
    let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
    vec![0, 0, high, low, 0, 0, 0, 7]
}

/// An Ethernet frame with `tags` (their types, outermost first), at least 60 bytes long as Ethernet pads it.
pub(crate) fn ethernet(tags: &[u16], ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 100]);
    }
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame.resize(frame.len().max(60), 0xee);
    frame
}
