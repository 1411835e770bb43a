#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

#[cfg(feature = "std")]
mod client;
pub mod codec;
#[cfg(feature = "mqttbytes")]
mod compat;
mod config;
pub mod conversion;
pub mod dialect;
mod error;
mod machine;
#[cfg(feature = "std")]
mod server;
mod settlement;

#[cfg(feature = "std")]
pub use client::{
    Carrier, Change, Client, ClientConfig, ClientCounts, Connector, MemoryStore, OnRelease, SessionStore,
    StoredMessage, StoredReceipt, StoredSession, connect, connect_over,
};
pub use config::MachineConfig;
pub use error::{DecodeError, EncodeError, Error, SendError};
pub use machine::{Event, Incoming, Machine, Peer, Said, Welcome};
#[cfg(feature = "std")]
pub use server::{Connection, Listener, Server, ServerConfig, serve};
pub use settlement::SETTLEMENT;
