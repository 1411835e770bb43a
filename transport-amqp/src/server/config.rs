use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;

use roadbed_core::{Authenticator, Clock, DenyAll, Permissive, SystemClock};

use crate::MachineConfig;

/// What a server does beyond the protocol: who may come in, how long things may take, how much may wait.
#[derive(Clone)]
#[non_exhaustive]
pub struct ServerConfig {
    /// What the machine takes, offers and waits for.
    pub machine: MachineConfig,
    /// Decides who a client is. Default: nobody comes in.
    pub authenticator: Arc<dyn Authenticator>,
    /// Where the time comes from. Default: the system.
    pub clock: Arc<dyn Clock>,
    /// How many messages a link may have sent that are not answered. Default 512.
    pub credit_max: u32,
    /// How many bytes may wait to be written before nothing more is received from the endpoint. Default 256 KiB.
    pub write_bytes_max: usize,
    /// How many bytes of answers may wait to be written before nothing more is read. Default 1 MiB.
    pub answer_bytes_max: usize,
    /// How many attaches, declares, discharges and requests may be under way before nothing more is read. Default 4,096.
    pub requests_max: usize,
    /// How many transactions a connection may have. Default 64.
    pub transactions_max: usize,
    /// How many identities a connection may have beside its own, each with a token. Default 1,000.
    pub identities_max: usize,
    /// How long the answer to a request waits for the credit of its link; then it is dropped. Default 10 s.
    pub reply_timeout: Duration,
    /// How long the last bytes may take to leave when a connection ends. Default 2 s.
    pub close_timeout: Duration,
}

impl ServerConfig {
    /// A server that asks `authenticator`.
    pub fn new(authenticator: Arc<dyn Authenticator>) -> Self {
        Self {
            machine: MachineConfig::default(),
            authenticator,
            clock: Arc::new(SystemClock::default()),
            credit_max: 512,
            write_bytes_max: 256 << 10,
            answer_bytes_max: 1 << 20,
            requests_max: 4096,
            transactions_max: 64,
            identities_max: 1000,
            reply_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(2),
        }
    }

    /// A server that lets everybody in under the name they give, with SASL or without: for development.
    pub fn permissive() -> Self {
        Self::new(Arc::new(Permissive)).machine(MachineConfig::default().sasl_required(false))
    }

    /// Sets [`ServerConfig::machine`].
    #[must_use]
    pub fn machine(mut self, machine: MachineConfig) -> Self {
        self.machine = machine;
        self
    }

    /// Sets [`ServerConfig::clock`].
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets [`ServerConfig::credit_max`].
    #[must_use]
    pub fn credit_max(mut self, messages: u32) -> Self {
        self.credit_max = messages;
        self
    }

    /// Sets [`ServerConfig::transactions_max`].
    #[must_use]
    pub fn transactions_max(mut self, transactions: usize) -> Self {
        self.transactions_max = transactions;
        self
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self::new(Arc::new(DenyAll))
    }
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig").field("machine", &self.machine).finish_non_exhaustive()
    }
}
