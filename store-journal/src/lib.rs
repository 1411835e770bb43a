#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod check;
mod clean;
mod codec;
mod config;
mod error;
pub mod fs;
#[cfg(feature = "__fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod index;
mod logs;
mod open;
mod reader;
mod segment;
#[cfg(feature = "simulation")]
pub mod simulation;
mod stats;
mod store;
mod walk;
mod worker;
mod write;

pub use check::{LogReport, Report, check, check_on, repair, repair_on};
pub use config::{JournalConfig, SyncPolicy};
pub use error::{Damage, JournalError};
pub use stats::Figure;
pub use store::{JournalMonitor, JournalStats, JournalStore};
