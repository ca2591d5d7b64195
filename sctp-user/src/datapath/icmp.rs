//! ICMP errors about packets of ours (RFC 9260 §10).

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU16;

use sctp_common::icmp::quotation;
use sctp_core::IcmpMessage;
use smallvec::SmallVec;

/// An ICMP or ICMPv6 error that quotes a packet of ours, its checksums verified.
///
/// Whether the quotation is to be believed is for the endpoint to say, which knows the association
/// ([`Endpoint::handle_icmp`](sctp_core::Endpoint::handle_icmp)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IcmpError {
    icmp_type: u8,
    code: u8,
    mtu: u32,
    source: IpAddr,
    destination: IpAddr,
    encapsulation: Option<NonZeroU16>,
    quoted: SmallVec<[u8; QUOTED]>,
}

/// As much as is kept of the quoted packet: the common header, and of an INIT the chunk header and the Initiate Tag.
const QUOTED: usize = 20;

impl IcmpError {
    /// Reads the error in `frame`, which begins with the Ethernet header; `udp_port` is our encapsulation port. `None` if it is none that need be heeded (ICMP1 to ICMP4), or
    /// damaged.
    pub(super) fn read(frame: &[u8], udp_port: Option<NonZeroU16>) -> Option<Self> {
        let udp_port = udp_port.map_or(0, NonZeroU16::get);
        let quotation = quotation(frame, udp_port).filter(|quotation| quotation.has_right_checksums(frame))?;
        let (source, destination) = quotation.addresses(frame)?;
        let address = |octets: [u8; 16]| Ipv6Addr::from(octets).to_canonical();
        let quoted = frame.get(usize::from(quotation.sctp_offset)..usize::from(quotation.end))?;
        Some(Self {
            icmp_type: quotation.kind,
            code: quotation.code,
            mtu: quotation.mtu().unwrap_or(0),
            source: address(source),
            destination: address(destination),
            encapsulation: NonZeroU16::new(quotation.udp_port),
            quoted: SmallVec::from_slice(&quoted[..quoted.len().min(QUOTED)]),
        })
    }

    /// The error as the endpoint takes it.
    pub fn message(&self) -> IcmpMessage<'_> {
        IcmpMessage {
            icmp_type: self.icmp_type,
            code: self.code,
            mtu: self.mtu,
            source: self.source,
            destination: self.destination,
            encapsulation: self.encapsulation,
            quoted: &self.quoted,
        }
    }
}
