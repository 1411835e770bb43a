#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod client;
mod error;
mod files;
#[cfg(feature = "make")]
pub mod make;
mod name;
mod provider;
mod server;
mod verify;

pub use client::{ClientSettings, TlsConnector};
pub use error::TlsError;
pub use server::{Acceptor, ClientAuth, Secured, ServerSettings};
pub use tokio_rustls::{client::TlsStream as ClientStream, server::TlsStream as ServerStream};
