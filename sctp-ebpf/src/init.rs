//! INITs that are answered here, under load or always, so that a flood of them costs no worker anything (RFC 9260 §5.1.3).
//!
//! What is answered, and with what, is in [`sctp_common::init`]. Its steps are global functions that take turns with the stack, since each of
//! them needs much of it; what one finds out for another is in [`KEPT`].

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::generated::{
    bpf_get_prandom_u32, bpf_ktime_get_coarse_ns, bpf_xdp_adjust_tail, bpf_xdp_store_bytes,
};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray};
use aya_ebpf::programs::XdpContext;
use sctp_common::cookie::ADDRESS_LENGTH;
use sctp_common::frame::{Addresses, Decoded, Frame as _};
use sctp_common::init::{self, Ack, Announced, Draw, Init, Keep, MAX_LISTED, MAX_REPORTS, Offer, Walk};
use sctp_common::judge::Tables as _;
use sctp_common::limit::{Rate, source_prefix};
use sctp_common::maps::{self, policy};
use sctp_common::reply;
use sctp_common::verdict::{AnswerReason, DropReason, Verdict};

use crate::packet::{self, Packet};
use crate::tables::Maps;
use crate::{GOOD, checksum, cookie, limit, settings, udp};

/// What listeners offer. Userspace sets them.
#[map]
static OFFERS: Array<Offer> = Array::with_max_entries(maps::OFFERS, 0);

/// Our addresses. Userspace sets them, and until then nothing is answered: its offers have no window.
#[map]
static ANNOUNCED: Array<Announced> = Array::with_max_entries(1, 0);

/// Until when this CPU's buckets are spent.
#[map]
static INITS: PerCpuArray<u64> = PerCpuArray::with_max_entries(3, 0);

/// Which bucket an INIT that goes to a worker takes a token from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bucket {
    /// That of all INITs.
    Common = 0,
    /// That of those that only a worker can answer.
    Strangers = 1,
    /// That of those that concern an association which there is.
    Living = 2,
}

/// What has been read of the INIT that this CPU is about to answer.
#[map]
static KEPT: PerCpuArray<Kept> = PerCpuArray::with_max_entries(1, 0);

#[repr(C)]
struct Kept {
    fixed: Fixed,
    addresses: [[u64; 2]; MAX_LISTED],
    reports: [u32; MAX_REPORTS / 4],
}

/// What the answer takes from fields of a fixed place, or from nowhere.
#[repr(C)]
struct Fixed {
    asked: Init,
    drawn: Draw,
    /// Creation time and lifespan of the cookie.
    moment: [u64; 2],
}

/// The same as the decisions want it.
struct Here(*mut Kept);

impl Keep for Here {
    #[inline(always)]
    fn address(&self, place: usize) -> [u8; 16] {
        // SAFETY: the pointer is to this CPU's own value, which the kernel keeps for the program's life, and XDP programs on one CPU do not
        // interrupt each other. The place is within.
        let [first, last] = unsafe { (*self.0).addresses[place & (MAX_LISTED - 1)] };
        (u128::from(first) | u128::from(last) << 64).to_le_bytes()
    }

    #[inline(always)]
    fn keep_address(&mut self, place: usize, address: [u8; 16]) {
        let value = u128::from_le_bytes(address);
        // SAFETY: as above.
        unsafe { (*self.0).addresses[place & (MAX_LISTED - 1)] = [value as u64, (value >> 64) as u64] };
    }

    #[inline(always)]
    fn keep_report(&mut self, at: usize, word: [u8; 4]) {
        // SAFETY: as above.
        unsafe { (*self.0).reports[(at / 4) & (MAX_REPORTS / 4 - 1)] = u32::from_ne_bytes(word) };
    }
}

/// What becomes of a [packed](Decoded::pack) packet that is an INIT for a worker: [`GOOD`] if the worker is to have it, else the index of
/// the verdict.
///
/// Below the rate at which INITs are answered here nothing is looked at, and all go to workers.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sctp_init(ctx: *mut xdp_md, place: u64, header: u64, rest: u64) -> u32 {
    let always = settings::policy() & policy::ALWAYS_INIT_COOKIES != 0;
    if !always && sctp_init_bucket(ctx, place, Bucket::Common as u64) == GOOD {
        return GOOD;
    }
    let context = XdpContext::new(ctx);
    let packet = Decoded::unpack([place, header, rest]);
    if let Some(index) = udp::refuse::<true>(&context, &packet).or_else(|| checksum::refuse(&context, place, rest)) {
        return index;
    }
    let walk = sctp_init_read(ctx, place, header, rest);
    if Walk(walk).is_answerable() {
        let ack = sctp_init_plan(ctx, place, header, walk);
        if ack != 0 && sctp_init_head(ctx, place, header, ack) == GOOD {
            return match finish(&context, [place, header], ack) {
                Some(()) => Verdict::from(AnswerReason::InitAck).index(),
                None => Verdict::from(DropReason::NoAnswer).index(),
            };
        }
    }
    if always && sctp_init_bucket(ctx, place, Bucket::Common as u64) == GOOD {
        return GOOD;
    }
    let bucket = if Walk(walk).is_living() { Bucket::Living } else { Bucket::Strangers };
    sctp_init_bucket(ctx, place, bucket as u64)
}

