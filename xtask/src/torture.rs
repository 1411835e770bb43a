//! `cargo xtask torture`: the hub is killed, its disk is cut off, its journal is damaged; and the randomised tests for as long as one cares to
//! wait. What does it is the program `torture`, which this builds, with the hub.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::Result;
use crate::cmd::Cmd;
use crate::workspace::Workspace;

/// The page that a whole run writes.
const PAGE: &str = "docs/torture.md";

/// What is run, and how much of it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask torture                                          all but the tests; writes docs/torture.md
  cargo xtask torture --only kills --kills 50 --seed 7         one part, from one seed on
  cargo xtask torture --only kills --kills 5 --mutate double   a fault made on purpose: it has to be reported
  cargo xtask torture --only tests --seeds 100000              the randomised tests over more seeds

A failure names its seed and what was lost, and keeps the folder of its hub.")]
pub(crate) struct Options {
    /// Only these parts; without it, all but the tests
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART,...")]
    only: Vec<Part>,
    /// Kills of the hub under load
    #[arg(long, default_value_t = 1000)]
    kills: u64,
    /// Kills of the hub between the discharge of a transaction and its outcome
    #[arg(long, default_value_t = 200)]
    discharges: u64,
    /// Power cuts of a simulated disk, under a broker and its clients
    #[arg(long, default_value_t = 1000)]
    cuts: u64,
    /// Bits that are turned in journals
    #[arg(long, default_value_t = 10_000)]
    flips: u64,
    /// Rounds of the store beside a plain map
    #[arg(long, default_value_t = 500)]
    models: u64,
    /// The first seed of these parts
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Hubs that are killed at the same time
    #[arg(long, default_value_t = 2)]
    hubs: u64,
    /// Make a fault on purpose
    #[arg(long, value_name = "FAULT", value_parser = FAULTS)]
    mutate: Option<String>,
    /// Write the page there; without it, a whole run writes docs/torture.md, and others print it
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Seeds of each simulation in the tests
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// Cases of each property test in the tests
    #[arg(long, default_value_t = 20_000)]
    cases: u64,
    /// Only tests whose names contain this
    filter: Option<String>,
}

/// Faults that have to be reported: the program's `--help` says what they are.
const FAULTS: [&str; 3] = ["tail", "double", "alone"];

/// What can be run alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The hub is killed under load over every protocol
    Kills,
    /// The hub is killed between the discharge of a transaction and its outcome
    Discharges,
    /// The power of a simulated disk is cut, under a broker and its clients
    Cuts,
    /// The hub's disk is full, and then is not; needs root
    Full,
    /// Bits are turned in journals
    Flips,
    /// The store beside a plain map
    Model,
    /// The randomised tests of all crates, at length
    Tests,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result {
    let parts: Vec<_> = options.only.iter().copied().filter(|part| *part != Part::Tests).collect();
    if parts.len() < options.only.len() {
        tests(workspace, options)?;
    }
    if parts.is_empty() && !options.only.is_empty() {
        return Ok(());
    }
    let whole = options.only.is_empty().then(|| PAGE.into());
    let program = Program::build(workspace, "--release", "release")?;
    let cmd = parts.iter().fold(program.torture(), |cmd, part| cmd.args(["--only", name(*part).as_str()]));
    let cmd = options.counts().into_iter().fold(cmd, |cmd, (name, count)| cmd.arg(name).arg(count.to_string()));
    let cmd = options.mutate.iter().fold(cmd, |cmd, fault| cmd.args(["--mutate", fault]));
    let cmd = options
        .summary
        .clone()
        .or(whole)
        .iter()
        .fold(cmd, |cmd: Cmd, page: &PathBuf| cmd.arg("--summary").arg(page.display().to_string()));
    let line = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    cmd.arg("--commit").arg(commit()).arg("--line").arg(format!("cargo xtask {line}")).run()
}

/// What `cargo xtask test` runs: everything for a short time, and faults that must be reported.
pub(crate) fn briefly(workspace: &Workspace) -> Result {
    let program = Program::build(workspace, "", "debug")?;
    program.torture().words("--kills 10 --discharges 5 --cuts 30 --flips 200 --models 10").run()?;
    for fault in FAULTS {
        let kills = program.torture().words("--only kills --kills 4 --hubs 1 --mutate").arg(fault);
        println!("\n$ {kills}");
        let told = kills.failure()?;
        if !told.contains("the folder is kept") {
            return Err(format!("a fault made on purpose was not reported: {told}\n  $ {kills}").into());
        }
        println!("it is reported: {}", told.lines().find(|line| line.starts_with("  ")).unwrap_or_default().trim());
    }
    Ok(())
}

impl Options {
    fn counts(&self) -> Vec<(&'static str, u64)> {
        let Self { kills, discharges, cuts, flips, models, seed, hubs, .. } = self;
        vec![
            ("--kills", *kills),
            ("--discharges", *discharges),
            ("--cuts", *cuts),
            ("--flips", *flips),
            ("--models", *models),
            ("--seed", *seed),
            ("--hubs", *hubs),
        ]
    }
}

/// The hub and the program that tortures it.
struct Program {
    folder: PathBuf,
    place: PathBuf,
}

impl Program {
    fn build(workspace: &Workspace, profile: &str, folder: &str) -> Result<Self> {
        Cmd::cargo("build -p roadbed-hub -p torture").words(profile).run()?;
        Ok(Self { folder: workspace.target.join(folder), place: workspace.target.join("torture").join("data") })
    }

    fn torture(&self) -> Cmd {
        let path = |name: &str| self.folder.join(name).display().to_string();
        Cmd::new(path("torture"))
            .arg("--program")
            .arg(path("roadbed"))
            .arg("--place")
            .arg(self.place.display().to_string())
    }
}

fn name(part: Part) -> String {
    part.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Which sources these are.
fn commit() -> String {
    let git = |line: &str| Cmd::new("git").words(line).output().map(|said| said.trim().to_owned()).unwrap_or_default();
    match (git("rev-parse --short=12 HEAD"), git("status --porcelain --untracked-files=no")) {
        (commit, _) if commit.is_empty() => "unknown".into(),
        (commit, changes) if changes.is_empty() => commit,
        (commit, _) => format!("{commit}, with changes"),
    }
}

/// Optimised, but with every assertion: in a target folder of its own, so that it does not displace the release build.
fn tests(workspace: &Workspace, options: &Options) -> Result {
    Cmd::cargo("test --release --workspace --all-features --tests --target-dir")
        .arg(workspace.target.join("torture").display().to_string())
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
        .env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("ROADBED_SEEDS", options.seeds.to_string())
        .env("ROADBED_FAULT_SEEDS", options.seeds.to_string())
        .env("PROPTEST_CASES", options.cases.to_string())
        .arg("--")
        .args(options.filter.as_ref())
        .run()
}
