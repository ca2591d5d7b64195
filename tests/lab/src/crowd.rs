//! Many hosts on one network: namespaces joined by a switch.

use anyhow::{Context, Result, ensure};

use crate::veth::{Host, prepare, veth};
use crate::{Namespace, PairConfig, interrupt};

/// Hosts on one network, the first with the addresses 10.77.0.1 and fd77::1, the second with 10.77.0.2 and fd77::2, and so on.
#[derive(Debug)]
pub struct Crowd {
    /// The hosts.
    pub hosts: Vec<Host>,
    /// Where the switch is.
    _switch: Namespace,
}

/// Name of the switch.
const SWITCH: &str = "switch";

impl Crowd {
    /// Makes so many hosts, 1 to 250.
    ///
    /// # Errors
    /// Without root, or without `ip`, `tc` and `ethtool`.
    pub fn create(label: &str, count: u8) -> Result<Self> {
        ensure!((1..=250).contains(&count), "{count} hosts");
        let switch = Namespace::create(&format!("{label}-s"))?;
        switch.ip(&["link", "add", SWITCH, "type", "bridge"])?;
        quiet(&switch, SWITCH)?;
        switch.ip(&["link", "set", SWITCH, "up"])?;
        let mut hosts = Vec::new();
        for number in 1..=count {
            interrupt::check()?;
            let host = Host::create(&format!("{label}-{number}"), number, &PairConfig::default())?;
            let port = &host.ports()[0];
            let words = |words: [&str; 5]| words.map(String::from);
            veth(
                &words([&port.interface, "netns", host.namespace.name(), "address", &port.mac()]),
                &words([&port.interface, "netns", switch.name(), "mtu", "1500"]),
            )?;
            quiet(&switch, &port.interface)?;
            switch.ip(&["link", "set", &port.interface, "master", SWITCH, "up"])?;
            prepare(&switch, &port.interface)?;
            host.configure(1500)?;
            hosts.push(host);
        }
        Ok(Self { hosts, _switch: switch })
    }
}

/// Has an interface no addresses, and so ask nothing by itself.
fn quiet(namespace: &Namespace, interface: &str) -> Result<()> {
    let path = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
    namespace.run(|| std::fs::write(&path, "1").context(path.clone()))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;
    use crate::require_root;
    use crate::veth::Family;

    #[test]
    fn each_reaches_the_others() {
        if !require_root() {
            return;
        }
        let crowd = Crowd::create("crowd", 3).unwrap();
        for family in [Family::Ipv4, Family::Ipv6] {
            let bind = |host: &Host| host.namespace.run(|| UdpSocket::bind(host.socket_address(family, 0))).unwrap();
            let sockets: Vec<_> = crowd.hosts.iter().map(bind).collect();
            for (one, other) in [(0, 1), (1, 2), (2, 0)] {
                sockets[one].send_to(b"hello", sockets[other].local_addr().unwrap()).unwrap();
                sockets[other].set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                let (length, from) = sockets[other].recv_from(&mut [0; 16]).unwrap();
                assert_eq!((length, from), (5, sockets[one].local_addr().unwrap()));
            }
        }
    }
}
