//! What the kernel knows of the network at one moment, and where a packet goes by it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A link-layer address.
pub type Mac = [u8; 6];

/// Links, addresses, routes and neighbours, as far as they concern the interfaces in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// All links of the network namespace, those that are not in use too.
    pub(crate) links: Vec<LinkInfo>,
    /// Addresses of the interfaces in use.
    pub(crate) addresses: Vec<AddressInfo>,
    /// Routes over the interfaces in use: the longest prefix first, and the smallest metric first among equals.
    pub(crate) routes: Vec<Route>,
    /// Neighbours on the interfaces in use.
    pub(crate) neighbours: HashMap<(u32, IpAddr), Neighbour>,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// The kernel's number for it.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Its link-layer address; `None` if it is no Ethernet.
    pub mac: Option<Mac>,
    /// The longest IP packet that it carries, in bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether neighbours have no link-layer addresses there (`NOARP`).
    pub no_arp: bool,
    /// How many receive queues it has been made with; fewer may be in use.
    pub receive_queues: u32,
    /// The id of the XDP program that is attached to it.
    pub xdp_program: Option<u32>,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressInfo {
    /// The interface.
    pub ifindex: u32,
    /// The address.
    pub address: IpAddr,
    /// Length of the prefix that is on-link, in bits.
    pub prefix_length: u8,
    /// Whether it may be used: neither tentative nor found to be a duplicate (RFC 4862 §5.4).
    pub usable: bool,
    /// Whether it should not be chosen for something new (RFC 4862 §5.5.4).
    pub deprecated: bool,
    /// Whether it is valid beyond the link.
    pub global: bool,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) destination: IpAddr,
    pub(crate) prefix_length: u8,
    pub(crate) metric: u32,
    pub(crate) preferred_source: Option<IpAddr>,
    pub(crate) mtu: Option<u32>,
    /// Empty for a route that forbids (`blackhole`, `unreachable`, `prohibit`).
    pub(crate) hops: Vec<Via>,
}

/// One way that a route offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Via {
    pub(crate) ifindex: u32,
    /// `None`: the destination itself is on-link.
    pub(crate) gateway: Option<IpAddr>,
}

/// A host on the link.
#[derive(Clone, Debug)]
pub(crate) struct Neighbour {
    /// Its link-layer address, if that is known and not found wrong.
    pub(crate) mac: Option<Mac>,
    /// How often resolving it has failed.
    pub(crate) failures: u32,
    pub(crate) usage: Arc<NeighbourUse>,
}

impl PartialEq for Neighbour {
    /// By what a packet's way depends on.
    fn eq(&self, other: &Self) -> bool {
        (self.mac, self.failures) == (other.mac, other.failures)
    }
}

impl Eq for Neighbour {}

/// Whether a neighbour is being used, told by those who send to those who ask the kernel.
///
/// The kernel does not see packets that leave through AF_XDP. It would call the neighbour stale after half a
/// minute and never check it again. So a link says when it uses an entry, and a stale entry in use
/// is probed.
#[derive(Debug, Default)]
pub(crate) struct NeighbourUse {
    used: AtomicBool,
    stale: AtomicBool,
}

impl NeighbourUse {
    /// Notes that a packet is being sent there; `true` if the kernel should be asked to check the entry.
    ///
    /// One relaxed load in the usual case.
    pub(crate) fn touch(&self) -> bool {
        if self.used.load(Ordering::Relaxed) {
            return false;
        }
        self.used.store(true, Ordering::SeqCst);
        // The probe that follows a `true` clears it again, when the kernel has begun.
        self.stale.load(Ordering::SeqCst)
    }

    /// The kernel has confirmed the entry, or is about to check it.
    pub(crate) fn fresh(&self) {
        self.stale.store(false, Ordering::SeqCst);
        self.used.store(false, Ordering::SeqCst);
    }

    /// The kernel calls the entry stale; `true` if it has been used since it was last fresh, and so should be
    /// checked.
    pub(crate) fn stale(&self) -> bool {
        self.stale.store(true, Ordering::SeqCst);
        self.used.load(Ordering::SeqCst)
    }
}

/// Where a packet goes.
#[derive(Clone, Debug)]
pub(crate) enum Resolution {
    /// Everything is known.
    Ready(Hop, Mac),
    /// The next hop's link-layer address is not known. The number says how often resolving has failed.
    NeedsNeighbour(Hop, u32),
    /// Nowhere.
    NoRoute,
}

/// The next step on a packet's way.
#[derive(Clone, Debug)]
pub(crate) struct Hop {
    /// The interface to leave by.
    pub(crate) ifindex: u32,
    /// Its link-layer address.
    pub(crate) mac: Mac,
    /// The source address.
    pub(crate) source: IpAddr,
    /// Whose link-layer address the frame is for.
    pub(crate) next_hop: IpAddr,
    /// The longest IP packet, in bytes.
    pub(crate) mtu: u32,
    /// There if the neighbour has an entry.
    pub(crate) usage: Option<Arc<NeighbourUse>>,
}

