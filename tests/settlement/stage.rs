//! The broker behind the socket, and a look at what became of its copies.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use roadbed::settlement::Decision;
use roadbed::{
    Address, Binding, Checkpoint, Clock, Condition, ConsumerTerms, Delivery, Endpoint, Grant, LogSettings, Manage,
    Managed, Message, Mode, NodeDescription, Open, Origin, Qos, QueueSettings, Sender, Session, SystemClock, Time,
    Value,
};
use roadbed_broker::{Broker, Settings};
use tokio::task::JoinHandle;

use crate::Result;
use crate::tell::Context as _;

/// The queue that most cells are about.
pub(crate) const QUEUE: &str = "queues/q";
/// The log of the trials, and the group that reads it.
pub(crate) const LOG: &str = "logs/l";
pub(crate) const GROUP: &str = "g";

/// The system's clock, moved forward by hand.
#[derive(Debug, Default)]
pub(crate) struct ShiftedClock {
    system: SystemClock,
    shift_ms: AtomicU64,
}

impl Clock for ShiftedClock {
    fn now(&self) -> Time {
        self.system.now() + Duration::from_millis(self.shift_ms.load(Ordering::Relaxed))
    }
}

/// A broker with an administrator's session on it.
pub(crate) struct Stage {
    pub(crate) broker: Broker,
    pub(crate) clock: Arc<ShiftedClock>,
    admin: Arc<dyn Session>,
    timers: JoinHandle<()>,
}

/// Where the copies of a queue are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Copies {
    pub(crate) available: u64,
    pub(crate) held: u64,
    pub(crate) dead: u64,
}

impl Copies {
    pub(crate) const GONE: Self = Self { available: 0, held: 0, dead: 0 };
    pub(crate) const AVAILABLE: Self = Self { available: 1, held: 0, dead: 0 };
    pub(crate) const HELD: Self = Self { available: 0, held: 1, dead: 0 };
    pub(crate) const DEAD: Self = Self { available: 0, held: 0, dead: 1 };
}

impl Stage {
    pub(crate) async fn new(settings: Settings) -> Result<Self> {
        let clock = Arc::new(ShiftedClock::default());
        let broker = Broker::builder().settings(settings).clock(clock.clone()).build().during("the broker")?;
        let origin = Arc::new(Origin { principal: "admin".into(), protocol: "memory" });
        let open = Open { origin, ..Open::default() };
        let admin = broker.open(open).await.during("the administrator's session")?.into();
        let timers = broker.spawn_timers();
        Ok(Self { broker, clock, admin, timers })
    }

    /// A broker with the queue, and one message in it if there is an assurance for it.
    pub(crate) async fn with_queue(settings: QueueSettings) -> Result<Self> {
        let stage = Self::new(Settings::default()).await?;
        stage.declare(QUEUE, settings).await?;
        Ok(stage)
    }

    pub(crate) fn endpoint(&self) -> Arc<dyn Endpoint> {
        Arc::new(self.broker.clone())
    }

    pub(crate) async fn declare(&self, queue: &str, settings: QueueSettings) -> Result {
        let declared = self.admin.manage(Manage::Declare(address(queue), settings)).await;
        declared.map(drop).during("declare")
    }

    /// A log of one partition, in which there are two messages.
    pub(crate) async fn with_log() -> Result<Self> {
        let stage = Self::new(Settings::default()).await?;
        let settings = LogSettings { partitions: 1, ..LogSettings::default() };
        stage.admin.manage(Manage::DeclareLog(address(LOG), settings)).await.during("declare")?;
        for payload in ["first", "second"] {
            stage.send(LOG, payload, Qos::AtLeastOnce).await?;
        }
        Ok(stage)
    }

