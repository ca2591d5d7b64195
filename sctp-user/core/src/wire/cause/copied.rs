//! The causes that send back what came: Unresolvable Address, [RFC 9260 §3.3.10.5]; Unrecognized Chunk Type, [§3.3.10.6];
//! Unrecognized Parameters, [§3.3.10.8]; Restart of an Association with New Addresses, [§3.3.10.11].
//!
//! [RFC 9260 §3.3.10.5]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.10.5
//! [§3.3.10.6]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.10.6
//! [§3.3.10.8]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.10.8
//! [§3.3.10.11]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.10.11
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |        Cause Code = 5         |         Cause Length          |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! /                     Unresolvable Address                      /
//! \                                                               \
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//!
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |        Cause Code = 6         |         Cause Length          |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! /                      Unrecognized Chunk                       /
//! \                                                               \
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//!
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |        Cause Code = 8         |         Cause Length          |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! /                    Unrecognized Parameters                    /
//! \                                                               \
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//!
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |        Cause Code = 11        |         Cause Length          |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! /                       New Address TLVs                        /
//! \                                                               \
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use super::RawCause;
use crate::wire::ParameterList;

/// The parameters in the cause, yet to be walked.
pub(super) fn parse(raw: RawCause<'_>) -> ParameterList<'_> {
    ParameterList::from_wire(raw.value, raw.value_offset())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::{causes, list_bytes, parameters};
    use crate::wire::{Cause, Parameter};

    #[test]
    fn an_address_and_a_chunk_are_opaque() {
        let list = [Cause::UnresolvableAddress(&[0, 11, 0, 5, 0]), Cause::UnrecognizedChunkType(&[0x7e, 0, 0, 4])];
        let bytes = [0, 5, 0, 9, 0, 11, 0, 5, 0, 0, 0, 0, 0, 6, 0, 8, 0x7e, 0, 0, 4];
        assert_eq!(list_bytes(&list), bytes);
        assert_eq!(causes(&bytes), list.map(Ok));
    }

    #[test]
    fn parameters_are_copied_with_the_padding_between_them() {
        let received = [0xdf, 1, 0, 5, 1, 0xee, 0xee, 0xee, 0xdf, 2, 0, 5, 2];
        let unknown: Vec<Parameter<'_>> = parameters(&received).into_iter().map_while(Result::ok).collect();
        let cause = Cause::UnrecognizedParameters(ParameterList::new(&unknown));
        let bytes = [0, 8, 0, 17, 0xdf, 1, 0, 5, 1, 0, 0, 0, 0xdf, 2, 0, 5, 2, 0, 0, 0];
        assert_eq!(list_bytes(&[cause]), bytes);
        assert_eq!(causes(&bytes), [Ok(cause)]);
    }

    #[test]
    fn new_addresses() {
        let addresses = [Parameter::Ipv4Address([192, 0, 2, 7].into())];
        let cause = Cause::RestartWithNewAddresses(ParameterList::new(&addresses));
        let bytes = [0, 11, 0, 12, 0, 5, 0, 8, 192, 0, 2, 7];
        assert_eq!(list_bytes(&[cause]), bytes);
        assert_eq!(causes(&bytes), [Ok(cause)]);
        assert_eq!(cause.to_string(), "Restart of an Association with New Addresses [192.0.2.7]");
    }
}
