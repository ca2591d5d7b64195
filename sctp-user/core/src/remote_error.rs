//! Errors that the peer reports: the causes of its ERROR and ABORT chunks, as the application is told of them (RFC 9260 §3.3.10, §11.2.6).

use core::net::IpAddr;

use bytes::Bytes;

use crate::wire::{Cause, CauseCode};

/// An error that the peer reports: one that does not end the association (COMMUNICATION ERROR, RFC 9260 §11.2.6), or the cause of
/// its ABORT ([`CloseReason::PeerAbort`](crate::CloseReason::PeerAbort)).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemoteError {
    /// DATA of ours came on a stream that does not exist (§3.3.10.1).
    InvalidStreamIdentifier {
        /// Which one.
        stream: u16,
    },
    /// Mandatory parameters were missing in an INIT or INIT ACK of ours (§3.3.10.2).
    MissingMandatoryParameter {
        /// Their types.
        parameters: Vec<u16>,
    },
    /// A cookie of ours was too old (§3.3.10.3). Only as the cause of an ABORT: what an ERROR says of it concerns associations that are
    /// being set up, which see to it themselves (§5.2.6).
    StaleCookie {
        /// By how many microseconds.
        staleness_us: u32,
    },
    /// The peer is out of resource (§3.3.10.4).
    OutOfResource,
    /// The peer cannot resolve or use an address of ours (§3.3.10.5).
    UnresolvableAddress {
        /// The complete address parameter.
        parameter: Bytes,
    },
    /// The peer does not know a chunk of ours (§3.3.10.6).
    UnrecognizedChunkType {
        /// The chunk, or its beginning.
        chunk: Bytes,
    },
    /// A mandatory parameter of an INIT or INIT ACK of ours was invalid (§3.3.10.7).
    InvalidMandatoryParameter,
    /// The peer does not know parameters of our INIT ACK (§3.3.10.8).
    UnrecognizedParameters {
        /// The parameters, one after another.
        parameters: Bytes,
    },
    /// A DATA chunk of ours had no user data (§3.3.10.9).
    NoUserData {
        /// Its TSN.
        tsn: u32,
    },
    /// A COOKIE ECHO of ours came while the peer was shutting down (§3.3.10.10).
    CookieReceivedWhileShuttingDown,
    /// An INIT of ours would have added addresses to an association that exists (§3.3.10.11).
    RestartWithNewAddresses {
        /// Which ones.
        addresses: Vec<IpAddr>,
    },
    /// The peer's user wanted an end (§3.3.10.12); unusual in an ERROR chunk.
    UserInitiatedAbort {
        /// Its reason.
        reason: Bytes,
    },
    /// We broke the protocol in the peer's eyes (§3.3.10.13).
    ProtocolViolation {
        /// More about it, if the peer says more.
        information: Bytes,
    },
    /// We began anew with another UDP encapsulation port (draft-tuexen-tsvwg-rfc6951-bis); 0 stands for "not in UDP".
    RestartWithNewEncapsulationPort {
        /// The association's.
        current: u16,
        /// Ours now.
        new: u16,
    },
    /// A cause that is not known here.
    Unknown {
        /// Its code.
        code: u16,
        /// Its information.
        information: Bytes,
    },
}

impl RemoteError {
    /// The cause code (RFC 9260 §3.3.10).
    #[must_use]
    pub const fn code(&self) -> u16 {
        let code = match self {
            Self::InvalidStreamIdentifier { .. } => CauseCode::INVALID_STREAM,
            Self::MissingMandatoryParameter { .. } => CauseCode::MISSING_PARAMETER,
            Self::StaleCookie { .. } => CauseCode::STALE_COOKIE,
            Self::OutOfResource => CauseCode::OUT_OF_RESOURCE,
            Self::UnresolvableAddress { .. } => CauseCode::UNRESOLVABLE_ADDRESS,
            Self::UnrecognizedChunkType { .. } => CauseCode::UNRECOGNIZED_CHUNK,
            Self::InvalidMandatoryParameter => CauseCode::INVALID_PARAMETER,
            Self::UnrecognizedParameters { .. } => CauseCode::UNRECOGNIZED_PARAMETERS,
            Self::NoUserData { .. } => CauseCode::NO_USER_DATA,
            Self::CookieReceivedWhileShuttingDown => CauseCode::COOKIE_WHILE_SHUTTING_DOWN,
            Self::RestartWithNewAddresses { .. } => CauseCode::RESTART_WITH_NEW_ADDRESSES,
            Self::UserInitiatedAbort { .. } => CauseCode::USER_ABORT,
            Self::ProtocolViolation { .. } => CauseCode::PROTOCOL_VIOLATION,
            Self::RestartWithNewEncapsulationPort { .. } => CauseCode::RESTART_WITH_NEW_ENCAPSULATION_PORT,
            Self::Unknown { code, .. } => CauseCode(*code),
        };
        code.0
    }

