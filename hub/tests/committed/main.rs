//! No positive answer leaves before what it promises is synced, in any protocol; what promises nothing does not wait for the disk. The servers
//! of the hub on a journal whose syncs wait or fail as they are told, and peers that share no code with them.
#![cfg(target_os = "linux")]

#[path = "../survives/device.rs"]
#[allow(dead_code, reason = "each test uses its own part")]
mod device;
mod gate;
#[path = "../hostile/amqp/wire.rs"]
#[allow(dead_code, reason = "each test uses its own part")]
mod wire;

/// What the peers share.
mod support {
    /// How long anything here may take.
    pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
}

use std::future::Future;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use device::{Device, PUBACK, PUBREC};
use gate::{Gated, Way};
use roadbed::journal::{JournalConfig, JournalMonitor, JournalStore};
use roadbed::{Broker, Client, Manage, Open, QueueSettings, amqp, http, mqtt};
use support::PATIENCE;
use tokio::net::TcpListener;
use wire::{DISPOSITION, FLOW, Peer, attach_controller, boolean, composite, described, message, transfer, transfer_as};

const ACCEPTED: &[u8] = &[0x00, 0x53, 0x24];
const QOS1: u8 = 0b010;
const QOS2: u8 = 0b100;

/// The servers of every protocol on one broker and its gated journal.
struct Served {
    disk: Gated,
    journal: JournalMonitor,
    mqtt: String,
    http: String,
    amqp: String,
    _runtime: tokio::runtime::Runtime,
}

fn served() -> Served {
    let disk = Gated::new();
    let config = JournalConfig::default().segment_bytes(1 << 20).free_min(0, 0);
    let store = JournalStore::open_on(Arc::new(disk.clone()), config).expect("the journal opens");
    let journal = store.monitor();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let [mqtt, http, amqp] = runtime.block_on(async {
        let broker = Broker::builder().store(store).build().expect("a broker");
        volatile_queue(&broker).await;
        let listeners = [listener().await, listener().await, listener().await];
        let addresses = listeners.each_ref().map(|listener| listener.local_addr().expect("an address").to_string());
        let [over_mqtt, over_http, over_amqp] = listeners;
        let server = mqtt::Server::new(Arc::new(broker.clone()), mqtt::ServerConfig::permissive());
        tokio::spawn(mqtt::Listener::new(over_mqtt, server).run(std::future::pending()));
        let server = amqp::Server::new(Arc::new(broker.clone()), amqp::ServerConfig::permissive());
        tokio::spawn(amqp::Listener::new(over_amqp, server).run(std::future::pending()));
        let server = http::Server::new(Arc::new(broker), http::HttpConfig::default()).expect("a server");
        tokio::spawn(async move { server.serve_listener(over_http, std::future::pending()).await });
        addresses
    });
    Served { disk, journal, mqtt, http, amqp, _runtime: runtime }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a port")
}

async fn volatile_queue(broker: &Broker) {
    let client = Client::open(Arc::new(broker.clone()), Open::default()).await.expect("a session");
    let settings = QueueSettings { durable: false, ..QueueSettings::default() };
    let declare = Manage::Declare("queues/volatile".parse().expect("an address"), settings);
    client.session().manage(declare).await.expect("declared");
}

