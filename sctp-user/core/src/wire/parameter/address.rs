//! IPv4 Address, IPv6 Address, Host Name Address and Supported Address Types, [RFC 9260 §3.3.2.1.1] to [§3.3.2.1.5].
//!
//! [RFC 9260 §3.3.2.1.1]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.2.1.1
//! [§3.3.2.1.5]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.2.1.5
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |           Type = 5            |          Length = 8           |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                         IPv4 Address                          |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//!
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |           Type = 6            |          Length = 20          |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                                                               |
//! |                         IPv6 Address                          |
//! |                                                               |
//! |                                                               |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//!
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |           Type = 11           |            Length             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! /                           Host Name                           /
//! \                                                               \
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//!
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |           Type = 12           |            Length             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |        Address Type #1        |        Address Type #2        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                            ......                             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-++-+-+-+-+-+-+-+-+-+-+-+-+-+-++-+-+-+
//! ```

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

use super::{ParameterError, ParameterType, RawParameter};
use crate::wire::Sink;
use crate::wire::tlv::emit_header;

/// The address types that a sender of INIT can use. Types that are not known are dropped on receipt, as is the Host Name
/// Address, which "MUST be ignored when receiving this parameter".
///
/// "The absence of this parameter indicates that the sending endpoint can support any address type": the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SupportedAddressTypes {
    /// IPv4 addresses.
    pub ipv4: bool,
    /// IPv6 addresses.
    pub ipv6: bool,
}

impl SupportedAddressTypes {
    pub(super) fn parse(raw: RawParameter<'_>) -> Result<Self, ParameterError> {
        let (types, rest) = raw.value.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(raw.bad_length(raw.bytes.len() - 1));
        }
        //= RFC 9260 §3.3.2.1.5: "The value indicating the Host Name Address parameter … MUST be ignored when receiving
        //= this parameter"
        let supports = |wanted: ParameterType| types.contains(&wanted.0.to_be_bytes());
        Ok(Self { ipv4: supports(ParameterType::IPV4_ADDRESS), ipv6: supports(ParameterType::IPV6_ADDRESS) })
    }

    pub(super) fn value_length(self) -> usize {
        2 * (usize::from(self.ipv4) + usize::from(self.ipv6))
    }

    pub(super) fn emit(self, out: &mut Sink<'_>) {
        emit_header(ParameterType::SUPPORTED_ADDRESS_TYPES.0, self.value_length(), out);
        //= RFC 9260 §3.3.2.1.5: "The value indicating the Host Name Address parameter MUST NOT be used when sending
        //= this parameter"
        if self.ipv4 {
            out.u16(ParameterType::IPV4_ADDRESS.0);
        }
        if self.ipv6 {
            out.u16(ParameterType::IPV6_ADDRESS.0);
        }
    }
}

pub(super) fn parse_ipv4(raw: RawParameter<'_>) -> Result<Ipv4Addr, ParameterError> {
    raw.exactly::<4>().map(|octets| Ipv4Addr::from(*octets))
}

pub(super) fn parse_ipv6(raw: RawParameter<'_>) -> Result<Ipv6Addr, ParameterError> {
    raw.exactly::<16>().map(|octets| Ipv6Addr::from(*octets))
}

impl Default for SupportedAddressTypes {
    fn default() -> Self {
        Self { ipv4: true, ipv6: true }
    }
}

