//! From the kernel's messages to a [`Snapshot`].

#[cfg(test)]
use std::collections::HashMap;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage, LinkXdp};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteNextHopFlags, RouteType, RouteVia,
};

use super::snapshot::{AddressInfo, LinkInfo, Mac, Neighbour, NeighbourUse, Route, Snapshot, Via};

/// The kernel's tables as last heard of.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// The interfaces in use, by number.
    in_use: HashSet<u32>,
    current: Snapshot,
}

/// A neighbour that the kernel should be asked to resolve or to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Probe {
    pub(super) ifindex: u32,
    pub(super) address: IpAddr,
}

impl Tables {
    /// Everything is unknown yet; addresses, routes and neighbours will be kept for the interfaces with
    /// these numbers.
    pub(super) fn new(in_use: impl IntoIterator<Item = u32>) -> Self {
        Self { in_use: in_use.into_iter().collect(), current: Snapshot::default() }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        self.current.clone()
    }

    pub(super) fn set_links(&mut self, messages: &[LinkMessage]) {
        self.current.links = messages.iter().map(link).collect();
    }

    pub(super) fn set_addresses(&mut self, messages: &[AddressMessage]) {
        self.current.addresses =
            messages.iter().filter(|message| self.in_use.contains(&message.header.index)).filter_map(address).collect();
    }

    /// Takes a dump of all routes.
    pub(super) fn set_routes(&mut self, messages: &[RouteMessage]) {
        let mut routes: Vec<Route> = messages.iter().filter_map(|message| route(message, &self.in_use)).collect();
        routes.sort_by_key(|route| (std::cmp::Reverse(route.prefix_length), route.metric));
        self.current.routes = routes;
    }

    /// Takes a dump of all neighbours. Entries that are in it keep what is known of their use.
    pub(super) fn set_neighbours(&mut self, messages: &[NeighbourMessage]) {
        let before = std::mem::take(&mut self.current.neighbours);
        for message in messages {
            if let Some((key, mac, state)) = self.neighbour(message) {
                let known = before.get(&key);
                let entry = update(known, mac, state);
                self.current.neighbours.insert(key, entry);
            }
        }
    }

    /// Takes a notification of a new or changed neighbour; says so if the entry has become stale while
    /// it is being used.
    pub(super) fn add_neighbour(&mut self, message: &NeighbourMessage) -> Option<Probe> {
        let (key, mac, state) = self.neighbour(message)?;
        let entry = update(self.current.neighbours.get(&key), mac, state);
        let probe = state == NeighbourState::Stale && entry.usage.stale();
        self.current.neighbours.insert(key, entry);
        probe.then_some(Probe { ifindex: key.0, address: key.1 })
    }

    pub(super) fn remove_neighbour(&mut self, message: &NeighbourMessage) {
        if let Some((key, ..)) = self.neighbour(message) {
            self.current.neighbours.remove(&key);
        }
    }

    fn neighbour(&self, message: &NeighbourMessage) -> Option<((u32, IpAddr), Option<Mac>, NeighbourState)> {
        let ifindex = message.header.ifindex;
        if !self.in_use.contains(&ifindex) {
            return None;
        }
        let mut address = None;
        let mut mac = None;
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                    address = Some(IpAddr::V4(*v4));
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                    address = Some(IpAddr::V6(*v6));
                }
                NeighbourAttribute::LinkLayerAddress(bytes) => {
                    mac = Mac::try_from(bytes.as_slice()).ok();
                }
                _ => {}
            }
        }
        Some(((ifindex, address?), mac, message.header.state))
    }
}

fn update(known: Option<&Neighbour>, mac: Option<Mac>, state: NeighbourState) -> Neighbour {
    let usage = match known {
        Some(known) => known.usage.clone(),
        None => Arc::new(NeighbourUse::default()),
    };
    let mut failures = known.map_or(0, |known| known.failures);
    // While an address is being resolved or after that has failed the entry may still show an old one.
    let mac = match state {
        NeighbourState::None | NeighbourState::Incomplete => None,
        NeighbourState::Failed => {
            failures = failures.wrapping_add(1);
            None
        }
        _ => mac,
    };
    match state {
        NeighbourState::Stale => {
            usage.stale();
        }
        NeighbourState::Reachable | NeighbourState::Delay | NeighbourState::Probe => usage.fresh(),
        _ => {}
    }
    Neighbour { mac, failures, usage }
}

