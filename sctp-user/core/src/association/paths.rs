//! Watching paths: heartbeats, path verification, errors and fail-over (RFC 9260 §5.4, §8).

use rand::Rng;

use super::{Association, Context, Control};
use crate::CloseReason;
use crate::event::{Event, PathState};
use crate::path::Unanswered;
use crate::time::Instant;

/// Bytes of our Heartbeat Info: nonce, time, path.
pub(super) const HEARTBEAT_INFO: usize = 32;

impl Association {
    /// The association is established: begin to verify paths and to watch them.
    //= RFC 9260 §8.3: "By default, an SCTP endpoint SHOULD monitor the reachability of the idle destination transport
    //= address(es) of its peer by sending a HEARTBEAT chunk periodically"
    //= RFC 9260 §3.3.5: "An endpoint SHOULD send a HEARTBEAT (HB) chunk to its peer endpoint to probe the reachability"
    pub(super) fn start_heartbeats(&mut self, cx: &mut Context<'_>) {
        for at in 0..self.paths.len() {
            self.schedule_heartbeat(at, cx);
        }
    }

    /// The application wants to know about a path. False if the peer has no such address.
    pub(crate) fn request_heartbeat(&mut self, address: core::net::IpAddr, cx: &mut Context<'_>) -> bool {
        let Some(at) = self.paths.find(address) else { return false };
        if self.state.may_heartbeat() {
            self.send_heartbeat(at, cx);
        }
        true
    }

    /// HEARTBEATs end with SHUTDOWN or SHUTDOWN ACK (§8.3).
    pub(super) fn stop_heartbeats(&mut self) {
        for path in self.paths.iter_mut() {
            path.heartbeat.timer = None;
            path.heartbeat.unanswered = None;
        }
        self.control.retain(|queued| !matches!(queued.chunk, Control::Heartbeat));
    }

    /// The timer of a path's heartbeat has expired.
    pub(super) fn heartbeat_expired(&mut self, at: usize, cx: &mut Context<'_>) {
        self.paths[at].heartbeat.timer = None;
        if !self.state.may_heartbeat() {
            return;
        }
        if let Some(unanswered) = self.paths[at].heartbeat.unanswered.as_mut().filter(|unanswered| !unanswered.overdue)
        {
            // Not answered within an RTO (§8.3). A late answer is still good.
            //= RFC 9260 §8.3: "The endpoint SHOULD increment the respective error counter of the destination transport
            //= address each time a HEARTBEAT chunk is sent to that address and not acknowledged within one RTO."
            unanswered.overdue = true;
            let path = &mut self.paths[at];
            path.rtt.back_off(&self.config);
            let verifying =
                path.state == PathState::Unconfirmed && path.error_count <= self.config.path_max_retransmits;
            //= RFC 9260 §8.1: "Unacknowledged HEARTBEAT chunks observed on paths different from the path currently used
            //= for data transfer SHOULD NOT increment the association error counter"
            let on_data_path = at == self.paths.for_data();
            self.count_error(at, on_data_path, cx);
            if self.is_closed() {
                return;
            }
            if verifying {
                // "In each RTO, a probe MAY be sent on an active UNCONFIRMED path" (§5.4).
                self.send_heartbeat(at, cx);
            } else {
                self.schedule_heartbeat(at, cx);
            }
            return;
        }
        // Idle means that nothing has measured the path within the period (§8.3).
        let path = &self.paths[at];
        if let Some(interval) = self.config.heartbeat_interval.filter(|_| path.is_confirmed()) {
            let idle_at = path.last_measured + path.rtt.rto() + interval;
            if idle_at > cx.now && path.is_active() {
                self.paths[at].heartbeat.timer = Some(idle_at);
                return;
            }
        }
        self.send_heartbeat(at, cx);
    }

