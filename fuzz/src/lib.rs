//! What is fuzzed: each target is a plain function over bytes, which panics if a law is broken.
//!
//! The programs of `fuzz_targets/` run them under libFuzzer (`cargo xtask fuzz TARGET --seconds N`), and `tests/corpus.rs` runs them over the
//! corpus in the normal tests. Targets that take operations read them from the bytes by hand, in order, so that a seed can be written by hand, too.
#![forbid(unsafe_code)]

mod address;
mod amqp_decode;
mod amqp_machine;
mod amqp_sasl;
mod broker_queue;
mod cloud_event;
mod delivery;
mod filter;
mod http_message;
mod hub;
mod journal;
mod mqtt_decode;
mod mqtt_machine;
mod output;
mod policy;
mod sas;
mod sniff;
mod websocket;

pub use address::address;
pub use amqp_decode::amqp_decode;
pub use amqp_machine::{amqp_client, amqp_server};
pub use amqp_sasl::amqp_sasl;
pub use broker_queue::broker_queue;
pub use cloud_event::cloud_event;
pub use delivery::delivery;
pub use filter::filter;
pub use http_message::http_message;
pub use hub::hub;
pub use journal::{journal, journal_codec};
pub use mqtt_decode::{mqtt_decode_v3, mqtt_decode_v5};
pub use mqtt_machine::{mqtt_client, mqtt_server};
pub use output::output;
pub use policy::policy;
pub use sas::sas;
pub use sniff::sniff;
pub use websocket::websocket;

/// A target: its name and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target, by the name of its program and of its folder in `corpus/`.
pub const TARGETS: &[Target] = &[
    ("address", address),
    ("amqp_client", amqp_client),
    ("amqp_decode", amqp_decode),
    ("amqp_sasl", amqp_sasl),
    ("amqp_server", amqp_server),
    ("broker_queue", broker_queue),
    ("cloud_event", cloud_event),
    ("delivery", delivery),
    ("filter", filter),
    ("http_message", http_message),
    ("hub", hub),
    ("journal", journal),
    ("journal_codec", journal_codec),
    ("mqtt_client", mqtt_client),
    ("mqtt_decode_v3", mqtt_decode_v3),
    ("mqtt_decode_v5", mqtt_decode_v5),
    ("mqtt_server", mqtt_server),
    ("output", output),
    ("policy", policy),
    ("sas", sas),
    ("sniff", sniff),
    ("websocket", websocket),
];
