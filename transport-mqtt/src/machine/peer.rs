use bytestring::ByteString;

use crate::codec::{ConnAck, Connect, QoS, Version};

/// What the other end takes, as its CONNECT or CONNACK said.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// The version of the connection.
    pub version: Version,
    /// How many QoS 1 and 2 messages it takes at once.
    pub receive_maximum: u16,
    /// The largest packet it takes, in bytes; `u32::MAX` is no limit.
    pub packet_bytes_max: u32,
    /// How many topic aliases it takes.
    pub topic_alias_maximum: u16,
    /// Whether any packet may carry a reason string and user properties [MQTT-3.1.2-29].
    pub problem_information: bool,
    /// Seconds of keep-alive in force on this connection; 0 is off.
    pub keep_alive_secs: u16,
    /// Seconds that the session outlives the connection, as agreed so far; `u32::MAX` is for ever.
    pub session_expiry_secs: u32,
    /// The highest QoS that it takes; a client takes all.
    pub qos_max: QoS,
    /// Whether it retains messages; a client does not care.
    pub retain_available: bool,
    /// Whether it takes filters with wildcards.
    pub wildcards_available: bool,
    /// Whether it takes subscription identifiers.
    pub subscription_ids_available: bool,
    /// Whether it takes shared subscriptions.
    pub shares_available: bool,
    /// The method of the enhanced authentication, if there is one.
    pub auth_method: Option<ByteString>,
}

impl Peer {
    /// Nobody yet: what holds before CONNECT, and for MQTT 3.
    pub(crate) const fn unknown(version: Version) -> Self {
        Self {
            version,
            receive_maximum: u16::MAX,
            packet_bytes_max: u32::MAX,
            topic_alias_maximum: 0,
            problem_information: true,
            keep_alive_secs: 0,
            session_expiry_secs: 0,
            qos_max: QoS::ExactlyOnce,
            retain_available: true,
            wildcards_available: true,
            subscription_ids_available: true,
            shares_available: true,
            auth_method: None,
        }
    }

    /// A client, as the server knows it by its CONNECT.
    pub(crate) fn client(connect: &Connect) -> Self {
        Self {
            receive_maximum: connect.receive_maximum.map_or(u16::MAX, Into::into),
            packet_bytes_max: connect.maximum_packet_size.unwrap_or(u32::MAX),
            topic_alias_maximum: connect.topic_alias_maximum.unwrap_or(0),
            problem_information: connect.request_problem_information.unwrap_or(true),
            keep_alive_secs: connect.keep_alive_secs,
            session_expiry_secs: session_expiry_secs(connect),
            auth_method: connect.auth_method.clone(),
            ..Self::unknown(connect.version)
        }
    }

    /// A server, as the client knows it by its CONNACK; `asked` is what the client's CONNECT made of it.
    pub(crate) fn server(connack: &ConnAck, asked: &Self) -> Self {
        Self {
            receive_maximum: connack.receive_maximum.map_or(u16::MAX, Into::into),
            packet_bytes_max: connack.maximum_packet_size.unwrap_or(u32::MAX),
            topic_alias_maximum: connack.topic_alias_maximum.unwrap_or(0),
            keep_alive_secs: connack.server_keep_alive_secs.unwrap_or(asked.keep_alive_secs),
            session_expiry_secs: connack.session_expiry_secs.unwrap_or(asked.session_expiry_secs),
            qos_max: connack.maximum_qos.unwrap_or(QoS::ExactlyOnce),
            retain_available: connack.retain_available.unwrap_or(true),
            wildcards_available: connack.wildcard_subscription_available.unwrap_or(true),
            subscription_ids_available: connack.subscription_ids_available.unwrap_or(asked.version.is_v5()),
            shares_available: connack.shared_subscription_available.unwrap_or(true),
            auth_method: asked.auth_method.clone(),
            ..Self::unknown(asked.version)
        }
    }
}

/// How long a CONNECT asks its session to be kept: MQTT 3 knows only not at all and for ever.
pub(crate) fn session_expiry_secs(connect: &Connect) -> u32 {
    match (connect.version.is_v5(), connect.clean_start) {
        (true, _) => connect.session_expiry_secs.unwrap_or(0),
        (false, true) => 0,
        (false, false) => u32::MAX,
    }
}
