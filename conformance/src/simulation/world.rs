//! The run of one seed.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use roadbed_core::{Clock, Endpoint, Manage, Managed, Qos, QueueSettings, Time};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::actors::{Seat, Shared, bind, follow, produce};
use super::ledger::{Claim, Ledger, Place};
use super::mortal::Mortal;
use super::random::Random;
use super::trace::Trace;
use super::worker::{dead_letters_of, transact, watch, work};
use crate::client::{Client, text};
use crate::faults::Faults;
use crate::world::{address, filter_of, open};

/// What is simulated: a broker, and its clients' ways to it.
pub trait Stage: Send + Sync {
    /// A fresh broker on this clock. Called within the simulation's runtime; whatever it spawns there runs in virtual time.
    fn broker(&self, clock: Arc<dyn Clock>, seed: u64) -> Arc<dyn Endpoint>;

    /// The way of the client `name` to the broker: the broker itself, unless a transport over carriers of `faults` leads
    /// there. Called within the simulation's runtime.
    fn client(&self, name: &str, ground: &Ground, faults: &Faults) -> Way {
        let _ = (name, faults);
        Way::Direct(Arc::clone(&ground.broker))
    }

    /// Kills the broker: whatever is not committed is lost. Another one starts with what is kept. `None`: it keeps nothing, and
    /// is not killed.
    fn restart(&self, clock: Arc<dyn Clock>, seed: u64) -> Option<Arc<dyn Endpoint>> {
        let _ = (clock, seed);
        None
    }

    /// Whether the broker cannot go on, as a process that ends by itself: then it is started again soon.
    fn has_failed(&self) -> bool {
        false
    }

    /// There are no more faults from now on.
    fn calm(&self) {}

    /// Whether the broker stores what is sent at least once or exactly once although it does not ask for it.
    fn stores(&self) -> bool {
        false
    }

    /// By how much the transports may round up a time to live.
    fn rounding(&self) -> Duration {
        Duration::ZERO
    }
}

/// What a transport stands on.
#[derive(Clone)]
pub struct Ground {
    /// The broker.
    pub broker: Arc<dyn Endpoint>,
    /// The virtual time.
    pub clock: Arc<dyn Clock>,
    /// For whatever is left to chance.
    pub seed: u64,
}

impl std::fmt::Debug for Ground {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ground").field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// How a client reaches the broker.
#[derive(Clone)]
pub enum Way {
    /// In this process: losing it is dropping its handles.
    Direct(Arc<dyn Endpoint>),
    /// Over carriers, which are delayed and cut.
    Carried(Arc<dyn Endpoint>),
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::Direct(_)) { "Direct" } else { "Carried" })
    }
}

/// How much happens.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How often each producer sends.
    pub steps: u32,
    /// Clients that send.
    pub producers: u32,
    /// Clients that take from queues.
    pub workers: u32,
    /// Clients whose kept sessions follow topics.
    pub followers: u32,
    /// Clients that move messages within transactions.
    pub movers: u32,
}

impl Default for Plan {
    fn default() -> Self {
        Self { steps: 40, producers: 3, workers: 3, followers: 2, movers: 1 }
    }
}

/// The runtime's clock, which stands still while anybody has something to do.
#[derive(Clone, Copy, Debug)]
pub struct VirtualClock(Instant);

impl VirtualClock {
    /// Where the virtual time begins.
    pub const START: Time = Time::from_millis(1_800_000_000_000);

    /// The clock of the current runtime, which stands at [`START`](Self::START) now.
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Time {
        Self::START + self.0.elapsed()
    }
}

/// The seeds to run: that of `ROADBED_SEED` alone, or the first `ROADBED_SEEDS`, or else the first `count`.
pub fn seeds(count: u64) -> Vec<u64> {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse().ok());
    match number("ROADBED_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("ROADBED_SEEDS").unwrap_or(count)).collect(),
    }
}

