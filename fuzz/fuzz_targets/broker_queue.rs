//! A queue of the broker against a list of copies.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadbed_fuzz::broker_queue(data));
