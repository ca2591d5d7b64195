//! The INIT ACK with its State Cookie.
//!
//! ```text
//!   0  +-------------------------------+
//!      | common header                 |  tag: the Initiate Tag of the INIT
//!  12  +-------------------------------+
//!      | INIT ACK, fixed fields        |
//!  32  +-------------------------------+
//!      | State Cookie, type and length |
//!  36  | fixed part                    |
//! 124  | further addresses of the peer |
//!      | MAC                           |
//!      +-------------------------------+
//!      | our addresses                 |  if we have more than one
//!      | ECN Capable                   |  if both sides are
//!      | Unrecognized Parameter …      |
//!      +-------------------------------+
//! ```

use super::{Announced, INIT_LENGTH, IPV4, IPV6, Keep, MAX_LISTED, MAX_REPORTS, MAX_SCTP_LENGTH, Offer, Walk};
use crate::cookie::{ADDRESS_LENGTH, Cookie, CookieSettings, FIXED_LENGTH, MAC_LENGTH, flags, length};
use crate::crc32c::packet_checksum;
use crate::frame::{Addresses, Decoded, Frame};
use crate::judge::Tables;
use crate::maps::{TagKey, TagKind};
use crate::reply;
use crate::siphash::{HashKey, SipHash24};
use crate::wire::{CHUNK_HEADER_LENGTH, COMMON_HEADER_LENGTH, PARAMETER_HEADER_LENGTH, chunk, parameter as kind};

/// The fixed fields of an INIT (§3.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Init {
    /// Initiate Tag, not 0.
    pub tag: u32,
    /// a_rwnd in bytes, at least 1500.
    pub window: u32,
    /// OS, not 0.
    pub outbound_streams: u16,
    /// MIS, not 0.
    pub inbound_streams: u16,
    /// Initial TSN.
    pub tsn: u32,
}

impl Init {
    /// "The Advertised Receiver Window Credit MUST NOT be smaller than 1500" (§3.3.2).
    const LEAST_WINDOW: u32 = 1500;

    /// Reads those of the INIT that `packet` begins with. `None` if they are not all there, or one has a value that it must not have, and
    /// which is to be answered otherwise.
    #[inline(always)]
    pub fn read<F: Frame + ?Sized>(frame: &F, packet: &Decoded) -> Option<Self> {
        let bytes: [u8; INIT_LENGTH - CHUNK_HEADER_LENGTH] =
            frame.read(packet.first_chunk_at() + CHUNK_HEADER_LENGTH)?;
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let streams = word(8);
        let init = Self {
            tag: word(0),
            window: word(4),
            outbound_streams: (streams >> 16) as u16,
            inbound_streams: streams as u16,
            tsn: word(12),
        };
        let is_sound = init.tag != 0
            && init.window >= Self::LEAST_WINDOW
            && init.outbound_streams != 0
            && init.inbound_streams != 0;
        if is_sound { Some(init) } else { None }
    }
}

/// What is drawn at random for an association: our tag and our Initial TSN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// Our tag.
    pub tag: u32,
    /// Our Initial TSN.
    pub tsn: u32,
}

impl Draw {
    /// Draws by a secret `key`, from the time in nanoseconds, a number that need not be unpredictable, and the INIT.
    //= RFC 9260 §3.3.3: "the Initial TSN SHOULD be set to a random value in that range"
    //= RFC 9260 §5.3.1: "Initiate Tag values SHOULD be selected from the range of 1 to 2^32 - 1."
    #[inline(always)]
    #[must_use]
    pub const fn new(key: &HashKey, time: u64, number: u32, packet: &Decoded, tag: u32) -> Self {
        let ports = (packet.source_port as u64) << 16 | packet.destination_port as u64;
        let drawn = SipHash24::new(key).word(time).word((number as u64) << 32 | ports).finish(tag as u64, 4);
        Self { tag: drawn as u32, tsn: (drawn >> 32) as u32 }
    }

