//! What only an endpoint's own key can read in its cookies: Tie-Tags.

use core::net::IpAddr;

use super::*;
use crate::wire::{Chunk, CommonHeader, Emit, Packet, Writer};
use crate::{AssociationId, ChecksumState, Connect, Datagram, Ecn, EndpointConfig, ListenConfig, SharedPayload};

const PEER: [u8; 4] = [10, 0, 0, 1];
const OURS: [u8; 4] = [10, 0, 0, 2];
const PEER_PORT: u16 = 5000;
const PORT: u16 = 7;

/// Gives a packet of the peer's to the endpoint.
fn say(endpoint: &mut Endpoint, tag: u32, chunk: &dyn Emit) {
    let mut bytes = vec![0; 512];
    let header = CommonHeader { source_port: PEER_PORT, destination_port: PORT, verification_tag: tag };
    let mut writer = Writer::new(&mut bytes, header).unwrap();
    writer.chunk(chunk).unwrap();
    let len = writer.finish(crate::wire::Checksum::Compute);
    let bytes = bytes::Bytes::from(bytes).slice(..len);
    let datagram = Datagram {
        source: IpAddr::from(PEER),
        destination: IpAddr::from(OURS),
        encapsulation: None,
        ecn: Ecn::NotEct,
        checksum: ChecksumState::NotChecked,
        association: None,
        bytes: &bytes,
        payload: &mut SharedPayload(&bytes),
    };
    endpoint.handle(Instant::ORIGIN, datagram);
}

/// The cookie of an INIT ACK that the endpoint sends, read with its key.
fn cookie_sent(endpoint: &mut Endpoint) -> Cookie {
    let mut buffer = [0; 1480];
    while let Some(transmit) = endpoint.poll_transmit(Instant::ORIGIN, &mut buffer) {
        let packet = Packet::parse(&buffer[..transmit.len]).unwrap();
        if let Ok(Chunk::InitAck(ack)) = Chunk::parse(packet.chunks().next().unwrap().unwrap()) {
            return endpoint.cookies.open(ack.state_cookie().unwrap().unwrap(), Instant::ORIGIN).unwrap();
        }
    }
    panic!("no INIT ACK")
}

fn init<'a>(tag: u32, parameters: &'a [Parameter<'a>]) -> Init<'a> {
    Init {
        initiate_tag: tag,
        a_rwnd: 10_000,
        outbound_streams: 1,
        inbound_streams: 1,
        initial_tsn: Tsn(1),
        parameters: ParameterList::new(parameters),
    }
}

fn tie_tags(cookie: &Cookie) -> (u32, u32) {
    (cookie.local_tie_tag, cookie.peer_tie_tag)
}

//= test RFC 9260 §5.2.2: "the Tie-Tags MUST be set to 0 (indicating that no previous TCB existed)"
#[test]
fn without_an_association_there_are_no_tie_tags() {
    let mut endpoint = Endpoint::new(EndpointConfig::default(), [1; 32]);
    endpoint.listen(PORT, ListenConfig::default()).unwrap();
    say(&mut endpoint, 0, &init(8, &[]));
    assert_eq!(tie_tags(&cookie_sent(&mut endpoint)), (0, 0));
}

//= test RFC 9260 §5.2.1: "For an endpoint that is in the COOKIE-ECHOED state, it MUST populate its Tie-Tags within both
//= the association TCB and inside the State Cookie"
//= test RFC 9260 §5.2.2: "the endpoint MUST copy its current Tie-Tags to a reserved place within the State Cookie and
//= the association's TCB"
#[test]
fn tie_tags_of_an_association_are_in_its_cookies() {
    let mut endpoint = Endpoint::new(EndpointConfig::default(), [1; 32]);
    let connect = Connect { local_port: Some(PORT), ..Connect::new(IpAddr::from(PEER), PEER_PORT) };
    let id: AssociationId = endpoint.connect(Instant::ORIGIN, connect).unwrap();
    let (own, kept) = {
        let association = endpoint.association(id).unwrap();
        (association.local_tag(), association.tie_tags())
    };
    // Another INIT of the peer's, which has restarted, say. In COOKIE-WAIT nothing is known of the peer yet.
    say(&mut endpoint, 0, &init(9, &[]));
    assert_eq!(tie_tags(&cookie_sent(&mut endpoint)), (0, 0));
    say(&mut endpoint, own, &InitAck(init(8, &[Parameter::StateCookie(b"cookie")])));
    assert_eq!(endpoint.association(id).unwrap().state(), AssociationState::CookieEchoed);
    for state in [AssociationState::CookieEchoed, AssociationState::Established] {
        if state == AssociationState::Established {
            say(&mut endpoint, own, &Chunk::CookieAck);
        }
        assert_eq!(endpoint.association(id).unwrap().state(), state);
        say(&mut endpoint, 0, &init(9, &[]));
        assert_ne!(kept, (0, 0));
        assert_eq!(tie_tags(&cookie_sent(&mut endpoint)), kept, "{state:?}");
        assert_eq!(endpoint.association(id).unwrap().tie_tags(), kept);
    }
}