impl fmt::Display for SupportedAddressTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.ipv4, self.ipv6) {
            (true, true) => "IPv4+IPv6",
            (true, false) => "IPv4",
            (false, true) => "IPv6",
            (false, false) => "none",
        })
    }
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use super::*;
    use crate::wire::tests::{list_bytes, parameters};
    use crate::wire::{Parameter, ParameterList};

    #[test]
    fn addresses_and_back() {
        let list = [
            Parameter::Ipv4Address(Ipv4Addr::new(192, 0, 2, 1)),
            Parameter::Ipv6Address("2001:db8::1".parse().expect("an address")),
        ];
        let mut bytes = vec![0, 5, 0, 8, 192, 0, 2, 1, 0, 6, 0, 20, 0x20, 0x01, 0x0d, 0xb8];
        bytes.extend([0; 11]);
        bytes.push(1);
        assert_eq!(list_bytes(&list), bytes);
        assert_eq!(parameters(&bytes), list.map(Ok));
        let addresses: Vec<IpAddr> = ParameterList::new(&list).addresses().collect();
        assert_eq!(addresses, list.map(|parameter| parameter.address().expect("an address")));
        for (parameter, address) in list.iter().zip(addresses) {
            assert_eq!(Parameter::from_address(address), *parameter);
        }
    }

    //= test RFC 9260 §3.3.2.1.2: "A sender MUST NOT use an IPv4-mapped IPv6 address [RFC4291] but SHOULD instead use an
    //= IPv4 Address parameter"
    #[test]
    fn ipv4_mapped_means_ipv4() {
        let mapped: Ipv6Addr = "::ffff:192.0.2.1".parse().expect("an address");
        let plain = Parameter::Ipv4Address(Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(Parameter::from_address(mapped.into()), plain);
        assert_eq!(Parameter::Ipv6Address(mapped).address(), plain.address());
    }

    #[test]
    fn an_address_of_another_length_is_an_error_and_the_walk_goes_on() {
        let bytes = [0, 5, 0, 7, 1, 2, 3, 0, 0, 6, 0, 8, 1, 2, 3, 4, 0, 5, 0, 8, 1, 2, 3, 4];
        let error = |parameter_type, offset, length, expected| {
            Err(ParameterError::BadLength { parameter_type, offset, length, expected })
        };
        assert_eq!(
            parameters(&bytes),
            [
                error(ParameterType::IPV4_ADDRESS, 32, 7, 8),
                error(ParameterType::IPV6_ADDRESS, 40, 8, 20),
                Ok(Parameter::Ipv4Address(Ipv4Addr::new(1, 2, 3, 4))),
            ]
        );
    }

    //= test RFC 9260 §3.3.2.1.5: "The value indicating the Host Name Address parameter MUST NOT be used when sending
    //= this parameter"
    #[test]
    fn supported_types_and_back() {
        for (ipv4, ipv6, bytes) in [
            (true, true, &[0, 12, 0, 8, 0, 5, 0, 6][..]),
            (true, false, &[0, 12, 0, 6, 0, 5, 0, 0]),
            (false, true, &[0, 12, 0, 6, 0, 6, 0, 0]),
            (false, false, &[0, 12, 0, 4]),
        ] {
            let parameter = Parameter::SupportedAddressTypes(SupportedAddressTypes { ipv4, ipv6 });
            assert_eq!(list_bytes(&[parameter]), bytes);
            assert_eq!(parameters(bytes), [Ok(parameter)]);
        }
    }

    //= test RFC 9260 §3.3.2.1.5: "MUST be ignored when receiving this parameter"
    #[test]
    fn host_name_and_unknown_types_are_ignored() {
        let only_ipv6 = Parameter::SupportedAddressTypes(SupportedAddressTypes { ipv4: false, ipv6: true });
        assert_eq!(parameters(&[0, 12, 0, 10, 0, 11, 0, 99, 0, 6, 0, 0]), [Ok(only_ipv6)]);
        assert!(parameters(&[0, 12, 0, 7, 0, 5, 0, 0])[0].is_err());
    }

    #[test]
    fn a_host_name_is_seen() {
        let bytes = [0, 11, 0, 6, b'a', 0, 0, 0];
        assert_eq!(parameters(&bytes), [Ok(Parameter::HostName(b"a\0"))]);
        assert_eq!(Parameter::HostName(b"a\0").to_string(), "Host Name Address \"a\\x00\"");
    }
}
