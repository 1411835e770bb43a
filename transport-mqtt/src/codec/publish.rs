//! PUBLISH (section 3.3), the packet that speed depends on.

use alloc::vec::Vec;
use core::num::NonZeroU16;

use bytes::{BufMut, Bytes};
use bytestring::ByteString;

use super::frame::Frame;
use super::limits::Limits;
use super::property::{Place, Property, PropertySet, UserProperties, Walker};
use super::reader::Reader;
use super::sink::{Counter, Head, Sink, VARINT_MAX, Writer, whole};
use super::text;
use super::types::{PacketId, PacketType, QoS, Version};
use crate::error::{DecodeError, EncodeError};

const DUP: u8 = 0b1000;
const RETAIN: u8 = 0b0001;

/// A PUBLISH as it lies in its chunk: everything is checked except the characters of the topic, nothing is copied or allocated.
///
/// A connection that publishes to one topic again and again compares [`PublishView::topic_bytes`] with the last topic and has no need to check it twice.
#[derive(Debug, Clone)]
pub struct PublishView<'a> {
    /// The message may have been sent before (section 3.3.1.1).
    pub dup: bool,
    /// The quality of service of this hop.
    pub qos: QoS,
    /// The message is to be retained, or comes because it was (section 3.3.1.3).
    pub retain: bool,
    /// Present exactly for QoS 1 and 2.
    pub packet_id: Option<PacketId>,
    /// The properties; none before MQTT 5.0.
    pub properties: PublishProperties<'a>,
    topic: &'a [u8],
    payload: &'a [u8],
    frame: Frame<'a>,
}

impl<'a> PublishView<'a> {
    /// Reads a frame of type PUBLISH.
    ///
    /// # Errors
    /// Whatever section 3.3 forbids, except for a topic alias beyond what was offered and a subscription identifier from a client: both depend on
    /// the connection.
    #[inline]
    pub fn read(frame: Frame<'a>, version: Version, limits: &Limits) -> Result<Self, DecodeError> {
        debug_assert_eq!(frame.kind(), PacketType::Publish);
        let flags = frame.flags();
        let qos = QoS::from_bits(flags >> 1 & 3).ok_or(DecodeError::QoS3)?;
        let dup = flags & DUP != 0;
        if dup && qos == QoS::AtMostOnce {
            return Err(DecodeError::DupWithoutQos);
        }
        let mut reader = Reader::new(frame.body());
        let topic = reader.binary()?;
        let packet_id = if qos == QoS::AtMostOnce { None } else { Some(reader.packet_id()?) };
        let properties = match version {
            Version::V5 => PublishProperties::read(reader.properties()?, limits)?,
            _ => PublishProperties::default(),
        };
        if topic.is_empty() && properties.topic_alias.is_none() {
            return Err(if version.is_v5() { DecodeError::TopicMissing } else { DecodeError::TopicName });
        }
        let payload = reader.take_rest();
        Ok(Self { dup, qos, retain: flags & RETAIN != 0, packet_id, properties, topic, payload, frame })
    }

    /// The topic name, not yet checked; empty if only the alias tells.
    pub fn topic_bytes(&self) -> &'a [u8] {
        self.topic
    }

    /// The topic name; empty if only the alias tells.
    ///
    /// # Errors
    /// [`DecodeError::Utf8`], [`DecodeError::Nul`], or [`DecodeError::TopicName`] for a wildcard.
    pub fn topic(&self) -> Result<&'a str, DecodeError> {
        text::topic(self.topic)
    }

    /// The payload where it lies.
    pub fn payload_bytes(&self) -> &'a [u8] {
        self.payload
    }

    /// The payload as a slice of the chunk, which it keeps alive.
    pub fn payload(&self) -> Bytes {
        self.frame.share(self.payload)
    }

    /// A part of this packet as a slice of the chunk, which it keeps alive.
    ///
    /// # Panics
    /// If `part` was not borrowed from this packet.
    pub fn share(&self, part: &'a [u8]) -> Bytes {
        self.frame.share(part)
    }

    /// An owned packet, whose strings are copies and whose payload is a slice of the chunk.
    ///
    /// # Errors
    /// As [`PublishView::topic`].
    pub fn to_packet(&self) -> Result<Publish, DecodeError> {
        let mut packet = Publish {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            packet_id: self.packet_id,
            topic: self.topic()?.into(),
            payload: self.payload(),
            ..Publish::default()
        };
        self.properties.iter().for_each(|property| packet.set(&property));
        Ok(packet)
    }
}

