//! Where frames can be recorded on their way in and out.

use std::fmt;
use std::sync::Arc;

/// Which way a frame went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// It was received.
    Inbound,
    /// It was sent.
    Outbound,
}

/// Something that records frames.
///
/// It is called by the workers between two packets: it must return at once, so it copies what it needs into
/// a queue, and counts what the queue could not take.
pub trait Capture: Send + Sync {
    /// Records one frame, from the first byte of its Ethernet header.
    fn frame(&self, ifindex: u32, direction: Direction, frame: &[u8]);
}

/// A [`Capture`] that links share.
#[derive(Clone)]
pub struct CaptureSink {
    capture: Arc<dyn Capture>,
}

impl CaptureSink {
    /// Wraps `capture`.
    pub fn new(capture: Arc<dyn Capture>) -> Self {
        Self { capture }
    }

    /// Records one frame, from the first byte of its Ethernet header.
    pub fn frame(&self, ifindex: u32, direction: Direction, frame: &[u8]) {
        self.capture.frame(ifindex, direction, frame);
    }
}

impl fmt::Debug for CaptureSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CaptureSink")
    }
}
