//! An XDP program of somebody else's, on an interface that we want.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, ensure};

/// A program that lets everything pass. It is detached when this is dropped.
pub(crate) struct Stranger {
    _link: OwnedFd,
}

impl Stranger {
    /// Loads it under a name of at most 15 characters, and attaches it.
    pub(crate) fn attach(name: &str, interface: &str) -> Result<Self> {
        ensure!(name.len() < 16, "{name} is too long");
        // r0 = 2 (XDP_PASS); exit
        let instructions: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];
        let license = c"GPL";
        let mut load = Load {
            kind: 6, // BPF_PROG_TYPE_XDP
            count: instructions.len() as u32,
            instructions: instructions.as_ptr() as u64,
            license: license.as_ptr() as u64,
            ..Load::default()
        };
        load.name[..name.len()].copy_from_slice(name.as_bytes());
        // SAFETY: the pointers in it are to memory that outlives the call.
        let program = unsafe { bpf(5, &load) }.context("BPF_PROG_LOAD")?;
        let interface = CString::new(interface)?;
        let link = Link {
            program: program.as_raw_fd() as u32,
            // SAFETY: the name is terminated.
            interface: unsafe { libc::if_nametoindex(interface.as_ptr()) },
            kind: 37, // BPF_XDP
            flags: 0,
        };
        // SAFETY: there are no pointers in it.
        let link = unsafe { bpf(28, &link) }.context("BPF_LINK_CREATE")?;
        Ok(Self { _link: link })
    }
}

/// The fields of `union bpf_attr` for `BPF_PROG_LOAD`, as far as they are used.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// Those for `BPF_LINK_CREATE`.
#[repr(C)]
struct Link {
    program: u32,
    interface: u32,
    kind: u32,
    flags: u32,
}

/// # Safety
///
/// `attributes` begins as the command wants `union bpf_attr`, and pointers in it are good.
unsafe fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the attributes are as long as is said; the rest is the caller's word.
    let outcome = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    match i32::try_from(outcome) {
        // SAFETY: the descriptor is new and nobody else's.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}
