#![allow(unreachable_pub, clippy::print_stdout, clippy::print_stderr)] // a program: its public items are its own
//! Load generator for messaging hubs. See README.md.

mod amqp;
mod check;
mod floor;
mod http;
mod idle;
mod mqtt;
mod net;
mod persist;
mod probe;
mod publisher;
mod pubsub;
mod relay;
mod report;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    mode: Mode,
    /// A name for the run, put into its JSON line
    #[arg(long, global = true)]
    label: Option<String>,
}

#[derive(Subcommand)]
enum Mode {
    /// MQTT publishers and subscribers, at full speed or at a fixed rate
    Pubsub(pubsub::Opts),
    /// Many idle MQTT connections
    Idle(idle::Opts),
    /// MQTT QoS 1 into an offline session's queue, and the drain
    Persist(persist::Opts),
    /// AMQP 1.0 senders and receivers through queues
    Amqp(amqp::Opts),
    /// Many idle AMQP 1.0 links on one connection
    AmqpLinks(amqp::links::Opts),
    /// HTTP POST or polling over keep-alive connections
    Http(http::Opts),
    /// The least a broker can do: serves as the floor for `pubsub`
    Relay(relay::Opts),
    /// What system calls, copies and wake-ups cost here
    Floor,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.mode {
        Mode::Pubsub(o) => pubsub::run(o),
        Mode::Idle(o) => idle::run(o),
        Mode::Persist(o) => persist::run(o),
        Mode::Amqp(o) => amqp::run(o),
        Mode::AmqpLinks(o) => amqp::links::run(o),
        Mode::Http(o) => http::run(o),
        Mode::Relay(o) => relay::run(o).map(|()| serde_json::Value::Null),
        Mode::Floor => floor::run(),
    };
    match result {
        Ok(json) => {
            report::print(cli.label.as_deref(), json);
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("loadgen: {e}");
            ExitCode::FAILURE
        }
    }
}
