//! The settlement tables: what each protocol's signals mean, as data.
//!
//! Every protocol crate has one [`Settlement`]. The documentation is generated from it, and so are the tests, which bring
//! about every cell on a real socket and compare what they see.

/// The settlement table of one protocol.
#[derive(Clone, Copy, Debug)]
pub struct Settlement {
    /// The protocol's name.
    pub protocol: &'static str,
    /// What a server tells the sender.
    pub ingress: &'static [Ingress],
    /// What the receiver's signal does to the copy.
    pub egress: &'static [Egress],
}

/// What a server decides about a message that was sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decision {
    /// Every matched queue has taken its copy.
    Stored,
    /// The address is legal, and nothing is bound to it.
    NoRoute,
    /// The sender may not send there.
    Unauthorized,
    /// The address is not legal.
    InvalidAddress,
    /// The payload contradicts its declared format.
    InvalidPayload,
    /// It is longer than a limit.
    TooLarge,
    /// A queue or a quota is full.
    Full,
    /// The store cannot take it now.
    Unavailable,
    /// It asks for durability that its queue does not have.
    NotDurable,
    /// It asks for exactly once where the route cannot.
    ExactlyOnceUnsupported,
}

impl Decision {
    /// Every decision, in the order of the table.
    pub const ALL: [Self; 10] = [
        Self::Stored,
        Self::NoRoute,
        Self::Unauthorized,
        Self::InvalidAddress,
        Self::InvalidPayload,
        Self::TooLarge,
        Self::Full,
        Self::Unavailable,
        Self::NotDurable,
        Self::ExactlyOnceUnsupported,
    ];

    /// The row's heading.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored in all queues",
            Self::NoRoute => "valid, nobody routed",
            Self::Unauthorized => "not authorised",
            Self::InvalidAddress => "address not legal",
            Self::InvalidPayload => "payload contradicts its declared format",
            Self::TooLarge => "too large",
            Self::Full => "queue full or over quota",
            Self::Unavailable => "store down, try later",
            Self::NotDurable => "durable message to a volatile queue",
            Self::ExactlyOnceUnsupported => "exactly once asked, route cannot",
        }
    }
}

/// One cell: what the sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ingress {
    /// The row.
    pub decision: Decision,
    /// The column: the protocol's version and assurance, such as `MQTT 5, QoS 1`.
    pub variant: &'static str,
    /// What is seen on the wire, packet by packet, such as `PUBACK 0x00`; `n/a` where the row cannot come up.
    pub answer: &'static str,
    /// The section of the standard that says so.
    pub section: &'static str,
}

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
    /// Nothing: the signal came too late.
    Late,
    /// The protocol has no such signal.
    Unsaid,
}

impl Effect {
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
            Self::Late => "none, and says so",
            Self::Unsaid => "cannot be said",
        }
    }
}

/// One cell: what a receiver's signal does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Egress {
    /// The signal, such as `PUBREC < 0x80`.
    pub signal: &'static str,
    /// What becomes of the copy.
    pub effect: Effect,
    /// The section of the standard that says so.
    pub section: &'static str,
    /// What else there is to know.
    pub note: &'static str,
}
