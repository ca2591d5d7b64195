//! Where frames are at home: a common pool, and a cache for each worker before it.
//!
//! Frames are fungible: it does not matter which of them a worker fills a ring with or writes a packet
//! into. So every worker keeps a few in a plain vector, and takes from or gives to the lock-free pool
//! behind it in batches. Threads that are no workers (an application that drops the last reference to
//! a received payload) give to the pool directly.

use std::fmt;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use super::umem::{Frame, FrameSize, Umem};

/// All frames of a UMEM that nobody uses, and the UMEM itself.
pub(crate) struct FramePool {
    umem: Umem,
    free: ArrayQueue<Frame>,
}

impl FramePool {
    /// Maps a UMEM (see [`Umem::new`]) and takes all of its frames in.
    pub(crate) fn new(frames: u32, frame_size: FrameSize, huge_pages: bool) -> std::io::Result<Arc<Self>> {
        let (umem, tokens) = Umem::new(frames, frame_size, huge_pages)?;
        let free = ArrayQueue::new(tokens.len());
        let pool = Self { umem, free };
        for token in tokens {
            pool.give(token);
        }
        Ok(Arc::new(pool))
    }

    /// The memory that the frames are in.
    pub(crate) fn umem(&self) -> &Umem {
        &self.umem
    }

    /// How many frames lie in the pool; a moment later it may be another number.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// Takes a frame home. Any thread may.
    pub(crate) fn give(&self, frame: Frame) {
        if let Err(frame) = self.free.push(frame) {
            // There is room for every frame of this UMEM, so this is a frame of another one.
            unreachable!("{frame:?} does not belong to this pool");
        }
    }

    fn take(&self) -> Option<Frame> {
        self.free.pop()
    }
}

impl fmt::Debug for FramePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FramePool").field("umem", &self.umem).field("free", &self.free()).finish()
    }
}

impl Drop for FramePool {
    fn drop(&mut self) {
        while let Some(frame) = self.free.pop() {
            self.umem.retire(frame);
        }
    }
}

/// A worker's own frames, in front of the pool. They go back to the pool when it is dropped.
#[derive(Debug)]
pub(crate) struct FrameCache {
    pool: Arc<FramePool>,
    frames: Vec<Frame>,
}

impl FrameCache {
    /// How many frames go between cache and pool at a time. The cache holds up to twice as many, so
    /// that a worker that gives and takes in turn does not touch the pool.
    pub(crate) const BATCH: usize = 64;

    pub(crate) fn new(pool: Arc<FramePool>) -> Self {
        Self { pool, frames: Vec::with_capacity(2 * Self::BATCH) }
    }

    /// A frame to use, unless all are in use.
    pub(crate) fn take(&mut self) -> Option<Frame> {
        if self.frames.is_empty() {
            self.frames.extend(std::iter::from_fn(|| self.pool.take()).take(Self::BATCH));
        }
        self.frames.pop()
    }

    /// Takes a frame home.
    pub(crate) fn give(&mut self, frame: Frame) {
        if self.frames.len() == 2 * Self::BATCH {
            for frame in self.frames.drain(Self::BATCH..) {
                self.pool.give(frame);
            }
        }
        self.frames.push(frame);
    }

    /// How many frames are in the cache.
    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether so few frames are free that payload must be copied rather than keep one.
    ///
    /// That is below a quarter of all: what the application keeps can then never starve the rings.
    pub(crate) fn is_short(&self) -> bool {
        let free = self.pool.free() + self.frames.len();
        free < self.pool.umem().frames() as usize / 4
    }

    /// The pool behind it.
    pub(crate) fn pool(&self) -> &Arc<FramePool> {
        &self.pool
    }

    /// The memory that the frames are in.
    pub(crate) fn umem(&self) -> &Umem {
        self.pool.umem()
    }
}

impl Drop for FrameCache {
    fn drop(&mut self) {
        for frame in self.frames.drain(..) {
            self.pool.give(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn pool(frames: u32) -> Arc<FramePool> {
        FramePool::new(frames, FrameSize::TwoKiB, false).expect("a few pages")
    }

    #[test]
    fn every_frame_can_be_taken_once() {
        let pool = pool(100);
        let mut cache = FrameCache::new(pool.clone());
        let taken: Vec<Frame> = std::iter::from_fn(|| cache.take()).collect();
        assert_eq!(taken.len(), 100);
        assert_eq!((pool.free(), cache.len()), (0, 0));
        for frame in taken {
            cache.give(frame);
        }
        assert_eq!(pool.free() + cache.len(), 100);
        drop(cache);
        assert_eq!(pool.free(), 100);
    }

    #[test]
    fn a_cache_keeps_few_and_goes_to_the_pool_in_batches() {
        let pool = pool(1000);
        let mut cache = FrameCache::new(pool.clone());
        let frame = cache.take().expect("one of a thousand");
        assert_eq!(pool.free(), 1000 - FrameCache::BATCH);
        cache.give(frame);
        assert_eq!(pool.free(), 1000 - FrameCache::BATCH, "it stays in the cache");
        let taken: Vec<Frame> = (0..300).filter_map(|_| cache.take()).collect();
        for frame in taken {
            cache.give(frame);
            assert!(cache.len() <= 2 * FrameCache::BATCH);
        }
        assert_eq!(pool.free() + cache.len(), 1000);
    }

    #[test]
    fn shortage_begins_below_a_quarter() {
        let pool = pool(100);
        let mut cache = FrameCache::new(pool);
        let mut taken = Vec::new();
        for _ in 0..75 {
            taken.extend(cache.take());
        }
        assert!(!cache.is_short());
        taken.extend(cache.take());
        assert!(cache.is_short());
        for frame in taken {
            cache.give(frame);
        }
    }

    #[test]
    fn threads_share_a_pool_without_losing_a_frame() {
        let pool = pool(512);
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let pool = pool.clone();
                thread::spawn(move || {
                    let mut cache = FrameCache::new(pool.clone());
                    for round in 0..500 {
                        let taken: Vec<Frame> = (0..round % 120).filter_map(|_| cache.take()).collect();
                        for (number, frame) in taken.into_iter().enumerate() {
                            // Some come home by way of another thread.
                            if number % 3 == 0 { pool.give(frame) } else { cache.give(frame) }
                        }
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().expect("a worker ends");
        }
        assert_eq!(pool.free(), 512);
    }
}
