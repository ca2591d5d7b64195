//! Any bytes as the error causes of ABORT and ERROR.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sctp_fuzz::causes(bytes));
