//! The interface between a worker and what carries its packets.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use sctp_core::{Datagram, Transmit};
use thiserror::Error;

use super::{IcmpError, LinkWaker};

/// Carries the SCTP packets of one worker.
///
/// A worker's loop is: [`receive`](Self::receive); for each packet to send
/// [`transmit_buffer`](Self::transmit_buffer), write, [`transmit`](Self::transmit); then
/// [`flush`](Self::flush); and, if there was nothing to do, [`wait`](Self::wait). A link belongs to one
/// thread at a time; others reach it through its [`waker`](Self::waker).
pub trait Link {
    /// Calls `sink` for each packet that has arrived, at most `budget` of them, and returns how many.
    ///
    /// # Errors
    ///
    /// Only what makes further calls pointless. Packets that make no sense are counted and skipped.
    fn receive(&mut self, budget: usize, sink: &mut dyn FnMut(Datagram<'_>)) -> io::Result<usize>;

    /// The next ICMP error about a packet of ours that [`receive`](Self::receive) has come across. Links that have no ICMP have none.
    fn poll_icmp(&mut self) -> Option<IcmpError> {
        None
    }

    /// A buffer to write one SCTP packet into, from the common header on; its previous content is
    /// undefined.
    ///
    /// `None` when no memory or no place in a queue is free: try again after the next
    /// [`flush`](Self::flush) or [`wait`](Self::wait). Asking again without [`transmit`](Self::transmit)
    /// gives the same buffer.
    fn transmit_buffer(&mut self) -> Option<&mut [u8]>;

    /// Queues the packet that was written into the buffer last handed out.
    ///
    /// If the next hop's link-layer address is not known, the kernel is asked for it and the packet waits,
    /// which counts as success.
    ///
    /// # Errors
    ///
    /// [`TransmitError`] if the packet cannot be sent; it is gone then, as if the network had lost it.
    fn transmit(&mut self, transmit: &Transmit) -> Result<(), TransmitError>;

    /// Sends what has been queued; to be called once per turn of the worker's loop.
    ///
    /// # Errors
    ///
    /// Only what makes further calls pointless.
    fn flush(&mut self) -> io::Result<()>;

    /// Sleeps until something may have arrived, the waker was called, or `timeout` has passed. Without a
    /// timeout it may sleep for ever. It may also return early for no visible reason.
    ///
    /// # Errors
    ///
    /// Only what makes further calls pointless.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()>;

    /// What wakes this link's worker from [`wait`](Self::wait).
    fn waker(&self) -> LinkWaker;

    /// What has happened so far.
    fn stats(&self) -> LinkStats;
}

/// Why a packet was not sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TransmitError {
    /// [`Link::transmit`] without [`Link::transmit_buffer`], or for more bytes than the buffer has.
    #[error("no packet of {length} bytes has been written into a transmit buffer")]
    NoBuffer {
        /// What [`Transmit::len`] said.
        length: usize,
    },
    /// No route leads there over one of the link's interfaces.
    #[error("no route to {destination} over the interfaces in use: check `ip route get {destination}`")]
    NoRoute {
        /// Where the packet should have gone.
        destination: IpAddr,
    },
    /// The packet should go in UDP (RFC 6951), and the link has no UDP port to send it from.
    #[error("no UDP port to send from to {destination}: open the stack with one")]
    NoUdpPort {
        /// Where the packet should have gone.
        destination: IpAddr,
    },
    /// The packet is longer than the link can carry; packets are not fragmented.
    #[error("a packet of {length} bytes to {destination} is too long: the link carries {limit}")]
    TooLong {
        /// Where the packet should have gone.
        destination: IpAddr,
        /// Length of the SCTP packet in bytes.
        length: usize,
        /// The largest SCTP packet that goes there, in bytes: MTU less IP header.
        limit: usize,
    },
    /// The interface that it leaves by takes no more packets for now.
    #[error("the interface that leads to {destination} takes no more packets for now")]
    Congested {
        /// Where the packet should have gone.
        destination: IpAddr,
    },
    /// Too many packets wait for the next hop's link-layer address already.
    #[error("{next_hop} has not answered address resolution, and too many packets wait for it")]
    NeighbourUnresolved {
        /// The next hop.
        next_hop: IpAddr,
    },
}

/// What a link has counted since it was made. All numbers only grow, but for [`frames`](Self::frames).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// SCTP packets handed to the worker.
    pub received_packets: u64,
    /// Their bytes, from the common header on.
    pub received_bytes: u64,
    /// ICMP errors received that quote a packet of ours.
    pub received_icmp: u64,
    /// Frames received in which no SCTP packet could be found.
    pub received_malformed: u64,
    /// Packets in UDP (RFC 6951) whose UDP checksum was left to the worker, and is wrong.
    pub received_udp_checksum: u64,
    /// Packets that came in IP fragments: the kernel has put them together, and they were handed to the worker.
    pub reassembled: u64,
    /// Packets that the kernel showed us with those, and that are for ports or addresses that are not ours.
    pub reassembled_not_ours: u64,
    /// Packets that came in IP fragments, with a wrong CRC32c.
    pub reassembled_checksum: u64,
    /// Packets that came in IP fragments, longer than 9216 bytes.
    pub reassembled_too_long: u64,
    /// Packets that came in IP fragments, and were dropped by another rule that the XDP program has too: no tag of ours, not well-formed.
    pub reassembled_refused: u64,
    /// Packets that the kernel had put together but that found no room to wait for the worker.
    pub reassembled_lost: u64,
    /// Received packets that came without metadata of the XDP program, and were decoded again.
    pub received_without_metadata: u64,
    /// SCTP packets queued for sending.
    pub transmitted_packets: u64,
    /// Their bytes, from the common header on.
    pub transmitted_bytes: u64,
    /// Packets not sent for want of a route.
    pub no_route: u64,
    /// Packets not sent because they were too long.
    pub too_long: u64,
    /// Packets sent in IP fragments, because the path MTU had shrunk since their DATA was cut.
    pub fragmented: u64,
    /// Packets that had to wait for a next hop's link-layer address.
    pub neighbour_waits: u64,
    /// Packets dropped because the next hop's link-layer address did not become known, or too many waited.
    pub neighbour_drops: u64,
    /// Packets that the device threw away while they were being sent, or had no room for.
    pub device_drops: u64,
    /// Times that a packet could not be sent because an interface was down.
    pub interface_down: u64,
    /// System calls made to have packets sent.
    pub transmit_kicks: u64,
    /// System calls made to tell of empty frames.
    pub receive_kicks: u64,
    /// Times that the worker went to sleep.
    pub sleeps: u64,
    /// Where this link's frames are now.
    pub frames: FrameStats,
}

/// Where the frames that passed through one link are now.
///
/// Several workers can share a queue; then a frame that one of them gave to the kernel may come back to
/// another, and the single numbers mean little (and may be negative), but their sums over all links hold:
/// `free in the pool + cached + waiting + in_receive + in_transmit` = all frames, less those whose payload
/// the application still uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameStats {
    /// In the worker's own cache.
    pub cached: i64,
    /// With packets in them that wait for a next hop, or handed out to be written into.
    pub waiting: i64,
    /// With the kernel, to receive into.
    pub in_receive: i64,
    /// With the kernel, to be sent.
    pub in_transmit: i64,
}

impl FrameStats {
    /// All of them.
    pub fn total(&self) -> i64 {
        self.cached + self.waiting + self.in_receive + self.in_transmit
    }
}
