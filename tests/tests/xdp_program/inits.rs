//! INITs that the program answers with INIT ACK and State Cookie (RFC 9260 §5.1.3), and those that it leaves to workers.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use sctp_common::cookie::{Age, CookieSecret, CookieSettings, flags};
use sctp_common::frame::{Decoded, decode, ipv4_mapped};
use sctp_common::init::{self, Announced, Offer, Terms};
use sctp_common::limit::Rate;
use sctp_common::maps::policy;
use sctp_common::verdict::{AnswerReason as Answer, DropReason as Drop, RedirectReason as Redirect, Verdict};
use sctp_common::wire::{IPPROTO_UDP, chunk as kind, parameter};

use super::cookies::{EPOCH, SECRET, settings as cookie_settings};
use super::frames::*;
use super::model::Model;
use super::program::{Outcome, Program, Settings};
use super::udp::{PEER_UDP_PORT, UDP_PORT, udp};

const ALWAYS: u32 = policy::INIT_COOKIES | policy::ALWAYS_INIT_COOKIES;

const OFFER: Offer =
    Offer { window: 0x0010_0000, outbound_streams: 32, inbound_streams: 2048, further: 7, flags: flags::ECN };

/// No tokens but the first.
const NONE: Rate = Rate { interval: u64::MAX, tolerance: 0 };

/// Our two addresses.
fn both() -> Announced {
    Announced::new(&[IpAddr::from(OURS_V4), IpAddr::from(OURS_V6)])
}

/// The program that answers INITs, and what it makes cookies with.
pub(crate) struct Answering {
    pub(crate) program: Program,
    model: Model,
    cookies: CookieSettings,
    announced: Announced,
}

impl Answering {
    fn load(settings: Settings, announced: Announced) -> Result<Self> {
        let model = Model::new(&settings);
        let mut program = model.program(settings)?;
        let cookies = cookie_settings(5 * EPOCH)?;
        program.check_cookies(&cookies)?;
        program.offer(PORT, OFFER, &announced)?;
        Ok(Self { program, model, cookies, announced })
    }

    /// Answers all that it can.
    pub(crate) fn always() -> Result<Self> {
        Self::load(Settings { policy: ALWAYS, ..Settings::default() }, both())
    }

    /// What userspace would answer `frame` with, at a time of its own and with random numbers of its own.
    fn expected(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let packet = decode(frame).ok()?;
        let terms = Terms {
            settings: &self.cookies,
            offer: &OFFER,
            announced: &self.announced,
            now: self.cookies.origin,
            number: 0,
        };
        let mut out = vec![0; 1024];
        let length = init::answer(frame, &packet, &self.model, &terms, &mut out)?;
        out.truncate(length);
        Some(out)
    }

    /// Has the program judge `frame`: answered if userspace answers it, and with the same but for what is drawn.
    fn alike(&self, name: &str, frame: &[u8]) -> Result<Verdict> {
        let outcome = self.program.run(frame)?;
        match self.expected(frame) {
            Some(expected) => {
                ensure!(outcome.verdict == Answer::InitAck.into(), "{name}: {outcome:?}");
                let (answer, expected) = (Drawn::take(&outcome.frame)?, Drawn::take(&expected)?);
                ensure!(answer.rest == expected.rest, "{name}:\n{:02x?}\n{:02x?}", answer.rest, expected.rest);
                self.is_good(&outcome).with_context(|| name.to_owned())?;
            }
            None => ensure!(outcome.frame == frame, "{name}: {outcome:?}"),
        }
        Ok(outcome.verdict)
    }

    /// Whether the cookie in an answer, and its packet, are sound; and has the program itself find so.
    fn is_good(&self, outcome: &Outcome) -> Result<()> {
        let packet = sound(&outcome.frame)?;
        let drawn = Drawn::take(&outcome.frame)?;
        ensure!(drawn.tag != 0, "a tag of 0");
        let back = self.echo(&packet, &outcome.frame, &drawn);
        let decoded = decode(back.as_slice()).ok().context("the COOKIE ECHO cannot be decoded")?;
        // About as old as the stack; it may be that a slow machine takes a while to come here.
        let now = self.cookies.origin.wrapping_add(drawn.created + 1);
        ensure!(self.cookies.check(back.as_slice(), &decoded, now) == Ok(Age::Fresh), "the cookie is not good");
        ensure!(drawn.created >= 5 * EPOCH - 100_000_000, "made at {}", drawn.created);
        let judged = self.program.run(&back)?.verdict;
        ensure!(judged == Redirect::CookieEcho.into(), "the cookie comes back and is {judged:?}");
        Ok(())
    }

