//! The configuration: every listener, user and limit of the hub.

mod load;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use roadbed::auth::{GuardSettings, JwtSettings, SasSettings};
use roadbed::broker::Settings;
use roadbed::http::HttpConfig;
use serde::{Deserialize, Serialize};

use crate::amqp::Amqp;
use crate::auth::{Auth, Secrets};
use crate::logs::Log;
use crate::mqtt::Mqtt;
use crate::queues::Queue;
use crate::roads::{Courier, Road, Roads, Tls};
use crate::store::Store;
use crate::ws::Ws;

/// The configuration file. Every key has a default; a key that is not known is an error.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// Where the hub listens.
    pub listen: Listen,
    /// With what it speaks TLS.
    pub tls: Tls,
    /// How connections arrive.
    pub roads: Roads,
    /// What concerns the hub as a whole.
    pub hub: Hub,
    /// Who may come in: names, and what is kept of their passwords.
    pub users: BTreeMap<String, Secrets>,
    /// Who may come in otherwise, and what they may do.
    pub auth: Auth,
    /// How those who fail to come in are slowed down.
    pub guard: GuardSettings,
    /// Whose SAS tokens are taken: `[[sas]]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sas: Vec<SasSettings>,
    /// Whose JSON Web Tokens are taken: `[[jwt]]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jwt: Vec<JwtSettings>,
    /// How much everybody may use.
    pub limits: Limits,
    /// Where promises are kept.
    pub store: Store,
    /// The bounds of the broker.
    pub broker: Settings,
    /// Queues that are there from the start: `[[queue]]`.
    #[serde(rename = "queue", skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<Queue>,
    /// Logs that exist from the start.
    #[serde(rename = "log", skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<Log>,
    /// The MQTT server.
    pub mqtt: Mqtt,
    /// The HTTP server.
    pub http: HttpConfig,
    /// The AMQP server.
    pub amqp: Amqp,
    /// WebSocket on the HTTP listeners.
    pub ws: Ws,
}

/// Where the hub listens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Listen {
    /// For MQTT.
    pub mqtt: Vec<SocketAddr>,
    /// For HTTP.
    pub http: Vec<SocketAddr>,
    /// For AMQP.
    pub amqp: Vec<SocketAddr>,
    /// For MQTT over TLS.
    pub mqtts: Vec<SocketAddr>,
    /// For HTTP over TLS.
    pub https: Vec<SocketAddr>,
    /// For AMQP over TLS.
    pub amqps: Vec<SocketAddr>,
    /// For WebSocket alone.
    pub ws: Vec<SocketAddr>,
    /// For WebSocket alone, over TLS.
    pub wss: Vec<SocketAddr>,
    /// For all of them on one port, told apart by what comes first.
    pub any: Vec<SocketAddr>,
}

impl Listen {
    /// No listeners.
    pub const NONE: Self = Self {
        mqtt: Vec::new(),
        http: Vec::new(),
        amqp: Vec::new(),
        mqtts: Vec::new(),
        https: Vec::new(),
        amqps: Vec::new(),
        ws: Vec::new(),
        wss: Vec::new(),
        any: Vec::new(),
    };

    /// All addresses.
    pub fn all(&self) -> impl Iterator<Item = &SocketAddr> {
        self.roads().into_iter().flat_map(|(_, addresses)| addresses)
    }

    /// Those at which nothing is encrypted; with `any`, the port for all is one of them.
    pub fn plain(&self, any: bool) -> impl Iterator<Item = &SocketAddr> {
        let plain = move |road: &Road| !road.secure && (any || road.courier.is_some());
        self.roads().into_iter().filter(move |(road, _)| plain(road)).flat_map(|(_, addresses)| addresses)
    }

    /// Those where there is nothing but TLS.
    pub fn secure(&self) -> impl Iterator<Item = &SocketAddr> {
        self.roads().into_iter().filter(|(road, _)| road.secure).flat_map(|(_, addresses)| addresses)
    }

    pub(crate) fn roads(&self) -> [(Road, &Vec<SocketAddr>); 9] {
        [
            (Road::plain("mqtt", Courier::Mqtt), &self.mqtt),
            (Road::plain("http", Courier::Http), &self.http),
            (Road::plain("amqp", Courier::Amqp), &self.amqp),
            (Road::secure("mqtts", Courier::Mqtt), &self.mqtts),
            (Road::secure("https", Courier::Http), &self.https),
            (Road::secure("amqps", Courier::Amqp), &self.amqps),
            (Road::plain("ws", Courier::Ws), &self.ws),
            (Road::secure("wss", Courier::Ws), &self.wss),
            (Road::ANY, &self.any),
        ]
    }

