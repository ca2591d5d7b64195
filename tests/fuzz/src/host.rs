//! An endpoint under test: every packet that it sends must be sound, and it must stay within its means, whatever it is told.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use sctp_core::time::Instant;
use sctp_core::wire::{Chunk, Packet, verify_checksum};
use sctp_core::{
    AssociationId, ChecksumState, CopyPayload, Datagram, Ecn, Endpoint, EndpointConfig, Event, Handled, PeerChange,
    ReceivedMessage, TagChange, TagKind,
};

/// More packets than one step needs: beyond them it sends for ever.
const MOST_PACKETS: usize = 5000;
/// More timeouts at one time, and in the end, than an honest timer needs.
const MOST_TIMEOUTS: usize = 10_000;

/// A packet that the endpoint has sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) bytes: Vec<u8>,
    pub(crate) ecn: Ecn,
}

pub(crate) struct Host {
    pub(crate) endpoint: Endpoint,
    pub(crate) now: Instant,
    pub(crate) addresses: Vec<IpAddr>,
    /// Packets that have not been taken yet.
    pub(crate) sent: Vec<Sent>,
    pub(crate) events: Vec<(AssociationId, Event)>,
    /// Ports and tags: ours, which must differ, and those of each association's peer, which need not.
    tags: BTreeSet<(u16, u32, Option<AssociationId>)>,
    peers: BTreeSet<(IpAddr, u16, u16)>,
    max_associations: usize,
    buffer: Vec<u8>,
}

impl Host {
    pub(crate) fn new(config: EndpointConfig, seed: u8) -> Self {
        Self {
            now: Instant::from_millis(1_000_000),
            addresses: config.addresses.clone(),
            max_associations: config.max_associations,
            buffer: vec![0xa5; config.max_packet],
            endpoint: Endpoint::new(config, [seed; 32]),
            sent: Vec::new(),
            events: Vec::new(),
            tags: BTreeSet::new(),
            peers: BTreeSet::new(),
        }
    }

    /// A packet arrives.
    pub(crate) fn handle(&mut self, source: IpAddr, destination: IpAddr, bytes: &[u8], ecn: Ecn) -> Handled {
        let right = verify_checksum(bytes);
        let datagram = Datagram {
            source,
            destination,
            encapsulation: None,
            ecn,
            checksum: ChecksumState::NotChecked,
            association: None,
            bytes,
            payload: &mut CopyPayload(bytes),
        };
        let handled = self.endpoint.handle(self.now, datagram);
        assert!(right || matches!(handled, Handled::Dropped(_)), "a wrong checksum, and {handled:?}");
        self.settle();
        handled
    }

