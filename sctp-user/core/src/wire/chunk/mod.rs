//! The chunks of [RFC 9260 §3.3] and PAD of [RFC 4820], one file each.
//!
//! [RFC 9260 §3.3]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3
//! [RFC 4820]: https://www.rfc-editor.org/rfc/rfc4820

mod abort;
mod bare;
mod chunk_type;
mod cookie_echo;
mod data;
mod ecn;
mod error;
mod heartbeat;
mod init;
mod pad;
mod sack;
mod shutdown;
mod shutdown_complete;

use core::fmt;

use super::cause::CauseError;
use super::parameter::ParameterError;
use super::{Emit, RawChunk, Sink, TlvError};
use crate::serial::Tsn;

pub use abort::Abort;
pub use chunk_type::ChunkType;
pub use cookie_echo::CookieEcho;
pub use data::{DATA_CHUNK_HEADER_LENGTH, Data, DataFlags, DataHeader};
pub use ecn::{Cwr, Ecne};
pub use error::ErrorChunk;
pub use heartbeat::{Heartbeat, HeartbeatAck};
pub use init::{Init, InitAck, InitError};
pub use pad::Pad;
pub use sack::{DuplicateTsns, GapAckBlock, GapAckBlocks, ReceivedSack, Sack};
pub use shutdown::Shutdown;
pub use shutdown_complete::ShutdownComplete;

