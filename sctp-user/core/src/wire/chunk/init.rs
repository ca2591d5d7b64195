//! INIT, [RFC 9260 §3.3.2], and INIT ACK, [§3.3.3].
//!
//! [RFC 9260 §3.3.2]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.2
//! [§3.3.3]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.3
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |  Type = 1, 2  |  Chunk Flags  |      Chunk Length             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                         Initiate Tag                          |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |          Advertised Receiver Window Credit (a_rwnd)           |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |  Number of Outbound Streams   |   Number of Inbound Streams   |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                          Initial TSN                          |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! \                                                               \
//! /              Optional/Variable-Length Parameters              /
//! \                                                               \
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use core::fmt;

use super::{ChunkError, ChunkType, u16_at, u32_at};
use crate::serial::Tsn;
use crate::wire::{Emit, Parameter, ParameterError, ParameterList, RawChunk, Sink};

/// Bytes before the first parameter.
const FIXED_LENGTH: usize = 20;
/// "The Advertised Receiver Window Credit MUST NOT be smaller than 1500."
const MINIMUM_A_RWND: u32 = 1500;

/// Opens an association. The mandatory fields of a received one are known to be legal; its parameters are yet to be walked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Init<'a> {
    /// Goes into the Verification Tag of every packet to the sender of this chunk. Not 0.
    pub initiate_tag: u32,
    /// The receive buffer that the sender has set aside, in bytes. "MUST NOT be smaller than 1500."
    pub a_rwnd: u32,
    /// OS: streams that the sender of this chunk wishes to send on. Not 0.
    pub outbound_streams: u16,
    /// MIS: streams on which it lets its peer send. Not 0.
    pub inbound_streams: u16,
    /// The TSN of the first DATA chunk of the sender of this chunk.
    pub initial_tsn: Tsn,
    /// Addresses, extensions and the like.
    pub parameters: ParameterList<'a>,
}

/// Answers an INIT: the same fields, and a State Cookie among the parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InitAck<'a>(
    /// "The parameter part of INIT ACK is formatted similarly to the INIT chunk."
    pub Init<'a>,
);

/// A mandatory field of an INIT or INIT ACK with a value that it must not have, and what the answer needs.
///
/// To all but the first, the receiver of an INIT "MUST discard the packet, SHOULD send a packet in response containing an
/// ABORT chunk and using the Initiate Tag as the Verification Tag, and MUST NOT change the state of any existing
/// association" (RFC 9260 §3.3.2). The receiver of an INIT ACK in COOKIE-WAIT "MUST destroy the TCB and SHOULD send an
/// ABORT chunk" (§3.3.3) for all but the window, which is treated as in an INIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    /// The Initiate Tag is 0. For INIT, "the receiver MUST silently discard the packet" (§3.3.2). For INIT ACK in
    /// COOKIE-WAIT, it "MUST destroy the TCB and SHOULD send an ABORT chunk with the T bit set" (§3.3.3).
    #[error("the Initiate Tag is 0")]
    ZeroInitiateTag,
    /// The a_rwnd is smaller than 1500.
    #[error("the a_rwnd of {a_rwnd} bytes is below the least allowed, 1500")]
    WindowTooSmall {
        /// The Verification Tag for the answer.
        initiate_tag: u32,
        /// The window, in bytes.
        a_rwnd: u32,
    },
    /// The Number of Outbound Streams is 0.
    #[error("the Number of Outbound Streams is 0")]
    NoOutboundStreams {
        /// The Verification Tag for the answer.
        initiate_tag: u32,
    },
    /// The Number of Inbound Streams is 0.
    #[error("the Number of Inbound Streams is 0")]
    NoInboundStreams {
        /// The Verification Tag for the answer.
        initiate_tag: u32,
    },
}

impl InitError {
    /// The Verification Tag of an ABORT in answer; `None` when there must be none, or it must be reflected.
    #[must_use]
    pub const fn initiate_tag(&self) -> Option<u32> {
        match *self {
            Self::ZeroInitiateTag => None,
            Self::WindowTooSmall { initiate_tag, .. }
            | Self::NoOutboundStreams { initiate_tag }
            | Self::NoInboundStreams { initiate_tag } => Some(initiate_tag),
        }
    }
}

