//! A whole association: a script of packets, time steps and calls of the application, for one endpoint.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sctp_fuzz::association(bytes));
