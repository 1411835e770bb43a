//! Addresses and their forms in other protocols.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadbed_fuzz::address(data));
