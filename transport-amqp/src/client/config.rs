use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;

use bytestring::ByteString;
use roadbed_core::client::{MemoryStore, SessionStore};
use roadbed_core::{Clock, SystemClock};

use crate::{MachineConfig, Sasl};

/// How a client reaches its server, what it keeps while it cannot, and how long things may take.
///
/// It is read from a URL such as `amqp://user:password@host:5672?container_id=plant-7&idle_timeout=30`:
///
/// ```
/// let config: roadbed_amqp::ClientConfig = "amqp://alice:s%20ecret@[::1]:5673?container_id=plant-7".parse()?;
/// assert_eq!((&*config.host, config.port), ("::1", 5673));
/// assert_eq!(config.machine.container_id, "plant-7");
/// # Ok::<_, roadbed_core::Error>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct ClientConfig {
    /// A name or a number, without the brackets of IPv6. Default `localhost`.
    pub host: String,
    /// The port. Default 5672.
    pub port: u16,
    /// What is told as the name of the host in SASL and open (Part 2, section 2.7.1). Default: [`ClientConfig::host`].
    pub hostname: Option<String>,
    /// How it proves who it is; `None`: without SASL, which few servers take. Default [`Sasl::Anonymous`].
    pub sasl: Option<Sasl>,
    /// What the machine takes, offers and waits for. Its container id is the name of this client: links that are to be resumed are known by it, so that a client that
    /// goes on after a restart needs one of its own that stays. Default: a random one.
    pub machine: MachineConfig,
    /// How long connecting may take, from the first byte to open. Default 10 s.
    pub connect_timeout: Duration,
    /// How long a session that is closed waits for the answers to what it has sent. Default 2 s.
    pub close_timeout: Duration,
    /// How long a request to a node of the server's own (`$management`, `$cbs`) waits for its answer. Default 30 s.
    pub request_timeout: Duration,
    /// How long the first pause is before a lost connection is opened again. Default 100 ms.
    pub reconnect_delay_min: Duration,
    /// How long the longest pause is; each is about twice the one before. Default 30 s.
    pub reconnect_delay_max: Duration,
    /// How many messages a session keeps that are not sent or not answered. Default 4,096.
    pub outbox_messages_max: u32,
    /// How many bytes of payload they may have together; one message alone may have more. Default 64 MiB.
    pub outbox_bytes_max: usize,
    /// How many keys of exactly-once messages a session remembers until [`forget`](roadbed_core::Producer::forget); the oldest go first. Default 65,536.
    pub keys_max: usize,
    /// How many messages a link permits at once, however many its consumer does. Default 512.
    pub credit_max: u32,
    /// How many bytes of payload may wait on a link to be received before it permits no more. Default 16 MiB.
    pub inbox_bytes_max: usize,
    /// How many bytes may wait to be written before no more messages are. Default 256 KiB.
    pub write_bytes_max: usize,
    /// How many consumers a session may have. Default 1,024.
    pub consumers_max: u32,
    /// How many requests of a session (management, transactions, credentials) may be under way. Default 64.
    pub requests_max: usize,
    /// Where the client's half of the state of named sessions is kept. Default: in memory.
    pub store: Arc<dyn SessionStore>,
    /// Where the time comes from. Default: the system.
    pub clock: Arc<dyn Clock>,
    /// Seed of the pauses, of the names of links and of delivery tags. Default: random.
    pub seed: u64,
}

const CREDIT_MAX: u32 = 512;

impl Default for ClientConfig {
    fn default() -> Self {
        let seed = random();
        Self {
            host: "localhost".into(),
            port: 5672,
            hostname: None,
            sasl: Some(Sasl::Anonymous),
            machine: MachineConfig::default()
                .container_id(alloc::format!("roadbed-{seed:016x}"))
                .overdraft_max(CREDIT_MAX),
            connect_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(30),
            reconnect_delay_min: Duration::from_millis(100),
            reconnect_delay_max: Duration::from_secs(30),
            outbox_messages_max: 4096,
            outbox_bytes_max: 64 << 20,
            keys_max: 65_536,
            credit_max: CREDIT_MAX,
            inbox_bytes_max: 16 << 20,
            write_bytes_max: 256 << 10,
            consumers_max: 1024,
            requests_max: 64,
            store: Arc::new(MemoryStore::default()),
            clock: Arc::new(SystemClock::default()),
            seed: random(),
        }
    }
}

fn random() -> u64 {
    use core::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

macro_rules! setters {
    ($($name:ident: $type:ty,)*) => {
        impl ClientConfig {
            $(
                #[doc = concat!("Sets [`ClientConfig::", stringify!($name), "`].")]
                #[must_use]
                pub fn $name(mut self, $name: $type) -> Self {
                    self.$name = $name;
                    self
                }
            )*
        }
    };
}

setters! {
    port: u16,
    sasl: Option<Sasl>,
    machine: MachineConfig,
    connect_timeout: Duration,
    close_timeout: Duration,
    request_timeout: Duration,
    reconnect_delay_min: Duration,
    reconnect_delay_max: Duration,
    outbox_messages_max: u32,
    outbox_bytes_max: usize,
    keys_max: usize,
    credit_max: u32,
    inbox_bytes_max: usize,
    write_bytes_max: usize,
    consumers_max: u32,
    requests_max: usize,
    store: Arc<dyn SessionStore>,
    clock: Arc<dyn Clock>,
    seed: u64,
}

impl ClientConfig {
    /// Sets [`ClientConfig::host`].
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }

    /// Sets [`ClientConfig::hostname`].
    #[must_use]
    pub fn hostname(mut self, hostname: impl Into<String>) -> Self {
        self.hostname = Some(hostname.into());
        self
    }

    /// Sets [`MachineConfig::container_id`].
    #[must_use]
    pub fn container_id(mut self, container_id: impl Into<String>) -> Self {
        self.machine.container_id = container_id.into();
        self
    }

    /// Logs in with a name and a password: by SCRAM, or by PLAIN where the server has no SCRAM ([`Sasl::Password`]).
    #[must_use]
    pub fn password(mut self, user: impl Into<ByteString>, password: impl Into<ByteString>) -> Self {
        self.sasl = Some(Sasl::Password { user: user.into(), password: password.into() });
        self
    }
}

impl fmt::Debug for ClientConfig {
    /// Never shows the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("sasl", &self.sasl)
            .field("machine", &self.machine)
            .finish_non_exhaustive()
    }
}
