use std::collections::{HashMap, HashSet};

use super::*;
use crate::frame::samples::{ethernet, ipv4_packet};
use crate::frame::{decode, ipv4_mapped};
use crate::maps::TagKind;
use crate::siphash::HashKey;
use crate::wire::{chunk, flags};

const LISTENING: u16 = 38412;
const QUIET: u16 = 40000;
const TAG: u32 = 0x1234_5678;
const PEER_TAG: u32 = 0x9abc_def0;
const ENTRY: TagEntry = TagEntry { slot: 5, generation: 6, worker: 2 };
const KEY: HashKey = [1, 2];
const STEERING: Steering = Steering { key: KEY, workers: 4 };

struct Collections {
    ports: HashMap<u16, PortEntry>,
    tags: HashMap<TagKey, TagEntry>,
    addresses: HashSet<[u8; 16]>,
}

impl Tables for Collections {
    fn port(&self, port: u16) -> PortEntry {
        self.ports.get(&port).copied().unwrap_or_default()
    }

    fn tag(&self, key: &TagKey) -> Option<TagEntry> {
        self.tags.get(key).copied()
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
        addresses: HashSet::from([ipv4_mapped([10, 0, 0, 2])]),
    }
}

/// A packet from 10.0.0.1 to 10.0.0.2 with one chunk of type `kind`, 20 bytes long.
fn packet(port: u16, tag: u32, kind: u8, flags: u8) -> Vec<u8> {
    let mut sctp = 5001_u16.to_be_bytes().to_vec();
    sctp.extend(port.to_be_bytes());
    sctp.extend(tag.to_be_bytes());
    sctp.extend([0, 0, 0, 0, kind, flags, 0, 20]);
    sctp.resize(32, 0);
    ethernet(&[], 0x0800, &ipv4_packet(&[], &sctp))
}

/// Steps 1 to 3 on `frame`, its decoded packet changed by `change` after step 1.
fn claim_of(frame: &[u8], change: impl FnOnce(&mut Decoded)) -> Result<Claim, Verdict> {
    let mut packet = decode(frame)?;
    change(&mut packet);
    let tables = collections();
    let port = admit(&packet, &tables)?;
    find_owner(frame, &packet, port, &tables, &STEERING)
}

/// The same for packets that have an owner or a verdict.
fn owner_of(frame: &[u8], change: impl FnOnce(&mut Decoded)) -> Result<Owner, Verdict> {
    match claim_of(frame, change)? {
        Claim::Owner(owner) => Ok(owner),
        Claim::Nobody { unanswered } => panic!("nobody's, {unanswered:?}"),
    }
}

/// The reason to count if the packet is nobody's and not answered.
fn unanswered(port: u16, tag: u32, kind: u8, flags: u8) -> Option<DropReason> {
    match claim_of(&packet(port, tag, kind, flags), |_| {}) {
        Ok(Claim::Nobody { unanswered }) => Some(unanswered),
        Ok(Claim::Owner(_)) | Err(_) => None,
    }
}

fn judged(port: u16, tag: u32, kind: u8, flags: u8) -> Result<Owner, Verdict> {
    owner_of(&packet(port, tag, kind, flags), |_| {})
}

fn elsewhere(packet: &mut Decoded) {
    packet.destination = ipv4_mapped([10, 9, 9, 9]);
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
    let transit = owner_of(&packet(0, TAG, chunk::DATA, 0), elsewhere);
    assert_eq!(transit, Err(PassReason::PortNotOwned.into()));
    let from_zero = owner_of(&packet(LISTENING, TAG, chunk::DATA, 0), |packet| packet.source_port = 0);
    assert_eq!(from_zero, Err(DropReason::PortZero.into()));
}

#[test]
fn a_known_tag_leads_to_its_association() {
    assert_eq!(judged(LISTENING, TAG, chunk::DATA, 0), OF_THE_ASSOCIATION);
    assert_eq!(judged(LISTENING, TAG, chunk::COOKIE_ECHO, 0), OF_THE_ASSOCIATION);
    assert_eq!(judged(LISTENING, TAG, chunk::ABORT, 0), OF_THE_ASSOCIATION);
    assert_eq!(owner_of(&packet(LISTENING, TAG, chunk::SACK, 0), elsewhere), OF_THE_ASSOCIATION);
}

#[test]
fn a_reflected_tag_is_looked_up_among_the_peers() {
    assert_eq!(judged(LISTENING, PEER_TAG, chunk::ABORT, flags::T), OF_THE_ASSOCIATION);
    assert_eq!(judged(LISTENING, PEER_TAG, chunk::SHUTDOWN_COMPLETE, flags::T), OF_THE_ASSOCIATION);
    assert_eq!(judged(LISTENING, PEER_TAG, chunk::ABORT, 0), Err(DropReason::OotbAbort.into()));
    assert_eq!(judged(LISTENING, TAG, chunk::ABORT, flags::T), Err(DropReason::OotbAbort.into()));
    let reflected = judged(LISTENING, TAG, chunk::SHUTDOWN_COMPLETE, flags::T);
    assert_eq!(reflected, Err(DropReason::OotbShutdownComplete.into()));
    assert_eq!(unanswered(LISTENING, PEER_TAG, chunk::DATA, flags::T), Some(DropReason::OutOfTheBlue));
}

#[test]
fn a_tag_counts_on_its_own_port_only() {
    assert_eq!(unanswered(QUIET, TAG, chunk::DATA, 0), Some(DropReason::OutOfTheBlue));
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
    assert_eq!(unanswered(LISTENING, 1, chunk::DATA, 0), Some(DropReason::OutOfTheBlue));
    assert_eq!(unanswered(LISTENING, 1, chunk::SHUTDOWN_ACK, 0), Some(DropReason::OotbShutdownAck));
    assert_eq!(judged(LISTENING, 1, chunk::COOKIE_ACK, 0), Err(DropReason::OotbCookieAck.into()));
    let source = ipv4_mapped([224, 0, 0, 1]);
    let from_group = owner_of(&packet(LISTENING, 0, chunk::INIT, 0), |packet| packet.source = source);
    assert_eq!(from_group, Err(DropReason::NonUnicast.into()));
}

#[test]
fn damage_is_judged_only_if_it_is_for_us() {
    let frame = packet(LISTENING, 0, chunk::DATA, 0);
    assert_eq!(owner_of(&frame, |_| {}), Err(DropReason::ZeroTag.into()));
    assert_eq!(owner_of(&frame, elsewhere), Err(PassReason::Transit.into()));
    assert_eq!(owner_of(&frame, |packet| packet.fragment = true), Err(DropReason::Fragment.into()));
    let group = ipv4_mapped([224, 0, 0, 1]);
    assert_eq!(owner_of(&frame, |packet| packet.destination = group), Err(DropReason::NonUnicast.into()));
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
