//! A broker that leaves what waits to the store beside one that keeps it in memory: nobody can tell them apart, but by what they have in memory.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::time::Duration;

use futures::executor::block_on;
use roadbed_broker::{MemoryStore, Settings};
use roadbed_core::*;
use support::*;

/// A small generator, so that a seed says everything.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % end
    }
}

fn settings(memory_bytes_max: usize) -> Settings {
    let mut settings = Settings::default();
    (settings.memory_bytes_max, settings.read_ahead_bytes) = (memory_bytes_max, 2000);
    settings
}

fn bench(memory_bytes_max: usize) -> Bench {
    Bench::on(settings(memory_bytes_max), MemoryStore::new(), Arc::new(ManualClock::at(START)))
}

const ADDRESS: &str = "queues/q";

/// One broker with one queue, one consumer that takes and one that looks.
struct Site {
    bench: Option<Bench>,
    settings: QueueSettings,
    client: Client,
    /// `None`: it is gone, and the broker soon will be.
    taker: Option<Box<dyn Consumer>>,
    held: Vec<Delivery>,
}

impl Site {
    fn new(memory_bytes_max: usize, settings: QueueSettings) -> Self {
        let bench = bench(memory_bytes_max);
        let client = bench.anonymous();
        block_on(client.session.manage(Manage::Declare(ADDRESS.parse().unwrap(), settings.clone()))).unwrap();
        let taker = Some(client.queue(queue(ADDRESS)));
        Self { bench: Some(bench), settings, client, taker, held: Vec::new() }
    }

    fn bench(&self) -> &Bench {
        self.bench.as_ref().expect("it has started")
    }

    fn send(&mut self, message: &Message) -> String {
        let confirm = self.client.send(message.clone(), ONE).expect("an answer");
        format!("{:?} {:?}", confirm.outcome, confirm.why)
    }

    fn receive(&mut self, count: usize) -> Vec<String> {
        let got = take(self.taker.as_mut().expect("it is there"), count);
        let told = got.iter().map(told).collect();
        self.held.extend(got);
        told
    }

    fn settle(&mut self, at: usize, outcome: Outcome) {
        if at < self.held.len() {
            let delivery = self.held.remove(at);
            settle(self.taker.as_mut().expect("it is there"), &delivery, outcome);
        }
    }

    fn look(&self, address: &str) -> Vec<String> {
        let terms = ConsumerTerms { mode: Mode::Browse, info: true, ..queue(address) };
        let mut looker = self.client.queue(terms);
        take(&mut looker, usize::MAX).iter().map(told).collect()
    }

    fn purge(&self, address: &str) -> String {
        format!("{:?}", block_on(self.client.session.manage(Manage::Purge(address.parse().unwrap()))).ok())
    }

    fn restart(&mut self) {
        self.held.clear();
        // The old broker is told nothing any more that the new one would have to know.
        self.taker = None;
        let bench = self.bench.take().expect("it has started").reopen();
        self.client = bench.anonymous();
        block_on(self.client.session.manage(Manage::Declare(ADDRESS.parse().unwrap(), self.settings.clone()))).unwrap();
        self.taker = Some(self.client.queue(queue(ADDRESS)));
        self.bench = Some(bench);
    }

    fn describe(&self) -> String {
        let managed = block_on(self.client.session.manage(Manage::Describe(ADDRESS.parse().unwrap()))).unwrap();
        let Managed::Description(found) = managed else { panic!("a description") };
        format!(
            "{} available, {} held, {} scheduled, {} bytes",
            found.available, found.held, found.scheduled, found.bytes
        )
    }
}

/// Takes as many as there are, and no more than `count`.
fn take(consumer: &mut Box<dyn Consumer>, count: usize) -> Vec<Delivery> {
    let mut got = Vec::new();
    while got.len() < count {
        let (woken, waker) = flag();
        let want = (count - got.len()).min(1000);
        let polled = consumer.poll_receive(&mut Context::from_waker(&waker), &mut got, want);
        if polled.is_pending() && !woken.load(Ordering::Relaxed) {
            break;
        }
    }
    got
}

fn told(delivery: &Delivery) -> String {
    let Delivery { message, qos, attempt, info, .. } = delivery;
    let (count, at) = info.as_ref().map_or((0, None), |info| (info.count, Some(info.enqueued_at)));
    let annotations = &message.details().annotations;
    format!(
        "{} {qos:?} attempt {attempt} count {count} {:?} {:?} {at:?} {annotations:?}",
        payloads(std::slice::from_ref(delivery))[0],
        message.priority(),
        message.expires_at()
    )
}

