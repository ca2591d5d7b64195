//! How received payload leaves the datapath: as [`Bytes`] over the frame itself, or copied.
//!
//! A large payload stays where the kernel put it. The frame then belongs to a [`Bytes`], and goes home
//! to its pool when the last reference to it is dropped, on whatever thread that happens. Small
//! payload is copied into an arena, so that a message of 60 bytes does not keep a frame of 4096; and
//! everything is copied when frames are short, so that a slow application cannot starve the rings.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use sctp_core::PayloadSource;

use super::frames::{FrameCache, FramePool};
use super::umem::Frame;

/// Payload of at least this many bytes keeps its frame, if frames are not short.
const SHARE_FROM: usize = 512;

/// Memory that small payloads are copied into, one after the other.
///
/// It is allocated in blocks; a block is freed, or used again, when no payload in it is left.
pub(crate) struct Arena {
    block: BytesMut,
}

impl Arena {
    const BLOCK: usize = 64 * 1024;

    pub(crate) fn new() -> Self {
        Self { block: BytesMut::new() }
    }

    /// A copy of `bytes`.
    pub(crate) fn copy(&mut self, bytes: &[u8]) -> Bytes {
        if self.block.capacity() < bytes.len() {
            self.block.reserve(bytes.len().max(Self::BLOCK));
        }
        self.block.extend_from_slice(bytes);
        self.block.split().freeze()
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena").field("left", &self.block.capacity()).finish()
    }
}

/// A received frame for as long as its packet is being handled, and possibly longer.
///
/// It is either still a frame, or it has become the memory of a [`Bytes`]; of that one reference
/// stays here until the packet has been handled.
pub(crate) struct Received {
    frame: Option<Frame>,
    shared: Option<Bytes>,
}

impl Received {
    pub(crate) fn new(frame: Frame) -> Self {
        Self { frame: Some(frame), shared: None }
    }

    /// The packet that lies at `packet` in the frame, and what hands out payload from it.
    pub(crate) fn open<'a>(
        &'a mut self,
        cache: &'a FrameCache,
        arena: &'a mut Arena,
        packet: Range<usize>,
        share: bool,
    ) -> (&'a [u8], FramePayload<'a>) {
        let pool = cache.pool();
        let bytes = match &self.frame {
            // SAFETY: until the end of 'a the frame's token is in `self`, which `FramePayload` borrows
            // for 'a, or in a `SharedFrame`, which is not dropped before 'a ends because
            // `self.shared` refers to it. Neither gives the token to anybody, nor writes.
            Some(frame) => unsafe { pool.umem().bytes_apart(frame, packet.clone()) },
            None => &[],
        };
        (bytes, FramePayload { received: self, bytes, packet, pool, arena, share })
    }

    /// Ends the handling: the frame goes home, unless payload of it is still in use.
    pub(crate) fn close(self, cache: &mut FrameCache) {
        if let Some(frame) = self.frame {
            cache.give(frame);
        }
    }
}

/// The [`PayloadSource`] of a frame.
pub(crate) struct FramePayload<'a> {
    received: &'a mut Received,
    bytes: &'a [u8],
    packet: Range<usize>,
    pool: &'a Arc<FramePool>,
    arena: &'a mut Arena,
    share: bool,
}

impl PayloadSource for FramePayload<'_> {
    fn take(&mut self, range: Range<usize>) -> Bytes {
        let worth_sharing = self.share && range.len() >= SHARE_FROM;
        if !worth_sharing {
            return self.arena.copy(&self.bytes[range]);
        }
        let received = &mut *self.received;
        if let Some(frame) = received.frame.take() {
            received.shared = Some(Bytes::from_owner(SharedFrame {
                frame: Some(frame),
                pool: self.pool.clone(),
                packet: self.packet.clone(),
            }));
        }
        match &received.shared {
            Some(shared) => shared.slice(range),
            None => self.arena.copy(&self.bytes[range]),
        }
    }
}

/// A frame that is the memory of a [`Bytes`].
struct SharedFrame {
    /// There until it is dropped.
    frame: Option<Frame>,
    /// Keeps the UMEM mapped for as long as anybody can read from it.
    pool: Arc<FramePool>,
    packet: Range<usize>,
}

impl AsRef<[u8]> for SharedFrame {
    fn as_ref(&self) -> &[u8] {
        match &self.frame {
            Some(frame) => self.pool.umem().bytes(frame, self.packet.clone()),
            None => &[],
        }
    }
}

