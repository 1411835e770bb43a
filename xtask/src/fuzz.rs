//! `cargo xtask fuzz`: builds the targets of `fuzz/` with cargo-fuzz and runs them from the corpus in the tree.

use std::path::PathBuf;

use clap::Args;

use crate::Result;
use crate::cmd::Cmd;
use crate::peers::{self, Need};
use crate::workspace::{self, Workspace};

/// What to fuzz, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The target; without it, all of them
    target: Option<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Install cargo-fuzz; as root this is done in any case
    #[arg(long)]
    install: bool,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result {
    peers::ensure(workspace, &[Need::Compiler, Need::CargoFuzz], options.install)?;
    let Some(target) = &options.target else { return all(workspace, options.seconds) };
    if !targets(workspace)?.contains(&target.as_str()) {
        return Err(format!("no fuzz target `{target}`: there are {}", targets(workspace)?.join(", ")).into());
    }
    build(workspace)?;
    fuzz(workspace, target, options.seconds)
}

/// Runs every target for `seconds`.
pub(crate) fn all(workspace: &Workspace, seconds: u64) -> Result {
    let targets = targets(workspace)?;
    build(workspace)?;
    targets.iter().try_for_each(|target| fuzz(workspace, target, seconds))
}

fn targets(workspace: &Workspace) -> Result<Vec<&str>> {
    let package = workspace.packages.iter().find(|p| p.name == "roadbed-fuzz").ok_or("no package roadbed-fuzz")?;
    let targets: Vec<_> = package.targets("bin").collect();
    if targets.is_empty() { Err("fuzz/ has no targets".into()) } else { Ok(targets) }
}

/// The sanitizers are unstable options of the compiler: RUSTC_BOOTSTRAP lets the stable one take them, so that no second toolchain is needed.
fn build(workspace: &Workspace) -> Result {
    Cmd::cargo("fuzz build")
        .path(&peers::prefix(workspace).join("bin"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .run()
}

/// New inputs go to a corpus under `target/`, never into the tree's own; a crashing input goes to `fuzz/artifacts/`.
fn fuzz(workspace: &Workspace, target: &str, seconds: u64) -> Result {
    let found = workspace.target.join("fuzz").join(target);
    let artifacts = PathBuf::from("fuzz/artifacts").join(target);
    let corpus = PathBuf::from("fuzz/corpus").join(target);
    for dir in [&found, &artifacts, &corpus] {
        std::fs::create_dir_all(dir)?;
    }
    let program = workspace.target.join(workspace::host()?).join("release").join(target);
    Cmd::new(program.display().to_string())
        .args([found, corpus].map(|dir| dir.display().to_string()))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(format!("-max_total_time={seconds}"))
        .words("-timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=64 -verbosity=0 -print_final_stats=1")
        .run()
}