impl Snapshot {
    /// Where a packet to `destination` goes, from `source` if that is given.
    ///
    /// The route with the longest prefix decides, among those over interfaces in use that are up. Among
    /// equally long ones those win whose interface has the source address, then those with the smaller metric:
    /// a host with two default routes sends packets by the interface that their source belongs to.
    pub(crate) fn resolve(&self, source: Option<IpAddr>, destination: IpAddr) -> Resolution {
        let source = source.filter(|source| !source.is_unspecified());
        if destination.is_multicast()
            || destination.is_unspecified()
            || destination.is_loopback()
            || destination == IpAddr::V4(Ipv4Addr::BROADCAST)
            || source.is_some_and(|source| source.is_ipv4() != destination.is_ipv4())
            || self.is_local(destination)
        {
            return Resolution::NoRoute;
        }
        let Some((route, via, link)) = self.best(source, destination) else {
            return Resolution::NoRoute;
        };
        let next_hop = via.gateway.unwrap_or(destination);
        let source = source.or(route.preferred_source).or_else(|| self.source_for(via.ifindex, next_hop, destination));
        let (Some(source), Some(mac)) = (source, link.mac) else {
            return Resolution::NoRoute;
        };
        let neighbour = self.neighbours.get(&(via.ifindex, next_hop));
        let hop = Hop {
            ifindex: via.ifindex,
            mac,
            source,
            next_hop,
            mtu: route.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu)),
            usage: neighbour.map(|neighbour| neighbour.usage.clone()),
        };
        match neighbour {
            _ if link.no_arp => Resolution::Ready(hop, [0; 6]),
            Some(Neighbour { mac: Some(mac), .. }) => Resolution::Ready(hop, *mac),
            Some(neighbour) => Resolution::NeedsNeighbour(hop, neighbour.failures),
            None => Resolution::NeedsNeighbour(hop, 0),
        }
    }

    /// Whether `address` belongs to one of the interfaces in use.
    pub fn is_local(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|local| local.address == address)
    }

    /// The addresses of the interfaces in use, those that are valid on the link alone left out.
    pub fn global_addresses(&self) -> impl Iterator<Item = &AddressInfo> {
        self.addresses.iter().filter(|local| local.usable && local.global)
    }

    /// All addresses of the interfaces in use.
    pub fn addresses(&self) -> &[AddressInfo] {
        &self.addresses
    }

    /// The link with that number.
    pub fn link(&self, ifindex: u32) -> Option<&LinkInfo> {
        self.links.iter().find(|link| link.ifindex == ifindex)
    }

    /// The link with that name.
    pub fn link_by_name(&self, name: &str) -> Option<&LinkInfo> {
        self.links.iter().find(|link| link.name == name)
    }

    /// All links of the network namespace.
    pub fn links(&self) -> &[LinkInfo] {
        &self.links
    }

    fn best(&self, source: Option<IpAddr>, destination: IpAddr) -> Option<(&Route, &Via, &LinkInfo)> {
        let mut fallback = None;
        let mut length = None;
        for route in self.routes.iter().filter(|route| route.covers(destination)) {
            if length.is_some_and(|length| route.prefix_length < length) {
                break;
            }
            if route.hops.is_empty() && fallback.is_none() {
                return None;
            }
            for via in &route.hops {
                let Some(link) = self.link(via.ifindex).filter(|link| link.up) else { continue };
                length = Some(route.prefix_length);
                let found = (route, via, link);
                match source {
                    Some(source) if !self.has_address(via.ifindex, source) => {
                        fallback.get_or_insert(found);
                    }
                    _ => return Some(found),
                }
            }
        }
        fallback
    }

    fn has_address(&self, ifindex: u32, address: IpAddr) -> bool {
        self.addresses.iter().any(|local| local.ifindex == ifindex && local.address == address)
    }

    /// The address to use as source when nobody has said which: of the right reach, not deprecated, and from
    /// the next hop's own subnet, as far as there is one.
    fn source_for(&self, ifindex: u32, next_hop: IpAddr, destination: IpAddr) -> Option<IpAddr> {
        let wants_global = !is_link_local(destination);
        self.addresses
            .iter()
            .filter(|local| {
                local.ifindex == ifindex && local.usable && local.address.is_ipv4() == destination.is_ipv4()
            })
            // The first of the best, as the kernel lists them.
            .min_by_key(|local| {
                (local.global != wants_global, local.deprecated, !covers(local.address, local.prefix_length, next_hop))
            })
            .map(|local| local.address)
    }
}

impl Route {
    fn covers(&self, address: IpAddr) -> bool {
        covers(self.destination, self.prefix_length, address)
    }
}

/// Whether `address` lies in the subnet of the first `length` bits of `prefix`.
pub(crate) fn covers(prefix: IpAddr, length: u8, address: IpAddr) -> bool {
    match (prefix, address) {
        (IpAddr::V4(prefix), IpAddr::V4(address)) => {
            let differ = prefix.to_bits() ^ address.to_bits();
            differ.leading_zeros() >= u32::from(length)
        }
        (IpAddr::V6(prefix), IpAddr::V6(address)) => {
            let differ = prefix.to_bits() ^ address.to_bits();
            differ.leading_zeros() >= u32::from(length)
        }
        _ => false,
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => Ipv6Addr::is_unicast_link_local(&address),
    }
}
