//! HEARTBEATs of live associations, answered without waking their workers (RFC 9260 §8.3).

use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, xdp_md};
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::XdpContext;
use sctp_common::frame::{Addresses, Decoded, Frame as _};
use sctp_common::maps::{HeartbeatEntry, HeartbeatKey};
use sctp_common::metadata::Checksum;
use sctp_common::reply;
use sctp_common::verdict::{AnswerReason, DropReason, Verdict};

use crate::packet::{self, Packet};
use crate::{checksum, index, settings};

/// As many as tags, unless userspace sets another size.
#[map]
static HEARTBEATS: HashMap<HeartbeatKey, HeartbeatEntry> = HashMap::with_max_entries(1 << 16, BPF_F_NO_PREALLOC);

/// What [`sctp_heartbeat`] gives for a packet that goes to its association instead: no verdict's index.
pub(crate) const NOT_ANSWERED: u32 = u32::MAX;

/// Answers a [packed](Decoded::pack) packet, a [plain](reply::is_plain_heartbeat) HEARTBEAT with a tag of ours, if userspace wants it
/// answered here, and gives the verdict's index.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sctp_heartbeat(ctx: *mut xdp_md, place: u64, header: u64, rest: u64) -> u32 {
    answer(&XdpContext::new(ctx), &Decoded::unpack([place, header, rest])).map_or(NOT_ANSWERED, index)
}

#[inline(always)]
fn answer(ctx: &XdpContext, packet: &Decoded) -> Option<Result<Verdict, Verdict>> {
    let frame = Packet::of(ctx);
    let addresses = packet.addresses(&frame)?;
    let key = HeartbeatKey::new(addresses.source, packet.verification_tag, packet.source_port, packet.destination_port);
    let entry = HEARTBEATS.get_ptr_mut(key)?;
    let ethernet = reply::ethernet(frame.read(0)?)?;
    Some(acknowledge(ctx, packet, &addresses, entry, &ethernet))
}

#[inline(always)]
fn acknowledge(
    ctx: &XdpContext,
    packet: &Decoded,
    addresses: &Addresses,
    entry: *mut HeartbeatEntry,
    ethernet: &[u8; 12],
) -> Result<Verdict, Verdict> {
    let checksum = match settings::checksum_policy().verify(packet, || checksum::compute(ctx, packet))? {
        Checksum::Verified => packet.checksum,
        // Accepted without one, on a trusted link.
        _ => checksum::compute(ctx, packet).ok_or(DropReason::NoAnswer)?,
    };
    // SAFETY: the entry is not freed before the program has run (RCU). Userspace writes entries as a whole, and only such as it has
    // not written before; the tag in them never changes.
    let peer_tag = unsafe { (*entry).peer_tag };
    write(&Packet::of(ctx), packet, addresses, checksum, peer_tag, ethernet).ok_or(DropReason::NoAnswer)?;
    // SAFETY: as above; the counter is aligned, and whoever else writes to it at the same time does it like this.
    unsafe { count_one_more(&raw mut (*entry).answered) };
    Ok(AnswerReason::HeartbeatAck.into())
}

#[inline(always)]
fn write(
    frame: &Packet,
    packet: &Decoded,
    addresses: &Addresses,
    checksum: u32,
    peer_tag: u32,
    ethernet: &[u8; 12],
) -> Option<()> {
    let l3 = usize::from(packet.l3_offset);
    let length = usize::from(packet.sctp_len);
    frame.write(0, &packet::words(ethernet))?;
    if packet.is_ipv4 {
        frame.write(l3, &reply::ipv4_header(addresses, length))?;
    } else {
        frame.write(l3, &reply::ipv6_header(addresses, length))?;
    }
    frame.write(usize::from(packet.sctp_offset), &reply::heartbeat_ack(packet, checksum, peer_tag)?)
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
