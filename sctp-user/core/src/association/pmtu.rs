//! The PMTU of each path: probes, black holes, Packet Too Big (RFC 9260 §7.3; RFC 8899; RFC 4820).

use core::net::IpAddr;

use rand::Rng;
use sctp_common::wire::COMMON_HEADER_LENGTH;

use super::paths::HEARTBEAT_INFO;
use super::{Association, Context, Control};
use crate::path::pmtu::{Bounds, Discovery, Due};
use crate::time::Instant;
use crate::wire::{Heartbeat, Pad, Writer};
use crate::{Ecn, Transmit};

/// Bytes of a probe in front of its padding: common header, HEARTBEAT with Heartbeat Info.
const PROBE_HEADER: usize = COMMON_HEADER_LENGTH + 8 + HEARTBEAT_INFO;

impl Association {
    /// The application, or who watches interfaces for it, knows the PMTU of a path. False if the peer has no such address.
    pub(crate) fn set_path_mtu(&mut self, address: IpAddr, mtu: u16, now: Instant) -> bool {
        let Some(at) = self.paths.find(address) else { return false };
        self.paths[at].pmtu = Discovery::settled(self.mtu_bounds(at), now);
        self.paths.set_mtu(at, mtu);
        true
    }

    /// A timer of the discovery has expired.
    pub(super) fn path_mtu_expired(&mut self, at: usize, cx: &mut Context<'_>) {
        let bounds = self.mtu_bounds(at);
        let path = &mut self.paths[at];
        if !self.state.may_heartbeat() || !path.is_active() {
            // Neither a probe nor its loss would tell anything. The next large packet begins anew.
            path.pmtu.stop();
            return;
        }
        match path.pmtu.expired(path.mtu, bounds, cx.now) {
            Due::Probe(_) => {
                path.pmtu.prepare(cx.rng.next_u64(), cx.now);
                self.queue_control(at, Control::PathMtuProbe);
            }
            Due::Lower(mtu) => self.paths.set_mtu(at, mtu),
            Due::Nothing => {}
        }
    }

    //= RFC 9260 §7.3: "An endpoint SHOULD apply these techniques and SHOULD do so on a per-destination-address basis."
    /// Writes a probe: a HEARTBEAT, and a PAD that makes the packet as large as the size that is tried (RFC 8899 §6.2.1.2).
    pub(super) fn write_probe(&mut self, at: usize, now: Instant, buf: &mut [u8]) -> Option<Transmit> {
        let header = self.header();
        let path = &mut self.paths[at];
        let size = usize::from(path.pmtu.probed_size()?) - path.lower_headers();
        let nonce = path.pmtu.probe_sent(now, path.rtt.rto())?;
        // A buffer that is too short for it counts as a path that is: the probe will not be answered.
        let mut writer = Writer::new(buf.get_mut(..size)?, header).ok()?;
        writer.chunk(&Heartbeat { info: &path.heartbeat_info(nonce, now) }).ok()?;
        writer.chunk(&Pad::of(size.checked_sub(PROBE_HEADER)?)?).ok()?;
        let len = writer.finish(self.limits.checksum);
        self.stats.control_chunks_sent += 2;
        let mut transmit = self.transmit(at, len, Ecn::NotEct);
        transmit.fragment_to = None;
        Some(transmit)
    }

    /// A HEARTBEAT ACK may answer a probe: true if it does, and the path takes packets of that size.
    pub(super) fn probe_acknowledged(&mut self, nonce: u64, cx: &mut Context<'_>) -> bool {
        let Some(at) = self.paths.iter().position(|path| path.pmtu.is_probe(nonce)) else { return false };
        let bounds = self.mtu_bounds(at);
        let path = &mut self.paths[at];
        let mtu = path.pmtu.acknowledged(path.mtu, bounds, cx.now);
        self.paths.set_mtu(at, mtu);
        // "A successful probe updates the association and path counters, but an unsuccessful probe is discounted" (RFC 8899 §6.2.1.2).
        self.path_is_good(at, cx);
        true
    }

    /// T3-rtx has expired, and the largest chunk that timed out has `largest` bytes: is it the size?
    pub(super) fn look_for_black_hole(&mut self, at: usize, largest: u32, now: Instant) {
        let bounds = self.mtu_bounds(at);
        let path = &mut self.paths[at];
        let chunk = path.makes_large_packet(largest);
        if path.large.timed_out(chunk) && self.config.path_mtu_discovery {
            let mtu = path.pmtu.black_hole(path.mtu, bounds, now);
            self.paths.set_mtu(at, mtu);
        }
    }

    /// A router has told that a packet of ours to `address` was too big, and what it could have sent on. It has been validated
    /// (RFC 9260 §10, ICMP7).
    pub(crate) fn icmp_too_big(&mut self, address: IpAddr, mtu: u16, now: Instant) {
        let Some(at) = self.paths.find(address) else { return };
        let bounds = self.mtu_bounds(at);
        let path = &mut self.paths[at];
        let mtu = match self.config.path_mtu_discovery {
            true => path.pmtu.packet_too_big(mtu, path.mtu, bounds, now),
            // "PTB messages … MUST NOT be used directly to set the PLPMTU" is for those who can probe (RFC 8899 §4.6.2). Without, the
            // message is all there is (RFC 1191 §3, RFC 8201 §4); it never raises.
            false if mtu < bounds.min => path.mtu,
            false => mtu.min(path.mtu),
        };
        self.paths.set_mtu(at, mtu);
    }

    /// Between which sizes the PLPMTU of a path is, and when a larger one is looked for again.
    fn mtu_bounds(&self, at: usize) -> Bounds {
        let path = &self.paths[at];
        let most = self.limits.max_packet.saturating_add(path.lower_headers() as u16);
        let wanted = self.config.max_path_mtu.unwrap_or(self.config.path_mtu);
        Bounds::new(path.address.is_ipv4(), wanted.min(most), self.config.path_mtu_raise)
    }

    /// A packet of `len` bytes with DATA has been written for a path.
    pub(super) fn data_packet_sent(&mut self, at: usize, len: usize, now: Instant) {
        let path = &mut self.paths[at];
        path.large.last = path.is_large(len);
        if path.large.last && path.pmtu.is_disabled() && self.config.path_mtu_discovery {
            let bounds = self.mtu_bounds(at);
            let path = &mut self.paths[at];
            path.pmtu.start(path.mtu, bounds, now);
        }
    }
}
