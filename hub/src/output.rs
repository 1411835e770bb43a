//! Standard output, which may have been closed: `roadbed demo | head` is no reason to panic.

use std::fmt::Display;
use std::io::Write;

use crate::error::{Failure, Result};

/// Prints a line.
///
/// # Errors
/// If standard output cannot be written to.
pub(crate) fn say(text: impl Display) -> Result {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(Failure::output)
}
