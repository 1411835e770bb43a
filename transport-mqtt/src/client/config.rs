use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use roadbed_core::client::{MemoryStore, SessionStore};
use roadbed_core::{Clock, SystemClock};

use crate::MachineConfig;
use crate::codec::Version;

/// How a client reaches its server, what it keeps while it cannot, and how long things may take.
///
/// It is read from a URL such as `mqtt://user:password@host:1883?version=3.1.1&keep_alive=30`:
///
/// ```
/// let config: roadbed_mqtt::ClientConfig = "mqtt://alice:s%20ecret@[::1]:1884?version=3.1.1".parse()?;
/// assert_eq!((&*config.host, config.port), ("::1", 1884));
/// # Ok::<_, roadbed_core::Error>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct ClientConfig {
    /// A name or a number, without the brackets of IPv6. Default `localhost`.
    pub host: String,
    /// The port. Default 1883.
    pub port: u16,
    /// The version that is spoken. Default 5.0.
    pub version: Version,
    /// The user's name. Default: none.
    pub user: Option<ByteString>,
    /// The user's password. Default: none.
    pub password: Option<Bytes>,
    /// The client identifier of a session that is opened without a name. Default: none, so that the server assigns one.
    pub client_id: Option<ByteString>,
    /// What the machine takes, offers and waits for.
    pub machine: MachineConfig,
    /// Seconds after which a silent connection is tried; 0 never. Default 60.
    pub keep_alive_secs: u16,
    /// How long connecting may take, from the first byte to CONNACK. Default 10 s.
    pub connect_timeout: Duration,
    /// How long a session that is closed waits for the answers to what it has sent, and for its last bytes to leave. Default 2 s.
    pub close_timeout: Duration,
    /// How long the first pause is before a lost connection is opened again. Default 100 ms.
    pub reconnect_delay_min: Duration,
    /// How long the longest pause is; each is about twice the one before. Default 30 s.
    pub reconnect_delay_max: Duration,
    /// How many messages a session keeps that are not sent or not answered. Default 4,096.
    pub outbox_messages_max: u32,
    /// How many bytes of payload they may have together; one message alone may have more. Default 64 MiB.
    pub outbox_bytes_max: usize,
    /// How many keys of exactly-once messages are remembered until [`forget`](roadbed_core::Producer::forget); the oldest go first. Default 65,536.
    pub keys_max: usize,
    /// How many messages of QoS 0 wait to be received; more are dropped and counted. Those of QoS 1 and 2 are bounded by
    /// [`MachineConfig::receive_maximum`]. Default 1,024.
    pub inbox_messages_max: usize,
    /// How many bytes of payload may wait to be received before nothing more is read, but what one read brings (256 KiB) more. If that lasts, the server and
    /// we find each other silent, and the connection is opened anew. Default 64 MiB.
    pub inbox_bytes_max: usize,
    /// How many bytes may wait to be written before no more messages are. Default 256 KiB.
    pub write_bytes_max: usize,
    /// How many consumers a session may have. Default 64.
    pub consumers_max: u32,
    /// How many requests to subscribe or unsubscribe may be under way. Default 64.
    pub requests_max: usize,
    /// What happens to a delivery that is released or has failed, for which MQTT has no word. Default [`OnRelease::Redeliver`].
    pub on_release: OnRelease,
    /// Where the client's half of the sessions' state is kept. Default: in memory.
    pub store: Arc<dyn SessionStore>,
    /// Where the time comes from. Default: the system.
    pub clock: Arc<dyn Clock>,
    /// Seed of the pauses and of the first packet identifiers. Default: random.
    pub seed: u64,
}

/// What happens to a delivery that is released or has failed: MQTT cannot say so, and the server holds it for this session anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnRelease {
    /// It is delivered again, at the front of what waits, without the server.
    #[default]
    Redeliver,
    /// It stays unacknowledged until the connection is opened anew, and comes then. Until then acknowledgements behind it wait \[MQTT-4.6.0-2\], and it takes a
    /// place of the window.
    Withhold,
    /// As [`Withhold`](Self::Withhold), and the connection is opened anew at once. Nothing comes again if the server does not keep the session.
    Reconnect,
}

impl Default for ClientConfig {
    fn default() -> Self {
        use core::hash::{BuildHasher, Hasher};
        Self {
            host: "localhost".into(),
            port: 1883,
            version: Version::V5,
            user: None,
            password: None,
            client_id: None,
            machine: MachineConfig::default(),
            keep_alive_secs: 60,
            connect_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(2),
            reconnect_delay_min: Duration::from_millis(100),
            reconnect_delay_max: Duration::from_secs(30),
            outbox_messages_max: 4096,
            outbox_bytes_max: 64 << 20,
            keys_max: 65_536,
            inbox_messages_max: 1024,
            inbox_bytes_max: 64 << 20,
            write_bytes_max: 256 << 10,
            consumers_max: 64,
            requests_max: 64,
            on_release: OnRelease::default(),
            store: Arc::new(MemoryStore::default()),
            clock: Arc::new(SystemClock::default()),
            seed: std::collections::hash_map::RandomState::new().build_hasher().finish(),
        }
    }
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
    version: Version,
    machine: MachineConfig,
    keep_alive_secs: u16,
    connect_timeout: Duration,
    close_timeout: Duration,
    reconnect_delay_min: Duration,
    reconnect_delay_max: Duration,
    outbox_messages_max: u32,
    outbox_bytes_max: usize,
    keys_max: usize,
    inbox_messages_max: usize,
    inbox_bytes_max: usize,
    write_bytes_max: usize,
    consumers_max: u32,
    requests_max: usize,
    on_release: OnRelease,
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

    /// Sets [`ClientConfig::user`] and [`ClientConfig::password`].
    #[must_use]
    pub fn login(mut self, user: impl Into<ByteString>, password: impl Into<Bytes>) -> Self {
        (self.user, self.password) = (Some(user.into()), Some(password.into()));
        self
    }

    /// Sets [`ClientConfig::client_id`].
    #[must_use]
    pub fn client_id(mut self, client_id: impl Into<ByteString>) -> Self {
        self.client_id = Some(client_id.into());
        self
    }
}

impl fmt::Debug for ClientConfig {
    /// Never shows the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("version", &self.version)
            .field("user", &self.user)
            .field("machine", &self.machine)
            .finish_non_exhaustive()
    }
}
