//! Everybody who uses a hub, over all of its lives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use roadbed_conformance::simulation::Random;
use serde_json::json;

use super::Mutation;
use super::amqp::{self, Feed, Feeder};
use super::check::{self, Findings};
use super::http::{self, Poster};
use super::log::Log;
use super::mover::Mover;
use super::mqtt::{Follower, Publisher, last_values};
use super::stream::{Fates, Found, Name, Stream};
use super::tally::Tally;
use crate::hub::Hub;
use crate::wire::{Amqp, During as _, Http, Result, Trouble};

/// What must be acknowledged before a kill: over all protocols, and over MQTT, AMQP and HTTP each.
const ACKNOWLEDGED_MIN: u64 = 2000;
const EACH_MIN: [u64; 3] = [300, 300, 150];
/// How long that may take.
const LIFE: Duration = Duration::from_secs(60);

/// Addresses with last values.
const VALUES: u64 = 8;
/// Deliveries before a message of the queue with locks is a dead letter.
const DELIVERIES_MAX: u32 = 3;

pub(crate) struct Clients {
    publishers: Vec<Publisher>,
    /// Publishes to the topic that is followed.
    caller: Publisher,
    /// Publishes last values.
    valuer: Publisher,
    /// The last value of each address that must be there, and the last that may.
    values: BTreeMap<String, (Option<u64>, u64)>,
    feeder: Feeder,
    posters: Vec<Poster>,
    followers: Vec<Follower>,
    worker: amqp::Worker,
    locker: http::Worker,
    mover: Mover,
    /// Has all that is sent to topics.
    log: Log,
    mutation: Option<Mutation>,
    declared: bool,
}

impl Clients {
    pub(crate) fn new(mutation: Option<Mutation>) -> Self {
        let feeds = vec![
            Feed::new(20, "queues/am").resends(),
            Feed::new(21, "t/b").window(8),
            Feed::new(22, "queues/pr").priorities().window(8),
            Feed::new(23, "queues/tc").window(4),
            Feed::new(24, "queues/dl").window(4),
        ];
        Self {
            publishers: vec![
                Publisher::new(10, false, 1, "queues/m1"),
                Publisher::new(11, true, 1, "queues/m5"),
                Publisher::new(12, false, 2, "queues/x3"),
                Publisher::new(13, true, 2, "queues/x5"),
            ],
            caller: Publisher::new(14, true, 2, "t/a"),
            valuer: Publisher::new(15, true, 1, "state").retained(VALUES),
            values: BTreeMap::new(),
            feeder: Feeder::new(feeds),
            posters: vec![Poster::new(30, "queues/ht", 1), Poster::new(31, "queues/hb", 20), Poster::new(32, "t/c", 1)],
            followers: vec![
                Follower::new("follower1", false, 1, "t/#"),
                Follower::new("follower2", true, 2, "t/#"),
                Follower::new("follower3", false, 2, "t/+"),
            ],
            worker: amqp::Worker::new("queues/x5"),
            locker: http::Worker::new("queues/dl", DELIVERIES_MAX),
            mover: Mover::new(40, ["queues/ta", "queues/tb"], "queues/tc", mutation),
            log: Log::new("lg"),
            mutation,
            declared: false,
        }
    }

