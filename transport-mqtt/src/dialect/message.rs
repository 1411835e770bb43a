use alloc::string::ToString;

use bytes::Bytes;
use bytestring::ByteString;
use roadbed_core::{
    Address, Delivery, Details, Durability, Losses, Message, MessageBuilder, Payload, ReadContext, Result, Time, Value,
    WireMessage, WireQos, cloudevents,
};

use super::beside::{Beside, Came};
use super::event;
use crate::codec::{PacketId, Property, Publish, PublishView, QoS, Version};

/// Reads a PUBLISH whose topic and payload are at hand. A sidecar is believed if it has at most so many bytes.
#[inline]
pub(crate) fn read_view(
    view: &PublishView<'_>,
    address: Address,
    payload: Payload,
    durability: Durability,
    context: &ReadContext<'_>,
    sidecar_bytes_max: usize,
) -> Message {
    let builder =
        Message::builder(address, payload).durability(durability).retain(view.retain).origin(context.origin.clone());
    read_properties(builder, context.now, sidecar_bytes_max, view.properties.iter())
}

fn read_properties<'a>(
    mut builder: MessageBuilder,
    now: Time,
    sidecar_bytes_max: usize,
    properties: impl Iterator<Item = Property<'a>>,
) -> Message {
    let (mut came, mut has_user) = (Came::default(), false);
    for property in properties {
        builder = match property {
            Property::MessageExpiry(secs) => builder.expires_at(expiry(secs, now)),
            Property::User(name, value) if came.take(name, value, sidecar_bytes_max) => builder,
            Property::User(name, value) => {
                has_user = true;
                builder.details(|details| details.properties.push(ByteString::from(name), value))
            }
            property => builder.details(|details| read_property(&property, details)),
        };
    }
    if has_user {
        builder = builder.details(event::read);
    }
    match came.sidecar {
        Some(sidecar) => sidecar.restore(builder).build(),
        None => builder.build(),
    }
}

fn expiry(secs: u32, now: Time) -> Time {
    now + core::time::Duration::from_secs(secs.into())
}

/// A property of the message; those of the connection (alias, subscription identifier) and the expiry are not.
fn read_property(property: &Property<'_>, details: &mut Details) {
    match *property {
        Property::PayloadFormat(is_text) => details.utf8 = Some(is_text),
        Property::ContentType(text) => details.content_type = Some(text.into()),
        // The codec has refused wildcards and emptiness.
        Property::ResponseTopic(topic) => details.reply_to = Address::new(topic).ok(),
        Property::CorrelationData(data) => details.correlation_id = Some(Value::Binary(Bytes::copy_from_slice(data))),
        _ => {}
    }
}

