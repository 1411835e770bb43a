//! Runs laws as trials.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};
use tokio::runtime::{Builder, Runtime};

use crate::law::Law;
use crate::laws::laws;
use crate::world::{Fixture, QUIET_PAUSED, QUIET_REAL, set_quiet};

/// How long a law may take before it counts as broken.
const LAW_TIME_MAX: Duration = Duration::from_secs(300);

/// Runs every law on every fixture, as the command line says, and reports as Rust's own tests do.
///
/// ```no_run
/// # use roadbed_conformance::{Boxed, Fixture, World};
/// # struct Memory;
/// # impl Fixture for Memory { fn name(&self) -> String { String::new() } fn world(&self) -> Boxed<World> { unimplemented!() } }
/// fn main() -> std::process::ExitCode {
///     roadbed_conformance::run(vec![Box::new(Memory)], &roadbed_conformance::Arguments::from_args())
/// }
/// ```
pub fn run(fixtures: Vec<Box<dyn Fixture>>, arguments: &Arguments) -> ExitCode {
    let trials = fixtures.into_iter().flat_map(|fixture| trials(&Arc::from(fixture))).collect();
    libtest_mimic::run(arguments, trials).exit_code()
}

/// Every law as a trial named `fixture::law`. One that does not apply is ignored, and its kind says why.
pub fn trials(fixture: &Arc<dyn Fixture>) -> Vec<Trial> {
    let ruled_out = judge(&**fixture);
    let all = laws().iter().zip(ruled_out);
    all.map(|(law, ruled_out)| trial(Arc::clone(fixture), law, ruled_out)).collect()
}

/// The laws that do not apply, a line each with the reason: to be kept as a reviewed snapshot.
pub fn ignored(fixture: &dyn Fixture) -> String {
    let lines = laws().iter().zip(judge(fixture));
    lines.filter_map(|(law, why)| why.map(|why| format!("{}: {why}\n", law.name))).collect()
}

/// Tries one law in a fresh world.
///
/// # Panics
/// If the endpoint breaks the law.
pub fn check(fixture: &dyn Fixture, law: &Law) {
    set_quiet(if fixture.paused() { QUIET_PAUSED } else { QUIET_REAL });
    runtime(fixture).block_on(async {
        let world = fixture.world().await;
        let tried = tokio::time::timeout(LAW_TIME_MAX, law.run(world)).await;
        assert!(tried.is_ok(), "{} does not come to an end", law.name);
    });
}

/// For every law, why it does not apply.
fn judge(fixture: &dyn Fixture) -> Vec<Option<String>> {
    runtime(fixture).block_on(async {
        let world = fixture.world().await;
        laws().iter().map(|law| fixture.ruled_out(law.name).or_else(|| law.lacks(&world))).collect()
    })
}

fn trial(fixture: Arc<dyn Fixture>, law: &'static Law, ruled_out: Option<String>) -> Trial {
    let name = format!("{}::{}", fixture.name(), law.name);
    match ruled_out {
        Some(why) => {
            let told = why.clone();
            Trial::test(name, move || Err(format!("does not apply: {told}").into()))
                .with_ignored_flag(true)
                .with_kind(why)
        }
        None => Trial::test(name, move || {
            check(&*fixture, law);
            Ok(())
        }),
    }
}

fn runtime(fixture: &dyn Fixture) -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().start_paused(fixture.paused()).build().expect("a runtime can be built")
}
