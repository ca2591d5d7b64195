//! How packets come and go.
//!
//! A [`Link`] carries the SCTP packets of one worker. There are two kinds of it:
//!
//! * [`xdp::XdpLink`]: an XDP program on the network interface picks our packets out and puts them into
//!   AF_XDP sockets, from where they are read without the kernel's network stack;
//! * [`memory::MemoryLink`]: a network inside the process, with faults if wanted, for tests and for trying
//!   things out without privileges.
//!
//! Both hand out whole SCTP packets with addresses and what is known of them
//! ([`sctp_core::Datagram`]), and take packets that the endpoint writes straight into the memory they are
//! sent from.
//!
//! | module | holds |
//! |---|---|
//! | [`xdp`] | interfaces, the XDP program, the worker's link over AF_XDP sockets |
//! | [`memory`] | the network in memory |
//! | [`netlink`] | the kernel's links, addresses, routes and neighbours, kept current |
//! | [`capture`] | where frames can be recorded |
//! | `umem`, `ring`, `rings`, `socket` | AF_XDP itself; the unsafe code is here |
//! | `frames`, `payload` | who owns which frame; how payload leaves as [`bytes::Bytes`] |
//! | `icmp` | ICMP errors that quote a packet of ours |
//! | `fragments`, `raw` | IP fragments out; whole packets in, from the kernel |
//! | `headers` | Ethernet and IP headers of outgoing packets |

pub mod capture;
pub mod memory;
pub mod netlink;
pub mod xdp;

mod fragments;
mod frames;
mod headers;
mod icmp;
mod link;
mod payload;
mod raw;
mod ring;
mod rings;
mod socket;
mod umem;
mod waker;

pub use icmp::IcmpError;
pub use link::{FrameStats, Link, LinkStats, TransmitError};
pub use socket::SocketStatistics;
pub use umem::FrameSize;
pub use waker::LinkWaker;
