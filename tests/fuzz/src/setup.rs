//! Any bytes as the parameters of an INIT to an endpoint that listens, and of an INIT ACK to one that connects.

use sctp_core::wire::{Chunk, CommonHeader, Packet};
use sctp_core::{Connect, Ecn, EndpointConfig, ListenConfig};

use crate::association::{addresses, settings};
use crate::forge;
use crate::host::{Host, Sent};
use crate::input::Input;

const PEER_TAG: u32 = 0x0a0b_0c0d;
const TO_SERVER: CommonHeader = CommonHeader { source_port: 40_000, destination_port: 5000, verification_tag: 0 };
const TO_CLIENT: CommonHeader = CommonHeader { source_port: 5000, destination_port: 40_000, verification_tag: 0 };

/// Sets up an association with a peer whose INIT, or INIT ACK, is half honest.
pub fn setup(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (how, choice) = (input.byte(), input.byte());
    let (window, streams) = (input.word() >> (how >> 3), (input.short(), input.short()));
    let mut host = Host::new(EndpointConfig { addresses: addresses(1), ..EndpointConfig::default() }, 7);
    if how & 1 == 0 {
        let listen = ListenConfig { association: settings(choice), ..ListenConfig::default() };
        host.endpoint.listen(5000, listen).expect("the settings are valid");
        let init = chunk(1, window, streams, input.rest());
        host.handle(addresses(2)[0], addresses(1)[0], &forge::packet(TO_SERVER, &init), Ecn::NotEct);
        assert_eq!(host.endpoint.associations().count(), 0, "an INIT alone makes nothing");
        assert!(host.sent.len() <= 1, "one INIT is answered once");
        come_back(&mut host);
    } else {
        let connect =
            Connect { local_port: Some(40_000), config: settings(choice), ..Connect::new(addresses(2)[0], 5000) };
        host.endpoint.connect(host.now, connect).expect("the settings are valid");
        host.settle();
        let tag = announced_tag(&host.sent.pop().expect("an INIT is sent"));
        let mut parameters = Vec::new();
        if how & 2 == 0 {
            forge::parameter(&mut parameters, 7, b"a peer's cookie.");
        }
        parameters.extend(input.rest());
        let ack = chunk(2, window, streams, &parameters);
        let header = CommonHeader { verification_tag: tag, ..TO_CLIENT };
        host.handle(addresses(2)[0], addresses(1)[0], &forge::packet(header, &ack), Ecn::NotEct);
        let mut done = Vec::new();
        forge::chunk(&mut done, 11, 0, &[]);
        host.handle(addresses(2)[0], addresses(1)[0], &forge::packet(header, &done), Ecn::NotEct);
    }
    for association in host.endpoint.associations() {
        assert!(association.outbound_streams() <= association.config().outbound_streams);
        assert!(association.inbound_streams() <= association.config().max_inbound_streams);
        for path in association.paths() {
            let (address, odd) = (path.address, path.address.is_multicast() || path.address.is_unspecified());
            assert!(!odd && address.to_canonical() == address, "a path to {address}");
        }
    }
    host.finish();
}

/// The cookie of the INIT ACK comes back, if there is one.
fn come_back(host: &mut Host) {
    let Some(answer) = host.sent.pop() else { return };
    let packet = Packet::parse(&answer.bytes).expect("the answer is sound");
    let Some(Ok(Chunk::InitAck(ack))) = packet.chunks().next().map(|raw| raw.and_then(Chunk::parse)) else { return };
    assert_eq!(packet.verification_tag, PEER_TAG);
    let cookie = ack.state_cookie().expect("parameters are sound").expect("an INIT ACK has a cookie");
    let mut echo = Vec::new();
    forge::chunk(&mut echo, 10, 0, cookie);
    let header = CommonHeader { verification_tag: ack.0.initiate_tag, ..TO_SERVER };
    host.handle(addresses(2)[0], addresses(1)[0], &forge::packet(header, &echo), Ecn::NotEct);
    assert_eq!(host.endpoint.associations().count(), 1, "its cookie makes an association");
}

fn announced_tag(sent: &Sent) -> u32 {
    let packet = Packet::parse(&sent.bytes).expect("packets are sound");
    match packet.chunks().next().map(|raw| raw.and_then(Chunk::parse)) {
        Some(Ok(Chunk::Init(init))) => init.initiate_tag,
        other => panic!("not an INIT: {other:?}"),
    }
}

fn chunk(kind: u8, window: u32, streams: (u16, u16), parameters: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    forge::chunk(&mut bytes, kind, 0, &forge::init(PEER_TAG, window, streams, 1, parameters));
    bytes
}
