//! CloudEvents on real sockets: binary, structured and batched over HTTP, and one event by MQTT 5, AMQP and HTTP.
#![cfg(all(feature = "mqtt", feature = "http", feature = "amqp", feature = "broker"))]

use std::net::SocketAddr;
use std::sync::Arc;

use roadbed::{Broker, Endpoint, Qos, Url};
use roadbed_http::HttpConfig;
use roadbed_mqtt::codec::{Connect, Packet, Publish, Version};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A broker behind a server of every protocol.
struct Hub {
    http: SocketAddr,
    mqtt: SocketAddr,
    amqp: SocketAddr,
}

impl Hub {
    async fn start() -> Self {
        let endpoint: Arc<dyn Endpoint> = Arc::new(Broker::new());
        let mut sockets = Vec::new();
        for _ in 0..3 {
            sockets.push(TcpListener::bind("127.0.0.1:0").await.expect("a port"));
        }
        let at = |n: usize| sockets[n].local_addr().expect("it is bound");
        let hub = Self { http: at(0), mqtt: at(1), amqp: at(2) };
        let [http, mqtt, amqp] = sockets.try_into().expect("three");
        let server = roadbed_http::Server::new(endpoint.clone(), HttpConfig::default()).expect("a server");
        tokio::spawn(async move {
            while let Ok((io, _)) = http.accept().await {
                let server = server.clone();
                tokio::spawn(async move { server.serve(io).await });
            }
        });
        let server = roadbed_mqtt::Server::new(endpoint.clone(), roadbed_mqtt::ServerConfig::permissive());
        tokio::spawn(roadbed_mqtt::Listener::new(mqtt, server).run(std::future::pending()));
        let server = roadbed_amqp::Server::new(endpoint, roadbed_amqp::ServerConfig::permissive());
        tokio::spawn(roadbed_amqp::Listener::new(amqp, server).run(std::future::pending()));
        let made = hub.request("PUT", "/v1/subscriptions/q", &[], r#"{"filters":["plant/#"]}"#).await;
        assert_eq!(made.status, 201, "{made:?}");
        hub
    }

    async fn request(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        let mut io = TcpStream::connect(self.http).await.expect("it listens");
        let headers = headers.iter().map(|header| format!("{header}\r\n")).collect::<String>();
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n");
        io.write_all(format!("{head}{headers}\r\n{body}").as_bytes()).await.expect("it can be written");
        let mut answer = String::new();
        io.read_to_string(&mut answer).await.expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    async fn post(&self, media_type: &str, body: &Value) -> Answer {
        let header = format!("content-type: {media_type}");
        self.request("POST", "/v1/messages/plant/7", &[&header], &body.to_string()).await
    }

    async fn poll(&self, query: &str, accept: &str) -> Answer {
        let accept = format!("accept: {accept}");
        self.request("GET", &format!("/v1/messages/queues/q{query}"), &[&accept], "").await
    }

    /// Publishes with these user properties, byte by byte as MQTT 5 has it.
    async fn publish(&self, content_type: Option<&str>, user: &[(&str, &str)], payload: &'static str) {
        let mut io = TcpStream::connect(self.mqtt).await.expect("it listens");
        let user = user.iter().map(|&(name, value)| (name.into(), value.into())).collect();
        let content_type = content_type.map(Into::into);
        let publish =
            Publish { topic: "plant/7".into(), content_type, user, payload: payload.into(), ..Publish::default() };
        let mut bytes = Vec::new();
        let connect = Packet::Connect(Box::new(Connect::new(Version::V5, "dev")));
        connect.encode(Version::V5, &mut bytes).expect("it can be written");
        publish.encode(Version::V5, &mut bytes).expect("it can be written");
        bytes.extend([0xc0, 0]);
        io.write_all(&bytes).await.expect("it can be written");
        let mut answered = Vec::new();
        // PINGRESP: what was sent before has been taken.
        while !answered.ends_with(&[0xd0, 0]) {
            assert_ne!(io.read_buf(&mut answered).await.expect("an answer"), 0);
        }
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

const JSON: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

fn event(id: &str) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/plant", "type": "alarm", "time": "2023-11-14T22:13:20Z",
        "subject": "pump", "tenant": "x", "level": 3, "data": {"temperature": 95.5}})
}

#[tokio::test]
async fn a_structured_event_is_a_message_and_comes_back() {
    let hub = Hub::start().await;
    assert_eq!(hub.post(JSON, &event("1")).await.status, 202);
    assert_eq!(hub.post("Application/CloudEvents+JSON; charset=utf-8", &event("2")).await.status, 202);
    let binary = hub.poll("", "*/*").await;
    for header in
        ["ce-id: 1", "ce-source: /plant", "ce-type: alarm", "ce-tenant: x", "ce-level: 3", "roadbed-message-id: 1"]
    {
        assert!(binary.head.contains(header), "{header}: {binary:?}");
    }
    assert_eq!(binary.body, r#"{"temperature":95.5}"#);
    let structured = hub.poll("", JSON).await;
    assert!(structured.head.contains(&format!("content-type: {JSON}")) && structured.head.contains("etag: "));
    assert!(!structured.head.contains("ce-id"), "{structured:?}");
    assert_eq!(structured.json(), event("2"));
}

#[tokio::test]
async fn a_batch_is_answered_in_one() {
    let hub = Hub::start().await;
    let sent = hub.post(BATCH, &json!([event("1"), event("2"), event("3")])).await;
    assert_eq!((sent.status, &*sent.body), (202, ""));
    let page = hub.poll("?max=10", BATCH).await;
    assert!(page.head.contains(&format!("content-type: {BATCH}")), "{page:?}");
    let Value::Array(mut events) = page.json() else { panic!("{page:?}") };
    for (n, found) in events.iter_mut().enumerate() {
        let lock = found.as_object_mut().and_then(|event| event.remove("roadbedlock")).expect("a lock");
        let path = format!("/v1/locks/{}", lock.as_str().expect("a token"));
        assert_eq!(hub.request("DELETE", &path, &[], "").await.status, 204);
        assert_eq!(*found, event(&(n + 1).to_string()));
    }
    assert_eq!(events.len(), 3);
    assert_eq!(hub.poll("", BATCH).await.status, 204);
}

/// Nothing of a batch that cannot be read is sent; what can be read is taken or refused, each event on its own.
#[tokio::test]
async fn a_batch_is_read_as_a_whole_and_taken_one_by_one() {
    let hub = Hub::start().await;
    let mut broken = event("2");
    broken.as_object_mut().expect("an object").remove("type");
    let answer = hub.post(BATCH, &json!([event("1"), broken])).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("of event 1, the attribute type is missing"), "{answer:?}");
    for wrong in [json!({}), json!([1]), json!("x"), json!((0..101).map(|n| event(&n.to_string())).collect::<Vec<_>>())]
    {
        assert_eq!(hub.post(BATCH, &wrong).await.status, 400, "{wrong}");
    }
    assert_eq!(hub.poll("", JSON).await.status, 204, "nothing was sent");

    let settings = r#"{"queue":{"messages_max":2,"overflow":"refuse"}}"#;
    let made = hub.request("PUT", "/v1/queues/small", &[], settings).await;
    assert_eq!(made.status, 201, "{made:?}");
    let three = json!([event("1"), event("2"), event("3")]).to_string();
    let media_type = format!("content-type: {BATCH}");
    let answer = hub.request("POST", "/v1/messages/queues/small", &[&media_type], &three).await;
    assert_eq!(answer.status, 207, "{answer:?}");
    let statuses: Vec<_> =
        answer.json()["results"].as_array().expect("a list").iter().map(|item| item["status"].clone()).collect();
    assert_eq!(statuses, [202, 202, 429]);
    assert_eq!(answer.json()["results"][2]["condition"], "full");
}

#[tokio::test]
async fn a_batch_with_a_key_is_taken_once() {
    let hub = Hub::start().await;
    let (media_type, two) = (format!("content-type: {BATCH}"), json!([event("1"), event("2")]).to_string());
    for _ in 0..2 {
        let headers = [&*media_type, "idempotency-key: k"];
        assert_eq!(hub.request("POST", "/v1/messages/plant/7", &headers, &two).await.status, 202);
    }
    assert_eq!(hub.poll("?max=10", BATCH).await.json().as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn what_is_no_event_is_refused_with_what_is_wrong() {
    let hub = Hub::start().await;
    for (body, words) in [
        (json!({"id": "1"}), "specversion is missing"),
        (json!({"specversion": "0.3", "id": "1", "source": "/", "type": "t"}), "specversion is 1.0"),
        (json!({"specversion": "1.0", "id": 1, "source": "/", "type": "t"}), "the attribute id is text"),
        (
            json!({"specversion": "1.0", "id": "1", "source": "/", "type": "t", "Bad-Name": "x"}),
            "no name of an attribute",
        ),
        (json!({"specversion": "1.0", "id": "1", "source": "/", "type": "t", "x": [1]}), "the attribute x is text"),
        (
            json!({"specversion": "1.0", "id": "1", "source": "/", "type": "t", "data": 1, "data_base64": ""}),
            "the data is in",
        ),
        (json!({"specversion": "1.0", "id": "1", "source": "/", "type": "t", "data_base64": "!"}), "the data is in"),
    ] {
        let answer = hub.post(JSON, &body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.body.contains(words) && answer.body.contains("invalid-payload"), "{words}: {answer:?}");
    }
}

#[tokio::test]
async fn what_is_no_event_becomes_one_for_who_asks() {
    let hub = Hub::start().await;
    let headers = ["content-type: text/plain", "roadbed-priority: 9"];
    hub.request("POST", "/v1/messages/plant/7", &headers, "too hot \u{1f525}").await;
    let answer = hub.poll("", JSON).await;
    let event = answer.json();
    assert_eq!(event["type"], "roadbed.message");
    assert_eq!(event["source"], "/v1/messages/plant/7");
    assert_eq!(event["data"], "too hot \u{1f525}");
    assert_eq!(event["datacontenttype"], "text/plain");
    assert!(event["id"].as_str().is_some_and(|id| !id.is_empty()));
    assert!(answer.head.contains("roadbed-priority: 9"), "no event says it, so a header does: {answer:?}");
}

#[tokio::test]
async fn an_event_by_mqtt_5_is_one_over_amqp_and_http() {
    let hub = Hub::start().await;
    let attributes = [("id", "1"), ("source", "/plant"), ("specversion", "1.0"), ("type", "alarm"), ("tenant", "x y")];
    for _ in 0..3 {
        hub.publish(Some("application/json"), &attributes, r#"{"temperature":95.5}"#).await;
    }
    let binary = hub.poll("", "*/*").await;
    assert!(binary.head.contains("ce-id: 1") && binary.head.contains("ce-tenant: x%20y"), "{binary:?}");
    let structured = hub.poll("", JSON).await.json();
    let expected = json!({"specversion": "1.0", "id": "1", "source": "/plant", "type": "alarm", "tenant": "x y",
        "datacontenttype": "application/json", "data": {"temperature": 95.5}});
    assert_eq!(structured, expected);

    let url: Url = format!("amqp://{}", hub.amqp).parse().expect("a URL");
    let client = roadbed::connect(&url).await.expect("it listens");
    let receiver = client.receiver("queues/q", Qos::AtLeastOnce).await.expect("a queue");
    let received = receiver.receive().await.expect("no error").expect("a message");
    let details = received.message.details().clone();
    for (name, value) in attributes {
        assert_eq!(details.properties.first(&format!("cloudEvents:{name}")), Some(&value.into()), "{details:?}");
    }
    assert_eq!(details.content_type.as_deref(), Some("application/json"));
    received.accept().await.expect("it can be settled");
}
