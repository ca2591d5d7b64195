//! The State Cookie (RFC 9260 §5.1.3, §5.1.5): all that is known of an association before it exists, kept by the peer.
//!
//! ```text
//!  0      1      2      3      4      5      6      7
//! +------+------+------+------+------+------+------+------+
//! | ver. |addrs |    flags    | local port  |  peer port  |    0
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
//! +---------------------------+---------------------------+
//! |  lifespan (milliseconds)  |           zero            |   48
//! +---------------------------+---------------------------+
//! |  address that the INIT came from, IPv4 as v4-mapped   |   56
//! |                                                       |
//! +-------------------------------------------------------+
//! |  address that the INIT was sent to                    |   72
//! |                                                       |
//! +-------------------------------------------------------+
//! |  further addresses of the peer, 16 bytes each, at     |   88
//! |  most 15                                            … |
//! +-------------------------------------------------------+
//! |  MAC: SipHash-2-4-128 of all of the above             |   the last 16
//! |                                                       |
//! +-------------------------------------------------------+
//! ```
//!
//! All numbers are in network byte order, every field is aligned to its size and the length is a multiple of eight, so the
//! MAC runs over whole words. The layout is fixed and bounded ([`MAX_LENGTH`]) so that a program in front of the stack can
//! make a cookie from an INIT alone, and check one, with loops of a constant bound and a few hundred bytes of stack:
//! [`Cookie::encode`] and [`Cookie::decode`] take and give arrays, [`Mac`] is fed with them.
//!
//! # What the cookie proves
//!
//! Whoever returns a cookie has received it at the address that it names, and what it says of the peer is what the INIT
//! said. It is signed, not encrypted: "If the State Cookie is not encrypted, it MUST NOT contain information that is not
//! being envisioned to be shared" (§5.1.3). All in it is the peer's own or goes to the peer anyway, but for the tie-tags,
//! which are nonces that name an association and are good for nothing else.
//!
//! # The MAC
//!
//! SipHash-2-4 was designed as a MAC for short messages: a pseudorandom function with a key of 128 bits. With 128 bits of
//! output a forgery takes about 2^128 guesses, each a packet that we check in some hundred nanoseconds; and no attack on its
//! full rounds does better than trying keys, after more than a decade of public analysis. It is used within its claims:
//! one key makes far fewer than 2^64 cookies, messages are of prefix-free lengths (the count of addresses is signed, and
//! the length goes into the last block), and [`Mac::matches`] compares without regard to where the difference is. A hash
//! built for bulk (HMAC-SHA-256 over the same 104 bytes costs ten times as much) would make the COOKIE ECHO flood cheaper
//! for the attacker than for us: "Choosing a high-performance MAC algorithm increases the resistance against cookie
//! flooding attacks" (§5.1.3).
//!
//! # Keys
//!
//! "The secret key SHOULD be changed reasonably frequently (e.g., hourly), and the timestamp in the State Cookie MAY be
//! used to determine which key is used to verify the MAC" (§5.1.3). Time is divided into epochs, and the key of an epoch is
//! the same pseudorandom function of the secret and the epoch's number ([`CookieSecret::key`]). So the creation time names
//! the key; whoever holds the secret and the clock (every worker, the XDP program) has the same keys at the same time with
//! nothing to keep in step; and no key is used for longer than an epoch. Cookies of this epoch and the one before are
//! accepted ([`CookieSecret::key_of`]): two keys are in force at a time.

#[cfg(test)]
mod tests;

use core::fmt;

use crate::frame::{Decoded, Frame, Words as _};
use crate::siphash::{HashKey, SipHash24};
use crate::verdict::DropReason;
use crate::wire::CHUNK_HEADER_LENGTH;

/// The layout's version; others are not read.
pub const VERSION: u8 = 2;

/// Bytes before the further addresses.
pub const FIXED_LENGTH: usize = 88;

/// Bytes of an address.
pub const ADDRESS_LENGTH: usize = 16;

/// Most further addresses of the peer: with the one that the INIT came from, a peer can have sixteen.
pub const MAX_ADDRESSES: usize = 15;

/// Bytes of the MAC.
pub const MAC_LENGTH: usize = 16;