/// Runs every seed.
///
/// # Panics
/// If an invariant is violated: with the seed, how to replay it, and what led to it.
pub fn run(stage: &dyn Stage, plan: Plan, seeds: impl IntoIterator<Item = u64>) {
    for seed in seeds {
        if let Err((violations, trace)) = simulate(stage, plan, seed) {
            panic!("{}", tell(seed, &violations, &trace));
        }
    }
}

/// In words: the seed, how to replay it, what is wrong, what led to it, and the life of the first message that it happened to.
pub fn tell(seed: u64, violations: &[String], trace: &Trace) -> String {
    let serial = violations.iter().find_map(|violation| violation.rsplit_once('(')?.1.split(' ').next());
    let serial = serial.unwrap_or("nothing");
    let is_serial = |word: &str| word.trim_matches(|c: char| !c.is_ascii_digit()) == serial;
    let life: Vec<_> = trace.about(serial).filter(|line| line.split(' ').any(is_serial)).collect();
    format!(
        "seed {seed} violates an invariant; ROADBED_SEED={seed} replays it\n{}\n\nwhat led to it:\n{}\n\nall of {serial}:\n{}",
        violations.join("\n"),
        trace.what_led_to_it(80),
        life.join("\n"),
    )
}

/// Runs one seed.
///
/// # Errors
/// The invariants that were violated, and what happened.
pub fn simulate(stage: &dyn Stage, plan: Plan, seed: u64) -> Result<Trace, (Vec<String>, Trace)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime can be built");
    let mut ledger = runtime.block_on(Box::pin(play(stage, plan, seed)));
    let trace = std::mem::take(&mut ledger.trace);
    if ledger.violations.is_empty() { Ok(trace) } else { Err((ledger.violations, trace)) }
}

const QUEUES: [&str; 2] = ["queues/a", "queues/b"];
const TOPICS: [&str; 2] = ["t/x", "t/y"];
const DELIVERIES_MAX: u32 = 4;

async fn play(stage: &dyn Stage, plan: Plan, seed: u64) -> Ledger {
    let clock = Arc::new(VirtualClock::start());
    let mortal = Arc::new(Mortal::new(stage.broker(clock.clone(), seed)));
    let broker: Arc<dyn Endpoint> = mortal.clone();
    let mut cast = Cast {
        stage,
        random: Random::new(seed),
        ground: Ground { broker: Arc::clone(&broker), clock: clock.clone(), seed },
        shared: shared(clock, broker, Ledger::new(stage.rounding(), stage.stores())).await,
        carriers: Vec::new(),
        seated: 0,
    };
    let mut followers = Vec::new();
    for number in 0..plan.followers {
        let mut seat = cast.seat(&format!("follower{number}"));
        let (filter, qos) = follows(number);
        let (place, carried) = (Some(filter_of(filter)), seat.is_carried());
        let place = Place { filter: place, deliveries_max: 0, qos_max: qos, carried, hidden: false };
        seat.shared.ledger().place(&seat.name, place);
        bind(&mut seat, filter, qos).await;
        followers.push(seat);
    }
    let (mut sending, mut receiving) = (JoinSet::new(), JoinSet::new());
    let targets: Vec<String> = QUEUES.iter().chain(&TOPICS).map(ToString::to_string).collect();
    for number in 0..plan.producers {
        sending.spawn(produce(cast.seat(&format!("producer{number}")), targets.clone(), plan.steps));
    }
    followers.into_iter().for_each(|seat| drop(receiving.spawn(follow(seat))));
    for number in 0..plan.workers {
        let seat = cast.seat(&format!("worker{number}"));
        if seat.is_carried() {
            QUEUES.iter().for_each(|queue| seat.shared.ledger().hides(queue));
        }
        receiving.spawn(work(seat, targets[..QUEUES.len()].to_vec()));
    }
    for number in 0..plan.movers {
        let seat = cast.inner_seat(&format!("mover{number}"));
        receiving.spawn(transact(seat, QUEUES[0].into(), QUEUES[1].into()));
    }
    receiving.spawn(watch(cast.inner_seat("watcher"), targets[..QUEUES.len()].to_vec()));

    let Cast { shared, mut random, ground, carriers, .. } = cast;
    let mut lives = Lives { stage, mortal: &mortal, carriers, ground: &ground, shared: &shared, seed };
    lives.follow_each_other(all(&shared, sending), || Duration::from_millis(100 + random.below(2000))).await;
    shared.stopping.store(true, Ordering::Relaxed);
    lives.follow_each_other(all(&shared, receiving), || STUCK * 2).await;
    stage.calm();
    lives.next_if_failed();
    watched(&shared, rest(&shared)).await;
    std::mem::take(&mut *shared.ledger())
}

