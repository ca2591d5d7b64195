//! A hierarchical timing wheel: when must which association be looked at?
//!
//! Each association has one entry, its earliest deadline; what is due there, it knows itself. Arming, disarming and expiry take
//! constant time, and asking for the next expiry a few bit operations, whatever the number of associations.
//!
//! Six levels of 64 slots, each level 64 times coarser than the one below. An entry lies in the level of the highest digit (to base
//! 64) in which its deadline differs from now; when the wheel gets there, it moves down or expires.

use crate::time::Instant;

/// 2^18 ns = 262 µs: the finest difference. Timers are late by up to this much, never early.
const TICK_BITS: u32 = 18;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 6;
/// The furthest deadline, in ticks from now (208 days). Later ones expire then; nobody minds being looked at for nothing.
const MAX_TICKS: u64 = (1 << (SLOT_BITS * LEVELS as u32)) - 1;
const NONE: u32 = u32::MAX;
/// The list of entries that have expired.
const EXPIRED: u16 = (LEVELS * SLOTS) as u16;
/// Not armed.
const IDLE: u16 = u16::MAX;

#[derive(Clone, Copy, Debug)]
struct Entry {
    tick: u64,
    next: u32,
    previous: u32,
    /// Which list it is in: level × 64 + slot, [`EXPIRED`] or [`IDLE`].
    list: u16,
}

impl Entry {
    const IDLE: Self = Self { tick: 0, next: NONE, previous: NONE, list: IDLE };
}

/// The wheel. Keys are small numbers: slots of the table of associations.
#[derive(Debug)]
pub(crate) struct TimerWheel {
    entries: Vec<Entry>,
    /// First entry of each list.
    heads: Box<[u32; LEVELS * SLOTS + 1]>,
    /// Which slots of a level are not empty.
    occupied: [u64; LEVELS],
    /// Everything up to this tick has been processed.
    now: u64,
}