    /// Waits until the checkpoint of the group is where it should be; without one, the group begins at 0.
    pub(crate) async fn reaches(&self, expected: u64) -> Result {
        let mut seen = 0;
        for _ in 0..100 {
            let partition = address(&format!("{LOG}/0"));
            let asked = Checkpoint { partition, group: GROUP.into(), set: None, force: false };
            seen = match self.admin.manage(Manage::Checkpoint(asked)).await.during("ask")? {
                Managed::Checkpoint(position) => position.unwrap_or(0),
                other => return Err(format!("{other:?}")),
            };
            if seen == expected {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        crate::tell::same("the checkpoint", seen, expected)
    }

    /// Makes room in the queue.
    pub(crate) async fn purge(&self) -> Result {
        self.admin.manage(Manage::Purge(address(QUEUE))).await.map(drop).during("purge")
    }

    /// Makes a queue follow a filter.
    pub(crate) async fn bind(&self, queue: &str, filter: &str) -> Result {
        let filter = filter.parse().expect("the filters of the trials are legal");
        let bound = self.admin.manage(Manage::Bind(address(queue), Binding::new(filter, Qos::ExactlyOnce))).await;
        bound.map(drop).during("bind")
    }

    /// How often the broker has counted a decision; `None`: it has no counter of its own.
    pub(crate) fn counted(&self, decision: Decision) -> Option<u64> {
        let counters = self.broker.counters();
        Some(match decision {
            Decision::NoRoute => counters.unrouted,
            Decision::NotFound | Decision::Unauthorized | Decision::InvalidAddress => counters.refused_address,
            Decision::Oversized => counters.refused_too_large,
            Decision::Full => counters.refused_full,
            Decision::NotDurable => counters.refused_precondition,
            _ => return None,
        })
    }

    /// Sends from inside.
    pub(crate) async fn send(&self, to: &str, payload: &str, qos: Qos) -> Result {
        self.send_message(Message::new(address(to), payload.to_owned()), qos).await
    }

    pub(crate) async fn send_message(&self, message: Message, qos: Qos) -> Result {
        let (producer, _) = self.admin.producer(Default::default()).await.during("attach")?;
        let confirm = Sender::new(producer).send(message, qos).await.during("send")?;
        crate::tell::same("the confirm", confirm.outcome, roadbed::Outcome::Accepted)
    }

    /// Takes one message from inside, and keeps it until the end of the trial.
    pub(crate) async fn take(&self, queue: &str) -> Result<Delivery> {
        self.receive(ConsumerTerms::queue(address(queue))).await
    }

    /// Looks at the first message of a queue.
    pub(crate) async fn browse(&self, queue: &str) -> Result<Delivery> {
        self.receive(ConsumerTerms { mode: Mode::Browse, ..ConsumerTerms::queue(address(queue)) }).await
    }

    async fn receive(&self, terms: ConsumerTerms) -> Result<Delivery> {
        let (mut consumer, _) = self.admin.consumer(terms).await.during("attach")?;
        consumer.grant(Grant::credit(1));
        let mut into = Vec::new();
        let received = poll_fn(|cx| consumer.poll_receive(cx, &mut into, 1));
        let received = tokio::time::timeout(Duration::from_secs(5), received).await.during("receive")?;
        received.during("receive")?;
        std::mem::forget(consumer);
        into.pop().ok_or_else(|| "nothing was received".into())
    }

    pub(crate) async fn describe(&self, queue: &str) -> Option<NodeDescription> {
        match self.admin.manage(Manage::Describe(address(queue))).await {
            Ok(Managed::Description(node)) => Some(*node),
            _ => None,
        }
    }

    /// Where the copies are now.
    pub(crate) async fn copies(&self) -> Copies {
        let queue = self.describe(QUEUE).await;
        let dead = self.describe("$dead/q").await.map_or(0, |node| node.available);
        let (available, held) = queue.map_or((0, 0), |node| (node.available, node.held));
        Copies { available, held, dead }
    }

    /// Waits until the copies are where they should be; says where they are if they do not get there.
    pub(crate) async fn settles_as(&self, expected: Copies) -> Result {
        for _ in 0..200 {
            if self.copies().await == expected {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        crate::tell::same("the copies", self.copies().await, expected)
    }

    /// The delivery count of the first dead letter.
    pub(crate) async fn dead_count(&self) -> Result<Option<Value>> {
        let letter = self.browse("$dead/q").await?;
        Ok(letter.message.details().annotations.first("roadbed-count").cloned())
    }

    /// Why the first dead letter is one.
    pub(crate) async fn dead_reason(&self) -> Result<String> {
        let letter = self.browse("$dead/q").await?;
        let reason = letter.message.details().annotations.first("roadbed-reason").cloned();
        Ok(reason.and_then(|reason| reason.as_str().map(str::to_owned)).unwrap_or_default())
    }

    /// Moves the time, and does what is due then.
    pub(crate) fn advance(&self, by: Duration) {
        self.clock.shift_ms.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
        self.broker.handle_timeout(self.broker.now());
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.timers.abort();
    }
}

pub(crate) fn address(text: &str) -> Address {
    text.parse().expect("the addresses of the trials are legal")
}

/// The name of a condition as a dead letter has it.
pub(crate) fn named(condition: Condition) -> String {
    condition.as_str().to_owned()
}
