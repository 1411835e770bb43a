//! Every law on the broker itself: none is ignored.

use std::process::ExitCode;
use std::sync::Arc;

use roadbed_broker::Broker;
use roadbed_conformance::{Arguments, Boxed, Fixture, World, ignored, run};
use roadbed_core::{Clock, ManualClock, Time};

struct Memory;

impl Fixture for Memory {
    fn name(&self) -> String {
        "memory".into()
    }

    fn world(&self) -> Boxed<World> {
        Box::pin(async {
            let clock = Arc::new(ManualClock::at(Time::from_millis(1_800_000_000_000)));
            let broker = Broker::builder().clock(clock.clone()).build().expect("a broker can be built");
            let (ticked, due) = (broker.clone(), clock.clone());
            World::new(Arc::new(broker)).clock(clock).on_advance(move || {
                ticked.handle_timeout(due.now());
            })
        })
    }

    fn paused(&self) -> bool {
        true
    }
}

fn main() -> ExitCode {
    assert_eq!(ignored(&Memory), "", "every law runs on the broker");
    run(vec![Box::new(Memory)], &Arguments::from_args())
}
