//! WebSocket frames.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadbed_fuzz::websocket(data));
