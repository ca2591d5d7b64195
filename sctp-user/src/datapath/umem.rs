//! The memory that packets live in, and the tokens that own its pieces.
//!
//! AF_XDP moves packets through one region of memory, the UMEM, that is cut into frames of equal
//! size. At any time a frame belongs either to the program or to the kernel. Who owns it is a matter
//! of numbers in rings, which no compiler checks; so here a frame that the program owns is a value of
//! type [`Frame`]: it can be neither copied nor cloned, giving it to the kernel consumes it, and
//! letting it fall is a bug that debug builds report at once. Memory safety hangs on these tokens:
//! bytes of a frame are only reached through a borrow of its token.
//!
//! Tokens come into being twice only: when the UMEM is made, and when the kernel gives a number back
//! ([`Umem::take_from_kernel`], the one place where a number becomes a token, and therefore unsafe).
//! Debug builds keep a state for every frame and check each such number against it.

use std::fmt;
use std::io;
use std::mem;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// How large the frames of a UMEM are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FrameSize {
    /// 2048 bytes: half the memory; enough for an MTU of 1500 with the kernel's 256 bytes of headroom.
    TwoKiB,
    /// 4096 bytes, a page: the size that every driver takes.
    #[default]
    FourKiB,
}

impl FrameSize {
    /// The size in bytes.
    pub const fn bytes(self) -> u32 {
        match self {
            Self::TwoKiB => 2048,
            Self::FourKiB => 4096,
        }
    }
}

/// The right to use one frame of a [`Umem`].
///
/// It knows which UMEM it belongs to, so that a token of one cannot open a frame of another.
#[must_use = "a frame has to go home: give it to a pool or to the kernel"]
pub(crate) struct Frame {
    umem: u32,
    index: u32,
}

impl Frame {
    /// Ends the token without ending the ownership that it stands for: the frame belongs to somebody
    /// else now, or the whole UMEM is going away.
    fn dissolve(self) -> u32 {
        let index = self.index;
        mem::forget(self);
        index
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "frame {} of UMEM {}", self.index, self.umem)
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // Not while unwinding: a second panic would hide the first one.
        debug_assert!(thread::panicking(), "{self:?} was dropped instead of going home");
    }
}

/// The rings in which a frame can be while the kernel owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum KernelSide {
    /// In a fill ring, or received and not yet taken out of the receive ring.
    Receive = 1,
    /// In a transmit ring, under way, or not yet taken out of the completion ring.
    Transmit = 2,
}

/// A region of memory shared with the kernel, cut into frames.
pub(crate) struct Umem {
    base: NonNull<u8>,
    length: usize,
    frame_size: u32,
    frames: u32,
    id: u32,
    huge_pages: bool,
    #[cfg(debug_assertions)]
    states: states::States,
}

// SAFETY: the mapping belongs to the `Umem` alone and is not bound to a thread. What is inside is
// reached through `Frame` tokens, of which there is one for each frame.
unsafe impl Send for Umem {}
// SAFETY: as above; the methods on `&Umem` touch the bytes of one frame, for which they ask a borrow
// of the token: shared for reading, exclusive for writing.
unsafe impl Sync for Umem {}

impl Umem {
    /// Maps a region of `frames` frames, all of them owned by the program: their tokens are the second
    /// part of the result.
    ///
    /// With `huge_pages` the region is backed by pages of 2 MiB where the system has enough of them
    /// free (`vm.nr_hugepages`), else by ordinary pages; [`huge_pages`](Self::huge_pages) tells.
    ///
    /// # Errors
    ///
    /// What `mmap` says: `ENOMEM` above all. `InvalidInput` for no frames or too many to be counted.
    pub(crate) fn new(frames: u32, frame_size: FrameSize, huge_pages: bool) -> io::Result<(Self, Vec<Frame>)> {
        static NEXT_ID: AtomicU32 = AtomicU32::new(0);
        const HUGE_PAGE: usize = 2 << 20;

        let frame_size = frame_size.bytes();
        let wanted = (frames as usize).checked_mul(frame_size as usize).filter(|&length| length > 0);
        let Some(wanted) = wanted else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        let (base, length, huge_pages) = match huge_pages {
            true => {
                let rounded = wanted.next_multiple_of(HUGE_PAGE);
                match map(rounded, MapFlags::HUGETLB) {
                    Ok(base) => (base, rounded, true),
                    Err(_) => (map(wanted, MapFlags::empty())?, wanted, false),
                }
            }
            false => (map(wanted, MapFlags::empty())?, wanted, false),
        };
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let umem = Self {
            base,
            length,
            frame_size,
            frames,
            id,
            huge_pages,
            #[cfg(debug_assertions)]
            states: states::States::new(frames),
        };
        let tokens = (0..frames).map(|index| Frame { umem: id, index }).collect();
        Ok((umem, tokens))
    }

