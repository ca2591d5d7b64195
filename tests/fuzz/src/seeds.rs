//! Writes the seeds from which fuzzing starts, `seeds/<target>/<what it is>`, and runs the checks over every one.
//!
//! `seeds/packet/usrsctp-*` are no work of this file: they are what usrsctp 0.9.5 sent in an association with itself.

use std::fs;
use std::path::{Path, PathBuf};

use sctp_core::serial::{Ssn, Tsn};
use sctp_core::wire::{
    Abort, Cause, CauseList, Checksum, Chunk, CommonHeader, CookieEcho, Cwr, Data, DataFlags, DataHeader, Ecne, Emit,
    ErrorChunk, GapAckBlock, Heartbeat, Init, InitAck, MissingParameters, Pad, Parameter, ParameterList, ParameterType,
    Sack, Shutdown, ShutdownComplete, SupportedAddressTypes, Writer, checksum,
};

use crate::{causes, chunk, packet, parameters};

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 4] = [("packet", packet), ("chunk", chunk), ("parameters", parameters), ("causes", causes)];

const PARAMETERS: [Parameter<'_>; 11] = [
    Parameter::Ipv4Address(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    Parameter::Ipv6Address(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    Parameter::StateCookie(b"a cookie"),
    Parameter::Unrecognized(&[0xdf, 0, 0, 5, 1]),
    Parameter::CookiePreservative { increment_ms: 1000 },
    Parameter::HostName(b"localhost\0"),
    Parameter::SupportedAddressTypes(SupportedAddressTypes { ipv4: true, ipv6: true }),
    Parameter::EcnCapable,
    Parameter::ForwardTsnSupported,
    Parameter::SupportedExtensions(&[0xc0, 0x82, 0x0f]),
    Parameter::Padding { data_length: 3 },
];

const CAUSES: [Cause<'_>; 13] = [
    Cause::InvalidStreamIdentifier { stream: 9 },
    Cause::MissingMandatoryParameter(MissingParameters::new(&[ParameterType::STATE_COOKIE])),
    Cause::StaleCookie { staleness: 1000 },
    Cause::OutOfResource,
    Cause::UnresolvableAddress(&[0, 11, 0, 6, b'x', 0]),
    Cause::UnrecognizedChunkType(&[0x7f, 0, 0, 4]),
    Cause::InvalidMandatoryParameter,
    Cause::UnrecognizedParameters(ParameterList::new(&PARAMETERS)),
    Cause::NoUserData { tsn: Tsn(7) },
    Cause::CookieReceivedWhileShuttingDown,
    Cause::RestartWithNewAddresses(ParameterList::new(&PARAMETERS)),
    Cause::UserInitiatedAbort(b"enough"),
    Cause::ProtocolViolation(b"no"),
];

const INIT: Init<'_> = Init {
    initiate_tag: 1,
    a_rwnd: 65536,
    outbound_streams: 10,
    inbound_streams: 2048,
    initial_tsn: Tsn(u32::MAX),
    parameters: ParameterList::new(&PARAMETERS),
};

#[test]
fn seeds_are_written_and_pass_the_checks() {
    write_packets();
    write_lists();
    for (target, check) in TARGETS {
        let mut seeds = 0;
        for entry in fs::read_dir(directory(target)).expect("the seeds") {
            check(&fs::read(entry.expect("a seed").path()).expect("a seed"));
            seeds += 1;
        }
        assert!(seeds >= 10, "{target} has {seeds} seeds");
    }
}

fn write_packets() {
    let gaps = [GapAckBlock { start: 2, end: 3 }, GapAckBlock { start: 5, end: 500 }];
    let sack = Sack {
        cumulative_tsn_ack: Tsn(12),
        a_rwnd: 4660,
        gap_ack_blocks: gaps.into_iter(),
        duplicate_tsns: [Tsn(11), Tsn(11)].into_iter(),
    };
    let data =
        |tsn, flags, payload| Data::new(DataHeader { tsn: Tsn(tsn), stream: 3, ssn: Ssn(4), ppid: 60, flags }, payload);
    let heartbeat = Heartbeat { info: b"nonce and time" };
    let chunks: [(&str, &dyn Emit); 17] = [
        ("data", &data(1, DataFlags::UNFRAGMENTED | DataFlags::IMMEDIATE, b"hello")),
        ("data-unordered-middle", &data(2, DataFlags::MIDDLE | DataFlags::UNORDERED, b"abcd")),
        ("init-with-every-parameter", &INIT),
        ("init-without-parameters", &Init { parameters: ParameterList::EMPTY, ..INIT }),
        ("init-ack-with-every-parameter", &InitAck(INIT)),
        ("sack-with-gaps-and-duplicates", &sack),
        ("heartbeat", &heartbeat),
        ("heartbeat-ack", &heartbeat.acknowledge()),
        ("abort-with-every-cause", &Abort { tag_reflected: true, causes: CauseList::new(&CAUSES) }),
        ("error-with-every-cause", &ErrorChunk { causes: CauseList::new(&CAUSES) }),
        ("shutdown", &Shutdown { cumulative_tsn_ack: Tsn(5) }),
        ("shutdown-ack", &Chunk::ShutdownAck),
        ("cookie-echo", &CookieEcho { cookie: b"a cookie" }),
        ("ecne", &Ecne { lowest_tsn: Tsn(5) }),
        ("cwr", &Cwr { lowest_tsn: Tsn(5) }),
        ("shutdown-complete", &ShutdownComplete { tag_reflected: true }),
        ("pad", &Pad { data_length: 9 }),
    ];
    for (name, chunk) in chunks {
        let bytes = packet_of(&[chunk]);
        write("packet", name, &bytes);
        // Type and flags, then the value: without the length, and without the padding.
        let value = &bytes[16..12 + chunk.length()];
        write("chunk", name, &[&bytes[12..14], value].concat());
    }

    let echo = CookieEcho { cookie: b"a cookie" };
    let [first, last] = [DataFlags::BEGINNING, DataFlags::ENDING].map(|flags| data(8, flags, b"x"));
    write("packet", "cookie-echo-and-two-data", &packet_of(&[&echo, &first, &last]));
    write("packet", "cookie-ack-and-sack", &packet_of(&[&Chunk::CookieAck, &sack]));

    // Bad ones: what RFC 9260 §3.2 forbids.
    let good = packet_of(&[&Chunk::CookieAck, &echo]);
    let with = |at: usize, bytes: &[u8]| {
        let mut packet = good.clone();
        packet[at..at + bytes.len()].copy_from_slice(bytes);
        sealed(packet)
    };
    write("packet", "bad-source-port-zero", &with(0, &[0, 0]));
    let mut damaged = good.clone();
    damaged[8] ^= 1;
    write("packet", "bad-checksum", &damaged);
    write("packet", "bad-chunk-length-3", &with(18, &[0, 3]));
    write("packet", "bad-chunk-length-beyond-the-packet", &with(18, &[0, 13]));
    write("packet", "unknown-chunk-skip-and-report", &with(12, &[0xfe]));
    write("packet", "unknown-chunk-stop", &with(12, &[0x3e]));
    let unpadded = packet_of(&[&CookieEcho { cookie: b"12345" }]);
    write("packet", "last-padding-absent", &sealed(unpadded[..unpadded.len() - 3].to_vec()));
    write("packet", "bad-truncated-chunk-header", &sealed(good[..18].to_vec()));
    write("chunk", "bad-data-without-user-data", &[0, 3, 0, 0, 0, 1, 0, 2, 0, 3, 0, 0, 0, 4]);
    write("chunk", "bad-init-with-tag-zero", &[1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
}

fn write_lists() {
    for (at, parameter) in PARAMETERS.iter().enumerate() {
        let init = Init { parameters: ParameterList::new(std::slice::from_ref(parameter)), ..INIT };
        write("parameters", &format!("{at:02}-{}", slug(&parameter.parameter_type())), &packet_of(&[&init])[32..]);
    }
    write("parameters", "every-parameter", &packet_of(&[&INIT])[32..]);
    write(
        "parameters",
        "unknown-skip-and-report-then-stop",
        &[0xdf, 0, 0, 5, 1, 0, 0, 0, 0x1f, 0, 0, 4, 0xc0, 0, 0, 4],
    );
    write("parameters", "bad-length-3", &[0, 5, 0, 3, 1, 2, 3, 4]);
    write("parameters", "bad-length-beyond-the-chunk", &[0, 5, 0, 9, 1, 2, 3, 4]);
    write("parameters", "bad-address-length", &[0, 5, 0, 6, 1, 2, 0, 0, 0, 6, 0, 8, 1, 2, 3, 4]);

    for (at, cause) in CAUSES.iter().enumerate() {
        let error = ErrorChunk { causes: CauseList::new(std::slice::from_ref(cause)) };
        write("causes", &format!("{:02}-{}", at + 1, slug(&cause.code())), &packet_of(&[&error])[16..]);
    }
    write("causes", "unknown", &[0, 99, 0, 5, 1, 0, 0, 0]);
    write("causes", "bad-count-of-missing-parameters", &[0, 2, 0, 10, 0, 0, 0, 9, 0, 7, 0, 0]);
}

fn packet_of(chunks: &[&dyn Emit]) -> Vec<u8> {
    let mut buffer = vec![0; 2048];
    let header = CommonHeader { source_port: 5000, destination_port: 38412, verification_tag: 0x0102_0304 };
    let mut writer = Writer::new(&mut buffer, header).expect("room");
    for chunk in chunks {
        writer.chunk(*chunk).expect("room");
    }
    let length = writer.finish(Checksum::Compute);
    buffer.truncate(length);
    buffer
}

/// Puts the right checksum into a packet that was changed.
fn sealed(mut packet: Vec<u8>) -> Vec<u8> {
    let checksum = checksum::compute(&packet);
    packet[8..12].copy_from_slice(&checksum.to_le_bytes());
    packet
}

pub(crate) fn write(target: &str, name: &str, bytes: &[u8]) {
    let path = directory(target).join(name);
    if fs::read(&path).ok().as_deref() != Some(bytes) {
        fs::create_dir_all(directory(target)).expect("a directory for the seeds");
        fs::write(path, bytes).expect("a seed");
    }
}

pub(crate) fn directory(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target)
}

fn slug(name: &impl ToString) -> String {
    name.to_string().to_lowercase().replace(' ', "-")
}
