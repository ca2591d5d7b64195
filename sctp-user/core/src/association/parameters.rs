//! What the parameters of INIT and INIT ACK say, and which addresses of a peer are believed (RFC 9260 §3.2.2, §5.1.2).

use core::net::IpAddr;
use core::time::Duration;

use smallvec::SmallVec;

use crate::wire::{Cause, Parameter, ParameterList, ParameterType, RawParameter, SupportedAddressTypes};

/// Most addresses that are read from an INIT or INIT ACK; the rest is ignored.
const MAX_ADDRESSES: usize = 64;

/// Most parameters of an INIT ACK that are reported as not recognized.
const MAX_REPORTED: usize = 16;

/// What the parameters of an INIT or INIT ACK say.
#[derive(Default)]
pub(crate) struct PeerParameters<'a> {
    pub(crate) addresses: SmallVec<[IpAddr; 4]>,
    pub(crate) cookie: Option<&'a [u8]>,
    pub(crate) cookie_extension: Duration,
    /// The address types that the peer can use.
    pub(crate) types: SupportedAddressTypes,
    /// The peer is capable of ECN.
    pub(crate) ecn: bool,
    /// Those that are not recognized and ask to be reported.
    pub(crate) unrecognized: SmallVec<[RawParameter<'a>; 4]>,
}

/// Why an INIT or INIT ACK has to be answered with an ABORT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadParameters<'a> {
    /// It has a host name, which is not resolved (§5.1.2 B).
    HostName(&'a [u8]),
    /// A parameter cannot be read.
    Malformed,
}

impl<'a> PeerParameters<'a> {
    /// Reads the parameters of an INIT or INIT ACK that came from `source` (§3.2.2, §5.1.2). `own` are our addresses.
    ///
    /// Listed addresses that cannot be the peer's are passed over without a word: those that are no host's, those that mean
    /// another host to us than to the peer, and our own, unless the peer is on this host: a liar must not have us talk to
    /// ourselves.
    pub(crate) fn read(list: &ParameterList<'a>, source: IpAddr, own: &[IpAddr]) -> Result<Self, BadParameters<'a>> {
        let mut read = Self::default();
        let is_peers = |address: &IpAddr| {
            is_unicast(*address) && in_scope(*address, source) && (!own.contains(address) || own.contains(&source))
        };
        let mut unrecognized = SmallVec::new();
        let mut reported = |raw: RawParameter<'a>| {
            if unrecognized.len() < MAX_REPORTED {
                unrecognized.push(raw);
            }
        };
        for parameter in list.recognized(&mut reported) {
            match parameter.map_err(|_| BadParameters::Malformed)? {
                //= RFC 9260 §5.1.2: "If there is a Host Name Address parameter present in the received INIT or INIT ACK
                //= chunk, the endpoint MUST immediately send an ABORT chunk"
                //= RFC 9260 §3.3.2: "The receiver of an INIT chunk containing a Host Name Address parameter MUST send
                //= an ABORT chunk"
                //= RFC 9260 §3.3.3: "The receiver of INIT ACK chunks containing a Host Name Address parameter MUST send
                //= an ABORT chunk"
                //= RFC 9260 §3.3.2.1.4: "The receiver of an INIT chunk or an INIT ACK containing a Host Name Address
                //= parameter MUST send an ABORT chunk"
                //= RFC 9260 §12.2.4.1: "Endpoints receiving INIT or INIT ACK chunks containing the Host Name Address
                //= parameter MUST send an ABORT chunk in response"
                Parameter::HostName(name) => return Err(BadParameters::HostName(name)),
                Parameter::StateCookie(cookie) => read.cookie = read.cookie.or(Some(cookie)),
                Parameter::CookiePreservative { increment_ms } => {
                    read.cookie_extension = Duration::from_millis(increment_ms.into());
                }
                Parameter::EcnCapable => read.ecn = true,
                //= RFC 9260 §5.1.2: "then the address family that is not listed in the 'Supported Address Types'
                //= parameter SHOULD also be considered as supported by the receiver of the INIT chunk"
                //= RFC 9260 §5.1.2: "The receiver of the INIT chunk SHOULD NOT respond with any kind of error
                //= indication."
                Parameter::SupportedAddressTypes(types) => read.types = types,
                parameter => {
                    if let Some(address) = parameter.address().filter(is_peers)
                        && !read.addresses.contains(&address)
                        && read.addresses.len() < MAX_ADDRESSES
                    {
                        read.addresses.push(address);
                    }
                }
            }
        }
        read.unrecognized = unrecognized;
        Ok(read)
    }
}

impl PeerParameters<'_> {
    /// Whether the peer, which is seen at `source`, can use an address of ours: of a type that it supports, or that it uses itself
    /// (§5.1.2: "… then the address family that is not listed in the 'Supported Address Types' parameter SHOULD also be considered
    /// as supported").
    pub(crate) fn can_use(&self, address: IpAddr, source: IpAddr) -> bool {
        let named = if address.is_ipv4() { self.types.ipv4 } else { self.types.ipv6 };
        let same_type = |other: &IpAddr| other.is_ipv4() == address.is_ipv4();
        named || same_type(&source) || self.addresses.iter().any(same_type)
    }
}

impl BadParameters<'_> {
    /// Calls `with` with the error cause that says so.
    pub(crate) fn with_cause<T>(self, with: impl FnOnce(Cause<'_>) -> T) -> T {
        match self {
            Self::HostName(name) => {
                // "the complete Type, Length, and Value of the address parameter" (§3.3.10.5).
                let mut parameter: SmallVec<[u8; 64]> = SmallVec::new();
                parameter.extend_from_slice(&ParameterType::HOST_NAME.0.to_be_bytes());
                parameter.extend_from_slice(&(name.len() as u16 + 4).to_be_bytes());
                parameter.extend_from_slice(name);
                with(Cause::UnresolvableAddress(&parameter))
            }
            Self::Malformed => with(Cause::ProtocolViolation(b"malformed parameter")),
        }
    }
}

/// Whether an address can be one host's.
pub(crate) fn is_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast()),
        IpAddr::V6(v6) => !(v6.is_unspecified() || v6.is_multicast()),
    }
}

/// Whether an address means the same host to us and to a peer that is seen at `seen`: loopback and link-local ones do only among
/// themselves. (A peer must not have us send to our own loopback address.)
pub(crate) fn in_scope(address: IpAddr, seen: IpAddr) -> bool {
    let is_loopback = |address: IpAddr| address.is_loopback();
    let is_link_local = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    (!is_loopback(address) || is_loopback(seen)) && (!is_link_local(address) || is_link_local(seen))
}

/// The families of our addresses, if there is one that we do not have; `None` if we do not know or have both.
pub(crate) fn supported_types(addresses: &[IpAddr]) -> Option<SupportedAddressTypes> {
    let types = SupportedAddressTypes {
        ipv4: addresses.iter().any(IpAddr::is_ipv4),
        ipv6: addresses.iter().any(IpAddr::is_ipv6),
    };
    (types.ipv4 != types.ipv6).then_some(types)
}
