//! kill -9 of the real process, again and again, under load over every protocol.
//!
//! A life: the hub is started on the folder that the last one left; what was under way is ended as each protocol says; everything is taken out
//! and compared with what was acknowledged; then all clients send, receive and settle, until at some moment the process is killed.

mod amqp;
pub(crate) mod check;
mod clients;
pub(crate) mod discharges;
pub(crate) mod http;
mod log;
mod mover;
mod mqtt;
pub(crate) mod queue;
mod stream;
mod tail;
mod tally;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use roadbed_conformance::simulation::Random;

use self::check::Findings;
use self::clients::Clients;
use self::tally::{Counts, Tally};
use crate::hub::Program;
use crate::run::{Failure, Run};
use crate::wire::{Result, Trouble};

/// A fault of the harness's own making: it must be reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mutation {
    /// The end of the journal is cut off between two lives
    Tail,
    /// A QoS 2 publisher sends an old message under a new packet id
    Double,
    /// A post of each transaction is sent without it
    Alone,
}

/// What was run, and what was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) kills: u64,
    /// Hubs that were killed while they recovered, before another one was let live.
    pub(crate) killed_at_start: u64,
    pub(crate) counts: Counts,
    /// The least that was acknowledged before any kill.
    pub(crate) least: u64,
    pub(crate) findings: Findings,
}

/// The kills of one folder: afterwards another one begins, with another configuration.
const KILLS_OF_FOLDER: u64 = 50;
/// The part of a chain's kills that are done, for the progress line.
type Done<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// Runs `kills` kills, in `hubs` folders at once.
///
/// # Errors
/// The first failure, with its seed.
pub(crate) fn run(
    run: &Run,
    kills: u64,
    hubs: u64,
    mutation: Option<Mutation>,
    done: Done<'_>,
) -> std::result::Result<Report, Failure> {
    let folders = kills.div_ceil(KILLS_OF_FOLDER).max(hubs.min(kills));
    let chains: Vec<_> =
        (0..folders).map(|at| (run.seed + at, kills / folders + u64::from(at < kills % folders))).collect();
    let (next, killed, acknowledged) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let ended = Mutex::new((Report { least: u64::MAX, ..Report::default() }, None));
    let work = || {
        while ended.lock().expect("no chain panics").1.is_none() {
            let at = next.fetch_add(1, Ordering::Relaxed) as usize;
            let Some((seed, kills)) = chains.get(at).copied() else { return };
            let progress = |messages: u64| {
                let killed = killed.fetch_add(1, Ordering::Relaxed) + 1;
                done(killed, acknowledged.fetch_add(messages, Ordering::Relaxed) + messages);
            };
            let chain = chain(run, seed, kills, mutation, &progress);
            let mut ended = ended.lock().expect("no chain panics");
            match chain {
                Ok(report) => ended.0.add(report),
                Err(failure) => drop(ended.1.get_or_insert(failure)),
            }
        }
    };
    std::thread::scope(|scope| (0..hubs).for_each(|_| drop(scope.spawn(work))));
    match ended.into_inner().expect("no chain panics") {
        (report, None) => Ok(report),
        (_, Some(failure)) => Err(failure),
    }
}

impl Report {
    fn add(&mut self, other: Self) {
        self.kills += other.kills;
        self.killed_at_start += other.killed_at_start;
        self.counts.add(other.counts);
        self.least = self.least.min(other.least);
        self.findings.add(other.findings);
    }
}

/// One folder, and the lives of the hubs on it.
fn chain(
    run: &Run,
    seed: u64,
    kills: u64,
    mutation: Option<Mutation>,
    done: &dyn Fn(u64),
) -> std::result::Result<Report, Failure> {
    let folder = run.folder(&format!("kills-{seed}"))?;
    let program = Program { path: run.program.clone(), store: configuration(seed).into() };
    let mut clients = Clients::new(mutation);
    let mut random = Random::new(seed);
    let mut report = Report { least: u64::MAX, ..Report::default() };
    for life in 0..=kills {
        let failed = |what: String| run.failure("kills", seed, life, &folder, what);
        if life > 0 && random.chance(12) {
            let after = Duration::from_micros(random.below(40_000));
            program.start_and_kill(&folder, after).map_err(|trouble| failed(trouble.to_string()))?;
            report.killed_at_start += 1;
        }
        if mutation == Some(Mutation::Tail) && life > 0 {
            tail::cut(&folder.join("data"), 96 << 10).map_err(|error| failed(error.to_string()))?;
        }
        let counts = one_life(&program, &folder, &mut clients, &mut random, life == kills, &mut report.findings);
        let wrongs = report.findings.wrongs();
        if !wrongs.is_empty() {
            return Err(failed(wrongs.join("\n")));
        }
        if let Some(counts) = counts.map_err(|trouble| failed(trouble.to_string()))? {
            report.kills += 1;
            report.least = report.least.min(counts.messages());
            report.counts.add(counts);
            done(counts.messages());
        }
    }
    run.done_with(&folder);
    Ok(report)
}

/// What `[store]` says, by seed: the default, and segments so small that they are ended, cleaned and removed all the time.
fn configuration(seed: u64) -> &'static str {
    match seed % 3 {
        0 => "segment_bytes = 1048576\ngarbage_bytes = 2097152",
        1 => "segment_bytes = 262144\ngarbage_bytes = 1048576",
        _ => "",
    }
}

/// Starts a hub, checks what the last one left, and, unless this is the last life, kills it under load.
fn one_life(
    program: &Program,
    folder: &Path,
    clients: &mut Clients,
    random: &mut Random,
    last: bool,
    findings: &mut Findings,
) -> Result<Option<Counts>> {
    let mut hub = program.start(folder)?;
    findings.add(clients.check(&hub)?);
    if last || !findings.wrongs().is_empty() {
        return Ok(None);
    }
    let tally = Tally::default();
    let troubles = clients.load(&mut hub, &tally, random)?;
    match troubles.into_iter().next() {
        Some(wrong) => Trouble::wrong(wrong),
        None => Ok(Some(tally.counts())),
    }
}
