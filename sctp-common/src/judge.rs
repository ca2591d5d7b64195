//! The steps from a decoded packet to the worker that owns it.
//!
//! The XDP program takes them with its maps behind [`Tables`]; a test, or a datapath without XDP, with ordinary
//! collections. In order:
//!
//! 1. [`decode`](crate::frame::decode) finds the SCTP packet in the frame;
//! 2. [`find_association`] looks up the verification tag, if the packet is to a port of ours;
//! 3. [`ChecksumPolicy::accept`] compares the CRC32c, which is computed only for packets that have an owner, or leaves that
//!    to the owner;
//! 4. the packet goes to its owner.
//!
//! A packet that no association claims by its tag takes a longer way: [`admit`] lets packets to other ports go to the kernel, and
//! [`find_claim`] applies the rules for packets out of the blue. Who it finds gets the packet by steps 3 and 4; if it finds nobody, the
//! packet may have to be answered: see [`Claim::Nobody`].

#[cfg(test)]
mod tests;

use crate::frame::{Addresses, ChunkHead, Decoded, Frame};
use crate::maps::{PeerEntry, PeerKey, PortEntry, TagEntry, TagKey, TagKind, policy};
use crate::metadata::{Checksum, NO_SLOT};
use crate::reply::Answer;
use crate::rules::{self, Contents, ExpectedTag, OutOfTheBlue};
use crate::steering::{End, Steering};
use crate::udp;
use crate::verdict::{AnswerReason, DropReason, PassReason, RedirectReason, Verdict};
use crate::wire::CHUNK_HEADER_LENGTH;

/// What the judgement needs to know of this host's endpoints.
pub trait Tables {
    /// What is known of our port `port`; the default entry for a port that is not ours.
    fn port(&self, port: u16) -> PortEntry;

    /// The association that `key`'s tag belongs to.
    fn tag(&self, key: &TagKey) -> Option<TagEntry>;

    /// Who has an association with the peer.
    fn peer(&self, key: &PeerKey) -> Option<PeerEntry>;

    /// Whether `address` (IPv4 as IPv4-mapped IPv6) is one of our own.
    fn is_ours(&self, address: &[u8; 16]) -> bool;
}

/// Whose a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// How the owner was found.
    pub reason: RedirectReason,
    /// The worker.
    pub worker: u16,
    /// The association's slot in the worker's endpoint, or [`NO_SLOT`].
    pub slot: u32,
    /// The slot's generation; 0 without a slot.
    pub generation: u32,
}

impl Owner {
    #[inline(always)]
    pub(crate) const fn of(reason: RedirectReason, TagEntry { slot, generation, worker }: TagEntry) -> Self {
        Self { reason, worker: worker as u16, slot, generation }
    }

    /// The worker that answers a packet which [nobody](Claim::Nobody) claims: see [`policy::WORKERS_ANSWER`]. Tags are as good as
    /// random, so that all workers share the work.
    #[inline(always)]
    #[must_use]
    pub fn to_answer(packet: &Decoded, steering: &Steering) -> Self {
        Self::without_slot(RedirectReason::ToBeAnswered, steering.owner(packet.verification_tag))
    }

    /// `worker`, which is to look for the association itself.
    #[inline(always)]
    #[must_use]
    pub const fn without_slot(reason: RedirectReason, worker: u16) -> Self {
        Self { reason, worker, slot: NO_SLOT, generation: 0 }
    }
}

/// Who claims a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A worker.
    Owner(Owner),
    /// Nobody, and its sender is to be told so once the checksum has been [verified](ChecksumPolicy::verify), as often as
    /// the [rates](crate::limit::Rate) allow, unless this host is [silent](policy::SILENT); by a worker where
    /// [workers answer](policy::WORKERS_ANSWER).
    Nobody(Answer),
}

/// Admits packets to ports that are ours.
///
/// # Errors
///
/// [`PassReason::PortNotOwned`], or [`PassReason::Transit`] in UDP; for port 0, which nobody can own, [`DropReason::PortZero`] if the destination address is
/// ours.
#[inline(always)]
pub fn admit<T: Tables>(packet: &Decoded, addresses: &Addresses, tables: &T) -> Result<PortEntry, Verdict> {
    let port = tables.port(packet.destination_port);
    if port.is_owned() {
        return Ok(port);
    }
    // What comes to our encapsulation port is nobody else's: the kernel would answer with ICMP, port unreachable.
    if packet.in_udp {
        let ours = tables.is_ours(&addresses.destination);
        return if ours { Ok(PortEntry::owned(false)) } else { Err(PassReason::Transit.into()) };
    }
    if packet.destination_port == 0 && tables.is_ours(&addresses.destination) {
        return Err(DropReason::PortZero.into());
    }
    Err(PassReason::PortNotOwned.into())
}

