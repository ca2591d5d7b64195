//! What has happened in many worlds: what never happens is not tested.

use std::collections::BTreeMap;
use std::fmt;

use super::packet::chunk_types;
use super::world::World;

/// What must have happened in a few thousand seeds.
const EXPECTED: [&str; 40] = [
    "Accepted",
    "Closed by LocalAbort",
    "Closed by PeerAbort",
    "Closed by Shutdown",
    "Closed by Unreachable",
    "Connected",
    "MessageReceived",
    "PathChanged",
    "PeerShutdown",
    "PartialDeliveryAborted",
    "message in parts",
    "SenderDry",
    "Restarted",
    "SendFailed",
    "Writable",
    "Corrupted packet",
    "Cut packet",
    "Duplicated packet",
    "Lost packet",
    "Passed packet",
    "TooBig packet",
    "QueueFull packet",
    "injected packet",
    "ABORT chunk",
    "COOKIE ACK chunk",
    "COOKIE ECHO chunk",
    "CWR chunk",
    "DATA chunk",
    "ECNE chunk",
    "HEARTBEAT chunk",
    "HEARTBEAT ACK chunk",
    "INIT chunk",
    "PAD chunk",
    "INIT ACK chunk",
    "SACK chunk",
    "SHUTDOWN chunk",
    "SHUTDOWN ACK chunk",
    "SHUTDOWN COMPLETE chunk",
    "IPv4 packet",
    "IPv6 packet",
];

/// What has happened in all worlds.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) worlds: u64,
    packets: usize,
    sent: usize,
    delivered: usize,
    seen: BTreeMap<String, u64>,
}

impl Tally {
    /// Counts what has happened in a world that has come to its end.
    pub(crate) fn add(&mut self, world: &World) {
        self.worlds += 1;
        self.packets += world.packets.len();
        for flow in 0..world.ledger.flows.len() {
            self.sent += world.ledger.flows[flow].messages.len();
            self.delivered += world.ledger.delivered_count(flow);
        }
        for (_, event) in world.sides.iter().flat_map(|side| &side.events) {
            let name = match event {
                sctp_core::Event::Closed { reason, .. } => format!("Closed by {}", variant(reason)),
                event => variant(event),
            };
            self.count(name, 1);
        }
        let in_parts: u32 = world.sides.iter().map(|side| side.in_parts).sum();
        if in_parts > 0 {
            self.count("message in parts".to_owned(), in_parts.into());
        }
        for packet in &world.packets {
            self.count(if packet.destination.is_ipv4() { "IPv4 packet" } else { "IPv6 packet" }.to_owned(), 1);
            if packet.from.is_none() {
                self.count("injected packet".to_owned(), 1);
                continue;
            }
            self.count(format!("{:?} packet", packet.fate), 1);
            for kind in chunk_types(&packet.bytes) {
                self.count(format!("{kind} chunk"), 1);
            }
        }
    }

    /// Adds what another one has counted.
    pub(crate) fn merge(&mut self, other: Self) {
        let Self { worlds, packets, sent, delivered, seen } = other;
        self.worlds += worlds;
        self.packets += packets;
        self.sent += sent;
        self.delivered += delivered;
        seen.into_iter().for_each(|(name, count)| self.count(name, count));
    }

    /// What should have happened and has not.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        EXPECTED.into_iter().filter(|kind| !self.seen.contains_key(*kind)).collect()
    }

    fn count(&mut self, name: String, count: u64) {
        *self.seen.entry(name).or_default() += count;
    }
}

/// The name of an enum's variant.
fn variant(value: &impl fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.split([' ', '{', '(']).next().unwrap_or_default().to_owned()
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { worlds, packets, sent, delivered, seen } = self;
        writeln!(
            f,
            "{worlds} seeds kept every invariant: {packets} packets, {delivered} of {sent} messages delivered"
        )?;
        seen.iter().try_for_each(|(name, count)| writeln!(f, "{count:>10} {name}"))
    }
}