    /// Ends what was under way, takes everything out, and compares.
    pub(crate) fn check(&mut self, hub: &Hub) -> Result<Findings> {
        if !self.declared {
            declare(hub).during("declaring queues")?;
            self.log.declare(&mut Http::open(hub.http)?, "t/#").during("declaring a log")?;
            self.declared = true;
        }
        let tally = Tally::default();
        let mut http = Http::open(hub.http)?;
        self.locker.settle_kept(&mut http).during("settling locks that were kept")?;
        self.followers.iter_mut().try_for_each(|follower| follower.connect(hub.mqtt)).during("followers come back")?;
        let mutation = self.mutation;
        for publisher in self.publishers.iter_mut().chain([&mut self.caller, &mut self.valuer]) {
            publisher.resume(hub.mqtt, &tally, mutation).during("publishers come back")?;
        }
        self.feeder.resume(hub.amqp, &tally).during("the AMQP feeder comes back")?;
        self.posters
            .iter_mut()
            .try_for_each(|poster| poster.resume(hub.http, &tally))
            .during("HTTP posters come back")?;
        let last = [self.caller.barrier(&tally)?, self.feeder.barrier(1, &tally)?, self.posters[2].barrier(&tally)?];
        self.followers.iter_mut().try_for_each(|follower| follower.catch_up(&last)).during("followers catch up")?;
        let mut findings = self.sessions();
        let topics = [&self.caller.stream, &self.feeder.feeds[1].stream, &self.posters[2].stream];
        findings.add(self.log.check(&mut http, &topics).during("reading a log")?);
        findings.add(self.last_values(hub).during("last values")?);
        findings.add(self.queues(hub, &mut http).during("emptying queues")?);
        self.close();
        Ok(findings)
    }

    fn sessions(&self) -> Findings {
        let mut findings = Findings::default();
        let (a, b, c) = (&self.caller.stream, &self.feeder.feeds[1].stream, &self.posters[2].stream);
        for follower in &self.followers {
            let of = |streams: &[&Stream]| -> Vec<Name> {
                let is_of = |name: &&Name| streams.iter().any(|stream| stream.id == name.0);
                follower.received.iter().filter(is_of).copied().collect()
            };
            // What AMQP sends comes at QoS 1 at most: its unsettled transfers are at least once.
            for (streams, once) in [([a].as_slice(), true), (&[b], false), (&[c], true)] {
                let once = once && follower.qos == 2;
                findings.add(check::session(&follower.name, streams, &of(streams), once));
            }
        }
        findings
    }

    fn last_values(&mut self, hub: &Hub) -> Result<Findings> {
        for (seq, acknowledged, _) in self.valuer.stream.sent() {
            let value = self.values.entry(self.valuer.topic(seq)).or_default();
            value.1 = seq;
            if acknowledged {
                value.0 = Some(seq);
            }
        }
        let wanted = self.values.values().filter(|value| value.0.is_some()).count();
        let found = if wanted > 0 { last_values(hub.mqtt, "state", wanted)? } else { BTreeMap::new() };
        let mut findings = Findings { checked: found.len() as u64, ..Findings::default() };
        for (topic, (least, most)) in &self.values {
            match (found.get(topic), least) {
                (None, Some(seq)) => findings.lost.push(format!("the last value of {topic}: {seq} was acknowledged")),
                (Some((_, seq)), Some(least)) if seq < least => {
                    findings.lost.push(format!("the last value of {topic} is {seq}: {least} was acknowledged"));
                }
                (Some((_, seq)), _) if seq > most => {
                    findings.strange.push(format!("{topic} has {seq}: nobody sent it"));
                }
                _ => {}
            }
        }
        Ok(findings)
    }

    fn queues(&mut self, hub: &Hub, http: &mut Http) -> Result<Findings> {
        let mut amqp = Amqp::open(hub.amqp, "checker")?;
        let (none, feeds) = (Fates::new(), &self.feeder.feeds);
        let mut findings = Findings::default();
        // Read over another protocol than it was sent by, as far as there are others.
        for (at, address) in [(0, "queues/m1"), (2, "queues/x3")] {
            let found = amqp::drain(&mut amqp, address)?;
            findings.add(check::queue(address, &[&self.publishers[at].stream], &none, &found, &[]));
        }
        let found = http::drain(http, "queues/m5")?;
        findings.add(check::queue("queues/m5", &[&self.publishers[1].stream], &none, &found, &[]));
        let (found, dead) = (amqp::drain(&mut amqp, "queues/x5")?, http::drain(http, "$dead/x5")?);
        findings.add(check::queue("queues/x5", &[&self.publishers[3].stream], &self.worker.fates, &found, &dead));
        let found = http::drain(http, "queues/am")?;
        findings.add(check::queue("queues/am", &[&feeds[0].stream], &none, &found, &[]));
        for (at, address) in [(0, "queues/ht"), (1, "queues/hb")] {
            let found = amqp::drain(&mut amqp, address)?;
            findings.add(check::queue(address, &[&self.posters[at].stream], &none, &found, &[]));
        }
        let found = amqp::drain(&mut amqp, "queues/pr")?;
        findings.add(priorities(&feeds[2].stream, &found));
        findings.add(self.moved(&mut amqp)?);
        findings.add(self.locked(&mut amqp, http)?);
        Ok(findings)
    }