    /// The COOKIE ECHO that returns the cookie of an answer.
    fn echo(&self, packet: &Decoded, answer: &[u8], drawn: &Drawn) -> Vec<u8> {
        let at = packet.first_chunk_at() + 20;
        let length = usize::from(u16::from_be_bytes([answer[at + 2], answer[at + 3]]));
        let echo = chunk(kind::COOKIE_ECHO, 0, &answer[at + 4..at + length]);
        let sctp = sctp_between(packet.destination_port, packet.source_port, drawn.tag, &echo);
        if packet.is_ipv4 { Ipv4::default().frame(&sctp) } else { Ipv6::default().frame(&sctp) }
    }
}

/// The packet in a frame, whose checksums are right.
fn sound(frame: &[u8]) -> Result<Decoded> {
    let packet = decode(frame).map_err(|verdict| anyhow::anyhow!("the answer is {verdict:?}"))?;
    let (from, length) = (usize::from(packet.sctp_offset), usize::from(packet.sctp_len));
    let mut bytes = frame[from..from + length].to_vec();
    bytes[8..12].fill(0);
    ensure!(crc32c::crc32c(&bytes) == packet.checksum, "the CRC32c is wrong: {frame:02x?}");
    Ok(packet)
}

/// What is drawn for an answer, and the answer without it.
struct Drawn {
    tag: u32,
    created: u64,
    rest: Vec<u8>,
}

impl Drawn {
    /// Takes tags, TSNs, the time, the MAC and the CRC32c, which follow from them, out of an INIT ACK.
    fn take(frame: &[u8]) -> Result<Self> {
        let at = usize::from(decode(frame).ok().context("not decodable")?.sctp_offset);
        let mut rest = frame.to_vec();
        let tag = rest[at + 16..at + 20].to_vec();
        let cookie = at + 36;
        ensure!(rest[cookie + 8..cookie + 12] == tag, "the cookie has another tag");
        ensure!(rest[cookie + 24..cookie + 28] == rest[at + 28..at + 32], "the cookie has another TSN");
        let created = u64::from_be_bytes(rest[cookie + 40..cookie + 48].try_into()?);
        let mac = cookie + 88 + 16 * usize::from(rest[cookie + 1]);
        let drawn =
            [(at + 8, 4), (at + 16, 4), (at + 28, 4), (cookie + 8, 4), (cookie + 24, 4), (cookie + 40, 8), (mac, 16)];
        for (from, length) in drawn {
            rest[from..from + length].fill(0);
        }
        Ok(Self { tag: u32::from_be_bytes(tag[..].try_into()?), created, rest })
    }
}

