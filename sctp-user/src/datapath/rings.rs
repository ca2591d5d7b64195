//! The four rings of an AF_XDP socket in terms of frames instead of numbers.
//!
//! What goes into a ring is a [`Frame`] and what comes out is one; addresses stay inside this module.

use std::sync::Arc;

use super::frames::FramePool;
use super::ring::{Consumer, Producer};
use super::umem::{Frame, KernelSide};

/// An entry of the receive and transmit rings (`struct xdp_desc`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Descriptor {
    /// Where the packet begins, from the start of the UMEM.
    pub(crate) address: u64,
    /// Its length in bytes.
    pub(crate) length: u32,
    /// `XDP_PKT_CONTD` and the like; nothing that is used here.
    pub(crate) options: u32,
}

/// Empty frames on their way to the kernel.
#[derive(Debug)]
pub(crate) struct FillRing {
    ring: Producer<u64>,
    pool: Arc<FramePool>,
}

impl FillRing {
    pub(crate) fn new(ring: Producer<u64>, pool: Arc<FramePool>) -> Self {
        Self { ring, pool }
    }

    /// Fills what room there is, for as long as `frames` has any; returns how many went in.
    pub(crate) fn top_up(&mut self, mut frames: impl FnMut() -> Option<Frame>) -> Filled {
        let room = self.ring.room(u32::MAX);
        let mut filled = 0;
        while filled < room {
            let Some(frame) = frames() else { break };
            self.ring.push(self.pool.umem().give_to_kernel(frame, KernelSide::Receive));
            filled += 1;
        }
        self.ring.publish();
        Filled { frames: filled, missing: room - filled }
    }

    pub(crate) fn needs_wakeup(&self) -> bool {
        self.ring.needs_wakeup()
    }
}

/// What [`FillRing::top_up`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Filled {
    /// Frames that went in.
    pub(crate) frames: u32,
    /// Frames that would have fitted in too, but were not to be had.
    pub(crate) missing: u32,
}

/// Frames with received packets in them.
#[derive(Debug)]
pub(crate) struct ReceiveRing {
    ring: Consumer<Descriptor>,
    pool: Arc<FramePool>,
}

/// A received packet.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) frame: Frame,
    /// Where in the frame the packet begins. In front of it are headroom and metadata.
    pub(crate) offset: usize,
    /// Its length in bytes.
    pub(crate) length: usize,
}

impl ReceiveRing {
    /// # Safety
    ///
    /// `ring` must be the receive ring of a socket whose queue is filled with frames of `pool` alone.
    pub(crate) unsafe fn new(ring: Consumer<Descriptor>, pool: Arc<FramePool>) -> Self {
        Self { ring, pool }
    }

    /// Takes the next packet out.
    pub(crate) fn pop(&mut self) -> Option<Arrived> {
        loop {
            let descriptor = self.ring.pop()?;
            // SAFETY: the address was read from the receive ring, and `pop` gives each entry once.
            let taken = unsafe { self.pool.umem().take_from_kernel(descriptor.address, KernelSide::Receive) };
            // The kernel gives nothing else than what it was given, so there is nothing to skip.
            if let Some((frame, offset)) = taken {
                let inside = self.pool.umem().frame_size() as usize - offset;
                let length = (descriptor.length as usize).min(inside);
                return Some(Arrived { frame, offset, length });
            }
        }
    }

    /// Lets the kernel use the entries that were popped.
    pub(crate) fn release(&mut self) {
        self.ring.release();
    }

    pub(crate) fn is_empty(&mut self) -> bool {
        self.ring.is_empty()
    }
}

/// Frames with packets to send.
#[derive(Debug)]
pub(crate) struct TransmitRing {
    ring: Producer<Descriptor>,
    pool: Arc<FramePool>,
}

impl TransmitRing {
    pub(crate) fn new(ring: Producer<Descriptor>, pool: Arc<FramePool>) -> Self {
        Self { ring, pool }
    }

    pub(crate) fn has_room(&mut self) -> bool {
        self.has_room_for(1)
    }

    pub(crate) fn has_room_for(&mut self, packets: u32) -> bool {
        self.ring.room(packets) >= packets
    }

    /// Queues the packet of `length` bytes at `offset` in the frame; [`publish`](Self::publish) shows it
    /// to the kernel.
    ///
    /// # Panics
    ///
    /// If there is no [room](Self::has_room).
    pub(crate) fn push(&mut self, frame: Frame, offset: usize, length: usize) {
        let start = self.pool.umem().give_to_kernel(frame, KernelSide::Transmit);
        let address = start + offset as u64;
        self.ring.push(Descriptor { address, length: length as u32, options: 0 });
    }

    pub(crate) fn publish(&mut self) {
        self.ring.publish();
    }

    /// How many packets the kernel has not taken yet.
    pub(crate) fn waiting(&mut self) -> u32 {
        self.ring.waiting()
    }

    pub(crate) fn needs_wakeup(&self) -> bool {
        self.ring.needs_wakeup()
    }
}

/// Frames that were sent and come back.
#[derive(Debug)]
pub(crate) struct CompletionRing {
    ring: Consumer<u64>,
    pool: Arc<FramePool>,
}

impl CompletionRing {
    /// # Safety
    ///
    /// `ring` must be the completion ring of a queue that frames of `pool` alone are sent on.
    pub(crate) unsafe fn new(ring: Consumer<u64>, pool: Arc<FramePool>) -> Self {
        Self { ring, pool }
    }