    /// A HEARTBEAT ACK has come; `info` is what our HEARTBEAT held.
    pub(super) fn heartbeat_acknowledged(&mut self, info: &[u8], cx: &mut Context<'_>) {
        let Some(nonce) = info.first_chunk().map(|nonce| u64::from_be_bytes(*nonce)) else { return };
        if info.len() != HEARTBEAT_INFO {
            return;
        }
        let answered = |unanswered: &Unanswered| unanswered.nonce == nonce;
        let Some(at) = self.paths.iter().position(|path| path.heartbeat.unanswered.as_ref().is_some_and(answered))
        else {
            return;
        };
        let path = &mut self.paths[at];
        let Some(unanswered) = path.heartbeat.unanswered.take() else { return };
        self.stats.heartbeats_acknowledged += 1;
        //= RFC 9260 §8.3: "The receiver of the HEARTBEAT ACK chunk SHOULD also perform an RTT measurement for that
        //= destination transport address"
        path.rtt.measured(cx.now - unanswered.sent, &self.config);
        // "MAY choose not to clear the counter if there is outstanding data" (§8.1): a path for HEARTBEATs need not be one for DATA.
        //= RFC 9260 §8.1: "When a HEARTBEAT ACK chunk is received from the peer endpoint, the counter SHOULD also be
        //= reset."
        //= RFC 9260 §8.3: "The receiver of the HEARTBEAT ACK chunk SHOULD also clear the association overall error
        //= count"
        if self.sender.outstanding.is_empty() {
            self.error_count = 0;
        }
        self.path_is_good(at, cx);
        self.schedule_heartbeat(at, cx);
    }

    /// Something proves that a path works: clears its errors, and puts it in use if it was not.
    //= RFC 9260 §8.2: "SHOULD also report to the upper layer when an inactive destination address is marked as active"
    //= RFC 9260 §8.3: "Whenever a HEARTBEAT ACK chunk arrives, the sender SHOULD clear the error counter of the
    //= destination that the HEARTBEAT chunk was sent to."
    //= RFC 9260 §8.3: "the sender of the HEARTBEAT chunk SHOULD clear the error counter of the destination transport
    //= address to which the HEARTBEAT chunk was sent and mark the destination transport address as active"
    //= RFC 9260 §8.3: "The endpoint SHOULD report to the upper layer when an inactive destination address is marked as
    //= active due to the reception of the latest HEARTBEAT ACK chunk."
    pub(super) fn path_is_good(&mut self, at: usize, cx: &mut Context<'_>) {
        let path = &mut self.paths[at];
        path.error_count = 0;
        if path.state != PathState::Active {
            path.state = PathState::Active;
            let address = path.address;
            self.emit(cx, Event::PathChanged { address, state: PathState::Active });
        }
    }

    /// Counts an error against a path, and if `fatal` against the association (§8.1, §8.2).
    pub(super) fn count_error(&mut self, at: usize, fatal: bool, cx: &mut Context<'_>) {
        let limit = self.config.path_max_retransmits;
        let path = &mut self.paths[at];
        // "When probing UNCONFIRMED addresses … the association overall error count is not incremented" (§5.4).
        let fatal = fatal && path.is_confirmed();
        //= RFC 9260 §8.3: "After this, the endpoint SHOULD continue sending HEARTBEAT chunks on this destination
        //= address but SHOULD stop increasing the counter."
        if path.error_count <= limit {
            path.error_count += 1;
        }
        //= RFC 9260 §8.2: "the endpoint SHOULD mark the destination transport address as inactive, and a notification
        //= SHOULD be sent to the upper layer"
        //= RFC 9260 §8.3: "the endpoint SHOULD mark the corresponding destination address as inactive if it is not so
        //= marked and SHOULD also report to the upper layer the change"
        if path.error_count > limit && path.is_active() {
            path.state = PathState::Inactive;
            let address = path.address;
            self.emit(cx, Event::PathChanged { address, state: PathState::Inactive });
            if self.config.heartbeat_interval.is_some() && self.paths[at].heartbeat.timer.is_none() {
                self.schedule_heartbeat(at, cx);
            }
        }
        if fatal {
            //= RFC 9260 §8.1: "An endpoint SHOULD keep a counter on the total number of consecutive retransmissions to
            //= its peer"
            //= RFC 9260 §8.1: "the endpoint SHOULD consider the peer endpoint unreachable and SHALL stop transmitting
            //= any more data to it"
            //= RFC 9260 §8.1: "the endpoint SHOULD report the failure to the upper layer"
            self.error_count += 1;
            if self.error_count > self.config.association_max_retransmits {
                self.close(CloseReason::Unreachable, cx);
            }
        }
    }

