//! Packets in: chunk after chunk, each by the state that the one before it has left (RFC 9260 §6.10).

use core::net::IpAddr;
use core::num::NonZeroU16;

use bytes::BytesMut;

use super::receiver::{PacketSummary, Received};
use super::state::State;
use super::{Association, Context, Control};
use crate::answer::encode;
use crate::event::Event;
use crate::wire::{Cause, CauseCode, Chunk, ChunkError, ChunkType, Data, ErrorChunk, InitError, Packet, RawChunk};
use crate::{CloseReason, Ecn, PayloadSource, RemoteError};

/// Most bytes of something not recognized that are sent back.
const MAX_REPORTED: usize = 512;

/// A packet for an association. Its ports and tag are right.
pub(crate) struct Inbound<'a, 'b> {
    pub(crate) packet: Packet<'a>,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) encapsulation: Option<NonZeroU16>,
    pub(crate) ecn: Ecn,
    pub(crate) payload: &'b mut dyn PayloadSource,
    /// The first chunk has been processed: a COOKIE ECHO, which the endpoint looks at.
    pub(crate) skip_first: bool,
}

/// How to go on with a packet.
enum Walk {
    Next,
    /// The rest of the packet is discarded.
    Stop,
}

impl Association {
    /// A packet has come.
    pub(crate) fn handle_packet(&mut self, inbound: Inbound<'_, '_>, cx: &mut Context<'_>) {
        let Inbound { packet, source, destination, encapsulation, ecn, payload, skip_first } = inbound;
        self.stats.packets_received += 1;
        self.stats.bytes_received += packet.bytes().len() as u64;
        let path = self.paths.find(source);
        self.learn_encapsulation(path, encapsulation);
        if let Some(at) = path.filter(|_| !self.bound) {
            self.learn_source(at, destination);
        }
        let mut summary = PacketSummary::default();
        //= RFC 9260 §6: "they MUST be implemented by the data receiver, i.e., an endpoint MUST properly receive and
        //= process bundled or fragmented data"
        let mut chunks = packet.chunks();
        if skip_first {
            chunks.next();
        }
        for raw in chunks {
            let walk = match raw {
                Ok(raw) => self.handle_chunk(raw, &packet, source, payload, &mut summary, cx),
                // A partial chunk: dropped, and there is nothing after it.
                Err(_) => {
                    self.stats.malformed_packets += 1;
                    Walk::Stop
                }
            };
            if self.is_closed() {
                return;
            }
            if let Walk::Stop = walk {
                break;
            }
        }
        if summary.data {
            let at = path.unwrap_or_else(|| self.paths.for_data());
            if summary.is_repeated() {
                self.data_repeated(at, cx);
            }
            if ecn == Ecn::Ce && summary.accepted {
                self.note_congestion_mark(&packet);
            }
            let is_full = packet.bytes().len() >= self.paths.max_packet(at) / 2;
            self.receiver.end_packet(summary, is_full, at, cx.now, &self.config);
            self.receiver.tune(cx.now, self.paths[at].rtt.srtt(), &self.config);
            self.answer_data_with_shutdown(source, cx);
        }
    }

