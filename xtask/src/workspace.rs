//! What `cargo metadata` says of the workspace.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::Result;
use crate::cmd::Cmd;

/// The workspace: its folders and its own packages.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    pub(crate) packages: Vec<Package>,
    /// `target/`, wherever the user has put it.
    #[serde(rename = "target_directory")]
    pub(crate) target: PathBuf,
}

/// A package: of the workspace, or in [`packages`] any that it depends on.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    /// None for a package of the workspace itself.
    pub(crate) source: Option<String>,
    pub(crate) features: BTreeMap<String, Vec<String>>,
    pub(crate) targets: Vec<Target>,
    pub(crate) dependencies: Vec<Dependency>,
    /// The registries it may be published to; empty: none.
    publish: Option<Vec<String>>,
}

/// A dependency as the manifest states it.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// The version requirement.
    pub(crate) req: String,
    /// The folder, for one inside the workspace.
    pub(crate) path: Option<PathBuf>,
}

/// A library, binary, test, bench or example of a package.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    kind: Vec<String>,
}

impl Workspace {
    /// Reads the workspace and makes its root the current folder.
    pub(crate) fn open() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask lies in no folder")?;
        std::env::set_current_dir(root)?;
        let json = Cmd::cargo("metadata --format-version 1 --no-deps").output()?;
        Ok(serde_json::from_str(&json)?)
    }

    /// The packages meant for others.
    pub(crate) fn published(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|p| p.publish.as_ref().is_none_or(|to| !to.is_empty()))
    }
}

impl Package {
    /// The names of the package's targets of one kind: `test`, `bench`, `bin`, `example`, `lib`.
    pub(crate) fn targets(&self, kind: &str) -> impl Iterator<Item = &str> {
        self.targets.iter().filter(move |t| t.kind.iter().any(|k| k == kind)).map(|t| t.name.as_str())
    }
}

/// Every package that the workspace is built from on this platform, its own included.
pub(crate) fn packages() -> Result<Vec<Package>> {
    let json =
        Cmd::cargo("metadata --format-version 1 --all-features").args(["--filter-platform", &host()?]).output()?;
    Ok(serde_json::from_str::<Workspace>(&json)?.packages)
}

/// The platform built for, as the compiler names it.
pub(crate) fn host() -> Result<String> {
    let version = Cmd::new("rustc").arg("-vV").output()?;
    let host = version.lines().find_map(|l| l.strip_prefix("host: ")).ok_or("rustc -vV names no host")?;
    Ok(host.to_owned())
}
