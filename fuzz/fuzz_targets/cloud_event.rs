//! CloudEvents in JSON.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadbed_fuzz::cloud_event(data));
