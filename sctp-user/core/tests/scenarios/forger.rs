//! A peer written by hand, which sends what no honest one would.
//!
//! It speaks for one of two hosts; the other is an endpoint under all the invariants of `sim`. Nothing that the endpoint sends is
//! delivered: the forger reads it from the wire.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use sctp_core::serial::{Ssn, Tsn};
use sctp_core::wire::{
    CauseCode, CauseList, Checksum, Chunk, CommonHeader, CookieEcho, Data, DataFlags, DataHeader, Emit, Init, Packet,
    Parameter, ParameterList, Sink, Writer, verify_checksum,
};
use sctp_core::{Association, AssociationConfig, AssociationState, CloseReason, Endpoint, Handled};

use crate::sim::app::{Plan, Reading};
use crate::sim::packet::Announced;
use crate::sim::world::World;
use crate::stage::*;

pub(crate) const PEER_TAG: u32 = 0x0a0b_0c0d;
pub(crate) const PEER_TSN: u32 = 1000;

/// A peer written by hand.
pub(crate) struct Forger {
    pub(crate) world: World,
    /// The host that is lied to. The forger speaks for the other.
    victim: usize,
    /// The endpoint's tag, once it is known.
    pub(crate) tag: u32,
    /// The first TSN that it will send.
    pub(crate) own_tsn: Tsn,
    /// Which of our addresses we send from.
    pub(crate) link: u8,
    /// What became of the last packet.
    pub(crate) handled: Option<Handled>,
}

/// A packet of the forger's.
#[derive(Clone)]
pub(crate) struct Forged {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) bytes: Bytes,
}

/// Bytes as a chunk.
pub(crate) struct Raw(pub(crate) Vec<u8>);

impl Emit for Raw {
    fn length(&self) -> usize {
        self.0.len()
    }

    fn emit(&self, out: &mut Sink<'_>) {
        out.bytes(&self.0);
    }
}

/// An answer, taken apart.
pub(crate) struct Answer {
    pub(crate) bytes: Bytes,
    pub(crate) tag: u32,
}

impl Answer {
    pub(crate) fn chunks(&self) -> Vec<Chunk<'_>> {
        let packet = Packet::parse(&self.bytes).unwrap();
        packet.chunks().map(|chunk| Chunk::parse(chunk.unwrap()).unwrap()).collect()
    }

    pub(crate) fn only(&self) -> Chunk<'_> {
        let mut chunks = self.chunks();
        assert_eq!(chunks.len(), 1, "{chunks:?}");
        chunks.remove(0)
    }

    /// The causes of an ABORT, and whether it has the T bit.
    pub(crate) fn abort(&self) -> (Vec<CauseCode>, bool) {
        match self.only() {
            Chunk::Abort(abort) => (codes(&abort.causes), abort.tag_reflected),
            other => panic!("not an ABORT: {other}"),
        }
    }
}

pub(crate) fn codes(causes: &CauseList<'_>) -> Vec<CauseCode> {
    causes.iter().map(|cause| cause.unwrap().code()).collect()
}

pub(crate) fn data_chunk(tsn: u32, stream: u16, ssn: u16, flags: DataFlags, payload: &[u8]) -> Data<'_> {
    Data::new(DataHeader { tsn: Tsn(tsn), stream, ssn: Ssn(ssn), ppid: 0, flags }, payload)
}

