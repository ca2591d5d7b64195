//! Detaching a program by its pinned link, at once.
//!
//! To remove the file of a link detaches too, but some time later, when the kernel gets round to it.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Detaches the program that the link in this file of a BPF file system attaches. The link is good for nothing afterwards.
pub(super) fn detach(link: &Path) -> io::Result<()> {
    let path = CString::new(link.as_os_str().as_bytes())?;
    let get = ObjectGet { path: path.as_ptr().expose_provenance() as u64, descriptor: 0, flags: 0 };
    // SAFETY: the attributes are those of the command, and the path in them is a terminated string that outlives the call.
    let descriptor = unsafe { bpf(BPF_OBJ_GET, &get) }?;
    // SAFETY: the descriptor is new and nobody else's.
    let link = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let detach = LinkDetach { link: link.as_raw_fd() as u32 };
    // SAFETY: the attributes are those of the command, without pointers.
    unsafe { bpf(BPF_LINK_DETACH, &detach) }.map(drop)
}

/// The fields of `union bpf_attr` for [`BPF_OBJ_GET`].
#[repr(C)]
struct ObjectGet {
    path: u64,
    descriptor: u32,
    flags: u32,
}

/// Those for [`BPF_LINK_DETACH`].
#[repr(C)]
struct LinkDetach {
    link: u32,
}

/// `enum bpf_cmd` of `linux/bpf.h`.
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_LINK_DETACH: libc::c_int = 34;

/// # Safety
///
/// `attributes` begins as the command wants `union bpf_attr`, and pointers in it are good.
unsafe fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_int> {
    // SAFETY: the attributes are as long as is said; the rest is the caller's word.
    let outcome = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    match libc::c_int::try_from(outcome) {
        Ok(value) if value >= 0 => Ok(value),
        _ => Err(io::Error::last_os_error()),
    }
}
