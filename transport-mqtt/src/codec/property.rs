//! The properties of MQTT 5.0 (section 2.2.2): one walker that checks everything the standard asks of a block, and one writer.

use alloc::vec::Vec;
use core::num::NonZeroU16;

use bytestring::ByteString;

use super::limits::Limits;
use super::reader::Reader;
use super::sink::{Counter, Sink};
use super::text::topic;
use super::types::QoS;
use crate::error::DecodeError;

/// User properties in the order they came; names may repeat [MQTT-3.3.2-18].
pub type UserProperties = Vec<(ByteString, ByteString)>;

/// One property, borrowed from its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the standard's own")]
pub enum Property<'a> {
    /// True: the payload is UTF-8.
    PayloadFormat(bool),
    /// Seconds.
    MessageExpiry(u32),
    ContentType(&'a str),
    ResponseTopic(&'a str),
    CorrelationData(&'a [u8]),
    /// 1..=268,435,455.
    SubscriptionId(u32),
    /// Seconds; `u32::MAX` is never.
    SessionExpiry(u32),
    AssignedClientId(&'a str),
    /// Seconds; zero is off.
    ServerKeepAlive(u16),
    AuthMethod(&'a str),
    AuthData(&'a [u8]),
    RequestProblemInformation(bool),
    /// Seconds.
    WillDelay(u32),
    RequestResponseInformation(bool),
    ResponseInformation(&'a str),
    ServerReference(&'a str),
    ReasonString(&'a str),
    ReceiveMaximum(NonZeroU16),
    TopicAliasMaximum(u16),
    TopicAlias(NonZeroU16),
    /// QoS 0 or 1; QoS 2 is said by leaving the property out.
    MaximumQos(QoS),
    RetainAvailable(bool),
    User(&'a str, &'a str),
    /// Bytes; not zero.
    MaximumPacketSize(u32),
    WildcardSubscriptionAvailable(bool),
    SubscriptionIdsAvailable(bool),
    SharedSubscriptionAvailable(bool),
}

/// Where a block of properties stands; each place allows its own set (table 2-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Place {
    /// CONNECT.
    Connect = 1,
    /// The will of a CONNECT.
    Will = 2,
    /// CONNACK.
    ConnAck = 4,
    /// PUBLISH.
    Publish = 8,
    /// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK.
    Ack = 16,
    /// SUBSCRIBE.
    Subscribe = 32,
    /// UNSUBSCRIBE.
    Unsubscribe = 64,
    /// DISCONNECT.
    Disconnect = 128,
    /// AUTH.
    Auth = 256,
}

/// What every answer may carry: a text for a human and user properties.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notes {
    /// A diagnostic for a human, not to be parsed.
    pub reason_string: Option<ByteString>,
    /// The user properties.
    pub user: UserProperties,
}

impl Notes {
    /// Only a text.
    pub fn text(text: impl Into<ByteString>) -> Self {
        Self { reason_string: Some(text.into()), user: Vec::new() }
    }

    /// True if there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.reason_string.is_none() && self.user.is_empty()
    }

    pub(crate) fn read(block: &[u8], place: Place, limits: &Limits) -> Result<Self, DecodeError> {
        let mut notes = Self::default();
        for property in Walker::new(block, place, limits) {
            notes.set(&property?);
        }
        Ok(notes)
    }

    /// Takes the two properties that are a note and ignores the rest.
    pub(crate) fn set(&mut self, property: &Property<'_>) {
        match *property {
            Property::ReasonString(text) => self.reason_string = Some(text.into()),
            Property::User(name, value) => self.user.push((name.into(), value.into())),
            _ => {}
        }
    }
}

/// Whatever can list its properties. `each` calls `f` for every property, in order, the same way each time.
pub(crate) trait PropertySet {
    fn each(&self, f: &mut impl FnMut(Property<'_>));
}

impl PropertySet for Notes {
    fn each(&self, f: &mut impl FnMut(Property<'_>)) {
        each_text(&self.reason_string, Property::ReasonString, f);
        each_user(&self.user, f);
    }
}

/// Calls `f` with an optional string.
pub(crate) fn each_text<'a>(
    text: &'a Option<ByteString>,
    property: fn(&'a str) -> Property<'a>,
    f: &mut impl FnMut(Property<'_>),
) {
    if let Some(text) = text {
        f(property(text));
    }
}

pub(crate) fn each_user(user: &UserProperties, f: &mut impl FnMut(Property<'_>)) {
    user.iter().for_each(|(name, value)| f(Property::User(name, value)));
}

/// Writes a whole block: its length and its properties.
pub(crate) fn write_block<S: Sink>(set: &impl PropertySet, sink: &mut S) {
    let mut counter = Counter::default();
    set.each(&mut |property| property.write(&mut counter));
    sink.varint(counter.len());
    set.each(&mut |property| property.write(sink));
}

/// Walks a block and checks it: bounds, allowed properties, once-only properties, value ranges, strings, the number of user properties.
/// After an error it yields nothing more.
#[derive(Debug, Clone)]
pub(crate) struct Walker<'a> {
    reader: Reader<'a>,
    place: Place,
    seen: u64,
    users_left: u16,
    users_max: u16,
}

impl<'a> Walker<'a> {
    pub(crate) fn new(block: &'a [u8], place: Place, limits: &Limits) -> Self {
        let users_max = limits.user_properties_max;
        Self { reader: Reader::new(block), place, seen: 0, users_left: users_max, users_max }
    }

    fn step(&mut self) -> Result<Property<'a>, DecodeError> {
        // Every identifier is below 128, so that its variable byte integer is one byte.
        let id = self.reader.u8()?;
        if places(id) & self.place as u16 == 0 {
            return Err(DecodeError::PropertyNotAllowed(id));
        }
        self.count(id)?;
        Property::read(id, &mut self.reader)
    }

    fn count(&mut self, id: u8) -> Result<(), DecodeError> {
        match id {
            USER => match self.users_left.checked_sub(1) {
                Some(left) => self.users_left = left,
                None => return Err(DecodeError::TooManyUserProperties(self.users_max)),
            },
            SUBSCRIPTION_ID if self.place == Place::Publish => {}
            _ if self.seen & 1 << id != 0 => return Err(DecodeError::PropertyRepeated(id)),
            _ => self.seen |= 1 << id,
        }
        Ok(())
    }
}

impl<'a> Iterator for Walker<'a> {
    type Item = Result<Property<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(step)
    }
}

const SUBSCRIPTION_ID: u8 = 0x0b;
const USER: u8 = 0x26;

/// The places where a property may stand (table 2-4); none for an identifier that does not exist.
const fn places(id: u8) -> u16 {
    use Place::*;
    match id {
        0x01 | 0x02 | 0x03 | 0x08 | 0x09 => Publish as u16 | Will as u16,
        SUBSCRIPTION_ID => Publish as u16 | Subscribe as u16,
        0x11 => Connect as u16 | ConnAck as u16 | Disconnect as u16,
        0x12 | 0x13 | 0x1a | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => ConnAck as u16,
        0x15 | 0x16 => Connect as u16 | ConnAck as u16 | Auth as u16,
        0x17 | 0x19 => Connect as u16,
        0x18 => Will as u16,
        0x1c => ConnAck as u16 | Disconnect as u16,
        0x1f => ConnAck as u16 | Ack as u16 | Disconnect as u16 | Auth as u16,
        0x21 | 0x22 | 0x27 => Connect as u16 | ConnAck as u16,
        0x23 => Publish as u16,
        USER => u16::MAX,
        _ => 0,
    }
}

impl<'a> Property<'a> {
    fn read(id: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let bad = DecodeError::PropertyValue(id);
        Ok(match id {
            0x01 => Self::PayloadFormat(flag(id, reader)?),
            0x02 => Self::MessageExpiry(reader.u32()?),
            0x03 => Self::ContentType(reader.text()?),
            0x08 => Self::ResponseTopic(response_topic(reader)?),
            0x09 => Self::CorrelationData(reader.binary()?),
            SUBSCRIPTION_ID => Self::SubscriptionId(Some(reader.varint()?).filter(|&id| id != 0).ok_or(bad)?),
            0x11 => Self::SessionExpiry(reader.u32()?),
            0x12 => Self::AssignedClientId(reader.text()?),
            0x13 => Self::ServerKeepAlive(reader.u16()?),
            0x15 => Self::AuthMethod(reader.text()?),
            0x16 => Self::AuthData(reader.binary()?),
            0x17 => Self::RequestProblemInformation(flag(id, reader)?),
            0x18 => Self::WillDelay(reader.u32()?),
            0x19 => Self::RequestResponseInformation(flag(id, reader)?),
            0x1a => Self::ResponseInformation(reader.text()?),
            0x1c => Self::ServerReference(reader.text()?),
            0x1f => Self::ReasonString(reader.text()?),
            0x21 => Self::ReceiveMaximum(NonZeroU16::new(reader.u16()?).ok_or(bad)?),
            0x22 => Self::TopicAliasMaximum(reader.u16()?),
            0x23 => Self::TopicAlias(NonZeroU16::new(reader.u16()?).ok_or(DecodeError::TopicAlias(0))?),
            0x24 => Self::MaximumQos(if flag(id, reader)? { QoS::AtLeastOnce } else { QoS::AtMostOnce }),
            0x25 => Self::RetainAvailable(flag(id, reader)?),
            USER => Self::User(reader.text()?, reader.text()?),
            0x27 => Self::MaximumPacketSize(Some(reader.u32()?).filter(|&bytes| bytes != 0).ok_or(bad)?),
            0x28 => Self::WildcardSubscriptionAvailable(flag(id, reader)?),
            0x29 => Self::SubscriptionIdsAvailable(flag(id, reader)?),
            0x2a => Self::SharedSubscriptionAvailable(flag(id, reader)?),
            _ => return Err(DecodeError::PropertyNotAllowed(id)),
        })
    }

    #[inline]
    pub(crate) fn write<S: Sink>(&self, sink: &mut S) {
        match *self {
            Self::PayloadFormat(on) => put_u8(sink, 0x01, on.into()),
            Self::MessageExpiry(seconds) => put_u32(sink, 0x02, seconds),
            Self::ContentType(text) => put_text(sink, 0x03, text),
            Self::ResponseTopic(text) => put_text(sink, 0x08, text),
            Self::CorrelationData(data) => put_field(sink, 0x09, data),
            Self::SubscriptionId(id) => {
                sink.u8(SUBSCRIPTION_ID);
                sink.varint(id as usize);
            }
            Self::SessionExpiry(seconds) => put_u32(sink, 0x11, seconds),
            Self::AssignedClientId(text) => put_text(sink, 0x12, text),
            Self::ServerKeepAlive(seconds) => put_u16(sink, 0x13, seconds),
            Self::AuthMethod(text) => put_text(sink, 0x15, text),
            Self::AuthData(data) => put_field(sink, 0x16, data),
            Self::RequestProblemInformation(on) => put_u8(sink, 0x17, on.into()),
            Self::WillDelay(seconds) => put_u32(sink, 0x18, seconds),
            Self::RequestResponseInformation(on) => put_u8(sink, 0x19, on.into()),
            Self::ResponseInformation(text) => put_text(sink, 0x1a, text),
            Self::ServerReference(text) => put_text(sink, 0x1c, text),
            Self::ReasonString(text) => put_text(sink, 0x1f, text),
            Self::ReceiveMaximum(packets) => put_u16(sink, 0x21, packets.get()),
            Self::TopicAliasMaximum(aliases) => put_u16(sink, 0x22, aliases),
            Self::TopicAlias(alias) => put_u16(sink, 0x23, alias.get()),
            Self::MaximumQos(qos) => put_u8(sink, 0x24, qos.bits().min(1)),
            Self::RetainAvailable(on) => put_u8(sink, 0x25, on.into()),
            Self::User(name, value) => {
                put_text(sink, USER, name);
                sink.text(value);
            }
            Self::MaximumPacketSize(bytes) => put_u32(sink, 0x27, bytes),
            Self::WildcardSubscriptionAvailable(on) => put_u8(sink, 0x28, on.into()),
            Self::SubscriptionIdsAvailable(on) => put_u8(sink, 0x29, on.into()),
            Self::SharedSubscriptionAvailable(on) => put_u8(sink, 0x2a, on.into()),
        }
    }
}

fn flag(id: u8, reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::PropertyValue(id)),
    }
}

/// A response topic is a topic name, so that it has no wildcards and is not empty [MQTT-3.3.2-14, MQTT-4.7.3-1].
fn response_topic<'a>(reader: &mut Reader<'a>) -> Result<&'a str, DecodeError> {
    let name = topic(reader.binary()?)?;
    if name.is_empty() { Err(DecodeError::TopicName) } else { Ok(name) }
}

fn put_u8(sink: &mut impl Sink, id: u8, value: u8) {
    sink.put(&[id, value]);
}

fn put_u16(sink: &mut impl Sink, id: u8, value: u16) {
    sink.u8(id);
    sink.u16(value);
}

fn put_u32(sink: &mut impl Sink, id: u8, value: u32) {
    sink.u8(id);
    sink.u32(value);
}

fn put_text(sink: &mut impl Sink, id: u8, text: &str) {
    sink.u8(id);
    sink.text(text);
}

fn put_field(sink: &mut impl Sink, id: u8, value: &[u8]) {
    sink.u8(id);
    sink.field(value);
}
