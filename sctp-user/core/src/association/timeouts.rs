//! When an association must be looked at, and what each timer does when it expires.

use core::time::Duration;

use super::sender::WindowProbe;
use super::state::State;
use super::{Association, Context, Control};
use crate::CloseReason;
use crate::congestion::Controller;
use crate::path::Path;
use crate::time::Instant;
use crate::timers::Timer;

/// How long queues keep the space that they have grown to, without heartbeats: while there is traffic, it is given back and taken anew
/// once in that time.
const RELEASE_AFTER: Duration = Duration::from_secs(10);

impl Association {
    /// When the earliest timer expires.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let state = match &self.state {
            State::CookieWait(wait) => wait.t1,
            State::CookieEchoed(echoed) => echoed.t1,
            State::ShutdownSent(closing) | State::ShutdownAckSent(closing) => Some(closing.t2.min(closing.t5)),
            State::Established | State::ShutdownPending | State::ShutdownReceived | State::Closed => None,
        };
        let earlier = |one: Option<Instant>, other: Option<Instant>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let common = earlier(earlier(state, self.receiver.sack.timer), self.release_at);
        self.paths.iter().fold(common, |earliest, path| {
            let pacing = path.pacer.as_ref().and_then(|pacer| pacer.timer);
            [path.t3, path.heartbeat.timer, pacing, path.pmtu.timer()].into_iter().fold(earliest, earlier)
        })
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        // What one timer does may stop another, so they are looked up one at a time; each sets itself later or stops.
        while let Some(timer) = self.expired(cx.now) {
            match timer {
                Timer::T1Init => self.t1_init_expired(cx),
                Timer::T1Cookie => self.t1_cookie_expired(cx),
                Timer::T2Shutdown => self.t2_expired(cx),
                Timer::T5ShutdownGuard => self.t5_expired(cx),
                Timer::Sack => self.receiver.sack_timeout(&self.config),
                Timer::T3Rtx(path) => self.t3_expired(path, cx),
                Timer::Heartbeat(path) => {
                    // A path has been idle for long, and often all of them.
                    self.release_memory();
                    self.heartbeat_expired(path, cx);
                }
                Timer::Release => {
                    self.release_at = None;
                    self.release_memory();
                }
                Timer::Pacing(path) => self.pacing_expired(path),
                Timer::PathMtu(path) => self.path_mtu_expired(path, cx),
            }
        }
    }

    /// A timer that is due.
    fn expired(&self, now: Instant) -> Option<Timer> {
        let due = |timer: Option<Instant>| timer.is_some_and(|at| at <= now);
        match &self.state {
            State::CookieWait(wait) if due(wait.t1) => return Some(Timer::T1Init),
            State::CookieEchoed(echoed) if due(echoed.t1) => return Some(Timer::T1Cookie),
            State::ShutdownSent(closing) | State::ShutdownAckSent(closing) => {
                if closing.t5 <= now {
                    return Some(Timer::T5ShutdownGuard);
                }
                if closing.t2 <= now {
                    return Some(Timer::T2Shutdown);
                }
            }
            State::Closed => return None,
            _ => {}
        }
        if due(self.receiver.sack.timer) {
            return Some(Timer::Sack);
        }
        if due(self.release_at) {
            return Some(Timer::Release);
        }
        self.paths.iter().enumerate().find_map(|(at, path)| {
            if due(path.t3) {
                return Some(Timer::T3Rtx(at));
            }
            if due(path.heartbeat.timer) {
                return Some(Timer::Heartbeat(at));
            }
            if due(path.pacer.as_ref().and_then(|pacer| pacer.timer)) {
                return Some(Timer::Pacing(at));
            }
            due(path.pmtu.timer()).then_some(Timer::PathMtu(at))
        })
    }

    /// Sees to it that what traffic leaves behind is given back, though no HEARTBEAT will be due.
    pub(super) fn release_later(&mut self, now: Instant) {
        let idle_timer = |path: &Path| path.heartbeat.timer.is_some();
        if self.release_at.is_none() && self.holds_memory() && !self.paths.iter().any(idle_timer) {
            self.release_at = Some(now + RELEASE_AFTER);
        }
    }

    /// T3-rtx (§6.3.3).
    fn t3_expired(&mut self, at: usize, cx: &mut Context<'_>) {
        self.paths[at].t3 = None;
        if self.sender.probe == WindowProbe::Waiting && self.sender.outstanding.is_empty() {
            // Nothing is in flight: the timer was for probing the peer's closed window (§6.1 A).
            self.sender.probe = WindowProbe::Due;
            self.sender.burst = self.sender.burst.max(1);
            return;
        }
        self.stats.t3_timeouts += 1;
        let path = &mut self.paths[at];
        path.measuring = None;
        path.one_packet = true;
        let mut is_error = true;
        match &mut self.sender.probe {
            //= RFC 9260 §6.1: "the unacknowledged window probes SHOULD NOT increment the error counter for the
            //= association or any destination transport address"
            // "Zero window probing does not affect the calculation of cwnd."
            WindowProbe::Sent { answered: answered @ true, count }
            | WindowProbe::Closed { answered: answered @ true, count } => {
                *answered = false;
                *count = count.saturating_add(1);
                is_error = false;
            }
            WindowProbe::Sent { .. } => path.rtt.back_off(&self.config),
            probe => {
                if matches!(probe, WindowProbe::Closed { .. }) {
                    // What was sent into a closed window, and is not answered any more, is lost like any other DATA.
                    *probe = WindowProbe::None;
                }
                path.rtt.back_off(&self.config);
                path.controller.on_timeout();
            }
        }
        //= RFC 9260 §6.3.3: "SHOULD be marked for retransmission and sent as soon as cwnd allows"
        let largest = self.sender.outstanding.time_out(at as u8);
        self.sender.fast_recovery = None;
        self.sender.burst = self.sender.burst.max(self.config.max_burst);
        if is_error {
            self.look_for_black_hole(at, largest, cx.now);
            self.count_error(at, true, cx);
        }
    }

    /// DATA may go on.
    fn pacing_expired(&mut self, at: usize) {
        if let Some(pacer) = &mut self.paths[at].pacer {
            pacer.timer = None;
        }
        self.sender.burst = self.sender.burst.max(self.config.max_burst);
    }

    /// T2-shutdown (§9.2).
    fn t2_expired(&mut self, cx: &mut Context<'_>) {
        let last = self.paths.for_data();
        self.paths[last].rtt.back_off(&self.config);
        let next = self.paths.alternate(last);
        let rto = self.paths[next].rtt.rto();
        let (State::ShutdownSent(closing) | State::ShutdownAckSent(closing)) = &mut self.state else { return };
        closing.retransmissions += 1;
        closing.t2 = cx.now + rto;
        //= RFC 9260 §9.2: "An endpoint SHOULD limit the number of retransmissions of the SHUTDOWN chunk to the protocol
        //= parameter 'Association.Max.Retrans'."
        //= RFC 9260 §9.2: "The sender of the SHUTDOWN ACK chunk SHOULD limit the number of retransmissions of the
        //= SHUTDOWN ACK chunk"
        //= RFC 9260 §9.2: "If this threshold is exceeded, the endpoint SHOULD destroy the TCB and SHOULD report the
        //= peer endpoint unreachable to the upper layer"
        if closing.retransmissions > self.config.association_max_retransmits {
            self.close(CloseReason::Unreachable, cx);
            return;
        }
        //= RFC 9260 §9.2: "If the timer expires, the endpoint MUST resend the SHUTDOWN chunk with the updated last
        //= sequential TSN received from its peer."
        //= RFC 9260 §9.2: "If the timer expires, the endpoint MUST resend the SHUTDOWN ACK chunk."
        let chunk = match self.state {
            State::ShutdownSent(_) => Control::Shutdown,
            _ => Control::ShutdownAck,
        };
        self.queue_control(next, chunk);
        self.count_error(last, false, cx);
    }

    /// T5-shutdown-guard (§9.2).
    fn t5_expired(&mut self, cx: &mut Context<'_>) {
        //= RFC 9260 §9.2: "At the expiration of this timer, the sender SHOULD abort the association by sending an ABORT
        //= chunk."
        self.abort_with(&[], CloseReason::ShutdownTimeout, cx);
    }
}
