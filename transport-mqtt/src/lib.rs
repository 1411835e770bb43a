//! MQTT 3.1.1 and 5.0 for Roadbed, server and client
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

pub mod codec;
mod error;

pub use error::{DecodeError, EncodeError};
