//! Two hosts joined by a cable, or by several: namespaces with a veth device for each.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, ensure};

use crate::routers::Routers;
use crate::{Cable, Namespace, PacketSocket, tap, tool};

/// What a pair is made with.
#[derive(Clone, Debug)]
pub struct PairConfig {
    /// Receive and transmit queues of each end.
    pub queues: u16,
    /// Octets of the largest IP packet.
    pub mtu: u32,
    /// How many cables there are, 1 to 9, each with networks of its own.
    pub cables: u8,
    /// Whether the cables can have [faults](crate::Faults): they are slower then, and have one queue.
    pub faulty: bool,
    /// Whether there are two [routers](Routers) on the way, with the one cable, which can have faults, between them.
    pub routed: bool,
    /// Whether the cables are plugged into TAP devices (`tap1` and `tap2`, with one queue), whose driver sends what an XDP program answers, as
    /// that of a NIC does; veth drops it unless a program is attached to the other end, too. These cables can have faults.
    pub taps: bool,
}

impl Default for PairConfig {
    /// One cable without faults, one queue, Ethernet's usual MTU.
    fn default() -> Self {
        Self { queues: 1, mtu: 1500, cables: 1, faulty: false, routed: false, taps: false }
    }
}

/// Where another cable than the first is plugged in.
#[derive(Clone, Debug)]
pub struct Port {
    /// Name of the interface.
    pub interface: String,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Its IPv4 address, in a /24 that the other end is in too.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address, in a /64 that the other end is in too.
    pub ipv6: Ipv6Addr,
}

impl Port {
    /// The port of host `number` (1 or 2) at cable `cable`, counted from 0. `kind`: what the interface's name begins with.
    fn new(kind: &str, number: u8, cable: u8) -> Self {
        let interface = if cable == 0 { format!("{kind}{number}") } else { format!("{kind}{number}-{cable}") };
        Self::on_network(interface, number, cable)
    }

    /// The port of host `number` on another network, by its number.
    pub(crate) fn on_network(interface: String, number: u8, network: u8) -> Self {
        Self {
            interface,
            mac: [0x02, 0x5c, 0x7b, 0, network, number],
            ipv4: Ipv4Addr::new(10, 77 + network, 0, number),
            ipv6: Ipv6Addr::new(0xfd77 + u16::from(network), 0, 0, 0, 0, 0, 0, number.into()),
        }
    }

    /// The Ethernet address as `ip` writes it.
    pub(crate) fn mac(&self) -> String {
        self.mac.map(|octet| format!("{octet:02x}")).join(":")
    }

    /// The address of this family.
    pub fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::Ipv4 => self.ipv4.into(),
            Family::Ipv6 => self.ipv6.into(),
        }
    }
}

/// One end of a pair.
#[derive(Debug)]
pub struct Host {
    /// The namespace that the interfaces are in.
    pub namespace: Namespace,
    /// Name of the first cable's interface.
    pub interface: String,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Its IPv4 address, in a /24 that the other end is in too.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address, in a /64 that the other end is in too.
    pub ipv6: Ipv6Addr,
    /// Where the further cables are plugged in.
    pub further: Vec<Port>,
    /// The addresses of the router beside it, IPv4 and IPv6, if there is one.
    pub gateways: Option<(Ipv4Addr, Ipv6Addr)>,
}

impl Host {
    pub(crate) fn create(label: &str, number: u8, config: &PairConfig) -> Result<Self> {
        let kind = if config.taps { "tap" } else { "veth" };
        let further = (1..config.cables).map(|cable| Port::new(kind, number, cable)).collect();
        Self::with_ports(label, Port::new(kind, number, 0), further)
    }

    fn with_ports(label: &str, first: Port, further: Vec<Port>) -> Result<Self> {
        let Port { interface, mac, ipv4, ipv6 } = first;
        Ok(Self { namespace: Namespace::create(label)?, interface, mac, ipv4, ipv6, further, gateways: None })
    }

    /// A host with one port, beside a router that has these addresses.
    pub(crate) fn beside(label: &str, port: Port, gateways: (Ipv4Addr, Ipv6Addr)) -> Result<Self> {
        Ok(Self { gateways: Some(gateways), ..Self::with_ports(label, port, Vec::new())? })
    }

    /// All ports, that of the first cable first.
    pub fn ports(&self) -> Vec<Port> {
        let first = Port { interface: self.interface.clone(), mac: self.mac, ipv4: self.ipv4, ipv6: self.ipv6 };
        std::iter::once(first).chain(self.further.iter().cloned()).collect()
    }

    /// All addresses of this family, that of the first cable first.
    pub fn addresses(&self, family: Family) -> Vec<IpAddr> {
        self.ports().iter().map(|port| port.address(family)).collect()
    }

    /// The address of the family of `like`.
    pub fn address(&self, like: Family) -> IpAddr {
        match like {
            Family::Ipv4 => self.ipv4.into(),
            Family::Ipv6 => self.ipv6.into(),
        }
    }

