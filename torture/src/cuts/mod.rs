//! Power cuts: the simulation of the conformance suite over a broker whose journal stands on a disk that forgets, fails and is full.

mod disk;

// The ways of the conformance suite's own simulation.
#[path = "../../../conformance/tests/ways/mod.rs"]
mod ways;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use roadbed_broker::{Broker, Settings};
use roadbed_conformance::Faults;
use roadbed_conformance::simulation::{Ground, Plan, Random, Stage, Way, simulate, tell};
use roadbed_core::{Clock, Endpoint};
use roadbed_mqtt::codec::Version;
use roadbed_store_journal::simulation::{Kept, SimFs};

use self::disk::Disk;
use self::ways::{over_amqp, over_http, over_mqtt};
use crate::run::{Failure, Run};

/// What was run, and what was found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Report {
    pub(crate) worlds: u64,
    pub(crate) cuts: u64,
    /// Cuts that followed a sync that had failed.
    pub(crate) failed_syncs: u64,
    /// Times that the disk was full for a while.
    pub(crate) full: u64,
    /// Lines of the traces: sends, confirms, deliveries, settlements.
    pub(crate) steps: u64,
    pub(crate) acknowledged: u64,
}

/// Simulates worlds, a seed each, until the power was cut so often.
///
/// # Errors
/// The first invariant that was violated, with its seed and what led to it.
pub(crate) fn run(run: &Run, cuts: u64, done: &dyn Fn(u64)) -> Result<Report, Failure> {
    let mut report = Report::default();
    for seed in run.seed.. {
        if report.cuts >= cuts {
            break;
        }
        world(seed, false, &mut report).map_err(|told| {
            Failure::new(format!("cuts: {told}\n  $ cargo xtask torture --only cuts --cuts 1 --seed {seed}"))
        })?;
        done(report.cuts);
    }
    Ok(report)
}

#[cfg(test)]
/// Whether a disk that says that it has written what it has not is noticed in one of so many worlds.
pub(crate) fn notices_a_lie(seeds: u64) -> bool {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let noticed = (0..seeds).any(|seed| world(seed, true, &mut Report::default()).is_err());
    std::panic::set_hook(hook);
    noticed
}

fn world(seed: u64, lies: bool, report: &mut Report) -> Result<(), String> {
    let stage = Cut { lies, now: Mutex::default() };
    let simulated = catch_unwind(AssertUnwindSafe(|| simulate(&stage, Plan::default(), seed)));
    let now = stage.now();
    report.worlds += 1;
    report.cuts += now.cuts;
    report.failed_syncs += now.failed_syncs;
    report.full += now.full;
    match simulated {
        Ok(Ok(trace)) => {
            report.steps += trace.len() as u64;
            report.acknowledged += trace.about(" is accepted ").count() as u64;
            Ok(())
        }
        Ok(Err((violations, trace))) => Err(tell(seed, &violations, &trace)),
        Err(panic) => {
            let told = panic.downcast_ref::<String>().cloned();
            Err(told.unwrap_or_else(|| format!("seed {seed}: a panic")))
        }
    }
}

/// A broker on a disk whose power is cut.
struct Cut {
    lies: bool,
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    disk: Option<Disk>,
    /// There are no more faults.
    calm: bool,
    starts: u64,
    cuts: u64,
    failed_syncs: u64,
    full: u64,
}

