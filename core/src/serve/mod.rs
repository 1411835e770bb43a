//! What every server over byte streams does alike: accept, hold one task per connection, fill and empty batches.

mod accept;
mod batch;
mod crowd;
mod driver;

pub use accept::accept;
pub use batch::Batch;
pub use crowd::{Crowd, CrowdPlace};
pub use driver::{Drive, Driver};
