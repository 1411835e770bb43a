#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

extern crate alloc;

mod client;
pub mod codec;
mod config;
pub mod conversion;
pub mod dialect;
mod error;
#[cfg(feature = "fe2o3")]
pub mod fe2o3;
mod log;
mod machine;
mod management;
mod server;
mod settlement;

pub use client::{Client, ClientConfig, ClientCounts, connect, connect_over};
pub use config::MachineConfig;
pub use error::{DecodeError, Error, SendError};
pub use machine::{
    Accept, Admission, Credit, Detached, Disposed, Event, Forgotten, Incoming, LinkId, Machine, Sasl, Sending,
    SentDelivery, SessionId, UnsettledMap, unsettled_map,
};
pub use server::{Connection, Listener, Server, ServerConfig, serve};
pub use settlement::SETTLEMENT;