/// Bytes of the longest cookie: 344.
pub const MAX_LENGTH: usize = FIXED_LENGTH + MAX_ADDRESSES * ADDRESS_LENGTH + MAC_LENGTH;

/// Bits of [`Cookie::flags`]: what the INIT offered and we agree to.
pub mod flags {
    /// Both sides are capable of ECN (RFC 9260 Appendix A).
    pub const ECN: u16 = 1 << 0;
}

/// What a State Cookie says, but for the further addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// How many further addresses follow; at most [`MAX_ADDRESSES`].
    pub addresses: u8,
    /// Bits of [`flags`].
    pub flags: u16,
    /// Our port.
    pub local_port: u16,
    /// The peer's port.
    pub peer_port: u16,
    /// Our tag: the Initiate Tag of the INIT ACK.
    pub local_tag: u32,
    /// The Initiate Tag of the INIT.
    pub peer_tag: u32,
    /// Our Tie-Tag of the association that existed when the INIT came; 0 if there was none (§5.2.2).
    pub local_tie_tag: u32,
    /// The peer's Tie-Tag of that association; 0 if there was none.
    pub peer_tie_tag: u32,
    /// The Initial TSN of the INIT ACK.
    pub local_initial_tsn: u32,
    /// The Initial TSN of the INIT.
    pub peer_initial_tsn: u32,
    /// The a_rwnd of the INIT, in bytes.
    pub peer_window: u32,
    /// Streams that we may send on: min(our OS, the peer's MIS) (§5.1.1).
    pub outbound_streams: u16,
    /// Streams that the peer may send on: min(its OS, our MIS).
    pub inbound_streams: u16,
    /// When it was made, in nanoseconds of the clock that all who share the secret share.
    pub created: u64,
    /// How long it is good, in milliseconds.
    pub lifespan: u32,
    /// Where the INIT came from, so where the INIT ACK goes; IPv4 as IPv4-mapped IPv6.
    pub source: [u8; ADDRESS_LENGTH],
    /// Our address that the INIT was sent to.
    pub destination: [u8; ADDRESS_LENGTH],
}

/// Bytes of a cookie, MAC included, with so many further addresses.
#[inline(always)]
#[must_use]
pub const fn length(addresses: u8) -> usize {
    FIXED_LENGTH + addresses as usize * ADDRESS_LENGTH + MAC_LENGTH
}

impl Cookie {
    /// The bytes of the fixed part.
    #[inline(always)]
    #[must_use]
    pub const fn encode(&self) -> [u8; FIXED_LENGTH] {
        let (words, mut bytes, mut at) = (self.words(), [0; FIXED_LENGTH], 0);
        while at < FIXED_LENGTH {
            put(&mut bytes, at, words[at / 4].to_be_bytes());
            at += 4;
        }
        bytes
    }

    /// The fixed part in words of 32 bits, most significant byte first on the wire.
    #[inline(always)]
    #[must_use]
    pub const fn words(&self) -> [u32; FIXED_LENGTH / 4] {
        let Self { created, source, destination, .. } = self;
        let (source, destination) = (u128::from_be_bytes(*source), u128::from_be_bytes(*destination));
        [
            (VERSION as u32) << 24 | (self.addresses as u32) << 16 | self.flags as u32,
            (self.local_port as u32) << 16 | self.peer_port as u32,
            self.local_tag,
            self.peer_tag,
            self.local_tie_tag,
            self.peer_tie_tag,
            self.local_initial_tsn,
            self.peer_initial_tsn,
            self.peer_window,
            (self.outbound_streams as u32) << 16 | self.inbound_streams as u32,
            (*created >> 32) as u32,
            *created as u32,
            self.lifespan,
            0,
            (source >> 96) as u32,
            (source >> 64) as u32,
            (source >> 32) as u32,
            source as u32,
            (destination >> 96) as u32,
            (destination >> 64) as u32,
            (destination >> 32) as u32,
            destination as u32,
        ]
    }

