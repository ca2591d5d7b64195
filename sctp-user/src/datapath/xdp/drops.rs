//! Dropped packets as they are dropped.
//!
//! The programs show some of what they drop while somebody looks ([`sctp_common::sample`]). Each [`DropWatch`] says which reasons it wants;
//! the programs are told what any of them wants. There is no thread: whichever watch waits takes what is in the rings, and deals it
//! out to all.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use aya::maps::{Array, MapData, MapError, PerCpuArray, RingBuf};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};
use sctp_common::sample::{Sample, Sampling, Watch};
use sctp_common::verdict::DropReason;

/// A packet that a program dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DroppedPacket {
    /// When it was dropped.
    pub time: SystemTime,
    /// The kernel's number of the interface that it came by.
    pub interface: u32,
    /// The queue of that interface.
    pub queue: u32,
    /// Why it was dropped.
    pub reason: DropReason,
    /// Bytes of the frame.
    pub length: u32,
    /// The first of them, at most [`CAPTURED`](sctp_common::sample::CAPTURED).
    pub frame: Vec<u8>,
}

/// Shows packets that the programs drop, from the moment when it is made.
///
/// It has to be asked at least every second, else it misses some; what it has missed is counted. The programs go on without
/// sampling soon after the last watch has gone.
pub struct DropWatch {
    drops: Arc<Drops>,
    id: u64,
    rings: Vec<OwnedFd>,
    /// What had been left out before.
    left_out_before: u64,
}

/// What all watches of a stack share.
pub(super) struct Drops {
    state: Mutex<State>,
}

struct State {
    programs: Vec<DropSource>,
    watchers: Vec<Watcher>,
    next_id: u64,
    /// Until when the programs have been told to sample.
    until: u64,
}

/// One program's maps.
pub(super) struct DropSource {
    pub(super) watch: Array<MapData, [u8; Watch::SIZE]>,
    pub(super) ring: RingBuf<MapData>,
    pub(super) sampling: PerCpuArray<MapData, [u8; Sampling::SIZE]>,
}

struct Watcher {
    id: u64,
    reasons: u64,
    waiting: VecDeque<DroppedPacket>,
    /// Packets for which there was no room.
    missed: u64,
}