    /// Time passes; timers expire when they are due.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        let mut rounds = 0;
        while let Some(at) = self.endpoint.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.endpoint.handle_timeout(self.now);
            self.settle();
            rounds += 1;
            assert!(rounds < MOST_TIMEOUTS, "timers go round in circles");
        }
        self.now = end;
    }

    /// Nothing happens until the next timer is due, or for so long.
    pub(crate) fn pass_to_next_timer(&mut self, most: Duration) {
        if let Some(at) = self.endpoint.poll_timeout() {
            self.pass((at - self.now).min(most));
        }
    }

    /// Time leaps: timers are served late, and all at once.
    pub(crate) fn leap(&mut self, duration: Duration) {
        self.now += duration;
        self.pass(Duration::ZERO);
    }

    /// Takes all that the endpoint has to say, and checks it.
    pub(crate) fn settle(&mut self) {
        while let Some(change) = self.endpoint.poll_tag() {
            let done = match change {
                TagChange::Added { local_port, tag, kind, id } => {
                    self.tags.insert((local_port, tag, (kind == TagKind::Peer).then_some(id)))
                }
                TagChange::Removed { local_port, tag, kind, id } => {
                    self.tags.remove(&(local_port, tag, (kind == TagKind::Peer).then_some(id)))
                }
            };
            assert!(done, "{change:?}");
        }
        while let Some(change) = self.endpoint.poll_peer() {
            let done = match change {
                PeerChange::Added { peer, peer_port, local_port } => self.peers.insert((peer, peer_port, local_port)),
                PeerChange::Removed { peer, peer_port, local_port } => {
                    self.peers.remove(&(peer, peer_port, local_port))
                }
            };
            assert!(done, "{change:?}");
        }
        while let Some(event) = self.endpoint.poll_event() {
            self.events.push(event);
        }
        let mut count = 0;
        while let Some(transmit) = self.endpoint.poll_transmit(self.now, &mut self.buffer) {
            let bytes = &self.buffer[..transmit.len];
            check_packet(bytes);
            let source = transmit
                .source
                .or_else(|| self.addresses.iter().copied().find(|own| own.is_ipv4() == transmit.destination.is_ipv4()));
            if let Some(source) = source {
                assert!(self.addresses.contains(&source), "{source} is not ours");
                let Self { sent, .. } = self;
                sent.push(Sent { source, destination: transmit.destination, bytes: bytes.to_vec(), ecn: transmit.ecn });
            }
            count += 1;
            assert!(count < MOST_PACKETS, "it sends and sends");
        }
        self.check_means();
    }

    /// Takes a message from an association, if there is one.
    pub(crate) fn recv(&mut self, id: AssociationId) -> Option<ReceivedMessage> {
        let config = self.endpoint.association(id).map(|association| association.config().clone());
        let message = self.endpoint.recv(id)?;
        assert!(!message.is_empty());
        assert!(config.is_none_or(|config| message.len() <= config.max_message_size), "{} bytes", message.len());
        self.settle();
        Some(message)
    }

    /// Everything is ended: nothing may be left.
    pub(crate) fn finish(mut self) {
        let ids: Vec<_> = self.endpoint.associations().map(sctp_core::Association::id).collect();
        for id in ids {
            // It may end by the end of another.
            let _ = self.endpoint.abort(self.now, id, bytes());
            self.settle();
        }
        let closed: Vec<_> = self.events.iter().map(|(id, _)| *id).collect();
        closed.into_iter().for_each(|id| self.endpoint.release(id));
        let mut rounds = 0;
        while let Some(at) = self.endpoint.poll_timeout() {
            self.now = self.now.max(at);
            self.endpoint.handle_timeout(self.now);
            self.settle();
            rounds += 1;
            assert!(rounds < MOST_TIMEOUTS, "a timer is left");
        }
        assert_eq!(self.endpoint.associations().count(), 0);
        assert!(self.tags.is_empty() && self.peers.is_empty(), "{:?} and {:?} are left", self.tags, self.peers);
    }

    /// No peer can make it hold more than its settings allow.
    fn check_means(&self) {
        assert!(self.endpoint.associations().count() <= self.max_associations);
        for association in self.endpoint.associations() {
            let config = association.config();
            let (held, buffer) =
                (association.receive_buffer_used(), config.receive_buffer.max(config.max_receive_buffer));
            assert!(held <= buffer * 2 + 65_536, "{held} bytes are held in a buffer of {buffer}");
            assert!(association.paths().len() <= config.max_paths);
            assert!(association.outstanding_chunks() <= config.max_outstanding);
            let in_flight: usize = association.paths().map(|path| path.flight as usize).sum();
            assert!(association.data_in_flight() <= in_flight, "paths know of {in_flight} bytes in flight");
            assert!(in_flight == 0 || association.outstanding_chunks() > 0);
            for path in association.paths() {
                assert!(path.mtu >= 512 && path.cwnd > 0, "{path:?}");
            }
        }
    }
}

/// The reason of the application's ABORT.
fn bytes() -> bytes::Bytes {
    bytes::Bytes::from_static(b"over")
}

/// What any receiver would hold against a packet.
fn check_packet(bytes: &[u8]) {
    assert!(verify_checksum(bytes), "the checksum is wrong");
    let packet = Packet::parse(bytes).expect("packets are sound");
    let mut count = 0;
    for chunk in packet.chunks() {
        let chunk = chunk.and_then(Chunk::parse).expect("chunks are sound");
        assert!(!matches!(chunk, Chunk::Unknown(_)), "{packet}");
        count += 1;
    }
    assert!(count > 0, "no chunk at all");
}