/// A parameter with its padding.
fn tlv(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend((value.len() as u16 + 4).to_be_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An INIT with these parameters, alone in its packet.
fn init(parameters: &[Vec<u8>]) -> Vec<u8> {
    init_from(PEER_PORT, parameters)
}

fn init_from(port: u16, parameters: &[Vec<u8>]) -> Vec<u8> {
    let mut value = vec![0xca, 0xfe, 0xba, 0xbe, 0, 1, 0, 0, 0, 10, 0, 20, 0, 0, 0, 1];
    value.extend(parameters.concat());
    sctp_between(port, PORT, 0, &chunk(kind::INIT, 0, &value))
}

fn v4(last: u8) -> Vec<u8> {
    tlv(parameter::IPV4_ADDRESS, &[10, 0, 7, last])
}

fn v6_parameter(last: u8) -> Vec<u8> {
    tlv(parameter::IPV6_ADDRESS, &v6(last))
}

/// The parameters of a Linux kernel's INIT: address types, ECN, FORWARD TSN, extensions, and an adaptation indication.
fn linux() -> Vec<Vec<u8>> {
    vec![
        tlv(parameter::SUPPORTED_ADDRESS_TYPES, &[0, 5, 0, 6]),
        tlv(parameter::ECN_CAPABLE, &[]),
        tlv(parameter::SUPPORTED_EXTENSIONS, &[0xc0, 0x82]),
        tlv(parameter::FORWARD_TSN_SUPPORTED, &[]),
        tlv(parameter::ADAPTATION_LAYER, &[0, 0, 0, 0]),
    ]
}

/// The INIT of a Linux kernel.
pub(crate) fn linux_init() -> Vec<u8> {
    init(&linux())
}

/// INITs that are answered.
fn answered() -> Vec<(&'static str, Vec<u8>)> {
    let many: Vec<Vec<u8>> = (1..=8).map(v4).collect();
    vec![
        ("plain", init(&[])),
        ("Linux", init(&linux())),
        ("addresses", init(&[v4(1), v6_parameter(77), v4(1), v4(2)])),
        ("eight addresses, of which one is too many", init(&many)),
        ("its own address", init(&[tlv(parameter::IPV4_ADDRESS, &PEER_V4), tlv(parameter::IPV6_ADDRESS, &PEER_V6)])),
        (
            "addresses of nobody, of this host and of ours",
            init(&[
                tlv(parameter::IPV4_ADDRESS, &[224, 0, 0, 1]),
                tlv(parameter::IPV4_ADDRESS, &[127, 0, 0, 1]),
                tlv(parameter::IPV4_ADDRESS, &[169, 254, 1, 1]),
                tlv(parameter::IPV4_ADDRESS, &OURS_V4),
                v4(9),
            ]),
        ),
        ("IPv4-mapped", init(&[tlv(parameter::IPV6_ADDRESS, &ipv4_mapped([10, 0, 7, 3]))])),
        ("IPv4 only", init(&[tlv(parameter::SUPPORTED_ADDRESS_TYPES, &[0, 5])])),
        ("IPv6 only", init(&[tlv(parameter::SUPPORTED_ADDRESS_TYPES, &[0, 6])])),
        ("no types", init(&[tlv(parameter::SUPPORTED_ADDRESS_TYPES, &[])])),
        ("host names and unknown types", init(&[tlv(parameter::SUPPORTED_ADDRESS_TYPES, &[0, 11, 0, 5, 0, 99])])),
        ("a longer life", init(&[tlv(parameter::COOKIE_PRESERVATIVE, &[0, 0, 0x10, 0])])),
        ("a life too long", init(&[tlv(parameter::COOKIE_PRESERVATIVE, &[0xff; 4])])),
        ("padding", init(&[tlv(parameter::PADDING, &[0xee; 700])])),
        ("unknown, to be skipped", init(&[tlv(0x9f00, &[1, 2, 3]), v4(1)])),
        ("unknown, to be reported", init(&[tlv(0xdf00, &[1, 2, 3]), tlv(0xdf01, &[1; 27]), v4(1)])),
        ("unknown, at which to stop", init(&[v4(1), tlv(0x1f00, &[1]), v4(2)])),
        ("unknown, at which to stop and to be reported", init(&[v4(1), tlv(0x5f00, &[1]), tlv(0xdf00, &[]), v4(2)])),
        ("four reports", init(&(0..4).map(|n| tlv(0xdf00 + n, &[7; 20])).collect::<Vec<_>>())),
        ("AUTH of usrsctp", init(&[tlv(parameter::RANDOM, &[3; 32]), tlv(parameter::CHUNK_LIST, &[0xc1, 0x80])])),
        ("sixteen parameters", init(&vec![tlv(parameter::PADDING, &[]); 16])),
    ]
}

#[test]
fn inits_are_answered_as_userspace_would() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    for announced in [both(), Announced::new(&[IpAddr::from(OURS_V4)])] {
        let answering = Answering::load(Settings { policy: ALWAYS, ..Settings::default() }, announced)?;
        for (name, packet) in answered() {
            let (over_v4, over_v6) = (Ipv4::default().packet(&packet), Ipv6::default().packet(&packet));
            let options = Ipv4 { options: vec![1; 8], ..Ipv4::default() }.frame(&packet);
            let header = Ipv6::default().with(extension::DESTINATION, &options_header(0)).frame(&packet);
            let mut frames = vec![options, header];
            for tags in [&[][..], &[0x8100], &[0x88a8, 0x8100]] {
                frames.extend([ethernet(tags, 0x0800, &over_v4), ethernet(tags, 0x86dd, &over_v6)]);
            }
            for frame in frames {
                let verdict = answering.alike(name, &frame)?;
                ensure!(verdict == Answer::InitAck.into(), "{name}: {verdict:?}");
            }
        }
    }
    Ok(())
}

/// One answer as a constant, so that not all depends on the function that builds them.
#[test]
fn an_init_ack_in_full() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let answering = Answering::always()?;
    let outcome = answering.program.run_expecting(&Ipv4::default().frame(&init(&linux())), Answer::InitAck.into())?;
    sound(&outcome.frame)?;
    let expected = [
        &[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0][..], // Ethernet
        &[0x45, 0, 0, 204, 0, 0, 0x40, 0, 64, 132, 0x25, 0xac, 10, 0, 0, 2, 10, 0, 0, 1], // IPv4
        &[0x96, 0x0c, 0x13, 0x89, 0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 0], // ports, its tag, checksum
        &[2, 0, 0, 172, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 20, 8, 0, 0, 0, 0, 0], // INIT ACK
        &[0, 7, 0, 108, 2, 0, 0, 1, 0x96, 0x0c, 0x13, 0x89], // State Cookie: version, no addresses, ECN, ports
        &[0, 0, 0, 0, 0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 0, 0, 0, 0, 0], // tags and Tie-Tags
        &[0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 20, 0, 10], // TSNs, its window, streams
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xea, 0x60, 0, 0, 0, 0], // time, lifespan
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1],
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 2],
        &[0; 16], // MAC
        &[0, 5, 0, 8, 10, 0, 0, 2],
        &[0, 6, 0, 20, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
        &[0x80, 0, 0, 4],                          // ECN Capable
        &[0, 8, 0, 12, 0xc0, 6, 0, 8, 0, 0, 0, 0], // Unrecognized Parameter
    ]
    .concat();
    let answer = Drawn::take(&outcome.frame)?.rest;
    ensure!(answer == expected, "\n{answer:02x?}\n{expected:02x?}");
    Ok(())
}