/// The owner of the association whose verification tag a packet to a port of ours carries.
///
/// No address is looked at: a tag of ours on a port of ours is proof enough. `None` if the tag is nobody's, or the packet is one that no
/// tag makes acceptable.
#[inline(always)]
pub fn find_association<T: Tables>(packet: &Decoded, tables: &T) -> Option<Owner> {
    let (_, expected) = well_formed_and_tagged(packet).ok()?;
    let key = TagKey::new(packet.destination_port, expected.of_association()?, packet.verification_tag);
    Some(Owner::of(RedirectReason::Association, tables.tag(&key)?))
}

/// What [`find_claim`] finds, in one number, for a function that gives no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedClaim(pub u64);

impl PackedClaim {
    const OWNER: u64 = 1 << 62;
    const NOBODY: u64 = 1 << 63;

    /// Packs it. Owners that [`find_claim`] finds have no slot.
    #[inline(always)]
    #[must_use]
    pub const fn new(found: Result<Claim, Verdict>) -> Self {
        Self(match found {
            Ok(Claim::Owner(Owner { reason, worker, .. })) => Self::OWNER | (reason as u64) << 16 | worker as u64,
            Ok(Claim::Nobody(answer)) => Self::NOBODY | answer.pack(),
            Err(verdict) => verdict.index() as u64,
        })
    }

    /// The claim, or the verdict's index.
    ///
    /// # Errors
    ///
    /// The index of the verdict on a packet that nobody claims and nobody answers.
    #[inline(always)]
    pub const fn unpack(self) -> Result<Claim, u32> {
        if self.0 & Self::OWNER != 0 {
            let reason = RedirectReason::at((self.0 >> 16) as u16 as u32);
            Ok(Claim::Owner(Owner::without_slot(reason, self.0 as u16)))
        } else if self.0 & Self::NOBODY != 0 {
            Ok(Claim::Nobody(Answer::unpack(self.0 & !Self::NOBODY)))
        } else {
            Err(self.0 as u32)
        }
    }
}

/// Who claims a packet: [`admit`], [`find_association`] and [`find_claim`] in one, for whoever need not be quick.
///
/// # Errors
///
/// As theirs.
pub fn claim<F, T>(
    frame: &F,
    packet: &Decoded,
    addresses: &Addresses,
    tables: &T,
    steering: &Steering,
) -> Result<Claim, Verdict>
where
    F: Frame + ?Sized,
    T: Tables,
{
    let port = admit(packet, addresses, tables)?;
    if let Some(owner) = find_association(packet, tables) {
        return Ok(Claim::Owner(owner));
    }
    let contents = || Contents::of(frame, packet.sctp_offset.into(), packet.sctp_len.into());
    find_claim(frame, packet, addresses, port, tables, steering, contents)
}

/// Finds out whose a packet to a port of ours is that no association [claims by its tag](find_association).
///
/// Whatever comes to an address that is not ours is in transit and none of our business, sound or not.
///
/// `contents` walks the packet's chunks ([`Contents::of`]); it is called at most once, and only for packets with more than one chunk.
///
/// # Errors
///
/// The verdict on a packet that no worker should see and nobody answers.
#[inline(always)]
pub fn find_claim<F, T>(
    frame: &F,
    packet: &Decoded,
    addresses: &Addresses,
    port: PortEntry,
    tables: &T,
    steering: &Steering,
    contents: impl FnOnce() -> Contents,
) -> Result<Claim, Verdict>
where
    F: Frame + ?Sized,
    T: Tables,
{
    if !tables.is_ours(&addresses.destination) {
        let unicast = rules::is_unicast(&addresses.destination);
        return Err(if unicast { PassReason::Transit.into() } else { DropReason::NonUnicast.into() });
    }
    let (first, _) = well_formed_and_tagged(packet)?;
    match rules::out_of_the_blue(addresses, first) {
        OutOfTheBlue::Init if port.is_listening() => {
            Ok(Claim::Owner(Owner::without_slot(RedirectReason::Init, spread(packet, addresses, steering))))
        }
        OutOfTheBlue::Init => uninvited(frame, packet, addresses, first, tables),
        OutOfTheBlue::CookieEcho => {
            Ok(Claim::Owner(Owner::without_slot(RedirectReason::CookieEcho, steering.owner(packet.verification_tag))))
        }
        OutOfTheBlue::Other => {
            let contents = Contents::of_only(first, packet.sctp_len.into()).unwrap_or_else(contents);
            by_contents(packet, addresses, contents, tables)
        }
        OutOfTheBlue::Silent(reason) => Err(reason.into()),
    }
}