fn link(message: &LinkMessage) -> LinkInfo {
    let flags = message.header.flags;
    let mut link = LinkInfo {
        ifindex: message.header.index,
        name: String::new(),
        mac: None,
        mtu: 0,
        up: flags.contains(LinkFlags::Up),
        no_arp: flags.contains(LinkFlags::Noarp),
        receive_queues: 1,
        xdp_program: None,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::NumRxQueues(queues) => link.receive_queues = *queues,
            LinkAttribute::Address(bytes) if message.header.link_layer_type == LinkLayerType::Ether => {
                link.mac = Mac::try_from(bytes.as_slice()).ok();
            }
            LinkAttribute::Xdp(xdp) => {
                link.xdp_program = xdp.iter().find_map(|attribute| match attribute {
                    LinkXdp::ProgId(id) if *id != 0 => Some(*id),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    link
}

fn address(message: &AddressMessage) -> Option<AddressInfo> {
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    // On point-to-point links the first is the peer's; else they are equal, or only one is there.
    let (mut address, mut local) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(ip) => address = Some(*ip),
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    Some(AddressInfo {
        ifindex: message.header.index,
        address: local.or(address)?,
        prefix_length: message.header.prefix_len,
        usable: !flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed)
            || flags.contains(AddressFlags::Optimistic),
        deprecated: flags.contains(AddressFlags::Deprecated),
        global: matches!(message.header.scope, AddressScope::Universe | AddressScope::Site),
    })
}

fn route(message: &RouteMessage, in_use: &HashSet<u32>) -> Option<Route> {
    let header = &message.header;
    let rejects = match header.kind {
        RouteType::Unicast => false,
        RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit => true,
        _ => return None,
    };
    let mut route = Route {
        destination: match header.address_family {
            netlink_packet_route::AddressFamily::Inet => IpAddr::from([0; 4]),
            netlink_packet_route::AddressFamily::Inet6 => IpAddr::from([0; 16]),
            _ => return None,
        },
        prefix_length: header.destination_prefix_length,
        metric: 0,
        preferred_source: None,
        mtu: None,
        hops: Vec::new(),
    };
    let mut table = u32::from(header.table);
    let mut single = (None, None);
    let mut multiple = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(address) => route.destination = ip(address)?,
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::PrefSource(address) => route.preferred_source = ip(address),
            RouteAttribute::Oif(ifindex) => single.0 = Some(*ifindex),
            RouteAttribute::Gateway(address) => single.1 = ip(address),
            RouteAttribute::Via(address) => single.1 = via(address),
            RouteAttribute::MultiPath(hops) => multiple.extend(hops),
            RouteAttribute::Metrics(metrics) => {
                route.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) if *mtu != 0 => Some(*mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    if table != TABLE_MAIN && table != TABLE_DEFAULT {
        return None;
    }
    if rejects {
        return Some(route);
    }
    if let (Some(ifindex), gateway) = single {
        route.hops.push(Via { ifindex, gateway });
    }
    for hop in multiple {
        if hop.flags.intersects(RouteNextHopFlags::Dead) {
            continue;
        }
        let gateway = hop.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Gateway(address) => ip(address),
            RouteAttribute::Via(address) => via(address),
            _ => None,
        });
        route.hops.push(Via { ifindex: hop.interface_index, gateway });
    }
    route.hops.retain(|hop| in_use.contains(&hop.ifindex));
    (!route.hops.is_empty()).then_some(route)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

/// The gateway of an IPv4 route may have an IPv6 address (RFC 5549, `via inet6`).
fn via(address: &RouteVia) -> Option<IpAddr> {
    match address {
        RouteVia::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteVia::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

/// Numbers of the routing tables that are looked at (`RT_TABLE_MAIN`, `RT_TABLE_DEFAULT`). Rules for
/// further tables would have to be evaluated for each packet.
const TABLE_MAIN: u32 = 254;
const TABLE_DEFAULT: u32 = 253;

#[cfg(test)]
impl Tables {
    /// For tests: the neighbours as they are now.
    pub(super) fn neighbours(&self) -> &HashMap<(u32, IpAddr), Neighbour> {
        &self.current.neighbours
    }
}
