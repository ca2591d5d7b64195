//! The single-producer single-consumer rings that a program shares with the kernel.
//!
//! An AF_XDP socket has four: *fill* (empty frames for the kernel) and *transmit*, of which the program
//! is the producer; *receive* and *completion* (transmitted frames coming back), of which it is the
//! consumer. Each is an array of a power of two of entries with two counters that only grow (and wrap
//! at 2^32): entries between the consumer's and the producer's counter are valid. Whoever advances
//! its counter does so with release, the other side reads it with acquire; that orders the entries,
//! and the bytes of the frames they name, between the two.
//!
//! [`Producer`] and [`Consumer`] keep the other side's counter as they saw it last, and look again only
//! when that is not enough: a batch costs one read of the shared cache line, not one for each entry.

use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fd::BorrowedFd;
use rustix::io;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::net::xdp::{XdpRingFlags, XdpRingOffset};

/// The side of a ring that puts entries in.
pub(crate) struct Producer<T> {
    ring: Ring<T>,
    /// The counter of the next entry to write; runs ahead of what is published.
    next: u32,
    /// What the other side has been told.
    published: u32,
    /// The consumer's counter as seen last.
    consumed: u32,
}

impl<T: Copy> Producer<T> {
    fn new(ring: Ring<T>) -> Self {
        let next = ring.producer().load(Ordering::Relaxed);
        let consumed = ring.consumer().load(Ordering::Acquire);
        Self { ring, next, published: next, consumed }
    }

    /// How many entries there is room for; looks at the other side's counter only if fewer than `wanted`
    /// were known of.
    pub(crate) fn room(&mut self, wanted: u32) -> u32 {
        let known = self.ring.size - self.next.wrapping_sub(self.consumed);
        if known >= wanted {
            return known;
        }
        self.consumed = self.ring.consumer().load(Ordering::Acquire);
        self.ring.size - self.next.wrapping_sub(self.consumed)
    }

    /// Writes one entry. The other side does not see it before [`publish`](Self::publish).
    ///
    /// # Panics
    ///
    /// If there is no [`room`](Self::room): an entry that is still in use would be overwritten.
    pub(crate) fn push(&mut self, entry: T) {
        assert!(self.room(1) > 0, "a full ring");
        // SAFETY: the index is masked to the ring's size, and the entry is not the consumer's: its
        // counter was seen to have passed it.
        unsafe { self.ring.entry(self.next).write(entry) };
        self.next = self.next.wrapping_add(1);
    }

    /// Lets the other side see what was pushed.
    pub(crate) fn publish(&mut self) {
        if self.published != self.next {
            self.ring.producer().store(self.next, Ordering::Release);
            self.published = self.next;
        }
    }

    /// How many published entries the other side has not taken yet.
    pub(crate) fn waiting(&mut self) -> u32 {
        self.consumed = self.ring.consumer().load(Ordering::Acquire);
        self.published.wrapping_sub(self.consumed)
    }

    /// Whether the kernel asks to be told, by a system call, that there is something in the ring.
    pub(crate) fn needs_wakeup(&self) -> bool {
        let flags = XdpRingFlags::from_bits_retain(self.ring.flags().load(Ordering::Relaxed));
        flags.contains(XdpRingFlags::XDP_RING_NEED_WAKEUP)
    }
}

/// The side of a ring that takes entries out.
pub(crate) struct Consumer<T> {
    ring: Ring<T>,
    /// The counter of the next entry to read; runs ahead of what is released.
    next: u32,
    released: u32,
    /// The producer's counter as seen last.
    produced: u32,
}

impl<T: Copy> Consumer<T> {
    fn new(ring: Ring<T>) -> Self {
        let next = ring.consumer().load(Ordering::Relaxed);
        let produced = ring.producer().load(Ordering::Acquire);
        Self { ring, next, released: next, produced }
    }

    /// Takes the next entry out. The other side may not overwrite it before [`release`](Self::release).
    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.next == self.produced {
            self.produced = self.ring.producer().load(Ordering::Acquire);
            if self.next == self.produced {
                return None;
            }
        }
        // SAFETY: the index is masked to the ring's size, and the producer's counter, read with
        // acquire, has passed the entry: it is written, and stays so until it is released.
        let entry = unsafe { self.ring.entry(self.next).read() };
        self.next = self.next.wrapping_add(1);
        Some(entry)
    }

    /// Gives the room of what was popped back to the other side.
    pub(crate) fn release(&mut self) {
        if self.released != self.next {
            self.ring.consumer().store(self.next, Ordering::Release);
            self.released = self.next;
        }
    }

    /// Whether nothing can be popped; looks at the other side's counter.
    pub(crate) fn is_empty(&mut self) -> bool {
        if self.next == self.produced {
            self.produced = self.ring.producer().load(Ordering::Acquire);
        }
        self.next == self.produced
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Producer({} of {})", self.next.wrapping_sub(self.consumed), self.ring.size)
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Consumer({} of {})", self.produced.wrapping_sub(self.next), self.ring.size)
    }
}