    /// The bytes of a frame.
    ///
    /// # Panics
    ///
    /// If `range` does not lie in the frame, or the frame belongs to another UMEM.
    pub(crate) fn bytes<'a>(&'a self, frame: &'a Frame, range: Range<usize>) -> &'a [u8] {
        let start = self.locate(frame, &range);
        // SAFETY: `locate` found the range inside the frame, which is inside the mapping; the token is
        // borrowed for 'a, so neither the kernel nor anybody else writes to the frame meanwhile.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), range.len()) }
    }

    /// The bytes of a frame, to write.
    ///
    /// # Panics
    ///
    /// As [`bytes`](Self::bytes).
    pub(crate) fn bytes_mut<'a>(&'a self, frame: &'a mut Frame, range: Range<usize>) -> &'a mut [u8] {
        let start = self.locate(frame, &range);
        // SAFETY: as in `bytes`, and the token is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), range.len()) }
    }

    /// As [`bytes`](Self::bytes), but the result does not borrow the token, so that the token can be
    /// moved while the bytes are being read.
    ///
    /// # Safety
    ///
    /// Until the end of 'a the token must exist and nobody may be able to write to the frame: it must
    /// neither be given to the kernel, nor put where somebody could take it for `bytes_mut`.
    pub(crate) unsafe fn bytes_apart<'a>(&'a self, frame: &Frame, range: Range<usize>) -> &'a [u8] {
        let start = self.locate(frame, &range);
        // SAFETY: `locate` found the range inside the mapping, which outlives 'a; that nobody writes
        // to it is what the caller promises.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), range.len()) }
    }

    /// Gives a frame to the kernel: what comes back is its address, for a ring.
    pub(crate) fn give_to_kernel(&self, frame: Frame, side: KernelSide) -> u64 {
        assert_eq!(frame.umem, self.id, "a frame of another UMEM");
        let index = frame.dissolve();
        #[cfg(debug_assertions)]
        self.states.give(index, side);
        #[cfg(not(debug_assertions))]
        let _ = side;
        u64::from(index) * u64::from(self.frame_size)
    }

    /// Takes a frame back: the token, and where in the frame `address` points.
    ///
    /// `None` for an address outside of the UMEM, which the kernel never gives.
    ///
    /// # Safety
    ///
    /// `address` must have been read from the ring by which the kernel gives frames of that `side`
    /// back, and each entry of the ring may be taken once only: a second token for the same frame
    /// would be a second owner of its bytes.
    pub(crate) unsafe fn take_from_kernel(&self, address: u64, side: KernelSide) -> Option<(Frame, usize)> {
        let frame_size = u64::from(self.frame_size);
        let index = u32::try_from(address / frame_size).ok().filter(|&index| index < self.frames)?;
        #[cfg(debug_assertions)]
        self.states.take(index, side);
        #[cfg(not(debug_assertions))]
        let _ = side;
        Some((Frame { umem: self.id, index }, (address % frame_size) as usize))
    }

    /// Ends a token for good, when the whole UMEM goes away.
    pub(crate) fn retire(&self, frame: Frame) {
        assert_eq!(frame.umem, self.id, "a frame of another UMEM");
        frame.dissolve();
    }

    /// Size of a frame in bytes.
    pub(crate) fn frame_size(&self) -> u32 {
        self.frame_size
    }

    /// How many frames there are.
    pub(crate) fn frames(&self) -> u32 {
        self.frames
    }

    /// Length of the region that is registered with the kernel, in bytes.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Start of the region, to register it.
    pub(crate) fn address(&self) -> u64 {
        self.base.as_ptr().expose_provenance() as u64
    }

    /// Whether the region is made of huge pages.
    pub(crate) fn huge_pages(&self) -> bool {
        self.huge_pages
    }

    fn locate(&self, frame: &Frame, range: &Range<usize>) -> NonNull<u8> {
        assert_eq!(frame.umem, self.id, "a frame of another UMEM");
        assert!(
            range.start <= range.end && range.end <= self.frame_size as usize,
            "{range:?} is not inside a frame of {} bytes",
            self.frame_size
        );
        let offset = frame.index as usize * self.frame_size as usize + range.start;
        // SAFETY: a token's index is below `frames`, so the offset is inside the mapping.
        unsafe { self.base.add(offset) }
    }
}

impl fmt::Debug for Umem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Umem")
            .field("frames", &self.frames)
            .field("frame_size", &self.frame_size)
            .field("huge_pages", &self.huge_pages)
            .finish_non_exhaustive()
    }
}

