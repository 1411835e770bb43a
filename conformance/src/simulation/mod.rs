//! A seeded world in virtual time: one process, one thread, no clock and no network but its own.
//!
//! Clients of all kinds send, receive, settle, transact, are cut off and come back, as a seed says; a ledger watches
//! what they see and checks, at every step, the invariants that hold whatever happens, also if the broker itself is killed:
//!
//! | | |
//! |---|---|
//! | I1 | no positive signal before its commit |
//! | I2 | a copy has one owner |
//! | I3 | terminal is terminal |
//! | I4 | the delivery count is exact |
//! | I5 | at most once is never sent twice, exactly once never seen twice |
//! | I6 | order per source and destination is kept, except after a return |
//! | I7 | bytes charged are bytes held |
//! | I8 | every retired copy has its one dead letter, if asked |
//! | I9 | no signal contradicts the outcome |
//! | I10 | at rest, what is available and what is retired is what was enqueued |
//!
//! I4, I5 and I8 are as strict as what clients can see: where an answer was lost with its connection, both outcomes are
//! allowed until one of them shows; a broker that dies may count a delivery that it had begun. The same seed gives the same [`Trace`], byte for byte.

mod actors;
mod copy;
mod ledger;
mod mortal;
mod random;
mod trace;
mod worker;
mod world;

pub use random::Random;
pub use trace::Trace;
pub use world::{Ground, Plan, Stage, VirtualClock, Way, run, seeds, simulate, tell};
