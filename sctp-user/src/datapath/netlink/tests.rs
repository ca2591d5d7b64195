use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage, LinkXdp};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteMetric, RouteNextHop, RouteType};

use super::snapshot::covers;
use super::tables::{Probe, Tables};
use super::*;

const ETH0: u32 = 2;
const ETH1: u32 = 3;
const OTHER: u32 = 9;
const MAC0: Mac = [2, 0, 0, 0, 0, 0x10];
const MAC1: Mac = [2, 0, 0, 0, 0, 0x11];
const PEER: Mac = [2, 0, 0, 0, 0, 0x99];

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn link(ifindex: u32, name: &str, mac: Mac, up: bool) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = ifindex;
    message.header.link_layer_type = LinkLayerType::Ether;
    message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Mtu(1500),
        LinkAttribute::NumRxQueues(4),
        LinkAttribute::Address(mac.to_vec()),
    ];
    message
}

fn address(ifindex: u32, text: &str, prefix_length: u8, scope: AddressScope) -> AddressMessage {
    let address = ip(text);
    let mut message = AddressMessage::default();
    message.header.index = ifindex;
    message.header.family = family(address);
    message.header.prefix_len = prefix_length;
    message.header.scope = scope;
    message.attributes = vec![AddressAttribute::Address(address)];
    message
}

/// `prefix` is "10.0.0.0/8" or the like.
fn route(prefix: &str, attributes: impl IntoIterator<Item = RouteAttribute>) -> RouteMessage {
    let (address, length) = prefix.split_once('/').expect("a prefix");
    let address = ip(address);
    let mut message = RouteMessage::default();
    message.header.address_family = family(address);
    message.header.destination_prefix_length = length.parse().expect("a length");
    message.header.table = 254;
    message.header.kind = RouteType::Unicast;
    // As the kernel does it: a default route has no destination.
    if message.header.destination_prefix_length > 0 {
        message.attributes.push(RouteAttribute::Destination(address.into()));
    }
    message.attributes.extend(attributes);
    message
}

fn neighbour(ifindex: u32, text: &str, state: NeighbourState, mac: Option<Mac>) -> NeighbourMessage {
    let address = ip(text);
    let mut message = NeighbourMessage::default();
    message.header.ifindex = ifindex;
    message.header.family = family(address);
    message.header.state = state;
    message.attributes = vec![NeighbourAttribute::Destination(NeighbourAddress::from(address))];
    message.attributes.extend(mac.map(|mac| NeighbourAttribute::LinkLayerAddress(mac.to_vec())));
    message
}

fn via(gateway: &str) -> RouteAttribute {
    RouteAttribute::Gateway(ip(gateway).into())
}

/// A host with two interfaces, a default route over each, and a third interface that is not in use.
fn tables() -> Tables {
    use AddressScope::{Link, Universe};
    let mut tables = Tables::new([ETH0, ETH1]);
    tables.set_links(&[
        link(ETH0, "eth0", MAC0, true),
        link(ETH1, "eth1", MAC1, true),
        link(OTHER, "other", [2; 6], true),
    ]);
    tables.set_addresses(&[
        address(ETH0, "10.0.0.1", 24, Universe),
        address(ETH1, "10.1.0.1", 24, Universe),
        address(ETH0, "fd00::1", 64, Universe),
        address(ETH0, "fe80::1", 64, Link),
        address(OTHER, "10.9.0.1", 24, Universe),
    ]);
    let oif = RouteAttribute::Oif;
    tables.set_routes(&[
        route("0.0.0.0/0", [oif(ETH1), via("10.1.0.254"), RouteAttribute::Priority(200)]),
        route("0.0.0.0/0", [oif(ETH0), via("10.0.0.254"), RouteAttribute::Priority(100)]),
        route("10.0.0.0/24", [oif(ETH0)]),
        route("10.1.0.0/24", [oif(ETH1)]),
        route("10.9.0.0/24", [oif(OTHER)]),
        route("fd00::/64", [oif(ETH0)]),
        route("fe80::/64", [oif(ETH0)]),
        route("fe80::/64", [oif(ETH1)]),
    ]);
    tables
}

fn ready(resolution: Resolution) -> (Hop, Mac) {
    match resolution {
        Resolution::Ready(hop, mac) => (hop, mac),
        other => panic!("not ready: {other:?}"),
    }
}

fn needed(resolution: Resolution) -> (Hop, u32) {
    match resolution {
        Resolution::NeedsNeighbour(hop, failures) => (hop, failures),
        other => panic!("no neighbour needed: {other:?}"),
    }
}

