//! Explicit Congestion Notification (RFC 3168; for SCTP RFC 4960 Appendix A, whose codepoints RFC 9260 reserves).
//!
//! Packets with DATA go out as ECN-capable transport, ECT(0). A router that is congested marks them (CE) where it would have to drop
//! others. The receiver says so in an ECNE chunk beside every SACK until it sees a CWR chunk; the sender reduces the window as for a
//! loss, once for a window of data, and answers with CWR.

use super::Association;
use crate::EcnStats;
use crate::congestion::Controller;
use crate::serial::Tsn;
use crate::wire::{Chunk, Cwr, Ecne, Packet};

/// What was heeded is forgotten so many TSNs later, before they can come round again.
const MEMORY: i32 = 1 << 30;

/// So many ECNEs go in front of their SACKs; if no CWR answers them, the next ones go behind.
///
/// In front, the TSN is still outstanding when the sender looks up its path: Linux reduces no window for a TSN that the SACK has just
/// acknowledged. But usrsctp 0.9.5 knows only a draft's ECNE of 12 bytes, sends no CWR for another one, and discards what follows it in the packet:
/// it would never see a SACK again.
const IN_FRONT: u8 = 3;

/// ECN in both directions.
#[derive(Debug, Default)]
pub(super) struct EcnState {
    /// The lowest TSN of the last packet that came marked: every SACK goes with an ECNE until a CWR answers it.
    echo: Option<Tsn>,
    /// ECNEs that have gone in front of SACKs since a CWR came last, up to [`IN_FRONT`].
    unanswered: u8,
    /// The highest TSN that was outstanding when a window was last reduced for an ECNE: congestion of anything up to it has been heeded.
    heeded: Option<Tsn>,
    /// The TSN of an ECNE that a CWR is to answer, with the next DATA.
    pub(super) cwr: Option<Tsn>,
    pub(super) stats: EcnStats,
}

impl Association {
    /// A packet with new DATA came marked "congestion experienced".
    pub(super) fn note_congestion_mark(&mut self, packet: &Packet<'_>) {
        let Some(ecn) = &mut self.ecn else { return };
        let data = packet.chunks().filter_map(Result::ok).filter_map(|raw| match Chunk::parse(raw) {
            Ok(Chunk::Data(data)) => Some(data.header.tsn),
            _ => None,
        });
        let lowest = data.reduce(|lowest, tsn| if tsn.precedes(lowest) { tsn } else { lowest });
        // A later mark replaces an earlier one: a CWR that answers only the earlier one does not end the echo.
        ecn.echo = lowest.or(ecn.echo);
        ecn.stats.marks += 1;
    }

    /// The TSN to echo in an ECNE.
    pub(super) fn echo(&self) -> Option<Tsn> {
        self.ecn.as_ref()?.echo
    }

    /// An ECNE is about to be sent beside a SACK: whether it goes in front.
    pub(super) fn puts_echo_first(&mut self) -> bool {
        let Some(ecn) = self.ecn.as_mut().filter(|ecn| ecn.unanswered < IN_FRONT) else { return false };
        ecn.unanswered += 1;
        true
    }

    /// The peer received a packet of ours that was marked.
    pub(super) fn handle_ecne(&mut self, ecne: Ecne) {
        let Ecne { lowest_tsn } = ecne;
        let outstanding = &self.sender.outstanding;
        let next = outstanding.next_tsn();
        let at = outstanding.path_of(lowest_tsn).unwrap_or_else(|| self.paths.for_data());
        let Some(ecn) = self.ecn.as_mut().filter(|_| self.state.may_receive_sack() && lowest_tsn.precedes(next)) else {
            return;
        };
        // Even if it is heeded already: the CWR that said so was lost, or is still on its way.
        ecn.cwr = Some(lowest_tsn);
        // "only once in response to a series of dropped and/or CE packets from a single window of data" (RFC 3168 §6.1.2).
        let mut before = [ecn.heeded, self.sender.fast_recovery].into_iter().flatten();
        if before.any(|last| lowest_tsn.precedes_or_is(last)) {
            return;
        }
        ecn.heeded = Some(next.previous());
        ecn.stats.reductions += 1;
        self.paths[at].controller.on_congestion();
    }

    /// The peer has reduced its window.
    pub(super) fn handle_cwr(&mut self, cwr: Cwr) {
        let Some(ecn) = &mut self.ecn else { return };
        ecn.unanswered = 0;
        if ecn.echo.is_some_and(|echo| echo.precedes_or_is(cwr.lowest_tsn)) {
            ecn.echo = None;
        }
    }

    /// Whether a loss of `tsn` belongs to a window of data that has been reduced for already.
    pub(super) fn has_heeded(&self, tsn: Tsn) -> bool {
        self.ecn.as_ref().and_then(|ecn| ecn.heeded).is_some_and(|heeded| tsn.precedes_or_is(heeded))
    }

    /// Forgets what was heeded long ago.
    pub(super) fn forget_heeded(&mut self) {
        let cumulative = self.sender.outstanding.cumulative();
        if let Some(ecn) = &mut self.ecn
            && ecn.heeded.is_some_and(|heeded| heeded.distance(cumulative) > MEMORY)
        {
            ecn.heeded = None;
        }
    }
}
