//! Against RFC 9438's formulae in floating point, and its rules one by one.

use core::time::Duration;

use proptest::prelude::*;

use super::*;

const CHUNK: u32 = 1468;
const RTT: Duration = Duration::from_millis(100);

/// A path in congestion avoidance at `window` segments, `max` being where the last loss was.
fn avoiding(window: u32, max: u32) -> Cubic {
    let mut cubic = Cubic::new(CHUNK, true);
    cubic.window = max * CHUNK;
    cubic.on_congestion();
    cubic.window = window * CHUNK;
    cubic.threshold = cubic.window - 1;
    cubic
}

fn used(bytes: u32, now: Instant) -> Acknowledged {
    Acknowledged { bytes, window_used: true, in_fast_recovery: false, all: false, now, srtt: nanos(RTT) }
}

fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

/// Acknowledges whole windows, a packet at a time, for `rounds` round trips; gives the time afterwards.
fn rounds(cubic: &mut Cubic, mut now: Instant, rounds: u32, rtt: Duration) -> Instant {
    for _ in 0..rounds {
        let packets = cubic.window / CHUNK;
        for _ in 0..packets {
            now += rtt / packets;
            cubic.on_acknowledged(Acknowledged { srtt: nanos(rtt), ..used(CHUNK, now) });
        }
    }
    now
}

#[test]
fn congestion_leaves_seven_tenths() {
    let mut cubic = Cubic::new(CHUNK, true);
    cubic.window = 100 * CHUNK;
    cubic.on_congestion();
    assert_eq!((cubic.window, cubic.threshold, cubic.max), (70 * CHUNK, 70 * CHUNK, Some(100 * CHUNK)));
    // Never below four chunks (RFC 9260 §7.2.3), but never up to them either.
    cubic.window = 5 * CHUNK;
    cubic.on_congestion();
    assert_eq!(cubic.window, 4 * CHUNK);
    cubic.window = 3 * CHUNK;
    cubic.on_congestion();
    assert_eq!((cubic.window, cubic.threshold), (3 * CHUNK, 4 * CHUNK));
}

#[test]
fn fast_convergence_lowers_the_plateau() {
    let mut cubic = Cubic::new(CHUNK, true);
    cubic.window = 1000 * CHUNK;
    cubic.on_congestion();
    // Congestion again below the last W_max: (1 + beta) / 2 of the window.
    cubic.window = 800 * CHUNK;
    cubic.on_congestion();
    assert_eq!(cubic.max, Some(680 * CHUNK));
    // And at or above it: the window itself.
    cubic.window = 680 * CHUNK;
    cubic.on_congestion();
    assert_eq!(cubic.max, Some(680 * CHUNK));
}

/// RFC 9438 §4.2: concave up to W_max after K seconds, level there, convex beyond.
#[test]
fn window_follows_the_cubic_function() {
    let mut cubic = avoiding(700, 1000);
    let start = Instant::from_millis(5_000);
    cubic.on_acknowledged(used(CHUNK, start));
    let k = (300.0_f64 / 0.4).cbrt();
    let mut now = start;
    let mut worst: f64 = 0.0;
    while now < start + Duration::from_secs(20) {
        now = rounds(&mut cubic, now, 1, RTT);
        let t = (now - start).as_secs_f64();
        let expected = 0.4 * (t - k).powi(3) + 1000.0;
        let got = f64::from(cubic.window) / f64::from(CHUNK);
        // It aims a round trip ahead and gets there by and by, so it lags by about as much as the function moves in one.
        worst = worst.max((got - expected).abs() / expected);
    }
    assert!(worst < 0.025, "off by {:.2} %", worst * 100.0);
    assert!(cubic.window > 1400 * CHUNK, "well into the convex part");
}

#[test]
fn short_paths_follow_newreno() {
    // 10 ms, 20 segments: cubic growth would take seconds; additive increase by 9/17 of a segment per round trip does not.
    let mut cubic = avoiding(14, 20);
    let rtt = Duration::from_millis(10);
    let now = rounds(&mut cubic, Instant::from_millis(1), 11, rtt);
    let got = f64::from(cubic.window) / f64::from(CHUNK);
    assert!((got - (14.0 + 11.0 * 9.0 / 17.0)).abs() < 0.6, "{got}");
    // From where the window was before, a whole segment per round trip.
    rounds(&mut cubic, now, 10, rtt);
    let got = f64::from(cubic.window) / f64::from(CHUNK);
    assert!((28.0..=30.5).contains(&got), "{got}");
}

