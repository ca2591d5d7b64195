//! The fuzz targets of whole endpoints (`tests/fuzz`), without a fuzzer: over the inputs that are kept, which are what once found
//! something and what fuzzing begins with, and over random bytes.

#![expect(unreachable_pub, reason = "targets are public in their own crate")]

#[path = "../../../tests/fuzz/src/association.rs"]
mod association;
#[path = "../../../tests/fuzz/src/cookie.rs"]
mod cookie;
#[path = "../../../tests/fuzz/src/forge.rs"]
mod forge;
#[path = "../../../tests/fuzz/src/host.rs"]
mod host;
#[path = "../../../tests/fuzz/src/input.rs"]
mod input;
#[path = "../../../tests/fuzz/src/pair.rs"]
mod pair;
#[path = "../../../tests/fuzz/src/setup.rs"]
mod setup;

use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

/// Runs a target over its seeds, and over so many random inputs.
fn exercise(name: &str, target: fn(&[u8]), count: u64) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/seeds").join(name);
    let mut kept = 0;
    for entry in std::fs::read_dir(&seeds).expect("the target has seeds") {
        let path = entry.expect("the directory can be read").path();
        // Named before it runs: a panic names the test alone.
        println!("{}", path.display());
        target(&std::fs::read(&path).expect("the seed can be read"));
        kept += 1;
    }
    assert!(kept > 0, "{} is empty", seeds.display());
    for number in 0..count {
        let mut rng = StdRng::seed_from_u64(number);
        let mut bytes = vec![0; rng.random_range(0..1000)];
        rng.fill_bytes(&mut bytes);
        if let Some(first) = bytes.first_mut() {
            // Rather an association than none.
            *first &= 0x03;
        }
        println!("random input {number}");
        target(&bytes);
    }
}

#[test]
fn association_stands_any_peer() {
    exercise("association", association::association, 300);
}

#[test]
fn pair_stands_a_man_in_the_middle() {
    exercise("pair", pair::pair, 300);
}

#[test]
fn only_good_cookies_are_taken() {
    exercise("cookie", cookie::cookie, 1000);
}

#[test]
fn any_parameters_can_come() {
    exercise("setup", setup::setup, 1000);
}
