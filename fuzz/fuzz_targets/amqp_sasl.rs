//! AMQP's machine in both roles, within SASL.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadbed_fuzz::amqp_sasl(data));
