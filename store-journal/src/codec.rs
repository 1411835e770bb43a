//! The journal's own format: records, what they do, and the messages and rows in them.

mod entry;
mod gather;
mod log;
mod message;
mod record;
mod row;
mod wire;

pub(crate) use entry::{Body, Entry, KeptCopy, Place, digest_entries, put_digest, put_entry, record_entries, split};
pub(crate) use gather::{Gather, Mark};
pub(crate) use log::{LogOp, Run};
pub(crate) use message::take_message;
pub(crate) use record::{HEADER, Header, Kind, finish};
pub(crate) use row::{key_bytes, take_prepared, take_row, take_row_key};
pub(crate) use wire::{CodecError, Take};
