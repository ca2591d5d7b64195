//! Whose packet is it: which worker must handle what this one has received.
//!
//! Mostly the XDP program has answered already (the association is in the packet's metadata) or the
//! tag says it. What is left are the packets whose tag is not one of ours (RFC 9260 §5.2, §8.5.1):
//! an INIT or COOKIE ECHO of a peer that has an association already, and an ABORT or SHUTDOWN
//! COMPLETE that carries the peer's own tag. For these the workers share a directory of the peers,
//! which is read on this slow path alone. A link that does not steer (in memory, or a driver that
//! cannot share a queue) is served by the same rules.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use sctp_common::steering::Steering;
use sctp_common::wire::{COMMON_HEADER_LENGTH, chunk, flags};
use sctp_core::wire::{Chunk, Packet};
use sctp_core::{ChecksumState, Datagram, Ecn, PeerChange};

use super::mailbox::Mailbox;

/// Most addresses of an INIT that are looked up.
const MAX_LISTED: usize = 64;

/// A packet that is handed from one worker to another.
#[derive(Debug)]
pub(crate) struct OwnedPacket {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) encapsulation: Option<NonZeroU16>,
    pub(crate) ecn: Ecn,
    pub(crate) checksum: ChecksumState,
    pub(crate) bytes: Bytes,
}

impl OwnedPacket {
    /// Copies a received packet.
    pub(crate) fn copy(datagram: &Datagram<'_>) -> OwnedPacket {
        OwnedPacket {
            source: datagram.source,
            destination: datagram.destination,
            encapsulation: datagram.encapsulation,
            ecn: datagram.ecn,
            checksum: datagram.checksum,
            bytes: Bytes::copy_from_slice(datagram.bytes),
        }
    }
}

/// How packets find their worker.
#[derive(Debug)]
pub(crate) struct Steer {
    steering: Steering,
    mailboxes: Vec<Arc<Mailbox>>,
    directory: Directory,
}

impl Steer {
    /// For the workers with the given mailboxes, in their order.
    pub(crate) fn new(steering: Steering, mailboxes: Vec<Arc<Mailbox>>) -> Steer {
        Steer { steering, mailboxes, directory: Directory::default() }
    }

    /// The mailboxes of all workers.
    pub(crate) fn mailboxes(&self) -> &[Arc<Mailbox>] {
        &self.mailboxes
    }

    /// The worker that must handle the packet, if it is not `worker`.
    pub(crate) fn elsewhere(&self, datagram: &Datagram<'_>, worker: u16) -> Option<&Mailbox> {
        if self.mailboxes.len() == 1 {
            return None;
        }
        // A reflected tag is the peer's, and peers of other workers may have drawn the same: the address decides.
        if datagram.association.is_some() && !is_reflected(datagram.bytes) {
            return None;
        }
        let head = Head::read(datagram.bytes)?;
        let owner = self.owner(&head, datagram)?;
        if owner == worker { None } else { self.mailboxes.get(usize::from(owner)).map(|m| &**m) }
    }

    /// The worker that the peer belongs to, if it has an association.
    pub(crate) fn owner_of_peer(&self, peer: IpAddr, peer_port: u16, local_port: u16) -> Option<u16> {
        self.directory.owner(Peer { address: peer, port: peer_port, local_port })
    }

    /// A worker's association has got or lost a peer address.
    pub(crate) fn change_peer(&self, change: PeerChange, worker: u16) {
        if self.mailboxes.len() > 1 {
            self.directory.change(change, worker);
        }
    }

    fn owner(&self, head: &Head, datagram: &Datagram<'_>) -> Option<u16> {
        let of_address =
            |address| self.directory.owner(Peer { address, port: head.source_port, local_port: head.destination_port });
        let of_peer = || of_address(datagram.source);
        match head.first_chunk {
            // "An INIT or INIT ACK chunk MUST be treated as belonging to an already established association … if the use
            // of any of the valid address parameters contained within the chunk would identify an existing TCB" (§5.1.2 D).
            chunk::INIT => of_peer().or_else(|| listed_addresses(datagram.bytes, of_address)),
            // Without an association yet, the tag's owner is to be the association's.
            chunk::COOKIE_ECHO => of_peer().or_else(|| self.owner_of_tag(head.tag)),
            _ if is_reflected(datagram.bytes) => of_peer(),
            // Its tag may be one that this host has forgotten, while it sets up an association anew (§8.5.1 E).
            chunk::SHUTDOWN_ACK => of_peer().or_else(|| self.owner_of_tag(head.tag)),
            _ => self.owner_of_tag(head.tag),
        }
    }

    fn owner_of_tag(&self, tag: u32) -> Option<u16> {
        (tag != 0).then(|| self.steering.owner(tag))
    }
}

