//! SCTP packets by XDP and AF_XDP.
//!
//! [`XdpInterfaces::open`] attaches the XDP program to the interfaces and makes, for every worker, a socket on
//! every queue of every interface. The program redirects each packet to the socket
//! `[queue × workers + worker]` of the worker that it belongs to, whichever queue it came by.
//!
//! ```text
//!            worker 0        worker 1
//!            XdpLink         XdpLink
//! eth0 queue 0  rx tx  ─┬─  rx
//!               fill, completion (shared by the two)
//! eth0 queue 1  rx     ─┬─  rx tx
//!               fill, completion
//!                  └── frames of one UMEM ──┘
//! ```
//!
//! All sockets share one UMEM, so a frame can be received by one and sent by any other. A worker sends
//! by one queue of each interface. The rings of a queue are locked, once per batch and without ever waiting, only
//! if several workers share the queue.

mod capabilities;
mod config;
mod control;
mod detach;
mod drops;
mod error;
mod ethtool;
pub mod kept;
mod link;
mod log;
mod offers;
mod open;
mod packet;
mod parked;
mod port;
mod program;
mod reassembled;
mod reserve;
mod route;
mod shared_tags;
mod tags;

pub(crate) use config::INIT_THRESHOLD;
pub use config::{AttachMode, ChecksumPolicy, CopyPolicy, FragmentPolicy, InitCookies, InterfaceMode, Mode, XdpConfig};
pub use control::{Control, QueueCounters};
pub use drops::{DropWatch, DroppedPacket};
pub use error::OpenError;
pub use ethtool::receive_queues;
pub use link::XdpLink;
pub use open::XdpInterfaces;
