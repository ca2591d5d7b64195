//! The same endpoint in userspace: the rules of `sctp_common` over ordinary collections.

use std::collections::{HashMap, HashSet};

use anyhow::Result;
use sctp_common::crc32c::packet_checksum;
use sctp_common::frame::{Addresses, Decoded, decode, decode_udp};
use sctp_common::icmp::quotation;
use sctp_common::judge::{ChecksumPolicy, Claim, Owner, Tables, claim, leave_fragments};
use sctp_common::maps::{HeartbeatKey, PeerEntry, PeerKey, PortEntry, TagEntry, TagKey, TagKind, policy};
use sctp_common::metadata::RxMetadata;
use sctp_common::reply::is_plain_heartbeat;
use sctp_common::steering::Steering;
use sctp_common::udp;
use sctp_common::verdict::{AnswerReason, DropReason, PassReason, RedirectReason, Verdict};

use super::frames::{BOUND_PORT, PEER_PORT, PEER_TAG, PORT, QUIET_PORT, TAG, our_addresses, peer_addresses};
use super::program::{Program, Settings};

/// An endpoint with two ports, one association, a peer and two addresses.
pub(crate) struct Model {
    ports: HashMap<u16, PortEntry>,
    tags: HashMap<TagKey, TagEntry>,
    peers: HashMap<PeerKey, PeerEntry>,
    /// Whose HEARTBEATs are answered.
    heartbeats: HashSet<HeartbeatKey>,
    addresses: HashSet<[u8; 16]>,
    steering: Steering,
    checksums: ChecksumPolicy,
    policy: u32,
    udp_port: u16,
}

impl Model {
    /// The endpoint of the tests, with what `settings` says.
    pub(crate) fn new(settings: &Settings) -> Self {
        let steering = Steering { key: settings.hash_key, workers: settings.workers as u16 };
        let entry = TagEntry { slot: 11, generation: 22, worker: steering.owner(TAG).into() };
        Self {
            ports: HashMap::from([(PORT, PortEntry::owned(true)), (QUIET_PORT, PortEntry::owned(false))]),
            tags: HashMap::from([
                (TagKey::new(PORT, TagKind::Local, TAG), entry),
                (TagKey::new(PORT, TagKind::Peer, PEER_TAG), entry),
            ]),
            peers: peer_addresses()
                .iter()
                .flat_map(|address| [PORT, QUIET_PORT].map(|port| PeerKey::new(*address, BOUND_PORT, port)))
                .map(|key| (key, PeerEntry { worker: settings.workers - 1 }))
                .collect(),
            heartbeats: peer_addresses().map(|address| HeartbeatKey::new(address, TAG, PEER_PORT, PORT)).into(),
            addresses: HashSet::from(our_addresses()),
            steering,
            checksums: ChecksumPolicy::from_globals(settings.policy, settings.verify_up_to),
            policy: settings.policy,
            udp_port: settings.udp_port,
        }
    }

    /// Loads the program with this endpoint in its maps and a socket for every worker on queue 0.
    pub(crate) fn program(&self, settings: Settings) -> Result<Program> {
        self.fill(Program::load(settings)?, settings)
    }

    /// The same for the program of another object.
    pub(crate) fn program_of(&self, object: &[u8], settings: Settings) -> Result<Program> {
        self.fill(Program::load_object(object, settings)?, settings)
    }

    fn fill(&self, mut program: Program, settings: Settings) -> Result<Program> {
        for (port, entry) in &self.ports {
            program.own_port(*port, entry.is_listening())?;
        }
        for (key, entry) in &self.tags {
            program.add_tag(*key, *entry)?;
        }
        for (key, entry) in &self.peers {
            program.add_peer(*key, *entry)?;
        }
        for key in &self.heartbeats {
            program.add_heartbeats(*key, PEER_TAG)?;
        }
        for address in &self.addresses {
            program.add_address(*address)?;
        }
        for worker in 0..settings.workers {
            program.add_socket(worker)?;
        }
        Ok(program)
    }

