//! Opening and checking a journal of any segments.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadbed_fuzz::journal(data));
