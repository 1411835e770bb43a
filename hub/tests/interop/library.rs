//! Client libraries at the hub: `paho-mqtt` and `aiomqtt` of Python, `rhea` of JavaScript. Proton has a file of its own.

use crate::support::script;

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
