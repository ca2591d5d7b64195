//! What the messages of a measurement contain: all of it follows from a seed and the message's sequence number, so that
//! the receiver can compare every byte without having seen what was sent.
//!
//! ```text
//!   octet 0               8                                          size
//!         +---------------+-------------------------------------------+
//!         | sequence (BE) | word 1 (LE) | word 2 (LE) | …   | cut off |
//!         +---------------+-------------------------------------------+
//! ```
//!
//! * The first 8 octets are the sequence number in network byte order, easy to find in a capture. A message shorter than
//!   that has no room for it: its octets are those of word 0, and it is recognised by its place in its stream.
//! * Word `i` is `w ^ (w >> 31)` with `w = base + i × 0x9E37_79B9_7F4A_7C15`: a Weyl sequence, whose start `base` is drawn
//!   from seed and sequence number by two rounds of SplitMix64. Words of one message never repeat, and two messages start
//!   at unrelated points, so that a fragment that went astray, was swapped, repeated or left out changes some octet. It is
//!   additions, shifts and exclusive-ors alone, which compilers turn into vector instructions: it costs less than
//!   copying the message does in the stack.
//! * The size of message `n` is drawn in the same way from the range asked for, and where mostly small ones are wanted first an
//!   octave of it: from `lowest × 2^k` to twice that. The first message has the lowest size and
//!   the second the highest, so that a short run has met both ends.
//! * Message `n` goes to stream `n mod streams`.

use bytes::{Bytes, BytesMut};

use crate::cli::values::SizeRange;

/// Octets of the sequence number at the start of a message that has room for it.
pub(crate) const SEQUENCE_LENGTH: usize = 8;

/// How much memory is taken at a time for messages to come.
const ARENA: usize = 256 << 10;

const WEYL: u64 = 0x9E37_79B9_7F4A_7C15;

/// Says what each message of a measurement is: its stream, its size and its octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// What everything follows from.
    pub(crate) seed: u64,
    /// Which sizes messages have.
    pub(crate) sizes: SizeRange,
    /// Over how many streams they go, in turn; at least one.
    pub(crate) streams: u16,
}

impl Content {
    /// The stream of message `sequence`.
    pub(crate) fn stream(&self, sequence: u64) -> u16 {
        (sequence % u64::from(self.streams)) as u16
    }

    /// The size of message `sequence` in bytes.
    pub(crate) fn size(&self, sequence: u64) -> usize {
        let SizeRange { lowest, highest, mostly_small } = self.sizes;
        if lowest == highest {
            return lowest;
        }
        let random = mix(self.base(sequence));
        let (from, to) = match sequence {
            0 => return lowest,
            1 => return highest,
            _ if mostly_small => self.octave(random >> 40),
            _ => (lowest, highest),
        };
        from + ((random & 0xff_ffff_ffff) % (to - from + 1) as u64) as usize
    }

    /// One of the parts that the sizes fall into when each begins at twice the size that the one before begins at: its first size
    /// and its last.
    fn octave(&self, random: u64) -> (usize, usize) {
        let SizeRange { lowest, highest, .. } = self.sizes;
        let octaves = u64::from((highest.div_ceil(lowest)).next_power_of_two().ilog2());
        let from = lowest << (random % octaves.max(1));
        (from, highest.min(2 * from - 1))
    }

    /// Writes the octets of message `sequence`; `buffer` has its size.
    pub(crate) fn fill(&self, sequence: u64, buffer: &mut [u8]) {
        let base = self.base(sequence);
        let (words, rest) = buffer.as_chunks_mut::<8>();
        for (index, octets) in words.iter_mut().enumerate() {
            *octets = word(base, index as u64).to_le_bytes();
        }
        let last = word(base, words.len() as u64).to_le_bytes();
        rest.copy_from_slice(&last[..rest.len()]);
        if let Some(first) = words.first_mut() {
            *first = sequence.to_be_bytes();
        }
    }

