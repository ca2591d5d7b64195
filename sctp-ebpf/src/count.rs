//! One counter per verdict and reason, per CPU.

use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use sctp_common::verdict::Verdict;

#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Verdict::COUNT, 0);

/// Counts `verdict`.
#[inline(always)]
pub(crate) fn add(verdict: Verdict) {
    if let Some(counter) = COUNTERS.get_ptr_mut(verdict.index()) {
        // SAFETY: the pointer is to this CPU's own value, which the kernel keeps for the program's life, and XDP
        // programs on one CPU do not interrupt each other.
        unsafe { *counter += 1 };
    }
}
