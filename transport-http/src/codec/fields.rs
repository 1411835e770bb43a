//! The headers of one message, read and written.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use roadbed_core::{
    Address, Details, Durability, Losses, Message, Origin, Payload, Qos, Sidecar, Time, Value, cloudevents,
};

use super::event::{self, EventError};
use super::{beside, names, property, text, value};
use crate::dialect::{HttpDurability, HttpQos};

/// How many headers one message may have, so that every client and proxy takes it.
pub(crate) const COUNT_MAX: usize = 80;
/// How many bytes of properties one message may have in its headers; in a page there may be more.
pub(crate) const PROPERTY_BYTES_MAX: usize = 16 << 10;
/// How many properties a message that is sent may have: each takes more memory than it has bytes.
const PROPERTIES_MAX: usize = 256;
/// The longest idempotency key, in bytes.
pub(crate) const KEY_BYTES_MAX: usize = 255;

/// A header that is not what it has to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header {name} {rule}")]
pub struct HeaderError {
    /// The header.
    pub name: HeaderName,
    /// What it has to be.
    pub rule: &'static str,
}

/// Whose headers they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// A client's: unknown headers of ours are refused, since they are misspelt; what only a server may say is ignored.
    Request,
    /// A server's: it is believed, and may say more than this version knows.
    Response,
}

/// What the headers say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields {
    pub(crate) details: Details,
    pub(crate) qos: Option<Qos>,
    pub(crate) key: Option<Bytes>,
    durability: Option<Durability>,
    priority: Option<u8>,
    ttl: Option<Duration>,
    retain: Option<bool>,
    live: Option<bool>,
    sender: Option<ByteString>,
    sender_protocol: Option<&'static str>,
    expires_at: Option<Time>,
    sidecar: Option<Sidecar>,
    has_details: bool,
}

impl Fields {
    /// Reads the headers of a message.
    pub(crate) fn read(headers: &HeaderMap, side: Side, now: Time) -> Result<Self, HeaderError> {
        let mut fields = Self::default();
        for (name, value) in headers {
            let read = fields.read_one(name, value, side, now);
            read.map_err(|rule| HeaderError { name: name.clone(), rule })?;
        }
        check_cloud_event(headers)?;
        if side == Side::Request && fields.details.properties.len() > PROPERTIES_MAX {
            const RULE: &str = "has too many properties: a message has at most 256";
            return Err(HeaderError { name: names::PROPERTIES, rule: RULE });
        }
        if side == Side::Request && fields.has_details {
            fields.expires_at = cloudevents::adopt(&mut fields.details);
        }
        Ok(fields)
    }

    /// Takes over what a peer that is trusted has sent beside the message.
    pub(crate) fn believe(mut self, headers: &HeaderMap, bytes_max: usize) -> Self {
        self.sidecar = beside::read(headers, bytes_max);
        self
    }

    /// Takes over an event in JSON: its data is the payload, and what it says counts more than what the headers say.
    pub(crate) fn take_event(&mut self, json: &Bytes) -> Result<Payload, EventError> {
        let details = self.details();
        details.content_type = None;
        let payload = event::read(json, details)?;
        self.expires_at = cloudevents::adopt(details);
        Ok(payload)
    }

    /// The message that has these fields.
    pub(crate) fn message(self, address: Address, payload: Payload, origin: Option<Arc<Origin>>, now: Time) -> Message {
        let mut message = Message::builder(address, payload)
            .durability(self.durability.unwrap_or_default())
            .priority(self.priority.unwrap_or(Message::PRIORITY_DEFAULT))
            .retain(self.retain.unwrap_or_default())
            .live(self.live.unwrap_or_default())
            .expires_at(self.ttl.map(|ttl| now + ttl).into_iter().chain(self.expires_at).min());
        if self.has_details {
            let details = self.details;
            message = message.details(|into| *into = details);
        }
        if let Some(sidecar) = self.sidecar {
            message = sidecar.restore(message);
        }
        match origin {
            Some(origin) => message.origin(origin).build(),
            None => message.build(),
        }
    }

