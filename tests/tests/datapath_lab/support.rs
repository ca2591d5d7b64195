//! What the tests have in common.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use sctp_common::steering::Steering;
use sctp_core::{AssociationId, Ecn, TagChange, TagKind, Transmit};
use sctp_lab::frame::{Checksum, SctpFrame, chunk};
use sctp_lab::{Namespace, Tap};
use sctp_user::datapath::xdp::{Control, OpenError, XdpConfig, XdpInterfaces, XdpLink};
use sctp_user::datapath::{FrameStats, Link};

/// The port that is ours.
pub(crate) const PORT: u16 = 5000;
/// A verification tag that is in the map, for [`association`].
pub(crate) const TAG: u32 = 0x1234_5678;
/// How long to wait for what must come.
pub(crate) const LONG: Duration = Duration::from_secs(60);
/// How long to wait for what must not come.
pub(crate) const QUIET: Duration = Duration::from_millis(100);

/// The association that [`TAG`] belongs to.
pub(crate) fn association() -> AssociationId {
    AssociationId::from_parts(17, 3)
}

/// The defaults, for this interface and number of workers.
pub(crate) fn config(interface: &str, workers: u16) -> XdpConfig {
    XdpConfig::new(interface, Steering { key: [0x5c7b, 0x9e01], workers })
}

/// Opens an interface, takes [`PORT`], and makes [`TAG`] known.
pub(crate) fn open(namespace: &Namespace, config: &XdpConfig) -> Result<(Control, Vec<XdpLink>), OpenError> {
    namespace.run(|| {
        let (control, links) = XdpInterfaces::open(config)?;
        let ready = || {
            control.own_port(PORT, true)?;
            control.set_addresses(&control.local_addresses())?;
            add_tag(&control, &config.steering, TAG, association())
        };
        ready().expect("maps can be filled");
        Ok((control, links))
    })
}

/// Makes a tag known as one of the worker that owns it.
pub(crate) fn add_tag(control: &Control, steering: &Steering, tag: u32, id: AssociationId) -> std::io::Result<()> {
    let change = TagChange::Added { local_port: PORT, tag, kind: TagKind::Local, id };
    control.change_tag(steering.owner(tag), &change)
}

/// A TAP device with addresses, and what is at its other end: the test.
pub(crate) struct Wire {
    pub(crate) namespace: Namespace,
    pub(crate) tap: Tap,
    pub(crate) mac: [u8; 6],
}

pub(crate) const OURS: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
pub(crate) const THEIRS: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);
pub(crate) const OURS_V6: Ipv6Addr = Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, 1);
pub(crate) const THEIRS_V6: Ipv6Addr = Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, 2);
/// The other end's link-layer address.
pub(crate) const THEIR_MAC: [u8; 6] = [2, 0x78, 0, 0, 0, 2];

impl Wire {
    pub(crate) fn new(label: &str) -> Result<Self> {
        let namespace = Namespace::create(label)?;
        let tap = Tap::create(&namespace, "tap0", 1)?;
        namespace.ip(&["address", "add", "10.78.0.1/24", "dev", "tap0"])?;
        namespace.ip(&["address", "add", "fd78::1/64", "dev", "tap0", "nodad"])?;
        let mac = [2, 0x78, 0, 0, 0, 1];
        namespace.ip(&["link", "set", "tap0", "address", "02:78:00:00:00:01"])?;
        Ok(Self { namespace, tap, mac })
    }

    /// Tells the kernel, and so the datapath, the other end's link-layer address.
    pub(crate) fn introduce(&self) -> Result<()> {
        for address in [THEIRS.to_string(), THEIRS_V6.to_string()] {
            self.introduce_as(&address, THEIR_MAC)?;
        }
        Ok(())
    }

    /// As [`introduce`](Self::introduce), for one address.
    pub(crate) fn introduce_as(&self, address: &str, mac: [u8; 6]) -> Result<()> {
        let mac = mac.map(|octet| format!("{octet:02x}")).join(":");
        self.namespace.ip(&["neigh", "replace", address, "lladdr", &mac, "dev", "tap0"])?;
        Ok(())
    }

    /// A frame from the other end to [`PORT`].
    pub(crate) fn inbound(&self, tag: u32, chunks: Vec<u8>) -> SctpFrame {
        SctpFrame {
            source_mac: THEIR_MAC,
            destination_mac: self.mac,
            vlans: Vec::new(),
            source: THEIRS.into(),
            destination: OURS.into(),
            source_port: 7000,
            destination_port: PORT,
            verification_tag: tag,
            checksum: Checksum::Right,
            chunks,
        }
    }