    /// The address with a port, as the command line takes it.
    pub fn socket_address(&self, like: Family, port: u16) -> SocketAddr {
        SocketAddr::new(self.address(like), port)
    }

    /// A socket for raw frames on the interface.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub fn packet_socket(&self) -> Result<PacketSocket> {
        self.namespace.run(|| PacketSocket::open(&self.interface))
    }

    /// True if an XDP program is attached to the interface.
    ///
    /// # Errors
    /// If `ip` fails.
    pub fn has_xdp(&self) -> Result<bool> {
        let links: serde_json::Value =
            serde_json::from_str(&self.namespace.ip(&["-j", "link", "show", &self.interface])?)?;
        Ok(links[0].get("xdp").is_some())
    }

    pub(crate) fn configure(&self, mtu: u32) -> Result<()> {
        for port in self.ports() {
            configure(&self.namespace, &port, mtu)?;
        }
        if let Some((ipv4, ipv6)) = self.gateways {
            self.namespace.ip(&["route", "add", "default", "via", &ipv4.to_string()])?;
            self.namespace.ip(&["route", "add", "default", "via", &ipv6.to_string()])?;
        }
        Ok(())
    }
}

/// Brings up a port that is there, with its addresses.
pub(crate) fn configure(namespace: &Namespace, port: &Port, mtu: u32) -> Result<()> {
    let interface = port.interface.as_str();
    namespace.ip(&["link", "set", interface, "mtu", &mtu.to_string(), "up"])?;
    namespace.ip(&["address", "add", &format!("{}/24", port.ipv4), "dev", interface])?;
    // Duplicate address detection would keep the address from use for a second.
    namespace.ip(&["address", "add", &format!("{}/64", port.ipv6), "dev", interface, "nodad"])?;
    prepare(namespace, interface)
}