impl<'a> Init<'a> {
    /// Reads an INIT.
    ///
    /// # Errors
    ///
    /// [`ChunkError::BadLength`], and [`ChunkError::Init`] for a mandatory field out of its range.
    pub fn parse(raw: RawChunk<'a>) -> Result<Self, ChunkError> {
        let (head, parameters) = raw.at_least::<FIXED_LENGTH>()?;
        let init = Self {
            initiate_tag: u32_at(head, 4),
            a_rwnd: u32_at(head, 8),
            outbound_streams: u16_at(head, 12),
            inbound_streams: u16_at(head, 14),
            initial_tsn: Tsn(u32_at(head, 16)),
            parameters: ParameterList::from_wire(parameters, raw.offset + FIXED_LENGTH),
        };
        //= RFC 9260 §3.3.2.1: "Any Type-Length-Value fields MUST be placed after the fixed-length fields."
        //= RFC 9260 §3.3.3.1: "Any Type-Length-Value fields MUST be placed after the fixed-length fields."
        init.check().map_err(|error| ChunkError::Init { chunk_type: raw.chunk_type, offset: raw.offset, error })?;
        Ok(init)
    }

    fn check(&self) -> Result<(), InitError> {
        let Self { initiate_tag, a_rwnd, .. } = *self;
        if initiate_tag == 0 {
            return Err(InitError::ZeroInitiateTag);
        }
        if a_rwnd < MINIMUM_A_RWND {
            return Err(InitError::WindowTooSmall { initiate_tag, a_rwnd });
        }
        if self.outbound_streams == 0 {
            return Err(InitError::NoOutboundStreams { initiate_tag });
        }
        if self.inbound_streams == 0 {
            return Err(InitError::NoInboundStreams { initiate_tag });
        }
        Ok(())
    }

    fn emit_as(&self, chunk_type: ChunkType, out: &mut Sink<'_>) {
        out.chunk_header(chunk_type, 0, self.length());
        out.u32(self.initiate_tag);
        out.u32(self.a_rwnd);
        out.u16(self.outbound_streams);
        out.u16(self.inbound_streams);
        out.u32(self.initial_tsn.get());
        self.parameters.emit(out);
    }
}

impl<'a> InitAck<'a> {
    /// Reads an INIT ACK. That a State Cookie is among its parameters is not checked here: its lack is answered with
    /// "Missing Mandatory Parameter", see [`state_cookie`](InitAck::state_cookie).
    ///
    /// # Errors
    ///
    /// As [`Init::parse`].
    pub fn parse(raw: RawChunk<'a>) -> Result<Self, ChunkError> {
        Init::parse(raw).map(Self)
    }

    /// The State Cookie, if there is one before the parameters end or stop making sense.
    ///
    /// # Errors
    ///
    /// The first parameter that cannot be read, when it comes before a State Cookie.
    pub fn state_cookie(&self) -> Result<Option<&'a [u8]>, ParameterError> {
        for parameter in self.0.parameters {
            if let Parameter::StateCookie(cookie) = parameter? {
                return Ok(Some(cookie));
            }
        }
        Ok(None)
    }
}

impl Emit for Init<'_> {
    fn length(&self) -> usize {
        FIXED_LENGTH + self.parameters.length()
    }

    fn emit(&self, out: &mut Sink<'_>) {
        self.emit_as(ChunkType::INIT, out);
    }
}

impl Emit for InitAck<'_> {
    fn length(&self) -> usize {
        self.0.length()
    }

    fn emit(&self, out: &mut Sink<'_>) {
        self.0.emit_as(ChunkType::INIT_ACK, out);
    }
}

impl fmt::Display for Init<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("INIT ")?;
        self.fmt_fields(f)
    }
}

impl fmt::Display for InitAck<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("INIT ACK ")?;
        self.0.fmt_fields(f)
    }
}

