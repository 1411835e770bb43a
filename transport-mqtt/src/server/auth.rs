use alloc::boxed::Box;

use async_trait::async_trait;
use bytes::Bytes;
use roadbed_core::{Identity, Result};

/// One step of an enhanced authentication (section 4.12).
#[derive(Clone, Debug)]
pub enum AuthStep {
    /// Send this and wait for the client's answer: AUTH 0x18.
    Continue(Bytes),
    /// The client is known; the data goes with CONNACK, or with AUTH 0x00 on re-authentication.
    Success(Identity, Option<Bytes>),
}

/// Conducts enhanced authentications: SCRAM, Kerberos, challenge and response.
#[async_trait]
pub trait AuthExchange: Send + Sync {
    /// Whether this method is known; others are refused with 0x8C.
    fn knows(&self, method: &str) -> bool;

    /// Answers `data` from the client `client_id`; `round` counts from 0 within one exchange.
    ///
    /// # Errors
    /// If the client is not who it says; it is told 0x87 and nothing else.
    async fn step(&self, client_id: &str, method: &str, round: u32, data: Option<Bytes>) -> Result<AuthStep>;
}
