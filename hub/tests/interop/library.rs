//! The Python clients at the hub: `paho-mqtt` and `aiomqtt`. Each script ends with 0 only if all that it checks is so.

use crate::support::{Hub, finish, peer};

fn script(name: &str) {
    let hub = Hub::start();
    let path = format!("{}/tests/interop/peers/{name}.py", env!("CARGO_MANIFEST_DIR"));
    let output = finish(peer("python3").arg(path).arg(hub.mqtt.to_string()));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}: {out}\n{err}");
    assert!(out.contains("all checks passed"), "{name}: {out}\n{err}");
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn paho() {
    script("paho_client");
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn aiomqtt() {
    script("aiomqtt_client");
}
