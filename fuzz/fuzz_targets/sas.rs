//! SAS tokens: nothing unsigned comes in.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadbed_fuzz::sas(data));