/// Posts, and answers with the status.
fn post(http: &str, address: &str) -> u16 {
    let mut stream = TcpStream::connect(http).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    let request =
        format!("POST /v1/messages/{address} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx");
    stream.write_all(request.as_bytes()).expect("the server reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
}

/// Peers of every protocol, each with something stored under way.
struct UnderWay {
    one: Device,
    two: Device,
    sender: Peer,
    controller: Peer,
    posting: JoinHandle<u16>,
}

fn peers(served: &Served) -> (Device, Device, Peer, (Peer, Vec<u8>)) {
    let mut sender = Peer::connect(&served.amqp);
    sender.sender(0, "queues/q");
    let mut controller = Peer::connect(&served.amqp);
    controller.sender(0, "queues/q");
    controller.send(0, &attach_controller("controller", 1));
    controller.until(FLOW);
    controller.send(0, &transfer(1, 0, false, &described(0x77, &composite(0x31, &[]))));
    let declared = controller.until(DISPOSITION).body;
    let at = declared.iter().position(|byte| *byte == 0xa0).expect("the name of the transaction");
    let txn = declared[at..at + 2 + usize::from(declared[at + 1])].to_vec();
    let within = composite(0x34, std::slice::from_ref(&txn));
    controller.send(0, &transfer_as(0, 1, false, within, &message(b"part")));
    controller.until(DISPOSITION);
    let devices = ["one", "two"].map(|name| Device::kept(&served.mqtt, name, 0));
    let [one, two] = devices;
    (one, two, sender, (controller, txn))
}

/// Everybody sends something that is to be stored.
fn send(served: &Served, peers: (Device, Device, Peer, (Peer, Vec<u8>))) -> UnderWay {
    let (mut one, mut two, mut sender, (mut controller, txn)) = peers;
    one.publish("queues/q", "x", QOS1, 1, &[]);
    two.publish("queues/q", "x", QOS2, 1, &[]);
    sender.send(0, &transfer(0, 0, false, &message(b"x")));
    let commit = composite(0x32, &[txn, boolean(false)]);
    controller.send(0, &transfer(1, 2, false, &described(0x77, &commit)));
    let http = served.http.clone();
    let posting = std::thread::spawn(move || post(&http, "queues/q"));
    UnderWay { one, two, sender, controller, posting }
}

/// Nothing comes for a while.
fn is_quiet(peer: &Peer) -> bool {
    peer.stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a socket option");
    let quiet = peer.stream.peek(&mut [0]).is_err();
    peer.stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    quiet
}

fn says(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

#[test]
fn nothing_is_acknowledged_before_it_is_synced_and_one_sync_is_for_all() {
    let served = served();
    let peers = peers(&served);
    let mut watcher = Device::kept(&served.mqtt, "watcher", 0);
    watcher.subscribe("news", 1, 1);
    let mut other = Device::kept(&served.mqtt, "other", 0);

    served.disk.set(Way::Shut);
    let mut under_way = send(&served, peers);
    let quiet = [under_way.one.is_quiet(), under_way.two.is_quiet()];
    assert_eq!(quiet, [true; 2], "no PUBACK and no PUBREC");
    assert!(
        is_quiet(&under_way.sender) && is_quiet(&under_way.controller),
        "no disposition and no end of a transaction"
    );
    assert!(!under_way.posting.is_finished(), "no 202");

    // What promises nothing does not wait.
    for (topic, first) in [("news", 0), ("news", QOS1), ("queues/volatile", QOS1), ("queues/volatile", QOS2)] {
        other.publish(topic, "now", first, 9, &[]);
        match first {
            QOS1 => assert_eq!(other.acked(PUBACK), (9, 0), "{topic}"),
            QOS2 => assert_eq!(other.acked(PUBREC), (9, 0), "{topic}"),
            _ => {}
        }
    }
    assert_eq!([watcher.publish_in().payload, watcher.publish_in().payload], ["now", "now"]);
    assert_eq!(post(&served.http, "queues/volatile"), 202);
    let mut sender = Peer::connect(&served.amqp);
    sender.sender(0, "queues/volatile");
    sender.put(0, 0, b"now");
    assert!(!under_way.posting.is_finished());

    let before = served.disk.syncs();
    served.disk.set(Way::Open);
    assert_eq!(under_way.one.acked(PUBACK), (1, 0));
    assert_eq!(under_way.two.acked(PUBREC), (1, 0));
    assert!(says(&under_way.sender.until(DISPOSITION).body, ACCEPTED));
    assert!(says(&under_way.controller.until(DISPOSITION).body, ACCEPTED));
    assert_eq!(under_way.posting.join().expect("an answer"), 202);
    let syncs = served.disk.syncs() - before;
    assert!(syncs <= 2, "{syncs} syncs: the first is for what came before the rest");
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged() {
    let served = served();
    let peers = peers(&served);
    served.disk.set(Way::Broken);
    let mut under_way = send(&served, peers);
    assert!(under_way.one.acked(PUBACK).1 >= 0x80);
    assert!(under_way.two.acked(PUBREC).1 >= 0x80);
    assert!(!says(&under_way.sender.until(DISPOSITION).body, ACCEPTED));
    assert!(!says(&under_way.controller.until(DISPOSITION).body, ACCEPTED));
    assert_eq!(under_way.posting.join().expect("an answer"), 503);
    let mut failed = std::pin::pin!(served.journal.failed());
    assert!(failed.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready(), "the hub would end");

    // The disk may say what it likes from now on.
    served.disk.set(Way::Open);
    let mut device = Device::kept(&served.mqtt, "late", 0);
    device.publish("queues/q", "x", QOS1, 1, &[]);
    assert!(device.acked(PUBACK).1 >= 0x80);
    assert_eq!(post(&served.http, "queues/q"), 503);
}
