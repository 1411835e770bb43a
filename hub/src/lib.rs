//! The reference hub of Roadbed: the broker, with every protocol of the project in front of it, as the program `roadbed`.
//!
//! It wires crates together and owns no protocol. `roadbed --help` says what it can do; `roadbed config` prints every
//! setting with its default.
#![forbid(unsafe_code)]
#![allow(clippy::print_stderr)] // a program for a terminal

mod access;
mod amqp;
mod auth;
mod cli;
mod config;
mod demo;
mod error;
mod hub;
mod listen;
mod log;
mod logs;
mod metrics;
mod mqtt;
mod nodes;
mod output;
mod queues;
mod receive;
mod roads;
mod run;
mod send;
mod serve;
mod shutdown;
pub mod sniff;
mod store;
mod suggest;
mod sys;
mod web;
mod ws;

pub use amqp::Amqp;
pub use auth::{Auth, Secrets, Users};
pub use cli::Cli;
pub use config::{Config, Hub, Limits, Listen};
pub use error::{Failure, Kind};
pub use logs::Log;
pub use mqtt::Mqtt;
pub use queues::{Policy, Queue, WhenFull};
pub use roads::{Accepted, ClientAuth, Roads, Tls};
pub use run::main;
pub use shutdown::Shutdown;
pub use store::Store;
