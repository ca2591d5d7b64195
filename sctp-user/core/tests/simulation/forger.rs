//! A peer written by hand, which sends what no honest one would.

use bytes::Bytes;
use sctp_core::serial::{Ssn, Tsn};
use sctp_core::wire::{
    CauseCode, CauseList, Checksum, Chunk, CommonHeader, CookieEcho, Data, DataFlags, DataHeader, Emit, Init,
    Packet as SctpPacket, Parameter, ParameterList, Sink, Writer,
};
use sctp_core::{AssociationState, CloseReason, Event, Handled};

use crate::network::{Link, Packet};
use crate::world::{PORT, Setup, World, address};

pub(crate) const PEER_PORT: u16 = 4000;
pub(crate) const PEER_TAG: u32 = 0x0a0b_0c0d;
pub(crate) const PEER_TSN: u32 = 1000;

/// A peer written by hand: host 0 of a world in which host 1 listens.
pub(crate) struct Forger {
    pub(crate) world: World,
    /// The endpoint's tag, once it is known.
    pub(crate) tag: u32,
    /// The first TSN that it will send.
    pub(crate) own_tsn: Tsn,
    /// Which of our addresses we send from.
    pub(crate) link: usize,
    /// What became of the last packet.
    pub(crate) handled: Handled,
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
        let packet = SctpPacket::parse(&self.bytes).unwrap();
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

pub(crate) fn data(tsn: u32, stream: u16, ssn: u16, flags: DataFlags, payload: &[u8]) -> Data<'_> {
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
    pub(crate) fn new(seed: u64) -> Self {
        let links = vec![Link::default(), Link::default()];
        let world = World::new(Setup { links, ..Setup::new(seed) });
        Self { world, tag: 0, own_tsn: Tsn(0), link: 0, handled: Handled::Answered }
    }

    /// With an association established.
    pub(crate) fn established(seed: u64) -> Self {
        let mut forger = Self::new(seed);
        let (tag, cookie) = forger.cookie(&[]);
        forger.tag = tag;
        let answers = forger.send(tag, &[&CookieEcho { cookie: &cookie }]);
        assert!(matches!(answers[0].chunks()[0], Chunk::CookieAck));
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

    pub(crate) fn packet(&self, tag: u32, chunks: &[&dyn Emit]) -> Packet {
        let mut bytes = vec![0; 1480];
        let header = CommonHeader { source_port: PEER_PORT, destination_port: PORT, verification_tag: tag };
        let mut writer = Writer::new(&mut bytes, header).unwrap();
        for chunk in chunks {
            writer.chunk(*chunk).unwrap();
        }
        let len = writer.finish(Checksum::Compute);
        bytes.truncate(len);
        Packet { source: address(false, self.link, 0), destination: address(false, self.link, 1), bytes: bytes.into() }
    }

    /// Sends chunks in a packet with this tag; gives the answers.
    pub(crate) fn send(&mut self, tag: u32, chunks: &[&dyn Emit]) -> Vec<Answer> {
        let packet = self.packet(tag, chunks);
        self.send_packet(packet)
    }

    pub(crate) fn send_packet(&mut self, packet: Packet) -> Vec<Answer> {
        self.handled = self.world.inject(1, packet);
        let answers = self.world.fetch(1);
        // Heartbeats come by themselves, and are not what is asked for here.
        let is_heartbeat = |answer: &Answer| answer.chunks().iter().all(|chunk| matches!(chunk, Chunk::Heartbeat(_)));
        answers
            .into_iter()
            .map(|packet| {
                let tag = SctpPacket::parse(&packet.bytes).unwrap().verification_tag;
                Answer { bytes: packet.bytes, tag }
            })
            .filter(|answer| !is_heartbeat(answer))
            .collect()
    }

    /// Sends chunks of the association; gives the answers.
    pub(crate) fn say(&mut self, chunks: &[&dyn Emit]) -> Vec<Answer> {
        self.send(self.tag, chunks)
    }

    pub(crate) fn dropped(&mut self, tag: u32, chunks: &[&dyn Emit], reason: &str) {
        let answers = self.send(tag, chunks);
        assert!(answers.is_empty());
        match self.handled {
            Handled::Dropped(discard) => assert_eq!(discard.name(), reason),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn associations(&self) -> usize {
        self.world.hosts[1].endpoint.associations().count()
    }

    pub(crate) fn state(&self) -> Option<AssociationState> {
        self.world.hosts[1].endpoint.associations().next().map(sctp_core::Association::state)
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        core::iter::from_fn(|| self.world.hosts[1].endpoint.poll_event()).map(|(_, event)| event).collect()
    }

    pub(crate) fn close_reason(&mut self) -> Option<CloseReason> {
        self.events().into_iter().find_map(|event| match event {
            Event::Closed { reason } => Some(reason),
            _ => None,
        })
    }
}
