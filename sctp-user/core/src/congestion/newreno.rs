//! The algorithm of RFC 9260 §7.2: slow start, congestion avoidance, and half the window on a loss.

use super::{Acknowledged, Controller, MAX_WINDOW, SLOW_START_PACKETS, initial_window};

/// State of one path.
#[derive(Debug)]
pub(crate) struct NewReno {
    window: u32,
    threshold: u32,
    partial_bytes_acked: u32,
    max_chunk: u32,
    /// L falls back to 1 while recovering from a timeout (RFC 3465 §2.3).
    after_timeout: bool,
}

impl NewReno {
    /// A new path.
    pub(crate) fn new(max_chunk: u32, is_ipv4: bool) -> Self {
        let window = initial_window(max_chunk, is_ipv4);
        //= RFC 9260 §7.2.1: "The initial value of ssthresh SHOULD be arbitrarily high"
        Self { window, threshold: MAX_WINDOW, partial_bytes_acked: 0, max_chunk, after_timeout: false }
    }

    fn reduced(&self) -> u32 {
        (self.window / 2).max(4 * self.max_chunk)
    }
}

impl Controller for NewReno {
    fn window(&self) -> u32 {
        self.window
    }

    fn threshold(&self) -> u32 {
        self.threshold
    }

    fn on_acknowledged(&mut self, acknowledged: Acknowledged) {
        let Acknowledged { bytes, window_used, in_fast_recovery, all, .. } = acknowledged;
        if self.window <= self.threshold {
            //= RFC 9260 §7.2.1: "an SCTP endpoint MUST use the slow-start algorithm to increase cwnd only if the
            //= current congestion window is being fully utilized and the data sender is not in Fast Recovery"
            //= RFC 9260 §7.2.1: "otherwise, the cwnd MUST NOT be increased"
            if window_used && !in_fast_recovery {
                let packets = if self.after_timeout { 1 } else { SLOW_START_PACKETS };
                //= RFC 9260 §7.2.1: "If these conditions are met, then cwnd MUST be increased by, at most, the lesser
                //= of"
                self.window = (self.window + bytes.min(packets * self.max_chunk)).min(MAX_WINDOW);
            }
        } else {
            self.after_timeout = false;
            self.partial_bytes_acked = self.partial_bytes_acked.saturating_add(bytes);
            //= RFC 9260 §7.2.2: "cwnd SHOULD be incremented by PMDCS per RTT if the sender has cwnd or more bytes of
            //= data outstanding"
            //= RFC 9260 §7.2.2: "SCTP SHOULD increment cwnd by PMDCS once per RTT when the sender has cwnd or more
            //= bytes of data outstanding"
            //= RFC 9260 §7.2.2: "SCTP MUST NOT increment cwnd by more than PMDCS per RTT."
            if self.partial_bytes_acked >= self.window {
                if window_used {
                    self.partial_bytes_acked -= self.window;
                    if !in_fast_recovery {
                        self.window = (self.window + self.max_chunk).min(MAX_WINDOW);
                    }
                } else {
                    self.partial_bytes_acked = self.window;
                }
            }
        }
        if all {
            self.partial_bytes_acked = 0;
        }
    }

    //= RFC 9260 §7.2.3: "Upon detection of packet losses from SACK chunks (see Section 7.2.4), an endpoint SHOULD do
    //= the following:"
    fn on_congestion(&mut self) {
        self.threshold = self.reduced();
        // A window below four chunks, as a new one may be, is not to grow by congestion.
        self.window = self.window.min(self.threshold);
        self.partial_bytes_acked = 0;
    }

    //= RFC 9260 §7.2.3: "When the T3-rtx timer expires on an address, SCTP SHOULD perform slow start by:"
    //= RFC 9260 §7.2.1: "The initial cwnd after a retransmission timeout MUST be no more than PMDCS"
    fn on_timeout(&mut self) {
        self.threshold = self.reduced();
        self.window = self.max_chunk;
        self.partial_bytes_acked = 0;
        self.after_timeout = true;
    }

    fn on_idle(&mut self, periods: u32) {
        if periods == 0 || self.window <= 4 * self.max_chunk {
            return;
        }
        //= RFC 9260 §7.2.1: "Before the first cwnd adjustment, the ssthresh of the transport address SHOULD be set to
        //= the cwnd."
        self.threshold = self.window;
        //= RFC 9260 §7.1: "The parameters SHOULD decay if the address is not used for a long enough time period."
        //= RFC 9260 §7.2.1: "While the endpoint does not transmit data on a given transport address, the cwnd of the
        //= transport address SHOULD be adjusted to max(cwnd / 2, 4 * PMDCS) once per RTO."
        //= RFC 9260 §7.2.2: "when the sender does not transmit DATA chunks on a given transport address, the cwnd of
        //= the transport address SHOULD be adjusted to max(cwnd / 2, 4 * PMDCS) per RTO"
        self.window = (self.window >> periods.min(31)).max(4 * self.max_chunk);
    }

