//! Every packet of a run, kept in memory and written as pcapng when the run fails.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sctp_core::time::Instant;

use super::network::Fate;

/// LINKTYPE_RAW: packets begin with an IPv4 or IPv6 header.
const LINKTYPE_RAW: u16 = 101;

/// A packet that was sent.
pub(crate) struct Captured {
    pub(crate) at: Instant,
    /// Index of the node that sent it; `None` when the test did.
    pub(crate) from: Option<usize>,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) bytes: Bytes,
    pub(crate) fate: Fate,
}

/// Writes the packets to `<target>/sim-failures/<name>.pcapng`, each with its fate as a comment.
pub(crate) fn write(name: &str, packets: &[Captured]) -> io::Result<PathBuf> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../sim-failures");
    std::fs::create_dir_all(&directory)?;
    let path = directory.canonicalize()?.join(format!("{name}.pcapng"));
    std::fs::write(&path, pcapng(packets))?;
    Ok(path)
}

fn pcapng(packets: &[Captured]) -> Vec<u8> {
    let mut file = Vec::new();
    // Section Header Block: byte order, version 1.0, length unknown.
    let mut body = Vec::new();
    body.extend(0x1a2b_3c4d_u32.to_le_bytes());
    body.extend(1_u16.to_le_bytes());
    body.extend(0_u16.to_le_bytes());
    body.extend(u64::MAX.to_le_bytes());
    block(&mut file, 0x0a0d_0d0a, &body);
    // Interface Description Block: no snapshot limit, times in nanoseconds (if_tsresol).
    let mut body = Vec::new();
    body.extend(LINKTYPE_RAW.to_le_bytes());
    body.extend(0_u16.to_le_bytes());
    body.extend(0_u32.to_le_bytes());
    option(&mut body, 9, &[9]);
    option(&mut body, 0, &[]);
    block(&mut file, 1, &body);
    for packet in packets {
        let frame = frame(packet);
        let nanos = packet.at.as_nanos();
        let length = frame.len() as u32;
        let mut body = Vec::new();
        body.extend(0_u32.to_le_bytes());
        body.extend(((nanos >> 32) as u32).to_le_bytes());
        body.extend((nanos as u32).to_le_bytes());
        body.extend(length.to_le_bytes());
        body.extend(length.to_le_bytes());
        body.extend(frame);
        body.resize(body.len().next_multiple_of(4), 0);
        if packet.fate != Fate::Passed {
            option(&mut body, 1, format!("{:?}", packet.fate).as_bytes());
            option(&mut body, 0, &[]);
        }
        block(&mut file, 6, &body);
    }
    file
}

fn block(file: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let length = (12 + body.len() as u32).to_le_bytes();
    file.extend(kind.to_le_bytes());
    file.extend(length);
    file.extend(body);
    file.extend(length);
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// The packet with an IP header in front.
fn frame(packet: &Captured) -> Vec<u8> {
    let length = packet.bytes.len();
    let mut frame = match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = vec![0x45, 0];
            header.extend((20 + length as u16).to_be_bytes());
            header.extend([0, 0, 0x40, 0, 64, 132, 0, 0]);
            header.extend(source.octets());
            header.extend(destination.octets());
            let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
            let sum = (sum & 0xffff) + (sum >> 16);
            let checksum = !((sum + (sum >> 16)) as u16);
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            header
        }
        (source, destination) => {
            let octets = |address: IpAddr| match address {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            };
            let mut header = vec![0x60, 0, 0, 0];
            header.extend((length as u16).to_be_bytes());
            header.extend([132, 64]);
            header.extend(octets(source));
            header.extend(octets(destination));
            header
        }
    };
    frame.extend(&packet.bytes);
    frame
}
