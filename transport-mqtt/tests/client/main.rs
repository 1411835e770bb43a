//! The client against our own server over the broker, and against servers that are written out packet by packet.

mod closing;
mod cuts;
mod errors;
mod limits;
mod order;
mod recovery;
mod release;
mod sharing;
mod stores;
mod storm;
mod support;
