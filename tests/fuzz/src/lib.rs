//! Fuzzing of the SCTP stack: the checks that the targets in `fuzz_targets/` run, and the seeds that they start from.

mod checks;

use sctp_core::wire;

pub use checks::{causes, chunk, packet, parameters};

#[cfg(test)]
mod seeds;
