//! What the steps decide, one by one. That the answer is the endpoint's is tested where there is one: in `sctp-core`, by `in_front`; and that the
//! program takes the same steps, in `tests/tests/xdp_program`.

use super::*;
use crate::cookie::{CookieSecret, CookieSettings, flags};
use crate::frame::decode;
use crate::frame::samples::{ethernet, ipv4_packet};
use crate::maps::{PeerEntry, PortEntry, TagEntry, TagKey, TagKind};
use crate::rules::is_ipv4;

const SETTINGS: CookieSettings = CookieSettings::new(&CookieSecret::new([1, 2]), 1 << 40, 0, [60_000, 120_000]);
const OFFER: Offer =
    Offer { window: 100_000, outbound_streams: 10, inbound_streams: 20, further: 7, flags: flags::ECN };

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// One association: the peer's address and its port, and our tag.
#[derive(Default)]
struct One {
    peer: Option<PeerKey>,
    tag: Option<TagKey>,
}

impl Tables for One {
    fn port(&self, _: u16) -> PortEntry {
        PortEntry::owned(true)
    }

    fn tag(&self, key: &TagKey) -> Option<TagEntry> {
        (self.tag == Some(*key)).then_some(TagEntry { slot: 1, generation: 1, worker: 0 })
    }

    fn peer(&self, key: &PeerKey) -> Option<PeerEntry> {
        (self.peer == Some(*key)).then_some(PeerEntry { worker: 0 })
    }

    fn is_ours(&self, address: &[u8; 16]) -> bool {
        *address == ipv4_mapped([10, 0, 0, 2])
    }
}

/// An INIT from 10.0.0.1, port 5001, to port 38412, that lists another address.
fn question() -> Vec<u8> {
    let mut packet = vec![0x13, 0x89, 0x96, 0x0c, 0, 0, 0, 0, 0, 0, 0, 0];
    packet.extend([1, 0, 0, 28, 0, 0, 0, 9, 0, 1, 0, 0, 0, 5, 0, 5, 0, 0, 0, 7, 0, 5, 0, 8, 10, 0, 7, 1]);
    ethernet(&[], 0x0800, &ipv4_packet(&[], &packet))
}

fn answered(tables: &One, offer: &Offer, announced: &Announced) -> Option<Vec<u8>> {
    let question = question();
    let packet = decode(question.as_slice()).unwrap();
    let terms = Terms { settings: &SETTINGS, offer, announced, now: 5, number: 6 };
    let mut out = [0; 1024];
    let length = answer(&question, &packet, tables, &terms, &mut out)?;
    Some(out[..length].to_vec())
}

#[test]
fn lists_of_our_addresses() {
    let none = Announced::new(&[]);
    assert_eq!(none.lengths, [0; 4]);
    assert_eq!(Announced::new(&[address("10.0.0.1")]).lengths, [0; 4], "it is seen anyway");
    let one_to_others = [address("10.0.0.1"), address("127.0.0.1"), address("fe80::1"), address("169.254.1.1")];
    assert_eq!(Announced::new(&one_to_others).lengths, [0; 4]);
    let both = Announced::new(&[address("10.0.0.1"), address("::1"), address("fd00::1")]);
    assert_eq!(both.lengths, [0, 8, 20, 28]);
    assert_eq!(both.lists[1][..8], [0, 5, 0, 8, 10, 0, 0, 1]);
    assert_eq!(both.lists[2][..5], [0, 6, 0, 20, 0xfd]);
    assert_eq!((&both.lists[3][..8], &both.lists[3][8..28]), (&both.lists[1][..8], &both.lists[2][..20]));
    let many: Vec<IpAddr> = (1..=7).map(|last| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last])).collect();
    assert_eq!(Announced::new(&many[..6]).lengths, [0, 0, 120, 120]);
    assert_eq!(Announced::new(&many).lengths, [0, 0, Announced::NOT_ANNOUNCED, Announced::NOT_ANNOUNCED]);
}

#[test]
fn bytes_follow_the_order_of_the_fields() {
    let bytes = OFFER.to_bytes();
    assert_eq!((size_of::<Offer>(), size_of::<Announced>()), (Offer::SIZE, Announced::SIZE));
    assert_eq!((&bytes[..4], &bytes[8..10]), (&100_000_u32.to_ne_bytes()[..], &7_u16.to_ne_bytes()[..]));
    let both = Announced::new(&[address("10.0.0.1"), address("fd00::1")]);
    let bytes = both.to_bytes();
    assert_eq!(bytes[12..16], 28_u32.to_ne_bytes());
    assert_eq!(bytes[16 + Announced::MAX_LENGTH..][..8], both.lists[1][..8]);
    assert_eq!(size_of::<CookieSettings>(), CookieSettings::SIZE);
    let bytes = SETTINGS.to_bytes();
    assert_eq!((&bytes[32..40], &bytes[52..]), (&SETTINGS.draws[0].to_ne_bytes()[..], &120_000_u32.to_ne_bytes()[..]));
}

