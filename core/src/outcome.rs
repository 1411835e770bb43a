//! What became of a delivery.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

/// What became of a delivery: AMQP 1.0's four outcomes, the richest set (Part 3, section 3.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The next hop took responsibility.
    Accepted,
    /// The message or its sender is at fault.
    Rejected(Reason),
    /// Nobody's fault, and nothing was tried.
    Released,
    /// Tried and failed here, or it belongs elsewhere.
    Modified {
        /// The delivery count grows.
        delivery_failed: bool,
        /// The same link is not tried again.
        undeliverable_here: bool,
    },
}

impl Outcome {
    /// Tried and failed: what a lost delivery ends in.
    pub const FAILED: Self = Self::Modified { delivery_failed: true, undeliverable_here: false };

    /// Rejected for `condition`, without words.
    pub const fn rejected(condition: Condition) -> Self {
        Self::Rejected(Reason { condition, text: None })
    }

    /// Whether the copy has come to its end: it will not be delivered again.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Accepted | Self::Rejected(_))
    }

    /// Whether the delivery count grows by one.
    pub const fn counts(&self) -> bool {
        matches!(self, Self::Rejected(_) | Self::Modified { delivery_failed: true, .. })
    }

    /// `accepted`, `rejected`, `released` or `modified`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected(_) => "rejected",
            Self::Released => "released",
            Self::Modified { .. } => "modified",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(reason) => write!(f, "rejected: {reason}"),
            _ => f.write_str(self.as_str()),
        }
    }
}

/// Why a message was rejected.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reason {
    /// The kind of fault.
    pub condition: Condition,
    /// Words for a person; never parsed.
    pub text: Option<Arc<String>>,
}

impl Reason {
    /// A reason with words for a person.
    pub fn new(condition: Condition, text: impl Into<String>) -> Self {
        Self { condition, text: Some(Arc::new(text.into())) }
    }
}

impl From<Condition> for Reason {
    fn from(condition: Condition) -> Self {
        Self { condition, text: None }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.condition.as_str())?;
        match &self.text {
            Some(text) => write!(f, " ({text})"),
            None => Ok(()),
        }
    }
}

macro_rules! conditions {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// Why a message did not get through, in words that every protocol maps to its own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Condition { $($(#[doc = $doc])+ $name,)+ }

        impl Condition {
            /// Every condition.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its name in logs, metrics and dead-letter properties.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

conditions! {
    /// The address is valid, and nothing is bound to it.
    NoRoute = "no-route",
    /// A live message found no consumer attached.
    NoConsumer = "no-consumer",
    /// A live message found consumers, and none had credit.
    Busy = "busy",
    /// A queue, the broker's budget or a quota is full.
    Full = "full",
    /// The store has no room left for it.
    StoreFull = "store-full",
    /// It was here before; the first answer stands.
    Duplicate = "duplicate",
    /// There is no such address.
    NotFound = "not-found",
    /// The principal may not do this.
    Unauthorized = "unauthorized",
    /// The store or the next hop cannot take it now.
    Unavailable = "unavailable",
    /// Larger than a limit.
    TooLarge = "too-large",
    /// The address is not legal.
    InvalidAddress = "invalid-address",
    /// The payload contradicts its declared format.
    InvalidPayload = "invalid-payload",
    /// A promise was asked that the destination cannot keep.
    PreconditionFailed = "precondition-failed",
    /// The route cannot carry what was asked.
    NotSupported = "not-supported",
    /// Its time to live has passed.
    Expired = "expired",
    /// Its deadline was missed.
    DeadlineMissed = "deadline-missed",
    /// Delivered as often as the queue allows.
    DeliveryCountExceeded = "delivery-count-exceeded",
    /// No consumer is left that may have it.
    UndeliverableHere = "undeliverable-here",
    /// A newer message took its place.
    Displaced = "displaced",
    /// Removed by an administrator.
    Purged = "purged",
    /// Its session ended.
    SessionEnded = "session-ended",
    /// Its transaction was rolled back.
    RolledBack = "rolled-back",
    /// The receiving application refused it.
    Refused = "refused",
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
