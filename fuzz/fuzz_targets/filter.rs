//! The topic matcher against a naive one.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadbed_fuzz::filter(data));