/// Makes the end of a veth like that of a cable between machines.
///
/// No hardware finishes what a sender left to "offload": XDP would see packets without a checksum, and packets glued together.
/// And a veth drops what its other end has no room for, unless it has a queue that can wait: then its sender is told to.
pub(crate) fn prepare(namespace: &Namespace, interface: &str) -> Result<()> {
    const OFFLOADS: [&str; 5] = ["tx-checksum-sctp", "tx-checksum-ip-generic", "tso", "gso", "gro"];
    let run = |program: &str, arguments: &[&str]| tool::run_command(namespace.command(program).args(arguments));
    let mut arguments = vec!["-K", interface];
    arguments.extend(OFFLOADS.iter().flat_map(|name| [*name, "off"]));
    run("ethtool", &arguments)?;
    let state = run("ethtool", &["-k", interface])?;
    let checksum = state.lines().find(|line| line.trim_start().starts_with("tx-checksum-sctp:"));
    let off = checksum.is_none_or(|line| line.contains(": off"));
    ensure!(off, "{interface} does not turn SCTP checksum offload off: {checksum:?}");
    run("tc", &["qdisc", "replace", "dev", interface, "root", "pfifo", "limit", "10000"])?;
    Ok(())
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// Two hosts and the cables between them.
#[derive(Debug)]
pub struct Pair {
    /// The cables, if they can have faults, as those between TAP devices can; else none.
    // Before the hosts, so that they are taken away before what they are plugged into.
    pub cables: Vec<Cable>,
    /// `veth1`, 10.77.0.1, fd77::1; at the second cable `veth1-1`, 10.78.0.1, fd78::1, and so on.
    pub left: Host,
    /// `veth2`, 10.77.0.2, fd77::2; at the second cable `veth2-1`, 10.78.0.2, fd78::2, and so on.
    pub right: Host,
    /// The routers on the way, if there are some. Then the right host's addresses are 10.78.0.2 and fd78::2.
    pub routers: Option<Routers>,
    /// Where the cables with faults are.
    _between: Option<Namespace>,
}

impl Pair {
    /// Makes two namespaces and joins them; all interfaces are up and have their addresses.
    ///
    /// # Errors
    /// Without root, or without `ip`, `tc` and `ethtool`.
    pub fn create(label: &str, config: &PairConfig) -> Result<Self> {
        ensure!((1..=9).contains(&config.cables), "{} cables", config.cables);
        if config.routed {
            ensure!((config.cables, config.queues) == (1, 1), "routers have one cable between them, with one queue");
            return Self::routed(label, config.mtu);
        }
        let left = Host::create(&format!("{label}-a"), 1, config)?;
        let right = Host::create(&format!("{label}-b"), 2, config)?;
        if config.taps {
            return Self::with_taps(left, right, config);
        }
        let between = config.faulty.then(|| Namespace::create(&format!("{label}-c"))).transpose()?;
        let end = |host: &Host, port: &Port| {
            let mut words =
                [&port.interface, "netns", host.namespace.name(), "address", &port.mac()].map(String::from).to_vec();
            let queues = config.queues.to_string();
            if !config.faulty {
                words.extend(["numtxqueues", &queues, "numrxqueues", &queues].map(String::from));
            }
            words
        };
        for (ours, its) in left.ports().iter().zip(&right.ports()) {
            match &between {
                None => veth(&end(&left, ours), &end(&right, its))?,
                Some(between) => {
                    for (host, port) in [(&left, ours), (&right, its)] {
                        veth(&end(host, port), &[port.interface.clone(), "netns".into(), between.name().into()])?;
                    }
                }
            }
        }
        left.configure(config.mtu)?;
        right.configure(config.mtu)?;
        let mut cables = Vec::new();
        if let Some(between) = &between {
            for (seed, (ours, its)) in (1..).zip(left.ports().iter().zip(&right.ports())) {
                cables.push(faulty_cable(between, [&ours.interface, &its.interface], config.mtu, seed)?);
            }
        }
        Ok(Self { cables, left, right, routers: None, _between: between })
    }

    /// Two hosts, each on a network of its own, with a router on each and a faulty cable between the routers.
    fn routed(label: &str, mtu: u32) -> Result<Self> {
        let hosts = [Port::on_network("veth1".into(), 1, 0), Port::on_network("veth2".into(), 2, 1)];
        let routers = Routers::create(label, [&hosts[0], &hosts[1]])?;
        let [left, right] = hosts;
        let left = Host::beside(&format!("{label}-a"), left, routers.addresses_beside(0))?;
        let right = Host::beside(&format!("{label}-b"), right, routers.addresses_beside(1))?;
        let between = Namespace::create(&format!("{label}-c"))?;
        routers.plug([&left, &right], &between, mtu)?;
        let cables = vec![faulty_cable(&between, Routers::MIDDLE, mtu, 1)?];
        Ok(Self { cables, left, right, routers: Some(routers), _between: Some(between) })
    }

    /// Joins two hosts by TAP devices.
    fn with_taps(left: Host, right: Host, config: &PairConfig) -> Result<Self> {
        let mut cables = Vec::new();
        let plug = |host: &Host, port: &Port| {
            let file = tap::plug(&host.namespace, &port.interface)?;
            host.namespace.ip(&["link", "set", &port.interface, "address", &port.mac()])?;
            Ok::<_, anyhow::Error>(file)
        };
        for (seed, (ours, its)) in (1..).zip(left.ports().iter().zip(&right.ports())) {
            cables.push(Cable::join_taps([plug(&left, ours)?, plug(&right, its)?], seed)?);
        }
        left.configure(config.mtu)?;
        right.configure(config.mtu)?;
        Ok(Self { cables, left, right, routers: None, _between: None })
    }
}

/// Joins two interfaces that are in the namespace between the hosts.
fn faulty_cable(between: &Namespace, ends: [&str; 2], mtu: u32, seed: u64) -> Result<Cable> {
    for interface in ends {
        // No addresses, no questions of its own.
        let path = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
        between.run(|| std::fs::write(&path, "1").context(path.clone()))?;
        between.ip(&["link", "set", interface, "mtu", &mtu.to_string(), "promisc", "on", "up"])?;
        prepare(between, interface)?;
    }
    Cable::join(between, ends, seed)
}

/// Makes a veth pair; each end is described as `ip link add` wants it.
pub(crate) fn veth(one: &[String], other: &[String]) -> Result<()> {
    let words = ["link", "add"].map(String::from).into_iter().chain(one.iter().cloned());
    let words = words.chain(["type", "veth", "peer", "name"].map(String::from)).chain(other.iter().cloned());
    let words: Vec<String> = words.collect();
    tool::run("ip", &words.iter().map(String::as_str).collect::<Vec<_>>()).context("cannot make a veth pair").map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::require_root;
    use std::net::UdpSocket;
    use std::time::Duration;

    #[test]
    fn the_ends_reach_each_other() {
        if !require_root() {
            return;
        }
        let pair = Pair::create("reach", &PairConfig { queues: 2, mtu: 1400, ..PairConfig::default() }).unwrap();
        for family in [Family::Ipv4, Family::Ipv6] {
            let (left, right) = (pair.left.socket_address(family, 0), pair.right.socket_address(family, 0));
            let receiver = pair.right.namespace.run(|| UdpSocket::bind(right)).unwrap();
            let sender = pair.left.namespace.run(|| UdpSocket::bind(left)).unwrap();
            sender.send_to(b"hello", receiver.local_addr().unwrap()).unwrap();
            receiver.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let (length, from) = receiver.recv_from(&mut [0; 16]).unwrap();
            assert_eq!((length, from), (5, sender.local_addr().unwrap()));
        }
        let link = pair.left.namespace.ip(&["-d", "link", "show", "veth1"]).unwrap();
        assert!(
            link.contains("numtxqueues 2") && link.contains("numrxqueues 2") && link.contains("mtu 1400"),
            "{link}"
        );
        assert!(!pair.left.has_xdp().unwrap());
    }
}