/// INITs that only a worker can answer, and whether that is because of an association.
fn left() -> Vec<(&'static str, Vec<u8>)> {
    let fixed = |at: usize, bytes: &[u8]| {
        let mut chunks = init(&[])[12..].to_vec();
        chunks[at..at + bytes.len()].copy_from_slice(bytes);
        sctp(PORT, 0, &chunks)
    };
    let known = v6_parameter(PEER_V6[15]);
    vec![
        ("no tag", fixed(4, &[0; 4])),
        ("window of 1499", fixed(8, &[0, 0, 5, 0xdb])),
        ("no outbound streams", fixed(12, &[0; 2])),
        ("no inbound streams", fixed(14, &[0; 2])),
        ("too short", sctp(PORT, 0, &chunk(kind::INIT, 0, &[1; 15]))),
        ("host name", init(&[tlv(parameter::HOST_NAME, b"a\0")])),
        ("address of another length", init(&[tlv(parameter::IPV4_ADDRESS, &[1; 3])])),
        ("IPv6 address of another length", init(&[tlv(parameter::IPV6_ADDRESS, &[1; 8])])),
        ("half a type", init(&[tlv(parameter::SUPPORTED_ADDRESS_TYPES, &[0, 5, 0])])),
        ("too many types", init(&[tlv(parameter::SUPPORTED_ADDRESS_TYPES, &[0; 10])])),
        ("short preservative", init(&[tlv(parameter::COOKIE_PRESERVATIVE, &[0; 3])])),
        ("ECN with a value", init(&[tlv(parameter::ECN_CAPABLE, &[0; 4])])),
        ("FORWARD TSN with a value", init(&[tlv(parameter::FORWARD_TSN_SUPPORTED, &[0; 4])])),
        ("length below its header", init(&[vec![0x80, 5, 0, 3]])),
        ("length beyond the chunk", init(&[vec![0x80, 5, 0, 9, 0, 0, 0, 0]])),
        ("stray bytes", init(&[vec![0x80, 5]])),
        ("nine addresses", init(&(1..=9).map(v4).collect::<Vec<_>>())),
        ("a long report", init(&[tlv(0xdf00, &[1; 29])])),
        ("too many reports", init(&(0..5).map(|n| tlv(0xdf00 + n, &[7; 20])).collect::<Vec<_>>())),
        ("seventeen parameters", init(&vec![tlv(parameter::PADDING, &[]); 17])),
        ("of an association", init_from(BOUND_PORT, &[])),
        ("of an association, by another address", init_from(BOUND_PORT, &[v4(1), known])),
    ]
}

