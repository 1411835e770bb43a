//! What the hub bears: each attack leaves its memory bounded, and the other clients served.

mod amqp;
#[path = "../serving/mod.rs"]
mod serving;
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use support::{Client, DISCONNECT, Hub, PUBLISH, connect, publish, subscribe, text};

/// How many sockets a test may open here, at most `wanted`: both ends have the same limit.
fn sockets(wanted: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("the kernel tells");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("the kernel tells");
    let soft = line.split_whitespace().nth(3).and_then(|word| word.parse::<usize>().ok()).unwrap_or(usize::MAX);
    wanted.min(soft.saturating_sub(200))
}

#[test]
fn ten_thousand_silent_and_half_open_connections() {
    let hub = Hub::start();
    let (before, count) = (hub.resident(), sockets(10_000));
    let beginnings: [(&str, &[u8]); 4] = [
        (&hub.mqtt, b""),
        (&hub.mqtt, b"\x10\x10\x00\x04MQ"),
        (&hub.http, b""),
        (&hub.http, b"POST /v1/messages/queues/a HTTP/1.1\r\nHost: a\r\n"),
    ];
    let held: Vec<TcpStream> = (0..count)
        .map(|n| {
            let (address, bytes) = beginnings[n % beginnings.len()];
            let mut stream = TcpStream::connect(address).expect("the hub accepts");
            stream.write_all(bytes).expect("the hub reads");
            stream
        })
        .collect();
    hub.serves_others();
    let each = hub.resident().saturating_sub(before) / held.len();
    assert!(each < 24 << 10, "{each} bytes a connection");
    let mut first = &held[0];
    first.set_read_timeout(Some(support::PATIENCE)).expect("a socket option");
    assert_eq!(first.read(&mut [0]).expect("the hub closes what stays silent"), 0);
}

#[test]
fn a_subscriber_that_never_reads() {
    let hub = Hub::start();
    let mut deaf = Client::connect(&hub.mqtt, "deaf");
    deaf.subscribe("flood/#", 1);
    let mut hearing = Client::connect(&hub.mqtt, "hearing");
    hearing.subscribe("flood/#", 0);
    let before = hub.resident();
    let mut flood = Client::connect(&hub.mqtt, "flood");
    let payload = vec![7; 16 << 10];
    for round in 0..40 {
        // 6.4 MiB a round, 256 MiB in all: more than any socket buffer and any queue of a session takes.
        for n in 0..400u16 {
            flood.publish(&format!("flood/{}", n % 7), &payload, u8::from(n % 2 == 0));
        }
        for _ in 0..200 {
            assert_eq!(flood.packet().0 >> 4, support::PUBACK, "round {round}");
        }
        for _ in 0..400 {
            assert_eq!(hearing.packet().0 >> 4, PUBLISH, "round {round}");
        }
    }
    let grown = hub.resident().saturating_sub(before);
    assert!(grown < 128 << 20, "{grown} bytes");
    hub.serves_others();
}

#[test]
fn a_flood_of_subscribe() {
    let hub = Hub::start();
    let before = hub.resident();
    let mut client = Client::connect(&hub.mqtt, "greedy");
    let (mut granted, mut refused) = (0, 0);
    for round in 0..100u32 {
        let requests: Vec<u8> =
            (0..500u32).flat_map(|n| subscribe(n as u16 + 1, &format!("greedy/{round}/+/{n}/#"), 1)).collect();
        client.send(&requests);
        for _ in 0..500 {
            match client.packet().1[3] {
                0..=2 => granted += 1,
                0x97 => refused += 1,
                other => panic!("SUBACK {other:#x}"),
            }
        }
    }
    assert!(granted > 0 && refused > 0, "{granted} granted, {refused} refused");
    let grown = hub.resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes for {granted} bindings");
    hub.serves_others();
}

