//! Ending an association: in order (RFC 9260 §9.2) or at once (§9.1).

use core::net::IpAddr;

use bytes::Bytes;

use super::state::{Closing, State};
use super::{Association, Context, Control};
use crate::CloseReason;
use crate::answer::Answer;
use crate::event::Event;
use crate::wire::{Abort, Cause, CauseList, CommonHeader, Shutdown, ShutdownComplete};

/// Most bytes of a reason that go with an ABORT.
const MAX_REASON: usize = 1024;

impl Association {
    /// The application wants to end in order (§9.2).
    pub(crate) fn shutdown(&mut self, cx: &mut Context<'_>) {
        match &self.state {
            // Nothing is known of us but a cookie; and if nothing waits, nothing is lost.
            State::CookieWait(_) if self.sender.is_empty() => self.close(CloseReason::Shutdown, cx),
            State::CookieWait(_) | State::CookieEchoed(_) => self.shutdown_requested = true,
            State::Established => {
                self.state = State::ShutdownPending;
                self.all_acknowledged(cx);
            }
            // "it MUST ignore ULP shutdown requests" (SHUTDOWN-RECEIVED); in the others it is under way.
            _ => {}
        }
    }

    /// An INIT of the peer shows that it does not know of our SHUTDOWN ACK (§9.2).
    pub(crate) fn repeat_shutdown_ack(&mut self, source: IpAddr) {
        if matches!(self.state, State::ShutdownAckSent(_)) {
            let at = self.paths.find(source).unwrap_or_else(|| self.paths.for_data());
            self.queue_control(at, Control::ShutdownAck);
        }
    }

    pub(super) fn shutdown_if_requested(&mut self, cx: &mut Context<'_>) {
        if core::mem::take(&mut self.shutdown_requested) {
            self.shutdown(cx);
        }
    }

    /// The application wants to end at once (§9.1).
    pub(crate) fn abort(&mut self, reason: &Bytes, cx: &mut Context<'_>) {
        let reason = &reason[..reason.len().min(MAX_REASON)];
        self.abort_with(&[Cause::UserInitiatedAbort(reason)], CloseReason::LocalAbort, cx);
    }

    /// Nothing waits and nothing is outstanding: goes on with a shutdown if one is under way.
    pub(super) fn all_acknowledged(&mut self, cx: &mut Context<'_>) {
        if !self.sender.is_empty() {
            return;
        }
        match self.state {
            State::ShutdownPending => {
                self.state = State::ShutdownSent(self.closing(None, cx));
                self.stop_data();
                self.queue_control(self.paths.for_data(), Control::Shutdown);
            }
            State::ShutdownReceived => self.send_shutdown_ack(self.paths.for_data(), cx),
            _ => {}
        }
    }

    /// SHUTDOWN (§9.2).
    pub(super) fn handle_shutdown(&mut self, shutdown: Shutdown, source: IpAddr, cx: &mut Context<'_>) {
        let at = self.paths.find(source).unwrap_or_else(|| self.paths.for_data());
        match self.state {
            State::Established | State::ShutdownPending => {
                self.state = State::ShutdownReceived;
                self.emit(cx, Event::PeerShutdown);
                self.handle_cumulative_ack(shutdown.cumulative_tsn_ack, cx);
                if matches!(self.state, State::ShutdownReceived) {
                    self.all_acknowledged(cx);
                }
            }
            State::ShutdownReceived => self.handle_cumulative_ack(shutdown.cumulative_tsn_ack, cx),
            // Both at the same time: "respond immediately with a SHUTDOWN ACK chunk … and move into the SHUTDOWN-ACK-SENT state"
            State::ShutdownSent(_) => self.send_shutdown_ack(at, cx),
            // Ours got lost.
            State::ShutdownAckSent(_) => self.queue_control(at, Control::ShutdownAck),
            // "If a SHUTDOWN chunk is received in the COOKIE-WAIT or COOKIE ECHOED state, the SHUTDOWN chunk SHOULD be silently
            // discarded."
            State::CookieWait(_) | State::CookieEchoed(_) | State::Closed => {}
        }
    }

    /// SHUTDOWN ACK (§9.2).
    pub(super) fn handle_shutdown_ack(&mut self, source: IpAddr, cx: &mut Context<'_>) {
        if !matches!(self.state, State::ShutdownSent(_) | State::ShutdownAckSent(_)) {
            return;
        }
        let at = self.paths.find(source).unwrap_or_else(|| self.paths.for_data());
        let path = &self.paths[at];
        let complete = Answer::new(
            (path.source, path.address),
            self.header(),
            &ShutdownComplete { tag_reflected: false },
            self.limits.checksum,
            self.limits.max_packet,
        );
        self.farewell = complete.map(Box::new);
        self.close(CloseReason::Shutdown, cx);
    }

