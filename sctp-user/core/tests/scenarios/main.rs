//! Named scenarios: one behaviour each, in a network that does exactly what the test says, under all the invariants of `sim`.

#[path = "../sim/mod.rs"]
mod sim;

mod bounds;
mod congestion;
mod economy;
mod encapsulation;
mod ending;
mod endpoint;
mod forged_data;
mod forged_setup;
mod forger;
mod handshake;
mod hostile;
mod icmp;
mod in_front;
mod partial_delivery;
mod path_mtu;
mod paths;
mod paths_failing;
mod primitives;
mod rfc_data;
mod rfc_replies;
mod rfc_sending;
mod rfc_setup;
mod setup_tables;
mod spent_cookies;
mod stage;
mod transfer;
mod whose_packet;
