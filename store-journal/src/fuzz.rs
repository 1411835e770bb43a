//! The codec over arbitrary bytes: for the project's own fuzz targets.

use bytes::Bytes;

use crate::codec::{
    Take, digest_entries, key_bytes, record_entries, take_message, take_prepared, take_row, take_row_key,
};

/// Reads `data` as everything that the journal reads.
///
/// # Panics
/// If what was read is not the same when it is written and read again.
pub fn codec(data: &[u8]) {
    let data = Bytes::copy_from_slice(data);
    // Each entry takes at least a byte.
    let entries = record_entries(data.clone(), 0).count().max(digest_entries(data.clone()).count());
    assert!(entries <= data.len() + 1, "{entries} entries in {} bytes", data.len());
    if let Ok(key) = take_row_key(&mut Take::new(data.clone())) {
        let again = take_row_key(&mut Take::new(key_bytes(&key)));
        assert_eq!(again.as_ref(), Ok(&key));
    }
    let _ = take_row(&mut Take::new(data.clone()));
    let _ = take_prepared(&mut Take::new(data.clone()));
    let _ = take_message(&mut Take::new(data));
}
