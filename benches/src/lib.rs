//! What the benchmarks share: an allocator that counts, and criterion with allocations per message beside messages per second.
//!
//! `benches/` measures (`cargo xtask bench`), `tests/` holds the counts that must not grow. How to read the figures: `README.md`.

mod alloc;
pub mod amqp;
pub mod broker;
pub mod cross;
pub mod http;
mod measure;
pub mod mqtt;
pub mod peer;
pub mod pipe;
mod wire;

pub use alloc::{Allocations, count, live};
pub use measure::{criterion, per_message};
pub use wire::Wire;
