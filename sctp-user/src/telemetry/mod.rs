//! What can be seen of a running stack.
//!
//! * `snapshot`: a picture of workers, associations, paths and counters.
//! * [`service`]: the same for other processes, over an abstract Unix socket.
//! * [`capture`] and [`pcapng`]: frames in a file for Wireshark.

pub mod capture;
pub mod pcapng;
pub mod service;
mod snapshot;

pub use snapshot::{AfXdpSnapshot, AssociationSnapshot, PathSnapshot, StackSnapshot, WorkerSnapshot, snapshot};
