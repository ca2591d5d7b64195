//! CUBIC (RFC 9438) over the slow start, the timeout and the idle decay of RFC 9260 §7.2.
//!
//! After a congestion event the window follows a cubic function of the time since congestion avoidance began,
//!
//! ```text
//! W_cubic(t) = C × (t − K)³ + W_max        K = ∛((W_max − cwnd_epoch) / C)        C = 0.4
//! ```
//!
//! in segments and seconds: fast up to where the last loss was (W_max), slowly around it, then faster and faster. Where this is
//! slower than what NewReno would do, which is so on short paths, the window follows an estimate of NewReno instead (W_est).
//!
//! Everything is in integers, so that the same SACKs give the same windows on every machine: bytes and milliseconds, and the
//! remainder of a division is kept for the next. A segment is PMDCS, a "new ACK" a SACK that newly acknowledges something.
//!
//! Section by section of RFC 9438:
//!
//! | § | | |
//! |---|---|---|
//! | 4.1 | constants, variables | as there; sizes in bytes |
//! | 4.2 | W_cubic, K, target | as there: cwnd ≤ target ≤ 1.5 cwnd; t leaves out what is application-limited |
//! | 4.3 | Reno-friendly region | as there, with bytes acknowledged for segments_acked; α is 9/17, and 1 from cwnd_prior on. A window that is above W_est already, because it aims a round trip ahead, is not lowered to it |
//! | 4.4, 4.5 | concave, convex | as there, (target − cwnd) / cwnd for each segment acknowledged |
//! | 4.6 | decrease | β = 0.7 of cwnd, not of what is in flight; so the window does not grow while it is not in full use, as is required then. **Not followed:** the floor is 4 PMDCS (RFC 9260 §7.2.3) instead of 2 segments, and 1 on ECN: that document rules for SCTP, and fewer packets make no three miss indications |
//! | 4.7 | fast convergence | as there, always on: who else is on the path is not known |
//! | 4.8 | timeout | as there; cwnd is 1 PMDCS (RFC 9260 §7.2.3), W_max, K and W_est begin anew with congestion avoidance |
//! | 4.9 | spurious events | **not followed** (all of it is MAY): a SACK does not say which transmission of a chunk it acknowledges |
//! | 4.10 | slow start | that of RFC 9260 §7.2.1. **Not followed:** HyStart++ (SHOULD) decides by eight round-trip samples in a round, of which SCTP takes one (RFC 9260 §6.3.1 C4). Left without a loss, by idle decay say, it begins the function at its inflection |
//! | 5.8 | application-limited | as there |

use super::{Acknowledged, Controller, MAX_WINDOW, SLOW_START_PACKETS, initial_window};
use crate::time::Instant;

/// beta_cubic: what is left of the window after congestion, as a fraction.
const BETA: (u32, u32) = (7, 10);

/// C = 0.4 segments per second cubed, as a fraction.
const C: (u64, u64) = (4, 10);

/// alpha_cubic = 3 × (1 − beta) / (1 + beta): segments per round trip with which additive increase after a decrease to beta
/// reaches NewReno's average window.
const ALPHA: (u64, u64) = (9, 17);

/// W_est is kept in fractions of a byte: it grows by less than one for small SACKs.
const EST_SCALE: u64 = 256;

/// Most milliseconds that `t − K` is taken for: the cube fits 64 bits, and the window has reached its limit long before.
const MAX_MILLIS: u64 = 2_000_000;

/// State of one path. Sizes in bytes.
#[derive(Debug)]
pub(crate) struct Cubic {
    window: u32,
    threshold: u32,
    max_chunk: u32,
    /// Where the window is to level off (W_max); `None` before the first congestion event.
    max: Option<u32>,
    /// The window before the last reduction (cwnd_prior): W_est grows as NewReno does once it is reached.
    prior: u32,
    /// The last congestion event was a timeout: the next epoch begins at the inflection point (RFC 9438 §4.8).
    after_timeout: bool,
    epoch: Option<Epoch>,
}

/// A stretch of congestion avoidance.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    /// t = 0. Moved on by the time in which the window was not used.
    start: Instant,
    /// Since when the window is not being used.
    unused_since: Option<Instant>,
    /// K, in milliseconds.
    k: u64,
    /// W_max of this epoch.
    max: u32,
    /// W_est, in 1/[`EST_SCALE`] of a byte.
    estimate: u64,
    /// What the last growth left over: less than the window, in bytes × bytes.
    remainder: u64,
}

impl Cubic {
    /// A new path.
    pub(crate) fn new(max_chunk: u32, is_ipv4: bool) -> Self {
        Self {
            window: initial_window(max_chunk, is_ipv4),
            threshold: MAX_WINDOW,
            max_chunk,
            max: None,
            prior: 0,
            after_timeout: false,
            epoch: None,
        }
    }

    /// What a congestion event of either kind does to ssthresh and W_max.
    fn note_congestion(&mut self) {
        let window = self.window;
        // Fast convergence (RFC 9438 §4.7): the capacity has shrunk, so somebody else is there; make room.
        let shrunk = self.max.is_some_and(|max| window < max);
        let (beta, whole) = BETA;
        self.max = Some(if shrunk { scaled(window, whole + beta, 2 * whole) } else { window });
        self.prior = window;
        // The floor is that of RFC 9260 §7.2.3, above the two segments of RFC 9438: fewer than four packets in flight cannot make
        // three miss indications.
        self.threshold = scaled(window, beta, whole).max(4 * self.max_chunk);
        self.epoch = None;
    }

