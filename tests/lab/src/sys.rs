//! The system calls of the laboratory: the only unsafe code of this crate.
//!
//! Every function is a thin, safe cover over one or two calls and returns the kernel's error as it is.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// Turns the -1 of a system call into its error.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The effective user id.
pub(crate) fn effective_uid() -> u32 {
    // SAFETY: takes no arguments and cannot fail.
    unsafe { libc::geteuid() }
}

/// Moves the calling thread into the network namespace that `namespace` refers to.
pub(crate) fn enter_network_namespace(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as it is borrowed; the call changes this thread's namespace only.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
}

/// True if a process with this id exists.
pub(crate) fn process_exists(pid: i32) -> bool {
    // SAFETY: signal 0 is never delivered; the call only looks.
    let result = unsafe { libc::kill(pid, 0) };
    result == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// Sends a signal to one process.
pub(crate) fn kill(pid: u32, signal: i32) -> io::Result<()> {
    let pid = i32::try_from(pid).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: takes plain numbers. `pid` is positive, so that it names one process and never a group.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Makes the command's process die with its parent, keeps it out of the parent's process group (Ctrl-C reaches the parent
/// alone, which then ends its children in order) and, where a namespace is given, runs it there.
///
/// The kernel ties the child to the *thread* that spawns it: a thread that starts a process must outlive it.
///
/// As with `ip netns exec`, a process in another network namespace gets a mount namespace of its own with that network's
/// `/sys`, so that it finds its interfaces in `/sys/class/net`.
pub(crate) fn tie_to_parent(command: &mut Command, namespace: Option<OwnedFd>) {
    let parent = std::process::id();
    command.process_group(0);
    let prepare = move || {
        // SAFETY: plain system calls with constant arguments, all of them async-signal-safe.
        unsafe {
            check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong))?;
            // The parent may have died before the line above took effect.
            if u32::try_from(libc::getppid()) != Ok(parent) {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
        }
        match &namespace {
            None => Ok(()),
            Some(namespace) => enter_namespace_with_sysfs(namespace),
        }
    };
    // SAFETY: the closure runs between fork and exec and only makes system calls: no allocation, no locks.
    unsafe { command.pre_exec(prepare) };
}

/// Enters a network namespace and mounts its `/sys`. Runs between fork and exec: must not allocate.
fn enter_namespace_with_sysfs(namespace: &OwnedFd) -> io::Result<()> {
    // SAFETY: the descriptor is owned by the closure that calls this; all pointers are to constant C strings.
    unsafe {
        check(libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET))?;
        check(libc::unshare(libc::CLONE_NEWNS))?;
        let flags = libc::MS_SLAVE | libc::MS_REC;
        check(libc::mount(c"".as_ptr(), c"/".as_ptr(), c"none".as_ptr(), flags, std::ptr::null()))?;
        // Fails where nothing is mounted at /sys, which is as good.
        libc::umount2(c"/sys".as_ptr(), libc::MNT_DETACH);
        check(libc::mount(c"lab".as_ptr(), c"/sys".as_ptr(), c"sysfs".as_ptr(), 0, std::ptr::null()))?;
    }
    Ok(())
}

/// The index of a network interface of the calling thread's namespace.
pub(crate) fn interface_index(name: &str) -> io::Result<u32> {
    let name = CString::new(name)?;
    // SAFETY: a valid C string that outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// True if the kernel can make raw sockets of this family, even if the caller may not.
pub(crate) fn knows_address_family(family: libc::c_int) -> bool {
    // SAFETY: creates a descriptor, whose only owner is the `OwnedFd`.
    let socket = unsafe {
        check(libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0)).map(|socket| OwnedFd::from_raw_fd(socket))
    };
    socket.is_ok() || socket.is_err_and(|error| error.raw_os_error() != Some(libc::EAFNOSUPPORT))
}

/// A raw packet socket, bound to one interface of the calling thread's namespace; receives all protocols.
pub(crate) fn packet_socket(interface: u32) -> io::Result<OwnedFd> {
    packet_socket_for(interface, libc::ETH_P_ALL as u16)
}

/// A packet socket for whoever only sends, and much: it receives nothing, and its frames do not wait in a queue of the interface.
pub(crate) fn flood_socket(interface: u32) -> io::Result<OwnedFd> {
    let socket = packet_socket_for(interface, 0)?;
    set_option(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1)?;
    Ok(socket)
}

/// A raw packet socket that receives this Ethernet protocol; none if it is 0.
fn packet_socket_for(interface: u32, protocol: u16) -> io::Result<OwnedFd> {
    let protocol = protocol.to_be();
    // SAFETY: creates a descriptor, whose only owner is the `OwnedFd`.
    let socket = unsafe {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        OwnedFd::from_raw_fd(check(libc::socket(libc::AF_PACKET, kind, i32::from(protocol)))?)
    };
    // SAFETY: all zeroes is a valid value of this plain structure.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol;
    address.sll_ifindex = i32::try_from(interface).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: the pointer and the length describe `address`, which lives through the call.
    check(unsafe {
        libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as libc::socklen_t)
    })?;
    Ok(socket)
}