    /// Whether the tag can be used on `port`: it is neither 0 nor that of an association which there is.
    //= RFC 9260 §3.3.3: "The Initiate Tag MUST NOT take the value 0."
    #[inline(always)]
    pub fn is_usable<T: Tables>(self, port: u16, tables: &T) -> bool {
        self.tag != 0 && tables.tag(&TagKey::new(port, TagKind::Local, self.tag)).is_none()
    }
}

/// Words before the State Cookie's value.
const HEAD_WORDS: usize = (COMMON_HEADER_LENGTH + INIT_LENGTH + PARAMETER_HEADER_LENGTH) / 4;

/// Offset of the State Cookie's value in the packet.
const COOKIE_AT: usize = HEAD_WORDS * 4;

/// Words of an ECN Capable parameter.
const ECN_CAPABLE: u32 = (kind::ECN_CAPABLE as u32) << 16 | PARAMETER_HEADER_LENGTH as u32;

/// An INIT ACK that is about to be written: how long it is, and what is where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Further addresses of the peer in the cookie.
    pub further: u8,
    /// Which of the lists of [`Announced`] it has.
    pub list: u8,
    /// Bytes of that list.
    pub list_length: u8,
    /// Whether it has an ECN Capable parameter.
    pub ecn: bool,
    /// Bytes of the reports at its end, padding included.
    pub reports: u8,
    /// Bytes of padding at its end.
    pub padding: u8,
}

impl Ack {
    /// The answer to the INIT of `packet` that is what `walk` says. `None` if only a worker can give it.
    #[inline(always)]
    #[must_use]
    pub fn new(packet: &Decoded, walk: Walk, offer: &Offer, lengths: &[u32; 4]) -> Option<Self> {
        let kept = walk.kept();
        let further = if kept > usize::from(offer.further) { usize::from(offer.further) } else { kept };
        let list = walk.usable(if packet.is_ipv4 { IPV4 } else { IPV6 });
        let list_length = match list {
            1 => lengths[1],
            2 => lengths[2],
            _ => lengths[3],
        };
        if offer.window == 0 || further > MAX_LISTED || list_length > Announced::MAX_LENGTH as u32 {
            return None;
        }
        let ack = Self {
            further: further as u8,
            list: list as u8,
            list_length: list_length as u8,
            ecn: walk.0 & Walk::ECN != 0 && offer.flags & flags::ECN != 0,
            reports: walk.reports() as u8,
            padding: walk.padding() as u8,
        };
        if usize::from(ack.reports) > MAX_REPORTS || ack.sctp_length() > MAX_SCTP_LENGTH { None } else { Some(ack) }
    }

    /// All of it in one number that is not 0, for a function that is called with registers alone.
    #[inline(always)]
    #[must_use]
    pub const fn pack(self) -> u64 {
        self.further as u64
            | (self.list as u64) << 8
            | (self.list_length as u64) << 16
            | (self.reports as u64) << 24
            | (self.padding as u64) << 32
            | (self.ecn as u64) << 40
            | 1 << 48
    }

    /// What was [packed](Self::pack).
    #[inline(always)]
    #[must_use]
    pub const fn unpack(packed: u64) -> Self {
        Self {
            further: packed as u8,
            list: (packed >> 8) as u8,
            list_length: (packed >> 16) as u8,
            reports: (packed >> 24) as u8,
            padding: (packed >> 32) as u8,
            ecn: packed >> 40 & 1 != 0,
        }
    }

    /// Whether there is more than headers, fixed fields and the cookie's fixed part and MAC.
    #[inline(always)]
    #[must_use]
    pub const fn has_more(&self) -> bool {
        self.further != 0 || self.list_length != 0 || self.ecn || self.reports != 0
    }

    /// Offset of the cookie's MAC in the packet.
    #[inline(always)]
    #[must_use]
    pub const fn mac_at(&self) -> usize {
        self.list_at() - MAC_LENGTH
    }

    /// Bytes of the packet, common header and padding included.
    #[inline(always)]
    #[must_use]
    pub const fn sctp_length(&self) -> usize {
        self.reports_at() + self.reports as usize
    }

