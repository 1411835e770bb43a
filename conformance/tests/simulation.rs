//! The broker and its clients in virtual time. `ROADBED_SEED=n` replays a seed, `ROADBED_SEEDS=n` runs more.
#![cfg(feature = "simulation")]

mod disk;
mod faulty;
mod ways;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use disk::Disk;
use faulty::{Fault, faulty};
use roadbed_broker::{Broker, MemoryStore, Settings};
use roadbed_conformance::Faults;
use roadbed_conformance::simulation::{Ground, Plan, Random, Stage, Way, run, seeds, simulate};
use roadbed_core::{Clock, Endpoint};
use roadbed_mqtt::codec::Version;
use ways::{over_amqp, over_http, over_mqtt};

/// Everybody is in this process.
struct Memory;

impl Stage for Memory {
    fn broker(&self, clock: Arc<dyn Clock>, seed: u64) -> Arc<dyn Endpoint> {
        let mut settings = Settings::default();
        settings.seed = seed;
        let broker = Broker::builder().settings(settings).clock(clock).build().expect("a broker can be built");
        let _timers = broker.spawn_timers();
        Arc::new(broker)
    }
}

/// As [`Memory`], with one broken promise.
struct Mutant(Fault);

impl Stage for Mutant {
    fn broker(&self, clock: Arc<dyn Clock>, seed: u64) -> Arc<dyn Endpoint> {
        Memory.broker(clock, seed)
    }

    fn client(&self, _name: &str, ground: &Ground, _faults: &Faults) -> Way {
        Way::Direct(faulty(Arc::clone(&ground.broker), self.0))
    }
}

/// Producers and followers over MQTT, workers beside the broker.
struct Mqtt;

impl Stage for Mqtt {
    fn broker(&self, clock: Arc<dyn Clock>, seed: u64) -> Arc<dyn Endpoint> {
        Memory.broker(clock, seed)
    }

    fn client(&self, name: &str, ground: &Ground, faults: &Faults) -> Way {
        if name.starts_with("worker") {
            return Way::Direct(Arc::clone(&ground.broker));
        }
        let version = if name.ends_with('1') { Version::V311 } else { Version::V5 };
        Way::Carried(over_mqtt(version, ground, faults))
    }

    fn rounding(&self) -> Duration {
        Duration::from_secs(2)
    }
}

/// A broker on a disk, killed from time to time.
#[derive(Default)]
struct Killed {
    /// The disk says that it has written what it has not.
    lies: bool,
    /// What waits is on the disk alone.
    paged: bool,
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    kept: MemoryStore,
    power: Arc<AtomicBool>,
    starts: u64,
}

impl Killed {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().expect("no holder of the lock panics")
    }

    fn start(&self, clock: Arc<dyn Clock>, seed: u64) -> Arc<dyn Endpoint> {
        let mut now = self.now();
        (now.power, now.starts) = (Arc::new(AtomicBool::new(true)), now.starts + 1);
        let random = Random::new(seed).part(1000 + now.starts);
        let disk = Disk::new(now.kept.clone(), now.power.clone(), random, self.lies);
        let mut settings = Settings::default();
        if self.paged {
            settings.memory_bytes_max = 0;
        }
        let broker = Broker::builder().settings(settings).store(disk).clock(clock);
        let broker = broker.build().expect("what is kept can be read");
        let _timers = broker.spawn_timers();
        Arc::new(broker)
    }
}

impl Stage for Killed {
    fn broker(&self, clock: Arc<dyn Clock>, seed: u64) -> Arc<dyn Endpoint> {
        *self.now() = Now::default();
        self.start(clock, seed)
    }

    fn restart(&self, clock: Arc<dyn Clock>, seed: u64) -> Option<Arc<dyn Endpoint>> {
        self.now().power.store(false, Ordering::Relaxed);
        Some(self.start(clock, seed))
    }

    /// What is taken in time is handed over when the disk knows of it.
    fn rounding(&self) -> Duration {
        Duration::from_millis(100)
    }
}

#[test]
fn a_disk_that_lies_is_noticed() {
    let liar = Killed { lies: true, ..Killed::default() };
    assert!((0..10).any(|seed| simulate(&liar, Plan::default(), seed).is_err()), "nobody notices");
}

