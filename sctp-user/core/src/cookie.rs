//! The State Cookie (RFC 9260 §5.1.3, §5.1.5): all that is known of an association before it exists, kept by the peer.
//!
//! ```text
//!  0      1      2      3      4      5      6      7
//! +------+------+------+------+------+------+------+------+
//! | ver. | key  |addrs | zero | local port  |  peer port  |    0
//! +------+------+------+------+------+------+------+------+
//! |         local tag         |        peer's tag         |    8
//! +---------------------------+---------------------------+
//! |       local tie-tag       |      peer's tie-tag       |   16
//! +---------------------------+---------------------------+
//! |     local initial TSN     |    peer's initial TSN     |   24
//! +---------------------------+-------------+-------------+
//! |      peer's a_rwnd        | out streams | in streams  |   32
//! +---------------------------+-------------+-------------+
//! |               creation time (nanoseconds)             |   40
//! +-------------------------------------------------------+
//! |               lifetime (nanoseconds)                  |   48
//! +-------------------------------------------------------+
//! |  address that the INIT came from, IPv4 as v4-mapped   |   56
//! |                                                       |
//! +-------------------------------------------------------+
//! |  address that the INIT was sent to                    |   72
//! |                                                       |
//! +-------------------------------------------------------+
//! |  further addresses of the peer, 16 bytes each …       |   88
//! +-------------------------------------------------------+
//! |  SipHash-2-4 of all of the above                      |   the last 8
//! +-------------------------------------------------------+
//! ```
//!
//! Everything is in network byte order, every field is aligned to its size, the length is a multiple of eight, and the MAC is
//! the keyed hash that the XDP program has too: so a program in front of the stack can make the same cookie from an INIT
//! alone. A cookie that nobody else can make says that we sent it to the address it names; it holds no secret.

use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

use rand::Rng;
use sctp_common::siphash::{HashKey, SipHash24};
use smallvec::SmallVec;

use crate::serial::Tsn;
use crate::time::Instant;

const VERSION: u8 = 1;
const FIXED: usize = 88;
const MAC: usize = 8;
const ADDRESS: usize = 16;

/// What a State Cookie holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cookie {
    pub(crate) local_port: u16,
    pub(crate) peer_port: u16,
    /// Our tag: the Initiate Tag of the INIT ACK.
    pub(crate) local_tag: u32,
    /// The Initiate Tag of the INIT.
    pub(crate) peer_tag: u32,
    /// Tie-tags of the association that existed when the INIT came; both 0 if there was none (§5.2.2).
    pub(crate) local_tie_tag: u32,
    pub(crate) peer_tie_tag: u32,
    pub(crate) local_initial_tsn: Tsn,
    pub(crate) peer_initial_tsn: Tsn,
    /// The peer's receive window.
    pub(crate) peer_window: u32,
    /// Streams negotiated (§5.1.1): min(our OS, its MIS) and min(its OS, our MIS).
    pub(crate) outbound_streams: u16,
    pub(crate) inbound_streams: u16,
    //= RFC 9260 §5.1.3: "The State Cookie SHOULD also contain a timestamp on when the State Cookie is created and the
    //= lifespan of the State Cookie"
    pub(crate) created: Instant,
    pub(crate) lifetime: Duration,
    /// Where the INIT came from, so where the INIT ACK went: the address that is confirmed by the cookie's return (§5.4).
    pub(crate) source: IpAddr,
    /// Our address that the INIT was sent to.
    pub(crate) destination: IpAddr,
    /// Further addresses that the INIT listed.
    pub(crate) addresses: SmallVec<[IpAddr; 2]>,
}

/// A cookie is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CookieError {
    /// We did not make it, or so long ago that its key is gone: to be discarded silently (§5.1.5 steps 1 and 2).
    NotOurs,
}

/// Makes and checks cookies, with a key that changes.
#[derive(Debug)]
pub(crate) struct CookieJar {
    /// The key of new cookies, and the one before it.
    keys: [HashKey; 2],
    /// Number of the current key; cookies carry its low byte.
    number: u8,
    rotated: Option<Instant>,
    key_lifetime: Duration,
}

impl CookieJar {
    pub(crate) fn new(key_lifetime: Duration, rng: &mut impl Rng) -> Self {
        Self { keys: [draw(rng), draw(rng)], number: 0, rotated: None, key_lifetime }
    }

    /// Writes a cookie with its MAC.
    //= RFC 9260 §5.1.3: "Inside this State Cookie, the sender MUST include a MAC"
    //= RFC 9260 §3.3.3.1.1: "This parameter value MUST contain all the necessary state and parameter information …
    //= along with a Message Authentication Code (MAC)"
    //= RFC 9260 §5.1.3: "A MAC with acceptable security properties SHOULD be used."
    pub(crate) fn seal(&mut self, cookie: &Cookie, now: Instant, rng: &mut impl Rng) -> SmallVec<[u8; 128]> {
        self.rotate(now, rng);
        let mut bytes = cookie.encode(self.number);
        let mac = mac(&self.keys[0], &bytes);
        bytes.extend_from_slice(&mac.to_be_bytes());
        bytes
    }

