//! `cargo xtask test`: the stages in their order, and the seconds that each took.

use std::time::{Duration, Instant};

use clap::Args;

use crate::stages::Stage;
use crate::workspace::Workspace;
use crate::{Result, peers};

/// Which stages to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Install what the stages need; as root this is done in any case
    #[arg(long)]
    install: bool,
    /// Only these stages
    #[arg(long, value_enum, value_delimiter = ',', value_name = "STAGE,...")]
    only: Vec<Stage>,
    /// All but these stages
    #[arg(long, value_enum, value_delimiter = ',', value_name = "STAGE,...", hide_possible_values = true)]
    skip: Vec<Stage>,
}

/// Runs the stages chosen, prints their times, and ends at the first failure.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result {
    let stages = chosen(options);
    let mut times = Times::default();
    let needs: Vec<_> = stages.iter().flat_map(|s| s.needs()).copied().collect();
    let mut result = times.measure("install", || peers::ensure(workspace, &needs, options.install));
    for stage in &stages {
        if result.is_err() {
            break;
        }
        println!("\n=== {}", stage.name());
        result = times.measure(stage.name(), || stage.run(workspace));
    }
    times.print();
    let failed = usize::from(result.is_err());
    let passed = (times.0.len() - 1).saturating_sub(failed);
    println!("stages: {passed} passed, {failed} failed, {} skipped", Stage::all().count() - passed - failed);
    result.map_err(|e| times.blame(&*e).into())
}

fn chosen(options: &Options) -> Vec<Stage> {
    Stage::all()
        .filter(|s| options.only.is_empty() || options.only.contains(s))
        .filter(|s| !options.skip.contains(s))
        .collect()
}

/// Each step's name and time, in order.
#[derive(Debug, Default)]
struct Times(Vec<(&'static str, Duration)>);

impl Times {
    fn measure(&mut self, name: &'static str, step: impl FnOnce() -> Result) -> Result {
        let start = Instant::now();
        let result = step();
        self.0.push((name, start.elapsed()));
        result
    }

    fn print(&self) {
        println!("\n{:<10}{:>9}", "stage", "seconds");
        for (name, time) in &self.0 {
            println!("{name:<10}{:>9.1}", time.as_secs_f64());
        }
        let total: Duration = self.0.iter().map(|(_, time)| time).sum();
        println!("{:<10}{:>9.1}", "total", total.as_secs_f64());
    }

    /// The error of the last step, with the name of its stage and how to run that alone.
    fn blame(&self, error: &dyn std::error::Error) -> String {
        match self.0.last() {
            Some(&("install", _)) | None => error.to_string(),
            Some((name, _)) => format!("stage `{name}` failed: {error}\n  $ cargo xtask test --only {name}"),
        }
    }
}
