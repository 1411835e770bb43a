//! `cargo xtask docs`: the pages that are generated from data.

use crate::Result;
use crate::cmd::Cmd;

/// Writes `docs/settlement.md`, `docs/conversion.md` and `docs/wire-bytes.md`. The tests that compare the pages with the data write them when they are told to.
pub(crate) fn run() -> Result {
    const PAGE: &str =
        "test --package roadbed --no-default-features --features mqtt,http,amqp --test settlement_page the_page";
    const CONVERSION: &str = "test --package roadbed --test conversion page";
    for page in [PAGE, CONVERSION, "test --package roadbed-mqtt --test wire_bytes the_page"] {
        Cmd::cargo(page).env("ROADBED_DOCS", "write").run()?;
    }
    println!("docs/settlement.md, docs/conversion.md and docs/wire-bytes.md are written");
    Ok(())
}
