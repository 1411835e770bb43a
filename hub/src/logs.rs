//! Logs that the configuration names: `[[log]]`.

use std::time::Duration;

use roadbed::{Binding, Broker, Close, Endpoint, Filter, LogSettings, Manage, Open, Qos};
use serde::{Deserialize, Serialize};

use crate::error::{Failure, Result};

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

impl Log {
    fn settings(&self) -> LogSettings {
        let retention = (self.retention_seconds > 0).then(|| Duration::from_secs(self.retention_seconds));
        LogSettings { partitions: self.partitions, retention, bytes_max: self.bytes_max }
    }
}

/// Makes the logs that do not exist, and gives all of them their settings.
///
/// # Errors
/// If one of them is not legal, or has another number of partitions.
pub(crate) async fn declare(broker: &Broker, logs: &[Log]) -> Result {
    if logs.is_empty() {
        return Ok(());
    }
    let session = broker.open(Open::default()).await?;
    for log in logs {
        let wrong = |error: &dyn std::fmt::Display| Failure::usage(format!("the log {:?}: {error}", log.name));
        let address: roadbed::Address = format!("logs/{}", log.name).parse().map_err(|error| wrong(&error))?;
        let declared = session.manage(Manage::DeclareLog(address.clone(), log.settings())).await;
        declared.map_err(|error| wrong(&error))?;
        for filter in &log.filters {
            let filter = Filter::new(filter.as_str()).map_err(|error| wrong(&error))?;
            let bound = session.manage(Manage::Bind(address.clone(), Binding::new(filter, Qos::ExactlyOnce))).await;
            bound.map_err(|error| wrong(&error))?;
        }
    }
    session.close(Close::default()).await?;
    Ok(())
}
