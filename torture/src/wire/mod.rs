//! Bare clients: sockets and bytes, sharing no code with the protocol crates that they put to the proof.

mod amqp;
mod conn;
mod http;
mod mqtt;

pub(crate) use amqp::{Amqp, Attach, Settled, Transfer, declare, discharge, encoded};
pub(crate) use amqp::{Value, accepted, modified, rejected, within};
pub(crate) use conn::{During, PATIENCE, Result, Trouble};
pub(crate) use http::{Answer, Http, Request};
pub(crate) use mqtt::{Connect, Mqtt, Packet};
