//! The UDP checksum of SCTP in UDP (RFC 768, RFC 8200 §8.1, RFC 6951 §5.3).

use crate::frame::{Addresses, Decoded, Frame, MAX_SCTP_LENGTH, Words as _};
use crate::wire::{IPPROTO_UDP, UDP_HEADER_LENGTH};

/// The ones'-complement sum (RFC 1071) of the 16-bit words of the `length` bytes at offset `at` of `frame`, a last odd byte filled up
/// with zero. `None` if the frame does not have them, or if they are longer than a packet that is judged.
#[inline(always)]
#[must_use]
pub fn sum<F: Frame + ?Sized>(frame: &F, at: usize, length: usize) -> Option<u16> {
    if length > MAX_SCTP_LENGTH + UDP_HEADER_LENGTH {
        return None;
    }
    // Words are taken least significant byte first, and the sum swapped at last: it is the same sum (RFC 1071 §2 B).
    let mut sum = 0_u64;
    let mut at = at;
    let mut left = length;
    for _ in 0..=MAX_SCTP_LENGTH / BLOCK {
        if left < BLOCK {
            break;
        }
        let block = frame.words::<BLOCK>(at)?;
        sum += halves(block.word::<0>()) + halves(block.word::<8>());
        sum += halves(block.word::<16>()) + halves(block.word::<24>());
        at += BLOCK;
        left -= BLOCK;
    }
    for _ in 0..BLOCK / 2 {
        if left < 2 {
            break;
        }
        sum += u64::from(u16::from_le_bytes(frame.read(at)?));
        at += 2;
        left -= 2;
    }
    if left == 1 {
        // Packet memory is read by words: with the byte before, which nobody lacks who has lower headers.
        let [_, last] = frame.read(at.checked_sub(1)?)?;
        sum += u64::from(last);
    }
    Some(fold(sum).swap_bytes())
}

/// Whether `sum`, over UDP header and payload of `packet`, makes with the pseudo header what a right checksum makes.
#[inline(always)]
#[must_use]
pub const fn is_right(packet: &Decoded, between: &Addresses, sum: u16) -> bool {
    let length = packet.sctp_len as u64 + UDP_HEADER_LENGTH as u64;
    fold(addresses(between) + length + IPPROTO_UDP as u64 + sum as u64) == 0xffff
}

/// The checksum of a packet whose pseudo header, UDP header and payload have this sum, not folded, the checksum field counted as 0:
/// never 0, which means that there is none.
#[inline(always)]
#[must_use]
pub const fn checksum(sum: u64) -> u16 {
    match !fold(sum) {
        0 => 0xffff,
        checksum => checksum,
    }
}

/// The sum of source and destination address, not folded, as both pseudo headers have it (RFC 768, RFC 8200 §8.1), or such that it is folded to the same.
#[inline(always)]
pub(crate) const fn addresses(between: &Addresses) -> u64 {
    let (source, destination) = (u128::from_be_bytes(between.source), u128::from_be_bytes(between.destination));
    // An IPv4-mapped address has ones in front of it, whose sum is no other than zero's.
    words_of((source >> 64) as u64)
        + words_of(source as u64)
        + words_of((destination >> 64) as u64)
        + words_of(destination as u64)
}

/// The sum of the two halves of a word.
#[inline(always)]
const fn halves(word: u64) -> u64 {
    (word & 0xffff_ffff) + (word >> 32)
}

/// The sum of the four 16-bit words of a word.
#[inline(always)]
const fn words_of(word: u64) -> u64 {
    (word >> 48) + (word >> 32 & 0xffff) + (word >> 16 & 0xffff) + (word & 0xffff)
}

/// A sum below 2^48, as one of 16 bits.
#[inline(always)]
const fn fold(sum: u64) -> u16 {
    let sum = halves(sum);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// So many bytes are read at a time.
const BLOCK: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{decode_udp, samples};
    use crate::judge::ChecksumPolicy;
    use crate::verdict::DropReason;

    /// The sum as RFC 1071 §4.1 has it.
    fn plain(bytes: &[u8]) -> u16 {
        let mut sum: u32 = 0;
        for word in bytes.chunks(2) {
            sum += u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    proptest! {
        #[test]
        fn the_sum_is_that_of_rfc_1071(bytes in proptest::collection::vec(any::<u8>(), 0..700), at in 1..9_usize) {
            prop_assume!(at <= bytes.len());
            prop_assert_eq!(sum(bytes.as_slice(), at, bytes.len() - at), Some(plain(&bytes[at..])));
            prop_assert_eq!(sum(bytes.as_slice(), at, bytes.len() - at + 1), None);
        }
    }

    #[test]
    fn the_longest_packet_can_be_summed_and_no_longer_one() {
        let bytes = vec![0xff; 9300];
        assert_eq!(sum(bytes.as_slice(), 3, 9224), Some(0xffff));
        assert_eq!(sum(bytes.as_slice(), 3, 9225), None);
    }

    fn verify(frame: &[u8], policy: ChecksumPolicy) -> Result<(), DropReason> {
        let packet = decode_udp(frame, samples::UDP_PORT).unwrap();
        policy.verify_udp(frame, &packet, || {
            sum(frame, packet.udp_offset(), usize::from(packet.sctp_len) + UDP_HEADER_LENGTH)
        })
    }

    const STRICT: ChecksumPolicy = ChecksumPolicy { trusted_link: false, verify_up_to: u32::MAX };

    #[test]
    fn checksums_and_ports() {
        for (frame, at, is_ipv4) in [(samples::udp_ipv4(), 34, true), (samples::udp_ipv6(), 54, false)] {
            let with = |change: &dyn Fn(&mut [u8])| {
                let mut frame = frame.clone();
                change(&mut frame);
                frame
            };
            assert_eq!(verify(&frame, STRICT), Ok(()));
            let none = with(&|frame| frame[at + 6..at + 8].fill(0));
            assert_eq!(verify(&none, STRICT), if is_ipv4 { Ok(()) } else { Err(DropReason::UdpZeroChecksum) });
            let port_zero = with(&|frame| frame[at..at + 2].fill(0));
            assert_eq!(verify(&port_zero, STRICT), Err(DropReason::UdpPortZero));
            // Addresses, port, and payload are covered.
            for wrong in [at - 1, at, at + 7, frame.len() - 1] {
                let mut wrong_frame = frame.clone();
                wrong_frame[wrong] ^= 4;
                if is_ipv4 {
                    samples::repair(&mut wrong_frame[14..]);
                }
                assert_eq!(verify(&wrong_frame, STRICT), Err(DropReason::UdpChecksum), "byte {wrong}");
                let trusted = ChecksumPolicy { trusted_link: true, ..STRICT };
                assert_eq!(verify(&wrong_frame, trusted), Ok(()));
                let later = ChecksumPolicy { verify_up_to: 31, ..STRICT };
                assert_eq!(verify(&wrong_frame, later), Ok(()), "whoever receives it verifies it");
                assert_eq!(verify(&wrong_frame, later.thorough()), Err(DropReason::UdpChecksum));
            }
        }
    }

    #[test]
    fn a_checksum_is_never_zero() {
        assert_eq!(checksum(0xffff), 0xffff);
        assert_eq!(checksum(0xfffe), 1);
        assert_eq!(checksum(0x1_2345_6789), !0x8acf);
    }
}
