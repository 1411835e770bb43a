//! What a journal reads, over any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadbed_fuzz::journal_codec(data));
