//! Frames with SCTP inside, sound or broken in exactly one place.
//!
//! Written by itself, not with the project's own encoder, so that a fault in the one does not hide in the other.

use std::net::IpAddr;

/// IP protocol number of SCTP (RFC 9260 §3).
const IPPROTO_SCTP: u8 = 132;

/// What to write into the checksum field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// The CRC32c of the packet (RFC 9260 §6.8, Appendix A).
    Right,
    /// All bits of the right one inverted.
    Wrong,
    /// Zero, as a sender leaves it that counts on offload.
    Zero,
}

/// A frame: Ethernet, VLAN tags if any, IPv4 or IPv6, an SCTP packet.
#[derive(Clone, Debug)]
pub struct SctpFrame {
    /// Ethernet addresses.
    pub source_mac: [u8; 6],
    /// Of the interface that shall take the frame.
    pub destination_mac: [u8; 6],
    /// VLAN identifiers, outermost first.
    pub vlans: Vec<u16>,
    /// IP addresses, both of one family.
    pub source: IpAddr,
    /// Where the packet goes.
    pub destination: IpAddr,
    /// SCTP ports.
    pub source_port: u16,
    /// Port of the receiver.
    pub destination_port: u16,
    /// The verification tag.
    pub verification_tag: u32,
    /// Right, or which fault.
    pub checksum: Checksum,
    /// Chunks, one after the other, from [`chunk`] or by hand.
    pub chunks: Vec<u8>,
}

impl SctpFrame {
    /// The SCTP packet alone.
    pub fn packet(&self) -> Vec<u8> {
        let mut packet = Vec::with_capacity(12 + self.chunks.len());
        packet.extend(self.source_port.to_be_bytes());
        packet.extend(self.destination_port.to_be_bytes());
        packet.extend(self.verification_tag.to_be_bytes());
        packet.extend([0; 4]);
        packet.extend(&self.chunks);
        let right = crc32c::crc32c(&packet);
        let checksum = match self.checksum {
            Checksum::Right => right,
            Checksum::Wrong => !right,
            Checksum::Zero => 0,
        };
        packet[8..12].copy_from_slice(&checksum.to_le_bytes());
        packet
    }

    /// The whole frame.
    pub fn build(&self) -> Vec<u8> {
        self.with_payload(&self.packet())
    }

    /// The whole frame, with the SCTP packet cut after `length` octets. The IP header tells the shorter length.
    pub fn build_cut(&self, length: usize) -> Vec<u8> {
        let packet = self.packet();
        self.with_payload(&packet[..length.min(packet.len())])
    }

    /// The headers, then `payload` where the SCTP packet would be.
    ///
    /// # Panics
    /// If the addresses are not of one family, or the payload is longer than IP can tell.
    pub fn with_payload(&self, payload: &[u8]) -> Vec<u8> {
        let mut frame = [self.destination_mac, self.source_mac].concat();
        for vlan in &self.vlans {
            frame.extend(0x8100_u16.to_be_bytes());
            frame.extend(vlan.to_be_bytes());
        }
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame.extend(0x0800_u16.to_be_bytes());
                let length = u16::try_from(20 + payload.len()).expect("fits an IPv4 packet");
                let mut header = vec![0x45, 0];
                header.extend(length.to_be_bytes());
                header.extend([0, 0, 0x40, 0, 64, IPPROTO_SCTP, 0, 0]);
                header.extend(source.octets());
                header.extend(destination.octets());
                let checksum = internet_checksum(&header);
                header[10..12].copy_from_slice(&checksum.to_be_bytes());
                frame.extend(header);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                frame.extend(0x86dd_u16.to_be_bytes());
                frame.extend([0x60, 0, 0, 0]);
                frame.extend(u16::try_from(payload.len()).expect("fits an IPv6 packet").to_be_bytes());
                frame.extend([IPPROTO_SCTP, 64]);
                frame.extend(source.octets());
                frame.extend(destination.octets());
            }
            _ => panic!("{} and {} are not of one family", self.source, self.destination),
        }
        frame.extend(payload);
        // Shorter frames do not exist on Ethernet.
        frame.resize(frame.len().max(60), 0);
        frame
    }
}

