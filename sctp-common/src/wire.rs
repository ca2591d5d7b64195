//! The protocol's numbers.
//!
//! Section numbers are RFC 9260's where no other RFC is named.

/// IP protocol number (and IPv6 next header value) of SCTP.
pub const IPPROTO_SCTP: u8 = 132;

/// UDP port on which SCTP over UDP is expected (RFC 6951 §5.1).
pub const UDP_ENCAPSULATION_PORT: u16 = 9899;

/// IP protocol number (and IPv6 next header value) of UDP.
pub const IPPROTO_UDP: u8 = 17;

/// Bytes of the UDP header: ports, length, checksum (RFC 768).
pub const UDP_HEADER_LENGTH: usize = 8;

/// Bytes of the common header: ports, verification tag, checksum (§3.1).
pub const COMMON_HEADER_LENGTH: usize = 12;

/// Bytes of a chunk header: type, flags, length (§3.2).
pub const CHUNK_HEADER_LENGTH: usize = 4;

/// Bytes of a parameter header or an error cause header: type or code, length (§3.2.1, §3.3.10).
pub const PARAMETER_HEADER_LENGTH: usize = 4;

/// Chunks, parameters and error causes begin at multiples of this many bytes (§3.2).
pub const ALIGNMENT: usize = 4;

/// `length` rounded up to the next multiple of four: the room that a chunk or parameter takes with its padding.
#[inline(always)]
#[must_use]
pub const fn padded(length: usize) -> usize {
    length.saturating_add(ALIGNMENT - 1) & !(ALIGNMENT - 1)
}

/// What a receiver does with a chunk type or parameter type that it does not know: the two high bits of the type
/// (§3.2, §3.2.1).
pub mod unknown {
    /// Skip it and go on, instead of stopping (highest bit of the type).
    pub const SKIP: u8 = 0b10;
    /// Report it to the sender (second highest bit of the type).
    pub const REPORT: u8 = 0b01;
}

/// Chunk types (§3.2, and the RFCs named).
pub mod chunk {
    /// Payload data (§3.3.1).
    pub const DATA: u8 = 0;
    /// Initiation (§3.3.2).
    pub const INIT: u8 = 1;
    /// Initiation acknowledgement (§3.3.3).
    pub const INIT_ACK: u8 = 2;
    /// Selective acknowledgement (§3.3.4).
    pub const SACK: u8 = 3;
    /// Heartbeat request (§3.3.5).
    pub const HEARTBEAT: u8 = 4;
    /// Heartbeat acknowledgement (§3.3.6).
    pub const HEARTBEAT_ACK: u8 = 5;
    /// Abort (§3.3.7).
    pub const ABORT: u8 = 6;
    /// Shutdown (§3.3.8).
    pub const SHUTDOWN: u8 = 7;
    /// Shutdown acknowledgement (§3.3.9).
    pub const SHUTDOWN_ACK: u8 = 8;
    /// Operation error (§3.3.10).
    pub const ERROR: u8 = 9;
    /// State cookie (§3.3.11).
    pub const COOKIE_ECHO: u8 = 10;
    /// Cookie acknowledgement (§3.3.12).
    pub const COOKIE_ACK: u8 = 11;
    /// Explicit congestion notification echo (Appendix A of RFC 4960, reserved by §3.2).
    pub const ECNE: u8 = 12;
    /// Congestion window reduced (Appendix A of RFC 4960, reserved by §3.2).
    pub const CWR: u8 = 13;
    /// Shutdown complete (§3.3.13).
    pub const SHUTDOWN_COMPLETE: u8 = 14;
    /// Authentication (RFC 4895 §4.1).
    pub const AUTH: u8 = 15;
    /// Payload data with message interleaving (RFC 8260 §2.1).
    pub const I_DATA: u8 = 64;
    /// Address configuration acknowledgement (RFC 5061 §4.1.2).
    pub const ASCONF_ACK: u8 = 128;
    /// Re-configuration (RFC 6525 §3.1).
    pub const RE_CONFIG: u8 = 130;
    /// Padding (RFC 4820 §3).
    pub const PAD: u8 = 132;
    /// Forward cumulative TSN (RFC 3758 §3.2).
    pub const FORWARD_TSN: u8 = 192;
    /// Address configuration change (RFC 5061 §4.1.1).
    pub const ASCONF: u8 = 193;
    /// Forward cumulative TSN with message interleaving (RFC 8260 §2.3.1).
    pub const I_FORWARD_TSN: u8 = 194;
}

