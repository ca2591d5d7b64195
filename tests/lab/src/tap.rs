//! TAP devices: write a frame and XDP sees it natively; read what an AF_XDP socket sent.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::packet_socket::receive_wanted;
use crate::{Namespace, sys};

/// A TAP device in a namespace. Gone when dropped.
#[derive(Debug)]
pub struct Tap {
    name: String,
    queues: Vec<File>,
}

impl Tap {
    /// Makes a device with this name and number of queues, and sets it up.
    ///
    /// # Errors
    /// Without root or `/dev/net/tun`, or if the name is taken.
    pub fn create(namespace: &Namespace, name: &str, queues: usize) -> Result<Self> {
        let attach = |_| attach(name, queues > 1, 0);
        let queues = namespace.run(|| (0..queues).map(attach).collect::<Result<Vec<_>>>())?;
        namespace.ip(&["link", "set", name, "up"])?;
        Ok(Self { name: name.to_owned(), queues })
    }

    /// Name of the interface.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Hands a frame to the device, as if it had come by the wire on this queue.
    ///
    /// # Errors
    /// If the kernel refuses it.
    ///
    /// # Panics
    /// If there is no such queue.
    pub fn send(&self, queue: usize, frame: &[u8]) -> Result<()> {
        (&self.queues[queue]).write_all(frame).with_context(|| format!("cannot write a frame to {}", self.name))
    }

    /// Waits for a frame that the device sent on this queue and that `wanted` accepts.
    ///
    /// # Errors
    /// If the kernel refuses.
    ///
    /// # Panics
    /// If there is no such queue.
    pub fn receive(
        &self,
        queue: usize,
        timeout: Duration,
        wanted: impl FnMut(&[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>> {
        let mut queue = &self.queues[queue];
        receive_wanted(queue.as_fd(), timeout, |buffer| queue.read(buffer), wanted)
    }
}

/// Makes a TAP device with one queue in a namespace. What is written to the file, which does not block, XDP programs on the device see in
/// its driver; what they answer can be read, as can what anybody else sends by the device. It is gone with the file.
///
/// # Errors
/// As [`Tap::create`].
pub(crate) fn plug(namespace: &Namespace, name: &str) -> Result<File> {
    namespace.run(|| attach(name, false, libc::O_NONBLOCK))
}

/// Opens a queue of a TAP device of the calling thread's namespace.
fn attach(name: &str, multi_queue: bool, flags: i32) -> Result<File> {
    let path = "/dev/net/tun";
    let tun = File::options().read(true).write(true).custom_flags(flags).open(path).context(path)?;
    sys::attach_tap(tun.as_fd(), name, multi_queue).with_context(|| format!("cannot make the TAP device {name}"))?;
    Ok(tun)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PacketSocket, require_root};

    #[test]
    fn frames_go_both_ways() {
        if !require_root() {
            return;
        }
        let namespace = Namespace::create("tap").unwrap();
        let tap = Tap::create(&namespace, "tap0", 2).unwrap();
        let socket = namespace.run(|| PacketSocket::open(tap.name())).unwrap();
        let mut frame = vec![0xff; 12];
        frame.extend([0x88, 0xb5]); // an EtherType for local experiments
        frame.extend([7; 50]);
        tap.send(1, &frame).unwrap();
        let inwards = socket.receive(Duration::from_secs(60), |candidate| candidate == frame).unwrap();
        assert_eq!(inwards.as_deref(), Some(&frame[..]));
        // Which queue an outgoing frame takes is the kernel's choice: the queue that its flow last came in by, or a hash.
        socket.send(&frame).unwrap();
        let outwards = (0..2)
            .find_map(|queue| tap.receive(queue, Duration::from_secs(5), |candidate| candidate == frame).unwrap());
        assert_eq!(outwards, Some(frame));
    }
}