/// A packet socket for whoever passes frames on: it does not see what is sent by the interface, and keeps many frames.
pub(crate) fn relay_socket(interface: u32) -> io::Result<OwnedFd> {
    let socket = packet_socket(interface)?;
    let options = [
        (libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1),
        (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RELAY_BUFFER),
        (libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, RELAY_BUFFER),
    ];
    for (level, option, value) in options {
        set_option(socket.as_fd(), level, option, value)?;
    }
    Ok(socket)
}

/// Sets a socket option that is a number.
fn set_option(socket: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe `value`, which lives through the call.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length) }).map(drop)
}

/// Octets that a relay's socket may hold: thousands of frames, for a machine that does something else just now.
const RELAY_BUFFER: libc::c_int = 16 << 20;

/// Sends one datagram, or one frame.
pub(crate) fn send(socket: BorrowedFd<'_>, data: &[u8]) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `data`.
    let sent = unsafe { libc::send(socket.as_raw_fd(), data.as_ptr().cast(), data.len(), 0) };
    match usize::try_from(sent) {
        Ok(sent) if sent == data.len() => Ok(()),
        Ok(_) => Err(io::Error::from(io::ErrorKind::WriteZero)),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Offers frames to the interface of a packet socket, in one system call or a few. Those that it has no room for are lost.
pub(crate) fn send_many(socket: BorrowedFd<'_>, frames: &[Vec<u8>]) -> io::Result<()> {
    let part = |frame: &Vec<u8>| libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
    let mut parts: Vec<libc::iovec> = frames.iter().map(part).collect();
    let message = |part: &mut libc::iovec| {
        // SAFETY: all zeroes is a valid value of this plain structure: no address, no ancillary data.
        let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
        message.msg_hdr.msg_iov = part;
        message.msg_hdr.msg_iovlen = 1;
        message
    };
    let mut messages: Vec<libc::mmsghdr> = parts.iter_mut().map(message).collect();
    let mut done = 0;
    while done < messages.len() {
        let left = &mut messages[done..];
        // SAFETY: the pointer and the count describe `left`, whose parts point to `parts` and these to `frames`; all of them live
        // through the call, which only reads what the parts point to.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), left.as_mut_ptr(), left.len() as libc::c_uint, 0) };
        match check(sent) {
            Ok(sent) => done += (sent as usize).max(1),
            // The first of them was lost.
            Err(error) if [Some(libc::ENOBUFS), Some(libc::EAGAIN)].contains(&error.raw_os_error()) => done += 1,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Receives one datagram, or one frame, that is there already.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the pointer and the length describe `buffer`.
    let got = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) };
    usize::try_from(got).map_err(|_| io::Error::last_os_error())
}

/// Waits until the descriptor can be read; false if the time passed first.
pub(crate) fn wait_readable(descriptor: BorrowedFd<'_>, milliseconds: i32) -> io::Result<bool> {
    let mut poll = libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid element, as the count says.
    match check(unsafe { libc::poll(&raw mut poll, 1, milliseconds) }) {
        Ok(ready) => Ok(ready > 0),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes `tun` (an open `/dev/net/tun`) one queue of the TAP device `name` of the calling thread's namespace.
pub(crate) fn attach_tap(tun: BorrowedFd<'_>, name: &str, multi_queue: bool) -> io::Result<()> {
    // SAFETY: all zeroes is a valid value of this plain structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    let mut flags = libc::IFF_TAP | libc::IFF_NO_PI;
    if multi_queue {
        flags |= libc::IFF_MULTI_QUEUE;
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes an `ifreq`, which lives through the call.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &raw mut request) }).map(drop)
}

/// Set by the signals that ask the program to end.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note_interrupt(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Makes SIGINT, SIGTERM and SIGHUP set the flag that [`interrupted`] reads. A second one of a kind ends the program at once.
pub(crate) fn catch_interrupts() -> io::Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: all zeroes is a valid `sigaction`; the handler only stores to an atomic.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let handler: extern "C" fn(libc::c_int) = note_interrupt;
            action.sa_sigaction = handler as libc::sighandler_t;
            action.sa_flags = libc::SA_RESETHAND;
            check(libc::sigaction(signal, &raw const action, std::ptr::null_mut()))?;
        }
    }
    Ok(())
}