    /// Who the server says sent it.
    pub(crate) fn sender(&self) -> Option<Arc<Origin>> {
        let (principal, protocol) = (self.sender.clone()?, self.sender_protocol.unwrap_or("http"));
        Some(Arc::new(Origin { principal, protocol }))
    }

    fn read_one(&mut self, name: &HeaderName, value: &HeaderValue, side: Side, now: Time) -> Result<(), &'static str> {
        let own = match name.as_str() {
            "content-type" => return self.text(value, |details| &mut details.content_type),
            "content-encoding" => return self.text(value, |details| &mut details.content_encoding),
            "idempotency-key" => return set_once(&mut self.key, key(value)?),
            name => match (name.strip_prefix(names::OWN), name.strip_prefix(names::CLOUD)) {
                (Some(own), _) => own,
                (None, Some(attribute)) => return self.cloud(attribute, value),
                (None, None) => return Ok(()),
            },
        };
        self.read_own(own, value, side, now)
    }

    fn read_own(&mut self, name: &str, value: &HeaderValue, side: Side, now: Time) -> Result<(), &'static str> {
        match name {
            "qos" => set_once(
                &mut self.qos,
                word(value, |text| HttpQos::from_text(text).map(|HttpQos(qos)| qos), "is 0, 1 or 2")?,
            ),
            "durability" => {
                let durability = word(
                    value,
                    |text| HttpDurability::from_text(text).map(|HttpDurability(durability)| durability),
                    "is volatile, session or stored",
                )?;
                set_once(&mut self.durability, durability)
            }
            "priority" => set_once(&mut self.priority, word(value, priority, "is a number from 0 to 9")?),
            "ttl" => set_once(&mut self.ttl, Duration::from_secs(number(value, "is a number of seconds")?)),
            "ttl-ms" => set_once(&mut self.ttl, Duration::from_millis(number(value, "is a number of milliseconds")?)),
            "retain" => set_once(&mut self.retain, flag(value)?),
            "live" => set_once(&mut self.live, flag(value)?),
            "utf8" => {
                let utf8 = flag(value)?;
                set_once(&mut self.details().utf8, utf8)
            }
            "message-id" => self.value(value, |details| &mut details.message_id),
            "correlation-id" => self.value(value, |details| &mut details.correlation_id),
            "subject" => self.text(value, |details| &mut details.subject),
            "group" => self.text(value, |details| &mut details.group),
            "reply-to" => {
                const RULE: &str = "is an address, percent-encoded as in a path";
                let address = word(value, |text| Address::from_path(text).ok(), RULE)?;
                set_once(&mut self.details().reply_to, address)
            }
            "created-ms" => self.time(value, now, |details| &mut details.created_at),
            "deliver-after-ms" => self.time(value, now, |details| &mut details.deliver_after),
            "deadline-ms" => self.time(value, now, |details| &mut details.deadline),
            // Says whether it is sent, not what it is.
            "transaction" => Ok(()),
            "properties" => {
                const RULE: &str = "is a list NAME=VALUE&NAME=VALUE, percent-encoded";
                property::read_list(value, &mut self.details().properties).ok_or(RULE)
            }
            name => match name.strip_prefix("property-") {
                Some(property) => {
                    const RULE: &str =
                        "has a name or a value that cannot be read: write % as %25, and = at the start as ==";
                    property::read(property, value, &mut self.details().properties).ok_or(RULE)
                }
                None => self.read_servers(name, value, side),
            },
        }
    }

    /// What only a server may say.
    fn read_servers(&mut self, name: &str, value: &HeaderValue, side: Side) -> Result<(), &'static str> {
        match (side, name) {
            (Side::Response, "sender") => {
                self.sender = text::from_value(value).ok();
            }
            (Side::Response, "sender-protocol") => {
                self.sender_protocol = PROTOCOLS.into_iter().find(|known| value.as_bytes() == known.as_bytes());
            }
            (Side::Response, name) => {
                if let Some(name) = name.strip_prefix("annotation-") {
                    property::read(name, value, &mut self.details().annotations);
                }
            }
            (Side::Request, name) if is_servers(name) => {}
            (Side::Request, _) => return Err("is unknown: the README of roadbed-http lists all that there are"),
        }
        Ok(())
    }

    fn cloud(&mut self, attribute: &str, value: &HeaderValue) -> Result<(), &'static str> {
        property::read_cloud(attribute, value, &mut self.details().properties).ok_or("is percent-encoded text")
    }

    fn details(&mut self) -> &mut Details {
        self.has_details = true;
        &mut self.details
    }

    fn text(
        &mut self,
        value: &HeaderValue,
        field: impl FnOnce(&mut Details) -> &mut Option<ByteString>,
    ) -> Result<(), &'static str> {
        let text = text::from_value(value).map_err(|_| NOT_TEXT)?;
        set_once(field(self.details()), text)
    }

    fn value(
        &mut self,
        value: &HeaderValue,
        field: impl FnOnce(&mut Details) -> &mut Option<Value>,
    ) -> Result<(), &'static str> {
        let text = text::from_value(value).map_err(|_| NOT_TEXT)?;
        let value = value::from_text(text).ok_or("is text, or =KIND:VALUE; write = at the start as ==")?;
        set_once(field(self.details()), value)
    }

    fn time(
        &mut self,
        value: &HeaderValue,
        now: Time,
        field: impl FnOnce(&mut Details) -> &mut Option<Time>,
    ) -> Result<(), &'static str> {
        const RULE: &str = "is milliseconds since 1970, or + and milliseconds from now";
        let time = word(value, |text| time(text, now), RULE)?;
        set_once(field(self.details()), time)
    }
}