    /// The verdict on `frame`, and if it is redirected, to whom and with which metadata.
    pub(crate) fn judge(&self, frame: &[u8]) -> (Verdict, Option<(Owner, RxMetadata)>) {
        match self.owner(frame) {
            Ok((owner, metadata)) => (Verdict::Redirect(owner.reason), Some((owner, metadata))),
            Err(verdict) => (verdict, None),
        }
    }

    /// Whether the packet is a HEARTBEAT that the program answers.
    fn answers(&self, frame: &[u8], packet: &Decoded, addresses: &Addresses, owner: &Owner) -> bool {
        let Decoded { verification_tag, source_port, destination_port, .. } = *packet;
        self.policy & policy::ANSWER_HEARTBEATS != 0
            && owner.reason == RedirectReason::Association
            && is_plain_heartbeat(packet)
            && self.heartbeats.contains(&HeartbeatKey::new(
                addresses.source,
                verification_tag,
                source_port,
                destination_port,
            ))
            && (frame[0] | frame[6]) & 1 == 0
    }

    fn owner(&self, frame: &[u8]) -> Result<(Owner, RxMetadata), Verdict> {
        let packet = match decode(frame) {
            Err(Verdict::Pass(PassReason::Icmp)) => {
                let quotation = quotation(frame, self.udp_port).ok_or(PassReason::Icmp)?;
                let owner = quotation.find_owner(frame, self)?;
                return Ok((owner, RxMetadata::of_icmp(&quotation, owner.slot, owner.generation)));
            }
            Err(Verdict::Pass(PassReason::Udp)) if self.udp_port != 0 => decode_udp(frame, self.udp_port)?,
            decoded => decoded?,
        };
        let addresses = packet.addresses(frame).ok_or(DropReason::Truncated)?;
        let (at, length) = (packet.sctp_offset.into(), packet.sctp_len.into());
        let compute = || packet_checksum(frame, at, length);
        let verify_udp = |checksums: ChecksumPolicy| match packet.in_udp {
            true => checksums.verify_udp(frame, &packet, || udp::sum(frame, packet.udp_offset(), length + 8)),
            false => Ok(()),
        };
        let claim = claim(frame, &packet, &addresses, self, &self.steering);
        match claim.map_err(|verdict| leave_fragments(verdict, self.policy))? {
            Claim::Owner(owner) => {
                if self.answers(frame, &packet, &addresses, &owner) {
                    self.checksums.verify(&packet, compute)?;
                    return Err(AnswerReason::HeartbeatAck.into());
                }
                verify_udp(self.checksums)?;
                let checksum = self.checksums.accept(&packet, compute)?;
                Ok((owner, RxMetadata::new(&packet, checksum, owner.slot, owner.generation)))
            }
            Claim::Nobody(answer) if self.policy & policy::SILENT != 0 => Err(answer.reason.unanswered().into()),
            Claim::Nobody(_) if self.policy & policy::WORKERS_ANSWER != 0 => {
                verify_udp(self.checksums.thorough())?;
                self.checksums.verify(&packet, compute)?;
                let owner = Owner::to_answer(&packet, &self.steering);
                let checksum = self.checksums.accept(&packet, compute)?;
                Ok((owner, RxMetadata::new(&packet, checksum, owner.slot, owner.generation)))
            }
            Claim::Nobody(answer) => {
                verify_udp(self.checksums.thorough())?;
                self.checksums.verify(&packet, compute)?;
                // The last thing that the program looks at, when it swaps the addresses.
                let group = (frame[0] | frame[6]) & 1 != 0;
                Err(if group { DropReason::NonUnicast.into() } else { answer.reason.into() })
            }
        }
    }
}

impl Tables for Model {
    fn port(&self, port: u16) -> PortEntry {
        self.ports.get(&port).copied().unwrap_or_default()
    }

    fn tag(&self, key: &TagKey) -> Option<TagEntry> {
        self.tags.get(key).copied()
    }

    fn peer(&self, key: &PeerKey) -> Option<PeerEntry> {
        self.peers.get(key).copied()
    }

    fn is_ours(&self, address: &[u8; 16]) -> bool {
        self.addresses.contains(address)
    }
}
