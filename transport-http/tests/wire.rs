//! The server on real byte streams: raw bytes, slow peers, peers that go away, curl.

mod support;

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use roadbed_broker::Broker;
use roadbed_core::{
    Address, ConsumerTerms, Endpoint, Manage, Managed, Message, Open, Outcome, ProducerTerms, Qos, Receiver, Sender,
};
use roadbed_http::{HttpConfig, HttpError, Server};
use support::Fake;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

type Serving = JoinHandle<Result<(), HttpError>>;

fn pipe(server: &Server, bytes: usize) -> (DuplexStream, Serving) {
    let (client, io) = tokio::io::duplex(bytes);
    let server = server.clone();
    (client, tokio::spawn(async move { server.serve(io).await }))
}

/// Reads until the head and as many bytes of body as it announces are there.
async fn response(io: &mut DuplexStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        let mut chunk = [0; 4096];
        match timeout(Duration::from_secs(30), io.read(&mut chunk)).await.unwrap().unwrap() {
            0 => return text,
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}

const POST: &str = "POST /v1/messages/a/b HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello";
const POLL: &str = "GET /v1/messages/queues/q HTTP/1.1\r\nhost: x\r\nprefer: wait=30\r\n\r\n";

#[tokio::test]
async fn bytes_may_come_in_any_pieces() {
    let fake = Fake::new();
    let server = fake.server(HttpConfig::default());
    for size in [1, 2, 7, 1000] {
        let (mut io, _serving) = pipe(&server, 64);
        for piece in format!("{POST}{POST}").as_bytes().chunks(size) {
            io.write_all(piece).await.unwrap();
        }
        let mut answers = String::new();
        while answers.matches("HTTP/1.1 202 Accepted\r\n").count() < 2 {
            answers += &response(&mut io).await;
        }
    }
    assert_eq!(fake.state().sent.len(), 8);
    assert!(fake.state().sent.iter().all(|sent| &sent.message.payload().to_bytes()[..] == b"hello"));
    assert_eq!(fake.state().opened.len(), 4, "one session for each connection");
}

#[tokio::test]
async fn a_chunked_body_is_put_together() {
    let fake = Fake::new();
    let (mut io, _serving) = pipe(&fake.server(HttpConfig::default()), 64);
    io.write_all(b"POST /v1/messages/a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    for _ in 0..100 {
        io.write_all(b"3\r\nabc\r\n").await.unwrap();
    }
    io.write_all(b"0\r\n\r\n").await.unwrap();
    assert!(response(&mut io).await.starts_with("HTTP/1.1 202"));
    assert_eq!(fake.state().sent[0].message.payload().to_bytes(), "abc".repeat(100));
}

#[tokio::test]
async fn too_long_is_said_instead_of_100_continue() {
    let fake = Fake::new();
    let (mut io, _serving) = pipe(&fake.server(HttpConfig::default().body_bytes_max(4)), 4096);
    let head = POST.split_once("\r\n\r\n").unwrap().0;
    io.write_all(format!("{head}\r\nexpect: 100-continue\r\n\r\n").as_bytes()).await.unwrap();
    let answer = response(&mut io).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("connection: close"), "{answer}");
    assert!(fake.state().sent.is_empty());
}

#[tokio::test]
async fn a_chunked_body_is_cut_at_the_limit() {
    let fake = Fake::new();
    let (mut io, _serving) = pipe(&fake.server(HttpConfig::default().body_bytes_max(1000)), 1 << 20);
    io.write_all(b"POST /v1/messages/a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    for _ in 0..100 {
        let _ = io.write_all(format!("64\r\n{}\r\n", "x".repeat(100)).as_bytes()).await;
    }
    assert!(response(&mut io).await.starts_with("HTTP/1.1 413"));
    assert!(fake.state().sent.is_empty());
}

