//! How other threads wake a worker that sleeps in [`Link::wait`](super::Link::wait).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

/// Wakes the worker that owns a link. Any thread may; clones wake the same worker.
///
/// Waking a worker that is awake costs one atomic operation and makes its next
/// [`wait`](super::Link::wait) return at once; many calls count as one.
#[derive(Clone, Debug)]
pub struct LinkWaker {
    bell: Arc<Bell>,
}

impl LinkWaker {
    /// Wakes the worker, or keeps it from falling asleep the next time.
    ///
    /// What was written before the call is seen by the worker after its `wait`.
    pub fn wake(&self) {
        if self.bell.state.swap(RUNG, Ordering::AcqRel) == ASLEEP {
            // It cannot fail but by an overflow of the counter, and then the sleeper is awake.
            let _ = rustix::io::write(&self.bell.event, &1u64.to_ne_bytes());
        }
    }
}

/// The sleeper's side.
#[derive(Debug)]
pub(crate) struct Sleeper {
    bell: Arc<Bell>,
}

#[derive(Debug)]
struct Bell {
    state: AtomicU8,
    event: OwnedFd,
}

/// The worker runs; who wakes it has nothing to do but to say so.
const AWAKE: u8 = 0;
/// Somebody has woken the worker since it last woke up.
const RUNG: u8 = 1;
/// The worker is in a system call, or about to be, and must be woken through the event.
const ASLEEP: u8 = 2;

impl Sleeper {
    pub(crate) fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { bell: Arc::new(Bell { state: AtomicU8::new(AWAKE), event }) })
    }

    pub(crate) fn waker(&self) -> LinkWaker {
        LinkWaker { bell: self.bell.clone() }
    }

    /// Announces that the worker goes to sleep; `false` if somebody has woken it already, and it must
    /// not. After `true` it has to watch [`event`](Self::event), and to call
    /// [`awake`](Self::awake) when it wakes up.
    pub(crate) fn fall_asleep(&self) -> bool {
        let asleep = self.bell.state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire);
        if asleep.is_err() {
            self.bell.state.swap(AWAKE, Ordering::AcqRel);
        }
        asleep.is_ok()
    }

    /// Announces that the worker is awake again. `rung`: the event was found readable.
    pub(crate) fn awake(&self, rung: bool) {
        self.bell.state.swap(AWAKE, Ordering::AcqRel);
        if rung {
            let mut counter = [0; 8];
            // Nothing to read is as good: the next sleep ends early, once.
            let _ = rustix::io::read(&self.bell.event, &mut counter);
        }
    }

    /// Readable when somebody wakes the worker while it sleeps.
    pub(crate) fn event(&self) -> BorrowedFd<'_> {
        self.bell.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::thread;
    use std::time::{Duration, Instant};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    /// Sleeps as links do; returns whether it was woken.
    fn sleep(sleeper: &Sleeper, limit: Duration) -> bool {
        if !sleeper.fall_asleep() {
            return true;
        }
        let timeout = Timespec::try_from(limit).expect("a short time");
        let mut fds = [PollFd::new(&sleeper.bell.event, PollFlags::IN)];
        let rung = poll(&mut fds, Some(&timeout)).expect("poll works") > 0;
        sleeper.awake(rung);
        rung
    }

    #[test]
    fn waking_beforehand_keeps_from_sleeping_once() {
        let sleeper = Sleeper::new().expect("an eventfd");
        let waker = sleeper.waker();
        waker.wake();
        waker.clone().wake();
        assert!(sleep(&sleeper, Duration::from_secs(60)));
        assert!(!sleep(&sleeper, Duration::from_millis(1)), "many calls count as one");
    }

    #[test]
    fn a_sleeper_is_woken_by_another_thread() {
        let sleeper = Sleeper::new().expect("an eventfd");
        let waker = sleeper.waker();
        let thread = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            waker.wake();
        });
        let start = Instant::now();
        assert!(sleep(&sleeper, Duration::from_secs(60)));
        assert!(start.elapsed() < Duration::from_secs(30));
        thread.join().expect("the thread ends");
        assert!(!sleep(&sleeper, Duration::from_millis(1)), "the event was read");
    }

    #[test]
    fn no_wake_up_is_lost() {
        const STEPS: u64 = 20_000;
        let step = Arc::new(AtomicU64::new(0));
        let (here, there) = (Sleeper::new().expect("an eventfd"), Sleeper::new().expect("an eventfd"));
        let (wake_here, wake_there) = (here.waker(), there.waker());
        let other = {
            let step = step.clone();
            thread::spawn(move || turns(&step, 1, STEPS, &there, &wake_here))
        };
        turns(&step, 0, STEPS, &here, &wake_there);
        other.join().expect("the other side ends");
    }

    /// Takes every second step, and waits for the other side's.
    fn turns(step: &AtomicU64, first: u64, steps: u64, sleeper: &Sleeper, other: &LinkWaker) {
        for mine in (first..steps).step_by(2) {
            while step.load(Ordering::Acquire) != mine {
                assert!(
                    sleep(sleeper, Duration::from_secs(20)) || step.load(Ordering::Acquire) == mine,
                    "a wake-up was lost"
                );
            }
            step.store(mine + 1, Ordering::Release);
            other.wake();
        }
    }
}