/// Maps the ring that a socket offers at `page_offset`, to produce into.
///
/// # Safety
///
/// `socket` must be an AF_XDP socket; `offsets` and `entries` must be those of that ring of that socket,
/// `T` the type of its entries; the ring must be one that the kernel consumes; and it may be mapped
/// only once.
pub(super) unsafe fn map_producer<T: Copy>(
    socket: BorrowedFd<'_>,
    page_offset: u64,
    offsets: &XdpRingOffset,
    entries: u32,
) -> io::Result<Producer<T>> {
    // SAFETY: as promised by the caller.
    unsafe { Ring::map(socket, page_offset, offsets, entries) }.map(Producer::new)
}

/// Maps the ring that a socket offers at `page_offset`, to consume from.
///
/// # Safety
///
/// As [`map_producer`], and the ring must be one that the kernel produces into.
pub(super) unsafe fn map_consumer<T: Copy>(
    socket: BorrowedFd<'_>,
    page_offset: u64,
    offsets: &XdpRingOffset,
    entries: u32,
) -> io::Result<Consumer<T>> {
    // SAFETY: as promised by the caller.
    unsafe { Ring::map(socket, page_offset, offsets, entries) }.map(Consumer::new)
}

/// Where the parts of a ring are. The memory lives as long as this.
struct Ring<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    entries: NonNull<T>,
    /// Number of entries, a power of two.
    size: u32,
    _memory: Arc<dyn Memory>,
}

// SAFETY: the pointers lead into `_memory`, which is `Send + Sync`; the counters are atomics, and an
// entry is touched by one side at a time, as the counters say. `Producer` and `Consumer` need `&mut
// self` for everything that moves a counter.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    /// # Safety
    ///
    /// As [`map_producer`].
    unsafe fn map(socket: BorrowedFd<'_>, page_offset: u64, offsets: &XdpRingOffset, size: u32) -> io::Result<Self> {
        assert!(size.is_power_of_two(), "{size} entries");
        let length = offsets.desc as usize + size as usize * size_of::<T>();
        // SAFETY: a fresh mapping at an address of the kernel's choice disturbs nobody.
        let base = unsafe {
            mmap(
                ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::POPULATE,
                socket,
                page_offset,
            )?
        };
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::Errno::NOMEM)?;
        let memory = Arc::new(Mapping { base, length });
        // Kernels before 5.4 have no flags word; they are older than what the project needs.
        let flags = offsets.flags.ok_or(io::Errno::NOSYS)?;
        // SAFETY: the offsets are the kernel's own for this ring, so they lie inside the mapping and
        // are aligned for what they lead to; `memory` keeps the mapping.
        unsafe {
            Ok(Self {
                producer: base.add(offsets.producer as usize).cast(),
                consumer: base.add(offsets.consumer as usize).cast(),
                flags: base.add(flags as usize).cast(),
                entries: base.add(offsets.desc as usize).cast(),
                size,
                _memory: memory,
            })
        }
    }
}

impl<T> Ring<T> {
    fn producer(&self) -> &AtomicU32 {
        // SAFETY: the pointer leads into memory that lives as long as `self`.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { self.consumer.as_ref() }
    }

    fn flags(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { self.flags.as_ref() }
    }

    fn entry(&self, counter: u32) -> NonNull<T> {
        let index = counter & (self.size - 1);
        // SAFETY: the index is below the number of entries.
        unsafe { self.entries.add(index as usize) }
    }
}

/// What keeps the memory of a ring.
trait Memory: Send + Sync {}

struct Mapping {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: a mapping is not bound to a thread, and `Mapping` itself only unmaps it.
unsafe impl Send for Mapping {}
// SAFETY: there is nothing that can be done with a `&Mapping`.
unsafe impl Sync for Mapping {}

impl Memory for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this length, and the ring that used it is gone.
        if let Err(error) = unsafe { munmap(self.base.as_ptr().cast(), self.length) } {
            tracing::error!(%error, "the memory of an AF_XDP ring could not be given back");
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Rings without a kernel: both sides in the program.

    use std::cell::UnsafeCell;

    use super::*;

    /// A ring in ordinary memory, and the other hand on it: `(producer, consumer)`.
    ///
    /// Its counters start at `start`, so that a test can have them wrap.
    pub(crate) fn ring<T: Copy + Default + Send + 'static>(size: u32, start: u32) -> (Producer<T>, Consumer<T>) {
        assert!(size.is_power_of_two());
        let memory = Arc::new(Heap {
            producer: AtomicU32::new(start),
            consumer: AtomicU32::new(start),
            flags: AtomicU32::new(0),
            entries: (0..size).map(|_| UnsafeCell::new(T::default())).collect(),
        });
        (Producer::new(memory.clone().ring()), Consumer::new(memory.ring()))
    }

