//! Every cell of the conversion tables: a message with the field is written in the dialect, read again and compared; then every ordered pair of dialects.
//!
//! The trials are made of the same data as `docs/conversion.md`: `cell/DIALECT/FIELD` and `pair/DIALECT/DIALECT/FIELD`.
#![cfg_attr(not(all(feature = "mqtt", feature = "http", feature = "amqp")), allow(unused))]

#[cfg(all(feature = "mqtt", feature = "http", feature = "amqp"))]
mod dialects;
#[cfg(all(feature = "mqtt", feature = "http", feature = "amqp"))]
mod examples;
#[cfg(all(feature = "mqtt", feature = "http", feature = "amqp"))]
mod expect;
#[cfg(all(feature = "mqtt", feature = "http", feature = "amqp"))]
mod ledger;
#[cfg(all(feature = "mqtt", feature = "http", feature = "amqp"))]
mod page;
#[cfg(all(feature = "mqtt", feature = "http", feature = "amqp"))]
mod sidecar;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let mut trials: Vec<Trial> = Vec::new();
    #[cfg(all(feature = "mqtt", feature = "http", feature = "amqp"))]
    {
        trials.extend(expect::cells());
        trials.extend(expect::pairs());
        trials.extend(ledger::trials());
        trials.extend(sidecar::trials());
        trials.push(page::trial());
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