impl Init<'_> {
    fn fmt_fields(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { initiate_tag, a_rwnd, outbound_streams, inbound_streams, initial_tsn, parameters } = self;
        write!(f, "tag={initiate_tag:#010x} a_rwnd={a_rwnd} OS={outbound_streams} MIS={inbound_streams} ")?;
        write!(f, "TSN={initial_tsn} {parameters}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Chunk;
    use crate::wire::tests::{emitted, parsed};

    const BYTES: [u8; 32] = [
        1, 0, 0, 32, 0xa1, 0xb2, 0xc3, 0xd4, 0, 1, 0, 0, 0, 10, 0x08, 0, 0, 0, 0, 99, // fixed
        0, 5, 0, 8, 10, 0, 0, 1, 0xc0, 0, 0, 4,
    ];
    const PARAMETERS: [Parameter<'_>; 2] =
        [Parameter::Ipv4Address(core::net::Ipv4Addr::new(10, 0, 0, 1)), Parameter::ForwardTsnSupported];
    const CHUNK: Init<'_> = Init {
        initiate_tag: 0xa1b2_c3d4,
        a_rwnd: 65536,
        outbound_streams: 10,
        inbound_streams: 2048,
        initial_tsn: Tsn(99),
        parameters: ParameterList::new(&PARAMETERS),
    };

    #[test]
    fn bytes_and_back() {
        assert_eq!(emitted(&CHUNK), BYTES);
        assert_eq!(parsed(&BYTES), Ok(Chunk::Init(CHUNK)));
        assert_eq!(
            CHUNK.to_string(),
            "INIT tag=0xa1b2c3d4 a_rwnd=65536 OS=10 MIS=2048 TSN=99 [10.0.0.1, Forward-TSN-Supported]"
        );
    }

    #[test]
    fn init_ack_is_alike() {
        let mut bytes = BYTES;
        bytes[0] = 2;
        let parameters = [Parameter::StateCookie(b"cook"), Parameter::ForwardTsnSupported];
        bytes[20..28].copy_from_slice(&[0, 7, 0, 8, b'c', b'o', b'o', b'k']);
        let init_ack = InitAck(Init { parameters: ParameterList::new(&parameters), ..CHUNK });
        assert_eq!(emitted(&init_ack), bytes);
        assert_eq!(parsed(&bytes), Ok(Chunk::InitAck(init_ack)));
        assert_eq!(init_ack.state_cookie(), Ok(Some(&b"cook"[..])));
        assert_eq!(InitAck(CHUNK).state_cookie(), Ok(None));
    }

    //= test RFC 9260 §3.3.2: "A receiver of an INIT chunk with the OS value set to 0 MUST discard the packet"
    //= test RFC 9260 §3.3.2: "A receiver of an INIT chunk with the MIS value set to 0 MUST discard the packet"
    //= test RFC 9260 §3.3.2: "Initiate Tag in a received INIT chunk is found to be 0, the receiver MUST silently
    //= discard the packet"
    #[test]
    fn mandatory_fields() {
        let initiate_tag = CHUNK.initiate_tag;
        let cases: [(usize, &[u8], InitError); 4] = [
            (4, &[0; 4], InitError::ZeroInitiateTag),
            (8, &[0, 0, 0x05, 0xdb], InitError::WindowTooSmall { initiate_tag, a_rwnd: 1499 }),
            (12, &[0; 2], InitError::NoOutboundStreams { initiate_tag }),
            (14, &[0; 2], InitError::NoInboundStreams { initiate_tag }),
        ];
        for (at, field, error) in cases {
            for chunk_type in [ChunkType::INIT, ChunkType::INIT_ACK] {
                let mut bytes = BYTES;
                bytes[0] = chunk_type.0;
                bytes[at..at + field.len()].copy_from_slice(field);
                assert_eq!(parsed(&bytes), Err(ChunkError::Init { chunk_type, offset: 12, error }));
            }
        }
        assert_eq!(InitError::ZeroInitiateTag.initiate_tag(), None);
        assert_eq!(InitError::NoInboundStreams { initiate_tag }.initiate_tag(), Some(initiate_tag));
    }

    //= test RFC 9260 §3.3.2: "A receiver of an INIT chunk with the a_rwnd value set to a value smaller than 1500 MUST
    //= discard the packet"
    #[test]
    fn the_least_window_is_1500() {
        let mut bytes = BYTES;
        bytes[8..12].copy_from_slice(&1500_u32.to_be_bytes());
        assert_eq!(parsed(&bytes), Ok(Chunk::Init(Init { a_rwnd: 1500, ..CHUNK })));
    }

    #[test]
    fn shorter_than_its_fixed_fields() {
        let mut bytes = BYTES;
        bytes[3] = 19;
        let expected = ChunkError::BadLength { chunk_type: ChunkType::INIT, offset: 12, length: 19, expected: 20 };
        assert_eq!(parsed(&bytes), Err(expected));
    }
}
