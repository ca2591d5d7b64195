//! Packets that belong to no association (RFC 9260 §8.4).

use super::Endpoint;
use super::routing::Received;
use crate::OutOfTheBluePolicy;
use crate::answer::Answer;
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
    if contains(ChunkType::ABORT) {
        Reaction::Discard
    } else if contains(ChunkType::SHUTDOWN_ACK) {
        Reaction::ShutdownComplete
    } else if contains(ChunkType::SHUTDOWN_COMPLETE) || contains(ChunkType::COOKIE_ACK) || stale_cookie() {
        Reaction::Discard
    } else {
        Reaction::Abort
    }
}

impl Endpoint {
    pub(super) fn handle_out_of_the_blue(&mut self, received: &Received<'_, '_>) -> Result<Handled, Discard> {
        if !is_unicast(received.source) || !is_unicast(received.destination) {
            return Err(Discard::BadAddress);
        }
        if self.config.out_of_the_blue == OutOfTheBluePolicy::Discard {
            return Err(Discard::OutOfTheBlue);
        }
        let tag = received.packet.verification_tag;
        match react(&received.packet) {
            Reaction::Discard => Err(Discard::OutOfTheBlue),
            Reaction::ShutdownComplete => self.answer(received, tag, &ShutdownComplete { tag_reflected: true }),
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
        let addresses = (Some(received.destination), received.source);
        match Answer::new(addresses, header, chunk, self.limits.checksum, self.limits.max_packet) {
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

    #[test]
    fn rule_2_abort_is_not_answered_wherever_it_is() {
        let abort = Chunk::Abort(Abort { tag_reflected: false, causes: CauseList::EMPTY });
        assert_eq!(reaction(&[&abort]), Reaction::Discard);
        assert_eq!(reaction(&[&Chunk::ShutdownAck, &abort]), Reaction::Discard);
    }

    #[test]
    fn rule_5_shutdown_ack_is_completed() {
        assert_eq!(reaction(&[&Chunk::ShutdownAck]), Reaction::ShutdownComplete);
        assert_eq!(reaction(&[&Chunk::CookieAck, &Chunk::ShutdownAck]), Reaction::ShutdownComplete);
    }

    #[test]
    fn rule_6_shutdown_complete_is_not_answered() {
        let complete = Chunk::ShutdownComplete(ShutdownComplete { tag_reflected: true });
        assert_eq!(reaction(&[&complete]), Reaction::Discard);
    }

    #[test]
    fn rule_7_cookie_ack_and_stale_cookie_are_not_answered() {
        assert_eq!(reaction(&[&Chunk::CookieAck, &data()]), Reaction::Discard);
        let stale = [Cause::OutOfResource, Cause::StaleCookie { staleness: 1 }];
        let stale = Chunk::Error(ErrorChunk { causes: stale[..].into() });
        assert_eq!(reaction(&[&stale]), Reaction::Discard);
    }

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