    /// Transactions: what they posted, and what they retired.
    fn moved(&self, amqp: &mut Amqp) -> Result<Findings> {
        let (mut findings, mut all) = (Findings::default(), BTreeSet::new());
        let mut fates = Fates::new();
        for name in self.mover.txns.iter().flat_map(|txn| &txn.retires) {
            fates.entry(*name).or_default().may_be_gone = true;
        }
        let streams = [&self.mover.streams[0], &self.mover.streams[1], &self.feeder.feeds[3].stream];
        for (address, stream) in ["queues/ta", "queues/tb", "queues/tc"].into_iter().zip(streams) {
            let mut found = amqp::drain(amqp, address)?;
            // A rollback counts, as the default outcome of what its receiver had settled.
            found.iter_mut().for_each(|found| found.count = 0);
            all.extend(found.iter().map(|found| found.name));
            findings.add(check::queue(address, &[stream], &fates, &found, &[]));
        }
        findings.add(check::transactions("transactions", &self.mover.txns, &all));
        Ok(findings)
    }

    /// The queue whose messages were locked: what a lock hides comes back when its time is over.
    fn locked(&mut self, amqp: &mut Amqp, http: &mut Http) -> Result<Findings> {
        let stream = &self.feeder.feeds[4].stream;
        if std::mem::take(&mut self.locker.locked) {
            // What is still locked, also of what was never acknowledged, is there again when this is over.
            std::thread::sleep(Duration::from_millis(1000 * u64::from(http::Worker::LOCK) + 300));
        }
        if std::mem::take(&mut self.locker.blind) {
            for (seq, ..) in stream.sent() {
                let fate = self.locker.fates.entry((stream.id, seq)).or_default();
                fate.failed.1 += 1;
                fate.may_be_dead |= fate.failed.1 >= DELIVERIES_MAX;
            }
        }
        let (mut found, mut dead) = (amqp::drain(amqp, "queues/dl")?, http::drain(http, "$dead/dl")?);
        let deadline = Instant::now() + Duration::from_secs(5 * u64::from(http::Worker::LOCK));
        loop {
            let findings = check::queue("queues/dl", &[stream], &self.locker.fates, &found, &dead);
            if findings.lost.is_empty() || Instant::now() > deadline {
                return Ok(findings);
            }
            std::thread::sleep(Duration::from_millis(100));
            found.extend(amqp::drain(amqp, "queues/dl")?);
            dead.extend(http::drain(http, "$dead/dl")?);
        }
    }

    /// All is accounted for.
    fn close(&mut self) {
        let publishers = self.publishers.iter_mut().chain([&mut self.caller, &mut self.valuer]);
        let streams = publishers.map(|publisher| &mut publisher.stream);
        let streams = streams.chain(self.feeder.feeds.iter_mut().map(|feed| &mut feed.stream));
        let streams = streams.chain(self.posters.iter_mut().map(|poster| &mut poster.stream));
        streams.chain(&mut self.mover.streams).for_each(Stream::close);
        self.followers.iter_mut().for_each(|follower| follower.received.clear());
        self.worker.fates.clear();
        self.locker.fates.clear();
        self.mover.txns.clear();
    }

