//! SACKs: what they acknowledge, report missing and say of the peer's window (RFC 9260 §6.2.1, §6.3.2, §7.2).

use super::sender::WindowProbe;
use super::{Association, Context};
use crate::CloseReason;
use crate::congestion::{self, Controller};
use crate::data::outstanding::Acknowledged;
use crate::event::Event;
use crate::serial::Tsn;
use crate::time::Instant;
use crate::wire::{Cause, ReceivedSack};

impl Association {
    /// A SACK has come.
    pub(super) fn handle_sack(&mut self, sack: &ReceivedSack<'_>, cx: &mut Context<'_>) {
        if !self.state.may_receive_sack() {
            return;
        }
        self.stats.sacks_received += 1;
        let cumulative = sack.cumulative_tsn_ack;
        // "indicates an out-of-order SACK chunk" (§6.2.1 D i)
        if cumulative.precedes(self.sender.outstanding.cumulative()) {
            return;
        }
        let blocks = sack.gap_ack_blocks.clone().map(|block| (block.start, block.end));
        let recovering = self.sender.fast_recovery.is_some();
        match self.sender.outstanding.acknowledge(cumulative, blocks, recovering) {
            Ok(outcome) => {
                self.sender.a_rwnd = sack.a_rwnd;
                self.acknowledged(outcome, cx);
            }
            Err(_) => self.never_sent(cx),
        }
    }

    /// The Cumulative TSN Ack of a SHUTDOWN (§9.2).
    pub(super) fn handle_cumulative_ack(&mut self, cumulative: Tsn, cx: &mut Context<'_>) {
        if cumulative.precedes(self.sender.outstanding.cumulative()) {
            return;
        }
        match self.sender.outstanding.acknowledge_cumulatively(cumulative) {
            Ok(outcome) => self.acknowledged(outcome, cx),
            Err(_) => self.never_sent(cx),
        }
    }

    //= RFC 9260 §12.4: "An SCTP implementation MUST abort the association if it receives a SACK chunk acknowledging a
    //= TSN that has not been sent."
    fn never_sent(&mut self, cx: &mut Context<'_>) {
        let what = "acknowledges a TSN that was never sent";
        self.abort_with(&[Cause::ProtocolViolation(what.as_bytes())], CloseReason::ProtocolViolation { what }, cx);
    }

    fn acknowledged(&mut self, outcome: Acknowledged, cx: &mut Context<'_>) {
        let recovering = self.sender.fast_recovery.is_some();
        //= RFC 9260 §7.2.1: "then it SHOULD update its cwnd (or cwnds) apportioned to the destination addresses to
        //= which it transmitted the acknowledged data"
        for at in 0..self.paths.len() {
            self.path_acknowledged(at, recovering, cx);
        }
        let cumulative = self.sender.outstanding.cumulative();
        if self.sender.fast_recovery.is_some_and(|exit| cumulative.follows_or_is(exit)) {
            self.sender.fast_recovery = None;
        }
        //= RFC 9260 §7.2.4: "the cwnd adjustment rules defined in Sections 7.2.1 and 7.2.2 MUST be applied first"
        if self.ecn.is_some() {
            self.forget_heeded();
        }
        // After the window has grown, as the note at the end of §7.2.4 wants it.
        if outcome.lost {
            self.enter_fast_recovery();
        }
        let burst = self.config.max_burst;
        self.sender.burst =
            if outcome.newly { self.sender.burst.saturating_add(burst) } else { self.sender.burst.max(burst) };
        if outcome.newly {
            //= RFC 9260 §8.1: "The counter used for endpoint failure detection MUST be reset each time a DATA chunk
            //= sent to that peer endpoint is acknowledged"
            self.error_count = 0;
        }
        self.update_window_probe(outcome);
        if self.sender.release(outcome.released) {
            self.emit(cx, Event::Writable);
        }
        if self.sender.is_empty() {
            if core::mem::take(&mut self.sender.busy) && self.config.notify_sender_dry {
                self.emit(cx, Event::SenderDry);
            }
            self.all_acknowledged(cx);
        }
    }

