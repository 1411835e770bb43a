//! `cargo xtask torture`: the randomised tests for as long as one cares to wait.

use clap::Args;

use crate::Result;
use crate::cmd::Cmd;
use crate::workspace::Workspace;

/// How long is long.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Seeds of the simulation
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// Cases of each property test
    #[arg(long, default_value_t = 20_000)]
    cases: u64,
    /// Only tests whose names contain this
    filter: Option<String>,
}

/// Optimised, but with every assertion: in a target folder of its own, so that it does not displace the release build.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result {
    Cmd::cargo("test --release --workspace --all-features --tests --target-dir")
        .arg(workspace.target.join("torture").display().to_string())
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
        .env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("ROADBED_SEEDS", options.seeds.to_string())
        .env("PROPTEST_CASES", options.cases.to_string())
        .arg("--")
        .args(options.filter.as_ref())
        .run()
}
