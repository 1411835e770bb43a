//! Proton, a client of AMQP 1.0 that is not ours, at the hub. Each script ends with 0 only if all that it checks is so.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::{Hub, Process, curl, curl_with, finish, peer, roadbed, script, script_at, shown};

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn messages_come_out_as_they_went_in() {
    script("proton_messages.py", |hub| hub.amqp);
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn links_and_outcomes() {
    script("proton_links.py", |hub| hub.amqp);
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn transactions() {
    script("proton_transactions.py", |hub| hub.amqp);
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn requests_and_their_answers() {
    script("proton_management.py", |hub| hub.amqp);
    script("proton_requests.py", |hub| hub.amqp);
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn logs() {
    script("proton_logs.py", |hub| hub.amqp);
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn users_come_in_by_scram() {
    let mut hash = roadbed();
    let hash = hash.args(["hash", "--scram", "--iterations", "4096", "alice"]).stdin(Stdio::piped());
    let mut hash = hash.stdout(Stdio::piped()).spawn().expect("roadbed runs");
    hash.stdin.take().expect("piped").write_all(b"secret").expect("written");
    let line = String::from_utf8(hash.wait_with_output().expect("it ends").stdout).expect("a line");
    let mut config = tempfile::NamedTempFile::new().expect("a file");
    write!(config, "[users]\n{line}").expect("written");
    let hub = Hub::with(&["--config", config.path().to_str().expect("a path")]);
    script_at(&hub, "proton_scram.py", |hub| hub.amqp);
}

fn proton(hub: &Hub, arguments: &[&str]) -> Command {
    let mut command = peer("python3");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/peers/proton_command.py");
    command.arg(script).arg(hub.amqp.to_string()).args(arguments);
    command
}

/// Sends with Proton; the outcome must be accepted.
fn send(hub: &Hub, address: &str, payload: &[u8], properties: &[&str]) {
    let digits: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
    let output = finish(proton(hub, &["send", address, &digits]).args(properties));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.starts_with("OUTCOME 36 "), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// A receiver with Proton that is attached.
fn receiver(hub: &Hub, address: &str, count: usize, outcome: &str) -> Process {
    let mut process = Process::start(&mut proton(hub, &["receive", address, &count.to_string(), outcome]));
    process.line("READY");
    process
}

/// The next message of an address, settled: the receiver has ended in good order.
fn received(hub: &Hub, address: &str, outcome: &str) -> serde_json::Value {
    let mut process = receiver(hub, address, 1, outcome);
    let got = message(&mut process);
    assert_eq!(process.exit_code(), Some(0));
    got
}

fn message(process: &mut Process) -> serde_json::Value {
    let line = process.line("MSG ");
    serde_json::from_str(line.trim_start_matches("MSG ")).expect("it is JSON")
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn from_mqtt_to_amqp() {
    let hub = Hub::start();
    let mut follower = receiver(&hub, "plant/+/temp", 3, "ACCEPTED");
    for (qos, version) in [("0", "mqttv311"), ("1", "mqttv311"), ("2", "mqttv5")] {
        hub.mosquitto_pub(&["-V", version, "-q", qos, "-t", "plant/7/temp", "-m", "21"]);
        let got = message(&mut follower);
        assert_eq!((&got["body"], &got["to"]), (&"3231".into(), &"plant/7/temp".into()), "QoS {qos}: {got}");
    }
    assert_eq!(follower.exit_code(), Some(0));
    let properties = ["-D", "PUBLISH", "user-property", "unit", "°C", "-D", "PUBLISH", "content-type", "text/plain"];
    let answers = ["-D", "PUBLISH", "response-topic", "answers/7", "-D", "PUBLISH", "correlation-data", "c-7"];
    let publish = ["-V", "mqttv5", "-q", "1", "-t", "queues/readings", "-m", "21"];
    hub.mosquitto_pub(&[&publish[..], &properties, &answers].concat());
    let got = received(&hub, "queues/readings", "ACCEPTED");
    assert_eq!(got["properties"]["unit"], "°C", "{got}");
    assert_eq!((&got["content_type"], &got["reply_to"]), (&"text/plain".into(), &"answers/7".into()), "{got}");
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn from_amqp_to_mqtt_with_every_byte() {
    let hub = Hub::start();
    let payload: Vec<u8> = (0..=255).collect();
    for version in ["mqttv311", "mqttv5"] {
        let mut subscriber = hub.mosquitto_sub(&["-V", version, "-q", "2", "-t", "plant/#"]);
        send(&hub, "plant/7/temp", &payload, &[]);
        assert_eq!(subscriber.line("MSG "), shown("plant/7/temp", 1, false, &payload));
    }
    let mut subscriber = Process::start(
        peer("mosquitto_sub")
            .args(["-p", &hub.mqtt.to_string(), "-V", "mqttv5", "-q", "1", "-d", "-t", "told"])
            .args(["-F", "MSG %p %C %R %P"]),
    );
    subscriber.line("Subscribed (mid");
    send(&hub, "told", b"21", &["unit=K"]);
    let line = subscriber.line("MSG ");
    assert!(line.starts_with("MSG 21 text/plain answers/1 ") && line.contains("unit:K"), "{line}");
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn from_http_to_amqp_and_back() {
    let hub = Hub::start();
    let queue = hub.v1("messages/queues/orders");
    let payload: Vec<u8> = (0..=255).rev().collect();
    let posted = curl_with(&["-H", "Content-Type: application/x-order", "--data-binary", "@-", &queue], &payload);
    assert_eq!(posted.status, 202, "{posted:?}");
    let got = received(&hub, "queues/orders", "ACCEPTED");
    let digits: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((&got["body"], &got["content_type"]), (&digits.into(), &"application/x-order".into()), "{got}");
    assert_eq!(curl(&[&queue]).status, 204, "Proton has accepted it");

    send(&hub, "queues/orders", &payload, &[]);
    let got = curl(&[&queue]);
    assert_eq!((got.status, &got.body), (200, &payload));
    assert_eq!(got.header("content-type"), Some("text/plain"), "{got:?}");
    assert_eq!(curl(&["-X", "DELETE", &hub.v1(&format!("locks/{}", got.token()))]).status, 204);
    assert_eq!(curl(&[&queue]).status, 204);
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn rejected_over_amqp_and_read_over_http_and_mqtt() {
    let hub = Hub::start();
    for n in [b"1", b"2"] {
        send(&hub, "queues/jobs", n, &["kind=hard"]);
        assert_eq!(received(&hub, "queues/jobs", "REJECTED")["properties"]["kind"], "hard");
    }
    let dead = curl(&[&hub.v1("messages/%24dead/jobs")]);
    assert_eq!((dead.status, &dead.body[..]), (200, &b"1"[..]), "{dead:?}");
    assert_eq!(curl(&["-X", "DELETE", &hub.v1(&format!("locks/{}", dead.token()))]).status, 204);
    let mut reader = hub.mosquitto_sub(&["-V", "mqttv5", "-q", "1", "-t", "$dead/jobs"]);
    assert_eq!(reader.line("MSG "), shown("queues/jobs", 1, false, b"2"), "it keeps its address");
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn rejected_over_http_and_read_over_amqp() {
    let hub = Hub::start();
    hub.mosquitto_pub(&["-q", "1", "-t", "queues/jobs", "-m", "job"]);
    let got = curl(&[&hub.v1("messages/queues/jobs")]);
    assert_eq!(curl(&["-X", "POST", &hub.v1(&format!("locks/{}/reject", got.token()))]).status, 204);
    let dead = received(&hub, "$dead/jobs", "ACCEPTED");
    assert_eq!(dead["body"], "6a6f62", "{dead}");
    let told = dead["annotations"].as_object().expect("it is an object");
    assert!(told.iter().any(|(name, _)| name.ends_with("roadbed-reason")), "why it is dead: {dead}");
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn receivers_over_all_protocols_compete() {
    let hub = Hub::start();
    for n in 0..20 {
        send_by(&hub, n);
    }
    let queue = hub.v1("messages/queues/shared");
    let mut seen = Vec::new();
    for _ in 0..10 {
        let got = curl(&[&queue]);
        assert_eq!(curl(&["-X", "DELETE", &hub.v1(&format!("locks/{}", got.token()))]).status, 204);
        seen.push(String::from_utf8(got.body).expect("a number"));
    }
    let mut proton = receiver(&hub, "queues/shared", 10, "ACCEPTED");
    for _ in 0..10 {
        let digits = message(&mut proton)["body"].as_str().expect("digits").to_owned();
        let bytes = digits
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("digits"));
        seen.push(String::from_utf8(bytes.collect()).expect("a number"));
    }
    seen.sort_by_key(|number| number.parse::<u32>().expect("a number"));
    assert_eq!(seen, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(curl(&[&queue]).status, 204);
}

fn send_by(hub: &Hub, n: u32) {
    let text = n.to_string();
    match n % 10 {
        0 => send(hub, "queues/shared", text.as_bytes(), &[]),
        1..5 => hub.mosquitto_pub(&["-q", "1", "-t", "queues/shared", "-m", &text]),
        _ => assert_eq!(curl(&["-d", &text, &hub.v1("messages/queues/shared")]).status, 202),
    }
}