fn is_nowhere(resolution: &Resolution) -> bool {
    matches!(resolution, Resolution::NoRoute)
}

#[test]
fn a_host_on_the_link_is_its_own_next_hop() {
    let mut tables = tables();
    tables.set_neighbours(&[neighbour(ETH0, "10.0.0.2", NeighbourState::Reachable, Some(PEER))]);
    let (hop, mac) = ready(tables.snapshot().resolve(None, ip("10.0.0.2")));
    assert_eq!((hop.ifindex, hop.mac, hop.mtu, mac), (ETH0, MAC0, 1500, PEER));
    assert_eq!((hop.source, hop.next_hop), (ip("10.0.0.1"), ip("10.0.0.2")));
}

#[test]
fn the_longest_prefix_decides_and_then_the_metric() {
    let mut tables = tables();
    let (hop, _) = needed(tables.snapshot().resolve(None, ip("192.0.2.1")));
    assert_eq!((hop.ifindex, hop.next_hop), (ETH0, ip("10.0.0.254")), "the smaller metric");
    tables.set_routes(&[
        route("0.0.0.0/0", [RouteAttribute::Oif(ETH0), via("10.0.0.254")]),
        route("192.0.2.0/25", [RouteAttribute::Oif(ETH1), via("10.1.0.7")]),
        route("192.0.0.0/16", [RouteAttribute::Oif(ETH1), via("10.1.0.8")]),
    ]);
    let next_hop = |destination| needed(tables.snapshot().resolve(None, ip(destination))).0.next_hop;
    assert_eq!(next_hop("192.0.2.1"), ip("10.1.0.7"));
    assert_eq!(next_hop("192.0.2.129"), ip("10.1.0.8"));
    assert_eq!(next_hop("192.1.0.0"), ip("10.0.0.254"));
}

#[test]
fn the_source_chooses_among_equal_routes() {
    let snapshot = tables().snapshot();
    let (hop, _) = needed(snapshot.resolve(Some(ip("10.1.0.1")), ip("192.0.2.1")));
    assert_eq!((hop.ifindex, hop.source), (ETH1, ip("10.1.0.1")));
    let (hop, _) = needed(snapshot.resolve(Some(ip("10.0.0.1")), ip("192.0.2.1")));
    assert_eq!((hop.ifindex, hop.source), (ETH0, ip("10.0.0.1")));
    // A longer prefix is stronger than the source's interface.
    let (hop, _) = needed(snapshot.resolve(Some(ip("10.1.0.1")), ip("10.0.0.2")));
    assert_eq!((hop.ifindex, hop.source), (ETH0, ip("10.1.0.1")));
    let (hop, _) = needed(snapshot.resolve(Some(ip("0.0.0.0")), ip("10.0.0.2")));
    assert_eq!(hop.source, ip("10.0.0.1"), "the unspecified address is no choice");
}

#[test]
fn sources_have_the_right_reach_and_are_fresh() {
    let mut tables = tables();
    let source = |tables: &Tables, to| needed(tables.snapshot().resolve(None, ip(to))).0.source;
    assert_eq!(source(&tables, "fd00::2"), ip("fd00::1"));
    assert_eq!(source(&tables, "fe80::2"), ip("fe80::1"));
    let with_flags = |text, flags| {
        let mut message = address(ETH0, text, 24, AddressScope::Universe);
        message.attributes.push(AddressAttribute::Flags(flags));
        message
    };
    tables.set_addresses(&[
        with_flags("10.0.0.8", AddressFlags::Tentative),
        with_flags("10.0.0.9", AddressFlags::Deprecated),
        with_flags("10.0.0.10", AddressFlags::Permanent),
    ]);
    assert_eq!(source(&tables, "10.0.0.2"), ip("10.0.0.10"));
    let usable: Vec<IpAddr> = tables.snapshot().global_addresses().map(|local| local.address).collect();
    assert_eq!(usable, [ip("10.0.0.9"), ip("10.0.0.10")]);
}

#[test]
fn a_route_may_say_source_and_mtu() {
    let mut tables = tables();
    tables.set_routes(&[route(
        "10.0.0.0/24",
        [
            RouteAttribute::Oif(ETH0),
            RouteAttribute::PrefSource(ip("10.1.0.1").into()),
            RouteAttribute::Metrics(vec![RouteMetric::Mtu(1280)]),
        ],
    )]);
    let (hop, _) = needed(tables.snapshot().resolve(None, ip("10.0.0.2")));
    assert_eq!((hop.source, hop.mtu), (ip("10.1.0.1"), 1280));
}

