//! HEARTBEATs of live associations, answered without waking their workers (RFC 9260 §8.3).

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::XdpContext;
use sctp_common::frame::{Decoded, Frame as _};
use sctp_common::judge::Owner;
use sctp_common::maps::{HeartbeatEntry, HeartbeatKey, policy};
use sctp_common::reply;
use sctp_common::verdict::{AnswerReason, DropReason, RedirectReason, Verdict};

use crate::packet::{self, Packet};
use crate::{checksum, settings};

/// As many as tags, unless userspace sets another size.
#[map]
static HEARTBEATS: HashMap<HeartbeatKey, HeartbeatEntry> = HashMap::with_max_entries(1 << 16, BPF_F_NO_PREALLOC);

/// Answers `packet`, which `owner` has, if it is a HEARTBEAT that userspace wants answered here. `None` if it is not.
#[inline(always)]
pub(crate) fn answer(ctx: &XdpContext, packet: &Decoded, owner: &Owner) -> Option<Result<Verdict, Verdict>> {
    if settings::policy() & policy::ANSWER_HEARTBEATS == 0 || !reply::is_plain_heartbeat(packet) {
        return None;
    }
    if !matches!(owner.reason, RedirectReason::Association) {
        return None;
    }
    let key = HeartbeatKey::new(packet.source, packet.verification_tag, packet.source_port, packet.destination_port);
    let entry = HEARTBEATS.get_ptr_mut(key)?;
    let addresses = reply::ethernet(Packet::of(ctx).read(0)?)?;
    Some(acknowledge(ctx, packet, entry, &addresses))
}

#[inline(always)]
fn acknowledge(
    ctx: &XdpContext,
    packet: &Decoded,
    entry: *mut HeartbeatEntry,
    addresses: &[u8; 12],
) -> Result<Verdict, Verdict> {
    settings::checksum_policy().verify(packet, || checksum::compute(ctx, packet))?;
    // SAFETY: the entry is not freed before the program has run (RCU). Userspace writes entries as a whole, and only such as it has
    // not written before; the tag in them never changes.
    let peer_tag = unsafe { (*entry).peer_tag };
    write(&Packet::of(ctx), packet, peer_tag, addresses).ok_or(DropReason::NoAnswer)?;
    let crc = checksum::compute(ctx, packet).ok_or(DropReason::NoAnswer)?;
    let at = usize::from(packet.sctp_offset) + 8;
    // The checksum goes least significant byte first.
    Packet::of(ctx).write(at, &[crc.swap_bytes()]).ok_or(DropReason::NoAnswer)?;
    // SAFETY: as above; the counter is aligned, and whoever else writes to it at the same time does it like this.
    unsafe { count_one_more(&raw mut (*entry).answered) };
    Ok(AnswerReason::HeartbeatAck.into())
}

#[inline(always)]
fn write(frame: &Packet, packet: &Decoded, peer_tag: u32, addresses: &[u8; 12]) -> Option<()> {
    let l3 = usize::from(packet.l3_offset);
    let length = usize::from(packet.sctp_len);
    frame.write(0, &packet::words(addresses))?;
    if packet.is_ipv4 {
        frame.write(l3, &reply::ipv4_header(packet, length))?;
    } else {
        frame.write(l3, &reply::ipv6_header(packet, length))?;
    }
    frame.write(usize::from(packet.sctp_offset), &reply::heartbeat_ack(packet, peer_tag))
}

/// Adds one to a counter that other CPUs count at the same time.
///
/// One instruction, spelled out: the compiler offers no such operation for this target.
///
/// # Safety
///
/// `counter` points to an aligned value in a map that outlives the program's run.
#[cfg(target_arch = "bpf")]
#[inline(always)]
unsafe fn count_one_more(counter: *mut u64) {
    // SAFETY: the caller vouches for the memory; no stack is used.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({} + 0) += {}",
            in(reg) counter,
            in(reg) 1_u64,
            options(nostack, preserves_flags),
        );
    }
}

/// The same for the host, which compiles this package only to lint it.
///
/// # Safety
///
/// As above.
#[cfg(not(target_arch = "bpf"))]
unsafe fn count_one_more(counter: *mut u64) {
    use core::sync::atomic::{AtomicU64, Ordering};
    // SAFETY: the caller vouches for the memory.
    unsafe { AtomicU64::from_ptr(counter) }.fetch_add(1, Ordering::Relaxed);
}
