//! Tasks that wait for a condition which a worker brings about.
//!
//! A [`WaitSet`] holds the wakers of the tasks that wait for one condition ("a message can be
//! read"). It costs one atomic load where nobody waits, which is the usual case under load; the
//! lock is taken only when a task goes to sleep or is woken. It does not belong to any runtime.
//!
//! The protocol between the two sides is the usual one of store, fence, load: the waker publishes
//! the condition and then looks whether anybody waits; the waiter announces itself and then looks
//! at the condition again. One of the two sees the other.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use smallvec::SmallVec;

/// The tasks that wait for one condition.
#[derive(Debug, Default)]
pub(crate) struct WaitSet {
    /// Whether `waiting` may hold somebody; read without the lock.
    armed: AtomicBool,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next_ticket: u64,
    tasks: Vec<(Ticket, Waker)>,
}

/// A place in a [`WaitSet`]; never used twice, so that a stale one cannot hit another task's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticket(u64);

/// Where a task that polls by hand keeps its place in a [`WaitSet`].
#[derive(Debug, Default)]
pub(crate) struct Place(Option<Ticket>);

impl WaitSet {
    /// Wakes every task that waits. Call it after the condition has been published.
    pub(crate) fn wake_all(&self) {
        fence(Ordering::SeqCst);
        if !self.armed.load(Ordering::Relaxed) {
            return;
        }
        // The wakers run outside the lock: a waker may poll its task at once, which may wait again.
        let tasks: SmallVec<[Waker; 4]> = {
            let mut waiting = self.lock();
            self.armed.store(false, Ordering::Relaxed);
            waiting.tasks.drain(..).map(|(_, waker)| waker).collect()
        };
        for task in tasks {
            task.wake();
        }
    }

    /// A future that is ready when `attempt` is. `attempt` is called at each poll, and once more
    /// after the task has been entered in the set.
    ///
    /// Cancel-safe as far as `attempt` is: dropping the future takes its task out of the set.
    pub(crate) fn until<T, F>(&self, attempt: F) -> Until<'_, F>
    where
        F: FnMut() -> Poll<T> + Unpin,
    {
        Until { set: self, place: Place::default(), attempt }
    }

    /// The same for types that are polled by hand and keep their place in `place`. Whoever does not
    /// poll on until it is ready calls [`WaitSet::forget`].
    pub(crate) fn poll<T>(
        &self,
        place: &mut Place,
        context: &mut Context<'_>,
        mut attempt: impl FnMut() -> Poll<T>,
    ) -> Poll<T> {
        if let Poll::Ready(value) = attempt() {
            return Poll::Ready(value);
        }
        self.enter(&mut place.0, context.waker());
        attempt()
    }

    /// Takes the task out of the set.
    pub(crate) fn forget(&self, place: &mut Place) {
        if let Some(ticket) = place.0.take() {
            self.leave(ticket);
        }
    }

    fn enter(&self, ticket: &mut Option<Ticket>, waker: &Waker) {
        let mut waiting = self.lock();
        let known = ticket.and_then(|ticket| waiting.tasks.iter_mut().find(|(t, _)| *t == ticket));
        match known {
            Some((_, present)) => present.clone_from(waker),
            None => {
                let new = Ticket(waiting.next_ticket);
                waiting.next_ticket += 1;
                waiting.tasks.push((new, waker.clone()));
                *ticket = Some(new);
            }
        }
        self.armed.store(true, Ordering::Relaxed);
        drop(waiting);
        fence(Ordering::SeqCst);
    }

    fn leave(&self, ticket: Ticket) {
        let mut waiting = self.lock();
        waiting.tasks.retain(|(t, _)| *t != ticket);
        if waiting.tasks.is_empty() {
            self.armed.store(false, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // A panic while the lock is held cannot leave the list half changed.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.lock().tasks.len()
    }
}

/// The future made by [`WaitSet::until`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Until<'a, F> {
    set: &'a WaitSet,
    place: Place,
    attempt: F,
}

impl<T, F> Future for Until<'_, F>
where
    F: FnMut() -> Poll<T> + Unpin,
{
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = self.get_mut();
        this.set.poll(&mut this.place, context, &mut this.attempt)
    }
}

impl<F> Drop for Until<'_, F> {
    fn drop(&mut self) {
        self.set.forget(&mut self.place);
    }
}

/// Runs a future on this thread, which sleeps while the future waits. For threads of our own.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, AtomicUsize};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn wakes_whoever_waits_once() {
        let set = WaitSet::default();
        let open = AtomicBool::new(false);
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let mut context = Context::from_waker(&waker);
        let ready = || if open.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending };
        let mut one = set.until(ready);
        let mut two = set.until(ready);
        assert!(Pin::new(&mut one).poll(&mut context).is_pending());
        assert!(Pin::new(&mut two).poll(&mut context).is_pending());
        assert!(Pin::new(&mut two).poll(&mut context).is_pending(), "a second poll keeps one place");
        assert_eq!(set.len(), 2);

        open.store(true, Ordering::Relaxed);
        set.wake_all();
        set.wake_all();
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
        assert!(Pin::new(&mut one).poll(&mut context).is_ready());
        assert!(Pin::new(&mut two).poll(&mut context).is_ready());
    }

    #[test]
    fn a_dropped_future_leaves_nothing_behind() {
        let set = WaitSet::default();
        let mut context = Context::from_waker(Waker::noop());
        let mut future = set.until(|| Poll::<()>::Pending);
        assert!(Pin::new(&mut future).poll(&mut context).is_pending());
        assert_eq!(set.len(), 1);
        drop(future);
        assert_eq!(set.len(), 0);
        assert!(!set.armed.load(Ordering::Relaxed));
    }

    #[test]
    fn no_wake_up_is_lost_between_threads() {
        // Each side waits for the other's step: a lost wake-up would hang the test.
        const STEPS: u32 = 2_000;
        let shared = Arc::new((AtomicU32::new(0), WaitSet::default(), WaitSet::default()));
        let other = {
            let shared = shared.clone();
            thread::spawn(move || {
                block_on(async {
                    for step in (1..STEPS).step_by(2) {
                        wait_for(&shared.0, &shared.1, step).await;
                        shared.0.store(step + 1, Ordering::Release);
                        shared.2.wake_all();
                    }
                });
            })
        };
        block_on(async {
            for step in (0..STEPS).step_by(2) {
                wait_for(&shared.0, &shared.2, step).await;
                shared.0.store(step + 1, Ordering::Release);
                shared.1.wake_all();
            }
            wait_for(&shared.0, &shared.2, STEPS).await;
        });
        other.join().expect("the other side ends");
    }

    async fn wait_for(value: &AtomicU32, set: &WaitSet, wanted: u32) {
        set.until(|| if value.load(Ordering::Acquire) == wanted { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}