    /// Uses the hub until it is killed: at some moment after enough was acknowledged. Answers what the hub did that it must not.
    pub(crate) fn load(&mut self, hub: &mut Hub, tally: &Tally, random: &mut Random) -> Result<Vec<String>> {
        let (amqp, http) = (hub.amqp, hub.http);
        let wrong = AtomicBool::new(false);
        let (target, delay) = (ACKNOWLEDGED_MIN + random.below(500), Duration::from_micros(random.below(25_000)));
        let mut parts = (0..).map(|_| Random::new(random.next()));
        let mut part = || parts.next().expect("it has no end");
        // Locks have to be waited for afterwards, so that they are not in every life.
        let locks = part().chance(25);
        std::thread::scope(|scope| {
            let mut running = Vec::new();
            let watch = |result: Result| match result {
                Err(Trouble::Wrong(what)) => {
                    wrong.store(true, Ordering::Relaxed);
                    Some(what)
                }
                _ => None,
            };
            for publisher in self.publishers.iter_mut().chain([&mut self.caller, &mut self.valuer]) {
                let random = part();
                running.push(scope.spawn(move || watch(publisher.run(tally, random))));
            }
            for follower in &mut self.followers {
                let random = part();
                running.push(scope.spawn(move || watch(follower.run(tally, random))));
            }
            for poster in &mut self.posters {
                let random = part();
                running.push(scope.spawn(move || watch(poster.run(tally, random))));
            }
            let (feeder, worker, mover, locker) =
                (&mut self.feeder, &mut self.worker, &mut self.mover, &mut self.locker);
            let randoms = [part(), part(), part(), part()];
            let [one, two, three, four] = randoms;
            running.push(scope.spawn(move || watch(feeder.run(tally, one))));
            running.push(scope.spawn(move || watch(worker.run(amqp, tally, two))));
            running.push(scope.spawn(move || watch(mover.run(amqp, tally, three))));
            if locks {
                running.push(scope.spawn(move || watch(locker.run(http, tally, four))));
            }

            let reached = wait(hub, tally, target, &wrong);
            std::thread::sleep(delay);
            hub.kill();
            let told = running
                .into_iter()
                .filter_map(|thread| thread.join().unwrap_or_else(|_| Some("a client panicked".into())));
            let told: Vec<_> = told.collect();
            if told.is_empty() {
                reached?;
            }
            Ok(told)
        })
    }
}

/// Waits until enough was acknowledged.
fn wait(hub: &mut Hub, tally: &Tally, target: u64, wrong: &AtomicBool) -> Result {
    let deadline = Instant::now() + LIFE;
    loop {
        let counts = tally.counts();
        let each = [counts.mqtt, counts.amqp, counts.http].iter().zip(EACH_MIN).all(|(count, min)| *count >= min);
        if (counts.messages() >= target && each) || wrong.load(Ordering::Relaxed) {
            return Ok(());
        }
        if let Some(status) = hub.has_ended() {
            return Trouble::wrong(format!("the hub has ended by itself: {status}"));
        }
        if Instant::now() > deadline {
            return Trouble::wrong(format!("{counts:?} after {} s", LIFE.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn declare(hub: &Hub) -> Result {
    for name in ["m1", "m5", "x3", "x5", "am", "ht", "hb", "ta", "tb", "tc", "pr", "dl"] {
        let deliveries_max = if name == "dl" { DELIVERIES_MAX } else { 100 };
        let settings = json!({
            "durable": true, "dead_letters": true, "messages_max": 100_000,
            "deliveries_max": deliveries_max, "priorities": name == "pr",
        });
        http::declare(hub.http, name, &settings)?;
    }
    Ok(())
}

/// Higher priorities come first, and each in the order of its sender.
fn priorities(stream: &Stream, found: &[Found]) -> Findings {
    let by_place: Vec<_> = found.iter().map(|found| (9 - found.name.1 % 10, found.name.1)).collect();
    let mut sorted = found.to_vec();
    sorted.sort_by_key(|found| found.name.1);
    let mut findings = check::queue("queues/pr", &[stream], &Fates::new(), &sorted, &[]);
    if !by_place.is_sorted() {
        findings.reordered.push("queues/pr: not in the order of priorities".into());
    }
    findings
}
