//! The compiled XDP program.
//!
//! The build script compiles the package `sctp-ebpf` for the BPF target; what it needs for that is installed by
//! `cargo xtask setup`. Maps and globals of the object are described in `sctp_common::maps`.

/// The program's ELF object, aligned so that it can be parsed in place.
pub static OBJECT: &[u8] = &ALIGNED.bytes;

/// Name of the XDP program in [`OBJECT`].
pub const PROGRAM: &str = "sctp_xdp";

static ALIGNED: &Aligned<[u8]> =
    &Aligned { _alignment: [], bytes: *include_bytes!(concat!(env!("OUT_DIR"), "/sctp-ebpf")) };

/// `bytes` at an address that is a multiple of eight.
#[repr(C)]
struct Aligned<Bytes: ?Sized> {
    _alignment: [u64; 0],
    bytes: Bytes,
}

#[cfg(test)]
mod tests {
    use sctp_common::maps::{globals, names};

    use super::*;

    #[test]
    fn the_object_is_an_aligned_elf_file() {
        assert_eq!(OBJECT[..4], *b"\x7fELF");
        assert_eq!(OBJECT.as_ptr() as usize % 8, 0);
    }

    #[test]
    fn the_object_holds_every_name_that_userspace_asks_for() {
        let wanted = [
            PROGRAM,
            names::PORTS,
            names::TAG_BUCKETS,
            names::TAGS,
            names::PEERS,
            names::HEARTBEATS,
            names::ADDRESSES,
            names::ADDRESS_GENERATION,
            names::COOKIES,
            names::XSKS,
            names::COUNTERS,
            names::WATCH,
            names::DROPS,
            names::SAMPLING,
            globals::WORKERS,
            globals::HASH_KEY,
            globals::TAG_BUCKET_COUNT,
            globals::POLICY,
            globals::VERIFY_UP_TO,
            globals::ANSWERS_PER_CPU,
            globals::ANSWERS_PER_PREFIX,
            globals::SAMPLES_PER_CPU,
            globals::QUEUES,
            globals::LOG_LEVEL,
        ];
        for name in wanted {
            let terminated = format!("{name}\0");
            let found = OBJECT.windows(terminated.len()).any(|window| window == terminated.as_bytes());
            assert!(found, "no symbol {name}");
        }
    }
}
