//! Transactions, as they are written.

use roadbed_core::TxnId;
use serde::{Deserialize, Serialize};

/// What a server says of a transaction.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TransactionDoc {
    /// Its name: 16 hexadecimal digits, the 8 bytes of the `txn-id` of AMQP.
    pub(crate) id: String,
    /// `open`, `committed` or `rolled-back`.
    pub(crate) state: String,
    /// How long it may stay open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_ms: Option<u64>,
}

pub(crate) fn write_id(id: TxnId) -> String {
    format!("{:016x}", id.0)
}

/// Only what [`write_id`] writes: one name for one transaction.
pub(crate) fn read_id(text: &str) -> Option<TxnId> {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let legal = text.len() == 16 && text.bytes().all(digit);
    legal.then(|| u64::from_str_radix(text, 16).ok().map(TxnId))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_for_one_transaction() {
        for id in [0, 1, 0xdead_beef, u64::MAX] {
            assert_eq!(read_id(&write_id(TxnId(id))), Some(TxnId(id)));
        }
        for text in ["", "1", "000000000000000A", "+00000000000000a", "00000000000000000", "é000000000000000"] {
            assert_eq!(read_id(text), None, "{text}");
        }
    }
}
