//! How often packets out of the blue are answered: token buckets, one for each CPU and one for each CPU and source prefix.
//!
//! The first bounds what a flood costs this host and its network; the second keeps one network's flood from using up the
//! answers for everybody else.

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns};
use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use sctp_common::frame::{Addresses, Decoded};
use sctp_common::limit::{Rate, source_prefix};
use sctp_common::verdict::DropReason;

use crate::settings;

/// This CPU's bucket, and the time.
#[map]
static ANSWERED: PerCpuArray<Answered> = PerCpuArray::with_max_entries(1, 0);

#[repr(C)]
struct Answered {
    /// Until when the bucket is spent.
    spent: u64,
    /// The time of the last tick that this CPU has asked for, and the number of that tick.
    now: u64,
    tick: u64,
}

impl Answered {
    /// The time of the last tick: some milliseconds old, which the burst makes good, and far quicker to be had than the time. The kernel is
    /// asked for it once in a tick; the number of the tick is read without a call.
    #[inline(always)]
    fn now(&mut self) -> u64 {
        // SAFETY: the helper has no preconditions.
        let tick = unsafe { bpf_jiffies64() };
        if tick != self.tick {
            self.tick = tick;
            // SAFETY: as above.
            self.now = unsafe { bpf_ktime_get_coarse_ns() };
        }
        self.now
    }
}

/// The same for source prefixes, each in the place that its hash says. Two that meet in one take turns: the one that comes forgets the
/// other, and with it that its bucket was spent; the CPU's own bucket still counts. An array, since it is read without a call.
#[map]
static ANSWERED_PREFIXES: PerCpuArray<Prefix> = PerCpuArray::with_max_entries(PREFIXES, 0);

const PREFIXES: u32 = 4096;

/// Until when the bucket of a prefix is spent.
#[repr(C)]
struct Prefix {
    prefix: u64,
    spent: u64,
}

/// Takes a token from both buckets, or from neither.
///
/// The CPU's is looked at first, so that a flood from everywhere does not cost an entry in the map for each packet.
#[inline(always)]
pub(crate) fn take(packet: &Decoded, addresses: &Addresses) -> Result<(), DropReason> {
    let ours = ANSWERED.get_ptr_mut(0).ok_or(DropReason::AnswerRate)?;
    // SAFETY: the pointer is to this CPU's own value, which the kernel keeps for the program's life, and XDP programs on one
    // CPU do not interrupt each other.
    let ours = unsafe { &mut *ours };
    let now = ours.now();
    let spent = settings::answers_per_cpu().take(ours.spent, now).ok_or(DropReason::AnswerRate)?;
    let prefix = source_prefix(&addresses.source, packet.is_ipv4);
    take_of_prefix(prefix, settings::answers_per_prefix(), now).ok_or(DropReason::AnswerRate)?;
    ours.spent = spent;
    Ok(())
}

/// Takes a token from the bucket of a prefix, or of a prefix and a purpose: of whatever number.
#[inline(always)]
pub(crate) fn take_of_prefix(prefix: u64, rate: Rate, now: u64) -> Option<()> {
    let theirs = ANSWERED_PREFIXES.get_ptr_mut(settings::place_of_prefix(prefix, PREFIXES))?;
    // SAFETY: the pointer is to this CPU's own value, as above.
    let theirs = unsafe { &mut *theirs };
    let spent = if theirs.prefix == prefix { theirs.spent } else { 0 };
    let spent = rate.take(spent, now)?;
    *theirs = Prefix { prefix, spent };
    Some(())
}
