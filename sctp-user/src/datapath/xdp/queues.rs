//! How many queues an interface has.

use std::mem;
use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, SocketType, socket};

/// How many receive queues of the interface are in use, if its driver tells (`ETHTOOL_GCHANNELS`).
///
/// Asked by `ioctl` and not in sysfs, which shows the network namespace in which it was mounted and not
/// necessarily ours.
pub fn receive_queues(interface: &str) -> Option<u32> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    let mut channels = Channels { command: ETHTOOL_GCHANNELS, ..Channels::default() };
    // SAFETY: all zeros is a valid `ifreq`: an empty name and a null pointer.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return None;
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *place = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut channels).cast();
    // SAFETY: SIOCETHTOOL reads the name, which is terminated because it is shorter than its place, and
    // reads and writes a `struct ethtool_channels` behind the pointer, which `Channels` is.
    let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    let queues = channels.combined + channels.receive;
    (outcome == 0 && queues > 0).then_some(queues)
}

/// `struct ethtool_channels` of `linux/ethtool.h`.
#[repr(C)]
#[derive(Debug, Default)]
struct Channels {
    command: u32,
    max_receive: u32,
    max_transmit: u32,
    max_other: u32,
    max_combined: u32,
    receive: u32,
    transmit: u32,
    other: u32,
    combined: u32,
}

/// `ETHTOOL_GCHANNELS` of `linux/ethtool.h`.
const ETHTOOL_GCHANNELS: u32 = 0x3c;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_without_channels_or_without_existence_tells_nothing() {
        assert_eq!(receive_queues("lo"), None);
        assert_eq!(receive_queues("no-such-if"), None);
        assert_eq!(receive_queues("a-name-that-is-far-too-long"), None);
    }
}
