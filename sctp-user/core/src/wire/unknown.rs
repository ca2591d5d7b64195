//! What to do with a chunk or parameter that is not known, [RFC 9260 §3.2] and [§3.2.1].
//!
//! [RFC 9260 §3.2]: https://www.rfc-editor.org/rfc/rfc9260#section-3.2
//! [§3.2.1]: https://www.rfc-editor.org/rfc/rfc9260#section-3.2.1
//!
//! ```text
//! +----+--------------------------------------------------+
//! | 00 | Stop processing this SCTP packet and discard the |
//! |    | unrecognized chunk and all further chunks.       |
//! +----+--------------------------------------------------+
//! | 01 | Stop processing this SCTP packet, discard the    |
//! |    | unrecognized chunk and all further chunks, and   |
//! |    | report the unrecognized chunk in an ERROR chunk  |
//! |    | using the 'Unrecognized Chunk Type' error cause. |
//! +----+--------------------------------------------------+
//! | 10 | Skip this chunk and continue processing.         |
//! +----+--------------------------------------------------+
//! | 11 | Skip this chunk and continue processing, but     |
//! |    | report it in an ERROR chunk using the            |
//! |    | 'Unrecognized Chunk Type' error cause.           |
//! +----+--------------------------------------------------+
//! ```
//!
//! For parameters the table is the same with "this chunk" in place of "this SCTP packet" (§3.2.1) and the report as §3.2.2 says.

/// The verdict that the two highest bits of an unknown chunk type or parameter type ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UnknownAction {
    /// Whether what follows (further chunks of the packet, further parameters of the chunk) is discarded too.
    pub stop: bool,
    /// Whether the peer is told.
    pub report: bool,
}

impl UnknownAction {
    /// The verdict for an unknown chunk type (RFC 9260 §3.2, table 2).
    #[inline]
    #[must_use]
    pub const fn of_chunk(chunk_type: u8) -> Self {
        Self { stop: chunk_type & 0x80 == 0, report: chunk_type & 0x40 != 0 }
    }

    /// The verdict for an unknown parameter type (RFC 9260 §3.2.1, table 3).
    #[inline]
    #[must_use]
    pub const fn of_parameter(parameter_type: u16) -> Self {
        Self { stop: parameter_type & 0x8000 == 0, report: parameter_type & 0x4000 != 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_highest_bits_decide() {
        let table = [(0b00, true, false), (0b01, true, true), (0b10, false, false), (0b11, false, true)];
        for (bits, stop, report) in table {
            let expected = UnknownAction { stop, report };
            for low in [0, 1, 0x2a, 0x3f_u8] {
                assert_eq!(UnknownAction::of_chunk((bits << 6) | low), expected);
                let parameter = (u16::from(bits) << 14) | (u16::from(low) << 8) | 0x55;
                assert_eq!(UnknownAction::of_parameter(parameter), expected);
            }
        }
    }
}
