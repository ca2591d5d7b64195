//! Endpoints on a simulated network: virtual time, seeded faults, and a checker that looks at everything after every step.
//!
//! | file | holds |
//! |---|---|
//! | `network` | links with loss, duplication, reordering, corruption, delay, rate and cuts |
//! | `world` | endpoints and their applications on such a network, stepped from event to event, and the invariants |
//! | `seeds` | random worlds by the hundred |
//! | `directed` | worlds made for one question each |
//! | `forger` | a peer written by hand |
//! | `forged_setup`, `forged_data` | packets that no honest peer sends, or not now |
//!
//! `SCTP_SIM_SEEDS=5000 cargo test -p sctp-core --release --test simulation seeds` runs more of them, `SCTP_SIM_SEED=123` one, with
//! every packet printed.

mod directed;
mod forged_data;
mod forged_setup;
mod forger;
mod network;
mod seeds;
mod world;
