//! Named scenarios: one behaviour each, in a network that does exactly what the test says, under all the invariants of `sim`.

#[path = "../sim/mod.rs"]
mod sim;

mod ending;
mod handshake;
mod hostile;
mod paths;
mod stage;
mod transfer;
