//! Chunk types, [RFC 9260 §3.2], and those of the extensions.
//!
//! [RFC 9260 §3.2]: https://www.rfc-editor.org/rfc/rfc9260#section-3.2

use crate::wire::UnknownAction;
use crate::wire::named::named;

/// The type of a chunk; any number may come from the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkType(pub u8);

impl ChunkType {
    /// What the type asks of a receiver that does not know it.
    #[inline]
    #[must_use]
    pub const fn unknown_action(self) -> UnknownAction {
        UnknownAction::of_chunk(self.0)
    }
}

named! {
    ChunkType: chunk, "chunk type {:#04x}";
    DATA "DATA",
    INIT "INIT",
    INIT_ACK "INIT ACK",
    SACK "SACK",
    HEARTBEAT "HEARTBEAT",
    HEARTBEAT_ACK "HEARTBEAT ACK",
    ABORT "ABORT",
    SHUTDOWN "SHUTDOWN",
    SHUTDOWN_ACK "SHUTDOWN ACK",
    ERROR "ERROR",
    COOKIE_ECHO "COOKIE ECHO",
    COOKIE_ACK "COOKIE ACK",
    ECNE "ECNE",
    CWR "CWR",
    SHUTDOWN_COMPLETE "SHUTDOWN COMPLETE",
    AUTH "AUTH",
    I_DATA "I-DATA",
    ASCONF_ACK "ASCONF-ACK",
    RE_CONFIG "RE-CONFIG",
    PAD "PAD",
    FORWARD_TSN "FORWARD-TSN",
    ASCONF "ASCONF",
    I_FORWARD_TSN "I-FORWARD-TSN",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(ChunkType(3).to_string(), "SACK");
        assert_eq!(ChunkType(0x84).to_string(), "PAD");
        assert_eq!(ChunkType(0x3f).to_string(), "chunk type 0x3f");
    }

    #[test]
    fn what_peers_do_that_lack_our_extensions() {
        assert_eq!(ChunkType::PAD.unknown_action(), UnknownAction { stop: false, report: false });
        assert_eq!(ChunkType::FORWARD_TSN.unknown_action(), UnknownAction { stop: false, report: true });
        assert_eq!(ChunkType::I_DATA.unknown_action(), UnknownAction { stop: true, report: true });
    }
}
