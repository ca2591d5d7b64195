//! Two hosts joined by a cable: namespaces with one veth device each.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, ensure};

use crate::{Namespace, PacketSocket, tool};

/// What a pair is made with.
#[derive(Clone, Debug)]
pub struct PairConfig {
    /// Receive and transmit queues of each end.
    pub queues: u16,
    /// Octets of the largest IP packet.
    pub mtu: u32,
}

impl Default for PairConfig {
    /// One queue, Ethernet's usual MTU.
    fn default() -> Self {
        Self { queues: 1, mtu: 1500 }
    }
}

/// One end of a pair.
#[derive(Debug)]
pub struct Host {
    /// The namespace that the interface is in.
    pub namespace: Namespace,
    /// Name of the interface.
    pub interface: String,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Its IPv4 address, in a /24 that the other end is in too.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address, in a /64 that the other end is in too.
    pub ipv6: Ipv6Addr,
}

impl Host {
    fn create(label: &str, number: u8) -> Result<Self> {
        Ok(Self {
            namespace: Namespace::create(label)?,
            interface: format!("veth{number}"),
            mac: [0x02, 0x5c, 0x7b, 0, 0, number],
            ipv4: Ipv4Addr::new(10, 77, 0, number),
            ipv6: Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, number.into()),
        })
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

    fn configure(&self, mtu: u32) -> Result<()> {
        let interface = self.interface.as_str();
        self.namespace.ip(&["link", "set", interface, "mtu", &mtu.to_string(), "up"])?;
        self.namespace.ip(&["address", "add", &format!("{}/24", self.ipv4), "dev", interface])?;
        // Duplicate address detection would keep the address from use for a second.
        self.namespace.ip(&["address", "add", &format!("{}/64", self.ipv6), "dev", interface, "nodad"])?;
        self.turn_offloads_off()
    }

    /// Between the ends of a veth no hardware finishes what a sender left to "offload": XDP would see packets without a
    /// checksum, and packets glued together.
    fn turn_offloads_off(&self) -> Result<()> {
        const OFFLOADS: [&str; 4] = ["tx-checksum-sctp", "tso", "gso", "gro"];
        let ethtool = |arguments: &[&str]| {
            let mut command = self.namespace.command("ethtool");
            tool::run_command(command.args(arguments))
        };
        let mut arguments = vec!["-K", self.interface.as_str()];
        arguments.extend(OFFLOADS.iter().flat_map(|name| [*name, "off"]));
        ethtool(&arguments)?;
        let state = ethtool(&["-k", &self.interface])?;
        let checksum = state.lines().find(|line| line.trim_start().starts_with("tx-checksum-sctp:"));
        let off = checksum.is_none_or(|line| line.contains(": off"));
        ensure!(off, "{interface} does not turn SCTP checksum offload off: {checksum:?}", interface = self.interface);
        Ok(())
    }
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// Two hosts and the cable between them.
#[derive(Debug)]
pub struct Pair {
    /// `veth1`, 10.77.0.1, fd77::1.
    pub left: Host,
    /// `veth2`, 10.77.0.2, fd77::2.
    pub right: Host,
}

impl Pair {
    /// Makes two namespaces and joins them; both interfaces are up and have their addresses.
    ///
    /// # Errors
    /// Without root, or without `ip` and `ethtool`.
    pub fn create(label: &str, config: &PairConfig) -> Result<Self> {
        let left = Host::create(&format!("{label}-a"), 1)?;
        let right = Host::create(&format!("{label}-b"), 2)?;
        let queues = config.queues.to_string();
        let end = |host: &Host| {
            let mac = host.mac.map(|octet| format!("{octet:02x}")).join(":");
            [host.interface.clone(), "netns".into(), host.namespace.name().into(), "address".into(), mac]
                .into_iter()
                .chain(["numtxqueues".into(), queues.clone(), "numrxqueues".into(), queues.clone()])
                .collect::<Vec<String>>()
        };
        let mut arguments: Vec<String> = ["link", "add"].map(String::from).into();
        arguments.extend(end(&left));
        arguments.extend(["type", "veth", "peer", "name"].map(String::from));
        arguments.extend(end(&right));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        tool::run("ip", &arguments).context("cannot make a veth pair")?;
        left.configure(config.mtu)?;
        right.configure(config.mtu)?;
        Ok(Self { left, right })
    }
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
        let pair = Pair::create("reach", &PairConfig { queues: 2, mtu: 1400 }).unwrap();
        for family in [Family::Ipv4, Family::Ipv6] {
            let (left, right) = (pair.left.socket_address(family, 0), pair.right.socket_address(family, 0));
            let receiver = pair.right.namespace.run(|| UdpSocket::bind(right)).unwrap();
            let sender = pair.left.namespace.run(|| UdpSocket::bind(left)).unwrap();
            sender.send_to(b"hello", receiver.local_addr().unwrap()).unwrap();
            receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
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