/// Chunks (RFC 9260 §3.3), padded to four octets.
pub mod chunk {
    /// Any chunk.
    ///
    /// # Panics
    /// If the value is longer than a chunk can be.
    pub fn chunk(kind: u8, flags: u8, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).expect("fits a chunk");
        with_length(kind, flags, length, value)
    }

    /// Any chunk, with whatever length in its header.
    pub fn with_length(kind: u8, flags: u8, length: u16, value: &[u8]) -> Vec<u8> {
        let mut chunk = vec![kind, flags];
        chunk.extend(length.to_be_bytes());
        chunk.extend(value);
        chunk.resize(chunk.len().next_multiple_of(4), 0);
        chunk
    }

    /// DATA with a whole message (§3.3.1).
    pub fn data(tsn: u32, stream: u16, ssn: u16, payload: &[u8]) -> Vec<u8> {
        let mut value = tsn.to_be_bytes().to_vec();
        value.extend(stream.to_be_bytes());
        value.extend(ssn.to_be_bytes());
        value.extend([0; 4]);
        value.extend(payload);
        chunk(0, 0x03, &value)
    }

    /// INIT without parameters (§3.3.2).
    pub fn init(initiate_tag: u32, initial_tsn: u32) -> Vec<u8> {
        let mut value = initiate_tag.to_be_bytes().to_vec();
        value.extend(65536_u32.to_be_bytes());
        value.extend(10_u16.to_be_bytes());
        value.extend(10_u16.to_be_bytes());
        value.extend(initial_tsn.to_be_bytes());
        chunk(1, 0, &value)
    }

    /// HEARTBEAT with an information parameter of these octets (§3.3.5).
    ///
    /// # Panics
    /// If the information is longer than a parameter can be.
    pub fn heartbeat(information: &[u8]) -> Vec<u8> {
        let mut value = 1_u16.to_be_bytes().to_vec();
        value.extend(u16::try_from(4 + information.len()).expect("fits a parameter").to_be_bytes());
        value.extend(information);
        chunk(4, 0, &value)
    }

    /// ABORT without causes; `reflected` sets the T bit (§3.3.7).
    pub fn abort(reflected: bool) -> Vec<u8> {
        chunk(6, u8::from(reflected), &[])
    }

    /// SHUTDOWN ACK (§3.3.9).
    pub fn shutdown_ack() -> Vec<u8> {
        chunk(8, 0, &[])
    }

    /// COOKIE ECHO (§3.3.11).
    pub fn cookie_echo(cookie: &[u8]) -> Vec<u8> {
        chunk(10, 0, cookie)
    }
}

/// RFC 1071.
fn internet_checksum(header: &[u8]) -> u16 {
    let sum: u32 =
        header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !(((folded & 0xffff) + (folded >> 16)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(source: &str, destination: &str) -> SctpFrame {
        SctpFrame {
            source_mac: [2, 0, 0, 0, 0, 1],
            destination_mac: [2, 0, 0, 0, 0, 2],
            vlans: vec![],
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            source_port: 0x1111,
            destination_port: 0x2222,
            verification_tag: 0x0102_0304,
            checksum: Checksum::Right,
            chunks: chunk::abort(false),
        }
    }

    #[test]
    fn the_checksum_of_a_sound_packet_is_that_of_the_rfc() {
        // CRC32c of "123456789" is 0xe3069283: the check value of the polynomial.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        let mut packet = frame("10.0.0.1", "10.0.0.2").packet();
        let stored = u32::from_le_bytes(packet[8..12].try_into().unwrap());
        packet[8..12].fill(0);
        assert_eq!(stored, crc32c::crc32c(&packet));
    }

    #[test]
    fn ipv4_headers_are_sound() {
        let bytes = frame("10.0.0.1", "10.0.0.2").build();
        assert_eq!(bytes.len(), 60, "padded to Ethernet's least");
        assert_eq!(&bytes[12..16], [0x08, 0x00, 0x45, 0]);
        assert_eq!(u16::from_be_bytes([bytes[16], bytes[17]]), 20 + 16);
        assert_eq!(internet_checksum(&bytes[14..34]), 0, "a header with its checksum sums to zero");
        assert_eq!(&bytes[34..42], [0x11, 0x11, 0x22, 0x22, 1, 2, 3, 4]);
    }

    #[test]
    fn ipv6_headers_and_vlans_are_sound() {
        let mut frame = frame("fd00::1", "fd00::2");
        frame.vlans = vec![5, 6];
        let bytes = frame.build();
        assert_eq!(&bytes[12..22], [0x81, 0, 0, 5, 0x81, 0, 0, 6, 0x86, 0xdd]);
        assert_eq!(&bytes[26..30], [0, 16, 132, 64]);
        assert_eq!(&bytes[62..70], [0x11, 0x11, 0x22, 0x22, 1, 2, 3, 4]);
    }

    #[test]
    fn faults_are_where_they_should_be() {
        let mut frame = frame("10.0.0.1", "10.0.0.2");
        let right = frame.packet();
        frame.checksum = Checksum::Wrong;
        let wrong = frame.packet();
        assert!(right[8..12].iter().zip(&wrong[8..12]).all(|(right, wrong)| *wrong == !right));
        frame.checksum = Checksum::Zero;
        assert_eq!(frame.packet()[8..12], [0; 4]);
        let cut = frame.build_cut(7);
        assert_eq!(u16::from_be_bytes([cut[16], cut[17]]), 20 + 7);
    }

    #[test]
    fn chunks_are_padded_and_tell_their_length() {
        assert_eq!(chunk::data(1, 2, 3, b"x"), [0, 3, 0, 17, 0, 0, 0, 1, 0, 2, 0, 3, 0, 0, 0, 0, b'x', 0, 0, 0]);
        assert_eq!(chunk::with_length(9, 1, 2, &[]), [9, 1, 0, 2]);
        assert_eq!(chunk::init(1, 2).len(), 20);
        assert_eq!(chunk::heartbeat(b"abcd"), [4, 0, 0, 12, 0, 1, 0, 8, b'a', b'b', b'c', b'd']);
        assert_eq!(chunk::abort(true), [6, 1, 0, 4]);
        assert_eq!(chunk::shutdown_ack(), [8, 0, 0, 4]);
        assert_eq!(chunk::cookie_echo(&[1]), [10, 0, 0, 5, 1, 0, 0, 0]);
    }
}