    /// Offset of the cookie's value in the packet.
    pub const COOKIE_AT: usize = COOKIE_AT;

    /// Offset of the peer's further addresses in the packet.
    pub const FURTHER_AT: usize = COOKIE_AT + FIXED_LENGTH;

    /// Offset of our addresses in the packet: behind the cookie.
    #[inline(always)]
    #[must_use]
    pub const fn list_at(&self) -> usize {
        COOKIE_AT + length(self.further)
    }

    /// Offset of the ECN Capable parameter in the packet, if there is one.
    #[inline(always)]
    #[must_use]
    pub const fn ecn_at(&self) -> usize {
        self.list_at() + self.list_length as usize
    }

    /// The ECN Capable parameter.
    pub const ECN: u32 = ECN_CAPABLE;

    /// Offset of the reports in the packet.
    #[inline(always)]
    #[must_use]
    pub const fn reports_at(&self) -> usize {
        self.ecn_at() + if self.ecn { PARAMETER_HEADER_LENGTH } else { 0 }
    }

    /// What comes before the cookie, with a checksum of zero.
    //= RFC 9260 §5.1: ""Z" MUST set the Verification Tag field to Tag_A and also provide its own Verification
    //= Tag (Tag_Z) in the Initiate Tag field"
    #[inline(always)]
    #[must_use]
    pub fn head(&self, packet: &Decoded, init: &Init, offer: &Offer, drawn: Draw) -> [u32; HEAD_WORDS] {
        let chunk_length = self.sctp_length() - COMMON_HEADER_LENGTH - usize::from(self.padding);
        [
            u32::from(packet.destination_port) << 16 | u32::from(packet.source_port),
            init.tag,
            0,
            u32::from(chunk::INIT_ACK) << 24 | chunk_length as u32,
            drawn.tag,
            offer.window,
            u32::from(least(offer.outbound_streams, init.inbound_streams)) << 16 | u32::from(offer.inbound_streams),
            drawn.tsn,
            u32::from(kind::STATE_COOKIE) << 16 | (PARAMETER_HEADER_LENGTH + length(self.further)) as u32,
        ]
    }

    /// The cookie's fixed part. `created` is the stack's time in nanoseconds, `lifespan` is in milliseconds.
    #[inline(always)]
    #[must_use]
    pub fn cookie(
        &self,
        packet: &Decoded,
        addresses: &Addresses,
        init: &Init,
        offer: &Offer,
        drawn: Draw,
        [created, lifespan]: [u64; 2],
    ) -> [u32; FIXED_LENGTH / 4] {
        let cookie = Cookie {
            addresses: self.further,
            flags: if self.ecn { flags::ECN } else { 0 },
            local_port: packet.destination_port,
            peer_port: packet.source_port,
            local_tag: drawn.tag,
            peer_tag: init.tag,
            // There is no association.
            local_tie_tag: 0,
            peer_tie_tag: 0,
            local_initial_tsn: drawn.tsn,
            peer_initial_tsn: init.tsn,
            peer_window: init.window,
            outbound_streams: least(offer.outbound_streams, init.inbound_streams),
            inbound_streams: least(init.outbound_streams, offer.inbound_streams),
            created,
            lifespan: lifespan as u32,
            source: addresses.source,
            destination: addresses.destination,
        };
        cookie.words()
    }

    /// How long the cookie lives, in milliseconds.
    #[inline(always)]
    #[must_use]
    pub const fn lifespan(walk: Walk, settings: &CookieSettings) -> u64 {
        settings.lifespan_with(walk.increment()) as u64
    }
}

#[inline(always)]
const fn least(one: u16, other: u16) -> u16 {
    if one < other { one } else { other }
}

/// What an INIT is answered with besides what it says.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// How cookies are made.
    pub settings: &'a CookieSettings,
    /// What the listener offers.
    pub offer: &'a Offer,
    /// Our addresses.
    pub announced: &'a Announced,
    /// The time of the system's monotonic clock, in nanoseconds.
    pub now: u64,
    /// A number that need not be unpredictable.
    pub number: u32,
}