/// The broker's lives.
struct Lives<'a> {
    stage: &'a dyn Stage,
    mortal: &'a Mortal,
    /// Servers die with their broker: nothing of what they would say then arrives.
    carriers: Vec<Faults>,
    ground: &'a Ground,
    shared: &'a Shared,
    seed: u64,
}

impl Lives<'_> {
    /// How often it is looked whether the broker has failed.
    const LOOK: Duration = Duration::from_millis(50);

    /// Until `part` is done: one after another, each so long, or until it fails.
    async fn follow_each_other(&mut self, part: impl Future<Output = ()>, mut long: impl FnMut() -> Duration) {
        let mut part = pin!(part);
        let mut due = Instant::now() + long();
        while timeout(Self::LOOK.min(due - Instant::now()), part.as_mut()).await.is_err() {
            if Instant::now() >= due {
                self.next();
                due = Instant::now() + long();
            } else {
                self.next_if_failed();
            }
        }
    }

    fn next_if_failed(&mut self) {
        if self.stage.has_failed() {
            self.next();
        }
    }

    fn next(&mut self) {
        if let Some(next) = self.stage.restart(self.ground.clock.clone(), self.seed) {
            self.carriers.iter().for_each(Faults::cut);
            self.mortal.die(next);
            self.shared.ledger().crashed(self.shared.now());
        }
    }
}

fn follows(number: u32) -> (&'static str, Qos) {
    [("t/#", Qos::ExactlyOnce), ("t/x", Qos::AtLeastOnce), ("t/+", Qos::AtMostOnce)][number as usize % 3]
}

async fn shared(clock: Arc<dyn Clock>, broker: Arc<dyn Endpoint>, mut ledger: Ledger) -> Arc<Shared> {
    let client = Client::open(&*broker, open("setup")).await;
    for queue in QUEUES {
        let settings = QueueSettings { deliveries_max: DELIVERIES_MAX, ..QueueSettings::default() };
        client.manage(Manage::Declare(address(queue), settings)).await.expect("a queue can be declared");
        let place =
            Place { filter: None, deliveries_max: DELIVERIES_MAX, qos_max: Qos::ExactlyOnce, ..Place::default() };
        ledger.place(queue, place);
    }
    Arc::new(Shared::new(clock, broker, ledger))
}

struct Cast<'a> {
    stage: &'a dyn Stage,
    random: Random,
    ground: Ground,
    shared: Arc<Shared>,
    carriers: Vec<Faults>,
    seated: u64,
}

impl Cast<'_> {
    fn seat(&mut self, name: &str) -> Seat {
        let faults = Faults::new();
        let way = self.stage.client(name, &self.ground, &faults);
        let mut seat = self.inner_seat(name);
        if let Way::Carried(endpoint) = way {
            faults.delay(Duration::from_micros(seat.random.below(20_000)));
            self.carriers.push(faults.clone());
            (seat.endpoint, seat.faults) = (endpoint, Some(faults));
        } else if let Way::Direct(endpoint) = way {
            seat.endpoint = endpoint;
        }
        seat
    }

    fn inner_seat(&mut self, name: &str) -> Seat {
        self.seated += 1;
        let (shared, endpoint) = (Arc::clone(&self.shared), Arc::clone(&self.shared.inner));
        Seat { name: name.into(), shared, endpoint, faults: None, random: self.random.part(self.seated) }
    }
}

