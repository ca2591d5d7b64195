//! One counter per verdict and reason, per queue and CPU.

use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::XdpContext;
use sctp_common::maps::{counter_index, counters};

use crate::settings;

/// Userspace sets the size when it knows how many queues there are.
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counters(0), 0);

/// Counts the verdict that has `index` for the queue that the frame came by.
#[inline(always)]
pub(crate) fn add(ctx: &XdpContext, index: u32) {
    if let Some(counter) = COUNTERS.get_ptr_mut(counter_index(ctx.rx_queue_index(), settings::queues(), index)) {
        // SAFETY: the pointer is to this CPU's own value, which the kernel keeps for the program's life, and XDP
        // programs on one CPU do not interrupt each other.
        unsafe { *counter += 1 };
    }
}
