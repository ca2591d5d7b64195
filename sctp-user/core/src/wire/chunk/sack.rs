//! SACK, [RFC 9260 §3.3.4].
//!
//! [RFC 9260 §3.3.4]: https://www.rfc-editor.org/rfc/rfc9260#section-3.3.4
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |   Type = 3    |  Chunk Flags  |         Chunk Length          |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                      Cumulative TSN Ack                       |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |          Advertised Receiver Window Credit (a_rwnd)           |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Number of Gap Ack Blocks = N  |  Number of Duplicate TSNs = M |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |    Gap Ack Block #1 Start     |     Gap Ack Block #1 End      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! /                                                               /
//! \                              ...                              \
//! /                                                               /
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |    Gap Ack Block #N Start     |     Gap Ack Block #N End      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                        Duplicate TSN 1                        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! /                                                               /
//! \                              ...                              \
//! /                                                               /
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                        Duplicate TSN M                        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use core::fmt;
use core::iter::{Copied, FusedIterator};
use core::slice;

use super::{ChunkError, ChunkType, u16_at, u32_at};
use crate::serial::Tsn;
use crate::wire::{Emit, RawChunk, Sink};

/// Bytes before the first Gap Ack Block.
const FIXED_LENGTH: usize = 16;
/// Bytes of a Gap Ack Block, and of a Duplicate TSN.
const ENTRY_LENGTH: usize = 4;

/// A SACK. Its lists are any iterators of known length that can be cloned: those over a received packet
/// ([`ReceivedSack`]), or over whatever the association keeps when it sends one, so that no list is built in between.
///
/// ```
/// use sctp_core::serial::Tsn;
/// use sctp_core::wire::{GapAckBlock, Sack};
///
/// let gaps = [GapAckBlock { start: 2, end: 3 }, GapAckBlock { start: 5, end: 5 }];
/// let sack = Sack {
///     cumulative_tsn_ack: Tsn(12),
///     a_rwnd: 4660,
///     gap_ack_blocks: gaps.iter().copied(),
///     duplicate_tsns: std::iter::empty(),
/// };
/// assert_eq!(sack.to_string(), "SACK cum=12 a_rwnd=4660 gaps=[14-15, 17-17] duplicates=0");
/// ```
#[derive(Clone)]
pub struct Sack<G, D> {
    /// "The largest TSN, such that all TSNs smaller than or equal to it have been received".
    pub cumulative_tsn_ack: Tsn,
    /// Free space in the receiver's buffer, in bytes.
    pub a_rwnd: u32,
    /// What was received beyond a gap.
    pub gap_ack_blocks: G,
    /// TSNs that came more often than once since the last SACK, once for each time.
    pub duplicate_tsns: D,
}

/// A SACK in a received packet.
pub type ReceivedSack<'a> = Sack<GapAckBlocks<'a>, DuplicateTsns<'a>>;

/// A run of TSNs that were received, as offsets from the Cumulative TSN Ack, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GapAckBlock {
    /// "\[T\]he lowest TSN in this Gap Ack Block" minus the Cumulative TSN Ack; at least 2 in a SACK that makes sense.
    pub start: u16,
    /// "\[T\]he highest TSN in this Gap Ack Block" minus the Cumulative TSN Ack; not below `start`.
    pub end: u16,
}

/// The Gap Ack Blocks of a received SACK, in the order in which they came.
#[derive(Clone, Debug)]
pub struct GapAckBlocks<'a>(Copied<slice::Iter<'a, [u8; ENTRY_LENGTH]>>);

/// The Duplicate TSNs of a received SACK.
#[derive(Clone, Debug)]
pub struct DuplicateTsns<'a>(Copied<slice::Iter<'a, [u8; ENTRY_LENGTH]>>);

impl GapAckBlock {
    /// The lowest and the highest TSN of the block in a SACK with this Cumulative TSN Ack. `None` when the block makes no
    /// sense: it ends before it starts, or starts at the Cumulative TSN Ack ("all TSNs acknowledged by Gap Ack Blocks
    /// are greater than the value of the Cumulative TSN Ack").
    #[inline]
    #[must_use]
    pub fn tsns(self, cumulative_tsn_ack: Tsn) -> Option<(Tsn, Tsn)> {
        let sensible = self.start != 0 && self.start <= self.end;
        sensible.then(|| (cumulative_tsn_ack + u32::from(self.start), cumulative_tsn_ack + u32::from(self.end)))
    }

