//! Which association a packet belongs to (RFC 9260 §8.4, §8.5).

use core::net::IpAddr;
use core::num::NonZeroU16;

use super::Endpoint;
use crate::association::{Context, Inbound, is_unicast};
use crate::event::{Discard, Handled};
use crate::time::Instant;
use crate::wire::{ChunkType, Packet, PacketError, RawChunk, verify_checksum};
use crate::{AssociationId, AssociationState, ChecksumState, Datagram, Ecn, PayloadSource};

/// The T bit of ABORT and SHUTDOWN COMPLETE: the tag is reflected.
const REFLECTED: u8 = 0b1;

/// A received packet whose common header is sound and whose checksum is right.
pub(super) struct Received<'a, 'b> {
    pub(super) packet: Packet<'a>,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// The UDP port that it came from, if it came in UDP.
    pub(super) encapsulation: Option<NonZeroU16>,
    pub(super) ecn: Ecn,
    pub(super) payload: &'b mut dyn PayloadSource,
}

impl Endpoint {
    /// Finds out whose packet it is and has it processed.
    pub(super) fn route(&mut self, now: Instant, datagram: Datagram<'_>) -> Result<Handled, Discard> {
        let Datagram { source, destination, encapsulation, ecn, checksum, association, bytes, payload, .. } = datagram;
        let packet = Packet::parse(bytes).map_err(|error| match error {
            PacketError::TooShort { .. } => Discard::Malformed,
            PacketError::SourcePortZero | PacketError::DestinationPortZero => Discard::PortZero,
        })?;
        // Somebody who knows a tag, or needs none, could have us answer from any address.
        if !self.is_ours(destination) {
            return Err(if is_unicast(destination) { Discard::NotOurAddress } else { Discard::BadAddress });
        }
        //= RFC 9260 §6.8: "When an SCTP packet is received, the receiver MUST first check the CRC32c checksum as
        //= follows:"
        //= RFC 9260 §6.8: "If it is not, the receiver MUST treat the packet as an invalid SCTP packet."
        if checksum == ChecksumState::NotChecked && !verify_checksum(bytes) {
            return Err(Discard::BadChecksum);
        }
        let first = packet.chunks().next().and_then(Result::ok).ok_or(Discard::Malformed)?;
        let received = Received { packet, source, destination, encapsulation, ecn, payload };
        let Received { packet, .. } = &received;
        match first.chunk_type {
            ChunkType::INIT => return self.handle_init(now, first, received),
            //= RFC 9260 §8.5.1: "When an endpoint receives an SCTP packet with the Verification Tag set to 0, it SHOULD
            //= verify that the packet contains only an INIT chunk."
            //= RFC 9260 §8.5.1: "Otherwise, the receiver MUST silently discard the packet."
            _ if packet.verification_tag == 0 => return Err(Discard::BadTag),
            ChunkType::COOKIE_ECHO => return self.handle_cookie_echo(now, first, received),
            // INIT ACK and SHUTDOWN COMPLETE are alone (§6.10).
            ChunkType::INIT_ACK | ChunkType::SHUTDOWN_COMPLETE if packet.chunks().count() > 1 => {
                return Err(Discard::BadBundle);
            }
            _ => {}
        }
        match self.find(&received, &first, association)? {
            Some(slot) => {
                // Processing may end it, and the slot get another generation.
                let id = self.table.id_of(slot);
                self.process(slot, now, received, false);
                Ok(Handled::Processed(id))
            }
            //= RFC 9260 §6: "A DATA chunk received in CLOSED is out of the blue and SHOULD be handled per Section 8.4."
            //= RFC 9260 §6: "A SACK chunk in the CLOSED state is out of the blue and SHOULD be processed according to
            //= the rules in Section 8.4."
            None => self.handle_out_of_the_blue(&received),
        }
    }

    /// Whether we have the address. Without a list of ours, every one that packets come to is taken for ours.
    pub(super) fn is_ours(&self, address: IpAddr) -> bool {
        self.config.addresses.is_empty() || self.config.addresses.contains(&address)
    }

    /// Has an association process a packet that is its own.
    pub(super) fn process(&mut self, slot: u32, now: Instant, received: Received<'_, '_>, skip_first: bool) {
        let Received { packet, source, destination, encapsulation, ecn, payload } = received;
        let Some(live) = self.table.live_mut(slot) else { return };
        let inbound = Inbound { packet, source, destination, encapsulation, ecn, payload, skip_first };
        live.association.handle_packet(inbound, &mut Context { now, rng: &mut self.rng, events: &mut self.events });
        let growth = live.association.receive_growth();
        if growth > 0 {
            let granted = growth.min(self.buffer_memory);
            self.buffer_memory -= granted;
            live.association.enlarge_receive_buffer(granted);
        }
        self.after(slot, now);
    }

