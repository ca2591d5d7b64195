//! Packets out: which path is next, and what goes into its packet (RFC 9260 §6.1, §6.2, §6.10).
//!
//! A packet is for one path. Control chunks choose it first, then DATA, then a SACK that is due; and once it is chosen,
//! everything that may go along does: control chunks, SACK, DATA to be sent again, new DATA.

use std::collections::VecDeque;

use sctp_common::wire::COMMON_HEADER_LENGTH;

use super::control::{Bundle, SACK_HEADER};
use super::sender::WindowProbe;
use super::state::State;
use super::{Association, Control, QueuedControl};
use crate::congestion::Controller;
use crate::data::outstanding::{DATA_CHUNK_HEADER, OutboundChunk};
use crate::serial::Tsn;
use crate::time::Instant;
use crate::wire::{CommonHeader, CookieEcho, Cwr, DataFlags, DataHeader, Ecne, Emit as _, Sack, Writer, padded};
use crate::{Ecn, Transmit};

/// A message that is cut anyway is not cut into less than this to fill up a packet.
const MIN_FRAGMENT: usize = 512;

/// A retransmission timeout below this could expire before a peer sends a SACK that it delays (200 ms, §16).
const SHORT_RTO: core::time::Duration = core::time::Duration::from_millis(250);

/// The DATA of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrote {
    Nothing,
    /// All of it for the first time.
    New,
    /// Some of it has been sent before: not ECN-capable, so that a congested router drops it (RFC 3168 §6.1.5).
    Again,
}

impl Association {
    /// Writes the next packet, if there is one to be sent now.
    pub(crate) fn poll_transmit(&mut self, now: Instant, buf: &mut [u8]) -> Option<Transmit> {
        if self.receiver.owes_sacks()
            && let Some(transmit) = self.write_owed_sack(buf)
        {
            return Some(transmit);
        }
        loop {
            // Without control chunks it is known already whether there is DATA for the path.
            let (path, with_data) = match self.control.front() {
                Some(QueuedControl { path, chunk: Control::PathMtuProbe, .. }) => {
                    let path = *path;
                    self.control.pop_front();
                    if let Some(transmit) = self.write_probe(path, now, buf) {
                        return Some(transmit);
                    }
                    continue;
                }
                Some(queued) => (queued.path, None),
                None => match self.data_path(now) {
                    Some(path) => (path, Some(true)),
                    None if self.receiver.sack.due && self.may_sack() => (self.sack_path(), Some(false)),
                    None => {
                        self.sending_stopped(now);
                        return None;
                    }
                },
            };
            if let Some((len, ecn)) = self.write_packet(path, with_data, now, buf) {
                return Some(self.transmit(path, len, ecn));
            }
            // The control chunk at the front has no space even in a packet of its own. (Nothing else gets so far without some.)
            if self.control.pop_front().is_none() {
                debug_assert!(false, "there was something to send, and space");
                self.sending_stopped(now);
                return None;
            }
        }
    }

    /// Starts T3-rtx of a path if it does not run (§6.3.2 R1).
    pub(super) fn start_t3(&mut self, path: usize, now: Instant) {
        //= RFC 9260 §6.1: "if the T3-rtx timer of that address is not currently running, the sender MUST start that
        //= timer"
        //= RFC 9260 §6.1: "Otherwise, the data sender MUST NOT restart the timer."
        if self.paths[path].t3.is_none() {
            self.paths[path].t3 = Some(now + self.t3_interval(path));
        }
    }

    /// How long T3-rtx runs: the RTO; longer while probes of a closed window are answered but not taken (§6.1 A).
    //= RFC 9260 §6.1: "When starting or restarting the T3-rtx timer, the timer value SHOULD be adjusted according to
    //= the timer rules"
    //= RFC 9260 §6.1: "SHOULD increase the probe interval exponentially afterwards"
    //= RFC 9260 §6.3.3: "The RTO to be used for starting T3-rtx SHOULD be the one for the destination address to which
    //= the retransmission is sent"
    pub(super) fn t3_interval(&self, path: usize) -> core::time::Duration {
        let rto = self.paths[path].rtt.rto();
        match self.sender.probe {
            WindowProbe::Sent { count, .. } | WindowProbe::Closed { count, .. } => {
                rto.saturating_mul(1 << count.min(16)).min(self.config.rto_max.max(rto))
            }
            _ => rto,
        }
    }

