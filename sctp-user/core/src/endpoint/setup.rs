//! INIT and COOKIE ECHO: the two chunks that can lead to an association (RFC 9260 §5.1, §5.2).

use core::net::IpAddr;
use core::num::NonZeroU16;
use core::time::Duration;
use std::sync::Arc;

use rand::Rng;
use sctp_common::cookie::flags;
use smallvec::SmallVec;

use super::Endpoint;
use super::routing::Received;
use crate::association::{Association, Context, NewAssociation, PeerParameters, draw_tie_tags, is_unicast};
use crate::config::AssociationConfig;
use crate::cookie::Cookie;
use crate::event::{Discard, Handled};
use crate::serial::Tsn;
use crate::spent::Ending;
use crate::time::Instant;
use crate::wire::{
    Abort, Cause, Chunk, ChunkError, CookieEcho, ErrorChunk, Init, InitAck, Parameter, ParameterList, RawChunk,
};
use crate::{AssociationState, OutOfTheBluePolicy};

/// What an INIT ACK says of us.
struct Own {
    local_tag: u32,
    initial_tsn: Tsn,
    /// Ours and the peer's; 0 if no association exists.
    tie_tags: (u32, u32),
    config: Arc<AssociationConfig>,
    addresses: Arc<[IpAddr]>,
}

impl Endpoint {
    /// INIT. Its packet's tag must be zero and it must be alone (§8.5.1 A, §6.10).
    pub(super) fn handle_init(
        &mut self,
        now: Instant,
        raw: RawChunk<'_>,
        received: Received<'_, '_>,
    ) -> Result<Handled, Discard> {
        let packet = received.packet;
        //= RFC 9260 §12.3: "The receiver of an INIT chunk MUST silently discard the INIT chunk and all further chunks
        //= if the INIT chunk is bundled with other chunks or the packet has a non-zero Verification Tag."
        if packet.verification_tag != 0 {
            return Err(Discard::BadTag);
        }
        if packet.chunks().count() > 1 {
            return Err(Discard::BadBundle);
        }
        if !is_unicast(received.source) || !is_unicast(received.destination) {
            return Err(Discard::BadAddress);
        }
        let init = match Chunk::parse(raw) {
            Ok(Chunk::Init(init)) => init,
            Err(ChunkError::Init { error, .. }) => {
                //= RFC 9260 §3.3.2: "If the value of the Initiate Tag in a received INIT chunk is found to be 0, the
                //= receiver MUST silently discard the packet."
                //= RFC 9260 §3.3.2: "with the a_rwnd value set to a value smaller than 1500 MUST discard the packet,
                //= SHOULD send a packet in response containing an ABORT chunk and using the Initiate Tag as the
                //= Verification Tag, and MUST NOT change the state of any existing association"
                //= RFC 9260 §3.3.2: "with the OS value set to 0 MUST discard the packet, SHOULD send a packet in
                //= response containing an ABORT chunk and using the Initiate Tag as the Verification Tag, and MUST NOT
                //= change the state of any existing association"
                //= RFC 9260 §3.3.2: "with the MIS value set to 0 MUST discard the packet, SHOULD send a packet in
                //= response containing an ABORT chunk and using the Initiate Tag as the Verification Tag, and MUST NOT
                //= change the state of any existing association"
                let tag = error.initiate_tag().ok_or(Discard::Malformed)?;
                return self.refuse(&received, tag, &[Cause::InvalidMandatoryParameter]);
            }
            _ => return Err(Discard::Malformed),
        };
        let parameters = match PeerParameters::read(&init.parameters, received.source, &self.config.addresses) {
            Ok(parameters) => parameters,
            Err(bad) => return bad.with_cause(|cause| self.refuse(&received, init.initiate_tag, &[cause])),
        };
        //= RFC 9260 §5.1.2: "An INIT or INIT ACK chunk MUST be treated as belonging to an already established
        //= association (or one in the process of being established) if the use of any of the valid address parameters"
        let addresses = core::iter::once(received.source).chain(parameters.addresses.iter().copied());
        if let Some(slot) = self.find_any(addresses, packet.source_port, packet.destination_port) {
            return self.init_for_existing(slot, now, &init, &parameters, received);
        }
        let full = self.table.len() >= self.config.max_associations;
        let Some(listener) = self.listeners.get(&packet.destination_port) else {
            return match self.config.out_of_the_blue {
                OutOfTheBluePolicy::Answer => self.refuse(&received, init.initiate_tag, &[]),
                OutOfTheBluePolicy::Discard => Err(Discard::NotListening),
            };
        };
        if full || listener.accepted >= listener.max_associations {
            return self.refuse(&received, init.initiate_tag, &[Cause::OutOfResource]);
        }
        let own = Own {
            config: Arc::clone(&listener.config),
            local_tag: self.draw_tag(packet.destination_port),
            //= RFC 9260 §3.3.3: "the Initial TSN SHOULD be set to a random value in that range"
            initial_tsn: Tsn(self.rng.next_u32()),
            //= RFC 9260 §5.2.2: "For a normal association INIT chunk (i.e., the endpoint is in the CLOSED state), the
            //= Tie-Tags MUST be set to 0"
            tie_tags: (0, 0),
            addresses: self.announced(&self.config.addresses, received.source),
        };
        //= RFC 9260 §5.1: "After sending an INIT ACK chunk with the State Cookie parameter, "Z" MUST NOT allocate any
        //= resources or keep any states for the new association."
        //= RFC 9260 §3.3.2: "then the receiver SHOULD process the INIT chunk and send back an INIT ACK"
        //= RFC 9260 §8.4: "If the packet contains an INIT chunk with a Verification Tag set to 0, it SHOULD be
        //= processed as described in Section 5.1."
        self.send_init_ack(now, &init, &parameters, own, &received)
    }

