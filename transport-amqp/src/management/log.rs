//! Logs as maps.

use alloc::string::String;
use alloc::vec::Vec;

use roadbed_core::{LogDescription, LogSettings, PartitionDescription, Result, Time};
use serde_amqp::Value;
use serde_amqp::primitives::Timestamp;

use super::Map;
use super::binding::binding_map;

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
