//! Control chunks and SACKs into a packet that goes out (RFC 9260 §6.2, §6.10).

use super::state::State;
use super::{Association, Control};
use crate::answer::Encoded;
use crate::time::Instant;
use crate::wire::{Chunk, CookieEcho, Ecne, Emit, Heartbeat, Sack, Shutdown, Writer};

/// Bytes of a SACK without Gap Ack Blocks.
pub(super) const SACK_HEADER: usize = 16;

/// What the control chunks of a packet mean for the rest of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bundle {
    /// Anything may follow.
    Open,
    /// The first is a COOKIE ECHO: DATA may follow, and in this packet only (§5.1 C).
    CookieEcho,
    /// INIT is alone in its packet (§6.10); nothing but what is there goes to an unconfirmed path (§5.4).
    Closed,
}

impl Association {
    /// Writes the control chunks for `path` that wait at the front.
    pub(super) fn write_control(&mut self, path: usize, writer: &mut Writer<'_>, now: Instant) -> Bundle {
        //= RFC 9260 §5.4: "An endpoint MUST NOT send any chunks to an UNCONFIRMED address, with the following
        //= exceptions:"
        let mut bundle = if self.paths[path].is_confirmed() { Bundle::Open } else { Bundle::Closed };
        while let Some(queued) = self.control.pop_front() {
            if queued.path != path || (matches!(queued.chunk, Control::Init) && !writer.is_empty()) {
                self.control.push_front(queued);
                break;
            }
            let written = match &queued.chunk {
                Control::Init => {
                    let written = self.with_init(|init| writer.chunk(init)).is_ok();
                    self.init_sent(now);
                    //= RFC 9260 §3: "INIT, INIT ACK, and SHUTDOWN COMPLETE chunks MUST NOT be bundled with any other
                    //= chunk"
                    //= RFC 9260 §12.3: "an INIT chunk MUST NOT be bundled with any other chunk in a packet and (2) a
                    //= packet containing an INIT chunk MUST have a zero Verification Tag"
                    bundle = Bundle::Closed;
                    written
                }
                Control::CookieEcho => {
                    let written = self.write_cookie_echo(writer, now);
                    bundle = if bundle == Bundle::Open { Bundle::CookieEcho } else { bundle };
                    written
                }
                Control::CookieAck => writer.chunk(&Chunk::CookieAck).is_ok(),
                Control::Heartbeat => match self.heartbeat_info(path, now) {
                    Some(info) => {
                        self.stats.heartbeats_sent += 1;
                        writer.chunk(&Heartbeat { info: &info }).is_ok()
                    }
                    None => continue,
                },
                // A packet of its own, and larger ones than others.
                Control::PathMtuProbe => false,
                Control::Shutdown => {
                    let shutdown = Shutdown { cumulative_tsn_ack: self.receiver.tracker.cumulative() };
                    writer.chunk(&shutdown).is_ok()
                }
                Control::ShutdownAck => writer.chunk(&Chunk::ShutdownAck).is_ok(),
                Control::Encoded(bytes) => writer.chunk(&Encoded(bytes)).is_ok(),
            };
            if !written {
                self.control.push_front(queued);
                break;
            }
            self.stats.control_chunks_sent += 1;
            if matches!(queued.chunk, Control::Init) {
                break;
            }
        }
        bundle
    }

    fn init_sent(&mut self, now: Instant) {
        if let State::CookieWait(wait) = &mut self.state {
            wait.sent = now;
            //= RFC 9260 §5.1.6: "When retransmitting the INIT chunk, the endpoint MUST follow the rules defined in
            //= Section 6.3"
            //= RFC 9260 §5.1: "The T1-init timer and T1-cookie timer SHOULD follow the same rules given in Section
            //= 6.3."
            wait.t1 = Some(now + backed_off(&self.config, wait.retransmissions));
        }
    }

    /// A COOKIE ECHO that got lost twice in company may be too large with it for the path, of which nothing is known yet.
    pub(super) fn cookie_echo_goes_alone(&self) -> bool {
        matches!(&self.state, State::CookieEchoed(echoed) if echoed.retransmissions > 1)
    }

    /// COOKIE ECHO, and what is to be said about the INIT ACK (§5.1.4).
    fn write_cookie_echo(&mut self, writer: &mut Writer<'_>, now: Instant) -> bool {
        let State::CookieEchoed(echoed) = &mut self.state else { return true };
        echoed.sent = now;
        //= RFC 9260 §5.1.4: "The endpoint MUST also start the T1-cookie timer after sending the COOKIE ECHO chunk."
        echoed.t1 = Some(now + backed_off(&self.config, echoed.retransmissions));
        if writer.chunk(&CookieEcho { cookie: &echoed.cookie }).is_err() {
            return false;
        }
        if let Some(error) = &echoed.error {
            // It is a courtesy; without space there is none.
            let _ = writer.chunk(&Encoded(error));
        }
        true
    }

    /// Writes a SACK if one is due, or one could go along with DATA.
    pub(super) fn write_sack(&mut self, path: usize, with_data: bool, writer: &mut Writer<'_>) -> bool {
        let sack = &self.receiver.sack;
        //= RFC 9260 §6.1: "the sender SHOULD create a SACK chunk and bundle it with the outbound DATA chunk"
        if !(sack.due || (sack.pending && with_data)) || !self.may_sack() || !self.paths[path].is_confirmed() {
            return false;
        }
        let due = sack.due;
        let duplicates = self.receiver.tracker.duplicates().len();
        let echo = self.echo().map(|lowest_tsn| Ecne { lowest_tsn });
        let fixed = SACK_HEADER + 4 * duplicates + echo.map_or(0, |echo| echo.length());
        let Some(room) = writer.remaining().checked_sub(fixed) else { return false };
        //= RFC 9260 §6.7: "the endpoint MUST send only one SACK chunk"
        //= RFC 9260 §6.2: "The SCTP endpoint MUST report as many Gap Ack Blocks as can fit in a single SACK chunk"
        let blocks = self.receiver.tracker.gap_count().min(room / 4);
        if with_data && !due {
            // It can wait, so it must not push the DATA out of the packet.
            let size = fixed + 4 * blocks;
            if self.first_data_size() + size > writer.remaining() {
                return false;
            }
        }
        let in_front = echo.is_some() && self.puts_echo_first();
        let (before, behind) = if in_front { (echo, None) } else { (None, echo) };
        if before.is_some_and(|echo| writer.chunk(&echo).is_err()) {
            return false;
        }
        //= RFC 9260 §6.2: "the data receiver SHOULD place the current value of a_rwnd into the a_rwnd field"
        let a_rwnd = self.receiver.announce_window();
        let sack = Sack {
            cumulative_tsn_ack: self.receiver.tracker.cumulative(),
            a_rwnd,
            gap_ack_blocks: self.receiver.gap_blocks(blocks),
            duplicate_tsns: self.receiver.tracker.duplicates().iter().copied(),
        };
        let written = writer.chunk(&sack).is_ok() && behind.is_none_or(|echo| writer.chunk(&echo).is_ok());
        if written {
            self.stats.sacks_sent += 1;
            self.stats.control_chunks_sent += 1 + u64::from(echo.is_some());
        }
        written
    }
}

/// T1 doubles with every retransmission (§5.1, §6.3.3).
fn backed_off(config: &crate::AssociationConfig, retransmissions: u32) -> core::time::Duration {
    let factor = 1_u32.checked_shl(retransmissions).unwrap_or(u32::MAX);
    config.rto_initial.saturating_mul(factor).min(config.init_rto_max)
}