    /// COOKIE ECHO, the first chunk of its packet (§5.1.5, §5.2.4).
    pub(super) fn handle_cookie_echo(
        &mut self,
        now: Instant,
        raw: RawChunk<'_>,
        received: Received<'_, '_>,
    ) -> Result<Handled, Discard> {
        let packet = received.packet;
        //= RFC 9260 §8.4: "If the packet contains a COOKIE ECHO chunk as the first chunk, it MUST be processed as
        //= described in Section 5.1."
        //= RFC 9260 §4: "If the State Cookie in the received COOKIE ECHO chunk is invalid (i.e., failed to pass the
        //= integrity check), the receiver MUST silently discard the packet."
        let cookie = self.cookies.open(CookieEcho::parse(raw).cookie, now).map_err(|_| Discard::BadCookie)?;
        let ports = (cookie.local_port, cookie.peer_port) == (packet.destination_port, packet.source_port);
        //= RFC 9260 §5.1.5: "If these values do not match, the packet MUST be silently discarded."
        if !ports || cookie.local_tag != packet.verification_tag {
            return Err(Discard::BadTag);
        }
        let mut addresses = core::iter::once(cookie.source).chain(cookie.addresses.iter().copied());
        if !addresses.clone().any(|address| address == received.source) {
            return Err(Discard::UnknownSource);
        }
        let existing = addresses.find_map(|address| self.table.find_peer(address, cookie.peer_port, cookie.local_port));
        let both_match = existing.is_some_and(|slot| {
            let association = self.table.get(self.table.id_of(slot));
            association.is_some_and(|a| a.local_tag() == cookie.local_tag && a.peer_tag() == cookie.peer_tag)
        });
        //= RFC 9260 §5.1.5: "SHOULD be discarded, and the endpoint MUST transmit an ERROR chunk with a "Stale
        //= Cookie" error cause to the peer endpoint"
        //= RFC 9260 §5.2.4: "the packet, including the COOKIE ECHO chunk and any DATA chunks, SHOULD be discarded"
        //= RFC 9260 §5.2.4: "The endpoint also MUST transmit an ERROR chunk with a "Stale Cookie" error cause"
        //= RFC 9260 §4: "Or, if the received State Cookie is expired (see Section 5.1.5), the receiver MUST send back
        //= an ERROR chunk."
        if let Some(staleness) = cookie.staleness(now).filter(|_| !both_match) {
            // In microseconds, rounded up (§3.3.10.3).
            let staleness = u32::try_from(staleness.as_nanos().div_ceil(1000)).unwrap_or(u32::MAX);
            let causes = [Cause::StaleCookie { staleness }];
            return self.answer(&received, cookie.peer_tag, &ErrorChunk { causes: causes[..].into() });
        }
        //= RFC 9260 §5.1.5: "the procedures in Section 5.2 SHOULD be followed"
        match existing {
            Some(slot) => self.cookie_for_existing(slot, now, &cookie, received),
            None => match self.spent.find(cookie.local_port, cookie.local_tag, cookie.expiry(), now) {
                None => self.accept(now, &cookie, received),
                // The association that it made has ended. The peer must not believe that there is one.
                Some(Ending::OneSided) => self.refuse(&received, cookie.peer_tag, &[]),
                Some(Ending::Mutual) => Err(Discard::SpentCookie),
            },
        }
    }

