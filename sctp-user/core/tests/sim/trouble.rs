//! What befalls hosts: crashes, pauses, and strangers who send garbage.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use sctp_core::{Ecn, IcmpMessage};

use super::app::Phase;
use super::capture::Captured;
use super::ledger::FlowEnd;
use super::network::Fate;
use super::observer::Tags;
use super::world::{Conversation, Deed, World};

impl World {
    /// A host loses everything and starts again.
    pub(crate) fn crash(&mut self, index: usize) {
        for side in &mut self.sides {
            if side.node == index && !matches!(side.phase, Phase::Closed(_)) {
                side.phase = Phase::Crashed;
            }
            if side.node == index {
                side.forgotten = true;
                // What had not been read is gone, and with it the peer's flow.
                side.closed.get_or_insert(self.now);
                let flow = &mut self.ledger.flows[side.flow];
                flow.end = if flow.end == FlowEnd::Open { FlowEnd::Forgotten } else { flow.end };
            }
        }
        let lost: Vec<usize> = self.nodes[index].sides.values().copied().collect();
        for flow in 0..self.ledger.flows.len() {
            if self.reads(index, &lost, self.ledger.flows[flow].from) {
                self.ledger.flows[flow].end = FlowEnd::Forgotten;
            }
        }
        self.nodes[index].restart();
        self.settle(index);
    }

    /// Whether a side of another host sends to one of these of this host.
    fn reads(&self, node: usize, sides: &[usize], from: usize) -> bool {
        let sender = &self.sides[from];
        if sender.node == node {
            return false;
        }
        let reversed = sender.tags.map(Tags::reversed);
        let talks = !sender.is_over()
            && sender.conversation.is_some_and(|conversation| {
                let Conversation { client, server, .. } = self.conversations[conversation];
                client == node || server == node
            });
        talks || (reversed.is_some() && sides.iter().any(|side| self.sides[*side].tags == reversed))
    }

    /// A host does not run for a while; packets to it wait.
    pub(crate) fn sleep(&mut self, index: usize, duration: Duration) {
        let until = self.now + duration;
        self.schedule(until, Deed::Wake(index));
        let node = &mut self.nodes[index];
        node.asleep = until.max(node.asleep);
        for id in node.sides.keys() {
            if let Some(tags) = node.tags(*id) {
                self.observer.overslept(tags, until);
            }
        }
    }

    /// A packet was too big for a link: the router before it may say so (RFC 1191, RFC 8201).
    pub(super) fn too_big(&mut self, from: usize, source: IpAddr, destination: IpAddr, bytes: &Bytes) {
        let (mtu, tells, delay) = {
            let link = self.network.config(source, destination);
            (link.mtu, link.tells_mtu, link.delay)
        };
        if self.random.chance(tells) {
            let quoted = bytes.slice(..bytes.len().min(500));
            let deed = Deed::TellMtu { node: from, source, destination, mtu, quoted };
            self.schedule(self.now + delay, deed);
        }
    }

    /// Such a message arrives.
    pub(super) fn tell_mtu(
        &mut self,
        index: usize,
        (source, destination): (IpAddr, IpAddr),
        mtu: usize,
        quoted: &[u8],
    ) {
        let node = &mut self.nodes[index];
        if node.asleep > self.now {
            return;
        }
        let (icmp_type, code) = if source.is_ipv4() { (3, 4) } else { (2, 0) };
        let message =
            IcmpMessage { icmp_type, code, mtu: mtu as u32, source, destination, encapsulation: None, quoted };
        node.endpoint.handle_icmp(self.now + node.leapt, &message);
        self.settle(index);
    }

    /// The clock of a host leaps ahead, as after the suspension of a virtual machine: whatever was due in between is due at once.
    pub(crate) fn leap(&mut self, index: usize, by: Duration) {
        if self.sides.iter().any(|side| side.phase == Phase::Opening) {
            // Cookies and their keys would be out of date, and the attempt to connect might rightly come to nothing.
            return self.schedule(self.now + Duration::from_secs(1), Deed::Leap(index, by));
        }
        let node = &mut self.nodes[index];
        node.leapt += by;
        let now = self.now + node.leapt;
        if node.asleep <= self.now {
            node.endpoint.handle_timeout(now);
        }
        self.settle(index);
    }