    /// Whether new DATA waits that the peer has no space for.
    pub(super) fn window_is_closed(&self) -> bool {
        self.next_new_len().is_some_and(|len| len > self.sender.peer_window())
    }

    /// A packet of `len` bytes has been written for a path.
    pub(super) fn transmit(&mut self, path: usize, len: usize, ecn: Ecn) -> Transmit {
        self.stats.packets_sent += 1;
        self.stats.bytes_sent += len as u64;
        //= RFC 9260 §6.9: "Instead, if the PMTU has been reduced, then IP fragmentation MUST be used."
        let fragment_to = (len > self.paths.max_packet(path)).then_some(self.paths[path].mtu);
        let path = &self.paths[path];
        //= RFC 9260 §5.1.2: "The receiver SHOULD use only these transport addresses as destination transport addresses
        //= when sending subsequent packets to its peer."
        Transmit {
            source: path.source,
            destination: path.address,
            encapsulation: path.encapsulation,
            len,
            ecn,
            fragment_to,
            association: Some(self.id),
        }
    }

    /// Writes a SACK that should have been sent between packets of a batch that has come. The last one, which is due now, goes the
    /// usual way.
    fn write_owed_sack(&mut self, buf: &mut [u8]) -> Option<Transmit> {
        let owed = self.receiver.pop_owed().filter(|_| self.may_sack())?;
        let path = self.sack_path();
        let max = self.paths.max_packet(path).min(buf.len());
        let mut writer = Writer::new(&mut buf[..max], self.header()).ok()?;
        let (blocks, duplicates) =
            owed.details.as_deref().map_or((&[][..], &[][..]), |(blocks, duplicates)| (blocks, duplicates));
        //= RFC 9260 §6.2: "The SCTP endpoint MUST report as many Gap Ack Blocks as can fit in a single SACK chunk"
        let room = writer.remaining().checked_sub(SACK_HEADER + 4 * duplicates.len())?;
        let blocks = &blocks[..blocks.len().min(room / 4)];
        let sack = Sack {
            cumulative_tsn_ack: owed.cumulative,
            a_rwnd: owed.a_rwnd,
            gap_ack_blocks: blocks.iter().copied(),
            duplicate_tsns: duplicates.iter().copied(),
        };
        writer.chunk(&sack).ok()?;
        self.stats.sacks_sent += 1;
        self.stats.control_chunks_sent += 1;
        if let Some(lowest_tsn) = self.echo() {
            // Should it not fit beside so many Gap Ack Blocks, the SACK that is due now has it.
            let _ = writer.chunk(&Ecne { lowest_tsn });
        }
        let len = writer.finish(self.limits.checksum);
        Some(self.transmit(path, len, Ecn::NotEct))
    }

    /// The largest packet for a path: its PMTU; but DATA that was cut before that shrank cannot be cut again (§6.9), and neither can a
    /// COOKIE ECHO, which is as long as the peer wants it.
    fn max_packet(&self, path: usize) -> usize {
        let max = self.paths.max_packet(path);
        if let Some(QueuedControl { path: first, chunk: Control::CookieEcho, .. }) = self.control.front()
            && let State::CookieEchoed(echoed) = &self.state
            && *first == path
        {
            let chunk = CookieEcho { cookie: &echoed.cookie };
            return max.max(COMMON_HEADER_LENGTH + padded(chunk.length()));
        }
        match self.sender.outstanding.first_lost() {
            Some((_, chunk)) if self.control.is_empty() && self.retransmission_path(chunk) == path => {
                max.max(COMMON_HEADER_LENGTH + chunk.size() as usize)
            }
            _ => max,
        }
    }

