//! Queues that the configuration declares: `[[queue]]`.

use std::time::Duration;

use roadbed::broker::Settings;
use roadbed::{Address, Manage, Overflow, QueueSettings};
use serde::{Deserialize, Serialize};

use crate::nodes::Declared;

/// A queue that is there from the start. What is left out is as in `[broker]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Queue {
    /// Its name: the address is `queues/NAME`.
    pub name: String,
    /// Topics that it follows.
    #[serde(default)]
    pub filters: Vec<String>,
    /// Which of its messages are stored.
    #[serde(default)]
    pub store: Policy,
    /// Messages in it.
    pub messages_max: Option<usize>,
    /// Bytes in it.
    pub bytes_max: Option<usize>,
    /// What happens to a message that finds it full.
    #[serde(default)]
    pub overflow: WhenFull,
    /// Deliveries of a message before it is dead-lettered; 0: no bound.
    pub deliveries_max: Option<u32>,
    /// The longest time to live of a message, in seconds.
    pub ttl_seconds_max: Option<u64>,
    /// Whether dead letters are kept, at `$dead/NAME`.
    pub dead_letters: Option<bool>,
    /// Whether messages of a higher priority are delivered first.
    pub priorities: Option<bool>,
    /// Whether only one consumer may be attached at a time.
    #[serde(default)]
    pub exclusive: bool,
}

/// Which messages of a queue are stored, and survive a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Policy {
    /// Those that are sent at least once or exactly once, and those that ask for it.
    #[default]
    AtLeastOnce,
    /// Those that ask for it.
    OnRequest,
    /// None; those that ask for it are refused.
    Never,
}

/// What happens to a message that finds its queue full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum WhenFull {
    /// It is refused.
    #[default]
    Refuse,
    /// The oldest available one makes room.
    DropOldest,
    /// Its producer, if it has an address, gets no credit until there is room; others are refused.
    PushBack,
}

impl Declared for Queue {
    const TABLE: &'static str = "queue";

    fn name(&self) -> &str {
        &self.name
    }

    fn filters(&self) -> &[String] {
        &self.filters
    }

    fn address(&self) -> Option<Address> {
        Address::new(format!("queues/{}", self.name)).ok().filter(|address| address.queue().is_some())
    }

    fn fault(&self) -> Option<String> {
        None
    }

    fn declaration(&self, address: Address, broker: &Settings) -> Manage {
        Manage::Declare(address, self.settings(broker))
    }
}

impl Queue {
    fn settings(&self, broker: &Settings) -> QueueSettings {
        let defaults = QueueSettings::default();
        QueueSettings {
            messages_max: self.messages_max.unwrap_or(broker.queue_messages_max),
            bytes_max: self.bytes_max.unwrap_or(broker.queue_bytes_max),
            overflow: match self.overflow {
                WhenFull::Refuse => Overflow::Refuse,
                WhenFull::DropOldest => Overflow::DropOldest,
                WhenFull::PushBack => Overflow::PushBack,
            },
            deliveries_max: self.deliveries_max.unwrap_or(broker.queue_deliveries_max),
            ttl_max: self.ttl_seconds_max.map(Duration::from_secs),
            durable: self.store != Policy::Never,
            dead_letters: self.dead_letters.unwrap_or(defaults.dead_letters),
            priorities: self.priorities.unwrap_or(defaults.priorities),
            exclusive: self.exclusive,
            ..defaults
        }
    }
}

/// The broker's settings with what the queues say of storing.
pub(crate) fn settings(queues: &[Queue], mut broker: Settings) -> Settings {
    let on_request = queues.iter().filter(|queue| queue.store == Policy::OnRequest);
    broker.store_on_request.extend(on_request.map(|queue| format!("queues/{}", queue.name)));
    broker
}
