#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

// With no protocol, nothing is connected to.
#[cfg_attr(not(any(feature = "amqp", feature = "http", feature = "mqtt")), allow(dead_code, unused_variables))]
mod connect;
mod facade;
#[cfg_attr(not(any(feature = "amqp", feature = "http", feature = "mqtt")), allow(dead_code, unused_variables))]
mod proxy;
pub mod remote;
#[cfg_attr(not(any(feature = "amqp", feature = "http", feature = "mqtt")), allow(dead_code, unused_variables))]
mod url;

#[cfg(feature = "amqp")]
pub use roadbed_amqp as amqp;
#[cfg(feature = "auth")]
pub use roadbed_auth as auth;
#[cfg(feature = "broker")]
pub use roadbed_broker as broker;
#[cfg(feature = "http")]
pub use roadbed_http as http;
#[cfg(feature = "mqtt")]
pub use roadbed_mqtt as mqtt;
#[cfg(feature = "sasl")]
pub use roadbed_sasl as sasl;
#[cfg(feature = "journal")]
pub use roadbed_store_journal as journal;
#[cfg(feature = "tls")]
pub use roadbed_tls as tls;
#[cfg(feature = "ws")]
pub use roadbed_ws as ws;

#[cfg(feature = "broker")]
pub use broker::Broker;
pub use connect::{Route, connect, connect_by, endpoint, endpoint_by};
pub use facade::Client;
pub use roadbed_core::*;
pub use url::Url;
