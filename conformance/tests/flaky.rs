//! A device on a link that is up for 5 seconds and down for 25, for 20 minutes, over a broker on a journal: what is sent at least once comes at least
//! once, what is sent exactly once comes once, in both directions, and no queue is ever longer than its bound.
#![cfg(feature = "simulation")]

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use roadbed_broker::{Broker, Settings};
use roadbed_conformance::Faults;
use roadbed_conformance::simulation::VirtualClock;
use roadbed_core::{
    Address, Binding, Clock, ConsumerTerms, Endpoint, Hold, Manage, Message, Open, Outcome, ProducerTerms, Qos,
    QueueSettings, Receiver, Sender, Session, Settle,
};
use roadbed_mqtt::codec::Version;
use roadbed_store_journal::simulation::SimFs;
use roadbed_store_journal::{JournalConfig, JournalMonitor, JournalStore};

const SECONDS: u32 = 20 * 60;
const PERIOD: u32 = 30;
const UP: u32 = 5;
/// More than comes while the link is down, and not much more.
const BOUND: usize = 80;

#[derive(Clone, Copy, Debug)]
enum Protocol {
    Mqtt(Version),
    Amqp,
}

/// The link, which is there now and then.
#[derive(Clone)]
struct Link {
    faults: Faults,
    up: Arc<AtomicBool>,
}

impl Link {
    fn set(&self, up: bool) {
        if self.up.swap(up, Ordering::Relaxed) && !up {
            self.faults.cut();
        }
    }
}

fn broker(fs: &SimFs, clock: Arc<dyn Clock>) -> (Broker, JournalMonitor) {
    let config = JournalConfig::default().segment_bytes(1 << 20).garbage_bytes(1 << 20).free_min(0, 0);
    let store = JournalStore::open_on(Arc::new(fs.clone()), config).expect("the journal opens");
    let mut settings = Settings::default();
    (settings.session_messages_max, settings.queue_messages_max) = (BOUND, BOUND);
    let monitor = store.monitor();
    (Broker::builder().settings(settings).clock(clock).store(store).build().expect("a broker"), monitor)
}

/// The device's end of the link.
fn device(protocol: Protocol, broker: &Broker, clock: &Arc<dyn Clock>, link: &Link) -> Arc<dyn Endpoint> {
    let endpoint: Arc<dyn Endpoint> = Arc::new(broker.clone());
    let (dialer, listener) = link.faults.listen();
    let up = link.up.clone();
    let dial = move || {
        let (dialer, up) = (dialer.clone(), up.clone());
        async move {
            match up.load(Ordering::Relaxed) {
                true => dialer.dial().await,
                false => Err(io::ErrorKind::HostUnreachable.into()),
            }
        }
    };
    match protocol {
        Protocol::Mqtt(version) => {
            let served = roadbed_mqtt::ServerConfig::permissive().clock(clock.clone());
            let server = roadbed_mqtt::Server::new(endpoint, served);
            listener.serve(move |stream| server.serve(stream));
            let config = roadbed_mqtt::ClientConfig::default()
                .version(version)
                .clock(clock.clone())
                .reconnect_delay_min(Duration::from_millis(100))
                .reconnect_delay_max(Duration::from_secs(1));
            Arc::new(roadbed_mqtt::connect_over(config, dial))
        }
        Protocol::Amqp => {
            let served = roadbed_amqp::ServerConfig::permissive().clock(clock.clone());
            let server = roadbed_amqp::Server::new(endpoint, served);
            listener.serve(move |stream| server.serve(stream));
            let config = roadbed_amqp::ClientConfig::default()
                .clock(clock.clone())
                .reconnect_delay_min(Duration::from_millis(100))
                .reconnect_delay_max(Duration::from_secs(1));
            Arc::new(roadbed_amqp::connect_over(config, dial))
        }
    }
}

async fn open(endpoint: &dyn Endpoint, name: &str) -> Box<dyn Session> {
    let expiry = Duration::from_secs(24 * 3600);
    endpoint.open(Open { name: Some(name.into()), resume: true, expiry, ..Open::default() }).await.expect("a session")
}

async fn sender(session: &dyn Session, to: Option<Address>, qos_max: Qos) -> Sender {
    let terms = ProducerTerms { to, name: Some("up".into()), qos_max };
    Sender::new(session.producer(terms).await.expect("a link").0)
}

/// How often each message has come.
#[derive(Clone, Default)]
struct Tally(Arc<Mutex<Vec<u32>>>);

impl Tally {
    fn count(&self, message: &Message) {
        let text = String::from_utf8(message.payload().to_bytes().to_vec()).expect("text");
        let n: usize = text.parse().expect("a number");
        let mut tally = self.0.lock().expect("nobody panics with it");
        let len = tally.len().max(n + 1);
        tally.resize(len, 0);
        tally[n] += 1;
    }

    fn came(&self) -> usize {
        self.0.lock().expect("nobody panics with it").iter().filter(|count| **count > 0).count()
    }