    /// Reads the fixed part. `None` for another version, or more addresses than a cookie of ours has.
    ///
    /// What it says is worth nothing before the MAC has been compared.
    #[inline(always)]
    #[must_use]
    pub const fn decode(bytes: &[u8; FIXED_LENGTH]) -> Option<Self> {
        if bytes[0] != VERSION || bytes[1] as usize > MAX_ADDRESSES {
            return None;
        }
        Some(Self {
            addresses: bytes[1],
            flags: u16::from_be_bytes(get(bytes, 2)),
            local_port: u16::from_be_bytes(get(bytes, 4)),
            peer_port: u16::from_be_bytes(get(bytes, 6)),
            local_tag: u32::from_be_bytes(get(bytes, 8)),
            peer_tag: u32::from_be_bytes(get(bytes, 12)),
            local_tie_tag: u32::from_be_bytes(get(bytes, 16)),
            peer_tie_tag: u32::from_be_bytes(get(bytes, 20)),
            local_initial_tsn: u32::from_be_bytes(get(bytes, 24)),
            peer_initial_tsn: u32::from_be_bytes(get(bytes, 28)),
            peer_window: u32::from_be_bytes(get(bytes, 32)),
            outbound_streams: u16::from_be_bytes(get(bytes, 36)),
            inbound_streams: u16::from_be_bytes(get(bytes, 38)),
            created: u64::from_be_bytes(get(bytes, 40)),
            lifespan: u32::from_be_bytes(get(bytes, 48)),
            source: get(bytes, 56),
            destination: get(bytes, 72),
        })
    }
}

/// The secret that cookies are made with: known to all workers of a stack, and to nobody else.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CookieSecret(HashKey);

impl CookieSecret {
    /// From 128 random bits: of the system's generator, drawn at start.
    #[must_use]
    pub const fn new(random: HashKey) -> Self {
        Self(random)
    }

    /// The words of the secret, for whoever must hand it to another program.
    #[must_use]
    pub const fn words(&self) -> HashKey {
        self.0
    }

    /// The key of an epoch.
    #[inline(always)]
    #[must_use]
    pub const fn key(&self, epoch: u64) -> HashKey {
        SipHash24::new_128(&self.0).word(epoch).finish_128()
    }

    /// The key that tags and TSNs are drawn with by a program in front of the stack ([`init::Draw`](crate::init::Draw)): of an input that is
    /// longer than an epoch's number, so that it is no epoch's key.
    #[inline(always)]
    #[must_use]
    pub const fn key_of_draws(&self) -> HashKey {
        SipHash24::new_128(&self.0).word(u64::MAX).word(u64::MAX).finish_128()
    }

    /// The key of a cookie that claims to have been made at `created`, if its epoch is that of `now` or the one before. All in
    /// nanoseconds; `epoch_length` of 0 is taken as 1.
    #[inline(always)]
    #[must_use]
    pub const fn key_of(&self, created: u64, now: u64, epoch_length: u64) -> Option<HashKey> {
        let length = if epoch_length == 0 { 1 } else { epoch_length };
        let (of_cookie, current) = (created / length, now / length);
        if of_cookie == current || of_cookie.wrapping_add(1) == current { Some(self.key(of_cookie)) } else { None }
    }
}

impl fmt::Debug for CookieSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieSecret(..)")
    }
}

/// A running MAC over a cookie: the fixed part first, then each further address, in their order.
#[derive(Clone, Copy)]
pub struct Mac(SipHash24);

impl Mac {
    /// Begins with the fixed part.
    #[inline(always)]
    #[must_use]
    pub const fn new(key: &HashKey, fixed: &[u8; FIXED_LENGTH]) -> Self {
        let mut hash = SipHash24::new_128(key);
        let mut at = 0;
        while at < FIXED_LENGTH {
            hash = hash.word(u64::from_le_bytes(get(fixed, at)));
            at += 8;
        }
        Self(hash)
    }

    /// Adds a further address.
    #[inline(always)]
    #[must_use]
    pub const fn address(self, address: &[u8; ADDRESS_LENGTH]) -> Self {
        let value = u128::from_le_bytes(*address);
        Self(self.0.word(value as u64).word((value >> 64) as u64))
    }

    /// The MAC as it stands at the cookie's end.
    #[inline(always)]
    #[must_use]
    pub const fn finish(self) -> [u8; MAC_LENGTH] {
        let [first, last] = self.0.finish_128();
        (first as u128 | (last as u128) << 64).to_le_bytes()
    }

