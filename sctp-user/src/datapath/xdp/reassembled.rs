//! Packets for us that came in IP fragments.
//!
//! Only a first fragment has ports, so fragments are not for XDP: it leaves them to the kernel's IP layer, which puts packets together
//! within bounds (RFC 5722, `net.ipv4.ipfrag_high_thresh`), and firewall rules apply to them as to any that the kernel receives. One
//! worker reads the whole packets from raw sockets, rarely enough that it costs the others nothing: when it is woken for them, and
//! now and then while it is busy. They are judged as the XDP program judges frames. What was never fragmented does not come this way, but for
//! packets to ports that are not ours, which are dropped here; their owners have got them.

use std::io;
use std::net::Ipv6Addr;
use std::path::Path;

use rustix::io::Errno;
use sctp_common::crc32c::packet_checksum;
use sctp_common::frame::{Addresses, Decoded, decode};
use sctp_common::judge::{ChecksumPolicy, Claim, Tables, claim};
use sctp_common::steering::Steering;
use sctp_common::verdict::{DropReason, Verdict};
use sctp_core::{ChecksumState, CopyPayload, Datagram, Ecn};

use super::super::LinkStats;
use super::super::capture::Direction;
use super::super::raw::{Arrival, RawSocket};
use super::control::Shared;
use super::error::OpenError;

/// The raw sockets of a stack.
#[derive(Debug)]
pub(super) struct Reassembled {
    sockets: Vec<RawSocket>,
    steering: Steering,
    checksum: ChecksumPolicy,
    /// Turns since the sockets were looked at.
    turns: u32,
}

impl Reassembled {
    /// Opens the sockets for what comes by the interfaces.
    pub(super) fn open(interfaces: &[u32], steering: Steering, trusted_link: bool) -> Result<Self, OpenError> {
        let mut sockets = Vec::new();
        for is_ipv4 in [true, false] {
            match RawSocket::open(is_ipv4, interfaces) {
                Ok(socket) => sockets.push(socket),
                // A family that the kernel does not have has no fragments.
                Err(error) if error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) => {}
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    let purpose = "receive packets that come in IP fragments";
                    return Err(OpenError::MissingCapability { capability: "CAP_NET_RAW", purpose });
                }
                Err(source) => return Err(OpenError::System { what: "a raw socket cannot be opened", source }),
            }
        }
        // What the worker's own checksum code would accept.
        let checksum = ChecksumPolicy { trusted_link, verify_up_to: u32::MAX };
        Ok(Self { sockets, steering, checksum, turns: 0 })
    }

    /// The sockets, to be watched while the worker sleeps.
    pub(super) fn sockets(&self) -> &[RawSocket] {
        &self.sockets
    }

    /// Something has come: the next turn looks.
    pub(super) fn wake(&mut self) {
        self.turns = TURNS;
    }

    /// Whether it is time to look. To be called once per turn.
    pub(super) fn is_due(&mut self) -> bool {
        self.turns += 1;
        self.turns > TURNS
    }

    //= RFC 9260 §3.3.3: "An implementation MUST be prepared to receive an INIT ACK chunk that is quite large (more than
    //= 1500 bytes)"
    /// Reads what there is, at most `budget` packets, and calls `sink` for those that are ours.
    pub(super) fn receive(
        &mut self,
        budget: usize,
        shared: &Shared,
        stats: &mut LinkStats,
        sink: &mut dyn FnMut(Datagram<'_>),
    ) -> io::Result<usize> {
        self.turns = 0;
        let mut read = 0;
        for socket in &mut self.sockets {
            while read < budget
                && let Some(arrival) = socket.receive()?
            {
                read += 1;
                let Arrival::Frame { ifindex, bytes } = arrival else {
                    stats.reassembled_too_long += 1;
                    continue;
                };
                let judged = shared.with_tables(|tables| judge(bytes, tables, &self.steering, self.checksum));
                let (packet, addresses) = match judged {
                    Ok(judged) => judged,
                    Err(verdict) => {
                        tracing::trace!(verdict = verdict.name(), "a packet from a raw socket is not taken");
                        stats.count_refused(verdict);
                        continue;
                    }
                };
                if let Some(capture) = &shared.capture {
                    capture.frame(ifindex, Direction::Inbound, bytes);
                }
                let start = usize::from(packet.sctp_offset);
                let bytes = &bytes[start..start + usize::from(packet.sctp_len)];
                stats.reassembled += 1;
                stats.received_packets += 1;
                stats.received_bytes += bytes.len() as u64;
                let address = |octets: [u8; 16]| Ipv6Addr::from(octets).to_canonical();
                sink(Datagram {
                    source: address(addresses.source),
                    destination: address(addresses.destination),
                    encapsulation: None,
                    ecn: Ecn::from_bits(packet.ecn),
                    checksum: ChecksumState::Verified,
                    // Its worker may be another one, which is found by the tag.
                    association: None,
                    bytes,
                    payload: &mut CopyPayload(bytes),
                });
            }
        }
        if read == budget {
            self.wake();
        }
        stats.reassembled_lost = self.sockets.iter().map(|socket| u64::from(socket.lost())).sum();
        Ok(read)
    }
}

impl LinkStats {
    /// Counts a packet from a raw socket that is not taken.
    fn count_refused(&mut self, verdict: Verdict) {
        *match verdict {
            Verdict::Drop(DropReason::Checksum | DropReason::ZeroChecksum) => &mut self.reassembled_checksum,
            Verdict::Drop(DropReason::TooLong) => &mut self.reassembled_too_long,
            Verdict::Pass(_) => &mut self.reassembled_not_ours,
            _ => &mut self.reassembled_refused,
        } += 1;
    }
}

