//! Against programs that are not ours, unmodified: their clients at our hub, our client at their server.
//!
//! `cargo xtask test --only interop` installs them and runs these tests.

mod crossing;
mod library;
mod mosquitto;
mod ours;
mod proton;
mod proton_server;
mod rabbitmq;
mod secure;
mod support;