    /// How many TSNs are in the block; zero when it makes no sense.
    #[inline]
    #[must_use]
    pub const fn count(self) -> u32 {
        if self.start == 0 || self.start > self.end { 0 } else { (self.end - self.start) as u32 + 1 }
    }
}

impl<'a> ReceivedSack<'a> {
    /// Reads a SACK. The two counts must account for the whole chunk.
    ///
    /// # Errors
    ///
    /// [`ChunkError::BadLength`].
    #[inline]
    pub fn parse(raw: RawChunk<'a>) -> Result<Self, ChunkError> {
        let (head, lists) = raw.at_least::<FIXED_LENGTH>()?;
        let blocks = usize::from(u16_at(head, 12));
        let duplicates = usize::from(u16_at(head, 14));
        let (entries, rest) = lists.as_chunks();
        if !rest.is_empty() || entries.len() != blocks + duplicates {
            return Err(raw.bad_length(FIXED_LENGTH + (blocks + duplicates) * ENTRY_LENGTH));
        }
        let (blocks, duplicates) = entries.split_at(blocks);
        Ok(Self {
            cumulative_tsn_ack: Tsn(u32_at(head, 4)),
            a_rwnd: u32_at(head, 8),
            gap_ack_blocks: GapAckBlocks(blocks.iter().copied()),
            duplicate_tsns: DuplicateTsns(duplicates.iter().copied()),
        })
    }
}

