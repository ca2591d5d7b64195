//! Bytes as a State Cookie, and as changes to a good one.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sctp_fuzz::cookie(bytes));
