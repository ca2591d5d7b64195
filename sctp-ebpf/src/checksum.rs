//! The packet's CRC32c.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use sctp_common::crc32c::packet_checksum;
use sctp_common::frame::Decoded;
use sctp_common::verdict::Verdict;

use crate::packet::Packet;
use crate::settings;

/// The CRC32c that `packet` should carry, or `None` if it is not all there.
#[inline(always)]
pub(crate) fn compute(ctx: &XdpContext, packet: &Decoded) -> Option<u32> {
    let found = sctp_checksum(ctx.ctx, packet.sctp_offset.into(), packet.sctp_len.into());
    u32::try_from(found).ok()
}

/// CRC32c of the SCTP packet of `length` bytes at offset `at` of the frame; [`UNREADABLE`] if the frame does not hold it.
///
/// It is a global function, which the verifier checks once, for any `at` and `length`. Inlined, its loop would be walked
/// again for each combination of VLAN tags and IP headers that leads to it, and there are more of those than the verifier
/// has patience.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sctp_checksum(ctx: *mut xdp_md, at: u32, length: u32) -> u64 {
    let frame = Packet::of(&XdpContext::new(ctx));
    packet_checksum(&frame, at as usize, length as usize).map_or(UNREADABLE, u64::from)
}

/// Not a CRC: all of those fit 32 bits.
const UNREADABLE: u64 = u64::MAX;

/// The index of the verdict on a packet that is to be answered, with these [packed](Decoded::pack) first and last numbers, if its checksum
/// is not right; `None` if it is.
#[inline(always)]
pub(crate) fn refuse(ctx: &XdpContext, place: u64, rest: u64) -> Option<u32> {
    match sctp_verify(ctx.ctx, place, rest) {
        RIGHT => None,
        index => Some(index),
    }
}

/// [`RIGHT`], or the index of the verdict on the packet with these numbers.
///
/// Whoever answers packets does it after that, not around it: both need much of the stack, and so they have it in turn.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sctp_verify(ctx: *mut xdp_md, place: u64, rest: u64) -> u32 {
    let packet = Decoded::unpack([place, 0, rest]);
    match settings::checksum_policy().verify(&packet, || compute(&XdpContext::new(ctx), &packet)) {
        Ok(_) => RIGHT,
        Err(reason) => Verdict::from(reason).index(),
    }
}

/// No verdict's index.
const RIGHT: u32 = u32::MAX;
