//! The project's own commands. `cargo xtask --help` lists them; `cargo xtask test` is what must pass before a change lands.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program for a terminal

mod bench;
mod cmd;
mod docs;
mod fuzz;
mod peers;
mod policy;
mod stages;
mod test;
mod torture;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own commands", disable_version_flag = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every stage of the tests, or those named; ends at the first failure
    Test(test::Options),
    /// Fuzz one target or all of them, each for some seconds
    Fuzz(fuzz::Options),
    /// Run the benchmarks, or measure the hub beside its peers
    Bench(bench::Options),
    /// Kill the hub, cut off its disk, damage its journal; or run the randomised tests at length
    Torture(torture::Options),
    /// Write the pages that are generated from data
    Docs,
    /// Install the programs that the tests and comparisons need
    Install(peers::Options),
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    match run(&command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result {
    let workspace = Workspace::open()?;
    match command {
        Command::Test(options) => test::run(&workspace, options),
        Command::Fuzz(options) => fuzz::run(&workspace, options),
        Command::Bench(options) => bench::run(&workspace, options),
        Command::Torture(options) => torture::run(&workspace, options),
        Command::Docs => docs::run(),
        Command::Install(options) => peers::run(&workspace, options),
    }
}