    /// The association that a packet belongs to by its tag; `None` if it is out of the blue.
    fn find(
        &self,
        received: &Received<'_, '_>,
        first: &RawChunk<'_>,
        hint: Option<AssociationId>,
    ) -> Result<Option<u32>, Discard> {
        let Received { packet, source, .. } = received;
        let reflected =
            first.flags & REFLECTED != 0 && matches!(first.chunk_type, ChunkType::ABORT | ChunkType::SHUTDOWN_COMPLETE);
        if reflected {
            return self.find_reflected(received);
        }
        //= RFC 9260 §8.5: "the endpoint MUST ensure that the value in the Verification Tag field of the received SCTP
        //= packet matches its own tag"
        let (port, tag) = (packet.destination_port, packet.verification_tag);
        let hinted = hint.and_then(|id| {
            let association = self.table.get(id)?;
            (association.local_tag() == tag && association.local_port() == port).then_some((id.slot(), association))
        });
        let found = hinted.or_else(|| {
            let slot = self.table.find_tag(port, tag)?;
            Some((slot, self.table.get(self.table.id_of(slot))?))
        });
        let Some((slot, association)) = found else {
            // An ABORT may stand behind control chunks (§3.3.7), with the tag reflected all the same (§8.5.1 B).
            let is_reflected_abort =
                |chunk: &RawChunk<'_>| chunk.chunk_type == ChunkType::ABORT && chunk.flags & REFLECTED != 0;
            if packet.chunks().filter_map(Result::ok).any(|chunk| is_reflected_abort(&chunk)) {
                return self.find_reflected(received);
            }
            return self.find_by_address_only(received, first);
        };
        if association.peer_port() != packet.source_port {
            return Err(Discard::UnknownSource);
        }
        let state = association.state();
        let connecting = matches!(state, AssociationState::CookieWait | AssociationState::CookieEchoed);
        //= RFC 9260 §8.5.1: "If the receiver is in COOKIE-ECHOED or COOKIE-WAIT state, the procedures in Section 8.4
        //= SHOULD be followed"
        if connecting && first.chunk_type == ChunkType::SHUTDOWN_ACK {
            return Ok(None);
        }
        // An INIT ACK may come from an address that it only now tells of (§5.1.2 C).
        let is_answer = state == AssociationState::CookieWait && first.chunk_type == ChunkType::INIT_ACK;
        if association.find_path(*source).is_none() && !(is_answer && is_unicast(*source)) {
            return Err(Discard::UnknownSource);
        }
        Ok(Some(slot))
    }

    /// ABORT or SHUTDOWN COMPLETE of a peer that has forgotten the association: it sends back the tag that we gave it, its own
    /// (§8.5.1 B, C).
    fn find_reflected(&self, received: &Received<'_, '_>) -> Result<Option<u32>, Discard> {
        let Received { packet, source, .. } = received;
        let Some(slot) = self.table.find_peer(*source, packet.source_port, packet.destination_port) else {
            return Ok(None);
        };
        let association = self.table.get(self.table.id_of(slot)).ok_or(Discard::BadTag)?;
        let fits = association.peer_tag() != 0 && association.peer_tag() == packet.verification_tag;
        //= RFC 9260 §8.5.1: "Otherwise, the receiver MUST silently discard the packet and take no further action."
        if fits { Ok(Some(slot)) } else { Err(Discard::BadTag) }
    }

    /// No association has the tag. If one has the addresses, the tag is wrong and the packet is discarded (§8.5); otherwise it is out
    /// of the blue.
    fn find_by_address_only(&self, received: &Received<'_, '_>, first: &RawChunk<'_>) -> Result<Option<u32>, Discard> {
        let Received { packet, source, .. } = received;
        let Some(slot) = self.table.find_peer(*source, packet.source_port, packet.destination_port) else {
            return Ok(None);
        };
        let state = self.table.get(self.table.id_of(slot)).map(crate::Association::state);
        let connecting = matches!(state, Some(AssociationState::CookieWait | AssociationState::CookieEchoed));
        if connecting && first.chunk_type == ChunkType::SHUTDOWN_ACK {
            return Ok(None);
        }
        //= RFC 9260 §8.5: "the receiver MUST silently discard the packet and MUST NOT process it any further"
        Err(Discard::BadTag)
    }
}
