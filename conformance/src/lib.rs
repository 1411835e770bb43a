#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod carried;
mod client;
mod faults;
mod law;
mod laws;
mod run;
#[cfg(feature = "simulation")]
pub mod simulation;
mod world;

pub use carried::Carried;
pub use client::{Client, Receiving, Sending, text};
pub use faults::{Carrier, Dialer, Dialing, Direction, Faults, Listener, Side, Split};
pub use law::Law;
pub use laws::laws;
pub use libtest_mimic::Arguments;
pub use run::{check, ignored, run, trials};
pub use world::{Boxed, Fixture, World, address, filter_of, message, named, open};
