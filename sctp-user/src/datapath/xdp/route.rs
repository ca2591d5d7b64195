//! A worker's memory of where packets go.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::super::headers::Headers;
use super::super::netlink::{Hop, Mac, NeighbourUse, Network, Resolution};

/// Destinations that this worker sends to, with ready-made headers.
///
/// An entry is good for as long as the network's generation is the one it was made in: to know that costs one
/// atomic load per packet.
#[derive(Debug)]
pub(super) struct Routes {
    dscp: u8,
    index: HashMap<Key, usize>,
    entries: Vec<Entry>,
    /// The entry used last: bursts go to the same destination, and need no look-up then.
    last: usize,
}

/// Where packets go is decided by destination, and by source if the sender has chosen one.
type Key = (IpAddr, Option<IpAddr>);

#[derive(Debug)]
struct Entry {
    key: Key,
    generation: u64,
    way: Way,
}

/// A way that a packet can be sent by at once.
#[derive(Clone, Debug)]
pub(super) struct Way {
    /// The interface to leave by.
    pub(super) ifindex: u32,
    /// What to write in front of the packet.
    pub(super) headers: Headers,
    /// The longest SCTP packet, in bytes.
    pub(super) limit: usize,
    next_hop: IpAddr,
    usage: Option<Arc<NeighbourUse>>,
}

/// Why a packet cannot be sent at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detour {
    /// The next hop's link-layer address must be asked for.
    Neighbour {
        ifindex: u32,
        next_hop: IpAddr,
        /// How often asking has failed before.
        failures: u32,
        /// The longest SCTP packet, in bytes.
        limit: usize,
    },
    /// There is no route.
    NoRoute,
}

impl Routes {
    pub(super) fn new(dscp: u8) -> Self {
        Self { dscp, index: HashMap::new(), entries: Vec::new(), last: 0 }
    }

    /// The way to `destination`.
    pub(super) fn find(
        &mut self,
        network: &Network,
        source: Option<IpAddr>,
        destination: IpAddr,
    ) -> Result<&Way, Detour> {
        let key = (destination, source);
        let generation = network.generation();
        let known = match self.entries.get(self.last) {
            Some(entry) if entry.key == key => Some(self.last),
            _ => self.index.get(&key).copied(),
        };
        let position = match known {
            Some(position) if self.entries[position].generation == generation => position,
            Some(position) => {
                self.entries[position].way = self.resolve(network, key)?;
                self.entries[position].generation = generation;
                position
            }
            None => {
                let way = self.resolve(network, key)?;
                if self.entries.len() == MAX_ENTRIES {
                    // Whoever makes up so many destinations does not come back to them.
                    self.entries.clear();
                    self.index.clear();
                }
                self.entries.push(Entry { key, generation, way });
                self.index.insert(key, self.entries.len() - 1);
                self.entries.len() - 1
            }
        };
        self.last = position;
        let way = &self.entries[position].way;
        if let Some(usage) = &way.usage
            && usage.touch()
        {
            // If too many requests wait, the next round of the entry's life asks again.
            network.ask_for_neighbour(way.ifindex, way.next_hop);
        }
        Ok(way)
    }

    fn resolve(&self, network: &Network, (destination, source): Key) -> Result<Way, Detour> {
        match network.resolve(source, destination) {
            Resolution::Ready(hop, mac) => self.way(hop, mac, destination).ok_or(Detour::NoRoute),
            Resolution::NeedsNeighbour(hop, failures) => Err(Detour::Neighbour {
                ifindex: hop.ifindex,
                next_hop: hop.next_hop,
                failures,
                limit: limit(hop.mtu, destination),
            }),
            Resolution::NoRoute => Err(Detour::NoRoute),
        }
    }

    fn way(&self, hop: Hop, mac: Mac, destination: IpAddr) -> Option<Way> {
        let headers = Headers::new(hop.mac, mac, hop.source, destination, self.dscp)?;
        Some(Way {
            ifindex: hop.ifindex,
            headers,
            limit: limit(hop.mtu, destination),
            next_hop: hop.next_hop,
            usage: hop.usage,
        })
    }
}

/// The longest SCTP packet that fits an IP packet of `mtu` bytes.
fn limit(mtu: u32, destination: IpAddr) -> usize {
    let header = if destination.is_ipv4() { 20 } else { 40 };
    (mtu as usize).min(usize::from(u16::MAX)).saturating_sub(header)
}

/// Destinations are chosen by peers too (whoever sends an INIT gets an answer), so their number is bounded.
const MAX_ENTRIES: usize = 1 << 16;
