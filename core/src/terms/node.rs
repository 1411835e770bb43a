//! Nodes: what they are like, and what is asked about them.

use alloc::vec::Vec;
use core::time::Duration;

use crate::{Address, Binding, Checkpoint, LogDescription, LogSettings, Properties, Unbind};

/// Bounds and habits of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// The most copies it keeps.
    pub messages_max: usize,
    /// The most bytes it keeps.
    pub bytes_max: usize,
    /// What happens to a message that finds it full.
    pub overflow: Overflow,
    /// Which messages it keeps.
    pub history: History,
    /// How often a message is delivered before it is dead-lettered.
    pub deliveries_max: u32,
    /// The longest time to live, from enqueueing.
    pub ttl_max: Option<Duration>,
    /// What its messages may ask for.
    pub durable: bool,
    /// Whether dead letters are kept, at `$dead/NAME`.
    pub dead_letters: bool,
    /// Deliver by priority, then by age; otherwise by age alone.
    pub priorities: bool,
    /// Whether only one consumer may be attached at a time.
    pub exclusive: bool,
    /// Deleted after it has been without consumers for this long.
    pub expires: Option<Duration>,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            messages_max: 100_000,
            bytes_max: 256 << 20,
            overflow: Overflow::Refuse,
            history: History::All,
            deliveries_max: 10,
            ttl_max: None,
            durable: true,
            dead_letters: true,
            priorities: true,
            exclusive: false,
            expires: None,
        }
    }
}

/// What happens to a message that finds its queue full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// It is refused: [`Condition::Full`](crate::Condition::Full).
    #[default]
    Refuse,
    /// The oldest available one makes room.
    DropOldest,
    /// Its producer, if it has an address, gets no credit until there is room; others are refused.
    PushBack,
}

/// Which messages a queue keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum History {
    /// All.
    #[default]
    All,
    /// The last this many.
    Last(usize),
    /// The last of each group; by address where there is no group.
    LastByKey,
}

/// A request about a node.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Manage {
    /// Makes a queue with these settings, or changes the settings of an existing one.
    Declare(Address, QueueSettings),
    /// Removes a queue or a log, and all its messages.
    Delete(Address),
    /// Removes all available messages.
    Purge(Address),
    /// Tells its counts and settings.
    Describe(Address),
    /// Makes the node, a queue or a log, follow a filter.
    Bind(Address, Binding),
    /// Makes it stop.
    Unbind(Address, Unbind),
    /// Makes a log with these settings, or changes the settings of an existing one.
    DeclareLog(Address, LogSettings),
    /// Removes the messages of a log, or of one partition of it, that stand before a position.
    Trim(Address, u64),
    /// Tells or moves a checkpoint of a log.
    Checkpoint(Checkpoint),
}

/// The answer to [`Manage`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Managed {
    /// Done. Of a purge: how many messages are gone.
    Done(u64),
    /// What a node is like.
    Description(alloc::boxed::Box<NodeDescription>),
    /// What a log is like.
    Log(alloc::boxed::Box<LogDescription>),
    /// Where a group goes on; `None`: it has no checkpoint.
    Checkpoint(Option<u64>),
}

/// What a node is like.
#[derive(Clone, Debug)]
pub struct NodeDescription {
    /// Its address.
    pub address: Address,
    /// Its settings.
    pub settings: QueueSettings,
    /// What it follows.
    pub bindings: Vec<Binding>,
    /// Messages that may be delivered now.
    pub available: u64,
    /// Messages that are held by a consumer.
    pub held: u64,
    /// Messages that wait for their time.
    pub scheduled: u64,
    /// Bytes charged to it.
    pub bytes: u64,
    /// Attached consumers.
    pub consumers: u32,
    /// Anything else that the endpoint tells.
    pub extra: Properties,
}

impl NodeDescription {
    /// The description of an empty node.
    pub const fn new(address: Address, settings: QueueSettings) -> Self {
        Self {
            address,
            settings,
            bindings: Vec::new(),
            available: 0,
            held: 0,
            scheduled: 0,
            bytes: 0,
            consumers: 0,
            extra: Properties::EMPTY,
        }
    }
}