/// Judges a whole packet, in the order that the XDP program judges frames in.
///
/// Nobody is answered who has no association here: an answer would be far shorter than what was asked with, but the limits on
/// them are the XDP program's.
fn judge<T: Tables>(
    frame: &[u8],
    tables: &T,
    steering: &Steering,
    checksum: ChecksumPolicy,
) -> Result<(Decoded, Addresses), Verdict> {
    let packet = decode(frame)?;
    let addresses = packet.addresses(frame).ok_or(DropReason::Truncated)?;
    match claim(frame, &packet, &addresses, tables, steering)? {
        Claim::Owner(_) => {}
        Claim::Nobody(answer) => return Err(answer.reason.unanswered().into()),
    }
    let (at, length) = (usize::from(packet.sctp_offset), usize::from(packet.sctp_len));
    checksum.verify(&packet, || packet_checksum(frame, at, length))?;
    Ok((packet, addresses))
}

/// Whether the kernel's own SCTP is loaded: it would get each of our reassembled packets too, and abort the association that it has
/// never heard of.
pub(super) fn kernel_has_sctp() -> bool {
    Path::new("/proc/thread-self/net/sctp").exists()
}

/// A busy worker looks at the sockets every so many turns.
const TURNS: u32 = 128;

#[cfg(test)]
mod tests {
    use sctp_common::maps::{PeerEntry, PeerKey, PortEntry, TagEntry, TagKey, TagKind};
    use sctp_common::verdict::PassReason;

    use super::super::super::headers::Headers;
    use super::*;

    const PORT: u16 = 7;
    const TAG: u32 = 0x0102_0304;

    /// A host that has one port, one tag and one address of each family.
    struct Host;

    impl Tables for Host {
        fn port(&self, port: u16) -> PortEntry {
            if port == PORT { PortEntry::owned(true) } else { PortEntry::default() }
        }

        fn tag(&self, key: &TagKey) -> Option<TagEntry> {
            (*key == TagKey::new(PORT, TagKind::Local, TAG)).then_some(TagEntry { slot: 1, generation: 1, worker: 0 })
        }

        fn peer(&self, _: &PeerKey) -> Option<PeerEntry> {
            None
        }

        fn is_ours(&self, address: &[u8; 16]) -> bool {
            let address = Ipv6Addr::from(*address).to_canonical().to_string();
            ["10.0.0.2", "fd00::2"].contains(&&*address)
        }
    }

    /// A frame with a DATA chunk that fills a packet of `length` bytes.
    fn frame(destination: &str, port: u16, tag: u32, length: usize) -> Vec<u8> {
        let source = if destination.contains(':') { "fd00::1" } else { "10.0.0.1" };
        let parse = |text: &str| text.parse().expect("an address");
        let headers = Headers::new([1; 6], [2; 6], parse(source), parse(destination), 0).expect("one family");
        let mut frame = vec![0; headers.len() + length];
        let (header, packet) = frame.split_at_mut(headers.len());
        headers.write(header, length as u16, Ecn::NotEct);
        packet[..2].copy_from_slice(&9_u16.to_be_bytes());
        packet[2..4].copy_from_slice(&port.to_be_bytes());
        packet[4..8].copy_from_slice(&tag.to_be_bytes());
        packet[13] = 3;
        packet[14..16].copy_from_slice(&(length as u16 - 12).to_be_bytes());
        let sum = sctp_common::crc32c::checksum(packet);
        packet[8..12].copy_from_slice(&sum.to_le_bytes());
        frame
    }

    fn verdict(frame: &[u8]) -> Result<u16, Verdict> {
        let checksum = ChecksumPolicy { trusted_link: false, verify_up_to: u32::MAX };
        judge(frame, &Host, &Steering { key: [1, 2], workers: 2 }, checksum).map(|(packet, _)| packet.sctp_len)
    }

    #[test]
    fn packets_of_our_associations_are_taken() {
        for destination in ["10.0.0.2", "fd00::2"] {
            for length in [32, 3000, 9216] {
                assert_eq!(verdict(&frame(destination, PORT, TAG, length)), Ok(length as u16));
            }
        }
    }

    #[test]
    fn others_are_refused_with_the_reasons_of_the_xdp_program() {
        let damaged = {
            let mut frame = frame("10.0.0.2", PORT, TAG, 3000);
            frame[2000] ^= 1;
            frame
        };
        let refused: [(Vec<u8>, Verdict); 5] = [
            (frame("10.0.0.2", 8, TAG, 3000), PassReason::PortNotOwned.into()),
            (frame("10.0.0.3", PORT, TAG ^ 1, 3000), PassReason::Transit.into()),
            (frame("10.0.0.2", PORT, TAG ^ 1, 3000), DropReason::OutOfTheBlue.into()),
            (frame("fd00::2", PORT, TAG, 9220), DropReason::TooLong.into()),
            (damaged, DropReason::Checksum.into()),
        ];
        let mut stats = LinkStats::default();
        for (frame, reason) in refused {
            assert_eq!(verdict(&frame), Err(reason));
            stats.count_refused(reason);
        }
        let counts = [
            stats.reassembled_not_ours,
            stats.reassembled_refused,
            stats.reassembled_too_long,
            stats.reassembled_checksum,
        ];
        assert_eq!(counts, [2, 1, 1, 1]);
    }

    #[test]
    fn a_busy_worker_looks_now_and_then() {
        let mut reassembled = Reassembled {
            sockets: Vec::new(),
            steering: Steering { key: [1, 2], workers: 2 },
            checksum: ChecksumPolicy { trusted_link: false, verify_up_to: u32::MAX },
            turns: 0,
        };
        assert_eq!((1..).find(|_| reassembled.is_due()), Some(TURNS + 1));
        reassembled.turns = 0;
        reassembled.wake();
        assert!(reassembled.is_due());
    }
}
