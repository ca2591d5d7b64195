//! Any bytes as the parameters of INIT and INIT ACK.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sctp_fuzz::parameters(bytes));
