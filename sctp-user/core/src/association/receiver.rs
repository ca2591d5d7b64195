//! The receiving half of an association: DATA in, messages out, and when to acknowledge (RFC 9260 §6.2, §6.5, §6.6, §6.7).

mod partial;

use core::ops::Range;
use core::time::Duration;
use std::collections::VecDeque;

use bytes::Bytes;

use self::partial::PartialDelivery;
pub(crate) use self::partial::Unfinished;
use crate::config::AssociationConfig;
use crate::data::reassembly::{FragmentError, FragmentHead, Reassembly};
use crate::data::streams::InboundStreams;
use crate::data::tsn_tracker::{Arrival, TsnTracker};
use crate::serial::Tsn;
use crate::time::Instant;
use crate::wire::{Data, GapAckBlock};
use crate::{MessagePart, PayloadSource, ReceivedMessage};

/// What a chunk costs in memory beside its payload.
const CHUNK_OVERHEAD: usize = 64;

/// The window does not open for less free space than this, or than a quarter of the buffer, so that the peer does not send slivers
/// (silly windows, §6.2). What has been announced is not taken back: it may be on its way.
///
/// The quarter is what the longest message leaves free: the window never stays closed while one could not become whole.
const SMALLEST_WINDOW: u32 = 1500;

/// At the beginning of an association so many packets are acknowledged at once: the peer's window is small (and §5.1 asks for
/// it for the first).
const EARLY_PACKETS: u8 = 8;

/// How long the SACK for a lone packet waits for company, if it may be sent early.
const EARLY_DELAY: Duration = Duration::from_millis(2);

/// Most SACKs that are owed. Should a batch be larger, the last one speaks for the rest.
const MAX_OWED: usize = 64;

/// After such a wait was in vain, so many lone packets are acknowledged at once.
const QUICK_PACKETS: u8 = 16;

/// The receiving half.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) tracker: TsnTracker,
    /// Size of the receive buffer, in bytes.
    buffer: u32,
    /// From the first DATA on, if the buffer may grow.
    tuning: Option<Box<Tuning>>,
    /// From our INIT ACK to the COOKIE ECHO, in microseconds: the round trip as long as nothing of ours has measured it.
    handshake_time: u32,
    reassembly: Reassembly,
    streams: InboundStreams,
    /// Messages for the application.
    ready: VecDeque<ReceivedMessage>,
    /// The message that is being delivered in parts.
    partial: Option<Box<PartialDelivery>>,
    /// Payload that is held: not reassembled, not in order, or not taken by the application.
    held: u32,
    /// Chunks in which it came.
    held_chunks: u32,
    /// The a_rwnd that was sent last, less what has come since: what the peer believes to be free.
    credit: u32,
    /// The a_rwnd that was sent last is 0.
    closed: bool,
    pub(crate) sack: SackState,
}

/// How much the application takes in a round trip: twice as much should fit the receive buffer.
#[derive(Debug, Default)]
struct Tuning {
    /// Bytes that the application has taken since `since`.
    taken: usize,
    since: Instant,
    /// When a round trip is over.
    next: Instant,
    /// By how many bytes the buffer ought to grow.
    wanted: usize,
}

/// Whether a SACK is due.
#[derive(Debug, Default)]
pub(crate) struct SackState {
    /// A SACK should be sent now.
    pub(crate) due: bool,
    /// Something has arrived that no SACK has reported: one goes with the next DATA (§6.1).
    pub(crate) pending: bool,
    /// When a delayed one becomes due.
    pub(crate) timer: Option<Instant>,
    /// Packets with DATA since the last one.
    packets: u8,
    /// So many of the first packets are acknowledged at once.
    early: u8,
    /// So many lone packets more are acknowledged at once.
    quick: u8,
    /// The path that DATA last came on: where it goes (§6.4).
    pub(crate) path: u8,
    /// SACKs that were due when more DATA came before they could be sent, oldest first.
    owed: VecDeque<OwedSack>,
}

