//! A deterministic network of endpoints, in virtual time.
//!
//! A [`World`] holds endpoints ("nodes") with their addresses, a [`Network`](network::Network) of directed links with seeded
//! faults between them, and an application at each end of each association. It steps from one moment at which something
//! happens to the next: a packet arrives, a timer of an endpoint is due, an application acts. Nothing in it depends on anything but
//! the seed and the order of the calls, so a failure can be run again.
//!
//! Three layers judge what happens, each after every step:
//!
//! * [`packet`] reads every packet that an endpoint sends: is it well formed, checksummed, small enough, bundled and tagged as the
//!   RFC says?
//! * [`observer`] follows each direction of each association on the wire, knowing what arrived where: is only what arrived
//!   acknowledged, in time; is only sent what the windows allow?
//! * [`ledger`] keeps the books on messages: is each delivered exactly once, byte for byte, in order within its stream,
//!   or reported?
//!
//! A violated rule is a panic that names the rule and the time, and leaves a capture in `target/sim-failures`.

// Each test target compiles this module for itself and uses a part of it.
#![allow(dead_code, reason = "shared by several test targets")]

pub(crate) mod app;
pub(crate) mod capture;
pub(crate) mod ending;
pub(crate) mod ledger;
pub(crate) mod memory;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod observer;
pub(crate) mod packet;
pub(crate) mod random;
pub(crate) mod scenario;
pub(crate) mod service;
pub(crate) mod tally;
pub(crate) mod trouble;
pub(crate) mod world;
