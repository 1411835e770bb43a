//! Logs as maps.

use alloc::string::String;
use alloc::vec::Vec;

use roadbed_core::{Address, Checkpoint, LogDescription, LogSettings, PartitionDescription, Result, Time};
use serde_amqp::Value;
use serde_amqp::primitives::Timestamp;

use super::binding::{binding_map, bindings};
use super::map::number;
use super::{Map, invalid};

/// The settings of a log that a map names; the others stay as they are.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct LogChanges {
    partitions: Option<u32>,
    /// Zero: as long as there is room.
    retention_ms: Option<u64>,
    bytes_max: Option<u64>,
}

impl LogChanges {
    pub(super) fn read(map: &mut Map) -> Result<Self> {
        let (partitions, retention_ms) = (map.number("partitions")?, map.number("retention_ms")?);
        Ok(Self { partitions, retention_ms, bytes_max: map.number("bytes_max")? })
    }

    /// `old` with the changes.
    pub(crate) fn over(&self, old: &LogSettings) -> LogSettings {
        old.changed(self.partitions, self.retention_ms, self.bytes_max)
    }
}

/// The map that gives a log its settings.
pub(crate) fn log_settings_map(settings: &LogSettings) -> Map {
    let mut map = Map::default();
    map.set("partitions", settings.partitions).set("retention_ms", settings.retention_ms());
    map.set("bytes_max", settings.bytes_max);
    map
}

/// The map that asks for the checkpoint of a group, or sets it.
pub(crate) fn checkpoint_map(asked: &Checkpoint) -> Map {
    let mut map = Map::default();
    map.set("group", &*asked.group).set("force", asked.force);
    if let Some(position) = asked.set {
        map.set("next", position);
    }
    map
}

/// What is asked of the checkpoint of a group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CheckpointOf {
    group: String,
    set: Option<u64>,
    force: bool,
}

impl CheckpointOf {
    pub(super) fn read(map: &mut Map) -> Result<Self> {
        let group = map.text("group")?.filter(|group| !group.is_empty());
        let group = group.ok_or_else(|| invalid("group is missing"))?;
        Ok(Self { group, set: map.number("next")?, force: map.flag("force")?.unwrap_or_default() })
    }

    pub(crate) fn of(self, partition: Address) -> Checkpoint {
        Checkpoint { partition, group: self.group.into(), set: self.set, force: self.force }
    }
}

/// What a map says a log is like.
pub(crate) fn log_description(mut map: Map) -> Result<LogDescription> {
    let address = map.text("address")?.ok_or_else(|| invalid("address is missing"))?;
    let address = Address::new(&*address).map_err(invalid)?;
    let count = map.number("partition_count")?;
    let settings = LogSettings::default().changed(count, map.number("retention_ms")?, map.number("bytes_max")?);
    let bindings = bindings(map.take("filters"))?;
    let partitions = match map.take("partitions") {
        Some(Value::List(partitions)) => partitions.into_iter().map(partition).collect::<Result<_>>()?,
        _ => return Err(invalid("partitions is a list")),
    };
    Ok(LogDescription { address, settings, bindings, partitions })
}

fn partition(value: Value) -> Result<PartitionDescription> {
    let mut map = Map::read(value)?;
    let last = match map.take("last_enqueued") {
        Some(Value::Timestamp(at)) => u64::try_from(at.milliseconds()).ok().map(Time::from_millis),
        _ => None,
    };
    let groups = match map.take("groups") {
        Some(Value::Map(groups)) => groups.into_iter().filter_map(|(name, position)| match name {
            Value::String(name) => Some((name.into(), number(&position)?)),
            _ => None,
        }),
        _ => return Err(invalid("groups is a map")),
    };
    Ok(PartitionDescription {
        first: map.number("first")?.unwrap_or_default(),
        next: map.number("next")?.unwrap_or_default(),
        bytes: map.number("bytes")?.unwrap_or_default(),
        last_enqueued_at: last,
        readers: map.number("readers")?.unwrap_or_default(),
        groups: groups.collect(),
    })
}

/// The map of what a log is like.
pub(crate) fn log_map(log: &LogDescription) -> Map {
    let mut map = Map::default();
    let (retention, LogSettings { partitions, bytes_max, .. }) = (log.settings.retention_ms(), log.settings);
    let filters: Vec<Value> = log.bindings.iter().map(|binding| binding_map(binding).into()).collect();
    let found: Vec<Value> = log.partitions.iter().map(|partition| partition_map(partition).into()).collect();
    map.set("address", log.address.as_str()).set("partition_count", partitions).set("retention_ms", retention);
    map.set("bytes_max", bytes_max).set("filters", Value::List(filters)).set("partitions", Value::List(found));
    map
}

fn partition_map(partition: &PartitionDescription) -> Map {
    let (mut map, mut groups) = (Map::default(), Map::default());
    for (group, position) in &partition.groups {
        groups.set(group, *position);
    }
    map.set("first", partition.first).set("next", partition.next).set("bytes", partition.bytes);
    map.set("readers", partition.readers).set("groups", groups);
    if let Some(at) = partition.last_enqueued_at {
        map.set("last_enqueued", Value::Timestamp(Timestamp::from_milliseconds(millis(at))));
    }
    map
}

fn millis(at: Time) -> i64 {
    i64::try_from(at.as_millis()).unwrap_or(i64::MAX)
}

/// Whether a node with this name is a log.
pub(crate) fn is_log(name: &str, kind: &str) -> bool {
    kind == "log" || name.starts_with("logs/")
}

/// The words for a type that is not known.
pub(crate) fn unknown_type(kind: &str) -> String {
    alloc::format!("there is no type {kind}: queue and log")
}
