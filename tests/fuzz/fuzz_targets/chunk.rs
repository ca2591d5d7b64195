//! Any bytes as one chunk whose header is sound: the first byte is its type, the second its flags. Reaches every chunk's parser.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sctp_fuzz::chunk(bytes));
