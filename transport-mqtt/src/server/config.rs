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
    /// Decides who a client is, also by enhanced authentication (section 4.12): methods that it does not conduct are refused with 0x8C.
    /// Default: nobody comes in.
    pub authenticator: Arc<dyn Authenticator>,
    /// Where the time comes from. Default: the system.
    pub clock: Arc<dyn Clock>,
    /// The longest that a session is kept after its connection, in seconds; clients that ask for more are told. Default 7 days.
    pub session_expiry_secs_max: u32,
    /// How many QoS 1 and 2 messages may be unanswered by a client, if it does not take fewer. Default 1,024.
    pub in_flight_max: u16,
    /// How many bytes may wait to be written before nothing more is received from the endpoint. Default 256 KiB.
    pub write_bytes_max: usize,
    /// How many bytes of answers may wait to be written before nothing more is read. Default 1 MiB.
    pub answer_bytes_max: usize,
    /// How many SUBSCRIBE and UNSUBSCRIBE packets may be under way before nothing more is read. Default 8.
    pub subscribes_max: usize,
    /// How long the last bytes may take to leave when a connection ends. Default 2 s.
    pub close_timeout: Duration,
    /// Seed of the client identifiers that are assigned. Default: random.
    pub seed: u64,
}

impl ServerConfig {
    /// A server that asks `authenticator`.
    pub fn new(authenticator: Arc<dyn Authenticator>) -> Self {
        use core::hash::{BuildHasher, Hasher};
        Self {
            machine: MachineConfig::default(),
            authenticator,
            clock: Arc::new(SystemClock::default()),
            session_expiry_secs_max: 7 * 24 * 3600,
            in_flight_max: 1024,
            write_bytes_max: 256 << 10,
            answer_bytes_max: 1 << 20,
            subscribes_max: 8,
            close_timeout: Duration::from_secs(2),
            seed: std::collections::hash_map::RandomState::new().build_hasher().finish(),
        }
    }

    /// A server that lets everybody in under the name they give: for development.
    pub fn permissive() -> Self {
        Self::new(Arc::new(Permissive))
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

    /// Sets [`ServerConfig::session_expiry_secs_max`].
    #[must_use]
    pub fn session_expiry_secs_max(mut self, seconds: u32) -> Self {
        self.session_expiry_secs_max = seconds;
        self
    }

    /// Sets [`ServerConfig::seed`].
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
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
