//! The MQTT decoder at versions 3.1 and 3.1.1.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadbed_fuzz::mqtt_decode_v3(data));
