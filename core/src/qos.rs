//! The two promises, on two axes.

/// How often a delivery may arrive: a promise **per hop**.
///
/// Ordered, so that the assurance of a route is the minimum of its hops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Qos {
    /// No answer is asked; lost if the hop is.
    #[default]
    AtMostOnce,
    /// Sent again until answered.
    AtLeastOnce,
    /// Sent again until answered, and recognised when it comes again.
    ExactlyOnce,
}

impl Qos {
    /// All levels, weakest first.
    pub const ALL: [Self; 3] = [Self::AtMostOnce, Self::AtLeastOnce, Self::ExactlyOnce];

    /// 0, 1 or 2.
    pub const fn level(self) -> u8 {
        self as u8
    }

    /// The level with this number.
    pub const fn from_level(level: u8) -> Option<Self> {
        match level {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// What must be true before anyone may answer Accepted: a promise **per message**, independent of [`Qos`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// In memory; gone with the link that holds it.
    #[default]
    Volatile,
    /// Kept as long as its session is, over reconnects but not over a restart.
    Session,
    /// Committed to the store.
    Stored,
}
