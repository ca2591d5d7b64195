//! The packet's CRC32c, [RFC 9260 §6.8] and [Appendix A].
//!
//! [RFC 9260 §6.8]: https://www.rfc-editor.org/rfc/rfc9260#section-6.8
//! [Appendix A]: https://www.rfc-editor.org/rfc/rfc9260#appendix-A
//!
//! Appendix A: "The coefficient of x^31 gives the value of bit 7 of SCTP byte 0, and the coefficient of x^24 gives the value of
//! bit 0 of byte 0." With the reflected CRC32c that everybody computes, this is the 32-bit value stored *little-endian*: the
//! one field of SCTP which is not in network byte order.

use sctp_common::wire::COMMON_HEADER_LENGTH;

/// Where the checksum is in the common header.
pub(crate) const CHECKSUM_AT: usize = 8;

/// The CRC32c of an SCTP packet, computed as if its checksum field were zero.
///
/// "Replace the 32 bits of the checksum field in the received SCTP packet with 0 and calculate a CRC32c checksum value
/// of the whole received packet" (RFC 9260 §6.8). The packet is not written to. Bytes shorter than a common header
/// are not a packet; their plain CRC is returned.
#[inline]
#[must_use]
pub fn compute(packet: &[u8]) -> u32 {
    let Some((header, chunks)) = packet.split_first_chunk::<COMMON_HEADER_LENGTH>() else {
        return crc32c::crc32c(packet);
    };
    let mut header = *header;
    header[CHECKSUM_AT..].fill(0);
    crc32c::crc32c_append(crc32c::crc32c(&header), chunks)
}

/// Whether the checksum of an SCTP packet, which begins with its common header, is right.
///
/// "If it is not, the receiver MUST treat the packet as an invalid SCTP packet" (RFC 9260 §6.8). False for bytes that
/// are too short for a common header.
#[inline]
#[must_use]
pub fn verify_checksum(packet: &[u8]) -> bool {
    let Some(header) = packet.first_chunk::<COMMON_HEADER_LENGTH>() else {
        return false;
    };
    compute(packet) == read(header)
}

/// The checksum field of a common header as a number.
#[inline]
pub(crate) fn read(header: &[u8; COMMON_HEADER_LENGTH]) -> u32 {
    u32::from_le_bytes([header[8], header[9], header[10], header[11]])
}

/// The bytes of the checksum field that hold `checksum`.
#[inline]
pub(crate) fn bytes(checksum: u32) -> [u8; 4] {
    checksum.to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Appendix B.4 of RFC 3720 (iSCSI, the same CRC32c) lists these.
    #[test]
    fn crc32c_vectors() {
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c::crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }

    /// The table-driven procedure of Appendix A, bit by bit, with its own byte order of the result.
    fn appendix_a(packet: &[u8]) -> [u8; 4] {
        let mut register = !0_u32;
        for (at, byte) in packet.iter().enumerate() {
            let byte = if (CHECKSUM_AT..CHECKSUM_AT + 4).contains(&at) { 0 } else { *byte };
            register ^= u32::from(byte);
            for _ in 0..8 {
                register = if register & 1 == 1 { (register >> 1) ^ 0x82f6_3b78 } else { register >> 1 };
            }
        }
        let result = !register;
        // "byte0 = result & 0xff; byte1 = (result>>8) & 0xff; … crc32 = (byte0 << 24) | …; return htonl(crc32)"
        [result as u8, (result >> 8) as u8, (result >> 16) as u8, (result >> 24) as u8]
    }

    //= test RFC 9260 §6.8: "the endpoint MUST strengthen the data integrity of the transmission by including the CRC32c
    //= checksum value"
    #[test]
    fn agrees_with_the_procedure_of_appendix_a() {
        for length in [12_usize, 13, 16, 100, 1460] {
            let packet: Vec<u8> = (0..length).map(|at| (at * 7 + length) as u8).collect();
            assert_eq!(bytes(compute(&packet)), appendix_a(&packet));
        }
    }

    //= test RFC 9260 §6.8: "If it is not, the receiver MUST treat the packet as an invalid SCTP packet."
    #[test]
    fn any_flipped_bit_is_found() {
        let mut packet: Vec<u8> = (0..64).collect();
        let checksum = compute(&packet);
        packet[8..12].copy_from_slice(&bytes(checksum));
        assert!(verify_checksum(&packet));
        for bit in 0..packet.len() * 8 {
            packet[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify_checksum(&packet), "bit {bit}");
            packet[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn too_short_for_a_header_is_not_right() {
        for length in 0..12 {
            assert!(!verify_checksum(&vec![0; length]));
        }
    }
}
