//! The delivery machine against a list of facts.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadbed_fuzz::delivery(data));
