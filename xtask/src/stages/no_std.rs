//! Builds the crate `xtask/no-std`, a static library with a panic handler and an allocator of its own. As soon as anything in it
//! pulls in the standard library there are two panic handlers, and the compiler says so.

use crate::Result;
use crate::cmd::Cmd;
use crate::workspace::Workspace;

/// The crate is a workspace of its own, built from the versions that the lock file of the main one names.
pub(super) fn run(workspace: &Workspace) -> Result {
    std::fs::copy("Cargo.lock", "xtask/no-std/Cargo.lock")?;
    let target = workspace.target.display().to_string();
    Cmd::cargo("build --manifest-path xtask/no-std/Cargo.toml").args(["--target-dir", &target]).run()
}
