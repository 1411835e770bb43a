//! A message that `mosquitto_pub` publishes is polled, locked and completed by curl, and the other way round.

use crate::support::{Hub, curl, curl_with, shown};

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn from_mqtt_to_a_queue_and_by_http_out_of_it() {
    let hub = Hub::start();
    let queue = hub.v1("messages/queues/orders");
    assert_eq!(curl(&[&queue]).status, 204, "an empty queue");
    hub.mosquitto_pub(&["-V", "mqttv5", "-q", "1", "-t", "queues/orders", "-m", "one road"]);
    let got = curl(&[&queue]);
    assert_eq!((got.status, &got.body[..]), (200, &b"one road"[..]));
    assert_eq!(curl(&[&queue]).status, 204, "it is locked");
    let lock = hub.v1(&format!("locks/{}", got.token()));
    assert_eq!(curl(&["-X", "DELETE", &lock]).status, 204);
    assert_eq!(curl(&["-X", "DELETE", &lock]).status, 204, "the same once more changes nothing");
    assert_eq!(curl(&["-X", "POST", &format!("{lock}/abandon")]).status, 412, "it is completed");
    assert_eq!(curl(&[&queue]).status, 204);
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn abandoned_released_and_rejected_by_http() {
    let hub = Hub::start();
    let queue = hub.v1("messages/queues/jobs");
    hub.mosquitto_pub(&["-q", "2", "-t", "queues/jobs", "-m", "job"]);
    for step in ["abandon", "release", "reject"] {
        let got = curl(&[&queue]);
        assert_eq!((got.status, &got.body[..]), (200, &b"job"[..]), "before {step}");
        let answer = curl(&["-X", "POST", &hub.v1(&format!("locks/{}/{step}", got.token()))]);
        assert_eq!(answer.status, 204, "{step}: {answer:?}");
    }
    assert_eq!(curl(&[&queue]).status, 204);
    let dead = curl(&[&hub.v1("messages/%24dead/jobs")]);
    assert_eq!((dead.status, &dead.body[..]), (200, &b"job"[..]), "dead letters are an ordinary queue");
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn a_subscription_makes_a_queue_follow_topics() {
    let hub = Hub::start();
    let body = r#"{"filters": ["plant/+/alarm"], "qos": 1}"#;
    let put = ["-X", "PUT", "-H", "content-type: application/json", "-d", body];
    let made = curl(&[&put[..], &[&hub.v1("subscriptions/alarms")]].concat());
    assert!(matches!(made.status, 200 | 201 | 204), "{made:?}");
    hub.mosquitto_pub(&["-V", "mqttv311", "-q", "1", "-t", "plant/7/alarm", "-m", "too hot"]);
    hub.mosquitto_pub(&["-V", "mqttv311", "-q", "1", "-t", "plant/7/state", "-m", "not this"]);
    let got = curl(&[&hub.v1("messages/queues/alarms")]);
    assert_eq!((got.status, &got.body[..]), (200, &b"too hot"[..]));
    assert_eq!(curl(&["-X", "DELETE", &hub.v1(&format!("locks/{}", got.token()))]).status, 204);
    assert_eq!(curl(&[&hub.v1("messages/queues/alarms")]).status, 204);
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn a_held_poll_is_answered_by_a_publish() {
    let hub = Hub::start();
    let queue = hub.v1("messages/queues/wait");
    std::thread::scope(|scope| {
        let poll = scope.spawn(|| curl(&["-H", "Prefer: wait=15", &queue]));
        std::thread::sleep(std::time::Duration::from_millis(300));
        hub.mosquitto_pub(&["-q", "1", "-t", "queues/wait", "-m", "now"]);
        let got = poll.join().unwrap();
        assert_eq!((got.status, &got.body[..]), (200, &b"now"[..]));
    });
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn from_http_to_mqtt_with_every_byte() {
    let hub = Hub::start();
    let payload: Vec<u8> = (0..=255).collect();
    for version in ["mqttv311", "mqttv5"] {
        let mut subscriber = hub.mosquitto_sub(&["-V", version, "-q", "2", "-t", "plant/#"]);
        let url = hub.v1("messages/plant/7/temp%C3%A9rature");
        let answer = curl_with(&["--data-binary", "@-", &url], &payload);
        assert_eq!(answer.status, 202, "{answer:?}");
        assert_eq!(subscriber.line("MSG "), shown("plant/7/température", 1, false, &payload));
    }
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn the_same_idempotency_key_makes_one_message() {
    let hub = Hub::start();
    let mut subscriber = hub.mosquitto_sub(&["-q", "1", "-t", "once"]);
    for _ in 0..2 {
        let answer = curl(&["-H", "Idempotency-Key: \"k1\"", "-d", "x", &hub.v1("messages/once")]);
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    assert_eq!(subscriber.line("MSG "), shown("once", 1, false, b"x"));
    assert!(subscriber.stray("MSG ").is_empty());
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn errors_are_problem_details() {
    let hub = Hub::start();
    for (url, status) in [(hub.v1("messages/plant/7"), 409), (hub.v1("nothing"), 404), (hub.v1("messages/a%00b"), 400)]
    {
        let answer = curl(&[&url]);
        assert_eq!(answer.status, status, "{url}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{url}: {answer:?}");
    }
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn the_hub_tells_its_health_and_figures() {
    let hub = Hub::start();
    let root = format!("http://127.0.0.1:{}", hub.http);
    assert_eq!(curl(&[&format!("{root}/healthz")]).status, 200);
    hub.mosquitto_pub(&["-q", "1", "-t", "counted", "-m", "12345"]);
    let metrics = curl(&[&format!("{root}/metrics")]);
    let text = String::from_utf8(metrics.body).unwrap();
    assert_eq!(metrics.status, 200);
    assert!(text.lines().any(|line| line.starts_with("roadbed_broker_messages_in_total ")), "{text}");
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn http_2_carries_the_same() {
    let hub = Hub::start();
    let queue = hub.v1("messages/queues/two");
    assert_eq!(curl(&["--http2-prior-knowledge", "-d", "x", &queue]).status, 202);
    let got = curl(&["--http2-prior-knowledge", &queue]);
    assert_eq!((got.status, &got.body[..]), (200, &b"x"[..]));
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn a_hub_that_is_told_to_end_answers_held_polls() {
    let mut hub = Hub::start();
    let queue = hub.v1("messages/queues/never");
    std::thread::scope(|scope| {
        let poll = scope.spawn(|| curl(&["-H", "Prefer: wait=15", &queue]));
        std::thread::sleep(std::time::Duration::from_millis(500));
        let told = std::time::Instant::now();
        hub.process.terminate();
        assert_eq!(poll.join().unwrap().status, 204);
        assert!(told.elapsed() < std::time::Duration::from_secs(5));
    });
    assert_eq!(hub.process.exit_code(), Some(0));
}