    /// A valid COOKIE ECHO makes an association (§5.1.5 step 5).
    //= RFC 9260 §5: "the two endpoints MUST complete an initialization process in order to set up an SCTP association
    //= between them"
    fn accept(&mut self, now: Instant, cookie: &Cookie, received: Received<'_, '_>) -> Result<Handled, Discard> {
        let full = self.table.len() >= self.config.max_associations;
        let Some(listener) = self.listeners.get_mut(&cookie.local_port) else {
            return self.refuse(&received, cookie.peer_tag, &[]);
        };
        // Cookies keep no tag free: the same may have been drawn again, and another peer have been quicker to return its cookie.
        if self.table.has_tag(cookie.local_port, cookie.local_tag) {
            return self.refuse(&received, cookie.peer_tag, &[]);
        }
        if full || listener.accepted >= listener.max_associations {
            return self.refuse(&received, cookie.peer_tag, &[Cause::OutOfResource]);
        }
        listener.accepted += 1;
        let config = Arc::clone(&listener.config);
        let new = NewAssociation {
            id: self.table.next_id(),
            config,
            limits: self.limits,
            local_port: cookie.local_port,
            peer_port: cookie.peer_port,
            local_tag: cookie.local_tag,
            tie_tags: draw_tie_tags(&mut self.rng),
            local_initial_tsn: cookie.local_initial_tsn,
            local_addresses: self.announced(&self.config.addresses, cookie.source),
            bound: false,
            encapsulation: received.encapsulation,
        };
        let mut cx = Context { now, rng: &mut self.rng, events: &mut self.events };
        let mut association = Association::accept(new, cookie, &mut cx);
        association.cookie_accepted(received.source, &mut cx);
        let slot = self.table.insert(association);
        let id = self.table.id_of(slot);
        self.cookie_made(slot, cookie.expiry());
        self.table.sync(slot);
        self.process(slot, now, received, true);
        Ok(Handled::Processed(id))
    }

    fn cookie_for_existing(
        &mut self,
        slot: u32,
        now: Instant,
        cookie: &Cookie,
        received: Received<'_, '_>,
    ) -> Result<Handled, Discard> {
        let id = self.table.id_of(slot);
        let from = (received.source, received.encapsulation);
        let Some(live) = self.table.live_mut(slot) else { return Err(Discard::Unexpected) };
        let (port, tag, expiry) = (live.association.local_port(), live.association.local_tag(), live.cookie_expiry);
        let mut go_on = false;
        self.with(slot, now, |association, cx| go_on = association.handle_cookie_echo(cookie, from, cx));
        if go_on {
            if cookie.local_tag != tag {
                // It has restarted. Its old tag is used up.
                self.spent.insert(port, tag, expiry, Ending::Mutual, now);
            }
            self.cookie_made(slot, cookie.expiry());
            self.process(slot, now, received, true);
        }
        Ok(Handled::Processed(id))
    }