    /// Writes a packet; gives its length and ECN codepoint. `with_data` says whether DATA goes along, if that is known.
    fn write_packet(
        &mut self,
        path: usize,
        with_data: Option<bool>,
        now: Instant,
        buf: &mut [u8],
    ) -> Option<(usize, Ecn)> {
        //= RFC 9260 §6.10: "The total size of the resultant SCTP packet MUST be less that or equal to the current
        //= PMTU."
        let max = self.max_packet(path).min(buf.len());
        let is_init = matches!(self.control.front(), Some(QueuedControl { chunk: Control::Init, .. }));
        let header = self.header();
        //= RFC 9260 §3.1: "A packet containing an INIT chunk MUST have a zero Verification Tag."
        //= RFC 9260 §8.5.1: "The sender MUST set the Verification Tag of the packet to 0."
        let header = if is_init { CommonHeader { verification_tag: 0, ..header } } else { header };
        let mut writer = Writer::new(&mut buf[..max], header).ok()?;

        //= RFC 9260 §6: "Control chunks MUST come before DATA chunks in the packet."
        //= RFC 9260 §6.10: "When bundling control chunks with DATA chunks, an endpoint MUST place control chunks first
        //= in the outbound SCTP packet."
        let bundle = self.write_control(path, &mut writer, now);
        let mut ecn = Ecn::NotEct;
        let mut wrote_data = false;
        if bundle != Bundle::Closed {
            let with_cookie = bundle == Bundle::CookieEcho;
            let with_data = match with_cookie {
                true if self.cookie_echo_goes_alone() => false,
                true => self.sender.outstanding.has_lost() || !self.sender.queue.is_empty(),
                false => with_data.unwrap_or_else(|| self.data_path(now) == Some(path)),
            };
            let sacked = !with_cookie && self.write_sack(path, with_data, &mut writer);
            if with_data {
                if let Some(ecn) = &mut self.ecn
                    && let Some(lowest_tsn) = ecn.cwr
                    && writer.chunk(&Cwr { lowest_tsn }).is_ok()
                {
                    ecn.cwr = None;
                }
                let wrote = self.write_data(path, with_cookie, &mut writer, now);
                if wrote == Wrote::New && self.ecn.is_some() && !with_cookie {
                    ecn = Ecn::Ect0;
                }
                wrote_data = wrote != Wrote::Nothing;
                if sacked {
                    self.receiver.sacked(wrote_data);
                }
            } else if sacked {
                self.receiver.sacked(false);
            }
        }
        if writer.is_empty() {
            return None;
        }
        let len = writer.finish(self.limits.checksum);
        if wrote_data {
            self.data_packet_sent(path, len, now);
        }
        Some((len, ecn))
    }

    /// Fills the packet with DATA: first what is to be sent again (§6.1 C), then what is new.
    fn write_data(&mut self, path: usize, with_cookie: bool, writer: &mut Writer<'_>, now: Instant) -> Wrote {
        let before = writer.len();
        if self.sender.outstanding.flight(path).bytes == 0 {
            //= RFC 9260 §6.1: "Also note that the cwnd SHOULD be adjusted according to Section 7.2.1."
            self.paths[path].decay(now);
        }
        //= RFC 9260 §6.1: "before sending new DATA chunks, the sender MUST first transmit any DATA chunks that are
        //= marked for retransmission"
        //= RFC 9260 §6.10: "The transmitter MUST transmit DATA chunks within an SCTP packet in increasing order of
        //= TSN."
        let all_again = self.write_lost(path, writer, now);
        let mut wrote = Wrote::New;
        if writer.len() > before {
            wrote = Wrote::Again;
            self.paths[path].fast_retransmit = false;
        }
        // What is sent again may ignore cwnd (§7.2.4 item 3); what is new may not, though it would fit the packet (§6.1 B).
        let may_new = with_cookie
            || (path == self.new_data_path()
                && self.paths[path].has_window(self.sender.outstanding.flight(path).bytes));
        if all_again && may_new {
            let again = writer.len();
            self.write_new(path, with_cookie, writer, now);
            if writer.len() > again {
                self.sender.burst = self.sender.burst.saturating_sub(1);
                self.paths[path].last_measured = now;
            }
        }
        if writer.len() == before {
            return Wrote::Nothing;
        }
        self.paths[path].last_data = now;
        self.keep_pace(path, writer.len(), now);
        if !with_cookie {
            self.start_t3(path, now);
        }
        wrote
    }

    /// A packet of `len` bytes with DATA is being sent: with pacing, the next has to wait for its turn.
    fn keep_pace(&mut self, path: usize, len: usize, now: Instant) {
        let burst = self.paths.max_packet(path).saturating_mul(self.config.max_burst as usize);
        let path = &mut self.paths[path];
        if let (Some(pacer), Some(srtt)) = (&mut path.pacer, path.rtt.srtt()) {
            pacer.sent(now, len, path.controller.window(), srtt, burst);
        }
    }

