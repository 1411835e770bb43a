//! Every cell of the settlement tables, brought about on a real socket.
//!
//! The trials are made of the same data as `docs/settlement.md`: `ingress/VARIANT/DECISION` and `egress/VARIANT/SIGNAL`, and `crash/..` for
//! the exactly-once table; `transaction/..` are one transaction over all protocols. The peer's side is written by hand, byte by byte, so that it shares no code with what it tests.

#[cfg(feature = "amqp")]
mod amqp;
mod deciding;
#[cfg(feature = "http")]
mod http;
#[cfg(all(feature = "mqtt", feature = "http", feature = "amqp"))]
mod index;
#[cfg(feature = "mqtt")]
mod mqtt;
mod stage;
mod tell;
#[cfg(all(feature = "mqtt", feature = "http", feature = "amqp"))]
mod transaction;
#[cfg(any(feature = "amqp", feature = "http", feature = "mqtt"))]
mod wrong;

use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};

/// What a trial says if it fails.
type Result<T = ()> = std::result::Result<T, String>;

fn main() -> ExitCode {
    let mut trials = Vec::new();
    #[cfg(feature = "mqtt")]
    trials.extend(mqtt::trials());
    #[cfg(feature = "http")]
    trials.extend(http::trials());
    #[cfg(feature = "amqp")]
    trials.extend(amqp::trials());
    #[cfg(all(feature = "mqtt", feature = "http", feature = "amqp"))]
    trials.extend(transaction::trials());
    #[cfg(all(feature = "mqtt", feature = "http", feature = "amqp"))]
    trials.extend(index::trials(&trials.iter().map(|trial| trial.name().to_owned()).collect()));
    let mut arguments = Arguments::from_args();
    // They mostly wait.
    arguments.test_threads.get_or_insert(8);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A trial on a runtime of its own.
fn trial<F>(name: String, test: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = Result>,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            match tokio::time::timeout(Duration::from_secs(60), test()).await {
                Ok(result) => result.map_err(Into::into),
                Err(_) => Err("it does not come to an end".into()),
            }
        })
    })
}
