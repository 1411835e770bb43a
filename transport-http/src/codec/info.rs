//! What a server says about itself.

use serde::{Deserialize, Serialize};

/// What `GET /v1` answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct InfoDoc {
    /// Who the client is to the server.
    pub(crate) principal: String,
    pub(crate) message_bytes_max: usize,
    pub(crate) page_max: u32,
    pub(crate) long_poll_ms_max: u64,
    pub(crate) lock_ms: u64,
    pub(crate) lock_ms_max: u64,
    pub(crate) qos_max: u8,
    pub(crate) manage: bool,
}