    /// Checks a cookie's MAC and reads it. Whether it is stale is for the caller to judge (§5.2.4 step 3).
    pub(crate) fn open(&self, bytes: &[u8]) -> Result<Cookie, CookieError> {
        // A peer may have counted padding in the chunk's length; the cookie's own length is known from its count of addresses.
        let count = usize::from(*bytes.get(2).ok_or(CookieError::NotOurs)?);
        let len = FIXED + count * ADDRESS;
        let body = bytes.get(..len).ok_or(CookieError::NotOurs)?;
        let sealed = bytes.get(len..len + MAC).ok_or(CookieError::NotOurs)?;
        let key = match self.number.wrapping_sub(body[1]) {
            0 => &self.keys[0],
            1 => &self.keys[1],
            //= RFC 9260 §5.1.5: "the secret key to use is not available anymore, the packet containing the COOKIE ECHO
            //= chunk MUST be silently discarded"
            _ => return Err(CookieError::NotOurs),
        };
        // Compared as one number, so there is no position to find out about.
        //= RFC 9260 §5.1.5: "If this comparison fails, the SCTP packet, including the COOKIE ECHO chunk and any DATA
        //= chunks, MUST be silently discarded."
        if mac(key, body).to_be_bytes() != sealed || body[0] != VERSION {
            return Err(CookieError::NotOurs);
        }
        Cookie::decode(body).ok_or(CookieError::NotOurs)
    }

    fn rotate(&mut self, now: Instant, rng: &mut impl Rng) {
        let since = *self.rotated.get_or_insert(now);
        let age = now - since;
        //= RFC 9260 §5.1.3: "The secret key SHOULD be changed reasonably frequently"
        if age >= self.key_lifetime {
            self.keys[1] = self.keys[0];
            self.keys[0] = draw(rng);
            self.number = self.number.wrapping_add(1);
            self.rotated = Some(now);
            // Unused for so long that the previous key is as old: nothing it sealed is good any more.
            if age >= self.key_lifetime * 2 {
                self.keys[1] = draw(rng);
            }
        }
    }
}

impl Cookie {
    /// How long it has been too old; `None` while it is good.
    pub(crate) fn staleness(&self, now: Instant) -> Option<Duration> {
        let age = now - self.created;
        (age > self.lifetime).then(|| age - self.lifetime)
    }

    //= RFC 9260 §5.1.3: "it MUST NOT contain information that is not being envisioned to be shared"
    //= RFC 9260 §5.1.3: "An implementation SHOULD make the cookie as small as possible"
    //= RFC 9260 §3.3.11: "An implementation SHOULD make the cookie as small as possible"
    fn encode(&self, key: u8) -> SmallVec<[u8; 128]> {
        let mut bytes = SmallVec::new();
        bytes.extend_from_slice(&[VERSION, key, self.addresses.len() as u8, 0]);
        for port in [self.local_port, self.peer_port] {
            bytes.extend_from_slice(&port.to_be_bytes());
        }
        let numbers = [
            self.local_tag,
            self.peer_tag,
            self.local_tie_tag,
            self.peer_tie_tag,
            self.local_initial_tsn.get(),
            self.peer_initial_tsn.get(),
            self.peer_window,
            (u32::from(self.outbound_streams) << 16) | u32::from(self.inbound_streams),
        ];
        for number in numbers {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&self.created.as_nanos().to_be_bytes());
        let lifetime = u64::try_from(self.lifetime.as_nanos()).unwrap_or(u64::MAX);
        bytes.extend_from_slice(&lifetime.to_be_bytes());
        for address in [self.source, self.destination].iter().chain(&self.addresses) {
            bytes.extend_from_slice(&mapped(*address));
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let u16_at = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let u32_at = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let u64_at = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let address_at = |at: usize| -> Option<IpAddr> {
            let octets: [u8; ADDRESS] = bytes.get(at..at + ADDRESS)?.try_into().ok()?;
            Some(IpAddr::from(octets).to_canonical())
        };
        let count = usize::from(*bytes.get(2)?);
        Some(Self {
            local_port: u16_at(4)?,
            peer_port: u16_at(6)?,
            local_tag: u32_at(8)?,
            peer_tag: u32_at(12)?,
            local_tie_tag: u32_at(16)?,
            peer_tie_tag: u32_at(20)?,
            local_initial_tsn: Tsn(u32_at(24)?),
            peer_initial_tsn: Tsn(u32_at(28)?),
            peer_window: u32_at(32)?,
            outbound_streams: u16_at(36)?,
            inbound_streams: u16_at(38)?,
            created: Instant::from_nanos(u64_at(40)?),
            lifetime: Duration::from_nanos(u64_at(48)?),
            source: address_at(56)?,
            destination: address_at(72)?,
            addresses: (0..count).map(|at| address_at(FIXED + at * ADDRESS)).collect::<Option<_>>()?,
        })
    }
}

//= RFC 9260 §5.1.3: "The secret key SHOULD be random"
//= RFC 9260 §14.1: "This SHOULD be a cryptographic quality random number with a sufficient length."
fn draw(rng: &mut impl Rng) -> HashKey {
    [rng.next_u64(), rng.next_u64()]
}

/// `bytes` are a multiple of eight.
fn mac(key: &HashKey, bytes: &[u8]) -> u64 {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().fold(SipHash24::new(key), |hash, word| hash.word(u64::from_le_bytes(*word))).finish(0, 0)
}

/// IPv4 addresses as IPv4-mapped IPv6 addresses.
fn mapped(address: IpAddr) -> [u8; ADDRESS] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => Ipv6Addr::octets(&address),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn cookie() -> Cookie {
        Cookie {
            local_port: 38412,
            peer_port: 5000,
            local_tag: 1,
            peer_tag: 2,
            local_tie_tag: 3,
            peer_tie_tag: 4,
            local_initial_tsn: Tsn(5),
            peer_initial_tsn: Tsn(6),
            peer_window: 7,
            outbound_streams: 8,
            inbound_streams: 9,
            created: Instant::from_millis(10),
            lifetime: Duration::from_secs(60),
            source: IpAddr::from([10, 0, 0, 1]),
            destination: IpAddr::from([10, 0, 0, 2]),
            addresses: smallvec::smallvec![IpAddr::from([10, 0, 1, 1]), "2001:db8::1".parse().unwrap()],
        }
    }

