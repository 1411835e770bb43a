//! kill -9 between the discharge of a transaction and its outcome.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Barrier;
use std::time::Duration;

use roadbed_conformance::simulation::Random;
use serde_json::json;

use super::amqp::{Feed, Feeder, drain};
use super::check::{self, Findings, Known, Txn};
use super::mover::Mover;
use super::stream::{Fates, Name, Stream};
use super::tally::Tally;
use super::{Mutation, configuration, http};
use crate::hub::{Hub, Program};
use crate::run::{Failure, Run};
use crate::wire::{Amqp, During as _, Result, Trouble};

/// What was run, and what was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Kills with a commit asked for and not answered.
    pub(crate) kills: u64,
    /// Kills that came before the discharge had left, or after all outcomes.
    pub(crate) beside: u64,
    /// Transactions whose outcome nobody knew when the hub was killed: those that had happened, and those that had not.
    pub(crate) happened: u64,
    pub(crate) had_not: u64,
    /// Transactions whose commit was confirmed before the kill.
    pub(crate) committed: u64,
    pub(crate) findings: Findings,
}

/// Controllers at once, each with a transaction.
const MOVERS: u32 = 3;
/// Messages that there are to retire.
const STOCK: usize = 12;
/// How long it takes until a kill, at most.
const DELAY_MAX_US: u64 = 2500;

/// Kills until `wanted` kills lay between a discharge and its outcome.
///
/// # Errors
/// The first failure, with its seed.
pub(crate) fn run(
    run: &Run,
    wanted: u64,
    mutation: Option<Mutation>,
    done: &dyn Fn(u64),
) -> std::result::Result<Report, Failure> {
    let seed = run.seed;
    let folder = run.folder(&format!("discharges-{seed}"))?;
    let program = Program { path: run.program.clone(), store: configuration(seed).into() };
    let (mut scene, mut random) = (Scene::new(mutation), Random::new(seed));
    let (mut report, mut rounds) = (Report::default(), 0);
    while report.kills < wanted {
        let round = rounds;
        let failed = |what: String| run.failure("discharges", seed, round, &folder, what);
        scene.round(&program, &folder, &mut random, &mut report).map_err(|trouble| failed(trouble.to_string()))?;
        let wrongs = report.findings.wrongs();
        if !wrongs.is_empty() {
            return Err(failed(wrongs.join("\n")));
        }
        rounds += 1;
        if rounds > 100 + 20 * wanted {
            return Err(failed(format!(
                "{rounds} kills, and only {} between a discharge and its outcome",
                report.kills
            )));
        }
        done(report.kills);
    }
    run.done_with(&folder);
    Ok(report)
}

struct Scene {
    feeder: Feeder,
    movers: Vec<Mover>,
    declared: bool,
}

const QUEUES: [&str; 3] = ["queues/ta", "queues/tb", "queues/tc"];

impl Scene {
    fn new(mutation: Option<Mutation>) -> Self {
        let movers = (0..MOVERS).map(|at| Mover::new(10 + 2 * at, [QUEUES[0], QUEUES[1]], QUEUES[2], mutation));
        Self { feeder: Feeder::new(vec![Feed::new(1, QUEUES[2])]), movers: movers.collect(), declared: false }
    }

    /// A hub, transactions, a kill, another hub, and what is there.
    fn round(&mut self, program: &Program, folder: &Path, random: &mut Random, report: &mut Report) -> Result {
        let mut hub = program.start(folder)?;
        if !self.declared {
            let settings = json!({ "durable": true, "deliveries_max": 100 });
            ["ta", "tb", "tc"].iter().try_for_each(|name| http::declare(hub.http, name, &settings))?;
            self.declared = true;
        }
        let tally = Tally::default();
        self.feeder.resume(hub.amqp, &tally).during("the feeder comes")?;
        for _ in 0..STOCK {
            self.feeder.barrier(0, &tally).during("feeding")?;
        }
        self.discharge(&mut hub, random)?;
        let asked = self.movers.iter().flat_map(|mover| &mover.txns).filter(|txn| txn.known == Known::Asked).count();
        match asked {
            0 => report.beside += 1,
            _ => report.kills += 1,
        }
        let hub = program.start(folder)?;
        self.check(&hub, report).during("emptying queues")
    }

    /// Every controller asks for the end of its transaction, and the hub is killed about then.
    fn discharge(&mut self, hub: &mut Hub, random: &mut Random) -> Result {
        let (port, delay) = (hub.amqp, Duration::from_micros(random.below(DELAY_MAX_US)));
        let (ready, together) = (Barrier::new(MOVERS as usize + 1), Barrier::new(MOVERS as usize + 1));
        let (ready, together) = (&ready, &together);
        let mut moving = Vec::new();
        for mover in &mut self.movers {
            let mut random = Random::new(random.next());
            let mut prepare = || -> Result<_> {
                let mut moving = mover.connect(port)?;
                let ready = mover.prepare(&mut moving, &mut random)?;
                Ok((moving, ready, random.chance(20)))
            };
            moving.push(prepare().during("preparing a transaction")?);
        }
        std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for (mover, (mut moving, txn, fail)) in self.movers.iter_mut().zip(moving) {
                threads.push(scope.spawn(move || -> Result {
                    ready.wait();
                    together.wait();
                    let number = mover.discharge(&mut moving, &txn, fail)?;
                    mover.outcome(&mut moving, &txn, number, fail).map(drop)
                }));
            }
            ready.wait();
            together.wait();
            std::thread::sleep(delay);
            hub.kill();
            for thread in threads {
                match thread.join() {
                    Ok(Ok(()) | Err(Trouble::Gone)) => {}
                    Ok(Err(wrong)) => return Err(wrong),
                    Err(_) => return Trouble::wrong("a controller panicked"),
                }
            }
            Ok(())
        })
    }

    fn check(&mut self, hub: &Hub, report: &mut Report) -> Result {
        let mut amqp = Amqp::open(hub.amqp, "checker")?;
        let txns: Vec<Txn> = self.movers.iter_mut().flat_map(|mover| std::mem::take(&mut mover.txns)).collect();
        let (mut all, mut fates): (BTreeSet<Name>, _) = (BTreeSet::new(), Fates::new());
        for name in txns.iter().flat_map(|txn| &txn.retires) {
            fates.entry(*name).or_default().may_be_gone = true;
        }
        for (at, address) in QUEUES.into_iter().enumerate() {
            let mut found = drain(&mut amqp, address)?;
            found.iter_mut().for_each(|found| found.count = 0);
            all.extend(found.iter().map(|found| found.name));
            let streams: Vec<&Stream> = match at {
                2 => vec![&self.feeder.feeds[0].stream],
                at => self.movers.iter().map(|mover| &mover.streams[at]).collect(),
            };
            report.findings.add(check::queue(address, &streams, &fates, &found, &[]));
        }
        report.findings.add(check::transactions("transactions", &txns, &all));
        for txn in &txns {
            let happened = txn.posts.iter().any(|name| all.contains(name));
            match (txn.known, happened) {
                (Known::Asked, true) => report.happened += 1,
                (Known::Asked, false) => report.had_not += 1,
                (Known::Committed, _) => report.committed += 1,
                (Known::Open, _) => {}
            }
        }
        self.feeder.feeds[0].stream.close();
        self.movers.iter_mut().flat_map(|mover| &mut mover.streams).for_each(Stream::close);
        Ok(())
    }
}