#[test]
fn a_flood_of_subscribe_whose_answers_nobody_reads() {
    let hub = Hub::start();
    let before = hub.resident();
    let mut client = Client::connect(&hub.mqtt, "greedy and deaf");
    client.stream.set_write_timeout(Some(std::time::Duration::from_secs(2))).expect("a socket option");
    let request = subscribe(1, "greedy/#", 1);
    let requests = request.repeat(1000);
    // Sooner or later the hub reads no more, and the socket takes no more.
    let stopped = (0..20_000).any(|_| client.stream.write_all(&requests).is_err());
    assert!(stopped, "the hub has read 300 MB of requests whose answers nobody reads");
    let grown = hub.resident().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes");
    hub.serves_others();
}

#[test]
fn thousands_of_user_properties() {
    let hub = Hub::start();
    let mut client = Client::connect(&hub.mqtt, "wordy");
    let mut one = vec![0x26];
    text(&mut one, "name");
    text(&mut one, "value");
    client.send(&publish(1, "wordy/a", b"x", 1, &one.repeat(10_000)));
    let (first, body) = client.packet();
    assert_eq!(first >> 4, DISCONNECT);
    assert_eq!(body[0], 0x97, "quota exceeded");
    hub.serves_others();
}

#[test]
fn deep_filters_against_deep_topics() {
    let hub = Hub::start();
    let mut listener = Client::connect(&hub.mqtt, "deep");
    // Every mixture of a wildcard and a name over ten levels, then wildcards to the bottom.
    for mixture in 0..512u32 {
        let levels: Vec<&str> = (0..10).map(|n| if mixture >> n & 1 == 0 { "+" } else { "a" }).collect();
        listener.subscribe(&format!("{}{}/#", levels.join("/"), "/+".repeat(100)), 0);
    }
    let mut sender = Client::connect(&hub.mqtt, "digger");
    for n in 0..100 {
        let topic = format!("{}/{n}", ["a"; 120].join("/"));
        sender.publish(&topic, b"deep", 1);
        assert_eq!(sender.packet().0 >> 4, support::PUBACK);
        let (first, body) = listener.packet();
        assert_eq!(first >> 4, PUBLISH, "once, whatever number of filters match");
        assert!(body.ends_with(b"deep"));
    }
    sender.publish(&"/".repeat(60_000), b"deeper", 1);
    assert_eq!(sender.packet().0 >> 4, support::PUBACK);
    hub.serves_others();
}

#[test]
fn a_packet_that_announces_more_than_anybody_may_send() {
    let hub = Hub::start();
    let before = hub.resident();
    let held: Vec<TcpStream> = (0..sockets(200))
        .map(|n| {
            let mut client = Client::connect(&hub.mqtt, &format!("boaster-{n}"));
            // A PUBLISH of 1 MiB that never comes: memory grows with what arrives, not with what is announced.
            client.send(&[0x30, 0xff, 0xff, 0x3f, 0, 1, b'a', 0]);
            client.stream
        })
        .collect();
    hub.serves_others();
    let each = hub.resident().saturating_sub(before) / held.len();
    assert!(each < 64 << 10, "{each} bytes a connection");
    let mut client = Client::connect(&hub.mqtt, "liar");
    client.send(&[0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, b'a', 0]);
    let (first, body) = client.packet();
    assert_eq!((first >> 4, body[0]), (DISCONNECT, 0x95), "packet too large");
}

#[test]
fn names_fought_over() {
    let hub = Hub::start();
    let before = hub.resident();
    let held: Vec<TcpStream> = (0..sockets(500))
        .map(|_| {
            let mut stream = TcpStream::connect(&hub.mqtt).expect("the hub accepts");
            stream.write_all(&connect("everybody")).expect("the hub reads");
            stream.read_exact(&mut [0; 2]).expect("CONNACK");
            stream
        })
        .collect();
    let mut last = held.last().expect("there are some");
    last.set_read_timeout(Some(std::time::Duration::from_millis(300))).expect("a socket option");
    while last.read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
    let grown = hub.resident().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes");
    hub.serves_others();
}
