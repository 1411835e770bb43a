//! The MQTT machine as a client, under operations.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadbed_fuzz::mqtt_client(data));
