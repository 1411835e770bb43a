//! What the server decides without I/O: whose token it is, who polls too often, who is too slow.
//!
//! hyper owns the wire, so this crate has no machine of frames.

mod pace;
mod policy;
mod token;
mod vitals;

pub(crate) use pace::{Pace, TooSlow};
pub(crate) use policy::PollPolicy;
pub(crate) use token::{LockTokens, TokenError};
pub(crate) use vitals::{Cut, Vitals};