    /// Writes the Heartbeat Info of the HEARTBEAT that is being sent on a path.
    pub(super) fn heartbeat_info(&mut self, at: usize, now: Instant) -> Option<[u8; HEARTBEAT_INFO]> {
        let path = &mut self.paths[at];
        let unanswered = path.heartbeat.unanswered.as_mut()?;
        unanswered.sent = now;
        path.last_measured = now;
        path.heartbeat.timer = Some(now + path.rtt.rto());
        let mut info = [0; HEARTBEAT_INFO];
        //= RFC 9260 §3.3.5: "it MUST include a random nonce of length 64 bits or longer"
        //= RFC 9260 §3.3.5: "The Sender-Specific Heartbeat Info field SHOULD include information about the sender's
        //= current time when this HEARTBEAT chunk is sent and the destination transport address"
        //= RFC 9260 §8.3: "The sender of the HEARTBEAT chunk SHOULD include in the Heartbeat Information field of the
        //= chunk the current time when the packet is sent and the destination address"
        info[..8].copy_from_slice(&unanswered.nonce.to_be_bytes());
        info[8..16].copy_from_slice(&now.as_nanos().to_be_bytes());
        let address = match path.address {
            core::net::IpAddr::V4(address) => address.to_ipv6_mapped(),
            core::net::IpAddr::V6(address) => address,
        };
        info[16..].copy_from_slice(&address.octets());
        Some(info)
    }

    /// Has a HEARTBEAT sent on a path.
    pub(super) fn send_heartbeat(&mut self, at: usize, cx: &mut Context<'_>) {
        let nonce = cx.rng.next_u64();
        self.paths[at].heartbeat.unanswered = Some(Unanswered { nonce, sent: cx.now, overdue: false });
        let waits = |queued: &super::QueuedControl| queued.path == at && matches!(queued.chunk, Control::Heartbeat);
        if !self.control.iter().any(waits) {
            self.queue_control(at, Control::Heartbeat);
        }
        // Should it not be queued, or not go out, it is overdue all the same.
        let path = &mut self.paths[at];
        path.heartbeat.timer = Some(cx.now + path.rtt.rto());
    }

    /// Sets the timer for a path's next HEARTBEAT.
    fn schedule_heartbeat(&mut self, at: usize, cx: &mut Context<'_>) {
        let path = &mut self.paths[at];
        let timer = match self.config.heartbeat_interval {
            // Unconfirmed paths are probed as soon as possible, whatever the interval (§5.4).
            _ if path.state == PathState::Unconfirmed && path.error_count == 0 => Some(cx.now),
            //= RFC 9260 §8.3: "it is RECOMMENDED that a HEARTBEAT chunk is sent once per RTO of that destination
            //= address plus the protocol parameter 'HB.interval', with jittering of +/- 50% of the RTO value"
            //= RFC 9260 §8.3: "Only one heartbeat SHOULD be sent each time the heartbeat timer expires"
            Some(interval) => Some(cx.now + path.heartbeat_period(interval, cx.rng)),
            None if !path.is_confirmed() => Some(cx.now + self.config.rto_max),
            None => None,
        };
        path.heartbeat.timer = timer;
    }
}
