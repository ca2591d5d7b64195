//! The wire format: packets, chunks, parameters and error causes of [RFC 9260 §3], parsed and emitted.
//!
//! [RFC 9260 §3]: https://www.rfc-editor.org/rfc/rfc9260#section-3
//!
//! # Receiving
//!
//! [`Packet::parse`] reads the common header, [`Packet::chunks`] walks the chunks as [`RawChunk`]s (a type, flags and
//! bytes that are known to lie in the packet), [`Chunk::parse`] gives one its meaning. Everything borrows from the
//! packet: nothing is copied and nothing is allocated. Lists (parameters, error causes, Gap Ack Blocks) are walked when
//! they are asked for, so what nobody reads costs nothing.
//!
//! Every parser is total: any bytes give a value or a typed error that says where and what, never a panic. What an
//! association must answer with a chunk of its own is a variant of its own, with what the answer needs
//! ([`ChunkError::NoUserData`], [`InitError`]).
//!
//! The parsers judge *format*. Rules that need an association (tags, states, which chunks may share a packet) are not theirs.
//!
//! # Sending
//!
//! A [`Writer`] fills a buffer that the caller owns: [`Writer::chunk`] for anything that implements [`Emit`],
//! [`Writer::data`] to reserve a DATA chunk whose payload the caller puts in place itself, [`Writer::finish`] for the
//! checksum. The same structs serve both ways: a list is either bytes from the wire or a slice of items to send.
//!
//! # How strict
//!
//! * Chunks of fixed length must have exactly that length, as their sections say; chunks whose sections allow more may be longer.
//! * The last chunk of a packet and the last parameter of a chunk may lack their padding, and padding that is there may
//!   hold anything: "The receiver MUST ignore the padding bytes" (§3.2). Chunk Lengths that count the padding of the last
//!   parameter are accepted, as the note in §3.2 recommends.
//! * A chunk that ends beyond the packet is partial: "If the receiver detects a partial chunk, it MUST drop the chunk" (§6.10).
//!   There is nothing to find after it, so the walk ends there; chunks before it stand.
//! * Chunk Flags, reserved fields and reserved bits are ignored on receipt and zero on transmit.
//! * Unknown chunks and parameters carry the verdict of their two highest bits: [`UnknownAction`].
//!
//! # Adding a chunk
//!
//! A file in `chunk/` with the picture, the struct, `parse` and [`Emit`]; a variant in [`Chunk`] and a line in each of its
//! matches, which the compiler asks for; a name in [`ChunkType`]. Parameters and causes likewise.

pub mod cause;
pub mod checksum;
pub mod chunk;
mod list;
mod named;
mod packet;
pub mod parameter;
#[cfg(test)]
mod tests;
mod tlv;
mod unknown;
mod writer;

pub use cause::{Cause, CauseCode, CauseError, CauseList, MissingParameters, RawCause};
pub use checksum::verify_checksum;
pub use chunk::{
    Abort, Chunk, ChunkError, ChunkType, CookieEcho, Cwr, DATA_CHUNK_HEADER_LENGTH, Data, DataFlags, DataHeader,
    DuplicateTsns, Ecne, ErrorChunk, GapAckBlock, GapAckBlocks, Heartbeat, HeartbeatAck, Init, InitAck, InitError, Pad,
    ReceivedSack, Sack, Shutdown, ShutdownComplete,
};
pub use list::{List, ListItem};
pub use packet::{Chunks, CommonHeader, Packet, PacketError, RawChunk};
pub use parameter::{Parameter, ParameterError, ParameterList, ParameterType, RawParameter, SupportedAddressTypes};
pub use tlv::TlvError;
pub use unknown::UnknownAction;
pub use writer::{Checksum, Emit, NoSpace, Sink, Writer};

pub use sctp_common::wire::padded;
