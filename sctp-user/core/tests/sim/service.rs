//! Serving endpoints: packets and timers in, packets and events out, and the checks of each step.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use sctp_core::wire::{ChunkType, Packet, verify_checksum};
use sctp_core::{
    Association, AssociationId, AssociationState, ChecksumState, CopyPayload, Datagram, Ecn, Event, Handled, PathState,
    SharedPayload, Transmit,
};

use super::app::Plan;
use super::capture::Captured;
use super::network::{Arrival, Fate, ip_header};
use super::node::Node;
use super::observer::{PathView, Tags};
use super::packet::{self, Sending};
use super::world::{Conversation, Deed, MOST_STEPS_AT_ONCE, Sight, Verdict, Violation, World};

impl World {
    pub(super) fn arrive(&mut self, source: IpAddr, destination: IpAddr, bytes: Bytes, ecn: Ecn) {
        self.in_flight -= 1;
        let Some(index) = self.owner(destination) else { return };
        let node = &mut self.nodes[index];
        if node.asleep > self.now {
            let at = node.asleep;
            return self.schedule(at, Deed::Arrive { source, destination, bytes, ecn });
        }
        let valid = verify_checksum(&bytes);
        let packet = Packet::parse(&bytes).ok();
        node.answering = packet.map(|packet| packet.verification_tag);
        if let Some(packet) = packet {
            if ecn == Ecn::Ce {
                node.marked.insert(packet.verification_tag);
            }
            if packet::has(&bytes, ChunkType::ECNE) {
                node.echoed.insert(packet.verification_tag);
            }
        }
        let (mut copying, mut sharing) = (CopyPayload(&bytes), SharedPayload(&bytes));
        let datagram = Datagram {
            source,
            destination,
            encapsulation: None,
            ecn,
            checksum: if valid && self.sequence.is_multiple_of(2) {
                ChecksumState::Verified
            } else {
                ChecksumState::NotChecked
            },
            association: None,
            bytes: &bytes,
            payload: if self.sequence.is_multiple_of(3) { &mut copying } else { &mut sharing },
        };
        // What the tags are before the packet changes them.
        let before = packet.map(|packet| node.links_with(packet.verification_tag));
        let handled = node.endpoint.handle(self.now + node.leapt, datagram);
        self.dropped += u64::from(matches!(handled, Handled::Dropped(_)));
        self.handled = Some(handled);
        let noted = self.note_arrival(index, packet, valid, handled, before.unwrap_or_default());
        self.judge(noted);
        self.settle(index);
        self.nodes[index].answering = None;
    }

    /// Judges what an endpoint made of a packet, and tells the observer.
    fn note_arrival(
        &mut self,
        index: usize,
        packet: Option<Packet<'_>>,
        valid: bool,
        handled: Handled,
        before: (Option<u32>, Option<u32>),
    ) -> Result<(), Violation> {
        let node = &mut self.nodes[index];
        node.take_changes()?;
        let id = match handled {
            Handled::Dropped(_) => return Ok(()),
            _ if !valid => {
                let what = format!("{handled:?}: {packet:?}");
                return Err(Violation { rule: "a packet with a wrong checksum is dropped", what });
            }
            Handled::Processed(id) => id,
            Handled::Answered => return Ok(()),
        };
        let packet = packet
            .ok_or_else(|| Violation { rule: "what is not a packet is dropped", what: format!("{handled:?}") })?;
        let (local, peer) = node.local_and_peer_tag(id);
        if !packet::tag_fits(&packet, local, peer) && !packet::tag_fits(&packet, before.0, before.1) {
            let what = format!("{handled:?}, tags {local:x?} and {peer:x?}: {packet}");
            return Err(Violation { rule: "only packets with the right tag are acted upon", what });
        }
        let Some(tags) = node.tags(id) else { return Ok(()) };
        let Some(association) = node.endpoint.association(id) else { return Ok(()) };
        let state = association.state();
        if !node.sides.contains_key(&id) {
            self.observer.reborn(tags);
        }
        let config = match node.sides.get(&id) {
            Some(side) => &self.sides[*side].plan.config,
            // Its first event is still to be read.
            None => match node.listening.get(&association.local_port()) {
                Some(listen) => &listen.association,
                None => return Ok(()),
            },
        };
        self.observer.arrived(self.now, &packet, tags, config, state)
    }

    /// Takes all that an endpoint has to say, and checks what must hold then.
    pub(crate) fn settle(&mut self, index: usize) {
        let settled = self.try_settle(index);
        self.judge(settled);
    }

    fn try_settle(&mut self, index: usize) -> Result<(), Violation> {
        let mut rounds = 0;
        loop {
            let mut any = self.nodes[index].take_changes()?;
            while let Some((id, event)) = self.nodes[index].endpoint.poll_event() {
                any = true;
                self.nodes[index].take_changes()?;
                self.on_endpoint_event(index, id, event)?;
            }
            while let Some(transmit) = self.poll_transmit(index) {
                any = true;
                rounds += 1;
                self.on_transmit(index, &transmit)?;
                if rounds > MOST_STEPS_AT_ONCE {
                    return Err(Violation { rule: "sending ends", what: format!("node {index} sends and sends") });
                }
            }
            if !any {
                break;
            }
        }
        self.check_node(index)
    }

