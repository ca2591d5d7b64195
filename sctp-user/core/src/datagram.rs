//! SCTP packets at the border of the core: what comes in and what goes out.

use core::fmt;
use core::net::IpAddr;
use core::num::NonZeroU16;
use core::ops::Range;

use bytes::Bytes;

use crate::AssociationId;

/// A received SCTP packet, without its lower headers.
///
/// Everything is borrowed: a packet that is dropped costs nothing but the look at it. Payload is taken out of it by
/// [`PayloadSource::take`], and only for DATA chunks that are accepted.
pub struct Datagram<'a> {
    /// Source address of the IP header.
    pub source: IpAddr,
    /// Destination address of the IP header: one of ours.
    pub destination: IpAddr,
    /// The UDP source port of a packet that came in UDP (RFC 6951); `None` for one directly over IP.
    pub encapsulation: Option<NonZeroU16>,
    /// The ECN field of the IP header.
    pub ecn: Ecn,
    /// Whether someone below has already verified the CRC32c (RFC 9260 §6.8).
    pub checksum: ChecksumState,
    /// The association that the layer below found by verification tag, if it looked. It is a hint that saves a look-up: it
    /// is checked against port and tag, and a stale one is ignored.
    pub association: Option<AssociationId>,
    /// The packet, from the SCTP common header to the end of the last chunk's padding.
    pub bytes: &'a [u8],
    /// Where payload comes from when it has to outlive the packet.
    pub payload: &'a mut dyn PayloadSource,
}

impl fmt::Debug for Datagram<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datagram")
            .field("source", &self.source)
            .field("destination", &self.destination)
            .field("encapsulation", &self.encapsulation)
            .field("ecn", &self.ecn)
            .field("checksum", &self.checksum)
            .field("association", &self.association)
            .field("len", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// Hands out parts of a received packet that outlive it.
pub trait PayloadSource {
    /// The bytes `range` of the packet ([`Datagram::bytes`]), copied or shared as the source prefers.
    ///
    /// Only ranges inside the packet are asked for.
    fn take(&mut self, range: Range<usize>) -> Bytes;
}

/// The simplest [`PayloadSource`]: copies.
#[derive(Debug)]
pub struct CopyPayload<'a>(pub &'a [u8]);

impl PayloadSource for CopyPayload<'_> {
    fn take(&mut self, range: Range<usize>) -> Bytes {
        Bytes::copy_from_slice(&self.0[range])
    }
}

/// A [`PayloadSource`] over a packet that is a [`Bytes`] already: shares, never copies.
#[derive(Debug)]
pub struct SharedPayload<'a>(pub &'a Bytes);

impl PayloadSource for SharedPayload<'_> {
    fn take(&mut self, range: Range<usize>) -> Bytes {
        self.0.slice(range)
    }
}

/// What is known about the checksum of a received packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumState {
    /// It was computed over the whole packet and is right, or the packet came by a link that is trusted without one.
    Verified,
    /// Nobody looked: the endpoint verifies it before it reads anything else.
    NotChecked,
}

/// The ECN field of an IP header (RFC 3168 §5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Ecn {
    /// Not ECN-capable transport, 0b00.
    #[default]
    NotEct = 0b00,
    /// ECN-capable transport, codepoint ECT(1), 0b01.
    Ect1 = 0b01,
    /// ECN-capable transport, codepoint ECT(0), 0b10.
    Ect0 = 0b10,
    /// Congestion experienced, 0b11.
    Ce = 0b11,
}

impl Ecn {
    /// From the two low bits of the IPv4 type of service or IPv6 traffic class field.
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0b11 {
            0b00 => Self::NotEct,
            0b01 => Self::Ect1,
            0b10 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    /// The two bits as they stand in the IP header.
    pub const fn bits(self) -> u8 {
        self as u8
    }
}

/// An SCTP packet that [`Endpoint::poll_transmit`](crate::Endpoint::poll_transmit) has written: where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Source address to use; `None` leaves the choice to routing.
    pub source: Option<IpAddr>,
    /// Where it goes.
    pub destination: IpAddr,
    /// The UDP destination port of a packet that has to go in UDP, with our own encapsulation port as source port (RFC 6951 §5.3); `None`
    /// for one directly over IP.
    pub encapsulation: Option<NonZeroU16>,
    /// Length in bytes of what was written, from the common header on.
    pub len: usize,
    /// What to put in the ECN field of the IP header.
    pub ecn: Ecn,
    /// DATA that was cut for a larger PMTU than the path has now: the packet has to go in IP fragments of at most so many bytes each,
    /// IP header included (RFC 9260 §6.9, RFC 8899 §4.4). `None`, as nearly always: it must not be fragmented, neither here nor on its
    /// way (IPv4: DF).
    pub fragment_to: Option<u16>,
    /// The association that sends it; `None` for answers that have none.
    pub association: Option<AssociationId>,
}
