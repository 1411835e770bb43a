#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(all(feature = "server", feature = "client")),
    allow(dead_code, unused_imports, reason = "the mapping goes both ways, and each half of the crate goes one")
)]

#[cfg(feature = "client")]
mod client;
mod codec;
mod config;
pub mod conversion;
mod dialect;
mod error;
#[cfg(feature = "server")]
mod machine;
mod problem;
mod segments;
#[cfg(feature = "server")]
mod server;
mod settlement;

#[cfg(feature = "client")]
pub use client::{ByteStream, ClientConfig, Dial, HttpClient, HttpClientBuilder, connect};
pub use codec::{EventError, HeaderError};
pub use config::{HttpConfig, TokenKey};
pub use dialect::{Answer, CloudEvent, HttpDurability, HttpMessage, HttpQos, LockVerb, Poll, Push};
pub use error::HttpError;
#[cfg(feature = "server")]
pub use server::{
    HttpCounters, Listener, ResponseBody, Routes, Server, ServerBuilder, Upgrade, Upgraded, serve, serve_listener,
};
pub use settlement::SETTLEMENT;