/// Lists the properties of a message as MQTT 5.0 says them.
pub(crate) fn write_properties(message: &Message, now: Time, beside: &Beside, f: &mut dyn FnMut(Property<'_>)) {
    beside.write(f);
    if let Some(at) = message.expires_at() {
        f(Property::MessageExpiry(seconds_left(at, now)));
    }
    if !message.has_details() {
        return;
    }
    let details = message.details();
    if let Some(is_text) = details.utf8 {
        f(Property::PayloadFormat(is_text));
    }
    if let Some(text) = details.content_type.as_deref().filter(|text| is_sayable(text)) {
        f(Property::ContentType(text));
    }
    if let Some(address) = &details.reply_to {
        f(Property::ResponseTopic(address.as_str()));
    }
    if let Some(id) = &details.correlation_id {
        write_correlation(id, f);
    }
    let is_event = cloudevents::is_event(&details.properties);
    for (name, value) in details.properties.iter() {
        match cloudevents::attribute(name).filter(|_| is_event) {
            Some(attribute) => write_user(attribute, &Value::Text((*cloudevents::text(value)).into()), f),
            None => write_user(name, value, f),
        }
    }
}

/// Rounded up, and never zero: a message that is sent has not expired (section 3.3.2.3.3).
fn seconds_left(at: Time, now: Time) -> u32 {
    let nanos = at.remaining(now).as_nanos();
    u32::try_from(nanos.div_ceil(1_000_000_000)).unwrap_or(u32::MAX).max(1)
}

fn write_correlation(id: &Value, f: &mut dyn FnMut(Property<'_>)) {
    let fits = |data: &[u8]| data.len() <= usize::from(u16::MAX);
    match id {
        Value::Null => {}
        Value::Binary(data) if fits(data) => f(Property::CorrelationData(data)),
        Value::Binary(_) => {}
        Value::Text(text) if fits(text.as_bytes()) => f(Property::CorrelationData(text.as_bytes())),
        Value::Text(_) => {}
        Value::Uuid(id) => f(Property::CorrelationData(id)),
        other => f(Property::CorrelationData(other.to_string().as_bytes())),
    }
}

fn write_user(name: &str, value: &Value, f: &mut dyn FnMut(Property<'_>)) {
    if !is_sayable(name) {
        return;
    }
    match value {
        Value::Text(text) if is_sayable(text) => f(Property::User(name, text)),
        Value::Text(_) => {}
        other => {
            let text = other.to_string();
            if is_sayable(&text) {
                f(Property::User(name, &text));
            }
        }
    }
}

/// What a UTF-8 string of MQTT can be [MQTT-1.5.4-2].
pub(crate) fn is_sayable(text: &str) -> bool {
    text.len() <= usize::from(u16::MAX) && !text.contains('\0')
}

/// Counts what a message has and MQTT has no place for.
#[inline]
pub(crate) fn note_losses(message: &Message, version: Version, losses: &mut Losses) {
    const SECTION: &str = "MQTT 5.0, 3.3.2.3";
    if message.priority() != Message::PRIORITY_DEFAULT {
        losses.note("priority", SECTION);
    }
    if !version.is_v5() && message.expires_at().is_some() {
        losses.note("expiry", "MQTT 3.1.1, 3.3");
    }
    if message.has_details() {
        note_details(message.details(), version, losses);
    }
}

fn note_details(details: &Details, version: Version, losses: &mut Losses) {
    const V5: &str = "MQTT 5.0, 3.3.2.3";
    const V3: &str = "MQTT 3.1.1, 3.3";
    let section = if version.is_v5() { V5 } else { V3 };
    let mut never = |lost: bool, what| {
        if lost {
            losses.note(what, section);
        }
    };
    never(details.content_encoding.is_some(), "content encoding");
    // What an event says of itself is in its attributes.
    let event = version.is_v5() && cloudevents::is_event(&details.properties);
    never(details.message_id.is_some() && !event, "message id");
    never(details.subject.is_some() && !event, "subject");
    never(details.group.is_some() && !event, "group");
    never(details.created_at.is_some() && !event, "creation time");
    never(details.deliver_after.is_some(), "deliver after");
    never(details.deadline.is_some(), "deadline");
    never(!details.annotations.is_empty(), "annotations");
    let only = details.bare.iter().flat_map(|bare| &bare.only);
    only.for_each(|what| never(true, what));
    if version.is_v5() {
        let text = |value: &Value| value.as_str().is_some_and(is_sayable);
        never(details.content_type.as_deref().is_some_and(|text| !is_sayable(text)), "content type");
        never(!matches!(details.correlation_id, None | Some(Value::Binary(_))), "type of the correlation id");
        never(!details.properties.iter().all(|(name, value)| is_sayable(name) && text(value)), "type of a property");
    } else {
        never(details.utf8.is_some(), "payload format");
        never(details.content_type.is_some(), "content type");
        never(details.reply_to.is_some(), "reply to");
        never(details.correlation_id.is_some(), "correlation id");
        never(!details.properties.is_empty(), "properties");
    }
}

impl WireMessage for Publish {
    fn read(self, context: &ReadContext<'_>) -> Result<Message> {
        self.read_beside(context, 0)
    }

    fn write(delivery: &Delivery, now: Time, losses: &mut Losses) -> Result<Self> {
        Self::write_beside(delivery, now, 0, losses)
    }
}

impl Publish {
    /// Reads the packet. A sidecar is believed if it has at most so many bytes.
    ///
    /// # Errors
    /// If the topic is not a legal address.
    pub fn read_beside(self, context: &ReadContext<'_>, sidecar_bytes_max: usize) -> Result<Message> {
        let address = Address::new(self.topic.clone())
            .map_err(|error| roadbed_core::Error::new(roadbed_core::ErrorKind::Invalid, "receive").because(error))?;
        Ok(self.message(address, context, sidecar_bytes_max))
    }

    /// Writes a delivery, with a sidecar of at most so many bytes.
    ///
    /// # Errors
    /// None at present: MQTT can carry every message.
    pub fn write_beside(delivery: &Delivery, now: Time, sidecar_bytes_max: usize, losses: &mut Losses) -> Result<Self> {
        let message = &delivery.message;
        let mut this = plain(delivery)?;
        let count = delivery.info.as_ref().map_or(0, |info| info.count);
        let beside = Beside::new(message, count, sidecar_bytes_max);
        if !beside.is_whole() {
            note_losses(message, Version::V5, losses);
        }
        write_properties(message, now, &beside, &mut |property| this.set(&property));
        if let Some(info) = &delivery.info {
            this.subscription_ids.clone_from(&info.bindings);
        }
        Ok(this)
    }

    fn message(&self, address: Address, context: &ReadContext<'_>, sidecar_bytes_max: usize) -> Message {
        let builder = Message::builder(address, self.payload.clone())
            .durability(Durability::Session)
            .retain(self.retain)
            .origin(context.origin.clone());
        let properties = [
            self.message_expiry_secs.map(Property::MessageExpiry),
            self.payload_is_text.map(Property::PayloadFormat),
            self.content_type.as_deref().map(Property::ContentType),
            self.response_topic.as_deref().map(Property::ResponseTopic),
            self.correlation_data.as_deref().map(Property::CorrelationData),
        ];
        let user = self.user.iter().map(|(name, value)| Property::User(name, value));
        let properties = properties.into_iter().flatten().chain(user);
        read_properties(builder, context.now, sidecar_bytes_max, properties)
    }
}

/// A PUBLISH of MQTT 3: a [`Publish`] whose properties are not said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlainPublish(pub Publish);

impl WireMessage for PlainPublish {
    fn read(self, context: &ReadContext<'_>) -> Result<Message> {
        let Publish { topic, payload, retain, .. } = self.0;
        Publish { topic, payload, retain, ..Publish::default() }.read(context)
    }

    fn write(delivery: &Delivery, _now: Time, losses: &mut Losses) -> Result<Self> {
        note_losses(&delivery.message, Version::V311, losses);
        plain(delivery).map(Self)
    }
}

/// What every version can say.
fn plain(delivery: &Delivery) -> Result<Publish> {
    Ok(Publish {
        dup: false,
        qos: QoS::write(delivery.qos)?,
        retain: delivery.retained,
        packet_id: delivery.handle.and_then(|handle| PacketId::new(handle.slot())),
        topic: delivery.message.address().name().clone(),
        payload: delivery.message.payload().to_bytes(),
        ..Publish::default()
    })
}
