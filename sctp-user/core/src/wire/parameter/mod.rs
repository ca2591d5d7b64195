//! The parameters of INIT and INIT ACK, [RFC 9260 §3.3.2.1] and [§3.3.3.1], and those of the extensions, one file a group.
//!
//! [RFC 9260 §3.3.2.1]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.2.1
//! [§3.3.3.1]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.3.1

mod address;
mod cookie;
mod extension;
mod padding;
mod parameter_type;
mod unrecognized;

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sctp_common::wire::PARAMETER_HEADER_LENGTH;

use super::list::{Iter, List, ListItem, RawItem};
use super::tlv::{Tlv, emit_opaque};
use super::{ChunkType, Sink, TlvError, UnknownAction};

pub use address::SupportedAddressTypes;
pub use parameter_type::ParameterType;

/// The parameters of a chunk: received, or to be sent.
pub type ParameterList<'a> = List<'a, Parameter<'a>>;

/// A parameter with its meaning.
///
/// The Heartbeat Info of RFC 9260 §3.3.5 is not among them: it is part of [`Heartbeat`](super::Heartbeat).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Parameter<'a> {
    /// An address of the sender (RFC 9260 §3.3.2.1.1).
    Ipv4Address(Ipv4Addr),
    /// An address of the sender (§3.3.2.1.2). As it came; [`Parameter::address`] gives the one to use.
    Ipv6Address(Ipv6Addr),
    /// "MUST contain all the necessary state … required for the sender of this INIT ACK chunk to create the association, along
    /// with a Message Authentication Code" (§3.3.3.1.1). Opaque to everybody but its author.
    StateCookie(&'a [u8]),
    /// A parameter of an INIT that was not recognized, complete with type and length (§3.3.3.1.2).
    Unrecognized(&'a [u8]),
    /// How much longer than usual the State Cookie should live, in milliseconds (§3.3.2.1.3).
    CookiePreservative {
        /// Suggested Cookie Life-Span Increment.
        increment_ms: u32,
    },
    /// A host name, deprecated: the receiver "MUST send an ABORT chunk" (§3.3.2.1.4). Not to be sent. As it came, with its
    /// null terminator.
    HostName(&'a [u8]),
    /// Which address types the sender can use (§3.3.2.1.5).
    SupportedAddressTypes(SupportedAddressTypes),
    /// The sender speaks Explicit Congestion Notification (type reserved by RFC 9260, format of RFC 4960 appendix A).
    EcnCapable,
    /// The sender understands FORWARD TSN (RFC 3758 §3.1).
    ForwardTsnSupported,
    /// The chunk types of the extensions that the sender supports, a byte each (RFC 5061 §4.2.7).
    SupportedExtensions(&'a [u8]),
    /// Enlarges an INIT; to be ignored (RFC 4820 §4).
    Padding {
        /// Bytes of Padding Data, zero on transmit.
        data_length: u16,
    },
    /// A type that is not known here: [`RawParameter::unknown_action`] says what to do.
    Unknown(RawParameter<'a>),
}

/// A parameter whose bytes are known to lie in its chunk.
#[derive(Clone, Copy)]
pub struct RawParameter<'a> {
    /// What kind of parameter.
    pub parameter_type: ParameterType,
    /// Where it begins in the packet.
    pub offset: usize,
    /// The Parameter Value, without padding.
    pub value: &'a [u8],
    /// The whole parameter: type, length and value, without padding. What "Unrecognized Parameter" sends back.
    pub bytes: &'a [u8],
}

/// Why a parameter cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParameterError {
    /// The list cannot be walked further.
    #[error("parameters: {0}")]
    List(#[from] TlvError),
    /// The length does not suit the type. The walk goes on after it.
    #[error("parameter {parameter_type} at byte {offset} of the packet is {length} bytes long; it takes {expected}")]
    BadLength {
        /// What kind of parameter.
        parameter_type: ParameterType,
        /// Where in the packet.
        offset: usize,
        /// The Parameter Length.
        length: usize,
        /// What its section asks for.
        expected: usize,
    },
}

impl<'a> Parameter<'a> {
    /// The parameter that tells of this address: IPv4 for IPv4-mapped IPv6 too.
    #[must_use]
    pub const fn from_address(address: IpAddr) -> Self {
        //= RFC 9260 §3.3.2.1.2: "A sender MUST NOT use an IPv4-mapped IPv6 address [RFC4291] but SHOULD instead use an
        //= IPv4 Address parameter"
        match address.to_canonical() {
            IpAddr::V4(address) => Self::Ipv4Address(address),
            IpAddr::V6(address) => Self::Ipv6Address(address),
        }
    }

    /// The address in an address parameter; `None` for other parameters. A peer that sends an IPv4-mapped IPv6 address, which it
    /// must not, is understood to mean the IPv4 address.
    #[must_use]
    pub const fn address(&self) -> Option<IpAddr> {
        match *self {
            Self::Ipv4Address(address) => Some(IpAddr::V4(address)),
            Self::Ipv6Address(address) => Some(IpAddr::V6(address).to_canonical()),
            _ => None,
        }
    }

    /// What kind of parameter it is.
    #[must_use]
    pub const fn parameter_type(&self) -> ParameterType {
        match self {
            Self::Ipv4Address(_) => ParameterType::IPV4_ADDRESS,
            Self::Ipv6Address(_) => ParameterType::IPV6_ADDRESS,
            Self::StateCookie(_) => ParameterType::STATE_COOKIE,
            Self::Unrecognized(_) => ParameterType::UNRECOGNIZED,
            Self::CookiePreservative { .. } => ParameterType::COOKIE_PRESERVATIVE,
            Self::HostName(_) => ParameterType::HOST_NAME,
            Self::SupportedAddressTypes(_) => ParameterType::SUPPORTED_ADDRESS_TYPES,
            Self::EcnCapable => ParameterType::ECN_CAPABLE,
            Self::ForwardTsnSupported => ParameterType::FORWARD_TSN_SUPPORTED,
            Self::SupportedExtensions(_) => ParameterType::SUPPORTED_EXTENSIONS,
            Self::Padding { .. } => ParameterType::PADDING,
            Self::Unknown(raw) => raw.parameter_type,
        }
    }
}

impl<'a> RawParameter<'a> {
    /// What its type asks of a receiver that does not know it.
    #[inline]
    #[must_use]
    pub const fn unknown_action(&self) -> UnknownAction {
        self.parameter_type.unknown_action()
    }

    /// A value of exactly `N` bytes.
    fn exactly<const N: usize>(&self) -> Result<&'a [u8; N], ParameterError> {
        self.value.try_into().map_err(|_| self.bad_length(PARAMETER_HEADER_LENGTH + N))
    }

    fn bad_length(&self, expected: usize) -> ParameterError {
        ParameterError::BadLength {
            parameter_type: self.parameter_type,
            offset: self.offset,
            length: self.bytes.len(),
            expected,
        }
    }
}

impl<'a> From<Tlv<'a>> for RawParameter<'a> {
    fn from(tlv: Tlv<'a>) -> Self {
        Self { parameter_type: ParameterType(tlv.kind), offset: tlv.offset, value: tlv.value, bytes: tlv.bytes }
    }
}

impl<'a> ParameterList<'a> {
    /// The parameters that are known, with the rule of RFC 9260 §3.2.1 applied to those that are not: they are skipped or end
    /// the walk, as their type says, and those that ask for it go to `report` ("Unrecognized Parameter", §3.2.2).
    pub fn recognized<R: FnMut(RawParameter<'a>)>(&self, report: R) -> Recognized<'a, R> {
        Recognized { iter: self.iter(), report, stopped: false }
    }

    /// The addresses in the list, in order, up to the first parameter that cannot be walked over.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<'a> {
        self.iter().filter_map(|parameter| parameter.ok()?.address())
    }
}

/// Iterator of [`ParameterList::recognized`].
#[derive(Clone)]
pub struct Recognized<'a, R> {
    iter: Iter<'a, Parameter<'a>>,
    report: R,
    stopped: bool,
}