/// The checked properties of a PUBLISH, borrowed from its chunk; those that may repeat are walked on demand.
#[derive(Debug, Clone, Default)]
pub struct PublishProperties<'a> {
    /// Stands for the topic name on this connection (section 3.3.2.3.4).
    pub topic_alias: Option<NonZeroU16>,
    /// The payload is UTF-8 (`true`) or unspecified bytes (`false`). The payload itself is not checked.
    pub payload_is_text: Option<bool>,
    /// Seconds until nobody wants the message any more.
    pub message_expiry_secs: Option<u32>,
    /// The content type, a string of the application.
    pub content_type: Option<&'a str>,
    /// Where an answer should go; not empty, without wildcards.
    pub response_topic: Option<&'a str>,
    /// What an answer should carry.
    pub correlation_data: Option<&'a [u8]>,
    block: &'a [u8],
    has_user: bool,
    has_ids: bool,
}

impl<'a> PublishProperties<'a> {
    fn read(block: &'a [u8], limits: &Limits) -> Result<Self, DecodeError> {
        let mut this = Self { block, ..Self::default() };
        for property in Walker::new(block, Place::Publish, limits) {
            match property? {
                Property::TopicAlias(alias) => this.topic_alias = Some(alias),
                Property::PayloadFormat(is_text) => this.payload_is_text = Some(is_text),
                Property::MessageExpiry(seconds) => this.message_expiry_secs = Some(seconds),
                Property::ContentType(text) => this.content_type = Some(text),
                Property::ResponseTopic(text) => this.response_topic = Some(text),
                Property::CorrelationData(data) => this.correlation_data = Some(data),
                Property::SubscriptionId(_) => this.has_ids = true,
                Property::User(..) => this.has_user = true,
                _ => {}
            }
        }
        Ok(this)
    }

    /// True if the packet names subscriptions, which only a server may do [MQTT-3.3.4-6].
    pub fn has_subscription_ids(&self) -> bool {
        self.has_ids
    }

    /// All properties in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = Property<'a>> + 'a {
        self.again(true)
    }

    /// The subscriptions that the message matched.
    pub fn subscription_ids(&self) -> impl Iterator<Item = u32> + 'a {
        self.again(self.has_ids).filter_map(|property| match property {
            Property::SubscriptionId(id) => Some(id),
            _ => None,
        })
    }

    /// The user properties in order, repeated names included.
    pub fn user(&self) -> impl Iterator<Item = (&'a str, &'a str)> + 'a {
        self.again(self.has_user).filter_map(|property| match property {
            Property::User(name, value) => Some((name, value)),
            _ => None,
        })
    }

    /// Walks a block that has been checked once more, if there is a reason to.
    fn again(&self, wanted: bool) -> impl Iterator<Item = Property<'a>> + 'a {
        let block = if wanted { self.block } else { &[] };
        Walker::new(block, Place::Publish, &Limits::default().user_properties_max(u16::MAX)).map_while(Result::ok)
    }
}

/// An owned PUBLISH.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "as in PublishView and PublishProperties")]
pub struct Publish {
    pub dup: bool,
    pub qos: QoS,
    pub retain: bool,
    pub packet_id: Option<PacketId>,
    pub topic: ByteString,
    pub payload_is_text: Option<bool>,
    pub message_expiry_secs: Option<u32>,
    pub content_type: Option<ByteString>,
    pub response_topic: Option<ByteString>,
    pub correlation_data: Option<Bytes>,
    pub topic_alias: Option<NonZeroU16>,
    pub subscription_ids: Vec<u32>,
    pub user: UserProperties,
    pub payload: Bytes,
}

impl Publish {
    fn header(&self) -> PublishHeader<'_> {
        PublishHeader {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            packet_id: self.packet_id,
            topic: &self.topic,
        }
    }

    /// The length of the whole packet in bytes.
    ///
    /// # Errors
    /// As [`PublishHeader::encode`].
    pub fn encoded_len(&self, version: Version) -> Result<usize, EncodeError> {
        self.header().encoded_len(version, |f| self.each(&mut |p| f(p)), self.payload.len())
    }

    /// Appends the whole packet to `out`.
    ///
    /// # Errors
    /// As [`PublishHeader::encode`].
    pub fn encode<B: BufMut>(&self, version: Version, out: &mut B) -> Result<(), EncodeError> {
        if out.remaining_mut() < self.encoded_len(version)? {
            return Err(EncodeError::NoRoom);
        }
        self.header().encode(version, |f| self.each(&mut |p| f(p)), self.payload.len(), out)?;
        out.put_slice(&self.payload);
        Ok(())
    }
}