/// A SACK as it was due, while the association knows more by now.
///
/// Packets come in batches. A sender counts SACKs (its window grows by each, three of them report a loss, each lets a burst go), so
/// a batch must not be answered by one only (§6.2: "at least every second packet").
#[derive(Debug)]
pub(crate) struct OwedSack {
    pub(crate) cumulative: Tsn,
    pub(crate) a_rwnd: u32,
    /// Gap Ack Blocks and Duplicate TSNs, if there are any.
    pub(crate) details: Option<Box<(Vec<GapAckBlock>, Vec<Tsn>)>>,
}

/// What the DATA chunks of a packet were like.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PacketSummary {
    /// There was one.
    pub(crate) data: bool,
    /// One was new.
    pub(super) accepted: bool,
    /// One had been received before.
    duplicate: bool,
    /// One was dropped for want of space.
    dropped: bool,
    /// One asked for a SACK without delay (I bit).
    immediate: bool,
    /// TSNs were missing when the packet came.
    gaps_before: bool,
}

impl PacketSummary {
    /// Whether all its DATA had been received before.
    pub(crate) fn is_repeated(&self) -> bool {
        self.duplicate && !self.accepted && !self.dropped
    }
}

/// What became of a DATA chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Accepted,
    Duplicate,
    /// No space, or a limit reached: the peer has to send it again.
    Dropped,
    /// Acknowledged, but its stream does not exist (§6.5).
    InvalidStream,
}

impl Receiver {
    /// `initial` is the peer's Initial TSN.
    pub(crate) fn new(initial: Tsn, config: &AssociationConfig) -> Self {
        Self {
            tracker: TsnTracker::new(initial),
            buffer: size(config.receive_buffer),
            tuning: None,
            handshake_time: 0,
            reassembly: Reassembly::default(),
            streams: InboundStreams::default(),
            ready: VecDeque::new(),
            partial: None,
            held: 0,
            held_chunks: 0,
            credit: size(config.receive_buffer),
            closed: false,
            //= RFC 9260 §5.1: "After the reception of the first DATA chunk in an association, the endpoint MUST
            //= immediately respond with a SACK chunk"
            sack: SackState { early: if config.sack_early { EARLY_PACKETS } else { 1 }, ..SackState::default() },
        }
    }

    /// The peer has restarted: everything begins anew, but messages that have arrived whole are kept.
    pub(crate) fn restart(&mut self, initial: Tsn, config: &AssociationConfig) {
        let ready = core::mem::take(&mut self.ready);
        let buffer = self.buffer;
        *self = Self::new(initial, config);
        self.buffer = buffer;
        self.held = ready.iter().map(|message| message.len() as u32).sum();
        self.held_chunks = ready.iter().map(|message| message.payload.len() as u32).sum();
        self.ready = ready;
    }

    /// Takes the next message for the application.
    pub(crate) fn pop(&mut self) -> Option<ReceivedMessage> {
        let message = self.ready.pop_front()?;
        self.uncharge(&message);
        if let Some(tuning) = &mut self.tuning {
            tuning.taken += message.len();
        }
        // The window has opened; tell the peer if it makes a difference (§6.2).
        //= RFC 9260 §6.2: "When the window opens up, an SCTP receiver SHOULD send additional SACK chunks to update the
        //= window even if no new data is received."
        //= RFC 9260 §6.2: "The receiver MUST avoid sending a large number of window updates"
        //= RFC 9260 §6.2: "The data receiver SHOULD notify the data sender in a timely manner of changes in its ability
        //= to receive data."
        if self.free() >= (self.credit + self.buffer / 4) as usize {
            self.sack.due = true;
        }
        Some(message)
    }

    /// Size of the receive buffer, in bytes.
    pub(crate) fn buffer(&self) -> usize {
        self.buffer as usize
    }

    /// By how many bytes the receive buffer ought to grow.
    pub(crate) fn growth(&self) -> usize {
        self.tuning.as_ref().map_or(0, |tuning| tuning.wanted)
    }

