//! ICMP messages about packets of ours (RFC 9260 §10).

use super::Endpoint;
use crate::icmp::{self, IcmpHandled, IcmpMessage, Suspect};
use crate::time::Instant;

impl Endpoint {
    /// Processes an ICMP or ICMPv6 message that quotes an SCTP packet (RFC 9260 §10): path MTU, unreachable hosts and networks, hosts
    /// without SCTP. It is believed only if the packet that it quotes has the addresses, ports and tag of an association, which somebody
    /// off the path cannot know.
    pub fn handle_icmp(&mut self, now: Instant, message: &IcmpMessage<'_>) -> IcmpHandled {
        let IcmpMessage { icmp_type, code, mtu, source, destination, encapsulation, quoted } = *message;
        let meaning = icmp::meaning(destination.is_ipv4(), icmp_type, code, encapsulation.is_some());
        if meaning == icmp::Meaning::Nothing {
            return IcmpHandled::Ignored;
        }
        //= RFC 9260 §10: "An implementation MUST use the payload of the ICMP message (v4 or v6) to locate the association
        //= that sent the message to which ICMP is responding."
        //= RFC 9260 §10: "If the association cannot be found, an implementation SHOULD ignore the ICMP message."
        let Some((local_port, peer_port, _)) = icmp::ports_and_tag(quoted) else { return IcmpHandled::NotOurs };
        let found = self.table.find_peer(destination, peer_port, local_port);
        let Some(slot) = found.filter(|_| self.is_ours(source)) else {
            return IcmpHandled::NoAssociation;
        };
        let Some(association) = self.table.get(self.table.id_of(slot)) else { return IcmpHandled::NoAssociation };
        // "If a received ICMP or ICMPv6 packet cannot be related to a specific SCTP association … it MUST be discarded silently" (RFC 6951
        // §5.5): packets of the association go another way.
        if association.encapsulation(destination) != Some(encapsulation) {
            return IcmpHandled::NotOurs;
        }
        let suspect = Suspect {
            state: association.state(),
            local_tag: association.local_tag(),
            peer_tag: association.peer_tag(),
            aborts: association.config().abort_on_protocol_unreachable,
        };
        let handled = icmp::decide(meaning, quoted, suspect);
        match handled {
            IcmpHandled::PathMtu => self.with(slot, now, |association, cx| {
                // A router that does not tell its MTU (0, RFC 1191 §5): nothing but a black hole will.
                association.icmp_too_big(destination, u16::try_from(mtu).unwrap_or(u16::MAX), cx.now);
            }),
            IcmpHandled::Unreachable => {
                self.with(slot, now, |association, cx| association.icmp_unreachable(destination, cx));
            }
            IcmpHandled::Aborted => self.with(slot, now, |association, cx| association.icmp_abort(cx)),
            _ => {}
        }
        handled
    }
}
