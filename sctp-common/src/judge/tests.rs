use std::collections::{HashMap, HashSet};

use super::*;
use crate::frame::samples::{ethernet, ipv4_packet};
use crate::frame::{decode, ipv4_mapped};
use crate::maps::TagKind;
use crate::siphash::HashKey;
use crate::wire::{chunk, flags};

const LISTENING: u16 = 38412;
const QUIET: u16 = 40000;
/// The port from which 10.0.0.1 has an association with us. Most packets here are from another.
const BOUND: u16 = 5002;
const TAG: u32 = 0x1234_5678;
const PEER_TAG: u32 = 0x9abc_def0;
const ENTRY: TagEntry = TagEntry { slot: 5, generation: 6, worker: 2 };
const KEY: HashKey = [1, 2];
const STEERING: Steering = Steering { key: KEY, workers: 4 };

struct Collections {
    ports: HashMap<u16, PortEntry>,
    tags: HashMap<TagKey, TagEntry>,
    peers: HashMap<PeerKey, PeerEntry>,
    addresses: HashSet<[u8; 16]>,
}

impl Tables for Collections {
    fn port(&self, port: u16) -> PortEntry {
        self.ports.get(&port).copied().unwrap_or_default()
    }

    fn tag(&self, key: &TagKey) -> Option<TagEntry> {
        self.tags.get(key).copied()
    }

    fn peer(&self, key: &PeerKey) -> Option<PeerEntry> {
        self.peers.get(key).copied()
    }

    fn is_ours(&self, address: &[u8; 16]) -> bool {
        self.addresses.contains(address)
    }
}

fn collections() -> Collections {
    Collections {
        ports: HashMap::from([(LISTENING, PortEntry::owned(true)), (QUIET, PortEntry::owned(false))]),
        tags: HashMap::from([
            (TagKey::new(LISTENING, TagKind::Local, TAG), ENTRY),
            (TagKey::new(LISTENING, TagKind::Peer, PEER_TAG), ENTRY),
        ]),
        peers: [LISTENING, QUIET]
            .map(|port| (PeerKey::new(ipv4_mapped([10, 0, 0, 1]), BOUND, port), PeerEntry { worker: 3 }))
            .into(),
        addresses: HashSet::from([ipv4_mapped([10, 0, 0, 2])]),
    }
}

/// A packet from 10.0.0.1 to 10.0.0.2 with one chunk of type `kind`, 20 bytes long.
fn packet(port: u16, tag: u32, kind: u8, flags: u8) -> Vec<u8> {
    with_chunks(port, tag, &[&[kind, flags, 0, 20], &[0; 16][..]].concat())
}

fn with_chunks(port: u16, tag: u32, chunks: &[u8]) -> Vec<u8> {
    let mut sctp = 5001_u16.to_be_bytes().to_vec();
    sctp.extend(port.to_be_bytes());
    sctp.extend(tag.to_be_bytes());
    sctp.extend([0; 4]);
    sctp.extend(chunks);
    ethernet(&[], 0x0800, &ipv4_packet(&[], &sctp))
}

/// An INIT that names `tag`.
fn init(port: u16, tag: u32) -> Vec<u8> {
    let [a, b, c, d] = tag.to_be_bytes();
    with_chunks(port, 0, &[chunk::INIT, 0, 0, 20, a, b, c, d, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1])
}

fn of_the_peer(packet: &mut Decoded) {
    packet.source_port = BOUND;
}

/// Who claims the packet in `frame`, which `change` has changed after it was decoded.
fn claim_of(frame: &[u8], change: impl FnOnce(&mut Decoded)) -> Result<Claim, Verdict> {
    let mut packet = decode(frame)?;
    change(&mut packet);
    claim(frame, &packet, &packet.addresses(frame).unwrap(), &collections(), &STEERING)
}

/// Who has the packet in `frame` if it goes between other addresses, where `change` names one.
fn owner_between(frame: &[u8], change: impl FnOnce(&mut Addresses)) -> Result<Owner, Verdict> {
    let packet = decode(frame)?;
    let mut addresses = packet.addresses(frame).unwrap();
    change(&mut addresses);
    match claim(frame, &packet, &addresses, &collections(), &STEERING)? {
        Claim::Owner(owner) => Ok(owner),
        Claim::Nobody(answer) => panic!("nobody's, {answer:?}"),
    }
}

/// The same for packets that have an owner or a verdict.
fn owner_of(frame: &[u8], change: impl FnOnce(&mut Decoded)) -> Result<Owner, Verdict> {
    match claim_of(frame, change)? {
        Claim::Owner(owner) => Ok(owner),
        Claim::Nobody(answer) => panic!("nobody's, {answer:?}"),
    }
}

