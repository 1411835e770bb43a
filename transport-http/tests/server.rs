//! What the server answers, cell by cell, without a wire.

mod support;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use roadbed_core::{
    Authenticator, Capabilities, Condition, Confirm, Credential, Error, ErrorKind, Hold, Identity, Key, Managed,
    ManualClock, Message, NodeDescription, Outcome, Outgoing, Payload, Qos, QueueSettings, Reason, Result, Settled,
    Step, Time,
};
use roadbed_http::{HttpConfig, Routes, Server};
use serde_json::{Value, json};
use support::{Fake, call, confirm, request};

fn post(path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    with(request(Method::POST, path, body), headers)
}

fn get(path: &str, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    with(request(Method::GET, path, ""), headers)
}

fn with(mut request: Request<Full<Bytes>>, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    for (name, value) in headers {
        request.headers_mut().append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
    }
    request
}

fn document(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}

/// The answer is a problem document of this status that says what to do.
fn problem(response: &Response<Bytes>, status: u16) -> Value {
    assert_eq!(response.status().as_u16(), status, "{response:?}");
    assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    let problem = document(response);
    assert_eq!(problem["status"], status);
    assert!(problem["type"].as_str().unwrap().starts_with("urn:roadbed:problem:"), "{problem}");
    assert!(
        problem["title"].as_str().unwrap().len() > 3 && problem["detail"].as_str().unwrap().len() > 10,
        "{problem}"
    );
    problem
}

fn queued(payload: impl Into<Payload>) -> Message {
    Message::new("plant/7/alarm".parse().unwrap(), payload)
}

#[tokio::test]
async fn a_post_is_a_message() {
    let fake = Fake::new();
    let headers = [
        ("content-type", "text/plain"),
        ("roadbed-priority", "9"),
        ("roadbed-durability", "stored"),
        ("roadbed-property-unit", "celsius"),
        ("roadbed-ttl", "60"),
    ];
    let answer = call(&fake.routes(), post("/v1/messages/plant/7/temp%C3%A9rature", &headers, "21.5")).await;
    assert_eq!((answer.status(), answer.body().len()), (StatusCode::ACCEPTED, 0));
    let state = fake.state();
    let Outgoing { message, qos, key, .. } = &state.sent[0];
    assert_eq!(message.address().as_str(), "plant/7/température");
    assert_eq!(&message.payload().to_bytes()[..], b"21.5");
    assert_eq!((message.priority(), *qos, key.is_none()), (9, Qos::AtLeastOnce, true));
    assert_eq!(message.durability(), roadbed_core::Durability::Stored);
    assert_eq!(message.details().properties.first("unit").unwrap().as_str(), Some("celsius"));
    assert!(message.expires_at().is_some());
    assert_eq!(message.origin().unwrap().protocol, "http");
}

#[tokio::test]
async fn slashes_are_literal_and_nothing_is_normalised() {
    let fake = Fake::new();
    let routes = fake.routes();
    for (path, name) in
        [("a//b", "a//b"), ("/a", "/a"), ("a/", "a/"), ("a/%2E%2E/b", "a/../b"), ("a%2Fb", "a/b"), ("a/../b", "a/../b")]
    {
        let answer = call(&routes, post(&format!("/v1/messages/{path}?"), &[], "x")).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED, "{path}");
        assert_eq!(fake.state().sent.pop().unwrap().message.address().as_str(), name);
    }
    for path in ["a%2Bb", "a%23", "a%00", "a%", "%FF"] {
        let answer = call(&routes, post(&format!("/v1/messages/{path}"), &[], "x")).await;
        assert!(problem(&answer, 400)["type"].as_str().unwrap().ends_with("invalid-address"), "{path}");
    }
    assert!(fake.state().sent.is_empty());
}

#[tokio::test]
async fn an_idempotency_key_makes_it_exactly_once() {
    let fake = Fake::new();
    let routes = fake.routes();
    for value in ["order-7", "\"order-7\""] {
        let answer = call(&routes, post("/v1/messages/a", &[("idempotency-key", value)], "x")).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        let sent = fake.state().sent.pop().unwrap();
        assert_eq!((sent.qos, sent.key), (Qos::ExactlyOnce, Some(Key::Name(Bytes::from_static(b"order-7")))));
    }
    problem(&call(&routes, post("/v1/messages/a", &[("roadbed-qos", "2")], "x")).await, 400);
    problem(&call(&routes, post("/v1/messages/a", &[("roadbed-qos", "0"), ("idempotency-key", "k")], "x")).await, 400);
    let mut capabilities = Capabilities::full("fake");
    capabilities.qos_in = Qos::AtLeastOnce;
    let routes = Fake::with(capabilities).routes();
    problem(&call(&routes, post("/v1/messages/a", &[("idempotency-key", "k")], "x")).await, 400);
}

