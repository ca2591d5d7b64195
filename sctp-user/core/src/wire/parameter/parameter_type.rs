//! Parameter types, [RFC 9260 §3.2.1], and those of the extensions.
//!
//! [RFC 9260 §3.2.1]: https://www.rfc-editor.org/rfc/rfc9260#section-3.2.1

use crate::wire::UnknownAction;
use crate::wire::named::named;

/// The type of a parameter; any number may come from the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ParameterType(pub u16);

impl ParameterType {
    /// What the type asks of a receiver that does not know it.
    #[inline]
    #[must_use]
    pub const fn unknown_action(self) -> UnknownAction {
        UnknownAction::of_parameter(self.0)
    }
}

named! {
    ParameterType: parameter, "parameter type {:#06x}";
    HEARTBEAT_INFO "Heartbeat Info",
    IPV4_ADDRESS "IPv4 Address",
    IPV6_ADDRESS "IPv6 Address",
    STATE_COOKIE "State Cookie",
    UNRECOGNIZED "Unrecognized Parameter",
    COOKIE_PRESERVATIVE "Cookie Preservative",
    HOST_NAME "Host Name Address",
    SUPPORTED_ADDRESS_TYPES "Supported Address Types",
    OUTGOING_SSN_RESET "Outgoing SSN Reset Request",
    INCOMING_SSN_RESET "Incoming SSN Reset Request",
    SSN_TSN_RESET "SSN/TSN Reset Request",
    RE_CONFIG_RESPONSE "Re-configuration Response",
    ADD_OUTGOING_STREAMS "Add Outgoing Streams Request",
    ADD_INCOMING_STREAMS "Add Incoming Streams Request",
    ECN_CAPABLE "ECN Capable",
    ZERO_CHECKSUM_ACCEPTABLE "Zero Checksum Acceptable",
    RANDOM "Random",
    CHUNK_LIST "Chunk List",
    HMAC_ALGORITHMS "Requested HMAC Algorithm",
    PADDING "Padding",
    SUPPORTED_EXTENSIONS "Supported Extensions",
    FORWARD_TSN_SUPPORTED "Forward-TSN-Supported",
    ADD_IP_ADDRESS "Add IP Address",
    DELETE_IP_ADDRESS "Delete IP Address",
    ERROR_CAUSE_INDICATION "Error Cause Indication",
    SET_PRIMARY "Set Primary IP Address",
    SUCCESS_INDICATION "Success Indication",
    ADAPTATION_LAYER "Adaptation Layer Indication",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(ParameterType(7).to_string(), "State Cookie");
        assert_eq!(ParameterType(0xc000).to_string(), "Forward-TSN-Supported");
        assert_eq!(ParameterType(0x1234).to_string(), "parameter type 0x1234");
    }
}
