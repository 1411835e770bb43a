//! The parts, by name.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::kills::{self, discharges};
use crate::run::{Failure, Run};
use crate::summary::Row;
use crate::{Options, cuts, full, store};

/// A part; the order here is the order they run in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// kill -9 of the hub under load over every protocol
    Kills,
    /// kill -9 between the discharge of a transaction and its outcome
    Discharges,
    /// Power cuts of a simulated disk, under a broker with clients over every protocol
    Cuts,
    /// A disk that is full, and then is not
    Full,
    /// Single bits that are turned in journals
    Flips,
    /// The store beside a plain map
    Model,
}

impl Part {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied()
    }

    /// Runs it as far as the options say.
    ///
    /// # Errors
    /// What it has found, with its seed.
    pub(crate) fn run(self, run: &Run, options: &Options) -> Result<Row, Failure> {
        let begun = Instant::now();
        let row = match self {
            Self::Kills => kill(run, options),
            Self::Discharges => discharge(run, options),
            Self::Cuts => cut(run, options),
            Self::Full => fill(run),
            Self::Flips => flip(run, options),
            Self::Model => model(run, options),
        }?;
        println!();
        Ok(Row { took: begun.elapsed(), ..row })
    }
}

fn kill(run: &Run, options: &Options) -> Result<Row, Failure> {
    let line = Line::new("kills", options.kills);
    let report = kills::run(run, options.kills, options.hubs, options.mutate, &|killed, messages| {
        line.show(killed, &format!("{messages} messages acknowledged"));
    })?;
    let counts = report.counts;
    let row = Row {
        part: "kills",
        runs: format!("{} kills", report.kills),
        acknowledged: format!(
            "{} messages: MQTT {}, AMQP {}, HTTP {}",
            counts.messages(),
            counts.mqtt,
            counts.amqp,
            counts.http
        ),
        seeds: format!("{} and on", run.seed),
        notes: vec![
            format!(
                "at least {} messages were acknowledged before each; {} hubs more were killed while they recovered",
                report.least, report.killed_at_start
            ),
            format!(
                "{} transactions were committed and {} settlements confirmed under load; {} messages were looked at afterwards",
                counts.transactions, counts.settled, report.findings.checked
            ),
        ],
        ..Row::default()
    };
    Ok(row.found(&report.findings))
}

fn discharge(run: &Run, options: &Options) -> Result<Row, Failure> {
    let line = Line::new("discharges", options.discharges);
    let report = discharges::run(run, options.discharges, options.mutate, &|killed| line.show(killed, ""))?;
    let told = format!(
        "of the transactions whose outcome was not known {} had happened and {} had not; {} were confirmed before the kill; {} kills beside the moment are not counted",
        report.happened, report.had_not, report.committed, report.beside
    );
    let row = Row {
        part: "discharges",
        runs: format!("{} kills between discharge and outcome", report.kills),
        acknowledged: format!("{} transactions", report.happened + report.had_not + report.committed),
        seeds: run.seed.to_string(),
        notes: vec![told],
        ..Row::default()
    };
    Ok(row.found(&report.findings))
}

fn cut(run: &Run, options: &Options) -> Result<Row, Failure> {
    let line = Line::new("cuts", options.cuts);
    let report = cuts::run(run, options.cuts, &|cuts| line.show(cuts, ""))?;
    let told = format!(
        "{} worlds, {} steps; {} cuts followed a sync that had failed, {} times the disk was full for a while",
        report.worlds, report.steps, report.failed_syncs, report.full
    );
    Ok(Row {
        part: "cuts",
        runs: format!("{} power cuts", report.cuts),
        acknowledged: format!("{} messages", report.acknowledged),
        seeds: format!("{} to {}", run.seed, run.seed + report.worlds - 1),
        notes: vec![told],
        ..Row::default()
    })
}

fn fill(run: &Run) -> Result<Row, Failure> {
    let report = full::run(run)?;
    let (runs, acknowledged, told) = match report.done {
        Some(counts) => (
            "1 full disk, 2 kills".to_owned(),
            format!("{} messages", counts.accepted + counts.after),
            format!(
                "{} messages were refused while it was full; {} were taken after it had been emptied",
                counts.refused, counts.after
            ),
        ),
        None => (
            "0".to_owned(),
            "0".to_owned(),
            "not run: only root may mount a tmpfs; the cuts have full disks, too".to_owned(),
        ),
    };
    let row = Row { part: "full", runs, acknowledged, seeds: "none".into(), notes: vec![told], ..Row::default() };
    Ok(row.found(&report.findings))
}

fn flip(run: &Run, options: &Options) -> Result<Row, Failure> {
    let line = Line::new("flips", options.flips);
    let report = store::flips(run, options.flips, &|flips| line.show(flips, ""))?;
    let told = format!(
        "{} were named when the journal was opened, {} when a message was read, {} were harmless: everything was read, and was as before; over {} journals of {} KiB together",
        report.refused,
        report.refused_later,
        report.harmless,
        report.journals,
        report.bytes >> 10
    );
    Ok(Row {
        part: "flips",
        runs: format!("{} bits", report.flips),
        acknowledged: "all of each journal".into(),
        seeds: format!("{} to {}", run.seed, run.seed + report.journals - 1),
        notes: vec![told],
        ..Row::default()
    })
}

fn model(run: &Run, options: &Options) -> Result<Row, Failure> {
    let line = Line::new("model", options.models);
    let report = store::model(run, options.models, &|rounds| line.show(rounds, ""))?;
    Ok(Row {
        part: "model",
        runs: format!("{} rounds", report.rounds),
        acknowledged: format!("{} units", report.units),
        seeds: format!("{} to {}", run.seed, run.seed + report.rounds - 1),
        notes: vec![format!("reopened {} times; {} segments were cleaned", report.reopened, report.cleaned)],
        ..Row::default()
    })
}

/// A line that says how far it is.
pub(crate) struct Line {
    part: &'static str,
    of: u64,
    begun: Instant,
    shown: Mutex<Instant>,
}

impl Line {
    pub(crate) fn new(part: &'static str, of: u64) -> Self {
        Self { part, of, begun: Instant::now(), shown: Mutex::new(Instant::now()) }
    }

    pub(crate) fn show(&self, done: u64, what: &str) {
        let mut shown = self.shown.lock().expect("nobody panics while it is held");
        let (terminal, elapsed) = (std::io::stdout().is_terminal(), self.begun.elapsed().as_secs());
        let often = if terminal { Duration::from_millis(200) } else { Duration::from_secs(15) };
        if done < self.of && shown.elapsed() < often {
            return;
        }
        *shown = Instant::now();
        let (start, end) = if terminal { ("\r", "\x1b[K") } else { ("", "\n") };
        print!("{start}{:<11}{done:>6} of {} in {elapsed} s  {what}{end}", self.part, self.of);
        let _ = std::io::stdout().flush();
    }
}