#[tokio::test]
async fn a_duplicate_is_answered_like_the_first() {
    let fake = Fake::new();
    fake.answers(|outgoing| Some(Confirm { why: Some(Condition::Duplicate), ..confirm(outgoing, Outcome::Accepted) }));
    let answer = call(&fake.routes(), post("/v1/messages/a", &[("idempotency-key", "k")], "x")).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn at_most_once_waits_for_nothing() {
    let fake = Fake::new();
    let answer = call(&fake.routes(), post("/v1/messages/a", &[("roadbed-qos", "0")], "x")).await;
    assert_eq!((answer.status(), fake.state().sent[0].qos), (StatusCode::ACCEPTED, Qos::AtMostOnce));
}

#[tokio::test]
async fn every_refusal_has_its_status() {
    use Condition as C;
    let rejected = |condition| (Outcome::rejected(condition), None);
    let released = |why| (Outcome::Released, Some(why));
    for ((outcome, why), status, retry) in [
        (released(C::NoRoute), 404, false),
        (released(C::NoConsumer), 404, false),
        (released(C::Unavailable), 503, true),
        (released(C::Busy), 503, true),
        ((Outcome::Released, None), 503, true),
        ((Outcome::FAILED, None), 503, true),
        (rejected(C::NotFound), 404, false),
        (rejected(C::Unauthorized), 403, false),
        (rejected(C::InvalidAddress), 400, false),
        (rejected(C::InvalidPayload), 415, false),
        (rejected(C::TooLarge), 413, false),
        (rejected(C::Full), 429, true),
        (rejected(C::PreconditionFailed), 409, false),
        (rejected(C::NotSupported), 400, false),
        (rejected(C::Refused), 422, false),
        (rejected(C::DeadlineMissed), 504, false),
        (rejected(C::Expired), 410, false),
    ] {
        let fake = Fake::new();
        let (said, reason) = (outcome.clone(), why);
        fake.answers(move |outgoing| Some(Confirm { why: reason, ..confirm(outgoing, said.clone()) }));
        let answer = call(&fake.routes(), post("/v1/messages/a", &[], "x")).await;
        let problem = problem(&answer, status);
        assert_eq!(problem["outcome"], outcome.as_str());
        assert_eq!(answer.headers().contains_key(RETRY_AFTER), retry, "{outcome:?}");
    }
}

#[tokio::test]
async fn nothing_bound_is_said_with_what_to_do() {
    let fake = Fake::new();
    fake.answers(|outgoing| Some(Confirm { why: Some(Condition::NoRoute), ..confirm(outgoing, Outcome::Released) }));
    let problem = problem(&call(&fake.routes(), post("/v1/messages/a", &[], "x")).await, 404);
    assert_eq!(problem["condition"], "no-route");
    assert_eq!(problem["title"], "nothing is bound to this address");
    assert!(problem["detail"].as_str().unwrap().contains("PUT /v1/subscriptions/NAME"), "{problem}");
}

#[tokio::test]
async fn the_reason_of_a_rejection_is_told() {
    let fake = Fake::new();
    fake.answers(|outgoing| {
        Some(confirm(outgoing, Outcome::Rejected(Reason::new(Condition::Refused, "the valve is shut"))))
    });
    let problem = problem(&call(&fake.routes(), post("/v1/messages/a", &[], "x")).await, 422);
    assert!(problem["detail"].as_str().unwrap().starts_with("the valve is shut. "), "{problem}");
}

#[tokio::test(start_paused = true)]
async fn a_confirm_that_does_not_come_is_504() {
    let fake = Fake::new();
    fake.answers(|_| None);
    let answer = call(&fake.routes(), post("/v1/messages/a", &[], "x")).await;
    assert!(problem(&answer, 504)["detail"].as_str().unwrap().contains("not known"));
}

#[tokio::test]
async fn misspelt_headers_are_refused_by_name() {
    let answer = call(&Fake::new().routes(), post("/v1/messages/a", &[("roadbed-tll", "5")], "x")).await;
    assert!(problem(&answer, 400)["detail"].as_str().unwrap().contains("roadbed-tll"));
}

#[tokio::test]
async fn a_long_body_is_413_before_it_is_read() {
    let fake = Fake::new();
    let routes = fake.server(HttpConfig::default().body_bytes_max(10)).routes();
    problem(&call(&routes, post("/v1/messages/a", &[], "12345678901")).await, 413);
    let answer = call(&routes, post("/v1/messages/a", &[], "1234567890")).await;
    assert_eq!((answer.status(), fake.state().sent.len()), (StatusCode::ACCEPTED, 1));
}

#[tokio::test]
async fn the_payload_is_not_copied() {
    let fake = Fake::new();
    let routes = fake.routes();
    let body = Bytes::from(vec![7; 16 << 10]);
    call(&routes, post("/v1/messages/a", &[], body.clone())).await;
    let sent = fake.state().sent.pop().unwrap().message;
    assert_eq!(sent.payload().shared().unwrap()[0].as_ptr(), body.as_ptr());

    fake.put(sent);
    let response = routes.clone().respond(get("/v1/messages/queues/q", &[])).await;
    let mut out = response.into_body();
    let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut out).poll_frame(cx)).await;
    assert_eq!(frame.unwrap().unwrap().into_data().unwrap().as_ptr(), body.as_ptr());
}