    /// Writes chunks that are marked for retransmission and go to `path`. True if none is left.
    fn write_lost(&mut self, path: usize, writer: &mut Writer<'_>, now: Instant) -> bool {
        while let Some((tsn, chunk)) = self.sender.outstanding.first_lost() {
            if self.retransmission_path(chunk) != path || writer.remaining() < chunk.size() as usize {
                return false;
            }
            let fast = !chunk.timed_out() && chunk.fast_retransmitted();
            if !write_chunk(writer, chunk, tsn, self.wants_sack_at_once()) {
                return false;
            }
            self.stats.data_chunks_retransmitted += 1;
            self.stats.fast_retransmits += u64::from(fast);
            self.sender.outstanding.retransmit_first(path as u8);
            // Karn's algorithm, and its sharper form: what was sent after a chunk that is sent again measures nothing (§6.3.1 C5).
            //= RFC 9260 §6.3.1: "RTT measurements MUST NOT be made using chunks that were retransmitted"
            //= RFC 9260 §6.3.1: "RTT measurements SHOULD only be made using a DATA chunk with TSN r if no DATA chunk
            //= with TSN less than or equal to r was retransmitted"
            for other in self.paths.iter_mut() {
                if other.measuring.is_some_and(|(measured, _)| measured.follows_or_is(tsn)) {
                    other.measuring = None;
                }
            }
            //= RFC 9260 §6.1: "the sender MUST restart the timer if the earliest (i.e., lowest TSN) outstanding DATA
            //= chunk sent to that address is being retransmitted"
            if self.sender.outstanding.is_earliest(path, tsn) && !self.state.is_connecting() {
                self.paths[path].t3 = Some(now + self.t3_interval(path));
            }
        }
        true
    }

    /// Writes new DATA as far as the peer's window and the packet let it.
    fn write_new(&mut self, path: usize, with_cookie: bool, writer: &mut Writer<'_>, now: Instant) {
        let max_payload = self.paths.max_chunk() - DATA_CHUNK_HEADER;
        let max_outstanding = self.config.max_outstanding;
        let mut flight = self.sender.outstanding.flight(path).bytes;
        let window = self.paths[path].controller_window();
        // "The sending of a DATA chunk fills the congestion or receiver window" (§6.1): worth an I bit only if so little is in flight that
        // the peer may have no second packet to acknowledge.
        let few = 2 * self.paths.max_chunk() as u32;
        let first = self.sender.outstanding.next_tsn();
        let (mut chunks, mut bytes) = (0, 0);
        // One goes out and ends the packet.
        let probing = self.sender.probe == WindowProbe::Due && self.sender.outstanding.is_empty();
        while let Some((left, wanted)) = self.sender.queue.next() {
            //= RFC 9260 §6.9: "The implementation MUST also take into account the space required for a SACK chunk if
            //= bundling a SACK chunk with the DATA chunk."
            //= RFC 9260 §6.9: "it MUST fragment a user message if the size of the user message to be sent causes the
            //= outbound SCTP packet size to exceed the current PMTU"
            let room = writer.payload_room();
            let len = if left <= room && left <= max_payload {
                left
            } else if left <= max_payload || (room < MIN_FRAGMENT && !writer.is_empty()) {
                // It fits into a packet of its own, whole; or there is no space worth cutting it for.
                break;
            } else {
                left.min(room).min(max_payload) & !3
            };
            if len == 0 || self.sender.outstanding.len() >= max_outstanding {
                break;
            }
            //= RFC 9260 §6.1: "the data sender MUST NOT transmit new data to any destination transport address if its
            //= peer's rwnd indicates that the peer has no buffer space"
            //= RFC 9260 §6.1: "The sender MUST also have an algorithm for sending new DATA chunks to avoid silly window
            //= syndrome (SWS)"
            if len > self.sender.peer_window() && !probing {
                break;
            }
            if self.path_towards(wanted) != path && !with_cookie {
                // It wants to go by another path, or what came before it did.
                break;
            }
            let Some(chunk) = self.sender.queue.take(len) else { break };
            let tsn = self.sender.outstanding.next_tsn();
            flight += chunk.size();
            let blocked = || {
                flight >= window
                    || self.sender.outstanding.len() + 1 >= max_outstanding
                    || self.window_closes_after(len)
            };
            let immediate = (flight <= few && blocked()) || self.wants_sack_at_once();
            if !write_chunk(writer, &chunk, tsn, immediate) {
                debug_assert!(false, "the length was chosen to fit");
                break;
            }
            (chunks, bytes) = (chunks + 1, bytes + len as u64);
            self.sender.outstanding.push(chunk, path as u8);
            if probing {
                self.sender.probe = WindowProbe::Sent { answered: false, count: 0 };
                break;
            }
        }
        if chunks > 0 {
            self.stats.data_chunks_sent += chunks;
            self.stats.data_bytes_sent += bytes;
            //= RFC 9260 §6.3.1: "a new RTT measurement MUST be made each round trip"
            //= RFC 9260 §6.3.1: "new RTT measurements SHOULD be made no more than once per round trip for a given
            //= destination transport address"
            self.paths[path].measuring.get_or_insert((first, now));
        }
    }

