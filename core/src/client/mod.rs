//! What the clients of all transports share: how they reach a server, and where they keep what outlives a connection.

mod connector;
mod reading;
mod store;
mod url;

pub use connector::{Carrier, Connector, tcp};
pub use reading::poll_events;
pub use store::{Change, MemoryStore, SessionStore, StoredMessage, StoredReceipt, StoredSession};
pub use url::{Login, ServerUrl};
