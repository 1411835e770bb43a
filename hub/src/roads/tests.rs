//! Hubs with all their roads, and clients that come by them.

use std::path::Path;
use std::time::Duration;

use roadbed::tls::ClientSettings;
use roadbed::tls::make::{Make, make};
use roadbed::{Message, Outcome, Qos, Route, Url};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::Store;
use crate::hub::Running;

/// One client may, and nobody else.
const POLICY: &str = r#"
[[allow]]
who = ["client"]
send = ["queues/orders"]
receive = ["queues/orders"]
"#;

const PATIENCE: Duration = Duration::from_secs(20);

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    make(folder.path(), &Make::default()).expect("they can be made");
    folder
}

/// A configuration with every road.
fn config(folder: &Path) -> Config {
    let mut config = Config { store: Store::in_memory(), ..Config::default() };
    config.listen = crate::Listen::NONE;
    for (road, _) in crate::Listen::NONE.roads() {
        config.listen.of(road).push("127.0.0.1:0".parse().expect("an address"));
    }
    config.tls.cert = folder.join("server.pem");
    config.tls.key = folder.join("server.key");
    config.tls.client_ca = folder.join("ca.pem");
    config
}

fn route(folder: &Path) -> Route {
    let mut route = Route::default();
    route.tls = ClientSettings { ca: Some(folder.join("ca.pem")), ..ClientSettings::default() };
    route
}

/// Sends a message to a queue and takes it back.
async fn there_and_back(scheme: &'static str, address: SocketAddr, route: &Route) -> roadbed::Result<()> {
    let url: Url = format!("{scheme}://localhost:{}/queues/orders", address.port()).parse()?;
    let client = tokio::time::timeout(PATIENCE, roadbed::connect_by(&url, route)).await.expect("in time")?;
    let receiver = client.receiver("queues/orders", Qos::AtLeastOnce).await?;
    let message = Message::new("queues/orders".parse().expect("an address"), scheme.as_bytes());
    let sent = client.sender().await?.send(message, Qos::AtLeastOnce).await?;
    assert_eq!(sent.outcome, Outcome::Accepted);
    let got = receiver.receive().await?.expect("one");
    assert_eq!(got.message.payload().to_bytes(), scheme.as_bytes());
    got.accept().await?;
    receiver.detach(roadbed::Detach::Close).await?;
    client.close().await
}

fn count(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
}

