//! `mosquitto_pub` and `mosquitto_sub` at the hub.

use crate::support::{Hub, curl, shown};

const VERSIONS: [&str; 2] = ["mqttv311", "mqttv5"];

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn publishes_and_subscribes_at_every_qos_over_both_versions() {
    let hub = Hub::start();
    for version in VERSIONS {
        for qos in 0..=2 {
            let (topic, level) = (format!("t/{version}/{qos}"), qos.to_string());
            let mut subscriber = hub.mosquitto_sub(&["-V", version, "-q", &level, "-t", &topic]);
            hub.mosquitto_pub(&["-V", version, "-q", &level, "-t", &topic, "-m", "first"]);
            hub.mosquitto_pub(&["-V", version, "-q", &level, "-t", &topic, "-n"]);
            assert_eq!(subscriber.line("MSG "), shown(&topic, qos, false, b"first"));
            assert_eq!(subscriber.line("MSG "), shown(&topic, qos, false, b""));
            assert!(subscriber.stray("MSG ").is_empty(), "nothing comes twice");
        }
    }
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn the_assurance_is_the_lower_of_both_sides() {
    let hub = Hub::start();
    for (sent, taken) in [(0, 2), (1, 2), (2, 1), (2, 0), (1, 0)] {
        let topic = format!("t/{sent}/{taken}");
        let mut subscriber = hub.mosquitto_sub(&["-V", "mqttv5", "-q", &taken.to_string(), "-t", &topic]);
        hub.mosquitto_pub(&["-V", "mqttv311", "-q", &sent.to_string(), "-t", &topic, "-m", "x"]);
        assert_eq!(subscriber.line("MSG "), shown(&topic, sent.min(taken), false, b"x"));
    }
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn many_messages_come_in_order_and_once() {
    let hub = Hub::start();
    for (version, qos) in [("mqttv311", 1), ("mqttv5", 2)] {
        let (topic, level) = (format!("many/{version}"), qos.to_string());
        let mut subscriber = hub.mosquitto_sub(&["-V", version, "-q", &level, "-t", &topic]);
        let arguments = ["-V", version, "-q", &level, "-t", &topic, "-m", "again", "--repeat", "500"];
        hub.mosquitto_pub(&arguments);
        let got = subscriber.lines("MSG ", 500);
        assert!(got.iter().all(|line| *line == shown(&topic, qos, false, b"again")));
        assert!(subscriber.stray("MSG ").is_empty());
    }
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn retained_values_are_kept_and_cleared() {
    let hub = Hub::start();
    for version in VERSIONS {
        let topic = format!("last/{version}");
        hub.mosquitto_pub(&["-V", version, "-q", "1", "-r", "-t", &topic, "-m", "kept"]);
        let mut first = hub.mosquitto_sub(&["-V", version, "-q", "1", "-t", &topic]);
        assert_eq!(first.line("MSG "), shown(&topic, 1, true, b"kept"));
        hub.mosquitto_pub(&["-V", version, "-q", "1", "-r", "-t", &topic, "-n"]);
        assert_eq!(first.line("MSG "), shown(&topic, 1, false, b""));
        let mut second = hub.mosquitto_sub(&["-V", version, "-q", "1", "-t", &topic]);
        assert!(second.stray("MSG ").is_empty(), "the value was cleared");
    }
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn a_will_is_sent_for_a_client_that_is_killed_and_not_for_one_that_leaves() {
    let hub = Hub::start();
    let mut witness = hub.mosquitto_sub(&["-V", "mqttv5", "-q", "1", "-t", "will/#"]);
    for version in VERSIONS {
        let topic = format!("will/{version}");
        let will = ["-V", version, "-t", "other", "--will-topic", &topic, "--will-payload", "gone", "--will-qos", "1"];
        hub.mosquitto_sub(&will).kill();
        assert_eq!(witness.line("MSG "), shown(&topic, 1, false, b"gone"));
        let mut leaving = hub.mosquitto_sub(&[&will[..], &["-E"]].concat());
        assert_eq!(leaving.exit_code(), Some(0));
        assert!(witness.stray("MSG ").is_empty(), "{version}: it left in good order");
    }
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn shared_subscribers_divide_the_messages() {
    let hub = Hub::start();
    let subscribe = || hub.mosquitto_sub(&["-V", "mqttv5", "-q", "1", "-t", "$share/workers/jobs"]);
    let (mut one, mut other) = (subscribe(), subscribe());
    hub.mosquitto_pub(&["-q", "1", "-t", "jobs", "-m", "job", "--repeat", "100"]);
    let (mut of_one, mut of_other) = (0, 0);
    for _ in 0..20 {
        of_one += one.stray("MSG ").len();
        of_other += other.stray("MSG ").len();
        if of_one + of_other >= 100 {
            break;
        }
    }
    assert_eq!(of_one + of_other, 100);
    assert!(of_one > 0 && of_other > 0, "{of_one} and {of_other}");
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn a_kept_session_gets_what_came_while_it_was_away() {
    let hub = Hub::start();
    for version in VERSIONS {
        let id = format!("keeper-{version}");
        let mut arguments = vec!["-V", version, "-i", &id, "-q", "1", "-t", "away/#", "-c"];
        if version == "mqttv5" {
            arguments.extend(["-x", "3600"]);
        }
        let first = hub.mosquitto_sub(&arguments);
        first.terminate();
        drop(first);
        hub.mosquitto_pub(&["-q", "1", "-t", "away/1", "-m", "kept for you"]);
        let mut again = hub.mosquitto_sub(&arguments);
        assert_eq!(again.line("MSG "), shown("away/1", 1, false, b"kept for you"));
        hub.mosquitto_pub(&["-q", "1", "-t", "away/2", "-m", "and now"]);
        assert_eq!(again.line("MSG "), shown("away/2", 1, false, b"and now"));
    }
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn wildcards_match_and_system_topics_are_there() {
    let hub = Hub::start();
    let mut system = hub.mosquitto_sub(&["-V", "mqttv5", "-t", "$SYS/broker/#"]);
    assert!(system.line("MSG $SYS/broker/version").contains(" 0 1 "), "it is retained");
    system.line("MSG $SYS/broker/clients/connected");
    let mut plant = hub.mosquitto_sub(&["-t", "plant/+/alarm/#"]);
    let mut all = hub.mosquitto_sub(&["-t", "#"]);
    hub.mosquitto_pub(&["-t", "plant/7/alarm", "-m", "a"]);
    hub.mosquitto_pub(&["-t", "plant/7/state", "-m", "b"]);
    hub.mosquitto_pub(&["-t", "plant/7/alarm/high", "-m", "c"]);
    assert_eq!(plant.line("MSG "), shown("plant/7/alarm", 0, false, b"a"));
    assert_eq!(plant.line("MSG "), shown("plant/7/alarm/high", 0, false, b"c"));
    assert_eq!(all.lines("MSG plant/", 3).len(), 3);
    assert!(all.stray("MSG $SYS").is_empty(), "a leading wildcard does not match $SYS");
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn a_hub_that_is_told_to_end_says_so_and_ends() {
    let mut hub = Hub::start();
    let mut subscriber = hub.mosquitto_sub(&["-V", "mqttv5", "-t", "x"]);
    hub.process.terminate();
    let line = subscriber.line("DISCONNECT");
    assert!(line.contains("139"), "MQTT 5 says 0x8B, the server is shutting down: {line}");
    assert_eq!(hub.process.exit_code(), Some(0));
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn a_log_is_followed_by_mqtt_and_read_by_http_as_the_readme_says() {
    let hub = Hub::start();
    let url = |path: &str| format!("http://127.0.0.1:{}/v1/logs/telemetry{path}", hub.http);
    let made = r#"{"log":{"partitions":1},"filters":["plant/#"]}"#;
    assert_eq!(curl(&["-X", "PUT", &url(""), "-d", made]).status, 201);
    let kept = ["-V", "mqttv311", "-i", "reader", "-c", "-q", "1", "-t", "logs/telemetry/0"];
    let mut reader = hub.mosquitto_sub(&kept);
    hub.mosquitto_pub(&["-q", "1", "-t", "plant/7/temp", "-m", "21.5"]);
    assert_eq!(reader.line("MSG "), shown("plant/7/temp", 1, false, b"21.5"));
    drop(reader);
    // A kept subscription has what was appended while it was away, and once.
    hub.mosquitto_pub(&["-q", "1", "-t", "plant/7/temp", "-m", "22"]);
    let mut reader = hub.mosquitto_sub(&kept);
    assert_eq!(reader.line("MSG "), shown("plant/7/temp", 1, false, b"22"));
    assert!(reader.stray("MSG ").is_empty(), "nothing comes twice");
    let page: serde_json::Value = serde_json::from_slice(&curl(&[&url("/0?from=earliest")]).body).expect("JSON");
    assert_eq!(page["messages"][0]["data"], "21.5");
    assert_eq!(page["messages"][1]["data"], "22");
    assert_eq!(page["next"], 2);
    assert_eq!(curl(&["-X", "PUT", &url("/groups/billing/0"), "-d", r#"{"next":1}"#]).status, 200);
    let page: serde_json::Value = serde_json::from_slice(&curl(&[&url("/0?group=billing")]).body).expect("JSON");
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(1));
}