impl Drop for SharedFrame {
    fn drop(&mut self) {
        if let Some(frame) = self.frame.take() {
            self.pool.give(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::umem::FrameSize;
    use super::*;

    const FRAMES: u32 = 16;

    struct Fixture {
        pool: Arc<FramePool>,
        cache: FrameCache,
        arena: Arena,
    }

    impl Fixture {
        fn new() -> Self {
            let pool = FramePool::new(FRAMES, FrameSize::TwoKiB, false).expect("a few pages");
            Self { cache: FrameCache::new(pool.clone()), pool, arena: Arena::new() }
        }

        /// A frame with 1500 bytes at 256 whose values say where they are.
        fn packet(&mut self) -> Received {
            let mut frame = self.cache.take().expect("a frame is free");
            let bytes = self.cache.umem().bytes_mut(&mut frame, 256..1756);
            for (value, byte) in (0u32..).zip(bytes) {
                *byte = value as u8;
            }
            Received::new(frame)
        }

        fn take<const N: usize>(&mut self, ranges: [Range<usize>; N], share: bool) -> [Bytes; N] {
            let mut received = self.packet();
            let (bytes, mut payload) = received.open(&self.cache, &mut self.arena, 256..1756, share);
            let taken = ranges.map(|range| payload.take(range));
            assert_eq!(bytes.len(), 1500);
            assert!((0u32..).zip(bytes).all(|(value, &byte)| byte == value as u8));
            received.close(&mut self.cache);
            taken
        }

        fn free(&self) -> u32 {
            (self.pool.free() + self.cache.len()) as u32
        }
    }

    fn expected(range: Range<u32>) -> Vec<u8> {
        range.map(|value| value as u8).collect()
    }

    #[test]
    fn large_payload_keeps_the_frame_until_its_last_reference_goes() {
        let mut fixture = Fixture::new();
        let taken = fixture.take([0..600, 700..1500], true);
        assert_eq!(taken[0], expected(0..600));
        assert_eq!(taken[1], expected(700..1500));
        assert_eq!(fixture.free(), FRAMES - 1, "one frame for both");
        let part = taken[1].slice(10..20);
        drop(taken);
        assert_eq!(fixture.free(), FRAMES - 1);
        assert_eq!(part, expected(710..720));
        thread::spawn(move || drop(part)).join().expect("the thread ends");
        assert_eq!(fixture.free(), FRAMES);
    }

    #[test]
    fn small_payload_is_copied() {
        let mut fixture = Fixture::new();
        let taken = fixture.take([0..511, 511..600], true);
        assert_eq!(fixture.free(), FRAMES);
        assert_eq!(taken[0], expected(0..511));
        assert_eq!(taken[1], expected(511..600));
    }

    #[test]
    fn all_payload_is_copied_when_frames_are_short() {
        let mut fixture = Fixture::new();
        let taken = fixture.take([0..1500, 3..4], false);
        assert_eq!(fixture.free(), FRAMES);
        assert_eq!(taken[0], expected(0..1500));
        assert_eq!(taken[1], expected(3..4));
    }

    #[test]
    fn small_and_large_payload_of_one_packet() {
        let mut fixture = Fixture::new();
        let taken = fixture.take([0..100, 100..800, 800..810], true);
        assert_eq!(taken[0], expected(0..100));
        assert_eq!(taken[1], expected(100..800));
        assert_eq!(taken[2], expected(800..810));
        assert_eq!(fixture.free(), FRAMES - 1);
    }

    #[test]
    fn payload_outlives_everything_else() {
        let mut fixture = Fixture::new();
        let taken = fixture.take([0..1500, 700..1500], true);
        drop(fixture);
        assert_eq!(taken[0], expected(0..1500));
    }

    #[test]
    fn dropping_the_payload_at_once_does_not_free_the_packet_under_its_reader() {
        let mut fixture = Fixture::new();
        let mut received = fixture.packet();
        let (bytes, mut payload) = received.open(&fixture.cache, &mut fixture.arena, 256..1756, true);
        drop(payload.take(0..1000));
        assert_eq!(fixture.pool.free() + fixture.cache.len(), FRAMES as usize - 1);
        assert_eq!(bytes[999], 999u32 as u8);
        received.close(&mut fixture.cache);
        assert_eq!(fixture.free(), FRAMES);
    }

    #[test]
    fn an_arena_fills_block_after_block() {
        let mut arena = Arena::new();
        let copies: Vec<Bytes> = (0..1000u32).map(|number| arena.copy(&number.to_be_bytes().repeat(100))).collect();
        for (number, copy) in (0..1000u32).zip(copies) {
            assert_eq!(copy, number.to_be_bytes().repeat(100));
        }
    }
}