impl Publish {
    /// Calls `f` with each property, in the order in which they are written.
    pub fn list(&self, mut f: impl FnMut(Property<'_>)) {
        self.each(&mut f);
    }

    /// Takes a property over; those that a PUBLISH cannot have are ignored.
    pub fn set(&mut self, property: &Property<'_>) {
        match *property {
            Property::PayloadFormat(is_text) => self.payload_is_text = Some(is_text),
            Property::MessageExpiry(secs) => self.message_expiry_secs = Some(secs),
            Property::TopicAlias(alias) => self.topic_alias = Some(alias),
            Property::ResponseTopic(topic) => self.response_topic = Some(topic.into()),
            Property::CorrelationData(data) => self.correlation_data = Some(Bytes::copy_from_slice(data)),
            Property::ContentType(text) => self.content_type = Some(text.into()),
            Property::SubscriptionId(id) => self.subscription_ids.push(id),
            Property::User(name, value) => self.user.push((name.into(), value.into())),
            _ => {}
        }
    }
}

impl PropertySet for Publish {
    fn each(&self, f: &mut impl FnMut(Property<'_>)) {
        let mut put = |property: Option<Property<'_>>| property.into_iter().for_each(&mut *f);
        put(self.payload_is_text.map(Property::PayloadFormat));
        put(self.message_expiry_secs.map(Property::MessageExpiry));
        put(self.topic_alias.map(Property::TopicAlias));
        put(self.response_topic.as_deref().map(Property::ResponseTopic));
        put(self.correlation_data.as_deref().map(Property::CorrelationData));
        self.user.iter().for_each(|(name, value)| put(Some(Property::User(name, value))));
        self.subscription_ids.iter().for_each(|&id| put(Some(Property::SubscriptionId(id))));
        put(self.content_type.as_deref().map(Property::ContentType));
    }
}

/// All of a PUBLISH that stands before its payload, to be written apart from it.
#[derive(Debug, Clone, Copy)]
pub struct PublishHeader<'a> {
    /// The message may have been sent before.
    pub dup: bool,
    /// The quality of service of this hop.
    pub qos: QoS,
    /// See [`PublishView::retain`].
    pub retain: bool,
    /// Needed exactly for QoS 1 and 2; ignored for QoS 0.
    pub packet_id: Option<PacketId>,
    /// The topic name, which is not checked here; empty if an alias stands for it.
    pub topic: &'a str,
}

impl PublishHeader<'_> {
    /// The length of the whole packet with a payload of `payload_bytes`.
    ///
    /// # Errors
    /// As [`PublishHeader::encode`].
    pub fn encoded_len(
        &self,
        version: Version,
        properties: impl Fn(&mut dyn FnMut(Property<'_>)),
        payload_bytes: usize,
    ) -> Result<usize, EncodeError> {
        Ok(whole(self.remaining(version, count(version, &properties), payload_bytes)?))
    }

    /// Appends everything before the payload to `out`; the caller appends exactly `payload_bytes`.
    ///
    /// `properties` calls its argument with each property in order; it is called twice, to count and to write, and must do the same both times. Before MQTT
    /// 5.0 it is not called.
    ///
    /// # Errors
    /// [`EncodeError::FieldTooLong`], [`EncodeError::PacketTooLong`], [`EncodeError::PacketIdMissing`], or [`EncodeError::NoRoom`] if `out` cannot take the
    /// header; then nothing has been written.
    #[inline]
    pub fn encode<B: BufMut>(
        &self,
        version: Version,
        properties: impl Fn(&mut dyn FnMut(Property<'_>)),
        payload_bytes: usize,
        out: &mut B,
    ) -> Result<(), EncodeError> {
        let counter = count(version, &properties);
        let remaining = self.remaining(version, counter, payload_bytes)?;
        if out.remaining_mut() < whole(remaining) - payload_bytes {
            return Err(EncodeError::NoRoom);
        }
        // Gathered first: a growing buffer checks its room at every write.
        let (mut before, mut after) = (Head::default(), Head::default());
        before.u8(self.first());
        before.varint(remaining);
        before.u16(self.topic.len() as u16);
        if let Some(id) = self.packet_id.filter(|_| self.qos != QoS::AtMostOnce) {
            after.u16(id.get());
        }
        if version.is_v5() {
            after.varint(counter.len());
        }
        out.put_slice(before.bytes());
        out.put_slice(self.topic.as_bytes());
        out.put_slice(after.bytes());
        if counter.len() > 0 {
            properties(&mut |property| property.write(&mut Writer(out)));
        }
        Ok(())
    }

    const fn first(&self) -> u8 {
        PacketType::Publish.first()
            | if self.dup { DUP } else { 0 }
            | self.qos.bits() << 1
            | if self.retain { RETAIN } else { 0 }
    }

    fn remaining(&self, version: Version, properties: Counter, payload_bytes: usize) -> Result<usize, EncodeError> {
        if self.qos != QoS::AtMostOnce && self.packet_id.is_none() {
            return Err(EncodeError::PacketIdMissing);
        }
        let mut counter = properties;
        if version.is_v5() {
            counter.varint(properties.len());
        }
        counter.field(self.topic.as_bytes());
        let id = if self.qos == QoS::AtMostOnce { 0 } else { 2 };
        let remaining = (counter.finish()? + id).saturating_add(payload_bytes);
        if remaining > VARINT_MAX { Err(EncodeError::PacketTooLong) } else { Ok(remaining) }
    }
}

#[inline]
fn count(version: Version, properties: &impl Fn(&mut dyn FnMut(Property<'_>))) -> Counter {
    let mut counter = Counter::default();
    if version.is_v5() {
        properties(&mut |property| property.write(&mut counter));
    }
    counter
}