/// Writes the headers of a message; what does not fit into `bytes_max` is noted.
pub(crate) fn write(message: &Message, now: Time, bytes_max: usize, losses: &mut Losses) -> HeaderMap {
    let mut into = HeaderMap::with_capacity(24);
    into.append(names::ADDRESS, known(message.address().to_path()));
    if message.has_details() {
        write_details(message.details(), bytes_max, &mut into, losses);
    }
    if message.durability() != Durability::Volatile {
        into.append(names::DURABILITY, HttpDurability(message.durability()).to_value());
    }
    if message.priority() != Message::PRIORITY_DEFAULT {
        into.append(names::PRIORITY, u16::from(message.priority()).into());
    }
    if let Some(at) = message.expires_at() {
        // Rounded up: a message that is still alive never says that it is not.
        let left = at.remaining(now).as_nanos().div_ceil(1_000_000);
        into.append(names::TTL_MS, u64::try_from(left).unwrap_or(u64::MAX).into());
    }
    if message.retain() {
        into.append(names::RETAIN, TRUE);
    }
    if message.live() {
        into.append(names::LIVE, TRUE);
    }
    if let Some(origin) = message.origin() {
        into.append(names::SENDER, text::to_value(&origin.principal));
        into.append(names::SENDER_PROTOCOL, text::to_value(origin.protocol));
    }
    into
}

fn write_details(details: &Details, bytes_max: usize, into: &mut HeaderMap, losses: &mut Losses) {
    const SECTION: &str = "RFC 9110, 5.4: field limits";
    let mut put = |name: HeaderName, value: Option<HeaderValue>, what: &'static str| match value {
        Some(value) if value.len() <= bytes_max => {
            into.append(name, value);
        }
        Some(_) => losses.note(what, SECTION),
        None => {}
    };
    let text = |text: &Option<ByteString>| text.as_deref().map(text::to_value);
    let value = |value: &Option<Value>| value.as_ref().map(|value| text::to_value(&value::to_text(value)));
    put(CONTENT_TYPE, text(&details.content_type), "content type");
    put(CONTENT_ENCODING, text(&details.content_encoding), "content encoding");
    put(names::MESSAGE_ID, value(&details.message_id), "message id");
    put(names::CORRELATION_ID, value(&details.correlation_id), "correlation id");
    put(names::REPLY_TO, details.reply_to.as_ref().map(|to| known(to.to_path())), "reply-to");
    put(names::SUBJECT, text(&details.subject), "subject");
    put(names::GROUP, text(&details.group), "group");
    let time = |time: Option<Time>| time.map(|time| HeaderValue::from(time.as_millis()));
    for (name, value) in [
        (names::UTF8, details.utf8.map(|utf8| if utf8 { TRUE } else { FALSE })),
        (names::CREATED_MS, time(details.created_at)),
        (names::DELIVER_AFTER_MS, time(details.deliver_after)),
        (names::DEADLINE_MS, time(details.deadline)),
    ] {
        value.map(|value| into.append(name, value));
    }
    if !details.properties.is_empty() && property::write(&details.properties, into, bytes_max).is_none() {
        losses.note("properties", SECTION);
    }
    if property::has_typed_attribute(&details.properties) {
        losses.note("type of a CloudEvents attribute", "CloudEvents HTTP binding, 3.1.3");
    }
    if property::write_annotations(&details.annotations, into, bytes_max).is_none() {
        losses.note("annotations", SECTION);
    }
    for what in details.bare.iter().flat_map(|bare| &bare.only) {
        losses.note(what, "RFC 9110, 6.3: no such field");
    }
}