#[test]
fn an_answer_fits_a_number() {
    let ack = Ack { further: 8, list: 3, list_length: 128, ecn: true, reports: 128, padding: 3 };
    assert_eq!(Ack::unpack(ack.pack()), ack);
    let plain = Ack { further: 0, list: 0, list_length: 0, ecn: false, reports: 0, padding: 0 };
    assert_eq!(Ack::unpack(plain.pack()), plain);
    assert!(plain.pack() != 0 && !plain.has_more() && ack.has_more());
    assert_eq!((plain.sctp_length(), ack.sctp_length()), (140, 140 + 8 * 16 + 128 + 4 + 128));
}

#[test]
fn an_association_s_init_is_left_to_its_worker() {
    let announced = Announced::new(&[]);
    assert!(answered(&One::default(), &OFFER, &announced).is_some());
    for address in [[10, 0, 0, 1], [10, 0, 7, 1]] {
        let living = |port, own| One { peer: Some(PeerKey::new(ipv4_mapped(address), port, own)), tag: None };
        assert!(answered(&living(5001, 38412), &OFFER, &announced).is_none());
        assert!(answered(&living(5000, 38412), &OFFER, &announced).is_some());
        assert!(answered(&living(5001, 38411), &OFFER, &announced).is_some());
    }
}

#[test]
fn a_tag_that_lives_is_not_drawn() {
    let announced = Announced::new(&[]);
    let ack = answered(&One::default(), &OFFER, &announced).unwrap();
    let tag = u32::from_be_bytes(ack[50..54].try_into().unwrap());
    let living = |port, tag| One { peer: None, tag: Some(TagKey::new(port, TagKind::Local, tag)) };
    assert!(answered(&living(38412, tag), &OFFER, &announced).is_none());
    assert!(answered(&living(38411, tag), &OFFER, &announced).is_some());
    assert!(!Draw { tag: 0, tsn: 1 }.is_usable(38412, &One::default()));
}

#[test]
fn what_is_drawn_depends_on_all() {
    let question = question();
    let packet = decode(question.as_slice()).unwrap();
    let base = Draw::new(&SETTINGS.draws, 1, 2, &packet, 3);
    let mut other = packet;
    other.source_port += 1;
    for drawn in [
        Draw::new(&[7, 8], 1, 2, &packet, 3),
        Draw::new(&SETTINGS.draws, 2, 2, &packet, 3),
        Draw::new(&SETTINGS.draws, 1, 3, &packet, 3),
        Draw::new(&SETTINGS.draws, 1, 2, &other, 3),
        Draw::new(&SETTINGS.draws, 1, 2, &packet, 4),
    ] {
        assert!(drawn.tag != base.tag && drawn.tsn != base.tsn);
    }
}

#[test]
fn without_an_offer_or_addresses_nothing_is_answered() {
    assert!(answered(&One::default(), &Offer::default(), &Announced::new(&[])).is_none());
    assert!(answered(&One::default(), &OFFER, &Announced::UNKNOWN).is_none());
}

#[test]
fn fewer_addresses_than_the_peer_has() {
    for (further, length) in [(0, 104), (1, 120), (7, 120)] {
        let ack = answered(&One::default(), &Offer { further, ..OFFER }, &Announced::new(&[])).unwrap();
        let cookie = 14 + 20 + 32;
        assert_eq!(ack[cookie..cookie + 4], [0, 7, 0, 4 + length]);
        assert_eq!(ack[cookie + 5], further.min(1) as u8);
    }
}

#[test]
fn the_stack_s_time() {
    let settings = CookieSettings { origin: 100, ..SETTINGS };
    assert_eq!([99, 100, 105].map(|now| settings.time(now)), [0, 0, 5]);
    let older_than_the_host = CookieSettings { origin: 100_u64.wrapping_sub(1000), ..SETTINGS };
    assert_eq!(older_than_the_host.time(105), 1005);
    assert_eq!(
        [0, 5, 60_000, 60_001, u32::MAX].map(|more| settings.lifespan_with(more)),
        [60_000, 60_005, 120_000, 120_000, 120_000]
    );
}

#[test]
fn addresses_that_mean_the_same_to_all() {
    let of = |text: &str| AddressKey::new(address(text)).0;
    for text in ["127.0.0.1", "127.255.0.1", "169.254.0.1", "::1", "fe80::1", "febf::1"] {
        assert!(!is_global(&of(text)), "{text}");
    }
    for text in ["126.0.0.1", "128.0.0.1", "169.253.0.1", "10.0.0.1", "::2", "fd00::1", "fec0::1", "fe7f::1", "1::1"] {
        assert!(is_global(&of(text)), "{text}");
    }
    assert!(is_ipv4(&of("1.2.3.4")) && !is_ipv4(&of("::1.2.3.4")) && !is_ipv4(&of("fd00::ffff:102:304")));
}
