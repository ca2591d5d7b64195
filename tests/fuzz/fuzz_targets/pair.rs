//! Two endpoints, and a man in the middle who mutates what they send.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sctp_fuzz::pair(bytes));
