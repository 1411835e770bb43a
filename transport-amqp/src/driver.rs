//! What a driver needs beside its socket.

pub(crate) mod close;
pub(crate) mod timer;
