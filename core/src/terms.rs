//! What is asked for, and what is granted, when sessions and links are opened; and what moves on them.

mod binding;
mod link;
mod log;
mod moving;
mod node;
mod session;

pub use binding::{Binding, Granted, RetainHandling, Unbind};
pub use link::{Attached, ConsumerTerms, Detach, Hold, Mode, Node, ProducerTerms, Settle, Unsettled};
pub use log::{Checkpoint, LogDescription, LogPlace, LogSettings, LogStart, LogTerms, PartitionDescription};
pub use moving::{Confirm, Delivery, DeliveryInfo, Disposition, Done, Grant, Outgoing, Settled, Step};
pub use node::{History, Manage, Managed, NodeDescription, Overflow, QueueSettings};
pub use session::{Close, Credential, Open, Opened, SessionEvent, Will};