#[tokio::test]
async fn a_poll_takes_one_message_under_a_lock() {
    let fake = Fake::new();
    let routes = fake.routes();
    fake.put(queued("too hot").to_builder().property("unit", "celsius").build());
    let answer = call(&routes, get("/v1/messages/queues/q?lock=30", &[])).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(&answer.body()[..], b"too hot");
    assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
    assert_eq!(answer.headers()["roadbed-address"], "plant/7/alarm");
    assert_eq!(answer.headers()["roadbed-property-unit"], "celsius");
    assert_eq!(answer.headers()["roadbed-attempt"], "1");
    assert_eq!(fake.state().terms[0].hold, Hold::Lease(Duration::from_secs(30)));
    let token = answer.headers()[ETAG].to_str().unwrap().trim_matches('"').to_owned();
    assert_eq!(token.len(), 48);

    let answer = call(&routes, request(Method::DELETE, &format!("/v1/locks/{token}"), "")).await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert_eq!(fake.state().settled[0].1, Outcome::Accepted);
}

#[tokio::test]
async fn an_empty_queue_is_204() {
    let answer = call(&Fake::new().routes(), get("/v1/messages/queues/q", &[])).await;
    assert_eq!((answer.status(), answer.body().len()), (StatusCode::NO_CONTENT, 0));
    assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
}

