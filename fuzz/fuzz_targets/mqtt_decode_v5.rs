//! The MQTT decoder at version 5.0.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadbed_fuzz::mqtt_decode_v5(data));
