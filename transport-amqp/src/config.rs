use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::codec::GuardLimits;

/// What a machine takes, offers and waits for. The same for both roles; what only one of them uses says so.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MachineConfig {
    /// The name of this end (Part 2, section 2.4.1). Default `roadbed`.
    pub container_id: String,
    /// The largest frame that we take, in bytes; 512 or more. Default 64 KiB.
    pub frame_bytes_max: u32,
    /// The largest frame before the connection is open, in bytes, since nobody is known yet. Default 8 KiB.
    pub opening_bytes_max: u32,
    /// The largest message that we take, in bytes. Default 16 MiB.
    pub message_bytes_max: u64,
    /// How many bytes of messages that have not come whole a connection may hold, over all its links; one message is always taken. Default
    /// 64 MiB.
    pub partial_bytes_max: u64,
    /// How many sessions a connection may have. Default 64.
    pub sessions_max: u16,
    /// How many links a connection may have, over all its sessions. Default 4,096.
    pub links_max: u32,
    /// How many transfers we take before the session's window is opened again. Default 4,096.
    pub incoming_window: u32,
    /// How many deliveries more than it has credit for a link takes in a row before that is an error. Default 0, as the standard has it; for clients
    /// 512, since there are servers that do not count well (RabbitMQ before version 4).
    pub overdraft_max: u32,
    /// Bounds of what is decoded.
    pub guard: GuardLimits,
    /// How long it may take until the connection is open. Default 10 s.
    pub open_timeout: Duration,
    /// How long the peer may be silent; half of it is told to the peer (Part 2, section 2.4.5). Default 2 min.
    pub idle_timeout: Duration,
    /// The shortest idle time-out of a peer that we keep alive; shorter ones are refused. Default 100 ms.
    pub idle_timeout_min: Duration,
    /// How long the peer may take to answer a close. Default 2 s.
    pub close_timeout: Duration,
    /// Server: the SASL mechanisms offered, as far as the authenticator knows them; EXTERNAL only where the carrier knows the client.
    /// Default EXTERNAL, SCRAM-SHA-512, SCRAM-SHA-256, PLAIN and ANONYMOUS.
    pub mechanisms: Vec<String>,
    /// Server: whether connections without SASL are refused. Default true.
    pub sasl_required: bool,
    /// Client: how often a server may ask to have the password hashed (SCRAM): a bound of the processor time of connecting. Default 250,000.
    pub scram_iterations_max: u32,
    /// The longest sidecar that is written to the peer and believed of it, in bytes: what AMQP has no place for, as one delivery annotation. Only for a peer that
    /// is trusted to say what a message was elsewhere; 0, the default, writes none and drops those that come.
    pub sidecar_bytes_max: usize,
}

const MECHANISMS: [&str; 6] = ["EXTERNAL", "SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "MSSBCBS", "ANONYMOUS"];

impl Default for MachineConfig {
    fn default() -> Self {
        Self {
            container_id: "roadbed".into(),
            frame_bytes_max: 64 << 10,
            opening_bytes_max: 8 << 10,
            message_bytes_max: 16 << 20,
            partial_bytes_max: 64 << 20,
            sessions_max: 64,
            links_max: 4096,
            incoming_window: 4096,
            overdraft_max: 0,
            guard: GuardLimits::default(),
            open_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            idle_timeout_min: Duration::from_millis(100),
            close_timeout: Duration::from_secs(2),
            mechanisms: MECHANISMS.map(Into::into).to_vec(),
            sasl_required: true,
            scram_iterations_max: 250_000,
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
    container_id: String,
    frame_bytes_max: u32,
    opening_bytes_max: u32,
    message_bytes_max: u64,
    partial_bytes_max: u64,
    sessions_max: u16,
    links_max: u32,
    incoming_window: u32,
    overdraft_max: u32,
    guard: GuardLimits,
    open_timeout: Duration,
    idle_timeout: Duration,
    idle_timeout_min: Duration,
    close_timeout: Duration,
    mechanisms: Vec<String>,
    sasl_required: bool,
    scram_iterations_max: u32,
    sidecar_bytes_max: usize,
}
