//! One counter per verdict and reason, per CPU.

use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use sctp_common::verdict::Verdict;

#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Verdict::COUNT, 0);

/// Counts the verdict that has `index`.
#[inline(always)]
pub(crate) fn add(index: u32) {
    if let Some(counter) = COUNTERS.get_ptr_mut(index) {
        // SAFETY: the pointer is to this CPU's own value, which the kernel keeps for the program's life, and XDP
        // programs on one CPU do not interrupt each other.
        unsafe { *counter += 1 };
    }
}
