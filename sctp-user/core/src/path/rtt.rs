//! Round-trip time and retransmission timeout of a path (RFC 9260 §6.3.1).

use core::time::Duration;

use crate::config::AssociationConfig;

/// Granularity of the clock, G of RFC 9260 §6.3.1: the least variation that is assumed, in nanoseconds.
const GRANULARITY: u64 = 250_000;

/// Round-trip time and retransmission timeout (§6.3.1). In nanoseconds: a path should be small.
#[derive(Debug)]
pub(crate) struct RttEstimator {
    /// 0 before the first measurement.
    srtt: u64,
    rttvar: u64,
    rto: u64,
}

impl RttEstimator {
    pub(super) fn new(config: &AssociationConfig) -> Self {
        Self { srtt: 0, rttvar: 0, rto: nanos(config.rto_initial) }
    }

    /// The retransmission timeout, after any doubling.
    pub(crate) fn rto(&self) -> Duration {
        Duration::from_nanos(self.rto)
    }

    pub(crate) fn srtt(&self) -> Option<Duration> {
        (self.srtt != 0).then(|| Duration::from_nanos(self.srtt))
    }

    /// The same in nanoseconds; 0 before the first measurement.
    pub(crate) fn srtt_nanos(&self) -> u64 {
        self.srtt
    }

    pub(crate) fn rttvar(&self) -> Duration {
        Duration::from_nanos(self.rttvar)
    }

    /// Takes in a measurement. It undoes any doubling.
    pub(crate) fn measured(&mut self, rtt: Duration, config: &AssociationConfig) {
        let rtt = nanos(rtt).max(1);
        if self.srtt == 0 {
            self.rttvar = rtt / 2;
            self.srtt = rtt;
        } else {
            // RTO.Beta = 1/4, RTO.Alpha = 1/8.
            self.rttvar = self.rttvar - self.rttvar / 4 + self.srtt.abs_diff(rtt) / 4;
            self.srtt = self.srtt - self.srtt / 8 + rtt / 8;
        }
        self.rttvar = self.rttvar.max(GRANULARITY);
        self.forgive(config);
    }

    /// Doubles the timeout (§6.3.3 E2).
    pub(crate) fn back_off(&mut self, config: &AssociationConfig) {
        self.rto = self.rto.saturating_mul(2).min(nanos(config.rto_max));
    }

    /// Takes the doubling back.
    pub(crate) fn forgive(&mut self, config: &AssociationConfig) {
        if self.srtt != 0 {
            let rto = self.srtt.saturating_add(self.rttvar.saturating_mul(4));
            self.rto = rto.clamp(nanos(config.rto_min), nanos(config.rto_max));
        }
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rto_follows_the_rules() {
        let config = AssociationConfig { rto_min: Duration::from_millis(10), ..AssociationConfig::rfc() };
        let mut rtt = RttEstimator::new(&config);
        assert_eq!(rtt.rto(), Duration::from_secs(1));
        rtt.measured(Duration::from_millis(100), &config);
        assert_eq!((rtt.srtt(), rtt.rttvar()), (Some(Duration::from_millis(100)), Duration::from_millis(50)));
        assert_eq!(rtt.rto(), Duration::from_millis(300));
        rtt.measured(Duration::from_millis(180), &config);
        assert_eq!(rtt.srtt(), Some(Duration::from_millis(110)));
        assert_eq!(rtt.rttvar(), Duration::from_micros(57_500));
        rtt.back_off(&config);
        rtt.back_off(&config);
        assert_eq!(rtt.rto(), Duration::from_millis(4 * 340));
        for _ in 0..10 {
            rtt.back_off(&config);
        }
        assert_eq!(rtt.rto(), Duration::from_secs(60));
        // A measurement collapses it, but not below the minimum.
        for _ in 0..100 {
            rtt.measured(Duration::from_micros(20), &config);
        }
        assert_eq!(rtt.rto(), Duration::from_millis(10));
    }
}