fn message(random: &mut Random, n: u64, now: Time) -> Message {
    let payload = format!("{n}{}", "x".repeat(random.below(300) as usize));
    let mut message = Message::builder(ADDRESS.parse().unwrap(), payload.into_bytes());
    if random.below(5) > 0 {
        message = message.durability(Durability::Stored);
    }
    if random.below(4) == 0 {
        message = message.priority(random.below(10) as u8);
    }
    if random.below(6) == 0 {
        message = message.expires_at(now + Duration::from_secs(1 + random.below(20)));
    }
    if random.below(8) == 0 {
        message = message.details(|details| {
            details.group = Some(random.below(3).to_string().into());
            if random.below(2) == 0 {
                details.deliver_after = Some(now + Duration::from_secs(random.below(9)));
            }
            if random.below(2) == 0 {
                details.deadline = Some(now + Duration::from_secs(random.below(9)));
            }
        });
    }
    message.build()
}

/// Does the same at random to both, and compares all that can be seen.
fn compare(seed: u64, settings: &QueueSettings) -> u64 {
    let mut random = Random(seed + 1);
    let mut sites = [Site::new(0, settings.clone()), Site::new(1 << 30, settings.clone())];
    let mut back = 0;
    for n in 0..300 {
        let (what, draw) = (random.below(100), random.below(1000));
        let now = sites[0].bench().broker.now();
        let message = message(&mut random, n, now);
        let seen = sites.each_mut().map(|site| match what {
            0..60 => vec![site.send(&message)],
            60..70 => site.receive(1 + draw as usize % 5),
            70..88 => {
                let outcome = match draw % 8 {
                    0 => Outcome::Released,
                    1 => Outcome::FAILED,
                    2 => Outcome::rejected(Condition::Refused),
                    3 => Outcome::Modified { delivery_failed: false, undeliverable_here: true },
                    _ => Outcome::Accepted,
                };
                site.settle(draw as usize % site.held.len().max(1), outcome);
                vec![]
            }
            88..92 => site.look(ADDRESS),
            92..96 => {
                site.bench().advance(draw % 7);
                vec![]
            }
            96 => vec![site.purge(ADDRESS)],
            97..99 => {
                site.restart();
                vec![]
            }
            _ => site.receive(40),
        });
        assert_eq!(seen[0], seen[1], "seed {seed}, step {n}: {what}");
        assert_eq!(sites[0].describe(), sites[1].describe(), "seed {seed}, step {n}: {what}");
        back = back.max(sites[0].bench().counters().page_messages_read);
    }
    let [paged, plain] = sites.each_mut().map(|site| {
        // Of those that die at one time, the ones that are here come first.
        let mut dead = site.look("$dead/q");
        dead.sort_unstable();
        (site.receive(1000), dead)
    });
    assert_eq!(paged, plain, "seed {seed}");
    for site in sites {
        site.purge(ADDRESS);
        site.purge("$dead/q");
        let counters = site.bench().counters();
        assert_eq!((counters.paged_messages, counters.paged_bytes, counters.page_failures), (0, 0, 0), "seed {seed}");
    }
    back
}

fn compare_all(settings: &QueueSettings) {
    let back: u64 = (0..30).map(|seed| compare(seed, settings)).sum();
    assert!(back > 500, "{back} messages were read back");
}

#[test]
fn a_queue_is_the_same() {
    compare_all(&QueueSettings::default());
}

#[test]
fn a_queue_by_age_alone_is_the_same() {
    compare_all(&QueueSettings {
        priorities: false,
        ttl_max: Some(Duration::from_secs(60)),
        ..QueueSettings::default()
    });
}

#[test]
fn a_short_queue_is_the_same() {
    let short = QueueSettings { messages_max: 12, bytes_max: 6000, ..QueueSettings::default() };
    compare_all(&short);
    compare_all(&QueueSettings { overflow: Overflow::DropOldest, ..short });
}

#[test]
fn a_queue_of_last_values_is_the_same() {
    compare_all(&QueueSettings { history: History::Last(20), ..QueueSettings::default() });
    let by_key = QueueSettings { history: History::LastByKey, ..QueueSettings::default() };
    (0..30).for_each(|seed| {
        compare(seed, &by_key);
    });
}

