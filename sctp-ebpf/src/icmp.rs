//! ICMP errors: those that quote a packet of an association go to its worker.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use sctp_common::icmp::quotation;
use sctp_common::metadata::RxMetadata;
use sctp_common::verdict::{PassReason, Verdict};

use crate::packet::Packet;
use crate::tables::Maps;
use crate::{index, redirect, settings};

/// Decides the fate of a frame with an ICMP or ICMPv6 message and gives the verdict's index.
///
/// It is a global function for the same reason as [`sctp_checksum`](crate::checksum::sctp_checksum), and so that the program's stack need
/// not have room for both kinds of packet.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sctp_icmp(ctx: *mut xdp_md) -> u32 {
    index(judge(&XdpContext::new(ctx)))
}

#[inline(always)]
fn judge(ctx: &XdpContext) -> Result<Verdict, Verdict> {
    let quotation = quotation(&Packet::of(ctx), settings::udp_port()).ok_or(PassReason::Icmp)?;
    let owner = quotation.find_owner(&Packet::of(ctx), &Maps)?;
    redirect::to_owner::<false>(ctx, &RxMetadata::of_icmp(&quotation, owner.slot, owner.generation), &owner)
}