    /// A State Cookie with the tag of an association is fresh until `expiry`.
    fn cookie_made(&mut self, slot: u32, expiry: Instant) {
        if let Some(live) = self.table.live_mut(slot) {
            live.cookie_expiry = live.cookie_expiry.max(expiry);
        }
    }

    /// An INIT for an association that exists (§5.2.1, §5.2.2).
    fn init_for_existing(
        &mut self,
        slot: u32,
        now: Instant,
        init: &Init<'_>,
        parameters: &PeerParameters<'_>,
        received: Received<'_, '_>,
    ) -> Result<Handled, Discard> {
        let id = self.table.id_of(slot);
        let association = self.table.get(id).ok_or(Discard::Unexpected)?;
        let state = association.state();
        let listed = core::iter::once(received.source).chain(parameters.addresses.iter().copied());
        match state {
            AssociationState::ShutdownAckSent => {
                let source = received.source;
                self.with(slot, now, |association, _| association.repeat_shutdown_ack(source));
                return Ok(Handled::Processed(id));
            }
            AssociationState::CookieWait => {
                //= RFC 9260 §5.2.1: "The packet containing the INIT ACK chunk MUST only be sent to an address passed by
                //= the upper layer"
                if association.find_path(received.source).is_none() {
                    return Err(Discard::UnknownSource);
                }
            }
            _ => {
                //= RFC 9260 §5.2.2: "Before responding, the endpoint MUST check to see if the unexpected INIT chunk
                //= adds new addresses to the association."
                let added: SmallVec<[Parameter<'_>; 4]> = listed
                    .filter(|address| association.find_path(*address).is_none())
                    .map(Parameter::from_address)
                    .collect();
                if !added.is_empty() {
                    //= RFC 9260 §5.2.1: "then the entire INIT chunk MUST be discarded, and the state of the existing
                    //= association SHOULD NOT be changed"
                    //= RFC 9260 §5.2.1: "An ABORT chunk SHOULD be sent in a response"
                    //= RFC 9260 §5.2.1: "The error SHOULD list the addresses that were added to the restarting
                    //= association."
                    //= RFC 9260 §5.2.2: "the endpoint MUST respond with an ABORT chunk, copying the 'Initiate Tag' of
                    //= the unexpected INIT chunk into the 'Verification Tag' of the outbound packet"
                    //= RFC 9260 §5.2.2: "The error SHOULD list the addresses that were added to the restarting
                    //= association."
                    let cause = Cause::RestartWithNewAddresses(ParameterList::new(&added));
                    return self.refuse(&received, init.initiate_tag, &[cause]);
                }
                // Somebody behind the peer's NAT has its address, but not its UDP port: what an INIT needs no tag for must not give the
                // association away (draft-tuexen-tsvwg-rfc6951-bis; the Linux kernel does the same).
                let current = association.encapsulation(received.source).unwrap_or(received.encapsulation);
                if current != received.encapsulation {
                    let port = |port: Option<NonZeroU16>| port.map_or(0, NonZeroU16::get);
                    let (current, new) = (port(current), port(received.encapsulation));
                    let cause = Cause::RestartWithNewEncapsulationPort { current, new };
                    return self.refuse(&received, init.initiate_tag, &[cause]);
                }
            }
        }
        let connecting = matches!(state, AssociationState::CookieWait | AssociationState::CookieEchoed);
        //= RFC 9260 §5.2.1: "it MUST populate its Tie-Tags within both the association TCB and inside the State Cookie"
        //= RFC 9260 §5.2.2: "the endpoint MUST copy its current Tie-Tags to a reserved place within the State Cookie
        //= and the association's TCB"
        let tie_tags = if state == AssociationState::CookieWait { (0, 0) } else { association.tie_tags() };
        let (config, addresses) = (association.shared_config(), association.shared_addresses());
        let same = (association.local_tag(), association.local_initial_tsn());
        if connecting {
            self.cookie_made(slot, now + self.cookie_life(parameters.cookie_extension));
        }
        let (local_tag, initial_tsn) = match connecting {
            //= RFC 9260 §5.2.1: "Upon receipt of an INIT chunk in the COOKIE-WAIT state, an endpoint MUST respond with
            //= an INIT ACK chunk using the same parameters it sent in its original INIT chunk"
            //= RFC 9260 §5.2.1: "Upon receipt of an INIT chunk in the COOKIE-ECHOED state, an endpoint MUST respond
            //= with an INIT ACK chunk using the same parameters it sent in its original INIT chunk"
            //= RFC 9260 §5.2.1: "When responding, the following rules MUST be applied:"
            true => same,
            //= RFC 9260 §5.2.2: "And the INIT ACK chunk MUST contain a new Initiate Tag (randomly generated; see
            //= Section 5.3.1)."
            //= RFC 9260 §5.2.2: "Other parameters for the endpoint SHOULD be copied from the existing parameters of the
            //= association"
            false => (self.draw_tag(received.packet.destination_port), Tsn(self.rng.next_u32())),
        };
        let own = Own { local_tag, initial_tsn, tie_tags, config, addresses };
        //= RFC 9260 §5.2.1: "After that, the endpoint MUST NOT change its state, the T1-init timer MUST be left
        //= running, and the corresponding TCB MUST NOT be destroyed."
        //= RFC 9260 §5.2.2: "After sending the INIT ACK or ABORT chunk, the endpoint MUST take no further actions,
        //= i.e., the existing association, including its current state, and the corresponding TCB MUST NOT be changed."
        self.send_init_ack(now, init, parameters, own, &received)
    }

    /// INIT ACK with a State Cookie, to where the INIT came from; nothing else remembers it (§5.1 B).
    fn send_init_ack(
        &mut self,
        now: Instant,
        init: &Init<'_>,
        parameters: &PeerParameters<'_>,
        own: Own,
        received: &Received<'_, '_>,
    ) -> Result<Handled, Discard> {
        let Own { local_tag, initial_tsn, tie_tags, config, addresses } = own;
        let offer = config.offer();
        let others = parameters.addresses.iter().filter(|address| **address != received.source);
        let cookie = Cookie {
            local_port: received.packet.destination_port,
            peer_port: received.packet.source_port,
            local_tag,
            peer_tag: init.initiate_tag,
            local_tie_tag: tie_tags.0,
            peer_tie_tag: tie_tags.1,
            local_initial_tsn: initial_tsn,
            peer_initial_tsn: init.initial_tsn,
            peer_window: init.a_rwnd,
            outbound_streams: offer.outbound_streams.min(init.inbound_streams),
            inbound_streams: init.outbound_streams.min(offer.inbound_streams),
            flags: if parameters.ecn { offer.flags & flags::ECN } else { 0 },
            created: now,
            lifetime: self.cookie_life(parameters.cookie_extension),
            source: received.source,
            destination: received.destination,
            addresses: others.take(offer.further.into()).copied().collect(),
        };
        let sealed = self.cookies.seal(&cookie);
        let mut list: SmallVec<[Parameter<'_>; 8]> = SmallVec::new();
        //= RFC 9260 §5.1: "Moreover, "Z" MUST generate and send along with the INIT ACK chunk a State Cookie."
        //= RFC 9260 §5.2.1: "The endpoint MUST also generate a State Cookie with the INIT ACK chunk."
        //= RFC 9260 §5.2.2: "the endpoint MUST generate an INIT ACK chunk with a State Cookie"
        //= RFC 9260 §3.3.3: "An INIT ACK chunk MUST NOT contain the Host Name Address parameter."
        //= RFC 9260 §3.3.3.1: "The Host Name Address parameter is described in Section 3.3.2.1.4 and MUST NOT be
        //= included in an INIT ACK chunk."
        list.push(Parameter::StateCookie(&sealed));
        //= RFC 9260 §12.4: "An SCTP implementation SHOULD attempt to make the INIT ACK chunk as small as possible"
        // The one address that is left is seen by the peer anyway.
        if addresses.len() > 1 {
            let usable = addresses.iter().filter(|address| parameters.can_use(**address, received.source));
            list.extend(usable.map(|address| Parameter::from_address(*address)));
        }
        if cookie.flags & flags::ECN != 0 {
            list.push(Parameter::EcnCapable);
        }
        let essential = list.len();
        //= RFC 9260 §3.2.2: "it MUST put the "Unrecognized Parameter" parameter(s) in the INIT ACK chunk sent in
        //= response to the INIT chunk"
        //= RFC 9260 §3.3.3.1.2: "has a type that indicates it SHOULD be reported to the sender"
        list.extend(parameters.unrecognized.iter().map(|raw| raw.unrecognized()));
        loop {
            let init_ack = InitAck(Init {
                initiate_tag: local_tag,
                a_rwnd: offer.window,
                //= RFC 9260 §3.3.3: "The value of 0 MUST NOT be used, and the value MUST NOT be greater than the MIS value
                //= sent in the INIT chunk."
                outbound_streams: offer.outbound_streams.min(init.inbound_streams),
                inbound_streams: offer.inbound_streams,
                initial_tsn,
                parameters: ParameterList::new(&list),
            });
            //= RFC 9260 §5.1: ""Z" MUST set the Verification Tag field to Tag_A and also provide its own Verification
            //= Tag (Tag_Z) in the Initiate Tag field"
            //= RFC 9260 §5.2.2: "The outbound SCTP packet containing this INIT ACK chunk MUST carry a Verification Tag
            //= value equal to the Initiate Tag found in the unexpected INIT chunk."
            let answered = self.answer(received, init.initiate_tag, &init_ack);
            // Should it be too long for a packet, what was not recognized is left out, from the end.
            if answered.is_ok() || list.len() == essential || self.answers.len() >= self.config.max_pending_answers {
                return answered;
            }
            list.pop();
        }
    }

    /// How long a cookie lives: longer if the peer asks for it, but at most as long again (§3.3.2.1.3).
    fn cookie_life(&self, asked: Duration) -> Duration {
        self.config.cookie_lifetime + asked.min(self.config.cookie_lifetime)
    }

    /// ABORT in answer to an INIT or COOKIE ECHO: the tag is the peer's, not reflected (§5.1, §8.4 rule 3).
    //= RFC 9260 §5.1: "it SHOULD respond with an ABORT chunk"
    //= RFC 9260 §5.1: "It SHOULD also specify the cause of abort"
    //= RFC 9260 §5.1: "The Verification Tag field in the common header of the outbound SCTP packet containing the ABORT
    //= chunk MUST be set to the Initiate Tag value of the received INIT"
    //= RFC 9260 §8.4: "the Verification Tag of the packet containing the ABORT chunk MUST be the Initiate Tag of the
    //= received INIT chunk"
    //= RFC 9260 §5.1.2: "The ABORT chunk SHOULD be sent to the source IP address from which the last peer packet was
    //= received."
    fn refuse(&mut self, received: &Received<'_, '_>, peer_tag: u32, causes: &[Cause<'_>]) -> Result<Handled, Discard> {
        self.answer(received, peer_tag, &Abort { tag_reflected: false, causes: causes.into() })
    }

    fn find_any(&self, addresses: impl Iterator<Item = IpAddr>, peer_port: u16, local_port: u16) -> Option<u32> {
        addresses.into_iter().find_map(|address| self.table.find_peer(address, peer_port, local_port))
    }
}

#[cfg(test)]
mod tests;