#[test]
fn some_destinations_lead_nowhere() {
    let mut tables = tables();
    let snapshot = tables.snapshot();
    for destination in
        ["10.1.0.1", "224.0.0.1", "255.255.255.255", "127.0.0.1", "0.0.0.0", "ff02::1", "::1", "2001:db8::1"]
    {
        assert!(is_nowhere(&snapshot.resolve(None, ip(destination))), "{destination}");
    }
    assert!(is_nowhere(&snapshot.resolve(Some(ip("fd00::1")), ip("10.0.0.2"))), "families do not mix");
    let mut forbidden = route("192.0.2.0/24", []);
    forbidden.header.kind = RouteType::Unreachable;
    tables.set_routes(&[forbidden, route("0.0.0.0/0", [RouteAttribute::Oif(ETH0), via("10.0.0.254")])]);
    let snapshot = tables.snapshot();
    assert!(is_nowhere(&snapshot.resolve(None, ip("192.0.2.7"))));
    assert!(!is_nowhere(&snapshot.resolve(None, ip("192.0.3.7"))));
}

#[test]
fn only_interfaces_in_use_that_are_up_count() {
    let mut tables = tables();
    let (hop, _) = needed(tables.snapshot().resolve(None, ip("10.9.0.2")));
    assert_eq!(hop.next_hop, ip("10.0.0.254"), "the direct route is over another interface");
    tables.set_links(&[link(ETH0, "eth0", MAC0, false), link(ETH1, "eth1", MAC1, true)]);
    let (hop, _) = needed(tables.snapshot().resolve(None, ip("10.0.0.2")));
    assert_eq!((hop.ifindex, hop.next_hop), (ETH1, ip("10.1.0.254")));
}

#[test]
fn other_tables_and_kinds_of_routes_are_ignored() {
    let mut tables = tables();
    let mut local = route("10.0.0.1/32", [RouteAttribute::Oif(ETH0)]);
    local.header.kind = RouteType::Local;
    let policy = route("0.0.0.0/0", [RouteAttribute::Oif(ETH0), via("10.0.0.3"), RouteAttribute::Table(1000)]);
    tables.set_routes(&[local, policy]);
    assert!(tables.snapshot().routes.is_empty());
}

#[test]
fn a_multipath_route_uses_its_first_way_in_use() {
    let mut tables = tables();
    let way = |ifindex, gateway| {
        let mut way = RouteNextHop::default();
        way.interface_index = ifindex;
        way.attributes = vec![via(gateway)];
        way
    };
    let ways = vec![way(OTHER, "10.9.0.7"), way(ETH1, "10.1.0.7"), way(ETH0, "10.0.0.7")];
    tables.set_routes(&[route("0.0.0.0/0", [RouteAttribute::MultiPath(ways)])]);
    let (hop, _) = needed(tables.snapshot().resolve(None, ip("192.0.2.1")));
    assert_eq!(hop.next_hop, ip("10.1.0.7"));
    let (hop, _) = needed(tables.snapshot().resolve(Some(ip("10.0.0.1")), ip("192.0.2.1")));
    assert_eq!(hop.next_hop, ip("10.0.0.7"), "the source's interface");
}

#[test]
fn links_are_read() {
    let mut message = link(ETH0, "eth0", MAC0, true);
    message.attributes.push(LinkAttribute::Xdp(vec![LinkXdp::ProgId(42)]));
    let mut tunnel = link(ETH1, "tun0", MAC1, true);
    tunnel.header.link_layer_type = LinkLayerType::None;
    tunnel.header.flags |= LinkFlags::Noarp;
    let mut tables = Tables::new([ETH0]);
    tables.set_links(&[message, tunnel]);
    let snapshot = tables.snapshot();
    let eth0 = snapshot.link_by_name("eth0").expect("it is there");
    assert_eq!((eth0.ifindex, eth0.mac, eth0.receive_queues), (ETH0, Some(MAC0), 4));
    assert_eq!((eth0.xdp_program, eth0.mtu, eth0.up, eth0.no_arp), (Some(42), 1500, true, false));
    let tun0 = snapshot.link(ETH1).expect("it is there");
    assert_eq!((tun0.mac, tun0.no_arp, tun0.xdp_program), (None, true, None));
}