impl Cut {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, fs: SimFs, clock: Arc<dyn Clock>, seed: u64) -> Arc<dyn Endpoint> {
        let mut now = self.now();
        now.starts += 1;
        let mut random = Random::new(seed).part(1000 + now.starts);
        let trouble = random.below(100);
        let disk = Disk::open(fs, random.part(1), self.lies).unwrap_or_else(|error| {
            panic!("seed {seed}: after {} cuts the journal does not open: {error}", now.cuts);
        });
        let mut settings = Settings::default();
        settings.seed = seed;
        let broker = Broker::builder().settings(settings).store(disk.clone()).clock(clock).build();
        let broker = broker.unwrap_or_else(|error| panic!("seed {seed}: what is kept cannot be read: {error}"));
        let _timers = broker.spawn_timers();
        match trouble {
            // At first everybody has to come.
            _ if now.calm || now.starts == 1 => {}
            0..10 => disk.fs().fail_sync_after(random.below(40)),
            10..20 => {
                now.full += 1;
                fill(&disk.fs(), Duration::from_millis(random.below(300)), Duration::from_millis(random.below(400)));
            }
            _ => {}
        }
        now.disk = Some(disk);
        Arc::new(broker)
    }
}

/// There is no room on the disk for a while.
fn fill(fs: &SimFs, after: Duration, during: Duration) {
    let fs = fs.clone();
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        fs.set_capacity(0);
        tokio::time::sleep(during).await;
        fs.set_capacity(1 << 40);
    });
}

impl Stage for Cut {
    fn broker(&self, clock: Arc<dyn Clock>, seed: u64) -> Arc<dyn Endpoint> {
        *self.now() = Now::default();
        self.start(SimFs::new(), clock, seed)
    }

    fn restart(&self, clock: Arc<dyn Clock>, seed: u64) -> Option<Arc<dyn Endpoint>> {
        let disk = self.now().disk.take()?;
        let number = {
            let mut now = self.now();
            now.cuts += 1;
            now.failed_syncs += u64::from(disk.has_failed());
            now.cuts
        };
        // All, half, or one in a hundred of the unsynced blocks are lost; or nearly all are.
        let kept = Random::new(seed).part(number).pick(&[Kept::None, Kept::Some(500), Kept::Some(990), Kept::Some(10)]);
        let after = disk.cut(kept);
        after.set_capacity(1 << 40);
        Some(self.start(after, clock, seed))
    }

    fn client(&self, name: &str, ground: &Ground, faults: &Faults) -> Way {
        let version = if name.ends_with('1') { Version::V311 } else { Version::V5 };
        match (ground.seed % 3, name) {
            (1, "producer0" | "follower0") => Way::Carried(over_amqp(ground, faults)),
            (1, "producer1" | "follower1") => Way::Carried(over_mqtt(Version::V5, ground, faults)),
            (1, _) => Way::Carried(over_http(name, ground, faults)),
            (2, _) if !name.starts_with("worker") => Way::Carried(over_mqtt(version, ground, faults)),
            _ => Way::Direct(Arc::clone(&ground.broker)),
        }
    }

    fn has_failed(&self) -> bool {
        self.now().disk.as_ref().is_some_and(Disk::has_failed)
    }

    fn calm(&self) {
        let mut now = self.now();
        now.calm = true;
        if let Some(disk) = &now.disk {
            disk.fs().fail_sync_after(u64::MAX);
            disk.fs().set_capacity(1 << 40);
        }
    }

    fn stores(&self) -> bool {
        true
    }

    /// What is taken in time is handed over when the disk knows of it.
    fn rounding(&self) -> Duration {
        Duration::from_millis(2100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariants_hold_although_the_power_is_cut() {
        let mut report = Report::default();
        (0..6).for_each(|seed| world(seed, false, &mut report).expect("the invariants hold"));
        assert!(report.cuts > 6, "{report:?}");
    }

    #[test]
    fn a_disk_that_lies_is_noticed() {
        assert!(notices_a_lie(10));
    }

    #[test]
    fn the_same_seed_gives_the_same_trace_although_the_power_is_cut() {
        for seed in 0..3 {
            let stage = Cut { lies: false, now: Mutex::default() };
            let trace = || simulate(&stage, Plan::default(), seed).expect("the invariants hold").to_string();
            assert_eq!(trace(), trace(), "seed {seed} replays byte for byte");
        }
    }
}