/// A chunk with its meaning.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Chunk<'a> {
    /// User data (RFC 9260 §3.3.1).
    Data(Data<'a>),
    /// Opens an association (§3.3.2).
    Init(Init<'a>),
    /// Answers an INIT (§3.3.3).
    InitAck(InitAck<'a>),
    /// Acknowledges DATA (§3.3.4).
    Sack(ReceivedSack<'a>),
    /// Probes a path (§3.3.5).
    Heartbeat(Heartbeat<'a>),
    /// Answers a HEARTBEAT (§3.3.6).
    HeartbeatAck(HeartbeatAck<'a>),
    /// Closes the association at once (§3.3.7).
    Abort(Abort<'a>),
    /// Begins a graceful close (§3.3.8).
    Shutdown(Shutdown),
    /// Answers a SHUTDOWN (§3.3.9).
    ShutdownAck,
    /// Reports errors (§3.3.10).
    Error(ErrorChunk<'a>),
    /// Returns the State Cookie (§3.3.11).
    CookieEcho(CookieEcho<'a>),
    /// Answers a COOKIE ECHO (§3.3.12).
    CookieAck,
    /// Echoes an explicit congestion notification (type reserved by RFC 9260, format of RFC 4960 appendix A).
    Ecne(Ecne),
    /// Answers an ECNE (type reserved by RFC 9260, format of RFC 4960 appendix A).
    Cwr(Cwr),
    /// Ends a graceful close (§3.3.13).
    ShutdownComplete(ShutdownComplete),
    /// Fills a packet; to be ignored (RFC 4820 §3).
    Pad(Pad),
    /// A type that is not known here: [`RawChunk::unknown_action`] says what to do.
    Unknown(RawChunk<'a>),
}

/// Why a chunk cannot be read. The first three end the walk over the packet; the others concern one chunk alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// Fewer bytes are left in the packet than a chunk header takes.
    #[error("{available} stray bytes at byte {offset} of the packet, too few for a chunk header")]
    HeaderTruncated {
        /// Where in the packet.
        offset: usize,
        /// How many bytes are left, 1 to 3.
        available: usize,
    },
    /// The Chunk Length does not even count the chunk header.
    #[error("chunk length {length} at byte {offset} of the packet is less than the 4 bytes of a chunk header")]
    LengthBelowHeader {
        /// Where in the packet.
        offset: usize,
        /// The Chunk Length, 0 to 3.
        length: u16,
    },
    /// A partial chunk: its Chunk Length goes beyond the packet. "If the receiver
    /// detects a partial chunk, it MUST drop the chunk" (RFC 9260 §6.10).
    #[error("chunk length {length} at byte {offset} goes beyond the packet, which has {available} bytes left there")]
    LengthBeyondPacket {
        /// Where in the packet.
        offset: usize,
        /// The Chunk Length.
        length: u16,
        /// How many bytes are left in the packet.
        available: usize,
    },
    /// The length does not suit the type of the chunk.
    #[error("{chunk_type} at byte {offset} of the packet is {length} bytes long; it takes {expected}")]
    BadLength {
        /// What kind of chunk.
        chunk_type: ChunkType,
        /// Where in the packet.
        offset: usize,
        /// The Chunk Length.
        length: usize,
        /// What its section asks for: exactly, or at least where the chunk is variable.
        expected: usize,
    },
    /// "If an endpoint receives a DATA chunk with no user data (i.e., the Length field is set to 16), it SHOULD send an ABORT chunk
    /// with a "No User Data" error cause" (RFC 9260 §6.2).
    #[error("DATA with TSN {tsn} at byte {offset} of the packet has no user data")]
    NoUserData {
        /// Where in the packet.
        offset: usize,
        /// Goes into the "No User Data" error cause.
        tsn: Tsn,
    },
    /// An INIT or INIT ACK with a mandatory field that it must not have.
    #[error("{chunk_type} at byte {offset} of the packet: {error}")]
    Init {
        /// INIT or INIT ACK; they are answered differently.
        chunk_type: ChunkType,
        /// Where in the packet.
        offset: usize,
        /// Which field, and the tag for the answer.
        error: InitError,
    },
    /// A HEARTBEAT or HEARTBEAT ACK that does not begin with a Heartbeat Info parameter.
    #[error("{chunk_type} at byte {offset} of the packet does not begin with a Heartbeat Info parameter")]
    NoHeartbeatInfo {
        /// HEARTBEAT or HEARTBEAT ACK.
        chunk_type: ChunkType,
        /// Where in the packet.
        offset: usize,
    },
    /// Parameters or error causes that cannot be walked.
    #[error("{chunk_type}: {error}")]
    List {
        /// What kind of chunk.
        chunk_type: ChunkType,
        /// What is wrong, and where.
        error: TlvError,
    },
    /// A parameter that cannot be read.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// An error cause that cannot be read.
    #[error(transparent)]
    Cause(#[from] CauseError),
}

impl<'a> Chunk<'a> {
    /// Gives a chunk its meaning.
    ///
    /// A receiver of many DATA and SACK chunks asks [`RawChunk::chunk_type`] first and calls [`Data::parse`] or
    /// [`Sack::parse`](ReceivedSack::parse) itself: their results stay in registers, where this enum goes through memory.
    ///
    /// # Errors
    ///
    /// [`ChunkError`] when its format is not what its type asks for. A type that is not known is not an error.
    pub fn parse(raw: RawChunk<'a>) -> Result<Self, ChunkError> {
        Ok(match raw.chunk_type {
            ChunkType::DATA => Self::Data(Data::parse(raw)?),
            ChunkType::SACK => Self::Sack(Sack::parse(raw)?),
            ChunkType::INIT => Self::Init(Init::parse(raw)?),
            ChunkType::INIT_ACK => Self::InitAck(InitAck::parse(raw)?),
            ChunkType::HEARTBEAT => Self::Heartbeat(Heartbeat::parse(raw)?),
            ChunkType::HEARTBEAT_ACK => Self::HeartbeatAck(HeartbeatAck::parse(raw)?),
            ChunkType::ABORT => Self::Abort(Abort::parse(raw)?),
            ChunkType::SHUTDOWN => Self::Shutdown(Shutdown::parse(raw)?),
            ChunkType::SHUTDOWN_ACK => bare::parse(raw, Self::ShutdownAck)?,
            ChunkType::ERROR => Self::Error(ErrorChunk::parse(raw)?),
            ChunkType::COOKIE_ECHO => Self::CookieEcho(CookieEcho::parse(raw)),
            ChunkType::COOKIE_ACK => bare::parse(raw, Self::CookieAck)?,
            ChunkType::ECNE => Self::Ecne(Ecne::parse(raw)?),
            ChunkType::CWR => Self::Cwr(Cwr::parse(raw)?),
            ChunkType::SHUTDOWN_COMPLETE => Self::ShutdownComplete(ShutdownComplete::parse(raw)?),
            ChunkType::PAD => Self::Pad(Pad::parse(raw)),
            _ => Self::Unknown(raw),
        })
    }

    /// What kind of chunk it is.
    #[must_use]
    pub fn chunk_type(&self) -> ChunkType {
        match self {
            Self::Data(_) => ChunkType::DATA,
            Self::Init(_) => ChunkType::INIT,
            Self::InitAck(_) => ChunkType::INIT_ACK,
            Self::Sack(_) => ChunkType::SACK,
            Self::Heartbeat(_) => ChunkType::HEARTBEAT,
            Self::HeartbeatAck(_) => ChunkType::HEARTBEAT_ACK,
            Self::Abort(_) => ChunkType::ABORT,
            Self::Shutdown(_) => ChunkType::SHUTDOWN,
            Self::ShutdownAck => ChunkType::SHUTDOWN_ACK,
            Self::Error(_) => ChunkType::ERROR,
            Self::CookieEcho(_) => ChunkType::COOKIE_ECHO,
            Self::CookieAck => ChunkType::COOKIE_ACK,
            Self::Ecne(_) => ChunkType::ECNE,
            Self::Cwr(_) => ChunkType::CWR,
            Self::ShutdownComplete(_) => ChunkType::SHUTDOWN_COMPLETE,
            Self::Pad(_) => ChunkType::PAD,
            Self::Unknown(raw) => raw.chunk_type,
        }
    }
}

impl Emit for Chunk<'_> {
    fn length(&self) -> usize {
        match self {
            Self::Data(chunk) => chunk.length(),
            Self::Init(chunk) => chunk.length(),
            Self::InitAck(chunk) => chunk.length(),
            Self::Sack(chunk) => chunk.length(),
            Self::Heartbeat(chunk) => chunk.length(),
            Self::HeartbeatAck(chunk) => chunk.length(),
            Self::Abort(chunk) => chunk.length(),
            Self::Shutdown(chunk) => chunk.length(),
            Self::Error(chunk) => chunk.length(),
            Self::CookieEcho(chunk) => chunk.length(),
            Self::ShutdownAck | Self::CookieAck => bare::LENGTH,
            Self::Ecne(chunk) => chunk.length(),
            Self::Cwr(chunk) => chunk.length(),
            Self::ShutdownComplete(chunk) => chunk.length(),
            Self::Pad(chunk) => chunk.length(),
            Self::Unknown(raw) => raw.bytes.len(),
        }
    }

    fn emit(&self, out: &mut Sink<'_>) {
        match self {
            Self::Data(chunk) => chunk.emit(out),
            Self::Init(chunk) => chunk.emit(out),
            Self::InitAck(chunk) => chunk.emit(out),
            Self::Sack(chunk) => chunk.emit(out),
            Self::Heartbeat(chunk) => chunk.emit(out),
            Self::HeartbeatAck(chunk) => chunk.emit(out),
            Self::Abort(chunk) => chunk.emit(out),
            Self::Shutdown(chunk) => chunk.emit(out),
            Self::Error(chunk) => chunk.emit(out),
            Self::CookieEcho(chunk) => chunk.emit(out),
            Self::ShutdownAck | Self::CookieAck => bare::emit(self.chunk_type(), out),
            Self::Ecne(chunk) => chunk.emit(out),
            Self::Cwr(chunk) => chunk.emit(out),
            Self::ShutdownComplete(chunk) => chunk.emit(out),
            Self::Pad(chunk) => chunk.emit(out),
            Self::Unknown(raw) => out.bytes(raw.bytes),
        }
    }
}

impl fmt::Display for Chunk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(chunk) => chunk.fmt(f),
            Self::Init(chunk) => chunk.fmt(f),
            Self::InitAck(chunk) => chunk.fmt(f),
            Self::Sack(chunk) => fmt::Display::fmt(chunk, f),
            Self::Heartbeat(chunk) => fmt::Display::fmt(chunk, f),
            Self::HeartbeatAck(chunk) => fmt::Display::fmt(chunk, f),
            Self::Abort(chunk) => fmt::Display::fmt(chunk, f),
            Self::Shutdown(chunk) => fmt::Display::fmt(chunk, f),
            Self::Error(chunk) => fmt::Display::fmt(chunk, f),
            Self::CookieEcho(chunk) => fmt::Display::fmt(chunk, f),
            Self::ShutdownAck | Self::CookieAck => self.chunk_type().fmt(f),
            Self::Ecne(chunk) => fmt::Display::fmt(chunk, f),
            Self::Cwr(chunk) => fmt::Display::fmt(chunk, f),
            Self::ShutdownComplete(chunk) => fmt::Display::fmt(chunk, f),
            Self::Pad(chunk) => fmt::Display::fmt(chunk, f),
            Self::Unknown(raw) => write!(f, "unknown {raw}"),
        }
    }
}

impl<'a> RawChunk<'a> {
    /// The fixed part of a chunk of exactly `N` bytes, header included.
    #[inline]
    fn exactly<const N: usize>(&self) -> Result<&'a [u8; N], ChunkError> {
        self.bytes.try_into().map_err(|_| self.bad_length(N))
    }

    /// The fixed part of a chunk of at least `N` bytes, header included, and what follows it.
    #[inline]
    fn at_least<const N: usize>(&self) -> Result<(&'a [u8; N], &'a [u8]), ChunkError> {
        self.bytes.split_first_chunk().ok_or_else(|| self.bad_length(N))
    }

    #[cold]
    fn bad_length(&self, expected: usize) -> ChunkError {
        ChunkError::BadLength { chunk_type: self.chunk_type, offset: self.offset, length: self.bytes.len(), expected }
    }
}

/// Reads the four bytes of a big-endian number at `at`, which is in range for the fixed header of every caller.
#[inline]
const fn u32_at<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Reads the two bytes of a big-endian number at `at`, which is in range for the fixed header of every caller.
#[inline]
const fn u16_at<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}