impl<'a, R: FnMut(RawParameter<'a>)> Iterator for Recognized<'a, R> {
    type Item = Result<Parameter<'a>, ParameterError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.stopped {
            let raw = match self.iter.next()? {
                Ok(Parameter::Unknown(raw)) => raw,
                known => return Some(known),
            };
            let action = raw.unknown_action();
            self.stopped = action.stop;
            if action.report {
                (self.report)(raw);
            }
        }
        None
    }
}

impl<'a> ListItem<'a> for Parameter<'a> {
    type Error = ParameterError;

    fn parse(RawItem(tlv): RawItem<'a>) -> Result<Self, ParameterError> {
        let raw = RawParameter::from(tlv);
        Ok(match raw.parameter_type {
            ParameterType::IPV4_ADDRESS => Self::Ipv4Address(address::parse_ipv4(raw)?),
            ParameterType::IPV6_ADDRESS => Self::Ipv6Address(address::parse_ipv6(raw)?),
            ParameterType::STATE_COOKIE => Self::StateCookie(raw.value),
            ParameterType::UNRECOGNIZED => Self::Unrecognized(raw.value),
            ParameterType::COOKIE_PRESERVATIVE => {
                Self::CookiePreservative { increment_ms: cookie::parse_preservative(raw)? }
            }
            ParameterType::HOST_NAME => Self::HostName(raw.value),
            ParameterType::SUPPORTED_ADDRESS_TYPES => Self::SupportedAddressTypes(SupportedAddressTypes::parse(raw)?),
            ParameterType::ECN_CAPABLE => raw.exactly::<0>().map(|_| Self::EcnCapable)?,
            ParameterType::FORWARD_TSN_SUPPORTED => raw.exactly::<0>().map(|_| Self::ForwardTsnSupported)?,
            ParameterType::SUPPORTED_EXTENSIONS => Self::SupportedExtensions(raw.value),
            ParameterType::PADDING => Self::Padding { data_length: raw.value.len() as u16 },
            _ => Self::Unknown(raw),
        })
    }

    fn length(&self) -> usize {
        PARAMETER_HEADER_LENGTH
            + match self {
                Self::Ipv4Address(_) | Self::CookiePreservative { .. } => 4,
                Self::Ipv6Address(_) => 16,
                Self::StateCookie(value)
                | Self::Unrecognized(value)
                | Self::HostName(value)
                | Self::SupportedExtensions(value) => value.len(),
                Self::SupportedAddressTypes(types) => types.value_length(),
                Self::EcnCapable | Self::ForwardTsnSupported => 0,
                Self::Padding { data_length } => usize::from(*data_length),
                Self::Unknown(raw) => raw.value.len(),
            }
    }

    fn emit(&self, out: &mut Sink<'_>) {
        let parameter_type = self.parameter_type().0;
        match self {
            Self::Ipv4Address(address) => emit_opaque(parameter_type, &address.octets(), out),
            Self::Ipv6Address(address) => emit_opaque(parameter_type, &address.octets(), out),
            Self::StateCookie(value)
            | Self::Unrecognized(value)
            | Self::HostName(value)
            | Self::SupportedExtensions(value) => emit_opaque(parameter_type, value, out),
            Self::CookiePreservative { increment_ms } => {
                emit_opaque(parameter_type, &increment_ms.to_be_bytes(), out);
            }
            Self::SupportedAddressTypes(types) => types.emit(out),
            Self::EcnCapable | Self::ForwardTsnSupported => emit_opaque(parameter_type, &[], out),
            Self::Padding { data_length } => padding::emit(*data_length, out),
            Self::Unknown(raw) => out.bytes(raw.bytes),
        }
    }
}

impl PartialEq for RawParameter<'_> {
    /// The same parameter, wherever it lies.
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl fmt::Display for RawParameter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} bytes", self.parameter_type, self.value.len())
    }
}

impl fmt::Debug for RawParameter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} at byte {}", self.offset)
    }
}

impl fmt::Display for Parameter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameter_type = self.parameter_type();
        match self {
            Self::Ipv4Address(address) => address.fmt(f),
            Self::Ipv6Address(address) => address.fmt(f),
            Self::StateCookie(value) | Self::Unrecognized(value) => {
                write!(f, "{parameter_type} {} bytes", value.len())
            }
            Self::HostName(name) => write!(f, "{parameter_type} \"{}\"", name.escape_ascii()),
            Self::CookiePreservative { increment_ms } => write!(f, "{parameter_type} {increment_ms} ms"),
            Self::SupportedAddressTypes(types) => write!(f, "{parameter_type} {types}"),
            Self::EcnCapable | Self::ForwardTsnSupported => parameter_type.fmt(f),
            Self::SupportedExtensions(types) => extension::fmt(types, f),
            Self::Padding { data_length } => write!(f, "{parameter_type} {data_length} bytes"),
            Self::Unknown(raw) => write!(f, "unknown {raw}"),
        }
    }
}