/// How long a part may take in virtual time before it counts as stuck.
const STUCK: Duration = Duration::from_secs(3600);

/// Waits for all actors; one that is stuck or gives up violates the order of things.
async fn all(shared: &Arc<Shared>, mut actors: JoinSet<()>) {
    let done = timeout(STUCK, async {
        while let Some(ended) = actors.join_next().await {
            if let Err(error) = ended {
                fail(shared, &panicked(error));
            }
        }
    });
    if done.await.is_err() {
        fail(shared, "somebody is stuck");
    }
}

async fn watched(shared: &Arc<Shared>, part: impl Future<Output = ()> + Send + 'static) {
    let mut alone = JoinSet::new();
    alone.spawn(part);
    all(shared, alone).await;
}

fn fail(shared: &Arc<Shared>, what: &str) {
    let now = shared.now();
    shared.ledger().violated(now, "simulation", what);
}

fn panicked(error: tokio::task::JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "an actor was cancelled".into() };
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("an actor panicked").into()
}

/// When all is quiet: receives what is left, and draws the balance.
fn rest(shared: &Arc<Shared>) -> impl Future<Output = ()> + Send + 'static {
    let shared = Arc::clone(shared);
    async move {
        // Leases and times to live pass.
        tokio::time::sleep(Duration::from_secs(30)).await;
        let mut dead = BTreeMap::new();
        for queue in QUEUES {
            empty(&shared, queue).await;
            let letters = dead_letters(&shared, queue).await;
            dead.insert(queue.to_owned(), letters);
        }
        let now = shared.now();
        shared.ledger().at_rest(now, &dead);
    }
}

async fn empty(shared: &Arc<Shared>, queue: &str) {
    let client = Client::open(&*shared.inner, open("rest")).await;
    let mut receiving = client.receive_queue(&address(queue)).await;
    receiving.grant(1);
    while let Some(delivery) = receiving.soon().await {
        let now = shared.now();
        let serial = shared.ledger().delivered(now, queue, "rest", "rest", &delivery);
        let outcome = roadbed_core::Outcome::Accepted;
        let claim = Claim { place: queue, owner: "rest", serial, attempt: delivery.attempt };
        shared.ledger().settling(now, &claim, &outcome);
        if delivery.handle.is_some() {
            let settled = receiving.settle(&delivery, outcome).await;
            shared.ledger().settled(now, &claim, true, Some(settled));
        }
        receiving.grant(1);
    }
    let Ok(Managed::Description(left)) = client.manage(Manage::Describe(address(queue))).await else {
        panic!("{queue} cannot be described");
    };
    let there = (left.available, left.held, left.scheduled, left.bytes);
    if there != (0, 0, 0, 0) {
        let (available, held, scheduled, bytes) = there;
        let what = format!("{available} available, {held} held and {scheduled} scheduled copies, {bytes} bytes");
        fail(shared, &format!("I10: at rest, {queue} still has {what}"));
    }
}

async fn dead_letters(shared: &Arc<Shared>, queue: &str) -> Vec<u64> {
    let client = Client::open(&*shared.inner, open("rest")).await;
    let dead = dead_letters_of(queue);
    let Ok(mut receiving) = client.try_receive(roadbed_core::ConsumerTerms::queue(address(&dead))).await else {
        return Vec::new();
    };
    let mut letters = Vec::new();
    receiving.grant(1);
    while let Some(delivery) = receiving.soon().await {
        letters.extend(text(&delivery.message).trim_end().parse::<u64>());
        receiving.accept(&delivery).await;
        receiving.grant(1);
    }
    letters
}
