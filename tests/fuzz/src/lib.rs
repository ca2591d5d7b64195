//! Fuzzing of the SCTP stack: the checks that the targets in `fuzz_targets/` run, and the seeds that they start from.

mod association;
mod checks;
mod cookie;
mod forge;
mod host;
mod input;
mod pair;
mod setup;

use sctp_core::wire;

pub use association::association;
pub use checks::{causes, chunk, packet, parameters};
pub use cookie::cookie;
pub use pair::pair;
pub use setup::setup;

#[cfg(test)]
mod scripts;
#[cfg(test)]
mod seeds;
