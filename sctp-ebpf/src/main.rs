//! The XDP program: one verdict for every frame that a NIC queue delivers.
//!
//! [`judge`] is the list of its steps, and [`unclaimed`] that for packets with no tag of ours. What the steps decide by is in `sctp_common` and runs in userspace too; what is
//! here binds it to packet memory ([`packet`]), to the maps ([`tables`]) and to the helpers that only a program in the
//! kernel has ([`redirect`], [`answer`]).
//!
//! The package also compiles for the host, to nothing useful, so that the usual lints can look at it.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]
// Inline assembly for BPF is not stable; the build needs an unstable compiler anyway, for its own `core`.
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
// Nothing is public but the entry point that the macro `xdp` generates, without documentation.
#![allow(missing_docs)]

mod answer;
mod checksum;
mod cookie;
mod count;
mod heartbeat;
mod icmp;
mod init;
mod limit;
mod packet;
mod redirect;
mod report;
mod sample;
mod settings;
mod tables;
mod udp;
mod unclaimed;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_REDIRECT, XDP_TX};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use sctp_common::frame::{Decoded, decode};
use sctp_common::judge::{Claim, Owner, PackedClaim, Tables as _, find_association};
use sctp_common::maps::policy;
use sctp_common::metadata::RxMetadata;
use sctp_common::reply::is_plain_heartbeat;
use sctp_common::verdict::{Action, PassReason, RedirectReason, Verdict};

use crate::packet::Packet;
use crate::tables::Maps;

/// Entry point of the program.
#[xdp]
pub(crate) fn sctp_xdp(ctx: XdpContext) -> u32 {
    let decoded = match decode(&Packet::of(&ctx)) {
        Ok(packet) => Ok(packet),
        Err(Verdict::Pass(PassReason::Icmp)) => Err(icmp::sctp_icmp(ctx.ctx)),
        Err(Verdict::Pass(PassReason::Udp)) if settings::udp_port() != 0 => udp::decode(&ctx),
        Err(verdict) => Err(verdict.index()),
    };
    let index = match decoded {
        Ok(packet) => judge(&ctx, &packet::any(packet)),
        Err(index) => index,
    };
    conclude(&ctx, index)
}

/// Decides an SCTP packet's fate, step by step: the short way of packets that carry a tag of ours. Gives the verdict's index.
///
/// All other ways are global functions, for the reasons that [`sctp_checksum`](checksum::sctp_checksum) has and because none of them needs
/// room on the stack beside the others. A packet goes to them in three registers.
#[inline(always)]
fn judge(ctx: &XdpContext, packet: &Decoded) -> u32 {
    let may_be_ours = packet.destination_port == 0 || packet.in_udp;
    if !may_be_ours && !Maps.port(packet.destination_port).is_owned() {
        return Verdict::from(PassReason::PortNotOwned).index();
    }
    let [place, header, rest] = packet.pack();
    let Some(owner) = find_association(packet, &Maps) else {
        let owner = match PackedClaim(unclaimed::sctp_unclaimed(ctx.ctx, place, header, rest)).unpack() {
            Ok(Claim::Owner(owner)) => {
                let checked = match owner.reason {
                    RedirectReason::CookieEcho => cookie::sctp_cookie(ctx.ctx, place, header, rest),
                    RedirectReason::Init if settings::policy() & policy::INIT_COOKIES != 0 => {
                        init::sctp_init(ctx.ctx, place, header, rest)
                    }
                    _ => GOOD,
                };
                if checked != GOOD {
                    return checked;
                }
                owner
            }
            Ok(Claim::Nobody(answer)) => {
                let refused = udp::refuse::<true>(ctx, packet).or_else(|| checksum::refuse(ctx, place, rest));
                let answered = match refused {
                    Some(index) => index,
                    None if packet.in_udp => answer::sctp_answer_in_udp(ctx.ctx, place, header, answer.pack()),
                    None => answer::sctp_answer(ctx.ctx, place, header, answer.pack()),
                };
                if !settings::workers_answer() || answered != answer::BY_WORKER {
                    return answered;
                }
                Owner::to_answer(packet, &settings::steering())
            }
            Err(index) => return index,
        };
        return deliver(ctx, packet, &owner);
    };
    if settings::policy() & policy::ANSWER_HEARTBEATS != 0 && is_plain_heartbeat(packet) {
        let answered = heartbeat::sctp_heartbeat(ctx.ctx, place, header, rest);
        if answered != heartbeat::NOT_ANSWERED {
            return answered;
        }
    }
    deliver(ctx, packet, &owner)
}

/// What functions that look at a packet before its owner gets it give for one that it may get: no verdict's index.
pub(crate) const GOOD: u32 = u32::MAX;

/// Gives the frame with `packet` to `owner`, if its checksum is not wrong.
#[inline(always)]
fn deliver(ctx: &XdpContext, packet: &Decoded, owner: &Owner) -> u32 {
    if let Some(index) = udp::refuse::<false>(ctx, packet) {
        return index;
    }
    index(
        settings::checksum_policy().accept(packet, || checksum::compute(ctx, packet)).map_err(Verdict::from).and_then(
            |checksum| {
                let metadata = RxMetadata::new(packet, checksum, owner.slot, owner.generation);
                redirect::to_owner::<true>(ctx, &metadata, owner)
            },
        ),
    )
}

/// The index of a verdict, in which functions tell it to one another.
#[inline(always)]
fn index(judged: Result<Verdict, Verdict>) -> u32 {
    judged.unwrap_or_else(|verdict| verdict).index()
}

/// Counts the verdict, shows the packet if it is dropped and somebody looks, and says the verdict in the kernel's words.
#[inline(always)]
fn conclude(ctx: &XdpContext, index: u32) -> u32 {
    count::add(ctx, index);
    match Verdict::action_at(index) {
        Action::Pass => XDP_PASS,
        Action::Drop => {
            sample::of_drop(ctx, index);
            XDP_DROP
        }
        Action::Redirect => XDP_REDIRECT,
        Action::Answer => XDP_TX,
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}

/// Never reached: the verifier would refuse a program that can.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel's word for a licence that goes with its own, as MIT does. Some of its helpers ask for one.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