/// The answer to a packet that is nobody's.
fn answered(port: u16, tag: u32, kind: u8, flags: u8) -> Option<Answer> {
    answer_to(&packet(port, tag, kind, flags))
}

fn answer_to(frame: &[u8]) -> Option<Answer> {
    match claim_of(frame, |_| {}) {
        Ok(Claim::Nobody(answer)) => Some(answer),
        Ok(Claim::Owner(_)) | Err(_) => None,
    }
}

const fn abort(tag: u32) -> Option<Answer> {
    Some(Answer { reason: AnswerReason::Abort, tag })
}

fn judged(port: u16, tag: u32, kind: u8, flags: u8) -> Result<Owner, Verdict> {
    owner_of(&packet(port, tag, kind, flags), |_| {})
}

fn elsewhere(addresses: &mut Addresses) {
    addresses.destination = ipv4_mapped([10, 9, 9, 9]);
}

const OF_THE_ASSOCIATION: Result<Owner, Verdict> =
    Ok(Owner { reason: RedirectReason::Association, worker: 2, slot: 5, generation: 6 });

#[test]
fn other_ports_are_the_kernels() {
    assert_eq!(judged(3868, TAG, chunk::DATA, 0), Err(PassReason::PortNotOwned.into()));
}

#[test]
fn port_zero_at_our_address_is_nobodys() {
    assert_eq!(judged(0, TAG, chunk::DATA, 0), Err(DropReason::PortZero.into()));
    let transit = owner_between(&packet(0, TAG, chunk::DATA, 0), elsewhere);
    assert_eq!(transit, Err(PassReason::PortNotOwned.into()));
    let from_zero = owner_of(&packet(LISTENING, TAG, chunk::DATA, 0), |packet| packet.source_port = 0);
    assert_eq!(from_zero, Err(DropReason::PortZero.into()));
}

#[test]
fn a_known_tag_leads_to_its_association() {
    assert_eq!(judged(LISTENING, TAG, chunk::DATA, 0), OF_THE_ASSOCIATION);
    assert_eq!(judged(LISTENING, TAG, chunk::COOKIE_ECHO, 0), OF_THE_ASSOCIATION);
    assert_eq!(judged(LISTENING, TAG, chunk::ABORT, 0), OF_THE_ASSOCIATION);
    assert_eq!(owner_between(&packet(LISTENING, TAG, chunk::SACK, 0), elsewhere), OF_THE_ASSOCIATION);
}

#[test]
fn a_reflected_tag_is_looked_up_among_the_peers() {
    assert_eq!(judged(LISTENING, PEER_TAG, chunk::ABORT, flags::T), OF_THE_ASSOCIATION);
    assert_eq!(judged(LISTENING, PEER_TAG, chunk::SHUTDOWN_COMPLETE, flags::T), OF_THE_ASSOCIATION);
    assert_eq!(judged(LISTENING, PEER_TAG, chunk::ABORT, 0), Err(DropReason::OotbAbort.into()));
    assert_eq!(judged(LISTENING, TAG, chunk::ABORT, flags::T), Err(DropReason::OotbAbort.into()));
    let reflected = judged(LISTENING, TAG, chunk::SHUTDOWN_COMPLETE, flags::T);
    assert_eq!(reflected, Err(DropReason::OotbShutdownComplete.into()));
    assert_eq!(answered(LISTENING, PEER_TAG, chunk::DATA, flags::T), abort(PEER_TAG));
}

#[test]
fn a_tag_counts_on_its_own_port_only() {
    assert_eq!(answered(QUIET, TAG, chunk::DATA, 0), abort(TAG));
}

#[test]
fn inits_are_spread_over_the_workers_of_a_listening_port() {
    let frame = packet(LISTENING, 0, chunk::INIT, 0);
    let owner = owner_of(&frame, |_| {}).unwrap();
    assert_eq!((owner.reason, owner.slot, owner.generation), (RedirectReason::Init, NO_SLOT, 0));
    let workers: HashSet<u16> =
        (1..100).map(|port| owner_of(&frame, |packet| packet.source_port = port).unwrap().worker).collect();
    assert_eq!(workers, HashSet::from([0, 1, 2, 3]));
    assert_eq!(judged(QUIET, 0, chunk::INIT, 0), Err(DropReason::NotListening.into()));
}

