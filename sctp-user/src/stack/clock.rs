//! The worker's clock: where real time enters the protocol.
//!
//! The protocol core knows no clock; it is told the time with every call. A worker reads the
//! monotonic clock once per turn of its loop and passes that value everywhere.

use std::time::Duration;

use sctp_core::time::Instant;

/// Turns the monotonic clock of the system into instants of the protocol core.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    /// A clock whose origin is some time before now, so that no instant is at zero.
    pub(crate) fn start() -> Clock {
        let now = std::time::Instant::now();
        Clock { origin: now.checked_sub(Duration::from_secs(1)).unwrap_or(now) }
    }

    /// The time now.
    pub(crate) fn now(&self) -> Instant {
        // 64 bits of nanoseconds last 584 years.
        Instant::from_nanos(self.origin.elapsed().as_nanos() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_forward_from_a_point_in_the_past() {
        let clock = Clock::start();
        let first = clock.now();
        std::thread::sleep(Duration::from_millis(2));
        let second = clock.now();
        assert!(second.saturating_duration_since(first) >= Duration::from_millis(2));
    }
}
