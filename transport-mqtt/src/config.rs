use core::time::Duration;

use roadbed_core::Durability;

use crate::codec::{Limits, QoS};

/// What a machine takes, offers and waits for. The same for both roles; what only one of them uses says so.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MachineConfig {
    /// Bounds of one packet that we take. `packet_bytes_max` is told to the peer.
    pub limits: Limits,
    /// Server: the largest CONNECT in bytes, before anybody is authenticated. Default 64 KiB.
    pub connect_bytes_max: u32,
    /// Server: how long a connection may be without a CONNECT. Client: how long CONNACK may take. Default 10 s.
    pub connect_timeout: Duration,
    /// How many QoS 1 and 2 messages we take at once (Receive Maximum); 1 or more. MQTT 3 has no word for it and is not bound. Default 1,024.
    pub receive_maximum: u16,
    /// How many topic aliases we take, each up to 64 KiB long. Default 16.
    pub topic_aliases_in_max: u16,
    /// How many topic aliases we use, if the peer takes as many. Default 16.
    pub topic_aliases_out_max: u16,
    /// Server: the highest QoS of a PUBLISH. Default 2.
    pub qos_max: QoS,
    /// Server: whether messages can be retained. Default true.
    pub retain_available: bool,
    /// Server: the longest keep-alive in seconds, asked of MQTT 5 clients by Server Keep Alive; 0 leaves it to them. Default 0.
    pub keep_alive_secs_max: u16,
    /// Client: how long a PINGRESP may take. Default 10 s.
    pub ping_timeout: Duration,
    /// What is promised for a message that comes in: MQTT has no word for it. Default [`Durability::Session`], as section 4.1 asks.
    pub durability: Durability,
    /// The longest sidecar that is written to the peer and believed of it, in bytes: what MQTT 5 has no place for, as one user property. Only for a peer that is
    /// trusted to say what a message was elsewhere; 0, the default, writes none and drops those that come.
    pub sidecar_bytes_max: usize,
}

impl Default for MachineConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            connect_bytes_max: 64 << 10,
            connect_timeout: Duration::from_secs(10),
            receive_maximum: 1024,
            topic_aliases_in_max: 16,
            topic_aliases_out_max: 16,
            qos_max: QoS::ExactlyOnce,
            retain_available: true,
            keep_alive_secs_max: 0,
            ping_timeout: Duration::from_secs(10),
            durability: Durability::Session,
            sidecar_bytes_max: 0,
        }
    }
}

macro_rules! setters {
    ($($name:ident: $type:ty,)*) => {
        impl MachineConfig {
            $(
                #[doc = concat!("Sets [`MachineConfig::", stringify!($name), "`].")]
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
    limits: Limits,
    connect_bytes_max: u32,
    connect_timeout: Duration,
    receive_maximum: u16,
    topic_aliases_in_max: u16,
    topic_aliases_out_max: u16,
    qos_max: QoS,
    retain_available: bool,
    keep_alive_secs_max: u16,
    ping_timeout: Duration,
    durability: Durability,
    sidecar_bytes_max: usize,
}