    /// SHUTDOWN COMPLETE, whose tag has been checked. "An endpoint MUST ignore the SHUTDOWN COMPLETE chunk if it is not in the
    /// SHUTDOWN-ACK-SENT state" (§8.5.1 C).
    pub(super) fn handle_shutdown_complete(&mut self, cx: &mut Context<'_>) {
        if matches!(self.state, State::ShutdownAckSent(_)) {
            self.close(CloseReason::Shutdown, cx);
        }
    }

    /// ABORT, whose tag has been checked (§9.1).
    pub(super) fn handle_abort(&mut self, abort: &Abort<'_>, cx: &mut Context<'_>) {
        if abort.tag_reflected && matches!(self.state, State::ShutdownAckSent(_)) {
            // The peer knows nothing of the association any more: it has had our SHUTDOWN ACK, and something else of ours came after it.
            // All that is missing is the SHUTDOWN COMPLETE.
            self.close(CloseReason::Shutdown, cx);
            return;
        }
        let first = abort.causes.iter().find_map(Result::ok);
        let info = match first {
            Some(Cause::UserInitiatedAbort(reason) | Cause::ProtocolViolation(reason)) => {
                Bytes::copy_from_slice(reason)
            }
            _ => Bytes::new(),
        };
        let cause = first.map(|cause| cause.code().0);
        self.close(CloseReason::PeerAbort { cause, info }, cx);
    }

    /// In SHUTDOWN-SENT each packet with DATA is answered with SHUTDOWN at once (§9.2).
    pub(super) fn answer_data_with_shutdown(&mut self, at: usize, cx: &mut Context<'_>) {
        let State::ShutdownSent(closing) = self.state else { return };
        let gaps = self.receiver.tracker.has_gaps() || !self.receiver.tracker.duplicates().is_empty();
        self.receiver.sack.due = gaps;
        self.receiver.sack.pending = gaps;
        self.receiver.sack.timer = None;
        // "The reception of any packet from its peer … SHOULD clear the endpoint's retransmission count and restart the T2-shutdown
        // timer". T5 keeps running.
        self.state = State::ShutdownSent(self.closing(Some(closing), cx));
        if !self.control.iter().any(|queued| matches!(queued.chunk, Control::Shutdown)) {
            self.queue_control(at, Control::Shutdown);
        }
    }

    /// Ends the association with an ABORT, if the peer's tag is known, so that there is somebody to tell.
    pub(super) fn abort_with(&mut self, causes: &[Cause<'_>], reason: CloseReason, cx: &mut Context<'_>) {
        if self.peer_tag != 0 {
            let path = &self.paths[self.paths.for_data()];
            let addresses = (path.source, path.address);
            let abort = |causes| {
                let chunk = Abort { tag_reflected: false, causes };
                Answer::new(addresses, self.header(), &chunk, self.limits.checksum, self.limits.max_packet)
            };
            self.farewell = abort(CauseList::new(causes)).or_else(|| abort(CauseList::EMPTY)).map(Box::new);
        }
        self.close(reason, cx);
    }

    /// The association has ended.
    pub(super) fn close(&mut self, reason: CloseReason, cx: &mut Context<'_>) {
        if self.is_closed() {
            return;
        }
        self.fail_all_data(cx);
        self.receiver.drop_incomplete();
        self.control.clear();
        self.state = State::Closed;
        self.emit(cx, Event::Closed { reason });
    }

    /// The common header of our packets.
    pub(super) fn header(&self) -> CommonHeader {
        CommonHeader { source_port: self.local_port, destination_port: self.peer_port, verification_tag: self.peer_tag }
    }

    fn send_shutdown_ack(&mut self, at: usize, cx: &mut Context<'_>) {
        let before = match self.state {
            State::ShutdownSent(closing) => Some(closing),
            _ => None,
        };
        self.state = State::ShutdownAckSent(self.closing(before, cx));
        self.stop_data();
        self.control.retain(|queued| !matches!(queued.chunk, Control::Shutdown));
        self.queue_control(at, Control::ShutdownAck);
    }

    /// T2 anew; T5 runs on if it does.
    fn closing(&self, before: Option<Closing>, cx: &Context<'_>) -> Closing {
        let t2 = cx.now + self.paths[self.paths.for_data()].rtt.rto();
        let t5 = before.map_or_else(|| cx.now + self.config.shutdown_guard(), |closing| closing.t5);
        Closing { t2, t5, retransmissions: 0 }
    }

    /// No DATA is outstanding and none will be sent.
    fn stop_data(&mut self) {
        self.stop_heartbeats();
        for path in self.paths.iter_mut() {
            path.t3 = None;
        }
    }
}
