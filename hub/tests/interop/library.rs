//! Client libraries at the hub, over TCP and over WebSocket: `paho-mqtt` and `aiomqtt` of Python, `rhea` of JavaScript. Proton has a file of its own.

use crate::support::{script, script_over_websocket};

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn paho() {
    script("paho_client.py", |hub| hub.mqtt);
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn aiomqtt() {
    script("aiomqtt_client.py", |hub| hub.mqtt);
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn rhea() {
    script("rhea_client.js", |hub| hub.amqp);
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn paho_over_websocket() {
    script_over_websocket("paho_client.py");
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn rhea_over_websocket() {
    script_over_websocket("rhea_client.js");
}
