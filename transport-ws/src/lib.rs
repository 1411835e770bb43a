#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod codec;
mod connector;
mod handshake;
mod machine;
mod messages;
mod speaker;
mod stream;

pub use connector::WsConnector;
pub use handshake::{Accepted, Ask, Io, Offer, Refused, accept, accept_if, connect};
pub use machine::{Control, Item, Reader, Role};
pub use messages::{Message, Messages};
pub use stream::WsStream;
