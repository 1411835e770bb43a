//! Layers: endpoints over endpoints, composed with [`tower_layer::Layer`].
//!
//! A layer costs about a nanosecond per message, since it sees batches.

mod authorized;
mod limited;
mod metered;
#[cfg(feature = "tokio")]
mod rationed;
mod refused;
mod transacted;

pub use authorized::{Authorized, AuthorizedLayer, Refusals, RefusalsSnapshot};
pub use limited::{Limited, LimitedLayer, Limits};
pub use metered::{Meter, MeterSnapshot, Metered, MeteredLayer};
#[cfg(feature = "tokio")]
pub use rationed::{RationMeter, Rationed, RationedLayer, Rations};
pub use transacted::{Transacted, TransactedLayer};