/// RFC 9260 §8.4, 3.
#[test]
fn an_init_to_a_port_without_a_listener_is_refused_with_the_tag_that_it_names() {
    let refused = Answer { reason: AnswerReason::Refused, tag: 0x0102_0304 };
    assert_eq!(answer_to(&init(QUIET, 0x0102_0304)), Some(refused));
    let without_tag = with_chunks(QUIET, 0, &[chunk::INIT, 0, 0, 4]);
    for frame in [init(QUIET, 0), without_tag] {
        assert_eq!(owner_of(&frame, |_| {}), Err(DropReason::NotListening.into()));
    }
}

/// RFC 9260 §5.2.
#[test]
fn an_init_of_an_associations_peer_goes_to_its_worker() {
    let owner = owner_of(&init(QUIET, 7), of_the_peer);
    assert_eq!(owner, Ok(Owner { reason: RedirectReason::Init, worker: 3, slot: NO_SLOT, generation: 0 }));
}

/// RFC 9260 §8.5: it is known whose packet it is, so it is not out of the blue.
#[test]
fn a_wrong_tag_of_an_associations_peer_is_not_answered() {
    for kind in [chunk::DATA, chunk::SACK, chunk::COOKIE_ACK, chunk::HEARTBEAT] {
        let found = owner_of(&packet(LISTENING, 1, kind, 0), of_the_peer);
        assert_eq!(found, Err(DropReason::BadTag.into()), "chunk type {kind}");
    }
}

/// RFC 9260 §8.5.1 E.
#[test]
fn a_shutdown_ack_of_an_associations_peer_goes_to_its_worker() {
    let owner = owner_of(&packet(LISTENING, 1, chunk::SHUTDOWN_ACK, 0), of_the_peer);
    assert_eq!(owner, Ok(Owner { reason: RedirectReason::ShutdownAck, worker: 3, slot: NO_SLOT, generation: 0 }));
}

/// RFC 9260 §8.5.1 B, §3.3.7.
#[test]
fn an_abort_behind_another_chunk_may_reflect_the_tag() {
    let behind = |tag, flags| with_chunks(LISTENING, tag, &[chunk::SACK, 0, 0, 4, chunk::ABORT, flags, 0, 4]);
    // Its worker finds the association by the tag.
    let workers = Ok(Owner::without_slot(RedirectReason::Association, 2));
    assert_eq!(owner_of(&behind(PEER_TAG, flags::T), |_| {}), workers);
    assert_eq!(owner_of(&behind(PEER_TAG, flags::T), of_the_peer), workers);
    assert_eq!(owner_of(&behind(TAG, 0), |_| {}), OF_THE_ASSOCIATION);
    assert_eq!(owner_of(&behind(PEER_TAG, 0), |_| {}), Err(DropReason::OotbAbort.into()));
    assert_eq!(owner_of(&behind(1, flags::T), |_| {}), Err(DropReason::OotbAbort.into()));
}

#[test]
fn a_cookie_echo_goes_to_the_worker_that_drew_its_tag() {
    for tag in 1..100 {
        for port in [LISTENING, QUIET] {
            let owner = judged(port, tag, chunk::COOKIE_ECHO, 0).unwrap();
            let expected =
                Owner { reason: RedirectReason::CookieEcho, worker: STEERING.owner(tag), slot: NO_SLOT, generation: 0 };
            assert_eq!(owner, expected);
        }
    }
}

#[test]
fn out_of_the_blue_is_answered_or_dropped_by_rule() {
    assert_eq!(answered(LISTENING, 1, chunk::DATA, 0), abort(1));
    let complete = Answer { reason: AnswerReason::ShutdownComplete, tag: 2 };
    assert_eq!(answered(LISTENING, 2, chunk::SHUTDOWN_ACK, 0), Some(complete));
    assert_eq!(judged(LISTENING, 1, chunk::COOKIE_ACK, 0), Err(DropReason::OotbCookieAck.into()));
    let source = ipv4_mapped([224, 0, 0, 1]);
    let from_group = owner_between(&packet(LISTENING, 0, chunk::INIT, 0), |addresses| addresses.source = source);
    assert_eq!(from_group, Err(DropReason::NonUnicast.into()));
}

#[test]
fn what_is_to_be_answered_is_shared_among_workers() {
    let workers: HashSet<u16> = (1..100)
        .map(|tag| {
            let packet = decode(packet(LISTENING, tag, chunk::DATA, 0).as_slice()).unwrap();
            let owner = Owner::to_answer(&packet, &STEERING);
            assert_eq!((owner.reason, owner.slot, owner.generation), (RedirectReason::ToBeAnswered, NO_SLOT, 0));
            owner.worker
        })
        .collect();
    assert_eq!(workers.len(), usize::from(STEERING.workers));
}

