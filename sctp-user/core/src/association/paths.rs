//! Watching paths: heartbeats, path verification, errors and fail-over (RFC 9260 §5.4, §8; RFC 7829).

use core::net::IpAddr;
use core::time::Duration;

use rand::Rng;

use super::{Association, Context, Control};
use crate::CloseReason;
use crate::config::AssociationConfig;
use crate::event::{Event, PathState};
pub(super) use crate::path::HEARTBEAT_INFO;
use crate::path::Unanswered;
use crate::time::Instant;

/// Error counters go up to so many times the limit at which a path is inactive: "it is considered reasonable enough to require that the
/// limit be an order of magnitude higher than the PMR value" (RFC 7829 §4.1).
const ERROR_LIMIT: u32 = 10;

/// The state of a path once its error counter has gone up to `errors`, with `threshold` as its Path.Max.Retrans (§8.2; RFC 7829 §3.2,
/// rules 1, 2 and 8).
fn state_after_error(state: PathState, errors: u32, threshold: u32, config: &AssociationConfig) -> PathState {
    match state {
        // It stays what it is; with too many errors it is only probed less often (§5.4).
        PathState::Unconfirmed => PathState::Unconfirmed,
        _ if errors > threshold => PathState::Inactive,
        PathState::Active if config.potentially_failed_max_retransmits.is_some_and(|limit| errors > limit) => {
            PathState::PotentiallyFailed
        }
        other => other,
    }
}