/// Chunk flags.
pub mod flags {
    /// T bit of ABORT and SHUTDOWN COMPLETE: the verification tag is the sender's own, reflected (§3.3.7, §3.3.13, §8.5.1).
    pub const T: u8 = 0x01;
    /// E bit of DATA and I-DATA: last fragment of a message (§3.3.1).
    pub const DATA_END: u8 = 0x01;
    /// B bit of DATA and I-DATA: first fragment of a message (§3.3.1).
    pub const DATA_BEGIN: u8 = 0x02;
    /// U bit of DATA and I-DATA: unordered (§3.3.1).
    pub const DATA_UNORDERED: u8 = 0x04;
    /// I bit of DATA and I-DATA: the SACK should not be delayed (§3.3.1).
    pub const DATA_IMMEDIATE: u8 = 0x08;
}

/// Parameter types (§3.3.2.1, §3.3.3.1, and the RFCs named).
pub mod parameter {
    /// Heartbeat information (§3.3.5).
    pub const HEARTBEAT_INFO: u16 = 1;
    /// IPv4 address (§3.3.2.1.1).
    pub const IPV4_ADDRESS: u16 = 5;
    /// IPv6 address (§3.3.2.1.2).
    pub const IPV6_ADDRESS: u16 = 6;
    /// State cookie (§3.3.3.1.1).
    pub const STATE_COOKIE: u16 = 7;
    /// Unrecognized parameter (§3.3.3.1.2).
    pub const UNRECOGNIZED: u16 = 8;
    /// Cookie preservative (§3.3.2.1.3).
    pub const COOKIE_PRESERVATIVE: u16 = 9;
    /// Host name address, deprecated (§3.3.2.1.4).
    pub const HOST_NAME: u16 = 11;
    /// Supported address types (§3.3.2.1.5).
    pub const SUPPORTED_ADDRESS_TYPES: u16 = 12;
    /// Outgoing SSN reset request (RFC 6525 §4.1).
    pub const OUTGOING_SSN_RESET: u16 = 13;
    /// Incoming SSN reset request (RFC 6525 §4.2).
    pub const INCOMING_SSN_RESET: u16 = 14;
    /// SSN and TSN reset request (RFC 6525 §4.3).
    pub const SSN_TSN_RESET: u16 = 15;
    /// Re-configuration response (RFC 6525 §4.4).
    pub const RE_CONFIG_RESPONSE: u16 = 16;
    /// Add outgoing streams request (RFC 6525 §4.5).
    pub const ADD_OUTGOING_STREAMS: u16 = 17;
    /// Add incoming streams request (RFC 6525 §4.6).
    pub const ADD_INCOMING_STREAMS: u16 = 18;
    /// ECN capable (Appendix A of RFC 4960, reserved by §3.3.2.1).
    pub const ECN_CAPABLE: u16 = 0x8000;
    /// Zero checksum acceptable (RFC 9653 §4).
    pub const ZERO_CHECKSUM_ACCEPTABLE: u16 = 0x8001;
    /// Random (RFC 4895 §3.1).
    pub const RANDOM: u16 = 0x8002;
    /// Chunk list (RFC 4895 §3.2).
    pub const CHUNK_LIST: u16 = 0x8003;
    /// Requested HMAC algorithms (RFC 4895 §3.3).
    pub const HMAC_ALGORITHMS: u16 = 0x8004;
    /// Padding (RFC 4820 §4).
    pub const PADDING: u16 = 0x8005;
    /// Supported extensions (RFC 5061 §4.2.7).
    pub const SUPPORTED_EXTENSIONS: u16 = 0x8008;
    /// Forward TSN supported (RFC 3758 §3.1).
    pub const FORWARD_TSN_SUPPORTED: u16 = 0xc000;
    /// Add IP address (RFC 5061 §4.2.1).
    pub const ADD_IP_ADDRESS: u16 = 0xc001;
    /// Delete IP address (RFC 5061 §4.2.2).
    pub const DELETE_IP_ADDRESS: u16 = 0xc002;
    /// Error cause indication (RFC 5061 §4.2.3).
    pub const ERROR_CAUSE_INDICATION: u16 = 0xc003;
    /// Set primary IP address (RFC 5061 §4.2.4).
    pub const SET_PRIMARY: u16 = 0xc004;
    /// Success indication (RFC 5061 §4.2.5).
    pub const SUCCESS_INDICATION: u16 = 0xc005;
    /// Adaptation layer indication (RFC 5061 §4.2.6).
    pub const ADAPTATION_LAYER: u16 = 0xc006;
}