/// An INIT to a port that nobody listens on: the peer of an association may send one, to restart it or because both ends
/// begin at once (RFC 9260 §5.2.1, §5.2.2). Anybody else is refused, with the tag that the INIT names (§8.4, 3).
#[inline(always)]
fn uninvited<F, T>(
    frame: &F,
    packet: &Decoded,
    addresses: &Addresses,
    first: ChunkHead,
    tables: &T,
) -> Result<Claim, Verdict>
where
    F: Frame + ?Sized,
    T: Tables,
{
    if let Some(PeerEntry { worker }) = tables.peer(&peer_key(packet, addresses)) {
        return Ok(Claim::Owner(Owner::without_slot(RedirectReason::Init, worker as u16)));
    }
    if usize::from(first.length) < CHUNK_HEADER_LENGTH + INITIATE_TAG_LENGTH {
        return Err(DropReason::NotListening.into());
    }
    let tag = frame.read(packet.first_chunk_at() + CHUNK_HEADER_LENGTH).ok_or(DropReason::Truncated)?;
    match u32::from_be_bytes(tag) {
        0 => Err(DropReason::NotListening.into()),
        tag => Ok(Claim::Nobody(Answer { reason: AnswerReason::Refused, tag })),
    }
}

/// A packet whose tag nobody has, judged by all its chunks.
#[inline(always)]
fn by_contents<T: Tables>(
    packet: &Decoded,
    addresses: &Addresses,
    contents: Contents,
    tables: &T,
) -> Result<Claim, Verdict> {
    let tag = packet.verification_tag;
    if contents.has_reflected_abort()
        && let Some(entry) = tables.tag(&TagKey::new(packet.destination_port, TagKind::Peer, tag))
    {
        return Ok(Claim::Owner(Owner::without_slot(RedirectReason::Association, entry.worker as u16)));
    }
    if let Some(PeerEntry { worker }) = tables.peer(&peer_key(packet, addresses)) {
        // It is known which association the packet belongs to, so it is not out of the blue but discarded (§8.5), unless it is a
        // SHUTDOWN ACK and the association is only being set up (§8.5.1 E), which its worker knows.
        return if contents.has_shutdown_ack() {
            Ok(Claim::Owner(Owner::without_slot(RedirectReason::ShutdownAck, worker as u16)))
        } else {
            Err(DropReason::BadTag.into())
        };
    }
    Ok(Claim::Nobody(Answer { reason: contents.answer()?, tag }))
}

/// Bytes of the Initiate Tag, the first field of an INIT (RFC 9260 §3.3.2).
const INITIATE_TAG_LENGTH: usize = 4;

/// The verdict on a first fragment for us, which no step goes on with: it is dropped unless the bits of [`policy`] say otherwise. Other
/// verdicts stay.
#[inline(always)]
#[must_use]
pub const fn leave_fragments(verdict: Verdict, bits: u32) -> Verdict {
    match verdict {
        Verdict::Drop(DropReason::Fragment) if bits & policy::PASS_FRAGMENTS != 0 => {
            Verdict::Pass(PassReason::Fragment)
        }
        verdict => verdict,
    }
}

/// Which packets' CRC32c (RFC 9260 §6.8) is computed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChecksumPolicy {
    /// A field of zero is good enough: see [`policy::TRUSTED_LINK`].
    pub trusted_link: bool,
    /// The longest packet that is verified before it is redirected: see
    /// [`VERIFY_UP_TO`](crate::maps::globals::VERIFY_UP_TO).
    pub verify_up_to: u32,
}

impl ChecksumPolicy {
    /// The policy that the program's globals say, `bits` being those of [`policy`].
    #[inline(always)]
    #[must_use]
    pub const fn from_globals(bits: u32, verify_up_to: u32) -> Self {
        Self { trusted_link: bits & policy::TRUSTED_LINK != 0, verify_up_to }
    }

