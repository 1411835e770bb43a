//! Kills, power cuts and turned bits: `cargo xtask torture` builds the hub and runs this.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

mod cuts;
mod full;
mod hub;
mod kills;
mod parts;
mod run;
mod store;
mod summary;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser};

use crate::kills::Mutation;
use crate::parts::Part;
use crate::run::Run;
use crate::summary::Head;

/// Kills, cuts, flips: the proof that nothing acknowledged is lost
#[derive(Debug, Parser)]
#[command(name = "torture", disable_version_flag = true)]
struct Cli {
    #[command(flatten)]
    options: Options,
    /// The hub's program
    #[arg(long, value_name = "FILE")]
    program: PathBuf,
    /// Where the folders of hubs are made
    #[arg(long, value_name = "DIR", default_value = "target/torture/data")]
    place: PathBuf,
    /// What the page says of the commit
    #[arg(long, default_value = "unknown")]
    commit: String,
    /// What the page says of the command
    #[arg(long, default_value = "torture")]
    line: String,
}

/// What is run, and how much of it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Only these parts
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART,...")]
    pub(crate) only: Vec<Part>,
    /// Kills of the hub under load
    #[arg(long, default_value_t = 1000)]
    pub(crate) kills: u64,
    /// Kills of the hub between discharge and outcome
    #[arg(long, default_value_t = 200)]
    pub(crate) discharges: u64,
    /// Power cuts of a simulated disk
    #[arg(long, default_value_t = 1000)]
    pub(crate) cuts: u64,
    /// Bits that are turned in journals
    #[arg(long, default_value_t = 10_000)]
    pub(crate) flips: u64,
    /// Rounds of the store beside a plain map
    #[arg(long, default_value_t = 500)]
    pub(crate) models: u64,
    /// The first seed; what depends on it alone fails again with it
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Hubs that are killed at the same time, each on a folder of its own
    #[arg(long, default_value_t = 2)]
    pub(crate) hubs: u64,
    /// Make a fault on purpose: it has to be reported
    #[arg(long, value_enum)]
    pub(crate) mutate: Option<Mutation>,
    /// Write the page there, rather than to the terminal
    #[arg(long, value_name = "FILE")]
    pub(crate) summary: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match torture(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\ntorture: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn torture(cli: &Cli) -> Result<(), run::Failure> {
    let Cli { options, program, place, commit, line } = cli;
    let run = Run { seed: options.seed, program: program.clone(), place: place.clone() };
    let mut rows = Vec::new();
    for part in Part::all().filter(|part| options.only.is_empty() || options.only.contains(part)) {
        rows.push(part.run(&run, options)?);
    }
    let page = summary::page(&Head { commit: commit.clone(), command: line.clone() }, &rows);
    match &options.summary {
        Some(path) => {
            std::fs::write(path, page).map_err(|error| run::Failure::new(format!("{}: {error}", path.display())))
        }
        None => {
            println!("\n{page}");
            Ok(())
        }
    }
}