    /// Congestion avoidance begins (RFC 9438 §4.2).
    fn begin(&self, now: Instant) -> Epoch {
        let window = self.window;
        // After a timeout K is 0 and W_max the window; so it is if slow start ended without a congestion event, or beyond W_max.
        let max = self.max.filter(|max| *max > window && !self.after_timeout).unwrap_or(window);
        Epoch {
            start: now,
            unused_since: None,
            k: time_to(max - window, self.max_chunk),
            max,
            estimate: u64::from(window) * EST_SCALE,
            remainder: 0,
        }
    }

    /// Congestion avoidance: a SACK for `bytes`, with the window in full use.
    fn avoid(&mut self, bytes: u32, now: Instant, srtt: u64) {
        let mut epoch = match self.epoch {
            Some(epoch) => epoch,
            None => self.begin(now),
        };
        if core::mem::take(&mut self.after_timeout) {
            // W_max for the next congestion event, too (§4.8): what was before the timeout tells nothing of fast convergence.
            self.max = Some(epoch.max);
        }
        if let Some(since) = epoch.unused_since.take() {
            // t does not include the time in which the application, not the window, was the limit (RFC 9438 §5.8).
            epoch.start += now - since;
        }
        let (window, segment) = (u64::from(self.window), u64::from(self.max_chunk));
        let t = millis(now - epoch.start);

        let (numerator, denominator) = if epoch.estimate < u64::from(self.prior) * EST_SCALE { ALPHA } else { (1, 1) };
        epoch.estimate += u64::from(bytes) * segment * numerator * EST_SCALE / (denominator * window);
        let estimate = (epoch.estimate / EST_SCALE).min(MAX_WINDOW.into()) as u32;

        if epoch.cubic(t, self.max_chunk) < estimate {
            // The Reno-friendly region (§4.3).
            self.window = self.window.max(estimate);
        } else {
            // The concave and convex regions (§4.4, §4.5): what the function gives a round trip from now, but at most half as much
            // again as there is.
            let ahead = epoch.cubic(t + srtt / 1_000_000, self.max_chunk);
            let target = u64::from(ahead).clamp(window, window + window / 2);
            let grown = (target - window) * u64::from(bytes) + epoch.remainder;
            epoch.remainder = grown % window;
            self.window = (window + grown / window).min(target.max(window)).min(MAX_WINDOW.into()) as u32;
        }
        self.epoch = Some(epoch);
    }
}

impl Epoch {
    /// W_cubic after `t` milliseconds, in bytes.
    fn cubic(&self, t: u64, segment: u32) -> u32 {
        let distance = t.abs_diff(self.k).min(MAX_MILLIS);
        // 0.4 × (ms / 1000)³ × segment; divided in two steps to stay within 64 bits.
        let cube = distance.pow(3) / 1_000_000;
        let delta = cube * C.0 * u64::from(segment) / (C.1 * 1000);
        let max = u64::from(self.max);
        let window = if t < self.k { max.saturating_sub(delta) } else { max.saturating_add(delta) };
        window.min(MAX_WINDOW.into()) as u32
    }
}

impl Controller for Cubic {
    fn window(&self) -> u32 {
        self.window
    }

    fn threshold(&self) -> u32 {
        self.threshold
    }

    fn on_acknowledged(&mut self, acknowledged: Acknowledged) {
        let Acknowledged { bytes, window_used, in_fast_recovery, all, now, srtt } = acknowledged;
        if window_used && !in_fast_recovery {
            if self.window <= self.threshold {
                let packets = if self.after_timeout { 1 } else { SLOW_START_PACKETS };
                self.window = (self.window + bytes.min(packets * self.max_chunk)).min(MAX_WINDOW);
            } else {
                self.avoid(bytes, now, srtt);
            }
        }
        // Without enough to send, the window does not grow later for the time that passes now.
        if (!window_used || all)
            && let Some(epoch) = &mut self.epoch
        {
            epoch.unused_since.get_or_insert(now);
        }
    }

    fn on_congestion(&mut self) {
        self.note_congestion();
        self.window = self.window.min(self.threshold);
        self.after_timeout = false;
    }

    fn on_timeout(&mut self) {
        self.note_congestion();
        self.window = self.max_chunk;
        self.after_timeout = true;
    }

    fn on_idle(&mut self, periods: u32) {
        if periods == 0 || self.window <= 4 * self.max_chunk {
            return;
        }
        // As RFC 9260 §7.2.1 has it; slow start leads back, and then a new epoch begins.
        self.threshold = self.window;
        self.window = (self.window >> periods.min(31)).max(4 * self.max_chunk);
        self.epoch = None;
    }

    fn set_max_chunk(&mut self, max_chunk: u32) {
        self.max_chunk = max_chunk;
        self.window = self.window.max(max_chunk);
    }
}

/// K in milliseconds: how long the function takes to grow by `bytes`, back to W_max.
fn time_to(bytes: u32, segment: u32) -> u64 {
    // ∛(bytes / segment / 0.4) in seconds is ∛(bytes × 10⁹ / (segment × 0.4)) in milliseconds.
    cube_root(u64::from(bytes) * (1_000_000_000 / C.0 * C.1) / u64::from(segment.max(1)))
}

/// `⌊∛value⌋`, bit by bit from the top.
fn cube_root(value: u64) -> u64 {
    let mut root = 0_u64;
    for bit in (0..22).rev() {
        let tried = root | 1 << bit;
        if tried.checked_pow(3).is_some_and(|cube| cube <= value) {
            root = tried;
        }
    }
    root
}

fn scaled(bytes: u32, numerator: u32, denominator: u32) -> u32 {
    (u64::from(bytes) * u64::from(numerator) / u64::from(denominator)) as u32
}

fn millis(duration: core::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
