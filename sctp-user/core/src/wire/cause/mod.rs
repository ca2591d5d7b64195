//! The error causes of ERROR and ABORT, [RFC 9260 §3.3.10], one file a group.
//!
//! [RFC 9260 §3.3.10]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.10
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |          Cause Code           |         Cause Length          |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! /                  Cause-Specific Information                   /
//! \                                                               \
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! Cause codes have no "unknown" bits: one that is not known is [`Cause::Unknown`] and of no consequence.

mod cause_code;
mod copied;
mod fixed;
mod missing;
mod reason;

use core::fmt;

use sctp_common::wire::PARAMETER_HEADER_LENGTH;

use super::list::{List, ListItem, RawItem};
use super::tlv::{Tlv, emit_header, emit_opaque};
use super::{ParameterList, Sink, TlvError};
use crate::serial::Tsn;

pub use cause_code::CauseCode;
pub use missing::MissingParameters;

/// The error causes of a chunk: received, or to be sent.
pub type CauseList<'a> = List<'a, Cause<'a>>;

/// An error cause with its meaning.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Cause<'a> {
    /// DATA came on a stream that does not exist (RFC 9260 §3.3.10.1).
    InvalidStreamIdentifier {
        /// Which one.
        stream: u16,
    },
    /// Mandatory parameters were missing in an INIT or INIT ACK (§3.3.10.2).
    MissingMandatoryParameter(MissingParameters<'a>),
    /// A State Cookie was good but too old (§3.3.10.3).
    StaleCookie {
        /// Measure of Staleness, in microseconds after its end; 0 when the sender does not say.
        staleness: u32,
    },
    /// The sender is out of resource (§3.3.10.4).
    OutOfResource,
    /// An address that cannot be resolved or used: the complete parameter that holds it (§3.3.10.5).
    UnresolvableAddress(&'a [u8]),
    /// The complete chunk that was not recognized (§3.3.10.6), [`RawChunk::bytes`](super::RawChunk::bytes).
    UnrecognizedChunkType(&'a [u8]),
    /// A mandatory parameter of an INIT or INIT ACK had an invalid value (§3.3.10.7).
    InvalidMandatoryParameter,
    /// The parameters of an INIT ACK that were not recognized, "complete with TLV" (§3.3.10.8).
    UnrecognizedParameters(ParameterList<'a>),
    /// A DATA chunk had no user data (§3.3.10.9).
    NoUserData {
        /// Its TSN.
        tsn: Tsn,
    },
    /// A COOKIE ECHO came in state SHUTDOWN-ACK-SENT (§3.3.10.10).
    CookieReceivedWhileShuttingDown,
    /// An INIT would have added these addresses to an association that exists (§3.3.10.11).
    RestartWithNewAddresses(ParameterList<'a>),
    /// The application of the sender wanted it; its reason, for the application here (§3.3.10.12).
    UserInitiatedAbort(&'a [u8]),
    /// The peer broke the protocol in a way that no other cause covers; more about it, if anything (§3.3.10.13).
    ProtocolViolation(&'a [u8]),
    /// An INIT has come for an association that exists, from another UDP encapsulation port than the association has there
    /// (draft-tuexen-tsvwg-rfc6951-bis); 0 stands for "not in UDP".
    RestartWithNewEncapsulationPort {
        /// The association's.
        current: u16,
        /// The INIT's.
        new: u16,
    },
    /// A code that is not known here.
    Unknown(RawCause<'a>),
}

/// An error cause whose bytes are known to lie in its chunk.
#[derive(Clone, Copy)]
pub struct RawCause<'a> {
    /// What kind of cause.
    pub code: CauseCode,
    /// Where it begins in the packet.
    pub offset: usize,
    /// The Cause-Specific Information, without padding.
    pub value: &'a [u8],
    /// The whole cause: code, length and information, without padding.
    pub bytes: &'a [u8],
}

/// Why an error cause cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CauseError {
    /// The list cannot be walked further.
    #[error("error causes: {0}")]
    List(#[from] TlvError),
    /// The length does not suit the code. The walk goes on after it.
    #[error("error cause {code} at byte {offset} of the packet is {length} bytes long; it takes {expected}")]
    BadLength {
        /// What kind of cause.
        code: CauseCode,
        /// Where in the packet.
        offset: usize,
        /// The Cause Length.
        length: usize,
        /// What its section asks for.
        expected: usize,
    },
}

impl<'a> Cause<'a> {
    /// What kind of cause it is.
    #[must_use]
    pub const fn code(&self) -> CauseCode {
        match self {
            Self::InvalidStreamIdentifier { .. } => CauseCode::INVALID_STREAM,
            Self::MissingMandatoryParameter(_) => CauseCode::MISSING_PARAMETER,
            Self::StaleCookie { .. } => CauseCode::STALE_COOKIE,
            Self::OutOfResource => CauseCode::OUT_OF_RESOURCE,
            Self::UnresolvableAddress(_) => CauseCode::UNRESOLVABLE_ADDRESS,
            Self::UnrecognizedChunkType(_) => CauseCode::UNRECOGNIZED_CHUNK,
            Self::InvalidMandatoryParameter => CauseCode::INVALID_PARAMETER,
            Self::UnrecognizedParameters(_) => CauseCode::UNRECOGNIZED_PARAMETERS,
            Self::NoUserData { .. } => CauseCode::NO_USER_DATA,
            Self::CookieReceivedWhileShuttingDown => CauseCode::COOKIE_WHILE_SHUTTING_DOWN,
            Self::RestartWithNewAddresses(_) => CauseCode::RESTART_WITH_NEW_ADDRESSES,
            Self::UserInitiatedAbort(_) => CauseCode::USER_ABORT,
            Self::ProtocolViolation(_) => CauseCode::PROTOCOL_VIOLATION,
            Self::RestartWithNewEncapsulationPort { .. } => CauseCode::RESTART_WITH_NEW_ENCAPSULATION_PORT,
            Self::Unknown(raw) => raw.code,
        }
    }
}

impl<'a> RawCause<'a> {
    /// Information of exactly `N` bytes.
    fn exactly<const N: usize>(&self) -> Result<&'a [u8; N], CauseError> {
        self.value.try_into().map_err(|_| self.bad_length(PARAMETER_HEADER_LENGTH + N))
    }

    /// No information.
    fn nothing(&self, cause: Cause<'a>) -> Result<Cause<'a>, CauseError> {
        self.exactly::<0>().map(|_| cause)
    }

    fn bad_length(&self, expected: usize) -> CauseError {
        CauseError::BadLength { code: self.code, offset: self.offset, length: self.bytes.len(), expected }
    }

    fn value_offset(&self) -> usize {
        self.offset + PARAMETER_HEADER_LENGTH
    }
}

impl<'a> From<Tlv<'a>> for RawCause<'a> {
    fn from(tlv: Tlv<'a>) -> Self {
        Self { code: CauseCode(tlv.kind), offset: tlv.offset, value: tlv.value, bytes: tlv.bytes }
    }
}

impl<'a> ListItem<'a> for Cause<'a> {
    type Error = CauseError;

    fn parse(RawItem(tlv): RawItem<'a>) -> Result<Self, CauseError> {
        let raw = RawCause::from(tlv);
        Ok(match raw.code {
            CauseCode::INVALID_STREAM => Self::InvalidStreamIdentifier { stream: fixed::parse_stream(raw)? },
            CauseCode::MISSING_PARAMETER => Self::MissingMandatoryParameter(MissingParameters::parse(raw)?),
            CauseCode::STALE_COOKIE => Self::StaleCookie { staleness: fixed::parse_number(raw)? },
            CauseCode::OUT_OF_RESOURCE => raw.nothing(Self::OutOfResource)?,
            CauseCode::UNRESOLVABLE_ADDRESS => Self::UnresolvableAddress(raw.value),
            CauseCode::UNRECOGNIZED_CHUNK => Self::UnrecognizedChunkType(raw.value),
            CauseCode::INVALID_PARAMETER => raw.nothing(Self::InvalidMandatoryParameter)?,
            CauseCode::UNRECOGNIZED_PARAMETERS => Self::UnrecognizedParameters(copied::parse(raw)),
            CauseCode::NO_USER_DATA => Self::NoUserData { tsn: Tsn(fixed::parse_number(raw)?) },
            CauseCode::COOKIE_WHILE_SHUTTING_DOWN => raw.nothing(Self::CookieReceivedWhileShuttingDown)?,
            CauseCode::RESTART_WITH_NEW_ADDRESSES => Self::RestartWithNewAddresses(copied::parse(raw)),
            CauseCode::USER_ABORT => Self::UserInitiatedAbort(raw.value),
            CauseCode::PROTOCOL_VIOLATION => Self::ProtocolViolation(raw.value),
            CauseCode::RESTART_WITH_NEW_ENCAPSULATION_PORT => {
                let (current, new) = fixed::parse_ports(raw)?;
                Self::RestartWithNewEncapsulationPort { current, new }
            }
            _ => Self::Unknown(raw),
        })
    }

    fn length(&self) -> usize {
        PARAMETER_HEADER_LENGTH
            + match self {
                Self::InvalidStreamIdentifier { .. }
                | Self::StaleCookie { .. }
                | Self::NoUserData { .. }
                | Self::RestartWithNewEncapsulationPort { .. } => 4,
                Self::OutOfResource | Self::InvalidMandatoryParameter | Self::CookieReceivedWhileShuttingDown => 0,
                Self::MissingMandatoryParameter(missing) => missing.value_length(),
                Self::UnrecognizedParameters(list) | Self::RestartWithNewAddresses(list) => list.length(),
                Self::UnresolvableAddress(value)
                | Self::UnrecognizedChunkType(value)
                | Self::UserInitiatedAbort(value)
                | Self::ProtocolViolation(value) => value.len(),
                Self::Unknown(raw) => raw.value.len(),
            }
    }

    fn emit(&self, out: &mut Sink<'_>) {
        let code = self.code().0;
        match self {
            Self::InvalidStreamIdentifier { stream } => fixed::emit_stream(*stream, out),
            Self::RestartWithNewEncapsulationPort { current, new } => fixed::emit_ports(*current, *new, out),
            Self::StaleCookie { staleness: number } | Self::NoUserData { tsn: Tsn(number) } => {
                emit_opaque(code, &number.to_be_bytes(), out);
            }
            Self::OutOfResource | Self::InvalidMandatoryParameter | Self::CookieReceivedWhileShuttingDown => {
                emit_opaque(code, &[], out);
            }
            Self::MissingMandatoryParameter(missing) => missing.emit(out),
            Self::UnrecognizedParameters(list) | Self::RestartWithNewAddresses(list) => {
                emit_header(code, list.length(), out);
                list.emit(out);
            }
            Self::UnresolvableAddress(value)
            | Self::UnrecognizedChunkType(value)
            | Self::UserInitiatedAbort(value)
            | Self::ProtocolViolation(value) => emit_opaque(code, value, out),
            Self::Unknown(raw) => out.bytes(raw.bytes),
        }
    }
}

impl PartialEq for RawCause<'_> {
    /// The same cause, wherever it lies.
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl fmt::Display for RawCause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} bytes", self.code, self.value.len())
    }
}

impl fmt::Debug for RawCause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} at byte {}", self.offset)
    }
}

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code();
        match self {
            Self::InvalidStreamIdentifier { stream } => write!(f, "{code} {stream}"),
            Self::MissingMandatoryParameter(missing) => write!(f, "{code} {missing}"),
            Self::StaleCookie { staleness } => write!(f, "{code} by {staleness} us"),
            Self::OutOfResource | Self::InvalidMandatoryParameter | Self::CookieReceivedWhileShuttingDown => {
                fmt::Display::fmt(&code, f)
            }
            Self::UnresolvableAddress(value) | Self::UnrecognizedChunkType(value) => {
                write!(f, "{code} {} bytes", value.len())
            }
            Self::UnrecognizedParameters(list) | Self::RestartWithNewAddresses(list) => write!(f, "{code} {list}"),
            Self::NoUserData { tsn } => write!(f, "{code} TSN={tsn}"),
            Self::RestartWithNewEncapsulationPort { current, new } => write!(f, "{code} {new} instead of {current}"),
            Self::UserInitiatedAbort(reason) | Self::ProtocolViolation(reason) => reason::fmt(code, reason, f),
            Self::Unknown(raw) => write!(f, "unknown {raw}"),
        }
    }
}
