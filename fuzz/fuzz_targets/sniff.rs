//! Which protocol is spoken, by first bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadbed_fuzz::sniff(data));
