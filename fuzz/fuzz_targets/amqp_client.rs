//! The AMQP machine as a client, under operations.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadbed_fuzz::amqp_client(data));