#[test]
fn neighbours_come_change_fail_and_go() {
    let mut tables = tables();
    let to = ip("10.0.0.2");
    let state = |tables: &mut Tables, state, mac| tables.add_neighbour(&neighbour(ETH0, "10.0.0.2", state, mac));
    assert_eq!(state(&mut tables, NeighbourState::Incomplete, None), None);
    assert_eq!(needed(tables.snapshot().resolve(None, to)).1, 0);
    state(&mut tables, NeighbourState::Failed, None);
    assert_eq!(needed(tables.snapshot().resolve(None, to)).1, 1);
    state(&mut tables, NeighbourState::Reachable, Some(PEER));
    assert_eq!(ready(tables.snapshot().resolve(None, to)).1, PEER);
    let before = tables.snapshot();
    state(&mut tables, NeighbourState::Stale, Some(PEER));
    assert_eq!(tables.snapshot(), before, "nothing that a packet depends on has changed");
    state(&mut tables, NeighbourState::Reachable, Some(MAC1));
    assert_eq!(ready(tables.snapshot().resolve(None, to)).1, MAC1);
    // The kernel still shows the address when it has been found wrong.
    state(&mut tables, NeighbourState::Failed, Some(MAC1));
    assert_eq!(needed(tables.snapshot().resolve(None, to)).1, 2);
    tables.remove_neighbour(&neighbour(ETH0, "10.0.0.2", NeighbourState::Failed, None));
    assert!(tables.neighbours().is_empty());
    tables.add_neighbour(&neighbour(OTHER, "10.9.0.2", NeighbourState::Reachable, Some(PEER)));
    assert!(tables.neighbours().is_empty(), "not on an interface in use");
}

#[test]
fn a_neighbour_in_use_is_checked_when_it_becomes_stale() {
    let mut tables = tables();
    let state = |tables: &mut Tables, state| tables.add_neighbour(&neighbour(ETH0, "10.0.0.2", state, Some(PEER)));
    let usage =
        |tables: &Tables| ready(tables.snapshot().resolve(None, ip("10.0.0.2"))).0.usage.expect("it has an entry");
    let probe = Some(Probe { ifindex: ETH0, address: ip("10.0.0.2") });

    state(&mut tables, NeighbourState::Reachable);
    assert_eq!(state(&mut tables, NeighbourState::Stale), None, "nobody uses it");
    assert!(usage(&tables).touch(), "now somebody does, and it must be checked");
    assert!(!usage(&tables).touch(), "once is enough");
    state(&mut tables, NeighbourState::Delay);
    state(&mut tables, NeighbourState::Reachable);
    assert!(!usage(&tables).touch(), "it is fresh");
    assert_eq!(state(&mut tables, NeighbourState::Stale), probe, "it has been used since");

    // A dump, after notifications were lost, forgets nothing.
    tables.set_neighbours(&[neighbour(ETH0, "10.0.0.2", NeighbourState::Stale, Some(PEER))]);
    assert!(!usage(&tables).touch());
}

#[test]
fn a_link_without_arp_needs_no_neighbour() {
    let mut tables = tables();
    let mut message = link(ETH0, "eth0", MAC0, true);
    message.header.flags |= LinkFlags::Noarp;
    tables.set_links(&[message]);
    assert_eq!(ready(tables.snapshot().resolve(None, ip("10.0.0.2"))).1, [0; 6]);
}

#[test]
fn prefixes_cover() {
    assert!(covers(ip("10.0.0.0"), 8, ip("10.255.0.1")));
    assert!(!covers(ip("10.0.0.0"), 8, ip("11.0.0.0")));
    assert!(covers(ip("10.0.0.1"), 32, ip("10.0.0.1")));
    assert!(!covers(ip("10.0.0.1"), 32, ip("10.0.0.0")));
    assert!(covers(ip("0.0.0.0"), 0, ip("203.0.113.1")));
    assert!(covers(ip("::"), 0, ip("2001:db8::1")));
    assert!(covers(ip("2001:db8::"), 127, ip("2001:db8::1")));
    assert!(!covers(ip("2001:db8::"), 128, ip("2001:db8::1")));
    assert!(!covers(ip("0.0.0.0"), 0, ip("::")));
}

#[test]
fn the_network_of_this_namespace_can_be_followed() {
    let network = Network::start(&["lo".to_owned(), "no-such-if".to_owned()]).expect("netlink needs no privileges");
    let snapshot = network.snapshot();
    let lo = snapshot.link_by_name("lo").expect("every namespace has one");
    assert!(snapshot.addresses().iter().all(|address| address.ifindex == lo.ifindex));
    assert!(snapshot.link_by_name("no-such-if").is_none());
    assert_eq!(network.generation(), u64::from(*snapshot != Snapshot::default()));
}