    /// Whether `payload` is message `sequence`: its size and every octet.
    pub(crate) fn matches(&self, sequence: u64, payload: &[u8]) -> bool {
        if payload.len() != self.size(sequence) {
            return false;
        }
        let base = self.base(sequence);
        let (words, rest) = payload.as_chunks::<8>();
        let mut wrong = 0;
        if let Some((first, words)) = words.split_first() {
            wrong = u64::from_be_bytes(*first) ^ sequence;
            for (index, octets) in words.iter().enumerate() {
                wrong |= u64::from_le_bytes(*octets) ^ word(base, index as u64 + 1);
            }
        }
        let last = word(base, words.len() as u64).to_le_bytes();
        wrong == 0 && *rest == last[..rest.len()]
    }

    fn base(&self, sequence: u64) -> u64 {
        mix(mix(self.seed).wrapping_add(sequence.wrapping_mul(WEYL)))
    }
}

/// The sequence number that a message carries; `None` when it is too short for one.
pub(crate) fn carried_sequence(payload: &[u8]) -> Option<u64> {
    payload.first_chunk::<SEQUENCE_LENGTH>().map(|octets| u64::from_be_bytes(*octets))
}

/// Makes messages one after the other, in memory that is taken in large pieces.
#[derive(Debug)]
pub(crate) struct Generator {
    content: Content,
    arena: BytesMut,
    /// Without verification: the octets that all messages are cut from.
    fixed: Option<Bytes>,
}

impl Generator {
    /// For `content`. Where nobody will look at it (`verified` is false) all messages share the same octets, which costs
    /// nothing to make.
    pub(crate) fn new(content: Content, verified: bool) -> Self {
        let fixed = (!verified).then(|| {
            let mut octets = vec![0; content.sizes.highest];
            content.fill(0, &mut octets);
            octets.into()
        });
        Self { content, arena: BytesMut::new(), fixed }
    }

    /// The payload of message `sequence`.
    pub(crate) fn payload(&mut self, sequence: u64) -> Bytes {
        let size = self.content.size(sequence);
        if let Some(fixed) = &self.fixed {
            return fixed.slice(..size);
        }
        if self.arena.capacity() < size {
            self.arena.reserve(size.max(ARENA));
        }
        self.arena.resize(size, 0);
        self.content.fill(sequence, &mut self.arena);
        self.arena.split_to(size).freeze()
    }
}

/// Word `index` of the message that starts at `base`.
fn word(base: u64, index: u64) -> u64 {
    let word = base.wrapping_add(index.wrapping_mul(WEYL));
    word ^ (word >> 31)
}

