use roadbed_core::{Losses, Output, Time};

use crate::Machine;

/// The connection, as long as a turn has it.
pub(super) struct Wire<'a> {
    pub(super) machine: &'a mut Machine,
    pub(super) out: &'a mut Output,
    pub(super) losses: &'a mut Losses,
    pub(super) now: Time,
}