/// Whether the first chunk says that the packet's tag is the peer's own (RFC 9260 §8.5.1).
fn is_reflected(packet: &[u8]) -> bool {
    matches!(
        packet.get(COMMON_HEADER_LENGTH..),
        Some([chunk::ABORT | chunk::SHUTDOWN_COMPLETE, chunk_flags, ..]) if chunk_flags & flags::T != 0
    )
}

/// What `owner` says of the first of the addresses that an INIT lists that it knows.
fn listed_addresses(packet: &[u8], owner: impl Fn(IpAddr) -> Option<u16>) -> Option<u16> {
    let first = Packet::parse(packet).ok()?.chunks().next()?.ok()?;
    let Ok(Chunk::Init(init)) = Chunk::parse(first) else { return None };
    // As many as the endpoint looks at.
    init.parameters.addresses().take(MAX_LISTED).find_map(owner)
}

/// The few fields that decide.
struct Head {
    source_port: u16,
    destination_port: u16,
    tag: u32,
    first_chunk: u8,
}

impl Head {
    /// `None` for a packet that is too short to have a chunk; whoever has it may drop it.
    fn read(packet: &[u8]) -> Option<Head> {
        let (header, chunks) = packet.split_at_checked(COMMON_HEADER_LENGTH)?;
        let [first_chunk, _flags, ..] = *chunks else { return None };
        Some(Head {
            source_port: u16::from_be_bytes([header[0], header[1]]),
            destination_port: u16::from_be_bytes([header[2], header[3]]),
            tag: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            first_chunk,
        })
    }
}

/// Which worker has an association with a peer: shared by all workers.
#[derive(Debug, Default)]
struct Directory {
    peers: RwLock<HashMap<Peer, u16>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Peer {
    address: IpAddr,
    port: u16,
    local_port: u16,
}

impl Directory {
    fn owner(&self, peer: Peer) -> Option<u16> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(&peer).copied()
    }

