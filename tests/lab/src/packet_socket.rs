//! Raw frames on an interface, for packets that no stack would send.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::sys;

/// A packet socket: sends frames as they are and sees what the kernel sees of the interface's traffic.
///
/// What an XDP program drops or redirects, and what an AF_XDP socket sends, never comes by here.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
}

impl PacketSocket {
    /// Opens a socket on an interface of the calling thread's namespace.
    ///
    /// # Errors
    /// If there is no such interface, or without CAP_NET_RAW.
    pub fn open(interface: &str) -> Result<Self> {
        let index = sys::interface_index(interface).with_context(|| format!("interface {interface}"))?;
        Ok(Self { socket: sys::packet_socket(index).with_context(|| format!("packet socket on {interface}"))? })
    }

    /// Sends one Ethernet frame.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        sys::send(self.socket.as_fd(), frame).context("cannot send a frame")
    }

    /// Waits for a frame that `wanted` accepts, and passes the others by.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn receive(&self, timeout: Duration, wanted: impl FnMut(&[u8]) -> bool) -> Result<Option<Vec<u8>>> {
        let socket = self.socket.as_fd();
        receive_wanted(socket, timeout, |buffer| sys::receive(socket, buffer), wanted)
    }
}

/// Reads frames from `source` until `wanted` accepts one, which is given, or the time is over.
pub(crate) fn receive_wanted(
    source: BorrowedFd<'_>,
    timeout: Duration,
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    mut wanted: impl FnMut(&[u8]) -> bool,
) -> Result<Option<Vec<u8>>> {
    let deadline = Instant::now() + timeout;
    let mut buffer = vec![0; 65536];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let milliseconds = i32::try_from(left.as_millis()).unwrap_or(i32::MAX).max(1);
        if !sys::wait_readable(source, milliseconds)? {
            continue;
        }
        let length = read(&mut buffer)?;
        if wanted(&buffer[..length]) {
            return Ok(Some(buffer[..length].to_vec()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pair, PairConfig, require_root};

    #[test]
    fn frames_cross_the_cable() {
        if !require_root() {
            return;
        }
        let pair = Pair::create("frames", &PairConfig::default()).unwrap();
        let (left, right) = (pair.left.packet_socket().unwrap(), pair.right.packet_socket().unwrap());
        let mut frame = [pair.right.mac, pair.left.mac].concat();
        frame.extend([0x88, 0xb5]); // an EtherType for local experiments
        frame.extend([7; 50]);
        left.send(&frame).unwrap();
        let got = right.receive(Duration::from_secs(60), |candidate| candidate == frame).unwrap();
        assert_eq!(got, Some(frame));
        assert_eq!(right.receive(Duration::from_millis(20), |_| false).unwrap(), None);
    }
}