    /// The receive buffer grows by what it ought to, or as much of it as there is.
    pub(crate) fn enlarge(&mut self, by: usize) {
        self.buffer += size(by);
        if let Some(tuning) = &mut self.tuning {
            tuning.wanted = 0;
        }
    }

    /// How long the handshake took, from our INIT ACK to the COOKIE ECHO.
    pub(crate) fn set_handshake_time(&mut self, time: Duration) {
        self.handshake_time = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    }

    /// Finds out, once in a round trip, whether the buffer is too small for the path: it should hold twice what the application takes
    /// in one, so that the peer's window may double while it starts slowly.
    pub(crate) fn tune(&mut self, now: Instant, srtt: Option<Duration>, config: &AssociationConfig) {
        //= RFC 9260 §6.2: "The data receiver SHOULD NOT increment a_rwnd unless it has released bytes from its receive
        //= buffer."
        // So it is unless the configuration lets the buffer itself grow.
        if config.max_receive_buffer <= self.buffer() {
            return;
        }
        let buffer = self.buffer();
        let tuning = self.tuning.get_or_insert_default();
        if now < tuning.next {
            return;
        }
        let round_trip = srtt.unwrap_or(Duration::from_micros(self.handshake_time.into())).as_nanos() as u64;
        let elapsed = (now - tuning.since).as_nanos() as u64;
        let taken = core::mem::take(&mut tuning.taken);
        tuning.since = now;
        tuning.next = now + Duration::from_nanos(round_trip);
        // Packets may have paused in between; what came in one round trip counts.
        let in_one = taken as u128 * u128::from(round_trip) / u128::from(elapsed.max(1));
        let enough = usize::try_from(in_one * 2).unwrap_or(usize::MAX).min(config.max_receive_buffer);
        tuning.wanted = enough.saturating_sub(buffer);
    }

    /// Messages, and parts of them, that wait for the application.
    pub(crate) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// How many messages have become whole since so many waited for the application.
    pub(crate) fn whole_since(&self, before: usize) -> usize {
        self.ready.iter().skip(before).filter(|message| !message.part.is_followed()).count()
    }

    /// Takes out the messages that wait for the application.
    pub(crate) fn take_ready(&mut self) -> VecDeque<ReceivedMessage> {
        core::mem::take(&mut self.ready)
    }

    /// Whether it has space for messages or fragments.
    pub(crate) fn holds_memory(&self) -> bool {
        self.ready.capacity() > 0 || self.reassembly.holds_memory()
    }

    /// Gives back memory that nothing is in.
    pub(crate) fn shrink(&mut self) {
        self.tracker.shrink();
        self.reassembly.shrink();
        self.streams.shrink();
        self.ready.shrink_to_fit();
        self.sack.owed.shrink_to_fit();
    }

    /// Drops what can never be delivered any more.
    pub(crate) fn drop_incomplete(&mut self) {
        self.reassembly.reset();
        self.streams.reset();
    }

    /// Bytes of payload that are held for whatever reason.
    pub(crate) fn held(&self) -> usize {
        self.held as usize
    }

    /// Free space in the receive buffer.
    ///
    /// It shrinks by payload, as the peer reckons too, and in the end by what the payload costs: so tiny messages cannot
    /// occupy more than twice the buffer.
    fn free(&self) -> usize {
        let buffer = self.buffer();
        let charged = self.held() + self.held_chunks as usize * CHUNK_OVERHEAD;
        //= RFC 9260 §6.2: "if the receiver is holding fragmented DATA chunks in a reassembly queue, it SHOULD NOT
        //= increment a_rwnd"
        buffer.saturating_sub(self.held()).min((2 * buffer).saturating_sub(charged))
    }