pub(crate) fn init<'a>(parameters: &'a [Parameter<'a>]) -> Init<'a> {
    Init {
        initiate_tag: PEER_TAG,
        a_rwnd: 100_000,
        outbound_streams: 10,
        inbound_streams: 10,
        initial_tsn: Tsn(PEER_TSN),
        parameters: ParameterList::new(parameters),
    }
}

impl Forger {
    /// Speaks for the client of a server that listens.
    pub(crate) fn new(name: &str) -> Self {
        Self::with_config(name, AssociationConfig::default())
    }

    /// The same, with settings of the server's associations.
    pub(crate) fn with_config(name: &str, config: AssociationConfig) -> Self {
        let plan = Plan { reading: Reading::Manual, ..Plan::with_config(config) };
        let mut world = multi_homed(name, 2, plan.clone(), plan);
        isolate(&mut world);
        Self { world, victim: SERVER, tag: 0, own_tsn: Tsn(0), link: 0, handled: None }
    }

    /// With an association established.
    pub(crate) fn established(name: &str) -> Self {
        Self::established_with(name, AssociationConfig::default())
    }

    /// The same, with settings of the server's association.
    pub(crate) fn established_with(name: &str, config: AssociationConfig) -> Self {
        let mut forger = Self::with_config(name, config);
        let (tag, cookie) = forger.cookie(&[]);
        forger.tag = tag;
        let answers = forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
        assert!(matches!(answers[0].chunks()[0], Chunk::CookieAck));
        forger
    }

    /// Speaks for the server that a client has sent an INIT to.
    pub(crate) fn connecting(name: &str) -> Self {
        let mut forger = Self { victim: CLIENT, ..Self::new(name) };
        // Also when an INIT ACK is too broken for the observer to read the tag in it.
        let announced = Announced { node: SERVER, port: SERVER_PORT, initial_tsn: PEER_TSN, a_rwnd: 100_000 };
        forger.world.observer.announced.insert(PEER_TAG, announced);
        forger.world.connect(0);
        let answers = forger.answers_from(0);
        match answers[0].only() {
            Chunk::Init(init) => forger.tag = init.initiate_tag,
            other => panic!("not an INIT: {other}"),
        }
        forger
    }

    /// Sends an INIT; gives tag and cookie of the INIT ACK.
    pub(crate) fn cookie(&mut self, parameters: &[Parameter<'_>]) -> (u32, Vec<u8>) {
        let answers = self.send(0, &[&init(parameters)]);
        assert_eq!(answers[0].tag, PEER_TAG);
        match answers[0].only() {
            Chunk::InitAck(ack) => {
                self.own_tsn = ack.0.initial_tsn;
                (ack.0.initiate_tag, ack.state_cookie().unwrap().unwrap().to_vec())
            }
            other => panic!("not an INIT ACK: {other}"),
        }
    }

    pub(crate) fn packet(&self, tag: u32, chunks: &[&dyn Emit]) -> Forged {
        let mut bytes = vec![0; 4096];
        let (source_port, destination_port) =
            if self.victim == SERVER { (CLIENT_PORT, SERVER_PORT) } else { (SERVER_PORT, CLIENT_PORT) };
        let header = CommonHeader { source_port, destination_port, verification_tag: tag };
        let mut writer = Writer::new(&mut bytes, header).unwrap();
        for chunk in chunks {
            writer.chunk(*chunk).unwrap();
        }
        let len = writer.finish(Checksum::Compute);
        bytes.truncate(len);
        let (source, destination) = (address(self.pretended(), self.link), address(self.victim, self.link));
        Forged { source, destination, bytes: bytes.into() }
    }

    /// Sends chunks in a packet with this tag; gives the answers.
    pub(crate) fn send(&mut self, tag: u32, chunks: &[&dyn Emit]) -> Vec<Answer> {
        let packet = self.packet(tag, chunks);
        self.send_packet(packet)
    }

    pub(crate) fn send_packet(&mut self, packet: Forged) -> Vec<Answer> {
        let Forged { source, destination, bytes } = packet;
        self.announce(&bytes);
        self.world.handled = None;
        self.world.inject_packet(source, destination, bytes);
        let before = self.world.packets.len();
        self.world.run_for(Duration::ZERO);
        self.handled = self.world.handled;
        self.answers_from(before)
    }

    /// Sends chunks of the association; gives the answers.
    pub(crate) fn say(&mut self, chunks: &[&dyn Emit]) -> Vec<Answer> {
        self.send(self.tag, chunks)
    }

    /// Has the endpoint take a packet in without a turn to answer; gives what it made of it.
    pub(crate) fn overwhelm(&mut self, packet: &Forged) -> Handled {
        self.announce(&packet.bytes);
        let now = self.world.now;
        handle(self.endpoint(), now, packet.source, packet.destination, &packet.bytes)
    }

    /// What the endpoint sends when it gets its turn again.
    pub(crate) fn relieve(&mut self) -> Vec<Answer> {
        let before = self.world.packets.len();
        self.world.settle(self.victim);
        self.answers_from(before)
    }

    #[track_caller]
    pub(crate) fn dropped(&mut self, tag: u32, chunks: &[&dyn Emit], reason: &str) {
        let answers = self.send(tag, chunks);
        assert!(answers.is_empty());
        assert_eq!(self.discard(), Some(reason));
    }

    /// Why the last packet was dropped, if it was.
    pub(crate) fn discard(&self) -> Option<&'static str> {
        match self.handled {
            Some(Handled::Dropped(discard)) => Some(discard.name()),
            _ => None,
        }
    }

    pub(crate) fn endpoint(&mut self) -> &mut Endpoint {
        &mut self.world.nodes[self.victim].endpoint
    }

    /// The association that there is.
    pub(crate) fn association(&self) -> &Association {
        self.world.nodes[self.victim].endpoint.associations().next().expect("there is an association")
    }

    pub(crate) fn associations(&self) -> usize {
        self.world.nodes[self.victim].endpoint.associations().count()
    }

    pub(crate) fn state(&self) -> AssociationState {
        self.association().state()
    }

    /// What the application was told of the end.
    pub(crate) fn close_reason(&self) -> Option<&CloseReason> {
        self.world.sides.first().and_then(|side| side.reason())
    }

    /// Ends the world. What the forger sent is in no books: nobody reads it.
    pub(crate) fn finish(mut self) {
        let ids: Vec<_> = self.world.sides.iter().map(|side| side.id).collect();
        for id in ids {
            while self.endpoint().recv(id).is_some() {}
        }
        self.world.finish();
    }

    const fn pretended(&self) -> usize {
        1 - self.victim
    }

    /// The observer of the wire learns tags and TSNs from INIT and INIT ACK, the forger's too.
    fn announce(&mut self, bytes: &[u8]) {
        if verify_checksum(bytes)
            && let Ok(packet) = Packet::parse(bytes)
        {
            self.world.observer.announced(&packet, self.pretended());
        }
    }

    /// What the endpoint has sent since, without the heartbeats that come by themselves.
    fn answers_from(&self, first: usize) -> Vec<Answer> {
        let answers = self.world.packets[first..].iter().filter(|packet| packet.from == Some(self.victim));
        let is_heartbeat = |answer: &Answer| answer.chunks().iter().all(|chunk| matches!(chunk, Chunk::Heartbeat(_)));
        answers
            .map(|packet| Answer {
                tag: Packet::parse(&packet.bytes).unwrap().verification_tag,
                bytes: packet.bytes.clone(),
            })
            .filter(|answer| !is_heartbeat(answer))
            .collect()
    }
}
