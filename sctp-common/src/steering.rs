//! Which worker a packet belongs to.
//!
//! Associations belong to workers, not to NIC queues. A worker that creates an association draws random verification
//! tags until [`Steering::owner`] maps one to itself; the XDP program computes the same function and so redirects every
//! packet of the association to the owner's socket, whichever path, queue or interface it came by. Peers see uniformly
//! random tags, because the hash is keyed and its key is secret.
//!
//! A packet that has no tag of ours yet (an INIT) is spread by its addresses and ports instead, so that a flood of INITs
//! loads all workers alike and retransmissions of one INIT meet the same worker.

use crate::siphash::{HashKey, SipHash24};

/// The function that both sides compute: a secret key and the number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steering {
    /// Key of the hash; secret, drawn at start, the same in the program and in every worker.
    pub key: HashKey,
    /// How many workers there are; 0 is taken as 1.
    pub workers: u16,
}

impl Steering {
    /// The worker (0 to `workers` − 1) that owns the local verification tag `tag`.
    #[inline(always)]
    #[must_use]
    pub const fn owner(&self, tag: u32) -> u16 {
        owner(tag, &self.key, self.workers)
    }

    /// The worker (0 to `workers` − 1) for a packet without an association, from both ends of its flow.
    #[inline(always)]
    #[must_use]
    pub const fn spread(&self, source: &End, destination: &End) -> u16 {
        spread(source, destination, &self.key, self.workers)
    }
}

/// One end of a packet's flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// IP address; IPv4 as IPv4-mapped IPv6 (`::ffff:a.b.c.d`).
    pub address: [u8; 16],
    /// SCTP port, host byte order.
    pub port: u16,
}

/// The worker among `workers` that owns the local verification tag `tag` (host byte order).
#[inline(always)]
#[must_use]
pub const fn owner(tag: u32, key: &HashKey, workers: u16) -> u16 {
    // One hash less for the many that have one.
    if workers <= 1 {
        return 0;
    }
    scale(SipHash24::new(key).finish(tag as u64, 4), workers)
}

/// The worker among `workers` for a packet from `source` to `destination` that has no association yet.
#[inline(always)]
#[must_use]
pub const fn spread(source: &End, destination: &End, key: &HashKey, workers: u16) -> u16 {
    if workers <= 1 {
        return 0;
    }
    let [a, b] = halves(&source.address);
    let [c, d] = halves(&destination.address);
    let ports = ((source.port as u64) << 16) | destination.port as u64;
    scale(SipHash24::new(key).word(a).word(b).word(c).word(d).finish(ports, 4), workers)
}

/// Maps a uniform hash to `0..count` by multiplication: no division, which BPF has only in its slow form, and no bias
/// that matters at 32 bits.
#[inline(always)]
const fn scale(hash: u64, count: u16) -> u16 {
    (((hash >> 32) * count as u64) >> 32) as u16
}

#[inline(always)]
const fn halves(address: &[u8; 16]) -> [u64; 2] {
    let value = u128::from_le_bytes(*address);
    [value as u64, (value >> 64) as u64]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::siphash;

    const KEY: HashKey = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];

    fn end(last: u8, port: u16) -> End {
        End { address: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, last], port }
    }

    #[test]
    fn tags_spread_evenly_over_workers() {
        for workers in [1_u16, 2, 3, 5, 8, 64] {
            let mut share = vec![0_u32; usize::from(workers)];
            let tags = 20_000_u32;
            for tag in 1..=tags {
                share[usize::from(owner(tag, &KEY, workers))] += 1;
            }
            let fair = tags / u32::from(workers);
            assert!(share.iter().all(|&n| n > fair * 3 / 4 && n < fair * 5 / 4), "{workers} workers: {share:?}");
        }
    }

    #[test]
    fn no_workers_counts_as_one() {
        assert_eq!(owner(77, &KEY, 0), 0);
    }

    #[test]
    fn the_flow_hash_is_siphash_over_addresses_then_ports() {
        let (source, destination) = (end(1, 5001), end(2, 5002));
        let mut bytes = Vec::new();
        bytes.extend(source.address);
        bytes.extend(destination.address);
        bytes.extend(((u32::from(source.port) << 16) | u32::from(destination.port)).to_le_bytes());
        let expected = ((siphash::hash(&KEY, &bytes) >> 32) * 1000) >> 32;
        assert_eq!(u64::from(spread(&source, &destination, &KEY, 1000)), expected);
    }

    #[test]
    fn each_part_of_the_flow_matters() {
        let base = spread(&end(1, 5001), &end(2, 5002), &KEY, u16::MAX);
        assert_ne!(base, spread(&end(3, 5001), &end(2, 5002), &KEY, u16::MAX));
        assert_ne!(base, spread(&end(1, 5003), &end(2, 5002), &KEY, u16::MAX));
        assert_ne!(base, spread(&end(1, 5001), &end(3, 5002), &KEY, u16::MAX));
        assert_ne!(base, spread(&end(1, 5001), &end(2, 5003), &KEY, u16::MAX));
    }

    proptest! {
        #[test]
        fn a_worker_is_always_in_range(tag: u32, key: [u64; 2], workers in 1_u16..) {
            prop_assert!(owner(tag, &key, workers) < workers);
            prop_assert_eq!(Steering { key, workers }.owner(tag), owner(tag, &key, workers));
        }
    }
}
