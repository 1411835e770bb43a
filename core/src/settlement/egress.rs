/// What a signal does to a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It is retired.
    Accept,
    /// The receiver owns it; the second half retires it.
    Own,
    /// It is retired, and dead-lettered where there are dead letters.
    Reject,
    /// It is available again, its count unchanged.
    Release,
    /// It is available again, its count one higher.
    Fail,
    /// It stays with its owner.
    Keep,
    /// Its lease starts anew.
    Renew,
    /// It ends with the queue of its session, and goes to nobody else.
    End,
    /// Nothing: the same was said before, and the same answer is given.
    Repeat,
    /// Nothing: the signal came too late, or from a stranger.
    Late,
    /// The protocol has no such signal.
    Unsaid,
}

impl Effect {
    /// Every effect.
    pub const ALL: [Self; 11] = [
        Self::Accept,
        Self::Own,
        Self::Reject,
        Self::Release,
        Self::Fail,
        Self::Keep,
        Self::Renew,
        Self::End,
        Self::Repeat,
        Self::Late,
        Self::Unsaid,
    ];

    /// Its name in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Own => "owned, then accept",
            Self::Reject => "reject",
            Self::Release => "release",
            Self::Fail => "modify (failed)",
            Self::Keep => "stays acquired",
            Self::Renew => "the lease starts anew",
            Self::End => "ends with its queue",
            Self::Repeat => "none, said before",
            Self::Late => "none, too late",
            Self::Unsaid => "cannot be said",
        }
    }

    /// What becomes of the copy.
    pub const fn copied(self) -> Copied {
        match self {
            Self::Accept | Self::End => Copied::Retired { dead_letter: false },
            Self::Reject => Copied::Retired { dead_letter: true },
            Self::Release => Copied::Available { failures: 0 },
            Self::Fail => Copied::Available { failures: 1 },
            Self::Own | Self::Keep | Self::Renew => Copied::Held,
            Self::Repeat | Self::Late | Self::Unsaid => Copied::AsItWas,
        }
    }
}

/// What becomes of a copy by an [`Effect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Copied {
    /// It waits in its old place, and its count has grown by this.
    Available {
        /// By how much.
        failures: u32,
    },
    /// Its owner has it still.
    Held,
    /// It has come to its end.
    Retired {
        /// A dead letter is made of it, if its queue keeps dead letters.
        dead_letter: bool,
    },
    /// Whatever it was before.
    AsItWas,
}

/// One cell: what a receiver's signal does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Egress {
    /// The signal, such as `PUBACK 0x97`.
    pub signal: &'static str,
    /// The columns in which it can be said: [slugs](super::Variant::slug) of variants.
    pub variants: &'static [&'static str],
    /// What becomes of the copy.
    pub effect: Effect,
    /// What the receiver is told, in the grammar of [`is_answer`](super::is_answer).
    pub answer: &'static str,
    /// The section of the standard that says so.
    pub section: &'static str,
    /// What else there is to know.
    pub note: &'static str,
}