    fn handle_chunk(
        &mut self,
        raw: RawChunk<'_>,
        packet: &Packet<'_>,
        source: IpAddr,
        payload: &mut dyn PayloadSource,
        summary: &mut PacketSummary,
        cx: &mut Context<'_>,
    ) -> Walk {
        if raw.chunk_type == ChunkType::DATA {
            // Most chunks are DATA: they need not become a `Chunk`, which has room for the largest.
            return match Data::parse(raw) {
                Ok(data) => self.handle_data(&data, payload, source, summary, cx),
                Err(error) => self.handle_malformed(error, source, cx),
            };
        }
        let chunk = match Chunk::parse(raw) {
            Ok(chunk) => chunk,
            Err(error) => return self.handle_malformed(error, source, cx),
        };
        self.stats.control_chunks_received += 1;
        match chunk {
            Chunk::Sack(sack) => self.handle_sack(&sack, cx),
            Chunk::Heartbeat(_) => self.handle_heartbeat(raw, source),
            Chunk::HeartbeatAck(ack) if !self.state.is_connecting() => self.heartbeat_acknowledged(ack.info, cx),
            Chunk::Abort(abort) => {
                //= RFC 9260 §9.1: "An endpoint receiving an ABORT chunk MUST apply the special Verification Tag check
                //= rules described in Section 8.5.1."
                //= RFC 9260 §3.3.7: "an endpoint that receives an ABORT chunk MUST NOT respond to that ABORT chunk by
                //= sending an ABORT chunk of its own"
                //= RFC 9260 §9.1: "An endpoint MUST NOT respond to any received packet that contains an ABORT chunk"
                // The tag decides whether it counts (§8.5.1 B); with it the packet ends in any case.
                if self.tag_fits(packet.verification_tag, abort.tag_reflected) {
                    self.handle_abort(&abort, cx);
                }
                return Walk::Stop;
            }
            Chunk::Shutdown(shutdown) => self.handle_shutdown(shutdown, source, cx),
            Chunk::ShutdownAck => self.handle_shutdown_ack(source, cx),
            Chunk::ShutdownComplete(complete) => {
                if self.tag_fits(packet.verification_tag, complete.tag_reflected) {
                    self.handle_shutdown_complete(cx);
                }
                return Walk::Stop;
            }
            Chunk::Error(error) => self.handle_error(&error, cx),
            Chunk::CookieAck => self.handle_cookie_ack(source, cx),
            Chunk::InitAck(init_ack) => {
                self.handle_init_ack(&init_ack.0, source, cx);
                return Walk::Stop;
            }
            // INIT has a tag of zero and is alone; the endpoint sees to it, as to COOKIE ECHO, which comes first.
            Chunk::Init(_) | Chunk::CookieEcho(_) => return Walk::Stop,
            Chunk::Unknown(raw) => {
                let action = raw.unknown_action();
                if action.report {
                    let at = self.reply_path(source);
                    self.queue_error(at, Cause::UnrecognizedChunkType(&raw.bytes[..raw.bytes.len().min(MAX_REPORTED)]));
                }
                if action.stop {
                    return Walk::Stop;
                }
            }
            Chunk::Ecne(ecne) => self.handle_ecne(ecne),
            Chunk::Cwr(cwr) => self.handle_cwr(cwr),
            // Padding is padding.
            _ => {}
        }
        Walk::Next
    }

    fn handle_data(
        &mut self,
        data: &Data<'_>,
        payload: &mut dyn PayloadSource,
        source: IpAddr,
        summary: &mut PacketSummary,
        cx: &mut Context<'_>,
    ) -> Walk {
        if !self.state.may_receive_data() {
            return Walk::Next;
        }
        let was_ready = self.receiver.ready();
        let received = self.receiver.receive(data, payload, self.inbound_streams, &self.config, summary);
        let ready = self.receiver.ready();
        if ready > was_ready {
            self.stats.messages_received += self.receiver.whole_since(was_ready) as u64;
            if was_ready == 0 {
                self.emit(cx, Event::MessageReceived);
            }
        }
        match received {
            Ok(Received::Accepted) => {
                self.stats.data_chunks_received += 1;
                self.stats.data_bytes_received += data.payload.len() as u64;
            }
            Ok(Received::Duplicate) => self.stats.duplicate_chunks += 1,
            Ok(Received::Dropped) => self.stats.data_chunks_dropped += 1,
            //= RFC 9260 §6.5: "it SHOULD acknowledge the reception of the DATA chunk following the normal procedure,
            //= immediately send an ERROR chunk"
            Ok(Received::InvalidStream) => {
                let at = self.reply_path(source);
                self.queue_error(at, Cause::InvalidStreamIdentifier { stream: data.header.stream });
            }
            Err(what) => {
                let cause = Cause::ProtocolViolation(what.as_bytes());
                self.abort_with(&[cause], CloseReason::ProtocolViolation { what }, cx);
            }
        }
        Walk::Next
    }

    /// A HEARTBEAT is echoed exactly, from COOKIE-ECHOED on (§8.3).
    fn handle_heartbeat(&mut self, raw: RawChunk<'_>, source: IpAddr) {
        if matches!(self.state, State::CookieWait(_)) {
            return;
        }
        let Some(at) = self.paths.find(source) else { return };
        //= RFC 9260 §3.3.6: "An endpoint MUST send this chunk to its peer endpoint as a response to a HEARTBEAT chunk"
        //= RFC 9260 §3.3.6: "This field MUST contain the Heartbeat Info parameter (as defined in Section 3.3.5) of the
        //= Heartbeat Request"
        //= RFC 9260 §8.3: "A receiver of a HEARTBEAT chunk MUST respond to a HEARTBEAT chunk with a HEARTBEAT ACK chunk
        //= after entering the COOKIE-ECHOED state"
        //= RFC 9260 §8.3: "The receiver of the HEARTBEAT chunk SHOULD immediately respond with a HEARTBEAT ACK chunk
        //= that contains the Heartbeat Information TLV, together with any other received TLVs, copied unchanged"
        //= RFC 9260 §6.4: "An endpoint SHOULD transmit reply chunks (e.g., INIT ACK, COOKIE ACK, and HEARTBEAT ACK) in
        //= response to control chunks to the same destination transport address"
        let mut echo = BytesMut::from(raw.bytes);
        echo[0] = ChunkType::HEARTBEAT_ACK.0;
        echo[1] = 0;
        self.queue_control(at, Control::Encoded(echo.freeze()));
    }