/// An event that names its version must have the attributes that the version requires (CloudEvents 1.0.2, "Required
/// attributes").
fn check_cloud_event(headers: &HeaderMap) -> Result<(), HeaderError> {
    const RULE: &str = "is missing, and ce-specversion asks for it";
    if !headers.contains_key("ce-specversion") {
        return Ok(());
    }
    let missing = ["ce-id", "ce-source", "ce-type"].into_iter().find(|name| !headers.contains_key(*name));
    match missing {
        Some(name) => Err(HeaderError { name: HeaderName::from_static(name), rule: RULE }),
        None => Ok(()),
    }
}

pub(crate) const TRUE: HeaderValue = HeaderValue::from_static("true");
const FALSE: HeaderValue = HeaderValue::from_static("false");
const NOT_TEXT: &str = "is percent-encoded UTF-8: write % as %25";
/// The protocols that a message can come by.
const PROTOCOLS: [&str; 7] = ["mqtt", "amqp", "http", "ws", "xmpp", "memory", "hub"];

/// Whether it is a header that a server puts on a delivery: a bridge may hand it back, and it means nothing.
fn is_servers(name: &str) -> bool {
    const NAMES: [&str; 13] = [
        "address",
        "attempt",
        "backlog",
        "delivery-count",
        "delivery-id",
        "enqueued-ms",
        "lock-until-ms",
        "lost",
        "retained",
        "sender",
        "sender-protocol",
        "settled",
        "sidecar",
    ];
    NAMES.contains(&name) || name.starts_with("annotation-")
}

fn set_once<T>(field: &mut Option<T>, value: T) -> Result<(), &'static str> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err("is there twice"),
    }
}

fn word<T>(value: &HeaderValue, read: impl FnOnce(&str) -> Option<T>, rule: &'static str) -> Result<T, &'static str> {
    value.to_str().ok().and_then(read).ok_or(rule)
}

/// Digits alone: no sign, no space.
fn number<T: FromStr>(value: &HeaderValue, rule: &'static str) -> Result<T, &'static str> {
    word(value, digits, rule)
}

pub(crate) fn digits<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn flag(value: &HeaderValue) -> Result<bool, &'static str> {
    word(value, |text| text.parse().ok(), "is true or false")
}

fn priority(text: &str) -> Option<u8> {
    digits(text).filter(|&priority| priority <= 9)
}

fn time(text: &str, now: Time) -> Option<Time> {
    match text.strip_prefix('+') {
        Some(text) => Some(now + Duration::from_millis(digits(text)?)),
        None => Some(Time::from_millis(digits(text)?)),
    }
}

/// With or without quotes: the quoted form is that of the draft (draft-ietf-httpapi-idempotency-key-header, section 2.1).
fn key(value: &HeaderValue) -> Result<Bytes, &'static str> {
    let bytes = value.as_bytes();
    let bytes = bytes.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(bytes);
    match bytes.len() {
        1..=KEY_BYTES_MAX => Ok(Bytes::copy_from_slice(bytes)),
        _ => Err("has 1 to 255 bytes"),
    }
}

/// A path has unreserved characters, escapes and slashes alone.
pub(crate) fn known(path: String) -> HeaderValue {
    HeaderValue::try_from(path).expect("a path is ASCII without control characters")
}
