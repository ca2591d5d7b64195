//! Answers to packets out of the blue: the frame becomes its own answer and goes back by the interface that it came by.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::bpf_xdp_adjust_tail;
use aya_ebpf::programs::XdpContext;
use sctp_common::frame::{Addresses, Decoded, ETHERNET_HEADER_LENGTH, Frame as _};
use sctp_common::reply::{self, Answer, IPV4_WORDS, IPV6_WORDS, SHORTEST_FRAME};
use sctp_common::rules::Contents;
use sctp_common::verdict::{DropReason, RedirectReason, Verdict};

use crate::packet::{self, Packet};
use crate::{checksum, index, limit, settings};

/// Which chunks `packet` has.
#[inline(always)]
pub(crate) fn contents(ctx: &XdpContext, packet: &Decoded) -> Contents {
    Contents::from_bits(sctp_contents(ctx.ctx, packet.sctp_offset.into(), packet.sctp_len.into()))
}

/// The [`Contents`] of the SCTP packet of `length` bytes at offset `at` of the frame.
///
/// It is a global function for the same reason as [`sctp_checksum`](crate::checksum::sctp_checksum).
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sctp_contents(ctx: *mut xdp_md, at: u32, length: u32) -> u32 {
    let frame = Packet::of(&XdpContext::new(ctx));
    // Not more than a packet can have: the sum of the two stays far from the end of what the verifier follows.
    Contents::of(&frame, at as u16 as usize, length as u16 as usize).bits()
}

/// The verdict on a packet that is to be answered by a worker.
pub(crate) const BY_WORKER: u32 = Verdict::Redirect(RedirectReason::ToBeAnswered).index();

/// Answers a [packed](Decoded::pack) packet that nobody owns with a packed [`Answer`], if its checksum is right and there have not been
/// too many answers, and gives the verdict's index: [`BY_WORKER`] where workers answer.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sctp_answer(ctx: *mut xdp_md, place: u64, header: u64, rest: u64, answer: u64) -> u32 {
    index(give(&XdpContext::new(ctx), &Decoded::unpack([place, header, rest]), Answer::unpack(answer)))
}

#[inline(always)]
fn give(ctx: &XdpContext, packet: &Decoded, answer: Answer) -> Result<Verdict, Verdict> {
    settings::checksum_policy().verify(packet, || checksum::compute(ctx, packet))?;
    let addresses = packet.addresses(&Packet::of(ctx)).ok_or(DropReason::NoAnswer)?;
    limit::take(packet, &addresses)?;
    if settings::workers_answer() {
        return Ok(RedirectReason::ToBeAnswered.into());
    }
    send(ctx, packet, &addresses, answer)?;
    Ok(answer.reason.into())
}

/// Makes the frame the answer to `packet`, which it held.
#[inline(always)]
fn send(ctx: &XdpContext, packet: &Decoded, addresses: &Addresses, answer: Answer) -> Result<(), DropReason> {
    let l3 = usize::from(packet.l3_offset);
    let frame = Packet::of(ctx);
    let ethernet = reply::ethernet(frame.read(0).ok_or(DropReason::NoAnswer)?).ok_or(DropReason::NonUnicast)?;
    let words = if packet.is_ipv4 { IPV4_WORDS } else { IPV6_WORDS };
    let end = cut(ctx, l3 + words * 4)?;
    let frame = Packet::of(ctx);
    write(&frame, packet, addresses, answer, &ethernet, l3 + words * 4..end).ok_or(DropReason::NoAnswer)
}

/// Cuts the frame off after `length` bytes, or at [`SHORTEST_FRAME`] if that is more and the frame has as many. Gives the
/// new length.
#[inline(always)]
fn cut(ctx: &XdpContext, length: usize) -> Result<usize, DropReason> {
    let present = Packet::of(ctx).len();
    let kept = if present < SHORTEST_FRAME { length } else { length.max(SHORTEST_FRAME) };
    // SAFETY: `ctx.ctx` is the context that the program was called with.
    if unsafe { bpf_xdp_adjust_tail(ctx.ctx, kept as i32 - present as i32) } != 0 {
        return Err(DropReason::NoAnswer);
    }
    Ok(kept)
}

#[inline(always)]
fn write(
    frame: &Packet,
    packet: &Decoded,
    addresses: &Addresses,
    answer: Answer,
    ethernet: &[u8; 12],
    padding: core::ops::Range<usize>,
) -> Option<()> {
    let l3 = usize::from(packet.l3_offset);
    frame.write(0, &packet::words(ethernet))?;
    if packet.is_ipv4 {
        frame.write(l3, &reply::ipv4(packet, addresses, answer))?;
    } else {
        frame.write(l3, &reply::ipv6(packet, addresses, answer))?;
    }
    let mut at = padding.start;
    for _ in 0..MAX_PADDING / 2 {
        if at >= padding.end {
            break;
        }
        frame.clear(at)?;
        at += 2;
    }
    Some(())
}

/// An answer over IPv4 without VLAN tags has the most.
const MAX_PADDING: usize = SHORTEST_FRAME - ETHERNET_HEADER_LENGTH - IPV4_WORDS * 4;
