//! A digest of everything that was sent or received, which both ends compute and which must agree.
//!
//! SCTP keeps the order of messages within a stream and not between streams, so one running digest over all messages would
//! differ from run to run. Instead each stream has a SHA-256 of its own, over the length (32 bits, big-endian) and the octets of
//! each of its messages in order; at the end one SHA-256 goes over number (16 bits), message count (64 bits) and digest of each
//! stream that was used, by ascending number.
//!
//! Unordered messages have no order at all. They are hashed one by one (stream, length, octets), and the hashes are added
//! up as 256-bit numbers, which sees a message that is missing, changed or there twice.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// The final digest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest(pub(crate) [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How the messages of a measurement are digested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DigestKind {
    /// Not at all: they are only counted.
    None,
    /// Each stream in its order.
    Ordered,
    /// As a set.
    Unordered,
}

/// Takes in messages and gives a [`Digest`].
#[derive(Debug)]
pub(crate) enum Digester {
    /// See [`DigestKind::None`].
    None,
    /// A running hash and the number of messages of each stream, by number.
    Ordered(Vec<Option<(Sha256, u64)>>),
    /// The sum, least significant limb first.
    Unordered([u64; 4]),
}

impl Digester {
    /// Starts a digest of this kind.
    pub(crate) fn new(kind: DigestKind) -> Self {
        match kind {
            DigestKind::None => Self::None,
            DigestKind::Ordered => Self::Ordered(Vec::new()),
            DigestKind::Unordered => Self::Unordered([0; 4]),
        }
    }

    /// Adds a message that came, or went, in one piece or in several.
    pub(crate) fn add<'a>(&mut self, stream: u16, length: usize, parts: impl IntoIterator<Item = &'a [u8]>) {
        match self {
            Self::None => {}
            Self::Ordered(streams) => {
                let index = usize::from(stream);
                if streams.len() <= index {
                    streams.resize(index + 1, None);
                }
                let (hash, messages) = streams[index].get_or_insert_with(|| (Sha256::new(), 0));
                hash.update((length as u32).to_be_bytes());
                parts.into_iter().for_each(|part| hash.update(part));
                *messages += 1;
            }
            Self::Unordered(sum) => {
                let mut hash = Sha256::new();
                hash.update(stream.to_be_bytes());
                hash.update((length as u32).to_be_bytes());
                parts.into_iter().for_each(|part| hash.update(part));
                add(sum, &hash.finalize().into());
            }
        }
    }

    /// The digest of all messages so far; `None` for [`DigestKind::None`].
    pub(crate) fn finish(&self) -> Option<Digest> {
        match self {
            Self::None => None,
            Self::Ordered(streams) => {
                let mut whole = Sha256::new();
                for (number, stream) in streams.iter().enumerate() {
                    if let Some((hash, messages)) = stream {
                        whole.update((number as u16).to_be_bytes());
                        whole.update(messages.to_be_bytes());
                        whole.update(hash.clone().finalize());
                    }
                }
                Some(Digest(whole.finalize().into()))
            }
            Self::Unordered(sum) => {
                let mut octets = [0; 32];
                for (octets, limb) in octets.as_chunks_mut::<8>().0.iter_mut().zip(sum) {
                    *octets = limb.to_le_bytes();
                }
                Some(Digest(octets))
            }
        }
    }
}

/// One digest for several associations, in their order; the digest itself if it is one.
pub(crate) fn combine(digests: &[Digest]) -> Option<Digest> {
    match digests {
        [] => None,
        [one] => Some(*one),
        several => {
            let mut whole = Sha256::new();
            several.iter().for_each(|digest| whole.update(digest.0));
            Some(Digest(whole.finalize().into()))
        }
    }
}

/// Adds a hash to the sum modulo 2^256.
fn add(sum: &mut [u64; 4], hash: &[u8; 32]) {
    let mut carry = false;
    for (limb, octets) in sum.iter_mut().zip(hash.as_chunks::<8>().0) {
        (*limb, carry) = limb.carrying_add(u64::from_le_bytes(*octets), carry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(kind: DigestKind, messages: &[(u16, &[u8])]) -> Digest {
        let mut digester = Digester::new(kind);
        for (stream, payload) in messages {
            digester.add(*stream, payload.len(), [*payload]);
        }
        digester.finish().unwrap()
    }

    const ORDERED: DigestKind = DigestKind::Ordered;
    const UNORDERED: DigestKind = DigestKind::Unordered;

    #[test]
    fn order_counts_within_a_stream_and_not_between_streams() {
        let one = digest(ORDERED, &[(0, b"a"), (1, b"x"), (0, b"b")]);
        assert_eq!(one, digest(ORDERED, &[(1, b"x"), (0, b"a"), (0, b"b")]));
        assert_ne!(one, digest(ORDERED, &[(0, b"b"), (1, b"x"), (0, b"a")]));
    }

    #[test]
    fn order_does_not_count_for_unordered_messages() {
        let one = digest(UNORDERED, &[(0, b"a"), (0, b"b"), (1, b"c")]);
        assert_eq!(one, digest(UNORDERED, &[(1, b"c"), (0, b"b"), (0, b"a")]));
        assert_ne!(one, digest(UNORDERED, &[(0, b"c"), (0, b"b"), (0, b"a")]));
        assert_ne!(one, digest(UNORDERED, &[(0, b"a"), (0, b"b"), (1, b"c"), (1, b"c")]));
        assert_ne!(one, digest(UNORDERED, &[(0, b"a"), (1, b"c")]));
    }

    #[test]
    fn borders_between_messages_count() {
        for kind in [ORDERED, UNORDERED] {
            assert_ne!(digest(kind, &[(0, b"ab"), (0, b"c")]), digest(kind, &[(0, b"a"), (0, b"bc")]));
            assert_ne!(digest(kind, &[(0, b"ab")]), digest(kind, &[(1, b"ab")]));
        }
    }

    #[test]
    fn fragments_do_not_count() {
        for kind in [ORDERED, UNORDERED] {
            let mut digester = Digester::new(kind);
            digester.add(3, 5, [&b"he"[..], &b"llo"[..]]);
            assert_eq!(digester.finish(), Some(digest(kind, &[(3, b"hello")])));
        }
    }

    #[test]
    fn the_digest_is_what_the_documentation_says() {
        let stream = Sha256::new().chain_update([0, 0, 0, 2]).chain_update(b"hi").finalize();
        let whole =
            Sha256::new().chain_update([0, 9]).chain_update(1_u64.to_be_bytes()).chain_update(stream).finalize();
        let digest = digest(ORDERED, &[(9, b"hi")]);
        assert_eq!(digest.0, <[u8; 32]>::from(whole));
        assert_eq!(digest.to_string().len(), 64);
    }

    #[test]
    fn sums_carry() {
        let mut sum = [u64::MAX, u64::MAX, u64::MAX, 5];
        let mut one = [0; 32];
        one[0] = 1;
        add(&mut sum, &one);
        assert_eq!(sum, [0, 0, 0, 6]);
    }

    #[test]
    fn nothing_gives_no_digest() {
        assert_eq!(Digester::new(DigestKind::None).finish(), None);
        assert_eq!(combine(&[]), None);
        let digest = digest(ORDERED, &[]);
        assert_eq!(combine(&[digest]), Some(digest));
        assert_ne!(combine(&[digest, digest]), Some(digest));
    }
}
