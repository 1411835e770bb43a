//! `cargo xtask bench`: criterion's benchmarks, or the hub measured beside its peers.

use clap::Args;

use crate::Result;
use crate::cmd::Cmd;
use crate::peers::{self, Need};
use crate::workspace::Workspace;

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The hub beside mosquitto, rumqttd and nats-server: CPU per delivered message
    #[arg(long)]
    compare: bool,
    /// The hub beside nginx: CPU per HTTP request
    #[arg(long)]
    http: bool,
    /// AMQP through the hub beside its MQTT and beside RabbitMQ: CPU per delivered message
    #[arg(long)]
    amqp: bool,
    /// The store: beside nats-server, beside the hub in memory, in bytes on the disk, and reopening beside redb
    #[arg(long)]
    store: bool,
    /// Install the peers; as root this is done in any case
    #[arg(long)]
    install: bool,
    /// Passed on: to criterion, or to the script that compares
    #[arg(last = true)]
    args: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result {
    if !options.compare && !options.http && !options.amqp && !options.store {
        return Cmd::cargo("bench -p roadbed-benches --").args(&options.args).run();
    }
    peers::ensure(workspace, &[Need::Compare], options.install)?;
    Cmd::cargo("build --release -p roadbed-hub -p loadgen").run()?;
    if options.compare {
        compare(workspace, "benches/loadgen/compare.py", "serve --memory --mqtt 127.0.0.1:18830", &options.args)?;
    }
    if options.http {
        compare(workspace, "benches/http_compare.py", "serve --memory --http 127.0.0.1:18840", &options.args)?;
    }
    if options.amqp {
        let serve = "serve --memory --mqtt 127.0.0.1:18850 --amqp 127.0.0.1:18851";
        compare(workspace, "benches/amqp_compare.py", serve, &options.args)?;
    }
    if options.store {
        store(workspace, &options.args)?;
    }
    Ok(())
}

/// The script starts hubs itself, with folders of their own beside what was built: a folder for temporary files may have no disk.
fn store(workspace: &Workspace, args: &[String]) -> Result {
    Cmd::cargo("build --release -p roadbed-benches --example redb").run()?;
    let release = workspace.target.join("release");
    let built = |name: &str| release.join(name).display().to_string();
    Cmd::new("python3")
        .args(["benches/store_compare.py", "--roadbed", &built("roadbed"), "--redb", &built("examples/redb")])
        .args(["--data", &workspace.target.display().to_string()])
        .args(args)
        .env("LOADGEN", built("loadgen"))
        .path(&peers::prefix(workspace).join("bin"))
        .run()
}

fn compare(workspace: &Workspace, script: &str, serve: &str, args: &[String]) -> Result {
    let release = workspace.target.join("release");
    Cmd::new("python3")
        .args([script, "--hub", &format!("{} {serve}", release.join("roadbed").display())])
        .args(args)
        .env("LOADGEN", release.join("loadgen").display().to_string())
        .path(&peers::prefix(workspace).join("bin"))
        .run()
}
