//! What an interface's driver tells of it, by `ioctl`.
//!
//! Not by sysfs, which shows the network namespace in which it was mounted and not necessarily ours.

use std::mem;
use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, SocketType, socket};

/// How many receive queues of the interface are in use, if its driver tells (`ETHTOOL_GCHANNELS`).
pub fn receive_queues(interface: &str) -> Option<u32> {
    let mut channels = Channels { command: ETHTOOL_GCHANNELS, ..Channels::default() };
    let queues = ask(interface, &mut channels).then(|| channels.combined + channels.receive)?;
    (queues > 0).then_some(queues)
}

/// The name of the interface's driver, if the kernel tells (`ETHTOOL_GDRVINFO`).
pub(super) fn driver(interface: &str) -> Option<String> {
    let mut information = DriverInformation { command: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
    let name = ask(interface, &mut information).then(|| information.driver.split(|byte| *byte == 0).next())??;
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

/// What can be asked for by `SIOCETHTOOL`.
///
/// # Safety
///
/// It is the `struct` of `linux/ethtool.h` that belongs to its command, and any bytes are a valid one.
unsafe trait Question {}

/// Asks a driver; false if it does not answer.
fn ask<Q: Question>(interface: &str, question: &mut Q) -> bool {
    let Ok(socket) = socket(AddressFamily::INET, SocketType::DGRAM, None) else { return false };
    // SAFETY: all zeros is a valid `ifreq`: an empty name and a null pointer.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return false;
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *place = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut *question).cast();
    // SAFETY: SIOCETHTOOL reads the name, which is terminated because it is shorter than its place, and reads and writes the
    // structure of the command behind the pointer, which a `Question` is.
    unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) == 0 }
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

// SAFETY: nine numbers, as the structure has; it is asked with ETHTOOL_GCHANNELS alone.
unsafe impl Question for Channels {}

/// `ETHTOOL_GCHANNELS` of `linux/ethtool.h`.
const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// `struct ethtool_drvinfo` of `linux/ethtool.h`.
#[repr(C)]
#[derive(Debug)]
struct DriverInformation {
    command: u32,
    driver: [u8; 32],
    /// Versions, the bus, and how much else there is to ask for.
    rest: [u8; 160],
}

// SAFETY: 196 bytes, as the structure has; it is asked with ETHTOOL_GDRVINFO alone.
unsafe impl Question for DriverInformation {}

const _: () = assert!(size_of::<DriverInformation>() == 196);

/// `ETHTOOL_GDRVINFO` of `linux/ethtool.h`.
const ETHTOOL_GDRVINFO: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_without_channels_or_without_existence_tells_nothing() {
        assert_eq!(receive_queues("lo"), None);
        assert_eq!(receive_queues("no-such-if"), None);
        assert_eq!(receive_queues("a-name-that-is-far-too-long"), None);
        assert_eq!(driver("no-such-if"), None);
    }
}
