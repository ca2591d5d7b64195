//! Packets that belong to no association (RFC 9260 §8.4).

use super::Endpoint;
use super::routing::Received;
use crate::OutOfTheBluePolicy;
use crate::answer::{Answer, Destination};
use crate::association::is_unicast;
use crate::event::{Discard, Handled};
use crate::wire::{Abort, CauseCode, CauseList, Chunk, ChunkType, CommonHeader, Emit, Packet, ShutdownComplete};

/// What is done about a packet out of the blue. (INIT and COOKIE ECHO, rules 3 and 4, are looked at before.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reaction {
    /// Rules 1, 2, 6, 7.
    Discard,
    /// Rule 5.
    ShutdownComplete,
    /// Rule 8.
    Abort,
}

/// Applies the rules, in their order, to the chunks of a packet.
fn react(packet: &Packet<'_>) -> Reaction {
    let chunks = || packet.chunks().filter_map(Result::ok);
    let contains = |wanted: ChunkType| chunks().any(|chunk| chunk.chunk_type == wanted);
    let stale_cookie = || {
        chunks().filter(|chunk| chunk.chunk_type == ChunkType::ERROR).any(|chunk| match Chunk::parse(chunk) {
            Ok(Chunk::Error(error)) => {
                error.causes.iter().filter_map(Result::ok).any(|cause| cause.code() == CauseCode::STALE_COOKIE)
            }
            _ => false,
        })
    };
    //= RFC 9260 §8.4: "If the OOTB packet contains an ABORT chunk, the receiver MUST silently discard the OOTB packet"
    //= RFC 9260 §3.3.7: "or no TCB is found, it MUST silently discard it"
    if contains(ChunkType::ABORT) {
        Reaction::Discard
    } else if contains(ChunkType::SHUTDOWN_ACK) {
        Reaction::ShutdownComplete
    //= RFC 9260 §8.4: "If the packet contains a SHUTDOWN COMPLETE chunk, the receiver SHOULD silently discard the
    //= packet"
    //= RFC 9260 §8.4: "If the packet contains an ERROR chunk with the "Stale Cookie" error cause or a COOKIE ACK chunk,
    //= the SCTP packet SHOULD be silently discarded."
    } else if contains(ChunkType::SHUTDOWN_COMPLETE) || contains(ChunkType::COOKIE_ACK) || stale_cookie() {
        Reaction::Discard
    } else {
        Reaction::Abort
    }
}

impl Endpoint {
    pub(super) fn handle_out_of_the_blue(&mut self, received: &Received<'_, '_>) -> Result<Handled, Discard> {
        //= RFC 9260 §8.4: "If the OOTB packet is to or from a non-unicast address, a receiver SHOULD silently discard
        //= the packet."
        if !is_unicast(received.source) || !is_unicast(received.destination) {
            return Err(Discard::BadAddress);
        }
        if self.config.out_of_the_blue == OutOfTheBluePolicy::Discard {
            return Err(Discard::OutOfTheBlue);
        }
        let tag = received.packet.verification_tag;
        match react(&received.packet) {
            Reaction::Discard => Err(Discard::OutOfTheBlue),
            //= RFC 9260 §8.4: "If the packet contains a SHUTDOWN ACK chunk, the receiver SHOULD respond to the sender
            //= of the OOTB packet with a SHUTDOWN COMPLETE chunk."
            //= RFC 9260 §8.4: "the receiver of the OOTB packet MUST fill in the Verification Tag field of the outbound
            //= packet with the Verification Tag received in the SHUTDOWN ACK chunk and set the T bit"
            //= RFC 9260 §3.1: "A packet containing a SHUTDOWN COMPLETE chunk with the T bit set MUST have the
            //= Verification Tag copied from the packet with the SHUTDOWN ACK chunk."
            //= RFC 9260 §8.5.1: "Only where no TCB exists SHOULD the sender use the Verification Tag from the SHUTDOWN
            //= ACK chunk and MUST set the T bit."
            //= RFC 9260 §9.2: "SHOULD respond to the receipt of a SHUTDOWN ACK chunk with a stand-alone SHUTDOWN
            //= COMPLETE chunk"
            Reaction::ShutdownComplete => self.answer(received, tag, &ShutdownComplete { tag_reflected: true }),
            //= RFC 9260 §8.4: "The receiver SHOULD respond to the sender of the OOTB packet with an ABORT chunk."
            //= RFC 9260 §8.4: "the receiver of the OOTB packet MUST fill in the Verification Tag field of the outbound
            //= packet with the value found in the Verification Tag field of the OOTB packet and set the T bit"
            //= RFC 9260 §8.4: "the receiver of the OOTB packet MUST discard the OOTB packet and MUST NOT take any
            //= further action"
            //= RFC 9260 §8.5.1: "If the ABORT chunk is sent in response to an OOTB packet, the endpoint MUST follow the
            //= procedure described in Section 8.4."
            Reaction::Abort => self.answer(received, tag, &Abort { tag_reflected: true, causes: CauseList::EMPTY }),
        }
    }

