//! Packets that no association claims by its tag: out of the blue, or for whoever sets up associations (RFC 9260 §8.4).

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use sctp_common::frame::Decoded;
use sctp_common::judge::{Claim, PackedClaim, admit, find_claim, leave_fragments};
use sctp_common::verdict::{DropReason, Verdict};

use crate::packet::Packet;
use crate::tables::Maps;
use crate::{answer, settings};

/// Finds out whose a [packed](Decoded::pack) packet is, and gives a [`PackedClaim`].
///
/// What follows from that is not done from here, so that it can have the stack to itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sctp_unclaimed(ctx: *mut xdp_md, place: u64, header: u64, rest: u64) -> u64 {
    PackedClaim::new(judge(&XdpContext::new(ctx), &Decoded::unpack([place, header, rest]))).0
}

#[inline(always)]
fn judge(ctx: &XdpContext, packet: &Decoded) -> Result<Claim, Verdict> {
    let frame = Packet::of(ctx);
    let addresses = packet.addresses(&frame).ok_or(DropReason::Truncated)?;
    let port = admit(packet, &addresses, &Maps)?;
    let contents = || answer::contents(ctx, packet);
    let claim = find_claim(&frame, packet, &addresses, port, &Maps, &settings::steering(), contents)
        .map_err(|verdict| leave_fragments(verdict, settings::policy()))?;
    match claim {
        Claim::Nobody(answer) if settings::is_silent() => Err(answer.reason.unanswered().into()),
        claim => Ok(claim),
    }
}
