//! The XDP program: one verdict for every frame that a NIC queue delivers.
//!
//! [`judge`] is the list of its steps. What the steps decide by is in `sctp_common` and runs in userspace too; what is
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
mod count;
mod heartbeat;
mod icmp;
mod limit;
mod packet;
mod redirect;
mod report;
mod settings;
mod tables;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_REDIRECT, XDP_TX};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use sctp_common::frame::{Decoded, decode};
use sctp_common::judge::{Claim, admit, find_claim, leave_fragments};
use sctp_common::metadata::RxMetadata;
use sctp_common::verdict::{PassReason, Verdict};

use crate::packet::Packet;
use crate::tables::Maps;

/// Entry point of the program.
#[xdp]
pub(crate) fn sctp_xdp(ctx: XdpContext) -> u32 {
    match decode(&Packet::of(&ctx)) {
        Ok(packet) => conclude(judge(&ctx, &packet::any(packet))),
        Err(Verdict::Pass(PassReason::Icmp)) => icmp::sctp_icmp(ctx.ctx),
        Err(verdict) => conclude(Err(verdict)),
    }
}

/// Decides an SCTP packet's fate, step by step. A step that settles it ends the walk with its verdict.
#[inline(always)]
fn judge(ctx: &XdpContext, packet: &Decoded) -> Result<Verdict, Verdict> {
    let frame = Packet::of(ctx);
    let port = admit(packet, &Maps)?;
    let contents = || answer::contents(ctx, packet);
    let claim = find_claim(&frame, packet, port, &Maps, &settings::steering(), contents)
        .map_err(|verdict| leave_fragments(verdict, settings::policy()))?;
    match claim {
        Claim::Owner(owner) => {
            if let Some(judged) = heartbeat::answer(ctx, packet, &owner) {
                return judged;
            }
            let checksum = settings::checksum_policy().accept(packet, || checksum::compute(ctx, packet))?;
            redirect::to_owner::<true>(ctx, &RxMetadata::new(packet, checksum, owner.slot, owner.generation), &owner)
        }
        Claim::Nobody(answer) if settings::is_silent() => Err(answer.reason.unanswered().into()),
        Claim::Nobody(answer) => {
            settings::checksum_policy().verify(packet, || checksum::compute(ctx, packet))?;
            limit::take(packet)?;
            answer::send(ctx, packet, answer)?;
            Ok(answer.reason.into())
        }
    }
}

/// Counts the verdict and says it in the kernel's words.
#[inline(always)]
fn conclude(judged: Result<Verdict, Verdict>) -> u32 {
    let verdict = judged.unwrap_or_else(|verdict| verdict);
    count::add(verdict);
    match verdict {
        Verdict::Pass(_) => XDP_PASS,
        Verdict::Drop(_) => XDP_DROP,
        Verdict::Redirect(_) => XDP_REDIRECT,
        Verdict::Answer(_) => XDP_TX,
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
