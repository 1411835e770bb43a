//! AMQP's frames, performatives and messages, from bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadbed_fuzz::amqp_decode(data));