    fn set_max_chunk(&mut self, max_chunk: u32) {
        self.max_chunk = max_chunk;
        self.window = self.window.max(max_chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Instant;

    const CHUNK: u32 = 1468;

    fn used(bytes: u32) -> Acknowledged {
        Acknowledged { bytes, window_used: true, in_fast_recovery: false, all: false, now: Instant::ORIGIN, srtt: 0 }
    }

    //= test RFC 9260 §7.2.1: "The initial cwnd before data transmission MUST be set to min(4 * PMDCS, max(2 * PMDCS,
    //= 4404)) bytes if the peer address is an IPv4 address"
    #[test]
    fn initial_window_of_the_rfc() {
        assert_eq!(NewReno::new(1468, true).window(), 4404);
        assert_eq!(NewReno::new(1448, false).window(), 4344);
        assert_eq!(NewReno::new(544, true).window(), 4 * 544);
        assert_eq!(NewReno::new(8968, true).window(), 2 * 8968);
    }

    //= test RFC 9260 §7.2.1: "an SCTP endpoint MUST use the slow-start algorithm to increase cwnd only if the current
    //= congestion window is being fully utilized"
    //= test RFC 9260 §7.2.1: "otherwise, the cwnd MUST NOT be increased"
    //= test RFC 9260 §7.2.1: "If these conditions are met, then cwnd MUST be increased by, at most, the lesser of"
    #[test]
    fn slow_start_is_bounded_and_needs_a_full_window() {
        let mut newreno = NewReno::new(CHUNK, true);
        newreno.on_acknowledged(used(1000));
        assert_eq!(newreno.window(), 5404);
        newreno.on_acknowledged(used(100_000));
        assert_eq!(newreno.window(), 5404 + 2 * CHUNK);
        for still in
            [Acknowledged { window_used: false, ..used(1000) }, Acknowledged { in_fast_recovery: true, ..used(1000) }]
        {
            newreno.on_acknowledged(still);
            assert_eq!(newreno.window(), 5404 + 2 * CHUNK);
        }
    }

    //= test RFC 9260 §7.2.3: "Upon detection of packet losses from SACK chunks (see Section 7.2.4), an endpoint SHOULD
    //= do the following:"
    //= test RFC 9260 §7.2.2: "SCTP SHOULD increment cwnd by PMDCS once per RTT when the sender has cwnd or more bytes
    //= of data outstanding"
    //= test RFC 9260 §7.2.2: "cwnd SHOULD be incremented by PMDCS per RTT"
    //= test RFC 9260 §7.2.2: "SCTP MUST NOT increment cwnd by more than PMDCS per RTT."
    #[test]
    fn loss_halves_and_avoidance_adds_one_chunk_for_each_window() {
        let mut newreno = NewReno::new(CHUNK, true);
        newreno.window = 100_000;
        newreno.on_congestion();
        assert_eq!((newreno.window(), newreno.threshold()), (50_000, 50_000));
        // One byte above the threshold is congestion avoidance; at it, slow start.
        newreno.on_acknowledged(used(CHUNK));
        assert_eq!(newreno.window(), 50_000 + CHUNK);
        let before = newreno.window();
        let mut acknowledged = 0;
        while newreno.window() == before {
            newreno.on_acknowledged(used(CHUNK));
            acknowledged += CHUNK;
        }
        assert_eq!(newreno.window(), before + CHUNK);
        assert!(acknowledged >= before && acknowledged < before + CHUNK);
    }

    #[test]
    fn congestion_never_opens_a_window() {
        let mut newreno = NewReno::new(CHUNK, true);
        newreno.on_congestion();
        assert_eq!((newreno.window(), newreno.threshold()), (4404, 4 * CHUNK));
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow_later() {
        let mut newreno = NewReno::new(CHUNK, true);
        newreno.threshold = 1000;
        for _ in 0..100 {
            newreno.on_acknowledged(Acknowledged { window_used: false, ..used(CHUNK) });
        }
        assert_eq!(newreno.window(), 4404);
        assert_eq!(newreno.partial_bytes_acked, 4404);
    }

    //= test RFC 9260 §7.2.3: "When the T3-rtx timer expires on an address, SCTP SHOULD perform slow start by:"
    //= test RFC 9260 §7.2.1: "The initial cwnd after a retransmission timeout MUST be no more than PMDCS"
    #[test]
    fn timeout_begins_again_with_one_chunk() {
        let mut newreno = NewReno::new(CHUNK, true);
        newreno.window = 100_000;
        newreno.on_timeout();
        assert_eq!((newreno.window(), newreno.threshold()), (CHUNK, 50_000));
        newreno.on_acknowledged(used(2 * CHUNK));
        assert_eq!(newreno.window(), 2 * CHUNK);
        newreno.window = 2 * CHUNK;
        newreno.on_timeout();
        assert_eq!(newreno.threshold(), 4 * CHUNK);
    }

    //= test RFC 9260 §7.1: "The parameters SHOULD decay if the address is not used"
    //= test RFC 9260 §7.2.1: "the cwnd of the transport address SHOULD be adjusted to max(cwnd / 2, 4 * PMDCS) once per
    //= RTO"
    //= test RFC 9260 §7.2.1: "Before the first cwnd adjustment, the ssthresh of the transport address SHOULD be set to
    //= the cwnd."
    //= test RFC 9260 §7.2.2: "the cwnd of the transport address SHOULD be adjusted to max(cwnd / 2, 4 * PMDCS) per RTO"
    #[test]
    fn idleness_decays_to_four_chunks() {
        let mut newreno = NewReno::new(CHUNK, true);
        newreno.window = 100_000;
        newreno.on_idle(2);
        assert_eq!((newreno.window(), newreno.threshold()), (25_000, 100_000));
        newreno.on_idle(1000);
        assert_eq!(newreno.window(), 4 * CHUNK);
        newreno.on_idle(1);
        assert_eq!(newreno.threshold(), 25_000);
    }
}