/// [`GOOD`] if there is a token for the INIT whose [packed](Decoded::pack) first number is `place` in a [`Bucket`], else the index of the
/// verdict.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sctp_init_bucket(ctx: *mut xdp_md, place: u64, bucket: u64) -> u32 {
    let packet = Decoded::unpack([place, 0, 0]);
    match take(&XdpContext::new(ctx), &packet, bucket) {
        Some(()) => GOOD,
        None => Verdict::from(DropReason::InitRate).index(),
    }
}

#[inline(always)]
fn take(ctx: &XdpContext, packet: &Decoded, bucket: u64) -> Option<()> {
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    let spent = INITS.get_ptr_mut(bucket as u32)?;
    // SAFETY: the pointer is to this CPU's own value, as above.
    let spent = unsafe { &mut *spent };
    if bucket == Bucket::Common as u64 {
        *spent = settings::inits_per_cpu().take(*spent, now)?;
        return Some(());
    }
    // The network's first: while it has sent few, the CPU's is not used up by others who send many.
    let addresses = packet.addresses(&Packet::of(ctx))?;
    let prefix = source_prefix(&addresses.source, packet.is_ipv4) | bucket << 1;
    limit::take_of_prefix(prefix, Rate::SPARE_INITS_PER_PREFIX, now)?;
    *spent = Rate::SPARE_INITS_PER_CPU.take(*spent, now)?;
    Some(())
}

/// The [`Walk`] through the INIT that a [packed](Decoded::pack) packet is.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sctp_init_read(ctx: *mut xdp_md, place: u64, header: u64, rest: u64) -> u64 {
    let packet = Decoded::unpack([place, header, rest]);
    let frame = Packet::of(&XdpContext::new(ctx));
    let Some(addresses) = packet.addresses(&frame) else { return u64::MAX };
    let step = |at: u32, head: u32, walk: Walk| {
        Walk(sctp_init_parameter(ctx, place, header, u64::from(at) << 32 | u64::from(head), walk.0))
    };
    init::read(&frame, &packet, &addresses, &Maps, step).0
}

/// The [`Walk`] after the parameter whose offset, type and length are the halves and quarters of `parameter`.
///
/// It is a global function so that the verifier looks at one parameter, not at all that there may be in all orders.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sctp_init_parameter(
    ctx: *mut xdp_md,
    place: u64,
    header: u64,
    parameter: u64,
    walk: u64,
) -> u64 {
    let packet = Decoded::unpack([place, header, 0]);
    let frame = Packet::of(&XdpContext::new(ctx));
    let Some(kept) = KEPT.get_ptr_mut(0) else { return u64::MAX };
    let (at, head) = ((parameter >> 32) as u32, parameter as u32);
    init::parameter(&frame, &packet, at, head, Walk(walk), &Maps, &mut Here(kept)).0
}

/// The [packed](Ack::pack) answer to the INIT that a [packed](Decoded::pack) packet is, after this [`Walk`]; 0 if only a worker can answer.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sctp_init_plan(ctx: *mut xdp_md, place: u64, header: u64, walk: u64) -> u64 {
    let packet = Decoded::unpack([place, header, 0]);
    plan(&XdpContext::new(ctx), &packet, Walk(walk)).map_or(0, Ack::pack)
}