#[test]
fn others_go_to_workers() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let answering = Answering::always()?;
    let stranger = Ipv4 { source: [10, 8, 8, 8], ..Ipv4::default() };
    for (name, packet) in left() {
        for frame in [Ipv4::default().frame(&packet), Ipv6::default().frame(&packet), stranger.frame(&packet)] {
            let plain = frame == stranger.frame(&init_from(BOUND_PORT, &[]));
            let verdict = answering.alike(name, &frame)?;
            let expected = if plain { Answer::InitAck.into() } else { Redirect::Init.into() };
            ensure!(verdict == expected, "{name}: {verdict:?}");
        }
    }
    let packet = init(&[]);
    let mut group = Ipv4::default().frame(&packet);
    group[6] |= 1;
    let in_udp = udp((PEER_UDP_PORT, UDP_PORT), &PEER_V4, &OURS_V4, &packet);
    let frames = [
        ("from a group", group),
        ("from ourselves", Ipv4 { source: OURS_V4, ..Ipv4::default() }.frame(&packet)),
        ("from this host", Ipv4 { source: [127, 0, 0, 1], ..Ipv4::default() }.frame(&packet)),
        ("from this link", Ipv4 { source: [169, 254, 0, 1], ..Ipv4::default() }.frame(&packet)),
        ("from a mapped address", Ipv6 { source: ipv4_mapped(PEER_V4), ..Ipv6::default() }.frame(&packet)),
        ("in UDP", Ipv4 { protocol: IPPROTO_UDP, ..Ipv4::default() }.frame(&in_udp)),
    ];
    for (name, frame) in frames {
        let outcome = answering.program.run(&frame)?;
        ensure!(outcome.verdict == Redirect::Init.into() && outcome.frame == frame, "{name}: {outcome:?}");
    }
    let quiet = answering.program.run(&Ipv4::default().frame(&sctp(QUIET_PORT, 0, &init_chunk())))?.verdict;
    ensure!(quiet == Answer::Refused.into(), "without a listener: {quiet:?}");
    Ok(())
}

/// What is damaged, or to no listener that has an offer, is not answered, whatever the policy of checksums.
#[test]
fn damaged_inits_are_not_answered() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    for verify_up_to in [u32::MAX, 0] {
        let answering = Answering::load(Settings { policy: ALWAYS, verify_up_to, ..Settings::default() }, both())?;
        let mut packet = init(&linux());
        packet[20] ^= 1;
        let frame = Ipv4::default().frame(&packet);
        let outcome = answering.program.run_expecting(&frame, Drop::Checksum.into())?;
        ensure!(outcome.frame == frame, "{outcome:?}");
    }
    let settings = Settings { policy: ALWAYS, ..Settings::default() };
    let program = Model::new(&settings).program(settings)?;
    let verdict = program.run(&Ipv4::default().frame(&init(&[])))?.verdict;
    ensure!(verdict == Redirect::Init.into(), "without an offer: {verdict:?}");
    Ok(())
}

/// Under load only: the first INITs go to workers, and those beyond the rate are answered. Without leave none is.
#[test]
fn inits_below_the_threshold_go_to_workers() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let frame = Ipv4::default().frame(&init(&linux()));
    let all = |policy: u32, inits: Rate| {
        let answering = Answering::load(Settings { policy, inits, ..Settings::default() }, both())?;
        (0..64).map(|_| Ok(answering.program.run(&frame)?.verdict)).collect::<Result<Vec<_>>>()
    };
    let (init, ack): (Verdict, Verdict) = (Redirect::Init.into(), Answer::InitAck.into());
    let verdicts = all(policy::INIT_COOKIES, NONE)?;
    // Each CPU has a bucket.
    ensure!(verdicts[0] == init && verdicts.contains(&ack), "{verdicts:?}");
    let verdicts = all(policy::INIT_COOKIES, Rate { interval: 0, tolerance: 0 })?;
    ensure!(verdicts.iter().all(|verdict| *verdict == init), "below the threshold: {verdicts:?}");
    let verdicts = all(0, NONE)?;
    ensure!(verdicts.iter().all(|verdict| *verdict == init), "not asked to: {verdicts:?}");
    let verdicts = all(ALWAYS, NONE)?;
    ensure!(verdicts.iter().all(|verdict| *verdict == ack), "always: {verdicts:?}");
    Ok(())
}

