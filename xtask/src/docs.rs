//! `cargo xtask docs`: the pages that are generated from data.

use crate::Result;
use crate::cmd::Cmd;

/// Writes `docs/settlement.md`. The test that compares the page with the data writes it when it is told to.
pub(crate) fn run() -> Result {
    const PAGE: &str =
        "test --package roadbed --no-default-features --features mqtt,http --test settlement_page the_page";
    Cmd::cargo(PAGE).env("ROADBED_DOCS", "write").run()?;
    println!("docs/settlement.md is written");
    Ok(())
}