    /// The clock of a host is set back, but never behind the world's. What was to happen happens later by as much; nothing else may.
    pub(crate) fn step_back(&mut self, index: usize, by: Duration) {
        let node = &mut self.nodes[index];
        node.leapt = node.leapt.saturating_sub(by);
        for tags in node.sides.keys().filter_map(|id| node.tags(*id)) {
            self.observer.set_back(tags, by);
        }
        if node.asleep <= self.now {
            let now = self.now + node.leapt;
            node.endpoint.handle_timeout(now);
            self.settle(index);
        }
    }

    /// ICMP of any kind and with any MTU about a packet that the victim has sent. Protocol Unreachable is left out for one who knows the
    /// tag: with it he may end an association, as by an ABORT.
    pub(super) fn forge_icmp(&mut self, victim: usize, quoted_to: usize, knows_tag: bool) {
        let mut random = self.random.fork(4_000_000 + self.sequence);
        let to = &self.nodes[quoted_to].addresses;
        let sent = self.packets.iter().rev().filter(|p| p.from == Some(victim) && to.contains(&p.destination)).take(50);
        let sent: Vec<&Captured> = sent.collect();
        if sent.is_empty() || self.nodes[victim].asleep > self.now {
            return;
        }
        let captured = random.pick(&sent);
        let (source, destination) = (captured.source, captured.destination);
        let mut quoted = captured.bytes[..captured.bytes.len().min(random.within(0..=64) as usize)].to_vec();
        if !knows_tag && quoted.len() >= 8 {
            let guess = random.next() as u32;
            quoted[4..8].copy_from_slice(&guess.to_be_bytes());
        }
        let (icmp_type, code) = match (source.is_ipv4(), knows_tag) {
            (true, true) => *random.pick(&[(3, 0), (3, 1), (3, 3), (3, 4), (11, 0)]),
            (true, false) => *random.pick(&[(3, 0), (3, 1), (3, 2), (3, 3), (3, 4)]),
            (false, true) => *random.pick(&[(1, 0), (1, 3), (1, 4), (2, 0), (3, 0)]),
            (false, false) => *random.pick(&[(1, 0), (1, 3), (2, 0), (4, 1)]),
        };
        let (small, any) = (random.below(2000) as u32, random.next() as u32);
        let mtu = *random.pick(&[0, 68, 296, 576, 1280, 1499, small, any]);
        let message = IcmpMessage { icmp_type, code, mtu, source, destination, encapsulation: None, quoted: &quoted };
        let node = &mut self.nodes[victim];
        node.endpoint.handle_icmp(self.now + node.leapt, &message);
        self.settle(victim);
    }

    /// Garbage from somebody who knows addresses and ports, but not the tags.
    pub(super) fn inject(&mut self, victim: usize, pretended: usize) {
        let mut random = self.random.fork(3_000_000 + self.sequence);
        let templates: Vec<&Captured> =
            self.packets.iter().rev().filter(|p| p.from == Some(pretended)).take(50).collect();
        let mut bytes = match templates.len() {
            0 => vec![0; random.within(0..=200) as usize],
            count => templates[random.below(count as u64) as usize].bytes.to_vec(),
        };
        let blind = random.chance(0.2) || bytes.len() < 16;
        if blind {
            random.fill(&mut bytes);
        } else {
            for _ in 0..random.below(4) {
                let at = random.within(12..=bytes.len() as u64 - 1) as usize;
                bytes[at] = random.next() as u8;
            }
            bytes.truncate(random.within(16..=bytes.len() as u64 * 2) as usize);
            let tag = random.next() as u32;
            bytes[4..8].copy_from_slice(&tag.to_be_bytes());
            let checksum = sctp_core::wire::checksum::compute(&bytes);
            bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
        }
        let source = *random.pick(&self.nodes[pretended].addresses);
        let fits = self.nodes[victim].addresses.iter().copied().find(|address| address.is_ipv4() == source.is_ipv4());
        if let Some(destination) = fits {
            self.inject_packet(source, destination, bytes.into());
        }
    }

    /// Puts a packet of the test's own before a host, at once.
    pub(crate) fn inject_packet(&mut self, source: IpAddr, destination: IpAddr, bytes: Bytes) {
        let captured =
            Captured { at: self.now, from: None, source, destination, bytes: bytes.clone(), fate: Fate::Passed };
        self.packets.push(captured);
        self.schedule(self.now, Deed::Arrive { source, destination, bytes, ecn: Ecn::NotEct });
    }
}
