//! The stages of `cargo xtask test`, cheap ones first. All share one target folder and one set of flags, so that nothing is
//! built twice: warnings are denied by arguments of clippy and rustdoc, never by RUSTFLAGS.

mod features;
mod no_std;

use clap::ValueEnum;

use crate::cmd::Cmd;
use crate::peers::{self, Need};
use crate::workspace::Workspace;
use crate::{Result, fuzz, policy, torture};

/// Seconds that each fuzz target gets.
const FUZZ_SECONDS: u64 = 10;

/// A stage; the order here is the order they run in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stage {
    /// The sources are formatted
    Fmt,
    /// Licences, sources and banned crates, as deny.toml has them
    Deny,
    /// Clippy over every target with every feature
    Clippy,
    /// The documentation builds, and its links resolve
    Doc,
    /// Each published crate with no feature and with each one alone
    Features,
    /// The core and the MQTT machine link without the standard library
    NoStd,
    /// Unit, property, conformance and simulation tests
    Unit,
    /// The examples in the documentation
    Doctest,
    /// Kills, power cuts and turned bits, briefly; and faults that must be noticed
    Torture,
    /// Tests against other implementations
    Interop,
    /// Every fuzz target for ten seconds
    Fuzz,
    /// Every benchmark once, without measuring
    Bench,
}

impl Stage {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied()
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Deny => "deny",
            Self::Clippy => "clippy",
            Self::Doc => "doc",
            Self::Features => "features",
            Self::NoStd => "no-std",
            Self::Unit => "unit",
            Self::Doctest => "doctest",
            Self::Torture => "torture",
            Self::Interop => "interop",
            Self::Fuzz => "fuzz",
            Self::Bench => "bench",
        }
    }

    /// What has to be installed before it can run.
    pub(crate) fn needs(self) -> &'static [Need] {
        match self {
            Self::Clippy | Self::Doc | Self::Unit | Self::Doctest | Self::Torture | Self::Bench => &[Need::Compiler],
            Self::Interop => &[Need::Compiler, Need::Peers],
            Self::Fuzz => &[Need::Compiler, Need::CargoFuzz],
            Self::Fmt | Self::Deny | Self::Features | Self::NoStd => &[],
        }
    }

    pub(crate) fn run(self, workspace: &Workspace) -> Result {
        match self {
            Self::Fmt => Cmd::cargo("fmt --all --check").run(),
            Self::Deny => policy::check(),
            Self::Clippy => Cmd::cargo("clippy --workspace --all-targets --all-features -- -D warnings").run(),
            Self::Doc => {
                Cmd::cargo("doc --workspace --no-deps --all-features").env("RUSTDOCFLAGS", "-D warnings").run()
            }
            Self::Features => features::run(workspace),
            Self::NoStd => no_std::run(workspace),
            Self::Unit => Cmd::cargo("test --workspace --all-features --tests --examples").run(),
            Self::Doctest => Cmd::cargo("test --workspace --all-features --doc").run(),
            Self::Torture => torture::briefly(workspace),
            Self::Interop => interop(workspace),
            Self::Fuzz => fuzz::all(workspace, FUZZ_SECONDS),
            Self::Bench => Cmd::cargo("test --workspace --all-features --bench *").run(),
        }
    }
}

/// The test targets named `interop`: their tests are ignored in a plain `cargo test`, which has no peers to offer.
fn interop(workspace: &Workspace) -> Result {
    Cmd::cargo("test --workspace --all-features --test interop -- --include-ignored")
        .env("ROADBED_PEERS", peers::prefix(workspace).display().to_string())
        .run()
}
