//! Queues that the configuration declares: `[[queue]]`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use roadbed::broker::Settings;
use roadbed::{Address, Binding, Broker, Client, Filter, Manage, Open, Overflow, Qos, QueueSettings};
use serde::{Deserialize, Serialize};

use crate::error::{Failure, Result};

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

impl Queue {
    fn address(&self) -> Result<Address> {
        let address = Address::new(format!("queues/{}", self.name)).ok().filter(|address| address.queue().is_some());
        address.ok_or_else(|| Failure::usage(format!("[[queue]] name = {:?} is no name of a queue", self.name)))
    }

    fn bindings(&self) -> Result<Vec<Binding>> {
        let binding = |filter: &String| match Filter::new(filter.as_str()) {
            Ok(filter) => Ok(Binding::new(filter, Qos::ExactlyOnce)),
            Err(error) => Err(Failure::usage(format!("[[queue]] {}: the filter {filter:?}: {error}", self.name))),
        };
        self.filters.iter().map(binding).collect()
    }

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

/// Says what of the queues is wrong before anything is opened.
///
/// # Errors
/// A name or a filter is not legal, or a queue is there twice.
pub(crate) fn check(queues: &[Queue]) -> Result {
    let mut names = BTreeSet::new();
    for queue in queues {
        queue.address()?;
        queue.bindings()?;
        if !names.insert(&queue.name) {
            return Err(Failure::usage(format!("[[queue]] name = {:?} is there twice", queue.name)));
        }
    }
    Ok(())
}

/// The broker's settings with what the queues say of storing.
pub(crate) fn settings(queues: &[Queue], mut broker: Settings) -> Settings {
    let on_request = queues.iter().filter(|queue| queue.store == Policy::OnRequest);
    broker.store_on_request.extend(on_request.map(|queue| format!("queues/{}", queue.name)));
    broker
}

/// Makes the queues, or changes those that are there; what else they follow, they go on to follow.
///
/// # Errors
/// The broker refuses one.
pub(crate) async fn declare(queues: &[Queue], broker: &Broker) -> Result {
    if queues.is_empty() {
        return Ok(());
    }
    let client = Client::open(Arc::new(broker.clone()), Open::default()).await?;
    for queue in queues {
        let address = queue.address()?;
        let refused = |error: roadbed::Error| Failure::usage(format!("[[queue]] {}: {error}", queue.name));
        let settings = queue.settings(broker.settings());
        client.session().manage(Manage::Declare(address.clone(), settings)).await.map_err(refused)?;
        for binding in queue.bindings()? {
            client.session().manage(Manage::Bind(address.clone(), binding)).await.map_err(refused)?;
        }
    }
    Ok(client.close().await?)
}

#[cfg(test)]
mod tests {
    use crate::Config;

    fn refused(text: &str) -> String {
        let config = Config::parse(text, "roadbed.toml").expect("it is legal TOML");
        super::check(&config.queues).expect_err("it is not in order").to_string()
    }

    #[test]
    fn what_is_wrong_with_a_queue_is_said_by_its_name() {
        assert!(refused("[[queue]]\nname = \"a/+\"").contains("\"a/+\" is no name"));
        assert!(refused("[[queue]]\nname = \"a\"\nfilters = [\"x/#/y\"]").contains("a: the filter \"x/#/y\""));
        assert!(refused("[[queue]]\nname = \"a\"\n[[queue]]\nname = \"a\"").contains("twice"));
    }
}
