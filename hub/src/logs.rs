//! Logs that the configuration names: `[[log]]`.

use std::time::Duration;

use roadbed::broker::Settings;
use roadbed::{Address, LogSettings, Manage};
use serde::{Deserialize, Serialize};

use crate::nodes::Declared;

/// A log that exists from the start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Log {
    /// It is at `logs/NAME`.
    pub name: String,
    /// Into how many partitions its messages are divided.
    pub partitions: u32,
    /// How long a message is kept at least, in seconds; 0: as long as there is room.
    pub retention_seconds: u64,
    /// How many bytes of each partition are kept at least.
    pub bytes_max: u64,
    /// What it follows, beside what others have bound it to.
    pub filters: Vec<String>,
}

impl Default for Log {
    fn default() -> Self {
        let LogSettings { partitions, retention, bytes_max } = LogSettings::default();
        let retention_seconds = retention.map_or(0, |kept| kept.as_secs());
        Self { name: String::new(), partitions, retention_seconds, bytes_max, filters: Vec::new() }
    }
}

impl Declared for Log {
    const TABLE: &'static str = "log";

    fn name(&self) -> &str {
        &self.name
    }

    fn filters(&self) -> &[String] {
        &self.filters
    }

    fn address(&self) -> Option<Address> {
        let address = Address::new(format!("logs/{}", self.name)).ok();
        address.filter(|address| matches!(address.log_place(), Some((_, None))))
    }

    fn fault(&self) -> Option<String> {
        let most = LogSettings::PARTITIONS_MAX;
        if !(1..=most).contains(&self.partitions) {
            return Some(format!("partitions = {}: a log has 1 to {most}", self.partitions));
        }
        if self.bytes_max == 0 {
            return Some("bytes_max = 0: a partition has room for a message".into());
        }
        let is_node = |filter: &&String| matches!(filter.split('/').next(), Some("queues" | "logs" | "$dead"));
        let filter = self.filters.iter().find(is_node)?;
        Some(format!("the filter {filter:?}: a log follows topics, and neither queues nor logs"))
    }

    fn declaration(&self, address: Address, _: &Settings) -> Manage {
        Manage::DeclareLog(address, self.settings())
    }
}

impl Log {
    fn settings(&self) -> LogSettings {
        let retention = (self.retention_seconds > 0).then(|| Duration::from_secs(self.retention_seconds));
        LogSettings { partitions: self.partitions, retention, bytes_max: self.bytes_max }
    }
}
