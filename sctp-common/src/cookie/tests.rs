//! Cookies made, checked and damaged.

use core::hash::Hasher as _;

use proptest::prelude::*;
use siphasher::sip128::{Hasher128 as _, SipHasher24};

use super::*;
use crate::frame::decode;
use crate::frame::samples::{ethernet, ipv4_packet};

const KEY: HashKey = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];

const COOKIE: Cookie = Cookie {
    addresses: 2,
    flags: flags::ECN,
    local_port: 38412,
    peer_port: 5000,
    local_tag: 0x0102_0304,
    peer_tag: 0x0506_0708,
    local_tie_tag: 0x090a_0b0c,
    peer_tie_tag: 0x0d0e_0f10,
    local_initial_tsn: 0x1112_1314,
    peer_initial_tsn: 0x1516_1718,
    peer_window: 0x191a_1b1c,
    outbound_streams: 0x1d1e,
    inbound_streams: 0x1f20,
    created: 0x2122_2324_2526_2728,
    lifespan: 60_000,
    source: [0x31; 16],
    destination: [0x32; 16],
};

#[test]
fn the_layout_is_that_of_the_picture() {
    let bytes = COOKIE.encode();
    assert_eq!(bytes[..8], [VERSION, 2, 0, 1, 0x96, 0x0c, 0x13, 0x88]);
    let numbers: Vec<u8> = (1..=0x28).collect();
    assert_eq!(bytes[8..48], numbers);
    assert_eq!(bytes[48..56], [0, 0, 0xea, 0x60, 0, 0, 0, 0]);
    assert_eq!((&bytes[56..72], &bytes[72..]), (&[0x31; 16][..], &[0x32; 16][..]));
    assert_eq!((FIXED_LENGTH % 8, MAX_LENGTH, length(0), length(15)), (0, 344, 104, MAX_LENGTH));
}

#[test]
fn other_versions_and_too_many_addresses_are_not_read() {
    let bytes = COOKIE.encode();
    assert_eq!(Cookie::decode(&bytes), Some(COOKIE));
    for version in (0..=255).filter(|version| *version != VERSION) {
        assert_eq!(Cookie::decode(&[&[version][..], &bytes[1..]].concat().try_into().unwrap()), None);
    }
    for addresses in 0..=255 {
        let cookie = Cookie { addresses, ..COOKIE };
        let expected = (usize::from(addresses) <= MAX_ADDRESSES).then_some(cookie);
        assert_eq!(Cookie::decode(&cookie.encode()), expected);
    }
}

const SETTINGS: CookieSettings =
    CookieSettings::new(&CookieSecret::new(KEY), 600_000_000_000, 5_000_000_000, [60_000, 120_000]);

/// A frame with a COOKIE ECHO that returns `cookie` with `further` addresses, sealed under [`SETTINGS`], and `padding` bytes behind.
fn echo(cookie: &Cookie, further: &[[u8; ADDRESS_LENGTH]], padding: usize) -> Vec<u8> {
    let fixed = cookie.encode();
    let key = CookieSecret::new(SETTINGS.secret).key(cookie.created / SETTINGS.epoch);
    let mac = further.iter().fold(Mac::new(&key, &fixed), |mac, address| mac.address(address)).finish();
    let value = [&fixed[..], further.as_flattened(), &mac, &vec![0; padding]].concat();
    let mut sctp = cookie.peer_port.to_be_bytes().to_vec();
    sctp.extend(cookie.local_port.to_be_bytes());
    sctp.extend(cookie.local_tag.to_be_bytes());
    sctp.extend([0, 0, 0, 0, 10, 0]);
    sctp.extend((value.len() as u16 + 4).to_be_bytes());
    sctp.extend(value);
    ethernet(&[], 0x0800, &ipv4_packet(&[], &sctp))
}

/// What becomes of the frame `age` nanoseconds after the cookie was made.
fn checked(frame: &[u8], age: u64) -> Result<Age, DropReason> {
    SETTINGS.check(frame, &decode(frame).unwrap(), SETTINGS.origin + MADE + age)
}

const MADE: u64 = 7_000_000_000;
const SECOND: u64 = 1_000_000_000;

#[test]
fn cookies_of_ours_are_let_through_while_they_are_known() {
    for further in 0..=MAX_ADDRESSES {
        let cookie = Cookie { addresses: further as u8, created: MADE, ..COOKIE };
        for padding in [0, 4] {
            let frame = echo(&cookie, &vec![[7; ADDRESS_LENGTH]; further], padding);
            assert_eq!(checked(&frame, 0), Ok(Age::Fresh), "{further} addresses");
            assert_eq!(checked(&frame, 60 * SECOND), Ok(Age::Fresh));
            assert_eq!(checked(&frame, 60 * SECOND + 1), Ok(Age::Stale));
            assert_eq!(checked(&frame, 1192 * SECOND), Ok(Age::Stale));
            assert_eq!(checked(&frame, 1193 * SECOND), Err(DropReason::BadCookie));
        }
    }
}