    /// Answers a packet with one chunk, to where it came from.
    pub(super) fn answer<C: Emit>(
        &mut self,
        received: &Received<'_, '_>,
        verification_tag: u32,
        chunk: &C,
    ) -> Result<Handled, Discard> {
        if self.answers.len() >= self.config.max_pending_answers {
            return Err(Discard::TooManyAnswers);
        }
        let header: CommonHeader = received.packet.header().reply(verification_tag);
        //= RFC 9260 §5.1: "The destination IP address of the INIT ACK chunk MUST be set to the source IP address of the
        //= INIT chunk"
        //= RFC 9260 §5.1: "An endpoint MUST send the INIT ACK chunk to the IP address from which it received the INIT
        //= chunk."
        //= RFC 9260 §5.1.2: "The packet containing the INIT ACK chunk MUST be sent to the source address of the packet
        //= containing the INIT chunk."
        //= RFC 9260 §5.2.1: "The packet containing the INIT ACK chunk MUST only be sent to an address reported in the
        //= incoming INIT chunk."
        //= RFC 9260 §5.2.1: "The packet containing the INIT ACK chunk SHOULD be sent to the source address of the
        //= received packet containing the INIT chunk."
        let to = Destination {
            source: Some(received.destination),
            address: received.source,
            encapsulation: received.encapsulation,
        };
        match Answer::new(to, header, chunk, self.limits.checksum, self.limits.max_packet()) {
            Some(answer) => {
                self.answers.push_back(answer);
                Ok(Handled::Answered)
            }
            None => Err(Discard::TooManyAnswers),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{
        Cause, Checksum, Data, DataFlags, DataHeader, ErrorChunk, Heartbeat, RawChunk, Shutdown, Writer,
    };

    fn reaction(chunks: &[&Chunk<'_>]) -> Reaction {
        let mut bytes = [0; 512];
        let header = CommonHeader { source_port: 1, destination_port: 2, verification_tag: 3 };
        let mut writer = Writer::new(&mut bytes, header).unwrap();
        for chunk in chunks {
            writer.chunk(*chunk).unwrap();
        }
        let len = writer.finish(Checksum::Zero);
        react(&Packet::parse(&bytes[..len]).unwrap())
    }

    fn data() -> Chunk<'static> {
        let flags = DataFlags::UNFRAGMENTED;
        let header = DataHeader { tsn: 1.into(), stream: 0, ssn: 0.into(), ppid: 0, flags };
        Chunk::Data(Data::new(header, b"x"))
    }

    //= test RFC 9260 §8.4: "If the OOTB packet contains an ABORT chunk, the receiver MUST silently discard the OOTB
    //= packet"
    #[test]
    fn rule_2_abort_is_not_answered_wherever_it_is() {
        let abort = Chunk::Abort(Abort { tag_reflected: false, causes: CauseList::EMPTY });
        assert_eq!(reaction(&[&abort]), Reaction::Discard);
        assert_eq!(reaction(&[&Chunk::ShutdownAck, &abort]), Reaction::Discard);
    }

    //= test RFC 9260 §8.4: "If the packet contains a SHUTDOWN ACK chunk, the receiver SHOULD respond to the sender of
    //= the OOTB packet with a SHUTDOWN COMPLETE chunk."
    #[test]
    fn rule_5_shutdown_ack_is_completed() {
        assert_eq!(reaction(&[&Chunk::ShutdownAck]), Reaction::ShutdownComplete);
        assert_eq!(reaction(&[&Chunk::CookieAck, &Chunk::ShutdownAck]), Reaction::ShutdownComplete);
    }

    //= test RFC 9260 §8.4: "If the packet contains a SHUTDOWN COMPLETE chunk, the receiver SHOULD silently discard the
    //= packet"
    #[test]
    fn rule_6_shutdown_complete_is_not_answered() {
        let complete = Chunk::ShutdownComplete(ShutdownComplete { tag_reflected: true });
        assert_eq!(reaction(&[&complete]), Reaction::Discard);
    }

    //= test RFC 9260 §8.4: "If the packet contains an ERROR chunk with the "Stale Cookie" error cause or a COOKIE ACK
    //= chunk, the SCTP packet SHOULD be silently discarded."
    #[test]
    fn rule_7_cookie_ack_and_stale_cookie_are_not_answered() {
        assert_eq!(reaction(&[&Chunk::CookieAck, &data()]), Reaction::Discard);
        let stale = [Cause::OutOfResource, Cause::StaleCookie { staleness: 1 }];
        let stale = Chunk::Error(ErrorChunk { causes: stale[..].into() });
        assert_eq!(reaction(&[&stale]), Reaction::Discard);
    }

    //= test RFC 9260 §8.4: "The receiver SHOULD respond to the sender of the OOTB packet with an ABORT chunk."
    #[test]
    fn rule_8_everything_else_is_aborted() {
        let other = [Cause::OutOfResource];
        let error = Chunk::Error(ErrorChunk { causes: other[..].into() });
        let shutdown = Chunk::Shutdown(Shutdown { cumulative_tsn_ack: 1.into() });
        let heartbeat = Chunk::Heartbeat(Heartbeat { info: b"info" });
        let raw = [200, 0, 0, 4];
        let packet = [&[0, 1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0][..], &raw].concat();
        let unknown: RawChunk<'_> = Packet::parse(&packet).unwrap().chunks().next().unwrap().unwrap();
        for chunk in [data(), error, shutdown, heartbeat, Chunk::Unknown(unknown)] {
            assert_eq!(reaction(&[&chunk]), Reaction::Abort, "{chunk}");
        }
    }
}