#[test]
fn a_long_queue_needs_no_memory() {
    let bench = bench(64 << 10);
    let mut client = bench.anonymous();
    for n in 0..5000 {
        let message = Message::builder(ADDRESS.parse().unwrap(), format!("{n:0>1000}").into_bytes());
        client.send(message.durability(Durability::Stored).build(), ONE);
    }
    let counters = bench.counters();
    assert!(counters.bytes <= 64 << 10, "{} bytes in memory", counters.bytes);
    assert!(counters.paged_messages > 4900, "{} messages in the store alone", counters.paged_messages);
    let bench = bench.reopen();
    assert_eq!(bench.counters().paged_messages, 5000);
    let client = bench.anonymous();
    let mut taker = client.queue(queue(ADDRESS));
    for n in 0..5000 {
        let got = take(&mut taker, 1);
        assert_eq!(payloads(&got), [format!("{n:0>1000}")]);
        settle(&mut taker, &got[0], Outcome::Accepted);
        assert!(bench.counters().bytes <= 64 << 10);
    }
    assert_eq!((bench.store.copies(), bench.counters().paged_messages), (0, 0));
}

#[test]
fn a_kept_session_needs_no_memory() {
    let bench = bench(16 << 10);
    let mut device = bench.named("device", 3600);
    device.follow("a", TWO);
    device.lose();
    let mut sender = bench.anonymous();
    let send = |sender: &mut Client, n: u64| {
        let message = Message::builder("a".parse().unwrap(), format!("{n:0>500}").into_bytes());
        sender.send(message.durability(Durability::Stored).build(), if n.is_multiple_of(3) { TWO } else { ONE });
    };
    (0..1000).for_each(|n| send(&mut sender, n));
    assert!(bench.counters().bytes <= 16 << 10 && bench.counters().paged_messages > 900);
    drop(sender);
    let bench = bench.reopen();
    let mut sender = bench.anonymous();
    (1000..1100).for_each(|n| send(&mut sender, n));
    let mut device = bench.named("device", 3600);
    device.listen();
    for n in 0..1100 {
        let got = take(device.consumer.as_mut().unwrap(), 1);
        assert_eq!(payloads(&got), [format!("{n:0>500}")]);
        device.accept(&got[0]);
    }
    assert_eq!((bench.store.copies(), bench.counters().paged_messages), (0, 0));
}

#[test]
fn a_full_session_drops_its_oldest_from_the_store() {
    let mut settings = settings(0);
    settings.session_messages_max = 10;
    let bench = Bench::on(settings, MemoryStore::new(), Arc::new(ManualClock::at(START)));
    let mut device = bench.named("device", 3600);
    device.follow("a", ONE);
    device.lose();
    let mut sender = bench.anonymous();
    for n in ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"] {
        sender.send(stored("a", n), ONE);
    }
    assert_eq!((bench.counters().dropped_full, bench.counters().paged_messages), (2, 10));
    let mut device = bench.named("device", 3600);
    device.listen();
    assert_eq!(payloads(&take(device.consumer.as_mut().unwrap(), 100)).first().map(String::as_str), Some("3"));
}

#[test]
fn what_cannot_be_read_is_not_lost() {
    let bench = bench(0);
    let mut client = bench.anonymous();
    ["1", "2"].into_iter().for_each(|text| drop(client.send(stored(ADDRESS, text), ONE)));
    bench.store.refuse_reads(true);
    let mut taker = client.queue(queue(ADDRESS));
    assert!(take(&mut taker, 10).is_empty());
    assert!(bench.counters().page_failures > 0);
    let failures = bench.counters().page_failures;
    assert!(take(&mut taker, 10).is_empty());
    assert_eq!(bench.counters().page_failures, failures, "it is not asked for again at once");
    bench.store.refuse_reads(false);
    bench.advance(1);
    assert_eq!(payloads(&take(&mut taker, 10)), ["1", "2"]);
}

#[test]
fn what_a_session_cannot_read_is_not_lost_and_asked_for_again_after_a_while() {
    let bench = bench(0);
    let mut device = bench.named("device", 3600);
    device.follow("a", ONE);
    let mut client = bench.anonymous();
    bench.store.refuse_reads(true);
    ["1", "2"].into_iter().for_each(|text| drop(client.send(stored("a", text), ONE)));
    let (woken, waker) = flag();
    let poll = |device: &mut Client| {
        let (mut cx, mut deliveries) = (Context::from_waker(&waker), Vec::new());
        let polled = device.consumer.as_mut().unwrap().poll_receive(&mut cx, &mut deliveries, 10);
        polled.is_pending() && deliveries.is_empty()
    };
    assert!(poll(&mut device));
    let failures = bench.counters().page_failures;
    assert!(failures > 0 && poll(&mut device));
    assert_eq!(bench.counters().page_failures, failures, "it is not asked for again at once");
    bench.store.refuse_reads(false);
    woken.store(false, Ordering::Relaxed);
    bench.advance(1);
    assert!(woken.load(Ordering::Relaxed), "who waits is told");
    assert_eq!(payloads(&take(device.consumer.as_mut().unwrap(), 10)), ["1", "2"]);
}
