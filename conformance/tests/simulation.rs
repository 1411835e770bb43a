//! The broker and its clients in virtual time. `ROADBED_SEED=n` replays a seed, `ROADBED_SEEDS=n` runs more.
#![cfg(feature = "simulation")]

mod faulty;

use std::sync::Arc;

use faulty::{Fault, faulty};
use roadbed_broker::{Broker, Settings};
use roadbed_conformance::Faults;
use roadbed_conformance::simulation::{Plan, Stage, Way, run, seeds, simulate};
use roadbed_core::{Clock, Endpoint};

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

    fn client(&self, _name: &str, broker: &Arc<dyn Endpoint>, _faults: &Faults) -> Way {
        Way::Direct(faulty(Arc::clone(broker), self.0))
    }
}

#[test]
fn invariants_hold() {
    run(&Memory, Plan::default(), seeds(60));
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in seeds(3) {
        let trace = || simulate(&Memory, Plan::default(), seed).expect("the invariants hold").to_string();
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