/// True once one of the signals of [`catch_interrupts`] has come.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn a_process_exists_or_not() {
        assert!(process_exists(std::process::id().try_into().unwrap()));
        assert!(!process_exists(i32::MAX));
    }

    #[test]
    fn an_impossible_process_id_is_an_error() {
        assert_eq!(kill(u32::MAX, 0).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn datagrams_come_whole_and_waiting_ends() {
        let (left, right) = UnixDatagram::pair().unwrap();
        assert!(!wait_readable(right.as_fd(), 1).unwrap());
        send(left.as_fd(), b"frame").unwrap();
        assert!(wait_readable(right.as_fd(), 1000).unwrap());
        let mut buffer = [0; 16];
        assert_eq!(receive(right.as_fd(), &mut buffer).unwrap(), 5);
        assert_eq!(&buffer[..5], b"frame");
        assert_eq!(receive(right.as_fd(), &mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn many_datagrams_are_sent_at_once() {
        let (left, right) = UnixDatagram::pair().unwrap();
        let frames = [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()];
        send_many(left.as_fd(), &frames).unwrap();
        let mut buffer = [0; 16];
        for frame in frames {
            let length = receive(right.as_fd(), &mut buffer).unwrap();
            assert_eq!(buffer[..length], frame);
        }
        assert!(send_many(left.as_fd(), &[]).is_ok());
    }

    #[test]
    fn address_families_are_known_or_not() {
        assert!(knows_address_family(libc::AF_NETLINK));
        assert!(!knows_address_family(i32::from(i16::MAX)));
    }

    #[test]
    fn an_interface_is_found_by_name() {
        assert_eq!(interface_index("lo").unwrap(), 1);
        assert!(interface_index("no-such-link0").is_err());
        assert!(interface_index("with\0zero").is_err());
    }

    #[test]
    fn a_tap_name_that_is_too_long_is_an_error() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let error = attach_tap(null.as_fd(), "sixteen-octets-1", false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(attach_tap(null.as_fd(), "tap0", false).is_err(), "/dev/null is no TUN device");
    }

    #[test]
    fn a_tied_process_runs_in_a_group_of_its_own() {
        let mut command = Command::new("sh");
        command.args(["-c", "ps -o pgid= -p $$ 2>/dev/null || cut -d' ' -f5 /proc/$$/stat"]);
        tie_to_parent(&mut command, None);
        let output = command.output().unwrap();
        assert!(output.status.success());
        let group: u32 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        assert_ne!(group, std::process::id());
    }
}
