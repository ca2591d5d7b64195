//! Two routers between two hosts, so that a path has a link that neither host sees.
//!
//! ```text
//!        10.77.0/24, fd77::/64      the cable       10.78.0/24, fd78::/64
//! left .1 ------------ .254 router ============ router .254 ------------ .2 right
//! ```
//!
//! The link in the middle may become narrower than the hosts' own. A router whose link is too narrow for a packet says so to who sent it: by
//! ICMP, Fragmentation Needed (RFC 1191), or ICMPv6, Packet Too Big (RFC 8201). Where only the cable is too narrow
//! ([`Faults::mtu`](crate::Faults)) large packets are lost without a word, as behind a filter that drops ICMP.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};

use crate::Namespace;
use crate::veth::{Host, Port, configure, veth};

/// Two routers: the first beside the left host, the second beside the right one.
#[derive(Debug)]
pub struct Routers {
    namespaces: [Namespace; 2],
    near: [Port; 2],
    middle: [Port; 2],
}

/// The number of a router among the addresses of a network.
const ROUTER: u8 = 254;

/// Name of a router's interface to its host.
const NEAR: &str = "near";

/// Name of a router's interface to the other router.
const FAR: &str = "far";

/// The number of the network between the routers.
const BETWEEN: u8 = 10;

impl Routers {
    /// Names of the interfaces at which the cable between the routers ends.
    pub(crate) const MIDDLE: [&str; 2] = ["router1", "router2"];

    /// Makes the routers, of hosts that will have these ports.
    pub(crate) fn create(label: &str, hosts: [&Port; 2]) -> Result<Self> {
        let namespace = |number: u8| Namespace::create(&format!("{label}-r{number}"));
        let near = |network: u8| Port::on_network(NEAR.into(), ROUTER, network);
        let far = |number: u8| Port::on_network(FAR.into(), number, BETWEEN);
        debug_assert_eq!(hosts.map(|host| host.mac[4]), [0, 1], "the networks of the hosts");
        Ok(Self { namespaces: [namespace(1)?, namespace(2)?], near: [near(0), near(1)], middle: [far(1), far(2)] })
    }

    /// The addresses of the router beside the left host (0) or the right one (1).
    pub(crate) fn addresses_beside(&self, host: usize) -> (Ipv4Addr, Ipv6Addr) {
        (self.near[host].ipv4, self.near[host].ipv6)
    }

    /// Joins the hosts and the routers, and each router to the namespace in which the cable will be.
    pub(crate) fn plug(&self, hosts: [&Host; 2], between: &Namespace, mtu: u32) -> Result<()> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        for (at, host) in hosts.into_iter().enumerate() {
            let (router, near, far) = (&self.namespaces[at], &self.near[at], &self.middle[at]);
            let port = &host.ports()[0];
            veth(
                &words(&[&port.interface, "netns", host.namespace.name(), "address", &port.mac()]),
                &words(&[NEAR, "netns", router.name(), "address", &near.mac()]),
            )?;
            veth(
                &words(&[FAR, "netns", router.name(), "address", &far.mac()]),
                &words(&[Self::MIDDLE[at], "netns", between.name()]),
            )?;
            host.configure(mtu)?;
            configure(router, near, mtu)?;
            configure(router, far, mtu)?;
            for path in ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"] {
                router.run(|| std::fs::write(path, "1").context(path))?;
            }
            self.route(at, "add", &[])?;
        }
        Ok(())
    }

    /// Sets what the routers take to be the MTU of the link between them, octets: the first for what goes to the right, the second for what
    /// goes to the left. So the host beside a router is told by it what is too big.
    ///
    /// # Errors
    /// If `ip` fails.
    pub fn set_mtu(&self, mtus: [u32; 2]) -> Result<()> {
        for (at, mtu) in mtus.into_iter().enumerate() {
            // Of the route rather than of the device: a veth drops what is too big for it from the other side, too.
            self.route(at, "change", &["mtu", "lock", &mtu.to_string()])?;
        }
        Ok(())
    }

    /// Adds or changes the way from a router to the other's host.
    fn route(&self, at: usize, verb: &str, more: &[&str]) -> Result<()> {
        let (beyond, other) = (&self.near[1 - at], &self.middle[1 - at]);
        let (v4, v6) = (format!("{}/24", network_v4(beyond.ipv4)), format!("{}/64", network_v6(beyond.ipv6)));
        for (network, via) in [(v4, other.ipv4.to_string()), (v6, other.ipv6.to_string())] {
            self.namespaces[at].ip(&[&["route", verb, &network, "via", &via, "dev", FAR], more].concat())?;
        }
        Ok(())
    }

    /// How many ICMP (Destination Unreachable, of any code) and ICMPv6 (Packet Too Big) messages the routers have sent, each of them.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn errors_sent(&self) -> Result<[u64; 2]> {
        let of = |router: &Namespace| -> Result<u64> {
            let read = |name: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{name}"));
            let (snmp, snmp6) = router.run(|| -> std::io::Result<_> { Ok((read("snmp")?, read("snmp6")?)) })?;
            unreachable_sent(&snmp).zip(too_big_sent(&snmp6)).map(|(one, other)| one + other).context("no counters")
        };
        Ok([of(&self.namespaces[0])?, of(&self.namespaces[1])?])
    }
}