#[inline(always)]
fn plan(ctx: &XdpContext, packet: &Decoded, walk: Walk) -> Option<Ack> {
    if settings::workers_answer() {
        return None;
    }
    let frame = Packet::of(ctx);
    let asked = Init::read(&frame, packet)?;
    reply::ethernet(frame.read(0)?)?;
    let cookies = cookie::settings()?;
    // SAFETY: the helpers have no preconditions.
    let (now, number) = unsafe { (bpf_ktime_get_coarse_ns(), bpf_get_prandom_u32()) };
    let drawn = Draw::new(&cookies.draws, now, number, packet, asked.tag);
    if !drawn.is_usable(packet.destination_port, &Maps) {
        return None;
    }
    let moment = [cookies.time(now), Ack::lifespan(walk, cookies)];
    let kept = KEPT.get_ptr_mut(0)?;
    // SAFETY: the pointer is to this CPU's own value, as above.
    unsafe { (*kept).fixed = Fixed { asked, drawn, moment } };
    let announced = ANNOUNCED.get_ptr(0)?;
    // SAFETY: the pointer is to the map's value, which lives as long as the program. Userspace writes it as a whole.
    Ack::new(packet, walk, offer(packet)?, unsafe { &(*announced).lengths })
}

/// What the listener offers that `packet` is for.
#[inline(always)]
fn offer(packet: &Decoded) -> Option<&'static Offer> {
    OFFERS.get(Maps.port(packet.destination_port).offer()?)
}

/// Makes the frame as long as the [packed](Ack::pack) answer to the INIT that it held, and writes the headers and the fixed fields. [`GOOD`]
/// if the driver lets it; else the frame is as it was.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sctp_init_head(ctx: *mut xdp_md, place: u64, header: u64, ack: u64) -> u32 {
    let packet = Decoded::unpack([place, header, 0]);
    head(&XdpContext::new(ctx), &packet, &Ack::unpack(ack)).map_or(0, |()| GOOD)
}

#[inline(always)]
fn head(ctx: &XdpContext, packet: &Decoded, ack: &Ack) -> Option<()> {
    let frame = Packet::of(ctx);
    let addresses = packet.addresses(&frame)?;
    let ethernet = reply::ethernet(frame.read(0)?)?;
    let at = sctp_at(packet);
    // Not narrowed before it is a number: the verifier has no differences of pointers in 32 bits.
    let (present, _) = Packet::in_order(frame.len() as u64, 0);
    let longer = (at + ack.sctp_length()) as i64 - present as i64;
    // SAFETY: `ctx.ctx` is the context that the program was called with.
    if unsafe { bpf_xdp_adjust_tail(ctx.ctx, longer as i32) } != 0 {
        return None;
    }
    let frame = Packet::of(ctx);
    let l3 = usize::from(packet.l3_offset);
    frame.write(0, &packet::words(&ethernet))?;
    if packet.is_ipv4 {
        frame.write(l3, &reply::ipv4_header(&addresses, ack.sctp_length()))?;
    } else {
        frame.write(l3, &reply::ipv6_header(&addresses, ack.sctp_length()))?;
    }
    let kept = KEPT.get_ptr(0)?;
    // SAFETY: the pointer is to this CPU's own value, as above.
    let Fixed { asked, drawn, .. } = unsafe { &(*kept).fixed };
    frame.write(at, &ack.head(packet, asked, offer(packet)?, *drawn))
}

/// Writes the fixed part of the cookie into the [packed](Ack::pack) answer to a [packed](Decoded::pack) packet. [`GOOD`] if it fits.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sctp_init_cookie(ctx: *mut xdp_md, place: u64, header: u64, ack: u64) -> u32 {
    let packet = Decoded::unpack([place, header, 0]);
    fixed_cookie(&XdpContext::new(ctx), &packet, &Ack::unpack(ack)).map_or(0, |()| GOOD)
}

#[inline(always)]
fn fixed_cookie(ctx: &XdpContext, packet: &Decoded, ack: &Ack) -> Option<()> {
    let frame = Packet::of(ctx);
    // They have changed places.
    let Addresses { source: destination, destination: source } = packet.addresses(&frame)?;
    let kept = KEPT.get_ptr(0)?;
    // SAFETY: the pointer is to this CPU's own value, as above.
    let Fixed { asked, drawn, moment } = unsafe { &(*kept).fixed };
    let addresses = Addresses { source, destination };
    let words = ack.cookie(packet, &addresses, asked, offer(packet)?, *drawn, *moment);
    frame.write(sctp_at(packet) + Ack::COOKIE_AT, &words)
}

