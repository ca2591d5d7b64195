//! State Cookies as the endpoint makes and opens them (RFC 9260 §5.1.3, §5.1.5). Their layout, MAC and keys are
//! [`sctp_common::cookie`]'s, so that the XDP program can make the same.

use core::net::IpAddr;
use core::time::Duration;

use sctp_common::cookie::{
    self, ADDRESS_LENGTH, CookieSecret, FIXED_LENGTH, MAC_LENGTH, MAX_ADDRESSES, MAX_LENGTH, Mac,
};
use smallvec::SmallVec;

use crate::serial::Tsn;
use crate::time::Instant;

/// Most further addresses in a cookie.
pub(crate) const MAX_FURTHER: usize = MAX_ADDRESSES;

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
    /// What was agreed besides: bits of [`sctp_common::cookie::flags`].
    pub(crate) flags: u16,
    //= RFC 9260 §5.1.3: "The State Cookie SHOULD also contain a timestamp on when the State Cookie is created and the
    //= lifespan of the State Cookie"
    pub(crate) created: Instant,
    /// Whole milliseconds.
    pub(crate) lifetime: Duration,
    /// Where the INIT came from, so where the INIT ACK went: the address that is confirmed by the cookie's return (§5.4).
    pub(crate) source: IpAddr,
    /// Our address that the INIT was sent to.
    pub(crate) destination: IpAddr,
    /// Further addresses that the INIT listed; at most [`MAX_FURTHER`].
    pub(crate) addresses: SmallVec<[IpAddr; 2]>,
}

/// A cookie is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CookieError {
    /// We did not make it, or so long ago that its key is gone: to be discarded silently (§5.1.5 steps 1 and 2).
    NotOurs,
}

/// Makes and checks cookies.
#[derive(Debug)]
pub(crate) struct CookieJar {
    secret: CookieSecret,
    /// How long a key is used, in nanoseconds.
    epoch: u64,
}

impl CookieJar {
    /// `epoch` is how long a key is used: as long as the longest-lived cookie at least, for the key to be known still when that
    /// comes back ([`EndpointConfig::cookie_epoch`](crate::EndpointConfig::cookie_epoch)).
    pub(crate) fn new(secret: CookieSecret, epoch: Duration) -> Self {
        Self { secret, epoch: u64::try_from(epoch.as_nanos()).unwrap_or(u64::MAX) }
    }

    /// Writes a cookie with its MAC.
    //= RFC 9260 §5.1.3: "Inside this State Cookie, the sender MUST include a MAC"
    //= RFC 9260 §3.3.3.1.1: "This parameter value MUST contain all the necessary state and parameter information …
    //= along with a Message Authentication Code (MAC)"
    //= RFC 9260 §5.1.3: "A MAC with acceptable security properties SHOULD be used."
    //= RFC 9260 §5.1.3: "The secret key SHOULD be changed reasonably frequently"
    pub(crate) fn seal(&self, cookie: &Cookie) -> SmallVec<[u8; 128]> {
        let fixed = cookie.fixed().encode();
        let created = cookie.created.as_nanos();
        let mut mac = Mac::new(&self.secret.key(created / self.epoch.max(1)), &fixed);
        let mut bytes = SmallVec::from_slice(&fixed);
        for address in cookie.addresses.iter().take(MAX_FURTHER).map(|address| mapped(*address)) {
            mac = mac.address(&address);
            bytes.extend_from_slice(&address);
        }
        bytes.extend_from_slice(&mac.finish());
        bytes
    }

    /// Checks a cookie's MAC and reads it. Whether it is stale is for the caller to judge (§5.2.4 step 3).
    pub(crate) fn open(&self, bytes: &[u8], now: Instant) -> Result<Cookie, CookieError> {
        self.read(bytes, now).ok_or(CookieError::NotOurs)
    }

    fn read(&self, bytes: &[u8], now: Instant) -> Option<Cookie> {
        let (fixed, rest) = bytes.split_first_chunk::<FIXED_LENGTH>()?;
        let claimed = cookie::Cookie::decode(fixed)?;
        // A peer may have counted padding in the chunk's length; the cookie's own length is known from its count of addresses.
        let (addresses, rest) = rest.split_at_checked(usize::from(claimed.addresses) * ADDRESS_LENGTH)?;
        let sealed = rest.first_chunk::<MAC_LENGTH>()?;
        let (addresses, _) = addresses.as_chunks::<ADDRESS_LENGTH>();
        //= RFC 9260 §5.1.5: "the secret key to use is not available anymore, the packet containing the COOKIE ECHO
        //= chunk MUST be silently discarded"
        let key = self.secret.key_of(claimed.created, now.as_nanos(), self.epoch)?;
        let mac = addresses.iter().fold(Mac::new(&key, fixed), |mac, address| mac.address(address));
        //= RFC 9260 §5.1.5: "If this comparison fails, the SCTP packet, including the COOKIE ECHO chunk and any DATA
        //= chunks, MUST be silently discarded."
        mac.matches(sealed).then(|| Cookie::from_parts(&claimed, addresses))
    }
}

