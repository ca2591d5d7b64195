//! SCTP in UDP (RFC 6951).

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use sctp_common::frame::{Decoded, decode_udp};
use sctp_common::udp::sum;
use sctp_common::verdict::Verdict;
use sctp_common::wire::UDP_HEADER_LENGTH;

use crate::packet::Packet;
use crate::settings;

/// Finds the SCTP packet in a frame that carries UDP. The error is the index of the verdict on one that has none for us.
#[inline(always)]
pub(crate) fn decode(ctx: &XdpContext) -> Result<Decoded, u32> {
    let place = sctp_udp(ctx.ctx);
    if place < DECODED {
        return Err(place as u32);
    }
    Decoded::read(&Packet::of(ctx), place).map_err(|reason| Verdict::from(reason).index())
}

/// The first number of the [packed](Decoded::pack) packet, which is [`DECODED`] at least, or the index of the verdict, which is less. The
/// rest is in the frame.
///
/// It is a global function for the same reason as [`sctp_checksum`](crate::checksum::sctp_checksum).
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sctp_udp(ctx: *mut xdp_md) -> u64 {
    match decode_udp(&Packet::of(&XdpContext::new(ctx)), settings::udp_port()) {
        Ok(packet) => {
            let [place, _, _] = packet.pack();
            place
        }
        Err(verdict) => verdict.index().into(),
    }
}

/// Less than the place of any packet in UDP, whose flag is a higher bit, and more than any index.
const DECODED: u64 = 1 << 32;

/// The index of the verdict on a packet in UDP whose UDP header is not sound; `None` if it is. `THOROUGH`: the checksum is verified whatever
/// the packet's length, because the packet is to be answered.
#[inline(always)]
pub(crate) fn refuse<const THOROUGH: bool>(ctx: &XdpContext, packet: &Decoded) -> Option<u32> {
    if !packet.in_udp {
        return None;
    }
    let [place, _, _] = packet.pack();
    match sctp_udp_verify(ctx.ctx, place, THOROUGH.into()) {
        SOUND => None,
        index => Some(index),
    }
}

/// [`SOUND`], or the index of the verdict on the packet whose [packed](Decoded::pack) first number is `place`, and whose UDP header is not
/// sound. The other numbers are not asked for: for arguments that are not used the compiler passes anything, and the verifier objects.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sctp_udp_verify(ctx: *mut xdp_md, place: u64, thorough: u64) -> u32 {
    let packet = Decoded::unpack([place, 0, 0]);
    let policy = settings::checksum_policy();
    let policy = if thorough != 0 { policy.thorough() } else { policy };
    let frame = Packet::of(&XdpContext::new(ctx));
    let sum = || u16::try_from(sctp_udp_sum(ctx, packet.udp_offset() as u32, packet.sctp_len.into())).ok();
    match policy.verify_udp(&frame, &packet, sum) {
        Ok(()) => SOUND,
        Err(reason) => Verdict::from(reason).index(),
    }
}

/// No verdict's index.
const SOUND: u32 = u32::MAX;

/// The ones'-complement sum over the UDP header at offset `at` of the frame and the `length` bytes behind it; [`UNREADABLE`] if the frame
/// does not hold them.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sctp_udp_sum(ctx: *mut xdp_md, at: u32, length: u32) -> u32 {
    let frame = Packet::of(&XdpContext::new(ctx));
    // Not more than a packet can have: the sum of the two stays far from the end of what the verifier follows.
    let (at, length) = (at as u16 as usize, length as u16 as usize);
    sum(&frame, at, length + UDP_HEADER_LENGTH).map_or(UNREADABLE, u32::from)
}

/// Not a sum: all of those fit 16 bits.
const UNREADABLE: u32 = u32::MAX;
