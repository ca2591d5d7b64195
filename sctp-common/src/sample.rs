//! Samples of dropped packets, which the program gives to userspace while somebody looks.
//!
//! A counter says how often a packet was dropped for a reason; a sample shows such a packet: its first bytes, where it came by, when. Nothing is
//! sampled unless the map [`WATCH`](crate::maps::names::WATCH) says so, until a time that whoever looks has to put off again and again; so one
//! that dies leaves nothing switched on. Of what is asked for, each CPU gives no more than a [`Rate`](crate::limit::Rate), so that a flood
//! costs little more than its drops; the rest is counted.

use crate::verdict::{DropReason, Verdict};

/// Bytes of a frame that a sample holds at most: Ethernet with a VLAN tag, IPv6, the common header, and the beginning of the chunks.
pub const CAPTURED: usize = 128;

/// Value of the map [`WATCH`](crate::maps::names::WATCH): which drops are wanted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Until when, in nanoseconds of the monotonic clock; 0 while nobody looks.
    pub until: u64,
    /// A bit for each reason that is wanted, in the order of [`DropReason::ALL`].
    pub reasons: u64,
}

impl Watch {
    /// Bytes of one value.
    pub const SIZE: usize = 16;

    /// The bit of a reason.
    #[must_use]
    pub const fn bit(reason: DropReason) -> u64 {
        1 << reason as u64
    }

    /// Whether the drop whose verdict has this [index](Verdict::index) is wanted.
    #[inline(always)]
    #[must_use]
    pub const fn wants(self, index: u32) -> bool {
        self.reasons >> (index.wrapping_sub(FIRST_DROP) & 63) & 1 != 0
    }

    /// The value as the map holds it.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::SIZE] {
        two(self.until, self.reasons)
    }
}

/// The index of the first of the drops.
const FIRST_DROP: u32 = Verdict::Drop(DropReason::ALL[0]).index();
const _: () = assert!(DropReason::ALL.len() <= 64);

/// Value of the map [`SAMPLING`](crate::maps::names::SAMPLING): what one CPU knows of its sampling.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sampling {
    /// Until when its bucket is spent ([`Rate::take`](crate::limit::Rate::take)).
    pub spent: u64,
    /// How many drops that were wanted it has left out, since there were too many or nobody had read the earlier ones.
    pub left_out: u64,
}

impl Sampling {
    /// Bytes of one value.
    pub const SIZE: usize = 16;

    /// The value from the map's bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Self {
            spent: u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            left_out: u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
        }
    }
}

/// What the ring [`DROPS`](crate::maps::names::DROPS) carries: one dropped frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it was dropped, in nanoseconds of the monotonic clock.
    pub time: u64,
    /// The index of the interface that it came by.
    pub interface: u32,
    /// The queue.
    pub queue: u32,
    /// Bytes of the frame, as far as they lie in one piece of memory.
    pub length: u32,
    /// How many of them are in `frame`: an even number, at most [`CAPTURED`].
    pub captured: u16,
    /// Why: [`Verdict::index`].
    pub verdict: u16,
    /// The beginning of the frame; what lies beyond `captured` means nothing.
    pub frame: [u8; CAPTURED],
}

impl Sample {
    /// Bytes of the struct.
    pub const SIZE: usize = HEADER + CAPTURED;

    /// The sample from the ring's bytes; `None` if they are none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::SIZE] = bytes.try_into().ok()?;
        let (&time, rest) = bytes.split_first_chunk()?;
        let (&interface, rest) = rest.split_first_chunk()?;
        let (&queue, rest) = rest.split_first_chunk()?;
        let (&length, rest) = rest.split_first_chunk()?;
        let (&captured, rest) = rest.split_first_chunk()?;
        let (&verdict, frame) = rest.split_first_chunk()?;
        let sample = Self {
            time: u64::from_ne_bytes(time),
            interface: u32::from_ne_bytes(interface),
            queue: u32::from_ne_bytes(queue),
            length: u32::from_ne_bytes(length),
            captured: u16::from_ne_bytes(captured),
            verdict: u16::from_ne_bytes(verdict),
            frame: frame.try_into().ok()?,
        };
        (usize::from(sample.captured) <= CAPTURED && sample.reason().is_some()).then_some(sample)
    }

    /// Why the frame was dropped.
    #[must_use]
    pub fn reason(&self) -> Option<DropReason> {
        match Verdict::from_index(self.verdict.into()) {
            Some(Verdict::Drop(reason)) => Some(reason),
            _ => None,
        }
    }

    /// The beginning of the frame.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.frame[..usize::from(self.captured).min(CAPTURED)]
    }
}

const HEADER: usize = 24;

const fn two(first: u64, second: u64) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h] = first.to_ne_bytes();
    let [i, j, k, l, m, n, o, p] = second.to_ne_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structs_have_no_padding() {
        assert_eq!(size_of::<Watch>(), Watch::SIZE);
        assert_eq!(size_of::<Sampling>(), Sampling::SIZE);
        assert_eq!(size_of::<Sample>(), Sample::SIZE);
        assert_eq!(core::mem::offset_of!(Sample, frame), HEADER);
    }

    #[test]
    fn a_watch_wants_what_it_names_and_nothing_else() {
        for wanted in DropReason::ALL {
            let watch = Watch { until: 1, reasons: Watch::bit(*wanted) };
            for verdict in Verdict::all().filter(|verdict| verdict.action() == "drop") {
                assert_eq!(watch.wants(verdict.index()), verdict == Verdict::Drop(*wanted), "{wanted:?}, {verdict:?}");
            }
        }
        assert!(!Watch::default().wants(FIRST_DROP));
    }

    #[test]
    fn bytes_become_a_sample_or_nothing() {
        let mut bytes = [0_u8; Sample::SIZE];
        let checksum = Verdict::Drop(DropReason::Checksum).index() as u16;
        bytes[..8].copy_from_slice(&7_u64.to_ne_bytes());
        bytes[8..12].copy_from_slice(&3_u32.to_ne_bytes());
        bytes[12..16].copy_from_slice(&1_u32.to_ne_bytes());
        bytes[16..20].copy_from_slice(&1500_u32.to_ne_bytes());
        bytes[20..22].copy_from_slice(&4_u16.to_ne_bytes());
        bytes[22..24].copy_from_slice(&checksum.to_ne_bytes());
        bytes[24..28].copy_from_slice(&[9, 8, 7, 6]);
        let sample = Sample::from_bytes(&bytes).unwrap();
        assert_eq!((sample.time, sample.interface, sample.queue, sample.length), (7, 3, 1, 1500));
        assert_eq!((sample.reason(), sample.bytes()), (Some(DropReason::Checksum), &[9, 8, 7, 6][..]));
        assert_eq!(Sample::from_bytes(&bytes[1..]), None);
        bytes[20..22].copy_from_slice(&129_u16.to_ne_bytes());
        assert_eq!(Sample::from_bytes(&bytes), None, "longer than there is room");
        bytes[20..24].copy_from_slice(&[0; 4]);
        assert_eq!(Sample::from_bytes(&bytes), None, "no drop");
    }

    #[test]
    fn values_follow_the_order_of_the_fields() {
        let bytes = Watch { until: 1, reasons: 2 }.to_bytes();
        assert_eq!((&bytes[..8], &bytes[8..]), (&1_u64.to_ne_bytes()[..], &2_u64.to_ne_bytes()[..]));
        assert_eq!(Sampling::from_bytes(bytes), Sampling { spent: 1, left_out: 2 });
    }
}
