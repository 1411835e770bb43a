//! The gates of a hub: who comes in by each protocol, what is refused and how, and that no secret is in a log. The classes of bugs of other brokers that belong here are
//! named in the tests.

#[path = "../serving/mod.rs"]
mod serving;
mod support;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use roadbed::{Message, Outcome, Qos, Url};
use support::{Hub, JWT_SECRET, Mqtt, PASSWORD, SAS_KEY, add_user, token};

const FAR: u64 = 4_000_000_000;
/// Not authorized, in MQTT 5.
const NOT_AUTHORIZED: u8 = 0x87;

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn soon(seconds: u64) -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() + seconds
}

fn jwt(subject: &str) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
    let claims = format!("{{\"sub\":\"{subject}\",\"exp\":{}}}", soon(600));
    let text = format!("{}.{}", encode("{\"alg\":\"HS256\"}".into()), encode(claims));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(JWT_SECRET.as_bytes()).expect("a key");
    mac.update(text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

#[test]
fn mqtt_says_what_is_refused_and_who() {
    let hub = Hub::start();
    assert_eq!(Mqtt::connect(&hub, 5, "alice", "guess", None).1, 0x86);
    assert_eq!(Mqtt::connect(&hub, 4, "alice", "guess", None).1, 4);
    assert_eq!(Mqtt::connect(&hub, 5, "d2", &token("d1", FAR), None).1, 0x86, "the token of another");
    assert_eq!(Mqtt::connect(&hub, 5, "d1", &token("d1", 1), None).1, 0x86, "a token that has ended");
    assert_eq!(Mqtt::connect(&hub, 5, "d1", &token("d1", FAR), Some("devices/d2/will")).1, NOT_AUTHORIZED);
    let (mut d1, code) = Mqtt::connect(&hub, 5, "d1", &token("d1", FAR), Some("devices/d1/will"));
    assert_eq!(code, 0);
    assert_eq!((d1.publish("devices/d1/a"), d1.publish("devices/d2/a")), (0x10, NOT_AUTHORIZED));
    for wider in ["#", "devices/#", "devices/+/a", "devices/d2/a", "plant/#", "$SYS/#"] {
        assert_eq!(d1.subscribe(5, wider), NOT_AUTHORIZED, "{wider}");
        assert_eq!(d1.subscribe(5, &format!("$share/group/{wider}")), NOT_AUTHORIZED, "shared {wider}");
    }
    assert_eq!(d1.subscribe(5, "devices/d1/+"), 1);
    assert_eq!(d1.publish("devices/d1/a"), 0);
    let (mut alice, code) = Mqtt::connect(&hub, 4, "alice", PASSWORD, None);
    assert_eq!((code, alice.subscribe(4, "#"), alice.subscribe(4, "plant/#")), (0, 0x80, 1));
    assert!(!alice.publish_v4("devices/d1/a"), "MQTT 3.1.1 has no negative answer: the connection ends");
    assert!(hub.metric("roadbed_refused_sends_total") >= 3 && hub.metric("roadbed_refused_binds_total") >= 13);
    assert_eq!(hub.metric("roadbed_logins_failed_total"), 4);
}

#[test]
fn http_answers_401_and_403() {
    let hub = Hub::start();
    let post = |authorization: &str, path: &str| hub.http("POST", path, authorization, "x").0;
    let alice = basic("alice", PASSWORD);
    for nobody in ["", "Bearer nonsense", "Digest x", &basic("alice", "guess"), &token("d1", 1)] {
        assert_eq!(post(nobody, "/v1/messages/queues/alice"), 401, "{nobody}");
    }
    for (alice, d1) in
        [(&alice, &token("d1", FAR)), (&format!("Bearer {}", jwt("alice")), &basic("d1", &token("d1", FAR)))]
    {
        assert_eq!((post(alice, "/v1/messages/queues/alice"), post(d1, "/v1/messages/queues/alice")), (202, 403));
        assert_eq!((post(d1, "/v1/messages/queues/d1"), post(alice, "/v1/messages/queues/d1")), (202, 403));
        assert_eq!(hub.http("GET", "/v1/messages/queues/alice", d1, "").0, 403, "taking from it");
        assert_eq!(hub.http("DELETE", "/v1/queues/alice", d1, "").0, 403, "deleting it");
        assert_eq!(hub.http("DELETE", "/v1/queues/d1", d1, "").0, 403, "nor its own, without the right");
        assert_eq!(hub.http("GET", "/v1/messages/queues/alice", alice, "").0, 200);
    }
    let forged = [jwt("alice").rsplit_once('.').expect("three parts").0, "."].concat();
    assert_eq!(post(&format!("Bearer {forged}"), "/v1/messages/queues/alice"), 401, "unsigned");
}

#[tokio::test]
async fn amqp_rejects_and_detaches() {
    let hub = Hub::start();
    let url = |user: &str, password: &str| -> Url {
        format!("amqp://{user}:{password}@{}", hub.amqp).parse().expect("a URL")
    };
    assert!(roadbed::connect(&url("alice", "guess")).await.is_err());
    let alice = roadbed::connect(&url("alice", PASSWORD)).await.expect("let in");
    let sender = alice.sender().await.expect("attached");
    let send = |to: &'static str| sender.send(Message::new(to.parse().expect("an address"), "x"), Qos::AtLeastOnce);
    assert_eq!(send("queues/alice").await.expect("answered").outcome, Outcome::Accepted);
    let refused = send("queues/d1").await.expect("answered").outcome;
    assert_eq!(refused, Outcome::rejected(roadbed::Condition::Unauthorized));
    let refused = alice.receiver("queues/d1", Qos::AtLeastOnce).await;
    assert_eq!(refused.expect_err("not hers").kind(), roadbed::ErrorKind::Unauthorized);
}

#[test]
fn a_connection_ends_when_its_token_does() {
    let hub = Hub::start();
    // Thirty seconds of skew count to it.
    let (mut d1, code) = Mqtt::connect(&hub, 5, "d1", &token("d1", soon(0) - 28), None);
    assert_eq!(code, 0);
    let (first, body) = d1.packet().expect("a DISCONNECT");
    assert_eq!((first, body[0]), (0xE0, 0xA0), "maximum connect time");
    assert!(d1.packet().is_none());
}

#[test]
fn a_policy_holds_for_who_is_connected_already() {
    let hub = Hub::start();
    let (mut alice, _) = Mqtt::connect(&hub, 5, "alice", PASSWORD, None);
    assert_eq!(alice.publish("plant/a"), 0x10);
    hub.change_policy("[[allow]]\nwho = [\"*\"]\nsend = [\"other/#\"]\n");
    assert_eq!((alice.publish("plant/a"), alice.publish("other/a")), (NOT_AUTHORIZED, 0x10));
    hub.change_policy("[[allow]]\nwho = 7\n");
    assert_eq!(alice.publish("other/a"), 0x10, "a broken one changes nothing");
}

#[test]
fn a_user_who_is_added_comes_in_after_a_hangup() {
    let hub = Hub::start();
    assert_eq!(Mqtt::connect(&hub, 5, "bob", "bobs password", None).1, 0x86);
    add_user(&hub.file("users.toml"), "bob", "bobs password");
    hub.change_policy("[[allow]]\nwho = [\"bob\"]\nsend = [\"plant/#\"]\n");
    let (mut bob, code) = Mqtt::connect(&hub, 5, "bob", "bobs password", None);
    assert_eq!((code, bob.publish("plant/a")), (0, 0x10));
}

/// Bug class 7: credentials in logs; default passwords.
#[tokio::test]
async fn bug_class_7_no_secret_is_in_a_log_at_any_level() {
    let hub = Hub::start();
    let sas = token("d1", FAR);
    let signature = sas.split("sig=").nth(1).and_then(|rest| rest.split('&').next()).expect("a signature").to_owned();
    let bearer = jwt("alice");
    for password in [PASSWORD, "wrong-horse-battery-staple"] {
        Mqtt::connect(&hub, 5, "alice", password, None);
        hub.http("POST", "/v1/messages/queues/alice", &basic("alice", password), "x");
        let url: Url = format!("amqp://alice:{password}@{}", hub.amqp).parse().expect("a URL");
        let _ = roadbed::connect(&url).await;
    }
    Mqtt::connect(&hub, 5, "d1", &sas, None);
    hub.http("POST", "/v1/messages/queues/d1", &sas, "x");
    hub.http("POST", "/v1/messages/queues/alice", &format!("Bearer {bearer}"), "x");
    for nobody in ["root", "admin", "guest", ""] {
        assert_ne!(Mqtt::connect(&hub, 5, nobody, nobody, None).1, 0, "there is no password by default");
    }
    let log = hub.log();
    assert!(log.contains("a login has failed") && log.contains("DEBUG"), "it logs at all");
    let encoded = STANDARD.encode(format!("alice:{PASSWORD}"));
    let jwt_signature = bearer.rsplit_once('.').expect("three parts").1;
    for secret in [PASSWORD, "wrong-horse", SAS_KEY, JWT_SECRET, &signature, &encoded, jwt_signature, "$argon2id$"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[test]
fn who_guesses_waits_and_nobody_learns_which_names_there_are() {
    let hub = Hub::start();
    let took = |user: &str| {
        let began = std::time::Instant::now();
        let (status, answer) = hub.http("POST", "/v1/messages/queues/alice", &basic(user, "guess"), "x");
        assert_eq!(status, 401);
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        (began.elapsed(), body)
    };
    let ((_, known), (_, unknown)) = (took("alice"), took("nobody"));
    assert_eq!(known, unknown, "the same answer");
    let waits: Vec<Duration> = (0..5).map(|_| took("alice").0).collect();
    assert!(waits[4] > Duration::from_millis(400), "{waits:?}");
    assert!(hub.metric("roadbed_logins_delayed_total") >= 2);
}
