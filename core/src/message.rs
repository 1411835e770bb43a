//! The parcel.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use bytestring::ByteString;

use crate::{Address, Durability, Payload, Properties, Time, Value};

/// A message: immutable, and shared by all copies of a fan-out. How often it may arrive ([`Qos`](crate::Qos)) is not part of
/// it, since every hop promises that anew.
#[derive(Clone, Debug)]
pub struct Message(Arc<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    address: Address,
    payload: Payload,
    expires_at: Option<Time>,
    origin: Option<Arc<Origin>>,
    details: Option<Box<Details>>,
    durability: Durability,
    priority: u8,
    retain: bool,
    live: bool,
}

/// Who sent a message, and by which protocol: stamped by the server that took it in, so that no client can forge it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The authenticated sender; empty if anonymous.
    pub principal: ByteString,
    /// `mqtt`, `amqp`, `http`, ...
    pub protocol: &'static str,
}

/// What few messages have.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Details {
    /// The media type of the payload.
    pub content_type: Option<ByteString>,
    /// How the payload is compressed.
    pub content_encoding: Option<ByteString>,
    /// Whether the payload is declared to be UTF-8 text (MQTT 5's payload format indicator, section 3.3.2.3.2).
    pub utf8: Option<bool>,
    /// The sender's name for the message.
    pub message_id: Option<Value>,
    /// What a response refers to.
    pub correlation_id: Option<Value>,
    /// Where a response is to go.
    pub reply_to: Option<Address>,
    /// What it is about.
    pub subject: Option<ByteString>,
    /// Messages of one group keep their order; the conflation key of a queue that keeps the last by key.
    pub group: Option<ByteString>,
    /// When it was made, by the sender's clock.
    pub created_at: Option<Time>,
    /// Not delivered before this time.
    pub deliver_after: Option<Time>,
    /// Feedback is due if it is not settled by this time.
    pub deadline: Option<Time>,
    /// The application's own.
    pub properties: Properties,
    /// The hub's own: dead-letter reasons, counts. No client can forge them.
    pub annotations: Properties,
    /// How its sender wrote it, where writing it from the fields would give other bytes. A new payload or property takes it away;
    /// who changes other fields that the sender wrote sets it to `None`.
    pub bare: Option<Bare>,
}

/// A message as its sender's protocol wrote it: a hop of the same protocol writes the same bytes again (AMQP 1.0, Part 3, section 3.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bare {
    /// The protocol, as in [`Origin`].
    pub protocol: &'static str,
    /// What stands before the payload; or everything, if the payload is not one run of the bytes.
    pub head: Payload,
    /// Whether the payload, and the tail after it, follow the head.
    pub around: bool,
    /// What stands after the payload.
    pub tail: Bytes,
    /// What travels with it without being part of it, as the protocol wrote it.
    pub annotations: Bytes,
    /// What only these bytes say: the names under which it is counted as lost where another protocol is written.
    pub only: Vec<&'static str>,
}

impl Bare {
    /// The same in memory of its own.
    #[must_use]
    pub fn detach(&self) -> Self {
        let copied = Bytes::copy_from_slice;
        let (tail, annotations) = (copied(&self.tail), copied(&self.annotations));
        Self { head: self.head.detach(), tail, annotations, only: self.only.clone(), ..*self }
    }

    /// How many bytes it keeps beside the payload.
    pub fn len(&self) -> usize {
        self.head.len() + self.tail.len() + self.annotations.len()
    }

    /// Whether it keeps none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Details {
    const NONE: Self = Self {
        content_type: None,
        content_encoding: None,
        utf8: None,
        message_id: None,
        correlation_id: None,
        reply_to: None,
        subject: None,
        group: None,
        created_at: None,
        deliver_after: None,
        deadline: None,
        properties: Properties::EMPTY,
        annotations: Properties::EMPTY,
        bare: None,
    };
}

impl Message {
    /// The priority of a message that names none (AMQP 1.0, Part 3, section 3.2.1).
    pub const PRIORITY_DEFAULT: u8 = 4;

    /// A volatile message with nothing but an address and a payload.
    pub fn new(address: Address, payload: impl Into<Payload>) -> Self {
        Self::builder(address, payload).build()
    }

    /// Starts a message.
    ///
    /// ```
    /// use roadbed_core::{Durability, Message};
    /// let message = Message::builder("plant/7/alarm".parse()?, "too hot")
    ///     .durability(Durability::Stored)
    ///     .property("unit", "celsius")
    ///     .build();
    /// # Ok::<_, roadbed_core::AddressError>(())
    /// ```
    pub fn builder(address: Address, payload: impl Into<Payload>) -> MessageBuilder {
        MessageBuilder(Parts {
            address,
            payload: payload.into(),
            expires_at: None,
            origin: None,
            details: None,
            durability: Durability::Volatile,
            priority: Self::PRIORITY_DEFAULT,
            retain: false,
            live: false,
        })
    }

    /// Starts a message like this one.
    pub fn to_builder(&self) -> MessageBuilder {
        MessageBuilder(Parts::clone(&self.0))
    }

    /// Where it was sent to.
    pub fn address(&self) -> &Address {
        &self.0.address
    }

    /// Its bytes.
    pub fn payload(&self) -> &Payload {
        &self.0.payload
    }

    /// When it expires; it is never handed over at or after this time.
    pub fn expires_at(&self) -> Option<Time> {
        self.0.expires_at
    }