/// OutDestUnreachs in /proc/net/snmp: a line of names, a line of values.
fn unreachable_sent(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter(|line| line.starts_with("Icmp:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let (_, value) = names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == "OutDestUnreachs")?;
    value.parse().ok()
}

/// Icmp6OutPktTooBigs in /proc/net/snmp6: a name and a value a line.
fn too_big_sent(snmp6: &str) -> Option<u64> {
    let mut words = snmp6.lines().map(|line| line.split_whitespace());
    words.find_map(|mut words| (words.next()? == "Icmp6OutPktTooBigs").then(|| words.next()?.parse().ok())?)
}

fn network_v4(address: Ipv4Addr) -> Ipv4Addr {
    let [a, b, c, _] = address.octets();
    Ipv4Addr::new(a, b, c, 0)
}

fn network_v6(address: Ipv6Addr) -> Ipv6Addr {
    let [a, b, c, d, ..] = address.segments();
    Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::veth::Family;
    use crate::{Faults, Pair, PairConfig, require_root};

    #[test]
    fn counters_are_read() {
        let snmp = "Ip: A B\nIp: 1 2\nIcmp: OutMsgs OutErrors OutDestUnreachs OutTimeExcds\nIcmp: 9 8 7 6\n";
        assert_eq!((unreachable_sent(snmp), unreachable_sent("")), (Some(7), None));
        let snmp6 = "Icmp6InPktTooBigs               \t3\nIcmp6OutPktTooBigs              \t4\n";
        assert_eq!((too_big_sent(snmp6), too_big_sent("")), (Some(4), None));
    }

    /// The routers carry what fits, say what does not, and the cable loses without a word.
    #[test]
    fn a_narrow_link_in_the_middle() {
        if !require_root() {
            return;
        }
        let pair = Pair::create("routed", &PairConfig { routed: true, ..PairConfig::default() }).unwrap();
        let routers = pair.routers.as_ref().unwrap();
        for family in [Family::Ipv4, Family::Ipv6] {
            let (left, right) = (pair.left.socket_address(family, 0), pair.right.socket_address(family, 0));
            let receiver = pair.right.namespace.run(|| UdpSocket::bind(right)).unwrap();
            let sender = pair.left.namespace.run(|| UdpSocket::bind(left)).unwrap();
            sender.connect(receiver.local_addr().unwrap()).unwrap();
            receiver.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let mut buffer = [0; 2000];
            sender.send(&[1; 1400]).unwrap();
            assert_eq!(receiver.recv(&mut buffer).unwrap(), 1400);

            pair.cables[0].set(Faults { mtu: Some(1300), ..Faults::default() });
            sender.send(&[2; 1400]).unwrap();
            sender.send(&[3; 1000]).unwrap();
            assert_eq!((receiver.recv(&mut buffer).unwrap(), buffer[0]), (1000, 3));
            pair.cables[0].set(Faults::default());
            assert_eq!(routers.errors_sent().unwrap(), if family == Family::Ipv4 { [0, 0] } else { [1, 0] });

            // The kernel's UDP sockets do not fragment what they have been told is too big: the error is theirs.
            routers.set_mtu([1300, 1500]).unwrap();
            sender.send(&[4; 1400]).unwrap();
            let before = if family == Family::Ipv4 { 0 } else { 1 };
            let deadline = Instant::now() + Duration::from_secs(60);
            while routers.errors_sent().unwrap() != [before + 1, 0] {
                assert!(Instant::now() < deadline, "the router has said nothing");
                std::thread::sleep(Duration::from_millis(10));
            }
            routers.set_mtu([1500; 2]).unwrap();
        }
    }
}
