//! The section of the configuration about MQTT, and the server that it makes.

use std::time::Duration;

use roadbed::mqtt::codec::{Limits, QoS};
use roadbed::mqtt::{MachineConfig, Server, ServerConfig};
use serde::{Deserialize, Serialize};

use crate::hub::Serving;

/// What the MQTT server takes, offers and waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Mqtt {
    /// The largest packet, in bytes.
    pub packet_bytes_max: u32,
    /// The largest CONNECT, in bytes.
    pub connect_bytes_max: u32,
    /// How long a connection may be without a CONNECT, in seconds.
    pub connect_timeout_seconds: u64,
    /// The most filters in one SUBSCRIBE or UNSUBSCRIBE.
    pub filters_max: u16,
    /// The most user properties in one packet or will.
    pub user_properties_max: u16,
    /// The longest sidecar that is written to clients and believed of them, in bytes: what MQTT 5 has no place for. Only for clients that are hubs of
    /// yours; 0: none.
    pub sidecar_bytes_max: usize,
    /// How many QoS 1 and 2 messages a client may have unanswered.
    pub receive_maximum: u16,
    /// How many QoS 1 and 2 messages may be unanswered by a client.
    pub in_flight_max: u16,
    /// How many topic aliases a client may use.
    pub topic_aliases_in_max: u16,
    /// How many topic aliases are used towards a client.
    pub topic_aliases_out_max: u16,
    /// The highest QoS of a PUBLISH.
    pub qos_max: u8,
    /// Whether messages can be retained.
    pub retain_available: bool,
    /// The longest keep-alive, in seconds; 0: as the client likes.
    pub keep_alive_seconds_max: u16,
    /// The longest time that a session is kept, in seconds.
    pub session_expiry_seconds_max: u32,
    /// How many bytes may wait to be written to a client before nothing more is taken for it.
    pub write_bytes_max: usize,
    /// How many bytes of answers may wait to be written before nothing more is read.
    pub answer_bytes_max: usize,
    /// How many SUBSCRIBE and UNSUBSCRIBE packets of a client may be under way.
    pub subscribes_max: usize,
    /// How long the last bytes may take to leave, in seconds.
    pub close_timeout_seconds: u64,
    /// How many connections a listener serves at once; further ones wait to be accepted.
    pub connections_max: usize,
}

impl Default for Mqtt {
    fn default() -> Self {
        let server = ServerConfig::default();
        let machine = &server.machine;
        Self {
            packet_bytes_max: machine.limits.packet_bytes_max,
            connect_bytes_max: machine.connect_bytes_max,
            connect_timeout_seconds: machine.connect_timeout.as_secs(),
            filters_max: machine.limits.filters_max,
            user_properties_max: machine.limits.user_properties_max,
            sidecar_bytes_max: machine.sidecar_bytes_max,
            receive_maximum: machine.receive_maximum,
            in_flight_max: server.in_flight_max,
            topic_aliases_in_max: machine.topic_aliases_in_max,
            topic_aliases_out_max: machine.topic_aliases_out_max,
            qos_max: machine.qos_max as u8,
            retain_available: machine.retain_available,
            keep_alive_seconds_max: machine.keep_alive_secs_max,
            session_expiry_seconds_max: server.session_expiry_secs_max,
            write_bytes_max: server.write_bytes_max,
            answer_bytes_max: server.answer_bytes_max,
            subscribes_max: server.subscribes_max,
            close_timeout_seconds: server.close_timeout.as_secs(),
            connections_max: 65_536,
        }
    }
}

impl Mqtt {
    fn machine(&self) -> MachineConfig {
        let limits = Limits::default()
            .packet_bytes_max(self.packet_bytes_max)
            .filters_max(self.filters_max)
            .user_properties_max(self.user_properties_max);
        MachineConfig::default()
            .limits(limits)
            .connect_bytes_max(self.connect_bytes_max)
            .connect_timeout(Duration::from_secs(self.connect_timeout_seconds))
            .receive_maximum(self.receive_maximum.max(1))
            .topic_aliases_in_max(self.topic_aliases_in_max)
            .topic_aliases_out_max(self.topic_aliases_out_max)
            .qos_max(match self.qos_max {
                0 => QoS::AtMostOnce,
                1 => QoS::AtLeastOnce,
                _ => QoS::ExactlyOnce,
            })
            .retain_available(self.retain_available)
            .keep_alive_secs_max(self.keep_alive_seconds_max)
            .sidecar_bytes_max(self.sidecar_bytes_max)
    }

    pub(crate) fn server(&self, serving: &Serving) -> Server {
        let mut config = ServerConfig::new(serving.authenticator.clone())
            .machine(self.machine())
            .session_expiry_secs_max(self.session_expiry_seconds_max);
        config.in_flight_max = self.in_flight_max.max(1);
        config.write_bytes_max = self.write_bytes_max;
        config.answer_bytes_max = self.answer_bytes_max;
        config.subscribes_max = self.subscribes_max.max(1);
        config.close_timeout = Duration::from_secs(self.close_timeout_seconds);
        Server::new(serving.endpoint.clone(), config)
    }
}
