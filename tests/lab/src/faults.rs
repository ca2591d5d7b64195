//! Faulty packets of every kind that the XDP program has a name for.

use std::net::IpAddr;

use crate::Host;
use crate::frame::{Checksum, SctpFrame, chunk};
use crate::veth::Family;

/// A frame with one fault.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What is wrong with it, for people.
    pub what: &'static str,
    /// The frame.
    pub frame: Vec<u8>,
    /// The counter of the XDP program that must count it, on a veth.
    pub counter: &'static str,
}

impl Fault {
    /// What the XDP program does with the frame.
    pub fn action(&self) -> &'static str {
        if self.counter == TO_BE_ANSWERED { "XDP_REDIRECT" } else { "XDP_DROP" }
    }
}

/// Faulty frames from one host to a port of another on which a stack listens. `source_port` is that of an association between
/// the two, for which the wrong verification tag is wrong.
pub fn all(from: &Host, to: &Host, family: Family, source_port: u16, port: u16) -> Vec<Fault> {
    let (source, destination) = (from.address(family), to.address(family));
    let base = SctpFrame {
        source_mac: from.mac,
        destination_mac: to.mac,
        vlans: vec![],
        source,
        destination,
        source_port,
        destination_port: port,
        // No association has it: tags are drawn by chance from 2^32.
        verification_tag: 0x5c7b_0b1e,
        checksum: Checksum::Right,
        chunks: chunk::data(1, 0, 0, b"from nobody"),
    };
    let initial = SctpFrame { verification_tag: 0, chunks: chunk::init(7, 1), ..base.clone() };
    let with = |chunks: Vec<u8>| SctpFrame { chunks, ..base.clone() };
    let init_bundled = [initial.chunks.clone(), chunk::abort(false)].concat();
    let multicast = SctpFrame { source: multicast_like(source), ..base.clone() };

    let fault = |what, frame: Vec<u8>, counter| Fault { what, frame, counter };
    vec![
        fault("wrong checksum", SctpFrame { checksum: Checksum::Wrong, ..initial.clone() }.build(), "checksum"),
        fault(
            "checksum left to offload",
            SctpFrame { checksum: Checksum::Zero, ..initial.clone() }.build(),
            "zero-checksum",
        ),
        fault("wrong verification tag", base.build(), "bad-tag"),
        fault("packet of no association", SctpFrame { source_port: NOBODY, ..base.clone() }.build(), TO_BE_ANSWERED),
        fault("verification tag 0", SctpFrame { verification_tag: 0, ..base.clone() }.build(), "zero-tag"),
        fault("ABORT out of the blue", with(chunk::abort(false)).build(), "ootb-abort"),
        fault(
            "SHUTDOWN ACK out of the blue",
            SctpFrame { source_port: NOBODY, ..with(chunk::shutdown_ack()) }.build(),
            TO_BE_ANSWERED,
        ),
        fault("out of the blue, from a multicast address", multicast.build(), "non-unicast"),
        fault("INIT with a verification tag", with(chunk::init(7, 1)).build(), "init-tag"),
        fault("INIT beside another chunk", SctpFrame { chunks: init_bundled, ..initial }.build(), "init-bundled"),
        fault("truncated chunk", with(chunk::with_length(0, 3, 1000, &[0; 20])).build(), "chunk-truncated"),
        fault("chunk length 3", with(chunk::with_length(0, 3, 3, &[0; 12])).build(), "chunk-length"),
        // 12 octets of common header, 4 + 12 + 11 of the chunk, and not the one of padding.
        fault("padding beyond the end", base.build_cut(12 + 27), "chunk-padding"),
        fault("chunk header cut", base.build_cut(12 + 3), "chunk-header"),
        fault("no chunk", base.build_cut(12), "no-chunk"),
        fault("common header cut", base.build_cut(11), "short-header"),
        fault("source port 0", SctpFrame { source_port: 0, ..base.clone() }.build(), "port-zero"),
        fault("frame shorter than its IP packet", shorter(with(chunk::data(1, 0, 0, &[0; 100])).build()), "truncated"),
    ]
}

/// On a veth it is for a worker to answer.
const TO_BE_ANSWERED: &str = "to-be-answered";

/// A port from which nobody has an association: those are drawn from the ephemeral ones.
const NOBODY: u16 = 7;

/// The multicast address of all hosts, of the same family.
fn multicast_like(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => [224, 0, 0, 1].into(),
        IpAddr::V6(_) => [0xff02, 0, 0, 0, 0, 0, 0, 1].into(),
    }
}

/// The frame without its last octets.
fn shorter(mut frame: Vec<u8>) -> Vec<u8> {
    frame.truncate(frame.len() - 40);
    frame
}