/// `/metrics` of a hub.
async fn metrics(hub: &Running) -> String {
    let mut stream = TcpStream::connect(hub.listen().http[0]).await.expect("it listens");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n").await.expect("taken");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("an answer");
    text.replace("\r\n", "\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_protocol_comes_by_every_road() {
    let folder = folder();
    let hub = Running::start(&config(folder.path()), None).await.expect("it starts");
    let (listen, route) = (hub.listen().clone(), route(folder.path()));
    let any = listen.any[0];
    for (scheme, address) in [
        ("mqtts", listen.mqtts[0]),
        ("amqps", listen.amqps[0]),
        ("https", listen.https[0]),
        ("wss+mqtt", listen.https[0]),
        ("wss+amqp", listen.https[0]),
        ("ws+mqtt", listen.ws[0]),
        ("ws+amqp", listen.ws[0]),
        ("wss+mqtt", listen.wss[0]),
        ("wss+amqp", listen.wss[0]),
        ("mqtt", any),
        ("amqp", any),
        ("http", any),
        ("ws+mqtt", any),
        ("ws+amqp", any),
        ("mqtts", any),
        ("amqps", any),
        ("https", any),
        ("wss+mqtt", any),
        ("wss+amqp", any),
    ] {
        let gone = there_and_back(scheme, address, &route).await;
        gone.unwrap_or_else(|error| panic!("{scheme} to {address}: {error}"));
    }
    let metrics = metrics(&hub).await;
    assert!(count(&metrics, "roadbed_roads_tls_handshakes_total") >= 10, "{metrics}");
    assert!(count(&metrics, "roadbed_tls_certificate_ends_seconds") > 1_700_000_000);
    hub.stop().await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_for_all_takes_what_it_is_told_to() {
    let folder = folder();
    let mut config = config(folder.path());
    config.roads.any = vec![Accepted::Tls, Accepted::Mqtt, Accepted::Ws];
    let hub = Running::start(&config, None).await.expect("it starts");
    let (any, route) = (hub.listen().any[0], route(folder.path()));
    for scheme in ["mqtt", "mqtts", "ws+mqtt", "wss+amqp"] {
        there_and_back(scheme, any, &route).await.unwrap_or_else(|error| panic!("{scheme}: {error}"));
    }
    for scheme in ["amqp", "amqps"] {
        assert!(there_and_back(scheme, any, &route).await.is_err(), "{scheme}");
    }
    let mut stream = TcpStream::connect(any).await.expect("it listens");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: hub\r\n\r\n").await.expect("taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("the end");
    assert!(answer.starts_with("HTTP/1.1 405"), "WebSocket and nothing else: {answer}");
    let mut stream = TcpStream::connect(any).await.expect("it listens");
    stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.expect("taken");
    assert_eq!(stream.read(&mut [0; 64]).await.unwrap_or_default(), 0, "closed");
    let metrics = metrics(&hub).await;
    assert_eq!(count(&metrics, "roadbed_roads_arrivals_unknown_total"), 1);
    assert!(count(&metrics, "roadbed_roads_arrivals_refused_total") >= 1);
    hub.stop().await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_a_wrong_road_is_told_so() {
    let folder = folder();
    let hub = Running::start(&config(folder.path()), None).await.expect("it starts");
    let listen = hub.listen().clone();
    let answer = async |address: SocketAddr, said: &[u8]| {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(said).await.expect("taken");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    assert!(answer(listen.https[0], b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
    assert_eq!(answer(listen.mqtts[0], b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0").await, "");
    let hello = b"\x16\x03\x01\x00\x05hello";
    for plain in [listen.mqtt[0], listen.http[0], listen.amqp[0]] {
        assert_eq!(answer(plain, hello).await.as_bytes(), NO_TLS);
    }
    let refused = there_and_back("mqtts", listen.mqtt[0], &route(folder.path())).await.expect_err("no TLS there");
    assert!(refused.to_string().contains("HandshakeFailure"), "{refused}");
    assert_eq!(count(&metrics(&hub).await, "roadbed_roads_arrivals_refused_total"), 6);
    hub.stop().await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_connections_are_bounded_and_do_not_last() {
    let folder = folder();
    let mut config = config(folder.path());
    (config.roads.arrivals_max, config.roads.arrival_seconds) = (8, 2);
    let hub = Running::start(&config, None).await.expect("it starts");
    let (mqtts, route) = (hub.listen().mqtts[0], route(folder.path()));
    let mut half_open = Vec::new();
    for n in 0..40 {
        let mut stream = TcpStream::connect(mqtts).await.expect("it listens");
        let begun: &[u8] = if n % 2 == 0 { b"" } else { b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" };
        stream.write_all(begun).await.expect("taken");
        half_open.push(stream);
    }
    there_and_back("mqtts", mqtts, &route).await.expect("the others do not stand in the way");
    for mut stream in half_open {
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "cut: by the deadline or by those who came later");
    }
    let metrics = metrics(&hub).await;
    let late = count(&metrics, "roadbed_roads_arrivals_late_total");
    let pushed_out = count(&metrics, "roadbed_roads_arrivals_pushed_out_total");
    assert!(pushed_out >= 32 && late >= 1 && late + pushed_out <= 40, "{pushed_out} pushed out, {late} late");
    hub.stop().await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_certificates_are_required_who_has_one_comes_in_under_its_name_and_nobody_else() {
    let folder = folder();
    let mut config = config(folder.path());
    config.tls.client_auth = ClientAuth::Required;
    config.auth.certificate = "{id}".into();
    config.auth.policy = folder.path().join("policy.toml");
    std::fs::write(&config.auth.policy, POLICY).expect("written");
    let hub = Running::start(&config, None).await.expect("it starts");
    let (listen, without) = (hub.listen().clone(), route(folder.path()));
    let mut with = without.clone();
    with.tls.cert = Some(folder.path().join("client.pem"));
    with.tls.key = Some(folder.path().join("client.key"));
    for (scheme, address) in [("mqtts", listen.mqtts[0]), ("amqps", listen.any[0]), ("wss+mqtt", listen.wss[0])] {
        there_and_back(scheme, address, &with).await.unwrap_or_else(|error| panic!("{scheme}: {error}"));
        assert!(there_and_back(scheme, address, &without).await.is_err(), "{scheme}");
    }
    let other = Make { server_names: Vec::new(), clients: vec!["other".into()], force: false };
    make(folder.path(), &other).expect("of the same authority");
    with.tls.cert = Some(folder.path().join("other.pem"));
    with.tls.key = Some(folder.path().join("other.key"));
    let url: Url = format!("mqtts://localhost:{}/queues/orders", listen.mqtts[0].port()).parse().expect("a URL");
    let client = roadbed::connect_by(&url, &with).await.expect("it has a certificate");
    let message = Message::new("queues/orders".parse().expect("an address"), "mine");
    let sent = client.sender().await.expect("open").send(message, Qos::AtLeastOnce).await.expect("answered");
    assert!(matches!(sent.outcome, Outcome::Rejected(_)), "another name: {}", sent.outcome);
    hub.stop().await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_needs_no_restart() {
    let (folder, next) = (folder(), folder());
    let mut config = config(folder.path());
    config.tls.reload_seconds = 1;
    let hub = Running::start(&config, None).await.expect("it starts");
    let mqtts = hub.listen().mqtts[0];
    there_and_back("mqtts", mqtts, &route(folder.path())).await.expect("the first");
    assert!(there_and_back("mqtts", mqtts, &route(next.path())).await.is_err(), "not known yet");
    for file in ["server.pem", "server.key"] {
        std::fs::copy(next.path().join(file), folder.path().join(file)).expect("copied");
    }
    tokio::time::timeout(PATIENCE, async {
        while there_and_back("mqtts", mqtts, &route(next.path())).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .expect("it is read again");
    hub.stop().await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn through_a_proxy_every_scheme_gets_there() {
    let folder = folder();
    let hub = Running::start(&config(folder.path()), None).await.expect("it starts");
    let any = hub.listen().any[0];
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut route = route(folder.path());
    route.proxy = Some(format!("http://{}", listener.local_addr().expect("an address")));
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") {
                    asked.push(near.read_u8().await.expect("a request"));
                }
                assert!(asked.starts_with(format!("CONNECT localhost:{} ", any.port()).as_bytes()));
                let mut far = TcpStream::connect(any).await.expect("it listens");
                near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("taken");
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    for scheme in ["mqtt", "amqp", "http", "mqtts", "amqps", "https", "ws+mqtt", "wss+amqp"] {
        there_and_back(scheme, any, &route).await.unwrap_or_else(|error| panic!("{scheme}: {error}"));
    }
    hub.stop().await.expect("it ends");
}

#[tokio::test]
async fn a_hub_without_a_certificate_says_how_to_get_one() {
    let mut config = Config { store: Store::in_memory(), ..Config::default() };
    config.listen = crate::Listen { mqtts: vec!["127.0.0.1:0".parse().expect("an address")], ..crate::Listen::NONE };
    let failure = Running::start(&config, None).await.err().expect("there is none").to_string();
    assert!(failure.contains("no certificate") && failure.contains("roadbed tls make"), "{failure}");
    config.tls.cert = "/nonexistent/server.pem".into();
    let failure = Running::start(&config, None).await.err().expect("there is none").to_string();
    assert!(failure.contains("/nonexistent/server.pem"), "{failure}");
}
