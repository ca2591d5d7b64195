//! The end of a run: everything is closed, and the books are balanced.

use std::time::Duration;

use sctp_core::{CloseReason, RemoteError};

use super::app::{Phase, Reading, Side};
use super::ledger::FlowEnd;
use super::observer::Tags;
use super::world::{ABORT_REASON, Violation, World};

impl World {
    /// Ends everything: closes what is open, lets the network run dry and every guard expire, and balances the books.
    pub(crate) fn finish(&mut self) {
        self.ending = true;
        for index in 0..self.sides.len() {
            if !self.sides[index].is_over() {
                self.sides[index].plan.reading = Reading::Eager;
                if matches!(self.sides[index].phase, Phase::Opening | Phase::Open) {
                    self.abort(index);
                }
                let read = self.read(index);
                self.judge(read);
            }
        }
        for index in 0..self.nodes.len() {
            self.nodes[index].unlisten();
            self.settle(index);
        }
        // Longer than any cookie or guard lives.
        self.run_for(Duration::from_secs(3600));
        let checked = self.check_end();
        self.judge(checked);
    }

    fn check_end(&mut self) -> Result<(), Violation> {
        for (index, side) in self.sides.iter().enumerate() {
            if !side.is_over() {
                let what = format!("side {index} is {:?}, {} messages sent", side.phase, side.sent);
                return Err(Violation { rule: "associations end", what });
            }
        }
        for node in &mut self.nodes {
            node.check_empty()?;
        }
        if self.in_flight > 0 {
            return Err(Violation { rule: "the network runs dry", what: format!("{} packets", self.in_flight) });
        }
        for flow in 0..self.ledger.flows.len() {
            let from = self.ledger.flows[flow].from;
            let to = self.sides.iter().position(|side| side.tags.map(Tags::reversed) == self.sides[from].tags);
            if self.has_twin(from) || to.is_some_and(|to| self.has_twin(to)) {
                self.ledger.flows[flow].end = FlowEnd::Forgotten;
            }
        }
        self.ledger.check()?;
        self.check_reasons()
    }

    /// Whether a copy of a COOKIE ECHO has made the association of this side once more, after its end (RFC 9260 §5.1.5 lets a cookie be
    /// used as often as it likes while it lives). The peer cannot tell the two apart, and may acknowledge to one what the
    /// other sent.
    fn has_twin(&self, side: usize) -> bool {
        let Side { node, tags, .. } = self.sides[side];
        let twins = self.sides.iter().filter(|other| other.node == node && other.tags == tags);
        tags.is_some() && twins.count() > 1
    }

    /// Both ends of an association must agree on how it ended.
    fn check_reasons(&self) -> Result<(), Violation> {
        for (first, a) in self.sides.iter().enumerate() {
            for (second, b) in self.sides.iter().enumerate().skip(first + 1) {
                let (Some(ours), Some(theirs)) = (a.tags, b.tags) else { continue };
                if self.has_twin(first) || self.has_twin(second) {
                    continue;
                }
                if ours.local != theirs.peer || ours.peer != theirs.local {
                    continue;
                }
                let (Some(ours), Some(theirs)) = (a.reason(), b.reason()) else { continue };
                if !self.harsh && !agree(ours, theirs) && !agree(theirs, ours) {
                    let what = format!("side {first} by {ours:?}, side {second} by {theirs:?}");
                    return Err(Violation { rule: "both ends agree on the end", what });
                }
            }
        }
        Ok(())
    }
}

/// Whether one end may see `theirs` when the other sees `ours`, in a network that lets everything through in the end.
fn agree(ours: &CloseReason, theirs: &CloseReason) -> bool {
    match (ours, theirs) {
        (CloseReason::Shutdown, CloseReason::Shutdown) => true,
        // With its reason; or without, when the ABORT was lost and only a later packet met silence's answer.
        (CloseReason::LocalAbort, CloseReason::PeerAbort { cause }) => match cause {
            Some(RemoteError::UserInitiatedAbort { reason }) => reason == ABORT_REASON,
            Some(_) => false,
            None => true,
        },
        (CloseReason::LocalAbort, CloseReason::LocalAbort) => true,
        // The ABORT was lost, and SHUTDOWN ACK met the answer of RFC 9260 §8.4 rule 5.
        (CloseReason::LocalAbort, CloseReason::Shutdown) => true,
        _ => false,
    }
}