    /// The a_rwnd to announce, which is now what the peer reckons with.
    pub(crate) fn announce_window(&mut self) -> u32 {
        let free = self.free();
        //= RFC 9260 §6.2: "The receiver MUST also have an algorithm for advertising its receive window to avoid
        //= receiver silly window syndrome (SWS)"
        let may_open = free >= SMALLEST_WINDOW.min(self.buffer / 4) as usize;
        self.credit = if may_open { size(free) } else { self.credit.min(size(free)) };
        self.closed = self.credit == 0;
        self.credit
    }

    /// Processes a DATA chunk.
    ///
    /// # Errors
    ///
    /// The peer broke the protocol; the reason to give.
    pub(crate) fn receive(
        &mut self,
        data: &Data<'_>,
        payload: &mut dyn PayloadSource,
        inbound_streams: u16,
        config: &AssociationConfig,
        summary: &mut PacketSummary,
    ) -> Result<Received, &'static str> {
        if !summary.data {
            summary.data = true;
            summary.gaps_before = self.tracker.has_gaps();
            if self.sack.due {
                self.owe_sack(config);
            }
        }
        let header = &data.header;
        summary.immediate |= header.flags.is_immediate();
        //= RFC 9260 §6.2: "The data receiver SHOULD take into account that the data sender will not retransmit DATA
        //= chunks that are acked via the Cumulative TSN Ack"
        //= RFC 9260 §6.2: "An endpoint SHOULD NOT revoke a SACK chunk and discard data."
        let arrival = self.tracker.classify(header.tsn, config.max_gaps);
        match arrival {
            Arrival::Duplicate => {
                self.tracker.note_duplicate(header.tsn);
                summary.duplicate = true;
                return Ok(Received::Duplicate);
            }
            Arrival::OutOfBounds => {
                summary.dropped = true;
                return Ok(Received::Dropped);
            }
            Arrival::Next | Arrival::FillsGap | Arrival::Highest => {}
        }
        if header.stream >= inbound_streams {
            self.tracker.accept(header.tsn);
            summary.accepted = true;
            //= RFC 9260 §6.5: "If an endpoint receives a DATA chunk with an invalid stream identifier, it SHOULD
            //= acknowledge the reception of the DATA chunk"
            return Ok(Received::InvalidStream);
        }
        //= RFC 9260 §6.2: "The dropped DATA chunk(s) MUST NOT be included in the SACK chunk, as they were not
        //= accepted."
        //= RFC 9260 §6.2: "If a data receiver drops DATA chunks, it MUST NOT include them in Gap Ack Blocks in
        //= subsequent SACK chunks until they are received again via retransmission."
        if !self.has_room(arrival, data, config) {
            summary.dropped = true;
            return Ok(Received::Dropped);
        }
        self.tracker.accept(header.tsn);
        summary.accepted = true;
        let len = data.payload.len();
        self.held += len as u32;
        self.held_chunks += 1;
        self.credit = self.credit.saturating_sub(len as u32);
        self.store(data, payload, config)?;
        if let Some(point) = config.partial_delivery_point {
            self.deliver_part(point);
        }
        Ok(Received::Accepted)
    }

    /// Decides about acknowledging when all chunks of a packet have been processed; the packet came on `path`, and `is_full` if hardly
    /// more would have fitted: then it is probably not the last one.
    pub(crate) fn end_packet(
        &mut self,
        summary: PacketSummary,
        is_full: bool,
        path: usize,
        now: Instant,
        config: &AssociationConfig,
    ) {
        let sack = &mut self.sack;
        sack.pending = true;
        sack.path = path as u8;
        sack.packets = sack.packets.saturating_add(1);
        //= RFC 9260 §6.2: "the receiver SHOULD NOT delay the sending of the corresponding SACK chunk, i.e., the
        //= receiver SHOULD immediately respond with the corresponding SACK chunk"
        //= RFC 9260 §6.2: "if such a DATA chunk is dropped, the receiver MUST immediately send back a SACK chunk"
        //= RFC 9260 §6.2: "When a packet arrives with duplicate DATA chunk(s) and with no new DATA chunk(s), the
        //= endpoint MUST immediately send a SACK chunk with no delay."
        //= RFC 9260 §6.7: "If the endpoint detects a gap in the received DATA chunk sequence, it SHOULD send a SACK
        //= chunk with Gap Ack Blocks immediately."
        //= RFC 9260 §7.2.4: "it SHOULD start sending a SACK chunk back every time a packet arrives carrying data until
        //= the hole is filled"
        //= RFC 9260 §6.2: "an acknowledgement SHOULD be generated for at least every second packet"
        let at_once = summary.immediate
            || summary.dropped
            || (summary.duplicate && !summary.accepted)
            // §6.7: as long as TSNs are missing, and when that changes.
            || summary.gaps_before
            || self.tracker.has_gaps()
            || sack.packets >= config.sack_every
            || config.sack_delay.is_zero();
        let early = sack.early > 0;
        sack.early = sack.early.saturating_sub(1);
        if at_once || early {
            sack.due = true;
            return;
        }
        if sack.quick > 0 && !is_full {
            sack.quick -= 1;
            sack.due = true;
            return;
        }
        let delay = if config.sack_early { EARLY_DELAY.min(config.sack_delay) } else { config.sack_delay };
        //= RFC 9260 §6.2: "The SCTP endpoint MUST always acknowledge the reception of each valid DATA chunk"
        //= RFC 9260 §6.2: "The guidelines on the delayed acknowledgement algorithm specified in Section 4.2 of
        //= [RFC5681] SHOULD be followed."
        //= RFC 9260 §6.2: "SHOULD be generated within 200 ms of the arrival of any unacknowledged DATA chunk"
        //= RFC 9260 §6.2: "an SCTP transmitter MUST NOT be more aggressive in sending SACK chunks than the following
        //= algorithms allow"
        //= RFC 9260 §6.2: "An SCTP receiver MUST NOT generate more than one SACK chunk for every incoming packet"
        //= RFC 9260 §5.1: "Subsequent acknowledgements SHOULD be done as described in Section 6.2."
        //= RFC 9260 §5.1.5: "subsequent DATA chunk acknowledgement SHOULD follow the rules defined in Section 6.2"
        sack.timer.get_or_insert(now + delay);
    }

    /// The oldest SACK that is owed.
    pub(crate) fn pop_owed(&mut self) -> Option<OwedSack> {
        self.sack.owed.pop_front()
    }

    /// Whether SACKs are owed.
    pub(crate) fn owes_sacks(&self) -> bool {
        !self.sack.owed.is_empty()
    }

    /// Keeps what the SACK that is due would say, before more DATA changes it.
    fn owe_sack(&mut self, config: &AssociationConfig) {
        if self.sack.owed.len() >= MAX_OWED {
            return;
        }
        let blocks: Vec<GapAckBlock> = self.tracker.gap_blocks(config.max_gaps).collect();
        let duplicates = self.tracker.duplicates().to_vec();
        let plain = blocks.is_empty() && duplicates.is_empty();
        let owed = OwedSack {
            cumulative: self.tracker.cumulative(),
            a_rwnd: self.announce_window(),
            details: (!plain).then(|| Box::new((blocks, duplicates))),
        };
        self.sack.owed.push_back(owed);
        self.tracker.clear_duplicates();
        self.sack.due = false;
        self.sack.packets = 0;
    }

    /// The SACK timer has expired.
    pub(crate) fn sack_timeout(&mut self, config: &AssociationConfig) {
        self.sack.timer = None;
        self.sack.due = true;
        if config.sack_early {
            // The packet was alone and nobody answered it: the peer may be waiting for nothing but our SACK.
            self.sack.quick = QUICK_PACKETS;
        }
    }

    /// A SACK has been written; `with_data` if it went along with DATA.
    pub(crate) fn sacked(&mut self, with_data: bool) {
        if with_data {
            // A dialogue: SACKs find company by themselves.
            self.sack.quick = 0;
        }
        self.sack.due = false;
        self.sack.pending = false;
        self.sack.timer = None;
        self.sack.packets = 0;
        self.tracker.clear_duplicates();
    }

    /// Up to `max` Gap Ack Blocks, the lowest first (§6.7).
    pub(crate) fn gap_blocks(&self, max: usize) -> impl ExactSizeIterator<Item = GapAckBlock> + Clone + '_ {
        self.tracker.gap_blocks(max)
    }

    /// Whether a chunk can be stored (§6.2, and the limits).
    fn has_room(&self, arrival: Arrival, data: &Data<'_>, config: &AssociationConfig) -> bool {
        // What fills a gap is taken beyond the window, bounded by the number of gaps: it lets other things go.
        let fills = arrival == Arrival::FillsGap || (arrival == Arrival::Next && self.tracker.has_gaps());
        //= RFC 9260 §6.2: "When the receiver's advertised window is 0, the receiver MUST drop any new incoming DATA chunk with
        //= a TSN larger than the largest TSN received so far."
        if !fills && (self.closed || self.free() == 0) {
            return false;
        }
        data.header.flags.is_unfragmented()
            || arrival == Arrival::Next
            || self.reassembly.parts() < config.max_partial_messages
            || self.reassembly.extends(data.header.tsn)
    }

    fn store(
        &mut self,
        data: &Data<'_>,
        payload: &mut dyn PayloadSource,
        config: &AssociationConfig,
    ) -> Result<(), &'static str> {
        let header = &data.header;
        let range: Range<usize> = data.payload_range();
        let bytes: Bytes = payload.take(range);
        if header.flags.is_unfragmented() {
            if bytes.len() > config.longest_inbound() {
                return Err("message longer than can be received");
            }
            self.put_in_order(ReceivedMessage {
                stream: header.stream,
                ssn: header.ssn.get(),
                ppid: header.ppid,
                unordered: header.flags.is_unordered(),
                part: MessagePart::Whole,
                payload: smallvec::smallvec![bytes],
            });
            return Ok(());
        }
        let head = FragmentHead {
            tsn: header.tsn,
            stream: header.stream,
            ssn: header.ssn.get(),
            ppid: header.ppid,
            unordered: header.flags.is_unordered(),
            beginning: header.flags.is_beginning(),
            ending: header.flags.is_ending(),
        };
        match self.reassembly.insert(head, bytes, config.longest_inbound()) {
            Ok(None) => Ok(()),
            Ok(Some(rest)) if self.partial.is_some() && !self.reassembly.is_first_begun() => {
                self.end_partial(rest);
                Ok(())
            }
            Ok(Some(message)) => {
                self.put_in_order(message);
                Ok(())
            }
            Err(FragmentError::Mismatch) => Err("fragments with consecutive TSNs do not fit together"),
            Err(FragmentError::TooLong) => Err("message longer than can be received"),
        }
    }

    fn put_in_order(&mut self, message: ReceivedMessage) {
        //= RFC 9260 §3.3.1: "Therefore, the receiver MUST ignore the Stream Sequence Number field."
        //= RFC 9260 §3.3.1: "unordered DATA chunks MUST be dispatched to the upper layer by the receiver without any
        //= attempt to reorder"
        //= RFC 9260 §6.6: "but the receiver MUST ignore the field"
        let ready = match &mut self.partial {
            Some(partial) => &mut partial.waiting,
            None => &mut self.ready,
        };
        if message.unordered {
            ready.push_back(message);
            return;
        }
        let (len, chunks) = (message.len(), message.payload.len());
        if !self.streams.order(message, |message| ready.push_back(message)) {
            // A Stream Sequence Number twice, with different TSNs: the peer's mistake, and nothing to deliver.
            self.held -= len as u32;
            self.held_chunks -= chunks as u32;
        }
    }

    fn uncharge(&mut self, message: &ReceivedMessage) {
        self.held = self.held.saturating_sub(message.len() as u32);
        self.held_chunks = self.held_chunks.saturating_sub(message.payload.len() as u32);
    }
}

/// Buffers have at most 1 GiB.
fn size(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
