//! The causes that hold a text or other opaque bytes: User-Initiated Abort, [RFC 9260 §3.3.10.12]; Protocol Violation,
//! [§3.3.10.13].
//!
//! [RFC 9260 §3.3.10.12]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.10.12
//! [§3.3.10.13]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.10.13
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |        Cause Code = 12        |         Cause Length          |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! /                   Upper Layer Abort Reason                    /
//! \                                                               \
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//!
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |        Cause Code = 13        |         Cause Length          |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! /                    Additional Information                     /
//! \                                                               \
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use core::fmt;

use super::CauseCode;

/// Bytes of a reason that go into a log line; a peer chooses the rest.
const SHOWN: usize = 80;

/// Code and reason, escaped, since a peer chose it, and shortened.
pub(super) fn fmt(code: CauseCode, reason: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let shown = &reason[..reason.len().min(SHOWN)];
    let more = if shown.len() < reason.len() { "…" } else { "" };
    write!(f, "{code} \"{}{more}\"", shown.escape_ascii())
}

#[cfg(test)]
mod tests {
    use crate::wire::Cause;
    use crate::wire::tests::{causes, list_bytes};

    #[test]
    fn bytes_and_back() {
        let list = [Cause::UserInitiatedAbort(b"bye"), Cause::ProtocolViolation(b"")];
        let bytes = [0, 12, 0, 7, b'b', b'y', b'e', 0, 0, 13, 0, 4];
        assert_eq!(list_bytes(&list), bytes);
        assert_eq!(causes(&bytes), list.map(Ok));
    }

    #[test]
    fn a_log_line_is_safe_from_the_reason() {
        assert_eq!(Cause::ProtocolViolation(b"a\n\xff").to_string(), "Protocol Violation \"a\\n\\xff\"");
        let long = [b'x'; 60_000];
        assert!(Cause::UserInitiatedAbort(&long).to_string().len() < 120);
    }
}
