//! What every part needs: where it works, its seed, and what it says when it fails.

use std::fmt;
use std::path::{Path, PathBuf};

/// One run of the harness.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) seed: u64,
    /// The hub's program.
    pub(crate) program: PathBuf,
    /// Where folders of hubs are made.
    pub(crate) place: PathBuf,
}

/// Why a part has failed: what was lost, and how to see it again.
#[derive(Clone, Debug)]
pub(crate) struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Failure {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// How many lines of what is wrong are told.
const LINES_MAX: usize = 20;

impl Run {
    /// A fresh folder.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, Failure> {
        let folder = self.place.join(name);
        let made = if folder.exists() { std::fs::remove_dir_all(&folder) } else { Ok(()) };
        made.and_then(|()| std::fs::create_dir_all(&folder))
            .map_err(|error| Failure(format!("{}: {error}", folder.display())))?;
        Ok(folder)
    }

    /// A folder in which nothing was wrong is not kept.
    pub(crate) fn done_with(&self, folder: &Path) {
        let _ = std::fs::remove_dir_all(folder);
    }

    /// What is wrong in this part, after so many rounds of this seed.
    pub(crate) fn failure(&self, part: &str, seed: u64, round: u64, folder: &Path, what: impl AsRef<str>) -> Failure {
        let lines: Vec<_> = what.as_ref().lines().collect();
        let mut told = lines[..lines.len().min(LINES_MAX)].join("\n  ");
        if lines.len() > LINES_MAX {
            told += &format!("\n  and {} more", lines.len() - LINES_MAX);
        }
        let folder = folder.display();
        Failure(format!(
            "{part}: seed {seed}, round {round}\n  {told}\nthe folder is kept: {folder}\n  $ cargo xtask torture --only {part} --seed {seed}"
        ))
    }
}