    /// Whether the sender gains by a SACK without delay for what it is sending (RFC 7053 §4): it is about to end, or its timer is
    /// shorter than a peer may delay a SACK and nothing follows.
    fn wants_sack_at_once(&self) -> bool {
        if !self.sender.queue.is_empty() {
            return false;
        }
        matches!(self.state, State::ShutdownPending | State::ShutdownReceived)
            || self.paths[self.paths.for_data()].rtt.rto() < SHORT_RTO
    }

    /// Whether the peer's window has no space for the next chunk once `len` more bytes are in flight.
    fn window_closes_after(&self, len: usize) -> bool {
        self.next_new_len().is_some_and(|next| next + len > self.sender.peer_window())
    }

    /// The path that DATA can be sent on now.
    fn data_path(&self, now: Instant) -> Option<usize> {
        let path = self.willing_path()?;
        // A fast retransmission is not delayed (§7.2.4 item 3); nor is what follows when nothing is in flight: with a window of one
        // packet it would wait for most of a round trip, which may be longer than RTO.Max.
        let at_once = self.paths[path].fast_retransmit || self.sender.outstanding.flight(path).bytes == 0;
        (at_once || self.paths[path].is_in_pace(now)).then_some(path)
    }

    /// Where the next new DATA goes.
    fn new_data_path(&self) -> usize {
        self.path_towards(self.sender.queue.next_path())
    }

    /// Where a message goes: "Whenever possible, SCTP uses this destination transport address" that came with it (§11.1.5), which is while
    /// that path is active; else where all DATA goes.
    #[inline]
    fn path_towards(&self, wanted: Option<usize>) -> usize {
        wanted.filter(|at| self.paths[*at].is_active()).unwrap_or_else(|| self.paths.for_data())
    }

    /// The path that windows and Max.Burst let DATA be sent on.
    fn willing_path(&self) -> Option<usize> {
        if !self.state.may_send_data() {
            return None;
        }
        let flight = |path: usize| self.sender.outstanding.flight(path).bytes;
        if let Some((_, chunk)) = self.sender.outstanding.first_lost() {
            let path = self.retransmission_path(chunk);
            return (self.paths[path].fast_retransmit || self.paths[path].has_window(flight(path))).then_some(path);
        }
        let len = self.next_new_len()?;
        let path = self.new_data_path();
        let outstanding = &self.sender.outstanding;
        //= RFC 9260 §6.1: "The following general rules MUST be applied by the data sender for transmission and/or
        //= retransmission of outbound DATA chunks:"
        //= RFC 9260 §6.1: "A zero window probe MUST only be sent when the cwnd allows"
        //= RFC 9260 §6.1: "A zero window probe SHOULD only be sent when all outstanding DATA chunks have been
        //= cumulatively acknowledged and no DATA chunks are in flight."
        //= RFC 9260 §6.1: "the protocol parameter 'Max.Burst' SHOULD be used to limit the number of packets sent"
        //= RFC 9260 §6.1: "cwnd SHOULD NOT be changed permanently"
        //= RFC 9260 §6.1: "but MUST transmit no more DATA chunks until some or all of the outstanding DATA chunks are
        //= acknowledged"
        let nothing_out = outstanding.is_empty();
        let may = self.paths[path].has_window(flight(path))
            && (self.sender.burst > 0 || nothing_out)
            && outstanding.len() < self.config.max_outstanding
            && (len <= self.sender.peer_window() || (nothing_out && self.sender.probe == WindowProbe::Due))
            && !self.nagle_holds();
        may.then_some(path)
    }

    /// Nagle's algorithm (§6.1): with data outstanding, less than a packet waits for more.
    fn nagle_holds(&self) -> bool {
        self.config.nagle
            && !self.sender.queue.has_unbundled()
            && !self.sender.outstanding.is_empty()
            && self.sender.queue.bytes() + DATA_CHUNK_HEADER * self.sender.queue.messages() < self.paths.max_chunk()
    }

    /// Bytes of the next new chunk.
    fn next_new_len(&self) -> Option<usize> {
        Some(self.sender.queue.next_len()?.min(self.paths.max_chunk() - DATA_CHUNK_HEADER))
    }

