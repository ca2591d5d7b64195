//! Log lines for rare events that point to a fault in set-up.
//!
//! They go to userspace through aya-log's ring, at most one per [`INTERVAL_NS`] and CPU. With the level set below
//! "warn" the verifier removes them; the counters count in any case.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::macro_support::{Level, level_enabled};
use aya_log_ebpf::warn;

/// When this CPU may log again, in nanoseconds of the monotonic clock.
#[map]
static NEXT_REPORT: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// A packet's owner has no socket on the packet's queue.
#[inline(always)]
pub(crate) fn no_socket(ctx: &XdpContext, queue: u32, worker: u16) {
    if may_report() {
        warn!(ctx, "worker {} has no AF_XDP socket on queue {}", worker, queue);
    }
}

/// The driver has left no room for metadata in front of a frame.
#[inline(always)]
pub(crate) fn no_metadata(ctx: &XdpContext) {
    if may_report() {
        warn!(ctx, "interface {} leaves no room for XDP metadata", ctx.ingress_ifindex() as u32);
    }
}

#[inline(always)]
fn may_report() -> bool {
    if !level_enabled(Level::Warn) {
        return false;
    }
    let Some(next) = NEXT_REPORT.get_ptr_mut(0) else { return false };
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: the pointer is to this CPU's own value, and XDP programs on one CPU do not interrupt each other.
    let next = unsafe { &mut *next };
    if now < *next {
        return false;
    }
    *next = now + INTERVAL_NS;
    true
}

const INTERVAL_NS: u64 = 100_000_000;