impl<G, D> Emit for Sack<G, D>
where
    G: ExactSizeIterator<Item = GapAckBlock> + Clone,
    D: ExactSizeIterator<Item = Tsn> + Clone,
{
    #[inline]
    fn length(&self) -> usize {
        FIXED_LENGTH + (self.gap_ack_blocks.len() + self.duplicate_tsns.len()) * ENTRY_LENGTH
    }

    #[inline]
    fn emit(&self, out: &mut Sink<'_>) {
        let length = self.length();
        let mut head = [0; FIXED_LENGTH];
        head[0] = ChunkType::SACK.0;
        head[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        head[4..8].copy_from_slice(&self.cumulative_tsn_ack.get().to_be_bytes());
        head[8..12].copy_from_slice(&self.a_rwnd.to_be_bytes());
        head[12..14].copy_from_slice(&(self.gap_ack_blocks.len() as u16).to_be_bytes());
        head[14..16].copy_from_slice(&(self.duplicate_tsns.len() as u16).to_be_bytes());
        out.array(head);
        for block in self.gap_ack_blocks.clone() {
            out.u32((u32::from(block.start) << 16) | u32::from(block.end));
        }
        for tsn in self.duplicate_tsns.clone() {
            out.u32(tsn.get());
        }
    }
}

impl Iterator for GapAckBlocks<'_> {
    type Item = GapAckBlock;

    #[inline]
    fn next(&mut self) -> Option<GapAckBlock> {
        self.0.next().map(|bytes| GapAckBlock { start: u16_at(&bytes, 0), end: u16_at(&bytes, 2) })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for GapAckBlocks<'_> {}
impl FusedIterator for GapAckBlocks<'_> {}

impl Iterator for DuplicateTsns<'_> {
    type Item = Tsn;

    #[inline]
    fn next(&mut self) -> Option<Tsn> {
        self.0.next().map(|bytes| Tsn(u32::from_be_bytes(bytes)))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for DuplicateTsns<'_> {}
impl FusedIterator for DuplicateTsns<'_> {}

impl<G, D, G2, D2> PartialEq<Sack<G2, D2>> for Sack<G, D>
where
    G: Iterator<Item = GapAckBlock> + Clone,
    G2: Iterator<Item = GapAckBlock> + Clone,
    D: Iterator<Item = Tsn> + Clone,
    D2: Iterator<Item = Tsn> + Clone,
{
    fn eq(&self, other: &Sack<G2, D2>) -> bool {
        self.cumulative_tsn_ack == other.cumulative_tsn_ack
            && self.a_rwnd == other.a_rwnd
            && self.gap_ack_blocks.clone().eq(other.gap_ack_blocks.clone())
            && self.duplicate_tsns.clone().eq(other.duplicate_tsns.clone())
    }
}

impl<G, D> fmt::Display for Sack<G, D>
where
    G: Iterator<Item = GapAckBlock> + Clone,
    D: Iterator<Item = Tsn> + Clone,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SACK cum={} a_rwnd={} gaps=[", self.cumulative_tsn_ack, self.a_rwnd)?;
        for (at, block) in self.gap_ack_blocks.clone().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            match block.tsns(self.cumulative_tsn_ack) {
                Some((first, last)) => write!(f, "{separator}{first}-{last}")?,
                None => write!(f, "{separator}bad +{}-+{}", block.start, block.end)?,
            }
        }
        write!(f, "] duplicates={}", self.duplicate_tsns.clone().count())
    }
}

impl<G, D> fmt::Debug for Sack<G, D>
where
    G: Iterator<Item = GapAckBlock> + Clone,
    D: Iterator<Item = Tsn> + Clone,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Chunk;
    use crate::wire::tests::{emitted, parsed};

    /// The example of §3.3.4 with a duplicate.
    const BYTES: [u8; 28] = [
        3, 0, 0, 28, 0, 0, 0, 12, 0, 0, 0x12, 0x34, 0, 2, 0, 1, //
        0, 2, 0, 3, 0, 5, 0, 5, 0xff, 0xff, 0xff, 0xfe,
    ];
    const GAPS: [GapAckBlock; 2] = [GapAckBlock { start: 2, end: 3 }, GapAckBlock { start: 5, end: 5 }];

    //= test RFC 9260 §3.3.4: "the parameter part of the SACK chunk MUST be constructed as follows"
    //= test RFC 9260 §3.3.4: "The SACK chunk MUST contain the Cumulative TSN Ack, Advertised Receiver Window Credit
    //= (a_rwnd), Number of Gap Ack Blocks, and Number of Duplicate TSNs fields."
    #[test]
    fn the_example_of_the_rfc_and_back() {
        let sack = Sack {
            cumulative_tsn_ack: Tsn(12),
            a_rwnd: 4660,
            gap_ack_blocks: GAPS.into_iter(),
            duplicate_tsns: [Tsn(u32::MAX - 1)].into_iter(),
        };
        assert_eq!(emitted(&sack), BYTES);
        let Ok(Chunk::Sack(received)) = parsed(&BYTES) else { panic!("not a SACK") };
        assert!(received == sack);
        assert_eq!(received.to_string(), "SACK cum=12 a_rwnd=4660 gaps=[14-15, 17-17] duplicates=1");
        assert_eq!(received.gap_ack_blocks.len(), 2);
        assert_eq!(received.duplicate_tsns.len(), 1);
    }

    #[test]
    fn counts_must_account_for_the_chunk() {
        let error =
            |expected| Err(ChunkError::BadLength { chunk_type: ChunkType::SACK, offset: 12, length: 28, expected });
        for (blocks, duplicates) in [(0, 0), (1, 1), (3, 1), (2, 2), (0xff, 0xff)] {
            let mut bytes = BYTES;
            bytes[13] = blocks;
            bytes[15] = duplicates;
            assert_eq!(parsed(&bytes), error(16 + 4 * (usize::from(blocks) + usize::from(duplicates))));
        }
        let mut bytes = BYTES;
        bytes[3] = 27;
        assert!(parsed(&bytes).is_err());
    }

    #[test]
    fn blocks_that_make_no_sense_have_no_tsns() {
        let cumulative = Tsn(u32::MAX);
        assert_eq!(GapAckBlock { start: 2, end: 4 }.tsns(cumulative), Some((Tsn(1), Tsn(3))));
        assert_eq!(GapAckBlock { start: 2, end: 4 }.count(), 3);
        assert_eq!(GapAckBlock { start: 1, end: u16::MAX }.count(), 65535);
        for block in [GapAckBlock { start: 0, end: 4 }, GapAckBlock { start: 5, end: 4 }] {
            assert_eq!(block.tsns(cumulative), None);
            assert_eq!(block.count(), 0);
        }
    }
}