    /// Bytes that the next DATA chunk needs in a packet.
    pub(super) fn first_data_size(&self) -> usize {
        if let Some((_, chunk)) = self.sender.outstanding.first_lost() {
            return chunk.size() as usize;
        }
        //= RFC 9260 §6: "The size of each DATA chunk SHOULD be smaller than or equal to the Association Maximum DATA
        //= Chunk Size (AMDCS)."
        //= RFC 9260 §6.9: "If its peer is multi-homed, the endpoint SHOULD choose a DATA chunk size smaller than or
        //= equal to the AMDCS."
        //= RFC 9260 §6.9: "The sender SHOULD choose a size of DATA chunks that is smaller than or equal to the AMDCS."
        //= RFC 9260 §7.3: "When fragmenting messages into multiple parts, this AMDCS SHOULD be used to calculate the
        //= size of each DATA chunk."
        //= RFC 9260 §6.9: "the SCTP implementation MUST take into account the SCTP packet header as well as the DATA
        //= chunk header(s)"
        let max_payload = self.paths.max_chunk() - DATA_CHUNK_HEADER;
        let payload = match self.sender.queue.next_len() {
            Some(left) if left > max_payload => MIN_FRAGMENT,
            Some(left) => left,
            None => 0,
        };
        DATA_CHUNK_HEADER + padded(payload)
    }

    /// Where a chunk that is marked for retransmission goes (§6.4).
    fn retransmission_path(&self, chunk: &OutboundChunk) -> usize {
        let last = usize::from(chunk.path);
        if chunk.timed_out() {
            self.paths.alternate(last)
        //= RFC 9260 §6.4: "an endpoint SHOULD send fast retransmissions to the same destination transport address to
        //= which the original data was sent"
        } else if self.paths[last].is_active() {
            last
        } else {
            self.paths.for_data()
        }
    }

    pub(super) fn may_sack(&self) -> bool {
        !self.state.is_connecting() && !matches!(self.state, State::ShutdownAckSent(_))
    }

    fn sack_path(&self) -> usize {
        //= RFC 9260 §6.7: "the SCTP endpoint SHOULD always try to send the SACK chunk to the same destination address
        //= from which the last DATA chunk was received"
        //= RFC 9260 §6.4: "an endpoint SHOULD NOT vary the destination transport address of a SACK chunk when it
        //= receives DATA chunks coming from the same source address"
        self.paths.for_sack(self.receiver.sack.path.into())
    }

    /// Nothing more is to be sent now.
    fn sending_stopped(&mut self, now: Instant) {
        if self.config.pacing.is_some()
            && let Some(at) = self.willing_path()
            && let Some(pacer) = &mut self.paths[at].pacer
        {
            // Nothing but the schedule holds it.
            pacer.timer = Some(pacer.earliest());
        }
        self.sender.burst = 0;
        if self.control.is_empty() && self.control.capacity() > 0 {
            // Control chunks are rare, and most associations idle: a HEARTBEAT now and then must not keep a queue for all time.
            self.control = VecDeque::new();
        }
        self.release_later(now);
        if !self.may_sack() {
            self.receiver.sack.due = false;
        }
        let path = self.new_data_path();
        let flight = self.sender.outstanding.flight(path).bytes;
        self.paths[path].window_full = !self.paths[path].has_window(flight);
        // Closed window, nothing in flight: no SACK will come by itself, should the one that opens the window be lost (§6.1 A).
        if self.state.may_send_data()
            && self.sender.probe == WindowProbe::None
            && self.sender.outstanding.is_empty()
            && self.window_is_closed()
        {
            //= RFC 9260 §6.1: "Senders MUST support zero window probing."
            //= RFC 9260 §6.1: "The sender SHOULD send the first zero window probe after 1 RTO when it detects that the
            //= receiver has closed its window"
            self.sender.probe = WindowProbe::Waiting;
            self.start_t3(path, now);
        }
    }
}

#[inline]
fn write_chunk(writer: &mut Writer<'_>, chunk: &OutboundChunk, tsn: Tsn, immediate: bool) -> bool {
    let flags = if immediate { chunk.flags | DataFlags::IMMEDIATE } else { chunk.flags };
    let header = DataHeader { tsn, stream: chunk.stream, ssn: chunk.ssn, ppid: chunk.ppid, flags };
    match writer.data(&header, chunk.payload.len()) {
        Ok(space) => {
            space.copy_from_slice(&chunk.payload);
            true
        }
        Err(_) => false,
    }
}
