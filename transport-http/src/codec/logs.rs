//! Logs, as JSON.

use std::collections::BTreeMap;

use roadbed_core::cloudevents::{read_rfc3339, rfc3339};
use roadbed_core::{LogDescription, LogSettings, PartitionDescription, Time};
use serde::{Deserialize, Serialize};

use super::batch::Item;
use super::nodes::{DocError, FilterDoc};

/// The body of `PUT /v1/logs/{name}`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogDoc {
    /// What the log follows; without it, what it follows stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) filters: Option<Vec<FilterDoc>>,
    /// Its bounds; a field that is not there has its default.
    #[serde(default)]
    pub(crate) log: LogSettingsDoc,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogSettingsDoc {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partitions: Option<u32>,
    /// 0: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retention_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes_max: Option<u64>,
}

/// What `GET /v1/logs/{name}` answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LogDescriptionDoc {
    address: String,
    filters: Vec<FilterDoc>,
    log: LogSettingsDoc,
    partitions: Vec<PartitionDoc>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PartitionDoc {
    partition: usize,
    first: u64,
    next: u64,
    bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_enqueued: Option<String>,
    readers: u32,
    groups: BTreeMap<String, u64>,
}

/// A checkpoint, told or set.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckpointDoc {
    /// Where the group goes on.
    pub(crate) next: u64,
    /// It may also go back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) force: bool,
}

/// What `GET /v1/logs/{name}/{partition}` answers: messages as in a page of a queue, and where to go on.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LogPage {
    pub(crate) messages: Vec<Item>,
    pub(crate) next: u64,
}

impl LogSettingsDoc {
    /// `old` with what the document names.
    pub(crate) fn over(&self, old: LogSettings) -> LogSettings {
        old.changed(self.partitions, self.retention_ms, self.bytes_max)
    }

    pub(crate) fn new(settings: &LogSettings) -> Self {
        let LogSettings { partitions, bytes_max, .. } = *settings;
        Self { partitions: Some(partitions), retention_ms: Some(settings.retention_ms()), bytes_max: Some(bytes_max) }
    }
}

impl LogDoc {
    /// What it is to follow, if it says so.
    pub(crate) fn bindings(&self) -> Result<Option<Vec<roadbed_core::Binding>>, DocError> {
        let binding = |filter: &FilterDoc| filter.binding(roadbed_core::Qos::ExactlyOnce);
        self.filters.as_ref().map(|filters| filters.iter().map(binding).collect()).transpose()
    }
}

impl LogDescriptionDoc {
    pub(crate) fn new(log: &LogDescription) -> Self {
        Self {
            address: log.address.as_str().to_owned(),
            filters: log.bindings.iter().map(FilterDoc::new).collect(),
            log: LogSettingsDoc::new(&log.settings),
            partitions: log.partitions.iter().enumerate().map(PartitionDoc::new).collect(),
        }
    }

    /// What it says; `None` if that is not legal.
    pub(crate) fn description(self) -> Option<LogDescription> {
        let binding = |filter: &FilterDoc| filter.binding(roadbed_core::Qos::ExactlyOnce).ok();
        Some(LogDescription {
            address: self.address.parse().ok()?,
            settings: self.log.over(LogSettings::default()),
            bindings: self.filters.iter().map(binding).collect::<Option<_>>()?,
            partitions: self.partitions.into_iter().map(PartitionDoc::description).collect(),
        })
    }
}

impl PartitionDoc {
    fn new((partition, found): (usize, &PartitionDescription)) -> Self {
        let PartitionDescription { first, next, bytes, readers, .. } = *found;
        let groups = found.groups.iter().map(|(group, position)| (group.to_string(), *position)).collect();
        Self { partition, first, next, bytes, last_enqueued: found.last_enqueued_at.map(text), readers, groups }
    }

    fn description(self) -> PartitionDescription {
        let Self { first, next, bytes, readers, .. } = self;
        let last_enqueued_at = self.last_enqueued.as_deref().and_then(time);
        let groups = self.groups.into_iter().map(|(group, position)| (group.into(), position)).collect();
        PartitionDescription { first, next, bytes, last_enqueued_at, readers, groups }
    }
}

fn time(text: &str) -> Option<Time> {
    read_rfc3339(text).and_then(|millis| u64::try_from(millis).ok()).map(Time::from_millis)
}

fn text(at: Time) -> String {
    rfc3339(i64::try_from(at.as_millis()).unwrap_or(i64::MAX))
}
