//! Every law on the broker itself, bare and under layers: none is ignored.

use std::process::ExitCode;
use std::sync::Arc;

use roadbed_broker::{Broker, Level, MemoryStore, Settings};
use roadbed_conformance::{Arguments, Boxed, Fixture, World, ignored, run};
use roadbed_core::{AuthorizedLayer, Clock, Endpoint, LimitedLayer, ManualClock, MeteredLayer, Permissive, Time};
use tower_layer::Layer;

#[derive(Clone, Copy)]
struct Memory {
    name: &'static str,
    layered: bool,
    /// What is sent at least once is stored, and what waits is in the store alone.
    paged: bool,
}

const FIXTURES: [Memory; 3] = [
    Memory { name: "memory", layered: false, paged: false },
    Memory { name: "memory, metered and limited", layered: true, paged: false },
    Memory { name: "paged", layered: false, paged: true },
];

impl Fixture for Memory {
    fn name(&self) -> String {
        self.name.into()
    }

    fn world(&self) -> Boxed<World> {
        let Self { layered, paged, .. } = *self;
        Box::pin(async move {
            let clock = Arc::new(ManualClock::at(Time::from_millis(1_800_000_000_000)));
            let mut builder = Broker::builder().clock(clock.clone());
            if paged {
                let mut settings = Settings::default();
                settings.memory_bytes_max = 0;
                builder = builder.settings(settings).store(MemoryStore::at_level(Level::Fsynced));
            }
            let broker = builder.build().expect("a broker can be built");
            let endpoint: Arc<dyn Endpoint> = match layered {
                true => {
                    let limited = MeteredLayer::default().layer(LimitedLayer::default().layer(broker.clone()));
                    Arc::new(AuthorizedLayer::new(Arc::new(Permissive), Arc::default()).layer(limited))
                }
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