#[test]
fn invariants_hold_although_the_broker_is_killed() {
    run(&Killed::default(), Plan::default(), seeds(40));
}

#[test]
fn invariants_hold_although_the_broker_is_killed_and_what_waits_is_on_the_disk_alone() {
    run(&Killed { paged: true, ..Killed::default() }, Plan::default(), seeds(40));
}

#[test]
fn the_same_seed_gives_the_same_trace_although_the_broker_is_killed() {
    replays(&Killed::default());
}

/// Producers over AMQP, MQTT and HTTP, followers over AMQP and MQTT, workers over HTTP.
struct Mixed;

impl Stage for Mixed {
    fn broker(&self, clock: Arc<dyn Clock>, seed: u64) -> Arc<dyn Endpoint> {
        Memory.broker(clock, seed)
    }

    fn client(&self, name: &str, ground: &Ground, faults: &Faults) -> Way {
        Way::Carried(match name {
            "producer0" | "follower0" => over_amqp(ground, faults),
            "producer1" | "follower1" => over_mqtt(Version::V5, ground, faults),
            _ => over_http(name, ground, faults),
        })
    }

    fn rounding(&self) -> Duration {
        Duration::from_secs(2)
    }
}

/// Producers and followers over AMQP, workers beside the broker: AMQP has no leases.
struct Amqp;

impl Stage for Amqp {
    fn broker(&self, clock: Arc<dyn Clock>, seed: u64) -> Arc<dyn Endpoint> {
        Memory.broker(clock, seed)
    }

    fn client(&self, name: &str, ground: &Ground, faults: &Faults) -> Way {
        match name.starts_with("worker") {
            true => Way::Direct(Arc::clone(&ground.broker)),
            false => Way::Carried(over_amqp(ground, faults)),
        }
    }

    fn rounding(&self) -> Duration {
        Duration::from_secs(2)
    }
}

#[test]
fn invariants_hold_over_amqp() {
    run(&Amqp, Plan::default(), seeds(25));
}

#[test]
fn the_same_seed_gives_the_same_trace_over_amqp() {
    replays(&Amqp);
}

#[test]
fn invariants_hold_over_several_protocols() {
    run(&Mixed, Plan::default(), seeds(25));
}

#[test]
fn the_same_seed_gives_the_same_trace_over_several_protocols() {
    replays(&Mixed);
}

#[test]
fn invariants_hold_over_mqtt() {
    run(&Mqtt, Plan::default(), seeds(40));
}

#[test]
fn the_same_seed_gives_the_same_trace_over_mqtt() {
    replays(&Mqtt);
}

#[test]
fn invariants_hold() {
    run(&Memory, Plan::default(), seeds(60));
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    replays(&Memory);
}

fn replays(stage: &dyn Stage) {
    for seed in 0..3 {
        let trace = || match simulate(stage, Plan::default(), seed) {
            Ok(trace) | Err((_, trace)) => trace.to_string(),
        };
        let (once, again) = (trace(), trace());
        assert!(once.lines().count() > 300, "something happens");
        assert_eq!(once, again, "seed {seed} replays byte for byte");
    }
}

#[test]
fn another_seed_gives_another_trace() {
    let trace = |seed| simulate(&Memory, Plan::default(), seed).expect("the invariants hold").to_string();
    assert_ne!(trace(1), trace(2));
}

/// The checker can fail.
#[test]
fn every_fault_is_noticed() {
    let noticed = |fault| (0..20).any(|seed| simulate(&Mutant(fault), Plan::default(), seed).is_err());
    let faults = [
        Fault::LosesWhatItConfirms,
        Fault::TakesTwice,
        Fault::ForgetsKeys,
        Fault::Reorders,
        Fault::ConfirmsEarly,
        Fault::ForgetsExpiry,
        Fault::AcksBeforeTheReceiver,
        Fault::SwallowsSettlements,
        Fault::ReleasesRejected,
        Fault::CountsReleases,
        Fault::ForgetsFailures,
        Fault::ForgetsSessions,
        Fault::RepeatsAtMostOnce,
        Fault::DropAccepts,
    ];
    let unnoticed: Vec<_> = faults.into_iter().filter(|fault| !noticed(*fault)).collect();
    assert!(unnoticed.is_empty(), "nobody notices {unnoticed:?}");
}