/// A flood of INITs that only workers can answer, those of peers with associations among them, reaches the workers at a rate; each network has
/// a share of its own, and associations have theirs.
#[test]
fn what_only_workers_can_answer_comes_at_a_rate() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let answering =
        Answering::load(Settings { policy: policy::INIT_COOKIES, inits: NONE, ..Settings::default() }, both())?;
    let from = |source: [u8; 4], packet: &[u8]| Ipv4 { source, ..Ipv4::default() }.frame(packet);
    let named = init(&[tlv(parameter::HOST_NAME, b"a\0")]);
    let flood = |frame: &[u8]| {
        let verdicts = (0..400).map(|_| Ok(answering.program.run(frame)?.verdict)).collect::<Result<Vec<_>>>()?;
        let dropped = verdicts.iter().filter(|verdict| **verdict == Drop::InitRate.into()).count();
        let passed = verdicts.iter().filter(|verdict| **verdict == Redirect::Init.into()).count();
        ensure!(dropped + passed == 400, "{verdicts:?}");
        Ok(passed)
    };
    // The burst, on each CPU that the test runs on, and what comes meanwhile.
    let passed = flood(&from([192, 0, 2, 1], &named))?;
    ensure!((20..200).contains(&passed), "{passed} of one network");
    let passed = flood(&from([192, 0, 2, 99], &named))?;
    ensure!(passed < 100, "{passed} of the same network");
    let passed = flood(&from([192, 0, 3, 1], &named))?;
    ensure!((20..200).contains(&passed), "{passed} of another network");
    let living = init_from(BOUND_PORT, &[]);
    let passed = flood(&from([10, 0, 0, 7], &named))?;
    ensure!((20..200).contains(&passed), "{passed} of the peer's network");
    let passed = flood(&from(PEER_V4, &living))?;
    ensure!((20..200).contains(&passed), "{passed} of the peer itself");
    Ok(())
}

/// Where the driver does not send answers, INITs beyond the rate are those that only workers can answer.
#[test]
fn workers_answer_at_a_rate() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let policy = policy::INIT_COOKIES | policy::WORKERS_ANSWER;
    let answering = Answering::load(Settings { policy, inits: NONE, ..Settings::default() }, both())?;
    let frame = Ipv4::default().frame(&init(&linux()));
    let verdicts = (0..400).map(|_| Ok(answering.program.run(&frame)?.verdict)).collect::<Result<Vec<_>>>()?;
    let passed = verdicts.iter().filter(|verdict| **verdict == Redirect::Init.into()).count();
    let dropped = verdicts.iter().filter(|verdict| **verdict == Drop::InitRate.into()).count();
    ensure!((21..200).contains(&passed) && passed + dropped == 400, "{passed} passed, {dropped} dropped");
    Ok(())
}

/// Tags and TSNs do not follow from one another, and none is that of an association.
#[test]
fn what_is_drawn_differs() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let answering = Answering::always()?;
    let frame = Ipv4::default().frame(&init(&[]));
    let mut tags = std::collections::HashSet::new();
    let mut ones = [0; 32];
    for _ in 0..2000 {
        let outcome = answering.program.run_expecting(&frame, Answer::InitAck.into())?;
        let tag = Drawn::take(&outcome.frame)?.tag;
        tags.insert(tag);
        for (bit, ones) in ones.iter_mut().enumerate() {
            *ones += tag >> bit & 1;
        }
    }
    // One in a thousand runs has a pair of equal ones. Each bit is as often 0 as 1, within seven standard deviations.
    ensure!(tags.len() >= 1998, "{} different tags", tags.len());
    ensure!(ones.iter().all(|ones| (840..1160).contains(ones)), "{ones:?}");
    let secret = CookieSecret::new(SECRET);
    ensure!(secret.key_of_draws() == answering.cookies.draws && secret.key_of_draws() != secret.key(u64::MAX));
    Ok(())
}
