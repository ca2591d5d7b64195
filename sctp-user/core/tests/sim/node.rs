//! A host: an endpoint, its addresses, and what the layers below it have been told to remember.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use sctp_core::time::Instant;
use sctp_core::{AssociationId, Endpoint, EndpointConfig, ListenConfig, PeerChange, TagChange, TagKind};

use super::memory;
use super::observer::Tags;
use super::random::Random;
use super::world::Violation;

/// Most bytes that an endpoint keeps when all its associations are gone: maps and queues that have grown do not shrink. It is far
/// less than a single association may fill.
const MOST_KEPT: isize = 256 << 10;

pub(crate) struct Node {
    pub(crate) endpoint: Endpoint,
    pub(crate) config: EndpointConfig,
    pub(crate) addresses: Vec<IpAddr>,
    /// Ports that are listened on, to do so again after a crash.
    pub(crate) listening: BTreeMap<u16, ListenConfig>,
    /// The application's sides of associations, by id.
    pub(crate) sides: BTreeMap<AssociationId, usize>,
    /// Tags that the XDP program would steer by.
    tags: BTreeSet<(u16, u32, Whose)>,
    /// The workers' directory of peers.
    peers: BTreeSet<(IpAddr, u16, u16)>,
    /// The tags that each association has, or had last.
    links: BTreeMap<AssociationId, (Option<u32>, Option<u32>)>,
    /// How far its clock has leapt ahead of the world's.
    pub(crate) leapt: Duration,
    /// Local tags that packets with the mark of congestion came to, and those that an ECNE came to.
    pub(crate) marked: BTreeSet<u32>,
    pub(crate) echoed: BTreeSet<u32>,
    /// Until when the host does not run.
    pub(crate) asleep: Instant,
    /// The tag of the packet that is being handled.
    pub(crate) answering: Option<u32>,
    /// What `poll_transmit` writes into.
    pub(crate) buffer: Vec<u8>,
    random: Random,
}

impl Node {
    pub(crate) fn new(config: EndpointConfig, addresses: Vec<IpAddr>, mut random: Random) -> Self {
        Self {
            endpoint: Endpoint::new(config.clone(), seed(&mut random)),
            buffer: vec![0xa5; config.max_packet],
            config,
            addresses,
            listening: BTreeMap::new(),
            sides: BTreeMap::new(),
            tags: BTreeSet::new(),
            peers: BTreeSet::new(),
            links: BTreeMap::new(),
            leapt: Duration::ZERO,
            marked: BTreeSet::new(),
            echoed: BTreeSet::new(),
            asleep: Instant::ORIGIN,
            answering: None,
            random,
        }
    }

    pub(crate) fn listen(&mut self, port: u16, config: ListenConfig) {
        self.endpoint.listen(port, config.clone()).expect("the port is free and the settings are valid");
        self.listening.insert(port, config);
    }

    pub(crate) fn unlisten(&mut self) {
        for port in core::mem::take(&mut self.listening).into_keys() {
            self.endpoint.unlisten(port);
        }
    }

    /// Loses everything and starts again, on the same addresses and ports.
    pub(crate) fn restart(&mut self) {
        self.endpoint = Endpoint::new(self.config.clone(), seed(&mut self.random));
        self.sides.clear();
        self.tags.clear();
        self.peers.clear();
        self.links.clear();
        for (port, config) in &self.listening {
            self.endpoint.listen(*port, config.clone()).expect("it worked before");
        }
    }

    /// The tags of an association, once both are known; also of one that has just gone.
    pub(crate) fn tags(&self, id: AssociationId) -> Option<Tags> {
        let (local, peer) = self.links.get(&id)?;
        Some(Tags { local: (*local)?, peer: (*peer)? })
    }

    pub(crate) fn local_and_peer_tag(&self, id: AssociationId) -> (Option<u32>, Option<u32>) {
        self.links.get(&id).copied().unwrap_or_default()
    }

    /// The tags of the association that has this local tag now.
    pub(crate) fn links_with(&self, local: u32) -> (Option<u32>, Option<u32>) {
        let mut links = self.links.values().copied();
        links.find(|link| link.0 == Some(local) || link.1 == Some(local)).unwrap_or_default()
    }

    /// Takes the changes of tags and peers.
    pub(crate) fn take_changes(&mut self) -> Result<bool, Violation> {
        let mut any = false;
        while let Some(change) = self.endpoint.poll_tag() {
            any = true;
            let done = match change {
                TagChange::Added { local_port, tag, kind, id } => {
                    let link = self.links.entry(id).or_default();
                    match kind {
                        TagKind::Local => link.0 = Some(tag),
                        TagKind::Peer => link.1 = Some(tag),
                    }
                    self.tags.insert((local_port, tag, whose(kind, id)))
                }
                TagChange::Removed { local_port, tag, kind, id } => {
                    self.tags.remove(&(local_port, tag, whose(kind, id)))
                }
            };
            if !done {
                let what = format!("{change:?}, having {:?}", self.tags);
                return Err(Violation { rule: "tags are added once and removed once", what });
            }
        }
        while let Some(change) = self.endpoint.poll_peer() {
            any = true;
            let done = match change {
                PeerChange::Added { peer, peer_port, local_port } => self.peers.insert((peer, peer_port, local_port)),
                PeerChange::Removed { peer, peer_port, local_port } => {
                    self.peers.remove(&(peer, peer_port, local_port))
                }
            };
            if !done {
                let what = format!("{change:?}, having {:?}", self.peers);
                return Err(Violation { rule: "peers are added once and removed once", what });
            }
        }
        Ok(any)
    }

    /// When its endpoint wants to be woken, by the world's clock.
    pub(crate) fn timeout(&mut self) -> Option<Instant> {
        self.endpoint.poll_timeout().map(|at| at - self.leapt)
    }

    /// What must hold when the last association is gone.
    pub(crate) fn check_empty(&mut self) -> Result<(), Violation> {
        let associations: Vec<_> = self.endpoint.associations().map(sctp_core::Association::id).collect();
        let timeout = self.endpoint.poll_timeout();
        let what = if !associations.is_empty() {
            format!("associations are left: {associations:?}")
        } else if !self.tags.is_empty() {
            format!("tags are left: {:?}", self.tags)
        } else if !self.peers.is_empty() {
            format!("peers are left: {:?}", self.peers)
        } else if let Some(at) = timeout {
            format!("a timer is left for {at:?}")
        } else {
            return self.check_memory();
        };
        Err(Violation { rule: "in the end nothing is left", what })
    }

    /// An endpoint without associations keeps its maps, its wheel and empty queues, and no more.
    fn check_memory(&mut self) -> Result<(), Violation> {
        let config = EndpointConfig { addresses: Vec::new(), ..self.config.clone() };
        let fresh = Endpoint::new(config, [0; 32]);
        let before = memory::live();
        drop(core::mem::replace(&mut self.endpoint, fresh));
        let kept = before - memory::live();
        if kept > MOST_KEPT {
            let what = format!("{kept} bytes are kept for nothing");
            return Err(Violation { rule: "in the end all memory is given back", what });
        }
        Ok(())
    }
}

/// Our tags must differ; peers do not know each other's, so theirs need not.
type Whose = Option<AssociationId>;

fn whose(kind: TagKind, id: AssociationId) -> Whose {
    (kind == TagKind::Peer).then_some(id)
}

fn seed(random: &mut Random) -> [u8; 32] {
    let mut seed = [0; 32];
    random.fill(&mut seed);
    seed
}