    /// What the SACK in hand means for one path.
    fn path_acknowledged(&mut self, at: usize, recovering: bool, cx: &mut Context<'_>) {
        let flight = *self.sender.outstanding.flight(at);
        let path = &mut self.paths[at];
        if flight.acknowledged > 0 {
            path.one_packet = false;
            let acknowledged = |(tsn, _): &mut (Tsn, Instant)| self.sender.outstanding.is_acknowledged(*tsn);
            if let Some((_, sent)) = path.measuring.take_if(acknowledged) {
                path.rtt.measured(cx.now - sent, &self.config);
            }
            //= RFC 9260 §7.2: "The slow-start and congestion avoidance algorithms MUST be used by an endpoint to
            //= control the amount of data being injected into the network."
            //= RFC 9260 §7.2: "an SCTP sender MUST NOT be more aggressive than the following algorithms allow"
            path.controller.on_acknowledged(congestion::Acknowledged {
                bytes: flight.acknowledged,
                window_used: path.window_full || flight.before >= path.controller.window(),
                in_fast_recovery: recovering,
                all: flight.bytes == 0,
                now: cx.now,
                srtt: path.rtt.srtt_nanos(),
            });
        }
        if flight.bytes == 0 {
            // All has been acknowledged, or is going to be sent again, which starts the timer (R2). Unless it runs for a probe.
            if self.sender.probe != WindowProbe::Waiting {
                path.t3 = None;
            }
        } else if !self.state.is_connecting() && (flight.earliest_acknowledged || (flight.reneged && path.t3.is_none()))
        {
            // R3 and R4. (DATA that went with a COOKIE ECHO is repeated with it, by T1.)
            path.t3 = Some(cx.now + path.rtt.rto());
        }
        // Not by what went to several addresses: "a sender cannot disambiguate whether the ACK was for the original transmission or the
        // retransmission(s)" (RFC 7829 §3.2, rule 9; RFC 9260 §8.2 lets us choose).
        if flight.credited {
            //= RFC 9260 §8.2: "the endpoint SHOULD clear the error counter of the destination transport address to
            //= which the DATA chunk was last sent"
            let path = &mut self.paths[at];
            let chunk = path.makes_large_packet(flight.largest);
            path.large.acknowledged(chunk);
            self.path_is_good(at, cx);
        }
    }

    /// Chunks have been reported missing three times (§7.2.4).
    fn enter_fast_recovery(&mut self) {
        //= RFC 9260 §7.2.4: "While in Fast Recovery, the ssthresh and cwnd SHOULD NOT change for any destinations due
        //= to a subsequent Fast Recovery event (i.e., one SHOULD NOT reduce the cwnd further due to a subsequent Fast
        //= Retransmit)."
        if self.sender.fast_recovery.is_some() {
            return;
        }
        // A router may have marked packets of this window before others were lost (RFC 3168 §6.1.2).
        let heeded = self.sender.outstanding.first_lost().is_some_and(|(tsn, _)| self.has_heeded(tsn));
        for at in 0..self.paths.len() {
            if self.sender.outstanding.flight(at).lost > 0 {
                let path = &mut self.paths[at];
                //= RFC 9260 §7.2.4: "the sender SHOULD ignore the value of cwnd and SHOULD NOT delay retransmission for
                //= this single packet"
                if !heeded {
                    path.controller.on_congestion();
                }
                path.fast_retransmit = true;
            }
        }
        self.sender.fast_recovery = Some(self.sender.outstanding.next_tsn().previous());
    }

    /// What a SACK means while the peer's window is closed (§6.1 A).
    fn update_window_probe(&mut self, outcome: Acknowledged) {
        let closed_over = self.sender.a_rwnd == 0 && !self.sender.outstanding.is_empty();
        match &mut self.sender.probe {
            WindowProbe::None if !closed_over => {}
            WindowProbe::None => self.sender.probe = WindowProbe::Closed { answered: true, count: 0 },
            WindowProbe::Waiting | WindowProbe::Due => {
                if !self.window_is_closed() {
                    self.sender.probe = WindowProbe::None;
                    // Whichever path the probe was to go by.
                    for at in 0..self.paths.len() {
                        if self.sender.outstanding.flight(at).bytes == 0 {
                            self.paths[at].t3 = None;
                        }
                    }
                }
            }
            WindowProbe::Sent { .. } if outcome.newly || self.sender.outstanding.is_empty() => {
                // The peer took it.
                self.sender.probe = WindowProbe::None;
            }
            WindowProbe::Closed { .. } if outcome.newly || self.sender.outstanding.is_empty() => {
                // The peer took some of it. Perhaps there is no space for the rest.
                let again = WindowProbe::Closed { answered: true, count: 0 };
                self.sender.probe = if closed_over { again } else { WindowProbe::None };
            }
            // Nothing has timed out yet: it may be on its way.
            WindowProbe::Closed { count: 0, .. } if self.sender.a_rwnd > 0 => self.sender.probe = WindowProbe::None,
            WindowProbe::Sent { .. } | WindowProbe::Closed { .. } if self.sender.a_rwnd > 0 => {
                // It did not, having no space; now there is some. No need to wait for the timer, which may have backed off for long.
                self.sender.probe = WindowProbe::None;
                self.sender.outstanding.time_out_all();
                for path in self.paths.iter_mut() {
                    path.t3 = None;
                    path.rtt.forgive(&self.config);
                }
            }
            WindowProbe::Sent { answered, .. } | WindowProbe::Closed { answered, .. } => {
                *answered = true;
                // The peer is there; it only has no space. By which path it can be reached, the SACK does not tell.
                self.error_count = 0;
            }
        }
    }
}
