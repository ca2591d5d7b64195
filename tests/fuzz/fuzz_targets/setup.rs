//! Any bytes as parameters of the INIT that an endpoint gets, and of the INIT ACK.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sctp_fuzz::setup(bytes));