#[tokio::test]
async fn broken_requests_end_the_connection() {
    let fake = Fake::new();
    for (bytes, status) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 what is this supposed to be\r\n\r\n"[..], "400"),
        (b"GET /v1/messages/queues/q HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n", "400"),
        (b"POST /v1/messages/a HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx", "400"),
        (b"GET /v1/messages/queues/q HTTP/9.9\r\n\r\n", ""),
    ] {
        let (mut io, serving) = pipe(&fake.server(HttpConfig::default()), 4096);
        io.write_all(bytes).await.unwrap();
        let answer = response(&mut io).await;
        assert!(answer.starts_with("HTTP/1.1 400") || status.is_empty(), "{answer}");
        timeout(Duration::from_secs(5), serving).await.expect("the connection ends").unwrap().unwrap_err();
    }
}

#[tokio::test]
async fn too_many_headers_and_too_long_heads_are_431() {
    let fake = Fake::new();
    let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(100 << 10));
    for headers in [many, long] {
        let (mut io, _serving) = pipe(&fake.server(HttpConfig::default()), 1 << 20);
        io.write_all(format!("GET /v1 HTTP/1.1\r\nhost: x\r\n{headers}\r\n").as_bytes()).await.unwrap();
        assert!(response(&mut io).await.starts_with("HTTP/1.1 431"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_and_a_slow_head_are_cut_off() {
    let server = Fake::new().server(HttpConfig::default().header_read_ms(2_000));
    for bytes in [&b""[..], b"G", b"PRI * HTTP/2.0\r\n", b"POST /v1/messages/a HTTP/1.1\r\nhost: x\r\n"] {
        let started = Instant::now();
        let (mut io, serving) = pipe(&server, 4096);
        io.write_all(bytes).await.unwrap();
        let trickle = tokio::spawn(async move {
            for _ in 0..100 {
                sleep(Duration::from_millis(500)).await;
                // A line that never ends.
                let _ = io.write_all(if bytes.len() > 20 { b"x" } else { b"" }).await;
            }
        });
        assert!(matches!(serving.await.unwrap(), Err(HttpError::HeaderTimeout)));
        assert!((2_000..=3_100).contains(&started.elapsed().as_millis()), "{:?} {bytes:?}", started.elapsed());
        trickle.abort();
    }
    let counters = server.counters();
    assert_eq!((counters.connections, counters.connections_ended, counters.heads_late), (4, 4, 4));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_ends_in_good_order_and_not_before() {
    let config = HttpConfig::default().header_read_ms(2_000).idle_ms(20_000);
    let (mut io, serving) = pipe(&Fake::new().server(config), 4096);
    io.write_all(POST.as_bytes()).await.unwrap();
    response(&mut io).await;
    sleep(Duration::from_secs(15)).await;
    io.write_all(POST.as_bytes()).await.unwrap();
    assert!(response(&mut io).await.starts_with("HTTP/1.1 202"));
    let started = Instant::now();
    serving.await.unwrap().unwrap();
    assert!((20..=22).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_408() {
    let fake = Fake::new();
    let (mut io, serving) = pipe(&fake.server(HttpConfig::default()), 4096);
    io.write_all(b"POST /v1/messages/a HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n").await.unwrap();
    let (mut read, mut write) = tokio::io::split(io);
    let trickle = tokio::spawn(async move {
        while write.write_all(b"x").await.is_ok() {
            sleep(Duration::from_millis(100)).await;
        }
    });
    let started = Instant::now();
    let mut answer = String::new();
    read.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("connection: close"), "{answer}");
    assert!((5..=6).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    let _ = serving.await.unwrap();
    assert!(fake.state().sent.is_empty());
    trickle.abort();
}

#[tokio::test(start_paused = true)]
async fn who_never_reads_is_cut_off() {
    let fake = Fake::new();
    let (mut io, serving) = pipe(&fake.server(HttpConfig::default().write_stall_ms(3_000)), 1024);
    fake.put(Message::new("a".parse().unwrap(), vec![0; 1 << 20]));
    io.write_all(b"GET /v1/messages/queues/q HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let started = Instant::now();
    assert!(matches!(serving.await.unwrap(), Err(HttpError::WriteStalled)));
    assert!((3..=6).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_held_poll_that_loses_its_client_takes_nothing() {
    let fake = Fake::new();
    let server = fake.server(HttpConfig::default());
    let (mut io, serving) = pipe(&server, 4096);
    io.write_all(POLL.as_bytes()).await.unwrap();
    fake.until(|state| state.consumers == 1).await;
    drop(io);
    fake.until(|state| state.consumers == 0).await;
    let _ = serving.await.unwrap();
    fake.put(Message::new("a".parse().unwrap(), "still here"));
    let (mut io, _serving) = pipe(&server, 4096);
    io.write_all(POLL.as_bytes()).await.unwrap();
    assert!(response(&mut io).await.ends_with("still here"));
}

#[tokio::test]
async fn a_message_that_meets_the_end_of_its_client_is_released() {
    let fake = Fake::new();
    for _ in 0..50 {
        let (mut io, serving) = pipe(&fake.server(HttpConfig::default()), 4096);
        io.write_all(POLL.as_bytes()).await.unwrap();
        fake.until(|state| state.consumers == 1).await;
        // Both at once: whichever the server sees first, the message is there or locked, never lost.
        drop(io);
        fake.put(Message::new("a".parse().unwrap(), "x"));
        let _ = timeout(Duration::from_secs(5), serving).await.unwrap();
        let mut state = fake.state();
        assert_eq!(state.queue.len() + state.held.len(), 1);
        assert!(state.settled.iter().all(|(_, outcome)| *outcome == Outcome::Released));
        state.queue.clear();
        state.held.clear();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_as_a_message_comes_costs_it_nothing() {
    let broker = Broker::new();
    let server = Server::new(Arc::new(broker.clone()), HttpConfig::default()).unwrap();
    let session = broker.open(Open::default()).await.unwrap();
    let sender = Sender::new(session.producer(ProducerTerms::default()).await.unwrap().0);
    let queue: Address = "queues/q".parse().unwrap();
    let (mut there, mut locked) = (0, 0);
    for n in 0..200 {
        let (mut io, serving) = pipe(&server, 4096);
        io.write_all(POLL.as_bytes()).await.unwrap();
        for _ in 0..n % 7 {
            tokio::task::yield_now().await;
        }
        let gone = tokio::spawn(async move { drop(io) });
        sender.send(Message::new(queue.clone(), "x"), Qos::AtLeastOnce).await.unwrap();
        gone.await.unwrap();
        let _ = timeout(Duration::from_secs(5), serving).await.unwrap();
        let described = session.manage(Manage::Describe(queue.clone())).await.unwrap();
        let Managed::Description(node) = described else { panic!("{described:?}") };
        assert_eq!(node.available + node.held, 1, "never lost, never twice");
        if node.available == 1 {
            there += 1;
            let terms = ConsumerTerms::queue(queue.clone());
            let receiver = Receiver::new(session.consumer(terms).await.unwrap().0, 1);
            let received = receiver.receive().await.unwrap().unwrap();
            assert_eq!(received.info.as_ref().unwrap().count, 0, "nothing was tried");
            received.accept().await.unwrap();
        } else {
            locked += 1;
        }
        session.manage(Manage::Delete(queue.clone())).await.unwrap();
    }
    assert!(there > 0, "{there} there, {locked} under a lock that will end");
}

#[tokio::test]
async fn a_shutdown_answers_held_polls_and_finishes_what_is_under_way() {
    let fake = Fake::new();
    let server = fake.server(HttpConfig::default());
    let listener = server.bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(listener.serve(async { stopped.await.unwrap_or_default() }));
    let mut poll = tokio::net::TcpStream::connect(address).await.unwrap();
    poll.write_all(POLL.as_bytes()).await.unwrap();
    let mut idle = tokio::net::TcpStream::connect(address).await.unwrap();
    idle.write_all(POST.as_bytes()).await.unwrap();
    fake.until(|state| state.consumers == 1 && !state.sent.is_empty()).await;
    let started = Instant::now();
    stop.send(()).unwrap();
    let mut answer = String::new();
    poll.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 204") && answer.contains("connection: close"), "{answer}");
    let mut answer = String::new();
    idle.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    serving.await.unwrap().unwrap();
    assert!(started.elapsed() < Duration::from_secs(3));
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn further_connections_wait_for_a_place() {
    let fake = Fake::new();
    let server = fake.server(HttpConfig::default().connections_max(1));
    let listener = server.bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(listener.serve(std::future::pending()));
    let first = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut second = tokio::net::TcpStream::connect(address).await.unwrap();
    second.write_all(POST.as_bytes()).await.unwrap();
    let mut byte = [0];
    sleep(Duration::from_millis(100)).await;
    assert!(timeout(Duration::from_millis(100), second.read(&mut byte)).await.is_err());
    drop(first);
    timeout(Duration::from_secs(5), second.read(&mut byte)).await.unwrap().unwrap();
    assert_eq!(fake.state().sent.len(), 1);
    serving.abort();
}

#[tokio::test]
async fn ten_thousand_silent_connections_leave_the_others_unharmed() {
    let fake = Fake::new();
    let server = fake.server(HttpConfig::default());
    let mut silent = Vec::new();
    for _ in 0..10_000 {
        silent.push(pipe(&server, 16));
    }
    let started = Instant::now();
    let (mut io, _serving) = pipe(&server, 4096);
    io.write_all(POST.as_bytes()).await.unwrap();
    assert!(response(&mut io).await.starts_with("HTTP/1.1 202"));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

/// Runs curl, and gives what it printed.
async fn curl(arguments: &[&str]) -> String {
    let mut command = tokio::process::Command::new("curl");
    let output = command.args(["-sS", "-m", "20"]).args(arguments).stdin(Stdio::null()).output();
    let output = output.await.expect("curl is installed");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_is_a_client_over_both_versions() {
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let broker = Broker::new();
        let timers = broker.spawn_timers();
        let server = Server::new(Arc::new(broker), HttpConfig::default()).unwrap();
        let listener = server.bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/v1", listener.local_addr().unwrap());
        let serving = tokio::spawn(listener.serve(std::future::pending()));
        let status = ["-o", "/dev/null", "-w", "%{http_code}"];
        let code = async |arguments: &[&str]| curl(&[&[version][..], &status, arguments].concat()).await;

        let topic = format!("{base}/messages/plant/7/temp%C3%A9rature");
        assert_eq!(code(&[&topic, "-d", "nobody"]).await, "404");
        let subscription = format!("{base}/subscriptions/heat");
        assert_eq!(code(&["-X", "PUT", &subscription, "-d", r#"{"filters":["plant/+/température"]}"#]).await, "201");
        assert_eq!(code(&["-X", "PUT", &subscription, "-d", r#"{"filters":["plant/+/température"]}"#]).await, "200");
        let headers =
            ["-H", "content-type: text/plain", "-H", "roadbed-property-unit: celsius", "-H", "idempotency-key: 1"];
        assert_eq!(code(&[&[&*topic, "-d", "21.5"][..], &headers].concat()).await, "202");
        assert_eq!(code(&[&[&*topic, "-d", "21.5"][..], &headers].concat()).await, "202");

        let queue = format!("{base}/messages/queues/heat");
        let polled = curl(&[version, "-i", &queue]).await;
        let polled_lower = polled.to_ascii_lowercase();
        assert!(polled.contains("200") && polled.ends_with("\r\n21.5"), "{polled}");
        assert!(
            polled_lower.contains("roadbed-property-unit: celsius")
                && polled_lower.contains("content-type: text/plain")
        );
        assert!(polled.contains("roadbed-address: plant/7/temp%C3%A9rature"), "{polled}");
        let token = polled.split('"').nth(1).unwrap();
        let lock = format!("{base}/locks/{token}");
        assert_eq!(code(&["-X", "POST", &format!("{lock}/renew")]).await, "204");
        assert_eq!(code(&["-X", "DELETE", &lock]).await, "204");
        assert_eq!(code(&["-X", "DELETE", &lock]).await, "204", "the same again is the same");
        assert_eq!(code(&["-X", "POST", &format!("{lock}/abandon")]).await, "412");
        assert_eq!(code(&[&queue]).await, "204", "the second POST was a duplicate");
        assert_eq!(code(&[&queue, "-H", "prefer: wait=1"]).await, "204");

        assert_eq!(code(&["-X", "DELETE", &subscription]).await, "200");
        assert_eq!(code(&[&topic, "-d", "nobody"]).await, "404");
        serving.abort();
        timers.abort();
    }
}
