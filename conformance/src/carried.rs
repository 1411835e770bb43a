//! Fixtures for transports: `connect(serve(inner))` over carriers, once or several times in a row.

use std::fmt;
use std::sync::Arc;

use roadbed_core::Endpoint;

use crate::faults::{Faults, Split};
use crate::world::{Boxed, Fixture, World};

/// A fixture whose endpoint under test is reached over a transport.
///
/// ```
/// use std::sync::Arc;
/// use roadbed_conformance::{Carried, Faults, Split, World};
/// # use roadbed_core::Endpoint;
/// # fn broker() -> World { unimplemented!() }
/// # struct Mine; impl Mine { fn serve(_: Arc<dyn Endpoint>, _: roadbed_conformance::Listener) {} fn connect(_: roadbed_conformance::Dialer) -> Arc<dyn Endpoint> { unimplemented!() } }
/// async fn over_a_pipe(inner: Arc<dyn Endpoint>, faults: Faults) -> Arc<dyn Endpoint> {
///     let (dialer, listener) = faults.listen();
///     Mine::serve(inner, listener);
///     Mine::connect(dialer)
/// }
///
/// let whole = Carried::new("mine", broker, over_a_pipe);
/// let split = Carried::new("mine, byte by byte", broker, over_a_pipe).split(Split::EveryByte);
/// let twice = Carried::new("mine, twice in a row", broker, over_a_pipe).hops(2);
/// ```
pub struct Carried {
    name: String,
    inner: Box<dyn Fn() -> World + Send + Sync>,
    way: Way,
    split: Split,
    hops: usize,
    paused: bool,
    ruled_out: RuledOut,
}

type Way = Arc<dyn Fn(Arc<dyn Endpoint>, Faults) -> Boxed<Arc<dyn Endpoint>> + Send + Sync>;
type RuledOut = fn(&str) -> Option<&'static str>;

impl Carried {
    /// A fixture in memory, in paused time. `inner` makes the world of the inner endpoint; `way` serves an endpoint and connects
    /// to it, over carriers of the faults that it is given.
    pub fn new<F>(
        name: &str,
        inner: impl Fn() -> World + Send + Sync + 'static,
        way: impl Fn(Arc<dyn Endpoint>, Faults) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Arc<dyn Endpoint>> + Send + 'static,
    {
        let way: Way = Arc::new(move |inner, faults| Box::pin(way(inner, faults)));
        let inner = Box::new(inner);
        Self { name: name.into(), inner, way, split: Split::None, hops: 1, paused: true, ruled_out: |_| None }
    }

    /// Splits all reads and writes.
    #[must_use]
    pub fn split(mut self, split: Split) -> Self {
        self.split = split;
        self
    }

    /// Goes over this many transports in a row.
    #[must_use]
    pub fn hops(mut self, hops: usize) -> Self {
        self.hops = hops;
        self
    }

    /// Runs in real time: for carriers that are not in memory.
    #[must_use]
    pub fn real_time(mut self) -> Self {
        self.paused = false;
        self
    }

    /// Rules out laws by name, with the reason and the section of the standard, beyond what the capabilities say.
    #[must_use]
    pub fn rule_out(mut self, ruled_out: RuledOut) -> Self {
        self.ruled_out = ruled_out;
        self
    }
}

impl Fixture for Carried {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn world(&self) -> Boxed<World> {
        let (world, way, hops, faults) = ((self.inner)(), Arc::clone(&self.way), self.hops, Faults::new());
        faults.split(self.split);
        Box::pin(async move {
            let mut endpoint = world.inner();
            for _ in 0..hops {
                endpoint = way(endpoint, faults.clone()).await;
            }
            world.reached_by(endpoint, faults)
        })
    }

    fn paused(&self) -> bool {
        self.paused
    }

    fn ruled_out(&self, law: &str) -> Option<String> {
        (self.ruled_out)(law).map(Into::into)
    }
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carried").field("name", &self.name).field("split", &self.split).finish_non_exhaustive()
    }
}
