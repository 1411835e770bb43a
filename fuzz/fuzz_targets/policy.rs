//! The matcher of policies: a filter brings nothing that may not be received.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadbed_fuzz::policy(data));
