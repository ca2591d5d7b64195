//! What the process must be allowed to do.

use caps::{CapSet, Capability, has_cap};
use rustix::process::{Resource, getrlimit};

use super::error::OpenError;

/// Checks that the process has the capabilities that opening interfaces needs.
pub(super) fn check() -> Result<(), OpenError> {
    let has = |capability| has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    let missing = |capability, purpose| Err(OpenError::MissingCapability { capability, purpose });
    if !has(Capability::CAP_NET_ADMIN) {
        return missing("CAP_NET_ADMIN", "attach an XDP program to an interface");
    }
    if !has(Capability::CAP_NET_RAW) {
        return missing("CAP_NET_RAW", "open AF_XDP sockets");
    }
    if !has(Capability::CAP_BPF) && !has(Capability::CAP_SYS_ADMIN) {
        return missing("CAP_BPF", "load an XDP program");
    }
    // Without it the verifier forbids arithmetic on packet pointers that it cannot guard against speculation.
    if !has(Capability::CAP_PERFMON) && !has(Capability::CAP_SYS_ADMIN) {
        return missing("CAP_PERFMON", "load an XDP program that computes checksums");
    }
    Ok(())
}

/// Checks that `bytes` may be locked in memory, as frames are.
pub(super) fn check_locked_memory(bytes: u64) -> Result<(), OpenError> {
    if has_cap(None, CapSet::Effective, Capability::CAP_IPC_LOCK).unwrap_or(false) {
        return Ok(());
    }
    match getrlimit(Resource::Memlock).current {
        Some(limit) if limit < bytes => {
            Err(OpenError::LockedMemory { needed: bytes.div_ceil(1024), limit: limit / 1024 })
        }
        _ => Ok(()),
    }
}