    fn poll_transmit(&mut self, index: usize) -> Option<Transmit> {
        let node = &mut self.nodes[index];
        if node.asleep > self.now {
            return None;
        }
        node.endpoint.poll_transmit(self.now + node.leapt, &mut node.buffer)
    }

    fn on_endpoint_event(&mut self, node: usize, id: AssociationId, event: Event) -> Result<(), Violation> {
        if let Event::Accepted { local_port, .. } = event {
            let conversation = self.find_conversation(node, id, local_port);
            // An association that has ended before its first event was read has nobody to talk to.
            let plan = conversation.map_or_else(Plan::manual, |index| self.conversations[index].plan_of(node).clone());
            self.open_side(node, id, plan, conversation);
        }
        let Some(side) = self.nodes[node].sides.get(&id).copied() else {
            let what = format!("{event:?} of {id:?}");
            return Err(Violation { rule: "events name an association that is known", what });
        };
        self.sides[side].tags = self.nodes[node].tags(id).or(self.sides[side].tags);
        self.on_event(side, event)
    }

    /// The conversation that an accepted association belongs to.
    fn find_conversation(&self, node: usize, id: AssociationId, local_port: u16) -> Option<usize> {
        let association = self.nodes[node].endpoint.association(id)?;
        let peer = self.owner(association.paths().next()?.address)?;
        let ends = [(node, local_port), (peer, association.peer_port())];
        self.conversations.iter().position(|conversation| {
            let Conversation { client, server, client_port, server_port, .. } = *conversation;
            let (client, server) = ((client, client_port), (server, server_port));
            ends == [server, client] || ends == [client, server]
        })
    }

    fn on_transmit(&mut self, index: usize, transmit: &Transmit) -> Result<(), Violation> {
        let Transmit { destination, len, ecn, fragment_to, .. } = *transmit;
        let node = &self.nodes[index];
        let bytes = Bytes::copy_from_slice(&node.buffer[..len]);
        if ecn != Ecn::NotEct && !packet::has(&bytes, ChunkType::DATA) {
            let what = format!("{ecn:?} on {:?}", packet::chunk_types(&bytes));
            return Err(Violation { rule: "only DATA is ECN-capable transport", what });
        }
        let source = match transmit.source {
            Some(source) if !node.addresses.contains(&source) => {
                let what = format!("{source} to {destination}");
                return Err(Violation { rule: "packets come from an address of their sender", what });
            }
            Some(source) => source,
            None => self.route(index, destination),
        };
        let association = transmit.association.and_then(|id| node.endpoint.association(id));
        let path = association.and_then(|association| association.paths().find(|path| path.address == destination));
        // What is too large for the path must go in fragments that are not; a probe of the PMTU is meant to be.
        let beyond = packet::has(&bytes, ChunkType::PAD) || fragment_to.is_some();
        let limit = path.filter(|_| !beyond).map_or(usize::MAX, |path| usize::from(path.mtu) - ip_header(destination));
        if let (Some(fragment), Some(path)) = (fragment_to, &path)
            && (fragment != path.mtu || len + ip_header(destination) <= usize::from(path.mtu))
        {
            let what = format!("{len} bytes in fragments of {fragment}, the PMTU being {}", path.mtu);
            return Err(Violation { rule: "fragments are for what is too large, and fit the path MTU", what });
        }
        let limit = limit.min(node.config.max_packet);
        let to = self.owner(destination);
        if let Ok(packet) = Packet::parse(&bytes) {
            self.observer.announced(&packet, index);
        }
        let node = &self.nodes[index];
        let announced = &self.observer.announced;
        let result = packet::check(&bytes, &Sending { destination, to, limit, announced, answering: node.answering });
        let at = self.now;
        self.packets.push(Captured {
            at,
            from: Some(index),
            source,
            destination,
            bytes: bytes.clone(),
            fate: Fate::Passed,
        });
        result?;

        let tags = transmit.association.and_then(|id| node.tags(id));
        let side = transmit.association.and_then(|id| node.sides.get(&id));
        if let Some(tags) = tags {
            check_ecn(node, tags, &bytes)?;
        }
        if let (Some(tags), Some(side), Ok(packet)) = (tags, side, Packet::parse(&bytes)) {
            let path = path.map(|path| PathView { cwnd: path.cwnd, flight: path.flight });
            if packet.verification_tag == tags.peer {
                self.observer.sent(at, &packet, tags, &self.sides[*side].plan.config, path)?;
            }
        }
        self.transfer(index, (source, destination), fragment_to.is_some(), bytes, ecn);
        Ok(())
    }

    /// The source address that routing picks: of those with a link, the closest to the destination.
    fn route(&self, index: usize, destination: IpAddr) -> IpAddr {
        let addresses = &self.nodes[index].addresses;
        let bits = |address: IpAddr| match address {
            IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
            IpAddr::V6(address) => address.to_bits(),
        };
        let linked = addresses.iter().copied().filter(|source| self.network.has(*source, destination));
        linked.min_by_key(|source| bits(*source) ^ bits(destination)).unwrap_or(addresses[0])
    }

