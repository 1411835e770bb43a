//! The store alone: turned bits, and a plain map beside it. What is committed there is made by the store's own tests.

#[path = "../../store-journal/tests/support/mod.rs"]
#[allow(clippy::allow_attributes, reason = "shared with the store's tests")]
mod support;

use roadbed_broker::{MemoryStore, Store, Unit};
use roadbed_store_journal::simulation::{Kept, SimFs};
use roadbed_store_journal::{JournalError, JournalStore};

use self::support::{CloneFs as _, Load, Random, commit, config, told};
use crate::run::{Failure, Run};

/// What was turned, and what was found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flips {
    pub(crate) flips: u64,
    pub(crate) journals: u64,
    pub(crate) bytes: u64,
    /// Flips that were named when the journal was opened, and those that were when a message was read.
    pub(crate) refused: u64,
    pub(crate) refused_later: u64,
    /// Flips after which everything could be read, and was as it had been.
    pub(crate) harmless: u64,
}

/// How often one journal is damaged.
const FLIPS_OF_JOURNAL: u64 = 250;

/// Turns bits of journals in which all is committed, and of which the last record says so.
///
/// # Errors
/// A flip that nobody noticed although something is not as it was, or that was noticed without being named.
pub(crate) fn flips(run: &Run, flips: u64, done: &dyn Fn(u64)) -> Result<Flips, Failure> {
    let mut report = Flips::default();
    for seed in run.seed.. {
        if report.flips >= flips {
            break;
        }
        let count = FLIPS_OF_JOURNAL.min(flips - report.flips);
        damaged(seed, count, &mut report).map_err(|what| {
            Failure::new(format!(
                "flips: seed {seed}: {what}\n  $ cargo xtask torture --only flips --flips {FLIPS_OF_JOURNAL} --seed {seed}"
            ))
        })?;
        done(report.flips);
    }
    Ok(report)
}

fn damaged(seed: u64, flips: u64, report: &mut Flips) -> Result<(), String> {
    let (fs, mut random) = (SimFs::new(), Random::new(seed));
    let before = journal(seed, &fs)?;
    report.journals += 1;
    report.bytes += fs.files().iter().map(|(_, bytes)| bytes).sum::<u64>();
    for _ in 0..flips {
        let copy = fs.power_cut(Kept::Some(1000), || 0);
        let files = copy.files();
        // By size, so that every byte is as likely.
        let mut at = random.below(files.iter().map(|(_, bytes)| bytes).sum());
        let file = files.iter().find(|(_, bytes)| at.checked_sub(*bytes).map(|left| at = left).is_none());
        let Some((name, _)) = file else { return Err("a journal without a file".into()) };
        let bit = random.below(8) as u8;
        copy.flip(name, at, bit);
        report.flips += 1;
        flipped(&copy, name, &before, report).map_err(|what| format!("bit {bit} of byte {at} of {name}: {what}"))?;
    }
    Ok(())
}

/// A journal at rest. Every second one has ended in good order.
fn journal(seed: u64, fs: &SimFs) -> Result<Vec<String>, String> {
    let (mut load, mut random) = (Load::new(seed, 900), Random::new(seed + 1));
    let mut store = stepped(fs)?;
    for _ in 0..40 {
        let mut units: Vec<Unit> = (0..=random.below(12)).map(|_| load.unit()).collect();
        store.submit(&mut units);
        store.step();
    }
    // With nothing to do, it says that all was synced.
    store.step();
    drop(store);
    if seed.is_multiple_of(2) {
        drop(JournalStore::open_on(fs.shared(), config()).map_err(|error| error.to_string())?);
    }
    told(&mut stepped(&fs.power_cut(Kept::Some(1000), || 0))?).map_err(|error| error.to_string())
}

fn stepped(fs: &SimFs) -> Result<JournalStore, String> {
    JournalStore::open_stepped(fs.shared(), config()).map_err(|error| error.to_string())
}

/// The damage is named, with its file; or nothing is lost.
fn flipped(fs: &SimFs, name: &str, before: &[String], report: &mut Flips) -> Result<(), String> {
    let mut store = match JournalStore::open_stepped(fs.shared(), config()) {
        Ok(store) => store,
        Err(error @ (JournalError::Corrupt { .. } | JournalError::Format { .. })) => {
            report.refused += 1;
            return named(name, &error.to_string());
        }
        Err(error) => return Err(format!("it is refused with other words: {error}")),
    };
    match told(&mut store) {
        Err(error) => {
            report.refused_later += 1;
            named(name, &error.to_string())
        }
        Ok(found) if found == before => {
            report.harmless += 1;
            Ok(())
        }
        Ok(found) => Err(format!("a silent loss: {} entries are kept of {}", found.len(), before.len())),
    }
}

fn named(name: &str, told: &str) -> Result<(), String> {
    let is_named = told.contains(name) || told.contains("is missing");
    if is_named { Ok(()) } else { Err(format!("the file is not named: {told}")) }
}

/// What was compared.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Model {
    pub(crate) rounds: u64,
    pub(crate) units: u64,
    pub(crate) reopened: u64,
    pub(crate) cleaned: u64,
}

/// Tells a store and a map the same, and compares them, over reopenings in good order and without.
///
/// # Errors
/// The first difference, with its seed.
pub(crate) fn model(run: &Run, rounds: u64, done: &dyn Fn(u64)) -> Result<Model, Failure> {
    let mut report = Model::default();
    for seed in run.seed..run.seed + rounds {
        compared(seed, &mut report).map_err(|what| {
            Failure::new(format!(
                "model: seed {seed}: {what}\n  $ cargo xtask torture --only model --models 1 --seed {seed}"
            ))
        })?;
        report.rounds += 1;
        done(report.rounds);
    }
    Ok(report)
}

fn compared(seed: u64, report: &mut Model) -> Result<(), String> {
    let (mut fs, mut model) = (SimFs::new(), MemoryStore::new());
    let (mut load, mut random) = (Load::new(seed, 600), Random::new(seed + 1000));
    let mut store = stepped(&fs)?;
    for round in 0..60 {
        let units: Vec<Unit> = (0..=random.below(20)).map(|_| load.unit()).collect();
        report.units += units.len() as u64;
        store.submit(&mut units.clone());
        store.step();
        if support::wait(&mut store, units.len()) != commit(&mut model, units) {
            return Err(format!("round {round}: other answers"));
        }
        if random.below(5) == 0 {
            report.reopened += 1;
            report.cleaned += store.stats().cleaned_segments;
            drop(store);
            match random.below(3) {
                0 => drop(JournalStore::open_on(fs.shared(), config()).map_err(|error| error.to_string())?),
                1 => fs = fs.power_cut(Kept::Some(500), || random.next() as u32),
                _ => {}
            }
            store = stepped(&fs)?;
        }
        if random.below(4) == 0 && told(&mut store) != told(&mut model) {
            return Err(format!("round {round}: {}", difference(&mut store, &mut model)));
        }
    }
    match told(&mut store) == told(&mut model) {
        true => Ok(()),
        false => Err(format!("at the end: {}", difference(&mut store, &mut model))),
    }
}

/// Where the two begin to say different things.
fn difference(store: &mut JournalStore, model: &mut MemoryStore) -> String {
    let (Ok(found), Ok(wanted)) = (told(store), told(model)) else { return "what is kept cannot be read".into() };
    let at = found.iter().zip(&wanted).take_while(|(found, wanted)| found == wanted).count();
    let (count, should) = (found.len(), wanted.len());
    format!("{count} things are kept of {should}: there is {:?}, and should be {:?}", found.get(at), wanted.get(at))
}