impl TimerWheel {
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new(), heads: Box::new([NONE; LEVELS * SLOTS + 1]), occupied: [0; LEVELS], now: 0 }
    }

    /// Arms `key` for `deadline`, whatever it was armed for before.
    pub(crate) fn arm(&mut self, key: u32, deadline: Instant) {
        let at = key as usize;
        if at >= self.entries.len() {
            self.entries.resize(at + 1, Entry::IDLE);
        }
        self.unlink(key);
        let tick = deadline.as_nanos().div_ceil(1 << TICK_BITS).min(self.now + MAX_TICKS);
        self.insert(key, tick);
    }

    /// Disarms `key`.
    pub(crate) fn disarm(&mut self, key: u32) {
        if (key as usize) < self.entries.len() {
            self.unlink(key);
        }
    }

    /// Whether `key` will expire by `deadline`.
    pub(crate) fn is_armed_by(&self, key: u32, deadline: Instant) -> bool {
        self.entries
            .get(key as usize)
            .is_some_and(|entry| entry.list != IDLE && entry.tick <= deadline.as_nanos().div_ceil(1 << TICK_BITS))
    }

    /// When something expires, or when the wheel must be turned to find out: no later than the earliest deadline.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        if self.heads[usize::from(EXPIRED)] != NONE {
            return Some(Instant::from_nanos(self.now << TICK_BITS));
        }
        self.next_slot().map(|(_, tick)| Instant::from_nanos(tick << TICK_BITS))
    }

    /// Takes out a key whose deadline has come; `None` when there is none left.
    pub(crate) fn pop_expired(&mut self, now: Instant) -> Option<u32> {
        let target = now.as_nanos() >> TICK_BITS;
        loop {
            let key = self.heads[usize::from(EXPIRED)];
            if key != NONE {
                self.unlink(key);
                return Some(key);
            }
            match self.next_slot() {
                Some((list, tick)) if tick <= target => self.turn(list, tick),
                _ => {
                    self.now = self.now.max(target);
                    return None;
                }
            }
        }
    }

    /// Moves the entries of a slot that has been reached: down a level, or to those that have expired.
    fn turn(&mut self, list: u16, tick: u64) {
        self.now = self.now.max(tick);
        loop {
            let key = self.heads[usize::from(list)];
            if key == NONE {
                return;
            }
            self.unlink(key);
            let tick = self.entries[key as usize].tick;
            self.insert(key, tick);
        }
    }

    /// The slot that is reached next, and when.
    fn next_slot(&self) -> Option<(u16, u64)> {
        // What is in a lower level comes before everything in a higher one.
        let level = self.occupied.iter().position(|occupied| *occupied != 0)?;
        let shift = SLOT_BITS * level as u32;
        let current = (self.now >> shift) & (SLOTS as u64 - 1);
        // Slots behind the current one belong to the next turn of this level.
        let ahead = self.occupied[level].rotate_right(current as u32).trailing_zeros();
        let slot = (current as u32 + ahead) as usize % SLOTS;
        let tick = ((self.now >> shift) + u64::from(ahead)) << shift;
        Some(((level * SLOTS + slot) as u16, tick))
    }

    fn insert(&mut self, key: u32, tick: u64) {
        let list = if tick <= self.now {
            EXPIRED
        } else {
            let level = ((63 - (tick ^ self.now).leading_zeros()) / SLOT_BITS).min(LEVELS as u32 - 1);
            let slot = (tick >> (SLOT_BITS * level)) as usize % SLOTS;
            self.occupied[level as usize] |= 1 << slot;
            (level as usize * SLOTS + slot) as u16
        };
        let head = &mut self.heads[usize::from(list)];
        let next = *head;
        *head = key;
        self.entries[key as usize] = Entry { tick, next, previous: NONE, list };
        if next != NONE {
            self.entries[next as usize].previous = key;
        }
    }

    fn unlink(&mut self, key: u32) {
        let Entry { next, previous, list, .. } = self.entries[key as usize];
        if list == IDLE {
            return;
        }
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
        if previous != NONE {
            self.entries[previous as usize].next = next;
        } else {
            self.heads[usize::from(list)] = next;
            if next == NONE && list != EXPIRED {
                self.occupied[usize::from(list) / SLOTS] &= !(1 << (usize::from(list) % SLOTS));
            }
        }
        self.entries[key as usize].list = IDLE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn expires_in_time_and_order() {
        let mut wheel = TimerWheel::new();
        let millis = [3_u64, 200, 40, 5_000, 60_000, 3_600_000, 1, 0];
        for (key, at) in millis.iter().enumerate() {
            wheel.arm(key as u32, Instant::from_millis(*at));
        }
        let mut expired = Vec::new();
        while let Some(next) = wheel.next_expiry() {
            while let Some(key) = wheel.pop_expired(next) {
                let late = next - Instant::from_millis(millis[key as usize]);
                assert!(next >= Instant::from_millis(millis[key as usize]), "never early");
                assert!(late.as_nanos() <= 1 << TICK_BITS);
                expired.push(key);
            }
        }
        assert_eq!(expired, [7, 6, 0, 2, 1, 3, 4, 5]);
    }

    #[test]
    fn disarmed_does_not_expire() {
        let mut wheel = TimerWheel::new();
        wheel.arm(0, Instant::from_millis(1));
        wheel.arm(1, Instant::from_millis(1));
        wheel.disarm(0);
        wheel.disarm(7);
        assert!(wheel.is_armed_by(1, Instant::from_millis(1)) && !wheel.is_armed_by(0, Instant::FAR_FUTURE));
        assert_eq!(wheel.pop_expired(Instant::from_millis(2)), Some(1));
        assert_eq!(wheel.pop_expired(Instant::FAR_FUTURE), None);
        assert_eq!(wheel.next_expiry(), None);
    }

    #[test]
    fn very_late_deadlines_are_looked_at_before() {
        let mut wheel = TimerWheel::new();
        wheel.arm(0, Instant::FAR_FUTURE);
        let next = wheel.next_expiry().unwrap();
        assert!(next > Instant::from_millis(86_400_000 * 200));
        assert_eq!(wheel.pop_expired(Instant::from_nanos(u64::MAX - 1)), Some(0));
    }

    proptest! {
        /// Against a list: nothing early, nothing lost, nothing more than a tick late.
        #[test]
        fn behaves_like_a_list(steps in prop::collection::vec((0_u32..20, 0_u64..1 << 40, 0_u64..1 << 36), 1..200)) {
            let mut wheel = TimerWheel::new();
            let mut model: [Option<u64>; 20] = [None; 20];
            let mut now = 0;
            for (key, delay, step) in steps {
                let deadline = now + delay;
                wheel.arm(key, Instant::from_nanos(deadline));
                model[key as usize] = Some(deadline);
                let earliest = model.iter().flatten().min().copied().unwrap();
                let rounded = earliest.div_ceil(1 << TICK_BITS) << TICK_BITS;
                prop_assert!(wheel.next_expiry().unwrap() <= Instant::from_nanos(rounded.max(now)));
                now += step;
                while let Some(key) = wheel.pop_expired(Instant::from_nanos(now)) {
                    let deadline = model[key as usize].take();
                    prop_assert!(deadline.is_some_and(|deadline| deadline <= now));
                }
                for deadline in model.iter().flatten() {
                    prop_assert!(deadline.div_ceil(1 << TICK_BITS) > now >> TICK_BITS, "lost");
                }
            }
        }
    }
}
