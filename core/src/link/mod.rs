//! The pleasant layer: links as handles, futures, streams and sinks.

mod failure;
mod receiver;
mod sender;
mod waiters;

pub use receiver::{Received, Receiver};
pub use sender::{Sender, SenderSink};