impl Drop for Umem {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length, and every borrow of it borrows the
        // `Umem`. The kernel holds its pages by itself as long as a socket uses them.
        if let Err(error) = unsafe { munmap(self.base.as_ptr().cast(), self.length) } {
            tracing::error!(%error, "the memory of the AF_XDP frames could not be given back");
        }
    }
}

fn map(length: usize, flags: MapFlags) -> io::Result<NonNull<u8>> {
    // SAFETY: a fresh mapping at an address of the kernel's choice disturbs nobody.
    let base = unsafe {
        mmap_anonymous(
            ptr::null_mut(),
            length,
            ProtFlags::READ | ProtFlags::WRITE,
            // Populated at once: the kernel pins every page when the region is registered anyway.
            MapFlags::PRIVATE | MapFlags::POPULATE | flags,
        )?
    };
    NonNull::new(base.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))
}

/// Who owns which frame, as far as debug builds check it.
#[cfg(debug_assertions)]
mod states {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::KernelSide;

    const PROGRAM: u8 = 0;

    pub(super) struct States(Box<[AtomicU8]>);

    impl States {
        pub(super) fn new(frames: u32) -> Self {
            Self((0..frames).map(|_| AtomicU8::new(PROGRAM)).collect())
        }

        pub(super) fn give(&self, index: u32, side: KernelSide) {
            let before = self.0[index as usize].swap(side as u8, Ordering::AcqRel);
            assert_eq!(before, PROGRAM, "frame {index} was given to the kernel twice");
        }

        pub(super) fn take(&self, index: u32, side: KernelSide) {
            let before = self.0[index as usize].swap(PROGRAM, Ordering::AcqRel);
            assert_eq!(before, side as u8, "the kernel gave frame {index} back, which it did not have ({side:?})");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn umem(frames: u32) -> (Umem, Vec<Frame>) {
        Umem::new(frames, FrameSize::TwoKiB, false).expect("a few pages")
    }

    fn retire_all(umem: &Umem, frames: Vec<Frame>) {
        for frame in frames {
            umem.retire(frame);
        }
    }

    #[test]
    fn frames_do_not_overlap() {
        let (umem, mut frames) = umem(16);
        for (value, frame) in (0..).zip(&mut frames) {
            umem.bytes_mut(frame, 0..2048).fill(value);
        }
        for (value, frame) in (0..).zip(&frames) {
            assert!(umem.bytes(frame, 0..2048).iter().all(|&byte| byte == value));
        }
        retire_all(&umem, frames);
    }

    #[test]
    fn the_kernel_gives_back_what_it_got() {
        let (umem, mut frames) = umem(4);
        let frame = frames.pop().expect("four");
        let address = umem.give_to_kernel(frame, KernelSide::Receive);
        assert_eq!(address, 3 * 2048);
        // SAFETY: the frame was given away just now, and comes back once.
        let (frame, offset) =
            unsafe { umem.take_from_kernel(address + 256, KernelSide::Receive) }.expect("an address inside");
        assert_eq!(offset, 256);
        frames.push(frame);
        retire_all(&umem, frames);
    }

    #[test]
    fn an_address_outside_is_refused() {
        let (umem, frames) = umem(4);
        for address in [4 * 2048, u64::MAX] {
            // SAFETY: no frame has that address, so no token is made.
            let taken = unsafe { umem.take_from_kernel(address, KernelSide::Receive) };
            assert!(taken.is_none());
        }
        retire_all(&umem, frames);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "which it did not have")]
    fn a_frame_that_the_kernel_did_not_have_is_noticed() {
        let (umem, mut frames) = umem(1);
        let frame = frames.pop().expect("one");
        let address = umem.give_to_kernel(frame, KernelSide::Transmit);
        // SAFETY: the call panics before it makes a token.
        let _ = unsafe { umem.take_from_kernel(address, KernelSide::Receive) };
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "instead of going home")]
    fn a_lost_frame_is_noticed() {
        let (_umem, mut frames) = umem(1);
        drop(frames.pop());
    }

    #[test]
    #[should_panic(expected = "another UMEM")]
    fn a_token_opens_only_its_own_memory() {
        let (one, frames) = umem(1);
        let (other, more) = umem(1);
        retire_all(&other, more);
        let _ = &one;
        let _ = other.bytes(&frames[0], 0..1);
    }

    #[test]
    #[should_panic(expected = "is not inside a frame")]
    fn a_range_beyond_the_frame_is_refused() {
        let (umem, frames) = umem(2);
        let _ = umem.bytes(&frames[0], 2000..2049);
    }

    #[test]
    fn no_frames_is_no_umem() {
        let error = Umem::new(0, FrameSize::FourKiB, false).expect_err("nothing to map");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
