use core::fmt;
use std::io;
use std::path::PathBuf;

/// Why a journal cannot be opened, or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Another process has it.
    #[error("another process uses this store: stop it, or give this one a folder of its own")]
    Locked,
    /// There is none.
    #[error("there is no journal in {}", .0.display())]
    Missing(PathBuf),
    /// Something else is there.
    #[error("{} is not a folder", .0.display())]
    NotAFolder(PathBuf),
    /// It was written by another version.
    #[error(
        "{file} has format {found}, and this version reads format {known}: use the version that wrote it to drain it, or start with an empty folder"
    )]
    Format {
        /// The file.
        file: String,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Something that was promised is damaged.
    #[error("{file} is damaged at byte {offset}: {what}")]
    Corrupt {
        /// The file.
        file: String,
        /// Where.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// The file system fails.
    #[error("{operation} failed")]
    Io {
        /// What was tried.
        operation: String,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

impl JournalError {
    pub(crate) fn io(operation: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let operation = operation.into();
        move |source| Self::Io { operation, source }
    }
}

/// Bytes that are not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The file.
    pub file: String,
    /// Where it begins.
    pub offset: u64,
    /// What is lost.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.file, self.offset, self.what)
    }
}

impl From<Damage> for JournalError {
    fn from(Damage { file, offset, what }: Damage) -> Self {
        Self::Corrupt { file, offset, what }
    }
}

/// An error with its causes.
pub(crate) fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}
