//! Setting up an association (RFC 9260 §5.1), and COOKIE ECHOs for one that exists (§5.2.4).

use core::net::IpAddr;
use core::num::NonZeroU16;
use std::collections::VecDeque;
use std::sync::Arc;

use sctp_common::cookie::flags;
use smallvec::SmallVec;

use super::collision::{self, Collision, CookieTags, OwnTags};
use super::parameters::{PeerParameters, supported_types};
use super::receiver::Receiver;
use super::sender::Sender;
use super::state::{CookieEchoed, CookieWait, State};
use super::{Association, Context, Control, Limits};
use crate::answer::encode;
use crate::config::AssociationConfig;
use crate::cookie::Cookie;
use crate::event::{Event, PathState};
use crate::path::{Path, Paths};
use crate::serial::Tsn;
use crate::time::Instant;
use crate::wire::{Cause, ErrorChunk, Init, MissingParameters, Parameter, ParameterList, ParameterType};
use crate::{AssociationId, AssociationStats, CloseReason, SendFailure};

/// How often a cookie may be found stale before we give up.
const MAX_STALE_COOKIES: u32 = 3;

/// What both ways to a new association need.
pub(crate) struct NewAssociation {
    pub(crate) id: AssociationId,
    pub(crate) config: Arc<AssociationConfig>,
    pub(crate) limits: Limits,
    pub(crate) local_port: u16,
    pub(crate) peer_port: u16,
    pub(crate) local_tag: u32,
    pub(crate) tie_tags: (u32, u32),
    pub(crate) local_initial_tsn: Tsn,
    /// Our addresses to announce.
    pub(crate) local_addresses: Arc<[IpAddr]>,
    /// Whether to send from these only, whatever routing says.
    pub(crate) bound: bool,
    /// The peer's UDP encapsulation port, if its packets go in UDP (RFC 6951 §5.1).
    pub(crate) encapsulation: Option<NonZeroU16>,
}

impl Association {
    /// Begins an association: INIT goes to the first of `peers`, which are confirmed because the user named them (§5.4).
    pub(crate) fn connect(new: NewAssociation, peers: &[IpAddr], now: Instant) -> Self {
        let wait = CookieWait { t1: None, sent: now, retransmissions: 0, stale_cookies: 0, cookie_extension_ms: 0 };
        let (first, others) = (peers[0], &peers[1..]);
        let mut association = Self::new(new, first, State::CookieWait(wait), now);
        for peer in others {
            association.add_path(*peer, PathState::Active, now);
        }
        association.queue_control(0, Control::Init);
        association
    }

    /// An association that a State Cookie tells of; the COOKIE ECHO is about to be processed (§5.1.5 step 5).
    pub(crate) fn accept(new: NewAssociation, cookie: &Cookie, cx: &mut Context<'_>) -> Self {
        let local_port = new.local_port;
        let mut association = Self::new(new, cookie.source, State::Established, cx.now);
        association.accepted = true;
        association.adopt(cookie, cx.now);
        // From our INIT ACK to the COOKIE ECHO. Too rough for the RTO, for either may have been sent again.
        association.receiver.set_handshake_time(cx.now - cookie.created);
        let Self { outbound_streams, inbound_streams, .. } = association;
        association.emit(cx, Event::Accepted { local_port, outbound_streams, inbound_streams });
        association
    }

    fn new(new: NewAssociation, peer: IpAddr, state: State, now: Instant) -> Self {
        let NewAssociation { config, local_addresses, bound, limits, encapsulation, .. } = new;
        let mut path = Path::new(peer, PathState::Active, &config, now).encapsulated(encapsulation, &config);
        if bound {
            path.source = super::closest(&local_addresses, peer);
        }
        Self {
            id: new.id,
            limits,
            local_port: new.local_port,
            peer_port: new.peer_port,
            local_tag: new.local_tag,
            peer_tag: 0,
            tie_tags: new.tie_tags,
            local_initial_tsn: new.local_initial_tsn,
            local_addresses,
            bound,
            state,
            paths: Paths::new(path, limits.max_packet()),
            error_count: 0,
            outbound_streams: config.outbound_streams,
            inbound_streams: 0,
            shutdown_requested: false,
            accepted: false,
            draining: false,
            ended_mutually: false,
            ecn: None,
            sender: Sender::new(new.local_initial_tsn, &config),
            receiver: Receiver::new(Tsn(0), &config),
            control: VecDeque::new(),
            farewell: None,
            release_at: None,
            stats: AssociationStats::default(),
            config,
        }
    }

