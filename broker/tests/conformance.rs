//! Every law on the broker itself, bare and under layers: none is ignored.

use std::process::ExitCode;
use std::sync::Arc;

use roadbed_broker::Broker;
use roadbed_conformance::{Arguments, Boxed, Fixture, World, ignored, run};
use roadbed_core::{Clock, Endpoint, LimitedLayer, ManualClock, MeteredLayer, Time};
use tower_layer::Layer;

#[derive(Clone, Copy)]
struct Memory {
    name: &'static str,
    layered: bool,
}

const FIXTURES: [Memory; 2] =
    [Memory { name: "memory", layered: false }, Memory { name: "memory, metered and limited", layered: true }];

impl Fixture for Memory {
    fn name(&self) -> String {
        self.name.into()
    }

    fn world(&self) -> Boxed<World> {
        let layered = self.layered;
        Box::pin(async move {
            let clock = Arc::new(ManualClock::at(Time::from_millis(1_800_000_000_000)));
            let broker = Broker::builder().clock(clock.clone()).build().expect("a broker can be built");
            let endpoint: Arc<dyn Endpoint> = match layered {
                true => Arc::new(MeteredLayer::default().layer(LimitedLayer::default().layer(broker.clone()))),
                false => Arc::new(broker.clone()),
            };
            let due = clock.clone();
            World::new(endpoint).clock(clock).on_advance(move || {
                broker.handle_timeout(due.now());
            })
        })
    }

    fn paused(&self) -> bool {
        true
    }
}

fn main() -> ExitCode {
    for fixture in FIXTURES {
        assert_eq!(ignored(&fixture), "", "every law runs on the broker");
    }
    run(FIXTURES.map(|fixture| Box::new(fixture) as Box<dyn Fixture>).into(), &Arguments::from_args())
}