#[test]
fn slow_start_is_that_of_the_rfc() {
    let mut cubic = Cubic::new(CHUNK, true);
    assert_eq!(cubic.window(), 4404);
    cubic.on_acknowledged(used(1000, Instant::ORIGIN));
    assert_eq!(cubic.window(), 5404);
    cubic.on_acknowledged(used(100_000, Instant::ORIGIN));
    assert_eq!(cubic.window(), 5404 + 2 * CHUNK);
    for still in [
        Acknowledged { window_used: false, ..used(1000, Instant::ORIGIN) },
        Acknowledged { in_fast_recovery: true, ..used(1000, Instant::ORIGIN) },
    ] {
        cubic.on_acknowledged(still);
        assert_eq!(cubic.window(), 5404 + 2 * CHUNK);
    }
}

/// RFC 9438 §4.8: slow start to 0.7 of the window, and from there the convex half at once.
#[test]
fn after_a_timeout_the_function_begins_at_its_inflection() {
    let mut cubic = Cubic::new(CHUNK, true);
    cubic.window = 1000 * CHUNK;
    cubic.on_timeout();
    assert_eq!((cubic.window, cubic.threshold), (CHUNK, 700 * CHUNK));
    cubic.on_acknowledged(used(2 * CHUNK, Instant::ORIGIN));
    assert_eq!(cubic.window, 2 * CHUNK, "one chunk for a SACK while recovering");
    cubic.window = 701 * CHUNK;
    cubic.on_acknowledged(used(CHUNK, Instant::from_millis(1)));
    let epoch = cubic.epoch.unwrap();
    assert_eq!((epoch.k, epoch.max), (0, 701 * CHUNK));
}

/// RFC 9438 §4.8: W_max is where congestion avoidance began after the timeout, not where the window was before it: what is lost
/// next above that is no sign of fast convergence (§4.7).
#[test]
fn a_timeout_forgets_the_plateau() {
    let mut cubic = Cubic::new(CHUNK, true);
    cubic.window = 1000 * CHUNK;
    cubic.on_timeout();
    cubic.window = 701 * CHUNK;
    cubic.on_acknowledged(used(CHUNK, Instant::from_millis(1)));
    cubic.window = 800 * CHUNK;
    cubic.on_congestion();
    assert_eq!(cubic.max, Some(800 * CHUNK));
    // A loss in slow start, before congestion avoidance has begun, is judged by what was before.
    cubic.on_timeout();
    cubic.window = 400 * CHUNK;
    cubic.on_congestion();
    assert_eq!(cubic.max, Some(340 * CHUNK));
}

/// RFC 9438 §4.2: target is at most 1.5 times the window, and at least the window.
#[test]
fn the_target_is_bounded() {
    let start = Instant::from_millis(1000);
    // An hour beyond K the function is far above: a round trip brings half as much again, and no more.
    let mut cubic = avoiding(700, 701);
    cubic.on_acknowledged(used(CHUNK, start));
    let late = start + Duration::from_secs(3600);
    let before = cubic.window;
    cubic.on_acknowledged(used(before, late));
    assert_eq!(cubic.window, before + before / 2);
    // Where the function lies below the window, the window stays.
    let mut cubic = avoiding(700, 1000);
    cubic.on_acknowledged(used(CHUNK, start));
    cubic.window = 990 * CHUNK;
    cubic.on_acknowledged(used(100 * CHUNK, start + RTT));
    assert_eq!(cubic.window, 990 * CHUNK);
}

/// RFC 9438 §4.3: α is 1 "once W_est has grown to reach" cwnd_prior, which fast convergence does not lower as it does W_max.
#[test]
fn newreno_is_estimated_from_the_window_before_the_decrease() {
    let mut cubic = Cubic::new(CHUNK, true);
    cubic.window = 1000 * CHUNK;
    cubic.on_congestion();
    cubic.window = 20 * CHUNK;
    cubic.on_congestion();
    assert_eq!((cubic.max, cubic.prior), (Some(17 * CHUNK), 20 * CHUNK));
    cubic.threshold = cubic.window - 1;
    let growth = |cubic: &mut Cubic, estimate: u32| {
        cubic.on_acknowledged(used(0, Instant::from_millis(1)));
        let epoch = cubic.epoch.as_mut().unwrap();
        epoch.estimate = u64::from(estimate) * EST_SCALE;
        let window = cubic.window;
        cubic.on_acknowledged(used(window, Instant::from_millis(1)));
        cubic.epoch.unwrap().estimate / EST_SCALE - u64::from(estimate)
    };
    assert_eq!(growth(&mut cubic, 18 * CHUNK), u64::from(CHUNK) * 9 / 17, "above W_max, below cwnd_prior");
    assert_eq!(growth(&mut cubic, 20 * CHUNK), u64::from(CHUNK), "from cwnd_prior on");
}