    /// Whether `claimed` is this MAC. It takes the same time wherever they differ.
    #[inline(always)]
    #[must_use]
    pub const fn matches(self, claimed: &[u8; MAC_LENGTH]) -> bool {
        let [first, last] = self.0.finish_128();
        let claimed = u128::from_le_bytes(*claimed);
        (first ^ claimed as u64) | (last ^ (claimed >> 64) as u64) == 0
    }
}

/// What a program in front of the stack must know to make and check cookies as the stack does.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CookieSettings {
    /// [Words](CookieSecret::words) of the secret.
    pub secret: HashKey,
    /// For how long a key is used, in nanoseconds. 0: cookies are neither made nor checked.
    pub epoch: u64,
    /// The time of the system's monotonic clock, in nanoseconds, at which the stack's clock was zero.
    pub origin: u64,
    /// [Key](CookieSecret::key_of_draws) of what is drawn.
    pub draws: HashKey,
    /// How long a cookie lives if the peer does not ask for more, in milliseconds.
    pub lifespan: u32,
    /// How long it lives at most, in milliseconds, if the peer asks for more (§3.3.2.1.3).
    pub longest_lifespan: u32,
}

impl CookieSettings {
    /// Bytes of the settings.
    pub const SIZE: usize = 56;

    /// The settings of whoever has drawn `secret`, uses each key for `epoch` and was started at `origin`, both in nanoseconds. `lifespans`
    /// are the usual and the longest one, in milliseconds.
    #[must_use]
    pub const fn new(secret: &CookieSecret, epoch: u64, origin: u64, lifespans: [u32; 2]) -> Self {
        let [lifespan, longest_lifespan] = lifespans;
        Self { secret: secret.words(), epoch, origin, draws: secret.key_of_draws(), lifespan, longest_lifespan }
    }

    /// The settings as the map [`COOKIES`](crate::maps::names::COOKIES) holds them.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let ([s0, s1], [d0, d1]) = (self.secret, self.draws);
        let (words, rest) = bytes.split_at_mut(Self::SIZE - 8);
        for (to, from) in words.as_chunks_mut().0.iter_mut().zip([s0, s1, self.epoch, self.origin, d0, d1]) {
            *to = from.to_ne_bytes();
        }
        for (to, from) in rest.as_chunks_mut().0.iter_mut().zip([self.lifespan, self.longest_lifespan]) {
            *to = from.to_ne_bytes();
        }
        bytes
    }

    /// The stack's time at `now` of the system's monotonic clock, both in nanoseconds. A clock that lags a little behind may say that the
    /// stack has not been started yet.
    #[inline(always)]
    #[must_use]
    pub const fn time(&self, now: u64) -> u64 {
        let since = now.wrapping_sub(self.origin);
        if since as i64 >= 0 { since } else { 0 }
    }

    /// How long a cookie lives, in milliseconds, whose peer asks for so many more (§3.3.2.1.3).
    #[inline(always)]
    #[must_use]
    pub const fn lifespan_with(&self, increment: u32) -> u32 {
        let asked = self.lifespan.saturating_add(increment);
        if asked < self.longest_lifespan { asked } else { self.longest_lifespan }
    }

    /// The MAC of the cookie at offset `at` of `frame`, which has `further` addresses besides its fixed part, as two words of the frame.
    /// It is for whoever has just written the rest.
    #[inline(always)]
    pub fn seal<F: Frame + ?Sized>(&self, frame: &F, at: usize, further: u8) -> Option<[u64; 2]> {
        // As below: a bound that no verifier loses.
        let at = at & 0x7fff;
        let fixed = frame.words::<FIXED_LENGTH>(at)?;
        let created = fixed.word::<40>().swap_bytes();
        let epoch = if self.epoch == 0 { 1 } else { self.epoch };
        let key = CookieSecret::new(self.secret).key(created / epoch);
        let (mac, _) = mac_within(&key, &fixed, frame, at, further)?;
        Some(mac.0.finish_128())
    }

    /// Checks the cookie in the COOKIE ECHO that `packet` begins with, before it costs the stack anything (§5.1.5 steps 1 to 3). `now` is
    /// the time of the system's monotonic clock in nanoseconds.
    ///
    /// The stack does it all again, and judges what this cannot: whether the address is one of the peer's, and what a cookie means for an
    /// association that exists.
    ///
    /// # Errors
    ///
    /// [`DropReason::BadCookie`] if we did not make it for this packet's ports and tag, or so long ago that the key is gone;
    /// [`DropReason::Truncated`] if the frame does not hold it.
    #[inline(always)]
    pub fn check<F: Frame + ?Sized>(&self, frame: &F, packet: &Decoded, now: u64) -> Result<Age, DropReason> {
        // No packet lies further back than that. Older verifiers lose the bound of an offset that has been compared, if the compiler keeps it
        // on the stack; this one they cannot lose.
        let at = (packet.first_chunk_at() + CHUNK_HEADER_LENGTH) & 0x7fff;
        let echoed = match packet.first_chunk() {
            Some(first) => usize::from(first.length),
            None => 0,
        };
        if echoed < CHUNK_HEADER_LENGTH + length(0) {
            return Err(DropReason::BadCookie);
        }
        let fixed = frame.words::<FIXED_LENGTH>(at).ok_or(DropReason::Truncated)?;
        let (start, tags) = (fixed.word::<0>(), fixed.word::<8>());
        let further = (start >> 8) as u8;
        let ports = (((start >> 32) as u16).swap_bytes(), ((start >> 48) as u16).swap_bytes());
        let is_packets = start as u8 == VERSION
            && usize::from(further) <= MAX_ADDRESSES
            && ports == (packet.destination_port, packet.source_port)
            && (tags as u32).swap_bytes() == packet.verification_tag;
        if !is_packets || echoed < CHUNK_HEADER_LENGTH + length(further) {
            return Err(DropReason::BadCookie);
        }
        let now = now.wrapping_sub(self.origin);
        let created = fixed.word::<40>().swap_bytes();
        let key = CookieSecret::new(self.secret).key_of(created, now, self.epoch).ok_or(DropReason::BadCookie)?;
        let (mac, at) = mac_within(&key, &fixed, frame, at, further).ok_or(DropReason::Truncated)?;
        if !mac.matches(&frame.read(at).ok_or(DropReason::Truncated)?) {
            return Err(DropReason::BadCookie);
        }
        let lifespan = u64::from((fixed.word::<48>() as u32).swap_bytes()) * 1_000_000;
        Ok(if now.saturating_sub(created) > lifespan { Age::Stale } else { Age::Fresh })
    }
}