/// Error cause codes (§3.3.10, and the RFCs named).
pub mod cause {
    /// Invalid stream identifier (§3.3.10.1).
    pub const INVALID_STREAM: u16 = 1;
    /// Missing mandatory parameter (§3.3.10.2).
    pub const MISSING_PARAMETER: u16 = 2;
    /// Stale cookie (§3.3.10.3).
    pub const STALE_COOKIE: u16 = 3;
    /// Out of resource (§3.3.10.4).
    pub const OUT_OF_RESOURCE: u16 = 4;
    /// Unresolvable address (§3.3.10.5).
    pub const UNRESOLVABLE_ADDRESS: u16 = 5;
    /// Unrecognized chunk type (§3.3.10.6).
    pub const UNRECOGNIZED_CHUNK: u16 = 6;
    /// Invalid mandatory parameter (§3.3.10.7).
    pub const INVALID_PARAMETER: u16 = 7;
    /// Unrecognized parameters (§3.3.10.8).
    pub const UNRECOGNIZED_PARAMETERS: u16 = 8;
    /// No user data (§3.3.10.9).
    pub const NO_USER_DATA: u16 = 9;
    /// Cookie received while shutting down (§3.3.10.10).
    pub const COOKIE_WHILE_SHUTTING_DOWN: u16 = 10;
    /// Restart of an association with new addresses (§3.3.10.11).
    pub const RESTART_WITH_NEW_ADDRESSES: u16 = 11;
    /// User-initiated abort (§3.3.10.12).
    pub const USER_ABORT: u16 = 12;
    /// Protocol violation (§3.3.10.13).
    pub const PROTOCOL_VIOLATION: u16 = 13;
    /// Restart of an association with a new encapsulation port (draft-tuexen-tsvwg-rfc6951-bis).
    pub const RESTART_WITH_NEW_ENCAPSULATION_PORT: u16 = 14;
    /// Request to delete the last remaining IP address (RFC 5061 §4.3.1).
    pub const DELETE_LAST_ADDRESS: u16 = 0x00a0;
    /// Operation refused because of resource shortage (RFC 5061 §4.3.2).
    pub const REFUSED_RESOURCE_SHORTAGE: u16 = 0x00a1;
    /// Request to delete the source IP address (RFC 5061 §4.3.3).
    pub const DELETE_SOURCE_ADDRESS: u16 = 0x00a2;
    /// Association aborted because of an illegal ASCONF-ACK (RFC 5061 §4.3.4).
    pub const ILLEGAL_ASCONF_ACK: u16 = 0x00a3;
    /// Request refused, no authorization (RFC 5061 §4.3.5).
    pub const NO_AUTHORIZATION: u16 = 0x00a4;
    /// Unsupported HMAC identifier (RFC 4895 §4).
    pub const UNSUPPORTED_HMAC: u16 = 0x0105;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_rounds_up_to_four() {
        assert_eq!([0, 1, 3, 4, 5, 65_535].map(padded), [0, 4, 4, 4, 8, 65_536]);
    }

    #[test]
    fn padding_does_not_overflow() {
        assert_eq!(padded(usize::MAX), usize::MAX - 3);
    }
}
