//! The datapath on real AF_XDP sockets: frames in, datagrams out; packets in, frames out; and every frame of memory comes
//! home.
//!
//! On a TAP device the test is the wire, and sees and makes every single frame. On a veth pair two links talk to each
//! other, from two network namespaces. All of it needs root.

mod errors;
mod kept;
mod neighbours;
mod stranger;
mod support;
mod tap;
mod veth;
