//! Cause codes, [RFC 9260 §3.3.10], and those of the extensions.
//!
//! [RFC 9260 §3.3.10]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.10

use crate::wire::named::named;

/// The code of an error cause; any number may come from the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CauseCode(pub u16);

named! {
    CauseCode: cause, "cause code {}";
    INVALID_STREAM "Invalid Stream Identifier",
    MISSING_PARAMETER "Missing Mandatory Parameter",
    STALE_COOKIE "Stale Cookie",
    OUT_OF_RESOURCE "Out of Resource",
    UNRESOLVABLE_ADDRESS "Unresolvable Address",
    UNRECOGNIZED_CHUNK "Unrecognized Chunk Type",
    INVALID_PARAMETER "Invalid Mandatory Parameter",
    UNRECOGNIZED_PARAMETERS "Unrecognized Parameters",
    NO_USER_DATA "No User Data",
    COOKIE_WHILE_SHUTTING_DOWN "Cookie Received While Shutting Down",
    RESTART_WITH_NEW_ADDRESSES "Restart of an Association with New Addresses",
    USER_ABORT "User-Initiated Abort",
    PROTOCOL_VIOLATION "Protocol Violation",
    RESTART_WITH_NEW_ENCAPSULATION_PORT "Restart of an Association with New Encapsulation Port",
    DELETE_LAST_ADDRESS "Request to Delete Last Remaining IP Address",
    REFUSED_RESOURCE_SHORTAGE "Operation Refused Due to Resource Shortage",
    DELETE_SOURCE_ADDRESS "Request to Delete Source IP Address",
    ILLEGAL_ASCONF_ACK "Association Aborted Due to Illegal ASCONF-ACK",
    NO_AUTHORIZATION "Request Refused - No Authorization",
    UNSUPPORTED_HMAC "Unsupported HMAC Identifier",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(CauseCode(13).to_string(), "Protocol Violation");
        assert_eq!(CauseCode(15).to_string(), "cause code 15");
    }
}