    /// Gives every frame that has come back to `home`; returns how many there were.
    pub(crate) fn drain(&mut self, mut home: impl FnMut(Frame)) -> u32 {
        let mut drained = 0;
        while let Some(address) = self.ring.pop() {
            // SAFETY: the address was read from the completion ring, and `pop` gives each entry once.
            let taken = unsafe { self.pool.umem().take_from_kernel(address, KernelSide::Transmit) };
            if let Some((frame, _)) = taken {
                home(frame);
                drained += 1;
            }
        }
        self.ring.release();
        drained
    }
}

#[cfg(test)]
mod tests {
    use super::super::frames::FrameCache;
    use super::super::ring::testing;
    use super::super::umem::FrameSize;
    use super::*;

    const FRAMES: u32 = 64;

    /// A queue whose kernel is the test: the program's ends and the kernel's.
    struct Queue {
        pool: Arc<FramePool>,
        cache: FrameCache,
        fill: FillRing,
        receive: ReceiveRing,
        transmit: TransmitRing,
        completion: CompletionRing,
        kernel: Kernel,
    }

    struct Kernel {
        fill: Consumer<u64>,
        receive: Producer<Descriptor>,
        transmit: Consumer<Descriptor>,
        completion: Producer<u64>,
    }

    impl Kernel {
        /// Puts an empty packet into the receive ring for each frame of the fill ring, as a NIC would.
        fn receive(&mut self, at_most: usize) -> usize {
            let mut received = 0;
            while received < at_most && self.receive.room(1) > 0 {
                let Some(address) = self.fill.pop() else { break };
                let address = address + 256;
                self.receive.push(Descriptor { address, length: 60, options: 0 });
                received += 1;
            }
            self.fill.release();
            self.receive.publish();
            received
        }

        /// Sends what is in the transmit ring; returns where the packets were.
        fn send(&mut self) -> Vec<Descriptor> {
            let sent: Vec<_> = std::iter::from_fn(|| self.transmit.pop()).collect();
            for descriptor in &sent {
                // The kernel gives the address back as it came, not the start of the frame.
                self.completion.push(descriptor.address);
            }
            self.transmit.release();
            self.completion.publish();
            sent
        }
    }

    fn queue() -> Queue {
        let pool = FramePool::new(FRAMES, FrameSize::TwoKiB, false).expect("a few pages");
        let (fill, kernel_fill) = testing::ring(16, 0);
        let (kernel_receive, receive) = testing::ring(16, 0);
        let (transmit, kernel_transmit) = testing::ring(16, 0);
        let (kernel_completion, completion) = testing::ring(16, 0);
        Queue {
            cache: FrameCache::new(pool.clone()),
            fill: FillRing::new(fill, pool.clone()),
            // SAFETY: the test's kernel receives into frames of the fill ring alone.
            receive: unsafe { ReceiveRing::new(receive, pool.clone()) },
            transmit: TransmitRing::new(transmit, pool.clone()),
            // SAFETY: the test's kernel completes frames of the transmit ring alone.
            completion: unsafe { CompletionRing::new(completion, pool.clone()) },
            pool,
            kernel: Kernel {
                fill: kernel_fill,
                receive: kernel_receive,
                transmit: kernel_transmit,
                completion: kernel_completion,
            },
        }
    }

    #[test]
    fn packets_go_round_and_no_frame_is_lost() {
        let mut queue = queue();
        let mut received = 0;
        let mut sent = 0;
        let mut handled = 0;
        for round in 0..10_000 {
            queue.fill.top_up(|| queue.cache.take());
            received += queue.kernel.receive(round % 17);
            while queue.transmit.has_room() {
                let Some(Arrived { frame, offset, length }) = queue.receive.pop() else { break };
                assert_eq!((offset, length), (256, 60));
                handled += 1;
                // Every third is forwarded, the others are done with.
                if handled % 3 == 0 {
                    queue.transmit.push(frame, 200, 116);
                    sent += 1;
                } else {
                    queue.cache.give(frame);
                }
            }
            queue.receive.release();
            queue.transmit.publish();
            for descriptor in queue.kernel.send() {
                assert_eq!((descriptor.address % 2048, descriptor.length), (200, 116));
            }
            queue.completion.drain(|frame| queue.cache.give(frame));
        }
        assert!(received > 50_000, "{received}");
        assert!(sent > 10_000, "{sent}");
        // Whatever is in the fill ring comes out by way of the receive ring.
        queue.kernel.receive(usize::MAX);
        while let Some(arrived) = queue.receive.pop() {
            queue.cache.give(arrived.frame);
        }
        assert_eq!(queue.pool.free() + queue.cache.len(), FRAMES as usize);
    }

    #[test]
    fn filling_tells_what_was_missing() {
        let mut queue = queue();
        let mut frames: Vec<Frame> = (0..10).filter_map(|_| queue.cache.take()).collect();
        assert_eq!(queue.fill.top_up(|| frames.pop()), Filled { frames: 10, missing: 6 });
        assert_eq!(queue.fill.top_up(|| queue.cache.take()), Filled { frames: 6, missing: 0 });
        assert_eq!(queue.fill.top_up(|| queue.cache.take()), Filled { frames: 0, missing: 0 });
        queue.kernel.receive(usize::MAX);
        while let Some(arrived) = queue.receive.pop() {
            queue.cache.give(arrived.frame);
        }
    }

    #[test]
    fn waiting_counts_what_the_kernel_has_not_taken() {
        let mut queue = queue();
        for _ in 0..5 {
            let frame = queue.cache.take().expect("a frame is free");
            queue.transmit.push(frame, 0, 60);
        }
        assert_eq!(queue.transmit.waiting(), 0, "not published");
        queue.transmit.publish();
        assert_eq!(queue.transmit.waiting(), 5);
        assert_eq!(queue.kernel.send().len(), 5);
        assert_eq!(queue.transmit.waiting(), 0);
        assert_eq!(queue.completion.drain(|frame| queue.cache.give(frame)), 5);
    }
}
