//! A stack on network interfaces: what joins XDP and AF_XDP to the workers.

use std::io;
use std::net::IpAddr;
use std::thread;

use sctp_common::init::Offer;
use sctp_common::steering::Steering;
use sctp_core::{Association, PeerChange, TagChange};

use super::builder::StackBuilder;
use super::error::BuildError;
use super::stack::{Parts, PendingWorker, Stack, start};
use crate::datapath::xdp::{self, INIT_THRESHOLD, XdpConfig, XdpInterfaces, receive_queues};
use crate::stack::ports::Control;

/// Opens the interfaces and starts the workers.
pub(super) fn open(builder: &StackBuilder, key: [u64; 2]) -> Result<Stack, BuildError> {
    let workers = match builder.workers {
        Some(0) => return Err(BuildError::NoWorkers),
        Some(count) => count,
        None => default_workers(builder),
    };
    let workers = u16::try_from(workers).map_err(|_| BuildError::TooManyWorkers(workers))?;
    let steering = Steering { key, workers };
    let queues = builder.queues.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    let config = XdpConfig {
        interfaces: builder.interfaces.clone(),
        queues,
        trusted_link: builder.trusted_link,
        checksum: builder.checksum,
        keep: builder.keep_programs.clone(),
        silent_out_of_the_blue: builder.silent,
        fragments: builder.fragments,
        answer_heartbeats: builder.xdp_heartbeats,
        init_cookies: builder.init_cookies,
        init_threshold: builder.init_threshold.unwrap_or(INIT_THRESHOLD),
        udp_port: builder.udp_port,
        capture: builder.capture.clone(),
        ..XdpConfig::new("", steering)
    };
    let (control, xdp_links) = XdpInterfaces::open(&config)?;
    for name in &builder.interfaces {
        if let Some(warning) = warn_of_unused_queues(name, receive_queues(name), queues) {
            tracing::warn!("{warning}");
        }
    }

    let mut endpoint = builder.endpoint_config();
    let follows = endpoint.addresses.is_empty();
    if follows {
        endpoint.addresses = control.local_addresses();
    }
    let snapshot = control.network().snapshot();
    let links = builder.interfaces.iter().filter_map(|name| snapshot.link_by_name(name));
    let mtu = links.map(|link| u16::try_from(link.mtu).unwrap_or(u16::MAX)).min().unwrap_or(u16::MAX);
    control.set_addresses(&endpoint.addresses).map_err(BuildError::Addresses)?;
    start(Parts {
        workers: xdp_links.into_iter().map(PendingWorker::new).collect(),
        steering,
        control: Box::new(XdpControl { control: control.clone(), follows }),
        interfaces: builder.interfaces.clone(),
        xdp: Some(control),
        endpoint,
        mtu,
    })
}

/// As many workers as the interfaces have queues, but not more than there are cores.
fn default_workers(builder: &StackBuilder) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let queues = builder.interfaces.iter().map(|name| receive_queues(name).unwrap_or(1)).max();
    let queues = usize::try_from(queues.unwrap_or(1)).unwrap_or(usize::MAX);
    queues.min(builder.queues.unwrap_or(usize::MAX)).clamp(1, cores)
}

/// What to say where a network interface may deliver packets to queues that are not used: they do not reach the stack, and
/// associations fail for no reason that can be seen elsewhere.
fn warn_of_unused_queues(interface: &str, there: Option<u32>, used: Option<u32>) -> Option<String> {
    let (there, used) = (there?, used?);
    (used < there).then(|| {
        format!(
            "{interface} receives on {there} queues and only {used} of them are used: SCTP packets that arrive on the others are \
             lost, and peers may seem not to answer. Use all queues, or have the interface use no more than these \
             (`ethtool -L {interface} combined {used}`)"
        )
    })
}

/// What the workers tell the XDP programs.
#[derive(Debug)]
struct XdpControl {
    control: xdp::Control,
    /// Whether the stack's addresses are those of the interfaces, also when they change.
    follows: bool,
}

impl Control for XdpControl {
    fn own_port(&self, port: u16) -> io::Result<()> {
        self.control.own_port(port, true)
    }

    fn disown_port(&self, port: u16) {
        if let Err(error) = self.control.disown_port(port) {
            tracing::warn!(port, %error, "the port could not be given back to the kernel");
        }
    }

    fn offer(&self, port: u16, offer: Offer) -> io::Result<()> {
        self.control.offer(port, offer)
    }

    fn withdraw_offer(&self, port: u16) {
        if let Err(error) = self.control.withdraw_offer(port) {
            tracing::warn!(port, %error, "XDP goes on answering INITs to the port");
        }
    }

    fn change_tag(&self, worker: u16, change: &TagChange) -> io::Result<()> {
        self.control.change_tag(worker, change)
    }

    fn change_peer(&self, worker: u16, change: &PeerChange) -> io::Result<()> {
        self.control.change_peer(worker, change)
    }

    fn know_peer_tag(&self, association: &Association) -> io::Result<()> {
        self.control.answer_heartbeats(association)
    }

    fn generation(&self) -> u64 {
        if self.follows { self.control.network().generation() } else { 0 }
    }

    fn addresses(&self) -> io::Result<Vec<IpAddr>> {
        let addresses = self.control.local_addresses();
        self.control.set_addresses(&addresses)?;
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unused_queues_are_warned_of() {
        let warning = warn_of_unused_queues("veth1", Some(2), Some(1)).unwrap();
        assert!(warning.contains("veth1 receives on 2 queues and only 1"), "{warning}");
        assert!(warning.contains("ethtool -L veth1 combined 1"), "{warning}");
        assert_eq!(warn_of_unused_queues("veth1", Some(2), Some(2)), None);
        assert_eq!(warn_of_unused_queues("veth1", Some(2), None), None);
        assert_eq!(warn_of_unused_queues("lo", None, Some(1)), None);
    }
}