    /// Asks the producer to wake the other side, as a kernel does.
    pub(crate) fn ask_for_wakeup<T>(consumer: &Consumer<T>, asked: bool) {
        consumer.ring.flags().store(u32::from(asked), Ordering::Relaxed);
    }

    struct Heap<T> {
        producer: AtomicU32,
        consumer: AtomicU32,
        flags: AtomicU32,
        entries: Box<[UnsafeCell<T>]>,
    }

    // SAFETY: entries are touched by one side at a time, as the counters say.
    unsafe impl<T: Send> Sync for Heap<T> {}

    impl<T: Send> Memory for Heap<T> {}

    impl<T: Copy + Send + 'static> Heap<T> {
        fn ring(self: Arc<Self>) -> Ring<T> {
            Ring {
                producer: NonNull::from(&self.producer),
                consumer: NonNull::from(&self.consumer),
                flags: NonNull::from(&self.flags),
                entries: NonNull::from(&*self.entries).cast(),
                size: self.entries.len() as u32,
                _memory: self,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::testing::{ask_for_wakeup, ring};

    #[test]
    fn what_is_not_published_is_not_seen() {
        let (mut producer, mut consumer) = ring::<u64>(4, 0);
        producer.push(7);
        assert!(consumer.is_empty());
        assert_eq!(consumer.pop(), None);
        producer.publish();
        assert!(!consumer.is_empty());
        assert_eq!(consumer.pop(), Some(7));
        assert_eq!(consumer.pop(), None);
    }

    #[test]
    fn room_comes_back_when_it_is_released() {
        let (mut producer, mut consumer) = ring::<u64>(4, 0);
        for value in 0..4 {
            producer.push(value);
        }
        producer.publish();
        assert_eq!(producer.room(1), 0);
        assert_eq!(producer.waiting(), 4);
        assert_eq!(consumer.pop(), Some(0));
        assert_eq!(producer.room(1), 0, "popped, not released");
        consumer.release();
        assert_eq!(producer.room(1), 1);
        assert_eq!(producer.waiting(), 3);
    }

    #[test]
    #[should_panic(expected = "a full ring")]
    fn a_full_ring_is_not_overwritten() {
        let (mut producer, _consumer) = ring::<u64>(2, 0);
        for value in 0..3 {
            producer.push(value);
        }
    }

    #[test]
    fn counters_wrap() {
        let (mut producer, mut consumer) = ring::<u64>(8, u32::MAX - 3);
        for round in 0..10 {
            for value in 0..8 {
                producer.push(round * 8 + value);
            }
            producer.publish();
            assert_eq!(producer.room(1), 0);
            for value in 0..8 {
                assert_eq!(consumer.pop(), Some(round * 8 + value));
            }
            assert!(consumer.is_empty());
            consumer.release();
            assert_eq!(producer.room(9), 8);
        }
    }

    #[test]
    fn the_kernel_can_ask_to_be_woken() {
        let (producer, consumer) = ring::<u64>(2, 0);
        assert!(!producer.needs_wakeup());
        ask_for_wakeup(&consumer, true);
        assert!(producer.needs_wakeup());
        ask_for_wakeup(&consumer, false);
        assert!(!producer.needs_wakeup());
    }

    #[test]
    fn two_threads_see_every_entry_once_and_in_order() {
        const ENTRIES: u64 = 100_000;
        let (mut producer, mut consumer) = ring::<u64>(64, u32::MAX - 1000);
        let thread = thread::spawn(move || {
            let mut next = 0;
            while next < ENTRIES {
                let room = u64::from(producer.room(16)).min(ENTRIES - next);
                for value in next..next + room {
                    producer.push(value);
                }
                producer.publish();
                next += room;
                thread::yield_now();
            }
        });
        let mut expected = 0;
        while expected < ENTRIES {
            while let Some(value) = consumer.pop() {
                assert_eq!(value, expected);
                expected += 1;
            }
            consumer.release();
            thread::yield_now();
        }
        thread.join().expect("the producer ends");
    }
}