    /// Accepts the checksum of a packet that somebody is going to receive, who verifies it if this does not.
    ///
    /// A field of zero is looked into at any length: it nearly always means that the sender left it to "offload", which is
    /// counted apart.
    ///
    /// # Errors
    ///
    /// As [`verify`](Self::verify).
    #[inline(always)]
    pub fn accept(self, packet: &Decoded, compute: impl FnOnce() -> Option<u32>) -> Result<Checksum, DropReason> {
        if packet.checksum != 0 && u32::from(packet.sctp_len) > self.verify_up_to {
            return Ok(Checksum::NotChecked);
        }
        self.verify(packet, compute)
    }

    /// Looks at the UDP header of a packet for us that came in UDP (RFC 6951): port and checksum. `sum` computes the ones'-complement sum over
    /// UDP header and payload ([`udp::sum`]), `None` if the packet cannot be read to its end; of packets longer than
    /// [`verify_up_to`](Self::verify_up_to) whoever receives them computes it. `frame` is the frame in which the packet was found.
    ///
    /// "If the computed checksum is zero, it is transmitted as all ones … An all zero transmitted checksum value means that the transmitter
    /// generated no checksum" (RFC 768), which IPv6 does not allow (RFC 8200 §8.1) and RFC 6951 §5.3 makes no exception for. On a trusted
    /// link a checksum that is there is not looked at, for a sender on this machine leaves it, too, to "offload".
    ///
    /// # Errors
    ///
    /// [`DropReason::UdpPortZero`], [`DropReason::UdpZeroChecksum`], [`DropReason::UdpChecksum`].
    #[inline(always)]
    pub fn verify_udp<F: Frame + ?Sized>(
        self,
        frame: &F,
        packet: &Decoded,
        sum: impl FnOnce() -> Option<u16>,
    ) -> Result<(), DropReason> {
        let header = packet.udp(frame).ok_or(DropReason::Truncated)?;
        if header.source_port == 0 {
            return Err(DropReason::UdpPortZero);
        }
        if header.checksum == 0 {
            return if packet.is_ipv4 { Ok(()) } else { Err(DropReason::UdpZeroChecksum) };
        }
        if self.trusted_link || u32::from(packet.sctp_len) > self.verify_up_to {
            return Ok(());
        }
        let addresses = packet.addresses(frame).ok_or(DropReason::Truncated)?;
        let sum = sum().ok_or(DropReason::Truncated)?;
        if udp::is_right(packet, &addresses, sum) { Ok(()) } else { Err(DropReason::UdpChecksum) }
    }

    /// The same policy for packets that are answered: all are verified.
    #[inline(always)]
    #[must_use]
    pub const fn thorough(self) -> Self {
        Self { verify_up_to: u32::MAX, ..self }
    }

    /// Compares a packet's checksum field with the CRC32c computed over it, as must be done before it is answered.
    ///
    /// `compute` is not called where a field of zero is good enough. It gives `None` if the packet cannot be read to its
    /// end.
    ///
    /// # Errors
    ///
    /// [`DropReason::ZeroChecksum`] for a wrong checksum that is zero, [`DropReason::Checksum`] for any other.
    #[inline(always)]
    pub fn verify(self, packet: &Decoded, compute: impl FnOnce() -> Option<u32>) -> Result<Checksum, DropReason> {
        if packet.checksum == 0 && self.trusted_link {
            return Ok(Checksum::Trusted);
        }
        let computed = compute().ok_or(DropReason::Truncated)?;
        if computed == packet.checksum {
            Ok(Checksum::Verified)
        } else if packet.checksum == 0 {
            Err(DropReason::ZeroChecksum)
        } else {
            Err(DropReason::Checksum)
        }
    }
}

#[inline(always)]
fn well_formed_and_tagged(packet: &Decoded) -> Result<(ChunkHead, ExpectedTag), DropReason> {
    let first = rules::well_formed(packet)?;
    let expected = rules::expected_tag(packet.verification_tag, first, usize::from(packet.sctp_len))?;
    Ok((first, expected))
}

#[inline(always)]
const fn peer_key(packet: &Decoded, addresses: &Addresses) -> PeerKey {
    PeerKey::new(addresses.source, packet.source_port, packet.destination_port)
}

#[inline(always)]
fn spread(packet: &Decoded, addresses: &Addresses, steering: &Steering) -> u16 {
    let source = End { address: addresses.source, port: packet.source_port };
    let destination = End { address: addresses.destination, port: packet.destination_port };
    steering.spread(&source, &destination)
}