    /// What a cause says.
    pub(crate) fn from_cause(cause: &Cause<'_>) -> Self {
        let copied = Bytes::copy_from_slice;
        match cause {
            Cause::InvalidStreamIdentifier { stream } => Self::InvalidStreamIdentifier { stream: *stream },
            Cause::MissingMandatoryParameter(missing) => {
                Self::MissingMandatoryParameter { parameters: missing.iter().map(|parameter| parameter.0).collect() }
            }
            Cause::StaleCookie { staleness } => Self::StaleCookie { staleness_us: *staleness },
            Cause::OutOfResource => Self::OutOfResource,
            Cause::UnresolvableAddress(parameter) => Self::UnresolvableAddress { parameter: copied(parameter) },
            Cause::UnrecognizedChunkType(chunk) => Self::UnrecognizedChunkType { chunk: copied(chunk) },
            Cause::InvalidMandatoryParameter => Self::InvalidMandatoryParameter,
            Cause::UnrecognizedParameters(_) => Self::UnrecognizedParameters { parameters: information(cause) },
            Cause::NoUserData { tsn } => Self::NoUserData { tsn: tsn.get() },
            Cause::CookieReceivedWhileShuttingDown => Self::CookieReceivedWhileShuttingDown,
            Cause::RestartWithNewAddresses(list) => {
                Self::RestartWithNewAddresses { addresses: list.addresses().collect() }
            }
            Cause::UserInitiatedAbort(reason) => Self::UserInitiatedAbort { reason: copied(reason) },
            Cause::ProtocolViolation(bytes) => Self::ProtocolViolation { information: copied(bytes) },
            Cause::RestartWithNewEncapsulationPort { current, new } => {
                Self::RestartWithNewEncapsulationPort { current: *current, new: *new }
            }
            Cause::Unknown(raw) => Self::Unknown { code: raw.code.0, information: copied(raw.value) },
        }
    }
}

/// The information of a cause, as it stands in the chunk: all behind its code and length.
fn information(cause: &Cause<'_>) -> Bytes {
    use crate::wire::ListItem;
    let mut chunk = crate::answer::encode(&crate::wire::ErrorChunk { causes: core::slice::from_ref(cause).into() });
    // Behind the chunk's header and the cause's.
    chunk.as_mut().map_or_else(Bytes::new, |bytes| bytes.slice(8..4 + cause.length()))
}

#[cfg(test)]
mod tests {
    use sctp_common::wire::cause;

    use super::*;
    use crate::serial::Tsn;
    use crate::wire::{ErrorChunk, MissingParameters, Parameter, ParameterList, ParameterType};

    /// What is told of a cause that has gone over the wire.
    fn told(cause: Cause<'_>) -> (u16, RemoteError, Bytes) {
        let bytes = crate::answer::encode(&ErrorChunk { causes: core::slice::from_ref(&cause).into() }).unwrap();
        let packet = [&[0, 1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0][..], &bytes, &[0; 3]].concat();
        let packet = &packet[..12 + bytes.len().next_multiple_of(4)];
        let raw = crate::wire::Packet::parse(packet).unwrap().chunks().next().unwrap().unwrap();
        let Ok(crate::wire::Chunk::Error(error)) = crate::wire::Chunk::parse(raw) else { panic!("no ERROR") };
        let cause = error.causes.iter().next().unwrap().unwrap();
        (cause.code().0, RemoteError::from_cause(&cause), information(&cause))
    }