    /// What must be true before anyone may answer Accepted.
    pub fn durability(&self) -> Durability {
        self.0.durability
    }

    /// 0 to 9, higher first.
    pub fn priority(&self) -> u8 {
        self.0.priority
    }

    /// Whether it becomes the last value of its address.
    pub fn retain(&self) -> bool {
        self.0.retain
    }

    /// Whether it is for consumers attached now, and for nobody later.
    pub fn live(&self) -> bool {
        self.0.live
    }

    /// Who sent it, as the server that took it in knows.
    pub fn origin(&self) -> Option<&Arc<Origin>> {
        self.0.origin.as_ref()
    }

    /// What few messages have.
    pub fn details(&self) -> &Details {
        static NONE: Details = Details::NONE;
        self.0.details.as_deref().unwrap_or(&NONE)
    }

    /// Whether it has [`details`](Self::details) at all.
    pub fn has_details(&self) -> bool {
        self.0.details.is_some()
    }

    /// Whether it has expired at `now`.
    pub fn has_expired(&self, now: Time) -> bool {
        self.0.expires_at.is_some_and(|at| at.has_passed(now))
    }

    /// What it costs a queue, in bytes: payload, properties and a fixed share.
    pub fn cost(&self) -> usize {
        const FIXED: usize = 256;
        let properties = |list: &Properties| list.iter().map(|(name, _)| name.len() + 64).sum::<usize>();
        let bare = |d: &Details| d.bare.as_ref().map_or(0, Bare::len);
        let details = self
            .0
            .details
            .as_ref()
            .map_or(0, |d| properties(&d.properties) + properties(&d.annotations) + bare(d) + 256);
        FIXED + self.0.payload.len() + self.0.address.as_str().len() + details
    }

    /// Whether the two share one allocation.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether it may pin a buffer that it was read into: its payload is not inline, or it has details.
    pub fn pins(&self) -> bool {
        self.0.payload.shared().is_some() || self.0.details.is_some()
    }

    /// The same message in memory of its own, for what is parked, retained or stored. Free unless it [`pins`](Self::pins); a
    /// name that is a slice of a larger buffer cannot be told, so readers make it their own.
    #[must_use]
    pub fn detach(&self) -> Self {
        if !self.pins() {
            return self.clone();
        }
        let mut parts = Parts::clone(&self.0);
        parts.address = parts.address.detach();
        parts.payload = parts.payload.detach();
        if let Some(details) = &mut parts.details {
            details.detach();
        }
        Self(Arc::new(parts))
    }
}

impl Details {
    /// Moves all text and bytes into memory of their own.
    fn detach(&mut self) {
        let texts = [&mut self.content_type, &mut self.content_encoding, &mut self.subject, &mut self.group];
        for text in texts.into_iter().flatten() {
            *text = String::from(&**text).into();
        }
        for value in [&mut self.message_id, &mut self.correlation_id].into_iter().flatten() {
            *value = value.detach();
        }
        self.reply_to = self.reply_to.as_ref().map(Address::detach);
        self.properties = self.properties.detach();
        self.annotations = self.annotations.detach();
        self.bare = self.bare.as_ref().map(Bare::detach);
    }
}

/// A message in the making.
#[derive(Clone, Debug)]
#[must_use]
pub struct MessageBuilder(Parts);

impl MessageBuilder {
    /// Sends it elsewhere.
    pub fn address(mut self, address: Address) -> Self {
        self.0.address = address;
        self
    }

    /// Replaces the bytes.
    pub fn payload(mut self, payload: impl Into<Payload>) -> Self {
        self.0.payload = payload.into();
        self.unlike_sent();
        self
    }

    /// When it expires.
    pub fn expires_at(mut self, at: impl Into<Option<Time>>) -> Self {
        self.0.expires_at = at.into();
        self
    }

    /// When it expires as it stands.
    pub(crate) fn expiry(&self) -> Option<Time> {
        self.0.expires_at
    }

    /// What must be true before anyone may answer Accepted.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.0.durability = durability;
        self
    }

    /// 0 to 9, higher first; more than 9 is 9.
    pub fn priority(mut self, priority: u8) -> Self {
        self.0.priority = priority.min(9);
        self
    }

    /// Makes it the last value of its address.
    pub fn retain(mut self, retain: bool) -> Self {
        self.0.retain = retain;
        self
    }

    /// For consumers attached now, and for nobody later.
    pub fn live(mut self, live: bool) -> Self {
        self.0.live = live;
        self
    }

    /// Stamps who sent it: for servers.
    pub fn origin(mut self, origin: Arc<Origin>) -> Self {
        self.0.origin = Some(origin);
        self
    }

    /// Adds a property at the end.
    pub fn property(mut self, name: impl Into<ByteString>, value: impl Into<Value>) -> Self {
        self.unlike_sent();
        self.details(|details| details.properties.push(name, value))
    }

    /// Sets what few messages have.
    pub fn details(mut self, set: impl FnOnce(&mut Details)) -> Self {
        set(self.0.details.get_or_insert_default());
        self
    }

    /// The message.
    pub fn build(self) -> Message {
        Message(Arc::new(self.0))
    }

    fn unlike_sent(&mut self) {
        if let Some(details) = &mut self.0.details {
            details.bare = None;
        }
    }
}
