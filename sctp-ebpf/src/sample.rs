//! Dropped packets, shown to userspace while somebody looks.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray, RingBuf};
use aya_ebpf::programs::XdpContext;
use sctp_common::frame::Frame as _;
use sctp_common::sample::{CAPTURED, Sample, Sampling, Watch};

use crate::packet::Packet;
use crate::settings;

/// Which drops are wanted.
#[map]
static WATCH: Array<Watch> = Array::with_max_entries(1, 0);

/// Samples on their way: some 1600 of them.
#[map]
static DROPS: RingBuf = RingBuf::with_byte_size(1 << 18, 0);

/// What each CPU knows of its sampling.
#[map]
static SAMPLING: PerCpuArray<Sampling> = PerCpuArray::with_max_entries(1, 0);

/// Shows the frame, which is dropped with the verdict that has `index`, if somebody looks. While nobody does, that costs one load.
#[inline(always)]
pub(crate) fn of_drop(ctx: &XdpContext, index: u32) {
    let Some(watch) = WATCH.get_ptr(0) else { return };
    // SAFETY: the pointer is to the map's only value, which lives as long as the program. Userspace writes it meanwhile, word by word, and
    // whichever of two words is read is one that it wrote.
    if unsafe { (&raw const (*watch).until).read_volatile() } != 0 {
        sctp_sample(ctx.ctx, index);
    }
}

/// A global function: verified once, whatever led to it, with a stack of its own.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sctp_sample(ctx: *mut xdp_md, index: u32) -> u32 {
    u32::from(show(&XdpContext::new(ctx), index).is_some())
}

#[inline(always)]
fn show(ctx: &XdpContext, index: u32) -> Option<()> {
    let watch = WATCH.get(0)?;
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    if now >= watch.until || !watch.wants(index) {
        return None;
    }
    let sampling = SAMPLING.get_ptr_mut(0)?;
    // SAFETY: the pointer is to this CPU's own value, which the kernel keeps for the program's life, and XDP programs on one CPU do not
    // interrupt each other.
    let sampling = unsafe { &mut *sampling };
    let spent = settings::samples_per_cpu().take(sampling.spent, now);
    let room = spent.and_then(|_| DROPS.reserve::<Sample>(0));
    let (Some(spent), Some(mut room)) = (spent, room) else {
        sampling.left_out += 1;
        return None;
    };
    sampling.spent = spent;
    let frame = Packet::of(ctx);
    let sample = room.as_mut_ptr();
    // SAFETY: the pointer is to a whole sample in the ring, aligned to eight bytes, which nobody else touches before it is submitted.
    unsafe {
        (&raw mut (*sample).time).write(now);
        (&raw mut (*sample).interface).write(ctx.ingress_ifindex() as u32);
        (&raw mut (*sample).queue).write(ctx.rx_queue_index());
        (&raw mut (*sample).length).write(frame.len() as u32);
        (&raw mut (*sample).verdict).write(index as u16);
        (&raw mut (*sample).captured).write(copy(&frame, (&raw mut (*sample).frame).cast()) as u16);
    }
    room.submit(0);
    Some(())
}

/// Copies the beginning of the frame to `to`, and gives how many bytes: an even number.
///
/// # Safety
///
/// [`CAPTURED`] bytes can be written from `to`, which is a multiple of eight.
#[inline(always)]
unsafe fn copy(frame: &Packet, to: *mut u8) -> usize {
    let mut at = 0;
    while at < CAPTURED {
        let Some(word) = frame.read::<8>(at) else { break };
        // SAFETY: `at` is a multiple of eight below [`CAPTURED`], which is one too.
        unsafe { to.add(at).cast::<u64>().write(u64::from_ne_bytes(word)) };
        at += 8;
    }
    if at == CAPTURED {
        return at;
    }
    if let Some(word) = frame.read::<4>(at) {
        // SAFETY: eight bytes are left, and `at` is a multiple of eight.
        unsafe { to.add(at).cast::<u32>().write(u32::from_ne_bytes(word)) };
        at += 4;
    }
    if let Some(word) = frame.read::<2>(at) {
        // SAFETY: four bytes are left, and `at` is a multiple of four.
        unsafe { to.add(at).cast::<u16>().write(u16::from_ne_bytes(word)) };
        at += 2;
    }
    at
}