    /// The next SCTP frame that the device sends.
    pub(crate) fn next_frame(&self, timeout: Duration) -> Result<Option<Vec<u8>>> {
        self.tap.receive(0, timeout, is_sctp)
    }
}

/// Whether a frame is SCTP over IPv4 or IPv6, and not the kernel's own traffic.
pub(crate) fn is_sctp(frame: &[u8]) -> bool {
    sctp_common::frame::decode(frame).is_ok()
}

/// An SCTP packet with one DATA chunk that carries `length` bytes.
pub(crate) fn packet(tag: u32, tsn: u32, length: usize) -> Vec<u8> {
    SctpFrame {
        source_mac: [0; 6],
        destination_mac: [0; 6],
        vlans: Vec::new(),
        source: OURS.into(),
        destination: THEIRS.into(),
        source_port: 7000,
        destination_port: PORT,
        verification_tag: tag,
        checksum: Checksum::Right,
        chunks: data(tsn, length),
    }
    .packet()
}

/// A DATA chunk with `length` bytes that tell where they are.
pub(crate) fn data(tsn: u32, length: usize) -> Vec<u8> {
    let payload: Vec<u8> = (tsn..).take(length).map(|value| value as u8).collect();
    chunk::data(tsn, 0, 0, &payload)
}

/// Where a packet shall go; the rest is left to routing.
pub(crate) fn to(destination: IpAddr, len: usize) -> Transmit {
    Transmit {
        source: None,
        destination,
        encapsulation: None,
        len,
        ecn: Ecn::NotEct,
        fragment_to: None,
        association: None,
    }
}

/// Queues a packet, waiting for a buffer if need be.
pub(crate) fn send(link: &mut XdpLink, transmit: &Transmit, packet: &[u8]) -> Result<()> {
    let start = Instant::now();
    loop {
        if let Some(buffer) = link.transmit_buffer() {
            buffer[..packet.len()].copy_from_slice(packet);
            return Ok(link.transmit(transmit)?);
        }
        ensure!(start.elapsed() < LONG, "no buffer became free: {:?}", link.stats());
        link.flush()?;
        std::thread::yield_now();
    }
}

/// What a datagram said, and some of its payload.
#[derive(Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) ecn: Ecn,
    pub(crate) checksum: sctp_core::ChecksumState,
    pub(crate) association: Option<AssociationId>,
    pub(crate) packet: Vec<u8>,
    /// All of the packet, taken as payload.
    pub(crate) payload: bytes::Bytes,
}

/// Receives until `wanted` datagrams have come or `timeout` has passed.
pub(crate) fn receive(link: &mut XdpLink, wanted: usize, timeout: Duration) -> Result<Vec<Seen>> {
    let mut seen = Vec::new();
    let start = Instant::now();
    while seen.len() < wanted && start.elapsed() < timeout {
        link.wait(Some(timeout.saturating_sub(start.elapsed()).min(Duration::from_millis(10))))?;
        link.receive(wanted - seen.len(), &mut |datagram| {
            seen.push(Seen {
                source: datagram.source,
                destination: datagram.destination,
                ecn: datagram.ecn,
                checksum: datagram.checksum,
                association: datagram.association,
                packet: datagram.bytes.to_vec(),
                payload: datagram.payload.take(0..datagram.bytes.len()),
            });
        })?;
    }
    Ok(seen)
}

/// Waits until every frame of memory is accounted for: in the pool, in a link's cache, or with the kernel to receive
/// into; none under way, waiting, or lost.
pub(crate) fn assert_all_home(control: &Control, links: &mut [XdpLink]) -> Result<()> {
    let start = Instant::now();
    loop {
        for link in &mut *links {
            // What was received but not looked at is a frame too.
            link.receive(usize::MAX, &mut |_| {})?;
            link.flush()?;
        }
        let stats: Vec<FrameStats> = links.iter().map(|link| link.stats().frames).collect();
        let sum = |part: fn(&FrameStats) -> i64| stats.iter().map(part).sum::<i64>();
        let free = control.free_frames() as i64;
        let under_way = sum(|frames| frames.in_transmit) + sum(|frames| frames.waiting);
        let all = free + sum(FrameStats::total);
        let total = i64::from(control.mode().frames);
        if all == total && under_way == 0 {
            return Ok(());
        }
        ensure!(all <= total, "{all} frames of {total}: some were counted twice");
        ensure!(start.elapsed() < LONG, "{free} free, {stats:?}: {all} of {total}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
