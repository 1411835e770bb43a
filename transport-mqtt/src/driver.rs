//! What the drivers of both roles share.

pub(crate) mod close;
pub(crate) mod timer;
