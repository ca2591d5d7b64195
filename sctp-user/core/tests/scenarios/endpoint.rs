//! What an endpoint grants and refuses, where it puts its associations, and what they cost.

use std::time::Duration;

use sctp_common::steering::Steering;
use sctp_core::time::Instant;
use sctp_core::wire::ChunkType;
use sctp_core::{
    Association, AssociationConfig, CloseReason, Connect, ConnectError, Endpoint, EndpointConfig, RemoteError,
    WorkerSteering,
};

use crate::sim::app::Plan;
use crate::sim::network::LinkConfig;
use crate::sim::world::{Conversation, World};
use crate::stage::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_limit_of_associations_holds() {
    let mut world = World::new(1, "association_limit", "cargo test -p sctp-core --test scenarios the_limit");
    for node in [CLIENT, SERVER] {
        let addresses = vec![address(node, 0)];
        world.node_with(EndpointConfig { addresses, max_associations: 1, ..EndpointConfig::default() });
    }
    world.mesh(CLIENT, SERVER, &LinkConfig::with_delay(DELAY));
    world.converse(conversation(Plan::manual(), Plan::manual()));
    let second = Conversation { client_port: CLIENT_PORT + 1, ..conversation(Plan::manual(), Plan::manual()) };
    world.converse(second);
    establish(&mut world);
    let connect = Connect { local_port: Some(7), ..Connect::new(address(SERVER, 0), SERVER_PORT) };
    let refused = world.nodes[CLIENT].endpoint.connect(world.now, connect);
    assert_eq!(refused, Err(ConnectError::TooManyAssociations { max: 1 }));

    // The ABORT gets lost, so the server has no room.
    lose(&mut world, CLIENT, ChunkType::ABORT, 1);
    world.abort(0);
    let again = world.connect(1);
    world.run_for(SECOND);
    let reason = CloseReason::PeerAbort { cause: Some(RemoteError::OutOfResource) };
    assert_eq!(world.sides[again].reason(), Some(&reason));
    world.finish();
}

//= test RFC 9260 §3.1: "The Source Port Number 0 MUST NOT be used."
//= test RFC 9260 §3.1: "The Destination Port Number 0 MUST NOT be used."
//= test RFC 9260 §1.3: "Two SCTP endpoints MUST NOT have more than one SCTP association between them at any given
//= time."
#[test]
fn connect_checks_what_it_is_asked() {
    let config = EndpointConfig { addresses: vec![address(CLIENT, 0)], ..EndpointConfig::default() };
    let mut endpoint = Endpoint::new(config, [60; 32]);
    let now = Instant::from_millis(1);
    let peer = address(SERVER, 0);
    let good = Connect::new(peer, SERVER_PORT);
    let mut refused = |connect: Connect| endpoint.connect(now, connect).unwrap_err();
    assert_eq!(refused(Connect { peer_addresses: vec![], ..good.clone() }), ConnectError::NoPeerAddress);
    assert_eq!(refused(Connect { peer_port: 0, ..good.clone() }), ConnectError::PortZero);
    assert_eq!(refused(Connect { local_port: Some(0), ..good.clone() }), ConnectError::PortZero);
    let v6 = "fd00::1".parse().unwrap();
    assert_eq!(refused(Connect { peer_addresses: vec![v6], ..good.clone() }), ConnectError::NoSourceFor(v6));
    assert_eq!(refused(Connect { local_addresses: vec![peer], ..good.clone() }), ConnectError::NotOurAddress(peer));
    let multicast = "224.0.0.1".parse().unwrap();
    let to_many = Connect { peer_addresses: vec![multicast], ..good.clone() };
    assert_eq!(refused(to_many), ConnectError::InvalidAddress(multicast));
    let many = (1..=9).map(|last| [10, 9, 9, last].into()).collect();
    assert_eq!(refused(Connect { peer_addresses: many, ..good.clone() }), ConnectError::TooManyAddresses { max: 8 });
    let config = AssociationConfig { sack_every: 0, ..AssociationConfig::default() };
    assert!(
        matches!(refused(Connect { config, ..good.clone() }), ConnectError::Config(error) if error.setting == "sack_every")
    );
    let fixed = Connect { local_port: Some(9), ..good };
    endpoint.connect(now, fixed.clone()).unwrap();
    let exists = ConnectError::Exists { peer, peer_port: SERVER_PORT, local_port: 9 };
    assert_eq!(endpoint.connect(now, fixed), Err(exists));
}

#[test]
fn tags_and_ports_lead_to_their_worker() {
    let steering = Steering { key: [1, 2], workers: 4 };
    let peer = address(SERVER, 0);
    let mut ports = Vec::new();
    for worker in 0..4 {
        let at = WorkerSteering { steering, worker };
        let config = EndpointConfig { steering: Some(at), ..EndpointConfig::default() };
        let mut endpoint = Endpoint::new(config, [worker as u8; 32]);
        for _ in 0..50 {
            let id = endpoint.connect(Instant::ORIGIN, Connect::new(peer, SERVER_PORT)).unwrap();
            let association = endpoint.association(id).unwrap();
            assert_eq!(steering.owner(association.local_tag()), worker);
            ports.push(association.local_port());
        }
    }
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 200, "no two workers give this peer the same port");
}

#[test]
fn an_idle_association_is_small() {
    // There may be 100 000 of them. With its entries in the maps (about 150 bytes) it must stay below 1.5 KiB.
    assert!(size_of::<Association>() <= 1320, "{} bytes", size_of::<Association>());
}
