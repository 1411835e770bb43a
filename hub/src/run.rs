//! From the command line to the command.

use std::process::ExitCode;

use clap::Parser;
use roadbed::tls::make::{Make, make};

use crate::access::Access;
use crate::cli::{self, Cli, Command};
use crate::error::{Failure, Result};
use crate::output::say;
use crate::{Config, auth, demo, log, receive, roads, send, serve, store};

/// Runs the command that the command line names.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match log::start(cli.log.as_deref()).and_then(|()| run(&cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            failure.kind().into()
        }
    }
}

fn run(command: &Command) -> Result {
    match command {
        Command::Serve(options) => block_on(serve::run(options)),
        Command::Send(options) => block_on(send::run(options)),
        Command::Receive(options) => block_on(receive::run(options)),
        Command::Demo(options) => block_on(demo::run(options)),
        Command::Config(options) => config(options),
        Command::Hash(options) => hash(options),
        Command::Store(options) => store::run(options),
        Command::User(options) => auth::user(options),
        Command::Tls(options) => certificates(options),
    }
}

fn block_on(command: impl Future<Output = Result>) -> Result {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::unavailable(format!("cannot start: {error}")))?;
    let result = runtime.block_on(command);
    // A read of standard input cannot be interrupted: do not wait for it.
    runtime.shutdown_background();
    result
}

fn config(options: &cli::Config) -> Result {
    match &options.check {
        None => say(Config::COMMENTED.trim_end()),
        Some(path) => {
            Access::check(&Config::load(path)?)?;
            say(format_args!("{} is in order", path.display()))
        }
    }
}

fn certificates(options: &cli::Tls) -> Result {
    let cli::TlsCommand::Make { dir, server, no_server, client, force } = &options.command;
    let mut what = Make { force: *force, ..Make::default() };
    if *no_server || !server.is_empty() {
        what.server_names.clone_from(server);
    }
    if !client.is_empty() {
        what.clients.clone_from(client);
    }
    if let Some(name) =
        what.clients.iter().find(|name| name.contains(['/', '\\']) || matches!(&***name, "ca" | "server"))
    {
        return Err(Failure::usage(format!("`{name}` cannot be the name of a client's files")));
    }
    for path in make(dir, &what).map_err(roads::failure)? {
        say(path.display())?;
    }
    Ok(())
}

fn hash(options: &cli::Hash) -> Result {
    let password = auth::password_of(&options.name)?;
    let line = auth::line(&options.name, password.as_bytes(), options.scram.then_some(options.iterations));
    say(line.map_err(|error| Failure::unavailable(format!("cannot hash a password: {error}")))?)
}