impl Cookie {
    /// How long it has been too old; `None` while it is good.
    pub(crate) fn staleness(&self, now: Instant) -> Option<Duration> {
        let age = now - self.created;
        (age > self.lifetime).then(|| age - self.lifetime)
    }

    /// When it becomes too old.
    pub(crate) fn expiry(&self) -> Instant {
        self.created + self.lifetime
    }

    //= RFC 9260 §5.1.3: "it MUST NOT contain information that is not being envisioned to be shared"
    //= RFC 9260 §5.1.3: "An implementation SHOULD make the cookie as small as possible"
    //= RFC 9260 §3.3.11: "An implementation SHOULD make the cookie as small as possible"
    fn fixed(&self) -> cookie::Cookie {
        cookie::Cookie {
            addresses: self.addresses.len().min(MAX_FURTHER) as u8,
            flags: self.flags,
            local_port: self.local_port,
            peer_port: self.peer_port,
            local_tag: self.local_tag,
            peer_tag: self.peer_tag,
            local_tie_tag: self.local_tie_tag,
            peer_tie_tag: self.peer_tie_tag,
            local_initial_tsn: self.local_initial_tsn.get(),
            peer_initial_tsn: self.peer_initial_tsn.get(),
            peer_window: self.peer_window,
            outbound_streams: self.outbound_streams,
            inbound_streams: self.inbound_streams,
            created: self.created.as_nanos(),
            lifespan: u32::try_from(self.lifetime.as_millis()).unwrap_or(u32::MAX),
            source: mapped(self.source),
            destination: mapped(self.destination),
        }
    }

    fn from_parts(fixed: &cookie::Cookie, addresses: &[[u8; ADDRESS_LENGTH]]) -> Self {
        Self {
            local_port: fixed.local_port,
            peer_port: fixed.peer_port,
            local_tag: fixed.local_tag,
            peer_tag: fixed.peer_tag,
            local_tie_tag: fixed.local_tie_tag,
            peer_tie_tag: fixed.peer_tie_tag,
            local_initial_tsn: Tsn(fixed.local_initial_tsn),
            peer_initial_tsn: Tsn(fixed.peer_initial_tsn),
            peer_window: fixed.peer_window,
            outbound_streams: fixed.outbound_streams,
            inbound_streams: fixed.inbound_streams,
            flags: fixed.flags,
            created: Instant::from_nanos(fixed.created),
            lifetime: Duration::from_millis(fixed.lifespan.into()),
            source: unmapped(fixed.source),
            destination: unmapped(fixed.destination),
            addresses: addresses.iter().copied().map(unmapped).collect(),
        }
    }
}

// Every cookie fits a packet of the smallest size that a path can have, with an INIT ACK around it.
const _: () = assert!(MAX_LENGTH <= 400);

/// IPv4 addresses as IPv4-mapped IPv6 addresses.
fn mapped(address: IpAddr) -> [u8; ADDRESS_LENGTH] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn unmapped(octets: [u8; ADDRESS_LENGTH]) -> IpAddr {
    IpAddr::from(octets).to_canonical()
}