    fn change(&self, change: PeerChange, worker: u16) {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        match change {
            PeerChange::Added { peer, peer_port, local_port } => {
                peers.insert(Peer { address: peer, port: peer_port, local_port }, worker);
            }
            PeerChange::Removed { peer, peer_port, local_port } => {
                let peer = Peer { address: peer, port: peer_port, local_port };
                // Another worker's entry is not ours to remove.
                if peers.get(&peer) == Some(&worker) {
                    peers.remove(&peer);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use sctp_core::{AssociationId, CopyPayload};

    use super::*;
    use crate::stack::mailbox::tests::mailbox;

    const WORKERS: u16 = 3;
    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

    fn steer() -> Steer {
        let steering = Steering { key: [1, 2], workers: WORKERS };
        Steer::new(steering, (0..WORKERS).map(|index| Arc::new(mailbox(index))).collect())
    }

    /// Which worker handles a packet that worker 0 has received.
    fn handler(steer: &Steer, tag: u32, chunk: u8, chunk_flags: u8) -> u16 {
        let mut packet = [0; 16];
        packet[..2].copy_from_slice(&2000_u16.to_be_bytes());
        packet[2..4].copy_from_slice(&7_u16.to_be_bytes());
        packet[4..8].copy_from_slice(&tag.to_be_bytes());
        packet[12..].copy_from_slice(&[chunk, chunk_flags, 0, 4]);
        elsewhere(steer, &packet, None)
    }

    fn elsewhere(steer: &Steer, packet: &[u8], association: Option<AssociationId>) -> u16 {
        let datagram = Datagram {
            source: PEER,
            destination: IpAddr::V4(Ipv4Addr::LOCALHOST),
            encapsulation: None,
            ecn: Ecn::NotEct,
            checksum: ChecksumState::NotChecked,
            association,
            bytes: packet,
            payload: &mut CopyPayload(packet),
        };
        steer.elsewhere(&datagram, 0).map_or(0, Mailbox::index)
    }

    /// A tag that a worker owns.
    fn tag_of(steer: &Steer, worker: u16) -> u32 {
        (1..).find(|tag| steer.steering.owner(*tag) == worker).unwrap()
    }

    fn added() -> PeerChange {
        PeerChange::Added { peer: PEER, peer_port: 2000, local_port: 7 }
    }

    fn removed() -> PeerChange {
        PeerChange::Removed { peer: PEER, peer_port: 2000, local_port: 7 }
    }

    #[test]
    fn the_tag_names_the_worker() {
        let steer = steer();
        for worker in 0..WORKERS {
            let tag = tag_of(&steer, worker);
            for kind in [chunk::DATA, chunk::SACK, chunk::INIT_ACK, chunk::COOKIE_ECHO, chunk::ABORT] {
                assert_eq!(handler(&steer, tag, kind, 0), worker, "chunk type {kind}");
            }
        }
    }

    #[test]
    fn the_directory_names_the_worker_where_the_tag_does_not() {
        let steer = steer();
        let foreign = tag_of(&steer, 1);
        // Nobody knows the peer: an INIT stays where it came in, and so does what reflects a tag.
        assert_eq!(handler(&steer, 0, chunk::INIT, 0), 0);
        assert_eq!(handler(&steer, foreign, chunk::ABORT, flags::T), 0);
        steer.change_peer(added(), 2);
        assert_eq!(steer.owner_of_peer(PEER, 2000, 7), Some(2));
        assert_eq!(steer.owner_of_peer(PEER, 2001, 7), None);
        assert_eq!(handler(&steer, 0, chunk::INIT, 0), 2);
        assert_eq!(handler(&steer, foreign, chunk::COOKIE_ECHO, 0), 2);
        assert_eq!(handler(&steer, foreign, chunk::ABORT, flags::T), 2);
        assert_eq!(handler(&steer, foreign, chunk::SHUTDOWN_COMPLETE, flags::T), 2);
        assert_eq!(handler(&steer, foreign, chunk::SHUTDOWN_ACK, 0), 2);
        assert_eq!(handler(&steer, foreign, chunk::SHUTDOWN_COMPLETE, 0), 1);
        // Another worker's entry is not removed.
        steer.change_peer(removed(), 1);
        assert_eq!(handler(&steer, 0, chunk::INIT, 0), 2);
        steer.change_peer(removed(), 2);
        assert_eq!(handler(&steer, 0, chunk::INIT, 0), 0);
    }

    #[test]
    fn an_init_is_known_by_the_addresses_that_it_lists() {
        // From an address that nobody has seen: 10.0.0.2 is the third of those that it lists.
        let init = |addresses: &[Ipv4Addr]| {
            let mut packet = vec![0; 12];
            packet[..2].copy_from_slice(&2000_u16.to_be_bytes());
            packet[2..4].copy_from_slice(&7_u16.to_be_bytes());
            packet.extend([chunk::INIT, 0, 0, 20 + 8 * addresses.len() as u8]);
            packet.extend([0, 0, 0, 9, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
            for address in addresses {
                packet.extend([0, 5, 0, 8]);
                packet.extend(address.octets());
            }
            packet
        };
        let steer = steer();
        let known = PeerChange::Added { peer: "10.9.0.2".parse().unwrap(), peer_port: 2000, local_port: 7 };
        steer.change_peer(known, 2);
        let others = [Ipv4Addr::new(10, 7, 0, 1), Ipv4Addr::new(10, 8, 0, 1)];
        assert_eq!(elsewhere(&steer, &init(&others), None), 0);
        assert_eq!(elsewhere(&steer, &init(&[others[0], others[1], Ipv4Addr::new(10, 9, 0, 2)]), None), 2);
    }

    #[test]
    fn what_xdp_has_steered_stays() {
        let steer = steer();
        let mut packet = [0; 16];
        packet[4..8].copy_from_slice(&tag_of(&steer, 1).to_be_bytes());
        assert_eq!(elsewhere(&steer, &packet, None), 1);
        assert_eq!(elsewhere(&steer, &packet, Some(AssociationId::from_parts(0, 0))), 0);
    }

    #[test]
    fn what_reflects_a_tag_goes_to_its_sender_s_worker_whomever_the_tag_names() {
        let steer = steer();
        steer.change_peer(added(), 2);
        let another = Some(AssociationId::from_parts(0, 0));
        for kind in [chunk::ABORT, chunk::SHUTDOWN_COMPLETE] {
            let mut packet = [0; 16];
            packet[..2].copy_from_slice(&2000_u16.to_be_bytes());
            packet[2..4].copy_from_slice(&7_u16.to_be_bytes());
            packet[4..8].copy_from_slice(&tag_of(&steer, 1).to_be_bytes());
            packet[12..].copy_from_slice(&[kind, flags::T, 0, 4]);
            assert_eq!(elsewhere(&steer, &packet, another), 2);
            packet[13] = 0;
            assert_eq!(elsewhere(&steer, &packet, another), 0, "its tag is ours");
        }
    }

    #[test]
    fn packets_without_a_chunk_stay() {
        let steer = steer();
        let packet = [0xFF; 13];
        for length in 0..=packet.len() {
            assert_eq!(elsewhere(&steer, &packet[..length], None), 0, "{length} bytes");
        }
    }

    #[test]
    fn a_single_worker_keeps_no_directory() {
        let steering = Steering { key: [1, 2], workers: 1 };
        let steer = Steer::new(steering, vec![Arc::new(mailbox(0))]);
        steer.change_peer(added(), 0);
        assert_eq!(steer.owner_of_peer(PEER, 2000, 7), None);
        assert_eq!(handler(&steer, 1, chunk::DATA, 0), 0);
    }
}