// Heartbeats.
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

    /// The application wants to know about a path (§11.1.10). False if the peer has no such address.
    pub(crate) fn request_heartbeat(&mut self, address: IpAddr, cx: &mut Context<'_>) -> bool {
        let Some(at) = self.paths.find(address) else { return false };
        // One that is under way will tell. Another in its place would have the first never count as unanswered.
        if self.state.may_heartbeat() && !self.paths[at].heartbeat.is_awaited() {
            self.send_heartbeat(at, cx);
        }
        true
    }

    /// The application turns the heartbeat of a path, or of all paths, on or off, or sets its interval (§11.1.9). False if the peer has
    /// no such address.
    pub(crate) fn set_heartbeat(
        &mut self,
        address: Option<IpAddr>,
        interval: Option<Duration>,
        cx: &mut Context<'_>,
    ) -> bool {
        let mut known = false;
        for at in 0..self.paths.len() {
            let path = &mut self.paths[at];
            if address.is_some_and(|address| address != path.address) {
                continue;
            }
            known = true;
            path.heartbeat.set_interval(interval);
            // One that is under way is waited for. An address that is not verified is probed whatever the application wants.
            if self.state.may_heartbeat() && !path.heartbeat.is_awaited() && path.is_confirmed() {
                self.schedule_heartbeat(at, cx);
            }
        }
        known
    }

    /// HEARTBEATs end with SHUTDOWN or SHUTDOWN ACK (§8.3).
    pub(super) fn stop_heartbeats(&mut self) {
        for path in self.paths.iter_mut() {
            path.heartbeat.timer = None;
            path.heartbeat.unanswered = None;
            path.pmtu.stop();
        }
        self.control.retain(|queued| !matches!(queued.chunk, Control::Heartbeat | Control::PathMtuProbe));
    }

    /// The timer of a path's heartbeat has expired.
    pub(super) fn heartbeat_expired(&mut self, at: usize, cx: &mut Context<'_>) {
        let heartbeat = &mut self.paths[at].heartbeat;
        heartbeat.timer = None;
        if !self.state.may_heartbeat() {
            return;
        }
        match heartbeat.unanswered.as_mut().filter(|unanswered| !unanswered.overdue) {
            Some(unanswered) => {
                // Not answered within an RTO (§8.3). A late answer is still good.
                //= RFC 9260 §8.3: "The endpoint SHOULD increment the respective error counter of the destination transport
                //= address each time a HEARTBEAT chunk is sent to that address and not acknowledged within one RTO."
                unanswered.overdue = true;
                self.heartbeat_unanswered(at, cx);
            }
            None => self.heartbeat_due(at, cx),
        }
    }

    fn heartbeat_unanswered(&mut self, at: usize, cx: &mut Context<'_>) {
        let busy = self.sender.outstanding.flight(at).bytes > 0;
        let path = &mut self.paths[at];
        path.rtt.back_off(&self.config);
        // "the timeout of a HEARTBEAT chunk MAY be ignored if data is outstanding towards the destination address" (RFC 7829 §3.2,
        // rule 6): T3-rtx tells, and an outage is not to be counted twice.
        if !(path.is_potentially_failed() && busy) {
            //= RFC 9260 §8.1: "Unacknowledged HEARTBEAT chunks observed on paths different from the path currently used
            //= for data transfer SHOULD NOT increment the association error counter"
            let on_data_path = at == self.paths.for_data();
            self.count_error(at, on_data_path, cx);
        }
        if self.is_closed() {
            return;
        }
        let path = &self.paths[at];
        match path.state {
            // "In each RTO, a probe MAY be sent on an active UNCONFIRMED path" (§5.4).
            PathState::Unconfirmed if u32::from(path.error_count) <= path.threshold(&self.config) => {
                self.heartbeat_due(at, cx);
            }
            // "the sender transmits another packet containing the HEARTBEAT chunk immediately" (RFC 7829 §3.2, rule 6)
            PathState::PotentiallyFailed => self.heartbeat_due(at, cx),
            _ => self.schedule_heartbeat(at, cx),
        }
    }

    /// Sends a HEARTBEAT on a path if it is still wanted.
    //= RFC 9260 §5.4: "The number of packets containing HEARTBEAT chunks sent at each RTO SHOULD be limited by the
    //= 'HB.Max.Burst' parameter."
    fn heartbeat_due(&mut self, at: usize, cx: &mut Context<'_>) {
        let busy = self.sender.outstanding.flight(at).bytes > 0;
        let path = &self.paths[at];
        let rto = path.rtt.rto();
        let later = match (path.state, path.heartbeat.interval()) {
            (PathState::Unconfirmed, _) => {
                let most = self.config.heartbeat_max_burst;
                self.paths.next_verification(cx.now, rto, most)
            }
            (_, None) => return,
            // "the transmission of a HEARTBEAT chunk MAY be omitted in the case where … T3-rtx timer expiration on the data can provide
            // equivalent information" (RFC 7829 §3.2, rule 6)
            (PathState::PotentiallyFailed, _) => busy.then(|| cx.now + rto),
            // Idle means that nothing has measured the path within the period (§8.3): the shortest that jitter makes, or of every two
            // HEARTBEATs one would be put off.
            (PathState::Active, Some(interval))
                if !path.suspect && path.last_measured + rto / 2 + interval > cx.now =>
            {
                Some(path.last_measured + path.heartbeat_period(interval, cx.rng))
            }
            (PathState::Active | PathState::Inactive, Some(_)) => None,
        };
        match later {
            Some(later) => self.paths[at].heartbeat.timer = Some(later),
            None => self.send_heartbeat(at, cx),
        }
    }

    /// A HEARTBEAT ACK has come; `info` is what our HEARTBEAT held.
    pub(super) fn heartbeat_acknowledged(&mut self, info: &[u8], cx: &mut Context<'_>) {
        let Ok(info) = <&[u8; HEARTBEAT_INFO]>::try_from(info) else { return };
        let Some(nonce) = info.first_chunk().map(|nonce| u64::from_be_bytes(*nonce)) else { return };
        // "a verification is made that the nonce included in the Heartbeat Info parameter is the one sent to the address indicated inside
        // the Heartbeat Info parameter" (§5.4)
        if self.probe_acknowledged(nonce, cx) {
            return;
        }
        let answered = |unanswered: &Unanswered| unanswered.nonce == nonce;
        let Some(at) = self
            .paths
            .iter()
            .position(|path| path.heartbeat.unanswered.as_ref().is_some_and(answered) && path.is_named_by(info))
        else {
            return;
        };
        let path = &mut self.paths[at];
        let Some(unanswered) = path.heartbeat.unanswered.take() else { return };
        self.stats.heartbeats_acknowledged += 1;
        //= RFC 9260 §8.3: "The receiver of the HEARTBEAT ACK chunk SHOULD also perform an RTT measurement for that
        //= destination transport address"
        path.rtt.measured(cx.now - unanswered.sent, &self.config);
        path.suspect = false;
        self.path_is_back(at, cx.now);
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

    /// Writes the Heartbeat Info of the HEARTBEAT that is being sent on a path.
    pub(super) fn heartbeat_info(&mut self, at: usize, now: Instant) -> Option<[u8; HEARTBEAT_INFO]> {
        let path = &mut self.paths[at];
        let unanswered = path.heartbeat.unanswered.as_mut()?;
        unanswered.sent = now;
        let nonce = unanswered.nonce;
        path.last_measured = now;
        path.heartbeat.timer = Some(now + path.rtt.rto());
        Some(path.heartbeat_info(nonce, now))
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
        let timer = match path.heartbeat.interval() {
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

// Errors and states.
impl Association {
    /// Something proves that a path works: clears its errors, and puts it in use if it was not.
    //= RFC 9260 §8.2: "SHOULD also report to the upper layer when an inactive destination address is marked as active"
    //= RFC 9260 §8.3: "Whenever a HEARTBEAT ACK chunk arrives, the sender SHOULD clear the error counter of the
    //= destination that the HEARTBEAT chunk was sent to."
    //= RFC 9260 §8.3: "the sender of the HEARTBEAT chunk SHOULD clear the error counter of the destination transport
    //= address to which the HEARTBEAT chunk was sent and mark the destination transport address as active"
    //= RFC 9260 §8.3: "The endpoint SHOULD report to the upper layer when an inactive destination address is marked as
    //= active due to the reception of the latest HEARTBEAT ACK chunk."
    pub(super) fn path_is_good(&mut self, at: usize, cx: &mut Context<'_>) {
        self.paths.clear_errors(at);
        if !self.paths[at].is_active() {
            self.change_path(at, PathState::Active, cx);
        }
    }

    /// Counts an error against a path, and if `fatal` against the association (§8.1, §8.2).
    pub(super) fn count_error(&mut self, at: usize, fatal: bool, cx: &mut Context<'_>) {
        let threshold = self.paths[at].threshold(&self.config);
        let most = (threshold + 1) * ERROR_LIMIT;
        // It stops later than RFC 9260 §8.3 has it: "SCTP will need to allow for incrementing of the destination address error counters up
        // to some reasonable limit above PMR+1, thus changing the prescriptions of Section 8.3" (RFC 7829 §4.1).
        let errors = self.paths.count_error(at, most);
        let before = self.paths[at].state;
        let after = state_after_error(before, errors, threshold, &self.config);
        //= RFC 9260 §8.2: "the endpoint SHOULD mark the destination transport address as inactive, and a notification
        //= SHOULD be sent to the upper layer"
        //= RFC 9260 §8.3: "the endpoint SHOULD mark the corresponding destination address as inactive if it is not so
        //= marked and SHOULD also report to the upper layer the change"
        if after != before {
            self.change_path(at, after, cx);
            self.probe_failing_path(at, cx);
        }
        self.switch_primary(at, errors, cx);
        // One loss is no reason to leave an address that worked.
        if errors > 1 && before != PathState::Unconfirmed && self.has_no_other(at) {
            self.try_next_source(at);
        }
        // "When probing UNCONFIRMED addresses … the association overall error count is not incremented" (§5.4).
        if fatal && before != PathState::Unconfirmed {
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

    /// A router or the peer's host has told that `address` cannot be reached. It has been validated (RFC 9260 §10, ICMP9: "MAY … increment
    /// the path error counter").
    pub(crate) fn icmp_unreachable(&mut self, address: IpAddr, cx: &mut Context<'_>) {
        let Some(at) = self.paths.find(address) else { return };
        // A HEARTBEAT makes sure of it. While one is under way nothing is counted: so not more than one error for each RTO, however many
        // messages come.
        if self.state.may_heartbeat() && !self.paths[at].heartbeat.is_awaited() {
            self.send_heartbeat(at, cx);
            self.count_error(at, false, cx);
        }
    }

    /// The peer's host has told that it does not know SCTP: "an implementation MUST treat this message as an abort with the T bit set"
    /// (RFC 9260 §10, ICMP8).
    pub(crate) fn icmp_abort(&mut self, cx: &mut Context<'_>) {
        self.close(CloseReason::ProtocolUnreachable, cx);
    }

    /// DATA came from a path a second time, and nothing new with it: our SACKs may get lost on their way back (§6.4). They go by another
    /// path until the next such packet, or until a HEARTBEAT has shown that this one works.
    pub(super) fn data_repeated(&mut self, at: usize, cx: &mut Context<'_>) {
        if self.paths.len() < 2 {
            return;
        }
        let path = &mut self.paths[at];
        path.suspect = !path.suspect;
        let heartbeat = &mut path.heartbeat;
        if path.suspect && self.state.may_heartbeat() && heartbeat.interval().is_some() && !heartbeat.is_awaited() {
            let soon = cx.now.max(path.last_measured + path.rtt.rto());
            heartbeat.timer = Some(heartbeat.timer.map_or(soon, |timer| timer.min(soon)));
        }
    }

    /// What the application sees of a path's state.
    pub(super) fn public_state(&self, state: PathState) -> PathState {
        match state {
            PathState::PotentiallyFailed if !self.config.expose_potentially_failed => PathState::Active,
            state => state,
        }
    }

    fn change_path(&mut self, at: usize, state: PathState, cx: &mut Context<'_>) {
        let before = self.public_state(self.paths[at].state);
        self.paths.set_state(at, state);
        let after = self.public_state(state);
        if after != before {
            let address = self.paths[at].address;
            self.emit(cx, Event::PathChanged { address, state: after });
        }
    }

    /// A path has just become potentially failed, or inactive: HEARTBEATs find out when it works again.
    fn probe_failing_path(&mut self, at: usize, cx: &mut Context<'_>) {
        let path = &self.paths[at];
        if !self.state.may_heartbeat() || path.heartbeat.interval().is_none() || path.heartbeat.is_awaited() {
            return;
        }
        if !path.is_potentially_failed() {
            self.schedule_heartbeat(at, cx);
        } else if at == self.paths.for_data() && !self.sender.outstanding.is_empty() {
            // DATA goes on here, for want of something better, and tells the same.
            self.paths[at].heartbeat.timer = Some(cx.now + self.paths[at].rtt.rto());
        } else {
            // "HEARTBEATs are sent when a destination address reaches the PF state" (RFC 7829 §3.2, rule 6).
            self.send_heartbeat(at, cx);
        }
    }

    /// Whether a path is the only one that may work.
    fn has_no_other(&self, at: usize) -> bool {
        let alternate = self.paths.alternate(at);
        alternate == at || self.paths[alternate].state == PathState::Inactive
    }

    /// There is no other destination to try, but perhaps another address of ours to send from: "it needs to consider each
    /// source-destination address pair" (§6.4.1). As long as the path fails those that the peer knows take turns, one at every second
    /// error. In between the peer [leads](Self::learn_source): if only turns were taken, and by the peer too, they might never meet.
    fn try_next_source(&mut self, at: usize) {
        let path = &mut self.paths[at];
        path.source_turn = path.source_turn.wrapping_add(1);
        let fits = |address: &&IpAddr| address.is_ipv4() == path.address.is_ipv4();
        let sources = self.local_addresses.iter().filter(fits);
        let count = sources.clone().count();
        if count > 1 && !path.follows_peer() {
            let turn = usize::from(path.source_turn / 2) % count;
            path.source = sources.cycle().skip(turn).find(|address| Some(**address) != path.source).copied();
        }
    }

    /// A packet has come on a path, to this address of ours: that is the one to answer from, if none is known, or if the path fails while
    /// it begins at another. That one may be left from a time when [all took turns](Self::try_next_source), which they do no more once
    /// another destination works; the path would stay lost though the peer's own packets show a way.
    pub(super) fn learn_source(&mut self, at: usize, destination: IpAddr) {
        let path = &self.paths[at];
        if path.source.is_none() || (path.error_count > 1 && (path.follows_peer() || !self.has_no_other(at))) {
            self.paths[at].source = Some(super::source::towards(&self.local_addresses, path.address, destination));
        }
    }

    /// Our host has these addresses now, and no others: what was sent from one that is gone must be sent from another.
    pub(crate) fn local_addresses_changed(&mut self, addresses: &[IpAddr]) {
        let kept: smallvec::SmallVec<[IpAddr; 4]> =
            self.local_addresses.iter().filter(|address| addresses.contains(address)).copied().collect();
        for path in self.paths.iter_mut() {
            if path.source.is_some_and(|source| !addresses.contains(&source)) {
                // Without one that the peer knows, routing may find one; the peer will not know it, but nothing else is left.
                path.source = super::closest(&kept, path.address);
            }
        }
    }

    /// Primary path switch-over (RFC 7829 §5).
    fn switch_primary(&mut self, at: usize, errors: u32, cx: &mut Context<'_>) {
        let Some(limit) = self.config.primary_switchover_max_retransmits else { return };
        let other = self.paths.for_data();
        if at == self.paths.primary() && errors > limit && self.paths[other].is_active() {
            self.paths.set_primary(other);
            let address = self.paths[other].address;
            self.emit(cx, Event::PrimaryChanged { address });
        }
    }

    /// A HEARTBEAT has been answered on a path that had failed. Its T3-rtx has backed off, perhaps for a minute: it must not take so long
    /// until DATA is tried again.
    fn path_is_back(&mut self, at: usize, now: Instant) {
        use super::sender::WindowProbe;
        let path = &mut self.paths[at];
        if path.error_count > 0 && self.sender.probe == WindowProbe::None {
            let soon = now + path.rtt.rto();
            path.t3 = path.t3.map(|t3| t3.min(soon));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use PathState::{Active, Inactive, PotentiallyFailed, Unconfirmed};

    /// By state, error count, PFMR: the state that follows, with a PMR of 2.
    #[test]
    fn states_by_error_count() {
        for (state, errors, limit, expected) in [
            (Active, 1, None, Active),
            (Active, 2, None, Active),
            (Active, 3, None, Inactive),
            (Active, 1, Some(0), PotentiallyFailed),
            (Active, 1, Some(1), Active),
            (Active, 2, Some(1), PotentiallyFailed),
            (PotentiallyFailed, 2, Some(0), PotentiallyFailed),
            (PotentiallyFailed, 3, Some(0), Inactive),
            // "the destination address will reach the inactive state before it can be classified as PF" (RFC 7829 §3.2, rule 1)
            (Active, 3, Some(2), Inactive),
            (Inactive, 4, Some(0), Inactive),
            (Inactive, 30, None, Inactive),
            (Unconfirmed, 1, Some(0), Unconfirmed),
            (Unconfirmed, 9, None, Unconfirmed),
        ] {
            let config = AssociationConfig { potentially_failed_max_retransmits: limit, ..AssociationConfig::rfc() };
            let after = state_after_error(state, errors, 2, &config);
            assert_eq!(after, expected, "{state:?} with {errors}, PFMR {limit:?}");
        }
    }
}
