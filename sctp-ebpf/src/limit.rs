//! How often packets out of the blue are answered: token buckets, one for each CPU and one for each CPU and source prefix.
//!
//! The first bounds what a flood costs this host and its network; the second keeps one network's flood from using up the
//! answers for everybody else.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{LruPerCpuHashMap, PerCpuArray};
use sctp_common::frame::{Addresses, Decoded};
use sctp_common::limit::source_prefix;
use sctp_common::verdict::DropReason;

use crate::settings;

/// Until when this CPU's bucket is spent.
#[map]
static ANSWERED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The same for each source prefix. Of the prefixes that do not fit, the least recently used is forgotten, and with it that
/// its bucket was spent; the CPU's own bucket still counts.
#[map]
static ANSWERED_PREFIXES: LruPerCpuHashMap<u64, u64> = LruPerCpuHashMap::with_max_entries(PREFIXES, 0);

const PREFIXES: u32 = 4096;

/// Takes a token from both buckets, or from neither.
///
/// The CPU's is looked at first, so that a flood from everywhere does not cost an entry in the map for each packet.
#[inline(always)]
pub(crate) fn take(packet: &Decoded, addresses: &Addresses) -> Result<(), DropReason> {
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    let ours = ANSWERED.get_ptr_mut(0).ok_or(DropReason::AnswerRate)?;
    // SAFETY: the pointer is to this CPU's own value, which the kernel keeps for the program's life, and XDP programs on one
    // CPU do not interrupt each other.
    let ours = unsafe { &mut *ours };
    let spent = settings::answers_per_cpu().take(*ours, now).ok_or(DropReason::AnswerRate)?;
    take_of_prefix(source_prefix(&addresses.source, packet.is_ipv4), now)?;
    *ours = spent;
    Ok(())
}

#[inline(always)]
fn take_of_prefix(prefix: u64, now: u64) -> Result<(), DropReason> {
    let rate = settings::answers_per_prefix();
    match ANSWERED_PREFIXES.get_ptr_mut(prefix) {
        Some(theirs) => {
            // SAFETY: the pointer is to this CPU's own value. If the entry is evicted meanwhile, its memory is not given
            // back before the program has run; at worst another prefix inherits what is written.
            let theirs = unsafe { &mut *theirs };
            *theirs = rate.take(*theirs, now).ok_or(DropReason::AnswerRate)?;
            Ok(())
        }
        None => {
            let spent = rate.take(0, now).ok_or(DropReason::AnswerRate)?;
            ANSWERED_PREFIXES.insert(prefix, spent, 0).map_err(|_| DropReason::AnswerRate)
        }
    }
}
