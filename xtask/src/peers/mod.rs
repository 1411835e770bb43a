//! The programs that tests and comparisons need and that are not ours. All are reached through one prefix, `target/peers`: a
//! Python environment, the root of `cargo install`, and in its `bin/` links to what Debian has.

mod tools;

use std::path::PathBuf;

use clap::Args;

use self::tools::Tool;
use crate::Result;
use crate::cmd::Cmd;
use crate::workspace::Workspace;

/// What to install.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Also what `bench --compare` and `bench --http` need
    #[arg(long)]
    compare: bool,
}

/// A purpose that tools are needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Building the fuzz targets: libFuzzer is C++.
    Compiler,
    /// The interoperability tests.
    Peers,
    /// Running the fuzz targets.
    CargoFuzz,
    /// Measuring the hub beside others.
    Compare,
}

const COMPILER: &[Tool] = &[Tool::debian("c++", "g++")];
const PEERS: &[Tool] = &[
    Tool::debian("mosquitto", "mosquitto"),
    Tool::debian("mosquitto_pub", "mosquitto-clients"),
    Tool::debian("mosquitto_sub", "mosquitto-clients"),
    Tool::debian("curl", "curl"),
    // The one in the usual place is a wrapper that runs as another user, with the packaged configuration.
    Tool::debian("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server"),
    Tool::debian("epmd", "erlang-base"),
    Tool::PythonVenv,
    // Proton is compiled on the spot, with what SCRAM takes.
    Tool::PythonHeaders,
    Tool::debian("pkg-config", "pkg-config"),
    Tool::file("/usr/include/sasl/sasl.h", "libsasl2-dev"),
    Tool::file("/usr/share/doc/libsasl2-modules", "libsasl2-modules"),
    Tool::Python { requirements: "xtask/peers/requirements.txt" },
    Tool::debian("node", "nodejs"),
    Tool::debian("npm", "npm"),
    Tool::Node { packages: &["rhea@3.0.5", "debug@4.4.3", "ms@2.1.3", "ws@8.18.3"] },
];
const CARGO_FUZZ: &[Tool] = &[Tool::Cargo { name: "cargo-fuzz", version: "0.13.2", locked: true }];
const COMPARE: &[Tool] = &[
    Tool::debian("mosquitto", "mosquitto"),
    Tool::debian("nats-server", "nats-server"),
    Tool::debian("nginx", "nginx-light"),
    Tool::debian("wrk", "wrk"),
    Tool::debian("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server"),
    Tool::PythonVenv,
    // Its own lock file names a version of a dependency that current compilers refuse.
    Tool::Cargo { name: "rumqttd", version: "0.20.0", locked: false },
];

impl Need {
    fn tools(self) -> &'static [Tool] {
        match self {
            Self::Compiler => COMPILER,
            Self::Peers => PEERS,
            Self::CargoFuzz => CARGO_FUZZ,
            Self::Compare => COMPARE,
        }
    }
}

/// `cargo xtask install`.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result {
    let mut needs = vec![Need::Compiler, Need::Peers, Need::CargoFuzz];
    needs.extend(options.compare.then_some(Need::Compare));
    ensure(workspace, &needs, true)
}

/// Where the tools are reached: tests get it as `ROADBED_PEERS`.
pub(crate) fn prefix(workspace: &Workspace) -> PathBuf {
    workspace.target.join("peers")
}

/// Makes sure that what is needed is there, and installs what is not if `install` is set or we are root.
///
/// # Errors
/// Something is missing and may not be installed: the error holds the commands to run. Or one of them failed.
pub(crate) fn ensure(workspace: &Workspace, needs: &[Need], install: bool) -> Result {
    let prefix = prefix(workspace);
    let mut missing: Vec<&Tool> = needs.iter().flat_map(|n| n.tools()).filter(|t| !t.present(&prefix)).collect();
    missing.dedup();
    let commands = tools::install(&missing, &prefix, root());
    if !commands.is_empty() && !install && !root() {
        return Err(refusal(&commands).into());
    }
    commands.iter().try_for_each(Cmd::run)?;
    for tool in needs.iter().flat_map(|n| n.tools()) {
        tool.finish(&prefix)?;
    }
    Ok(())
}

fn refusal(commands: &[Cmd]) -> String {
    let lines: String = commands.iter().map(|c| format!("\n  $ {c}")).collect();
    format!("something is not installed; `cargo xtask install` runs:{lines}")
}

fn root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}
