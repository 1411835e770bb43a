//! Where the hub keeps what it has promised: `[store]`, and `roadbed store`.

mod key;

use std::path::{Path, PathBuf};
use std::time::Duration;

use roadbed::http::TokenKey;
use roadbed::journal::{self, JournalConfig, JournalError, JournalStore, Report, SyncPolicy};
use serde::{Deserialize, Serialize};

use crate::cli;
use crate::error::{Failure, Result};
use crate::output::say;

/// Where promises are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Store {
    /// The folder of the journal.
    pub data: PathBuf,
    /// Keep everything in memory instead: a restart loses it.
    pub memory: bool,
    /// How long a segment of the journal is, in bytes.
    pub segment_bytes: u32,
    /// How many bytes of what has come to its end may lie around, however little is kept.
    pub garbage_bytes: u64,
    /// Nothing new is taken while the disk has less room, in bytes.
    pub free_bytes_min: u64,
    /// Nothing new is taken while the disk has less room, in hundredths of it.
    pub free_percent_min: u8,
    /// How often what was written is synced, in milliseconds; 0: before anything is promised.
    pub sync_interval_ms: u64,
}

impl Default for Store {
    fn default() -> Self {
        let JournalConfig { segment_bytes, garbage_bytes, free_bytes_min, free_percent_min, .. } =
            JournalConfig::default();
        Self {
            data: "roadbed-data".into(),
            memory: false,
            segment_bytes,
            garbage_bytes,
            free_bytes_min,
            free_percent_min,
            sync_interval_ms: 0,
        }
    }
}

impl Store {
    /// Keeps everything in memory.
    pub fn in_memory() -> Self {
        Self { memory: true, ..Self::default() }
    }

    /// Opens the journal; `None` if everything is kept in memory.
    ///
    /// # Errors
    /// It is in use, damaged, of another version, or cannot be read.
    pub(crate) fn open(&self) -> Result<Option<JournalStore>> {
        if self.memory {
            return Ok(None);
        }
        JournalStore::open(&self.data, self.journal()).map(Some).map_err(|error| failure(&self.data, &error))
    }

    /// What lock tokens are signed with: what is configured, or else a key in the folder, which is made if there is none, so that a lock is good after a
    /// restart. `None` in memory, where no lock is.
    ///
    /// # Errors
    /// The key cannot be read or written, or is none.
    pub(crate) fn token_key(&self, configured: Option<TokenKey>) -> Result<Option<TokenKey>> {
        if configured.is_some() || self.memory {
            return Ok(configured);
        }
        key::in_folder(&self.data).map(Some)
    }

    /// Where it is, in words.
    pub(crate) fn place(&self) -> String {
        match self.memory {
            true => "in memory".into(),
            false => format!("data in {}", self.data.display()),
        }
    }

    fn journal(&self) -> JournalConfig {
        let sync = match self.sync_interval_ms {
            0 => SyncPolicy::Always,
            millis => SyncPolicy::Every(Duration::from_millis(millis)),
        };
        JournalConfig::default()
            .segment_bytes(self.segment_bytes)
            .garbage_bytes(self.garbage_bytes)
            .free_min(self.free_bytes_min, self.free_percent_min)
            .sync(sync)
    }
}

/// `roadbed store`
///
/// # Errors
/// If the journal is damaged, in use, or cannot be read.
pub(crate) fn run(options: &cli::Store) -> Result {
    match &options.command {
        cli::StoreCommand::Check { dir } => {
            let report = journal::check(dir).map_err(|error| failure(dir, &error))?;
            say(summary(&report))?;
            match report.damage.len() {
                0 => Ok(()),
                count => Err(Failure::refused(format!("{count} places are damaged"))
                    .help(format!("`roadbed store repair {} --yes` gives up what is listed above", dir.display()))),
            }
        }
        cli::StoreCommand::Repair { dir, yes: false } => {
            let report = journal::check(dir).map_err(|error| failure(dir, &error))?;
            say(summary(&report))?;
            Err(Failure::usage("nothing was changed").help("say --yes to give up what is listed above"))
        }
        cli::StoreCommand::Repair { dir, yes: true } => {
            let (report, old) = journal::repair(dir).map_err(|error| failure(dir, &error))?;
            say(summary(&report))?;
            match old {
                None => say("There was nothing to repair."),
                Some(old) => say(format_args!("Repaired. The damaged files are in {}", old.display())),
            }
        }
        cli::StoreCommand::Stats { dir } => {
            let report = journal::check(dir).map_err(|error| failure(dir, &error))?;
            say(summary(&report))?;
            let (bytes, longest) = sizes(dir)
                .map_err(|error| Failure::unavailable(format!("cannot read the folder {}: {error}", dir.display())))?;
            say(format_args!("{bytes} bytes on the disk, the longest segment has {longest}"))
        }
    }
}

/// How long all segments are, and the longest one, in bytes.
fn sizes(dir: &Path) -> std::io::Result<(u64, u64)> {
    let (mut bytes, mut longest) = (0, 0);
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|end| end == "journal") {
            let len = entry.metadata()?.len();
            (bytes, longest) = (bytes + len, longest.max(len));
        }
    }
    Ok((bytes, longest))
}

fn summary(report: &Report) -> String {
    let mut out = format!(
        "{} segments, {} records; {} messages and {} rows are kept",
        report.segments, report.records, report.copies, report.rows
    );
    for log in &report.logs {
        let name = log.address.as_ref().map_or_else(|| "a log without a name".into(), ToString::to_string);
        let (messages, next, bytes) = (log.messages, log.next, log.bytes);
        out += &format!(
            "\n{name}: {messages} messages in {bytes} bytes, from position {} on, the next is {next}",
            log.first
        );
    }
    for damage in &report.damage {
        out += &format!("\nlost: {damage}");
    }
    out
}

fn failure(dir: &Path, error: &JournalError) -> Failure {
    let failure = Failure::unavailable(format!("the store in {}: {}", dir.display(), in_words(error)));
    match error {
        JournalError::Missing(_) => failure.help("the folder of a hub is what `--data` or `[store] data` says"),
        JournalError::Locked => failure.help("say --data DIR for a folder of its own, or --memory"),
        JournalError::Corrupt { .. } => failure.help(format!(
            "`roadbed store check {0}` lists the damage; `roadbed store repair {0} --yes` gives up what cannot be read",
            dir.display()
        )),
        _ => failure,
    }
}

fn in_words(error: &dyn std::error::Error) -> String {
    match error.source() {
        None => error.to_string(),
        Some(cause) => format!("{error}: {}", in_words(cause)),
    }
}