impl Drops {
    pub(super) fn new(programs: Vec<DropSource>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { programs, watchers: Vec::new(), next_id: 0, until: 0 }) })
    }

    /// Begins to watch drops for these reasons; for all, if none is named.
    pub(super) fn watch(self: &Arc<Self>, reasons: &[DropReason]) -> io::Result<DropWatch> {
        let reasons = if reasons.is_empty() { DropReason::ALL } else { reasons };
        let reasons = reasons.iter().fold(0, |all, reason| all | Watch::bit(*reason));
        let mut state = self.state();
        let rings = state.programs.iter().map(|program| program.ring.as_fd().try_clone_to_owned());
        let rings = rings.collect::<io::Result<_>>()?;
        // What others have not read yet is from before.
        state.take()?;
        let id = state.next_id;
        state.next_id += 1;
        state.watchers.push(Watcher { id, reasons, waiting: VecDeque::new(), missed: 0 });
        let left_out_before = state.left_out()?;
        state.tell(monotonic())?;
        drop(state);
        Ok(DropWatch { drops: self.clone(), id, rings, left_out_before })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic in between leaves at worst a packet that nobody is shown.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DropWatch {
    /// The next packet; `None` if there is none for as long as `patience`.
    ///
    /// # Errors
    ///
    /// What the kernel says when a map cannot be read or written.
    pub fn next(&mut self, patience: Duration) -> io::Result<Option<DroppedPacket>> {
        let deadline = Instant::now() + patience;
        loop {
            let mut state = self.drops.state();
            let now = monotonic();
            if state.until < now + RENEW {
                state.tell(now)?;
            }
            state.take()?;
            let mine = state.watchers.iter_mut().find(|watcher| watcher.id == self.id);
            if let Some(packet) = mine.and_then(|watcher| watcher.waiting.pop_front()) {
                return Ok(Some(packet));
            }
            drop(state);
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            // Not for longer, because another watch may be the one that takes what comes.
            let limit = left.min(SHARED);
            let mut watched: Vec<_> = self.rings.iter().map(|ring| PollFd::new(ring, PollFlags::IN)).collect();
            let limit = Timespec { tv_sec: 0, tv_nsec: i64::from(limit.subsec_nanos()) };
            match poll(&mut watched, Some(&limit)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// How many packets that were wanted, by this watch or another, have not been shown since this one began: there were too many at a
    /// time.
    ///
    /// # Errors
    ///
    /// What the kernel says when a map cannot be read.
    pub fn left_out(&self) -> io::Result<u64> {
        let state = self.drops.state();
        let missed = state.watchers.iter().find(|watcher| watcher.id == self.id).map_or(0, |watcher| watcher.missed);
        Ok(state.left_out()?.saturating_sub(self.left_out_before) + missed)
    }
}

impl Drop for DropWatch {
    fn drop(&mut self) {
        let mut state = self.drops.state();
        state.watchers.retain(|watcher| watcher.id != self.id);
        // Should it fail, the programs stop by themselves when the time is over.
        if let Err(error) = state.tell(monotonic()) {
            tracing::debug!(%error, "the XDP programs go on sampling for a moment");
        }
    }
}

impl State {
    /// Tells the programs what is wanted, and until when.
    fn tell(&mut self, now: u64) -> io::Result<()> {
        let reasons = self.watchers.iter().fold(0, |all, watcher| all | watcher.reasons);
        self.until = if self.watchers.is_empty() { 0 } else { now + LEASE };
        let watch = Watch { until: self.until, reasons };
        self.programs.iter_mut().try_for_each(|program| program.watch.set(0, watch.to_bytes(), 0)).map_err(map_error)
    }

    /// Takes what is in the rings and deals it out.
    fn take(&mut self) -> io::Result<()> {
        // The programs' clock does not stop when the wall's is set; the two are compared at each batch.
        let ahead = u128::from(monotonic());
        let now = SystemTime::now();
        for program in &mut self.programs {
            while let Some(bytes) = program.ring.next() {
                let Some(sample) = Sample::from_bytes(&bytes) else { continue };
                let Some(reason) = sample.reason() else { continue };
                let age = ahead.saturating_sub(u128::from(sample.time)) as u64;
                let packet = DroppedPacket {
                    time: now - Duration::from_nanos(age),
                    interface: sample.interface,
                    queue: sample.queue,
                    reason,
                    length: sample.length,
                    frame: sample.bytes().to_vec(),
                };
                for watcher in self.watchers.iter_mut().filter(|watcher| watcher.reasons & Watch::bit(reason) != 0) {
                    if watcher.waiting.len() < WAITING {
                        watcher.waiting.push_back(packet.clone());
                    } else {
                        watcher.missed += 1;
                    }
                }
            }
        }
        Ok(())
    }

    /// What the programs have left out since they were loaded.
    fn left_out(&self) -> io::Result<u64> {
        let mut sum = 0;
        for program in &self.programs {
            let per_cpu = program.sampling.get(&0, 0).map_err(map_error)?;
            sum += per_cpu.iter().map(|bytes| Sampling::from_bytes(*bytes).left_out).sum::<u64>();
        }
        Ok(sum)
    }
}

impl fmt::Debug for DropWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DropWatch").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The programs' clock, in nanoseconds.
fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn map_error(error: MapError) -> io::Error {
    match error {
        MapError::SyscallError(error) => error.io_error,
        error => io::Error::other(error),
    }
}

/// How long the programs sample without being told again, in nanoseconds.
const LEASE: u64 = 3_000_000_000;
/// They are told again when less than this is left of it, in nanoseconds.
const RENEW: u64 = 2_000_000_000;
/// Packets that may wait for one watch.
const WAITING: usize = 4096;
/// How long a watch sleeps at most, below a second.
const SHARED: Duration = Duration::from_millis(50);