/// One round of SplitMix64.
fn mix(value: u64) -> u64 {
    let mut value = value.wrapping_add(WEYL);
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn content(lowest: usize, highest: usize) -> Content {
        Content { seed: 7, sizes: SizeRange { lowest, highest, mostly_small: false }, streams: 3 }
    }

    #[test]
    fn messages_carry_their_number() {
        let mut generator = Generator::new(content(8, 40), true);
        for sequence in 0..1000 {
            let payload = generator.payload(sequence);
            assert_eq!(carried_sequence(&payload), Some(sequence));
        }
        assert_eq!(carried_sequence(&[0; 7]), None);
    }

    #[test]
    fn content_depends_on_the_seed_and_the_number() {
        let mut buffers = [[0_u8; 24]; 3];
        let other = Content { seed: 8, ..content(24, 24) };
        content(24, 24).fill(5, &mut buffers[0]);
        content(24, 24).fill(6, &mut buffers[1]);
        other.fill(5, &mut buffers[2]);
        assert_ne!(buffers[0][8..], buffers[1][8..]);
        assert_ne!(buffers[0][8..], buffers[2][8..]);
    }

    #[test]
    fn words_of_a_message_do_not_repeat() {
        let mut message = vec![0; SizeRange::LARGEST];
        content(1, SizeRange::LARGEST).fill(1, &mut message);
        let mut words: Vec<_> = message.as_chunks::<8>().0.to_vec();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), SizeRange::LARGEST / 8);
    }

    #[test]
    fn the_content_is_what_the_documentation_says() {
        let content =
            Content { seed: 0, sizes: SizeRange { lowest: 19, highest: 19, mostly_small: false }, streams: 1 };
        let base = mix(mix(0).wrapping_add(WEYL.wrapping_mul(3)));
        let mut message = [0; 19];
        content.fill(3, &mut message);
        let weyl = |index: u64| base.wrapping_add(WEYL.wrapping_mul(index));
        assert_eq!(message[..8], 3_u64.to_be_bytes());
        assert_eq!(message[8..16], (weyl(1) ^ (weyl(1) >> 31)).to_le_bytes());
        assert_eq!(message[16..], (weyl(2) ^ (weyl(2) >> 31)).to_le_bytes()[..3]);
    }

    #[test]
    fn sizes_meet_both_ends_and_stay_within() {
        let content = content(10, 13);
        assert_eq!((content.size(0), content.size(1)), (10, 13));
        let mut seen = [0; 4];
        for sequence in 2..4002 {
            seen[content.size(sequence) - 10] += 1;
        }
        assert!(seen.iter().all(|&times| times > 800), "{seen:?}");
    }

    #[test]
    fn every_power_of_two_is_as_likely_where_small_messages_are_wanted() {
        let mut content = content(1, 65_536);
        content.sizes.mostly_small = true;
        assert_eq!((content.size(0), content.size(1)), (1, 65_536));
        let mut seen = [0; 16];
        for sequence in 2..16_002 {
            seen[content.size(sequence).ilog2() as usize] += 1;
        }
        assert!(seen.iter().all(|&times| times > 800), "{seen:?}");
    }

    #[test]
    fn streams_take_turns() {
        let streams: Vec<_> = (0..7).map(|sequence| content(1, 1).stream(sequence)).collect();
        assert_eq!(streams, [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn unverified_messages_have_the_right_sizes() {
        let content = content(1, 3000);
        let mut generator = Generator::new(content, false);
        for sequence in 0..100 {
            assert_eq!(generator.payload(sequence).len(), content.size(sequence));
        }
    }

    proptest! {
        #[test]
        fn what_is_made_is_recognised(
            seed: u64,
            sequence: u64,
            lowest in 1_usize..100,
            more in 0_usize..5000,
            mostly_small: bool,
        ) {
            let sizes = SizeRange { lowest, highest: lowest + more, mostly_small };
            let content = Content { seed, sizes, streams: 1 };
            prop_assert!((lowest..=lowest + more).contains(&content.size(sequence)));
            let payload = Generator::new(content, true).payload(sequence);
            prop_assert!(content.matches(sequence, &payload));
        }

        #[test]
        fn any_flipped_bit_is_seen(sequence: u64, size in 1_usize..200, bit: prop::sample::Index) {
            let content = content(size, size);
            let mut payload = Generator::new(content, true).payload(sequence).to_vec();
            let bit = bit.index(size * 8);
            payload[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!content.matches(sequence, &payload));
        }

        #[test]
        fn another_length_is_seen(sequence: u64, size in 2_usize..200) {
            let content = content(size, size);
            let payload = Generator::new(content, true).payload(sequence);
            prop_assert!(!content.matches(sequence, &payload[..size - 1]));
            let longer = [&payload[..], &[0]].concat();
            prop_assert!(!content.matches(sequence, &longer));
        }

        #[test]
        fn swapped_words_are_seen(sequence: u64, one in 0_usize..24, other in 0_usize..24) {
            prop_assume!(one != other);
            let content = content(200, 200);
            let mut payload = Generator::new(content, true).payload(sequence).to_vec();
            payload.as_chunks_mut::<8>().0.swap(one, other);
            prop_assert!(!content.matches(sequence, &payload));
        }
    }
}
