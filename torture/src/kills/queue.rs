//! A queue of plain numbers.

use super::http::texts;
use crate::wire::{Http, Result, Trouble};

/// Takes all that is in a queue whose messages are numbers, and settles it.
pub(crate) fn numbers(conn: &mut Http, address: &str) -> Result<Vec<u64>> {
    let wrong = || Trouble::Wrong(format!("{address}: a message that is no number"));
    texts(conn, address)?.iter().map(|text| text.parse().map_err(|_| wrong())).collect()
}