    fn handle_error(&mut self, error: &ErrorChunk<'_>, cx: &mut Context<'_>) {
        for cause in error.causes.iter().filter_map(Result::ok) {
            let code = cause.code();
            if code == CauseCode::STALE_COOKIE {
                self.handle_stale_cookie(cx);
                return;
            }
            if self.state.is_connecting() {
                continue;
            }
            self.emit(cx, Event::RemoteError { error: RemoteError::from_cause(&cause) });
        }
    }

    /// A chunk that cannot be read. Some are answered.
    fn handle_malformed(&mut self, error: ChunkError, source: IpAddr, cx: &mut Context<'_>) -> Walk {
        self.stats.malformed_packets += 1;
        match error {
            //= RFC 9260 §6.2: "it SHOULD send an ABORT chunk with a "No User Data" error cause"
            ChunkError::NoUserData { tsn, .. } if self.state.may_receive_data() => {
                let reason = CloseReason::ProtocolViolation { what: "DATA without user data" };
                self.abort_with(&[Cause::NoUserData { tsn }], reason, cx);
                Walk::Stop
            }
            ChunkError::Init { chunk_type: ChunkType::INIT_ACK, error, .. } => {
                self.handle_bad_init_ack(error, source, cx);
                Walk::Stop
            }
            // Its length was good, so the next chunk is where it should be.
            _ => Walk::Next,
        }
    }

    /// An INIT ACK with a mandatory field out of its range: in COOKIE-WAIT the end, save for a window that is too small (§3.3.3).
    fn handle_bad_init_ack(&mut self, error: InitError, source: IpAddr, cx: &mut Context<'_>) {
        if !matches!(self.state, State::CookieWait(_)) {
            return;
        }
        let reason = CloseReason::ProtocolViolation { what: "INIT ACK with a mandatory field out of its range" };
        let cause = Cause::InvalidMandatoryParameter;
        match error {
            //= RFC 9260 §3.3.3: "A receiver of an INIT ACK chunk with the a_rwnd value set to a value smaller than 1500 MUST
            //= discard the packet, SHOULD send a packet in response containing an ABORT chunk and using the Initiate Tag as
            //= the Verification Tag, and MUST NOT change the state of any existing association."
            InitError::WindowTooSmall { initiate_tag, .. } => {
                self.farewell = self.abort_packet(source, initiate_tag, false, &[cause]);
            }
            //= RFC 9260 §3.3.3: "with the OS value set to 0, it MUST destroy the TCB and SHOULD send an ABORT chunk"
            //= RFC 9260 §3.3.3: "with the MIS value set to 0, it MUST destroy the TCB and SHOULD send an ABORT chunk"
            InitError::NoOutboundStreams { initiate_tag } | InitError::NoInboundStreams { initiate_tag } => {
                self.farewell = self.abort_packet(source, initiate_tag, false, &[cause]);
                self.close(reason, cx);
            }
            // There is no tag to use but our own, reflected.
            //= RFC 9260 §3.3.3: "with the Initiate Tag set to 0, it MUST destroy the TCB and SHOULD send an ABORT chunk with
            //= the T bit set"
            InitError::ZeroInitiateTag => {
                self.farewell = self.abort_packet(source, self.local_tag, true, &[cause]);
                self.close(reason, cx);
            }
        }
    }

    /// Whether the tag of a packet with ABORT or SHUTDOWN COMPLETE is right (§8.5.1 B, C).
    fn tag_fits(&self, tag: u32, reflected: bool) -> bool {
        //= RFC 9260 §8.5.1: "The receiver of an ABORT chunk MUST accept the packet if the Verification Tag field of the
        //= packet matches its own tag and the T bit is not set OR if it is set to its Peer's Tag and the T bit is set"
        if reflected { self.peer_tag != 0 && tag == self.peer_tag } else { tag == self.local_tag }
    }

    /// Where an answer to a packet from `source` goes (§6.4): back, unless that address is not verified yet (§5.4).
    pub(super) fn reply_path(&self, source: IpAddr) -> usize {
        self.paths.find(source).filter(|at| self.paths[*at].is_confirmed()).unwrap_or_else(|| self.paths.for_data())
    }

    /// Has an ERROR with one cause sent.
    pub(super) fn queue_error(&mut self, at: usize, cause: Cause<'_>) {
        if let Some(chunk) = encode(&ErrorChunk { causes: [cause][..].into() }) {
            self.queue_control(at, Control::Encoded(chunk));
        }
    }
}