    fn check(&self, what: &str, qos: Qos) {
        let tally = self.0.lock().expect("nobody panics with it");
        let lost: Vec<_> = tally.iter().enumerate().filter(|(_, count)| **count == 0).map(|(n, _)| n).collect();
        assert!(tally.len() == SECONDS as usize && lost.is_empty(), "{what}: {} came; lost: {lost:?}", tally.len());
        let twice: Vec<_> = tally.iter().enumerate().filter(|(_, count)| **count > 1).map(|(n, _)| n).collect();
        assert!(qos == Qos::AtLeastOnce || twice.is_empty(), "{what}: twice: {twice:?}");
    }
}

fn receive(receiver: Receiver, tally: &Tally) {
    let tally = tally.clone();
    tokio::spawn(async move {
        while let Ok(Some(received)) = receiver.receive().await {
            tally.count(&received.message);
            let _ = received.accept().await;
        }
    });
}

fn message(to: &str, n: u32) -> Message {
    Message::new(to.parse().expect("an address"), n.to_string())
}

/// What the device receives: on its session's own queue over MQTT, on a link to a queue over AMQP.
async fn follow(session: &dyn Session, protocol: Protocol, qos: Qos) -> Receiver {
    let terms = match protocol {
        Protocol::Mqtt(_) => ConsumerTerms::session(),
        Protocol::Amqp => ConsumerTerms {
            name: Some("down".into()),
            hold: Hold::Session,
            settle: if qos == Qos::ExactlyOnce { Settle::Second } else { Settle::First },
            ..ConsumerTerms::queue("queues/down".parse().expect("an address"))
        },
    };
    let (consumer, _) = session.consumer(terms).await.expect("a link");
    let receiver = Receiver::new(consumer, 10);
    if matches!(protocol, Protocol::Mqtt(_)) {
        let binding = Binding::new("down".parse().expect("a filter"), qos);
        receiver.bind(vec![binding]).await.expect("bound").remove(0).expect("granted");
    }
    receiver
}

async fn run(protocol: Protocol, qos: Qos) {
    let (fs, clock) = (SimFs::new(), Arc::new(VirtualClock::start()) as Arc<dyn Clock>);
    let (broker, journal) = broker(&fs, clock.clone());
    tokio::spawn(keep_up(broker.clone(), journal));
    let _timers = broker.spawn_timers();
    let link = Link { faults: Faults::new(), up: Arc::new(AtomicBool::new(true)) };
    let device = device(protocol, &broker, &clock, &link);
    let hall = open(&broker, "hall").await;
    for name in ["queues/up", "queues/down"] {
        let settings = QueueSettings { messages_max: BOUND, ..QueueSettings::default() };
        hall.manage(Manage::Declare(name.parse().expect("an address"), settings)).await.expect("declared");
    }
    let session = open(&*device, "device").await;
    let up = Arc::new(sender(&*session, Some("queues/up".parse().expect("an address")), qos).await);
    let (sent_up, sent_down) = (Tally::default(), Tally::default());
    receive(follow(&*session, protocol, qos).await, &sent_down);
    let terms = ConsumerTerms::queue("queues/up".parse().expect("an address"));
    receive(Receiver::new(hall.consumer(terms).await.expect("a link").0, 10), &sent_up);
    let down = Arc::new(sender(&*hall, None, qos).await);
    let down_to = if matches!(protocol, Protocol::Amqp) { "queues/down" } else { "down" };

    let mut confirms = Vec::new();
    for n in 0..SECONDS {
        link.set(n % PERIOD < UP);
        for (sender, to) in [(&up, "queues/up"), (&down, down_to)] {
            let (sender, message) = (sender.clone(), message(to, n));
            confirms.push(tokio::spawn(async move { sender.send(message, qos).await }));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    link.set(true);
    for confirm in confirms {
        assert_eq!(confirm.await.expect("it does not panic").expect("an answer").outcome, Outcome::Accepted);
    }
    let all = SECONDS as usize;
    for _ in 0..120 {
        if sent_up.came() == all && sent_down.came() == all {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    sent_up.check(&format!("{protocol:?} up"), qos);
    sent_down.check(&format!("{protocol:?} down"), qos);
    let counters = broker.counters();
    assert_eq!((counters.refused_full, counters.dropped_full), (0, 0), "{protocol:?}: a queue was full");
}

/// The journal's thread knows nothing of virtual time, which stands still while it has something to do.
async fn keep_up(broker: Broker, journal: JournalMonitor) {
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let until = Instant::now() + Duration::from_secs(10);
        while journal.stats().units < broker.counters().store_units && Instant::now() < until {
            std::thread::sleep(Duration::from_micros(20));
        }
    }
}

fn block_on(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(future);
}

#[test]
fn at_least_once_loses_nothing() {
    for protocol in [Protocol::Mqtt(Version::V311), Protocol::Mqtt(Version::V5), Protocol::Amqp] {
        block_on(run(protocol, Qos::AtLeastOnce));
    }
}

#[test]
fn exactly_once_is_once() {
    for protocol in [Protocol::Mqtt(Version::V311), Protocol::Mqtt(Version::V5), Protocol::Amqp] {
        block_on(run(protocol, Qos::ExactlyOnce));
    }
}
