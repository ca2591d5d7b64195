//! Ending an association: in order (RFC 9260 §9.2) or at once (§9.1).

use core::net::IpAddr;

use bytes::Bytes;

use super::state::{Closing, State};
use super::{Association, Context, Control};
use crate::answer::{Answer, Destination};
use crate::event::{Event, LastTsns};
use crate::wire::{Abort, Cause, CauseList, CommonHeader, Shutdown, ShutdownComplete};
use crate::{CloseReason, RemoteError, SendFailure};

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
            //= RFC 9260 §9.2: "Once an endpoint has reached the SHUTDOWN-RECEIVED state, it MUST ignore ULP shutdown
            //= requests"
            // In the other states it is under way.
            _ => {}
        }
    }

    /// An INIT of the peer shows that it does not know of our SHUTDOWN ACK (§9.2).
    pub(crate) fn repeat_shutdown_ack(&mut self, source: IpAddr) {
        //= RFC 9260 §9.2: "it SHOULD discard the INIT chunk and retransmit the SHUTDOWN ACK chunk"
        if matches!(self.state, State::ShutdownAckSent(_)) {
            let at = self.reply_path(source);
            self.queue_control(at, Control::ShutdownAck);
        }
    }

    /// The user has handed over all that it had accepted when the peer shut down.
    pub(crate) fn finish_sending(&mut self, cx: &mut Context<'_>) {
        if core::mem::take(&mut self.draining) {
            self.all_acknowledged(cx);
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
        //= RFC 9260 §9.1: "a "User-Initiated Abort" error cause (see Section 3.3.10.12) SHOULD be present in the ABORT
        //= chunk"
        self.abort_with(&[Cause::UserInitiatedAbort(reason)], CloseReason::LocalAbort, cx);
    }

    /// Nothing waits and nothing is outstanding: goes on with a shutdown if one is under way.
    pub(super) fn all_acknowledged(&mut self, cx: &mut Context<'_>) {
        //= RFC 9260 §9.2: "An endpoint SHOULD ensure that all its outstanding DATA chunks have been acknowledged before
        //= initiating the shutdown procedure."
        //= RFC 9260 §9.2: "the SHUTDOWN chunk receiver MUST continue to follow normal data transmission procedures
        //= defined in Section 6, until all outstanding DATA chunks are acknowledged"
        //= RFC 9260 §4: "In the SHUTDOWN-RECEIVED state, the endpoint MUST transmit or retransmit data and leave this
        //= state when all data in queue is transmitted."
        if !self.sender.is_empty() {
            return;
        }
        match self.state {
            State::ShutdownPending => {
                //= RFC 9260 §3.3.8: "An endpoint in an association MUST use this chunk to initiate a graceful close of
                //= the association with its peer."
                //= RFC 9260 §9.2: "It SHOULD then start the T2-shutdown timer and enter the SHUTDOWN-SENT state."
                self.state = State::ShutdownSent(self.closing(None, cx));
                self.stop_data();
                self.queue_control(self.paths.for_data(), Control::Shutdown);
            }
            //= RFC 9260 §3.3.9: "This chunk MUST be used to acknowledge the receipt of the SHUTDOWN chunk at the
            //= completion of the shutdown process"
            //= RFC 9260 §9.2: "the SHUTDOWN chunk receiver MUST send a SHUTDOWN ACK chunk and start a T2-shutdown timer
            //= of its own, entering the SHUTDOWN-ACK-SENT state"
            State::ShutdownReceived if !self.draining => self.send_shutdown_ack(self.paths.for_data(), cx),
            _ => {}
        }
    }

    /// SHUTDOWN (§9.2).
    pub(super) fn handle_shutdown(&mut self, shutdown: Shutdown, source: IpAddr, cx: &mut Context<'_>) {
        let at = self.reply_path(source);
        match self.state {
            State::Established | State::ShutdownPending => {
                self.draining = self.config.queued_outside && matches!(self.state, State::Established);
                self.state = State::ShutdownReceived;
                self.emit(cx, Event::PeerShutdown);
                self.handle_cumulative_ack(shutdown.cumulative_tsn_ack, cx);
                if matches!(self.state, State::ShutdownReceived) {
                    self.all_acknowledged(cx);
                }
            }
            //= RFC 9260 §9.2: "but MUST continue responding to SHUTDOWN chunks from its peer"
            State::ShutdownReceived => self.handle_cumulative_ack(shutdown.cumulative_tsn_ack, cx),
            // Both at the same time.
            //= RFC 9260 §9.2: "the endpoint SHOULD respond immediately with a SHUTDOWN ACK chunk to its peer and move
            //= into the SHUTDOWN-ACK-SENT state"
            State::ShutdownSent(_) => self.send_shutdown_ack(at, cx),
            // Ours got lost.
            State::ShutdownAckSent(_) => self.queue_control(at, Control::ShutdownAck),
            //= RFC 9260 §9.2: "If a SHUTDOWN chunk is received in the COOKIE-WAIT or COOKIE ECHOED state, the SHUTDOWN
            //= chunk SHOULD be silently discarded."
            State::CookieWait(_) | State::CookieEchoed(_) | State::Closed => {}
        }
    }

    /// SHUTDOWN ACK (§9.2).
    pub(super) fn handle_shutdown_ack(&mut self, source: IpAddr, cx: &mut Context<'_>) {
        if !matches!(self.state, State::ShutdownSent(_) | State::ShutdownAckSent(_)) {
            return;
        }
        let at = self.reply_path(source);
        let path = &self.paths[at];
        //= RFC 9260 §3.3.13: "This chunk MUST be used to acknowledge the receipt of the SHUTDOWN ACK chunk at the
        //= completion of the shutdown process"
        //= RFC 9260 §9.2: "the sender of the SHUTDOWN chunk MUST stop the T2-shutdown timer, send a SHUTDOWN COMPLETE
        //= chunk to its peer, and remove all record of the association"
        //= RFC 9260 §9.2: "If an endpoint is in the SHUTDOWN-ACK-SENT state and receives a SHUTDOWN ACK, it MUST stop
        //= the T2-shutdown timer, send a SHUTDOWN COMPLETE chunk"
        //= RFC 9260 §8.5.1: "if the receiver of the SHUTDOWN ACK chunk has a TCB, then the destination endpoint's tag
        //= MUST be used and the T bit MUST NOT be set"
        let complete = Answer::new(
            Destination { source: path.source, address: path.address, encapsulation: path.encapsulation },
            self.header(),
            &ShutdownComplete { tag_reflected: false },
            self.limits.checksum,
            self.limits.max_packet(),
        );
        self.farewell = complete.map(Box::new);
        self.close(CloseReason::Shutdown, cx);
    }

    /// SHUTDOWN COMPLETE, whose tag has been checked (§8.5.1 C).
    //= RFC 9260 §8.5.1: "An endpoint MUST ignore the SHUTDOWN COMPLETE chunk if it is not in the SHUTDOWN-ACK-SENT
    //= state."
    //= RFC 9260 §9.2: "if it is not, the chunk SHOULD be discarded"
    //= RFC 9260 §9.2: "the endpoint SHOULD stop the T2-shutdown timer and remove all knowledge of the association"
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
        let causes = || abort.causes.iter().filter_map(Result::ok);
        let by_user = causes().find(|cause| matches!(cause, Cause::UserInitiatedAbort(_)));
        let first = by_user.or_else(|| causes().next());
        let cause = first.as_ref().map(RemoteError::from_cause);
        //= RFC 9260 §9.1: "the receiving endpoint MUST remove the association from its record and SHOULD report the
        //= termination to its upper layer"
        //= RFC 9260 §9.1: "the Upper Layer Abort Reason SHOULD be made available to the upper layer"
        self.close(CloseReason::PeerAbort { cause }, cx);
    }

    /// In SHUTDOWN-SENT each packet with DATA is answered with SHUTDOWN at once (§9.2).
    pub(super) fn answer_data_with_shutdown(&mut self, source: IpAddr, cx: &mut Context<'_>) {
        let State::ShutdownSent(closing) = self.state else { return };
        let at = self.reply_path(source);
        let gaps = self.receiver.tracker.has_gaps() || !self.receiver.tracker.duplicates().is_empty();
        //= RFC 9260 §9.2: "or if duplicate TSNs have been received, then a SACK chunk MUST also be sent"
        //= RFC 9260 §6.2: "the endpoint SHOULD use a SACK chunk instead of the SHUTDOWN chunk to acknowledge DATA
        //= chunks received out of order"
        //= RFC 9260 §6.2: "Acknowledgements MUST be sent in SACK chunks unless shutdown was requested by the ULP"
        self.receiver.sack.due = gaps;
        self.receiver.sack.pending = gaps;
        self.receiver.sack.timer = None;
        //= RFC 9260 §9.2: "the SHUTDOWN chunk sender MUST immediately respond to each received packet containing one or
        //= more DATA chunks with a SHUTDOWN chunk and restart the T2-shutdown timer"
        //= RFC 9260 §4: "In the SHUTDOWN-SENT state, the endpoint MUST acknowledge any received DATA chunks without
        //= delay."
        // T5 keeps running.
        self.state = State::ShutdownSent(self.closing(Some(closing), cx));
        if !self.control.iter().any(|queued| matches!(queued.chunk, Control::Shutdown)) {
            self.queue_control(at, Control::Shutdown);
        }
    }

    /// Ends the association with an ABORT, if the peer's tag is known, so that there is somebody to tell.
    pub(super) fn abort_with(&mut self, causes: &[Cause<'_>], reason: CloseReason, cx: &mut Context<'_>) {
        if self.peer_tag != 0 {
            //= RFC 9260 §9.1: "When an endpoint decides to abort an existing association, it MUST send an ABORT chunk to its
            //= peer endpoint."
            //= RFC 9260 §8.5.1: "The endpoint MUST always fill in the Verification Tag field of the outbound packet with the
            //= destination endpoint's tag value if it is known."
            let peer = self.paths[self.paths.for_data()].address;
            self.farewell = self.abort_packet(peer, self.peer_tag, false, causes);
        }
        self.close(reason, cx);
    }

    /// A packet with an ABORT for one of the peer's addresses; without the causes if they have no space.
    pub(super) fn abort_packet(
        &self,
        peer: IpAddr,
        verification_tag: u32,
        tag_reflected: bool,
        causes: &[Cause<'_>],
    ) -> Option<Box<Answer>> {
        let path = self.paths.find(peer).map(|at| &self.paths[at]);
        let to = Destination {
            source: path.and_then(|path| path.source),
            address: peer,
            encapsulation: path.map_or(self.paths.encapsulation, |path| path.encapsulation),
        };
        //= RFC 9260 §9.1: "The sender MUST fill in the peer's Verification Tag in the outbound packet and MUST NOT bundle any
        //= DATA chunk with the ABORT chunk."
        let header = CommonHeader { verification_tag, ..self.header() };
        let abort = |causes| {
            let chunk = Abort { tag_reflected, causes };
            Answer::new(to, header, &chunk, self.limits.checksum, self.limits.max_packet())
        };
        abort(CauseList::new(causes)).or_else(|| abort(CauseList::EMPTY)).map(Box::new)
    }

    /// The association has ended.
    pub(super) fn close(&mut self, reason: CloseReason, cx: &mut Context<'_>) {
        if self.is_closed() {
            return;
        }
        let outstanding = &self.sender.outstanding;
        let last_tsns =
            LastTsns { acked: outstanding.cumulative().get(), sent: outstanding.next_tsn().previous().get() };
        self.fail_all_data(SendFailure::Closed, cx);
        self.abort_partial_delivery(cx);
        self.receiver.drop_incomplete();
        self.control.clear();
        self.state = State::Closed;
        self.draining = false;
        self.ended_mutually = matches!(reason, CloseReason::Shutdown | CloseReason::PeerAbort { .. });
        self.emit(cx, Event::Closed { reason, last_tsns });
    }

    /// The common header of our packets.
    pub(super) fn header(&self) -> CommonHeader {
        //= RFC 9260 §3.1: "On transmit, the value of the Verification Tag MUST be set to the value of the Initiate Tag
        //= received from the peer endpoint"
        //= RFC 9260 §8.5: "When sending an SCTP packet, the endpoint MUST fill in the Verification Tag field of the
        //= outbound packet with the tag value in the Initiate Tag parameter"
        //= RFC 9260 §3.3.2: "This value MUST be placed into the Verification Tag field of every SCTP packet that the
        //= receiver of the INIT chunk transmits"
        //= RFC 9260 §3.3.3: "This value MUST be placed into the Verification Tag field of every SCTP packet that the
        //= receiver of the INIT ACK chunk transmits"
        //= RFC 9260 §8.5.1: "When sending a COOKIE ECHO chunk, the endpoint MUST use the value of the Initiate Tag
        //= received in the INIT ACK chunk."
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
        //= RFC 9260 §9.2: "The rules in Section 6.3 MUST be followed to determine the proper timer value for
        //= T2-shutdown."
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