    /// Hands a packet to the network.
    fn transfer(
        &mut self,
        from: usize,
        (source, destination): (IpAddr, IpAddr),
        in_fragments: bool,
        bytes: Bytes,
        ecn: Ecn,
    ) {
        let mut interceptor = self.interceptor.take();
        let sight = Sight { at: self.now, from, source, destination, ecn, bytes: &bytes };
        let verdict = interceptor.as_mut().map_or(Verdict::Pass, |decide| decide(&sight));
        self.interceptor = interceptor;
        let (fate, later) = match verdict {
            Verdict::Drop => (Fate::Intercepted, Duration::ZERO),
            Verdict::Pass | Verdict::Delay(_) => {
                let later = if let Verdict::Delay(by) = verdict { by } else { Duration::ZERO };
                (
                    self.network.carry(self.now, source, destination, (&bytes, ecn, in_fragments), &mut self.arrivals),
                    later,
                )
            }
        };
        if let Some(captured) = self.packets.last_mut() {
            captured.fate = fate;
        }
        if fate == Fate::TooBig {
            self.too_big(from, source, destination, &bytes);
        }
        let mut arrivals = core::mem::take(&mut self.arrivals);
        for Arrival { at, bytes, ecn } in arrivals.drain(..) {
            self.schedule(at + later, Deed::Arrive { source, destination, bytes, ecn });
        }
        self.arrivals = arrivals;
    }

    /// What must hold whenever an endpoint has been served.
    fn check_node(&mut self, index: usize) -> Result<(), Violation> {
        let node = &mut self.nodes[index];
        let timeout = node.timeout();
        for (id, side) in &node.sides {
            let Some(association) = node.endpoint.association(*id) else { continue };
            let side = &self.sides[*side];
            let config = &side.plan.config;
            let state = association.state();
            if state == AssociationState::Closed || node.asleep > self.now {
                continue;
            }
            check_bounds(association).map_err(|(rule, what)| Violation { rule, what: format!("{id:?} {what}") })?;
            let queued = association.send_buffer_used();
            let waits = queued > 0 || state != AssociationState::Established;
            // T1, T2, T3 and the probe of a closed window all run for at most the largest RTO.
            let latest = self.now + config.rto_max.max(config.init_rto_max) + Duration::from_secs(1);
            if waits && timeout.is_none_or(|at| at > latest) {
                let what =
                    format!("{id:?} is {}, {queued} bytes wait, but the next timer is {timeout:?}", state.name());
                return Err(Violation { rule: "no timer is lost", what });
            }
            if let Some(tags) = node.tags(*id) {
                let outstanding = self.observer.outstanding(tags);
                if outstanding as usize > queued && queued > 0 && state == AssociationState::Established {
                    let what = format!("{id:?}, {tags:x?}: {outstanding} bytes are outstanding, {queued} are kept");
                    return Err(Violation { rule: "what is outstanding is kept", what });
                }
                if association.state() == AssociationState::Established {
                    self.observer.quiet(tags, config)?;
                }
            }
        }
        Ok(())
    }
}

/// RFC 4960 appendix A: an ECNE answers a mark, and a CWR an ECNE.
fn check_ecn(node: &Node, tags: Tags, bytes: &[u8]) -> Result<(), Violation> {
    let what = || format!("to {tags:x?}");
    if packet::has(bytes, ChunkType::ECNE) && !node.marked.contains(&tags.local) {
        return Err(Violation { rule: "congestion is echoed when it was experienced", what: what() });
    }
    if packet::has(bytes, ChunkType::CWR) && !node.echoed.contains(&tags.local) {
        return Err(Violation { rule: "a reduction is told to who has echoed congestion", what: what() });
    }
    Ok(())
}

/// What must hold of an association at any time, judged by what it tells of itself.
fn check_bounds(association: &Association) -> Result<(), (&'static str, String)> {
    let config = association.config();
    let (held, buffer) = (association.receive_buffer_used(), config.receive_buffer.max(config.max_receive_buffer));
    // RFC 9260 §6.2: at most one more chunk than the buffer, and what fills gaps.
    if held > buffer + 65_536 {
        return Err((
            "what has arrived fits the receive buffer",
            format!("holds {held} bytes, its buffer has {buffer}"),
        ));
    }
    let in_flight: u32 = association.paths().map(|path| path.flight).sum();
    if in_flight > 0 && association.outstanding_chunks() == 0 {
        return Err(("what is in flight is outstanding", format!("has {in_flight} bytes in flight, none outstanding")));
    }
    let data = association.data_in_flight();
    if data > in_flight as usize {
        return Err(("paths know what is in flight", format!("has {data} bytes in flight, its paths {in_flight}")));
    }
    match association.paths().find(|path| path.state == PathState::Unconfirmed && path.flight > 0) {
        Some(path) => Err(("DATA goes to confirmed addresses", format!("sends DATA to {}", path.address))),
        None => Ok(()),
    }
}
