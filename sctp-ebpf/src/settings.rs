//! Globals, which userspace sets when it loads the program. The verifier takes them for constants.

use aya_ebpf::Global;
use sctp_common::judge::ChecksumPolicy;
use sctp_common::limit::Rate;
use sctp_common::maps::{TagKey, policy};
use sctp_common::near;
use sctp_common::siphash::HashKey;
use sctp_common::steering::Steering;

/// How many workers there are.
#[unsafe(no_mangle)]
static WORKERS: Global<u32> = Global::new(1);

/// How many buckets of tags there are.
#[unsafe(no_mangle)]
static TAG_BUCKET_COUNT: Global<u32> = Global::new(TAG_BUCKETS);

/// Key of the steering hash.
#[unsafe(no_mangle)]
static HASH_KEY: Global<HashKey> = Global::new([0; 2]);

/// Bits of `sctp_common::maps::policy`.
#[unsafe(no_mangle)]
static POLICY: Global<u32> = Global::new(0);

/// The longest SCTP packet that is verified before it is redirected.
#[unsafe(no_mangle)]
static VERIFY_UP_TO: Global<u32> = Global::new(u32::MAX);

/// Our UDP encapsulation port, or 0.
#[unsafe(no_mangle)]
static UDP_PORT: Global<u32> = Global::new(0);

/// Rate of answers of each CPU.
#[unsafe(no_mangle)]
static ANSWERS_PER_CPU: Global<[u64; 2]> = Global::new(Rate::ANSWERS_PER_CPU.to_global());

/// Rate of answers of each CPU to one source prefix.
#[unsafe(no_mangle)]
static ANSWERS_PER_PREFIX: Global<[u64; 2]> = Global::new(Rate::ANSWERS_PER_PREFIX.to_global());

/// Rate of INITs that go to workers from each CPU before they are answered here.
#[unsafe(no_mangle)]
static INITS_PER_CPU: Global<[u64; 2]> = Global::new(Rate::INITS_PER_CPU.to_global());

/// Rate of samples of each CPU.
#[unsafe(no_mangle)]
static SAMPLES_PER_CPU: Global<[u64; 2]> = Global::new(Rate::SAMPLES_PER_CPU.to_global());

/// How many queues have counters of their own.
#[unsafe(no_mangle)]
static QUEUES: Global<u32> = Global::new(0);

/// The function that maps tags and new flows to workers.
#[inline(always)]
pub(crate) fn steering() -> Steering {
    Steering { key: HASH_KEY.load(), workers: workers() as u16 }
}

/// How many buckets of tags there are, unless userspace sets another number.
pub(crate) const TAG_BUCKETS: u32 = 1 << 15;

/// Which bucket `key` belongs to.
#[inline(always)]
pub(crate) fn bucket_of(key: &TagKey) -> u32 {
    near::bucket_of(key, &HASH_KEY.load(), TAG_BUCKET_COUNT.load())
}

/// Which of `places` places the bucket of `prefix` has. Nobody outside knows which prefixes meet.
#[inline(always)]
pub(crate) fn place_of_prefix(prefix: u64, places: u32) -> u32 {
    let [first, last] = HASH_KEY.load();
    let hash = (prefix ^ last).wrapping_mul(first | 1) >> 32;
    ((hash * u64::from(places)) >> 32) as u32
}

/// How many workers there are, each with a socket on every queue.
#[inline(always)]
pub(crate) fn workers() -> u32 {
    WORKERS.load()
}

/// Bits of `sctp_common::maps::policy`.
#[inline(always)]
pub(crate) fn policy() -> u32 {
    POLICY.load()
}

/// Our UDP encapsulation port; 0 if what comes in UDP is none of our business.
#[inline(always)]
pub(crate) fn udp_port() -> u16 {
    UDP_PORT.load() as u16
}

/// Which packets' checksums are computed.
#[inline(always)]
pub(crate) fn checksum_policy() -> ChecksumPolicy {
    ChecksumPolicy::from_globals(policy(), VERIFY_UP_TO.load())
}

/// Rate of answers of each CPU.
#[inline(always)]
pub(crate) fn answers_per_cpu() -> Rate {
    Rate::from_global(ANSWERS_PER_CPU.load())
}

/// Rate of answers of each CPU to one source prefix.
#[inline(always)]
pub(crate) fn answers_per_prefix() -> Rate {
    Rate::from_global(ANSWERS_PER_PREFIX.load())
}

/// Rate of INITs that go to workers from each CPU before they are answered here.
#[inline(always)]
pub(crate) fn inits_per_cpu() -> Rate {
    Rate::from_global(INITS_PER_CPU.load())
}

/// Rate of samples of each CPU.
#[inline(always)]
pub(crate) fn samples_per_cpu() -> Rate {
    Rate::from_global(SAMPLES_PER_CPU.load())
}

/// How many queues have counters of their own.
#[inline(always)]
pub(crate) fn queues() -> u32 {
    QUEUES.load()
}

/// Whether workers answer packets out of the blue.
#[inline(always)]
pub(crate) fn workers_answer() -> bool {
    policy() & policy::WORKERS_ANSWER != 0
}

/// Whether packets out of the blue are never answered.
#[inline(always)]
pub(crate) fn is_silent() -> bool {
    policy() & policy::SILENT != 0
}
