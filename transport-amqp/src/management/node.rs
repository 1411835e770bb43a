//! Queues as maps.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use roadbed_core::{Address, History, NodeDescription, Overflow, QueueSettings, Result, Value as CoreValue};
use serde_amqp::Value;

use super::binding::{binding_map, bindings};
use super::map::number;
use super::{Map, invalid};

const OVERFLOW: [(&str, Overflow); 3] =
    [("refuse", Overflow::Refuse), ("drop-oldest", Overflow::DropOldest), ("push-back", Overflow::PushBack)];

/// The settings that a map names; the others stay as they are.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Changes {
    messages_max: Option<usize>,
    bytes_max: Option<usize>,
    overflow: Option<Overflow>,
    history: Option<History>,
    deliveries_max: Option<u32>,
    /// Zero: none.
    ttl_max_ms: Option<u64>,
    durable: Option<bool>,
    dead_letters: Option<bool>,
    priorities: Option<bool>,
    exclusive: Option<bool>,
    /// Zero: never.
    expiry_ms: Option<u64>,
}

impl Changes {
    pub(super) fn read(map: &mut Map) -> Result<Self> {
        Ok(Self {
            messages_max: map.number("messages_max")?,
            bytes_max: map.number("bytes_max")?,
            overflow: overflow(map)?,
            history: history(map)?,
            deliveries_max: map.number("deliveries_max")?,
            ttl_max_ms: map.number("ttl_max_ms")?,
            durable: map.flag("durable")?,
            dead_letters: map.flag("dead_letters")?,
            priorities: map.flag("priorities")?,
            exclusive: map.flag("exclusive")?,
            expiry_ms: map.number("expiry_ms")?,
        })
    }

    /// `old` with the changes.
    pub(crate) fn over(&self, old: &QueueSettings) -> QueueSettings {
        let time = |millis: Option<u64>, old| match millis {
            None => old,
            Some(millis) => (millis > 0).then(|| Duration::from_millis(millis)),
        };
        QueueSettings {
            messages_max: self.messages_max.unwrap_or(old.messages_max),
            bytes_max: self.bytes_max.unwrap_or(old.bytes_max),
            overflow: self.overflow.unwrap_or(old.overflow),
            history: self.history.unwrap_or(old.history),
            deliveries_max: self.deliveries_max.unwrap_or(old.deliveries_max),
            ttl_max: time(self.ttl_max_ms, old.ttl_max),
            durable: self.durable.unwrap_or(old.durable),
            dead_letters: self.dead_letters.unwrap_or(old.dead_letters),
            priorities: self.priorities.unwrap_or(old.priorities),
            exclusive: self.exclusive.unwrap_or(old.exclusive),
            expires: time(self.expiry_ms, old.expires),
        }
    }
}

/// The map of a queue's settings.
pub(crate) fn settings_map(settings: &QueueSettings) -> Map {
    let mut map = Map::default();
    let overflow = OVERFLOW.iter().find(|(_, known)| *known == settings.overflow).map_or("", |(name, _)| name);
    let history = match settings.history {
        History::All => Value::from("all"),
        History::LastByKey => Value::from("last-by-key"),
        History::Last(count) => Value::from(count as u64),
    };
    map.set("messages_max", settings.messages_max as u64).set("bytes_max", settings.bytes_max as u64);
    map.set("overflow", overflow).set("history", history).set("deliveries_max", settings.deliveries_max);
    map.set("ttl_max_ms", millis(settings.ttl_max)).set("expiry_ms", millis(settings.expires));
    map.set("durable", settings.durable).set("dead_letters", settings.dead_letters);
    map.set("priorities", settings.priorities).set("exclusive", settings.exclusive);
    map
}

/// The map of what a node is like.
pub(crate) fn description_map(node: &NodeDescription) -> Map {
    let mut map = settings_map(&node.settings);
    let filters: Vec<Value> = node.bindings.iter().map(|binding| binding_map(binding).into()).collect();
    map.set("address", node.address.as_str()).set("filters", Value::List(filters));
    map.set("available", node.available).set("held", node.held).set("scheduled", node.scheduled);
    map.set("bytes", node.bytes).set("consumers", node.consumers);
    let mut extra = Map::default();
    for (name, value) in node.extra.iter() {
        extra.set(name, simple(value));
    }
    map.set("extra", extra);
    map
}

/// What a node is like, by its map.
///
/// # Errors
/// If it says something that is not legal.
pub(crate) fn description(body: Value) -> Result<NodeDescription> {
    let mut map = Map::read(body)?;
    let address = map.text("address")?.ok_or_else(|| invalid("address is missing"))?;
    let address = Address::new(&*address).map_err(invalid)?;
    let mut node = NodeDescription::new(address, Changes::read(&mut map)?.over(&QueueSettings::default()));
    node.bindings = bindings(map.take("filters"))?;
    node.available = map.number("available")?.unwrap_or_default();
    node.held = map.number("held")?.unwrap_or_default();
    node.scheduled = map.number("scheduled")?.unwrap_or_default();
    node.bytes = map.number("bytes")?.unwrap_or_default();
    node.consumers = map.number("consumers")?.unwrap_or_default();
    Ok(node)
}

fn overflow(map: &mut Map) -> Result<Option<Overflow>> {
    let Some(name) = map.text("overflow")? else { return Ok(None) };
    let found = OVERFLOW.iter().find(|(known, _)| *known == name);
    found.map(|(_, overflow)| Some(*overflow)).ok_or_else(|| invalid("overflow is refuse, drop-oldest or push-back"))
}

fn history(map: &mut Map) -> Result<Option<History>> {
    let wrong = || invalid("history is all, last-by-key, or how many messages are kept");
    let name = match map.take("history") {
        None => return Ok(None),
        Some(Value::String(name)) => name,
        Some(Value::Symbol(name)) => name.0,
        Some(value) => {
            let count = number(&value).and_then(|count| usize::try_from(count).ok()).ok_or_else(wrong)?;
            return Ok(Some(History::Last(count)));
        }
    };
    match &*name {
        "all" => Ok(Some(History::All)),
        "last-by-key" => Ok(Some(History::LastByKey)),
        _ => Err(wrong()),
    }
}

/// Zero: none.
fn millis(duration: Option<Duration>) -> u64 {
    duration.map_or(0, |duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn simple(value: &CoreValue) -> Value {
    match value {
        CoreValue::Bool(value) => Value::Bool(*value),
        CoreValue::Int(value) => Value::Long(*value),
        CoreValue::Uint(value) => Value::Ulong(*value),
        CoreValue::Float(value) => Value::from(*value),
        CoreValue::Text(text) => Value::String(String::from(&**text)),
        other => Value::String(other.to_string()),
    }
}
