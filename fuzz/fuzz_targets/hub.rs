//! MQTT and HTTP clients at one broker.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadbed_fuzz::hub(data));