    /// The addresses of a road.
    pub(crate) fn of(&mut self, road: Road) -> &mut Vec<SocketAddr> {
        match road.name {
            "mqtt" => &mut self.mqtt,
            "http" => &mut self.http,
            "amqp" => &mut self.amqp,
            "mqtts" => &mut self.mqtts,
            "https" => &mut self.https,
            "amqps" => &mut self.amqps,
            "ws" => &mut self.ws,
            "wss" => &mut self.wss,
            _ => &mut self.any,
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        let local = |port| vec![SocketAddr::from(([127, 0, 0, 1], port))];
        Self { mqtt: local(1883), http: local(8080), amqp: local(5672), ..Self::NONE }
    }
}

/// What concerns the hub as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Hub {
    /// Let everybody in, also from other machines.
    pub insecure: bool,
    /// How often the `$SYS` topics are published, in seconds; 0: never.
    pub sys_interval_seconds: u64,
    /// How long a shutdown waits for its connections, in seconds.
    pub drain_seconds: u64,
    /// How many connections the system keeps waiting for each listener.
    pub backlog: u32,
}

impl Default for Hub {
    fn default() -> Self {
        Self { insecure: false, sys_interval_seconds: 10, drain_seconds: 5, backlog: 4096 }
    }
}

/// How much everybody may use, whatever the protocol. 0 is no bound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Limits {
    /// Connections at a time, over all listeners.
    pub connections_max: usize,
    /// Connections at a time from one address of another machine.
    pub address_connections_max: usize,
    /// Sessions of one identity that are connected at a time.
    pub identity_sessions_max: u32,
    /// Messages that one identity may send in a second.
    pub identity_messages_per_second: u32,
    /// Messages that one identity may send at once; 0: as many as in a second.
    pub identity_burst: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 200_000,
            address_connections_max: 4096,
            identity_sessions_max: 10_000,
            identity_messages_per_second: 0,
            identity_burst: 0,
        }
    }
}

impl Config {
    /// The default configuration as a file, with a comment at every key.
    pub const COMMENTED: &'static str = include_str!("config/default.toml");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commented_defaults_are_the_defaults_and_name_every_key() {
        let printed = Config::parse(Config::COMMENTED, "default.toml").unwrap();
        assert_eq!(printed, Config::default());
        let named = keys(&Config::COMMENTED.parse().unwrap());
        let wanted = keys(&toml::Table::try_from(Config::default()).unwrap());
        let missing: Vec<_> = wanted.iter().filter(|key| !named.contains(key)).collect();
        assert!(missing.is_empty(), "config/default.toml lacks {missing:?}");
        assert_eq!(named.len(), wanted.len());
    }

    #[test]
    fn by_default_it_listens_for_every_protocol_on_this_machine_alone() {
        let all: Vec<_> = Listen::default().all().map(ToString::to_string).collect();
        assert_eq!(all, ["127.0.0.1:1883", "127.0.0.1:8080", "127.0.0.1:5672"]);
    }

    #[test]
    fn logs_are_an_array() {
        let text = "[[log]]\nname = \"events\"\npartitions = 2\n[[log]]\nname = \"audit\"\nfilters = [\"#\"]\n";
        let logs = Config::parse(text, "hub.toml").unwrap().logs;
        let named: Vec<_> = logs.iter().map(|log| (&*log.name, log.partitions, log.filters.len())).collect();
        assert_eq!(named, [("events", 2, 0), ("audit", 4, 1)]);
    }

    fn keys(table: &toml::Table) -> Vec<String> {
        let of_section = |(section, keys): (&String, &toml::Value)| {
            let keys = keys.as_table().expect("everything is in a section").keys();
            keys.map(|key| format!("{section}.{key}")).collect::<Vec<_>>()
        };
        table.iter().flat_map(of_section).collect()
    }

    #[test]
    fn every_key_has_a_comment() {
        let mut above = "";
        for line in Config::COMMENTED.lines() {
            let key = !line.is_empty() && !line.starts_with('#') && !line.starts_with('[');
            assert!(!key || above.starts_with('#'), "no comment above `{line}`");
            above = line;
        }
    }
}