#[test]
fn damage_is_judged_only_if_it_is_for_us() {
    let frame = packet(LISTENING, 0, chunk::DATA, 0);
    assert_eq!(owner_of(&frame, |_| {}), Err(DropReason::ZeroTag.into()));
    assert_eq!(owner_between(&frame, elsewhere), Err(PassReason::Transit.into()));
    assert_eq!(owner_of(&frame, |packet| packet.fragment = true), Err(DropReason::Fragment.into()));
    let group = ipv4_mapped([224, 0, 0, 1]);
    assert_eq!(owner_between(&frame, |addresses| addresses.destination = group), Err(DropReason::NonUnicast.into()));
}

#[test]
fn a_fragment_does_not_reach_its_association() {
    let frame = packet(LISTENING, TAG, chunk::DATA, 0);
    assert_eq!(owner_of(&frame, |packet| packet.fragment = true), Err(DropReason::Fragment.into()));
}

const STRICT: ChecksumPolicy = ChecksumPolicy { trusted_link: false, verify_up_to: u32::MAX };
const TRUSTING: ChecksumPolicy = ChecksumPolicy { trusted_link: true, ..STRICT };

/// A packet for the association, 32 bytes long, with `checksum` in its header.
fn with_checksum(checksum: u32) -> Decoded {
    Decoded { checksum, ..decode(packet(LISTENING, TAG, chunk::DATA, 0).as_slice()).unwrap() }
}

#[test]
fn checksums() {
    let packet = with_checksum(7);
    assert_eq!(STRICT.accept(&packet, || Some(7)), Ok(Checksum::Verified));
    assert_eq!(STRICT.accept(&packet, || Some(8)), Err(DropReason::Checksum));
    assert_eq!(TRUSTING.accept(&packet, || Some(8)), Err(DropReason::Checksum));
    assert_eq!(STRICT.accept(&packet, || None), Err(DropReason::Truncated));
}

#[test]
fn a_checksum_of_zero_is_accepted_where_it_is_right_or_the_link_is_trusted() {
    let packet = with_checksum(0);
    assert_eq!(STRICT.accept(&packet, || Some(8)), Err(DropReason::ZeroChecksum));
    assert_eq!(STRICT.accept(&packet, || Some(0)), Ok(Checksum::Verified));
    assert_eq!(TRUSTING.accept(&packet, || unreachable!()), Ok(Checksum::Trusted));
}

#[test]
fn longer_packets_are_left_to_whoever_receives_them() {
    let policy = |verify_up_to| ChecksumPolicy { verify_up_to, ..STRICT };
    assert_eq!(policy(32).accept(&with_checksum(7), || Some(8)), Err(DropReason::Checksum));
    assert_eq!(policy(31).accept(&with_checksum(7), || unreachable!()), Ok(Checksum::NotChecked));
    assert_eq!(policy(0).accept(&with_checksum(7), || unreachable!()), Ok(Checksum::NotChecked));
    // But not what is answered here, nor what is counted apart.
    assert_eq!(policy(0).verify(&with_checksum(7), || Some(8)), Err(DropReason::Checksum));
    assert_eq!(policy(0).accept(&with_checksum(0), || Some(8)), Err(DropReason::ZeroChecksum));
}

#[test]
fn the_policy_is_what_the_globals_say() {
    assert_eq!(ChecksumPolicy::from_globals(0, u32::MAX), STRICT);
    assert_eq!(ChecksumPolicy::from_globals(policy::TRUSTED_LINK | policy::WITHOUT_METADATA, u32::MAX), TRUSTING);
}

#[test]
fn what_is_found_fits_a_number() {
    for reason in RedirectReason::ALL {
        for worker in [0, 7, u16::MAX] {
            let claim = Claim::Owner(Owner::without_slot(*reason, worker));
            assert_eq!(PackedClaim::new(Ok(claim)).unpack(), Ok(claim));
        }
    }
    // An INIT ACK is no answer to what nobody claims.
    for reason in AnswerReason::ALL.iter().filter(|reason| **reason != AnswerReason::InitAck) {
        let claim = Claim::Nobody(Answer { reason: *reason, tag: u32::MAX });
        assert_eq!(PackedClaim::new(Ok(claim)).unpack(), Ok(claim));
    }
    for verdict in Verdict::all() {
        assert_eq!(PackedClaim::new(Err(verdict)).unpack(), Err(verdict.index()));
    }
}
