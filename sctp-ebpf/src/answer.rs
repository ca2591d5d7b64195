//! Answers to packets out of the blue: the frame becomes its own answer and goes back by the interface that it came by.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::bpf_xdp_adjust_tail;
use aya_ebpf::programs::XdpContext;
use sctp_common::frame::{Addresses, Decoded, ETHERNET_HEADER_LENGTH, Frame as _, UdpHeader};
use sctp_common::reply::{self, Answer, IPV4_WORDS, IPV6_WORDS, SHORTEST_FRAME, UDP_IPV4_WORDS, UDP_IPV6_WORDS};
use sctp_common::rules::Contents;
use sctp_common::verdict::{DropReason, RedirectReason, Verdict};

use crate::packet::{self, Packet};
use crate::{index, limit, settings};

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

/// Answers a [packed](Decoded::pack) packet that nobody owns, and whose checksum is [not wrong](crate::checksum::refuse), with a packed
/// [`Answer`], if there have not been too many answers, and gives the verdict's index: [`BY_WORKER`] where workers answer.
///
/// The packet's last number is not asked for: for arguments that are not used the compiler passes anything, and the verifier objects.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sctp_answer(ctx: *mut xdp_md, place: u64, header: u64, answer: u64) -> u32 {
    index(give::<false>(&XdpContext::new(ctx), &Decoded::unpack([place, header, 0]), Answer::unpack(answer)))
}

/// The same for a packet that came in UDP, whose UDP header is sound.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sctp_answer_in_udp(ctx: *mut xdp_md, place: u64, header: u64, answer: u64) -> u32 {
    index(give::<true>(&XdpContext::new(ctx), &Decoded::unpack([place, header, 0]), Answer::unpack(answer)))
}

#[inline(always)]
fn give<const IN_UDP: bool>(ctx: &XdpContext, packet: &Decoded, answer: Answer) -> Result<Verdict, Verdict> {
    let addresses = packet.addresses(&Packet::of(ctx)).ok_or(DropReason::NoAnswer)?;
    limit::take(packet, &addresses)?;
    if settings::workers_answer() {
        return Ok(RedirectReason::ToBeAnswered.into());
    }
    send::<IN_UDP>(ctx, packet, &addresses, answer)?;
    Ok(answer.reason.into())
}

/// Makes the frame the answer to `packet`, which it held.
#[inline(always)]
fn send<const IN_UDP: bool>(
    ctx: &XdpContext,
    packet: &Decoded,
    addresses: &Addresses,
    answer: Answer,
) -> Result<(), DropReason> {
    let l3 = usize::from(packet.l3_offset);
    let frame = Packet::of(ctx);
    let ethernet = reply::ethernet(frame.read(0).ok_or(DropReason::NoAnswer)?).ok_or(DropReason::NonUnicast)?;
    // What is answered is about to be cut off and written over.
    let udp = if IN_UDP { packet.udp(&frame).ok_or(DropReason::NoAnswer)? } else { UdpHeader::default() };
    let words = match (packet.is_ipv4, IN_UDP) {
        (true, false) => IPV4_WORDS,
        (false, false) => IPV6_WORDS,
        (true, true) => UDP_IPV4_WORDS,
        (false, true) => UDP_IPV6_WORDS,
    };
    let end = cut(ctx, l3 + words * 4)?;
    let frame = Packet::of(ctx);
    frame.write(0, &packet::words(&ethernet)).ok_or(DropReason::NoAnswer)?;
    let written = if IN_UDP {
        write_in_udp(&frame, packet, addresses, udp, answer)
    } else {
        write(&frame, packet, addresses, answer)
    };
    written.ok_or(DropReason::NoAnswer)?;
    pad(&frame, l3 + words * 4..end).ok_or(DropReason::NoAnswer)
}

/// Cuts the frame off after `length` bytes, or at [`SHORTEST_FRAME`] if that is more and the frame has as many. Gives the
/// new length.
#[inline(always)]
fn cut(ctx: &XdpContext, length: usize) -> Result<usize, DropReason> {
    let present = Packet::of(ctx).len();
    let kept = if present < SHORTEST_FRAME { length } else { length.max(SHORTEST_FRAME) };
    // SAFETY: `ctx.ctx` is the context that the program was called with.
    if kept != present && unsafe { bpf_xdp_adjust_tail(ctx.ctx, kept as i32 - present as i32) } != 0 {
        return Err(DropReason::NoAnswer);
    }
    Ok(kept)
}

#[inline(always)]
fn write(frame: &Packet, packet: &Decoded, addresses: &Addresses, answer: Answer) -> Option<()> {
    let l3 = usize::from(packet.l3_offset);
    if packet.is_ipv4 {
        frame.write(l3, &reply::ipv4(packet, addresses, answer))
    } else {
        frame.write(l3, &reply::ipv6(packet, addresses, answer))
    }
}

#[inline(always)]
fn write_in_udp(frame: &Packet, packet: &Decoded, addresses: &Addresses, udp: UdpHeader, answer: Answer) -> Option<()> {
    let l3 = usize::from(packet.l3_offset);
    if packet.is_ipv4 {
        frame.write(l3, &reply::udp_ipv4(packet, addresses, udp, answer))
    } else {
        frame.write(l3, &reply::udp_ipv6(packet, addresses, udp, answer))
    }
}

/// Fills up the frame with zeros.
#[inline(always)]
fn pad(frame: &Packet, padding: core::ops::Range<usize>) -> Option<()> {
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
