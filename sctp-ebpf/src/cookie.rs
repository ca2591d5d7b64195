//! State Cookies are checked before they cost a worker anything (RFC 9260 §5.1.5).

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use aya_ebpf::programs::XdpContext;
use sctp_common::cookie::{Age, CookieSettings};
use sctp_common::frame::Decoded;
use sctp_common::verdict::{DropReason, Verdict};

use crate::packet::Packet;
use crate::{GOOD, limit};

/// Userspace sets them when it has drawn the secret.
#[map]
static COOKIES: Array<CookieSettings> = Array::with_max_entries(1, 0);

/// How cookies are made and checked, if userspace has said so.
#[inline(always)]
pub(crate) fn settings() -> Option<&'static CookieSettings> {
    COOKIES.get(0).filter(|settings| settings.epoch != 0)
}

/// Checks the cookie of a [packed](Decoded::pack) packet that begins with a COOKIE ECHO, and gives the index of the verdict on it, or
/// [`GOOD`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sctp_cookie(ctx: *mut xdp_md, place: u64, header: u64, rest: u64) -> u32 {
    match check(&XdpContext::new(ctx), &Decoded::unpack([place, header, rest])) {
        Ok(()) => GOOD,
        Err(reason) => Verdict::from(reason).index(),
    }
}

#[inline(always)]
fn check(ctx: &XdpContext, packet: &Decoded) -> Result<(), DropReason> {
    let Some(settings) = settings() else { return Ok(()) };
    let frame = Packet::of(ctx);
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    match settings.check(&frame, packet, now)? {
        Age::Fresh => Ok(()),
        // Its sender is to be told so, which is an answer like others.
        Age::Stale => {
            let addresses = packet.addresses(&frame).ok_or(DropReason::Truncated)?;
            limit::take(packet, &addresses).map_err(|_| DropReason::StaleCookie)
        }
    }
}