#[test]
fn a_cookie_with_any_bit_changed_is_refused() {
    let cookie = Cookie { addresses: 1, created: MADE, ..COOKIE };
    let sound = echo(&cookie, &[[7; ADDRESS_LENGTH]], 0);
    let packet = decode(sound.as_slice()).unwrap();
    let at = packet.first_chunk_at() + CHUNK_HEADER_LENGTH;
    for bit in at * 8..(at + length(1)) * 8 {
        let mut frame = sound.clone();
        frame[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(checked(&frame, 0), Err(DropReason::BadCookie), "bit {bit}");
    }
    // And one that is not this packet's.
    for other in [
        Decoded { source_port: 1, ..packet },
        Decoded { destination_port: 1, ..packet },
        Decoded { verification_tag: 1, ..packet },
    ] {
        assert_eq!(SETTINGS.check(sound.as_slice(), &other, SETTINGS.origin + MADE), Err(DropReason::BadCookie));
    }
}

#[test]
fn a_cookie_that_is_cut_short_is_refused() {
    let cookie = Cookie { addresses: 1, created: MADE, ..COOKIE };
    let sound = echo(&cookie, &[[7; ADDRESS_LENGTH]], 0);
    let packet = decode(sound.as_slice()).unwrap();
    for length in 4..(4 + length(1)) as u16 {
        let first_chunk = crate::frame::ChunkHead { length, ..packet.first_chunk };
        let short = Decoded { first_chunk, ..packet };
        assert_eq!(SETTINGS.check(sound.as_slice(), &short, SETTINGS.origin + MADE), Err(DropReason::BadCookie));
    }
    let frame = &sound[..sound.len() - 1];
    assert_eq!(SETTINGS.check(frame, &packet, SETTINGS.origin + MADE), Err(DropReason::Truncated));
}

#[test]
fn settings_have_no_padding() {
    assert_eq!(size_of::<CookieSettings>(), CookieSettings::SIZE);
    assert_eq!(SETTINGS.to_bytes()[16..24], SETTINGS.epoch.to_ne_bytes());
}

#[test]
fn any_changed_bit_changes_the_mac() {
    let (fixed, address) = (COOKIE.encode(), [7; ADDRESS_LENGTH]);
    let mac = Mac::new(&KEY, &fixed).address(&address).finish();
    assert!(Mac::new(&KEY, &fixed).address(&address).matches(&mac));
    for bit in 0..FIXED_LENGTH * 8 {
        let mut changed = fixed;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!Mac::new(&KEY, &changed).address(&address).matches(&mac), "bit {bit}");
    }
    for bit in 0..ADDRESS_LENGTH * 8 {
        let mut changed = address;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!Mac::new(&KEY, &fixed).address(&changed).matches(&mac), "bit {bit} of the address");
    }
    for bit in 0..MAC_LENGTH * 8 {
        let mut changed = mac;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!Mac::new(&KEY, &fixed).address(&address).matches(&changed), "bit {bit} of the MAC");
    }
    assert!(!Mac::new(&KEY, &fixed).matches(&mac));
    assert!(!Mac::new(&[KEY[0], KEY[1] ^ 1], &fixed).address(&address).matches(&mac));
}

#[test]
fn two_epochs_have_keys() {
    let secret = CookieSecret::new(KEY);
    let key = |created, now| secret.key_of(created, now, 100);
    assert_eq!(key(250, 250), Some(secret.key(2)));
    assert_eq!(key(299, 300), Some(secret.key(2)));
    assert_eq!(key(200, 399), Some(secret.key(2)));
    assert_eq!(key(299, 400), None);
    // From the future: nobody has made it.
    assert_eq!(key(300, 299), None);
    assert_eq!(key(u64::MAX, 0), None);
    assert_ne!(secret.key(2), secret.key(3));
    assert_ne!(CookieSecret::new([1, 2]).key(2), secret.key(2));
    assert!(secret.key_of(5, 5, 0).is_some());
}

#[test]
fn a_secret_does_not_show() {
    assert_eq!(format!("{:?}", CookieSecret::new(KEY)), "CookieSecret(..)");
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        bytes in prop::array::uniform32(any::<u8>()),
        more in prop::array::uniform32(any::<u8>()),
        rest in prop::array::uniform24(any::<u8>()),
    ) {
        let mut fixed: [u8; FIXED_LENGTH] = [&bytes[..], &more, &rest].concat().try_into().unwrap();
        fixed[0] = VERSION;
        fixed[1] %= MAX_ADDRESSES as u8 + 1;
        fixed[52..56].fill(0);
        let cookie = Cookie::decode(&fixed).unwrap();
        prop_assert_eq!(cookie.encode(), fixed);
    }

    #[test]
    fn the_mac_is_siphash_of_the_bytes(key: HashKey, addresses in prop::collection::vec(any::<[u8; 16]>(), 0..=15)) {
        let fixed = COOKIE.encode();
        let mut theirs = SipHasher24::new_with_keys(key[0], key[1]);
        theirs.write(&fixed);
        let mut mac = Mac::new(&key, &fixed);
        for address in &addresses {
            theirs.write(address);
            mac = mac.address(address);
        }
        prop_assert_eq!(mac.finish(), theirs.finish128().as_bytes());
    }
}
