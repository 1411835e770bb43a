//! Each published crate with no feature at all, and with each of its features alone: what compiles only in company shows here.

use crate::Result;
use crate::cmd::Cmd;
use crate::workspace::Workspace;

pub(super) fn run(workspace: &Workspace) -> Result {
    for package in workspace.published() {
        check(&package.name, None)?;
        for feature in package.features.keys() {
            check(&package.name, Some(feature))?;
        }
    }
    Ok(())
}

fn check(package: &str, feature: Option<&String>) -> Result {
    let cmd = Cmd::cargo("clippy --no-deps --no-default-features").args(["-p", package]);
    let cmd = feature.into_iter().fold(cmd, |cmd, feature| cmd.args(["--features", feature]));
    cmd.words("-- -D warnings").run()
}