    //= RFC 9260 §3.3.2: "An INIT chunk MUST NOT contain the Host Name Address parameter."
    //= RFC 9260 §3.3.2: "Unless otherwise noted, each parameter MUST only be included once in the INIT chunk."
    //= RFC 9260 §3.3.2.1.4: "The sender of an INIT chunk or INIT ACK chunk MUST NOT include this parameter."
    /// Calls `with` with the INIT to send.
    pub(crate) fn with_init<T>(&self, with: impl FnOnce(&Init<'_>) -> T) -> T {
        let mut parameters: SmallVec<[Parameter<'_>; 8]> = SmallVec::new();
        // A single address is seen by the peer anyway (§5.1.2 A).
        if self.local_addresses.len() > 1 {
            parameters.extend(self.local_addresses.iter().map(|address| Parameter::from_address(*address)));
        }
        if let Some(types) = supported_types(&self.local_addresses) {
            parameters.push(Parameter::SupportedAddressTypes(types));
        }
        if self.config.ecn {
            parameters.push(Parameter::EcnCapable);
        }
        if let State::CookieWait(CookieWait { cookie_extension_ms: increment_ms @ 1.., .. }) = self.state {
            parameters.push(Parameter::CookiePreservative { increment_ms });
        }
        with(&Init {
            //= RFC 9260 §5.1: "In the INIT chunk, "A" MUST provide its Verification Tag (Tag_A) in the Initiate Tag
            //= field."
            //= RFC 9260 §5.1.1: "the sender of the chunk MUST indicate the number of outbound streams (OS) it wishes to
            //= have in the association, as well as the maximum inbound streams (MIS)"
            initiate_tag: self.local_tag,
            a_rwnd: u32::try_from(self.config.receive_buffer).unwrap_or(u32::MAX),
            outbound_streams: self.config.outbound_streams,
            inbound_streams: self.config.max_inbound_streams,
            initial_tsn: self.local_initial_tsn,
            parameters: ParameterList::new(&parameters),
        })
    }

    /// INIT ACK (§5.1 C). In any state but COOKIE-WAIT it is discarded (§5.2.3).
    pub(super) fn handle_init_ack(&mut self, init: &Init<'_>, source: IpAddr, cx: &mut Context<'_>) {
        //= RFC 9260 §5.2.3: "the endpoint SHOULD discard the INIT ACK chunk"
        //= RFC 9260 §3.3.3: "or COOKIE-WAIT, it SHOULD be discarded silently"
        let State::CookieWait(wait) = &self.state else { return };
        let (sent, stale_cookies, measurable) = (wait.sent, wait.stale_cookies, wait.retransmissions == 0);
        self.peer_tag = init.initiate_tag;
        let parameters = match PeerParameters::read(&init.parameters, source, &self.local_addresses) {
            Ok(parameters) => parameters,
            Err(bad) => {
                let reason = CloseReason::ProtocolViolation { what: "INIT ACK with parameters that cannot be used" };
                //= RFC 9260 §5.1.2: "The ABORT chunk SHOULD be sent to the source IP address from which the last peer
                //= packet was received."
                self.farewell = bad.with_cause(|cause| self.abort_packet(source, init.initiate_tag, false, &[cause]));
                self.close(reason, cx);
                return;
            }
        };
        let Some(cookie) = parameters.cookie else {
            let missing = MissingParameters::new(&[ParameterType::STATE_COOKIE]);
            let reason = CloseReason::ProtocolViolation { what: "INIT ACK without a State Cookie" };
            let cause = Cause::MissingMandatoryParameter(missing);
            self.farewell = self.abort_packet(source, init.initiate_tag, false, &[cause]);
            self.close(reason, cx);
            return;
        };

        // All addresses that are listed, and the one that it came from (§5.1.2 A, C).
        //= RFC 9260 §5.1.2: "the endpoint MUST take the source IP address from which the chunk arrives and record it"
        //= RFC 9260 §3.3.3: "the receiver of the INIT ACK chunk MUST use the source address associated with the
        //= received IP datagram as its sole destination address"
        for address in core::iter::once(source).chain(parameters.addresses.iter().copied()) {
            if self.can_reach(address) {
                self.add_path(address, PathState::Unconfirmed, cx.now);
            }
        }
        let path = self.paths.find(source).filter(|at| self.paths[*at].is_confirmed());
        if let Some(at) = path.filter(|_| measurable) {
            self.paths[at].rtt.measured(cx.now - sent, &self.config);
        }
        // The address that answered is a better primary than those that have not.
        let path = path.unwrap_or_else(|| self.paths.for_data());
        self.paths.set_primary(path);

        //= RFC 9260 §5.1.1: "the endpoint MUST use MIS outbound streams"
        //= RFC 9260 §5.1.1: "each endpoint MUST perform the following check"
        self.outbound_streams = self.config.outbound_streams.min(init.inbound_streams);
        self.inbound_streams = init.outbound_streams.min(self.config.max_inbound_streams);
        let refused = self.sender.queue.limit_streams(self.outbound_streams);
        self.discard_unsent(refused, SendFailure::NoSuchStream, cx);
        self.sender.a_rwnd = init.a_rwnd;
        self.ecn = (self.config.ecn && parameters.ecn).then(Box::default);
        self.receiver = Receiver::new(init.initial_tsn, &self.config);

        let unrecognized: SmallVec<[Parameter<'_>; 4]> =
            parameters.unrecognized.iter().map(|raw| Parameter::Unknown(*raw)).collect();
        let cause = Cause::UnrecognizedParameters(ParameterList::new(&unrecognized));
        //= RFC 9260 §3.2.2: "it SHOULD bundle the ERROR chunk containing the "Unrecognized Parameters" error cause with
        //= the chunk sent in response (e.g., COOKIE ECHO)"
        let error = (!unrecognized.is_empty()).then(|| encode(&ErrorChunk { causes: [cause][..].into() })).flatten();
        //= RFC 9260 §3.3.3: "then the receiver SHOULD process the INIT ACK chunk and send back a COOKIE ECHO chunk"
        //= RFC 9260 §5.1.4: "it MUST immediately send a COOKIE ECHO chunk to its peer with the received State Cookie"
        //= RFC 9260 §3.3.11: "This field MUST contain the exact cookie received in the State Cookie parameter from the
        //= previous INIT ACK chunk."
        self.state = State::CookieEchoed(Box::new(CookieEchoed {
            t1: None,
            retransmissions: 0,
            stale_cookies,
            cookie: bytes::Bytes::copy_from_slice(cookie),
            error,
            sent: cx.now,
        }));
        self.control.clear();
        self.queue_control(path, Control::CookieEcho);
    }

    /// COOKIE ACK (§5.1 E). In any state but COOKIE-ECHOED it is discarded (§5.2.5).
    pub(super) fn handle_cookie_ack(&mut self, source: IpAddr, cx: &mut Context<'_>) {
        //= RFC 9260 §5.2.5: "At any state other than COOKIE-ECHOED, an endpoint SHOULD silently discard a received
        //= COOKIE ACK chunk."
        let State::CookieEchoed(echoed) = &self.state else { return };
        let (sent, measurable) = (echoed.sent, echoed.retransmissions == 0);
        if let Some(at) = self.paths.find(source).filter(|_| measurable) {
            self.paths[at].rtt.measured(cx.now - sent, &self.config);
        }
        self.established(cx);
        let Self { outbound_streams, inbound_streams, .. } = *self;
        self.emit(cx, Event::Connected { outbound_streams, inbound_streams });
        self.shutdown_if_requested(cx);
    }

    /// The State Cookie that our COOKIE ECHO brought was too old (§5.2.6).
    pub(super) fn handle_stale_cookie(&mut self, cx: &mut Context<'_>) {
        //= RFC 9260 §5.2.6: "an endpoint SHOULD first examine if an association is in the process of being set up,
        //= i.e., the association is in the COOKIE-ECHOED state"
        //= RFC 9260 §5.2.6: "In all cases, if the association is not in the COOKIE-ECHOED state, the ERROR chunk SHOULD
        //= be silently discarded."
        let State::CookieEchoed(echoed) = &self.state else { return };
        let stale_cookies = echoed.stale_cookies + 1;
        if stale_cookies > MAX_STALE_COOKIES {
            self.close(CloseReason::StaleCookie, cx);
            return;
        }
        // Alternative 3: ask for a longer life, by the round trip measured and no more than a second.
        let round_trip = u32::try_from((cx.now - echoed.sent).as_millis()).unwrap_or(u32::MAX);
        self.state = State::CookieWait(CookieWait {
            t1: None,
            sent: cx.now,
            retransmissions: 0,
            stale_cookies,
            //= RFC 9260 §5.2.6: "an implementation SHOULD use the RTT information measured based on the previous COOKIE
            //= ECHO/ERROR chunk exchange and SHOULD add no more than 1 second beyond the measured RTT"
            cookie_extension_ms: round_trip.saturating_add(1000),
        });
        self.peer_tag = 0;
        self.sender.outstanding.time_out_all();
        self.control.clear();
        self.queue_control(self.paths.primary(), Control::Init);
    }

    /// T1-init: the INIT again, to the next address (§5.1), or no more.
    pub(super) fn t1_init_expired(&mut self, cx: &mut Context<'_>) {
        let limit = self.config.max_init_retransmits;
        let State::CookieWait(wait) = &mut self.state else { return };
        wait.t1 = None;
        wait.retransmissions += 1;
        //= RFC 9260 §4: "If the T1-init timer expires, the endpoint MUST retransmit the INIT chunk and restart the
        //= T1-init timer."
        //= RFC 9260 §4: "This MUST be repeated up to 'Max.Init.Retransmits' times."
        //= RFC 9260 §4: "After that, the endpoint MUST abort the initialization process and report the error to the
        //= SCTP user."
        if wait.retransmissions > limit {
            self.close(CloseReason::ConnectTimeout, cx);
            return;
        }
        //= RFC 9260 §5.1: "Retransmissions of INIT chunks and COOKIE ECHO chunks SHOULD use all addresses of the peer"
        let path = wait.retransmissions as usize % self.paths.len();
        self.queue_control(path, Control::Init);
    }

    /// T1-cookie: the COOKIE ECHO again, once with whatever DATA it had, then alone, or no more (§5.1.4).
    pub(super) fn t1_cookie_expired(&mut self, cx: &mut Context<'_>) {
        let limit = self.config.max_init_retransmits;
        let State::CookieEchoed(echoed) = &mut self.state else { return };
        echoed.t1 = None;
        echoed.retransmissions += 1;
        //= RFC 9260 §4: "If the T1-cookie timer expires, the endpoint MUST retransmit COOKIE ECHO chunk and restart the
        //= T1-cookie timer."
        //= RFC 9260 §5.1.4: "If the timer expires, the endpoint MUST retransmit the COOKIE ECHO chunk and restart the
        //= T1-cookie timer."
        if echoed.retransmissions > limit {
            self.close(CloseReason::ConnectTimeout, cx);
            return;
        }
        let turn = echoed.retransmissions as usize;
        self.sender.outstanding.time_out_all();
        //= RFC 9260 §5.4: "then the implementation MUST NOT send a COOKIE ECHO chunk to an UNCONFIRMED address"
        let confirmed: SmallVec<[usize; 4]> =
            (0..self.paths.len()).filter(|at| self.paths[*at].is_confirmed()).collect();
        let first = confirmed.iter().position(|at| *at == self.paths.primary()).unwrap_or(0);
        let path = confirmed.get((first + turn) % confirmed.len().max(1)).copied().unwrap_or(0);
        self.queue_control(path, Control::CookieEcho);
    }

    /// COOKIE ECHO of a valid cookie for this association (§5.2.4), which has come in UDP from the port `encapsulation` or directly over IP.
    /// True if the chunks that came with it are to be processed.
    pub(crate) fn handle_cookie_echo(
        &mut self,
        cookie: &Cookie,
        (source, encapsulation): (IpAddr, Option<NonZeroU16>),
        cx: &mut Context<'_>,
    ) -> bool {
        let collision = self.resolve_collision(cookie);
        if !matches!(collision, Collision::Late | Collision::Unknown) {
            // The cookie is ours, and its tags fit: the packet is the association's.
            self.learn_encapsulation(self.paths.find(source), encapsulation);
        }
        match collision {
            //= RFC 9260 §5.2.4: "the endpoint SHOULD enter the ESTABLISHED state if it is in the COOKIE-ECHOED state"
            //= RFC 9260 §5.2.4: "It SHOULD stop any T1-cookie timer that is running and send a COOKIE ACK chunk."
            Collision::Same => {
                if self.state.is_connecting() {
                    self.establish_by_cookie(cx);
                }
            }
            //= RFC 9260 §5.2.4: "The endpoint SHOULD stay in or enter the ESTABLISHED state, but it MUST update its
            //= peer's Verification Tag from the State Cookie, stop any T1-init or T1-cookie timers"
            Collision::BothInitiated => {
                let connecting = self.state.is_connecting();
                if connecting && self.peer_tag != cookie.peer_tag {
                    // DATA went with our COOKIE ECHO under the tag that the peer does not have any more: it discards that (C).
                    self.sender.outstanding.time_out_all();
                }
                self.peer_tag = cookie.peer_tag;
                // What the peer said with its new tag holds, unless DATA has come with the old one.
                if connecting || self.stats.data_chunks_received == 0 {
                    self.adopt(cookie, cx.now);
                    let refused = self.sender.queue.limit_streams(self.outbound_streams);
                    self.discard_unsent(refused, SendFailure::NoSuchStream, cx);
                }
                if connecting {
                    self.establish_by_cookie(cx);
                }
            }
            Collision::Restart => {
                //= RFC 9260 §5.2.4: "it MUST NOT set up a new association but instead resend the SHUTDOWN ACK chunk and
                //= send an ERROR chunk"
                if matches!(self.state, State::ShutdownAckSent(_)) {
                    let at = self.reply_path(source);
                    self.queue_control(at, Control::ShutdownAck);
                    self.queue_error(at, Cause::CookieReceivedWhileShuttingDown);
                    return false;
                }
                self.restart(cookie, cx);
            }
            Collision::Late | Collision::Unknown => return false,
        }
        self.queue_cookie_ack(source, cx);
        true
    }

    /// The row of table 12 that a cookie falls into.
    pub(crate) fn resolve_collision(&self, cookie: &Cookie) -> Collision {
        let (local_tie, peer_tie) = self.tie_tags;
        let own = OwnTags { local: self.local_tag, peer: self.peer_tag, local_tie, peer_tie };
        let tags = CookieTags {
            local: cookie.local_tag,
            peer: cookie.peer_tag,
            local_tie: cookie.local_tie_tag,
            peer_tie: cookie.peer_tie_tag,
        };
        collision::resolve(tags, own)
    }

    /// The first COOKIE ECHO of an association that we accept.
    pub(crate) fn cookie_accepted(&mut self, source: IpAddr, cx: &mut Context<'_>) {
        self.established(cx);
        self.queue_cookie_ack(source, cx);
    }

    /// Whether the peer's address is of a family that we can send to.
    //= RFC 9260 §5.1.2: "it MUST use all the addresses belonging to the supported address family"
    //= RFC 9260 §5.1.2: "The endpoint SHOULD NOT respond with any kind of error indication."
    fn can_reach(&self, address: IpAddr) -> bool {
        supported_types(&self.local_addresses).is_none_or(|types| match address {
            IpAddr::V4(_) => types.ipv4,
            IpAddr::V6(_) => types.ipv6,
        })
    }

    /// Takes over what a cookie says of the peer.
    fn adopt(&mut self, cookie: &Cookie, now: Instant) {
        self.peer_tag = cookie.peer_tag;
        self.outbound_streams = cookie.outbound_streams;
        self.inbound_streams = cookie.inbound_streams;
        self.sender.a_rwnd = cookie.peer_window;
        self.ecn = (cookie.flags & flags::ECN != 0).then(Box::default);
        self.receiver.restart(cookie.peer_initial_tsn, &self.config);
        // "the only CONFIRMED address is the address to which the packet containing the INIT ACK chunk was sent" (§5.4).
        //= RFC 9260 §3.3.2.1.2: "the endpoint receiving the INIT chunk MUST use the source address associated with the
        //= received IP datagram as its sole destination address"
        if let Some(at) = self.add_path(cookie.source, PathState::Active, now) {
            self.paths.set_state(at, PathState::Active);
            if !self.bound {
                self.paths[at].source =
                    Some(super::source::towards(&self.local_addresses, cookie.source, cookie.destination));
            }
        }
        for address in &cookie.addresses {
            if self.can_reach(*address) {
                self.add_path(*address, PathState::Unconfirmed, now);
            }
        }
    }

    fn establish_by_cookie(&mut self, cx: &mut Context<'_>) {
        self.control.clear();
        self.established(cx);
        let Self { outbound_streams, inbound_streams, .. } = *self;
        self.emit(cx, Event::Connected { outbound_streams, inbound_streams });
        self.shutdown_if_requested(cx);
    }

    fn established(&mut self, cx: &mut Context<'_>) {
        self.state = State::Established;
        self.sender.burst = self.config.max_burst;
        // DATA that went with the COOKIE ECHO is on its own now.
        for at in 0..self.paths.len() {
            if self.sender.outstanding.flight(at).bytes > 0 {
                self.start_t3(at, cx.now);
            }
        }
        self.start_heartbeats(cx);
    }

    fn queue_cookie_ack(&mut self, source: IpAddr, cx: &mut Context<'_>) {
        let at = self.paths.find(source).unwrap_or_else(|| self.paths.for_data());
        self.queue_control(at, Control::CookieAck);
        //= RFC 9260 §5.4: "A COOKIE ACK chunk MAY be sent to an UNCONFIRMED address, but it MUST be bundled with a
        //= HEARTBEAT chunk including a nonce."
        if !self.paths[at].is_confirmed() {
            self.send_heartbeat(at, cx);
            let heartbeat =
                self.control.iter().position(|queued| queued.path == at && matches!(queued.chunk, Control::Heartbeat));
            if let Some(queued) = heartbeat.and_then(|from| self.control.remove(from)) {
                self.control.insert(1, queued);
            }
        }
    }

    /// Action (A): the old association is gone, a new one takes its place.
    fn restart(&mut self, cookie: &Cookie, cx: &mut Context<'_>) {
        self.fail_all_data(SendFailure::Restarted, cx);
        self.abort_partial_delivery(cx);
        self.local_tag = cookie.local_tag;
        self.local_initial_tsn = cookie.local_initial_tsn;
        self.sender.restart(cookie.local_initial_tsn, &self.config);
        // All paths are new.
        //= RFC 9260 §5.2.4: "All the congestion control parameters (e.g., cwnd, ssthresh) related to this peer MUST be
        //= reset to their initial values"
        let encapsulation = self.paths.encapsulation;
        let path = Path::new(cookie.source, PathState::Active, &self.config, cx.now);
        let mut path = path.encapsulated(encapsulation, &self.config);
        if self.bound {
            path.source = super::closest(&self.local_addresses, cookie.source);
        }
        self.paths = Paths::new(path, self.limits.max_packet());
        self.error_count = 0;
        self.control.clear();
        self.shutdown_requested = false;
        self.draining = false;
        self.adopt(cookie, cx.now);
        self.tie_tags = super::draw_tie_tags(cx.rng);
        self.established(cx);
        let Self { outbound_streams, inbound_streams, .. } = *self;
        //= RFC 9260 §5.2.4: "A RESTART notification SHOULD be sent to the ULP instead of a COMMUNICATION LOST
        //= notification."
        self.emit(cx, Event::Restarted { outbound_streams, inbound_streams });
    }
}
