//! Headers ⇄ messages: what HTTP says about a message, read and written.
//!
//! The README's table is the reference. Text travels percent-encoded where a header cannot carry it as it is; other values
//! have a form of their own ([`value`]).

pub(crate) mod batch;
pub(crate) mod beside;
pub(crate) mod event;
pub(crate) mod fields;
pub(crate) mod info;
pub(crate) mod logs;
pub(crate) mod names;
pub(crate) mod nodes;
pub(crate) mod property;
pub(crate) mod text;
pub(crate) mod transactions;
pub(crate) mod value;

pub use event::EventError;
pub use fields::HeaderError;
