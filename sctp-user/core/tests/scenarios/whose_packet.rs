//! Whose a packet is: by its tag and its addresses, both (RFC 9260 §8.5).

use std::net::IpAddr;

use sctp_core::time::Instant;
use sctp_core::wire::{Abort, CauseList, Chunk, CookieEcho, Emit, Heartbeat, Packet};
use sctp_core::{
    AssociationId, CloseReason, Endpoint, EndpointConfig, Event, Handled, ListenConfig, TagChange, TagKind,
};

use crate::forger::{Forged, Forger, PEER_TAG, init};
use crate::stage::*;

const NOW: Instant = Instant::from_millis(1000);

/// An endpoint that listens, and peers who all draw the same tag.
struct Peers {
    forger: Forger,
    endpoint: Endpoint,
    /// What the layer below has been told of the peers' tags.
    told: Vec<TagChange>,
}

impl Peers {
    fn new(name: &str) -> Self {
        let config = EndpointConfig { addresses: vec![address(SERVER, 0)], ..EndpointConfig::default() };
        let mut endpoint = Endpoint::new(config, [9; 32]);
        endpoint.listen(SERVER_PORT, ListenConfig::default()).unwrap();
        Self { forger: Forger::new(name), endpoint, told: Vec::new() }
    }

    /// A chunk comes from a peer, in a packet with this tag.
    fn say(&mut self, source: IpAddr, tag: u32, chunk: &dyn Emit) -> Handled {
        let packet = self.forger.packet(tag, &[chunk]);
        let handled = handle(&mut self.endpoint, NOW, source, address(SERVER, 0), &packet.bytes);
        while let Some(change) = self.endpoint.poll_tag() {
            if let TagChange::Added { kind: TagKind::Peer, .. } | TagChange::Removed { kind: TagKind::Peer, .. } =
                change
            {
                self.told.push(change);
            }
        }
        handled
    }

    fn connect(&mut self, source: IpAddr) -> AssociationId {
        self.say(source, 0, &init(&[]));
        let mut buffer = [0; 1480];
        let sent = self.endpoint.poll_transmit(NOW, &mut buffer).unwrap();
        let packet = Packet::parse(&buffer[..sent.len]).unwrap();
        let Ok(Chunk::InitAck(ack)) = Chunk::parse(packet.chunks().next().unwrap().unwrap()) else {
            panic!("{packet}")
        };
        let echo = CookieEcho { cookie: ack.state_cookie().unwrap().unwrap() };
        match self.say(source, ack.0.initiate_tag, &echo) {
            Handled::Processed(id) => id,
            handled => panic!("{handled:?}"),
        }
    }
}

#[test]
fn peers_may_draw_the_same_tag() {
    let mut peers = Peers::new("peers_may_draw_the_same_tag");
    let sources = [address(CLIENT, 0), address(CLIENT, 1)];
    let ids = sources.map(|source| peers.connect(source));
    let [first, second] =
        ids.map(|id| TagChange::Added { local_port: SERVER_PORT, tag: PEER_TAG, kind: TagKind::Peer, id });
    assert_eq!(core::mem::take(&mut peers.told), [first, second]);

    // The second peer has forgotten its association, and sends its own tag back: the first one's lives.
    let abort = Abort { tag_reflected: true, causes: CauseList::EMPTY };
    assert_eq!(peers.say(sources[1], PEER_TAG, &abort), Handled::Processed(ids[1]));
    assert!(peers.endpoint.association(ids[0]).is_some() && peers.endpoint.association(ids[1]).is_none());
    let gone = |id| TagChange::Removed { local_port: SERVER_PORT, tag: PEER_TAG, kind: TagKind::Peer, id };
    assert_eq!(core::mem::take(&mut peers.told), [gone(ids[1])]);
    let mut ended = Vec::new();
    while let Some((id, event)) = peers.endpoint.poll_event() {
        if let Event::Closed { reason: CloseReason::PeerAbort { .. }, .. } = event {
            ended.push(id);
        }
    }
    assert_eq!(ended, [ids[1]]);

    assert_eq!(peers.say(sources[0], PEER_TAG, &abort), Handled::Processed(ids[0]));
    assert_eq!(peers.told, [gone(ids[0])]);
    peers.forger.finish();
}

/// The layer below may name the wrong association: where peers have the same tag, or by an entry that is out of date.
#[test]
fn a_hint_is_not_trusted() {
    let mut peers = Peers::new("a_hint_is_not_trusted");
    let sources = [address(CLIENT, 0), address(CLIENT, 1)];
    let ids = sources.map(|source| peers.connect(source));
    let tags = ids.map(|id| peers.endpoint.association(id).unwrap().local_tag());
    let mut hinted = |tag, source, hint, chunk: &dyn Emit| {
        let bytes = peers.forger.packet(tag, &[chunk]).bytes;
        handle_hinted(&mut peers.endpoint, NOW, source, address(SERVER, 0), &bytes, Some(hint))
    };
    let heartbeat = Heartbeat { info: b"info" };
    let dropped = |handled| matches!(handled, Handled::Dropped(_));
    assert_eq!(hinted(tags[0], sources[0], ids[0], &heartbeat), Handled::Processed(ids[0]));
    // The tag says which it is; and it must be its peer who sends it.
    assert_eq!(hinted(tags[0], sources[0], ids[1], &heartbeat), Handled::Processed(ids[0]));
    assert!(dropped(hinted(tags[0], sources[1], ids[0], &heartbeat)));
    assert!(dropped(hinted(tags[0] ^ tags[1] ^ 1, sources[0], ids[0], &heartbeat)));
    let gone = AssociationId::from_parts(ids[0].slot(), ids[0].generation().wrapping_sub(1));
    assert_eq!(hinted(tags[0], sources[0], gone, &heartbeat), Handled::Processed(ids[0]));
    // Of a reflected tag the address alone says it.
    let abort = Abort { tag_reflected: true, causes: CauseList::EMPTY };
    assert_eq!(hinted(PEER_TAG, sources[1], ids[0], &abort), Handled::Processed(ids[1]));
    assert!(peers.endpoint.association(ids[0]).is_some());
    peers.forger.finish();
}

#[test]
fn packets_to_addresses_that_are_not_ours_are_not_answered() {
    let mut forger = Forger::new("packets_to_addresses_that_are_not_ours");
    let (tag, cookie) = forger.cookie(&[]);
    let elsewhere = |packet: Forged| Forged { destination: [192, 0, 2, 1].into(), ..packet };
    let heartbeat = Heartbeat { info: b"info" };
    let echo = CookieEcho { cookie: &cookie };
    let dropped = |forger: &mut Forger, tag: u32, chunk: &dyn Emit| {
        let packet = elsewhere(forger.packet(tag, &[chunk]));
        let Handled::Dropped(discard) = forger.overwhelm(&packet) else { panic!("it was taken") };
        assert_eq!(discard.name(), "not_our_address");
        assert!(forger.relieve().is_empty());
    };
    dropped(&mut forger, 0, &init(&[]));
    dropped(&mut forger, tag, &echo);
    dropped(&mut forger, 77, &heartbeat);
    assert_eq!(forger.associations(), 0);
    forger.tag = tag;
    forger.say(&[&echo]);
    dropped(&mut forger, tag, &heartbeat);
    assert_eq!(forger.say(&[&heartbeat]).len(), 1);
    forger.finish();
}