#[tokio::test]
async fn a_page_has_several() {
    let fake = Fake::new();
    let routes = fake.routes();
    for payload in [&b"one"[..], b"\xff\x00", b"", b"four"] {
        fake.put(queued(payload));
    }
    let answer = call(&routes, get("/v1/messages/queues/q?max=3", &[])).await;
    let page = document(&answer);
    let messages = page["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 3);
    assert_eq!(messages[0]["data"], "one");
    assert_eq!(messages[1]["data_base64"], "/wA=");
    assert_eq!(messages[2]["data"], "");
    assert_eq!(messages[0]["token"].as_str().unwrap().len(), 48);
    let headers = messages[0]["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["roadbed-address", "plant/7/alarm"])), "{headers:?}");
    let page = document(&call(&routes, get("/v1/messages/queues/q?max=999", &[])).await);
    assert_eq!(page["messages"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_page_is_bounded_in_bytes_and_the_rest_is_released() {
    let fake = Fake::new();
    let routes = fake.server(HttpConfig::default().page_bytes_max(3000)).routes();
    for payload in [vec![1; 5000], vec![2; 1000], vec![3; 1000], vec![4; 1000]] {
        fake.put(queued(payload));
    }
    for (expected, left) in [(1, 3), (2, 1), (1, 0)] {
        let page = document(&call(&routes, get("/v1/messages/queues/q?max=9", &[])).await);
        assert_eq!((page["messages"].as_array().unwrap().len(), fake.state().queue.len()), (expected, left));
    }
    assert_eq!(fake.state().held.len(), 4);
}

#[tokio::test]
async fn a_topic_cannot_be_polled() {
    let answer = call(&Fake::new().routes(), get("/v1/messages/plant/7", &[])).await;
    assert!(problem(&answer, 409)["detail"].as_str().unwrap().contains("PUT /v1/subscriptions/NAME"));
    problem(&call(&Fake::new().routes(), get("/v1/messages/queues/q?max=0", &[])).await, 400);
    problem(&call(&Fake::new().routes(), get("/v1/messages/queues/q?limit=1", &[])).await, 400);
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_is_held_until_there_is_a_message_or_the_time_is_over() {
    let fake = Fake::new();
    let routes = fake.server(HttpConfig::default().long_poll_ms_max(20_000)).routes();
    let started = tokio::time::Instant::now();
    let answer = call(&routes, get("/v1/messages/queues/q", &[("prefer", "wait=30")])).await;
    assert_eq!((answer.status(), started.elapsed()), (StatusCode::NO_CONTENT, Duration::from_secs(20)));
    assert_eq!(answer.headers()["preference-applied"], "wait=20");

    let polling =
        tokio::spawn(async move { call(&routes, get("/v1/messages/queues/q", &[("prefer", "wait=30")])).await });
    tokio::time::sleep(Duration::from_secs(5)).await;
    fake.put(queued("now"));
    let answer = polling.await.unwrap();
    assert_eq!((answer.status(), &answer.body()[..]), (StatusCode::OK, &b"now"[..]));
}

#[tokio::test]
async fn a_dropped_poll_returns_its_message() {
    let fake = Fake::new();
    let routes = fake.routes();
    let polling = tokio::spawn(routes.clone().respond(get("/v1/messages/queues/q", &[("prefer", "wait=30")])));
    fake.until(|state| state.consumers == 1).await;
    polling.abort();
    fake.until(|state| state.consumers == 0).await;

    fake.put(queued("mine"));
    let response = routes.clone().respond(get("/v1/messages/queues/q", &[])).await;
    assert_eq!(response.status(), StatusCode::OK);
    // The client is gone before a byte was written.
    drop(response);
    assert_eq!(fake.state().settled.last().unwrap().1, Outcome::Released);
    let answer = call(&routes, get("/v1/messages/queues/q", &[])).await;
    assert_eq!((&answer.body()[..], fake.state().settled.len()), (&b"mine"[..], 1));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_answers_held_polls_at_once() {
    let fake = Fake::new();
    let server = fake.server(HttpConfig::default());
    let polling = tokio::spawn(server.routes().respond(get("/v1/messages/queues/q", &[("prefer", "wait=30")])));
    fake.until(|state| state.consumers == 1).await;
    let started = tokio::time::Instant::now();
    server.drain();
    let answer = polling.await.unwrap();
    assert_eq!((answer.status(), started.elapsed()), (StatusCode::NO_CONTENT, Duration::ZERO));
    assert_eq!(answer.headers()["connection"], "close");
}

#[tokio::test]
async fn held_polls_are_bounded() {
    let fake = Fake::new();
    let server = fake.server(HttpConfig::default().long_polls_max(0));
    let routes = server.routes();
    let answer = call(&routes, get("/v1/messages/queues/q", &[("prefer", "wait=30")])).await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert!(!answer.headers().contains_key("preference-applied"));
    assert_eq!((server.counters().requests, server.counters().polls_unheld), (1, 1));
}

#[tokio::test]
async fn polls_can_be_too_early_on_a_clock_of_the_tests() {
    let (fake, clock) = (Fake::new(), Arc::new(ManualClock::at(Time::from_millis(1_700_000_000_000))));
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let config = HttpConfig::default().poll_interval_ms_min(25 * 60 * 1000);
    let server = Server::builder(fake.endpoint()).config(config).clock(clock.clone()).build().unwrap();
    let (routes, other) = (server.routes(), server.routes());
    let poll = "/v1/messages/queues/q";
    assert_eq!(call(&routes, get(poll, &[])).await.status(), StatusCode::NO_CONTENT);
    clock.advance(minutes(5));
    let answer = call(&other, get(poll, &[])).await;
    problem(&answer, 429);
    assert_eq!(answer.headers()[RETRY_AFTER], "1200");
    assert_eq!(call(&routes, get("/v1/messages/queues/other", &[])).await.status(), StatusCode::NO_CONTENT);
    clock.advance(minutes(20));
    assert_eq!(call(&routes, get(poll, &[])).await.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn every_verb_has_its_outcome() {
    for (verb, body, outcome) in [
        ("abandon", "", Outcome::FAILED),
        (
            "abandon",
            r#"{"failed":false,"undeliverable_here":true}"#,
            Outcome::Modified { delivery_failed: false, undeliverable_here: true },
        ),
        ("release", "", Outcome::Released),
        ("reject", "", Outcome::rejected(Condition::Refused)),
        (
            "reject",
            r#"{"reason":"no such valve","condition":"invalid-payload"}"#,
            Outcome::Rejected(Reason::new(Condition::InvalidPayload, "no such valve")),
        ),
    ] {
        let fake = Fake::new();
        let (routes, token) = locked(&fake).await;
        let answer = call(&routes, post(&format!("/v1/locks/{token}/{verb}"), &[], body)).await;
        assert_eq!(answer.status(), StatusCode::NO_CONTENT, "{verb} {body}");
        assert_eq!(fake.state().settled[0].1, outcome);
    }
    let fake = Fake::new();
    let (routes, token) = locked(&fake).await;
    problem(&call(&routes, post(&format!("/v1/locks/{token}/eat"), &[], "")).await, 404);
    problem(&call(&routes, post(&format!("/v1/locks/{token}/reject"), &[], "{\"why\":1}")).await, 400);
    problem(&call(&routes, post(&format!("/v1/locks/{token}/reject"), &[], "{\"condition\":\"sad\"}")).await, 400);
    problem(&call(&routes, get(&format!("/v1/locks/{token}"), &[])).await, 405);
    assert!(fake.state().settled.is_empty());
}

async fn locked(fake: &Fake) -> (Routes, String) {
    let routes = fake.routes();
    fake.put(queued("x"));
    let answer = call(&routes, get("/v1/messages/queues/q", &[])).await;
    let token = answer.headers()[ETAG].to_str().unwrap().trim_matches('"').to_owned();
    (routes, token)
}

#[tokio::test]
async fn what_a_lock_answers() {
    let until = Time::from_millis(77);
    type Answer = fn() -> Result<Settled>;
    let answers: [(Answer, u16); 4] = [
        (|| Ok(Settled::Applied), 204),
        (|| Ok(Settled::Repeated), 204),
        (|| Ok(Settled::Late), 412),
        (|| Err(Error::new(ErrorKind::NotFound, "settle")), 412),
    ];
    for (answer, status) in answers {
        let fake = Fake::new();
        let (routes, token) = locked(&fake).await;
        fake.state().settle = Box::new(move |_| answer());
        let answer = call(&routes, request(Method::DELETE, &format!("/v1/locks/{token}"), "")).await;
        assert_eq!(answer.status().as_u16(), status);
        if status == 412 {
            problem(&answer, 412);
        }
    }
    let fake = Fake::new();
    let (routes, token) = locked(&fake).await;
    fake.state().settle = Box::new(move |disposition| {
        assert_eq!(disposition.step, Step::Renew);
        Ok(Settled::Renewed(until))
    });
    let answer = call(&routes, post(&format!("/v1/locks/{token}/renew"), &[], "")).await;
    assert_eq!(answer.headers()["roadbed-lock-until-ms"], "77");
    problem(&call(&routes, request(Method::DELETE, "/v1/locks/nonsense", "")).await, 400);
    problem(&call(&routes, request(Method::DELETE, &format!("/v1/locks/{}", "A".repeat(48)), "")).await, 412);
}

/// Lets two users in, by password.
struct Two;

#[async_trait]
impl Authenticator for Two {
    async fn authenticate(&self, _: &roadbed_core::Peer, _name: &str, credential: &Credential) -> Result<Identity> {
        match credential {
            Credential::Password { user, password } if password == "secret" => Ok(Identity::new(user.clone())),
            Credential::Token { kind, token } if kind == "bearer" && token == "t0ken" => Ok(Identity::new("robot")),
            _ => Err(Error::new(ErrorKind::Unauthenticated, "authenticate")),
        }
    }
}

const ALICE: (&str, &str) = ("authorization", "Basic YWxpY2U6c2VjcmV0");
const BOB: (&str, &str) = ("authorization", "Basic Ym9iOnNlY3JldA==");

#[tokio::test]
async fn who_may_come_in() {
    let fake = Fake::new();
    let server = Server::builder(fake.endpoint()).authenticator(Arc::new(Two)).build().unwrap();
    let routes = server.routes();
    for headers in [&[][..], &[("authorization", "Basic YWxpY2U6d3Jvbmc=")], &[("authorization", "Nonsense x")]] {
        let answer = call(&routes, post("/v1/messages/a", headers, "x")).await;
        problem(&answer, 401);
        let offers: Vec<_> = answer.headers().get_all(WWW_AUTHENTICATE).iter().collect();
        assert_eq!(offers, ["Basic realm=\"roadbed\", charset=\"UTF-8\"", "Bearer"]);
    }
    assert!(fake.state().sent.is_empty());
    for headers in [ALICE, ALICE, BOB, ("authorization", "Bearer t0ken"), ALICE] {
        let answer = call(&routes, post("/v1/messages/a", &[headers], "x")).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
    }
    let state = fake.state();
    let senders: Vec<_> = state.sent.iter().map(|sent| &*sent.message.origin().unwrap().principal).collect();
    assert_eq!(senders, ["alice", "alice", "bob", "robot", "alice"]);
    assert_eq!(state.opened.len(), 3, "one session for each principal");
    assert!(state.opened.iter().all(|open| open.name.is_none()));
}

#[tokio::test]
async fn a_token_is_its_owners_on_any_connection() {
    let fake = Fake::new();
    let server = Server::builder(fake.endpoint()).authenticator(Arc::new(Two)).build().unwrap();
    fake.put(queued("x"));
    let answer = call(&server.routes(), get("/v1/messages/queues/q", &[ALICE])).await;
    let token = answer.headers()[ETAG].to_str().unwrap().trim_matches('"').to_owned();
    let delete = |who| with(request(Method::DELETE, &format!("/v1/locks/{token}"), ""), &[who]);
    problem(&call(&server.routes(), delete(BOB)).await, 412);
    assert!(fake.state().settled.is_empty());
    assert_eq!(call(&server.routes(), delete(ALICE)).await.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn errors_of_the_endpoint_have_their_status() {
    for (kind, status) in [
        (ErrorKind::Invalid, 400),
        (ErrorKind::Unauthorized, 403),
        (ErrorKind::NotFound, 404),
        (ErrorKind::Conflict, 409),
        (ErrorKind::NotSupported, 501),
        (ErrorKind::Exhausted, 429),
        (ErrorKind::StoreFull, 507),
        (ErrorKind::Unavailable, 503),
        (ErrorKind::TimedOut, 504),
        (ErrorKind::Closed, 503),
        (ErrorKind::Failed, 500),
    ] {
        let fake = Fake::new();
        fake.state().attach = Box::new(move |_| Err(Error::new(kind, "attach")));
        let answer = call(&fake.routes(), get("/v1/messages/queues/q", &[])).await;
        problem(&answer, status);
        assert_eq!(answer.headers().contains_key(RETRY_AFTER), matches!(status, 429 | 503 | 507));
    }
}

#[tokio::test]
async fn methods_are_told() {
    let routes = Fake::new().routes();
    for (path, allow) in [
        ("/v1/messages/a", "POST, GET, HEAD, DELETE, OPTIONS"),
        ("/v1/locks/x", "DELETE, OPTIONS"),
        ("/v1/locks/x/abandon", "POST, OPTIONS"),
        ("/v1/subscriptions/x", "PUT, POST, GET, HEAD, DELETE, OPTIONS"),
        ("/v1/queues/x", "PUT, GET, HEAD, DELETE, OPTIONS"),
        ("/v1", "GET, HEAD, OPTIONS"),
    ] {
        let answer = call(&routes, request(Method::PATCH, path, "")).await;
        problem(&answer, 405);
        assert_eq!(answer.headers()[ALLOW], allow);
        let answer = call(&routes, request(Method::OPTIONS, path, "")).await;
        assert_eq!((answer.status(), &answer.headers()[ALLOW]), (StatusCode::NO_CONTENT, &allow.parse().unwrap()));
    }
    for path in ["/", "/v2", "/v1/messages", "/v1/messages/", "/v1/what", "/v1/locks/a/b/c"] {
        problem(&call(&routes, get(path, &[])).await, 404);
    }
}

#[tokio::test]
async fn a_fallback_answers_the_rest() {
    let server = Server::builder(Fake::new().endpoint())
        .fallback(|head| (head.uri.path() == "/healthz").then(|| Response::new(Bytes::from_static(b"well"))))
        .build()
        .unwrap();
    assert_eq!(call(&server.routes(), get("/healthz", &[])).await.body(), "well");
    problem(&call(&server.routes(), get("/other", &[])).await, 404);
}

#[tokio::test]
async fn a_head_takes_nothing() {
    let fake = Fake::new();
    fake.put(queued("x"));
    let answer = call(&fake.routes(), request(Method::HEAD, "/v1/messages/queues/q", "")).await;
    assert_eq!((answer.status(), &answer.headers()["roadbed-backlog"]), (StatusCode::OK, &"1".parse().unwrap()));
    assert_eq!(fake.state().queue.len(), 1);
}

#[tokio::test]
async fn a_subscription_is_a_queue_that_follows_filters() {
    use roadbed_core::Manage;
    let fake = Fake::new();
    let done = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = done.clone();
    let described = Arc::new(std::sync::Mutex::new(None::<NodeDescription>));
    let known = described.clone();
    fake.state().manage = Box::new(move |request| {
        log.lock().unwrap().push(format!("{request:?}"));
        match (&request, &*known.lock().unwrap()) {
            (Manage::Describe(_), Some(node)) => Ok(Managed::Description(Box::new(node.clone()))),
            (Manage::Describe(_), None) if log.lock().unwrap().len() == 1 => {
                Err(Error::new(ErrorKind::NotFound, "describe"))
            }
            (Manage::Describe(address), None) => {
                Ok(Managed::Description(Box::new(NodeDescription::new(address.clone(), QueueSettings::default()))))
            }
            _ => Ok(Managed::Done(0)),
        }
    });
    let routes = fake.routes();
    let body = r##"{"filters":["plant/+/alarm",{"filter":"x/#","qos":0,"retain":"never"}],"expiry_ms":60000,"queue":{"messages_max":5,"overflow":"drop-oldest","history":{"last":3}}}"##;
    let put = |body: &'static str| request(Method::PUT, "/v1/subscriptions/alarms", body);
    let answer = call(&routes, put(body)).await;
    assert_eq!(answer.status(), StatusCode::CREATED, "{answer:?}");
    assert_eq!(document(&answer)["address"], "queues/alarms");
    let log: Vec<String> = std::mem::take(&mut *done.lock().unwrap());
    assert!(
        log[1].contains("messages_max: 5") && log[1].contains("DropOldest") && log[1].contains("Last(3)"),
        "{log:?}"
    );
    assert!(log[1].contains("expires: Some(60s)"), "{log:?}");
    assert!(log[2].contains("plant/+/alarm") && log[2].contains("AtLeastOnce"), "{log:?}");
    assert!(log[3].contains("x/#") && log[3].contains("AtMostOnce") && log[3].contains("Never"), "{log:?}");

    // What is bound already and not named any more is unbound.
    let mut node = NodeDescription::new("queues/alarms".parse().unwrap(), QueueSettings::default());
    node.bindings.push(roadbed_core::Binding::new("old/#".parse().unwrap(), Qos::AtLeastOnce));
    *described.lock().unwrap() = Some(node);
    let answer = call(&routes, put(r#"{"filters":["new"]}"#)).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let log: Vec<String> = std::mem::take(&mut *done.lock().unwrap());
    assert!(log.iter().any(|line| line.starts_with("Unbind") && line.contains("old/#")), "{log:?}");

    for wrong in [
        "",
        "{}",
        r#"{"filters":["a/#/b"]}"#,
        r#"{"filters":["a"],"qos":3}"#,
        r#"{"filter":["a"]}"#,
        "[",
        r#"{"filters":[7]}"#,
    ] {
        problem(&call(&routes, put(wrong)).await, 400);
    }
    let answer = call(&routes, request(Method::DELETE, "/v1/subscriptions/alarms", "")).await;
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn deep_and_long_documents_are_cut_off() {
    let routes = Fake::new().routes();
    let deep = format!("{{\"filters\":{}", "[".repeat(30_000));
    problem(&call(&routes, request(Method::PUT, "/v1/subscriptions/x", deep)).await, 400);
    problem(&call(&routes, request(Method::PUT, "/v1/subscriptions/x", " ".repeat(70 << 10))).await, 413);
}

#[tokio::test]
async fn the_server_tells_its_limits() {
    let info = document(&call(&Fake::new().routes(), get("/v1", &[])).await);
    assert_eq!(info["message_bytes_max"], 1 << 20);
    assert_eq!((&info["page_max"], &info["qos_max"]), (&json!(100), &json!(2)));
}
