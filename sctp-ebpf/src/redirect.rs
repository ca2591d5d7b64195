//! The last step: metadata in front of the frame, and the frame to its owner's socket.

use aya_ebpf::bindings::xdp_action::XDP_DROP;
use aya_ebpf::helpers::bpf_xdp_adjust_meta;
use aya_ebpf::macros::map;
use aya_ebpf::maps::XskMap;
use aya_ebpf::programs::XdpContext;
use sctp_common::judge::Owner;
use sctp_common::maps::{policy, socket_index};
use sctp_common::metadata::RxMetadata;
use sctp_common::verdict::{DropReason, Verdict};

use crate::{report, settings};

/// One socket for each queue and worker. Userspace sets the size when it knows how many those are.
#[map]
static XSKS: XskMap = XskMap::with_max_entries(64, 0);

/// Redirects the frame, with `metadata` in front of it, to the socket that `owner`'s worker has bound to the queue that the frame came by.
///
/// `REPORT`: failures are logged, which takes stack, besides being counted.
#[inline(always)]
pub(crate) fn to_owner<const REPORT: bool>(
    ctx: &XdpContext,
    metadata: &RxMetadata,
    owner: &Owner,
) -> Result<Verdict, Verdict> {
    if !prepend(ctx, metadata) && settings::policy() & policy::WITHOUT_METADATA == 0 {
        if REPORT {
            report::no_metadata(ctx);
        }
        return Err(DropReason::NoMetadata.into());
    }
    let queue = ctx.rx_queue_index();
    // The low bits of the flags are what the helper returns if the slot is empty.
    match XSKS.redirect(socket_index(queue, owner.worker, settings::workers()), XDP_DROP.into()) {
        Ok(_) => Ok(owner.reason.into()),
        Err(_) => {
            if REPORT {
                report::no_socket(ctx, queue, owner.worker);
            }
            Err(DropReason::NoSocket.into())
        }
    }
}

/// Writes `metadata` directly in front of the frame, in the place of any that is there already, which is only for
/// whoever would have got the frame otherwise. False if the driver leaves no room.
#[inline(always)]
fn prepend(ctx: &XdpContext, metadata: &RxMetadata) -> bool {
    let present = ctx.metadata_end() as i32 - ctx.metadata() as i32;
    // SAFETY: `ctx.ctx` is the context that the program was called with.
    if unsafe { bpf_xdp_adjust_meta(ctx.ctx, present - RxMetadata::SIZE as i32) } != 0 {
        return false;
    }
    let start = ctx.metadata();
    if start + RxMetadata::SIZE > ctx.metadata_end() {
        return false;
    }
    // SAFETY: the bytes from `start` are metadata area up to the frame's first byte, as has just been checked (and as the
    // verifier checks again); the kernel keeps that area at multiples of four, which is the struct's alignment.
    unsafe { (start as *mut RxMetadata).write(*metadata) };
    true
}
