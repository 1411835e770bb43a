//! Comparing what was seen with what the table says.

use std::fmt::Debug;

use crate::Result;

/// Whether the observed is the expected.
#[expect(clippy::needless_pass_by_value, reason = "values read better at the calls")]
pub(crate) fn same<T: PartialEq + Debug>(what: &str, seen: T, expected: T) -> Result {
    if seen == expected { Ok(()) } else { Err(format!("{what}: {seen:?} instead of {expected:?}")) }
}

/// Names what was being done when something went wrong.
pub(crate) trait Context<T> {
    fn during(self, what: &str) -> Result<T>;
}

impl<T, E: std::fmt::Display> Context<T> for std::result::Result<T, E> {
    fn during(self, what: &str) -> Result<T> {
        self.map_err(|error| format!("{what}: {error}"))
    }
}
