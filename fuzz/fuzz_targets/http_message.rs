//! Messages as HTTP headers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadbed_fuzz::http_message(data));