/// RFC 9438 §4.10: slow start that ends without a loss leads into the convex half, as fast as NewReno at least.
#[test]
fn slow_start_can_end_without_a_loss() {
    let mut cubic = Cubic::new(CHUNK, true);
    cubic.window = 100 * CHUNK;
    cubic.threshold = 99 * CHUNK;
    cubic.on_acknowledged(used(CHUNK, Instant::from_millis(1)));
    let epoch = cubic.epoch.unwrap();
    assert_eq!((epoch.k, epoch.max), (0, 100 * CHUNK));
    assert_eq!(epoch.estimate / EST_SCALE, u64::from(100 * CHUNK + CHUNK / 100), "alpha is 1");
}

/// RFC 9438 §5.8: time in which the application had not enough to send does not count.
#[test]
fn unused_time_does_not_let_the_window_jump() {
    let start = Instant::from_millis(1000);
    let grow = |pause: Option<Duration>, all: bool| {
        let mut cubic = avoiding(700, 1000);
        let mut now = rounds(&mut cubic, start, 5, RTT);
        if let Some(pause) = pause {
            let last = Acknowledged { window_used: all, all, ..used(CHUNK, now) };
            cubic.on_acknowledged(last);
            now += pause;
        }
        let before = cubic.window;
        rounds(&mut cubic, now, 1, RTT);
        cubic.window - before
    };
    let steady = grow(None, false);
    for all in [false, true] {
        let paused = grow(Some(Duration::from_secs(3600)), all);
        assert!(paused <= steady + 2 * CHUNK, "{paused} after an hour, {steady} without");
    }
}

#[test]
fn idleness_decays_and_ends_the_epoch() {
    let mut cubic = avoiding(700, 1000);
    cubic.on_acknowledged(used(CHUNK, Instant::ORIGIN));
    cubic.on_idle(2);
    assert!(cubic.epoch.is_none());
    assert!((174 * CHUNK..=176 * CHUNK).contains(&cubic.window));
    assert!((700 * CHUNK..=701 * CHUNK).contains(&cubic.threshold));
    cubic.on_idle(1000);
    assert_eq!(cubic.window, 4 * CHUNK);
}

#[test]
fn k_is_the_time_back_to_the_plateau() {
    // 300 segments below: ∛(300 / 0.4) = 9.0856 s.
    assert_eq!(time_to(300 * CHUNK, CHUNK), 9085);
    assert_eq!(time_to(0, CHUNK), 0);
    assert!(time_to(u32::MAX, 500) < MAX_MILLIS);
}

proptest! {
    #[test]
    fn cube_root_is_exact(value in any::<u64>()) {
        let root = u128::from(cube_root(value));
        prop_assert!(root.pow(3) <= value.into() || root == 0);
        prop_assert!((root + 1).pow(3) > value.into() || root == (1 << 22) - 1);
    }

    /// Whatever happens, the window stays within its bounds, falls only on congestion, and never grows by more than half in a round
    /// trip of congestion avoidance.
    #[test]
    fn windows_stay_in_bounds(
        steps in prop::collection::vec((0_u8..8, 1_u32..200_000, 0_u64..100_000), 1..200),
        chunk in 500_u32..9000,
    ) {
        let mut cubic = Cubic::new(chunk, false);
        let mut now = Instant::ORIGIN;
        for (kind, bytes, millis) in steps {
            now += Duration::from_millis(millis);
            let before = cubic.window();
            match kind {
                0 => cubic.on_congestion(),
                1 => cubic.on_timeout(),
                2 => cubic.on_idle(bytes % 5),
                _ => {
                    let bytes = bytes.min(before);
                    let avoidance = cubic.window > cubic.threshold;
                    cubic.on_acknowledged(Acknowledged { window_used: kind > 3, ..used(bytes, now) });
                    prop_assert!(cubic.window() >= before);
                    if avoidance {
                        prop_assert!(cubic.window() <= before + before / 2 + chunk);
                    }
                }
            }
            prop_assert!((chunk..=MAX_WINDOW).contains(&cubic.window()));
        }
    }
}
