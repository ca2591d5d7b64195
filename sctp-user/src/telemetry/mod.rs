//! What can be seen of a running stack.
//!
//! * `snapshot`: a picture of workers, associations, paths and counters.
//! * [`service`]: the same for other processes, over an abstract Unix socket.
//! * [`drops`]: packets that the XDP programs drop, for other processes.
//! * [`glimpse`]: what can be read of such a packet.
//! * [`capture`] and [`pcapng`]: frames in a file for Wireshark.

pub mod capture;
pub mod drops;
pub mod glimpse;
pub mod pcapng;
pub mod service;
mod snapshot;

pub use snapshot::{
    AfXdpSnapshot, AssociationSnapshot, PathSnapshot, QueueSnapshot, StackSnapshot, WorkerSnapshot, snapshot,
};