/// Answers the INIT in `question`: writes the frame that goes back to `out`, and gives its length. `None` if only a worker can answer it.
///
/// The XDP program takes the same steps, on the frame itself.
pub fn answer<T: Tables>(
    question: &[u8],
    packet: &Decoded,
    tables: &T,
    terms: &Terms<'_>,
    out: &mut [u8],
) -> Option<usize> {
    let Terms { settings, offer, announced, now, number } = *terms;
    let addresses = packet.addresses(question)?;
    let mut kept = Kept::default();
    let step = |at, head, walk| super::parameter(question, packet, at, head, walk, tables, &mut kept);
    let walk = super::read(question, packet, &addresses, tables, step);
    let init = Init::read(question, packet)?;
    if !walk.is_answerable() {
        return None;
    }
    let ack = Ack::new(packet, walk, offer, &announced.lengths)?;
    let drawn = Draw::new(&settings.draws, now, number, packet, init.tag);
    if !drawn.is_usable(packet.destination_port, tables) {
        return None;
    }
    let l3 = usize::from(packet.l3_offset);
    let header: &[u32] = if packet.is_ipv4 {
        &reply::ipv4_header(&addresses, ack.sctp_length())
    } else {
        &reply::ipv6_header(&addresses, ack.sctp_length())
    };
    let at = l3 + header.len() * 4;
    let frame = out.get_mut(..at + ack.sctp_length())?;
    frame[..l3].copy_from_slice(&question[..l3]);
    frame[..12].copy_from_slice(&reply::ethernet(question.read(0)?)?);
    let created = settings.time(now);
    let cookie = ack.cookie(packet, &addresses, &init, offer, drawn, [created, Ack::lifespan(walk, settings)]);
    write(frame, l3, header);
    write(frame, at, &ack.head(packet, &init, offer, drawn));
    write(frame, at + COOKIE_AT, &cookie);
    for (place, address) in kept.addresses.iter().take(ack.further.into()).enumerate() {
        frame[at + Ack::FURTHER_AT + place * ADDRESS_LENGTH..][..ADDRESS_LENGTH].copy_from_slice(address);
    }
    let mac = settings.seal(&*frame, at + COOKIE_AT, ack.further)?;
    for (place, word) in mac.iter().enumerate() {
        frame[at + ack.mac_at() + place * 8..][..8].copy_from_slice(&word.to_le_bytes());
    }
    let list = announced.lists[usize::from(ack.list)].get(..ack.list_length.into())?;
    frame[at + ack.list_at()..][..list.len()].copy_from_slice(list);
    if ack.ecn {
        write(frame, at + ack.ecn_at(), &[Ack::ECN]);
    }
    frame[at + ack.reports_at()..].copy_from_slice(&kept.reports[..ack.reports.into()]);
    let checksum = packet_checksum(&*frame, at, ack.sctp_length())?;
    frame[at + 8..at + 12].copy_from_slice(&checksum.to_le_bytes());
    Some(frame.len())
}

fn write(frame: &mut [u8], at: usize, words: &[u32]) {
    for (to, word) in frame[at..].as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *to = word.to_be_bytes();
    }
}

/// What is kept of an INIT.
#[derive(Debug)]
struct Kept {
    addresses: [[u8; ADDRESS_LENGTH]; MAX_LISTED],
    reports: [u8; MAX_REPORTS],
}

impl Default for Kept {
    fn default() -> Self {
        Self { addresses: Default::default(), reports: [0; MAX_REPORTS] }
    }
}

impl Keep for Kept {
    fn address(&self, place: usize) -> [u8; 16] {
        self.addresses[place]
    }

    fn keep_address(&mut self, place: usize, address: [u8; 16]) {
        self.addresses[place] = address;
    }

    fn keep_report(&mut self, at: usize, word: [u8; 4]) {
        self.reports[at..at + 4].copy_from_slice(&word);
    }
}