    fn jar() -> (CookieJar, StdRng) {
        let mut rng = StdRng::seed_from_u64(1);
        (CookieJar::new(Duration::from_secs(600), &mut rng), rng)
    }

    //= test RFC 9260 §3.3.3.1.1: "This parameter value MUST contain all the necessary state and parameter information"
    //= test RFC 9260 §5.1.3: "The State Cookie SHOULD also contain a timestamp on when the State Cookie is created and
    //= the lifespan"
    #[test]
    fn comes_back_as_it_was() {
        let (mut jar, mut rng) = jar();
        let mut sealed = jar.seal(&cookie(), Instant::from_millis(10), &mut rng);
        assert_eq!(sealed.len() % 8, 0);
        assert_eq!(jar.open(&sealed), Ok(cookie()));
        sealed.extend_from_slice(&[0; 3]);
        assert_eq!(jar.open(&sealed), Ok(cookie()), "padding that was counted");
    }

    //= test RFC 9260 §5.1.3: "Inside this State Cookie, the sender MUST include a MAC"
    //= test RFC 9260 §5.1.5: "If this comparison fails, the SCTP packet … MUST be silently discarded"
    #[test]
    fn any_changed_bit_is_refused() {
        let (mut jar, mut rng) = jar();
        let sealed = jar.seal(&cookie(), Instant::ORIGIN, &mut rng);
        for bit in 0..sealed.len() * 8 {
            let mut forged = sealed.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(jar.open(&forged), Err(CookieError::NotOurs), "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert_eq!(jar.open(&sealed[..len]), Err(CookieError::NotOurs));
        }
    }

    //= test RFC 9260 §5.1.3: "The secret key SHOULD be changed reasonably frequently"
    //= test RFC 9260 §5.1.5: "the secret key to use is not available anymore, the packet containing the COOKIE ECHO
    //= chunk MUST be silently discarded"
    #[test]
    fn keys_live_for_two_periods() {
        let (mut jar, mut rng) = jar();
        let first = jar.seal(&cookie(), Instant::ORIGIN, &mut rng);
        let second = jar.seal(&cookie(), Instant::from_millis(600_000), &mut rng);
        assert_eq!(jar.open(&first), Ok(cookie()));
        jar.seal(&cookie(), Instant::from_millis(1_200_000), &mut rng);
        assert_eq!(jar.open(&first), Err(CookieError::NotOurs));
        assert_eq!(jar.open(&second), Ok(cookie()));
        jar.seal(&cookie(), Instant::from_millis(9_000_000), &mut rng);
        assert_eq!(jar.open(&second), Err(CookieError::NotOurs));
    }

    #[test]
    fn staleness_is_measured() {
        let cookie = cookie();
        assert_eq!(cookie.staleness(Instant::from_millis(60_010)), None);
        assert_eq!(cookie.staleness(Instant::from_millis(60_013)), Some(Duration::from_millis(3)));
    }
}