/// The MAC over the cookie at offset `at` of `frame` with so many further addresses, and where it ends. `fixed` is its fixed part.
#[inline(always)]
fn mac_within<F: Frame + ?Sized>(
    key: &HashKey,
    fixed: &F::Words<FIXED_LENGTH>,
    frame: &F,
    at: usize,
    further: u8,
) -> Option<(Mac, usize)> {
    let mut mac = Mac(SipHash24::new_128(key)
        .word(fixed.word::<0>())
        .word(fixed.word::<8>())
        .word(fixed.word::<16>())
        .word(fixed.word::<24>())
        .word(fixed.word::<32>())
        .word(fixed.word::<40>())
        .word(fixed.word::<48>())
        .word(fixed.word::<56>())
        .word(fixed.word::<64>())
        .word(fixed.word::<72>())
        .word(fixed.word::<80>()));
    let mut at = at + FIXED_LENGTH;
    for place in 0..MAX_ADDRESSES {
        if place >= usize::from(further) {
            break;
        }
        mac = mac.address(&frame.read(at)?);
        at += ADDRESS_LENGTH;
    }
    Some((mac, at))
}

/// Whether a cookie is still good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// It is.
    Fresh,
    /// It is too old, which its sender has to be told (§5.1.5 step 3).
    Stale,
}

#[inline(always)]
const fn put<const N: usize>(bytes: &mut [u8; FIXED_LENGTH], at: usize, value: [u8; N]) {
    let mut offset = 0;
    while offset < N {
        bytes[at + offset] = value[offset];
        offset += 1;
    }
}

#[inline(always)]
const fn get<const N: usize>(bytes: &[u8; FIXED_LENGTH], at: usize) -> [u8; N] {
    let mut value = [0; N];
    let mut offset = 0;
    while offset < N {
        value[offset] = bytes[at + offset];
        offset += 1;
    }
    value
}
