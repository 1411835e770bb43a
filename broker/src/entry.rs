//! A copy as it waits in a session's own queue: 24 bytes.

use roadbed_core::{Message, Qos, Time};

/// A copy that waits.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) message: Message,
    pub(crate) extra: Option<Box<Extra>>,
    /// The low half of the copy's position.
    pub(crate) seq: u32,
    /// By which shared binding it came: its index plus one; 0: by none.
    pub(crate) share: u16,
    bits: u8,
}

/// What few copies have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extra {
    /// The ids of the bindings that brought it.
    pub(crate) bindings: Vec<u32>,
    /// Attempts so far.
    pub(crate) attempts: u32,
    /// Failed attempts so far.
    pub(crate) count: u32,
    /// When it was enqueued, if anybody asks.
    pub(crate) enqueued_at: Time,
    /// Links that must not have it again.
    pub(crate) excluded: Vec<bytestring::ByteString>,
    /// What it is conflated by, while only the store has its message.
    pub(crate) key: Option<bytestring::ByteString>,
}

const QOS: u8 = 0b0011;
const RETAINED: u8 = 0b0100;
const STORED: u8 = 0b1000;

impl Entry {
    pub(crate) fn new(message: Message, qos: Qos, retained: bool) -> Self {
        let bits = qos.level() | if retained { RETAINED } else { 0 };
        Self { message, extra: None, seq: 0, share: 0, bits }
    }

    pub(crate) fn qos(&self) -> Qos {
        Qos::from_level(self.bits & QOS).unwrap_or(Qos::ExactlyOnce)
    }

    pub(crate) fn retained(&self) -> bool {
        self.bits & RETAINED != 0
    }

    /// Whether the store knows this copy.
    pub(crate) fn stored(&self) -> bool {
        self.bits & STORED != 0
    }

    pub(crate) fn set_stored(&mut self) {
        self.bits |= STORED;
    }

    pub(crate) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.extra.as_ref().map_or(0, |extra| extra.attempts)
    }

    pub(crate) fn count(&self) -> u32 {
        self.extra.as_ref().map_or(0, |extra| extra.count)
    }
}