#[cfg(test)]
mod tests {
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
            flags: cookie::flags::ECN,
            created: Instant::from_millis(10),
            lifetime: Duration::from_secs(60),
            source: IpAddr::from([10, 0, 0, 1]),
            destination: IpAddr::from([10, 0, 0, 2]),
            addresses: smallvec::smallvec![IpAddr::from([10, 0, 1, 1]), "2001:db8::1".parse().unwrap()],
        }
    }

    fn jar() -> CookieJar {
        CookieJar::new(CookieSecret::new([1, 2]), Duration::from_secs(600))
    }

    //= test RFC 9260 §3.3.3.1.1: "This parameter value MUST contain all the necessary state and parameter information"
    //= test RFC 9260 §5.1.3: "The State Cookie SHOULD also contain a timestamp on when the State Cookie is created and
    //= the lifespan"
    #[test]
    fn comes_back_as_it_was() {
        let mut sealed = jar().seal(&cookie());
        assert_eq!(sealed.len(), cookie::length(2));
        assert_eq!(jar().open(&sealed, Instant::from_millis(10)), Ok(cookie()));
        sealed.extend_from_slice(&[0; 3]);
        assert_eq!(jar().open(&sealed, Instant::from_millis(10)), Ok(cookie()), "padding that was counted");
    }

    //= test RFC 9260 §5.1.3: "Inside this State Cookie, the sender MUST include a MAC"
    //= test RFC 9260 §5.1.5: "If this comparison fails, the SCTP packet … MUST be silently discarded"
    #[test]
    fn any_changed_bit_is_refused() {
        let sealed = jar().seal(&cookie());
        let now = Instant::from_millis(10);
        for bit in 0..sealed.len() * 8 {
            let mut forged = sealed.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(jar().open(&forged, now), Err(CookieError::NotOurs), "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert_eq!(jar().open(&sealed[..len], now), Err(CookieError::NotOurs));
        }
    }

    /// Whoever reads a cookie learns nothing of the key: but for the MAC it is the same under any key, and made of what the peer has
    /// been told or has said.
    //= test RFC 9260 §5.1.3: "it MUST NOT contain information that is not being envisioned to be shared"
    //= test RFC 9260 §5.1.3: "An implementation SHOULD make the cookie as small as possible"
    //= test RFC 9260 §3.3.11: "An implementation SHOULD make the cookie as small as possible"
    #[test]
    fn a_cookie_tells_nothing_of_the_secret() {
        let secret = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];
        let other = CookieJar::new(CookieSecret::new(secret), Duration::from_secs(600));
        let (one, other) = (jar().seal(&cookie()), other.seal(&cookie()));
        let at = one.len() - MAC_LENGTH;
        assert_eq!(one[..at], other[..at]);
        assert_ne!(one[at..], other[at..]);
        for word in secret {
            assert!(!other.windows(8).any(|bytes| bytes == word.to_be_bytes() || bytes == word.to_le_bytes()));
        }
        // Fixed fields, 16 bytes for each address, the MAC: no more.
        assert_eq!(at, FIXED_LENGTH + 2 * ADDRESS_LENGTH);
    }

    #[test]
    fn the_secret_is_all_that_jars_share() {
        let sealed = jar().seal(&cookie());
        let other = CookieJar::new(CookieSecret::new([1, 3]), Duration::from_secs(600));
        assert_eq!(other.open(&sealed, Instant::from_millis(10)), Err(CookieError::NotOurs));
    }

    #[test]
    fn a_cookie_is_bounded() {
        let many = (0..200).map(|last| IpAddr::from([10, 0, 1, last])).collect();
        let sealed = jar().seal(&Cookie { addresses: many, ..cookie() });
        assert_eq!(sealed.len(), MAX_LENGTH);
        let opened = jar().open(&sealed, Instant::from_millis(10)).unwrap();
        assert_eq!(opened.addresses.len(), MAX_FURTHER);
    }

    //= test RFC 9260 §5.1.3: "The secret key SHOULD be changed reasonably frequently"
    //= test RFC 9260 §5.1.5: "the secret key to use is not available anymore, the packet containing the COOKIE ECHO
    //= chunk MUST be silently discarded"
    #[test]
    fn keys_live_for_two_periods() {
        let made = |millis| jar().seal(&Cookie { created: Instant::from_millis(millis), ..cookie() });
        let good = |bytes: &[u8], millis| jar().open(bytes, Instant::from_millis(millis)).is_ok();
        let (first, second) = (made(599_999), made(600_000));
        assert!(good(&first, 599_999) && good(&first, 1_199_999) && !good(&first, 1_200_000));
        assert!(good(&second, 1_799_999) && !good(&second, 1_800_000));
    }

    #[test]
    fn a_key_lives_as_long_as_its_cookies() {
        // A cookie that is made at the end of its key's time is good for another period.
        let config = crate::EndpointConfig {
            cookie_key_lifetime: Duration::from_secs(1),
            cookie_lifetime: Duration::from_secs(60),
            ..crate::EndpointConfig::default()
        };
        let jar = CookieJar::new(CookieSecret::new([1, 2]), config.cookie_epoch());
        let sealed = jar.seal(&Cookie { created: Instant::from_millis(119_999), ..cookie() });
        assert!(jar.open(&sealed, Instant::from_millis(239_999)).is_ok());
    }

    #[test]
    fn staleness_is_measured() {
        let cookie = cookie();
        assert_eq!(cookie.staleness(Instant::from_millis(60_010)), None);
        assert_eq!(cookie.staleness(Instant::from_millis(60_013)), Some(Duration::from_millis(3)));
    }
}