    #[test]
    fn all_thirteen_causes() {
        let bytes = Bytes::from_static;
        let missing = [ParameterType::STATE_COOKIE];
        let unknown = [0xc0, 0x99, 0, 4];
        let unknown_list = ParameterList::from_wire(&unknown, 0);
        let addresses = [Parameter::from_address([10, 0, 0, 1].into())];
        let rows: [(u16, Cause<'_>, RemoteError, &'static [u8]); 14] = [
            (
                cause::INVALID_STREAM,
                Cause::InvalidStreamIdentifier { stream: 7 },
                RemoteError::InvalidStreamIdentifier { stream: 7 },
                &[0, 7, 0, 0],
            ),
            (
                cause::MISSING_PARAMETER,
                Cause::MissingMandatoryParameter(MissingParameters::new(&missing)),
                RemoteError::MissingMandatoryParameter { parameters: vec![7] },
                &[0, 0, 0, 1, 0, 7],
            ),
            (
                cause::STALE_COOKIE,
                Cause::StaleCookie { staleness: 5 },
                RemoteError::StaleCookie { staleness_us: 5 },
                &[0, 0, 0, 5],
            ),
            (cause::OUT_OF_RESOURCE, Cause::OutOfResource, RemoteError::OutOfResource, &[]),
            (
                cause::UNRESOLVABLE_ADDRESS,
                Cause::UnresolvableAddress(b"address"),
                RemoteError::UnresolvableAddress { parameter: bytes(b"address") },
                b"address",
            ),
            (
                cause::UNRECOGNIZED_CHUNK,
                Cause::UnrecognizedChunkType(b"chunk"),
                RemoteError::UnrecognizedChunkType { chunk: bytes(b"chunk") },
                b"chunk",
            ),
            (cause::INVALID_PARAMETER, Cause::InvalidMandatoryParameter, RemoteError::InvalidMandatoryParameter, &[]),
            (
                cause::UNRECOGNIZED_PARAMETERS,
                Cause::UnrecognizedParameters(unknown_list),
                RemoteError::UnrecognizedParameters { parameters: Bytes::copy_from_slice(&unknown) },
                &[0xc0, 0x99, 0, 4],
            ),
            (cause::NO_USER_DATA, Cause::NoUserData { tsn: Tsn(9) }, RemoteError::NoUserData { tsn: 9 }, &[0, 0, 0, 9]),
            (
                cause::COOKIE_WHILE_SHUTTING_DOWN,
                Cause::CookieReceivedWhileShuttingDown,
                RemoteError::CookieReceivedWhileShuttingDown,
                &[],
            ),
            (
                cause::RESTART_WITH_NEW_ADDRESSES,
                Cause::RestartWithNewAddresses(ParameterList::new(&addresses)),
                RemoteError::RestartWithNewAddresses { addresses: vec![[10, 0, 0, 1].into()] },
                &[0, 5, 0, 8, 10, 0, 0, 1],
            ),
            (
                cause::USER_ABORT,
                Cause::UserInitiatedAbort(b"reason"),
                RemoteError::UserInitiatedAbort { reason: bytes(b"reason") },
                b"reason",
            ),
            (
                cause::PROTOCOL_VIOLATION,
                Cause::ProtocolViolation(b"what"),
                RemoteError::ProtocolViolation { information: bytes(b"what") },
                b"what",
            ),
            (
                cause::RESTART_WITH_NEW_ENCAPSULATION_PORT,
                Cause::RestartWithNewEncapsulationPort { current: 9899, new: 1 },
                RemoteError::RestartWithNewEncapsulationPort { current: 9899, new: 1 },
                &[0x26, 0xab, 0, 1],
            ),
        ];
        for (index, (code, cause, expected, value)) in rows.into_iter().enumerate() {
            assert_eq!(usize::from(code), index + 1);
            assert!(expected.code() == code);
            assert_eq!(told(cause), (code, expected, bytes(value)));
        }
    }
}