/// Writes what is left of the [packed](Ack::pack) answer to a [packed](Decoded::pack) packet.
#[inline(always)]
fn finish(ctx: &XdpContext, [place, header]: [u64; 2], ack: u64) -> Option<()> {
    let at = sctp_at(&Decoded::unpack([place, header, 0]));
    let done = sctp_init_cookie(ctx.ctx, place, header, ack) == GOOD
        && (!Ack::unpack(ack).has_more() || sctp_init_fill(ctx.ctx, at as u64, ack) == GOOD)
        && sctp_init_seal(ctx.ctx, at as u64, ack) == GOOD;
    if !done {
        return None;
    }
    let crc = checksum::sctp_checksum(ctx.ctx, at as u32, Ack::unpack(ack).sctp_length() as u32);
    // The checksum goes least significant byte first.
    Packet::of(ctx).write(at + 8, &[u32::try_from(crc).ok()?.swap_bytes()])
}

/// Writes the addresses and the reports into the [packed](Ack::pack) answer at offset `at`. [`GOOD`] if they fit.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sctp_init_fill(ctx: *mut xdp_md, at: u64, ack: u64) -> u32 {
    fill(&XdpContext::new(ctx), at as usize & 0xffff, &Ack::unpack(ack)).map_or(0, |()| GOOD)
}

#[inline(always)]
fn fill(ctx: &XdpContext, at: usize, ack: &Ack) -> Option<()> {
    let kept = KEPT.get_ptr_mut(0)?;
    let frame = Packet::of(ctx);
    for place in 0..MAX_LISTED {
        // As where they were kept.
        if place >= Packet::in_order(ack.further.into(), 0).0 as usize {
            break;
        }
        let value = u128::from_be_bytes(Here(kept).address(place));
        let words = [(value >> 96) as u32, (value >> 64) as u32, (value >> 32) as u32, value as u32];
        frame.write(at + Ack::FURTHER_AT + place * ADDRESS_LENGTH, &words)?;
    }
    if ack.ecn {
        frame.write(at + ack.ecn_at(), &[Ack::ECN])?;
    }
    if ack.list_length != 0 {
        let announced = ANNOUNCED.get_ptr_mut(0)?;
        // SAFETY: the pointer is to the map's value, which lives as long as the program, and the place is within.
        let list = unsafe { &raw mut (*announced).lists[usize::from(ack.list & 3)] };
        copy::<{ Announced::MAX_LENGTH }>(ctx, at + ack.list_at(), list.cast(), ack.list_length)?;
    }
    if ack.reports != 0 {
        // SAFETY: the pointer is to this CPU's own value, as above.
        let reports = unsafe { &raw mut (*kept).reports };
        copy::<MAX_REPORTS>(ctx, at + ack.reports_at(), reports.cast(), ack.reports)?;
    }
    Some(())
}

/// Copies `length` bytes from a map's value, which has `MOST` there, to offset `at` of the frame.
#[inline(always)]
fn copy<const MOST: usize>(ctx: &XdpContext, at: usize, from: *mut c_void, length: u8) -> Option<()> {
    // Of a number that the compiler knows from elsewhere it would compare another copy than the one that the helper gets; and of one that
    // is not 0 older verifiers do not know that it is at least 1.
    let (others, _) = Packet::in_order(u64::from(length).wrapping_sub(1), 0);
    if others >= MOST as u64 {
        return None;
    }
    // SAFETY: `ctx.ctx` is the context that the program was called with, and the bytes are those of a map's value, as the verifier sees, too.
    let outcome = unsafe { bpf_xdp_store_bytes(ctx.ctx, at as u32, from, others as u32 + 1) };
    if outcome == 0 { Some(()) } else { None }
}

/// Writes the cookie's MAC into the [packed](Ack::pack) answer at offset `at`. [`GOOD`] if it is there.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sctp_init_seal(ctx: *mut xdp_md, at: u64, ack: u64) -> u32 {
    seal(&XdpContext::new(ctx), at as usize & 0xffff, &Ack::unpack(ack)).map_or(0, |()| GOOD)
}

#[inline(always)]
fn seal(ctx: &XdpContext, at: usize, ack: &Ack) -> Option<()> {
    let frame = Packet::of(ctx);
    let [first, last] = cookie::settings()?.seal(&frame, at + Ack::COOKIE_AT, ack.further)?;
    let words = [first as u32, (first >> 32) as u32, last as u32, (last >> 32) as u32];
    let [a, b, c, d] = words;
    frame.write(at + ack.mac_at(), &[a.swap_bytes(), b.swap_bytes(), c.swap_bytes(), d.swap_bytes()])
}

/// Where the SCTP packet of an answer to `packet` begins: behind an IP header without options or extension headers.
#[inline(always)]
fn sctp_at(packet: &Decoded) -> usize {
    usize::from(packet.l3_offset) + if packet.is_ipv4 { 20 } else { 40 }
}
